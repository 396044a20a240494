//! The thread that writes a silo's own log: events come from wherever they happen, and what is about to leave waits for them.
//!
//! # Privacy
//! What happens to a silo's data and trainer follows from its rows, and writing it takes a disk's time. So whoever records an event waits
//! for nothing; what was recorded is written together with the next departure, or alone a second later; and a departure
//! ([`Writer::settle`]) waits for one fsync, whatever happened before it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use params::Digest;

use crate::event::Event;
use crate::folder::failed;
use crate::log::{Log, LogError};
use crate::{Action, Status};

/// Tiles and checkpoint are made at most this often, and when the writer is dropped: they can be made again from the journal.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// How long a recorded event may wait for something that leaves, to be written with it.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Orders that share an fsync.
const AT_ONCE: usize = 256;
/// The longest detail of a recorded event: an error's text may be as long as what somebody's program said.
const DETAIL_CHARS_MAX: usize = 1_000;

/// What the thread is asked for.
enum Order {
    Keep(Box<Event>),
    Settle(Vec<Event>, Sender<Result<(), LogError>>),
    Publish(Sender<Result<(), LogError>>),
    End,
}

/// See the module. Dropping it writes what was recorded, publishes it, and lets go of the log.
#[derive(Debug)]
pub struct Writer {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    silo: u32,
    now_ms: fn() -> u64,
    /// Where the log lies, for what is said where its thread is gone.
    folder: PathBuf,
}

/// Records events of a silo's data and trainer, from any thread.
#[derive(Clone, Debug)]
pub struct Recorder {
    orders: Sender<Order>,
    silo: u32,
    now_ms: fn() -> u64,
}

impl Writer {
    /// Opens a silo's log as [`Log::open`] does, writes its public key beside it, and begins to write it; `now_ms` is the clock of recorded events, in milliseconds since
    /// 1970.
    ///
    /// # Errors
    /// As [`Log::open`]; a thread that cannot be started.
    pub fn open(
        folder: &Path,
        origin: &str,
        key: SigningKey,
        silo: u32,
        now_ms: fn() -> u64,
    ) -> Result<Self, LogError> {
        let mut log = Log::open(folder, origin, key)?;
        // What a crash kept from being published.
        log.publish()?;
        let key = log.verifier_key().clone();
        // What `folkmoot audit verify --key` is given. It follows from the roster: not having it loses nothing.
        if let Err(why) = store::write_replacing(&folder.with_extension("pub"), format!("{key}\n").as_bytes())
        {
            tracing::warn!("the audit log's public key is not written: {why}");
        }
        let (orders, taken) = mpsc::channel();
        let thread = std::thread::Builder::new().name("audit".into());
        let thread =
            thread.spawn(move || write(log, &taken)).map_err(failed("start the writer of", folder))?;
        Ok(Self { orders, thread: Some(thread), silo, now_ms, folder: folder.to_owned() })
    }

    /// For whoever has something to record.
    pub fn recorder(&self) -> Recorder {
        Recorder { orders: self.orders.clone(), silo: self.silo, now_ms: self.now_ms }
    }

    /// Appends events; they, and all that was recorded before, are durable when this returns.
    ///
    /// # Errors
    /// As [`Log::append`], of these or of recorded ones.
    pub fn settle(&self, events: Vec<Event>) -> Result<(), LogError> {
        self.ask(|done| Order::Settle(events, done))
    }

    /// Signs a checkpoint over all entries.
    ///
    /// # Errors
    /// As [`Log::publish`].
    pub fn publish(&self) -> Result<(), LogError> {
        self.ask(Order::Publish)
    }

    fn ask(&self, order: impl FnOnce(Sender<Result<(), LogError>>) -> Order) -> Result<(), LogError> {
        let (done, answer) = mpsc::channel();
        let gone = || LogError::Failed { folder: self.folder.clone() };
        self.orders.send(order(done)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A thread that is gone already has no order to take, and nothing to wait for.
        if self.orders.send(Order::End).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the silo's own log ended by a panic");
        }
    }
}

