//! The ledger's file: shared, cut by crashes, edited, rolled back, sealed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use accounting::{Budget, DpEvent, steps_allowed};
use ledger::{Chain, Cost, Ledger, LedgerError, Limits, Release, What, check_anchor, dataset_name, samples};
use params::Digest;
use vault::{MasterSource, Vault};

const EVENT: DpEvent = DpEvent::Gaussian { noise_multiplier: 10.0 };
const LIMITS: Limits = Limits { epsilon_max: 2.0, delta: 1e-6, period: None, releases_max: None };

fn cost() -> Option<Cost> {
    Some(Cost { event: EVENT, count: 1 })
}

fn release(daemon: &str, round: u64) -> Release {
    Release {
        daemon: daemon.into(),
        // What one daemon is in no other is: both would count in one sum.
        run: Digest::sha256(if daemon == "a" { "run" } else { daemon }.as_bytes()),
        ..samples::release("readmission", round)
    }
}

/// A ledger with an anchor, and where both lie.
struct Case {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    file: PathBuf,
    anchor: PathBuf,
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let ledger = Ledger::new(&folder.path().join("ledger"), "d", Some(anchor.clone()), None).unwrap();
    let file = ledger.path().to_owned();
    Case { _folder: folder, ledger, file, anchor }
}

impl Case {
    fn debit(&self, round: u64) -> Result<u64, LedgerError> {
        self.ledger.reserve(release("a", round), cost(), &LIMITS, round).map(|head| head.sequence)
    }

    fn rounds(&self) -> Vec<u64> {
        let account = self.ledger.inspect().unwrap().account;
        account.entries().iter().filter_map(|entry| Some(entry.release()?.round)).collect()
    }

    fn copies(&self) -> (Vec<u8>, Vec<u8>) {
        (fs::read(&self.file).unwrap(), fs::read(&self.anchor).unwrap())
    }

    fn restore(&self, ledger: &[u8], anchor: &[u8]) {
        fs::write(&self.file, ledger).unwrap();
        fs::write(&self.anchor, anchor).unwrap();
    }

    /// What is said when the next debit and the next look are refused for the anchor; nothing was changed then.
    fn refused(&self) -> String {
        let before = fs::read(&self.file).ok();
        let why = self.debit(99).unwrap_err();
        assert!(matches!(why, LedgerError::Anchor { .. }), "{why}");
        assert_eq!(self.ledger.inspect().unwrap_err().to_string(), why.to_string());
        // Looking for it may have made the file; nothing is in it then.
        assert_eq!(fs::read(&self.file).unwrap(), before.unwrap_or_default());
        why.to_string()
    }
}

#[test]
fn daemons_that_debit_at_the_same_time_never_overspend_and_lose_no_debit() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        for daemon in ["a", "b", "c", "d"] {
            // Each opens the file anew, as another process does.
            let ledger = Ledger::new(folder.path(), "d", Some(anchor.clone()), None).unwrap();
            let made = &made;
            scope.spawn(move || {
                for round in 1.. {
                    match ledger.reserve(release(daemon, round), cost(), &LIMITS, round) {
                        Ok(_) => made.fetch_add(1, Ordering::SeqCst),
                        Err(LedgerError::Overspent(_)) => break,
                        Err(why) => panic!("{why}"),
                    };
                }
            });
        }
    });
    let allowed = steps_allowed(&EVENT, &Budget::new(LIMITS.epsilon_max, LIMITS.delta).unwrap()).unwrap();
    assert!(allowed > 8, "too few to race for: {allowed}");
    assert_eq!(made.into_inner(), allowed);
    let inspected = Ledger::new(folder.path(), "d", Some(anchor), None).unwrap().inspect().unwrap();
    assert_eq!(inspected.head.sequence, allowed);
    assert!(inspected.account.total(LIMITS.delta).epsilon() <= LIMITS.epsilon_max);
}

#[test]
fn no_daemon_debits_between_anothers_looks_at_the_ledger_and_at_its_anchor() {
    let case = case();
    case.debit(1).unwrap();
    let (_, anchored) = case.copies();
    fs::remove_file(&case.anchor).unwrap();
    // Whoever reads the anchor stands still until it has been written.
    assert!(std::process::Command::new("mkfifo").arg(&case.anchor).status().unwrap().success());
    thread::scope(|scope| {
        let inspected = scope.spawn(|| case.ledger.inspect());
        let mut reader_stands = fs::OpenOptions::new().write(true).open(&case.anchor).unwrap();
        let debit = fs::File::open(&case.file).unwrap().try_lock();
        std::io::Write::write_all(&mut reader_stands, &anchored).unwrap();
        drop(reader_stands);
        assert_eq!(inspected.join().unwrap().unwrap().head.sequence, 1);
        assert!(matches!(debit, Err(fs::TryLockError::WouldBlock)), "{debit:?}");
    });
}

