//! The driver: one task that owns the participant and the journal, and performs effects in order.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use alarms::{Alarm, Kind};
use daemon::Clock;
use identity::AuthorisedRoster;
use params::Digest;
use plan::Policy;
use protocol::{
    ClientEffect, ClientEffects, ClientInput, ClientRecord, Decline, JobId, OfRun, Participant, Profile,
    Rejection, Timestamp, ToClient, ToCoordinator, UploadHeader,
};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use secagg::MaskedUpdate;
use spending::{SiloSpending, UncheckedSpending};
use store::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet, block_in_place};
use tokio::time::{Duration, Interval};
use wire::v1::ClientEnvelope;
use witness::{Prompt, Uploads};
use workshop::TrainingResult;

use crate::departures::Departures;
use crate::jobs::{Assignment, Done, Kept, Work};
use crate::link::{Attached, News};
use crate::offers::Offers;
use crate::patience::Patience;
use crate::watchman::{Lookout, Seen};
use crate::{Ended, RunError};
use declaring::Declaring;
use raising::Alarms;
use words::{decline_code, note, says_all};

mod allowing;
mod data;
mod declaring;
mod raising;
mod steps;
#[cfg(test)]
mod tests;
mod training;
mod words;

/// Events taken before what stands ready is performed: enough for one fsync to serve many.
const AT_ONCE: usize = 64;
/// A claim lasts a week at least, and is renewed when half of that is over.
const RENEWAL: Duration = Duration::from_secs(3600);

/// What the driver works with.
pub(crate) struct Parts {
    pub(crate) profile: Profile,
    pub(crate) spending: UncheckedSpending,
    pub(crate) store: Box<dyn Store>,
    /// The state folder, where evidence is kept.
    pub(crate) state: PathBuf,
    pub(crate) patience: Patience,
    pub(crate) work: Box<dyn Work>,
    pub(crate) alarm: Alarm,
    pub(crate) news: mpsc::Receiver<News>,
    pub(crate) offers: Offers,
    /// Later policies of the silo's operator.
    pub(crate) policies: mpsc::Receiver<Policy>,
    pub(crate) departures: Departures,
    /// What it and the watchman say to each other.
    pub(crate) lookout: Lookout,
    /// Whether it ends with the first run that is over, or refused.
    pub(crate) one_run: bool,
}

/// See the module.
pub(crate) struct Driver {
    participant: Participant,
    spending: SiloSpending,
    store: Box<dyn Store>,
    state: PathBuf,
    patience: Patience,
    clock: Clock,
    work: Box<dyn Work>,
    alarms: Alarms,
    declaring: Declaring,
    news: mpsc::Receiver<News>,
    offers: Offers,
    policies: mpsc::Receiver<Policy>,
    departures: Departures,
    roster: watch::Sender<Arc<AuthorisedRoster>>,
    uploads: Uploads,
    seen: mpsc::Receiver<Seen>,
    prompt: watch::Sender<Prompt>,
    /// The session, while it stands.
    outbox: Option<mpsc::Sender<ClientEnvelope>>,
    /// Gives the session up whose coordinator does not read.
    give_up: Arc<Notify>,
    jobs: JoinSet<Done>,
    /// The one attempt that anything is held of.
    held: Option<Held>,
    /// The job that does a step of the server's again.
    stepping: Option<AbortHandle>,
    /// By run, the job that reads the data for a check-in; a later one takes its place.
    reading: BTreeMap<Digest, (JobId, AbortHandle)>,
    kept: Kept,
    /// When claims are looked after, also while nothing is heard of their runs.
    renewals: Interval,
    one_run: bool,
    /// Effects not yet performed, in order.
    effects: VecDeque<ClientEffect>,
    /// Set once the daemon is to end, after the effects.
    ended: Option<Result<Ended, RunError>>,
}

