//! The keyring: wrong keys, missing and damaged files, and rotation while the vault is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use vault::{KEYRING_FILE, MasterRotation, MasterSource, Vault, VaultError, make_master};

fn master(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    make_master(&path).unwrap();
    path
}

fn source(path: &Path) -> MasterSource {
    MasterSource::File(path.to_owned())
}

/// A vault and something that it sealed.
struct Sealed {
    folder: tempfile::TempDir,
    master: PathBuf,
    vault: Vault,
    sealed: Vec<u8>,
}

impl Sealed {
    fn new() -> Sealed {
        let folder = tempfile::tempdir().unwrap();
        let master = master(folder.path(), "master.key");
        let vault = Vault::create(folder.path(), source(&master)).unwrap();
        let sealed = vault.seal(b"here", b"three").unwrap();
        Sealed { folder, master, vault, sealed }
    }

    fn keyring(&self) -> PathBuf {
        self.folder.path().join(KEYRING_FILE)
    }

    /// Every file, to see that an error left all as it was.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .filter(|path| !path.ends_with("keys.lock"))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn reopened(&self) -> Result<Vault, VaultError> {
        Vault::open_folder(self.folder.path(), source(&self.master))
    }
}

/// What every way in answers; nothing may change on disk.
fn refusals(sealed: &Sealed, with: &MasterSource) -> Vec<VaultError> {
    let before = sealed.files();
    let folder = sealed.folder.path();
    let mut errors = vec![
        Vault::open_folder(folder, with.clone()).unwrap_err(),
        Vault::open_or_create(folder, with.clone(), true).unwrap_err(),
    ];
    let new = tempfile::tempdir().unwrap();
    let new = master(new.path(), "new.key");
    if *with == source(&sealed.master) {
        errors.push(sealed.vault.rotate_data_key().unwrap_err());
        errors.push(sealed.vault.add_master(&source(&new)).unwrap_err());
        errors.push(sealed.vault.retire_other_masters().unwrap_err());
    }
    let folders = [folder.to_owned()];
    errors.push(MasterRotation::new(&folders, with, &new).unwrap().run().unwrap_err());
    assert_eq!(sealed.files(), before, "an error must change nothing");
    errors
}

#[test]
fn another_master_key_is_named_and_changes_nothing() {
    let sealed = Sealed::new();
    let other = tempfile::tempdir().unwrap();
    let other = source(&master(other.path(), "other.key"));
    for error in refusals(&sealed, &other) {
        assert!(matches!(&error, VaultError::WrongMaster { origin, .. } if *origin == other), "{error}");
        let text = error.to_string();
        assert!(text.contains("other.key`") && text.contains("keys.json`"), "{text}");
    }
    assert_eq!(sealed.reopened().unwrap().open(b"here", &sealed.sealed).unwrap().as_slice(), b"three");
}

#[test]
fn a_missing_master_key_is_named_and_changes_nothing() {
    let sealed = Sealed::new();
    fs::remove_file(&sealed.master).unwrap();
    for error in refusals(&sealed, &source(&sealed.master)) {
        assert!(matches!(&error, VaultError::MasterMissing { .. }), "{error}");
        assert!(error.to_string().contains("master.key`"), "{error}");
    }
}

#[test]
fn a_missing_keyring_beside_sealed_data_is_never_made_anew() {
    let sealed = Sealed::new();
    fs::remove_file(sealed.keyring()).unwrap();
    for error in refusals(&sealed, &source(&sealed.master)) {
        assert!(matches!(&error, VaultError::KeyringMissing(path) if *path == sealed.keyring()), "{error}");
    }
    assert!(matches!(sealed.vault.seal(b"here", b"x"), Err(VaultError::KeyringMissing(_))));
    assert!(sealed.vault.open(b"here", &sealed.sealed).is_ok(), "what is open can still be read");
    assert!(Vault::open_or_create(sealed.folder.path(), source(&sealed.master), false).is_ok());
}

#[test]
fn a_new_folder_is_made_only_once_the_master_key_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("a/b"), folder.path().join("master.key"));
    let missing = Vault::open_or_create(&data, source(&file), false);
    assert!(matches!(missing, Err(VaultError::MasterMissing { .. })));
    assert!(!folder.path().join("a").exists());
    make_master(&file).unwrap();
    assert_eq!(Vault::open_or_create(&data, source(&file), false).unwrap().active_key().unwrap(), 1);
    let again = Vault::open_or_create(&data, source(&file), false).unwrap();
    assert_eq!(again.rotate_data_key().unwrap(), 2, "the same keyring, and no new one");
}

#[test]
fn a_keyring_is_never_replaced_by_a_new_one() {
    let sealed = Sealed::new();
    let before = sealed.files();
    let again = Vault::create(sealed.folder.path(), source(&sealed.master));
    assert!(matches!(again, Err(VaultError::Exists(_))));
    assert_eq!(sealed.files(), before);
}

