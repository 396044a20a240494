//! Who holds a connection, and who gives way when there are more than there is room for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::Subject;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Time that a handshake whose ClientHello is there has, while there are less than [`AT_MOST`] of them: a whole federation
/// may come back at once, to a processor that is slower than all of them.
const GRACE: Duration = Duration::from_secs(1);
/// And one whose ClientHello is not: a client's is right behind its connection.
const SILENT_GRACE: Duration = Duration::from_millis(100);
/// Times the budget's handshakes, after which the fairest gives way whatever its age: a listener that waited for some would
/// let them stop everybody else.
const AT_MOST: usize = 2;
/// How long a network is remembered after somebody with a certificate connected from it.
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Networks remembered at most.
const NETWORKS_MAX: usize = 4096;
/// A summary of who gave way, at most so often.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// How many connections a server has room for.
///
/// A place for a handshake and one without a certificate is everybody's; whoever shows a certificate leaves both behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBudget {
    /// Of all kinds together.
    pub connections: usize,
    /// Whose handshake is not finished; twice as many where none of them had its time yet.
    pub handshakes: usize,
    /// That showed no certificate.
    pub strangers: usize,
    /// That showed a certificate of one and the same subject.
    pub of_one_subject: usize,
}

impl ConnectionBudget {
    /// What `descriptors` allow, of which `files` are kept for files.
    pub fn of_descriptors(descriptors: u64, files: u64) -> Self {
        let connections = descriptors.saturating_sub(files).max(descriptors / 4);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        Self {
            connections,
            // Some 50 kB each, and twice that once there is HTTP/2 on it.
            handshakes: (connections / 4).min(512),
            strangers: (connections / 4).min(1024),
            of_one_subject: 32,
        }
    }
}

impl Default for ConnectionBudget {
    fn default() -> Self {
        Self::of_descriptors(1024, 256)
    }
}

/// Why a connection came to nothing, for whoever counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// It was closed before it said anything: a probe of a load balancer does that.
    HungUp,
    /// It was ended to make room.
    GaveWay,
    /// It was too slow with its handshake or its first request.
    Late,
    /// Its handshake failed.
    Refused,
    /// Calls over it were ended, and it did not read how.
    Unread,
}

impl Turned {
    /// A word that programs act on.
    pub fn name(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::GaveWay => "gave_way",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Unread => "unread",
        }
    }
}

/// Receives each connection that came to nothing.
pub type Watcher = Arc<dyn Fn(Turned) + Send + Sync>;

/// All places of a server.
pub(super) struct Book {
    table: Mutex<Table>,
    /// A place was left.
    pub(super) freed: Notify,
    watcher: Watcher,
}

impl Book {
    pub(super) fn new(budget: ConnectionBudget, watcher: Watcher) -> Arc<Self> {
        Arc::new(Self { table: Mutex::new(Table::new(budget)), freed: Notify::new(), watcher })
    }

