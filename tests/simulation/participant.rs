//! A hostile coordinator against one real participant: whatever it says, the silo fails closed.

mod chain;
mod data;
mod jobs;
mod ledger;
mod noise;
mod offers;
mod plans;
mod quarantine;
mod sets;
mod steps;
mod witnesses;
pub(crate) mod world;

use ed25519_dalek::Signer;
use params::Digest;
use plan::{Plan, Policy, PrivacyMode, SignedPlan};
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, CoordinatorFault, Decline, Timestamp, ToClient,
    ToCoordinator,
};
use secagg::adversary::mask_any;
use secagg::{ClientId, IncludedSignature};

use world::{AT, OWN, World, assert_refuses, ids, messages, policy};

fn fault(what: CoordinatorFault) -> Decline {
    Decline::CoordinatorFault(what)
}

/// The policy's code of the only thing that is said.
fn refusal_code(effects: &[ClientEffect]) -> String {
    match messages(effects)[..] {
        [ToCoordinator::Declined { round: None, reason: Decline::Policy { code, text } }] => {
            assert_refuses(effects, None, Decline::Policy { code: code.clone(), text: text.clone() }, code);
            code.clone()
        }
        ref other => panic!("no refusal but {other:?}"),
    }
}

#[test]
fn a_run_under_another_roster_than_the_pinned_one_is_refused() {
    let mut world = World::new(sim::plan(4, 1), policy());
    let mut renamed = world.roster.clone();
    renamed.members.get_mut(&OWN).unwrap().name.push('x');
    let effects = world.say(sim::welcome(world.run, &world.plan, &renamed));
    assert_refuses(&effects, None, fault(CoordinatorFault::Roster), "another roster of the same epoch");
    assert!(world.say(world.open(AT)).is_empty(), "no run was joined");
}

#[test]
fn a_plan_that_is_not_usable_is_refused() {
    let good = sim::plan(4, 1);
    let mut two_silos = good.clone();
    two_silos.cohort.minimum = 2;
    let mut wrapping = good.clone();
    wrapping.privacy.exact_mut().unwrap().fraction_bits = 31;
    let canonical = good.to_canonical();
    let mut spaced = canonical.clone();
    spaced.push(b' ');
    for (case, plan) in [
        ("truncated", canonical[..canonical.len() - 1].to_vec()),
        ("another spelling", spaced),
        ("a cohort of two", two_silos.to_canonical()),
        ("sums that wrap", wrapping.to_canonical()),
        ("empty", Vec::new()),
    ] {
        let mut world = World::new(good.clone(), policy());
        let plan = String::from_utf8(plan).unwrap();
        // The author's own signature does not make it usable.
        let signature =
            sim::author().signing_key().sign(&[b"folkmoot/v1/sig/plan\0", plan.as_bytes()].concat());
        let signature = hex::encode(signature.to_bytes());
        let plan = Box::new(SignedPlan { plan, author: sim::author_text(), signature });
        let roster = Box::new(world.roster.sign(&sim::authority()));
        let effects = world.say(ToClient::Welcome { run_id: world.run, plan, roster, between: vec![] });
        assert_refuses(&effects, None, fault(CoordinatorFault::Plan), case);
    }
}

#[test]
fn a_known_run_does_not_change_its_plan_even_across_a_restart() {
    for restart in [false, true] {
        let mut world = World::in_a_run();
        if restart {
            world.restart();
        }
        world.plan.training.learning_rate *= 2.0;
        assert_refuses(&world.say(world.welcome()), None, fault(CoordinatorFault::Plan), "another plan");
    }
}