#[test]
fn a_keyring_with_any_bit_flipped_or_cut_anywhere_is_called_damaged() {
    let sealed = Sealed::new();
    let good = fs::read(sealed.keyring()).unwrap();
    let format = good.windows(10).position(|bytes| bytes == b"folkmoot/v").unwrap();
    let damaged = |bytes: &[u8], case: &str| {
        fs::write(sealed.keyring(), bytes).unwrap();
        match sealed.reopened() {
            Err(VaultError::KeyringDamaged { .. }) => {}
            // A later number is taken for one, and that a backup may help is said too.
            Err(why @ VaultError::KeyringFormat { .. }) if good[..format + 10] == bytes[..format + 10] => {
                assert!(why.to_string().contains("restore it from a backup"), "{case}: {why}");
            }
            other => panic!("{case}: {other:?}"),
        }
        assert_eq!(fs::read(sealed.keyring()).unwrap(), bytes);
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        damaged(&bad, &format!("bit {bit}"));
    }
    for kept in 0..good.len() {
        damaged(&good[..kept], &format!("cut at {kept}"));
    }
    for error in refusals(&sealed, &source(&sealed.master)) {
        assert!(matches!(&error, VaultError::KeyringDamaged { .. }), "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
    }
    fs::write(sealed.keyring(), &good).unwrap();
    assert!(sealed.reopened().is_ok());
}

#[test]
fn a_new_data_key_seals_at_once_in_every_process_and_older_ones_stay_readable() {
    let sealed = Sealed::new();
    let other = sealed.reopened().unwrap();
    assert_eq!(other.rotate_data_key().unwrap(), 2);
    assert_eq!(sealed.vault.active_key().unwrap(), 2);
    let newer = sealed.vault.seal(b"here", b"five").unwrap();
    assert_ne!(newer[5..9], sealed.sealed[5..9], "the key's id");
    let third = sealed.reopened().unwrap();
    assert_eq!(third.rotate_data_key().unwrap(), 3);
    let newest = third.seal(b"here", b"seven").unwrap();
    for vault in [&sealed.vault, &other, &third, &sealed.reopened().unwrap()] {
        assert_eq!(vault.open(b"here", &sealed.sealed).unwrap().as_slice(), b"three");
        assert_eq!(vault.open(b"here", &newer).unwrap().as_slice(), b"five");
        assert_eq!(vault.open(b"here", &newest).unwrap().as_slice(), b"seven");
    }
}

#[test]
fn what_a_keyring_does_not_hold_is_named_by_its_key() {
    let sealed = Sealed::new();
    let old = fs::read(sealed.keyring()).unwrap();
    sealed.vault.rotate_data_key().unwrap();
    let newer = sealed.vault.seal(b"here", b"five").unwrap();
    fs::write(sealed.keyring(), old).unwrap();
    assert!(matches!(sealed.reopened().unwrap().open(b"here", &newer), Err(VaultError::UnknownKey(2))));
    let (one, two) = (Sealed::new(), Sealed::new());
    assert!(matches!(two.vault.open(b"here", &one.sealed), Err(VaultError::Refused)));
}

#[test]
fn a_master_rotation_cut_after_any_step_leaves_all_readable_and_can_be_repeated() {
    for steps in 0..=4 {
        let one = Sealed::new();
        let two = tempfile::tempdir().unwrap();
        let second = Vault::create(two.path(), source(&one.master)).unwrap();
        let sealed_there = second.seal(b"there", b"five").unwrap();
        let new = master(one.folder.path(), "new.key");
        let old_text = fs::read(&one.master).unwrap();
        let folders = [one.folder.path().to_owned(), two.path().to_owned()];
        let from = source(&one.master);
        let all_readable = |case: &str| {
            for vault in [&one.vault, &one.reopened().unwrap_or_else(|why| panic!("{case}: {why}"))] {
                assert_eq!(vault.open(b"here", &one.sealed).unwrap().as_slice(), b"three", "{case}");
                vault.seal(b"here", b"x").unwrap_or_else(|why| panic!("{case}: {why}"));
            }
            let reopened = Vault::open_folder(two.path(), from.clone()).unwrap();
            assert_eq!(reopened.open(b"there", &sealed_there).unwrap().as_slice(), b"five", "{case}");
        };
        let mut rotation = MasterRotation::new(&folders, &from, &new).unwrap();
        for step in 0..steps {
            assert_eq!(rotation.step().unwrap(), step < 3);
        }
        all_readable(&format!("after {steps} steps"));
        if (1..4).contains(&steps) {
            assert!(matches!(one.vault.rotate_data_key(), Err(VaultError::RotationOpen(_))));
        }
        MasterRotation::new(&folders, &from, &new).unwrap().run().unwrap();
        all_readable("at the end");
        assert_eq!(fs::read(&one.master).unwrap(), fs::read(&new).unwrap());
        let previous = one.folder.path().join("master.key.previous");
        assert_eq!(fs::read(&previous).unwrap(), old_text, "the old key is kept, and never overwritten");
        for folder in &folders {
            let error = Vault::open_folder(folder, source(&previous)).unwrap_err();
            assert!(matches!(error, VaultError::WrongMaster { .. }), "the old key opens nothing: {error}");
        }
        one.vault.rotate_data_key().unwrap();
    }
}

#[test]
fn a_rotation_refuses_to_lose_an_older_previous_key() {
    let sealed = Sealed::new();
    let new = master(sealed.folder.path(), "new.key");
    let previous = master(sealed.folder.path(), "master.key.previous");
    let kept = (fs::read(&previous).unwrap(), fs::read(&sealed.master).unwrap());
    let folders = [sealed.folder.path().to_owned()];
    let from = source(&sealed.master);
    let error = MasterRotation::new(&folders, &from, &new).unwrap().run().unwrap_err();
    assert!(matches!(&error, VaultError::Exists(path) if *path == previous), "{error}");
    assert_eq!((fs::read(&previous).unwrap(), fs::read(&sealed.master).unwrap()), kept);
    assert!(sealed.reopened().is_ok());
}

#[test]
fn a_source_that_is_no_file_is_rotated_by_its_owner_in_two_calls() {
    let sealed = Sealed::new();
    assert!(MasterRotation::new(&[], &MasterSource::Credential("m".into()), Path::new("n")).is_none());
    let new = master(sealed.folder.path(), "new.key");
    sealed.vault.add_master(&source(&new)).unwrap();
    sealed.vault.add_master(&source(&new)).unwrap();
    let reopened = Vault::open_folder(sealed.folder.path(), source(&new)).unwrap();
    assert!(sealed.reopened().is_ok(), "both open it");
    reopened.retire_other_masters().unwrap();
    assert!(matches!(sealed.reopened(), Err(VaultError::WrongMaster { .. })));
    assert_eq!(reopened.open(b"here", &sealed.sealed).unwrap().as_slice(), b"three");
    // The process that still has the old one reads on, and refuses to seal what it could not open after a restart.
    assert!(sealed.vault.open(b"here", &sealed.sealed).is_ok());
    assert!(matches!(sealed.vault.seal(b"here", b"x"), Err(VaultError::WrongMaster { .. })));
}

#[test]
fn sealing_and_opening_go_on_while_data_keys_and_master_keys_are_rotated() {
    let sealed = Sealed::new();
    let spare = tempfile::tempdir().unwrap();
    let ended = AtomicBool::new(false);
    let folders = [sealed.folder.path().to_owned()];
    let from = source(&sealed.master);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut all = vec![sealed.sealed.clone()];
                    while !ended.load(Ordering::SeqCst) {
                        all.push(sealed.vault.seal(b"here", b"three").unwrap());
                        for one in all.iter().rev().take(3) {
                            assert_eq!(sealed.vault.open(b"here", one).unwrap().as_slice(), b"three");
                        }
                    }
                    all
                })
            })
            .collect();
        for round in 0..20 {
            sealed.reopened().unwrap().rotate_data_key().unwrap();
            let new = master(spare.path(), &format!("{round}"));
            MasterRotation::new(&folders, &from, &new).unwrap().run().unwrap();
            fs::remove_file(sealed.folder.path().join("master.key.previous")).unwrap();
        }
        ended.store(true, Ordering::SeqCst);
        let reopened = sealed.reopened().unwrap();
        assert_eq!(reopened.active_key().unwrap(), 21);
        for worker in workers {
            for one in worker.join().unwrap() {
                assert_eq!(reopened.open(b"here", &one).unwrap().as_slice(), b"three");
            }
        }
    });
}

