use accounting::Event;
use ledger::{Cost, Ledger, Limits, Release, Statement};

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
        unit: "record".into(),
        relation: "add or remove one record".into(),
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
fn runs_are_shown_apart_and_composed_and_the_total_is_more_than_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let shown = Shown::of(&file, None, None).unwrap();
    assert_eq!((shown.entries, shown.runs.len(), shown.total.debits), (3, 2, 3));
    assert_eq!(shown.total.delta, 1e-6, "the policy's");
    let [pld] = &shown.total.approximations[..] else { panic!("left out: {:?}", shown.total.left_out) };
    assert!(pld.epsilon < shown.total.epsilon && shown.text().contains("which gates nothing"));
    let epsilons: Vec<f64> = shown.runs.iter().map(|run| run.spent.epsilon).collect();
    assert!(epsilons[0] > epsilons[1] && shown.total.epsilon > epsilons[0], "{epsilons:?}");
    let text = shown.text();
    assert!(text.contains("data set      admissions") && text.contains("add or remove one record"), "{text}");
    assert!(Shown::of(&file, None, Some(2.0)).is_err());
}

fn opened_by_hand(label: &str, secret: &str, version: &Digest) -> Digest {
    let secret = hex::decode(secret).unwrap();
    let parts: [&[u8]; 3] = [label.as_bytes(), &secret, version.as_bytes()];
    let bytes: Vec<u8> =
        parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat()).collect();
    Digest::sha256(&bytes)
}

/// Commits to a version, and writes that down.
fn tell(ledger: &Ledger, run: &Digest, version: &Digest) -> Digest {
    ledger.declare("silo", run, Statement::Version(*version)).unwrap();
    ledger.commitment("silo", run, version).unwrap()
}

#[test]
fn what_was_told_in_each_run_is_opened_with_its_nonce_and_nothing_where_none_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let untold = Shown::of(&file, None, None).unwrap();
    assert!(untold.commitments.is_empty() && untold.runs.iter().all(|run| run.commitments.is_empty()));
    let version = Digest::sha256(b"data");
    let ledger = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    let shown = |run: &str| tell(&ledger, &Digest::sha256(run.as_bytes()), &version);
    let told = ["a", "b"].map(shown);
    let shown = Shown::of(&file, None, None).unwrap();
    for (run, told) in shown.runs.iter().zip(told) {
        let [opened] = &run.commitments[..] else { panic!("one version, whatever the number of rounds") };
        assert_eq!((&opened.commitment, &opened.version), (&told.to_string(), &version.to_string()));
        // As the help says, by hand.
        assert_eq!(opened_by_hand("folkmoot/v2/data-version", &opened.nonce, &version), told);
        assert!(!shown.text().contains(&opened.nonce));
    }
    // And what the first release would have told, for its cards.
    let [first] = &shown.commitments[..] else { panic!("one version, whatever the number of runs") };
    let by_hand = opened_by_hand("folkmoot/v1/data-version", &first.salt, &version);
    assert_eq!(first.commitment, by_hand.to_string());
    assert!(shown.text().contains("in each run, 2 in all") && !shown.text().contains(&first.salt));
}

#[test]
fn what_was_declared_in_a_run_without_an_upload_is_opened_too() {
    let folder = tempfile::tempdir().unwrap();
    let (joined, version) = (Digest::sha256(b"joined"), Digest::sha256(b"at joining"));
    let admissions = || Ledger::new(folder.path(), "admissions", None, None).unwrap();
    let declared = tell(&admissions(), &joined, &version);
    let opened = || {
        let shown = Shown::of(&find(folder.path()).unwrap(), None, None).unwrap();
        let [run] = &shown.runs_without_upload[..] else { panic!("one run") };
        let [opened] = &run.commitments[..] else { panic!("one version") };
        assert_eq!(run.run, joined.to_string());
        assert_eq!((&opened.commitment, &opened.version), (&declared.to_string(), &version.to_string()));
        assert_eq!(opened_by_hand("folkmoot/v2/data-version", &opened.nonce, &version), declared);
        shown
    };
    // Before anything was uploaded in any run there is no ledger.
    assert!(!admissions().path().exists());
    assert_eq!((opened().entries, opened().runs.len()), (0, 0));
    ledger(folder.path(), None);
    assert_eq!((opened().entries, opened().runs.len()), (3, 2));
    assert!(opened().text().contains("in each run, 3 in all"), "{}", opened().text());
    assert!(Shown::of(&folder.path().join("other.ledger"), None, None).is_err());
}

