//! The trainers at work: one for each run that has anything to do, a few that read at a time, and one that trains.
//!
//! # Privacy
//! A training or a reading that hangs must not keep a later run's data from being read: what is said of that would show this. So each run
//! has a trainer of its own, several may read, and what is given up does not stay in the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alarms::{Alarm, Kind};
use audit::{Action, Recorder};
use params::{Digest, Params};
use plan::{AuthoredPlan, Learned};
use protocol::TrainJob;
use sandbox::{Demand, Level};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::TrainFault;
use crate::trainer::{Table, Trainer, TrainerSource};

/// How long a table may take to be read.
pub(crate) const READING_MAX: Duration = Duration::from_secs(3_600);

/// Tables that are read at the same time: more than one, so that a reading that hangs does not show in another run.
const READING_AT_ONCE: usize = 4;

/// Trainers of other runs that stay while one is started, of those that have nothing to do: two runs that take turns read each table
/// once. Each holds a table in memory.
const KEPT: usize = 1;

/// A run's trainer, while nobody has anything for it to do.
type Slot = Arc<AsyncMutex<Option<Trainer>>>;

/// What a run's trainer has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRead {
    /// A digest of its rows.
    pub version: Digest,
    /// Whether no row of it contributes.
    pub empty: bool,
}

/// See the module. Its clones are one.
#[derive(Clone)]
pub struct TrainerPool(Arc<Shared>);

struct Shared {
    source: TrainerSource,
    alarm: Alarm,
    recorder: Recorder,
    /// What holds a trainer at the least: as the daemon's first one was held.
    held: Mutex<Option<Level>>,
    /// By run; whose trainer had something to do last stands last.
    slots: Mutex<Vec<(Digest, Slot)>>,
    /// What a run's trainer has read, while it lives.
    tables: Mutex<BTreeMap<Digest, TableRead>>,
    /// What a run's trainer has read first in this process: no other table is trained on in it.
    first: Mutex<BTreeMap<Digest, Digest>>,
    reading: Arc<Semaphore>,
    training: Arc<Semaphore>,
}

/// A run's trainer at work. What is not put back is ended.
struct AtWork {
    pool: TrainerPool,
    run: Digest,
    slot: tokio::sync::OwnedMutexGuard<Option<Trainer>>,
}

