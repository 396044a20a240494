//! What a silo tells of its data, and when.

use params::Digest;
use protocol::{
    ClientEffect, ClientInput, ClientRecord, JobId, SessionVersion, Timestamp, ToClient, ToCoordinator,
};

use super::world::{AT, SEALED, World, messages};

fn reads(effects: &[ClientEffect]) -> bool {
    effects.iter().any(|effect| matches!(effect, ClientEffect::ReadData { .. }))
}

/// Welcomed, and given the data's commitment by its shell.
fn checked_in(world: &mut World, commitment: Option<Digest>) -> Option<Digest> {
    let welcomed = world.say(world.welcome());
    assert!(
        reads(&welcomed) && messages(&welcomed).is_empty(),
        "nothing is said before it is read: {welcomed:?}"
    );
    let held = world.input(world.read(commitment));
    assert!(messages(&held).is_empty(), "how long the reading took would tell how much there is: {held:?}");
    let due = world.participant.deadline().unwrap();
    assert_eq!(due, world.now.plus_ms(world.plan.timing.ready_after_ms));
    world.now = due;
    let said = world.input(ClientInput::Tick);
    let [ToCoordinator::CheckIn { data, .. }] = messages(&said)[..] else { panic!("{said:?}") };
    *data
}

/// What is said at once to a welcome, without reading anything.
fn declared_again(world: &mut World) -> Option<Digest> {
    let again = world.say(world.welcome());
    assert!(!reads(&again), "{again:?}");
    let [ToCoordinator::CheckIn { data, .. }] = messages(&again)[..] else { panic!("{again:?}") };
    *data
}

#[test]
fn what_a_silo_tells_of_its_data_is_fixed_at_joining_across_sessions_and_restarts_whatever_the_data_becomes()
{
    let mut world = World::telling();
    let [first, second] = [b"first", b"other"].map(|data| Some(Digest::sha256(data)));
    assert_eq!(checked_in(&mut world, first), first);
    assert_eq!(declared_again(&mut world), first);
    world.restart_telling();
    assert_eq!(declared_again(&mut world), first);
    let late = world.read(second);
    assert!(world.input(late).is_empty(), "nobody waits for it any more");
    assert_eq!(declared_again(&mut world), first);
    world.restart();
    assert_eq!(declared_again(&mut world), None, "but where the operator has switched it off");
}

#[test]
fn data_that_cannot_be_read_is_not_declared_and_may_be_later() {
    let mut world = World::telling();
    assert!(!world.plan.promises());
    assert_eq!(checked_in(&mut world, None), None);
    let declared = Some(Digest::sha256(b"repaired"));
    assert_eq!(checked_in(&mut world, declared), declared);
    assert_eq!(declared_again(&mut world), declared);
}

#[test]
fn data_that_takes_longer_to_read_than_the_plan_gives_is_never_declared_in_the_run() {
    for ready_after_ms in [100, 0] {
        let mut world = World::telling();
        world.plan.timing.ready_after_ms = ready_after_ms;
        assert!(reads(&world.say(world.welcome())));
        let due = world.participant.deadline().unwrap();
        assert_eq!(due, world.now.plus_ms(world.plan.timing.training_limit_ms()));
        world.now = due;
        let said = world.input(ClientInput::Tick);
        assert!(matches!(messages(&said)[..], [ToCoordinator::CheckIn { data: None, .. }]), "{said:?}");
        let commitment = Some(Digest::sha256(b"data"));
        let late = world.input(world.read(commitment));
        assert!(late.is_empty(), "{late:?}");
        assert_eq!(declared_again(&mut world), None);
        world.restart_telling();
        assert_eq!(declared_again(&mut world), None);
    }
}

#[test]
fn what_holds_a_silos_trainers_is_said_alike_in_each_check_in_whatever_comes_of_reading_the_data() {
    for commitment in [Some(Digest::sha256(b"data")), None] {
        let mut world = World::telling();
        world.say(world.welcome());
        world.input(world.read(commitment));
        world.now = world.participant.deadline().unwrap();
        let mut words = vec![world.input(ClientInput::Tick)];
        // What is not declared yet is read again for another welcome.
        words.extend(commitment.map(|_| world.say(world.welcome())));
        for said in words {
            let [ToCoordinator::CheckIn { sandbox, .. }] = messages(&said)[..] else { panic!("{said:?}") };
            assert_eq!(sandbox.as_ref().map(ToString::to_string).as_deref(), Some(SEALED));
        }
    }
}

