use accounting::Event;
use ledger::{Cost, Ledger, Limits, Release, Statement};
use params::Digest;
use vault::Vault;

use super::*;

fn release(run: &str, round: u64) -> Release {
    Release {
        daemon: "silo".into(),
        run: Digest::sha256(run.as_bytes()),
        run_name: run.into(),
        plan: Digest::sha256(b"plan"),
        round,
        attempt: 1,
        model: Digest::sha256(b"model"),
        upload: Digest::sha256(b"upload"),
        data_version: Some(Digest::sha256(b"data")),
        mode: "distributed_dp_sgd".into(),
        unit: Some(accounting::Unit::Record),
        relation: Some(accounting::Relation::AddRemoveOne),
        noise_by: "every silo, a share each".into(),
    }
}

fn ledger(folder: &Path, anchor: Option<PathBuf>) -> PathBuf {
    let ledger = Ledger::new(folder, "admissions", anchor, None).unwrap();
    let limits = Limits { epsilon_max: 9.0, delta: 1e-6, period: None, releases_max: None };
    for (run, round) in [("a", 1), ("a", 2), ("b", 1)] {
        let event = Event::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 1.0 };
        ledger.reserve(release(run, round), Some(Cost { event, count: 1 }), &limits, round).unwrap();
    }
    find(folder).unwrap()
}

#[test]
fn what_opens_a_commitment_is_counted_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let open = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    let run = |name: &str| Digest::sha256(name.as_bytes());
    open.declare("silo", &run("joined"), Statement::Version(run("data"))).unwrap();
    open.commitment("silo", &run("joined"), &run("data")).unwrap();
    open.declare("silo", &run("silent"), Statement::Random(run("word"))).unwrap();
    let spending = Spending::of(&file, None, None).unwrap();
    let said = text(&spending);
    assert!(said.contains("data set      admissions") && said.contains("which gates nothing"), "{said}");
    assert!(said.contains("in each run, 3 in all") && said.contains("1 random words"), "{said}");
    let openings = spending.runs.iter().flat_map(|run| &run.commitments);
    let secrets =
        openings.map(|opening| &opening.nonce).chain(spending.commitments.iter().map(|first| &first.salt));
    for secret in secrets {
        assert!(!said.contains(secret.as_str()), "{said}");
    }
    assert!(Spending::of(&file, None, Some(2.0)).is_err());
}

#[test]
fn a_round_in_which_training_failed_is_shown_as_one_that_no_epsilon_covers() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let before = Spending::of(&file, None, None).unwrap();
    assert!(!text(&before).contains("TRAINING FAILED"));
    let limits = Limits { epsilon_max: 9.0, delta: 1e-6, period: None, releases_max: None };
    let event = Event::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 1.0 };
    let ledger = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    ledger.reserve_failed(release("b", 2), Some(Cost { event, count: 1 }), &limits, 4).unwrap();
    let after = Spending::of(&file, None, None).unwrap();
    assert!(after.total.epsilon > before.total.epsilon);
    let said = text(&after);
    assert!(
        said.contains("AND 1 ROUNDS IN WHICH TRAINING FAILED") && !said.contains("WITHOUT NOISE"),
        "{said}"
    );
}

#[test]
fn an_edited_ledger_and_one_that_its_anchor_is_ahead_of_fail_the_verification() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let anchor = elsewhere.path().join("anchor");
    let file = ledger(folder.path(), Some(anchor.clone()));
    verify(&file, Some(&anchor), None, &mut |_| {}).unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    let without_last: String = whole.lines().take(3).flat_map(|line| [line, "\n"]).collect();
    fs::write(&file, without_last).unwrap();
    verify(&file, None, None, &mut |_| {}).unwrap();
    let why = verify(&file, Some(&anchor), None, &mut |_| {}).unwrap_err();
    assert!(matches!(why, Failure::Verification(_)), "{why}");
    fs::write(&file, whole.replacen("\"round\":2", "\"round\":3", 1)).unwrap();
    let why = verify(&file, None, None, &mut |_| {}).unwrap_err();
    assert!(matches!(&why, Failure::Verification(text) if text.contains("entry 2")), "{why}");
}