#[test]
fn a_passphrase_opens_its_keyring_and_another_does_not() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        MasterSource::PassphraseFile(path)
    };
    let right = written("right", "correct horse battery\n");
    let wrong = written("wrong", "correct horse batterx\n");
    let sealed = Vault::create(folder.path(), right.clone()).unwrap().seal(b"here", b"three").unwrap();
    let reopened = Vault::open_folder(folder.path(), right).unwrap();
    assert_eq!(reopened.open(b"here", &sealed).unwrap().as_slice(), b"three");
    let error = Vault::open_folder(folder.path(), wrong).unwrap_err();
    assert!(matches!(&error, VaultError::WrongMaster { .. }), "{error}");
}

#[test]
fn a_keyring_of_a_later_format_is_refused_by_its_number_and_not_called_damaged() {
    let sealed = Sealed::new();
    let text = fs::read_to_string(sealed.keyring()).unwrap();
    let later =
        text.replacen("folkmoot/v1/keyring", "folkmoot/v2/keyring", 1).replacen('{', "{\"unheard\": [1],", 1);
    fs::write(sealed.keyring(), &later).unwrap();
    let why = Vault::open_folder(sealed.folder.path(), source(&sealed.master)).unwrap_err().to_string();
    assert!(why.contains("folkmoot/v2/keyring") && why.contains("folkmoot/v1/keyring"), "{why}");
    assert!(why.contains("install a newer release") && !why.contains("damaged"), "{why}");
    assert_eq!(fs::read_to_string(sealed.keyring()).unwrap(), later, "nothing was changed");
}