#[test]
fn a_ledger_that_is_made_while_another_daemon_looks_for_it_is_not_taken_for_a_deleted_one() {
    let case = case();
    case.debit(1).unwrap();
    let (first, anchored) = case.copies();
    fs::remove_file(&case.file).unwrap();
    fs::remove_file(&case.anchor).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&case.anchor).status().unwrap().success());
    thread::scope(|scope| {
        let inspected = scope.spawn(|| case.ledger.inspect());
        let mut reader_stands = fs::OpenOptions::new().write(true).open(&case.anchor).unwrap();
        // The reader has found no ledger; the first debit comes now.
        fs::write(&case.file, &first).unwrap();
        // The second look finds an anchor that is a file again.
        let later = case.anchor.with_extension("later");
        fs::write(&later, &anchored).unwrap();
        fs::rename(&later, &case.anchor).unwrap();
        std::io::Write::write_all(&mut reader_stands, &anchored).unwrap();
        drop(reader_stands);
        assert_eq!(inspected.join().unwrap().unwrap().head.sequence, 1);
    });
}

#[test]
fn a_crash_at_any_byte_of_a_debit_loses_none_before_it_and_the_next_one_goes_through() {
    let case = case();
    case.debit(1).unwrap();
    let (ledger_before, anchor_before) = case.copies();
    case.debit(2).unwrap();
    let (ledger_after, anchor_after) = case.copies();
    let whole = ledger_after.len() - 1;
    for cut in ledger_before.len()..=ledger_after.len() {
        case.restore(&ledger_after[..cut], &anchor_before);
        let counted = if cut >= whole { vec![1, 2] } else { vec![1] };
        assert_eq!(case.rounds(), counted, "the ledger cut at {cut}");
        case.debit(3).unwrap();
        assert_eq!(case.rounds(), [&counted[..], &[3]].concat(), "the ledger cut at {cut}");
        assert_eq!(
            fs::read(&case.anchor).unwrap().iter().filter(|byte| **byte == b'\n').count(),
            counted.len() + 1
        );
    }
    for cut in anchor_before.len()..=anchor_after.len() {
        case.restore(&ledger_after, &anchor_after[..cut]);
        case.debit(3).unwrap();
        assert_eq!(case.rounds(), [1, 2, 3], "the anchor cut at {cut}");
        assert!(fs::read(&case.anchor).unwrap().starts_with(&anchor_after), "the anchor cut at {cut}");
    }
}

#[test]
fn a_crash_while_the_first_entry_is_made_leaves_a_ledger_that_can_be_begun() {
    let case = case();
    case.debit(1).unwrap();
    let (whole, _) = case.copies();
    for cut in 0..whole.len() - 1 {
        fs::write(&case.file, &whole[..cut]).unwrap();
        fs::remove_file(&case.anchor).unwrap();
        assert_eq!(case.debit(7).unwrap(), 1, "cut at {cut}");
        assert_eq!(case.rounds(), [7], "cut at {cut}");
    }
}

#[test]
fn an_edited_entry_is_refused_by_its_number_and_nothing_is_appended() {
    let case = case();
    for round in 1..=3 {
        case.debit(round).unwrap();
    }
    let (ledger, anchor) = case.copies();
    let text = String::from_utf8(ledger).unwrap();
    let cheaper = text.replacen("\"noise_multiplier\":10.0", "\"noise_multiplier\":99.0", 2);
    assert_ne!(cheaper, text);
    case.restore(cheaper.as_bytes(), &anchor);
    for why in [case.debit(4).unwrap_err(), case.ledger.inspect().unwrap_err()] {
        assert!(why.to_string().contains("entry 1 does not have the hash that its line says"), "{why}");
    }
    assert_eq!(case.copies().0, cheaper.as_bytes());
}