#[test]
fn each_rule_of_the_policy_refuses_a_plan_that_violates_it_with_its_own_code() {
    type Rule = fn(&mut Policy);
    let rules: [(&str, Rule); 6] = [
        ("POLICY_PRIVACY_MODE", |policy| policy.privacy_modes = [PrivacyMode::Fedavg].into()),
        ("POLICY_COHORT_MIN", |policy| policy.cohort_min = 4),
        ("POLICY_HONEST_MIN", |policy| policy.honest_min = 3),
        ("POLICY_CORRUPT", |policy| policy.corrupt_min = 2),
        ("POLICY_EPSILON", |policy| policy.epsilon_max = 2.9),
        ("POLICY_DELTA", |policy| policy.delta_max = 9e-6),
    ];
    let plan = sim::private_plan(4, 4, 3.0);
    World::new(plan.clone(), policy()).join();
    for (code, violate) in rules {
        let mut strict = policy();
        violate(&mut strict);
        let mut world = World::new(plan.clone(), strict);
        assert_eq!(refusal_code(&world.say(world.welcome())), code);
        assert!(world.journal.is_empty(), "{code}");
        assert!(world.say(world.open(AT)).is_empty(), "{code}: no run was joined");
    }
}

#[test]
fn a_changed_policy_answers_again_what_was_declined_and_leaves_what_it_does_not_allow_any_more() {
    let strict = || Policy { rounds_max: Some(1), ..policy() };
    let mut world = World::new(sim::plan(4, 2), strict());
    assert_eq!(refusal_code(&world.say(world.welcome())), "POLICY_ROUNDS");
    let same = world.input(ClientInput::Policy(Box::new(strict())));
    assert_eq!(refusal_code(&same), "POLICY_ROUNDS", "the answer of the policy in force");
    let allowed = world.input(ClientInput::Policy(Box::new(policy())));
    assert_eq!(messages(&allowed), [&ToCoordinator::CheckIn { head: None, data: None, sandbox: None }]);
    let again = world.input(ClientInput::Policy(Box::new(policy())));
    assert!(messages(&again).is_empty(), "it takes part already");

    // Stricter in the middle of a round: nothing of it is uploaded.
    world.say(ToClient::Published(world.signed(&world.genesis())));
    let began = world.say(world.open(AT));
    let Some(ClientEffect::Train(job)) = began.last() else { panic!("{began:?}") };
    let work = job.id;
    let left = world.input(ClientInput::Policy(Box::new(strict())));
    assert!(
        matches!(left[..], [ClientEffect::Forget(of), ClientEffect::ReturnClaim { .. }, ClientEffect::Send(_)] if of == work),
        "{left:?}"
    );
    assert!(messages(&world.say(world.open(Attempt { round: 2, attempt: 1 }))).is_empty(), "it left the run");
}

#[test]
fn a_silo_trains_on_the_chains_head_and_on_no_other_model() {
    let mut world = World::in_a_run();
    let effects = world.say(ToClient::Open { at: AT, model: Digest::sha256(b"made to leak") });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Model), "not the head");

    let mut without_a_record = World::new(sim::plan(4, 1), policy());
    without_a_record.say(without_a_record.welcome());
    let effects = without_a_record.say(without_a_record.open(AT));
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Model), "no record yet");
}

#[test]
fn a_second_model_in_an_attempt_ends_the_attempt() {
    let (mut world, keyed) = World::keyed();
    let effects = world.say(ToClient::Open { at: AT, model: Digest::sha256(b"another") });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "two models");
    let effects = world.say(ToClient::Adverts { at: AT, adverts: keyed.adverts });
    assert_refuses(&effects, Some(1), Decline::SitsOut, "the attempt is over");
}

#[test]
fn an_advert_that_is_not_its_owners_word_ends_the_attempt() {
    type Lie = fn(&mut Vec<secagg::Advert>);
    let lies: [(&str, Lie); 5] = [
        ("a swapped transport key", |adverts| adverts[1].ek_pub = adverts[2].ek_pub),
        ("a swapped mask key", |adverts| adverts[1].mk_pub = adverts[2].mk_pub),
        ("the own keys changed", |adverts| adverts[0].ek_pub[0] ^= 1),
        ("the own advert left out", |adverts| *adverts = adverts.split_off(1)),
        ("a member twice", |adverts| adverts[2] = adverts[1].clone()),
    ];
    for (case, lie) in lies {
        let (mut world, mut keyed) = World::keyed();
        lie(&mut keyed.adverts);
        let effects = world.say(ToClient::Adverts { at: AT, adverts: keyed.adverts });
        assert_refuses(&effects, Some(1), fault(CoordinatorFault::Cohort), case);
        assert!(effects.iter().any(|effect| matches!(effect, ClientEffect::Forget(_))), "{case}");
    }
}

