//! Lies within a round, in its order.

use protocol::{Attempt, CoordinatorFault, Decline, ToClient, ToCoordinator};
use secagg::{Advert, Delivery};

use crate::federation::{
    ADVERTISED, DEBITED, Federation, JOINED, SIGNED, UNMASKED, fault, ids, plan, request, signed,
};
use crate::mock::FIRST;

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_round_goes_through_and_its_answer_is_repeated_byte_for_byte_even_after_a_restart() {
    let (mut all, agreed) = Federation::agreed().await;
    let answer = all.say(agreed.request()).await;
    assert!(matches!(answer, ToCoordinator::Unmask { at: FIRST, .. }), "{answer:?}");
    assert_eq!(all.say(agreed.request()).await, answer);
    all = all.restarted().await;
    assert_eq!(all.say(agreed.request()).await, answer, "the stored answer");
    all.ends_with(&UNMASKED, "the round").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victim_named_alive_and_then_dead_is_opened_one_way_only() {
    for restart in [false, true] {
        let (mut all, agreed) = Federation::agreed().await;
        let answer = all.say(agreed.request()).await;
        if restart {
            all = all.restarted().await;
        }
        let others = ids([1, 2, 3]);
        let set = others.iter().copied().collect();
        let signatures = (1..=3).map(|id| signed(id, agreed.r2, &set)).collect();
        all.declines(request(others, signatures), fault(CoordinatorFault::UnmaskRequest), "dead now").await;
        assert_eq!(all.say(agreed.request()).await, answer, "only the first answer is ever given");
        all.ends_with(&UNMASKED, "one answer").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cohort_that_does_not_verify_gets_no_shares() {
    type Lie = fn(&mut Vec<Advert>);
    let lies: [(&str, Lie); 8] = [
        ("a swapped transport key", |adverts| adverts[1].ek_pub = adverts[2].ek_pub),
        ("a swapped mask key", |adverts| adverts[1].mk_pub = adverts[2].mk_pub),
        ("an advert without a signature", |adverts| adverts[1].signature = [0; 64]),
        ("the own keys changed", |adverts| adverts[0].ek_pub[0] ^= 1),
        ("the own advert left out", |adverts| *adverts = adverts.split_off(1)),
        ("a member twice", |adverts| adverts[2] = adverts[1].clone()),
        ("a low-order key", |adverts| adverts[1].mk_pub = [0; 32]),
        ("fewer than the floor", |adverts| adverts.truncate(2)),
    ];
    for (case, lie) in lies {
        let (mut all, mut keyed) = Federation::keyed().await;
        lie(&mut keyed.adverts);
        all.declines(roster(keyed.adverts), fault(CoordinatorFault::Cohort), case).await;
        all.ends_with(&ADVERTISED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cohort_below_the_plans_floor_gets_no_shares_though_the_policy_would_have_it() {
    let mut strict = plan();
    strict.cohort.minimum = 4;
    let (mut all, mut keyed) = Federation::keyed_in(strict).await;
    keyed.adverts.truncate(3);
    all.declines(roster(keyed.adverts), fault(CoordinatorFault::Cohort), "three of four").await;
    all.ends_with(&ADVERTISED, "three of four").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_roster_ends_the_attempt_and_the_first_is_answered_no_more() {
    let (mut all, dealt) = Federation::dealt().await;
    let again = all.say(roster(dealt.adverts.clone())).await;
    let same = ToCoordinator::ShareKeys { at: FIRST, bundle: dealt.bundles[&crate::mock::ME].clone() };
    assert_eq!(again, same, "the same roster is no lie and gets the same bytes");
    let other = dealt.adverts[..3].to_vec();
    all.declines(roster(other), fault(CoordinatorFault::Equivocation), "another roster").await;
    all.declines(roster(dealt.adverts.clone()), Decline::SitsOut, "its secrets are gone").await;
    let delivery = dealt.delivery(&[]);
    all.declines(ToClient::Deliver { at: FIRST, delivery }, Decline::SitsOut, "so are its shares").await;
    all.ends_with(&ADVERTISED, "two rosters").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_its_dealers_did_not_sign_is_not_masked_under() {
    type Lie = fn(&mut Delivery);
    let lies: [(&str, Lie); 4] = [
        ("another ciphertext", |delivery| delivery.shares[0].ciphertext[0] ^= 1),
        ("a member left out, its share not", |delivery| delivery.members.truncate(3)),
        ("a share left out, its member not", |delivery| delivery.shares.truncate(2)),
        ("a root without a signature", |delivery| delivery.members[1].signature = [0; 64]),
    ];
    for (case, lie) in lies {
        let (mut all, dealt) = Federation::dealt().await;
        let mut delivery = dealt.delivery(&[]);
        lie(&mut delivery);
        all.declines(ToClient::Deliver { at: FIRST, delivery }, fault(CoordinatorFault::Delivery), case)
            .await;
        all.ends_with(&ADVERTISED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_u2_before_the_first_byte_left_stops_the_upload_and_keeps_the_debit() {
    let (mut all, dealt) = Federation::dealt().await;
    all.process.withhold_grants();
    let first = ToClient::Deliver { at: FIRST, delivery: dealt.delivery(&[]) };
    all.session.say(first.clone()).await;
    all.process.announced().await;
    let log = all.outgoing_log();
    assert!(log.contains("\"upload.sent\"") && log.contains("\"key shares\""), "durable first: {log}");
    let other = ToClient::Deliver { at: FIRST, delivery: dealt.delivery(&[4]) };
    all.declines(other, fault(CoordinatorFault::Equivocation), "another U2").await;
    all.declines(first, Decline::SitsOut, "not masked again").await;
    all.ends_with(&DEBITED, "two U2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_u2_after_the_upload_ends_the_attempt_and_no_second_vector_leaves() {
    let (mut all, uploaded) = Federation::uploaded(&[]).await;
    let delivery = uploaded.dealt.delivery(&[4]);
    let lie = ToClient::Deliver { at: FIRST, delivery };
    all.declines(lie, fault(CoordinatorFault::Equivocation), "another U2").await;
    let included = ToClient::Included { at: FIRST, included: ids(1..=4) };
    all.declines(included, Decline::SitsOut, "nothing is signed any more").await;
    all.declines(all.open(Attempt { round: 1, attempt: 2 }), Decline::SitsOut, "uploaded in this round")
        .await;
    all.ends_with(&DEBITED, "two U2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_included_set_that_breaks_the_rules_is_not_signed() {
    // t = 3 of 4.
    for (case, silent, included) in [
        ("without the silo itself", &[][..], ids([2, 3, 4])),
        ("below the quorum", &[], ids([1, 2])),
        ("not a subset of U2", &[4], ids([1, 2, 3, 4])),
        ("a stranger", &[], ids([1, 2, 3, 4, 9])),
    ] {
        let (mut all, _) = Federation::uploaded(silent).await;
        all.declines(ToClient::Included { at: FIRST, included }, fault(CoordinatorFault::Included), case)
            .await;
        let sound = ToClient::Included { at: FIRST, included: ids([1, 2, 3]) };
        all.declines(sound, Decline::SitsOut, case).await;
        all.ends_with(&DEBITED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_included_set_is_not_signed_and_nothing_is_opened_after_it() {
    let (mut all, agreed) = Federation::agreed().await;
    let other = ToClient::Included { at: FIRST, included: ids([1, 2, 3]) };
    all.declines(other, fault(CoordinatorFault::Equivocation), "another set").await;
    all.declines(agreed.request(), Decline::SitsOut, "no share is opened").await;
    all.ends_with(&SIGNED, "two sets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmask_request_without_a_quorum_opens_nothing() {
    let (mut all, agreed) = Federation::agreed().await;
    let good = &agreed.signatures;
    let everyone = ids(1..=4).into_iter().collect();
    let fewer = ids([1, 2, 3]).into_iter().collect();
    let other_r2 = secagg::R2([7; 32]);
    let own = ToCoordinator::SignIncluded { at: FIRST, signature: good[0] };
    for (case, signatures) in [
        ("none", vec![]),
        ("one less than the threshold", good[..2].to_vec()),
        ("one twice", vec![good[0], good[1], good[1]]),
        ("over another set", (2..=4).map(|id| signed(id, agreed.r2, &fewer)).collect()),
        ("over another transcript", (2..=4).map(|id| signed(id, other_r2, &everyone)).collect()),
    ] {
        all.session.say(request(ids(1..=4), signatures)).await;
        // Silence has no end to wait for: the next thing that is said is the answer to a later message.
        let said = all.say(ToClient::Included { at: FIRST, included: ids(1..=4) }).await;
        assert_eq!(said, own, "{case}");
    }
    all.ends_with(&SIGNED, "no quorum").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmask_request_for_another_set_than_the_signed_one_ends_the_attempt() {
    let (mut all, agreed) = Federation::agreed().await;
    let set = ids([1, 2, 3]).into_iter().collect();
    let signatures = (1..=3).map(|id| signed(id, agreed.r2, &set)).collect();
    let lie = request(ids([1, 2, 3]), signatures);
    all.declines(lie, fault(CoordinatorFault::Equivocation), "with a quorum of its own").await;
    all.declines(agreed.request(), Decline::SitsOut, "no share is opened").await;
    all.ends_with(&SIGNED, "another set").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_model_that_is_not_the_signed_one_is_not_trained_on() {
    let (_, mut file) = crate::mock::genesis(&plan());
    let last = file.len() - 4;
    file[last..].copy_from_slice(&1f32.to_le_bytes());
    let claimed = plan().initial_model().digest();
    let chunks = wire::model_chunks(0, claimed, file.into()).collect();
    let mut all = Federation::serving(plan(), chunks).await;
    all.declines(all.open(FIRST), Decline::Unavailable, "other bytes than signed").await;
    all.ends_with(&JOINED, "other bytes than signed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_than_the_chains_head_is_not_trained_on() {
    let mut all = Federation::of(plan()).await;
    let model = params::Digest::sha256(b"made to leak");
    all.declines(ToClient::Open { at: FIRST, model }, fault(CoordinatorFault::Model), "not the head").await;
    all.ends_with(&JOINED, "not the head").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_not_newer_is_sat_out_even_after_a_restart() {
    let (all, keyed) = Federation::keyed().await;
    let mut all = all.restarted().await;
    all.declines(all.open(FIRST), Decline::SitsOut, "opened again").await;
    all.declines(roster(keyed.adverts), Decline::SitsOut, "its keys are gone").await;
    all.ends_with(&ADVERTISED, "replayed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_made_weaker_after_joining_ends_the_daemon() {
    type Weaken = fn(&mut plan::Plan);
    let lies: [(&str, Weaken); 3] = [
        ("a lower floor", |plan| plan.cohort.minimum = 3),
        ("another clip", |plan| {
            plan.privacy.exact_mut().unwrap().coordinate_max = 2.0;
        }),
        ("more rounds", |plan| plan.rounds += 1),
    ];
    for (case, weaken) in lies {
        let mut strict = plan();
        strict.cohort.minimum = 4;
        let (mut all, _) = Federation::keyed_in(strict.clone()).await;
        weaken(&mut strict);
        let run_id = params::Digest::sha256(b"run");
        // Even if its author signs the weaker one too: this run began with the other.
        let welcome = crate::mock::welcome(run_id, &strict, &crate::mock::roster());
        let reason = fault(CoordinatorFault::Plan);
        assert_eq!(all.say(welcome).await, ToCoordinator::Declined { round: None, reason }, "{case}");
        all.ends_refusing(&ADVERTISED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_roster_ends_the_daemon() {
    let mut all = Federation::of(plan()).await;
    let mut older = crate::mock::roster();
    older.epoch = 0;
    let run_id = params::Digest::sha256(b"run");
    let welcome = crate::mock::welcome(run_id, &all.plan, &older);
    let reason = fault(CoordinatorFault::Roster);
    assert_eq!(all.say(welcome).await, ToCoordinator::Declined { round: None, reason });
    all.ends_refusing(&JOINED, "an older roster").await;
}

fn roster(adverts: Vec<Advert>) -> ToClient {
    ToClient::Adverts { at: FIRST, adverts }
}
