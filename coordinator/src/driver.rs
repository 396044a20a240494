//! The driver: one task that owns the core and the stores, and performs effects in order.

use audit_log::{AuditLog, AuditLogError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use attest::ModelKey;
use checkpoint::Manifest;
use daemon::Clock;
use ed25519_dalek::{SigningKey, VerifyingKey};
use federation::{Effect, Effects, Federation, Input, RunNumber};
use identity::{AuthorisedRoster, printable};
use plan::{AuthoredPlan, Plan};
use protocol::{OfRun, Record, Rejection, Timestamp, ToClient, UploadHeader};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use secagg::ClientId;
use store::StoreError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::block_in_place;
use wire::{ServiceError, ToStatus};

use crate::board::Board;
use crate::events::{Event, Staging};
use crate::service::RETRY_AFTER;
use crate::sessions::Sessions;
use at_work::{AtWork, Found};
pub(crate) use at_work::{Folders, Wrap};
use performing::Queue;

/// Events that may wait for the driver. Beyond it, senders wait: that is the back pressure on clients.
pub(crate) const INBOX_EVENTS: usize = 4096;

/// Events and bytes of records that are taken before anything is performed.
const EVENTS_AT_ONCE: usize = 256;
const RECORD_BYTES_AT_ONCE: usize = 4 << 20;

/// Sums that are opened at one time, of whichever runs: each holds a model and a vector, and keeps a core busy.
const OPENINGS: usize = 2;

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

/// Who the coordinator is, in all runs.
pub(crate) struct Own {
    /// Signs checkpoints, and the audit log's.
    pub(crate) key: SigningKey,
    /// Whose signature makes a roster one of this federation.
    pub(crate) authority: VerifyingKey,
    /// The configured one.
    pub(crate) roster: AuthorisedRoster,
    /// Signs published models, for public tools.
    pub(crate) model_key: Option<ModelKey>,
}

/// What the driver keeps up to date for the rest of the daemon.
pub(crate) struct Outward {
    pub(crate) board: watch::Sender<Option<Arc<Board>>>,
    /// The newest roster, in force or about to be.
    pub(crate) roster: watch::Sender<Arc<AuthorisedRoster>>,
    pub(crate) metrics: Arc<telemetry::Metrics>,
}

/// See the module.
pub(crate) struct Driver {
    federation: Federation,
    runs: BTreeMap<RunNumber, AtWork>,
    folders: Folders,
    own: Own,
    sessions: Sessions,
    inbox: mpsc::Sender<Event>,
    outward: Outward,
    audit: AuditLog,
    /// Places for workers that open sums.
    openings: Arc<Semaphore>,
    /// Effects not yet performed, in order.
    effects: Queue,
    /// Runs to which something was done since they were shown.
    touched: BTreeSet<RunNumber>,
    /// Replies that wait until what they acknowledge is durable.
    replies: Vec<Reply>,
    /// The clock that the core judged by last: a deadline that passed since then is due.
    judged: Timestamp,
    clock: Clock,
}

impl Driver {
    /// Replays the journals of all runs in the folders, and starts the first run where there is none yet; a configured plan that is
    /// no run's is submitted.
    pub(crate) fn open(
        mut folders: Folders,
        configured: AuthoredPlan,
        runs_active_max: usize,
        own: Own,
        inbox: mpsc::Sender<Event>,
        outward: Outward,
    ) -> anyhow::Result<(Self, AuditLog)> {
        let found = folders.find(&configured)?;
        let audit = open_audit_log(&folders, &own, &found)?;
        let newest = found.iter().flat_map(|run| &run.journal).filter_map(Record::time).max();
        let clock = Clock::not_before(newest.unwrap_or(Timestamp(0)));
        let (mut at_work, mut journals) = (Vec::new(), Vec::new());
        for Found { number, folder, journal } in found {
            let (plan, roster) = (folder.plan().clone(), own.roster.clone());
            let setup = protocol::Setup { plan, roster, authority: own.authority, key: own.key.clone() };
            at_work.push((number, folder, journal.len()));
            journals.push((number, setup, journal));
        }
        let mut effects = Effects::new();
        let mut driver = Self {
            federation: Federation::recover(journals, runs_active_max, clock.now(), &mut effects)?,
            runs: BTreeMap::new(),
            folders,
            own,
            sessions: Sessions::default(),
            inbox,
            outward,
            audit: audit.clone(),
            openings: Arc::new(Semaphore::new(OPENINGS)),
            effects: Queue::default(),
            touched: BTreeSet::new(),
            replies: Vec::new(),
            judged: clock.now(),
            clock,
        };
        driver.effects.extend(effects);
        for (number, folder, records) in at_work {
            if records == 0 {
                driver.begin(number, folder, String::new())?.map_err(anyhow::Error::from)?;
            } else {
                driver.keep(number, folder)?;
                tracing::info!(number = number.0, records, "resumed from the journal");
            }
        }
        driver.resume()?;
        driver.submit_configured(configured)?;
        driver.publish_status();
        Ok((driver, audit))
    }

    /// Does what a crash interrupted.
    fn resume(&mut self) -> anyhow::Result<()> {
        // What was left unpublished comes first: the version to go on from may be among it.
        self.perform()?;
        for number in self.federation.numbers().collect::<Vec<_>>() {
            if self.federation.run(number).is_some_and(|run| run.ended().is_none()) {
                self.load_head(number).with_context(|| number.to_string())?;
            }
        }
        // A step's deadline may have passed while nobody was here.
        self.feed(Input::Tick);
        self.perform()
    }

    /// Runs until the inbox closes or something fails for good.
    pub(crate) async fn drive(mut self, mut events: mpsc::Receiver<Event>) -> anyhow::Result<()> {
        loop {
            let deadline = self.federation.deadline(self.judged);
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
                tracing::info!(%client, name = self.name(client), "connected");
                self.sessions.attach(client, session, version, outbox);
                self.feed(Input::Connected { client, version });
            }
            Event::Detached { client, session } => {
                if self.sessions.detach(client, session) {
                    tracing::info!(%client, name = self.name(client), "disconnected");
                    self.feed(Input::Disconnected { client });
                }
            }
            Event::Said { client, session, message } => {
                let run = message.run;
                if self.sessions.is_current(client, session)
                    && let Err(rejection) = self.input(Input::Message { from: client, message: *message })
                {
                    self.send(client, OfRun { run, message: ToClient::Rejected { rejection } });
                }
            }
            Event::BeginUpload { header, reply } => {
                // A receiver that is gone needs no answer.
                let _ = reply.send(self.begin_upload(&header));
            }
            Event::Uploaded { run, header, reply } => {
                let result = self.input(Input::Staged { run, header: *header });
                self.replies.push(Reply { to: reply, result });
            }
            Event::Opened { run, at, result } => self.opened(run, at, result)?,
            Event::FindModel { run, digest, reply } => {
                let found = block_in_place(|| self.find_model(run, &digest)).map_err(|why| {
                    tracing::error!("cannot look for a model: {:#}", anyhow::Error::from(why));
                    ServiceError::Internal.to_status()
                });
                let _ = reply.send(found);
            }
            Event::Roster { roster, reply } => {
                let result = self.input(Input::Roster(roster));
                self.replies.push(Reply { to: reply, result });
            }
            Event::Act { run, act, emergency, reply } => {
                block_in_place(|| self.act(run, act, emergency, reply))?;
            }
            Event::Submit { plan, by, reply } => {
                let _ = reply.send(block_in_place(|| self.submit(*plan, by))?);
            }
            Event::List { reply } => {
                let _ = reply.send(self.federation.runs());
            }
            Event::Show { run, reply } => {
                let number = self.number_of(run);
                let _ = reply.send(number.and_then(|number| self.show(number)));
            }
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
        let result = self.federation.handle(self.judged, &mut UnwrapErr(SysRng), input, &mut effects);
        if let Err(rejection) = &result {
            tracing::warn!(%rejection, "refused a message");
        }
        self.touched.extend(effects.iter().map(|effect| effect.run));
        self.effects.extend(effects);
        result
    }

    fn perform_one(&mut self, Effect { run, effect }: Effect) -> anyhow::Result<()> {
        let span = self.span(run);
        let _entered = span.enter();
        match effect {
            protocol::Effect::Persist(record) => self.note(run, &record)?,
            protocol::Effect::Send { to, message } => {
                let id = self.at_work(run)?.id;
                self.send(to, OfRun { run: Some(id), message: *message });
            }
            protocol::Effect::SendChain { to, after } => self.send_chain(run, to, after),
            protocol::Effect::Compute(job) => self.compute(run, *job)?,
            protocol::Effect::Publish(signed) => self.publish(run, &signed)?,
            protocol::Effect::DiscardStaged { before } => {
                self.at_work(run)?.folder.discard_staged_before(before)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, to: ClientId, said: OfRun<ToClient>) {
        if let Some(client) = self.sessions.say(to, said) {
            let name = self.name(client);
            tracing::warn!(%client, name, "does not read its messages; its session is closed");
            self.feed(Input::Disconnected { client });
        }
    }

    /// Ends a silo's session; what waits in it can still be read.
    fn disconnect(&mut self, client: ClientId) {
        self.sessions.close(client);
        self.feed(Input::Disconnected { client });
    }

    /// A silo's on the newest roster, for the log; empty of one that it does not name.
    fn name(&self, client: ClientId) -> String {
        let member = self.federation.newest_roster().and_then(|roster| roster.members.get(&client));
        member.map_or_else(String::new, |member| printable(&member.name))
    }

    /// Logs and counts what the journal now says.
    fn note(&mut self, number: RunNumber, record: &Record) -> anyhow::Result<()> {
        // Composed of all rounds: for those records alone that say it.
        let tells = matches!(record, Record::Committed { .. } | Record::Aborted { .. });
        let status = tells.then(|| self.federation.status(number)).flatten();
        self.note_of_silos(record);
        let run = self.at_work(number)?;
        run.folder.note(record)?;
        match record {
            Record::AttemptBegun { at, cohort, .. } => {
                run.opened_at = Instant::now();
                tracing::info!(round = at.round, attempt = at.attempt, silos = cohort.len(), "round opened");
            }
            Record::Committed { .. } => {
                let seconds = run.opened_at.elapsed().as_secs_f64();
                run.metrics.rounds_committed.inc();
                run.metrics.round_seconds.observe(seconds);
                tracing::info!(
                    round = status.as_ref().map(|status| status.head_round),
                    milliseconds = (seconds * 1000.0) as u64,
                    epsilon = status.and_then(|status| status.privacy.epsilon),
                    "round committed"
                );
            }
            Record::Aborted { .. } => {
                run.metrics.rounds_aborted.inc();
                tracing::warn!(outcome = status.map(|status| status.last_outcome), "round aborted");
            }
            Record::Ended { reason } => tracing::info!(%reason, "the run is over"),
            Record::Paused { by, reason, .. } => tracing::warn!(%by, %reason, "paused"),
            Record::Resumed { by, .. } => tracing::info!(%by, "resumed"),
            Record::Acted { manifest, .. } => {
                let action = Manifest::from_bytes(&manifest.manifest_bytes).ok().and_then(|m| m.action);
                tracing::warn!(action = action.map(|action| action.to_string()), "an operator's action");
            }
            _ => {}
        }
        Ok(())
    }

    /// Logs what the journal now says of silos, each with its name.
    fn note_of_silos(&self, record: &Record) {
        match record {
            Record::Dropped { client, reason } => {
                tracing::warn!(%client, name = self.name(*client), %reason, "left out");
            }
            Record::Declined { client, reason } => {
                tracing::warn!(%client, name = self.name(*client), %reason, "refuses the run");
            }
            Record::Barred { client, reason } => {
                tracing::warn!(%client, name = self.name(*client), %reason, "in no cohort any more");
            }
            Record::Restored { client, by, reason, .. } => {
                tracing::info!(%client, name = self.name(*client), %by, %reason, "let in again");
            }
            Record::KeptApart { accuser, accused } => {
                let names = [self.name(*accuser), self.name(*accused)].join(", ");
                tracing::warn!(%accuser, %accused, names, "kept apart for some rounds after a complaint");
            }
            Record::Reconciled { one, other, by, reason, .. } => {
                let names = [self.name(*one), self.name(*other)].join(", ");
                tracing::info!(%one, %other, names, %by, %reason, "together again");
            }
            _ => {}
        }
    }

    fn begin_upload(&mut self, header: &OfRun<UploadHeader>) -> Result<Staging, tonic::Status> {
        let run = self.federation.admit_upload(header).map_err(|rejection| {
            self.outward.metrics.reject_upload(rejection.reason());
            rejection.to_status()
        })?;
        let busy = || ServiceError::Busy { retry_after: RETRY_AFTER }.to_status();
        let at_work = self.runs.get_mut(&run).ok_or_else(busy)?;
        match block_in_place(|| at_work.folder.begin_upload(&header.message)) {
            Ok(writer) => Ok(Staging { run, writer }),
            Err(StoreError::StageBusy(_)) => Err(busy()),
            Err(why) => {
                tracing::error!("cannot stage an upload: {:#}", anyhow::Error::from(why));
                // It may pass, as descriptors and space are given back: the silo, whose budget is spent, tries again.
                Err(busy())
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.audit.close();
    }
}

/// Brings the federation's audit log up to its runs' journals.
fn open_audit_log(folders: &Folders, own: &Own, found: &[Found]) -> Result<AuditLog, AuditLogError> {
    let origin = audit::log_name(&own.roster.federation);
    let pace = found.iter().map(|run| publish_every(run.folder.plan())).max().unwrap_or_default();
    let journals: Vec<_> = found.iter().map(|run| (run.later_run(), &run.journal[..])).collect();
    AuditLog::open(&folders.runs.folder(runs::FIRST).join("audit"), &origin, own.key.clone(), &journals, pace)
}

/// How far checkpoints of the audit log lie apart, for the silos of a run to cosign each.
fn publish_every(plan: &Plan) -> Duration {
    daemon::heartbeat(daemon::patience(plan)) * 3
}

mod act;
mod at_work;
mod boarding;
mod models;
mod opening;
mod performing;
mod submitting;
#[cfg(test)]
mod tests;
