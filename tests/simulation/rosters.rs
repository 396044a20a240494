//! A later roster while a run goes on: silos come and go, and nobody else notices.

use identity::Roster;
use plan::{Policy, RosterChanges};
use protocol::{ClientRecord, CoordinatorFault, Decline, ParticipantError, Record, ToClient, ToCoordinator};
use secagg::ClientId;
use sim::{Federation, plan};

use crate::participant::world::{OWN, World, assert_refuses, messages, policy};

const ROUND_MS: u64 = 2_000;

/// Five silos may be in a cohort, three must.
fn growing(rounds: u64) -> plan::Plan {
    let mut plan = plan(5, rounds);
    plan.cohort.minimum = 3;
    plan
}

fn run_rounds(federation: &mut Federation, rounds: u64) {
    let mut until = federation.now_ms();
    // So that the coordinator's process stands.
    federation.run_until(until);
    let end = federation.coordinator().status().rounds_committed + rounds;
    while federation.coordinator().status().rounds_committed < end {
        until += ROUND_MS / 100;
        assert!(until < 1000 * ROUND_MS, "{}", federation.coordinator().status().waiting_why);
        federation.run_until(until);
        assert_eq!(federation.violation().map(ToString::to_string), None);
    }
}

/// Who is in the sum of the newest round.
fn included(federation: &Federation) -> Vec<u32> {
    federation.opened().last().unwrap().included.iter().map(|id| id.0).collect()
}

#[test]
fn a_silo_that_is_enrolled_during_a_run_is_in_its_next_rounds_and_nobody_starts_again() {
    let mut federation = Federation::new(growing(8), 3, 77);
    run_rounds(&mut federation, 2);
    assert_eq!(included(&federation), [1, 2, 3]);
    let fourth = federation.enrol();
    run_rounds(&mut federation, 3);
    assert_eq!(included(&federation), [1, 2, 3, fourth]);
    federation.run();
    let status = federation.coordinator().status();
    assert_eq!((status.rounds_committed, status.rounds_aborted), (8, 0), "{}", status.last_outcome);
    for id in 1..=3 {
        let joined = |record: &&ClientRecord| matches!(record, ClientRecord::Joined { .. });
        assert_eq!(federation.silo_journal(id).iter().filter(joined).count(), 1, "silo {id} started anew");
    }
}

#[test]
fn a_silo_that_leaves_is_in_no_later_round_and_the_run_goes_on_without_it() {
    let mut federation = Federation::new(growing(6), 4, 78);
    run_rounds(&mut federation, 2);
    assert_eq!(included(&federation), [1, 2, 3, 4]);
    federation.expel(2);
    run_rounds(&mut federation, 3);
    assert_eq!(included(&federation), [1, 3, 4]);
    federation.run();
    assert_eq!(federation.coordinator().status().rounds_committed, 6);
}

#[test]
fn the_coordinator_goes_on_under_the_later_roster_after_a_crash_even_from_its_old_configuration() {
    let mut federation = Federation::new(growing(6), 3, 79);
    run_rounds(&mut federation, 1);
    let fourth = federation.enrol();
    federation.crash_the_coordinator();
    federation.run();
    let status = federation.coordinator().status();
    assert_eq!((status.rounds_committed, federation.coordinator().roster().epoch), (6, 2));
    assert_eq!(included(&federation), [1, 2, 3, fourth]);
    let changes = federation.journal().iter().filter(|r| matches!(r, Record::RosterChanged { .. })).count();
    assert_eq!(changes, 1);
}

#[test]
fn a_roster_that_may_not_follow_is_refused_and_changes_nothing() {
    let mut federation = Federation::new(growing(2), 3, 80);
    run_rounds(&mut federation, 1);
    let mut older = federation.next_roster();
    older.epoch -= 1;
    older.members.pop_last();
    let why = federation.submit(&older).unwrap_err().to_string();
    assert!(why.contains("two rosters of epoch 1"), "{why}");
    older.epoch -= 1;
    let why = federation.submit(&older).unwrap_err().to_string();
    assert!(why.contains("not later"), "{why}");
    let mut foreign = federation.next_roster();
    foreign.federation.push('x');
    assert!(federation.submit(&foreign).unwrap_err().to_string().contains("another federation"));
    assert_eq!(federation.coordinator().roster().epoch, 1);
    federation.run();
    assert_eq!(federation.coordinator().status().rounds_committed, 2);
}

