//! One federation, many runs: several coordinators in one process, which share its silos.
//!
//! Owns: which runs are active, what each silo is offered, whose turn it is to open an attempt, which run a message belongs to,
//! what a list of runs says of each. Does not: decide anything inside a run, which is `protocol`'s; nor keep a journal: whatever is
//! decided about a run is a record of that run, and a federation is what its runs' journals say together.
//!
//! ```text
//!   Input --> Federation::handle --> one run's Coordinator, or several
//!                settle: who is active, who is offered what, whose turn it is, until nothing changes
//!             --> [Effect { run, .. }, ..]      performed in order, each in its run's folder
//! ```
//!
//! A silo is in one attempt at a time, over all runs. Idle runs are asked in the order in which they last opened an attempt, and one
//! that waits only for silos that are in other runs keeps them: so with `k` active runs, each has its round among `k`.
//!
//! ```
//! use federation::RunNumber;
//! assert_eq!(RunNumber(2).to_string(), "run 2");
//! assert!(RunNumber::FIRST < RunNumber(2), "the queue is the order of numbers");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod entries;
mod inputs;
mod offers;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use identity::AuthorisedRoster;
use params::Digest;
use protocol::{Coordinator, OfRun, Record, Rejection, SessionVersion, Setup, Timestamp, UploadHeader};
use rand_core::CryptoRng;
use run_status::Status;
use secagg::ClientId;

pub use inputs::{Effect, Effects, Input};

/// A run's number in its federation, from 1, in the order in which plans were submitted. It names the run's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunNumber(pub u32);

impl RunNumber {
    /// The federation's first run, whose journal also keeps all rosters and bars, when it is over too.
    pub const FIRST: Self = Self(1);
}

impl std::fmt::Display for RunNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {}", self.0)
    }
}

/// A run cannot go on from its journal.
#[derive(Debug, thiserror::Error)]
#[error("{run}: {why}")]
pub struct NotRecovered {
    /// Whose journal it is.
    pub run: RunNumber,
    #[source]
    pub why: protocol::StartError,
}

/// All runs of one federation.
pub struct Federation {
    /// Runs that may open attempts at one time.
    active_max: usize,
    runs: BTreeMap<RunNumber, Run>,
    /// Of silos. A restart begins without any.
    sessions: BTreeMap<ClientId, Session>,
}

struct Run {
    coordinator: Coordinator,
    submitted_by: String,
    /// In milliseconds since the Unix epoch.
    submitted_ms: u64,
}

struct Session {
    version: SessionVersion,
    /// The one run of a session that has no more than one.
    only: Option<RunNumber>,
    /// What it was offered.
    offered: BTreeSet<RunNumber>,
    /// Of that, what it has not answered yet.
    unanswered: BTreeMap<RunNumber, Welcomed>,
}

/// A silo was welcomed to a run.
struct Welcomed {
    bytes: usize,
    /// Whether the run was over then: of one that ends later no answer may come.
    was_over: bool,
}

impl Federation {
    /// The federation as its runs' journals left it; effects resume what a crash interrupted. A folder of one run is a
    /// federation of one. Runs whose journal is empty were never begun, and are none of it: [`Input::Submit`] begins them.
    ///
    /// # Errors
    /// [`NotRecovered`] where a run's configuration is not its journal's.
    ///
    /// # Panics
    /// On a journal that no coordinator wrote.
    pub fn recover(
        runs: Vec<(RunNumber, Setup, Vec<Record>)>,
        active_max: usize,
        now: Timestamp,
        out: &mut Effects,
    ) -> Result<Self, NotRecovered> {
        let mut federation =
            Self { active_max: active_max.max(1), runs: BTreeMap::new(), sessions: BTreeMap::new() };
        let mut begun: Vec<_> = runs.into_iter().filter(|(_, _, journal)| !journal.is_empty()).collect();
        begun.sort_by_key(|(number, ..)| *number);
        for (number, setup, journal) in begun {
            federation.recover_one(number, setup, &journal, now, out)?;
        }
        federation.take_turns(now);
        Ok(federation)
    }

    fn recover_one(
        &mut self,
        number: RunNumber,
        mut setup: Setup,
        journal: &[Record],
        now: Timestamp,
        out: &mut Effects,
    ) -> Result<(), NotRecovered> {
        let is_over = journal.iter().any(|record| matches!(record, Record::Ended { .. }));
        if let Some(newest) = self.newest_roster().cloned() {
            // A crash may have fallen between the first run's record of a roster and this run's. One that is over keeps its own.
            let own = journal
                .iter()
                .find_map(begun_under)
                .and_then(|roster| roster.authorise(&setup.authority).ok());
            setup.roster = if is_over { own.unwrap_or(newest) } else { newest };
        }
        let mut effects = Vec::new();
        let mut coordinator = Coordinator::recover(setup, journal, now, &mut effects)
            .map_err(|why| NotRecovered { run: number, why })?;
        if let Some(first) = self.runs.values().next() {
            coordinator.follows_from(&first.coordinator, &mut effects);
        }
        let submitted = journal.iter().find_map(|record| match record {
            Record::Submitted { now, by } => Some((now.0, by.clone())),
            _ => None,
        });
        let (submitted_ms, submitted_by) =
            submitted.unwrap_or_else(|| (coordinator.begun_ms(), String::new()));
        self.runs.insert(number, Run { coordinator, submitted_by, submitted_ms });
        inputs::of_run(number, effects, out);
        Ok(())
    }