#[test]
fn a_sealed_silo_opens_its_commitments_with_its_master_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key");
    vault::make_master(&key).unwrap();
    let master = MasterSource::File(key);
    let vault = std::sync::Arc::new(Vault::create(folder.path(), master.clone()).unwrap());
    let sealed = Ledger::new(&folder.path().join("ledger"), "admissions", None, Some(vault)).unwrap();
    let limits = Limits { epsilon_max: 9.0, delta: 1e-6, period: None, releases_max: None };
    let (version, run) = (Digest::sha256(b"data"), Digest::sha256(b"a"));
    let told = tell(&sealed, &run, &version);
    let (untold, word) = (Digest::sha256(b"untold"), Digest::sha256(b"word"));
    sealed.declare("silo", &untold, Statement::Random(word)).unwrap();
    let shown = Shown::of(sealed.path(), Some(&master), None).unwrap();
    let [first, second] = &shown.runs_without_upload[..] else { panic!("two runs") };
    let (told_in, untold_in) = if first.run == run.to_string() { (first, second) } else { (second, first) };
    assert_eq!((&told_in.commitments[0].commitment, told_in.untold.len()), (&told.to_string(), 0));
    // So that an auditor with the card tells the silo's own word from another's.
    let [word_of] = &untold_in.untold[..] else { panic!("one word") };
    assert_eq!((&*word_of.daemon, &word_of.word), ("silo", &word.to_string()));
    assert!(untold_in.commitments.is_empty() && shown.text().contains("untold        1 random words"));
    assert!(
        !fs::read_to_string(folder.path().join("ledger/admissions.declared"))
            .unwrap()
            .contains(&version.to_string())
    );
    sealed.reserve(release("a", 1), None, &limits, 1).unwrap();
    let shown = Shown::of(sealed.path(), Some(&master), None).unwrap();
    let [opened] = &shown.runs[0].commitments[..] else { panic!("one version") };
    assert_eq!((&opened.commitment, &opened.version), (&told.to_string(), &version.to_string()));
    let salt = fs::read_to_string(folder.path().join("ledger/admissions.salt")).unwrap();
    assert!(!salt.contains(&shown.commitments[0].salt));
    let Err(why) = Shown::of(sealed.path(), None, None) else { panic!("shown without the key") };
    assert!(why.to_string().contains("--master"), "{why}");
}

#[test]
fn a_round_in_which_training_failed_is_shown_as_one_that_no_epsilon_covers() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let before = Shown::of(&file, None, None).unwrap();
    assert!(!before.text().contains("TRAINING FAILED"));
    let limits = Limits { epsilon_max: 9.0, delta: 1e-6, period: None, releases_max: None };
    let event = Event::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 1.0 };
    let ledger = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    ledger.reserve_failed(release("b", 2), Some(Cost { event, count: 1 }), &limits, 4).unwrap();
    let after = Shown::of(&file, None, None).unwrap();
    assert!(after.total.epsilon > before.total.epsilon);
    let text = after.text();
    assert!(
        text.contains("AND 1 ROUNDS IN WHICH TRAINING FAILED") && !text.contains("WITHOUT NOISE"),
        "{text}"
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
    let shown = || Shown::of(&file, None, None).unwrap();
    assert!(!notes().unwrap().contains("unfinished"));
    assert!(!shown().unfinished_line && !shown().text().contains("unfinished"));
    let zero = [&whole[..whole.len() - 9], &[0], &whole[whole.len() - 8..]].concat();
    for unfinished in [&whole[..whole.len() - 9], &zero] {
        fs::write(&file, unfinished).unwrap();
        assert!(notes().unwrap().contains("the last line is unfinished, and counted as no entry"));
        assert!(shown().unfinished_line && shown().text().contains("the last line is unfinished"));
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
