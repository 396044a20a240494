use std::path::Path;

use identity::IdentityKey;
use ledger::Ledger;
use plan::{OffersPerAuthor, PrivacyMode};
use protocol::Attempt;

use super::*;
use crate::{UncheckedSpending, Upload};

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

/// The sample plan of distributed DP-SGD over so many rounds, of epsilon 4.9 with all of them.
fn plan(rounds: u64) -> AuthoredPlan {
    let plan = Plan::from_toml(include_str!("../../../../../deploy/config/plan.toml")).unwrap();
    Plan { rounds, ..plan }.sign(&key(9))
}

fn policy(epsilon_max: f64) -> Policy {
    Policy { epsilon_max, delta_max: 1e-5, ..Policy::for_authors([]) }
}

/// A daemon of its own on the data set in this folder.
fn daemon(folder: &Path, byte: u8, policy: &Policy) -> SiloSpending {
    let ledger = Ledger::new(folder, "d", None, None).unwrap();
    UncheckedSpending::new(ledger, &key(byte), policy, || 9).check(&[]).unwrap()
}

fn run(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn reserve(spending: &mut SiloSpending, name: &str, plan: &Plan, round: u64) -> Result<(), LedgerError> {
    let (model, upload, at) = (run("model"), run("upload"), Attempt { round, attempt: 1 });
    spending.reserve(Upload { run: run(name), plan, at, model, upload, data_version: None, failed: false })
}

fn code(claimed: Result<ClaimAnswer, LedgerError>) -> Result<(), &'static str> {
    match claimed.unwrap() {
        ClaimAnswer::Held | ClaimAnswer::Made => Ok(()),
        ClaimAnswer::NoRoom(refusal) => {
            assert_eq!(refusal.code(), "BALANCE");
            Err(refusal.rule().name())
        }
        ClaimAnswer::NotLooked => Err("not looked"),
    }
}

#[test]
fn a_run_that_could_not_end_is_refused_before_it_begins_and_one_that_was_begun_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, second) =
        (daemon(folder.path(), 1, &policy(5.0)), daemon(folder.path(), 2, &policy(5.0)));
    let whole = plan(30);
    assert_eq!(code(first.claim(run("a"), &whole, true)), Ok(()));
    assert_eq!(code(second.claim(run("b"), &plan(1), true)), Err("BALANCE"));
    for round in 1..=30 {
        assert_eq!(first.view(Some(run("a")), Some(&whole)).unwrap().refusal, None);
        reserve(&mut first, "a", &whole, round).unwrap();
    }
    assert!(first.return_claim(&run("a"), "the run is over").unwrap());
    assert_eq!(code(second.claim(run("b"), &plan(29), true)), Err("BUDGET_SPENT"));
}

#[test]
fn a_run_without_a_claim_takes_nothing_that_another_one_has_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) =
        (daemon(folder.path(), 1, &policy(5.0)), daemon(folder.path(), 2, &policy(5.0)));
    assert_eq!(code(first.claim(run("a"), &plan(30), true)), Ok(()));
    let refused = second.view(Some(run("b")), Some(&plan(20))).unwrap().refusal;
    assert!(matches!(refused, Some(Refusal::Claims { claims: 1, .. })), "{refused:?}");
    assert!(matches!(reserve(&mut second, "b", &plan(20), 1), Err(LedgerError::Overspent(_))));
    assert!(first.return_claim(&run("a"), "the run is over").unwrap());
    reserve(&mut second, "b", &plan(20), 1).unwrap();
}

#[test]
fn nothing_is_looked_at_where_that_is_not_allowed_and_a_claim_that_is_there_serves_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let spending = daemon(folder.path(), 1, &policy(5.0));
    assert_eq!(spending.claim(run("a"), &plan(30), false).unwrap(), ClaimAnswer::NotLooked);
    assert_eq!(spending.claim(run("a"), &plan(30), true).unwrap(), ClaimAnswer::Made);
    // As after a crash between the claim and the check-in.
    let restarted = daemon(folder.path(), 1, &policy(5.0));
    assert_eq!(restarted.claim(run("a"), &plan(30), false).unwrap(), ClaimAnswer::Held);
}

#[test]
fn a_policy_that_promises_asks_what_exact_sums_of_the_same_data_it_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let release = ledger::Release { unit: None, ..ledger::samples::release("fedavg", 1) };
    let ledger = Ledger::new(folder.path(), "d", None, None).unwrap();
    ledger.reserve(release, None, &ledger::samples::LIMITS, 1).unwrap();
    let refused = daemon(folder.path(), 1, &policy(5.0)).claim(run("a"), &plan(30), true).unwrap();
    assert_eq!(refused, ClaimAnswer::NoRoom(Refusal::ExactReleases { made: 1, accepted: 0 }));
    let account = daemon(folder.path(), 1, &policy(5.0)).account().unwrap();
    let said = unaccepted_exact_releases(&account, &policy(5.0)).unwrap();
    assert!(said.contains("set it to 1") && said.contains("1 in \"fedavg\""), "{said}");
    let fedavg = Policy { privacy_modes: [PrivacyMode::Fedavg].into(), ..policy(5.0) };
    assert_eq!(unaccepted_exact_releases(&account, &fedavg), None, "it promises nothing");
    let accepts = Policy { accepts_exact_releases: 1, ..policy(5.0) };
    assert_eq!(unaccepted_exact_releases(&account, &accepts), None);
    assert_eq!(
        daemon(folder.path(), 1, &accepts).claim(run("a"), &plan(30), true).unwrap(),
        ClaimAnswer::Made
    );
}

#[test]
fn what_plan_check_finds_is_what_a_silo_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut spending = daemon(folder.path(), 1, &policy(5.0));
    let author = hex::encode(key(9).public().as_bytes());
    for spent in 0..4 {
        for rounds in [1, 29, 30] {
            let (account, plan) = (spending.account().unwrap(), plan(rounds));
            let found = room_for(&account, &policy(5.0), &plan, &author, 9);
            let run = run(&format!("run {rounds} after {spent}"));
            let claimed = spending.claim(run, &plan, true).unwrap();
            assert_eq!(found.err().map_or(ClaimAnswer::Made, ClaimAnswer::NoRoom), claimed);
            spending.return_claim(&run, "tried").unwrap();
        }
        reserve(&mut spending, "another", &plan(12), spent + 1).unwrap();
    }
    let unlimited = Policy { offers_per_author: OffersPerAuthor { plans: 1000, days: 1 }, ..policy(5.0) };
    assert_eq!(room_for(&spending.account().unwrap(), &unlimited, &plan(1), &author, 9), Ok(()));
}
