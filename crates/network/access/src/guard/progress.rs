//! How many calls are in progress, by whom: each holds memory until its answer is read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::HangUp;
use tokio::sync::oneshot;

use crate::limits::Key;
use crate::requirements::{CallRule, RateClass};

/// Calls of one identity, or of one connection in plain text.
const EACH: usize = 64;
/// Calls that were asked to give way and are still there, as nobody has read yet how they end.
const LEAVING: usize = 512;

/// Where the calls of those who proved nothing are counted, so that calls of one kind take no place of another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Places {
    Admission,
    /// Short ones: whether all is well.
    Probes,
    /// Those that go on until their caller ends them.
    Endless,
}

impl Places {
    pub(super) fn of(row: &CallRule) -> Self {
        match (row.endless, row.rate) {
            (true, _) => Self::Endless,
            (false, RateClass::Admission) => Self::Admission,
            (false, _) => Self::Probes,
        }
    }

    /// How many there are.
    fn most(self) -> usize {
        match self {
            Self::Admission | Self::Probes => 192,
            Self::Endless => 64,
        }
    }
}

/// Calls in progress.
#[derive(Default)]
pub(super) struct Progress(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// Of who may have so many and no more.
    each: HashMap<Key, usize>,
    /// Of who proved nothing, in the order in which they came.
    admission: BTreeMap<u64, Strange>,
    probes: BTreeMap<u64, Strange>,
    endless: BTreeMap<u64, Strange>,
    /// The connections of those that were asked to give way, in the same order.
    leaving: BTreeMap<u64, HangUp>,
    next: u64,
}

struct Strange {
    key: Key,
    end: oneshot::Sender<()>,
    hang_up: HangUp,
}

/// One call, counted until this is dropped.
pub(super) struct Counted {
    progress: Arc<Progress>,
    key: Key,
    hang_up: HangUp,
    /// A stranger's place, and its number.
    strange: Option<(Places, u64)>,
    word: Option<oneshot::Receiver<()>>,
}

impl Counted {
    /// Word of when this must give way; none where it need not.
    pub(super) fn word(&mut self) -> Option<oneshot::Receiver<()>> {
        self.word.take()
    }

    /// Ends the connection over which it came.
    pub(super) fn hang_up(&self) -> &HangUp {
        &self.hang_up
    }
}

