//! The coordinator's tamper-evident log: what the journal says, and who called what.
//!
//! One thread owns the log. What happened in a run is taken from its journal's own records, each event with its
//! record's number: after a crash, what the log lacks of each journal is written again, and nothing twice. Events of the
//! federation's first run carry no run's name but where it begins; those of later runs do.
//!
//! Owns: the thread, the order of what is appended, receipts of uploads, and which calls are written down. Does not: sign anything but
//! the log's checkpoints, or decide what a record means.
//!
//! ```
//! // Whose journal a record is in: an entry of the federation's first run names none.
//! let first: audit_log::LaterRun = None;
//! assert_eq!(first, None);
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use access::{CallOutcome, CallRecord, Caller, CallsLeftOut, LogQuota};
use audit::{Action, Actor, Event, JOURNAL, Log, Status, cut, writable};
use ed25519_dalek::SigningKey;
use identity::Subject;
use params::Digest;
use protocol::{Record, Timestamp};
use secagg::ClientId;
use tlog::VerifierKey;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

mod journalled;

use journalled::event_of;

/// How many of its newest uploads a silo can still ask receipts for.
const RECEIPTS: usize = 1024;
/// Receipts in one answer.
const RECEIPTS_AT_ONCE: usize = 16;
/// Entries read or sent at once.
const ENTRIES_AT_ONCE: u64 = 256;
/// How often it is asked whether a checkpoint is due while nothing is new.
const QUIET: Duration = Duration::from_millis(500);

/// Commands that may wait for the thread: behind them the driver and questions wait, and calls are counted only.
const COMMANDS_WAITING: usize = 1024;
/// The longest text of a call that is written down.
const CALL_TEXT_BYTES: usize = 512;

/// What the log's thread is asked.
enum Command {
    Append(Vec<Event>),
    Witness {
        client: ClientId,
        seen: u64,
        after: Option<u64>,
        reply: Reply<View>,
    },
    Cosign {
        line: String,
        witness: Box<VerifierKey>,
        reply: Reply<()>,
    },
    Entries {
        from: u64,
        reply: Reply<Vec<(u64, Vec<u8>)>>,
    },
    /// No checkpoint sooner after another than this.
    Pace(Duration),
    Close,
}

type Reply<T> = oneshot::Sender<Result<T, audit::LogError>>;

/// Why a coordinator's audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditLogError {
    /// The folder holds no log that goes on.
    #[error("the audit log in `{}` cannot be used", folder.display())]
    Unusable {
        folder: PathBuf,
        #[source]
        why: audit::LogError,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Log(#[from] audit::LogError),
    /// The file with its key cannot be written.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// An entry is none that this release knows.
    #[error("audit log entry {index}")]
    Entry {
        index: u64,
        #[source]
        why: audit::EventError,
    },
    /// The machine starts no thread.
    #[error("the audit log's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// Its thread is gone.
    #[error(
        "the audit log is not written any more, the log above says why; fix that and start again: what it lacks of the journal is \
         written then"
    )]
    Stopped,
}

/// Whose journal a record is in: none for the federation's first run.
pub type LaterRun = Option<Digest>;

/// How many records of each journal a log knows, by the run that its events name.
type Known = BTreeMap<Option<String>, u64>;

/// What a witness is shown.
pub struct View {
    /// The signed checkpoint, with the cosignatures that came since.
    pub checkpoint: String,
    /// That it continues the state that the witness remembers.
    pub proof: Vec<tlog::Hash>,
    /// Index, entry and proof of each.
    pub receipts: Vec<(u64, Vec<u8>, String)>,
}

