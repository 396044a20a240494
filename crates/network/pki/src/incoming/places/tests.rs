//! Who gives way, on a clock of the test's own.

use secagg::ClientId;

use super::*;

fn budget() -> ConnectionBudget {
    ConnectionBudget { connections: 40, handshakes: 8, strangers: 8, of_one_subject: 3 }
}

/// A table, its connections' ends, and a clock.
struct Door {
    table: Table,
    ends: BTreeMap<u64, oneshot::Receiver<()>>,
    now: Instant,
}

impl Door {
    fn new() -> Self {
        Self { table: Table::new(budget()), ends: BTreeMap::new(), now: Instant::now() }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    /// Somebody connects; whether another may come.
    fn knock(&mut self, from: &str) -> (u64, bool) {
        let (end, ended) = oneshot::channel();
        let id = self.table.enter(from.parse().unwrap(), false, end, self.now);
        self.ends.insert(id, ended);
        let (room, _) = self.table.relieve(self.now);
        (id, room)
    }

    /// Says its whole ClientHello.
    fn greet(&mut self, id: u64) {
        let held = self.table.held.get_mut(&id).unwrap();
        (held.spoke, held.greeted) = (true, true);
    }

    fn establish(&mut self, id: u64, silo: Option<u32>) {
        self.greet(id);
        let subject = silo.map(|silo| Subject::Silo(ClientId(silo)));
        self.table.established(id, subject.as_ref(), self.now);
        self.table.relieve(self.now);
    }

    /// Whether it was asked to end.
    fn ended(&mut self, id: u64) -> bool {
        self.ends.get_mut(&id).unwrap().try_recv().is_ok()
    }

    /// Whoever was asked to end does.
    fn close_ended(&mut self) {
        self.table.held.retain(|_, held| held.end.is_some());
    }

    /// Closed by its own side.
    fn leave(&mut self, id: u64) {
        self.table.held.remove(&id);
    }
}

#[test]
fn two_hundred_silent_connections_a_second_end_no_handshake_that_speaks_from_the_same_address() {
    let mut door = Door::new();
    door.table.budget = ConnectionBudget::of_descriptors(1024, 256);
    let mut silo = None;
    for at in 0..2000 {
        door.pass(5);
        let (id, room) = door.knock("192.0.2.1");
        assert!(room, "connection {at} has to wait");
        if at == 1000 {
            door.greet(id);
            silo = Some(id);
        }
        assert!(silo.is_none_or(|silo| !door.ended(silo)), "a handshake that speaks gave way to silent ones");
        door.close_ended();
    }
}

#[test]
fn the_oldest_silent_handshake_of_the_largest_network_gives_way_first() {
    let mut door = Door::new();
    let (other, _) = door.knock("203.0.113.7");
    let flood: Vec<u64> = (1..=8)
        .map(|host| {
            door.pass(100);
            door.knock(&format!("192.0.2.{host}")).0
        })
        .collect();
    assert!(!door.ended(other), "one of one network before many of another");
    assert!(door.ended(flood[0]) && !door.ended(flood[7]));
    // Two of one address before one each of others.
    let mut door = Door::new();
    let spread: Vec<u64> = (1..=5).map(|host| door.knock(&format!("192.0.2.{host}")).0).collect();
    let (twice, _) = door.knock("192.0.2.5");
    door.pass(100);
    door.knock("192.0.2.6");
    assert!(door.ended(spread[4]) && !door.ended(twice));
    assert!(!door.ended(spread[0]));
}

#[test]
fn strangers_of_many_networks_leave_a_quarter_of_the_places_to_where_a_certificate_came_from() {
    let mut door = Door::new();
    let (silo, _) = door.knock("198.51.100.1");
    door.establish(silo, Some(1));
    let mine: Vec<u64> = (2..=3).map(|host| door.knock(&format!("198.51.100.{host}")).0).collect();
    for third in 0..100 {
        let (stranger, _) = door.knock(&format!("10.0.{third}.1"));
        door.greet(stranger);
        door.pass(2000);
    }
    assert!(mine.iter().all(|id| !door.ended(*id)), "the reserve was taken by strangers");
}

#[test]
fn a_federation_that_comes_back_at_once_has_its_second_and_then_the_oldest_gives_way() {
    let mut door = Door::new();
    let (first, _) = door.knock("192.0.2.1");
    door.greet(first);
    for _ in 0..11 {
        let (next, room) = door.knock("192.0.2.1");
        assert!(room && !door.ended(next), "nobody is ended before it could say its first word");
        door.greet(next);
    }
    door.pass(999);
    door.table.relieve(door.now);
    assert!(!door.ended(first), "twice its room is there for a second");
    door.pass(1);
    assert!(door.table.relieve(door.now).0);
    assert!(door.ended(first));
    assert_eq!(door.table.held.values().filter(|held| held.end.is_some()).count(), 6);
}

#[test]
fn neither_one_byte_nor_a_whole_hello_of_strangers_makes_the_listener_wait_or_takes_the_reserve() {
    for greets in [false, true] {
        let mut door = Door::new();
        door.table.budget = ConnectionBudget::of_descriptors(1024, 256);
        let (silo, _) = door.knock("198.51.100.1");
        door.establish(silo, Some(1));
        let mut known = None;
        for at in 0..1500u32 {
            let (stranger, room) = door.knock(&format!("10.{}.{}.1", at % 7, at % 250));
            assert!(room, "connection {at} of strangers stops everybody; greets: {greets}");
            if greets {
                door.greet(stranger);
            } else {
                door.table.held.get_mut(&stranger).unwrap().spoke = true;
            }
            if at % 1000 == 0 {
                known = Some(door.knock("198.51.100.2").0);
            }
            assert!(known.is_none_or(|known| !door.ended(known)), "the reserve was taken");
            door.close_ended();
            // 2,000 a second, and none of them old enough to be ended where that were asked for.
            door.table.held.retain(|id, _| known != Some(*id) || at % 1000 < 100);
            known = known.filter(|id| door.table.held.contains_key(id));
            door.now += Duration::from_micros(500);
        }
    }
}

#[test]
fn handshakes_of_strangers_end_no_silo_where_every_descriptor_is_taken() {
    let mut door = Door::new();
    door.table.budget = ConnectionBudget { connections: 12, handshakes: 8, strangers: 4, of_one_subject: 3 };
    let silos: Vec<u64> = (1..=8)
        .map(|silo| {
            let (id, _) = door.knock("192.0.2.1");
            door.establish(id, Some(silo));
            id
        })
        .collect();
    for host in 0..50 {
        let (stranger, _) = door.knock(&format!("10.0.{host}.1"));
        door.greet(stranger);
        door.close_ended();
        assert!(door.table.relieve(door.now).0, "somebody gives way, and the next may come");
    }
    assert!(silos.iter().all(|id| !door.ended(*id)));
}

#[test]
fn idle_strangers_give_way_to_newer_ones_and_no_certificate_does() {
    let mut door = Door::new();
    let (silo, _) = door.knock("192.0.2.1");
    door.establish(silo, Some(1));
    let (other, _) = door.knock("203.0.113.9");
    door.establish(other, None);
    let mut flood = Vec::new();
    for _ in 0..30 {
        door.pass(10);
        let (id, room) = door.knock("192.0.2.1");
        assert!(room);
        door.establish(id, None);
        flood.push(id);
        for id in flood.clone() {
            if door.table.held.get(&id).is_some_and(|held| held.end.is_none()) {
                door.leave(id);
            }
        }
    }
    let standing = door.table.held.values().filter(|held| held.stage == Stage::Stranger).count();
    // One address has a quarter of them.
    assert_eq!(standing, 2 + 1);
    assert!(!door.ended(silo) && !door.ended(other));
    assert!(door.table.held.contains_key(flood.last().unwrap()), "the newest has its place");
}

#[test]
fn whoever_shows_a_certificate_ends_a_stranger_where_nothing_is_free_and_no_subject_takes_all() {
    let mut door = Door::new();
    door.table.budget = ConnectionBudget { connections: 6, handshakes: 4, strangers: 4, of_one_subject: 3 };
    let mut certified = Vec::new();
    for silo in 1..=4 {
        let (id, _) = door.knock("192.0.2.1");
        door.establish(id, Some(silo));
        certified.push(id);
    }
    let (stranger, _) = door.knock("203.0.113.1");
    door.establish(stranger, None);
    let (late, _) = door.knock("203.0.113.2");
    door.establish(late, None);
    door.pass(100);
    let (fifth, _) = door.knock("192.0.2.1");
    door.establish(fifth, Some(5));
    assert!(door.ended(stranger), "the oldest stranger makes room");
    assert!(certified.iter().all(|id| !door.ended(*id)));
    // One silo with connections without end keeps three, and costs nobody else's.
    let (mut door, mut ended) = (Door::new(), 0);
    for _ in 0..10 {
        let (id, _) = door.knock("192.0.2.1");
        door.establish(id, Some(7));
    }
    for id in door.ends.keys().copied().collect::<Vec<_>>() {
        ended += usize::from(door.ended(id));
    }
    assert_eq!(ended, 7);
}

#[test]
fn a_connection_that_was_asked_to_end_counts_until_its_descriptor_is_closed() {
    let mut door = Door::new();
    door.table.budget = ConnectionBudget { connections: 4, handshakes: 3, strangers: 2, of_one_subject: 3 };
    for _ in 0..4 {
        door.knock("192.0.2.1");
    }
    let (_, room) = door.knock("192.0.2.1");
    assert!(!room, "five descriptors are open, where there is room for four");
    door.pass(100);
    assert!(!door.table.relieve(door.now).0, "asked to end, and not closed yet");
    let gone: Vec<u64> = door.ends.keys().copied().filter(|id| door.table.held[id].end.is_none()).collect();
    gone.into_iter().for_each(|id| door.leave(id));
    assert!(door.table.relieve(door.now).0);
}

#[test]
fn a_budget_keeps_descriptors_for_files_and_works_with_a_thousand() {
    let small = ConnectionBudget::of_descriptors(1024, 256);
    assert_eq!((small.connections, small.handshakes, small.strangers), (768, 192, 192));
    let large = ConnectionBudget::of_descriptors(65_536, 600);
    assert_eq!((large.connections, large.handshakes, large.strangers), (64_936, 512, 1024));
    // More files than descriptors: a quarter is for connections all the same.
    assert_eq!(ConnectionBudget::of_descriptors(1024, 4096).connections, 256);
}

#[test]
fn hosts_and_networks_of_both_families_are_told_apart() {
    let of = |text: &str| networks(text.parse().unwrap());
    assert_eq!(of("192.0.2.77").1, of("::ffff:192.0.2.1").1);
    assert_ne!(of("192.0.2.77").0, of("192.0.2.1").0);
    assert_ne!(of("192.0.2.77").1, of("192.0.3.77").1);
    assert_eq!(of("2001:db8:1:2::1").0, of("2001:db8:1:2:ffff::9").0);
    assert_ne!(of("2001:db8:1:2::1").0, of("2001:db8:1:3::1").0);
    assert_eq!(of("2001:db8:1:2::1").1, of("2001:db8:1:3::1").1);
}

#[test]
fn plain_connections_are_as_many_as_descriptors_allow_and_nobody_gives_way_to_one_that_waits() {
    let mut door = Door::new();
    for nth in 1..=budget().connections + 5 {
        let (end, ended) = oneshot::channel();
        let id = door.table.enter("127.0.0.1".parse().unwrap(), true, end, door.now);
        door.ends.insert(id, ended);
        let (room, gave_way) = door.table.relieve(door.now);
        assert_eq!((room, gave_way), (nth < budget().connections, 0), "{nth}");
    }
    door.pass(3_600_000);
    assert_eq!(door.table.relieve(door.now), (false, 0));
    (0..6).for_each(|id| door.leave(id));
    assert!(door.table.relieve(door.now).0);
}