/// The roster of `world`, one epoch later, without its last member.
fn smaller(world: &World) -> identity::Roster {
    let mut roster = world.roster.clone();
    roster.epoch += 1;
    roster.members.pop_last();
    roster
}

#[test]
fn a_silo_that_decides_by_hand_waits_shows_who_leaves_and_goes_on_once_its_operator_accepts() {
    let by_hand = Policy { roster_changes: RosterChanges::ByHand, ..policy() };
    let mut world = World::new(sim::plan(4, 9), by_hand);
    world.join();
    let later = smaller(&world);
    let effects = world.say(sim::welcome(world.run, &world.plan, &later));
    let [ToCoordinator::Declined { round: None, reason: Decline::AwaitsOperator(change) }] =
        messages(&effects)[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(change, "a later roster", "only its operator learns who leaves");
    let reason = world.participant.status().last_reason;
    assert!(reason.contains("roster epoch 2 after 1; leaves: 4 silo 4"), "{reason}");
    let adopted = |world: &World| {
        world.journal.iter().any(|record| matches!(record, ClientRecord::RosterAdopted { epoch: 2, .. }))
    };
    assert!(!adopted(&world), "nobody has accepted it");
    let again = world.say(sim::welcome(world.run, &world.plan, &later));
    assert_eq!(messages(&again), messages(&effects), "that the coordinator says it again is no answer");
    assert!(!adopted(&world), "still nobody");

    // Another roster than the one that was shown is not accepted in its place.
    let other = params::Digest::sha256(b"another roster");
    let effects = world.input(protocol::ClientInput::AcceptRoster { roster: other });
    assert!(effects.is_empty() && !adopted(&world), "{effects:?}");

    let roster = sim::authorised(&later).digest();
    let effects = world.input(protocol::ClientInput::AcceptRoster { roster });
    assert!(matches!(messages(&effects)[..], [ToCoordinator::CheckIn { .. }]), "{effects:?}");
    assert!(adopted(&world));
    world.restart();
    assert_eq!(world.participant.current_roster().epoch, 2, "the journal holds what was accepted");
}

#[test]
fn an_adopted_roster_is_never_given_up_for_an_older_one_even_across_a_restart() {
    for restart in [false, true] {
        let mut world = World::in_a_run();
        let first = world.welcome();
        let later = smaller(&world);
        let effects = world.say(sim::welcome(world.run, &world.plan, &later));
        assert!(matches!(messages(&effects)[..], [ToCoordinator::CheckIn { .. }]), "{effects:?}");
        if restart {
            world.restart();
        }
        let fault = Decline::CoordinatorFault(CoordinatorFault::Roster);
        assert_refuses(&world.say(first), None, fault, "the first roster again");
    }
}

#[test]
fn a_pinned_roster_of_the_adopted_ones_epoch_and_another_digest_is_refused_by_name() {
    let mut world = World::in_a_run();
    let later = smaller(&world);
    world.say(sim::welcome(world.run, &world.plan, &later));
    let mut other = later.clone();
    other.members.get_mut(&OWN).unwrap().name = "renamed in the other of two".into();
    for (pinned, refused) in [(later.clone(), None), (other, Some(()))] {
        let recovered = world.recover_pinning(&pinned);
        let Some(()) = refused else {
            assert_eq!(recovered.unwrap().current_roster().digest(), sim::authorised(&later).digest());
            continue;
        };
        let why = recovered.map(drop).unwrap_err();
        let [pinned, adopted] = [&pinned, &later].map(|roster| sim::authorised(roster).digest().to_string());
        assert_eq!(why, ParticipantError::ForkedRoster { epoch: 2, pinned, adopted });
    }
}

/// A welcome under this roster that shows those before it.
fn shown(world: &World, roster: &Roster, before: &[&Roster]) -> ToClient {
    let ToClient::Welcome { run_id, plan, roster, .. } = sim::welcome(world.run, &world.plan, roster) else {
        unreachable!()
    };
    let between = before.iter().map(|roster| roster.sign(&sim::authority())).collect();
    ToClient::Welcome { run_id, plan, roster, between }
}

#[test]
fn a_silo_that_was_away_takes_the_newest_roster_by_way_of_all_that_lead_to_it() {
    let mut world = World::in_a_run();
    let mut second = world.roster.successor().unwrap();
    second.members.pop_last();
    let third = second.successor().unwrap();
    let effects = world.say(shown(&world, &third, &[]));
    let [ToCoordinator::Declined { round: None, reason }] = messages(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert!(matches!(reason, Decline::Policy { code, .. } if code == "ROSTERS_MISSING"), "{reason:?}");
    assert!(reason.waits(), "nobody is accused, and the daemon does not end");
    let reason = world.participant.status().last_reason;
    assert!(reason.contains("not shown") && reason.contains("hand over its newest roster"), "{reason}");
    let effects = world.say(shown(&world, &third, &[&world.roster.clone(), &second]));
    assert!(matches!(messages(&effects)[..], [ToCoordinator::CheckIn { .. }]), "{effects:?}");
    world.restart();
    assert_eq!(world.participant.current_roster().epoch, 3);
}

#[test]
fn who_was_revoked_does_not_come_back_with_a_later_roster_that_was_signed_on_an_older_one() {
    let fault = || Decline::CoordinatorFault(CoordinatorFault::Roster);
    let mut world = World::in_a_run();
    let first = world.roster.clone();
    let mut second = first.successor().unwrap();
    second.members.pop_last();
    world.say(shown(&world, &second, &[]));
    assert_eq!(world.participant.current_roster().epoch, 2);
    // On the first again, under epochs of any height, and by way of one another.
    let fork = Roster { epoch: 5, ..first.successor().unwrap() };
    let later = fork.successor().unwrap();
    for (case, effects) in [
        ("a fork", world.say(shown(&world, &fork, &[]))),
        ("a fork after the first", world.say(shown(&world, &fork, &[&first]))),
        ("a fork of two", world.say(shown(&world, &later, &[&fork]))),
        ("by way of both", world.say(shown(&world, &later, &[&second, &fork]))),
        ("of the first format", world.say(shown(&world, &Roster { epoch: 7, ..first.clone() }, &[]))),
    ] {
        assert_refuses(&effects, None, fault(), case);
    }
    assert_eq!(world.participant.current_roster().epoch, 2);
}

#[test]
fn a_roster_that_does_not_name_this_silo_or_names_another_key_for_it_is_refused() {
    type Edit = fn(&mut identity::Roster);
    let edits: [(&str, Edit); 3] = [
        ("left out", |roster| drop(roster.members.remove(&OWN))),
        ("another key", |roster| {
            roster.members.get_mut(&OWN).unwrap().identity_key = sim::author_text();
        }),
        ("another coordinator", |roster| roster.coordinator_key = sim::author_text()),
    ];
    for (case, edit) in edits {
        let mut world = World::in_a_run();
        let mut roster = world.roster.clone();
        roster.epoch += 1;
        edit(&mut roster);
        let fault = Decline::CoordinatorFault(CoordinatorFault::Roster);
        let effects = world.say(sim::welcome(world.run, &world.plan, &roster));
        assert_refuses(&effects, None, fault, case);
    }
}

#[test]
fn a_roster_that_comes_in_the_middle_of_a_round_wipes_the_rounds_secrets() {
    let (mut world, uploaded) = World::uploaded();
    let later = smaller(&world);
    let effects = world.say(sim::welcome(world.run, &world.plan, &later));
    assert!(effects.iter().any(|effect| matches!(effect, protocol::ClientEffect::Forget(_))), "{effects:?}");
    let included: Vec<ClientId> = uploaded.shared.u2().into_iter().collect();
    let at = crate::participant::world::AT;
    let effects = world.say(protocol::ToClient::Included { at, included });
    assert_refuses(&effects, Some(1), Decline::SitsOut, "its masks were bound to the roster before");
}
