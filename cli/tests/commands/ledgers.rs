//! What a data set has spent, read from its ledger or a coordinator's chain.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ledger::samples::{self, CLAIM_LIMITS, COST, LIMITS, release};
use ledger::{Ledger, Spending, Statement, find};
use params::Digest;
use vault::{MasterSource, Vault};

use crate::program::{Here, USAGE, VERIFICATION};

/// A folder `ledger` with three debits, and the ledger's file.
fn spent() -> (Here, Ledger, PathBuf) {
    let here = Here::new();
    let ledger = samples::spent(&here.path("ledger"), Some(here.path("anchor")));
    let file = find(&here.path("ledger")).unwrap();
    (here, ledger, file)
}

#[test]
fn what_opens_a_commitment_is_counted_and_never_printed() {
    let (here, ledger, file) = spent();
    let run = |name: &str| Digest::sha256(name.as_bytes());
    ledger.declare("silo", &run("joined"), Statement::Version(run("data"))).unwrap();
    ledger.commitment("silo", &run("joined"), &run("data")).unwrap();
    ledger.declare("silo", &run("silent"), Statement::Random(run("word"))).unwrap();
    let said = here.done("ledger show ledger");
    assert!(said.contains("data set      admissions") && said.contains("which gates nothing"), "{said}");
    assert!(said.contains("in each run, 3 in all") && said.contains("1 random words"), "{said}");
    let spending = Spending::of(&file, None, None).unwrap();
    let openings = spending.runs.iter().flat_map(|run| &run.commitments);
    let secrets =
        openings.map(|opening| &opening.nonce).chain(spending.commitments.iter().map(|first| &first.salt));
    for secret in secrets {
        assert!(!said.contains(secret.as_str()), "{said}");
    }
    here.refused("ledger show ledger --delta 2", USAGE);
}

#[test]
fn a_round_in_which_training_failed_is_shown_as_one_that_no_epsilon_covers() {
    let (here, ledger, file) = spent();
    let before = Spending::of(&file, None, None).unwrap();
    assert!(!here.done("ledger show ledger").contains("TRAINING FAILED"));
    ledger.reserve_failed(release("b", 2), Some(COST), &LIMITS, 4).unwrap();
    let after = Spending::of(&file, None, None).unwrap();
    assert!(after.total.epsilon > before.total.epsilon);
    let said = here.done("ledger show ledger");
    assert!(
        said.contains("AND 1 ROUNDS IN WHICH TRAINING FAILED") && !said.contains("WITHOUT NOISE"),
        "{said}"
    );
}

#[test]
fn what_runs_that_are_not_over_may_still_spend_is_shown_until_it_lapses() {
    let (here, ledger, _) = spent();
    ledger.claim(samples::claim("b", 5), &CLAIM_LIMITS, daemon::wall_ms()).unwrap();
    let said = here.done("ledger show ledger");
    assert!(
        said.contains("3 rounds made, 2 left, at most epsilon ")
            && said.contains(" more unless something is heard"),
        "{said}"
    );
    let (here, ledger, _) = spent();
    ledger.claim(samples::claim("b", 5), &CLAIM_LIMITS, 4).unwrap();
    assert!(here.done("ledger show ledger").contains("LAPSED"));
    let new = Ledger::new(&here.path("other"), "other", None, None).unwrap();
    new.claim(samples::claim("b", 5), &CLAIM_LIMITS, daemon::wall_ms()).unwrap();
    let said = here.done("ledger show other");
    assert!(said.contains("nothing with a promise; 0 debits") && !said.contains("none"), "{said}");
}

#[test]
fn an_edited_ledger_and_one_that_its_anchor_is_ahead_of_fail_the_verification() {
    let (here, _, file) = spent();
    let (verify, with_anchor) = ("ledger verify ledger", "ledger verify ledger --anchor anchor");
    here.done(with_anchor);
    let whole = fs::read_to_string(&file).unwrap();
    let without_last: String = whole.lines().take(3).flat_map(|line| [line, "\n"]).collect();
    fs::write(&file, without_last).unwrap();
    here.done(verify);
    here.refused(with_anchor, VERIFICATION);
    fs::write(&file, whole.replacen("\"round\":2", "\"round\":3", 1)).unwrap();
    let why = here.refused(verify, VERIFICATION);
    assert!(why.contains("entry 2"), "{why}");
}