impl Recorder {
    /// An event of this silo and of this moment, in a run whose plan has this name.
    pub fn of_run(&self, action: Action, run: &Digest, plan: &str) -> Event {
        let event = self.event(action).with("plan", plan);
        Event { run: Some(run.to_string()), ..event }
    }

    /// An event of this silo and of this moment.
    pub fn event(&self, action: Action) -> Event {
        Event::of_silo((self.now_ms)(), self.silo, action)
    }

    /// Records something that happened; durable before anything leaves that is settled later.
    pub fn record(&self, event: Event) {
        self.keep(event, Status::Ok);
    }

    /// Records something that was tried and came to nothing, and why.
    pub fn record_failure(&self, event: Event, why: impl Into<String>) {
        self.keep(event.with("why", why), Status::Refused);
    }

    fn keep(&self, mut event: Event, status: Status) {
        event.status = status;
        for text in event.details.values_mut() {
            if let Some((end, _)) = text.char_indices().nth(DETAIL_CHARS_MAX) {
                text.truncate(end);
                text.push('…');
            }
        }
        if self.orders.send(Order::Keep(Box::new(event))).is_err() {
            // The daemon ends, or its next departure stops it.
            tracing::debug!("the silo's own log is closed: an event is not in it");
        }
    }
}

/// What is to be written, and who waits for it.
#[derive(Default)]
struct Due {
    events: Vec<Event>,
    /// Since when the first of them waits that was recorded.
    oldest: Option<Instant>,
    settles: Vec<Sender<Result<(), LogError>>>,
    publishes: Vec<Sender<Result<(), LogError>>>,
    ends: bool,
}

impl Due {
    fn take(&mut self, order: Order) {
        match order {
            Order::Keep(event) => {
                self.oldest.get_or_insert_with(Instant::now);
                self.events.push(*event);
            }
            Order::Settle(events, done) => {
                self.events.extend(events);
                self.settles.push(done);
            }
            Order::Publish(done) => self.publishes.push(done),
            Order::End => self.ends = true,
        }
    }

    fn is_asked_for(&self) -> bool {
        self.ends || !self.settles.is_empty() || !self.publishes.is_empty()
    }
}