impl TrainerPool {
    /// Of trainers from this source, each held by no less than this, or than the first of them where nothing is known of one before; its
    /// operator hears of the data by this alarm, and what happens to data and trainers is recorded.
    pub fn new(source: TrainerSource, held: Option<Level>, alarm: Alarm, recorder: Recorder) -> Self {
        let places = |many| Arc::new(Semaphore::new(many));
        let (slots, tables, first) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared {
            source,
            alarm,
            recorder,
            held: Mutex::new(held),
            slots,
            tables,
            first,
            reading: places(READING_AT_ONCE),
            training: places(1),
        }))
    }

    /// The run's table, as its trainer has read it or reads it now.
    ///
    /// # Errors
    /// [`TrainFault`]
    pub async fn read(&self, run: Digest, plan: Arc<AuthoredPlan>) -> Result<TableRead, TrainFault> {
        let read = self.tables().get(&run).copied();
        if let Some(table) = read {
            return Ok(table);
        }
        let pool = self.clone();
        // To the end, whoever waits for it: what was read is there for the next who asks.
        let reading = tokio::spawn(async move { pool.at_work(run).await.read(&plan).await });
        reading.await.map_err(|why| TrainFault::Trainer(why.to_string()))?
    }

    /// What was learned on the run's table, and which that is. Given up where nobody waits for it any more, as nobody does after
    /// `until`.
    ///
    /// # Errors
    /// [`TrainFault`]
    pub async fn train(
        &self,
        job: TrainJob,
        model: Params,
        clip_norm: Option<f64>,
        until: Instant,
    ) -> Result<(Learned, TableRead), TrainFault> {
        let (result, done) = oneshot::channel();
        tokio::spawn(self.clone().train_for(job, model, clip_norm, until, result));
        done.await.unwrap_or(Err(TrainFault::GivenUp))
    }

    async fn train_for(
        self,
        job: TrainJob,
        model: Params,
        clip_norm: Option<f64>,
        until: Instant,
        mut result: oneshot::Sender<Result<(Learned, TableRead), TrainFault>>,
    ) {
        let training = Arc::clone(&self.0.training);
        let begun = async { (place(training).await, self.at_work(job.head.run_id).await) };
        let (place, mut work) = tokio::select! {
            begun = begun => begun,
            () = result.closed() => return,
        };
        let plan = Arc::clone(&job.plan);
        // It goes on reading where it is given up meanwhile, so that the next training has a table; nobody else waits for that.
        let mut reading = tokio::spawn(async move { (work.read(&plan).await, work) });
        let read = tokio::select! {
            read = &mut reading => read,
            () = result.closed() => return,
        };
        let mut lost = None;
        let learned = match read {
            Ok((Ok(table), mut work)) => {
                let learned = work.train(&job, &model, clip_norm, until, result.closed()).await;
                lost = work.slot.is_none().then_some(work);
                learned.map(|learned| (learned, table))
            }
            Ok((Err(why), _)) => Err(why),
            Err(panic) => Err(TrainFault::Trainer(panic.to_string())),
        };
        if let Err(why) = &learned {
            self.came_to_nothing(&job, why);
        }
        // Nobody waits where it was given up.
        let _ = result.send(learned);
        drop(place);
        if let Some(mut work) = lost {
            // At once: the next round's time is for training. The run's end waits for it.
            let read = work.read(&job.plan).await;
            if let Err(why @ TrainFault::Trainer(_)) = &read {
                self.came_to_nothing(&job, why);
            }
        }
    }

    /// Nothing more is asked for this run: its trainer ends in peace, once it has done what it was asked for.
    pub fn dismiss(&self, run: Digest) {
        let mut slots = self.slots();
        let Some(at) = slots.iter().position(|(of, _)| *of == run) else { return };
        let (_, slot) = slots.remove(at);
        let pool = self.clone();
        tokio::spawn(async move {
            let trainer = slot.lock().await.take();
            pool.tables().remove(&run);
            if let Some(trainer) = trainer {
                trainer.dismiss().await;
            }
        });
    }

    /// For whoever decides what a training that failed means.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    fn came_to_nothing(&self, job: &TrainJob, why: &TrainFault) {
        let recorder = self.recorder();
        let event = |action| {
            let event = recorder.of_run(action, &job.head.run_id, &job.plan.name);
            event.in_attempt(job.at.round, job.at.attempt)
        };
        match why {
            TrainFault::GivenUp => recorder.record(event(Action::TrainingGivenUp)),
            _ => recorder.record_failure(event(Action::TrainerFailed), why.without_its_words()),
        }
    }

    async fn at_work(&self, run: Digest) -> AtWork {
        let slot = {
            let mut slots = self.slots();
            let known = slots.iter().position(|(of, _)| *of == run);
            let slot = known.map_or_else(Slot::default, |at| slots.remove(at).1);
            slots.push((run, Arc::clone(&slot)));
            slot
        };
        AtWork { pool: self.clone(), run, slot: slot.lock_owned().await }
    }

    /// A new one, which takes the place of those that have had nothing to do for longest.
    async fn start(&self, run: Digest, plan: &str) -> Result<Trainer, TrainFault> {
        for (other, trainer) in self.idle_but(run) {
            self.tables().remove(&other);
            trainer.dismiss().await;
        }
        let recorder = self.recorder().clone();
        let started = Trainer::start(Arc::clone(&self.0.source)).await.inspect_err(|why| {
            let action = match why {
                TrainFault::Spawner(_) => Action::SpawnerLost,
                _ => Action::TrainerFailed,
            };
            recorder.record_failure(recorder.of_run(action, &run, plan), why.without_its_words());
        });
        let mut trainer = started?;
        let mut event = recorder.of_run(Action::TrainerStarted, &run, plan);
        event = event.with("sandbox", trainer.level.to_string());
        if let Some(least) = self.held_below(&trainer.level) {
            let text = format!(
                "a trainer is held by less than this daemon's first one was: {} instead of {least}",
                trainer.level
            );
            if least.demand == Demand::Required {
                let why = trainer.failed(text).await;
                recorder.record_failure(recorder.of_run(Action::TrainerFailed, &run, plan), why.to_string());
                return Err(why);
            }
            tracing::warn!("{text}");
            event = event.with("first", least.to_string());
        }
        recorder.record(event);
        let plan = plan.to_owned();
        trainer.when_ended(move |how| {
            recorder.record(recorder.of_run(Action::TrainerEnded, &run, &plan).with("how", how));
        });
        Ok(trainer)
    }

    /// Of the trainers of other runs that have nothing to do, all but those that stay, taken out of their places.
    fn idle_but(&self, run: Digest) -> Vec<(Digest, Trainer)> {
        let slots = self.slots();
        let others = slots.iter().filter(|(other, _)| *other != run);
        let mut idle: Vec<_> = others
            .filter_map(|(other, slot)| Some((*other, slot.try_lock().ok()?)))
            .filter(|(_, slot)| slot.is_some())
            .collect();
        let surplus = idle.len().max(KEPT) - KEPT;
        idle.drain(..surplus).filter_map(|(other, mut slot)| Some((other, slot.take()?))).collect()
    }

    /// What the first trainer was held by, where this one is held by less.
    fn held_below(&self, level: &Level) -> Option<Level> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let least = held.get_or_insert_with(|| level.clone());
        level.is_below(least).then(|| least.clone())
    }

    fn slots(&self) -> MutexGuard<'_, Vec<(Digest, Slot)>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<Digest, TableRead>> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn raise(&self, kind: Kind, text: String, why: String) {
        let alarm = self.0.alarm.clone();
        let raised = spawn_blocking(move || alarm.raise(kind, &text, &why)).await;
        if let Err(panic) = raised {
            tracing::error!("an alarm could not be raised: {panic}");
        }
    }
}

