use std::cell::Cell;
use std::path::Path;

use accounting::{Relation, Unit};
use identity::IdentityKey;
use plan::{Period, PrivacyMode};

use super::*;

const DAY_MS: u64 = 24 * 3_600_000;

thread_local! {
    /// What the wall clock of a test's daemon says.
    static NOW_MS: Cell<u64> = const { Cell::new(9) };
}

fn key() -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap()
}

/// The sample plan, of distributed DP-SGD.
fn plan() -> Plan {
    Plan::from_toml(include_str!("../../../../../deploy/config/plan.toml")).unwrap()
}

fn spending(folder: &Path, anchor: bool) -> SiloSpending {
    let anchor = anchor.then(|| folder.join("anchor"));
    let ledger = Ledger::new(&folder.join("ledger"), "d", anchor, None).unwrap();
    let period = Some(Period { days: 30, epsilon_max: 10.0 });
    let policy = Policy { epsilon_max: 100.0, delta_max: 1e-5, period, ..Policy::for_authors([]) };
    UncheckedSpending::new(ledger, &key(), &policy, || NOW_MS.with(Cell::get)).0
}

fn reserve(spending: &mut SiloSpending, plan: &Plan, round: u64) {
    let [model, upload] = [b"model", b"bytes"].map(|bytes| Digest::sha256(bytes));
    let at = Attempt { round, attempt: 1 };
    let run = Digest::sha256(b"run");
    spending.reserve(Upload { run, plan, at, model, upload, data_version: None, failed: false }).unwrap();
}

#[test]
fn a_period_is_over_when_the_wall_clock_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut spending = spending(folder.path(), false);
    let mut plan = plan();
    // So little noise that a few rounds are a period's.
    let promise = plan.privacy.promise_mut().unwrap();
    (promise.noise_multiplier, promise.epsilon) = (1.5, 50.0);
    let refused = |spending: &SiloSpending| spending.view(None, Some(&plan)).unwrap().refusal;
    NOW_MS.set(DAY_MS);
    let mut round = 0;
    while refused(&spending).is_none() {
        round += 1;
        reserve(&mut spending, &plan, round);
    }
    let over = refused(&spending);
    let of_thirty_days = matches!(&over, Some(Refusal::PeriodSpent(over)) if over.days == 30);
    assert!(round > 0 && of_thirty_days, "{round}: {over:?}");
    NOW_MS.set(16 * DAY_MS);
    assert!(refused(&spending).is_some(), "half of the period");
    NOW_MS.set(31 * DAY_MS);
    assert_eq!(refused(&spending), None);
    let view = spending.view(None, Some(&plan)).unwrap();
    assert_eq!(view.wall, Some(Timestamp(31 * DAY_MS)), "and the core learns of it");
    reserve(&mut spending, &plan, round + 1);
    let account = spending.ledger.inspect().unwrap().account;
    assert_eq!(account.entries().last().unwrap().time_ms, 31 * DAY_MS, "stamped by it too");
}

/// As [`journal`], but killed between the two writes of the last round's debit.
fn cut(rounds: &[u64]) -> Vec<ClientRecord> {
    let mut journal = journal(rounds);
    journal.pop();
    journal
}

fn lost(spending: &mut SiloSpending, journal: &[ClientRecord]) -> String {
    let refused = spending.check(journal).unwrap_err();
    assert!(matches!(refused, SpendingError::LostJournal(_)), "{refused}");
    refused.to_string()
}

#[test]
fn a_journal_that_is_lost_or_older_than_the_ledger_is_refused_until_an_operator_accepts_it() {
    let plan = plan();
    for anchor in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut spending = spending(folder.path(), anchor);
        for round in 1..=3 {
            reserve(&mut spending, &plan, round);
        }
        spending.check(&journal(&[1, 2, 3])).unwrap();
        let text = lost(&mut spending, &[]);
        assert!(text.contains("holds 3 debits of this silo's own") && text.contains("in round 1"), "{text}");
        assert!(
            text.contains("older") && text.contains("repeated uploads") && text.contains("ledger accept")
        );
        assert!(lost(&mut spending, &journal(&[1])).contains("holds 2 debits"));
        assert!(lost(&mut spending, &journal(&[1, 2])).contains("holds 1 debits"));
        let accepted = spending.accept_loss(&journal(&[1]), "restored from March").unwrap();
        assert_eq!((accepted.copied, accepted.forgotten, accepted.head.sequence), (0, 2, 4));
        spending.check(&journal(&[1])).unwrap();
        assert_eq!(spending.view(Some(Digest::sha256(b"run")), None).unwrap().round, Some(3));
        // What comes after is not accepted with it.
        reserve(&mut spending, &plan, 4);
        spending.check(&journal(&[1, 4])).unwrap();
        assert!(lost(&mut spending, &journal(&[1])).contains("in round 4"));
    }
}

#[test]
fn a_debit_that_a_crash_kept_from_the_journal_is_no_lost_journal_whatever_comes_after() {
    let plan = plan();
    let folder = tempfile::tempdir().unwrap();
    let mut spending = spending(folder.path(), true);
    reserve(&mut spending, &plan, 1);
    reserve(&mut spending, &plan, 2);
    spending.check(&cut(&[1, 2])).unwrap();
    reserve(&mut spending, &plan, 3);
    let mut later = cut(&[1, 2]);
    later.extend(journal(&[3]).split_off(1));
    spending.check(&later).unwrap();
}

