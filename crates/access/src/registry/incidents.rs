//! Records of what went wrong, for who must act and who asks later.

use super::state::{Incident, Note};
use super::tokens::settled;
use super::{Registry, text};
use crate::error::RegistryError;

/// Incidents that are kept; none is ever forgotten.
const INCIDENTS_MAX: usize = 1 << 12;
/// Notes of one incident.
const NOTES_MAX: usize = 1 << 10;

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
                    mend: "note what happened in an open one",
                });
            }
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
        let note = Note { time_ms: now_ms, by: by.to_owned(), text: text(what, note)? };
        self.change(|state| {
            let no_such = || RegistryError::NoSuch { what: "incident", id: id.to_owned() };
            let incident =
                state.incidents.iter_mut().find(|incident| incident.id == id).ok_or_else(no_such)?;
            if incident.closed_ms.is_some() {
                return Err(settled("incident", id, "closed"));
            }
            // One place is left for how it is resolved.
            edit(incident);
            if incident.notes.len() + usize::from(incident.closed_ms.is_none()) > NOTES_MAX {
                return Err(RegistryError::Full {
                    what: "notes in this incident",
                    most: NOTES_MAX,
                    mend: "close it and open another that names it",
                });
            }
            incident.notes.push(note);
            Ok(incident.clone())
        })
    }
}