#[test]
fn a_ledger_that_was_rolled_back_deleted_or_replaced_is_refused_and_both_heads_are_named() {
    let case = case();
    case.debit(1).unwrap();
    let (older, _) = case.copies();
    case.debit(2).unwrap();
    let (_, anchor) = case.copies();
    fs::write(&case.file, &older).unwrap();
    let why = case.refused();
    assert!(
        why.contains("the ledger ends with entry 1 (") && why.contains("its anchor with entry 2 ("),
        "{why}"
    );
    fs::remove_file(&case.file).unwrap();
    assert!(case.refused().contains("the ledger ends with entry 0 ("));
    // Another ledger of the same length, made by someone who cannot write the anchor.
    fs::remove_file(&case.anchor).unwrap();
    fs::remove_file(&case.file).unwrap();
    for round in [5, 6] {
        case.debit(round).unwrap();
    }
    fs::write(&case.anchor, &anchor).unwrap();
    assert!(case.refused().contains("was rolled back or replaced"));
    // A line added to the anchor for the older ledger, as one who can only append would.
    let last = String::from_utf8(older.clone()).unwrap().lines().last().unwrap().to_owned();
    let line = last.split(' ').take(2).collect::<Vec<_>>().join(" ");
    case.restore(&older, &[&anchor[..], line.as_bytes(), b"\n"].concat());
    assert!(case.refused().contains("no operator's entry"));
}

#[test]
fn an_anchor_that_was_rolled_back_deleted_or_cut_is_refused() {
    let case = case();
    case.debit(1).unwrap();
    let (_, older) = case.copies();
    case.debit(2).unwrap();
    case.debit(3).unwrap();
    let (_, whole) = case.copies();
    fs::write(&case.anchor, &older).unwrap();
    let why = case.refused();
    assert!(
        why.contains("the ledger ends with entry 3 (") && why.contains("its anchor with entry 1 ("),
        "{why}"
    );
    fs::remove_file(&case.anchor).unwrap();
    assert!(case.refused().contains("its anchor with nothing"));
    fs::write(&case.anchor, [&whole[..], b"4 00"].concat()).unwrap();
    assert!(case.refused().contains("cut off"));
}

#[test]
fn an_operator_may_accept_a_loss_which_stays_in_the_ledger_and_a_later_rollback_is_seen_again() {
    let case = case();
    case.debit(1).unwrap();
    let (older, _) = case.copies();
    case.debit(2).unwrap();
    case.debit(3).unwrap();
    let (_, anchor) = case.copies();
    // Rolled back, and used without its anchor up to where the anchor is.
    let unanchored = Ledger::new(case.file.parent().unwrap(), "d", None, None).unwrap();
    fs::write(&case.file, &older).unwrap();
    for round in [2, 3] {
        unanchored.reserve(release("a", round), cost(), &LIMITS, 5).unwrap();
    }
    case.refused();
    let journalled = What::Debit { release: release("a", 9), cost: cost().unwrap(), delta: LIMITS.delta };
    let head = case.ledger.accept_loss("the disk of March is gone", vec![(1, journalled)], None, 6).unwrap();
    assert_eq!(head.sequence, 5);
    assert!(fs::read(&case.anchor).unwrap().starts_with(&anchor), "an anchor is only appended to");
    case.debit(6).unwrap();
    assert_eq!(case.rounds(), [1, 2, 3, 9, 6]);
    let account = case.ledger.inspect().unwrap().account;
    let What::OperatorAcceptsLoss { reason, anchor: Some(lost), .. } = &account.entries()[4].what else {
        panic!("{account:?}")
    };
    assert_eq!((reason.as_str(), lost.sequence), ("the disk of March is gone", 3));
    fs::write(&case.file, &older).unwrap();
    case.refused();
}

#[test]
fn a_ledger_without_an_anchor_takes_one_by_an_operators_word_only() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let without = Ledger::new(folder.path(), "d", None, None).unwrap();
    for round in [1, 2] {
        without.reserve(release("a", round), cost(), &LIMITS, 1).unwrap();
    }
    let with = Ledger::new(folder.path(), "d", Some(anchor), None).unwrap();
    assert!(matches!(with.inspect(), Err(LedgerError::Anchor { .. })));
    with.accept_loss("anchored from now on", vec![], None, 2).unwrap();
    with.reserve(release("a", 3), cost(), &LIMITS, 3).unwrap();
    assert_eq!(with.inspect().unwrap().head.sequence, 4);
}

#[test]
fn an_anchor_that_cannot_be_written_lets_nothing_leave_and_the_debit_stands() {
    let folder = tempfile::tempdir().unwrap();
    // The mount is gone.
    let anchor = folder.path().join("gone/anchor");
    let ledger = Ledger::new(folder.path(), "d", Some(anchor), None).unwrap();
    let why = ledger.reserve(release("a", 1), cost(), &LIMITS, 1).unwrap_err();
    assert!(why.to_string().contains("cannot extend the anchor"), "{why}");
    assert_eq!(ledger.inspect().unwrap().head.sequence, 1, "made, and one line ahead of the anchor");
    fs::create_dir(folder.path().join("gone")).unwrap();
    ledger.reserve(release("a", 2), cost(), &LIMITS, 1).unwrap();
    assert_eq!(ledger.inspect().unwrap().head.sequence, 2);
}

