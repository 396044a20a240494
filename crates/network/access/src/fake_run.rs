//! A run for tests of what stands before it: the desk, and who calls it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::SignedRoster;
use secagg::ClientId;
use tonic::async_trait;
use wire::ServiceError;

use crate::{Caller, OperationError, Operations, RegistryError};

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

    async fn pause(&self, reason: &str, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("paused by {}: {reason}", by.name))
    }

    async fn resume(&self, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("resumed by {}", by.name))
    }

    async fn quarantine(&self, round: u64, reason: &str, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("round {round} quarantined by {}: {reason}", by.name))
    }

    async fn rollback(&self, to_round: u64, reason: &str, by: &Caller) -> Result<String, OperationError> {
        self.remember(format!("rolled back to {to_round} by {}: {reason}", by.name))
    }

    async fn remove(&self, client: ClientId) -> Result<(), OperationError> {
        self.remember(format!("removed {client}")).map(drop)
    }

    async fn restore(&self, client: ClientId, reason: &str, by: &str) -> Result<bool, OperationError> {
        self.remember(format!("restored {client} by {by}: {reason}")).map(|_| true)
    }

    async fn reconcile(
        &self,
        one: ClientId,
        other: ClientId,
        reason: &str,
        by: &str,
    ) -> Result<String, OperationError> {
        self.remember(format!("reconciled {one} and {other} by {by}: {reason}"))
    }

    async fn rotate_keys(&self, by: &str) -> Result<String, OperationError> {
        self.remember(format!("rotated by {by}"))
    }

    /// The first client alone.
    async fn connected(&self) -> Result<BTreeSet<ClientId>, OperationError> {
        Ok([ClientId(1)].into())
    }
}
