//! The driver: one task that owns the core and the store, and performs effects in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use attest::ModelKey;
use checkpoint::Manifest;
use daemon::Clock;
use ed25519_dalek::SigningKey;
use identity::AuthorisedRoster;
use protocol::{
    Coordinator, Effect, Effects, Input, Record, Rejection, Setup, Timestamp, ToClient, UploadHeader,
};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use run_status::{Server, Shown};
use runs::{CardWriter, RunFolder};
use secagg::ClientId;
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use wire::{ServiceError, ToStatus};

use crate::audit_log::AuditLog;
use crate::events::{Event, Staging};
use crate::outbox::CHAIN_AT_ONCE;
use crate::service::RETRY_AFTER;
use crate::sessions::Sessions;
use performing::Queue;

/// Events that may wait for the driver. Beyond it, senders wait: that is the back pressure on clients.
pub(crate) const INBOX_EVENTS: usize = 4096;

/// Events and bytes of records that are taken before anything is performed.
const EVENTS_AT_ONCE: usize = 256;
const RECORD_BYTES_AT_ONCE: usize = 4 << 20;

/// Said of an append that failed; the store names the file and what to look at.
const APPEND_FAILED: &str = "stopped before anything was said that the journal does not hold; fix what follows and start \
                             again, the run goes on from there";

/// Said of what follows from the journal and could not be done; the store names the file and what to look at.
const EFFECT_FAILED: &str = "stopped before something was done that the journal holds; put right what follows (a full disk needs room) \
                             and start again, the run goes on from there";

/// An answer, and who waits for it.
struct Reply {
    to: oneshot::Sender<Result<(), Rejection>>,
    result: Result<(), Rejection>,
}

/// What the coordinator signs with beside its checkpoints.
pub(crate) struct Keys {
    /// The audit log's checkpoints: the coordinator's own key again.
    pub(crate) audit: SigningKey,
    /// Published models, for public tools.
    pub(crate) model: Option<ModelKey>,
    /// What the model cards say of this coordinator.
    pub(crate) controls: card::Controls,
}

/// What the driver keeps up to date for the rest of the daemon.
pub(crate) struct Outward {
    pub(crate) status: watch::Sender<Option<Arc<Shown>>>,
    /// The newest roster, in force or about to be.
    pub(crate) roster: watch::Sender<Arc<AuthorisedRoster>>,
    pub(crate) metrics: Arc<telemetry::Metrics>,
}

/// What the driver holds of a run beside the core.
struct RunState {
    folder: RunFolder,
    /// When the attempt in progress was opened.
    opened_at: Instant,
}

/// See the module.
pub(crate) struct Driver {
    core: Coordinator,
    run: RunState,
    sessions: Sessions,
    inbox: mpsc::Sender<Event>,
    outward: Outward,
    audit: AuditLog,
    model_key: Option<ModelKey>,
    /// Effects not yet performed, in order.
    effects: Queue,
    /// Replies that wait until what they acknowledge is durable.
    replies: Vec<Reply>,
    /// The clock that the core judged by last: a deadline that passed since then is due.
    judged: Timestamp,
    clock: Clock,
}

impl Driver {
    /// Replays the store's journal, and starts the run where there is none yet.
    pub(crate) fn open(
        store: Box<dyn Store>,
        setup: Setup,
        folder: &Path,
        keys: Keys,
        inbox: mpsc::Sender<Event>,
        outward: Outward,
    ) -> anyhow::Result<(Self, AuditLog)> {
        let card = CardWriter::new(keys.controls, folder);
        let mut run =
            RunState { folder: RunFolder::new(store, setup.plan.clone(), card), opened_at: Instant::now() };
        let journal = run.folder.journal()?;
        let publish_every = daemon::heartbeat(daemon::patience(&setup.plan)) * 3;
        let origin = audit::log_name(&setup.roster.federation);
        let audit =
            AuditLog::open(&folder.join("audit"), &origin, keys.audit, &[(None, &journal)], publish_every)?;
        let mut effects = Effects::new();
        let newest = journal.iter().filter_map(Record::time).max().unwrap_or(Timestamp(0));
        let clock = Clock::not_before(newest);
        let core = Coordinator::recover(setup, &journal, clock.now(), &mut effects)?;
        let mut driver = Self {
            core,
            run,
            sessions: Sessions::default(),
            inbox,
            outward,
            audit: audit.clone(),
            model_key: keys.model,
            effects: Queue::default(),
            replies: Vec::new(),
            judged: clock.now(),
            clock,
        };
        driver.effects.extend(effects);
        if driver.core.is_new() {
            driver.start()?;
        } else {
            tracing::info!(records = journal.len(), "resumed from the journal");
            // What a crash left unpublished comes first: the version to go on from may be among it.
            driver.perform()?;
            driver.load_head()?;
            // A step's deadline may have passed while nobody was here.
            driver.feed(Input::Tick);
            driver.perform()?;
        }
        driver.publish_status();
        Ok((driver, audit))
    }