/// Waits until no other does the same.
async fn place(of: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // None where the semaphore is closed, which it never is.
    of.acquire_owned().await.ok()
}

impl AtWork {
    async fn read(&mut self, plan: &AuthoredPlan) -> Result<TableRead, TrainFault> {
        let _place = place(Arc::clone(&self.pool.0.reading)).await;
        let mut fresh = self.slot.is_none();
        let read = loop {
            let mut trainer = match self.slot.take() {
                Some(trainer) => trainer,
                None => self.pool.start(self.run, &plan.name).await?,
            };
            self.pool.tables().remove(&self.run);
            let late = || Err(TrainFault::Trainer(format!("it read for longer than {READING_MAX:?}")));
            match timeout(READING_MAX, trainer.read(plan)).await.unwrap_or_else(|_| late()) {
                Err(TrainFault::Trainer(why)) => {
                    let why = trainer.failed(why).await;
                    if fresh {
                        return Err(why);
                    }
                    // It may have ended while it had nothing to do, which is nobody's failure; or it said what nobody asked for.
                    let recorder = self.pool.recorder();
                    let event = recorder.of_run(Action::TrainerFailed, &self.run, &plan.name);
                    recorder.record_failure(event, why.to_string());
                    tracing::warn!("a trainer is replaced, and its table read anew: {why}");
                    fresh = true;
                }
                Ok(table) => {
                    *self.slot = Some(trainer);
                    break Ok(table);
                }
                // It is sealed off from what its data is put right with.
                Err(why) => {
                    trainer.dismiss().await;
                    break Err(why);
                }
            }
        };
        match read {
            Ok(table) => {
                self.note(plan, &table, fresh).await;
                if self.is_another(table.version) {
                    if let Some(trainer) = self.slot.take() {
                        trainer.dismiss().await;
                    }
                    return Err(self.replaced().await);
                }
                let read = TableRead { version: table.version, empty: table.empty };
                self.pool.tables().insert(self.run, read);
                Ok(read)
            }
            Err(why) => {
                self.unusable(plan, &why).await;
                Err(why)
            }
        }
    }

