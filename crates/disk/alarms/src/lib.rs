//! What a silo's operator has to look at: loud in the log, and kept where `alarms`, `--check` and `doctor` show it.
//!
//! Owns: the file of alarms in a silo's state folder, the newest of each [`Kind`], of some kinds the newest of each cause until that is
//! over, and how often there was one; and the files by which a later roster waits there for its operator ([`rosters`]).
//!
//! Does not: decide what is worth an alarm, know the time, or end anything. What cannot be written is in the log alone.
//!
//! ```
//! use alarms::{Alarm, Kind};
//!
//! # let folder = tempfile::tempdir()?;
//! let alarm = Alarm::new(folder.path(), || 1_760_000_000_000);
//! alarm.raise(Kind::Training, "training failed in round 3", "for the log alone");
//! let line = "training failed in round 3 (at 2025-10-09T08:53:20Z)";
//! assert_eq!(alarm.lines()[0], line);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Privacy
//! For the operator alone. That something is wrong with the data is a fact about the data: it changes nothing of what this
//! silo says, nor when. So it does not change how the daemon exits either: what restarts a daemon that failed would have it speak
//! again.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod rosters;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use identity::utc;
use serde::{Deserialize, Serialize};

/// In the state folder.
const FILE: &str = "alarms.json";
/// Most causes of a kind that are kept: runs are a coordinator's to invent. Beyond it the oldest goes.
const CAUSES_MAX: usize = 64;
/// Of so many trainings in a row that failed, the next will too.
const IN_A_ROW: u64 = 3;

/// What is wrong; of each kind the newest is kept, and of some the newest of each cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The table as a whole, or rows of it, do not fit the plan.
    Data,
    /// The data is no longer what a run in progress was joined with.
    Changed,
    /// Training failed, and nothing of the data was contributed.
    Training,
    /// A word that opens to nothing stands for the data's version in a run.
    Untold,
    /// The alarms themselves could not be read.
    Damaged,
    /// What opens what is declared of the data could not be kept.
    Opening,
    /// A run is refused by this silo's policy, or over what the coordinator said of it: over with the refusal.
    Refused,
    /// A changed configuration cannot be used: over once it can.
    Policy,
    /// Nothing starts trainers any more: over as the daemon is started again.
    Spawner,
    /// A later roster waits for the operator: over once one is in force.
    Roster,
    /// The configuration says something else than what the daemon was started with: over once it does not.
    Restart,
}

/// The newest alarm of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Raised {
    /// How many there were, since the file was removed. What is said again of a cause that stands, or of the same data, is none more.
    times: u64,
    last_unix_ms: u64,
    text: String,
    /// Of these, since the last training that did not fail.
    #[serde(default)]
    in_a_row: u64,
    /// What it is raised for and is not over yet; `None` of kinds that only their operator takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causes: Option<BTreeMap<String, Standing>>,
}

/// The alarm of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    /// When it was first raised.
    since_unix_ms: u64,
    last_unix_ms: u64,
    text: String,
    /// It was out of date when it was last asked after, and nobody has raised it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    doubted: bool,
}

/// How often there was an alarm of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmCount {
    /// As metrics call it: `data`, `changed`, `training`, `undeclared`, `damaged`, `opening`, `refused`, `policy`, `spawner`, `roster`
    /// or `restart`.
    pub kind: &'static str,
    /// Since the file was removed.
    pub times: u64,
    /// When last, in seconds since 1970; 0 where never.
    pub last_unix_s: u64,
    /// Of these, since the last training that did not fail; 0 of other kinds.
    pub in_a_row: u64,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Data,
        Self::Changed,
        Self::Training,
        Self::Untold,
        Self::Damaged,
        Self::Opening,
        Self::Refused,
        Self::Policy,
        Self::Spawner,
        Self::Roster,
        Self::Restart,
    ];

    /// As the metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Changed => "changed",
            Self::Training => "training",
            Self::Untold => "undeclared",
            Self::Damaged => "damaged",
            Self::Opening => "opening",
            Self::Refused => "refused",
            Self::Policy => "policy",
            Self::Spawner => "spawner",
            Self::Roster => "roster",
            Self::Restart => "restart",
        }
    }
}

impl Raised {
    fn lines(&self) -> Vec<String> {
        if let Some(causes) = &self.causes {
            return causes.values().filter(|standing| !standing.doubted).map(Standing::line).collect();
        }
        let (text, in_a_row, at) = (&self.text, self.in_a_row(), utc(self.last_unix_ms));
        vec![match self.times {
            0 | 1 => format!("{text}{in_a_row} (at {at})"),
            so_many => format!("{text}{in_a_row} (the newest of {so_many}, at {at})"),
        }]
    }

    /// Whether the cause has an alarm already, which is then the same one.
    fn stands(&self, cause: &str) -> bool {
        self.causes.as_ref().is_some_and(|causes| causes.contains_key(cause))
    }