/// Whether the check-in stood in the journal before it was said, and with what.
fn said_when_due(effects: &[ClientEffect]) -> (Option<Digest>, ClientRecord) {
    let [ClientEffect::Persist(record), ClientEffect::Send(message)] = effects else { panic!("{effects:?}") };
    let ToCoordinator::CheckIn { data, .. } = message.message else { panic!("{message:?}") };
    (data, record.clone())
}

#[test]
fn where_something_is_promised_a_word_is_said_at_the_plans_time_and_by_the_same_steps_whatever_came_of_the_reading()
 {
    let mut words = Vec::new();
    for reading in [Some(Some(Digest::sha256(b"data"))), Some(None), None] {
        let mut world = World::telling();
        world.plan = sim::private_plan(4, 9, 4.0);
        world.plan.timing.ready_after_ms = 100;
        let welcomed = world.now;
        assert!(reads(&world.say(world.welcome())));
        if let Some(commitment) = reading {
            let read = world.input(world.read(commitment));
            assert!(read.is_empty(), "written now, it would move the check-in by a write: {read:?}");
        }
        let due = world.participant.deadline().unwrap();
        assert_eq!(due, welcomed.plus_ms(100), "{reading:?}");
        world.now = due;
        let (said, record) = said_when_due(&world.input(ClientInput::Tick));
        let word = said.unwrap();
        match reading.flatten() {
            Some(commitment) => assert_eq!(word, commitment),
            None => {
                assert_eq!(record, ClientRecord::DataNotDeclared { word }, "its operator sees which it is")
            }
        }
        let late = world.input(world.read(Some(Digest::sha256(b"late"))));
        assert!(late.is_empty(), "{late:?}");
        for _ in 0..2 {
            assert_eq!(declared_again(&mut world), said);
            world.restart_telling();
        }
        words.push(word);
        world.reseed(words.len() as u8);
    }
    assert!(words[1] != words[0] && words[2] != words[0], "{words:?}");
}

#[test]
fn a_silo_that_is_welcomed_again_while_its_data_is_read_waits_for_it_even_where_a_round_has_opened_meanwhile()
{
    let mut world = World::telling();
    assert!(reads(&world.say(world.welcome())));
    let genesis = world.signed(&world.genesis());
    world.say(ToClient::Published(genesis));
    for in_a_round in [false, true] {
        if in_a_round {
            let opened = world.say(world.open(AT));
            assert!(matches!(opened[..], [ClientEffect::Train(_)]), "{opened:?}");
        }
        let again = world.say(world.welcome());
        assert!(again.is_empty(), "{again:?}");
    }
    let commitment = Some(Digest::sha256(b"data"));
    // The time has passed by now that reading is given.
    world.now = world.now.plus_ms(world.plan.timing.ready_after_ms);
    let said = world.input(world.read(commitment));
    let [ToCoordinator::CheckIn { data, .. }] = messages(&said)[..] else { panic!("{said:?}") };
    assert_eq!(*data, commitment);
}

#[test]
fn what_is_read_for_another_run_is_not_declared_in_this_one() {
    let mut world = World::telling();
    assert!(reads(&world.say(world.welcome())));
    let of_this_run = world.read(Some(Digest::sha256(b"x")));
    let other_run = Digest::sha256(b"other");
    assert!(reads(&world.say(sim::welcome(other_run, &world.plan, &world.roster))));
    assert!(world.input(of_this_run).is_empty());
    // The same run again: what was read for its first welcome is as old.
    let of_the_other = world.read(Some(Digest::sha256(b"y")));
    assert!(reads(&world.say(world.welcome())));
    assert!(world.input(of_the_other).is_empty());
    assert!(world.input(world.read(None)).is_empty(), "the time has not come");
    world.now = world.now.plus_ms(world.plan.timing.ready_after_ms);
    let said = world.input(ClientInput::Tick);
    assert!(matches!(messages(&said)[..], [ToCoordinator::CheckIn { data: None, .. }]), "{said:?}");
}

