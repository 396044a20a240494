//! A store that crashes at a chosen operation.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Head;
use crate::{StageKey, StageWriter, Store, StoreError};

/// What is left of the operation during which the crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Nothing: the crash comes first, or the fsync fails and the pages are gone.
    Lost,
    /// All of it, and nobody learned that.
    Unacknowledged,
    /// Its first bytes, where it writes any; otherwise nothing.
    Torn {
        /// How many; never all.
        keep: usize,
    },
}

/// A store that can leave an append torn.
pub trait Tear: Store {
    /// Writes the first `keep` bytes of an append, as a power cut would leave it; the next opener removes
    /// them. Nothing else may be done with this store afterwards.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn append_torn(&mut self, records: &[Vec<u8>], keep: usize) -> Result<(), StoreError>;
}

/// Wraps a store and crashes it during the nth operation that writes, counted from 1 and including those of
/// its stage writers. From then on everything fails with [`StoreError::Crashed`].
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    crash: Arc<Crash>,
}

#[derive(Debug)]
struct Crash {
    fault: InjectedFault,
    // Operations left before the crash; the crash comes as it reaches 0, and stays there.
    left: AtomicU64,
}

enum Turn {
    Before,
    Now(InjectedFault),
}

impl<S: Tear> FaultyStore<S> {
    /// A store that crashes during write number `operation`; 0 means from the start.
    pub fn new(inner: S, operation: u64, fault: InjectedFault) -> FaultyStore<S> {
        FaultyStore { inner, crash: Arc::new(Crash { fault, left: AtomicU64::new(operation) }) }
    }

    /// Whether the crash has come.
    pub fn has_crashed(&self) -> bool {
        self.crash.has_come()
    }

    /// The store underneath, to open again.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn write<T>(&mut self, act: impl FnOnce(&mut S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.crash.turn()? {
            Turn::Before => act(&mut self.inner),
            Turn::Now(InjectedFault::Unacknowledged) => act(&mut self.inner).and(Err(StoreError::Crashed)),
            Turn::Now(_) => Err(StoreError::Crashed),
        }
    }

    fn read<T>(&self, act: impl FnOnce(&S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.crash.has_come() { Err(StoreError::Crashed) } else { act(&self.inner) }
    }
}

impl Crash {
    fn has_come(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn turn(&self) -> Result<Turn, StoreError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Err(_) => Err(StoreError::Crashed),
            Ok(1) => Ok(Turn::Now(self.fault)),
            Ok(_) => Ok(Turn::Before),
        }
    }
}

impl<S: Tear> Store for FaultyStore<S> {
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        match self.crash.turn()? {
            Turn::Before => self.inner.append_all(records),
            Turn::Now(fault) => {
                match fault {
                    InjectedFault::Lost => {}
                    InjectedFault::Unacknowledged => drop(self.inner.append_all(records)?),
                    InjectedFault::Torn { keep } => self.inner.append_torn(records, keep)?,
                }
                Err(StoreError::Crashed)
            }
        }
    }

    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        if self.has_crashed() { Err(StoreError::Crashed) } else { self.inner.replay() }
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn stage(&mut self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError> {
        let crash = self.crash.clone();
        self.write(|inner| {
            Ok(Box::new(FaultyStage { inner: inner.stage(key)?, crash }) as Box<dyn StageWriter>)
        })
    }

    fn staged_bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        self.read(|inner| inner.staged_bytes(key))
    }

    fn open_staged(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        self.read(|inner| inner.open_staged(key))
    }

    fn discard_staged_before(&mut self, round: u64) -> Result<(), StoreError> {
        self.write(|inner| inner.discard_staged_before(round))
    }

    fn publish(&mut self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        self.write(|inner| inner.publish(name, files))
    }

    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        self.read(|inner| inner.read_published(name, file))
    }

    fn published_files(&self, name: &str) -> Result<Vec<String>, StoreError> {
        self.read(|inner| inner.published_files(name))
    }

    fn list_published(&self) -> Result<Vec<String>, StoreError> {
        self.read(|inner| inner.list_published())
    }

    fn index_put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(|inner| inner.index_put(tree, key, value))
    }

    fn index_get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|inner| inner.index_get(tree, key))
    }
}

impl<S: Tear> Tear for FaultyStore<S> {
    fn append_torn(&mut self, records: &[Vec<u8>], keep: usize) -> Result<(), StoreError> {
        self.inner.append_torn(records, keep)
    }
}

struct FaultyStage {
    inner: Box<dyn StageWriter>,
    crash: Arc<Crash>,
}

impl StageWriter for FaultyStage {
    fn received_bytes(&self) -> u64 {
        self.inner.received_bytes()
    }

    fn received(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.crash.has_come() { Err(StoreError::Crashed) } else { self.inner.received() }
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        match self.crash.turn()? {
            Turn::Before => self.inner.append(chunk),
            Turn::Now(fault) => {
                match fault {
                    InjectedFault::Lost => {}
                    InjectedFault::Unacknowledged => self.inner.append(chunk)?,
                    InjectedFault::Torn { keep } => {
                        self.inner.append(&chunk[..keep.min(chunk.len().saturating_sub(1))])?
                    }
                }
                Err(StoreError::Crashed)
            }
        }
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        match self.crash.turn()? {
            Turn::Before => self.inner.restart(),
            Turn::Now(_) => Err(StoreError::Crashed),
        }
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        match self.crash.turn()? {
            Turn::Before => self.inner.commit(),
            Turn::Now(InjectedFault::Unacknowledged) => self.inner.commit().and(Err(StoreError::Crashed)),
            Turn::Now(_) => Err(StoreError::Crashed),
        }
    }
}
