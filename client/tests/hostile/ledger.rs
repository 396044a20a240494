//! A silo whose data is used by others too, or whose disk was rolled back.

use std::fs;
use std::path::Path;

use client::RunError;
use identity::IdentityKey;
use ledger::{Cost, Entry, Ledger, Limits, Release, What, samples};
use params::Digest;
use plan::{Policy, PrivacyMode};
use protocol::{Attempt, ClientRecord, Decline, Timestamp, ToCoordinator};
use spending::UncheckedSpending;

use crate::crossed::{binding, delivered};
use crate::federation::{DEBITED, Federation, JOINED, plan};
use crate::mock::{FIRST, genesis, public, roster, welcome};
use crate::step::Published;

const SECOND: Attempt = Attempt { round: 2, attempt: 1 };

/// A run with noise, and a silo that admits it with this much epsilon.
async fn private(epsilon_max: f64) -> Federation {
    let mut plan = sim::private_plan(4, 9, 3.0);
    plan.cohort = crate::federation::plan().cohort;
    let (_, file) = genesis(&plan);
    let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
    Federation::configured(plan, chunks, |config| {
        config.policy = Policy {
            privacy_modes: [PrivacyMode::DistributedDpSgd].into(),
            epsilon_max,
            ..config.policy.clone()
        };
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_run_has_spent_refuses_this_one_whatever_its_coordinator_says() {
    for (others_rounds, refused) in [(0, false), (200, true)] {
        let mut all = private(4.0).await;
        let event = all.plan.event().unwrap();
        let limits = Limits { epsilon_max: 100.0, delta: 1e-5, period: None, releases_max: None };
        if others_rounds > 0 {
            let cost = Cost { event, count: others_rounds };
            all.ledger()
                .reserve(of_another_daemon(Digest::sha256(b"another plan")), Some(cost), &limits, 1)
                .unwrap();
        }
        let open = all.open(crate::mock::FIRST);
        let said = all.say(open).await;
        if !refused {
            assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
            continue;
        }
        let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, text } } = said else {
            panic!("{said:?}")
        };
        assert_eq!(code, "BALANCE");
        assert_eq!(text, plan::RefusalCode::Balance.sentence(), "no number leaves the silo");
        all.ends_refusing(&JOINED, "spent").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_shown_without_end_is_not_uploaded_under_beyond_its_rounds_and_repeats() {
    // One upload of this daemon, and all but one of the others that nine rounds and three repeats allow.
    for (others, refused) in [(10, false), (11, true)] {
        let (mut all, _) = Federation::uploaded(&[]).await;
        let limits = Limits { epsilon_max: 100.0, delta: 1e-5, period: None, releases_max: None };
        for round in 1..=others {
            let release = Release { round, ..of_another_daemon(all.plan.digest()) };
            all.ledger().reserve(release, None, &limits, 1).unwrap();
        }
        let said = all.say(all.open(SECOND)).await;
        if !refused {
            assert!(matches!(said, ToCoordinator::Advertise { at: SECOND, .. }), "{said:?}");
            continue;
        }
        let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, .. } } = said else {
            panic!("{said:?}")
        };
        assert_eq!(code, "BALANCE");
        assert_eq!(all.ends_failing().await.exit_code(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_is_refused_and_once_it_is_accepted_the_ledgers_rounds_are_sat_out() {
    let (all, _) = Federation::uploaded(&[]).await;
    let why = all.fails_to_start_after(lose_the_journal).await;
    assert!(matches!(why, RunError::LostJournal(_)) && why.exit_code() == 1, "{why}");
    let (all, _) = Federation::uploaded(&[]).await;
    let (ledger, daemon) = (all.ledger(), hex::encode(crate::mock::key(1).public().as_bytes()));
    let mut all = all
        .restarted_after(None, |folder| {
            lose_the_journal(folder);
            ledger.accept_loss("the disk broke", vec![], Some(daemon), 1).unwrap();
        })
        .await;
    all.session.say(protocol::ToClient::Published(genesis(&all.plan).0)).await;
    let again = all.open(Attempt { round: 1, attempt: 2 });
    all.declines(again, Decline::SitsOut, "it may have uploaded in it").await;
    // The ledger knows of its upload, so this record of it is no invention.
    let mut round = Published::honest(&all.plan);
    for set in [&mut round.manifest.cohort, &mut round.manifest.shared, &mut round.manifest.included] {
        *set = vec![1, 2, 3];
    }
    round.say_in(&all).await;
    let said = all.say(round.open()).await;
    assert!(matches!(said, ToCoordinator::Advertise { at: SECOND, .. }), "{said:?}");
}

/// A debit of the run's first round by whoever has this key.
fn debit_by(byte: u8, all: &Federation, run: Digest) {
    let limits = Limits { epsilon_max: 100.0, delta: 1e-5, period: None, releases_max: None };
    let cost = all.plan.event().map(|event| Cost { event, count: 1 });
    let release = Release { daemon: public(byte), run, ..of_another_daemon(all.plan.digest()) };
    all.ledger().reserve(release, cost, &limits, 1).unwrap();
}

fn declined_as_shared(said: ToCoordinator) {
    let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, text } } = said else {
        panic!("{said:?}")
    };
    assert_eq!(code, "LEDGER_SHARED");
    assert!(text.contains("another silo with the same data"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_silos_with_the_same_data_collides_in_one_round_and_declines_the_run() {
    let mut all = private(4.0).await;
    let (plan, open) = (all.plan.clone(), all.open(FIRST));
    let ToCoordinator::Advertise { advert, .. } = all.say(open).await else { panic!("no advert") };
    // Both have begun the round; the other one masks first.
    debit_by(2, &all, Digest::sha256(b"run"));
    let binding = binding(Digest::sha256(b"run"), &plan, FIRST, plan.initial_model().digest());
    delivered(&mut all, &binding, advert, &plan).await;
    declined_as_shared(all.session.heard().await);
    let account = all.ledger().inspect().unwrap().account;
    assert_eq!(account.entries().iter().filter_map(Entry::release).count(), 1, "nothing of its own is spent");
    assert_eq!(all.ends_failing().await.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_whose_data_another_member_debited_in_the_run_declines_it_before_its_first_round() {
    let mut all = private(4.0).await;
    let run = Digest::sha256(b"the other run");
    debit_by(2, &all, run);
    let said = all.say(welcome(run, &all.plan, &roster())).await;
    assert!(matches!(said, ToCoordinator::CheckIn { .. }), "{said:?}");
    declined_as_shared(all.session.heard().await);
    assert_eq!(all.ends_failing().await.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_whose_data_was_debited_by_a_key_that_is_not_on_the_roster_goes_on() {
    let mut all = private(4.0).await;
    // Nobody on the roster has this key.
    debit_by(77, &all, Digest::sha256(b"run"));
    let open = all.open(Attempt { round: 2, attempt: 1 });
    let said = all.say(open).await;
    assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_may_cost_is_claimed_before_the_check_in_and_is_free_when_the_run_is_over() {
    let mut all = private(4.0).await;
    let account = all.ledger().inspect().unwrap().account;
    let [open] = &account.claims(daemon::wall_ms())[..] else { panic!("{account:?}") };
    let claimed = (&*open.claim.daemon, open.claim.plan, open.made, open.claim.rounds);
    assert_eq!(claimed, (&*public(1), all.plan.digest(), 0, 9));
    // Of the same author, and as dear: what is left is not enough for all its rounds.
    let other = all.plan.clone().numbered([9; plan::Plan::ID_BYTES]);
    let said = all.say(welcome(Digest::sha256(b"another run"), &other, &roster())).await;
    let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, .. } } = said else {
        panic!("{said:?}")
    };
    assert_eq!(code, "BALANCE");
    assert_eq!(all.ledger().inspect().unwrap().account, account, "nothing is claimed for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_claim_is_free_when_the_coordinator_says_that_the_run_is_over() {
    let all = private(4.0).await;
    assert_eq!(all.ledger().inspect().unwrap().account.claims(daemon::wall_ms()).len(), 1);
    all.session.say(protocol::ToClient::Finished { reason: protocol::RunEnd::Complete }).await;
    let returned = async {
        while !all.ledger().inspect().unwrap().account.claims(daemon::wall_ms()).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), returned).await.unwrap();
}

/// All that lies in the state folder itself; the ledger has a folder in it.
fn lose_the_journal(folder: &Path) {
    for file in fs::read_dir(folder.join("state")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "lock" {
            fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_rolled_back_while_the_daemon_runs_ends_it_and_nothing_leaves() {
    let (all, _) = Federation::uploaded(&[]).await;
    fs::remove_file(all.ledger().path()).unwrap();
    all.session.say(all.open(SECOND)).await;
    let why = all.ends_failing().await;
    assert_eq!(why.exit_code(), 1);
    let text = why.to_string();
    assert!(text.contains("ends with entry 0 (") && text.contains("its anchor with entry 2 ("), "{text}");
    assert!(text.contains("folkmoot client ledger accept"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_without_noise_is_in_the_ledger_as_what_it_is() {
    let (all, uploaded) = Federation::uploaded(&[]).await;
    let account = all.ledger().inspect().unwrap().account;
    let [_claim, entry] = account.entries() else { panic!("{account:?}") };
    let What::ExactRelease { release } = &entry.what else { panic!("{entry:?}") };
    assert_eq!((release.round, release.attempt, release.plan), (1, 1, plan().digest()));
    assert_eq!((&*release.mode, &*release.noise_by), ("fedavg", "nobody"));
    assert!(release.data_version.is_some());
    drop(uploaded);
    all.ends_with(&DEBITED, "an exact round").await;
}

pub(crate) fn of_another_daemon(plan: Digest) -> Release {
    Release { daemon: "another".into(), plan, ..samples::release("another run", 1) }
}

#[test]
fn a_ledger_or_a_journal_that_lacks_what_the_other_has_ends_the_daemon_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let key = IdentityKey::from_secret_hex(&"01".repeat(32)).unwrap();
    let policy = Policy::for_authors([]);
    let spending = || {
        let ledger = Ledger::new(folder.path(), "d", None, None).unwrap();
        UncheckedSpending::new(ledger, &key, &policy, || 1)
    };
    let [run_id, plan, model, r2, upload] = [Digest::sha256(b"one"); 5];
    let at = Attempt { round: 1, attempt: 1 };
    let journal = [
        ClientRecord::Joined { run_id, plan, roster_epoch: 1 },
        ClientRecord::Advertised { at },
        ClientRecord::Debited { now: Timestamp(1), at, model, r2, upload, event: None },
    ];
    let ended = |journal: &[ClientRecord]| RunError::from(spending().check(journal).err().unwrap());
    let why = ended(&journal);
    assert!(matches!(why, RunError::RolledBack(_)) && why.exit_code() == 1, "{why}");
    spending().accept_loss(&journal, "the disk broke").unwrap();
    let why = ended(&[]);
    assert!(matches!(why, RunError::LostJournal(_)) && why.exit_code() == 1, "{why}");
}