#[test]
fn a_round_is_debited_once_for_a_daemon_and_a_refused_debit_leaves_no_entry() {
    let case = case();
    case.debit(1).unwrap();
    let again = case.debit(1).unwrap_err();
    assert!(matches!(again, LedgerError::AlreadyDebited { sequence: 1, round: 1 }), "{again}");
    case.ledger.reserve(release("b", 1), cost(), &LIMITS, 1).unwrap();
    let dear = Some(Cost { event: EVENT, count: 1000 });
    let why = case.ledger.reserve(release("a", 2), dear, &LIMITS, 1).unwrap_err();
    assert!(matches!(why, LedgerError::Overspent(_)), "{why}");
    case.ledger.reserve(release("a", 3), None, &LIMITS, 1).unwrap();
    let account = case.ledger.inspect().unwrap().account;
    assert_eq!(account.entries().len(), 3);
    assert_eq!(account.total(LIMITS.delta).exact_releases, 1);
    assert_eq!(account.highest_round("a", &Digest::sha256(b"run")), Some(3));
    assert_eq!(account.highest_round("c", &Digest::sha256(b"run")), None);
}

fn vault(folder: &Path) -> Arc<Vault> {
    let master = folder.join("master.key");
    vault::make_master(&master).unwrap();
    Arc::new(Vault::create(folder, MasterSource::File(master)).unwrap())
}

#[test]
fn a_sealed_ledger_holds_nothing_in_the_clear_and_its_chain_and_anchor_are_checked_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let vault = vault(folder.path());
    let sealed = Ledger::new(folder.path(), "d", Some(anchor.clone()), Some(vault.clone())).unwrap();
    for round in 1..=2 {
        sealed.reserve(release("a", round), cost(), &LIMITS, 1).unwrap();
    }
    sealed.accept_loss("moved", vec![], None, 2).unwrap();
    sealed.reserve(release("a", 3), cost(), &LIMITS, 3).unwrap();
    let bytes = fs::read(sealed.path()).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    for clear in ["readmission", "silo", "round", &Digest::sha256(b"data").to_string()] {
        assert!(!text.contains(clear), "{clear} in {text}");
    }
    let chain = Chain::read(&bytes).unwrap();
    assert_eq!(check_anchor(&fs::read(&anchor).unwrap(), &chain, None), Ok(false));
    assert_eq!(sealed.inspect().unwrap().account.total(LIMITS.delta).debits, 3);
    let plain = Ledger::new(folder.path(), "d", Some(anchor.clone()), None).unwrap();
    assert!(matches!(plain.inspect(), Err(LedgerError::Sealed { .. })));
    fs::remove_file(sealed.path()).unwrap();
    fs::remove_file(&anchor).unwrap();
    plain.reserve(release("a", 1), cost(), &LIMITS, 1).unwrap();
    assert!(matches!(sealed.inspect(), Err(LedgerError::NotSealed { .. })));
}