#[test]
fn a_cohort_above_the_plans_maximum_gets_no_shares() {
    let mut plan = sim::plan(4, 1);
    plan.cohort.maximum = 3;
    let mut world = World::new(plan, policy());
    world.join();
    let keyed = world.advertise();
    let effects = world.say(ToClient::Adverts { at: AT, adverts: keyed.adverts });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Cohort), "four where three have room");
    assert!(world.participant.status().last_reason.contains("above the plan's cohort_max of 3"));
}

#[test]
fn a_cohort_below_the_plans_floor_gets_no_shares() {
    let (mut world, keyed) = World::keyed();
    let three = keyed.adverts[..3].to_vec();
    let effects = world.say(ToClient::Adverts { at: AT, adverts: three });
    assert!(matches!(messages(&effects)[..], [ToCoordinator::ShareKeys { .. }]), "three are enough here");

    let mut plan = sim::plan(4, 1);
    plan.cohort.minimum = 4;
    let mut world = World::new(plan, policy());
    world.join();
    let keyed = world.advertise();
    let effects = world.say(ToClient::Adverts { at: AT, adverts: keyed.adverts[..3].to_vec() });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Cohort), "three where four are asked for");
}

#[test]
fn two_rosters_in_one_attempt_end_it_and_the_first_is_not_answered_again() {
    let (mut world, keyed) = World::keyed();
    let adverts = keyed.adverts.clone();
    world.share(keyed);
    let again = world.say(ToClient::Adverts { at: AT, adverts: adverts.clone() });
    assert!(matches!(messages(&again)[..], [ToCoordinator::ShareKeys { .. }]), "the same roster is no lie");
    let effects = world.say(ToClient::Adverts { at: AT, adverts: adverts[..3].to_vec() });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "another roster");
    let effects = world.say(ToClient::Adverts { at: AT, adverts });
    assert_refuses(&effects, Some(1), Decline::SitsOut, "the attempt is over");
}

#[test]
fn a_delivery_that_its_dealers_did_not_sign_ends_the_attempt() {
    let (mut world, dealt) = World::dealt();
    let shared = dealt.cohort.fix_u2(&dealt.bundles).unwrap();
    let mut delivery = shared.delivery_for(OWN).unwrap();
    delivery.shares[0].ciphertext[0] ^= 1;
    let effects = world.say(ToClient::Deliver { at: AT, delivery });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Delivery), "another share");
}

#[test]
fn two_deliveries_in_one_attempt_end_it_before_and_after_the_upload() {
    for after_upload in [false, true] {
        let (mut world, dealt) = World::dealt();
        let mut fewer = dealt.bundles.clone();
        fewer.remove(&ClientId(4));
        let other = dealt.cohort.fix_u2(&fewer).unwrap().delivery_for(OWN).unwrap();
        let delivered = world.deliver(dealt, &[]);
        let first = delivered.shared.delivery_for(OWN).unwrap();
        if after_upload {
            world.upload(delivered);
        }
        let effects = world.say(ToClient::Deliver { at: AT, delivery: other });
        assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "another U2");
        let masked = world.masked(Digest::sha256(b"masked meanwhile"));
        assert!(world.input(masked).is_empty(), "nothing is uploaded any more");
        let effects = world.say(ToClient::Deliver { at: AT, delivery: first });
        assert_refuses(&effects, Some(1), Decline::SitsOut, "the attempt is over");
    }
}