/// What the shell holds of an attempt, in memory only. Dropping it stops its job and wipes its contribution.
struct Held {
    /// The training that it is of: the core's name for all of this.
    work: JobId,
    /// How long the coordinator may be silent under the attempt's plan.
    patience: Duration,
    /// What training came to, until it is masked.
    made: Option<TrainingResult>,
    /// Of the table that was trained on; none where it was not.
    data_version: Option<Digest>,
    /// Whether nothing of the data is contributed, since training failed.
    failed: bool,
    /// Whether it was trained on a table that has nothing to contribute.
    empty: bool,
    /// The masking, once it has begun.
    masking: Option<JobId>,
    /// The vector, by the digest of its bytes.
    masked: Option<(Digest, Arc<MaskedUpdate>)>,
    job: Option<AbortHandle>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Held {
    fn stop(&mut self) {
        if let Some(job) = self.job.take() {
            job.abort();
        }
    }
}

/// Something to react to.
#[allow(clippy::large_enum_variant, reason = "one is held at a time")]
enum Event {
    News(News),
    Done(Result<Done, JoinError>),
    Accepted(Digest),
    Policy(Policy),
    Seen(Seen),
    RenewClaims,
    Tick,
}

impl Driver {
    /// Opens the journal and recovers the participant from it.
    ///
    /// # Errors
    /// [`RunError`] of the journal, or of what it contradicts.
    pub(crate) fn open(parts: Parts) -> Result<Self, RunError> {
        let mut store = parts.store;
        let journal = store
            .replay()?
            .iter()
            .map(|bytes| ClientRecord::decode(bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(RunError::Record)?;
        let participant = Participant::recover(parts.profile, &journal)?;
        let spending = parts.spending.check(&journal)?;
        let uploads = Uploads::default();
        let mut declaring = Declaring::default();
        for record in &journal {
            uploads.follow(record);
            declaring.follow(record);
        }
        parts.lookout.roster.send_replace(Arc::new(participant.current_roster().clone()));
        Ok(Self {
            participant,
            spending,
            store,
            state: parts.state,
            patience: parts.patience,
            // No record of a silo holds a time: nothing is owed to an earlier start.
            clock: Clock::not_before(Timestamp(0)),
            work: parts.work,
            alarms: Alarms::new(parts.alarm),
            declaring,
            news: parts.news,
            offers: parts.offers,
            policies: parts.policies,
            departures: parts.departures,
            roster: parts.lookout.roster,
            uploads,
            seen: parts.lookout.seen,
            prompt: parts.lookout.prompt,
            outbox: None,
            give_up: Arc::default(),
            jobs: JoinSet::new(),
            held: None,
            stepping: None,
            reading: BTreeMap::new(),
            kept: None,
            renewals: tokio::time::interval(RENEWAL),
            one_run: parts.one_run,
            effects: VecDeque::new(),
            ended: None,
        })
    }

    /// Runs until `shutdown`, until something fails for good, or until the one run is over that was to be taken part in.
    pub(crate) async fn drive(mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, RunError> {
        let ended = self.until_ended(shutdown).await;
        self.alarms.written().await;
        ended
    }

    async fn until_ended(&mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, RunError> {
        tokio::pin!(shutdown);
        loop {
            let deadline = self.participant.deadline();
            let event = tokio::select! {
                // In this order: news may come without end, all others do not.
                biased;
                () = &mut shutdown => {
                    tracing::info!("stopping; the journal holds everything that was said");
                    self.say_goodbye().await;
                    return Ok(Ended::ShutDown);
                }
                Some(done) = self.jobs.join_next() => Event::Done(done),
                roster = self.offers.accepted() => Event::Accepted(roster),
                Some(policy) = self.policies.recv() => Event::Policy(policy),
                Some(seen) = self.seen.recv() => Event::Seen(seen),
                _ = self.renewals.tick() => Event::RenewClaims,
                () = self.clock.reached(deadline) => Event::Tick,
                Some(news) = self.news.recv() => Event::News(news),
            };
            self.take(event)?;
            // Whatever else is here already shares one fsync with it; a coordinator that never pauses does not put off for
            // ever what is to be done.
            for _ in 0..AT_ONCE {
                let Some(event) = self.ready() else { break };
                self.take(event)?;
            }
            self.perform()?;
            if let Some(ended) = self.ended.take() {
                self.say_goodbye().await;
                return ended;
            }
        }
    }

    /// What is done comes before what is said: the coordinator decides how much is said.
    fn ready(&mut self) -> Option<Event> {
        if let Some(done) = self.jobs.try_join_next() {
            return Some(Event::Done(done));
        }
        self.news.try_recv().ok().map(Event::News)
    }

    fn take(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::News(News::Attached(Attached { outbox, give_up, version })) => {
                // What answers an earlier session is not said in this one.
                self.perform()?;
                self.outbox = Some(outbox);
                self.give_up = give_up;
                self.prompt.send_modify(|_| ());
                self.asked_anew();
                self.feed(ClientInput::Connected { version });
            }
            Event::News(News::Detached) => {
                self.perform()?;
                self.outbox = None;
            }
            Event::News(News::Refused(why)) => self.ended = Some(Err(RunError::RefusedByCoordinator(why))),
            Event::News(News::Said(said)) => self.said(*said)?,
            Event::Accepted(roster) => {
                self.offers.settle();
                self.feed(ClientInput::AcceptRoster { roster });
                self.answer_claims()?;
            }
            Event::Policy(policy) => self.take_policy(policy)?,
            Event::Seen(Seen::Log(seen)) => self.feed(ClientInput::Witnessed(seen)),
            Event::Seen(Seen::Contradiction(why)) => self.ended = Some(Err(RunError::History(why))),
            Event::RenewClaims => block_in_place(|| self.spending.renew_claims())?,
            Event::Tick => self.feed(ClientInput::Tick),
            Event::Done(Ok(done)) => self.done(done)?,
            Event::Done(Err(why)) if why.is_cancelled() => {}
            Event::Done(Err(why)) => std::panic::resume_unwind(why.into_panic()),
        }
        Ok(())
    }

    fn said(&mut self, said: OfRun<ToClient>) -> Result<(), RunError> {
        let run = match &said.message {
            ToClient::Welcome { run_id, .. } => Some(*run_id),
            _ => self.participant.run_of(&said),
        };
        match &said.message {
            ToClient::Aborted { at, outcome } => {
                tracing::info!(round = at.round, attempt = at.attempt, "the round was aborted: {outcome}");
            }
            // What was on its way as the coordinator gave the attempt up: nobody has to do anything about it.
            ToClient::Rejected { rejection: rejection @ Rejection::StaleAttempt } => {
                tracing::info!(code = wire::ToStatus::reason(rejection), "came too late: {rejection}");
            }
            ToClient::Rejected { rejection } => tracing::warn!(
                code = wire::ToStatus::reason(rejection),
                "the coordinator refused a message: {rejection}"
            ),
            // Said again it begins nothing, and costs no reading of the ledger.
            ToClient::Open { at, model } => {
                if let Some(run) = run.filter(|run| self.participant.would_begin(run, *at, *model)) {
                    self.look_at_ledger(run, Some(at.round))?;
                }
            }
            ToClient::Published(signed) => {
                if let Some(run) = run.filter(|run| self.participant.would_doubt(run, signed)) {
                    self.look_at_ledger(run, None)?;
                }
            }
            ToClient::Finished { reason } => self.finished(run, reason),
            _ => {}
        }
        self.feed(ClientInput::Message(said));
        self.answer_claims()
    }

    fn done(&mut self, done: Done) -> Result<(), RunError> {
        match done {
            Done::Trained { job, at, version, result } => self.trained(job, at, version, result),
            Done::Stepped { record, plan, round, result } => self.stepped(record, plan, round, result),
            Done::Read { job, run, result } => self.data_read(job, run, result),
            Done::Masked { job, at, result } => self.masked(job, at, result)?,
            Done::Uploaded { at, result: Ok(()) } => tracing::info!(
                round = at.round,
                attempt = at.attempt,
                epsilon_spent = self.participant.status().epsilon_spent,
                "uploaded"
            ),
            Done::Uploaded { at, result: Err(why) } => {
                tracing::warn!(
                    round = at.round,
                    attempt = at.attempt,
                    "the coordinator refused the upload: {why}"
                );
            }
        }
        Ok(())
    }

    fn feed(&mut self, input: ClientInput) {
        let mut effects = ClientEffects::new();
        self.participant.handle(self.clock.now(), &mut UnwrapErr(SysRng), input, &mut effects);
        self.effects.extend(effects);
    }

    /// Makes everything durable that stands ready, then does the rest in its order.
    fn perform(&mut self) -> Result<(), RunError> {
        while !self.effects.is_empty() {
            self.perform_ready()?;
        }
        self.prompt.send_if_modified(|prompt| prompt.follow(self.participant.attempt()));
        self.alarms.write();
        Ok(())
    }

    fn perform_ready(&mut self) -> Result<(), RunError> {
        let effects = std::mem::take(&mut self.effects);
        let records: Vec<Vec<u8>> = effects
            .iter()
            .filter_map(|effect| match effect {
                ClientEffect::Persist(record) => Some(record.encode()),
                _ => None,
            })
            .collect();
        self.declare(&effects);
        if !records.is_empty() {
            block_in_place(|| self.store.append_all(&records)).map_err(RunError::Append)?;
        }
        self.log_departures(&effects)?;
        for effect in effects {
            match effect {
                ClientEffect::Persist(record) => self.note(&record),
                ClientEffect::Send(said) => self.send(*said),
                ClientEffect::Claim { run, plan, may_look } => self.claim(run, &plan, may_look)?,
                ClientEffect::ReturnClaim { run } => self.return_claim(&run)?,
                ClientEffect::ReadData { job, run, plan } => self.read_data(job, run, plan),
                ClientEffect::VerifyStep(job) => self.verify_step(job),
                ClientEffect::Contradiction(contradiction) => self.keep_contradiction(&contradiction)?,
                ClientEffect::Train(job) => self.train(job),
                ClientEffect::Mask(job) => self.mask(job),
                ClientEffect::Upload(header) => self.upload(header),
                ClientEffect::Offer(offer) => self.show_roster(&offer),
                ClientEffect::Forget(work) => {
                    self.held.take_if(|held| held.work == work);
                }
            }
        }
        Ok(())
    }

    /// Writes down what is about to leave, before any of it does.
    fn log_departures(&mut self, effects: &VecDeque<ClientEffect>) -> Result<(), RunError> {
        for effect in effects {
            match effect {
                // Without a session it does not leave.
                ClientEffect::Send(said) if self.outbox.is_some() => self.departures.message(said),
                ClientEffect::Upload(said) => {
                    let of_data = self.held.as_ref().is_none_or(|held| !held.failed && !held.empty);
                    self.departures.upload(said, self.participant.status().epsilon_spent, of_data);
                }
                _ => {}
            }
        }
        block_in_place(|| self.departures.settle()).map_err(RunError::Departures)
    }

    fn note(&mut self, record: &ClientRecord) {
        note(record);
        self.uploads.follow(record);
        if let ClientRecord::RosterAdopted { .. } = record {
            self.roster.send_replace(Arc::new(self.participant.current_roster().clone()));
            self.alarms.later(|alarm| alarm.all_over(Kind::Roster));
        }
    }

    fn send(&mut self, said: OfRun<ToCoordinator>) {
        if let ToCoordinator::Declined { round, reason } = &said.message {
            tracing::warn!(round, code = decline_code(reason), "declined: {}", self.reason(reason));
            if round.is_none() && !reason.waits() {
                self.refused(self.participant.run_of(&said), self.reason(reason));
            }
        }
        // Without a session nothing is owed: the coordinator asks again in the next one.
        let Some(outbox) = &self.outbox else { return };
        if outbox.try_send(said.into()).is_err() {
            tracing::warn!("the coordinator does not read; the session is opened anew");
            self.outbox = None;
            self.give_up.notify_one();
        }
    }

    /// The participant's own words where it knows more than it says.
    fn reason(&self, decline: &Decline) -> String {
        if says_all(decline) { decline.to_string() } else { self.participant.status().last_reason }
    }

    fn train(&mut self, job: protocol::TrainJob) {
        tracing::info!(round = job.at.round, attempt = job.at.attempt, "training");
        let work = job.id;
        let patience = self.patience.learn(&job.plan);
        let training = self.work.on(Assignment::Train { kept: self.kept.clone(), job, patience });
        let job = self.jobs.spawn(training);
        self.held = Some(Held {
            work,
            patience,
            made: None,
            data_version: None,
            failed: false,
            empty: false,
            masking: None,
            masked: None,
            job: Some(job),
        });
    }

    fn mask(&mut self, job: Box<protocol::MaskJob>) {
        let Some(held) = self.held.as_mut().filter(|held| held.work == job.trained) else {
            // The core masks only what was reported to it as held.
            tracing::error!(round = job.at.round, "not masked: no trained update is held for this attempt");
            return self.feed(ClientInput::Masked { job: job.id, vector: None });
        };
        held.masking = Some(job.id);
        let made = held.made.take();
        held.job = Some(self.jobs.spawn(self.work.on(Assignment::Mask { made, job })));
    }

    fn upload(&mut self, said: OfRun<UploadHeader>) {
        let (at, digest) = (said.message.at, said.message.digest);
        let of_header = |held: &&mut Held| held.masked.as_ref().is_some_and(|(held, _)| *held == digest);
        let held = self.held.as_mut().filter(of_header);
        let Some((held, (_, masked))) =
            held.and_then(|held| held.masked.clone().map(|masked| (held, masked)))
        else {
            // It was durable, and forgotten for that.
            return tracing::debug!(round = at.round, "nothing to upload any more");
        };
        held.stop();
        let patience = held.patience;
        held.job = Some(self.jobs.spawn(self.work.on(Assignment::Upload { header: said, masked, patience })));
    }

    /// Ends the session, signs the log's last checkpoint, and waits until the coordinator has read what was said in it.
    async fn say_goodbye(&mut self) {
        if let Err(why) = block_in_place(|| self.departures.publish()) {
            tracing::error!(%why, "the log of what left is whole, its last checkpoint is not; it is at the next start");
        }
        if self.outbox.take().is_none() {
            return;
        }
        let over = async {
            while let Some(news) = self.news.recv().await {
                if matches!(news, News::Detached | News::Refused(_)) {
                    break;
                }
            }
        };
        if tokio::time::timeout(daemon::GOODBYE, over).await.is_err() {
            tracing::debug!("the coordinator did not end the session in time");
        }
    }
}
