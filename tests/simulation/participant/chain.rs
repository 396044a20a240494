//! What a silo makes of the records of the chain.

use checkpoint::OptimizerArtifact;
use ed25519_dalek::SigningKey;
use params::Digest;
use protocol::{ClientEffect, ClientRecord, CoordinatorFault, Decline, ToClient, ToCoordinator, round_start};

use super::fault;
use super::world::{World, assert_refuses, messages};

#[test]
fn a_record_that_breaks_the_chain_is_refused_and_the_head_stays() {
    let mut world = World::in_a_run();
    let genesis = world.signed(&world.genesis());
    let mut next = world.genesis();
    (next.round, next.attempt) = (1, 1);
    next.parent = Some(genesis.digest());
    next.parent_model = Some(world.model());
    next.model.params_digest = Digest::sha256(b"poisoned");

    let mut fork = world.genesis();
    fork.created_ms += 1;
    let (mut orphan, mut elsewhere, mut replanned, mut rebased) =
        (next.clone(), next.clone(), next.clone(), next.clone());
    orphan.parent = Some(Digest::sha256(b"nobody"));
    elsewhere.run_id = Digest::sha256(b"another run");
    replanned.plan_digest = Digest::sha256(b"another plan");
    rebased.parent_model = Some(Digest::sha256(b"another model"));
    let mut cases: Vec<(&str, checkpoint::SignedManifest)> = [
        ("a second genesis", &fork),
        ("no such parent", &orphan),
        ("another run", &elsewhere),
        ("another plan", &replanned),
        ("another parent's model", &rebased),
    ]
    .map(|(case, manifest)| (case, world.signed(manifest)))
    .into();
    let stranger = SigningKey::from_bytes(&[66; 32]);
    next.public_key = checkpoint::public_key_text(&stranger.verifying_key());
    cases.push(("another key", checkpoint::SignedManifest::sign(&next, &stranger).unwrap()));
    let mut forged = genesis;
    forged.signature[0] ^= 1;
    cases.push(("a broken signature", forged));

    for (case, record) in cases {
        let mut effects = world.say(ToClient::Published(record.clone()));
        if case == "no such parent" {
            // One before it may be lost: it is asked for, once.
            assert!(
                matches!(
                    messages(&effects)[..],
                    [ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }]
                ),
                "{effects:?}"
            );
            effects = world.say(ToClient::Published(record));
        }
        assert_refuses(&effects, None, fault(CoordinatorFault::Chain), case);
    }
    world.advertise();
}

#[test]
fn records_that_come_late_twice_or_in_another_order_cost_a_silo_nothing() {
    let mut world = World::in_a_run();
    let genesis = world.signed(&world.genesis());
    let next = |round: u64, parent: &checkpoint::SignedManifest| {
        let mut manifest = world.genesis();
        (manifest.round, manifest.attempt) = (round, 1);
        manifest.parent = Some(parent.digest());
        manifest.parent_model = Some(world.model());
        world.signed(&manifest)
    };
    let one = next(1, &genesis);
    let two = next(2, &one);
    // The second overtakes the first: the silo says what it holds and hears both.
    let effects = world.say(ToClient::Published(two.clone()));
    assert!(
        matches!(
            messages(&effects)[..],
            [ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }]
        ),
        "{effects:?}"
    );
    for record in [&one, &two] {
        let effects = world.say(ToClient::Published(record.clone()));
        assert!(matches!(effects[..], [ClientEffect::Persist(ClientRecord::ChainHead(_))]), "{effects:?}");
    }
    for again in [genesis, one, two] {
        assert!(world.say(ToClient::Published(again)).is_empty());
    }
}

#[test]
fn a_run_that_goes_on_from_another_ones_model_begins_with_the_one_that_its_author_signed_and_no_other() {
    let [run, model] = [b"parent", b"signed"].map(|text| Digest::sha256(text));
    let seed = sim::plan(4, 9);
    let parent = Some(plan::ParentModel { run, round: 7, model, rounds_before: 0 });
    let plan = plan::Plan { parent, ..seed.clone() }.numbered([1; plan::Plan::ID_BYTES]);
    for start in [seed.starts_from(), Digest::sha256(b"made up")] {
        let mut world = World::new(plan.clone(), super::world::policy());
        world.say(world.welcome());
        let mut genesis = world.genesis();
        genesis.model.params_digest = start;
        let said = world.say(ToClient::Published(world.signed(&genesis)));
        let declined = ToCoordinator::Declined { round: None, reason: fault(CoordinatorFault::Chain) };
        assert_eq!(messages(&said), [&declined], "{start}");
    }
    let mut world = World::new(plan, super::world::policy());
    world.join();
    world.advertise();
    assert_eq!(world.trainings.last().unwrap().1.start, model);
}

