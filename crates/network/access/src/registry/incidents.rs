//! Records of what went wrong, for those who must act and those who ask later.

use super::state::{Incident, IncidentNote, State};
use super::tokens::settled;
use super::{Registry, text};
use crate::error::RegistryError;

/// Incidents that are kept; none is ever forgotten.
const INCIDENTS_MAX: usize = 1 << 12;
/// Notes of one incident.
const NOTES_MAX: usize = 1 << 10;
/// Bytes of all incidents together: each change writes the registry whole, and one listing shows them all.
const BYTES_MAX: usize = 4 << 20;
/// Bytes that one person adds within an hour: some hundred long notes. Who fills the rest takes days, and is barred before.
const BYTES_PER_HOUR: usize = 128 << 10;
const HOUR_MS: u64 = 3_600_000;
/// What an incident and a note have around their texts.
const AROUND: usize = 128;

impl Registry {
    /// Opens an incident.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn open_incident(&self, title: &str, by: &str, now_ms: u64) -> Result<Incident, RegistryError> {
        let title = text("a title", title)?;
        self.change(|state| {
            if state.incidents.len() >= INCIDENTS_MAX {
                return Err(RegistryError::Full {
                    what: "incidents",
                    most: INCIDENTS_MAX,
                    remedy: "note what happened in an open one",
                });
            }
            state.check_room_for(&title, by, now_ms)?;
            let incident = Incident {
                id: format!("INC-{:04}", state.incidents.len() + 1),
                title,
                opened_ms: now_ms,
                opened_by: by.to_owned(),
                notes: Vec::new(),
                closed_ms: None,
            };
            state.incidents.push(incident.clone());
            Ok(incident)
        })
    }

    /// Adds a note to an open incident.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn note_incident(
        &self,
        id: &str,
        note: &str,
        by: &str,
        now_ms: u64,
    ) -> Result<Incident, RegistryError> {
        self.edit_incident(id, "a note", note, by, now_ms, |_| {})
    }

    /// Closes an open incident; how it was resolved becomes its last note.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn close_incident(
        &self,
        id: &str,
        resolution: &str,
        by: &str,
        now_ms: u64,
    ) -> Result<Incident, RegistryError> {
        let close = |incident: &mut Incident| incident.closed_ms = Some(now_ms);
        self.edit_incident(id, "a resolution", resolution, by, now_ms, close)
    }

    /// Every incident, oldest first.
    pub fn incidents(&self) -> Vec<Incident> {
        self.now().incidents.clone()
    }

    fn edit_incident(
        &self,
        id: &str,
        what: &'static str,
        note: &str,
        by: &str,
        now_ms: u64,
        edit: impl FnOnce(&mut Incident),
    ) -> Result<Incident, RegistryError> {
        let note = IncidentNote { time_ms: now_ms, by: by.to_owned(), text: text(what, note)? };
        self.change(|state| {
            let room = state.check_room_for(&note.text, by, now_ms);
            let no_such = || RegistryError::NoSuch { what: "incident", id: id.to_owned() };
            let incident =
                state.incidents.iter_mut().find(|incident| incident.id == id).ok_or_else(no_such)?;
            if incident.closed_ms.is_some() {
                return Err(settled("incident", id, "closed"));
            }
            edit(incident);
            // However full it is, there is room for how each is resolved.
            if incident.notes.len() + usize::from(incident.closed_ms.is_none()) > NOTES_MAX {
                return Err(RegistryError::Full {
                    what: "notes in this incident",
                    most: NOTES_MAX,
                    remedy: "close it and open another that names it",
                });
            }
            if incident.closed_ms.is_none() {
                room?;
            }
            incident.notes.push(note);
            Ok(incident.clone())
        })
    }
}

impl State {
    /// Whether somebody may add so long a text now.
    fn check_room_for(&self, text: &str, by: &str, now_ms: u64) -> Result<(), RegistryError> {
        let more = weight(text, by);
        if self.incident_bytes(|_, _| true) + more > BYTES_MAX {
            return Err(RegistryError::Full {
                what: "bytes of incidents",
                most: BYTES_MAX,
                remedy: "keep what is new elsewhere, and close incidents with how they were resolved, which is always taken",
            });
        }
        let since_ms = now_ms.saturating_sub(HOUR_MS);
        if self.incident_bytes(|who, at_ms| who == by && at_ms > since_ms) + more > BYTES_PER_HOUR {
            return Err(RegistryError::TooMuchNoted { by: by.to_owned(), most: BYTES_PER_HOUR });
        }
        Ok(())
    }

    /// Of what was said by whom and when.
    fn incident_bytes(&self, counts: impl Fn(&str, u64) -> bool) -> usize {
        let opened = |incident: &Incident| match counts(&incident.opened_by, incident.opened_ms) {
            true => weight(&incident.title, &incident.opened_by),
            false => 0,
        };
        let noted = |note: &IncidentNote| {
            if counts(&note.by, note.time_ms) { weight(&note.text, &note.by) } else { 0 }
        };
        let all = |incident: &Incident| opened(incident) + incident.notes.iter().map(noted).sum::<usize>();
        self.incidents.iter().map(all).sum()
    }
}

fn weight(text: &str, by: &str) -> usize {
    text.len() + by.len() + AROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many notes of a thousand bytes each, in incidents that are open.
    fn noted(notes: usize) -> State {
        let note = IncidentNote { time_ms: 1, by: "olga".into(), text: "\"".repeat(1000) };
        let incident = |at: usize| Incident {
            id: format!("INC-{:04}", at + 1),
            title: "it happened again".into(),
            opened_ms: 1,
            opened_by: "olga".into(),
            notes: vec![note.clone(); (NOTES_MAX - 1).min(notes - at * (NOTES_MAX - 1))],
            closed_ms: None,
        };
        let incidents = (0..notes.div_ceil(NOTES_MAX - 1)).map(incident).collect();
        State { incidents, ..State::default() }
    }

    #[test]
    fn incidents_that_fill_their_bytes_take_no_more_and_are_closed_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.json");
        let (file, _) = super::super::file::RegistryFile::open(&path).unwrap();
        file.save(&noted(BYTES_MAX / 1000)).unwrap();
        let registry = Registry::open(&path).unwrap();
        let last = registry.incidents().pop().unwrap().id;
        for full in
            [registry.note_incident(&last, "more", "ada", 2), registry.open_incident("another", "ada", 2)]
        {
            let full = full.unwrap_err();
            assert!(matches!(full, RegistryError::Full { most: BYTES_MAX, .. }), "{full}");
        }
        registry.close_incident(&last, "it was a sensor", "ada", 2).unwrap();
        let again = Registry::open(&path).unwrap();
        assert_eq!(again.incidents().pop().unwrap().closed_ms, Some(2));
    }

    #[test]
    fn one_person_notes_so_much_within_an_hour_and_others_note_all_the_same() {
        let mut state = noted(100);
        let long = "x".repeat(1000);
        let mut now_ms = 1000;
        while state.check_room_for(&long, "olga", now_ms).is_ok() {
            state.incidents[0].notes.push(IncidentNote {
                time_ms: now_ms,
                by: "olga".into(),
                text: long.clone(),
            });
            now_ms += 1;
        }
        assert!(state.incidents[0].notes.len() < 200);
        let why = state.check_room_for(&long, "olga", now_ms).unwrap_err();
        assert_eq!(why, RegistryError::TooMuchNoted { by: "olga".into(), most: BYTES_PER_HOUR });
        state.check_room_for(&long, "ada", now_ms).unwrap();
        state.check_room_for(&long, "olga", now_ms + HOUR_MS).unwrap();
    }
}
