//! The central site: the real coordinator of all runs, and each run's files.

use std::collections::{BTreeMap, VecDeque};

use federation::{Effect, Effects, RunNumber};
use identity::{AuthorisedRoster, IdentityKey};
use plan::AuthoredPlan;
use protocol::{Record, Setup, Timestamp};
use secagg::ClientId;
use store::Journal;

use crate::disk::Disk;
use crate::run_files::RunFiles;
use crate::samples::authority;

/// What the coordinator's machine holds.
pub(crate) struct Center {
    pub(crate) roster: AuthorisedRoster,
    key: String,
    /// Runs that may be active at one time.
    pub(crate) active_max: usize,
    pub(crate) runs: BTreeMap<RunNumber, RunFiles>,
    /// The process; `None` while it is dead.
    pub(crate) process: Option<Process>,
    /// Counts processes: what an older one began does not reach a newer one.
    pub(crate) life: u64,
    clock_error_ms: i64,
}

pub(crate) struct Process {
    pub(crate) core: federation::Federation,
    pub(crate) journals: BTreeMap<RunNumber, Journal<Disk>>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) sessions: BTreeMap<ClientId, u64>,
    /// The clock that the core judged by last: a deadline that passed since then is due.
    pub(crate) judged: Timestamp,
}

/// What the journals of all runs hold.
pub(crate) type Found = BTreeMap<RunNumber, Vec<Record>>;

impl Center {
    /// With this plan in its configuration.
    pub(crate) fn new(configured: AuthoredPlan, roster: AuthorisedRoster, key: String) -> Self {
        Self {
            roster,
            key,
            active_max: 1,
            runs: [(RunNumber::FIRST, RunFiles::new(configured))].into(),
            process: None,
            life: 0,
            clock_error_ms: 0,
        }
    }

    /// What its clock says at this time.
    pub(crate) fn clock(&self, start_ms: u64, now_ms: u64) -> Timestamp {
        Timestamp((start_ms + now_ms).saturating_add_signed(self.clock_error_ms))
    }

    /// When its core wants to be called, in milliseconds after the start: at once, where that time has passed.
    pub(crate) fn deadline_ms(&self, start_ms: u64) -> Option<u64> {
        let process = self.process.as_ref()?;
        let due = process.core.deadline(process.judged)?;
        Some(due.0.saturating_add_signed(-self.clock_error_ms).saturating_sub(start_ms))
    }

    /// Starts the process from what is on disk; gives the records found there.
    ///
    /// # Errors
    /// What a journal or the core says against it.
    pub(crate) fn start(&mut self, start_ms: u64, now_ms: u64, error_ms: i64) -> Result<Found, String> {
        let (mut journals, mut found) = (BTreeMap::new(), Found::new());
        for (number, run) in &self.runs {
            let (journal, records) = run.open_journal()?;
            journals.insert(*number, journal);
            found.insert(*number, records);
        }
        // As the shell's clock: never before what its own journals say.
        let newest = found.values().flatten().filter_map(Record::time).max().map_or(0, |newest| newest.0);
        let clock = (start_ms + now_ms).saturating_add_signed(error_ms).max(newest);
        self.clock_error_ms = clock as i64 - (start_ms + now_ms) as i64;
        let judged = Timestamp(clock);
        let mut effects = Effects::new();
        let core = self.recovered(&found, judged, &mut effects)?;
        self.life += 1;
        let effects = effects.into();
        self.process = Some(Process { core, journals, effects, sessions: BTreeMap::new(), judged });
        Ok(found)
    }

    /// The core as these journals leave it.
    ///
    /// # Errors
    /// What it says against them.
    pub(crate) fn recovered(
        &self,
        journals: &Found,
        now: Timestamp,
        out: &mut Effects,
    ) -> Result<federation::Federation, String> {
        let of = |(number, records): (&RunNumber, &Vec<Record>)| {
            let run = self.runs.get(number)?;
            Some((*number, self.setup(run.plan.clone()), records.clone()))
        };
        let journals = journals.iter().filter_map(of).collect();
        federation::Federation::recover(journals, self.active_max, now, out).map_err(|why| why.to_string())
    }

    /// What a run of this plan is made of.
    pub(crate) fn setup(&self, plan: AuthoredPlan) -> Setup {
        let key = IdentityKey::from_secret_hex(&self.key).expect("a key made by the simulation");
        Setup {
            plan,
            roster: self.roster.clone(),
            authority: authority().public(),
            key: key.signing_key().clone(),
        }
    }

    /// The first run's files.
    ///
    /// # Panics
    /// Never: they are there from the beginning.
    pub(crate) fn first(&self) -> &RunFiles {
        self.runs.get(&RunNumber::FIRST).expect("the configured plan's run")
    }
}