#[test]
fn a_repeated_delivery_masks_once_and_debits_once() {
    let (mut world, delivered) = World::delivered();
    let delivery = delivered.shared.delivery_for(OWN).unwrap();
    assert!(world.say(ToClient::Deliver { at: AT, delivery: delivery.clone() }).is_empty());
    let uploaded = world.upload(delivered);
    match &world.say(ToClient::Deliver { at: AT, delivery })[..] {
        [ClientEffect::Upload(said)] => assert_eq!(said.message, uploaded.header),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.participant.status().uploads, 1);
}

#[test]
fn an_included_set_that_breaks_the_rules_is_not_signed() {
    // t = 3 of 4. Client 4's shares never arrive where U2 is the first three.
    for (case, silent, included) in [
        ("without the silo itself", &[][..], ids([2, 3, 4])),
        ("below the quorum", &[], ids([1, 2])),
        ("empty", &[], ids([])),
        ("not a subset of U2", &[4], ids([1, 2, 3, 4])),
        ("a stranger", &[], ids([1, 2, 3, 4, 9])),
    ] {
        let (mut world, dealt) = World::dealt();
        let delivered = world.deliver(dealt, silent);
        world.upload(delivered);
        let effects = world.say(ToClient::Included { at: AT, included });
        assert_refuses(&effects, Some(1), fault(CoordinatorFault::Included), case);
        let effects = world.say(ToClient::Included { at: AT, included: ids([1, 2, 3]) });
        assert_refuses(&effects, Some(1), Decline::SitsOut, case);
    }
}

#[test]
fn no_set_is_signed_before_the_upload() {
    let (mut world, _) = World::delivered();
    let effects = world.say(ToClient::Included { at: AT, included: ids([1, 2, 3, 4]) });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "nothing is uploaded yet");
}

#[test]
fn a_second_included_set_is_not_signed_and_ends_the_attempt() {
    let (mut world, agreed) = World::agreed();
    let again = world.say(ToClient::Included { at: AT, included: agreed.included.clone() });
    assert!(
        matches!(again[..], [ClientEffect::Send(_)]) && messages(&again).len() == 1,
        "the same set gets the same signature: {again:?}"
    );
    let effects = world.say(ToClient::Included { at: AT, included: ids([1, 2, 3]) });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "another set");
    let effects = world.say(agreed.request());
    assert_refuses(&effects, Some(1), Decline::SitsOut, "no share is opened any more");
}

#[test]
fn an_unmask_request_without_a_quorum_opens_nothing_and_the_one_with_a_quorum_still_may() {
    let (mut world, agreed) = World::agreed();
    let good = &agreed.signatures;
    let foreign = IncludedSignature { id: ClientId(9), ..good[3] };
    let lent = IncludedSignature { id: ClientId(4), ..good[1] };
    for (case, signatures) in [
        ("none", vec![]),
        ("two of three", good[..2].to_vec()),
        ("one twice", vec![good[0], good[1], good[1]]),
        ("a stranger's", vec![good[0], good[1], foreign]),
        ("another's under its name", vec![good[0], good[1], lent]),
    ] {
        let effects = world.say(agreed.request_with(signatures));
        assert!(effects.is_empty(), "{case}: {effects:?}");
        assert_ne!(world.participant.status().last_reason, "", "{case}");
    }
    let answered = world.say(agreed.request());
    assert!(
        matches!(
            answered[..],
            [ClientEffect::Persist(ClientRecord::Unmasked { at: AT, .. }), ClientEffect::Send(_)]
        ),
        "shares leave before it is written that they did: {answered:?}"
    );
    assert!(matches!(messages(&answered)[..], [ToCoordinator::Unmask { at: AT, .. }]));
}

