//! A log's events for whoever reads it: which are wanted, and how they are shown.

use std::collections::BTreeMap;
use std::path::Path;

use identity::{printable, utc};

use crate::Action;
use crate::event::{Event, Status};
use crate::folder::CHECKPOINT;
use crate::verify::{VerifyError, read_entries};

/// Digits of a run's name that stand for it where nothing else names it.
const RUN_DIGITS: usize = 12;

/// What no log can hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "no log has the action `{}`; there are {}, and `call.SERVICE.METHOD` for each RPC; what stands before a dot means all that begins so",
    printable(.0),
    Action::ALL.map(Action::name).join(", ")
)]
pub struct UnknownAction(pub String);

/// Which events are wanted; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// As [`Wanted::action`] has read it: `upload.sent`, or `trainer` for all whose names begin so.
    pub action: Option<String>,
    /// Of this round alone.
    pub round: Option<u64>,
    /// Not before this moment, in milliseconds since 1970.
    pub since_ms: Option<u64>,
}

impl Wanted {
    /// Reads an action that somebody asks for by its name, or by what stands before the dot in it.
    ///
    /// # Errors
    /// A name that no log has, with those that there are.
    pub fn action(text: &str) -> Result<String, UnknownAction> {
        let known = |action: &Action| is_of(action.name(), text);
        match Action::ALL.iter().any(known) || is_of(text, "call") {
            true => Ok(text.to_owned()),
            false => Err(UnknownAction(text.to_owned())),
        }
    }

    fn is(&self, event: &Event) -> bool {
        self.action.as_ref().is_none_or(|action| is_of(&event.action, action))
            && self.round.is_none_or(|round| event.round == Some(round))
            && self.since_ms.is_none_or(|since| event.time_ms >= since)
    }
}

/// Whether an action is the one of this name, or one of this thing.
fn is_of(action: &str, wanted: &str) -> bool {
    let rest = action.strip_prefix(wanted);
    !wanted.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// One of the events that are wanted.
#[derive(Debug)]
pub struct ShownEvent<'a> {
    index: u64,
    event: &'a Event,
    entry: &'a [u8],
    /// What the plans of runs are called, as far as the log has said it.
    plans: &'a BTreeMap<String, String>,
}

/// Whether a folder holds a log that was published: an entry is there within seconds of what it tells of.
pub fn is_published(folder: &Path) -> bool {
    folder.join(CHECKPOINT).exists() || folder.join("tile").exists()
}