    fn add_cause(&mut self, cause: &str, text: &str, now_ms: u64) {
        let causes = self.causes.get_or_insert_default();
        let since_unix_ms = match causes.get(cause) {
            Some(standing) => standing.since_unix_ms,
            None => now_ms,
        };
        let (text, doubted) = (text.to_owned(), false);
        let standing = Standing { since_unix_ms, last_unix_ms: now_ms, text, doubted };
        causes.insert(cause.to_owned(), standing);
        if causes.len() > CAUSES_MAX {
            let oldest = causes
                .iter()
                .filter(|(of, _)| *of != cause)
                .min_by_key(|(_, of)| (!of.doubted, of.last_unix_ms));
            if let Some(oldest) = oldest.map(|(of, _)| of.clone()) {
                causes.remove(&oldest);
            }
        }
    }

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

impl Standing {
    fn line(&self) -> String {
        let (text, last) = (&self.text, utc(self.last_unix_ms));
        match self.since_unix_ms {
            since if since == self.last_unix_ms => format!("{text} (at {last})"),
            since => format!("{text} (since {}, said again at {last})", utc(since)),
        }
    }
}

/// Newest of each kind.
type Alarms = BTreeMap<Kind, Raised>;

/// Raises alarms. Its clones write one file, each by itself: what one raises, no other forgets.
#[derive(Debug, Clone)]
pub struct Alarm {
    path: PathBuf,
    wall_ms: fn() -> u64,
    /// Held from the reading to the end of the writing.
    writing: Arc<Mutex<()>>,
}

impl Alarm {
    /// For whoever only shows alarms, or raises one beside the daemon. `wall_ms` gives milliseconds since 1970. Nothing is read
    /// or written yet.
    pub fn new(state_dir: &Path, wall_ms: fn() -> u64) -> Self {
        Self { path: state_dir.join(FILE), wall_ms, writing: Arc::default() }
    }

    /// [`Alarm::new`], for a daemon that begins, which has a spawner again: what nobody has taken back is said again.
    pub fn begin(state_dir: &Path, wall_ms: fn() -> u64) -> Self {
        let alarm = Self::new(state_dir, wall_ms);
        alarm.change(|_| false);
        alarm.all_over(Kind::Spawner);
        alarm.repeat();
        alarm
    }

    /// Raises one. `text` is kept; `detail` is for the log alone: it may quote a cell, which is not to lie beside a sealed journal in the clear.
    pub fn raise(&self, kind: Kind, text: &str, detail: &str) {
        let (text, detail) = (&*in_one_line(text), in_one_line(detail));
        self.change(|alarms| {
            // The same of the same data is found again by each trainer that reads it.
            let again = |raised: &Raised| kind == Kind::Data && raised.text == text;
            let is_again = alarms.get(&kind).is_some_and(again);
            let words = add(alarms, kind, text, (self.wall_ms)(), is_again);
            tracing::error!("ALARM: {text}{words}{}{detail}", if detail.is_empty() { "" } else { ": " });
            true
        });
    }

    /// Raises one that is over with its cause, which [`Alarm::over`] names alike: a run's digits, a file's path. As long as it is not
    /// over it is one, however often it is raised.
    pub fn raise_for(&self, kind: Kind, cause: &str, text: &str) {
        let text = &*in_one_line(text);
        self.change(|alarms| {
            let now_ms = (self.wall_ms)();
            let is_again = alarms.get(&kind).is_some_and(|raised| raised.stands(cause));
            add(alarms, kind, text, now_ms, is_again);
            if let Some(raised) = alarms.get_mut(&kind) {
                raised.add_cause(cause, text, now_ms);
            }
            tracing::error!("ALARM: {text}");
            true
        });
    }

    /// What was raised for this cause is over. How often there was one stays.
    pub fn over(&self, kind: Kind, cause: &str) {
        self.end(kind, |causes| causes.remove(cause).is_some());
    }

    /// All that was raised of this kind is over.
    pub fn all_over(&self, kind: Kind) {
        self.end(kind, |causes| !std::mem::take(causes).is_empty());
    }

    /// All that was raised of this kind is over, or will be raised again: then it is the same alarm still.
    pub fn ask_anew(&self, kind: Kind) {
        self.end(kind, |causes| {
            let standing = causes.values_mut().filter(|standing| !standing.doubted);
            standing.map(|standing| standing.doubted = true).count() > 0
        });
    }

    fn end(&self, kind: Kind, end: impl FnOnce(&mut BTreeMap<String, Standing>) -> bool) {
        self.change(|alarms| {
            let Some(raised) = alarms.get_mut(&kind) else { return false };
            // A release before named no cause.
            let is_of_before = raised.causes.is_none();
            end(raised.causes.get_or_insert_default()) || is_of_before
        });
    }

