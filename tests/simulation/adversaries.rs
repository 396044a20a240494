//! Silos that lie: each lie fails closed, the run goes on, and the blame is never another's.

use plan::{Plan, Weights};
use protocol::{DropReason, Record, RoundOutcome, ToCoordinator};
use secagg::ClientId;
use sim::{Fate, Federation, Lie, Moment, plan, private_plan, removing_excess};

const LIAR: u32 = 2;
const ROUNDS: u64 = 3;

/// Five silos, one of which lies, three rounds; the oracle's invariants hold throughout.
fn lied_to(lie: Lie) -> Federation {
    run(plan(5, ROUNDS), lie)
}

/// As [`lied_to`], under a plan with noise whose excess is removed.
fn lied_to_removing_excess(lie: Lie) -> Federation {
    // A round that a lie spoils is paid for all the same.
    let plan = Plan { rounds: ROUNDS, ..private_plan(5, 2 * ROUNDS, 8.0) };
    run(removing_excess(plan), lie)
}

fn run(plan: Plan, lie: Lie) -> Federation {
    let mut federation = Federation::new(plan, 5, 40).with_liar(LIAR, lie);
    federation.run();
    let status = federation.coordinator().status();
    assert_eq!(status.rounds_committed, ROUNDS, "{lie:?}: {}", status.last_outcome);
    federation
}

fn outcomes(federation: &Federation) -> Vec<&RoundOutcome> {
    let aborted = federation.journal().iter().filter_map(|record| match record {
        Record::Aborted { outcome, .. } => Some(outcome),
        _ => None,
    });
    aborted.collect()
}

fn dropped(federation: &Federation) -> Vec<(u32, &DropReason)> {
    let dropped = federation.journal().iter().filter_map(|record| match record {
        Record::Dropped { client, reason } => Some((client.0, reason)),
        _ => None,
    });
    dropped.collect()
}

fn included(federation: &Federation) -> Vec<usize> {
    federation.opened().iter().map(|opened| opened.included.len()).collect()
}

#[test]
fn a_commitment_to_another_seed_bars_its_dealer_and_no_sum_of_that_round_is_published() {
    bars_its_dealer(&lied_to(Lie::Commitment));
}

#[test]
fn noise_seeds_that_do_not_end_where_they_were_advertised_bar_their_dealer() {
    bars_its_dealer(&lied_to_removing_excess(Lie::NoiseSeeds));
}

fn bars_its_dealer(federation: &Federation) {
    assert_eq!(outcomes(federation), [&RoundOutcome::WrongSecret { client: ClientId(LIAR) }]);
    let barred = federation
        .journal()
        .iter()
        .any(|record| matches!(record, Record::Barred { client, .. } if client.0 == LIAR));
    assert!(barred);
    assert_eq!(included(federation), [4, 4, 4], "the rounds after it are without the liar");
}

#[test]
fn shares_that_do_not_open_bring_a_complaint_that_names_the_pair_and_the_run_goes_on_without_it() {
    for lie in [Lie::Seal, Lie::ShareCommitment, Lie::Complaint] {
        let federation = lied_to(lie);
        let pairs: Vec<(u32, u32)> = federation
            .journal()
            .iter()
            .filter_map(|record| match record {
                Record::KeptApart { accuser, accused } => Some((accuser.0, accused.0)),
                _ => None,
            })
            .collect();
        assert!(!pairs.is_empty(), "{lie:?}");
        for (accuser, accused) in pairs {
            let liar = if lie == Lie::Complaint { accuser } else { accused };
            assert_eq!(liar, LIAR, "{lie:?}");
        }
    }
}

#[test]
fn a_garbage_vector_is_summed_like_any_other_and_never_more_than_once() {
    // No check of the protocol can tell it from an update; what bounds it is the ring alone.
    let federation = lied_to(Lie::Vector);
    assert_eq!(included(&federation), [5, 5, 5]);
    assert!(outcomes(&federation).is_empty() && dropped(&federation).is_empty());
}

/// The plan of [`lied_to`] with weights that are all the same.
fn uniform() -> Plan {
    let mut plan = plan(5, ROUNDS);
    plan.privacy.exact_mut().unwrap().weights = Weights::Uniform;
    plan
}