#[test]
fn a_plan_that_counts_fewer_rounds_than_its_parents_plan_is_declined_by_a_silo_that_took_part_in_that_also_after_a_restart()
 {
    let [run, older, model] = [b"middle", b"oldest", b"signed"].map(|text| Digest::sha256(text));
    let after = |run, rounds_before, id| {
        let parent = Some(plan::ParentModel { run, round: 7, model, rounds_before });
        plan::Plan { parent, ..sim::plan(4, 9) }.numbered([id; plan::Plan::ID_BYTES])
    };
    for (restarts, stated, code) in
        [(false, 46, Some("PLAN_ROUNDS_BEFORE")), (true, 46, Some("PLAN_ROUNDS_BEFORE")), (true, 47, None)]
    {
        let mut world = World::new(after(run, stated, 2), super::world::policy());
        world.say(sim::welcome(run, &after(older, 40, 1), &world.roster));
        if restarts {
            world.restart();
        }
        let said = world.say(world.welcome());
        let declined = messages(&said).into_iter().find_map(|message| match message {
            ToCoordinator::Declined { reason: Decline::Policy { code, .. }, .. } => Some(code.as_str()),
            _ => None,
        });
        assert_eq!(declined, code, "{stated}");
    }
}

#[test]
fn what_the_journal_has_to_say_of_a_runs_plan_is_written_once_wherever_a_crash_cut_it() {
    let parent = plan::ParentModel {
        run: Digest::sha256(b"parent"),
        round: 7,
        model: Digest::sha256(b"signed"),
        rounds_before: 3,
    };
    let mut plan = plan::Plan { parent: Some(parent), ..sim::private_plan(4, 9, 5.0) };
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = plan::Sampled::PERSON;
    let plan = plan.numbered([1; plan::Plan::ID_BYTES]);
    let expected = [ClientRecord::RoundsBefore { rounds: plan.rounds_before() }, ClientRecord::AboutPersons];
    for kept in 0..3 {
        let mut world = World::new(plan.clone(), super::world::policy());
        world.say(world.welcome());
        let joined = |record: &ClientRecord| matches!(record, ClientRecord::Joined { .. });
        let begun = world.journal.iter().position(joined).unwrap() + 1;
        assert_eq!(world.journal[begun..begun + 2], expected);
        world.journal.truncate(begun + kept);
        for _ in 0..2 {
            world.restart();
            world.say(world.welcome());
        }
        let mut noted = world.journal.split_off(begun);
        noted.retain(|record| !joined(record));
        assert_eq!(noted, expected, "{kept} of them were there");
    }
}

#[test]
fn where_the_clip_norm_moves_a_first_record_with_another_state_than_the_plans_is_not_followed() {
    let plan = sim::adaptive(sim::private_plan(4, 4, 3.0));
    let artifact = |state: &optim::State| OptimizerArtifact::of(&state.to_bytes());
    let initial = plan.initial_state(plan.architecture().parameter_count());
    // One silo that clips to this, among others that do not, would be alone in the sum.
    let wide = initial.clone().with_clip_norm(500.0);
    for (optimizer, follows) in [(Some(&initial), true), (Some(&wide), false), (None, false)] {
        let mut world = World::new(plan.clone(), super::world::policy());
        world.say(world.welcome());
        let genesis = checkpoint::Manifest { optimizer: optimizer.map(artifact), ..world.genesis() };
        let said = world.say(ToClient::Published(world.signed(&genesis)));
        if follows {
            assert!(messages(&said).is_empty(), "{said:?}");
        } else {
            let declined = ToCoordinator::Declined { round: None, reason: fault(CoordinatorFault::Chain) };
            assert_eq!(messages(&said), [&declined], "{optimizer:?}");
        }
    }
}

#[test]
fn where_the_server_remembers_a_record_that_names_no_state_is_not_followed() {
    let declined = ToCoordinator::Declined { round: None, reason: fault(CoordinatorFault::Chain) };
    for server in [
        optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.9 },
        optim::ServerOptimizer::FedAdam { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 },
    ] {
        let plan = plan::Plan { server, ..sim::plan(4, 9) };
        let state = plan.initial_state(plan.architecture().parameter_count()).to_bytes();
        let named = Some(OptimizerArtifact::of(&state));
        for (first, second) in [(&named, &named), (&named, &None), (&None, &None)] {
            let mut world = World::new(plan.clone(), super::world::policy());
            world.say(world.welcome());
            let genesis = checkpoint::Manifest { optimizer: first.clone(), ..world.genesis() };
            let said = world.say(ToClient::Published(world.signed(&genesis)));
            if first.is_none() {
                assert_eq!(messages(&said), [&declined], "{server:?}");
                continue;
            }
            assert!(messages(&said).is_empty(), "{server:?}: {said:?}");
            let record = checkpoint::Manifest {
                parent: Some(world.signed(&genesis).digest()),
                optimizer: second.clone(),
                ..super::sets::made_up(&world)
            };
            let said = world.say(ToClient::Published(world.signed(&record)));
            match second {
                Some(_) => assert!(matches!(said[0], ClientEffect::Persist(_)), "{server:?}: {said:?}"),
                None => assert_eq!(messages(&said), [&declined], "{server:?}"),
            }
        }
    }
}

#[test]
fn masks_are_bound_to_the_clip_norm_where_it_moves() {
    let constant = sim::private_plan(4, 4, 3.0);
    let moving = sim::adaptive(constant.clone());
    let world = World::new(constant.clone(), super::world::policy());
    let record = |state: &[u8]| checkpoint::Manifest {
        optimizer: Some(OptimizerArtifact::of(state)),
        ..world.genesis()
    };
    let (one, other) = (record(b"clip norm 1"), record(b"clip norm 500"));
    assert_eq!(one.model.params_digest, other.model.params_digest);
    assert_ne!(round_start(&moving, &one), round_start(&moving, &other));
    assert_eq!(round_start(&constant, &one), one.model.params_digest);
}