#[test]
fn no_daemon_debits_between_the_looks_at_the_ledger_and_at_its_anchor() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let anchor = elsewhere.path().join("anchor");
    let file = ledger(folder.path(), Some(anchor.clone()));
    let anchored = fs::read(&anchor).unwrap();
    fs::remove_file(&anchor).unwrap();
    // Whoever reads the anchor stands still until it has been written.
    assert!(std::process::Command::new("mkfifo").arg(&anchor).status().unwrap().success());
    std::thread::scope(|scope| {
        let verified = scope.spawn(|| verify(&file, Some(&anchor), None, &mut |_| {}));
        let mut reader_stands = fs::OpenOptions::new().write(true).open(&anchor).unwrap();
        let debit = fs::File::open(&file).unwrap().try_lock();
        std::io::Write::write_all(&mut reader_stands, &anchored).unwrap();
        drop(reader_stands);
        verified.join().unwrap().unwrap();
        assert!(matches!(debit, Err(fs::TryLockError::WouldBlock)), "{debit:?}");
    });
}

#[test]
fn an_unfinished_last_line_is_told_and_one_that_only_lost_its_line_break_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let whole = fs::read(&file).unwrap();
    let notes = || {
        let mut notes = String::new();
        verify(&file, None, None, &mut |note| notes.push_str(note)).map(|()| notes)
    };
    let shown = || Spending::of(&file, None, None).unwrap();
    assert!(!notes().unwrap().contains("unfinished"));
    assert!(!shown().unfinished_line && !text(&shown()).contains("unfinished"));
    let zero = [&whole[..whole.len() - 9], &[0], &whole[whole.len() - 8..]].concat();
    for unfinished in [&whole[..whole.len() - 9], &zero] {
        fs::write(&file, unfinished).unwrap();
        assert!(notes().unwrap().contains("the last line is unfinished, and counted as no entry"));
        assert!(shown().unfinished_line && text(&shown()).contains("the last line is unfinished"));
        assert_eq!(shown().entries, 2);
    }
    let damaged = [&whole[..whole.len() - 1], b"\x0b"].concat();
    fs::write(&file, damaged).unwrap();
    let why = notes().unwrap_err();
    assert!(matches!(&why, Failure::Verification(text) if text.contains("entry 3 is whole")), "{why}");
}

#[test]
fn a_folder_without_a_ledger_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let why = find(folder.path()).unwrap_err().to_string();
    assert!(why.contains("holds no ledger"), "{why}");
}

#[test]
fn a_sealed_coordinators_run_is_shown_with_its_master_key_and_says_so_without() {
    let plain = published::samples::chain(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key");
    vault::make_master(&key).unwrap();
    let (master, data) = (MasterSource::File(key), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    // Beside the configuration, as `folkmoot coordinator init` makes it.
    let vault = std::sync::Arc::new(Vault::create(folder.path(), master.clone()).unwrap());
    let opened =
        store::FileStore::open_sealed(&data, store::JournalKind::Coordinator, vault, |_, _, _| Ok(()));
    let mut sealed = opened.unwrap().store;
    for round in [0, 1, 3] {
        let name = checkpoint::folder_name(round);
        let here = plain.path().join(checkpoint::CHECKPOINTS_FOLDER).join(&name);
        let files = [checkpoint::MANIFEST_FILE, checkpoint::SIGNATURE_FILE]
            .map(|file| (file, fs::read(here.join(file)).unwrap()));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (*file, &bytes[..])).collect();
        store::Store::publish(&mut sealed, &name, &files).unwrap();
    }
    let show = |master: Option<&MasterSource>, delta| {
        run(&Ledgers::Show { path: data.clone(), master: master.cloned(), delta, json: false })
    };
    show(Some(&master), None).unwrap();
    assert_eq!(coordinators::sealed_run(&data, &master).unwrap().1, 2, "rounds that were committed");
    let why = show(None, None).unwrap_err().to_string();
    assert!(why.contains("name the master key with --master"), "{why}");
    let why = show(Some(&master), Some(1e-6)).unwrap_err().to_string();
    assert!(why.contains("--delta"), "{why}");
    let other = folder.path().join("other.key");
    vault::make_master(&other).unwrap();
    assert!(show(Some(&MasterSource::File(other)), None).is_err());
}