#[test]
fn an_unmask_request_for_another_set_than_the_signed_one_ends_the_attempt() {
    let (mut world, agreed) = World::agreed();
    let signatures = agreed.signatures[..3].to_vec();
    let effects = world.say(ToClient::UnmaskRequest { at: AT, included: ids([1, 2, 3]), signatures });
    assert_refuses(&effects, Some(1), fault(CoordinatorFault::Equivocation), "another set");
    assert_refuses(&world.say(agreed.request()), Some(1), Decline::SitsOut, "the attempt is over");
}

#[test]
fn an_unmask_request_that_comes_first_is_signed_and_journalled_before_it_is_answered() {
    // Of a silo that was away while the set was said: it signs the set like everyone else, then answers.
    let (_, agreed) = World::agreed();
    let (mut world, _) = World::uploaded();
    let effects = world.say(agreed.request());
    let kinds: Vec<&str> = effects
        .iter()
        .map(|effect| match effect {
            ClientEffect::Persist(ClientRecord::SignedIncluded { .. }) => "journal: signed",
            ClientEffect::Persist(ClientRecord::Unmasked { .. }) => "journal: answered",
            ClientEffect::Send(said) => match said.message {
                ToCoordinator::SignIncluded { .. } => "say: signature",
                ToCoordinator::Unmask { .. } => "say: answer",
                _ => "say: something else",
            },
            _ => "something else",
        })
        .collect();
    assert_eq!(kinds, ["journal: signed", "say: signature", "journal: answered", "say: answer"]);

    // Without a quorum it signs the set, which it may once, and answers nothing.
    let (mut world, _) = World::uploaded();
    let effects = world.say(agreed.request_with(Vec::new()));
    assert!(matches!(messages(&effects)[..], [ToCoordinator::SignIncluded { .. }]), "{effects:?}");
}

#[test]
fn one_unmask_answer_is_given_and_repeated_byte_for_byte_across_a_restart() {
    let (mut world, agreed) = World::agreed();
    let first = world.say(agreed.request());
    let answer = messages(&first)[0].clone();
    let other = ToClient::UnmaskRequest {
        at: AT,
        included: ids([1, 2, 3]),
        signatures: agreed.signatures[..3].to_vec(),
    };
    for restarted in [false, true] {
        if restarted {
            world.restart();
            world.say(world.welcome());
        }
        let again = world.say(agreed.request());
        assert!(matches!(again[..], [ClientEffect::Send(_)]), "{again:?}");
        assert_eq!(messages(&again), [&answer], "restarted: {restarted}");
        let effects = world.say(other.clone());
        assert_refuses(&effects, Some(1), fault(CoordinatorFault::UnmaskRequest), "another set");
    }
}

#[test]
fn no_older_attempt_and_no_second_attempt_after_an_upload_is_opened() {
    let mut world = World::in_a_run();
    world.journal.push(ClientRecord::Advertised { at: Attempt { round: 2, attempt: 2 } });
    world.restart();
    world.say(world.welcome());
    for at in [AT, Attempt { round: 2, attempt: 1 }, Attempt { round: 2, attempt: 2 }] {
        assert_refuses(&world.say(world.open(at)), Some(at.round), Decline::SitsOut, "older");
    }

    let (mut world, _) = World::uploaded();
    let effects = world.say(world.open(Attempt { round: 1, attempt: 2 }));
    assert_refuses(&effects, Some(1), Decline::SitsOut, "this round has been uploaded in");
}

#[test]
fn a_spent_budget_refuses_every_run_over_the_same_data() {
    let plan = sim::private_plan(4, 4, 3.0);
    let mut tight = policy();
    tight.epsilon_max = 3.0;
    for (debits, spent) in [(3, false), (4, true)] {
        let mut world = World::new(plan.clone(), tight.clone());
        world.join();
        world.journal.extend((1..=debits).map(|round| debit(&world.plan, round)));
        world.restart();
        for another_run in [false, true] {
            if another_run {
                world.run = Digest::sha256(b"another run");
            }
            world.say(world.welcome());
            world.say(ToClient::Published(world.signed(&world.genesis())));
            let effects = world.say(world.open(Attempt { round: debits + 1, attempt: 1 }));
            if spent {
                assert_eq!(refusal_code(&effects), "BALANCE");
            } else {
                assert!(matches!(effects[..], [.., ClientEffect::Train(_)]), "{effects:?}");
            }
        }
    }
}