    /// Whether the run was joined with another table.
    fn is_another(&self, version: Digest) -> bool {
        let mut first = self.pool.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        *first.entry(self.run).or_insert(version) != version
    }

    /// A commitment to the data is fixed as a run is joined, and a file that changes during a run sends nothing.
    async fn replaced(&self) -> TrainFault {
        let text = format!(
            "the data changed since it was read for run {}, and its trainer had to read it anew: nothing of it is contributed in that run \
             until the files are what they were",
            self.run.short()
        );
        self.pool.raise(Kind::Changed, text.clone(), String::new()).await;
        TrainFault::Data(text)
    }

    /// What the operator hears of a table: of one that was read before, only that it is another by now.
    async fn note(&self, plan: &AuthoredPlan, table: &Table, fresh: bool) {
        let run = self.run.short();
        let recorder = self.pool.recorder();
        let event = |action| recorder.of_run(action, &self.run, &plan.name);
        if table.changed {
            recorder.record(event(Action::DataChanged));
            let text = format!(
                "the data changed since it was read for run {run}: the run goes on with what was read then, as long as its trainer \
                 lives; another run reads it anew"
            );
            self.pool.raise(Kind::Changed, text, String::new()).await;
        }
        if !fresh {
            return;
        }
        if table.empty {
            let why = table.misfits.as_deref().unwrap_or("there is no row");
            recorder.record_failure(event(Action::DataUnusable), why.to_owned());
            let text = format!("nothing of the data is in any round of run {run}: {why}");
            return self.pool.raise(Kind::Data, text, String::new()).await;
        }
        tracing::info!(version = table.version.short(), "data loaded");
        recorder.record(event(Action::DataOpened).with_digest(table.version));
        if let Some(misfits) = &table.misfits {
            recorder.record(event(Action::DataMisfit).with("what", misfits.as_str()));
            let text = format!("data that does not fit the plan of run {run} contributes nothing: {misfits}");
            self.pool.raise(Kind::Data, text, String::new()).await;
        }
        if let Some(remarks) = &table.remarks {
            tracing::warn!(run = %run, remarks = remarks.as_str(), "the data may not be what was meant: look at it");
        }
    }

    async fn unusable(&self, plan: &AuthoredPlan, why: &TrainFault) {
        let recorder = self.pool.recorder();
        let event = recorder.of_run(Action::DataUnusable, &self.run, &plan.name);
        recorder.record_failure(event, why.without_its_words());
        let (text, log) = if plan.promises() {
            (
                format!("the data cannot be used: nothing of it is contributed, in any round: {why}"),
                String::new(),
            )
        } else {
            // The text of an error may quote a cell, and is for the log alone.
            ("the data cannot be used, and this silo sits out; the log says why".to_owned(), why.to_string())
        };
        self.pool.raise(Kind::Data, text, log).await;
    }

    async fn train(
        &mut self,
        job: &TrainJob,
        model: &Params,
        clip_norm: Option<f64>,
        until: Instant,
        given_up: impl Future<Output = ()>,
    ) -> Result<Learned, TrainFault> {
        let Some(mut trainer) = self.slot.take() else {
            return Err(TrainFault::Trainer("the trainer ended".into()));
        };
        let answer = trainer.train(clip_norm, &job.seed, model, until, given_up).await;
        let believed = answer.and_then(|answer| {
            let lie = |why: plan::AnswerError| {
                let recorder = self.pool.recorder();
                let event = recorder.of_run(Action::TrainerDisbelieved, &job.head.run_id, &job.plan.name);
                let event = event.in_attempt(job.at.round, job.at.attempt);
                recorder.record_failure(event, why.to_string());
                TrainFault::Trainer(why.to_string())
            };
            job.plan.believe(answer, clip_norm).map_err(lie)
        });
        if let Err(TrainFault::Trainer(why)) = believed {
            self.pool.tables().remove(&self.run);
            return Err(trainer.failed(why).await);
        }
        *self.slot = Some(trainer);
        believed
    }
}