    /// A place for a connection that was just accepted, and the word that it must give way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, plain: bool) -> (Place, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        let id = self.table().enter(address, plain, end, Instant::now());
        (Place { book: Arc::clone(self), id }, ended)
    }

    /// Ends whoever is too many; whether another may come.
    pub(super) fn relieve(&self) -> bool {
        let now = Instant::now();
        let mut table = self.table();
        let (room, ended) = table.relieve(now);
        let summary = table.summary(ended, now);
        drop(table);
        for _ in 0..ended {
            self.turned(Turned::GaveWay);
        }
        if let Some(gave_way) = summary {
            tracing::warn!(
                gave_way,
                "more connections come than there is room for: the oldest silent ones and idle ones without a certificate \
                 give way"
            );
        }
        room
    }

    /// Ends somebody without a certificate, as descriptors have run out all the same.
    pub(super) fn press(&self) {
        if self.table().press(Instant::now()) {
            self.turned(Turned::GaveWay);
        }
    }

    pub(super) fn turned(&self, turned: Turned) {
        (self.watcher)(turned);
    }

    /// Whether one more failed handshake may be explained in the log.
    pub(super) fn may_tell(&self) -> bool {
        self.table().may_tell(Instant::now())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; dropped with the connection.
pub(super) struct Place {
    book: Arc<Book>,
    id: u64,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Place {
    /// The other end has said something.
    pub(super) fn spoke(&self) {
        if let Some(held) = self.book.table().held.get_mut(&self.id) {
            held.spoke = true;
        }
    }

    /// The other end has said all of its ClientHello.
    pub(super) fn greeted(&self) {
        if let Some(held) = self.book.table().held.get_mut(&self.id) {
            held.greeted = true;
        }
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.book.table().held.get(&self.id).is_some_and(|held| held.spoke)
    }

    /// The other end has asked for something.
    pub(super) fn asked(&self) {
        if let Some(held) = self.book.table().held.get_mut(&self.id) {
            held.since = Instant::now();
        }
    }

    /// The handshake is finished, and showed this.
    pub(super) fn established(&self, subject: Option<&Subject>) {
        self.book.table().established(self.id, subject, Instant::now());
    }

    pub(super) fn turned(&self, turned: Turned) {
        self.book.turned(turned);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.book.table().held.remove(&self.id);
        self.book.freed.notify_one();
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Handshake,
    Stranger,
    Proven(String),
    /// Without TLS, on this machine, nobody proves anything.
    Plain,
}

struct Held {
    /// IPv4 address, or /64.
    near: IpAddr,
    /// /24, or /48.
    wide: IpAddr,
    /// Somebody with a certificate connected from there lately.
    known: bool,
    stage: Stage,
    /// Of a handshake its beginning, else when it asked for something last.
    since: Instant,
    spoke: bool,
    /// Its ClientHello is there: a byte alone costs nothing, and buys nothing.
    greeted: bool,
    /// None where it was asked to end.
    end: Option<oneshot::Sender<()>>,
}

impl Held {
    /// Whether it is a handshake that had the time it may claim.
    fn had_time(&self, now: Instant) -> bool {
        let grace = if self.greeted { GRACE } else { SILENT_GRACE };
        self.stage == Stage::Handshake && now.duration_since(self.since) >= grace
    }
}

struct Table {
    budget: ConnectionBudget,
    held: BTreeMap<u64, Held>,
    next: u64,
    /// Networks where a certificate was shown, and when last.
    known: BTreeMap<IpAddr, Instant>,
    gave_way: u64,
    summed_up: Option<Instant>,
    explained: u32,
    explained_since: Option<Instant>,
}

impl Table {
    fn new(budget: ConnectionBudget) -> Self {
        Self {
            budget,
            held: BTreeMap::new(),
            next: 0,
            known: BTreeMap::new(),
            gave_way: 0,
            summed_up: None,
            explained: 0,
            explained_since: None,
        }
    }

    fn enter(&mut self, address: IpAddr, plain: bool, end: oneshot::Sender<()>, now: Instant) -> u64 {
        let (near, wide) = networks(address);
        let known = self.known.get(&wide).is_some_and(|at| now.duration_since(*at) < LATELY);
        let stage = if plain { Stage::Plain } else { Stage::Handshake };
        let id = self.next;
        self.next += 1;
        let end = Some(end);
        let held = Held { near, wide, known, stage, since: now, spoke: false, greeted: false, end };
        self.held.insert(id, held);
        id
    }

    fn established(&mut self, id: u64, subject: Option<&Subject>, now: Instant) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.since = now;
        let Some(subject) = subject else {
            held.stage = Stage::Stranger;
            return;
        };
        held.stage = Stage::Proven(subject.to_string());
        self.known.insert(held.wide, now);
        if self.known.len() > NETWORKS_MAX
            && let Some(oldest) = self.known.iter().min_by_key(|(_, at)| **at).map(|(network, _)| *network)
        {
            self.known.remove(&oldest);
        }
    }

    /// Ends whoever is too many. Gives whether another may come, and how many were ended.
    fn relieve(&mut self, now: Instant) -> (bool, u64) {
        let mut ended = 0;
        while let Some(victim) = self.excess(now).and_then(|excess| self.victim(&excess, now)) {
            self.end(victim);
            ended += 1;
        }
        // What descriptors allow, and nothing else, makes the listener wait: it is everybody's.
        (self.held.len() < self.budget.connections, ended)
    }

    /// Of whom there are too many.
    fn excess(&self, now: Instant) -> Option<Excess> {
        let budget = &self.budget;
        let count = |of: &dyn Fn(&Held) -> bool| {
            self.held.values().filter(|held| held.end.is_some() && of(held)).count()
        };
        // A quarter is kept for networks that somebody with a certificate came from.
        let open = budget.handshakes - budget.handshakes / 4;
        let unknown = count(&|held| held.stage == Stage::Handshake && !held.known);
        let known = count(&|held| held.stage == Stage::Handshake && held.known);
        let had_time = |held: &Held| held.had_time(now);
        if unknown > open * AT_MOST || (unknown > open && count(&|held| !held.known && had_time(held)) > 0) {
            return Some(Excess::Unknown);
        }
        // Those above their own part are no reason to end one of a known network.
        let there = known + unknown.min(open);
        if there > budget.handshakes * AT_MOST || (there > budget.handshakes && count(&had_time) > 0) {
            return Some(Excess::Handshakes);
        }
        if let Some(network) = self.crowded() {
            return Some(Excess::Strangers(Some(network)));
        }
        if count(&|held| held.stage == Stage::Stranger) > budget.strangers {
            return Some(Excess::Strangers(None));
        }
        let mut subjects: BTreeMap<&str, usize> = BTreeMap::new();
        for held in self.held.values().filter(|held| held.end.is_some()) {
            if let Stage::Proven(subject) = &held.stage {
                *subjects.entry(subject).or_default() += 1;
            }
        }
        let largest = subjects.into_iter().max_by_key(|(_, count)| *count);
        if let Some((subject, count)) = largest
            && count > budget.of_one_subject
        {
            return Some(Excess::Subject(subject.to_owned()));
        }
        // One stays free for whoever comes next.
        (count(&|_| true) >= budget.connections).then_some(Excess::All)
    }

    /// A network with more strangers than its share: half of the places for a /24 or /48, a quarter for an address.
    fn crowded(&self) -> Option<IpAddr> {
        let (mut near, mut wide) = (BTreeMap::new(), BTreeMap::new());
        for held in self.held.values().filter(|held| held.end.is_some() && held.stage == Stage::Stranger) {
            *near.entry(held.near).or_insert(0) += 1;
            *wide.entry(held.wide).or_insert(0) += 1;
        }
        let over = |counts: BTreeMap<IpAddr, usize>, share: usize| {
            counts.into_iter().find(|(_, count)| *count > share.max(1)).map(|(network, _)| network)
        };
        over(near, self.budget.strangers / 4).or_else(|| over(wide, self.budget.strangers / 2))
    }

    /// Who gives way: of handshakes one that had its time, and where there is none any.
    fn victim(&self, excess: &Excess, now: Instant) -> Option<u64> {
        let handshake = |among: &dyn Fn(&Held) -> bool| {
            self.fairest(|held| among(held) && held.had_time(now))
                .or_else(|| self.fairest(|held| among(held) && held.stage == Stage::Handshake))
        };
        let stranger = |held: &Held| held.stage == Stage::Stranger;
        match excess {
            Excess::Unknown => handshake(&|held| !held.known),
            Excess::Handshakes => handshake(&|_| true),
            Excess::Strangers(network) => self.fairest(|held| {
                stranger(held) && network.is_none_or(|network| held.near == network || held.wide == network)
            }),
            Excess::Subject(subject) => {
                self.fairest(|held| matches!(&held.stage, Stage::Proven(name) if name == subject))
            }
            Excess::All => self
                .fairest(stranger)
                .or_else(|| handshake(&|held| !held.known))
                .or_else(|| handshake(&|_| true))
                .or_else(|| self.fairest(|held| matches!(held.stage, Stage::Proven(_)))),
        }
    }

    /// Of those who may be ended: a silent one before one that greeted, of the network and then of the address with the
    /// most of them, the oldest.
    fn fairest(&self, may: impl Fn(&Held) -> bool) -> Option<u64> {
        let candidates = || self.held.iter().filter(|(_, held)| held.end.is_some() && may(held));
        let (mut near, mut wide) = (BTreeMap::new(), BTreeMap::new());
        for (_, held) in candidates() {
            *near.entry((held.greeted, held.near)).or_insert(0usize) += 1;
            *wide.entry((held.greeted, held.wide)).or_insert(0usize) += 1;
        }
        let rank = |held: &Held| {
            let wide = wide.get(&(held.greeted, held.wide)).copied();
            let near = near.get(&(held.greeted, held.near)).copied();
            (!held.greeted, wide, near, std::cmp::Reverse(held.since))
        };
        // Of equals the first to come.
        candidates().rev().max_by_key(|(_, held)| rank(held)).map(|(id, _)| *id)
    }

    fn press(&mut self, now: Instant) -> bool {
        let victim = self.victim(&Excess::All, now);
        victim.map(|id| self.end(id)).is_some()
    }

    fn end(&mut self, id: u64) {
        if let Some(end) = self.held.get_mut(&id).and_then(|held| held.end.take()) {
            // One that is just ending by itself needs no word.
            let _ = end.send(());
        }
    }

    /// How many gave way, where it is time to say so.
    fn summary(&mut self, ended: u64, now: Instant) -> Option<u64> {
        self.gave_way += ended;
        let due = self.summed_up.is_none_or(|at| now.duration_since(at) >= SUMMARY_EVERY);
        if self.gave_way == 0 || !due {
            return None;
        }
        self.summed_up = Some(now);
        Some(std::mem::take(&mut self.gave_way))
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        const EACH_TIME: u32 = 60;
        if self.explained_since.is_none_or(|at| now.duration_since(at) >= SUMMARY_EVERY) {
            self.explained_since = Some(now);
            self.explained = 0;
        }
        self.explained += 1;
        self.explained <= EACH_TIME
    }
}

enum Excess {
    /// Handshakes of networks that nobody with a certificate came from lately.
    Unknown,
    Handshakes,
    /// Of one network, or of all.
    Strangers(Option<IpAddr>),
    Subject(String),
    All,
}

/// What counts as one host, and what as one network: hosts have as many addresses of the latter as they like.
pub fn networks(address: IpAddr) -> (IpAddr, IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (v4.into(), IpAddr::V4((v4.to_bits() >> 8 << 8).into())),
        IpAddr::V6(v6) => {
            let cut = |bits: u32| IpAddr::V6((v6.to_bits() >> bits << bits).into());
            (cut(64), cut(80))
        }
    }
}

#[cfg(test)]
mod tests;
