//! A run for tests of what stands before it: the desk, and who calls it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::SignedRoster;
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use protocol::Rejection;
use run_status::{RunEntry, RunState};
use secagg::ClientId;
use tonic::async_trait;
use wire::ServiceError;

use crate::{Caller, OperationError, Operations, Queue, RegistryError};

/// A run that does at once what it is asked, and remembers it. With what lies in its other fields it misbehaves.
#[derive(Debug)]
pub struct FakeRun {
    pub roster: Mutex<SignedRoster>,
    /// What it was asked, each with who asked.
    pub asked: Mutex<Vec<String>>,
    /// What it shows and keeps whatever is submitted, where it lies.
    pub frozen: Mutex<Option<SignedRoster>>,
    /// Where it lies, every roster is said to break a rule, and kept here.
    pub refused: Mutex<Option<Vec<SignedRoster>>>,
    /// Where it lies, the answer to the next roster is lost; whether the roster was too.
    pub lost: Mutex<Option<bool>>,
    /// Runs that were submitted, each with its plan.
    pub runs: Mutex<Vec<(RunEntry, SignedPlan)>>,
}

impl FakeRun {
    /// With this roster in force.
    pub fn new(roster: SignedRoster) -> Self {
        Self {
            roster: Mutex::new(roster),
            asked: Mutex::default(),
            frozen: Mutex::default(),
            refused: Mutex::default(),
            lost: Mutex::default(),
            runs: Mutex::default(),
        }
    }

    /// What it was asked since the last time.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *of(&self.asked))
    }

    fn remember(&self, what: String) -> Result<String, OperationError> {
        of(&self.asked).push(what.clone());
        Ok(what)
    }
}

fn of_run(run: Option<Digest>) -> String {
    run.map_or_else(String::new, |run| format!(" in {run}"))
}

/// A test that failed while it held one says so itself.
fn of<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Operations for FakeRun {
    async fn current_roster(&self) -> Result<SignedRoster, OperationError> {
        let frozen = of(&self.frozen).clone();
        Ok(frozen.unwrap_or_else(|| of(&self.roster).clone()))
    }

    async fn put_roster(&self, roster: SignedRoster) -> Result<(), OperationError> {
        if let Some(refused) = &mut *of(&self.refused) {
            refused.push(roster);
            return Err(RegistryError::Roster("a rule of its own".into()).into());
        }
        let lost = of(&self.lost).take();
        if lost != Some(true) {
            *of(&self.roster) = roster;
        }
        lost.map_or(Ok(()), |_| Err(ServiceError::Restarting { retry_after: Duration::ZERO }.into()))
    }

    async fn pause(&self, run: Option<Digest>, reason: &str, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("paused{} by {}: {reason}", of_run(run), by.name))
    }

    async fn resume(&self, run: Option<Digest>, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("resumed{} by {}", of_run(run), by.name))
    }

    async fn quarantine(
        &self,
        run: Option<Digest>,
        round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError> {
        self.remember(format!("round {round} quarantined{} by {}: {reason}", of_run(run), by.name))
    }

    async fn rollback(
        &self,
        run: Option<Digest>,
        to_round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError> {
        self.remember(format!("rolled back{} to {to_round} by {}: {reason}", of_run(run), by.name))
    }

    async fn remove(&self, client: ClientId) -> Result<(), OperationError> {
        self.remember(format!("removed {client}")).map(drop)
    }

    async fn restore(&self, client: ClientId, reason: &str, by: &str) -> Result<bool, OperationError> {
        self.remember(format!("restored {client} by {by}: {reason}")).map(|_| true)
    }

    async fn reconcile(
        &self,
        run: Option<Digest>,
        one: ClientId,
        other: ClientId,
        reason: &str,
        by: &str,
    ) -> Result<String, OperationError> {
        self.remember(format!("reconciled {one} and {other}{} by {by}: {reason}", of_run(run)))
    }

    async fn rotate_keys(&self, by: &str) -> Result<String, OperationError> {
        self.remember(format!("rotated by {by}"))
    }

    /// The first client alone.
    async fn connected(&self) -> Result<BTreeSet<ClientId>, OperationError> {
        Ok([ClientId(1)].into())
    }
}

#[async_trait]
impl Queue for FakeRun {
    async fn runs(&self) -> Result<Vec<RunEntry>, OperationError> {
        Ok(of(&self.runs).iter().map(|(entry, _)| entry.clone()).collect())
    }

    async fn run(&self, run: Option<Digest>) -> Result<(RunEntry, SignedPlan), OperationError> {
        let runs = of(&self.runs);
        let found = match run {
            Some(run) => runs.iter().find(|(entry, _)| entry.run == run),
            None => runs.first(),
        };
        found
            .cloned()
            .ok_or_else(|| ServiceError::NoSuchRun(run.unwrap_or(Digest::from_bytes([0; 32]))).into())
    }

    /// Named by how many there were before.
    async fn submit(&self, plan: AuthoredPlan, by: &Caller) -> Result<RunEntry, OperationError> {
        let mut runs = of(&self.runs);
        if let Some((same, _)) = runs.iter().find(|(_, known)| known == plan.signed()) {
            let text = format!(
                "this plan is run {} already; to run it once more, have it signed again",
                same.number
            );
            return Err(Rejection::AlreadySo(text).into());
        }
        let number = runs.last().map_or(1, |(last, _)| last.number + 1);
        let entry = RunEntry {
            run: Digest::sha256(&number.to_le_bytes()),
            number,
            name: plan.name.clone(),
            author: plan.signed().author.clone(),
            state: RunState::Queued,
            reason: "others go before it".into(),
            position: Some(number),
            rounds_committed: 0,
            rounds_planned: plan.rounds,
            submitted_ms: 0,
            submitted_by: by.name.clone(),
            since_ms: None,
            until_ms: None,
        };
        runs.push((entry.clone(), plan.signed().clone()));
        Ok(entry)
    }

    async fn stop(&self, run: Digest, reason: &str, by: &Caller) -> Result<RunEntry, OperationError> {
        let mut runs = of(&self.runs);
        let (entry, _) =
            runs.iter_mut().find(|(entry, _)| entry.run == run).ok_or(ServiceError::NoSuchRun(run))?;
        if entry.state == RunState::Stopped {
            return Err(Rejection::AlreadySo("the run is over".into()).into());
        }
        (entry.state, entry.position) = (RunState::Stopped, None);
        entry.reason = format!("{} stopped it: {reason}", by.name);
        Ok(entry.clone())
    }
}
