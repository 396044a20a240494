//! What survives a crash: a journal of records, staged vectors, published checkpoints, and an index.
//!
//! Owns: the trait [`Store`] and its three implementations: [`FileStore`] (the default), [`MemoryStore`]
//! (tests and simulations) and [`FaultyStore`] (a crash at a chosen operation of either).
//!
//! Does not: know what a record, a vector or a checkpoint means, or decide when anything is deleted. Rolling
//! a whole folder back to an older copy cannot be seen from inside: mirror [`Store::head`] elsewhere.
//!
//! ```text
//! folder/  lock                                   held by the one process that has the store open
//!          journal                                the truth: append-only, hash-chained, fsynced
//!          index/                                 sled; rebuilt from the journal whenever it is in doubt
//!          staged/000012/0-<r2>-7.part, .vector   uploads, while they arrive and whole
//!          checkpoints/000012/...                 published, all files at once, never changed
//! ```
//!
//! Opened with a vault ([`FileStore::open_sealed`]), records, vectors and published files are sealed where they are
//! written, each to its own place; the folder's layout is the same. A folder is sealed from its first day or never.
//!
//! A store belongs to one run (coordinator) or one silo (client).
//!
//! # Example
//!
//! ```
//! use store::{JournalKind, MemoryStore, Store};
//!
//! let mut store = MemoryStore::new(JournalKind::Coordinator);
//! assert_eq!(store.append(b"round 1 opened")?, 1);
//! let mut recovered = store.restart();
//! assert_eq!(recovered.replay()?, vec![b"round 1 opened".to_vec()]);
//! # Ok::<(), store::StoreError>(())
//! ```

mod disk;
mod faulty;
mod file_store;
mod frame;
mod index;
mod journal;
mod memory;
mod published;
mod seal;
mod staging;

#[cfg(test)]
mod suite;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use params::Digest;
use vault::VaultError;

pub use disk::{create_folder, write_durably, write_replacing};
pub use faulty::{FaultyStore, InjectedFault, Tear};
pub use file_store::{FileStore, OpenedStore};
pub use frame::{APPEND_BYTES_MAX, Head, JournalKind};
pub use index::Index;
pub use journal::{Journal, JournalError, Medium, TornTail};
pub use memory::MemoryStore;
pub use published::{CHECKPOINTS, Published};

/// Durable storage of one run or one silo.
///
/// After an error of a method that writes, what is on disk is only known after opening the store again: treat
/// it as a crash.
pub trait Store: Send {
    /// Appends a record; it is durable when this returns. Gives its sequence number, counted from 1.
    ///
    /// # Errors
    ///
    /// As [`Store::append_all`].
    fn append(&mut self, record: &[u8]) -> Result<u64, StoreError> {
        self.append_all(&[record.to_vec()])
    }

    /// Appends records, all or none, with one fsync. Gives the last one's sequence number.
    ///
    /// # Errors
    ///
    /// More than [`APPEND_BYTES_MAX`] in all; a disk that fails.
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError>;

    /// Every record, first to last.
    ///
    /// # Errors
    ///
    /// A journal that was damaged since it was opened; a disk that fails.
    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Sequence number and chain hash of the last record.
    fn head(&self) -> Head;

