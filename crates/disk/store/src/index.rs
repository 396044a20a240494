//! Metadata in sled, as a cache of what the journal can give again.
//!
//! sled calls itself beta and may fail to open after a crash, so it is trusted only when the last process
//! closed it in order, at the journal's very head; otherwise it is emptied or set aside, and rebuilt.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::frame::Head;
use crate::{StoreError, disk};

// In the default tree, which callers cannot name.
const CLOSED_AT: &str = "closed at";
const TREE_PREFIX: &str = "index ";
const CACHE_BYTES: u64 = 1 << 20;
/// What is not flushed stays in memory: without this the index of a long run grows by a kilobyte a round.
const PUTS_UNFLUSHED_MAX: u32 = 1;
const LOCK_WAIT: Duration = Duration::from_millis(5);
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// The index of a [`FileStore`](crate::FileStore), handed to the function that rebuilds it.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    path: PathBuf,
    /// Puts since the last flush.
    unflushed: Cell<u32>,
}

/// What opening found.
pub(crate) struct OpenedIndex {
    pub(crate) index: Index,
    /// Empty, and to be filled from the journal.
    pub(crate) must_rebuild: bool,
    pub(crate) set_aside: Option<PathBuf>,
}

impl Index {
    /// Puts a value.
    ///
    /// # Errors
    ///
    /// An index that fails.
    pub fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let put = || self.tree(tree)?.insert(key, value).map(drop);
        put().map_err(|error| failed(&self.path, error))?;
        self.unflushed.set(self.unflushed.get() + 1);
        if self.unflushed.get() >= PUTS_UNFLUSHED_MAX { self.flush() } else { Ok(()) }
    }

    pub(crate) fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let get = || Ok(self.tree(tree)?.get(key)?.map(|value| value.to_vec()));
        get().map_err(|error| failed(&self.path, error))
    }

    pub(crate) fn open(path: &Path, head: &Head) -> Result<OpenedIndex, StoreError> {
        match Index::open_unlocked(path, head) {
            Ok((index, must_rebuild)) => Ok(OpenedIndex { index, must_rebuild, set_aside: None }),
            Err(error) => {
                let aside = set_aside(path)?;
                tracing::warn!(
                    index = %path.display(), set_aside = %aside.display(), %error,
                    "the index did not open; it was renamed and is rebuilt from the journal"
                );
                let (index, _) = Index::open_at(path, head).map_err(|error| failed(path, error))?;
                Ok(OpenedIndex { index, must_rebuild: true, set_aside: Some(aside) })
            }
        }
    }

    /// Says that the index is complete up to `head`, for the next opener.
    pub(crate) fn close(&self, head: &Head) -> Result<(), StoreError> {
        self.db.insert(CLOSED_AT, mark(head)).map_err(|error| failed(&self.path, error))?;
        self.flush()
    }

    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.unflushed.set(0);
        self.db.flush().map(drop).map_err(|error| failed(&self.path, error))
    }

    /// sled lets go of its files a moment after its handle is dropped. The store's own lock says that nobody else
    /// has the folder, so files that are still locked are an earlier store's of this process: not damaged, only late.
    fn open_unlocked(path: &Path, head: &Head) -> sled::Result<(Index, bool)> {
        let mut waited = Duration::ZERO;
        loop {
            match Index::open_at(path, head) {
                Err(sled::Error::Io(why)) if is_locked(&why) && waited < LOCK_WAIT_MAX => {
                    std::thread::sleep(LOCK_WAIT);
                    waited += LOCK_WAIT;
                }
                opened => return opened,
            }
        }
    }

    fn open_at(path: &Path, head: &Head) -> sled::Result<(Index, bool)> {
        // sled answers some damage with a panic.
        catch_unwind(AssertUnwindSafe(|| {
            let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let db = config.open()?;
            let closed_at = db.remove(CLOSED_AT)?;
            let complete = closed_at.is_some_and(|at| at == mark(head));
            if !complete {
                for name in db.tree_names() {
                    if name.starts_with(TREE_PREFIX.as_bytes()) {
                        db.drop_tree(name)?;
                    }
                }
            }
            // Before anything is put: a crash from here on must find the mark gone.
            db.flush()?;
            Ok((Index { db, path: path.to_owned(), unflushed: Cell::new(0) }, !complete))
        }))
        .unwrap_or_else(|_| Err(sled::Error::ReportableBug("panicked while opening".into())))
    }

    fn tree(&self, name: &str) -> sled::Result<sled::Tree> {
        self.db.open_tree(format!("{TREE_PREFIX}{name}"))
    }
}

/// sled names the lock in words only.
fn is_locked(why: &std::io::Error) -> bool {
    why.to_string().contains("could not acquire lock")
}

fn mark(head: &Head) -> Vec<u8> {
    [&head.sequence.to_le_bytes()[..], head.hash.as_bytes()].concat()
}

/// Renames to the first free name; an operator may want to look at it.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let mut number = 1;
    let aside = loop {
        let aside = path.with_extension(format!("broken-{number}"));
        if !aside.try_exists().map_err(disk::failed("look for", &aside))? {
            break aside;
        }
        number += 1;
    };
    fs::rename(path, &aside).map_err(disk::failed("rename", path))?;
    Ok(aside)
}

fn failed(path: &Path, error: sled::Error) -> StoreError {
    StoreError::Index { path: path.to_owned(), source: error.into() }
}