impl Progress {
    /// Counts a call in; none where the caller has as many as it may. One of who proved nothing always comes in: where
    /// its kind has no place left, the oldest of the network with the most gives way; and where too many are still there
    /// that were asked to, the connection of the one that came first ends.
    pub(super) fn begin(progress: &Arc<Self>, key: Key, places: Places, hang_up: HangUp) -> Option<Counted> {
        let mut counts = progress.counts();
        let (strange, word) = match key {
            Key::Network(_) | Key::Rest => {
                let (id, word) = counts.enter(&key, places, &hang_up);
                (Some((places, id)), Some(word))
            }
            Key::Identity(_) | Key::Connection(_) => {
                // Its keys are those of calls that are counted: it is as large as they are many.
                if counts.each.get(&key).is_some_and(|calls| *calls >= EACH) {
                    return None;
                }
                *counts.each.entry(key.clone()).or_default() += 1;
                (None, None)
            }
        };
        drop(counts);
        Some(Counted { progress: Arc::clone(progress), key, hang_up, strange, word })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn enter(&mut self, key: &Key, places: Places, hang_up: &HangUp) -> (u64, oneshot::Receiver<()>) {
        let (end, word) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        let held = self.held(places);
        held.insert(id, Strange { key: key.clone(), end, hang_up: hang_up.clone() });
        if held.len() > places.most()
            && let Some(victim) = fairest(held, id)
            && let Some(Strange { end, hang_up, .. }) = held.remove(&victim)
        {
            // One that is just ending by itself needs no word.
            let _ = end.send(());
            self.leaving.insert(victim, hang_up);
        }
        // Nobody waits for those who do not read: who reads has left long before as many others must.
        if self.leaving.len() > LEAVING
            && let Some((_, hang_up)) = self.leaving.pop_first()
        {
            hang_up.now();
        }
        (id, word)
    }

    /// One call of who may have so many is over.
    fn left(&mut self, key: &Key) {
        if let Some(calls) = self.each.get_mut(key) {
            *calls = calls.saturating_sub(1);
            if *calls == 0 {
                self.each.remove(key);
            }
        }
    }

    fn held(&mut self, places: Places) -> &mut BTreeMap<u64, Strange> {
        match places {
            Places::Admission => &mut self.admission,
            Places::Probes => &mut self.probes,
            Places::Endless => &mut self.endless,
        }
    }
}

/// Of the wide network, and in it of the network, that has the most, the oldest; never the one that has just come.
fn fairest(held: &BTreeMap<u64, Strange>, newest: u64) -> Option<u64> {
    let (mut near, mut wide) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
    for Strange { key, .. } in held.values() {
        *near.entry(key).or_default() += 1;
        *wide.entry(wide_of(key)).or_default() += 1;
    }
    let rank = |id: u64, key: &Key| (wide.get(&wide_of(key)).copied(), near.get(key).copied(), Reverse(id));
    let others = held.iter().filter(|(id, _)| **id != newest);
    others.max_by_key(|(id, call)| rank(**id, &call.key)).map(|(id, _)| *id)
}

fn wide_of(key: &Key) -> Option<IpAddr> {
    match key {
        Key::Network(address) => Some(pki::networks(*address).1),
        Key::Identity(_) | Key::Connection(_) | Key::Rest => None,
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.progress.counts();
        let counts = &mut *counts;
        match self.strange {
            None => counts.left(&self.key),
            Some((places, id)) => {
                counts.held(places).remove(&id);
                counts.leaving.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn network(host: u32) -> Key {
        Key::network(IpAddr::from(host.to_be_bytes()))
    }

    fn begin(progress: &Arc<Progress>, key: Key, places: Places) -> Option<Counted> {
        Progress::begin(progress, key, places, HangUp::default())
    }

    fn hung_up(call: &Counted) -> bool {
        call.hang_up().is_due(&Context::from_waker(Waker::noop()))
    }

    fn gave_way(call: &mut Counted) -> bool {
        call.word.as_mut().unwrap().try_recv().is_ok()
    }

    #[test]
    fn who_is_known_has_so_many_calls_at_once_and_strangers_take_none_of_them() {
        let progress = Arc::default();
        let silo = |name: &str| begin(&progress, Key::Identity(name.into()), Places::Endless);
        let mut of_one: Vec<Counted> = (0..EACH).map(|_| silo("silo/1").unwrap()).collect();
        assert!(silo("silo/1").is_none());
        assert!(silo("silo/2").is_some(), "another's are its own");
        of_one.pop();
        of_one.extend(silo("silo/1"));
        assert_eq!(of_one.len(), EACH);
        let stranger = |host: u32| begin(&progress, network(host), Places::Endless);
        let all: Vec<Counted> = (0..10_000).map(|host| stranger(host << 8).unwrap()).collect();
        assert!(silo("silo/2").is_some(), "who proved itself is no stranger");
        assert_eq!(progress.counts().endless.len(), Places::Endless.most());
        drop((all, of_one));
        let counts = progress.counts();
        assert!(counts.each.is_empty() && counts.endless.is_empty() && counts.leaving.is_empty());
    }

    #[test]
    fn endless_calls_of_strangers_take_no_place_of_a_probe_or_of_who_wants_to_enrol() {
        let progress = Arc::default();
        // Eight addresses of one network, each as often as it likes.
        let endless: Vec<Counted> =
            (0..512).filter_map(|i| begin(&progress, network(i % 8), Places::Endless)).collect();
        for places in [Places::Admission, Places::Probes] {
            // Not even of who has their address.
            for host in [1000 << 8, 0] {
                assert!(!gave_way(&mut begin(&progress, network(host), places).unwrap()));
            }
        }
        drop(endless);
    }

    #[test]
    fn where_one_kind_is_full_the_oldest_of_the_largest_network_gives_way_and_nobody_else() {
        for places in [Places::Admission, Places::Probes, Places::Endless] {
            let progress = Arc::default();
            let begin = |host: u32| begin(&progress, network(host), places).unwrap();
            let mut own = begin(77 << 24);
            // As many hosts of one network as one likes are one network.
            let mut flood: Vec<Counted> = (1..places.most() as u32).map(begin).collect();
            assert!(!flood.iter_mut().any(gave_way));
            let mut next = begin(78 << 24);
            assert!(gave_way(&mut flood[0]), "{places:?}");
            assert!(!flood[1..].iter_mut().any(gave_way));
            flood.remove(0);
            flood.extend((0..10).map(|_| begin(5)));
            assert!(!gave_way(&mut own) && !gave_way(&mut next), "{places:?}");
        }
    }

    #[test]
    fn calls_that_nobody_reads_are_so_many_from_however_many_networks_and_keep_nobody_out() {
        let progress: Arc<Progress> = Arc::default();
        let all = [Places::Admission, Places::Probes, Places::Endless];
        let mut held: Vec<Counted> = Vec::new();
        for host in 0..500 {
            let entered = all.map(|places| begin(&progress, network(host << 8), places));
            held.extend(entered.into_iter().map(Option::unwrap));
        }
        let most = LEAVING + all.map(Places::most).iter().sum::<usize>();
        let stay = |held: &[Counted]| held.iter().filter(|call| !hung_up(call)).count();
        assert_eq!((stay(&held), progress.counts().leaving.len()), (most, LEAVING));
        // Nor does one network have any of its own refused, for as much as it left unread.
        held.extend((0..600).map(|_| begin(&progress, network(1), Places::Probes).unwrap()));
        assert_eq!(stay(&held), most);
        assert!(!hung_up(held.last().unwrap()));
        drop(held);
        let counts = progress.counts();
        assert!(counts.leaving.is_empty() && counts.probes.is_empty() && counts.admission.is_empty());
    }
}
