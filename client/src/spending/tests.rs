use std::cell::Cell;

use identity::{IdentityKey, Period, PrivacyMode};

use super::*;
use crate::RunError;

const DAY_MS: u64 = 24 * 3_600_000;

thread_local! {
    /// What the wall clock of a test's daemon says.
    static NOW_MS: Cell<u64> = const { Cell::new(9) };
}

fn key() -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap()
}

fn spending(folder: &Path, anchor: bool) -> Spending {
    let anchor = anchor.then(|| folder.join("anchor"));
    let ledger = Ledger::new(&folder.join("ledger"), "d", anchor, None).unwrap();
    let period = Some(Period { days: 30, epsilon_max: 10.0 });
    let policy = Policy { epsilon_max: 100.0, delta_max: 1e-5, period, ..Policy::for_authors([]) };
    Spending::new(ledger, &key(), &policy, || NOW_MS.with(Cell::get))
}

fn reserve(spending: &Spending, plan: &Plan, round: u64) {
    let [model, upload] = [b"model", b"bytes"].map(|bytes| Digest::sha256(bytes));
    let at = Attempt { round, attempt: 1 };
    let run = Digest::sha256(b"run");
    spending.reserve(Upload { run, plan, at, model, upload, data_version: None }).unwrap();
}

#[test]
fn a_period_is_over_when_the_wall_clock_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let spending = spending(folder.path(), false);
    let plan = sim::private_plan(4, 4, 3.0);
    let refused = || spending.view(None, Some(&plan)).unwrap().refusal;
    NOW_MS.set(DAY_MS);
    let mut round = 0;
    while refused().is_none() {
        round += 1;
        reserve(&spending, &plan, round);
    }
    assert!(
        round > 0 && matches!(refused(), Some(Refusal::PeriodSpent { days: 30, .. })),
        "{round}: {:?}",
        refused()
    );
    NOW_MS.set(16 * DAY_MS);
    assert!(refused().is_some(), "half of the period");
    NOW_MS.set(31 * DAY_MS);
    assert_eq!(refused(), None);
    let view = spending.view(None, Some(&plan)).unwrap();
    assert_eq!(view.wall, Some(Timestamp(31 * DAY_MS)), "and the core is told");
    reserve(&spending, &plan, round + 1);
    let account = spending.ledger.inspect().unwrap().account;
    assert_eq!(account.entries().last().unwrap().time_ms, 31 * DAY_MS, "stamped by it too");
}

#[test]
fn what_is_copied_from_a_journal_claims_no_more_than_the_journal_tells() {
    let folder = tempfile::tempdir().unwrap();
    let spending = spending(folder.path(), false);
    spending.accept_loss(&journal(&[1]), "the disk broke").unwrap();
    let account = spending.ledger.inspect().unwrap().account;
    let release = account.entries().first().unwrap().release().unwrap();
    for mode in [PrivacyMode::DistributedDpFedavg, PrivacyMode::CentralDpFedavg] {
        assert!(release.mode.contains(mode.name()), "either may have been: {}", release.mode);
        assert_eq!((&*release.unit, &*release.relation), (mode.unit(), mode.relation()));
        assert_ne!(release.noise_by, mode.noise_by());
    }
    assert!(release.noise_by.starts_with("unknown"));
}

/// A journal with a debit in each of these rounds.
fn journal(rounds: &[u64]) -> Vec<ClientRecord> {
    let (run_id, plan) = (Digest::sha256(b"run"), Digest::sha256(b"plan"));
    let debit = |round: &u64| ClientRecord::Debited {
        now: Timestamp(*round),
        at: Attempt { round: *round, attempt: 1 },
        model: Digest::sha256(b"model"),
        r2: Digest::sha256(b"r2"),
        upload: Digest::sha256(b"upload"),
        event: Some(accounting::Event::Gaussian { noise_multiplier: 20.0 }),
    };
    let joined = ClientRecord::Joined { run_id, plan, roster_epoch: 1 };
    [joined].into_iter().chain(rounds.iter().map(debit)).collect()
}

#[test]
fn a_ledger_that_lacks_a_debit_of_the_journal_is_refused_until_an_operator_has_it_copied() {
    for anchor in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let spending = spending(folder.path(), anchor);
        spending.check(&journal(&[])).unwrap();
        let refused = spending.check(&journal(&[1, 2])).unwrap_err();
        assert!(matches!(refused, RunError::RolledBack(_)) && refused.exit_code() == 1, "{refused}");
        let text = refused.to_string();
        assert!(text.contains("holds 2 debits") && text.contains("the first in round 1"), "{text}");
        let (copied, head) = spending.accept_loss(&journal(&[1, 2]), "the disk broke").unwrap();
        assert_eq!((copied, head.sequence), (2, 3));
        spending.check(&journal(&[1, 2])).unwrap();
        spending.check(&journal(&[1, 2, 3])).unwrap_err();
        let run = Some(Digest::sha256(b"run"));
        let view = spending.view(run, None).unwrap();
        assert_eq!((view.round, view.refusal), (Some(2), None));
        assert!(view.epsilon_spent > 0.0);
    }
}