#[test]
fn what_other_daemons_debited_is_asked_of_no_journal_and_one_daemons_loss_is_accepted_for_it_alone() {
    let plan = plan();
    let folder = tempfile::tempdir().unwrap();
    let mut first = spending(folder.path(), true);
    reserve(&mut first, &plan, 1);
    // Another daemon, or the same silo enrolled anew.
    let mut second = SiloSpending { daemon: "second".into(), ..spending(folder.path(), true) };
    second.check(&[]).unwrap();
    let view = second.view(Some(Digest::sha256(b"run")), Some(&plan)).unwrap();
    assert_eq!(
        (view.round, view.rounds_of_others),
        (None, [1].into()),
        "and is in no round of the first one's"
    );
    reserve(&mut second, &plan, 2);
    first.check(&journal(&[1])).unwrap();
    let accepted = second.accept_loss(&[], "its disk broke").unwrap();
    assert_eq!((accepted.copied, accepted.forgotten), (0, 1));
    second.check(&[]).unwrap();
    lost(&mut first, &[]);
    // That a ledger is accepted which lacks entries says nothing of journals.
    first.accept_loss(&journal(&[1, 2]), "an old ledger").unwrap();
    lost(&mut first, &[]);
}

#[test]
fn what_is_copied_from_a_journal_says_again_in_which_rounds_training_failed() {
    let folder = tempfile::tempdir().unwrap();
    let mut spending = spending(folder.path(), true);
    let mut journal = journal(&[1, 2]);
    let at = Attempt { round: 2, attempt: 1 };
    journal.insert(journal.len() - 1, ClientRecord::TrainingFailed { at });
    assert!(spending.check(&journal).is_err());
    let accepted = spending.accept_loss(&journal, "the disk broke").unwrap();
    assert_eq!((accepted.copied, accepted.head.sequence), (3, 4));
    let entries = spending.account().unwrap();
    let failed = entries.entries().iter().filter(|entry| entry.says_training_failed());
    assert_eq!(failed.map(|entry| entry.release().unwrap().round).collect::<Vec<_>>(), [2]);
    assert_eq!(entries.total(1e-5).debits, 2);
    spending.check(&journal).unwrap();
}

#[test]
fn a_ledger_that_is_deleted_or_restored_while_the_daemon_runs_is_noticed_without_an_anchor() {
    let plan = plan();
    let folder = tempfile::tempdir().unwrap();
    let mut spending = spending(folder.path(), false);
    reserve(&mut spending, &plan, 1);
    let older = std::fs::read(spending.ledger.path()).unwrap();
    spending.check(&journal(&[1])).unwrap();
    reserve(&mut spending, &plan, 2);
    spending.view(None, None).unwrap();
    std::fs::write(spending.ledger.path(), older).unwrap();
    // Even one that is used again is short of what was debited.
    reserve(&mut spending, &plan, 3);
    let refused = spending.view(None, None).unwrap_err().to_string();
    assert!(
        refused.contains("holds 1 debits that the ledger") && refused.contains("in round 2"),
        "{refused}"
    );
    std::fs::remove_file(spending.ledger.path()).unwrap();
    assert!(matches!(spending.view(None, None), Err(SpendingError::RolledBack(_))));
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
        assert_eq!((release.unit, release.relation), (Some(Unit::Silo), Some(Relation::ZeroOut)));
        assert_ne!(release.noise_by, mode.noise_by());
    }
    assert!(release.noise_by.starts_with("unknown"));
}

#[test]
fn what_is_copied_from_a_journal_hides_persons_where_the_run_did() {
    let event = accounting::DpEvent::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 9.0 };
    let copied = |about_persons: bool| {
        let folder = tempfile::tempdir().unwrap();
        let spending = spending(folder.path(), false);
        let mut records = journal(&[1]);
        for record in &mut records {
            if let ClientRecord::Debited { event: of, .. } = record {
                *of = Some(event);
            }
        }
        if about_persons {
            records.insert(1, ClientRecord::AboutPersons);
        }
        spending.accept_loss(&records, "the disk broke").unwrap();
        let account = spending.ledger.inspect().unwrap().account;
        let release = account.entries().first().unwrap().release().unwrap().clone();
        (release.unit, release.relation)
    };
    assert_eq!(copied(false), (Some(Unit::Record), Some(Relation::AddRemoveOne)));
    assert_eq!(copied(true), (Some(Unit::Person), Some(Relation::AddRemovePerson)));
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
        event: Some(accounting::DpEvent::Gaussian { noise_multiplier: 20.0 }),
    };
    let joined = ClientRecord::Joined { run_id, plan, roster_epoch: 1 };
    let advertised = |round: &u64| ClientRecord::Advertised { at: Attempt { round: *round, attempt: 1 } };
    let rounds = rounds.iter().flat_map(|round| [advertised(round), debit(round)]);
    [joined].into_iter().chain(rounds).collect()
}

#[test]
fn a_ledger_that_lacks_a_debit_of_the_journal_is_refused_until_an_operator_has_it_copied() {
    for anchor in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut spending = spending(folder.path(), anchor);
        spending.check(&journal(&[])).unwrap();
        let refused = spending.check(&journal(&[1, 2])).unwrap_err();
        assert!(matches!(refused, SpendingError::RolledBack(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("holds 2 debits") && text.contains("the first in round 1"), "{text}");
        let accepted = spending.accept_loss(&journal(&[1, 2]), "the disk broke").unwrap();
        assert_eq!((accepted.copied, accepted.forgotten, accepted.head.sequence), (2, 0, 3));
        spending.check(&journal(&[1, 2])).unwrap();
        spending.check(&journal(&[1, 2, 3])).unwrap_err();
        let run = Some(Digest::sha256(b"run"));
        let view = spending.view(run, None).unwrap();
        assert_eq!((view.round, view.refusal), (Some(2), None));
        assert!(view.epsilon_spent > 0.0);
    }
}
