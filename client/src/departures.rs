//! What left this building, in the silo's own tamper-evident log beside what happened in it.
//!
//! An entry is durable before the bytes that it tells of are handed to the network, and so is what was recorded of the job
//! that made them. It names the message's type, its size and digest, never what is in it.

use std::path::Path;

use audit::{Action, Event, LogError, Status, Writer};
use params::Digest;
use protocol::{Attempt, Decline, OfRun, Profile, Timestamp, ToCoordinator, UploadHeader};
use secagg::ClientId;

/// See the module.
pub(crate) struct Departures {
    log: Writer,
    silo: ClientId,
    waiting: Vec<Event>,
}

impl Departures {
    /// Opens the log in the silo's state folder.
    pub(crate) fn open(state: &Path, profile: &Profile) -> Result<Self, LogError> {
        let (folder, silo) = (state.join("audit"), profile.id);
        let name = audit::silo_name(&profile.roster.federation, silo.0);
        let key = profile.identity.signing_key().clone();
        let log = Writer::open(&folder, &name, key, silo.0, daemon::wall_ms)?;
        // What `folkmoot audit verify --key` is given. It follows from the roster: not having it loses nothing.
        if let Err(why) = store::write_replacing(
            &folder.with_extension("pub"),
            format!("{}\n", log.verifier_key()).as_bytes(),
        ) {
            tracing::warn!("the audit log's public key is not written: {why}");
        }
        Ok(Self { log, silo, waiting: Vec::new() })
    }

    /// A message is about to be said.
    pub(crate) fn message(&mut self, now: Timestamp, said: &OfRun<ToCoordinator>) {
        let message = &said.message;
        let bytes = wire::to_coordinator_bytes(message.clone());
        let (kind, at, refusal) = describe(message);
        let mut event = self.event(now, Action::MessageSent, refusal.is_some());
        event.run = said.run.map(|run| run.to_string());
        event.digest = Some(Digest::sha256(&bytes).to_string());
        event.bytes = Some(bytes.len() as u64);
        event.details.insert("type".into(), kind.into());
        if let Some(reason) = refusal {
            event.details.insert("refused".into(), reason);
        }
        self.keep(event, at);
    }

    /// A masked vector is about to be uploaded; `epsilon` is what this silo's data has spent with it, over all runs.
    pub(crate) fn upload(&mut self, now: Timestamp, said: &OfRun<UploadHeader>, epsilon: f64) {
        let header = &said.message;
        let mut event = self.event(now, Action::UploadSent, false);
        event.run = said.run.map(|run| run.to_string());
        event.digest = Some(header.digest.to_string());
        event.bytes = Some(header.lanes * wire::limits::LANE_BYTES);
        event.details.insert("transcript".into(), header.r2.to_string());
        event.details.insert("epsilon".into(), epsilon.to_string());
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

    fn event(&self, now: Timestamp, action: Action, refused: bool) -> Event {
        let status = if refused { Status::Refused } else { Status::Ok };
        Event { status, ..Event::of_silo(now.0, self.silo.0, action) }
    }

    fn keep(&mut self, mut event: Event, at: Option<Attempt>) {
        event.round = at.map(|at| at.round);
        event.attempt = at.map(|at| at.attempt);
        self.waiting.push(event);
    }
}

fn describe(message: &ToCoordinator) -> (&'static str, Option<Attempt>, Option<String>) {
    match message {
        ToCoordinator::CheckIn { .. } => ("check-in", None, None),
        ToCoordinator::Declined { reason, .. } => {
            let code = match reason {
                Decline::Policy { code, .. } => code.clone(),
                other => other.to_string(),
            };
            ("declined", None, Some(code))
        }
        ToCoordinator::Advertise { at, .. } => ("advert", Some(*at), None),
        ToCoordinator::ShareKeys { at, .. } => ("key shares", Some(*at), None),
        ToCoordinator::Complain { at, .. } => ("complaint", Some(*at), None),
        ToCoordinator::SignIncluded { at, .. } => ("signature on the included set", Some(*at), None),
        ToCoordinator::Unmask { at, .. } => ("unmask shares", Some(*at), None),
    }
}