#[test]
fn weights_that_are_all_the_same_are_not_sent_and_cannot_be_spoiled() {
    let federation = run(uniform(), Lie::Weight);
    assert_eq!(included(&federation), [5, 5, 5]);
    assert!(outcomes(&federation).is_empty(), "{:?}", outcomes(&federation));
    // A plan of before sends them, and a silo that takes from their sum costs rounds.
    let federation = run(sim::of_first_format(uniform()), Lie::Weight);
    assert!(outcomes(&federation).iter().any(|outcome| matches!(outcome, RoundOutcome::Weights(_))));
}

#[test]
fn a_silo_that_spoils_the_weights_of_every_sum_is_left_out_and_the_run_goes_on() {
    let federation = lied_to(Lie::Weight);
    let spoiled = |outcome: &&RoundOutcome| matches!(outcome, RoundOutcome::Weights(_));
    assert!((1..=3).contains(&outcomes(&federation).iter().filter(|o| spoiled(o)).count()));
    let last = federation.opened().last().unwrap();
    assert!(!last.included.contains(&ClientId(LIAR)), "{:?}", last.included);
}

#[test]
fn other_bytes_than_announced_are_not_staged_and_their_sender_is_left_out() {
    let federation = lied_to(Lie::UploadBytes);
    let silent = dropped(&federation);
    assert_eq!(silent, [(LIAR, &DropReason::SilentAtMaskedInput); 3]);
    assert_eq!(included(&federation), [4, 4, 4]);
}

#[test]
fn a_second_signature_is_refused_and_the_round_commits() {
    let federation = lied_to(Lie::TwoSignatures);
    assert!(!federation.rejections().is_empty());
    assert!(outcomes(&federation).is_empty());
}

#[test]
fn a_lying_returner_is_blamed_and_no_dealer_is() {
    for lie in [Lie::Share, Lie::NoiseShare, Lie::Owners] {
        let federation = lied_to_removing_excess(lie);
        assert!(outcomes(&federation).is_empty(), "{lie:?}: the others' answers open the sum");
        let blamed = dropped(&federation);
        assert!(!blamed.is_empty(), "{lie:?}");
        for (client, reason) in blamed {
            assert_eq!(client, LIAR, "{lie:?}: {reason}");
            assert!(
                matches!(reason, DropReason::Misbehaved(why) if why.contains("client 2")),
                "{lie:?}: {reason}"
            );
        }
    }
}

#[test]
fn a_silo_that_falls_silent_at_any_step_is_left_out_by_name_or_not_needed() {
    for (lie, reason) in [
        (Lie::SilentAtShares, Some(DropReason::SilentAtShareKeys)),
        (Lie::SilentAtVector, Some(DropReason::SilentAtMaskedInput)),
        (Lie::SilentAtSignature, None),
        (Lie::SilentAtAnswer, None),
    ] {
        let federation = lied_to(lie);
        assert!(outcomes(&federation).is_empty(), "{lie:?}");
        for (client, given) in dropped(&federation) {
            assert_eq!((client, Some(given)), (LIAR, reason.as_ref()), "{lie:?}");
        }
        let expected = if reason.is_some() { [4, 4, 4] } else { [5, 5, 5] };
        assert_eq!(included(&federation), expected, "{lie:?}: after its upload it counts");
    }
}

#[test]
fn a_flood_is_refused_message_by_message_and_costs_the_others_nothing() {
    let federation = lied_to(Lie::Flood);
    assert!(federation.rejections().len() > 50, "{}", federation.rejections().len());
    assert!(outcomes(&federation).is_empty());
    assert_eq!(included(&federation), [5, 5, 5]);
}

#[test]
fn a_network_drop_of_minutes_inside_a_round_is_survived_while_its_deadline_allows() {
    // A round of ten minutes. Silo 3's keys are three minutes on their way: it is waited for.
    let mut slow = plan(5, 1);
    slow.timing.round_deadline_ms = 600_000;
    slow.timing.minimum_wait_ms = 200_000;
    let mut federation = Federation::new(slow, 5, 41).with_faults(|moment| match moment {
        Moment::SiloSays(ClientId(3), ToCoordinator::Advertise { .. }) => Fate::Late(180_000),
        _ => Fate::Pass,
    });
    federation.run();
    let status = federation.coordinator().status();
    assert_eq!((status.rounds_committed, status.rounds_aborted), (1, 0), "{}", status.last_outcome);
    assert_eq!(included(&federation), [5]);
    assert!(federation.now_ms() > 180_000);
}
