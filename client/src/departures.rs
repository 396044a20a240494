//! What left this building, in the silo's own tamper-evident log beside what happened in it.
//!
//! An entry is durable before the bytes that it tells of are handed to the network, and so is what was recorded of the job
//! that made them. It names the message's type, its size and digest, never what is in it.

use std::path::Path;

use audit::{Action, Event, LogError, Recorder, Status, Writer};
use params::Digest;
use protocol::{Attempt, Decline, OfRun, Profile, ToCoordinator, UploadHeader};

/// See the module.
pub(crate) struct Departures {
    log: Writer,
    recorder: Recorder,
    waiting: Vec<Event>,
}

impl Departures {
    /// Opens the log in the silo's state folder.
    pub(crate) fn open(state: &Path, profile: &Profile) -> Result<Self, LogError> {
        let name = audit::silo_name(&profile.roster.federation, profile.id.0);
        let key = profile.identity.signing_key().clone();
        let log = Writer::open(&state.join("audit"), &name, key, profile.id.0, daemon::wall_ms)?;
        Ok(Self { recorder: log.recorder(), log, waiting: Vec::new() })
    }

    /// For what happens to the data and the trainers.
    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Nothing of the data is in what is about to leave, since it could not be protected: written with that.
    pub(crate) fn replaced(&mut self, run: &Digest, plan: &str, at: Attempt) {
        let event = self.recorder.of_run(Action::ContributionReplaced, run, plan);
        self.keep(event.with("why", "it could not be protected; the daemon's log says why"), Some(at));
    }

    /// A message is about to be said.
    pub(crate) fn message(&mut self, said: &OfRun<ToCoordinator>) {
        let message = &said.message;
        let bytes = wire::to_coordinator_bytes(message.clone());
        let mut event = self.recorder.event(Action::MessageSent).with("type", message.name());
        event.run = said.run.map(|run| run.to_string());
        event.digest = Some(Digest::sha256(&bytes).to_string());
        event.bytes = Some(bytes.len() as u64);
        if let ToCoordinator::Declined { reason, .. } = message {
            let code = match reason {
                Decline::Policy { code, .. } => code.clone(),
                other => other.to_string(),
            };
            event = Event { status: Status::Refused, ..event.with("refused", code) };
        }
        self.keep(event, message.attempt());
    }

    /// A masked vector is about to be uploaded; `epsilon` is what this silo's data has spent with it, over all runs. Whether anything of
    /// the data is in it stays in this log.
    pub(crate) fn upload(&mut self, said: &OfRun<UploadHeader>, epsilon: f64, of_data: bool) {
        let header = &said.message;
        let event = self.recorder.event(Action::UploadSent).with_digest(header.digest);
        let mut event = event.with("transcript", header.r2.to_string()).with("epsilon", epsilon.to_string());
        if !of_data {
            event = event.with("data", "nothing of it is in this upload");
        }
        event.run = said.run.map(|run| run.to_string());
        event.bytes = Some(header.lanes * wire::limits::LANE_BYTES);
        self.keep(event, Some(header.at));
    }

    /// Makes everything durable that was announced.
    pub(crate) fn settle(&mut self) -> Result<(), LogError> {
        match std::mem::take(&mut self.waiting) {
            nothing if nothing.is_empty() => Ok(()),
            events => self.log.settle(events),
        }
    }

    /// Signs a checkpoint over all entries.
    pub(crate) fn publish(&self) -> Result<(), LogError> {
        self.log.publish()
    }

    fn keep(&mut self, mut event: Event, at: Option<Attempt>) {
        event.round = at.map(|at| at.round);
        event.attempt = at.map(|at| at.attempt);
        self.waiting.push(event);
    }
}
