//! What this silo's operator has to look at: loud in the log, and kept where `--check` and `doctor` show it.
//!
//! # Privacy
//! For the operator alone. That something is wrong with the data is a fact about the data: it changes nothing of what this
//! silo says, nor when.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// In the state folder.
const FILE: &str = "alarms.json";

/// What is wrong; of each kind the newest is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The table as a whole, or rows of it, do not fit the plan.
    Data,
    /// The data is no longer what a run in progress was joined with.
    Changed,
    /// Training failed, and nothing of the data was contributed.
    Training,
}

/// The newest alarm of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Raised {
    /// How often, since the file was removed.
    times: u64,
    last_unix_ms: u64,
    text: String,
}

/// Raises alarms; its clones write one file.
#[derive(Debug, Clone)]
pub(crate) struct Alarm {
    path: PathBuf,
    wall_ms: fn() -> u64,
}

impl Alarm {
    pub(crate) fn new(state_dir: &Path, wall_ms: fn() -> u64) -> Self {
        Self { path: state_dir.join(FILE), wall_ms }
    }

    /// `detail` is for the log alone: it may quote a cell, which is not to lie beside a sealed journal in the clear.
    pub(crate) fn raise(&self, kind: Kind, text: &str, detail: &str) {
        tracing::error!("ALARM: {text}{}{detail}", if detail.is_empty() { "" } else { ": " });
        let mut alarms = read(&self.path);
        let times = alarms.get(&kind).map_or(1, |raised| raised.times.saturating_add(1));
        alarms.insert(kind, Raised { times, last_unix_ms: (self.wall_ms)(), text: text.to_owned() });
        // What cannot be written is in the log: an alarm ends nothing.
        if let Err(why) = write(&self.path, &alarms) {
            tracing::error!("the alarm is not kept for `doctor`: {}: {why}", self.path.display());
        }
    }

    /// A line for each alarm that is kept, and how they are taken back.
    pub(crate) fn lines(&self) -> Vec<String> {
        let alarms = read(&self.path);
        let mut lines: Vec<String> = alarms
            .values()
            .map(|raised| {
                let at_s = raised.last_unix_ms / 1000;
                format!("{} ({} times, last at Unix time {at_s})", raised.text, raised.times)
            })
            .collect();
        if !lines.is_empty() {
            lines.push(format!("once that is mended, remove `{}`", self.path.display()));
        }
        lines
    }
}

/// Without a file, or with one that is damaged, nothing is known.
fn read(path: &Path) -> BTreeMap<Kind, Raised> {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(path: &Path, alarms: &BTreeMap<Kind, Raised>) -> std::io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    fs::write(&temporary, serde_json::to_vec_pretty(alarms)?)?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_kept_by_kind_across_restarts_and_their_details_are_not_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let alarm = Alarm::new(folder.path(), || 1_700_000_000_123);
        assert!(alarm.lines().is_empty());
        alarm.raise(Kind::Data, "2 rows: no label", "");
        alarm.raise(Kind::Training, "training failed in round 3", "the cell \"secret\"");
        alarm.raise(Kind::Data, "3 rows: no label", "");
        let lines = Alarm::new(folder.path(), || 0).lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "3 rows: no label (2 times, last at Unix time 1700000000)");
        assert!(lines[1].starts_with("training failed in round 3 (1 times"), "{lines:?}");
        assert!(!fs::read_to_string(folder.path().join(FILE)).unwrap().contains("secret"));
        fs::write(folder.path().join(FILE), "damaged").unwrap();
        assert!(alarm.lines().is_empty());
        alarm.raise(Kind::Changed, "changed", "");
        assert_eq!(alarm.lines().len(), 2);
    }
}
