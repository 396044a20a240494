//! A store in memory, for tests and simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::faulty::Tear;
use crate::frame::{self, Head, JournalKind};
use crate::journal::JournalError;
use crate::{StageKey, StageWriter, Store, StoreError, check_name};

/// A store whose disk is memory: it survives [`MemoryStore::restart`], not the process.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    head: Head,
    records: Vec<Vec<u8>>,
    partial: BTreeMap<StageKey, Vec<u8>>,
    staged: BTreeMap<StageKey, Vec<u8>>,
    writing: BTreeSet<StageKey>,
    published: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    index: BTreeMap<(String, Vec<u8>), Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(kind: JournalKind) -> MemoryStore {
        let disk = Disk {
            head: Head::start(kind),
            records: Vec::new(),
            partial: BTreeMap::new(),
            staged: BTreeMap::new(),
            writing: BTreeSet::new(),
            published: BTreeMap::new(),
            index: BTreeMap::new(),
        };
        MemoryStore { disk: Arc::new(Mutex::new(disk)) }
    }

    /// The store as the next process finds it.
    pub fn restart(self) -> MemoryStore {
        self.disk().writing.clear();
        self
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.disk)
    }
}

impl Store for MemoryStore {
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        let mut disk = self.disk();
        if !records.is_empty() {
            // Framed for the head alone, so that it is the one a file would have.
            let (_, next) = frame::encode(&disk.head, records)
                .ok_or_else(|| JournalError::TooLong { path: "memory".into() })?;
            disk.head = next;
            disk.records.extend_from_slice(records);
        }
        Ok(disk.head.sequence)
    }

    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.disk().records.clone())
    }

    fn head(&self) -> Head {
        self.disk().head
    }

    fn stage(&mut self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError> {
        let mut disk = self.disk();
        if disk.staged.contains_key(key) {
            return Err(StoreError::AlreadyStaged(*key));
        }
        if !disk.writing.insert(*key) {
            return Err(StoreError::StageBusy(*key));
        }
        disk.partial.entry(*key).or_default();
        Ok(Box::new(MemoryStage { disk: self.disk.clone(), key: *key }))
    }

    fn staged_bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        Ok(self.disk().staged.get(key).map(|vector| vector.len() as u64))
    }

    fn open_staged(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        let vector = self.disk().staged.get(key).cloned().ok_or(StoreError::NotStaged(*key))?;
        Ok(Box::new(Cursor::new(vector)))
    }

    fn discard_staged_before(&mut self, round: u64) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.staged.retain(|key, _| key.round >= round);
        disk.partial.retain(|key, _| key.round >= round);
        Ok(())
    }

    fn publish(&mut self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        check_name(name)?;
        files.iter().try_for_each(|(file, _)| check_name(file))?;
        let files: BTreeMap<_, _> =
            files.iter().map(|(file, bytes)| (file.to_string(), bytes.to_vec())).collect();
        let mut disk = self.disk();
        let published = disk.published.entry(name.to_owned()).or_insert_with(|| files.clone());
        let mut names = files.keys().chain(published.keys());
        match names.find(|file| files.get(*file) != published.get(*file)) {
            Some(file) => Err(StoreError::PublishedDiffers { name: name.to_owned(), file: file.clone() }),
            None => Ok(()),
        }
    }

    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        check_name(file)?;
        let disk = self.disk();
        let bytes = disk.published.get(name).and_then(|files| files.get(file)).cloned();
        bytes.ok_or_else(|| StoreError::NotPublished { name: name.to_owned(), file: file.to_owned() })
    }

    fn published_files(&self, name: &str) -> Result<Vec<String>, StoreError> {
        check_name(name)?;
        let disk = self.disk();
        let files = disk.published.get(name).map(|files| files.keys().cloned().collect());
        files.ok_or_else(|| StoreError::NotPublished { name: name.to_owned(), file: String::new() })
    }

    fn list_published(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.disk().published.keys().cloned().collect())
    }

    fn index_put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.disk().index.insert((tree.to_owned(), key.to_vec()), value.to_vec());
        Ok(())
    }

    fn index_get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk().index.get(&(tree.to_owned(), key.to_vec())).cloned())
    }
}

impl Tear for MemoryStore {
    fn append_torn(&mut self, _records: &[Vec<u8>], _keep: usize) -> Result<(), StoreError> {
        Ok(())
    }
}

struct MemoryStage {
    disk: Arc<Mutex<Disk>>,
    key: StageKey,
}

impl MemoryStage {
    fn with_partial<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T, StoreError> {
        let mut disk = locked(&self.disk);
        disk.partial.get_mut(&self.key).map(act).ok_or(StoreError::NotStaged(self.key))
    }
}

impl StageWriter for MemoryStage {
    fn received_bytes(&self) -> u64 {
        self.with_partial(|partial| partial.len() as u64).unwrap_or(0)
    }

    fn received(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let received = self.with_partial(|partial| partial.clone())?;
        Ok(Box::new(Cursor::new(received)))
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.with_partial(|partial| partial.extend_from_slice(chunk))
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        self.with_partial(Vec::clear)
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let mut disk = locked(&self.disk);
        let vector = disk.partial.remove(&self.key).ok_or(StoreError::NotStaged(self.key))?;
        disk.staged.insert(self.key, vector);
        Ok(())
    }
}

impl Drop for MemoryStage {
    fn drop(&mut self) {
        locked(&self.disk).writing.remove(&self.key);
    }
}

// No method leaves the disk half changed, so a panic elsewhere does not spoil it.
fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}
