//! What becomes of a job's result: matched by the job's own name, and by what it was made from.

use params::Digest;
use plan::Origin;
use protocol::{
    Attempt, ClientEffect, ClientEffects, ClientInput, CoordinatorFault, Decline, ToClient, TrainOutcome,
    Vector,
};

use super::fault;
use super::world::{AT, World, assert_refuses, ids, messages};

fn forgets(effects: &ClientEffects) -> bool {
    effects.iter().any(|effect| matches!(effect, ClientEffect::Forget(_)))
}

/// A run, its first attempt opened.
fn training() -> World {
    let mut world = World::in_a_run();
    let opened = world.say(world.open(AT));
    assert!(matches!(opened[..], [ClientEffect::Train(_)]), "{opened:?}");
    world
}

/// The time at which the silo would say its keys has come.
fn due(world: &mut World) -> ClientEffects {
    world.now = world.now.plus_ms(world.plan.timing.ready_after_ms);
    world.input(ClientInput::Tick)
}

#[test]
fn an_attempt_that_is_opened_on_two_models_is_wiped_and_never_opened_again() {
    let mut world = training();
    let late = world.trained();
    let other = Digest::sha256(b"another model");
    let effects = world.say(ToClient::Open { at: AT, model: other });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "two models");
    assert!(forgets(&effects), "{effects:?}");
    for model in [other, world.model()] {
        let effects = world.say(ToClient::Open { at: AT, model });
        assert_refuses(&effects, Some(1), Decline::SitsOut, "opened again");
        assert!(!world.participant.would_begin(&world.run, AT, model));
    }
    assert!(world.input(late).is_empty() && due(&mut world).is_empty(), "nothing is advertised");
    let next = world.say(world.open(Attempt { attempt: 2, ..AT }));
    assert!(matches!(next[..], [ClientEffect::Train(_)]), "the next attempt is none the worse: {next:?}");
}

#[test]
fn an_update_of_one_run_is_never_taken_for_the_same_attempt_of_another() {
    let mut world = training();
    let (of_the_first, first) = (world.trained(), world.trainings[0]);
    world.run = Digest::sha256(b"another run");
    world.join();
    world.say(world.open(AT));
    assert_ne!(world.trainings[1].0, first.0);
    assert!(world.input(of_the_first).is_empty());
    assert!(due(&mut world).is_empty(), "nothing is trained in this run yet");
    let said = world.input(world.trained());
    assert_eq!(messages(&said).len(), 1, "{said:?}");
}

#[test]
fn an_update_that_was_made_from_something_else_than_was_asked_for_is_none() {
    for part in ["plan", "model"] {
        let mut world = training();
        let (job, origin) = world.trainings[0];
        let elsewhere = Digest::sha256(b"elsewhere");
        let origin = match part {
            "plan" => Origin { plan: elsewhere, ..origin },
            _ => Origin { start: elsewhere, ..origin },
        };
        let outcome = TrainOutcome::Ready { origin };
        let effects = world.input(ClientInput::Trained { job, outcome });
        assert_refuses(&effects, Some(1), Decline::Unavailable, part);
        assert!(forgets(&effects), "{effects:?}");
    }
}

#[test]
fn a_vector_that_was_made_from_something_else_than_its_masks_are_bound_to_is_not_debited() {
    let (mut world, _delivered) = World::delivered();
    let (job, origin) = world.maskings[0];
    let elsewhere = Origin { start: Digest::sha256(b"elsewhere"), ..origin };
    assert!(world.participant.debit_for(job, elsewhere).is_none());
    assert!(world.participant.debit_for(world.trainings[0].0, origin).is_none(), "of no masking");
    let debit = world.participant.debit_for(job, origin).unwrap();
    assert_eq!((debit.run, debit.plan.digest(), debit.at), (world.run, world.plan.digest(), AT));
    assert_eq!(debit.model, world.model());
    let vector = Some(Vector { origin: elsewhere, digest: Digest::sha256(b"vector"), failed: false });
    let effects = world.input(ClientInput::Masked { job, vector });
    assert_refuses(&effects, Some(1), Decline::Unavailable, "elsewhere");
    assert!(forgets(&effects), "{effects:?}");
}

#[test]
fn an_opening_that_is_said_again_begins_nothing_and_needs_no_ledger() {
    let mut world = World::in_a_run();
    let model = world.model();
    assert!(world.participant.would_begin(&world.run, AT, model));
    assert!(!world.participant.would_begin(&world.run, AT, Digest::sha256(b"not the head")));
    world.say(world.open(AT));
    assert!(!world.participant.would_begin(&world.run, AT, model), "it is in progress");
    assert!(world.say(world.open(AT)).is_empty());
    world.input(world.trained());
    due(&mut world);
    assert!(!world.participant.would_begin(&world.run, AT, model), "its keys are advertised");
    world.restart();
    world.say(world.welcome());
    assert!(!world.participant.would_begin(&world.run, AT, model), "and its secrets are gone");
}

#[test]
fn whatever_ends_an_attempt_wipes_what_the_shell_holds_of_it() {
    type Lie = fn(&World) -> ToClient;
    let lies: [(&str, Lie); 3] = [
        ("an unmask request", |_| ToClient::UnmaskRequest {
            at: AT,
            included: ids([1, 2, 3]),
            signatures: vec![],
        }),
        ("an included set", |_| ToClient::Included { at: AT, included: ids([1, 2, 3]) }),
        ("a roster", |_| ToClient::Adverts { at: AT, adverts: vec![] }),
    ];
    for (case, lie) in lies {
        let mut world = training();
        world.input(world.trained());
        let message = lie(&world);
        let effects = world.say(message);
        assert!(forgets(&effects), "{case} out of its step: {effects:?}");
    }
}