    /// A training did not fail: those that did before are no longer in a row. They are not forgotten.
    pub fn trained(&self) {
        self.change(|alarms| {
            let in_a_row = alarms.get_mut(&Kind::Training).filter(|raised| raised.in_a_row > 0);
            in_a_row.map(|raised| raised.in_a_row = 0).is_some()
        });
    }

    /// Changes what is kept, where `change` says that it did. What cannot be read is kept aside and is an alarm; what cannot be
    /// written is in the log: an alarm ends nothing.
    fn change(&self, change: impl FnOnce(&mut Alarms) -> bool) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut alarms, damage) = match read(&self.path) {
            Ok(alarms) => (alarms, None),
            Err(why) => (Alarms::new(), Some(why)),
        };
        let aside = self.path.with_extension(format!("damaged-{}", (self.wall_ms)()));
        let is_damaged = damage.is_some();
        if let Some(why) = damage {
            let text = format!(
                "the alarms that were kept could not be read ({why}), and what they were is not known: they lie in `{}`",
                aside.display()
            );
            tracing::error!("ALARM: {text}");
            add(&mut alarms, Kind::Damaged, &text, (self.wall_ms)(), false);
        }
        if !change(&mut alarms) && !is_damaged {
            return;
        }
        let moved = if is_damaged { fs::rename(&self.path, &aside) } else { Ok(()) };
        // Its operator may have removed it meanwhile.
        let moved =
            moved.or_else(|why| if why.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(why) });
        let kept = moved.map_err(|why| why.to_string()).and_then(|()| {
            let bytes = serde_json::to_vec_pretty(&alarms).map_err(|why| why.to_string())?;
            store::write_replacing(&self.path, &bytes).map_err(|why| why.to_string())
        });
        if let Err(why) = kept {
            tracing::error!("the alarm is not kept for `doctor`: {}: {why}", self.path.display());
        }
    }

    /// Says again what nobody has taken back, when the daemon starts and when a run is over.
    pub fn repeat(&self) {
        for line in self.lines() {
            tracing::error!("ALARM, still: {line}");
        }
    }

    /// What is kept, for whoever only shows it.
    fn look(&self) -> Alarms {
        read(&self.path).unwrap_or_else(|why| {
            let mut alarms = Alarms::new();
            let text = format!(
                "`{}` cannot be read, and what alarms are in it is not known: {why}",
                self.path.display()
            );
            add(&mut alarms, Kind::Damaged, &text, (self.wall_ms)(), false);
            alarms
        })
    }

    /// How often there was one, of every kind.
    pub fn counts(&self) -> Vec<AlarmCount> {
        let alarms = self.look();
        let count = |kind: Kind| {
            let raised = alarms.get(&kind);
            AlarmCount {
                kind: kind.name(),
                times: raised.map_or(0, |raised| raised.times),
                last_unix_s: raised.map_or(0, |raised| raised.last_unix_ms / 1000),
                in_a_row: raised.map_or(0, |raised| raised.in_a_row),
            }
        };
        Kind::ALL.map(count).to_vec()
    }

    /// A line for each alarm that is kept and not over, and how they are taken back.
    pub fn lines(&self) -> Vec<String> {
        let alarms = self.look();
        let mut lines: Vec<String> = alarms.values().flat_map(Raised::lines).collect();
        if alarms.values().any(|raised| raised.causes.is_none()) {
            lines.push(format!("once that is fixed, remove `{}`", self.path.display()));
        } else if !lines.is_empty() {
            lines.push(
                "that goes away by itself once the run is joined or over, the roster is accepted, the configuration can be used, or the \
                 daemon was started again by it"
                    .to_owned(),
            );
        }
        lines
    }
}

/// Without a file there are none.
fn read(path: &Path) -> Result<Alarms, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|why| why.to_string()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Alarms::new()),
        Err(why) => Err(why.to_string()),
    }
}

/// A log and a listing have a line for each: a list of problems, or what a parser drew below a line, becomes one.
fn in_one_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let between = if line.is_empty() {
            ""
        } else if line.ends_with([':', ';', ',']) {
            " "
        } else {
            "; "
        };
        line.extend([between, part]);
    }
    line
}

/// Adds one, or what was one already, and gives what is said of it beside its text.
fn add(alarms: &mut Alarms, kind: Kind, text: &str, now_ms: u64, is_again: bool) -> String {
    let none = || Raised { times: 0, last_unix_ms: now_ms, text: String::new(), in_a_row: 0, causes: None };
    let raised = alarms.entry(kind).or_insert_with(none);
    raised.times = raised.times.saturating_add(u64::from(!is_again));
    raised.last_unix_ms = now_ms;
    raised.text = text.to_owned();
    raised.in_a_row = if kind == Kind::Training { raised.in_a_row.saturating_add(1) } else { 0 };
    raised.in_a_row()
}

#[cfg(test)]
mod tests;