/// Carries out orders until the last one.
fn write(mut log: Log, orders: &Receiver<Order>) {
    let mut published = Instant::now();
    let (mut due, mut wrong) = (Due::default(), None);
    while !due.ends {
        let until = due.oldest.map_or(published + PUBLISH_EVERY, |oldest| oldest + KEPT_FOR);
        let wait = until.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
        match orders.recv_timeout(wait) {
            Ok(order) => due.take(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => due.ends = true,
        }
        orders.try_iter().take(AT_ONCE).for_each(|order| due.take(order));
        if due.is_asked_for() || due.events.len() >= AT_ONCE || until <= Instant::now() {
            carry_out(&mut log, &mut due, &mut published, &mut wrong);
        }
    }
    if let Some(why) = wrong {
        tracing::error!(%why, "the silo's own log is not whole, or its last checkpoint is not; that one is at the next start");
    }
}

/// Writes what is due. Whoever waits for an fsync does not wait for tiles.
fn carry_out(log: &mut Log, due: &mut Due, published: &mut Instant, wrong: &mut Option<LogError>) {
    due.oldest = None;
    let events = std::mem::take(&mut due.events);
    if !events.is_empty() {
        first_of(wrong, log.append_to_journal(&events).map(drop));
    }
    due.settles.drain(..).for_each(|done| answer(log, wrong, &done));
    first_of(wrong, log.write_full_tiles());
    if due.ends || !due.publishes.is_empty() || published.elapsed() >= PUBLISH_EVERY {
        *published = Instant::now();
        first_of(wrong, log.publish().map(drop));
    }
    due.publishes.drain(..).for_each(|done| answer(log, wrong, &done));
}

/// What comes later only says that something came before.
fn first_of(wrong: &mut Option<LogError>, done: Result<(), LogError>) {
    if let Err(why) = done {
        wrong.get_or_insert(why);
    }
}

/// What went wrong is said once with its cause, then as what an open log says of itself.
fn answer(log: &Log, wrong: &mut Option<LogError>, done: &Sender<Result<(), LogError>>) {
    let said = match wrong.take() {
        None => log.check_usable(),
        Some(why) => Err(why),
    };
    if done.send(said).is_err() {
        tracing::debug!("nobody waits for the silo's own log any more");
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::samples::{ORIGIN, key, log_key};
    use crate::{read_entries, verify_log};

    fn writer(folder: &Path) -> Writer {
        Writer::open(&folder.join("log"), ORIGIN, key(), 3, || 1_760_000_000_000).unwrap()
    }

    fn actions(folder: &Path) -> Vec<String> {
        let entries = read_entries(&folder.join("log"), 0..u64::MAX).unwrap();
        entries.iter().map(|entry| Event::decode(entry).unwrap().action).collect()
    }

    #[test]
    fn what_was_recorded_is_durable_before_what_is_settled_later_returns() {
        let scratch = tempdir().unwrap();
        let writer = writer(scratch.path());
        let recorder = writer.recorder();
        let jobs: Vec<_> = (0..300)
            .map(|_| {
                let recorder = recorder.clone();
                std::thread::spawn(move || recorder.record(recorder.event(Action::TrainerEnded)))
            })
            .collect();
        jobs.into_iter().for_each(|job| job.join().unwrap());
        writer.settle(vec![recorder.event(Action::UploadSent)]).unwrap();
        // By the journal alone, as after a crash.
        let copy = scratch.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(scratch.path().join("log/journal"), copy.join("journal")).unwrap();
        let log = Log::open(&copy, ORIGIN, key()).unwrap();
        let entries = log.entries(0..301).unwrap();
        let last = Event::decode(entries.last().unwrap()).unwrap();
        assert_eq!((log.size(), last.action.as_str()), (301, "upload.sent"));
    }

    #[test]
    fn what_is_recorded_is_written_within_seconds_though_nothing_leaves() {
        let scratch = tempdir().unwrap();
        let writer = writer(scratch.path());
        let recorder = writer.recorder();
        recorder.record(recorder.event(Action::SpawnerLost));
        let journal = scratch.path().join("log/journal");
        let empty = std::fs::metadata(&journal).unwrap().len();
        let written = || std::fs::metadata(&journal).unwrap().len() > empty;
        let until = Instant::now() + Duration::from_secs(60);
        while !written() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(written());
        drop(writer);
        assert_eq!(actions(scratch.path()), ["spawner.lost"]);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_a_log_that_verifies_and_lets_go_of_it_though_recorders_are_left() {
        let scratch = tempdir().unwrap();
        for round in 1..=2 {
            let writer = writer(scratch.path());
            let recorder = writer.recorder();
            recorder.record(recorder.event(Action::DataOpened));
            drop(writer);
            recorder.record(recorder.event(Action::DataChanged));
            verify_log(&scratch.path().join("log"), &log_key(), &[]).unwrap();
            assert_eq!(actions(scratch.path()), vec!["data.opened"; round]);
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_is_said_to_whoever_settles_next_and_to_all_after() {
        let scratch = tempdir().unwrap();
        let writer = writer(scratch.path());
        let recorder = writer.recorder();
        let endless = Event { bytes: Some(u64::MAX), ..recorder.event(Action::DataOpened) };
        recorder.record(endless);
        assert!(matches!(writer.settle(vec![]), Err(LogError::Event(_))));
        writer.settle(vec![recorder.event(Action::UploadSent)]).unwrap();
    }

    #[test]
    fn a_text_without_end_is_cut_and_keeps_no_departure_from_the_log() {
        let scratch = tempdir().unwrap();
        let writer = writer(scratch.path());
        let recorder = writer.recorder();
        recorder.record_failure(recorder.event(Action::TrainerFailed), "é".repeat(100_000));
        writer.settle(vec![recorder.event(Action::UploadSent)]).unwrap();
        writer.publish().unwrap();
        let entries = read_entries(&scratch.path().join("log"), 0..1).unwrap();
        let event = Event::decode(&entries[0]).unwrap();
        assert_eq!(event.status, Status::Refused);
        assert_eq!(event.details["why"].chars().count(), DETAIL_CHARS_MAX + 1);
    }
}
