//! Complaints: they cost rounds, and put nobody out for good.

use protocol::{Act, Record, Rejection};
use secagg::ClientId;
use sim::{Federation, Lie, plan};

const SILOS: u32 = 7;
const ROUNDS: u64 = 40;

/// Seven silos of which two may collude, under policies that let many rounds be aborted.
fn federation(minimum: usize, liars: &[(u32, Lie)]) -> Federation {
    let mut plan = plan(SILOS as usize, ROUNDS);
    plan.cohort.minimum = minimum;
    plan.cohort.corrupt = 2;
    let patient = |_: u32, policy: &mut plan::Policy| {
        policy.repeats_without_dp = 1000;
        policy.repeats_per_plan = Some(100);
    };
    let federation = Federation::with_policies(plan, SILOS, 90, patient);
    liars.iter().fold(federation, |federation, (id, lie)| federation.with_liar(*id, *lie))
}

/// The cohort and the included set of each committed round.
fn committed(federation: &Federation) -> Vec<(Vec<u32>, Vec<u32>)> {
    let manifest = |record: &Record| match record {
        Record::Committed { manifest, .. } => checkpoint::Manifest::from_bytes(&manifest.manifest_bytes).ok(),
        _ => None,
    };
    let manifests = federation.journal().iter().filter_map(manifest);
    manifests.map(|manifest| (manifest.cohort, manifest.included)).collect()
}

/// The most committed rounds in a row that this silo is in none of.
fn longest_out(federation: &Federation, id: u32) -> usize {
    let rounds = committed(federation);
    rounds.split(|(_, included)| included.contains(&id)).map(<[_]>::len).max().unwrap_or_default()
}

fn cohorts(federation: &Federation) -> Vec<Vec<u32>> {
    let opened = |record: &Record| match record {
        Record::AttemptBegun { cohort, .. } => Some(cohort.iter().map(|client| client.0).collect()),
        _ => None,
    };
    federation.journal().iter().filter_map(opened).collect()
}

fn all_committed(federation: &Federation) {
    let status = federation.coordinator().status();
    assert_eq!(status.rounds_committed, ROUNDS, "{}, {}", status.last_outcome, status.waiting_why);
    // What silos fell out for in earlier rounds is over.
    let rounds = status.clients.iter().filter_map(|silo| silo.reason_moment?.round);
    assert!(rounds.clone().all(|round| round >= status.head_round), "{:?}", status.clients);
}

fn until(federation: &mut Federation, holds: impl Fn(&Federation) -> bool) {
    for ms in federation.now_ms()..federation.now_ms() + 200_000 {
        federation.run_until(ms);
        if holds(federation) {
            return;
        }
    }
    panic!("it never came: {:?}", federation.coordinator().status());
}

fn sound(federation: &Federation) {
    if let Some(violation) = federation.violation() {
        panic!("{violation}");
    }
}

#[test]
fn two_that_complain_of_an_honest_silo_in_every_round_put_themselves_out_and_not_it() {
    // Each complains of the first of the others, which is silo 1 for both.
    let mut federation = federation(5, &[(2, Lie::Complaint), (3, Lie::Complaint)]);
    federation.run();
    sound(&federation);
    all_committed(&federation);
    assert_eq!(longest_out(&federation, 1), 0, "it is in every round that is committed");
    let complaints = federation.journal().iter().filter(|record| matches!(record, Record::KeptApart { .. }));
    assert!(complaints.count() >= 6, "and they go on as long as the run does");
}

#[test]
fn two_that_deal_an_honest_silo_bad_shares_in_every_round_cannot_keep_it_out() {
    let mut federation = federation(5, &[(2, Lie::Seal), (3, Lie::Seal)]);
    federation.run();
    sound(&federation);
    all_committed(&federation);
    for honest in [1, 4, 5, 6, 7] {
        assert!(
            longest_out(&federation, honest) <= 20,
            "silo {honest}: {}",
            longest_out(&federation, honest)
        );
    }
}

#[test]
fn a_pair_without_which_there_is_no_cohort_is_tried_again_after_a_rounds_time() {
    let mut federation = federation(SILOS as usize, &[(2, Lie::Complaint)]);
    federation.run_until(100_000);
    sound(&federation);
    assert!(cohorts(&federation).len() > 3, "{}", cohorts(&federation).len());
    let why = federation.coordinator().status().waiting_why;
    assert!(why.contains("are kept apart until round"), "{why}");
}

#[test]
fn an_operator_puts_a_pair_together_again_before_its_time_and_the_journal_says_so() {
    let mut federation = federation(5, &[(2, Lie::Complaint)]);
    let complained = |federation: &Federation| {
        federation.journal().iter().any(|record| matches!(record, Record::KeptApart { .. }))
    };
    until(&mut federation, complained);
    let reconcile = |one, other| Act::Reconcile {
        one: ClientId(one),
        other: ClientId(other),
        by: "ops".into(),
        reason: "a bad memory module".into(),
    };
    assert!(matches!(federation.act(reconcile(4, 5)), Err(Rejection::NotPossible(_))));
    let before = cohorts(&federation).len();
    federation.act(reconcile(2, 1)).unwrap();
    assert!(matches!(federation.act(reconcile(1, 2)), Err(Rejection::NotPossible(_))), "it is done");
    federation.crash_the_coordinator();
    until(&mut federation, |federation| cohorts(federation).len() > before);
    sound(&federation);
    assert_eq!(cohorts(&federation)[before], (1..=SILOS).collect::<Vec<_>>(), "both are in the next cohort");
}

#[test]
fn a_silo_that_was_put_out_is_in_rounds_again_once_it_is_restored_and_is_never_said_to_refuse() {
    let mut federation = federation(5, &[]);
    until(&mut federation, |federation| federation.journal().len() > 30);
    let state = |federation: &Federation| federation.coordinator().status().clients[3].state;
    let restore = || Act::Restore { client: ClientId(4), by: "ada".into(), reason: "it was the disk".into() };
    assert!(matches!(federation.act(restore()), Err(Rejection::NotPossible(_))), "nobody barred it");
    federation.act(Act::Remove { client: ClientId(4), reason: "stolen".into() }).unwrap();
    assert_eq!(state(&federation), run_status::Standing::Barred);
    federation.act(restore()).unwrap();
    assert_ne!(state(&federation), run_status::Standing::Barred);
    federation.crash_the_coordinator();
    federation.run();
    sound(&federation);
    let rounds = committed(&federation);
    assert!(rounds.iter().rev().take(5).all(|(_, included)| included.contains(&4)), "{rounds:?}");
}

#[test]
fn a_barred_silo_is_no_silo_that_refuses() {
    let mut federation = federation(SILOS as usize, &[]);
    until(&mut federation, |federation| federation.journal().len() > 30);
    federation.act(Act::Remove { client: ClientId(4), reason: "lost laptop".into() }).unwrap();
    federation.run_until(federation.now_ms() + 60_000);
    let status = federation.coordinator().status();
    assert!(status.waiting_why.contains("1 barred, "), "{}", status.waiting_why);
    assert!(status.waiting_why.ends_with("for: lost laptop"), "{}", status.waiting_why);
    assert!(!status.waiting_why.contains("refuse"), "{}", status.waiting_why);
    assert_eq!(status.clients[3].last_reason, "lost laptop");
}