    /// Runs until the inbox closes or something fails for good.
    pub(crate) async fn drive(mut self, mut events: mpsc::Receiver<Event>) -> anyhow::Result<()> {
        loop {
            let deadline = self.core.deadline(self.judged);
            let event = tokio::select! {
                event = events.recv() => event,
                () = self.clock.reached(deadline) => {
                    self.feed(Input::Tick);
                    block_in_place(|| self.perform())?;
                    self.publish_status();
                    continue;
                }
            };
            let Some(event) = event else { return Ok(()) };
            self.take(event)?;
            // Whatever else is here already shares one fsync with it: so much of it that neither deadlines nor replies
            // wait for whoever speaks fastest.
            for _ in 1..EVENTS_AT_ONCE {
                if self.effects.bytes() >= RECORD_BYTES_AT_ONCE {
                    break;
                }
                let Ok(event) = events.try_recv() else { break };
                self.take(event)?;
            }
            block_in_place(|| self.perform())?;
            self.publish_status();
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Attached { client, session, version, outbox } => {
                tracing::info!(%client, "connected");
                self.sessions.attach(client, session, outbox);
                self.feed(Input::Connected { client, version });
            }
            Event::Detached { client, session } => {
                if self.sessions.detach(client, session) {
                    tracing::info!(%client, "disconnected");
                    self.feed(Input::Disconnected { client });
                }
            }
            Event::Said { client, session, message } => {
                if self.sessions.is_current(client, session)
                    && let Err(rejection) = self.input(Input::Message { from: client, message: *message })
                {
                    self.send(client, ToClient::Rejected { rejection });
                }
            }
            Event::BeginUpload { header, reply } => {
                // A receiver that is gone needs no answer.
                let _ = reply.send(self.begin_upload(&header));
            }
            Event::Uploaded { header, reply } => {
                let result = self.input(Input::Staged(*header));
                self.replies.push(Reply { to: reply, result });
            }
            Event::Opened { at, result } => self.opened(at, result)?,
            Event::FindModel { digest, reply } => {
                let found = block_in_place(|| self.run.folder.find_model(&digest)).map_err(|why| {
                    tracing::error!("cannot look for a model: {:#}", anyhow::Error::from(why));
                    ServiceError::Internal.to_status()
                });
                let _ = reply.send(found);
            }
            Event::Roster { roster, reply } => {
                let result = self.input(Input::Roster(roster));
                self.replies.push(Reply { to: reply, result });
            }
            Event::Act { act, emergency, reply } => block_in_place(|| self.act(act, emergency, reply))?,
        }
        Ok(())
    }

    /// An input that no peer waits to hear about.
    fn feed(&mut self, input: Input) {
        // Rejections are logged where they arise.
        let _ = self.input(input);
    }

    fn input(&mut self, input: Input) -> Result<(), Rejection> {
        let mut effects = Effects::new();
        self.judged = self.clock.now();
        let result = self.core.handle(self.judged, &mut UnwrapErr(SysRng), input, &mut effects);
        if let Err(rejection) = &result {
            tracing::warn!(%rejection, "refused a message");
        }
        self.effects.extend(effects);
        result
    }