#[test]
fn no_daemon_debits_between_the_looks_at_the_ledger_and_at_its_anchor() {
    let (here, _, file) = spent();
    let anchor = here.path("anchor");
    let anchored = fs::read(&anchor).unwrap();
    fs::remove_file(&anchor).unwrap();
    // Whoever reads the anchor stands still until it has been written.
    assert!(std::process::Command::new("mkfifo").arg(&anchor).status().unwrap().success());
    std::thread::scope(|scope| {
        let verified = scope.spawn(|| here.done("ledger verify ledger --anchor anchor"));
        let mut reader_stands = fs::OpenOptions::new().write(true).open(&anchor).unwrap();
        let debit = fs::File::open(&file).unwrap().try_lock();
        std::io::Write::write_all(&mut reader_stands, &anchored).unwrap();
        drop(reader_stands);
        verified.join().unwrap();
        assert!(matches!(debit, Err(fs::TryLockError::WouldBlock)), "{debit:?}");
    });
}

#[test]
fn an_unfinished_last_line_is_reported_and_one_that_only_lost_its_line_break_is_refused() {
    let (here, _, file) = spent();
    let whole = fs::read(&file).unwrap();
    let (verify, show) = ("ledger verify ledger", "ledger show ledger");
    assert!(!here.run(verify).err.contains("unfinished") && !here.done(show).contains("unfinished"));
    let zero = [&whole[..whole.len() - 9], &[0], &whole[whole.len() - 8..]].concat();
    for unfinished in [&whole[..whole.len() - 9], &zero] {
        fs::write(&file, unfinished).unwrap();
        let verified = here.run(verify);
        assert!(verified.err.contains("the last line is unfinished, and counted as no entry"));
        assert!(verified.code == 0 && verified.out.contains(": 2 entries"), "{}", verified.out);
        assert!(here.done(show).contains("the last line is unfinished"));
    }
    let damaged = [&whole[..whole.len() - 1], b"\x0b"].concat();
    fs::write(&file, damaged).unwrap();
    let why = here.refused(verify, VERIFICATION);
    assert!(why.contains("entry 3 is whole"), "{why}");
}

#[test]
fn a_folder_without_a_ledger_says_what_to_name() {
    let why = Here::new().refused("ledger show .", USAGE);
    assert!(why.contains("holds no ledger"), "{why}");
}

#[test]
fn a_sealed_coordinators_run_is_shown_with_its_master_key_and_says_so_without() {
    let plain = published::samples::chain(|_| {});
    let here = Here::new();
    here.done("keys master master.key");
    let data = here.path("data");
    fs::create_dir(&data).unwrap();
    // Beside the configuration, as `folkmoot coordinator init` makes it.
    let vault = Arc::new(Vault::create(&here.path(""), MasterSource::File(here.path("master.key"))).unwrap());
    let opened =
        store::FileStore::open_sealed(&data, store::JournalKind::Coordinator, vault, |_, _, _| Ok(()));
    let mut sealed = opened.unwrap().store;
    for round in [0, 1, 3] {
        let name = checkpoint::folder_name(round);
        let from = plain.path().join(checkpoint::CHECKPOINTS_FOLDER).join(&name);
        let files = [checkpoint::MANIFEST_FILE, checkpoint::SIGNATURE_FILE]
            .map(|file| (file, fs::read(from.join(file)).unwrap()));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (*file, &bytes[..])).collect();
        store::Store::publish(&mut sealed, &name, &files).unwrap();
    }
    let said = here.done("ledger show data --master master.key");
    assert!(said.contains("rounds        2 committed, chain verified"), "{said}");
    let why = here.refused("ledger show data", VERIFICATION);
    assert!(why.contains("name the master key with --master"), "{why}");
    let why = here.refused("ledger show data --master master.key --delta 1e-6", USAGE);
    assert!(why.contains("--delta"), "{why}");
    here.done("keys master other.key");
    here.refused("ledger show data --master other.key", USAGE);
}