#[test]
fn sums_without_noise_on_one_model_are_not_repeated_more_often_than_the_policy_allows() {
    for (uploads, refused) in [(2, false), (3, true)] {
        let mut world = World::in_a_run();
        world.journal.extend((1..=uploads).map(|round| debit(&world.plan, round)));
        world.restart();
        world.say(world.welcome());
        let effects = world.say(world.open(Attempt { round: uploads + 1, attempt: 1 }));
        if refused {
            assert_eq!(refusal_code(&effects), "REPEATS_WITHOUT_DP");
        } else {
            assert!(matches!(effects[..], [ClientEffect::Train(_)]), "{effects:?}");
        }
    }
}

#[test]
fn a_silo_that_was_restarted_in_an_attempt_sits_it_out_at_every_step() {
    let (mut after_advert, keyed) = World::keyed();
    let (mut after_shares, dealt) = World::dealt();
    let (mut after_upload, uploaded) = World::uploaded();
    let delivery = dealt.cohort.fix_u2(&dealt.bundles).unwrap().delivery_for(OWN).unwrap();
    let included: Vec<ClientId> = uploaded.shared.u2().into_iter().collect();
    let (mut after_signature, agreed) = World::agreed();
    for (world, message) in [
        (&mut after_advert, ToClient::Adverts { at: AT, adverts: keyed.adverts }),
        (&mut after_shares, ToClient::Deliver { at: AT, delivery }),
        (&mut after_upload, ToClient::Included { at: AT, included }),
        (&mut after_signature, agreed.request()),
    ] {
        world.restart();
        world.say(world.welcome());
        assert_refuses(&world.say(message), Some(1), Decline::SitsOut, "its secrets are gone");
        assert_refuses(&world.say(world.open(AT)), Some(1), Decline::SitsOut, "and it starts no new ones");
    }
}

#[test]
fn a_refused_welcome_wipes_the_attempt_in_progress() {
    let (mut world, _) = World::uploaded();
    let effects = world.say(world.refused_welcome());
    assert_refuses(&effects, None, fault(CoordinatorFault::Roster), "another roster");
    assert!(effects.iter().any(|effect| matches!(effect, ClientEffect::Forget(_))), "{effects:?}");
    let effects = world.say(ToClient::Included { at: AT, included: ids([1, 2, 3, 4]) });
    assert_refuses(&effects, Some(1), Decline::SitsOut, "a silo that declined the run signs nothing in it");
}

#[test]
fn an_update_of_one_run_is_never_debited_at_the_price_of_another() {
    let mut world = World::new(sim::private_plan(4, 4, 3.0), policy());
    world.join();
    let keyed = world.advertise();
    let dealt = world.share(keyed);
    let delivered = world.deliver(dealt, &[]);

    // While the private update is being masked: a welcome that is refused, then one to a run without noise.
    world.say(world.refused_welcome());
    let run_id = Digest::sha256(b"a run that costs nothing");
    world.say(sim::welcome(run_id, &sim::plan(4, 9), &world.roster));

    let digest = Digest::from_bytes(mask_any(delivered.mask.masking, vec![0; world.plan.lanes()]).digest());
    let effects = world.input(world.masked(digest));
    assert!(effects.is_empty(), "the attempt ended with its run: {effects:?}");
}

/// An upload in `round` of a run of `plan`, started from its first model.
fn debit(plan: &Plan, round: u64) -> ClientRecord {
    ClientRecord::Debited {
        now: Timestamp(1_700_000_000_000),
        at: Attempt { round, attempt: 1 },
        model: plan.initial_model().digest(),
        r2: Digest::sha256(&round.to_le_bytes()),
        upload: Digest::sha256(b"upload"),
        event: plan.event(),
    }
}
