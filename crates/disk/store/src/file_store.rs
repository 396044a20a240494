//! The default store: a folder on a local disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vault::Vault;
use vault::files::{self, AS_UMASK};

use crate::disk::{self, failed};
use crate::faulty::Tear;
use crate::frame::{Form, Head, JournalKind};
use crate::index::{Index, OpenedIndex};
use crate::journal::{Journal, TornTail};
use crate::published::{CHECKPOINTS, Published};
use crate::seal::Seal;
use crate::staging::Staging;
use crate::{StageKey, StageWriter, Store, StoreError};

/// A store in a folder; see the crate's documentation for what lies in it.
#[derive(Debug)]
pub struct FileStore {
    journal: Journal,
    index: Index,
    staging: Staging,
    published: Published,
    seal: Option<Seal>,
    // Held until the store is dropped; the file itself stays.
    _lock: File,
}

/// What [`FileStore::open`] found.
#[derive(Debug)]
pub struct OpenedStore {
    pub store: FileStore,
    /// The append that a crash had cut short, if any; it is gone.
    pub torn_tail: Option<TornTail>,
    /// Where the index that did not open is now, if it did not.
    pub index_set_aside: Option<PathBuf>,
}

impl FileStore {
    /// Opens or creates the store in `folder`.
    ///
    /// `rebuild` is called with each record, first to last, when the index is new or in doubt, and puts what
    /// the record means for it; callers without an index pass `|_, _, _| Ok(())`.
    ///
    /// # Errors
    ///
    /// A folder in use; a journal of another kind or version, or damaged before its last append; a disk that
    /// fails; an error of `rebuild`.
    pub fn open(
        folder: &Path,
        kind: JournalKind,
        rebuild: impl FnMut(&Index, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<OpenedStore, StoreError> {
        FileStore::open_with(folder, kind, None, rebuild)
    }

    /// As [`FileStore::open`], for a folder whose records, vectors and published files are sealed by `vault`.
    ///
    /// What lies in the clear is how many, how large and when, the names of files (rounds, attempts, digests of
    /// cohorts, clients' numbers) and the index: put nothing into it that only silos may know. Every record is opened
    /// before the store is used, so that a wrong keyring never appends to it.
    ///
    /// # Errors
    ///
    /// As [`FileStore::open`]; a folder whose journal is in the clear; a record that the vault does not open.
    pub fn open_sealed(
        folder: &Path,
        kind: JournalKind,
        vault: Arc<Vault>,
        rebuild: impl FnMut(&Index, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<OpenedStore, StoreError> {
        FileStore::open_sealed_in(folder, kind, vault, "", rebuild)
    }

    /// As [`FileStore::open_sealed`], for one of several stores under the same vault: what is written is bound to `place`, so that
    /// a record or a vector of one store is none of another. The first store's place is empty.
    ///
    /// # Errors
    ///
    /// As [`FileStore::open_sealed`]; a store that was written in another place.
    pub fn open_sealed_in(
        folder: &Path,
        kind: JournalKind,
        vault: Arc<Vault>,
        place: &str,
        rebuild: impl FnMut(&Index, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<OpenedStore, StoreError> {
        FileStore::open_with(folder, kind, Some(Seal::new(vault, kind, place)), rebuild)
    }

    /// The records in `folder` that are whole at this moment, first to last, and none where there is no journal. Takes no lock and
    /// changes nothing: a daemon may be at work in it. `vault` is the one that they were sealed with, if they were.
    ///
    /// # Errors
    ///
    /// A journal of another kind or version, or damaged before its last append; a record that the vault does not open; a disk that
    /// fails.
    pub fn look(
        folder: &Path,
        kind: JournalKind,
        vault: Option<Arc<Vault>>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let path = folder.join("journal");
        if !path.try_exists().map_err(failed("look for", &path))? {
            return Ok(Vec::new());
        }
        let seal = vault.map(|vault| Seal::new(vault, kind, ""));
        let mut records = Vec::new();
        Journal::look(&path, Form::new(kind, seal.is_some()), &mut |sequence, record| {
            records.push(match &seal {
                Some(seal) => seal.open_record(sequence, record),
                None => Ok(record.to_vec()),
            });
        })?;
        records.into_iter().collect()
    }

    /// Whether `folder` holds a sealed store, whose keyring is never to be made anew.
    ///
    /// # Errors
    ///
    /// A journal that cannot be read.
    pub fn is_sealed(folder: &Path) -> Result<bool, StoreError> {
        Ok(Journal::is_sealed(&folder.join("journal"))?)
    }

    fn open_with(
        folder: &Path,
        kind: JournalKind,
        seal: Option<Seal>,
        mut rebuild: impl FnMut(&Index, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<OpenedStore, StoreError> {
        let was_there = folder.is_dir();
        files::make_folders(folder).map_err(failed("create", folder))?;
        match disk::sync_parent(folder) {
            // Whoever may not open the folder above did not make this one, or did so before it gave that up.
            Err(why) if was_there && why.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(failed("fsync the parent of", folder))?,
        }
        let lock = lock(folder)?;
        let (journal, torn_tail) =
            Journal::open_as(&folder.join("journal"), Form::new(kind, seal.is_some()))?;
        let OpenedIndex { index, must_rebuild, set_aside } =
            Index::open(&folder.join("index"), &journal.head())?;
        if must_rebuild || seal.is_some() {
            visit(&journal, seal.as_ref(), |sequence, record| match must_rebuild {
                true => rebuild(&index, sequence, record),
                false => Ok(()),
            })?;
        }
        let staging = Staging::open(folder.join("staged"), seal.clone())?;
        let checkpoints = folder.join(CHECKPOINTS);
        disk::create_folder(&checkpoints).map_err(failed("create", &checkpoints))?;
        let published = Published::new(checkpoints, seal.as_ref().map(Seal::vault));
        let store = FileStore { journal, index, staging, published, seal, _lock: lock };
        Ok(OpenedStore { store, torn_tail, index_set_aside: set_aside })
    }
}

impl Store for FileStore {
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        match self.sealed(records)? {
            Some(sealed) => Ok(self.journal.append(&sealed)?),
            None => Ok(self.journal.append(records)?),
        }
    }

    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut records = Vec::new();
        visit(&self.journal, self.seal.as_ref(), |_, record| {
            records.push(record.to_vec());
            Ok(())
        })?;
        Ok(records)
    }

    fn head(&self) -> Head {
        self.journal.head()
    }

    fn stage(&mut self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError> {
        self.staging.stage(key)
    }

    fn staged_bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        self.staging.bytes(key)
    }

    fn open_staged(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        self.staging.open_vector(key)
    }

    fn discard_staged_before(&mut self, round: u64) -> Result<(), StoreError> {
        self.staging.discard_before(round)
    }

    fn publish(&mut self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        self.published.publish(name, files)
    }

    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        self.published.read(name, file)
    }

    fn published_files(&self, name: &str) -> Result<Vec<String>, StoreError> {
        self.published.files(name)
    }

    fn list_published(&self) -> Result<Vec<String>, StoreError> {
        self.published.names()
    }

    fn index_put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.index.put(tree, key, value)
    }

    fn index_get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.index.get(tree, key)
    }
}

impl Tear for FileStore {
    fn append_torn(&mut self, records: &[Vec<u8>], keep: usize) -> Result<(), StoreError> {
        let sealed = self.sealed(records)?;
        let records = sealed.as_deref().unwrap_or(records);
        self.journal.append_torn(records, keep).map_err(failed("tear", Path::new("journal")))
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // An index without its mark is rebuilt next time: slower, not wrong.
        if let Err(error) = self.index.close(&self.journal.head()) {
            tracing::warn!(%error, "the index could not be closed in order");
        }
    }
}

impl FileStore {
    /// The records as a sealed journal holds them; none when it holds them as they are.
    fn sealed(&self, records: &[Vec<u8>]) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let Some(seal) = &self.seal else { return Ok(None) };
        let sequences = self.journal.head().sequence + 1..;
        sequences
            .zip(records)
            .map(|(sequence, record)| seal.record(sequence, record))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// Visits every record as it was appended, until the first error.
fn visit(
    journal: &Journal,
    seal: Option<&Seal>,
    mut act: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut result = Ok(());
    journal.replay(&mut |sequence, record| {
        if result.is_ok() {
            result = match seal {
                Some(seal) => seal.open_record(sequence, record).and_then(|record| act(sequence, &record)),
                None => act(sequence, record),
            };
        }
    })?;
    result
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let opened = files::open_or_make(&path, OpenOptions::new().write(true), AS_UMASK);
    let file = opened.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KIND: JournalKind = JournalKind::Coordinator;

    /// Indexes each record's bytes under itself, and counts how many it was asked to.
    fn open_counting(folder: &Path) -> (OpenedStore, u64) {
        let mut rebuilt = 0;
        let opened = FileStore::open(folder, KIND, |index, sequence, record| {
            rebuilt += 1;
            index.put("records", record, &sequence.to_le_bytes())
        });
        (opened.unwrap(), rebuilt)
    }

    fn append_indexed(store: &mut FileStore, record: &[u8]) {
        let sequence = store.append(record).unwrap();
        store.index_put("records", record, &sequence.to_le_bytes()).unwrap();
    }

    fn indexed(store: &FileStore, record: &[u8]) -> Option<u64> {
        let value = store.index_get("records", record).unwrap();
        value.map(|value| u64::from_le_bytes(value.try_into().unwrap()))
    }

    #[test]
    fn a_second_opener_is_refused_with_the_folders_name() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = open_counting(folder.path());
        let error = FileStore::open(folder.path(), KIND, |_, _, _| Ok(())).unwrap_err();
        assert!(matches!(&error, StoreError::Locked { folder: named } if named == folder.path()));
        assert!(error.to_string().contains(&folder.path().display().to_string()));
        drop(first);
        open_counting(folder.path());
    }

    #[test]
    fn what_is_held_is_looked_at_as_far_as_it_is_whole_and_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let look = |kind| FileStore::look(folder.path(), kind, None);
        assert!(look(JournalKind::Client).unwrap().is_empty(), "there is nothing yet");
        let opened = FileStore::open(folder.path(), JournalKind::Client, |_, _, _| Ok(())).unwrap();
        let mut held = opened.store;
        held.append_all(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
        held.append_torn(&[b"three".to_vec()], 20).unwrap();
        let before = fs::read(folder.path().join("journal")).unwrap();
        assert_eq!(look(JournalKind::Client).unwrap(), [b"one", b"two"]);
        assert_eq!(fs::read(folder.path().join("journal")).unwrap(), before);
        assert!(look(JournalKind::Coordinator).is_err(), "it is another's");
    }

    #[test]
    fn an_index_closed_in_order_is_kept_and_any_other_is_rebuilt() {
        let folder = tempfile::tempdir().unwrap();
        let (mut opened, rebuilt) = open_counting(folder.path());
        assert_eq!(rebuilt, 0);
        append_indexed(&mut opened.store, b"two");
        append_indexed(&mut opened.store, b"three");
        drop(opened);

        let (opened, rebuilt) = open_counting(folder.path());
        assert_eq!((rebuilt, indexed(&opened.store, b"three")), (0, Some(2)));
        // A crash: the store never reaches its drop, and the index holds an entry that no record explains.
        let mut store = std::mem::ManuallyDrop::new(opened.store);
        store.index_put("records", b"stale", &[0; 8]).unwrap();
        store.index.flush().unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());

        let (opened, rebuilt) = open_counting(copy.path());
        assert_eq!((rebuilt, indexed(&opened.store, b"two")), (2, Some(1)));
        assert_eq!(indexed(&opened.store, b"stale"), None);
        drop(std::mem::ManuallyDrop::into_inner(store));
    }

    #[test]
    fn an_index_that_lags_behind_the_journal_is_rebuilt() {
        let folder = tempfile::tempdir().unwrap();
        let (mut opened, _) = open_counting(folder.path());
        append_indexed(&mut opened.store, b"two");
        drop(opened);
        let (mut journal, _) = Journal::open(&folder.path().join("journal"), KIND).unwrap();
        journal.append(&[b"three".to_vec()]).unwrap();
        let (opened, rebuilt) = open_counting(folder.path());
        assert_eq!((rebuilt, indexed(&opened.store, b"three")), (2, Some(2)));
    }

    #[test]
    fn an_index_of_garbage_is_set_aside_and_rebuilt() {
        type Damage = fn(&Path);
        let damages: [Damage; 4] = [
            |index| {
                fs::remove_dir_all(index).unwrap();
                fs::write(index, b"garbage").unwrap();
            },
            |index| fs::write(index.join("conf"), b"garbage of some length").unwrap(),
            |index| {
                fs::remove_file(index.join("conf")).unwrap();
                fs::create_dir(index.join("conf")).unwrap();
            },
            |index| {
                fs::remove_file(index.join("db")).unwrap();
                fs::create_dir(index.join("db")).unwrap();
            },
        ];
        for (case, damage) in damages.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let (mut opened, _) = open_counting(folder.path());
            append_indexed(&mut opened.store, b"two");
            drop(opened);
            damage(&folder.path().join("index"));

            let (opened, rebuilt) = open_counting(folder.path());
            assert_eq!((rebuilt, indexed(&opened.store, b"two")), (1, Some(1)), "case {case}");
            let aside = opened.index_set_aside.unwrap();
            assert!(aside.starts_with(folder.path()) && aside.exists());
            drop(opened.store);
            damage(&folder.path().join("index"));
            let (opened, _) = open_counting(folder.path());
            assert_ne!(opened.index_set_aside.unwrap(), aside, "an older one is never overwritten");
        }
    }

    #[test]
    fn an_index_with_any_file_cut_or_overwritten_gives_the_journals_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (mut opened, _) = open_counting(folder.path());
        append_indexed(&mut opened.store, b"two");
        drop(opened);
        let files = disk::names(&folder.path().join("index")).unwrap();
        let files = files.iter().filter(|name| folder.path().join("index").join(name).is_file());
        for file in files {
            let good = fs::read(folder.path().join("index").join(file)).unwrap();
            let step = good.len().div_ceil(24).max(1);
            for at in (0..good.len()).step_by(step) {
                let mut overwritten = good.clone();
                overwritten[at..good.len().min(at + 16)].fill(0xa5);
                for bad in [&good[..at], &overwritten] {
                    let copy = tempfile::tempdir().unwrap();
                    copy_folder(folder.path(), copy.path());
                    fs::write(copy.path().join("index").join(file), bad).unwrap();
                    let (opened, _) = open_counting(copy.path());
                    assert_eq!(indexed(&opened.store, b"two"), Some(1), "{file} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_publication_cut_short_leaves_nothing_and_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let (mut opened, _) = open_counting(folder.path());
        let temporary = folder.path().join("checkpoints/.000001.tmp");
        fs::create_dir(&temporary).unwrap();
        fs::write(temporary.join("stray"), b"half").unwrap();
        assert_eq!(opened.store.list_published().unwrap(), [""; 0]);
        opened.store.publish("000001", &[("model", b"whole")]).unwrap();
        assert!(!temporary.exists());
        assert_eq!(disk::names(&folder.path().join("checkpoints/000001")).unwrap(), ["model"]);
    }

    #[test]
    fn a_store_of_another_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(open_counting(folder.path()));
        let error = FileStore::open(folder.path(), JournalKind::Client, |_, _, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("Client"), "{error}");
    }

    #[test]
    fn sealed_records_that_were_moved_are_refused_although_their_checksums_are_right() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("master.key");
        vault::make_master(&master).unwrap();
        let vault = Vault::create(folder.path(), vault::MasterSource::File(master)).unwrap();
        let vault = Arc::new(vault);
        let opened =
            |folder: &Path, kind| FileStore::open_sealed(folder, kind, vault.clone(), |_, _, _| Ok(()));
        opened(folder.path(), KIND).unwrap().store.append_all(&[b"two".to_vec(), b"six".to_vec()]).unwrap();
        let form = Form::new(KIND, true);
        let (journal, _) = Journal::open_as(&folder.path().join("journal"), form).unwrap();
        let mut records = Vec::new();
        journal.replay(&mut |_, record| records.push(record.to_vec())).unwrap();

        // Who owns the disk can frame anything: as it was, exchanged, repeated, or as another kind's.
        let (two, six) = (&records[0], &records[1]);
        for (kind, forged, refused) in [
            (KIND, [two, six], None),
            (KIND, [six, two], Some("record 1 ")),
            (KIND, [two, two], Some("record 2 ")),
            (JournalKind::Client, [two, six], Some("record 1 ")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (mut journal, _) =
                Journal::open_as(&folder.path().join("journal"), Form::new(kind, true)).unwrap();
            journal.append(&forged.map(Vec::clone)).unwrap();
            match (opened(folder.path(), kind), refused) {
                (Ok(_), None) => {}
                (Err(error), Some(named)) => assert!(error.to_string().contains(named), "{error}"),
                (opened, _) => panic!("{refused:?}: {opened:?}"),
            }
        }
    }

    fn copy_folder(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                fs::create_dir(&to).unwrap();
                copy_folder(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}
