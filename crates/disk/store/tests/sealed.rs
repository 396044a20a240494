//! A sealed store: nothing of it is readable on disk, nothing is mixed, and nothing can be moved or changed unseen.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use params::Digest;
use store::{FileStore, JournalError, JournalKind, Published, StageKey, Staged, Store, StoreError};
use vault::{KEYRING_FILE, MasterSource, Vault, VaultError, make_master};

const KIND: JournalKind = JournalKind::Coordinator;
const MARKER: &[u8] = b"an unlikely marker";

fn new_vault(folder: &Path) -> Arc<Vault> {
    let master = folder.join("master.key");
    make_master(&master).unwrap();
    Arc::new(Vault::create(folder, MasterSource::File(master)).unwrap())
}

fn open(folder: &Path, vault: &Arc<Vault>) -> Result<FileStore, StoreError> {
    FileStore::open_sealed(folder, KIND, vault.clone(), |_, _, _| Ok(())).map(|opened| opened.store)
}

fn key(client: u32) -> StageKey {
    let what = Staged::Upload { clients: Digest::sha256(b"r2"), client };
    StageKey { round: 1, attempt: 0, what }
}

fn staged(folder: &Path, client: u32, ending: &str) -> PathBuf {
    folder.join(format!("staged/000001/0-{}-{client}.{ending}", Digest::sha256(b"r2")))
}

/// A folder with something in each of its parts.
fn filled() -> (tempfile::TempDir, Arc<Vault>) {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let mut store = open(folder.path(), &vault).unwrap();
    fill(&mut store);
    (folder, vault)
}