    /// Begins or resumes the upload of a vector. One writer per key at a time.
    ///
    /// # Errors
    ///
    /// A key that is committed already, or has another writer; a disk that fails.
    fn stage(&mut self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError>;

    /// Size of a committed vector, or none.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn staged_bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError>;

    /// Reads a committed vector.
    ///
    /// # Errors
    ///
    /// A key that is not committed; a disk that fails.
    fn open_staged(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Deletes the vectors, whole and partial, of every round before `round`.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn discard_staged_before(&mut self, round: u64) -> Result<(), StoreError>;

    /// Publishes files under one name, all at once; they are durable when this returns.
    ///
    /// Publishing the same again changes nothing and succeeds.
    ///
    /// # Errors
    ///
    /// The name is taken by other content; a name that is not one plain component; a disk that fails.
    fn publish(&mut self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError>;

    /// A published file.
    ///
    /// # Errors
    ///
    /// No such file; a disk that fails.
    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError>;

    /// The files of one publication, ascending; what else lies there is among them.
    ///
    /// # Errors
    ///
    /// Nothing published there; a disk that fails.
    fn published_files(&self, name: &str) -> Result<Vec<String>, StoreError>;

    /// Published names, ascending.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn list_published(&self) -> Result<Vec<String>, StoreError>;

    /// Puts metadata into the index: only what the journal can give again, since a crash may lose it.
    ///
    /// # Errors
    ///
    /// An index that fails.
    fn index_put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Metadata from the index.
    ///
    /// # Errors
    ///
    /// An index that fails.
    fn index_get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
}

/// The upload of one vector.
///
/// Dropping it keeps what was received, for [`Store::stage`] to resume.
pub trait StageWriter: Send {
    /// How many bytes were received so far, over all resumptions.
    fn received_bytes(&self) -> u64;

    /// What was received so far, for whoever resumes and must hash it.
    ///
    /// Not durable before [`StageWriter::commit`]: after a power cut it may hold anything, so a digest of the
    /// whole decides.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn received(&self) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Appends a chunk.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError>;

    /// Forgets what was received, to begin again.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    fn restart(&mut self) -> Result<(), StoreError>;

    /// Makes the vector whole and durable.
    ///
    /// # Errors
    ///
    /// A disk that fails, or a round that was discarded meanwhile.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// What names something staged within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageKey {
    pub round: u64,
    pub attempt: u32,
    /// What is staged of it.
    pub what: Staged,
}

/// What is staged of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Staged {
    /// A client's vector.
    Upload {
        /// Digest of the list of clients that it answers to: an upload counts for no other.
        clients: Digest,
        /// Its id in the roster.
        client: u32,
    },
    /// A file that is to be published.
    File {
        /// What names its bytes.
        digest: Digest,
    },
}

impl fmt::Display for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Staged::Upload { client, .. } => {
                write!(f, "the vector of client {client} in round {}", self.round)
            }
            Staged::File { digest } => write!(f, "the file {} of round {}", digest.short(), self.round),
        }
    }
}

/// A store that refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: check space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("`{}` is in use by another process: stop it, or give this one another folder", folder.display())]
    Locked {
        /// The store's folder.
        folder: PathBuf,
    },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the index `{}` failed: stop, rename it aside and start again; it is rebuilt", path.display())]
    Index {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The vault refuses or fails.
    #[error("{what} cannot be sealed or opened")]
    Vault {
        /// What it was about.
        what: String,
        #[source]
        source: VaultError,
    },
    /// A name that could lead elsewhere.
    #[error("`{0}` is no name for a published file: use letters, digits, `.`, `-`, `_`, and no dot in front")]
    Name(String),
    /// The name is published with other content.
    #[error("`{name}` is published already, with another `{file}`: move it aside to publish anew")]
    PublishedDiffers {
        /// The published name.
        name: String,
        /// The file that differs.
        file: String,
    },
    /// Nothing published there.
    #[error("`{name}/{file}` is not published")]
    NotPublished {
        /// The published name.
        name: String,
        file: String,
    },
    /// It is whole already.
    #[error("{0} is staged already")]
    AlreadyStaged(StageKey),
    /// It has another writer.
    #[error("{0} is being written: end that upload first")]
    StageBusy(StageKey),
    /// It is not there, or not whole.
    #[error("{0} is not staged")]
    NotStaged(StageKey),
    /// A fault that a test asked for, or any operation after it.
    #[error("injected crash: open the store again")]
    Crashed,
}

/// A published name or file is one plain component: nothing that leads out of its folder. The program chooses them, so that they
/// have no greatest length, as `identity::is_name` gives to names that people choose.
fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    match name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.') {
        true => Ok(()),
        false => Err(StoreError::Name(name.to_owned())),
    }
}