#[test]
fn data_is_not_read_anew_in_the_middle_of_a_round_so_that_what_was_trained_on_stays_what_is_declared() {
    let mut world = World::telling();
    let declared = Some(Digest::sha256(b"data"));
    assert_eq!(checked_in(&mut world, declared), declared);
    let genesis = world.signed(&world.genesis());
    world.say(ToClient::Published(genesis));
    world.advertise();
    assert_eq!(declared_again(&mut world), declared);
}

#[test]
fn a_silo_that_is_switched_off_reads_and_tells_nothing() {
    let mut world = World::in_a_run();
    let again = world.say(world.welcome());
    assert!(!reads(&again));
    assert!(matches!(messages(&again)[..], [ToCoordinator::CheckIn { data: None, .. }]), "{again:?}");
}

/// In two runs at once, whose tables are to be read: the runs, and the readings in their order.
fn joined_two(world: &mut World) -> ([Digest; 2], [JobId; 2]) {
    world.plan = sim::private_plan(4, 9, 4.0);
    world.plan.timing.ready_after_ms = 2000;
    let runs = [world.run, Digest::sha256(b"other")];
    world.input(ClientInput::Connected { version: SessionVersion::NEWEST });
    for run in runs {
        assert!(reads(&world.say_of(run, sim::welcome(run, &world.plan, &world.roster))));
    }
    (runs, world.readings[..].try_into().unwrap())
}

/// What a run is checked in with at the next deadline, and when that is.
fn next_check_in(world: &mut World, run: Digest) -> (Timestamp, Option<Digest>) {
    world.now = world.participant.deadline().unwrap();
    let effects = world.input(ClientInput::Tick);
    let said = effects.iter().find_map(|effect| match effect {
        ClientEffect::Send(said) if said.run == Some(run) => Some(&said.message),
        _ => None,
    });
    let Some(ToCoordinator::CheckIn { data, .. }) = said else { panic!("{effects:?}") };
    (world.now, *data)
}

#[test]
fn of_runs_joined_at_once_each_has_the_plans_time_for_its_reading_however_long_the_one_before_it_takes() {
    for first_takes_ms in [1, 1999] {
        let mut world = World::telling();
        let ([first, second], jobs) = joined_two(&mut world);
        let begun = world.now;
        let data = [b"a", b"b"].map(|data| Some(Digest::sha256(data)));
        world.now = begun.plus_ms(first_takes_ms);
        world.input(ClientInput::DataRead { job: jobs[0], commitment: data[0] });
        assert_eq!(next_check_in(&mut world, first), (begun.plus_ms(2000), data[0]));
        // It could not begin before the first was done, and takes as long as it may.
        world.now = begun.plus_ms(3990);
        world.input(ClientInput::DataRead { job: jobs[1], commitment: data[1] });
        assert_eq!(next_check_in(&mut world, second), (begun.plus_ms(4000), data[1]), "{first_takes_ms}");
    }
}

#[test]
fn the_time_for_a_reading_counts_from_its_begin_and_not_from_what_was_written_down_before() {
    let mut world = World::telling();
    let ([first, second], jobs) = joined_two(&mut world);
    // The disk took that long.
    world.now = world.now.plus_ms(1250);
    let begun = world.now;
    for job in jobs {
        assert!(world.input(ClientInput::ReadingBegun { job }).is_empty());
    }
    let data = Some(Digest::sha256(b"data"));
    world.now = begun.plus_ms(1900);
    world.input(ClientInput::DataRead { job: jobs[0], commitment: data });
    assert!(
        world.input(ClientInput::ReadingBegun { job: jobs[0] }).is_empty(),
        "said again it puts off nothing"
    );
    assert_eq!(next_check_in(&mut world, first), (begun.plus_ms(2000), data));
    let (at, word) = next_check_in(&mut world, second);
    assert_eq!(at, begun.plus_ms(4000), "and is no longer for a table that is never read");
    assert!(word.is_some());
}
