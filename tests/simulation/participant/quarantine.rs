//! What a silo makes of operators' records in the chain.

use checkpoint::{Action, Manifest, SignedManifest};
use params::Digest;
use protocol::{Attempt, ClientEffect, ClientInput, ClientRecord, CoordinatorFault, StepOutcome, ToClient};

use super::fault;
use super::world::{AT, World, assert_refuses, messages};

const LATER: Attempt = Attempt { round: 9, attempt: 1 };

/// The record of round `round`, after `parent`.
fn next(world: &World, round: u64, parent: &SignedManifest) -> Manifest {
    let before = parent.verify_strict().unwrap();
    Manifest {
        round,
        attempt: 1,
        parent: Some(parent.digest()),
        parent_model: Some(before.model.params_digest),
        model: before.model,
        ..world.genesis()
    }
}

fn quarantine(world: &World, round: u64, parent: &SignedManifest, published: u64) -> SignedManifest {
    let manifest = next(world, round, parent);
    let model = manifest.model.params_digest;
    let (reason, by) = ("poisoned".into(), "ops".into());
    let action = Some(Action::Quarantine { model, round: published, reason, by });
    world.signed(&Manifest { action, ..manifest })
}

/// The newest record that the silo holds.
pub(super) fn head(world: &World) -> SignedManifest {
    let heads = world.journal.iter().rev().find_map(|record| match record {
        ClientRecord::ChainHead(signed) => Some(signed.clone()),
        _ => None,
    });
    heads.unwrap()
}

fn is_head(effect: &ClientEffect) -> bool {
    matches!(effect, ClientEffect::Persist(ClientRecord::ChainHead(_)))
}

/// Says that the model of version 0 is quarantined, and expects the silo to leave the attempt.
fn leaves(world: &mut World, step: &str) {
    let genesis = head(world);
    let effects = world.say(ToClient::Published(quarantine(world, 2, &genesis, 0)));
    assert!(
        matches!(&effects[..], [head, ClientEffect::Forget(_)] if is_head(head)),
        "{step}: it is written down, and what is held is wiped: {effects:?}"
    );
    let masked = (!world.maskings.is_empty()).then(|| world.masked(Digest::sha256(b"vector")));
    for late in [world.trained(), ClientInput::Tick].into_iter().chain(masked) {
        let effects = world.input(late);
        assert!(effects.is_empty(), "{step}: {effects:?}");
    }
    assert!(!world.journal.iter().any(|record| matches!(record, ClientRecord::Debited { .. })), "{step}");
    assert!(world.participant.status().last_reason.contains("quarantined"), "{step}");
}

#[test]
fn a_quarantine_before_the_upload_ends_the_attempt_at_the_silo_and_nothing_is_debited() {
    let mut world = World::in_a_run();
    let opened = world.say(world.open(AT));
    assert!(matches!(opened[..], [ClientEffect::Train(_)]), "{opened:?}");
    leaves(&mut world, "training");

    let mut world = World::in_a_run();
    world.say(world.open(AT));
    world.input(world.trained());
    leaves(&mut world, "trained");

    leaves(&mut World::keyed().0, "advertised");
    leaves(&mut World::dealt().0, "shared");
    leaves(&mut World::delivered().0, "masking");
}

#[test]
fn behind_a_quarantine_after_the_upload_no_set_is_signed_and_one_that_was_signed_is_answered_for() {
    let (mut world, _) = World::uploaded();
    let genesis = head(&world);
    let effects = world.say(ToClient::Published(quarantine(&world, 2, &genesis, 0)));
    assert!(matches!(&effects[..], [head, ClientEffect::Forget(_)] if is_head(head)), "{effects:?}");
    let included = super::world::ids(1..=4);
    let effects = world.say(ToClient::Included { at: AT, included });
    assert_refuses(&effects, Some(1), protocol::Decline::SitsOut, "the attempt is over");

    let (mut world, agreed) = World::agreed();
    let effects = world.say(ToClient::Published(quarantine(&world, 2, &genesis, 0)));
    assert!(matches!(&effects[..], [head] if is_head(head)), "{effects:?}");
    let effects = world.say(agreed.request());
    assert!(matches!(messages(&effects)[..], [protocol::ToCoordinator::Unmask { .. }]), "{effects:?}");
}

#[test]
fn no_attempt_on_a_quarantined_model_is_taken_part_in_before_or_after_a_restart() {
    let mut world = World::in_a_run();
    let genesis = head(&world);
    let record = quarantine(&world, 1, &genesis, 0);
    world.say(ToClient::Published(record.clone()));
    for case in ["at once", "after a restart"] {
        let effects = world.say(world.open(LATER));
        assert_refuses(&effects, Some(9), fault(CoordinatorFault::Quarantined), case);
        world.restart();
        world.say(world.welcome());
    }
    // A coordinator that trained on it all the same, or goes back to it, has no chain that a silo follows.
    let trained = world.signed(&next(&world, 2, &record));
    let action = Some(Action::Rollback { to_round: 0, reason: "r".into(), by: "b".into() });
    let back = world.signed(&Manifest { action, ..next(&world, 2, &record) });
    for (case, record) in [("trained on", trained), ("gone back to", back)] {
        let effects = world.say(ToClient::Published(record));
        assert_refuses(&effects, None, fault(CoordinatorFault::Chain), case);
    }
}

#[test]
fn after_a_rollback_a_silo_trains_on_the_earlier_model_and_not_on_the_one_left_behind() {
    let mut world = World::in_a_run();
    let genesis = head(&world);
    let mut first = next(&world, 1, &genesis);
    first.model.params_digest = Digest::sha256(b"poisoned");
    let first = world.signed(&first);
    let stopped = quarantine(&world, 2, &first, 1);
    let action = Some(Action::Rollback { to_round: 0, reason: "poisoned".into(), by: "ops".into() });
    let model = world.genesis().model;
    let back = world.signed(&Manifest { action, model, ..next(&world, 3, &stopped) });
    for record in [first, stopped, back] {
        let effects = world.say(ToClient::Published(record));
        assert!(matches!(&effects[..], [head] if is_head(head)), "{effects:?}");
    }
    let effects = world.say(ToClient::Open { at: LATER, model: Digest::sha256(b"poisoned") });
    assert_refuses(&effects, Some(9), fault(CoordinatorFault::Quarantined), "the one left behind");
    let effects = world.say(world.open(LATER));
    let [ClientEffect::VerifyStep(step)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(step.manifest.round, 1, "that of the one left behind is done again too");
    let effects =
        world.input(ClientInput::StepVerified { record: step.record, outcome: StepOutcome::Follows });
    assert!(
        matches!(&effects[..], [ClientEffect::Persist(_), ClientEffect::Train(job)] if job.head.model.params_digest == world.model()),
        "{effects:?}"
    );
    assert!(messages(&effects).is_empty());
}
