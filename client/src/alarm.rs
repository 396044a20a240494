//! What this silo's operator has to look at: loud in the log, and kept where `alarms`, `--check` and `doctor` show it.
//!
//! # Privacy
//! For the operator alone. That something is wrong with the data is a fact about the data: it changes nothing of what this
//! silo says, nor when. So it does not change how the daemon exits either: what restarts a daemon that failed would have it speak
//! again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use telemetry::AlarmMetric;

/// In the state folder.
const FILE: &str = "alarms.json";
/// Of so many trainings in a row that failed, the next will too.
const IN_A_ROW: u64 = 3;

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
    /// A word that opens to nothing stands for the data's version in a run.
    Untold,
}

/// The newest alarm of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Raised {
    /// How often, since the file was removed.
    times: u64,
    last_unix_ms: u64,
    text: String,
    /// Of these, since the last training that did not fail.
    #[serde(default)]
    in_a_row: u64,
}

impl Kind {
    /// As the metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Changed => "changed",
            Self::Training => "training",
            Self::Untold => "undeclared",
        }
    }
}

impl Raised {
    /// What is said of trainings that keep failing.
    fn in_a_row(&self) -> String {
        match self.in_a_row {
            0 | 1 => String::new(),
            so_many if so_many < IN_A_ROW => format!("; {so_many} in a row"),
            so_many => {
                format!(
                    "; {so_many} in a row: it does not go away by itself, stop the daemon until it is fixed"
                )
            }
        }
    }
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

    /// [`Alarm::new`], for the daemon: what nobody has taken back is said again.
    pub(crate) fn begin(state_dir: &Path, wall_ms: fn() -> u64) -> Self {
        let alarm = Self::new(state_dir, wall_ms);
        alarm.repeat();
        alarm
    }

    /// `detail` is for the log alone: it may quote a cell, which is not to lie beside a sealed journal in the clear.
    pub(crate) fn raise(&self, kind: Kind, text: &str, detail: &str) {
        let mut alarms = read(&self.path);
        let (times, before) = alarms.get(&kind).map_or((0, 0), |raised| (raised.times, raised.in_a_row));
        let in_a_row = if kind == Kind::Training { before.saturating_add(1) } else { 0 };
        let raised = Raised {
            times: times.saturating_add(1),
            last_unix_ms: (self.wall_ms)(),
            text: text.to_owned(),
            in_a_row,
        };
        let words = raised.in_a_row();
        tracing::error!("ALARM: {text}{words}{}{detail}", if detail.is_empty() { "" } else { ": " });
        alarms.insert(kind, raised);
        self.keep(&alarms);
    }

    /// A training did not fail: those that did before are no longer in a row. They are not forgotten.
    pub(crate) fn trained(&self) {
        let mut alarms = read(&self.path);
        if let Some(raised) = alarms.get_mut(&Kind::Training).filter(|raised| raised.in_a_row > 0) {
            raised.in_a_row = 0;
            self.keep(&alarms);
        }
    }

    /// What cannot be written is in the log: an alarm ends nothing.
    fn keep(&self, alarms: &BTreeMap<Kind, Raised>) {
        if let Err(why) = write(&self.path, alarms) {
            tracing::error!("the alarm is not kept for `doctor`: {}: {why}", self.path.display());
        }
    }

    /// Says again what nobody has taken back, when the daemon starts and when a run is over.
    pub(crate) fn repeat(&self) {
        for line in self.lines() {
            tracing::error!("ALARM, still: {line}");
        }
    }

    /// For a collector that reads files.
    pub(crate) fn metrics(&self) -> String {
        let alarms = read(&self.path);
        let kinds = [Kind::Data, Kind::Changed, Kind::Training, Kind::Untold].map(|kind| {
            let raised = alarms.get(&kind);
            AlarmMetric {
                kind: kind.name(),
                times: raised.map_or(0, |raised| raised.times),
                last_unix_s: raised.map_or(0, |raised| raised.last_unix_ms / 1000),
                in_a_row: raised.map_or(0, |raised| raised.in_a_row),
            }
        });
        telemetry::alarms(&kinds)
    }

    /// A line for each alarm that is kept, and how they are taken back.
    pub(crate) fn lines(&self) -> Vec<String> {
        let alarms = read(&self.path);
        let mut lines: Vec<String> = alarms
            .values()
            .map(|raised| {
                let at_s = raised.last_unix_ms / 1000;
                let Raised { text, times, .. } = raised;
                format!("{text}{} ({times} times, last at Unix time {at_s})", raised.in_a_row())
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

    #[test]
    fn trainings_that_fail_in_a_row_are_counted_across_restarts_until_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let alarm = || Alarm::new(folder.path(), || 5_000);
        let line = || alarm().lines().remove(0);
        for round in 1..=4 {
            alarm().raise(Kind::Training, &format!("training failed in round {round}"), "");
            let in_a_row = line().contains(&format!("; {round} in a row"));
            assert_eq!((in_a_row, line().contains("stop the daemon")), (round > 1, round > 2), "{}", line());
        }
        let sample = |kind: &str, what: &str| {
            let name = format!("folkmoot_silo_{what}{{kind=\"{kind}\"}} ");
            alarm().metrics().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned)).unwrap()
        };
        assert_eq!(sample("training", "alarms_total"), "4");
        assert_eq!(sample("training", "alarm_last_seconds"), "5");
        assert_eq!(sample("data", "alarms_total"), "0");
        assert!(alarm().metrics().contains("\nfolkmoot_silo_trainings_failed_in_a_row 4\n"));
        alarm().trained();
        assert!(alarm().metrics().contains("\nfolkmoot_silo_trainings_failed_in_a_row 0\n"));
        assert!(!line().contains("in a row") && line().contains("(4 times"), "{}", line());
        alarm().raise(Kind::Training, "training failed in round 6", "");
        assert!(line().contains("(5 times") && !line().contains("in a row"), "{}", line());
    }
}