/// The way to the log's thread; cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    commands: Sender<Command>,
    /// Which calls are counted and not written.
    quota: Arc<Mutex<LogQuota>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl AuditLog {
    /// Opens the log in `folder`, brings it up to the journals and begins its thread.
    pub fn open(
        folder: &Path,
        origin: &str,
        key: SigningKey,
        journals: &[(LaterRun, &[Record])],
        publish_every: Duration,
    ) -> Result<Self, AuditLogError> {
        let log = Log::open(folder, origin, key)
            .map_err(|why| AuditLogError::Unusable { folder: folder.to_owned(), why })?;
        // What `folkmoot audit verify --key` is given.
        store::write_replacing(
            &folder.with_extension("pub"),
            format!("{}\n", log.verifier_key()).as_bytes(),
        )?;
        let quota = Arc::default();
        let mut keeper = Keeper {
            log,
            quota: Arc::clone(&quota),
            uploads: BTreeMap::new(),
            unpublished: false,
            published: Instant::now(),
            publish_every,
        };
        let known = keeper.read_back()?;
        for (run, journal) in journals {
            keeper.append(&lacking(&known, *run, journal))?;
        }
        keeper.publish()?;
        let (send, commands) = mpsc::channel(COMMANDS_WAITING);
        let thread = std::thread::Builder::new()
            .name("audit log".into())
            .spawn(move || match Builder::new_current_thread().enable_time().build() {
                Ok(clock) => keeper.run(commands, &clock),
                Err(why) => {
                    tracing::error!(%why, "the audit log's thread cannot wait; fix that and start again")
                }
            })
            .map_err(AuditLogError::Thread)?;
        Ok(Self { commands: send, quota, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Writes and publishes what was said so far and lets go of the folder.
    pub fn close(&self) {
        // A thread that is gone has said why.
        self.send(Command::Close);
        let thread = self.thread.lock().map(|mut thread| thread.take());
        if let Ok(Some(thread)) = thread {
            let _ = thread.join();
        }
    }

    /// A run begins whose silos look at the log this seldom: checkpoints come no sooner from now on.
    pub fn pace(&self, every: Duration) {
        // A thread that is gone has said why.
        self.send(Command::Pace(every));
    }

    /// Records of a run's journal, durable there; `first` is the first one's number. One without a time of its own gets the current
    /// time.
    ///
    /// # Errors
    /// A log that cannot be written any more: no round goes on that no auditor will read of.
    pub fn journalled(
        &self,
        run: LaterRun,
        first: u64,
        now: Timestamp,
        records: &[&Record],
    ) -> Result<(), AuditLogError> {
        let numbered = (first..).zip(records);
        let events = numbered.filter_map(|(number, record)| event_of(run, number, record, now)).collect();
        if self.append(events) { Ok(()) } else { Err(AuditLogError::Stopped) }
    }

    /// A call that was refused, or that changes something. Whether it is written down: strangers, and whoever is refused
    /// without end, are counted beyond what the log has room for in a minute.
    pub fn called(&self, now: Timestamp, call: &CallRecord) -> bool {
        if !self.quota().admit(now.0, call) {
            return false;
        }
        let mut event = Event::new(now.0, actor_of(&call.caller), audit::call(&call.rpc), Status::Ok);
        if let CallOutcome::Refused { reason, text } | CallOutcome::Failed { reason, text } = &call.outcome {
            event = event.with("reason", reason).with("text", cut(text, CALL_TEXT_BYTES));
            event.status = Status::Refused;
        }
        match self.commands.try_send(Command::Append(vec![event])) {
            Ok(()) => true,
            // The thread writes as fast as its disk does.
            Err(TrySendError::Full(_)) => {
                self.quota().count(call);
                false
            }
            Err(TrySendError::Closed(_)) => {
                tracing::error!(action = %call.rpc, by = %call.caller.name, "a call is in no audit log");
                false
            }
        }
    }

    fn quota(&self) -> MutexGuard<'_, LogQuota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread is there to write it; one that is not has said why.
    fn append(&self, events: Vec<Event>) -> bool {
        events.is_empty() || self.send(Command::Append(events))
    }

    /// Waits for a place where there is none; whether the thread is there.
    fn send(&self, command: Command) -> bool {
        match self.commands.try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(command)) => {
                block_in_place(|| self.commands.blocking_send(command)).is_ok()
            }
        }
    }

    /// The newest state that witnesses may see, that it continues the state of size `seen`, and receipts of this silo's uploads whose
    /// entries come after `after`; none where the log's thread is gone.
    pub async fn witness(
        &self,
        client: ClientId,
        seen: u64,
        after: Option<u64>,
    ) -> Option<Result<View, audit::LogError>> {
        self.ask(|reply| Command::Witness { client, seen, after, reply }).await
    }

    /// Adds a witness's cosignature, a note's line, to the newest checkpoint; none where the log's thread is gone.
    pub async fn cosign(&self, line: String, witness: VerifierKey) -> Option<Result<(), audit::LogError>> {
        self.ask(|reply| Command::Cosign { line, witness: Box::new(witness), reply }).await
    }

    /// Some entries from this index on, with their indices; none at the end.
    pub async fn entries(&self, from: u64) -> Option<Result<Vec<(u64, Vec<u8>)>, audit::LogError>> {
        self.ask(|reply| Command::Entries { from, reply }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Command) -> Option<Result<T, audit::LogError>> {
        let place = self.commands.reserve().await.ok()?;
        let (reply, answer) = oneshot::channel();
        place.send(question(reply));
        answer.await.ok()
    }
}

/// The log and what its thread keeps beside it.
struct Keeper {
    log: Log,
    quota: Arc<Mutex<LogQuota>>,
    /// Indices of each silo's newest uploads.
    uploads: BTreeMap<ClientId, VecDeque<u64>>,
    unpublished: bool,
    published: Instant,
    /// A checkpoint takes the cosignatures of the one before it away, so it comes no sooner than they can be gathered.
    publish_every: Duration,
}

impl Keeper {
    /// Reads what is there; gives how many records of each journal it knows.
    fn read_back(&mut self) -> Result<Known, AuditLogError> {
        let (mut known, mut at) = (Known::new(), 0);
        while at < self.log.size() {
            let end = self.log.size().min(at + ENTRIES_AT_ONCE);
            for (index, entry) in (at..).zip(self.log.entries(at..end)?) {
                let event = Event::decode(&entry).map_err(|why| AuditLogError::Entry { index, why })?;
                self.note(index, &event);
                if let Some(number) = event.details.get(JOURNAL).and_then(|number| number.parse::<u64>().ok())
                {
                    let of_run = known.entry(event.run).or_default();
                    *of_run = (*of_run).max(number.saturating_add(1));
                }
            }
            at = end;
        }
        Ok(known)
    }

    fn note(&mut self, index: u64, event: &Event) {
        if event.action != Action::UploadReceived.name() {
            return;
        }
        if let Some(id) = event.actor.silo_id() {
            let uploads = self.uploads.entry(ClientId(id)).or_default();
            uploads.push_back(index);
            if uploads.len() > RECEIPTS {
                uploads.pop_front();
            }
        }
    }

    fn append(&mut self, events: &[Event]) -> Result<(), audit::LogError> {
        if events.is_empty() {
            return Ok(());
        }
        let indices = match self.log.append(events) {
            // One that cannot be an entry ends no log: what it was about stands in for it.
            Err(audit::LogError::Event(_)) => {
                let events: Vec<Event> = events.iter().map(writable).collect();
                self.log.append(&events)?
            }
            appended => appended?,
        };
        for (index, event) in indices.zip(events) {
            self.note(index, event);
        }
        self.unpublished = true;
        Ok(())
    }

    fn publish(&mut self) -> Result<(), audit::LogError> {
        if self.unpublished || self.log.checkpoint().is_none() {
            self.log.publish()?;
            self.unpublished = false;
            self.published = Instant::now();
        }
        Ok(())
    }

    fn publish_when_due(&mut self) -> Result<(), audit::LogError> {
        if self.published.elapsed() >= self.publish_every { self.publish() } else { Ok(()) }
    }

    /// Writes how many calls were left out, where their minute is over or the log is closed.
    fn write_left_out(&mut self, closing: bool) -> Result<(), audit::LogError> {
        let now_ms = daemon::wall_ms();
        let left_out = self.quota.lock().unwrap_or_else(PoisonError::into_inner).left_out(now_ms, closing);
        let event = left_out.map(|left_out| left_out_event(now_ms, &left_out));
        self.append(event.as_slice())
    }

    fn run(mut self, mut commands: Receiver<Command>, clock: &Runtime) {
        loop {
            let command = clock.block_on(async { tokio::time::timeout(QUIET, commands.recv()).await });
            let done = match command {
                Err(_) => Ok(()),
                Ok(Some(Command::Close) | None) => {
                    if let Err(why) = self.write_left_out(true).and_then(|()| self.publish()) {
                        tracing::error!(%why, "the audit log's last entries are not published; they are at the next start");
                    }
                    return;
                }
                Ok(Some(command)) => self.obey(command),
            };
            // After questions too: they may come so often that nothing is ever quiet.
            let done = done.and_then(|()| self.write_left_out(false)).and_then(|()| self.publish_when_due());
            if let Err(why) = done {
                tracing::error!(%why, "the audit log cannot be written; fix that and start again");
                return;
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), audit::LogError> {
        match command {
            Command::Append(events) => self.append(&events)?,
            Command::Witness { client, seen, after, reply } => {
                let _ = reply.send(self.view(client, seen, after));
            }
            Command::Cosign { line, witness, reply } => {
                let _ = reply.send(self.log.add_cosignature(&line, &witness));
            }
            Command::Entries { from, reply } => {
                // An auditor reads up to now, as what matters in an incident has just happened. All of it is durable,
                // and nobody's question publishes it: that would take the cosignatures away.
                let end = self.log.size().min(from.saturating_add(ENTRIES_AT_ONCE));
                let entries = if from >= end { Ok(Vec::new()) } else { self.log.entries(from..end) };
                let _ = reply.send(entries.map(|entries| (from..).zip(entries).collect()));
            }
            Command::Pace(every) => self.publish_every = self.publish_every.max(every),
            // The loop takes it.
            Command::Close => {}
        }
        Ok(())
    }

    fn view(&self, client: ClientId, seen: u64, after: Option<u64>) -> Result<View, audit::LogError> {
        let size = self.log.published_size();
        // Whoever has seen more than there is finds that out from the checkpoint.
        let proof =
            if (1..=size).contains(&seen) { self.log.prove_consistency(seen, size)? } else { Vec::new() };
        let new = self.uploads.get(&client).into_iter().flatten().copied();
        let new = new.filter(|index| *index < size && after.is_none_or(|after| *index > after));
        let receipts = new
            .take(RECEIPTS_AT_ONCE)
            .map(|index| {
                let entry = self.log.entries(index..index + 1)?.pop().unwrap_or_default();
                Ok((index, entry, self.log.prove_inclusion(index)?))
            })
            .collect::<Result<_, audit::LogError>>()?;
        Ok(View { checkpoint: self.log.checkpoint().unwrap_or_default(), proof, receipts })
    }
}

/// What a log lacks of a journal.
fn lacking(known: &Known, run: LaterRun, journal: &[Record]) -> Vec<Event> {
    let by_name = |run: &Digest| known.get(&Some(run.to_string())).copied();
    let known = match (run, journal.first()) {
        (Some(run), _) => by_name(&run),
        // The event of the first run's beginning names it, and no other of its events does.
        (None, Some(Record::RunStarted { run_id, .. })) => known.get(&None).copied().max(by_name(run_id)),
        (None, _) => known.get(&None).copied(),
    };
    let mut now = Timestamp(0);
    let numbered = (0..).zip(journal).filter_map(|(number, record)| {
        now = record.time().unwrap_or(now);
        event_of(run, number, record, now).filter(|_| known.is_none_or(|known| number >= known))
    });
    numbered.collect()
}

/// What is written in the place of the calls that were left out.
fn left_out_event(now_ms: u64, left_out: &CallsLeftOut) -> Event {
    let mut event = Event::new(now_ms, Actor::coordinator(), Action::CallsLeftOut, Status::Refused)
        .with("since_ms", left_out.since_ms.to_string());
    for (what, count) in [
        ("refused_strangers", left_out.refused_strangers),
        ("calls_of_strangers", left_out.calls_of_strangers),
        ("of_others", left_out.of_others),
    ] {
        if count > 0 {
            event = event.with(what, count.to_string());
        }
    }
    if left_out.of_callers.is_empty() {
        return event;
    }
    let named: Vec<String> =
        left_out.of_callers.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    event.with("of_callers", named.join(", "))
}

fn actor_of(caller: &Caller) -> Actor {
    let id = match &caller.subject {
        Some(Subject::Silo(id)) => audit::silo(id.0),
        _ => caller.name.clone(),
    };
    Actor {
        id,
        role: caller.role.map_or_else(|| "none".to_owned(), |role| role.to_string()),
        address: caller.address.map(|address| address.to_string()),
    }
}

#[cfg(test)]
mod tests;