fn fill(store: &mut FileStore) {
    store.append_all(&[MARKER.to_vec(), MARKER.to_vec()]).unwrap();
    for client in [7, 8] {
        let mut writer = store.stage(&key(client)).unwrap();
        // In pieces that cut the marker, and whole.
        MARKER.chunks(5).for_each(|piece| writer.append(piece).unwrap());
        writer.append(MARKER).unwrap();
        if client == 7 {
            writer.commit().unwrap();
        }
    }
    for name in ["000001", "000002"] {
        store.publish(name, &[("model", MARKER), ("manifest", MARKER)]).unwrap();
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    found.sort();
    found
}

fn holding(folder: &Path, marker: &[u8]) -> Vec<PathBuf> {
    let holds = |bytes: &[u8]| bytes.windows(marker.len()).any(|window| window == marker);
    files(folder).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect()
}

fn vault_error(error: StoreError) -> VaultError {
    match error {
        StoreError::Vault { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_byte_of_a_record_a_vector_or_a_model_lies_on_disk_in_the_clear() {
    let (sealed, _vault) = filled();
    assert!(holding(sealed.path(), MARKER).is_empty(), "{:?}", holding(sealed.path(), MARKER));
    assert!(holding(sealed.path(), &MARKER[..5]).is_empty());
    let plain = tempfile::tempdir().unwrap();
    fill(&mut FileStore::open(plain.path(), KIND, |_, _, _| Ok(())).unwrap().store);
    // The journal, two vectors, two times two published files: the search itself finds what is there.
    assert_eq!(holding(plain.path(), MARKER).len(), 7);
}

#[test]
fn the_index_is_rebuilt_from_opened_records() {
    let (folder, vault) = filled();
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let mut seen = Vec::new();
    FileStore::open_sealed(folder.path(), KIND, vault, |_, sequence, record| {
        seen.push((sequence, record.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [(1, MARKER.to_vec()), (2, MARKER.to_vec())]);
}

#[test]
fn a_plain_folder_is_not_opened_sealed_nor_a_sealed_one_plain_and_neither_is_changed() {
    let (sealed, vault) = filled();
    let before = fs::read(sealed.path().join("journal")).unwrap();
    let error = FileStore::open(sealed.path(), KIND, |_, _, _| Ok(())).unwrap_err();
    assert!(matches!(&error, StoreError::Journal(JournalError::Sealed { .. })), "{error}");
    assert!(error.to_string().contains("configure the master key"), "{error}");
    assert_eq!(fs::read(sealed.path().join("journal")).unwrap(), before);
    assert!(FileStore::is_sealed(sealed.path()).unwrap());
    assert!(open(sealed.path(), &vault).is_ok());

    let plain = tempfile::tempdir().unwrap();
    assert!(!FileStore::is_sealed(plain.path()).unwrap());
    fill(&mut FileStore::open(plain.path(), KIND, |_, _, _| Ok(())).unwrap().store);
    let before = fs::read(plain.path().join("journal")).unwrap();
    let error = open(plain.path(), &vault).unwrap_err();
    assert!(matches!(&error, StoreError::Journal(JournalError::NotSealed { .. })), "{error}");
    assert!(error.to_string().contains("in the clear"), "{error}");
    assert_eq!(fs::read(plain.path().join("journal")).unwrap(), before);
    assert!(!FileStore::is_sealed(plain.path()).unwrap());
}

#[test]
fn another_keyring_is_refused_before_anything_is_appended() {
    let (folder, _) = filled();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = new_vault(elsewhere.path());
    let before = fs::read(folder.path().join("journal")).unwrap();
    assert!(matches!(vault_error(open(folder.path(), &other).unwrap_err()), VaultError::Refused));
    assert_eq!(fs::read(folder.path().join("journal")).unwrap(), before);
}

#[test]
fn a_lost_keyring_stops_the_store_that_is_open() {
    let (folder, vault) = filled();
    let mut store = open(folder.path(), &vault).unwrap();
    fs::remove_file(folder.path().join(KEYRING_FILE)).unwrap();
    assert!(matches!(vault_error(store.append(b"x").unwrap_err()), VaultError::KeyringMissing(_)));
    assert_eq!(store.replay().unwrap().len(), 2, "what it holds can still be read");
}

#[test]
fn exchanged_published_files_and_vectors_are_refused() {
    let (folder, vault) = filled();
    let mut store = open(folder.path(), &vault).unwrap();
    let published = folder.path().join("checkpoints");
    fs::copy(published.join("000001/model"), published.join("000002/model")).unwrap();
    fs::copy(published.join("000001/model"), published.join("000001/manifest")).unwrap();
    for (name, file) in [("000002", "model"), ("000001", "manifest")] {
        let error = store.read_published(name, file).unwrap_err();
        assert!(error.to_string().contains(&format!("{name}/{file}")), "{error}");
        assert!(matches!(vault_error(error), VaultError::Refused));
        assert!(store.publish(name, &[("model", MARKER), ("manifest", MARKER)]).is_err(), "not overwritten");
    }
    fs::copy(staged(folder.path(), 7, "vector"), staged(folder.path(), 9, "vector")).unwrap();
    assert!(matches!(vault_error(store.staged_bytes(&key(9)).unwrap_err()), VaultError::Refused));
    assert!(store.stage(&key(9)).is_err());
    let mut read = Vec::new();
    assert!(store.open_staged(&key(9)).unwrap().read_to_end(&mut read).is_err());
    assert!(read.is_empty());
}

#[test]
fn published_files_are_read_beside_the_store_that_holds_the_lock() {
    let (folder, vault) = filled();
    let _held = open(folder.path(), &vault).unwrap();
    let published = |vault| Published::new(folder.path().join("checkpoints"), vault);
    let beside = published(Some(vault.clone()));
    assert_eq!(beside.names().unwrap(), ["000001", "000002"]);
    assert_eq!(beside.files("000001").unwrap(), ["manifest", "model"]);
    assert_eq!(beside.read("000001", "model").unwrap(), MARKER);
    assert!(matches!(beside.read("000001", "absent"), Err(StoreError::NotPublished { .. })));
    assert_ne!(published(None).read("000001", "model").unwrap(), MARKER);
}

#[test]
fn a_vector_cut_anywhere_fails_instead_of_ending_early() {
    let (folder, vault) = filled();
    let store = open(folder.path(), &vault).unwrap();
    let path = staged(folder.path(), 7, "vector");
    let whole = fs::read(&path).unwrap();
    assert_eq!(store.staged_bytes(&key(7)).unwrap(), Some(2 * MARKER.len() as u64));
    for kept in 0..whole.len() {
        fs::write(&path, &whole[..kept]).unwrap();
        assert!(store.staged_bytes(&key(7)).is_err(), "at {kept}");
        let mut read = Vec::new();
        let failed = match store.open_staged(&key(7)) {
            Ok(mut reader) => reader.read_to_end(&mut read).is_err(),
            Err(_) => true,
        };
        assert!(failed, "at {kept}");
    }
}

#[test]
fn an_upload_torn_anywhere_is_resumed_from_genuine_bytes() {
    let (folder, vault) = filled();
    let vector = MARKER.repeat(2);
    let path = staged(folder.path(), 8, "part");
    let torn = fs::read(&path).unwrap();
    let committed = fs::read(staged(folder.path(), 7, "vector")).unwrap();
    let mut store = open(folder.path(), &vault).unwrap();
    let resume = |store: &mut FileStore, start: &[u8], case: &str| {
        fs::write(&path, start).unwrap();
        let mut writer = store.stage(&key(8)).unwrap();
        let received = writer.received_bytes() as usize;
        let mut read = Vec::new();
        writer.received().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, vector[..received], "{case}");
        writer.append(&vector[received..]).unwrap();
        drop(writer);
        let writer = store.stage(&key(8)).unwrap();
        assert_eq!(writer.received_bytes() as usize, vector.len(), "{case}");
        writer.commit().unwrap();
        let mut read = Vec::new();
        store.open_staged(&key(8)).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, vector, "{case}");
        fs::remove_file(staged(folder.path(), 8, "vector")).unwrap();
        received
    };
    let mut most = 0;
    for kept in 0..=torn.len() {
        let received = resume(&mut store, &torn[..kept], &format!("cut at {kept}"));
        assert!(received >= most, "at {kept}");
        most = received;
    }
    assert_eq!(most, vector.len());
    // A crash between the last bytes of a commit and its rename.
    store.stage(&key(8)).unwrap().append(&vector).unwrap();
    store.stage(&key(8)).unwrap().commit().unwrap();
    let finished = fs::read(staged(folder.path(), 8, "vector")).unwrap();
    fs::remove_file(staged(folder.path(), 8, "vector")).unwrap();
    assert_eq!(resume(&mut store, &finished, "finished"), vector.len());
    // What a power cut leaves may be anything.
    assert_eq!(resume(&mut store, &vec![0; torn.len()], "zeros"), 0);
    assert_eq!(resume(&mut store, &committed, "another client's"), 0);
}
