//! The default store: a folder on a local disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::disk::{self, failed};
use crate::faulty::Tear;
use crate::frame::{Head, JournalKind};
use crate::index::{Index, OpenedIndex};
use crate::journal::{Journal, TornTail};
use crate::staging::Staging;
use crate::{StageKey, StageWriter, Store, StoreError, check_name};

/// A store in a folder; see the crate's documentation for what lies in it.
#[derive(Debug)]
pub struct FileStore {
    journal: Journal,
    index: Index,
    staging: Staging,
    checkpoints: PathBuf,
    // Held until the store is dropped; the file itself stays.
    _lock: File,
}

/// What [`FileStore::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
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
        mut rebuild: impl FnMut(&Index, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Opened, StoreError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        disk::sync_parent(folder).map_err(failed("fsync the parent of", folder))?;
        let lock = lock(folder)?;
        let (journal, torn_tail) = Journal::open(&folder.join("journal"), kind)?;
        let OpenedIndex { index, must_rebuild, set_aside } =
            Index::open(&folder.join("index"), &journal.head())?;
        if must_rebuild {
            let mut result = Ok(());
            journal.replay(&mut |sequence, record| {
                if result.is_ok() {
                    result = rebuild(&index, sequence, record);
                }
            })?;
            result?;
        }
        let staging = Staging::open(folder.join("staged"))?;
        let checkpoints = folder.join("checkpoints");
        disk::create_folder(&checkpoints).map_err(failed("create", &checkpoints))?;
        let store = FileStore { journal, index, staging, checkpoints, _lock: lock };
        Ok(Opened { store, torn_tail, index_set_aside: set_aside })
    }
}

impl Store for FileStore {
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        Ok(self.journal.append(records)?)
    }

    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut records = Vec::new();
        self.journal.replay(&mut |_, record| records.push(record.to_vec()))?;
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
        check_name(name)?;
        files.iter().try_for_each(|(file, _)| check_name(file))?;
        let target = self.checkpoints.join(name);
        if target.try_exists().map_err(failed("look for", &target))? {
            self.check_same(name, files)?;
        } else {
            // A leading dot: no published name has one, so a crash leaves nothing that looks published.
            let temporary = self.checkpoints.join(format!(".{name}.tmp"));
            match fs::remove_dir_all(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("delete", &temporary)(error));
                }
                _ => {}
            }
            fs::create_dir(&temporary).map_err(failed("create", &temporary))?;
            for (file, bytes) in files {
                let path = temporary.join(file);
                disk::write_synced(&path, bytes).map_err(failed("write", &path))?;
            }
            disk::sync_folder(&temporary).map_err(failed("fsync", &temporary))?;
            fs::rename(&temporary, &target).map_err(failed("rename to", &target))?;
        }
        // Also when it was there: a crash may have come between rename and fsync.
        disk::sync_folder(&self.checkpoints).map_err(failed("fsync", &self.checkpoints))
    }

    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        check_name(file)?;
        let path = self.checkpoints.join(name).join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotPublished { name: name.to_owned(), file: file.to_owned() })
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn list_published(&self) -> Result<Vec<String>, StoreError> {
        let mut names = disk::names(&self.checkpoints).map_err(failed("list", &self.checkpoints))?;
        names.retain(|name| check_name(name).is_ok());
        Ok(names)
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
    fn check_same(&self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let differs =
            |file: &str| StoreError::PublishedDiffers { name: name.to_owned(), file: file.to_owned() };
        for (file, bytes) in files {
            match self.read_published(name, file) {
                Ok(published) if published == *bytes => {}
                Ok(_) | Err(StoreError::NotPublished { .. }) => return Err(differs(file)),
                Err(error) => return Err(error),
            }
        }
        let folder = self.checkpoints.join(name);
        let present = disk::names(&folder).map_err(failed("list", &folder))?;
        match present.iter().find(|file| !files.iter().any(|(known, _)| known == file)) {
            Some(extra) => Err(differs(extra)),
            None => Ok(()),
        }
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = opened.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: JournalKind = JournalKind::Coordinator;

    /// Indexes each record's bytes under itself, and counts how many it was asked to.
    fn open_counting(folder: &Path) -> (Opened, u64) {
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
    fn a_second_opener_is_refused_and_told_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = open_counting(folder.path());
        let error = FileStore::open(folder.path(), KIND, |_, _, _| Ok(())).unwrap_err();
        assert!(matches!(&error, StoreError::Locked { folder: named } if named == folder.path()));
        assert!(error.to_string().contains(&folder.path().display().to_string()));
        drop(first);
        open_counting(folder.path());
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