#[test]
fn only_the_owner_can_read_the_file_and_names_that_are_no_files_are_refused() {
    let case = case();
    case.debit(1).unwrap();
    assert_eq!(fs::metadata(&case.file).unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["", ".hidden", "a/b", "a b", "ü", &"a".repeat(65)] {
        assert!(
            matches!(Ledger::new(Path::new("."), name, None, None), Err(LedgerError::Name { .. })),
            "{name}"
        );
    }
    for (path, name) in
        [("/srv/admissions 2025.csv", "admissions-2025"), ("/srv/data", "data"), ("/", "data")]
    {
        assert_eq!(dataset_name(Path::new(path)), name, "{path}");
    }
}

#[test]
fn a_round_in_which_training_failed_costs_what_it_always_costs_and_is_an_exact_release_beside() {
    let case = case();
    case.debit(1).unwrap();
    let failed = case.ledger.reserve_failed(release("a", 2), cost(), &LIMITS, 2).unwrap();
    assert_eq!(failed.sequence, 3);
    let account = case.ledger.inspect().unwrap().account;
    let [_, debit, exact] = account.entries() else { panic!("{account:?}") };
    assert!(matches!(&debit.what, What::Debit { release, .. } if release.round == 2));
    assert!(matches!(&exact.what, What::ExactRelease { release } if release.round == 2));
    let (total, both) = (account.total(LIMITS.delta), steps_epsilon(2));
    assert_eq!((total.debits, total.exact_releases, total.failed_trainings), (2, 1, 1));
    assert_eq!(total.epsilon(), both, "not less than without the failure");
    assert_eq!(account.runs(LIMITS.delta)[0].rounds, 2);
    assert!(matches!(case.debit(2), Err(LedgerError::AlreadyDebited { round: 2, .. })));
    // Without noise there is one entry, as ever, and no word of training.
    let exact = Release { unit: None, ..release("a", 3) };
    case.ledger.reserve_failed(exact, None, &LIMITS, 3).unwrap();
    let total = case.ledger.inspect().unwrap().account.total(LIMITS.delta);
    assert_eq!((total.debits, total.exact_releases, total.failed_trainings), (2, 2, 1));
}

#[test]
fn two_silos_that_share_a_data_set_are_not_in_one_round_where_each_counts_the_cost_of_one() {
    let case = case();
    let round = case.debit(1).unwrap();
    let twin = |round, cost| {
        let release = Release { daemon: "twin".into(), attempt: 2, ..release("a", round) };
        case.ledger.reserve(release, cost, &LIMITS, round)
    };
    let refused = twin(1, cost()).unwrap_err();
    assert!(
        matches!(refused, LedgerError::InTheRound { sequence, round: 1 } if sequence == round),
        "{refused}"
    );
    assert!(refused.to_string().contains("another silo with the same data"), "{refused}");
    twin(2, cost()).unwrap();
    assert!(matches!(case.debit(2), Err(LedgerError::InTheRound { round: 2, .. })), "whoever comes first");
    let account = case.ledger.inspect().unwrap().account;
    assert_eq!(account.total(LIMITS.delta).epsilon(), steps_epsilon(2), "what the two sums cost");
    let run = Digest::sha256(b"run");
    let others = |daemon| account.rounds_of_others(daemon, &run).into_iter().collect::<Vec<_>>();
    assert_eq!((others("a"), others("twin"), others("c")), (vec![2], vec![1], vec![1, 2]));
    let before = |daemon| account.before(daemon, &run).into_iter().collect::<Vec<_>>();
    assert_eq!((before("a"), before("twin"), before("c")), (vec![], vec!["a"], vec!["a", "twin"]));
    assert!(account.before("twin", &Digest::sha256(b"another run")).is_empty());
    // Without noise nothing is counted that could be counted short.
    case.ledger.reserve(Release { unit: None, ..release("a", 3) }, None, &LIMITS, 3).unwrap();
    twin(3, None).unwrap();
}

#[test]
fn a_round_in_which_training_failed_is_one_write_to_ledger_and_anchor_whatever_a_crash_leaves_of_it() {
    let case = case();
    case.debit(1).unwrap();
    let (ledger_before, anchor_before) = case.copies();
    case.ledger.reserve_failed(release("a", 2), cost(), &LIMITS, 2).unwrap();
    let (ledger_after, anchor_after) = case.copies();
    let anchored = |sequences: u64| {
        let lines = fs::read(&case.anchor).unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines as u64, sequences);
    };
    for cut in ledger_before.len()..=ledger_after.len() {
        case.restore(&ledger_after[..cut], &anchor_before);
        let chain = Chain::read(&ledger_after[..cut]).unwrap();
        assert!(check_anchor(&anchor_before, &chain, None).is_ok(), "the ledger cut at {cut}");
        let held = case.ledger.inspect().unwrap().head.sequence;
        assert_eq!(case.debit(3).unwrap(), held + 1, "the ledger cut at {cut}");
        anchored(held + 1);
    }
    for cut in anchor_before.len()..=anchor_after.len() {
        case.restore(&ledger_after, &anchor_after[..cut]);
        assert_eq!(case.debit(3).unwrap(), 4, "the anchor cut at {cut}");
        anchored(4);
    }
    // The first of all may be of two entries too.
    fs::remove_file(&case.anchor).unwrap();
    fs::remove_file(&case.file).unwrap();
    case.ledger.reserve_failed(release("a", 1), cost(), &LIMITS, 1).unwrap();
    fs::remove_file(&case.anchor).unwrap();
    assert_eq!(case.debit(2).unwrap(), 3);
    anchored(3);
}

fn steps_epsilon(steps: u64) -> f64 {
    accounting::epsilon_of([(EVENT, steps)], LIMITS.delta).unwrap()
}