/// Shows the wanted events of a log, first to last, until `show` says that it has enough; unverified, and also while it is written.
///
/// # Errors
/// As [`read_entries`]; an entry that is no event.
pub fn read_events(
    folder: &Path,
    wanted: &Wanted,
    mut show: impl FnMut(&ShownEvent<'_>) -> bool,
) -> Result<(), VerifyError> {
    let mut plans = BTreeMap::new();
    for (index, entry) in (0u64..).zip(read_entries(folder, 0..u64::MAX)?) {
        let event = Event::decode(&entry).map_err(|source| VerifyError::NotAnEvent { index, source })?;
        if let (Some(run), Some(plan)) = (&event.run, event.details.get("plan")) {
            plans.insert(run.clone(), plan.clone());
        }
        if wanted.is(&event) && !show(&ShownEvent { index, event: &event, entry: &entry, plans: &plans }) {
            break;
        }
    }
    Ok(())
}

impl ShownEvent<'_> {
    /// As a JSON object: `index` and `event`, the entry as the log has it.
    pub fn json(&self) -> String {
        format!("{{\"index\":{},\"event\":{}}}", self.index, String::from_utf8_lossy(self.entry))
    }

    /// As one line, with all that the entry has.
    pub fn line(&self) -> String {
        let event = self.event;
        let mut line = format!("{:>8}  {}  {}", self.index, utc(event.time_ms), printable(&event.action));
        if event.status == Status::Refused {
            line.push_str(" REFUSED");
        }
        line.push_str(&format!("  {} ({})", printable(&event.actor.id), printable(&event.actor.role)));
        let [round, attempt] = [event.round, event.attempt.map(u64::from)].map(|n| n.map(|n| n.to_string()));
        let fields = [
            ("address", event.actor.address.as_deref()),
            ("run", event.run.as_deref()),
            ("round", round.as_deref()),
            ("attempt", attempt.as_deref()),
        ];
        for (name, value) in fields {
            line.extend(value.map(|value| format!("  {name}={}", printable(value))));
        }
        line + &self.rest("")
    }

    /// As one line for the operator of the silo whose log it is: who did it is known, and runs have their plans' names.
    pub fn line_at_its_silo(&self) -> String {
        let event = self.event;
        let mut line = format!("{}  {:<21}", utc(event.time_ms), printable(&event.action));
        // A message that says no was sent all the same, and says why.
        if event.status == Status::Refused && event.action != Action::MessageSent.name() {
            line.push_str("  FAILED");
        }
        if let Some(run) = &event.run {
            let name = match self.plans.get(run) {
                Some(plan) => printable(plan),
                None => run.chars().take(RUN_DIGITS).collect(),
            };
            line.push_str(&format!("  {name}"));
        }
        line.extend(event.round.map(|round| format!("  round {round}")));
        line.extend(
            event.attempt.filter(|attempt| *attempt > 1).map(|attempt| format!("  attempt {attempt}")),
        );
        line + &self.rest("plan")
    }

    /// What the event is about, and its details but for one.
    fn rest(&self, but_for: &str) -> String {
        let event = self.event;
        let bytes = event.bytes.map(|bytes| bytes.to_string());
        let fields = [
            ("digest", event.digest.as_deref()),
            ("bytes", bytes.as_deref()),
            ("peer", event.peer.as_deref()),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let details = event.details.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fields
            .chain(details)
            .filter(|(name, _)| *name != but_for)
            .map(|(name, value)| format!("  {}={}", printable(name), printable(value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::samples::open;

    fn lines(folder: &Path, wanted: &Wanted) -> Vec<String> {
        let mut lines = Vec::new();
        read_events(folder, wanted, |shown| {
            lines.push(shown.line_at_its_silo());
            true
        })
        .unwrap();
        lines
    }

    #[test]
    fn an_action_is_wanted_by_its_name_or_by_its_thing_and_an_unknown_one_is_refused_with_those_there_are() {
        for known in ["upload.sent", "trainer", "data.misfit", "call", "call.Admin.PutRoster"] {
            assert_eq!(Wanted::action(known).unwrap(), known);
        }
        for unknown in ["", "upload.", "upload.sen", "train", "calls.", "sent"] {
            let why = Wanted::action(unknown).unwrap_err().to_string();
            assert!(why.contains("upload.sent, ") && why.contains("call.SERVICE"), "{why}");
        }
    }

    #[test]
    fn a_silos_operator_reads_names_of_runs_and_why_something_failed_a_line_each() {
        let scratch = tempdir().unwrap();
        let mut log = open(scratch.path());
        let (now, run) = (1_795_412_700_000, "ab".repeat(32));
        let of = |action, at| Event { run: Some(run.clone()), ..Event::of_silo(now + at, 3, action) };
        let events = [
            of(Action::MessageSent, 0).with("type", "check-in"),
            of(Action::DataOpened, 1_000).with("plan", "wards").with("rows", "650"),
            Event {
                status: Status::Refused,
                ..of(Action::TrainerFailed, 2_000).in_attempt(3, 1).with("why", "it took too\nlong")
            },
            of(Action::UploadSent, 3_000).in_attempt(3, 2),
        ];
        log.append(&events).unwrap();
        log.publish().unwrap();
        let folder = scratch.path();
        assert_eq!(
            lines(folder, &Wanted::default()),
            [
                "2026-11-23T05:45:00Z  message.sent           abababababab  type=check-in",
                "2026-11-23T05:45:01Z  data.opened            wards  rows=650",
                "2026-11-23T05:45:02Z  trainer.failed         FAILED  wards  round 3  why=it took too\u{fffd}long",
                "2026-11-23T05:45:03Z  upload.sent            wards  round 3  attempt 2",
            ]
        );
        let of_trainers = Wanted { action: Some("trainer".into()), ..Wanted::default() };
        assert_eq!(lines(folder, &of_trainers).len(), 1);
        let late = Wanted { since_ms: Some(now + 1_500), round: Some(3), ..Wanted::default() };
        assert_eq!(lines(folder, &late).len(), 2);
    }
}