    fn perform_one(&mut self, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Persist(record) => {
                self.run.folder.note(&record)?;
                self.note(&record);
            }
            Effect::Send { to, message } => self.send(to, *message),
            Effect::SendChain { to, after } => {
                match self.read_chain(after) {
                    Ok(records) => {
                        let more = records.len() >= CHAIN_AT_ONCE;
                        for record in records {
                            self.send(to, ToClient::Published(record.signed));
                        }
                        // The rest is for the next session, which begins where this one's part ended.
                        if more {
                            self.sessions.close(to);
                            self.feed(Input::Disconnected { client: to });
                        }
                    }
                    // The round that the others are in goes on; this silo comes back, and hears the same until it is
                    // put right.
                    Err(why) => {
                        tracing::error!(client = %to, "cannot show the chain to a silo: {why:#}");
                        self.sessions.close(to);
                        self.feed(Input::Disconnected { client: to });
                    }
                }
            }
            Effect::Compute(job) => self.compute(*job)?,
            Effect::Publish(signed) => {
                self.publish(&signed)?;
            }
            Effect::DiscardStaged { before } => self.run.folder.discard_staged_before(before)?,
        }
        Ok(())
    }

    fn send(&mut self, to: ClientId, message: ToClient) {
        if let Some(client) = self.sessions.send(to, message.into()) {
            tracing::warn!(%client, "does not read its messages; its session is closed");
            self.feed(Input::Disconnected { client });
        }
    }

    /// Logs and counts what the journal now says.
    fn note(&mut self, record: &Record) {
        match record {
            Record::AttemptBegun { at, cohort, .. } => {
                self.run.opened_at = Instant::now();
                tracing::info!(round = at.round, attempt = at.attempt, silos = cohort.len(), "round opened");
            }
            Record::Committed { .. } => {
                let seconds = self.run.opened_at.elapsed().as_secs_f64();
                self.outward.metrics.rounds_committed.inc();
                self.outward.metrics.round_seconds.observe(seconds);
                let status = self.core.status();
                tracing::info!(
                    round = status.head_round,
                    milliseconds = (seconds * 1000.0) as u64,
                    epsilon = status.privacy.epsilon,
                    "round committed"
                );
            }
            Record::Aborted { .. } => {
                self.outward.metrics.rounds_aborted.inc();
                tracing::warn!(outcome = self.core.last_outcome(), "round aborted");
            }
            Record::Dropped { client, reason } => tracing::warn!(%client, %reason, "left out"),
            Record::Declined { client, reason } => tracing::warn!(%client, %reason, "refuses the run"),
            Record::KeptApart { accuser, accused } => {
                tracing::warn!(%accuser, %accused, "kept apart for some rounds after a complaint");
            }
            Record::Reconciled { one, other, by, reason, .. } => {
                tracing::info!(%one, %other, %by, %reason, "together again");
            }
            Record::Restored { client, by, reason, .. } => {
                tracing::info!(%client, %by, %reason, "let in again");
            }
            Record::Ended { reason } => tracing::info!(%reason, "the run is over"),
            Record::Barred { client, reason } => tracing::warn!(%client, %reason, "in no cohort any more"),
            Record::Paused { by, reason, .. } => tracing::warn!(%by, %reason, "paused"),
            Record::Resumed { by, .. } => tracing::info!(%by, "resumed"),
            Record::Acted { manifest, .. } => {
                let action = Manifest::from_bytes(&manifest.manifest_bytes).ok().and_then(|m| m.action);
                tracing::warn!(action = action.map(|action| action.to_string()), "an operator's action");
            }
            _ => {}
        }
    }

    /// Stages version 0 and starts the run.
    fn start(&mut self) -> anyhow::Result<()> {
        let genesis = self.run.folder.stage_initial(None)?;
        self.input(Input::Start { genesis })?;
        self.perform()?;
        self.load_head()?;
        tracing::info!(
            run = %self.core.run_id().map(|id| id.short()).unwrap_or_default(),
            plan = %self.run.folder.plan().digest().short(),
            "run started"
        );
        Ok(())
    }

    fn begin_upload(&mut self, header: &UploadHeader) -> Result<Staging, tonic::Status> {
        if let Err(rejection) = self.core.admit_upload(header) {
            self.outward.metrics.reject_upload(rejection.reason());
            return Err(rejection.to_status());
        }
        match block_in_place(|| self.run.folder.begin_upload(header)) {
            Ok(Some(writer)) => Ok(Staging::Writer(writer)),
            Ok(None) => Ok(Staging::Done),
            Err(StoreError::StageBusy(_)) => Err(ServiceError::Busy { retry_after: RETRY_AFTER }.to_status()),
            Err(why) => {
                tracing::error!("cannot stage an upload: {:#}", anyhow::Error::from(why));
                // It may pass, as descriptors and space are given back: the silo, whose budget is spent, tries again.
                Err(ServiceError::Busy { retry_after: RETRY_AFTER }.to_status())
            }
        }
    }

    fn publish_status(&self) {
        let newest = self.core.newest_roster();
        self.outward.roster.send_if_modified(|known| {
            let new = known.digest() != newest.digest();
            if new {
                *known = Arc::new(newest.clone());
            }
            new
        });
        let status = self.core.status();
        self.outward.metrics.clients_connected.set(self.sessions.len() as i64);
        self.outward.metrics.epsilon_spent.set(status.privacy.epsilon.unwrap_or(0.0));
        self.outward.metrics.enter_phase(status.phase.word());
        let server = Server {
            bytes_received: self.outward.metrics.bytes_received.get(),
            bytes_sent: self.outward.metrics.bytes_sent.get(),
            server_version: env!("CARGO_PKG_VERSION").into(),
            now_ms: self.clock.now().0,
            started_ms: self.clock.started().0,
        };
        self.outward.status.send_replace(Some(Arc::new(Shown { run: status, server })));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.audit.close();
    }
}

mod act;
mod models;
mod opening;
mod performing;
#[cfg(test)]
mod tests;
