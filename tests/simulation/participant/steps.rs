//! The server's steps, which a silo does again in the chain's order before it trains.

use checkpoint::{Action, Manifest, SignedManifest};
use params::Digest;
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, CoordinatorFault, Decline, StepJob, StepOutcome,
    ToClient, ToCoordinator,
};

use super::fault;
use super::world::{World, assert_refuses, messages, policy};

/// Records of rounds 1 to `rounds`, each of another model.
fn chain(world: &World, rounds: u64) -> Vec<SignedManifest> {
    let mut chain = vec![world.signed(&world.genesis())];
    for round in 1..=rounds {
        let manifest = next(world, round, &chain[round as usize - 1]);
        chain.push(world.signed(&manifest));
    }
    chain.split_off(1)
}

fn next(world: &World, round: u64, parent: &SignedManifest) -> Manifest {
    let before = parent.verify_strict().unwrap();
    let mut manifest = Manifest {
        round,
        attempt: 1,
        parent: Some(parent.digest()),
        parent_model: Some(before.model.params_digest),
        aggregate_digest: Some(Digest::sha256(b"sum")),
        ..world.genesis()
    };
    manifest.model.params_digest = Digest::sha256(&round.to_le_bytes());
    manifest
}

fn open(record: &SignedManifest) -> ToClient {
    let record = record.verify_strict().unwrap();
    let at = Attempt { round: record.round + 1, attempt: 1 };
    ToClient::Open { at, model: record.model.params_digest }
}

fn step(effects: &[ClientEffect]) -> &StepJob {
    let steps: Vec<&StepJob> = effects
        .iter()
        .filter_map(|effect| match effect {
            ClientEffect::VerifyStep(job) => Some(job),
            _ => None,
        })
        .collect();
    let [job] = steps[..] else { panic!("one step at a time: {effects:?}") };
    job
}

fn verified(world: &mut World, record: Digest, outcome: StepOutcome) -> Vec<ClientEffect> {
    world.input(ClientInput::StepVerified { record, outcome })
}

fn trains(effects: &[ClientEffect]) -> bool {
    effects.iter().any(|effect| matches!(effect, ClientEffect::Train(_)))
}

fn published(world: &mut World, chain: &[SignedManifest]) {
    for record in chain {
        assert!(messages(&world.say(ToClient::Published(record.clone()))).is_empty());
    }
}

#[test]
fn a_model_that_follows_from_no_sum_is_not_trained_on_behind_a_second_record_nor_after_a_rollback_to_it() {
    for goes_back in [false, true] {
        let mut world = World::in_a_run();
        let mut records = chain(&world, 2);
        if goes_back {
            let first = records[0].verify_strict().unwrap();
            let action = Some(Action::Rollback { to_round: 1, reason: "r".into(), by: "b".into() });
            let back = Manifest {
                action,
                model: first.model,
                aggregate_digest: None,
                ..next(&world, 2, &records[0])
            };
            records[1] = world.signed(&back);
        }
        published(&mut world, &records);
        for round in [3, 4] {
            let at = Attempt { round, attempt: 1 };
            let model = records[1].verify_strict().unwrap().model.params_digest;
            let effects = world.say(ToClient::Open { at, model });
            assert!(!trains(&effects), "goes back: {goes_back}: {effects:?}");
            let first = step(&effects);
            assert_eq!(first.record, records[0].digest(), "goes back: {goes_back}");
            assert_eq!((first.before.round, first.manifest.round), (0, 1));
            let said = verified(&mut world, records[0].digest(), StepOutcome::DoesNotFollow);
            assert_refuses(&said, Some(round), fault(CoordinatorFault::Step), "each round");
        }
    }
}

#[test]
fn every_step_is_done_again_once_and_in_order_and_a_restart_forgets_none_of_them() {
    let mut world = World::in_a_run();
    let records = chain(&world, 3);
    published(&mut world, &records);
    let mut effects = world.say(open(&records[2]));
    for (index, record) in records.iter().enumerate() {
        assert!(!trains(&effects), "{effects:?}");
        assert_eq!((step(&effects).record, step(&effects).behind), (record.digest(), 2 - index));
        effects = verified(&mut world, record.digest(), StepOutcome::Follows);
        let written = ClientRecord::StepVerified { record: record.digest() };
        assert!(matches!(&effects[0], ClientEffect::Persist(first) if *first == written), "{effects:?}");
        assert!(verified(&mut world, record.digest(), StepOutcome::Follows).is_empty(), "said twice");
    }
    assert!(trains(&effects), "{effects:?}");

    world.restart();
    world.say(world.welcome());
    let fourth = world.signed(&next(&world, 9, &records[2]));
    published(&mut world, std::slice::from_ref(&fourth));
    let effects = world.say(open(&fourth));
    assert_eq!(step(&effects).record, fourth.digest(), "only what was not done before");
    assert_eq!(step(&effects).before.round, 3);
}

#[test]
fn a_step_that_cannot_be_done_now_costs_the_round_and_is_tried_again_in_the_next() {
    let mut world = World::in_a_run();
    let records = chain(&world, 1);
    published(&mut world, &records);
    let record = records[0].digest();
    let model = records[0].verify_strict().unwrap().model.params_digest;
    world.say(open(&records[0]));
    let said = verified(&mut world, record, StepOutcome::Unavailable);
    assert_refuses(&said, Some(2), Decline::Unavailable, "no sum was to be had");
    let effects = world.say(ToClient::Open { at: Attempt { round: 3, attempt: 1 }, model });
    assert_eq!(step(&effects).record, record);
    assert!(trains(&verified(&mut world, record, StepOutcome::Follows)));
}

#[test]
fn a_silo_that_came_late_does_all_steps_from_the_first_in_the_background_and_sits_rounds_out_meanwhile() {
    let mut world = World::new(sim::plan(4, 99), policy());
    world.join();
    let records = chain(&world, 30);
    let mut asked = Vec::new();
    for record in &records {
        let effects = world.say(ToClient::Published(record.clone()));
        if effects.iter().any(|effect| matches!(effect, ClientEffect::VerifyStep(_))) {
            asked.push(step(&effects).record);
        }
    }
    assert_eq!(asked, [records[0].digest()], "begun before any round, and asked for once");
    let said = world.say(open(&records[29]));
    let [ToCoordinator::Declined { round: Some(31), reason: Decline::Policy { code, .. } }] =
        messages(&said)[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!(code, "CATCHING_UP");
    for pair in records.windows(2) {
        let effects = verified(&mut world, pair[0].digest(), StepOutcome::Follows);
        assert_eq!(step(&effects).record, pair[1].digest());
    }
    verified(&mut world, records[29].digest(), StepOutcome::Follows);
    let model = records[29].verify_strict().unwrap().model.params_digest;
    let effects = world.say(ToClient::Open { at: Attempt { round: 32, attempt: 1 }, model });
    assert!(trains(&effects), "{effects:?}");
}

#[test]
fn a_journal_that_tells_of_no_step_is_taken_to_have_verified_none() {
    let mut world = World::in_a_run();
    let records = chain(&world, 2);
    published(&mut world, &records);
    // As the first release left it: heads, and nothing of steps.
    assert!(!world.journal.iter().any(|record| matches!(record, ClientRecord::StepVerified { .. })));
    world.restart();
    world.say(world.welcome());
    let effects = world.say(open(&records[1]));
    assert_eq!((step(&effects).record, step(&effects).behind), (records[0].digest(), 1));
}