    /// Takes one input and appends what is to be done.
    ///
    /// # Errors
    /// A [`Rejection`] of this input alone; the sender may hear of it.
    pub fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let result = self.take(now, rng, input, out);
        self.settle(now, rng, out);
        result
    }

    /// When after `now` [`Input::Tick`] is due, if at all. `now` is that of the last [`Federation::handle`].
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        self.runs.values().filter_map(|run| run.coordinator.deadline(now)).min()
    }

    /// Whether a masked vector with this header may be sent now, and into which run's staging.
    ///
    /// # Errors
    /// [`Rejection`], before a byte of it is read.
    pub fn admit_upload(&self, header: &OfRun<UploadHeader>) -> Result<RunNumber, Rejection> {
        let number = self.run_of(header.message.client, header.run.as_ref())?;
        self.known(number)?.coordinator.admit_upload(&header.message)?;
        Ok(number)
    }

    /// The run of this random name.
    pub fn by_id(&self, run: &Digest) -> Option<RunNumber> {
        self.runs
            .iter()
            .find(|(_, one)| one.coordinator.run_id().as_ref() == Some(run))
            .map(|(number, _)| *number)
    }

    /// The run that is meant where nobody says which: the first active one, else the oldest that is not over, else the newest.
    pub fn default_run(&self) -> Option<RunNumber> {
        self.active().first().copied().or_else(|| self.oldest())
    }

    /// All numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = RunNumber> {
        self.runs.keys().copied()
    }

    /// The number that the next run gets.
    pub fn next_number(&self) -> RunNumber {
        self.runs.last_key_value().map_or(RunNumber::FIRST, |(last, _)| RunNumber(last.0 + 1))
    }

    /// One run, for what is only read.
    pub fn run(&self, number: RunNumber) -> Option<&Coordinator> {
        self.runs.get(&number).map(|run| &run.coordinator)
    }

    /// What an operator sees of one run.
    pub fn status(&self, number: RunNumber) -> Option<Status> {
        self.status_among(number, &self.active())
    }

    /// [`Federation::status`], for whoever asks for those of several runs: `active` are those of [`Federation::active`].
    pub fn status_among(&self, number: RunNumber, active: &[RunNumber]) -> Option<Status> {
        let mut status = self.run(number)?.status();
        status.show_links(|silo| self.sessions.contains_key(&silo));
        self.show_queue(number, active, &mut status);
        Some(status)
    }

    /// The silos whose sessions stand.
    pub fn connected_silos(&self) -> impl Iterator<Item = ClientId> {
        self.sessions.keys().copied()
    }

    /// The latest roster that the authority has signed; none before the first run.
    pub fn newest_roster(&self) -> Option<&AuthorisedRoster> {
        self.runs.values().next().map(|first| first.coordinator.newest_roster())
    }

    /// The oldest run that is not over, else the newest.
    fn oldest(&self) -> Option<RunNumber> {
        let lives = self.runs.iter().find(|(_, run)| run.coordinator.ended().is_none());
        lives.or_else(|| self.runs.iter().next_back()).map(|(number, _)| *number)
    }

    fn known(&self, number: RunNumber) -> Result<&Run, Rejection> {
        self.runs.get(&number).ok_or_else(|| unknown(&number))
    }

    /// Which run a silo speaks of.
    fn run_of(&self, client: ClientId, run: Option<&Digest>) -> Result<RunNumber, Rejection> {
        let session = self.sessions.get(&client);
        match run {
            Some(run) => self.by_id(run).ok_or_else(|| unknown(&run.short())),
            None if session.is_some_and(|session| session.version.names_runs()) => {
                Err(Rejection::Invalid("it does not say which run it belongs to".into()))
            }
            None => session
                .and_then(|session| session.only)
                .or_else(|| self.oldest())
                .ok_or_else(|| Rejection::NotPossible("there is no run yet".into())),
        }
    }
}

fn begun_under(record: &Record) -> Option<identity::SignedRoster> {
    match record {
        Record::RunStarted { roster, .. } => Some(roster.clone()),
        _ => None,
    }
}

fn unknown(run: &dyn std::fmt::Display) -> Rejection {
    Rejection::Invalid(format!("this federation has no run {run}"))
}
