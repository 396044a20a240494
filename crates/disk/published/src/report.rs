//! An incident's evidence as a document: files, an index that names each by its digest, and a signature over the index.
//!
//! A report is written and checked file by file, so that one on a run of any length takes the memory of its index.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use attest::EnvelopeError;
use identity::{AuthorityError, printable};
use params::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vault::NewFolderError;

use crate::listing::ListingError;

mod checking;
mod making;
#[cfg(test)]
mod tests;

pub use checking::check;
pub use making::{NewEntries, NewReport};

const PAYLOAD_TYPE: &str = "application/vnd.folkmoot.incident+json";
const FORMAT: &str = "folkmoot incident 1";
const INDEX: &str = "index.json";
const ENVELOPE: &str = "index.dsse.json";
const PUBLIC_KEY: &str = "operator.pub.pem";
/// In a report: the audit log's entries, one a line.
pub const ENTRIES: &str = "audit/entries.jsonl";
/// In a report: the signed roster in force.
pub const ROSTER: &str = "roster.json";
/// In a report: the federation's authority.
pub const AUTHORITY: &str = "authority.json";
/// In a report: before the name of each checkpoint's folder.
pub const CHECKPOINTS: &str = "checkpoints/";
/// Files of a report at most: 160,000 records, and an index of some 150 MB, which is in memory while it is made and checked.
const FILES_MAX: usize = 1_000_000;
/// Bytes of a report at most.
const BYTES_MAX: u64 = 64 << 30;

/// What is signed: every other file by its SHA-256.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    format: String,
    pub federation: String,
    /// The incident's id.
    pub incident: String,
    /// Seconds since the Unix epoch.
    pub made_s: u64,
    /// Entries of the audit log.
    pub audit_size: u64,
    /// Root of the log's tree over them, hexadecimal.
    pub audit_root: String,
    files: BTreeMap<String, Digest>,
}

impl Index {
    /// Files of the report, the index and its signature among them.
    pub fn file_count(&self) -> usize {
        self.files.len() + [INDEX, ENVELOPE].len()
    }
}

/// Why a report does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ReportFault {
    /// The disk refuses.
    #[error("`{}`: cannot be read: {why}", file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        why: io::Error,
    },
    /// A folder that is none.
    #[error(transparent)]
    Folder(#[from] ListingError),
    /// An archive that nobody packed as a report.
    #[error("`{}`: `{}` {why}", file.display(), printable(entry))]
    Entry {
        file: PathBuf,
        /// What in it.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key of the federation's that is none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file in it is not what was signed.
    #[error("{}: {why}", printable(name))]
    Bad {
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum MakingError {
    /// It exists, or the disk refuses.
    #[error("`{}` cannot be written: {why}", out.display())]
    Archive {
        out: PathBuf,
        #[source]
        why: io::Error,
    },
    /// The same, of a folder.
    #[error(transparent)]
    Folder(#[from] NewFolderError),
    /// More than `folkmoot incident verify` reads.
    #[error("a report has {FILES_MAX} files at most")]
    TooMany,
    /// Two files have one name.
    #[error("{name}: is in the report already")]
    Twice { name: String },
    /// The audit log is not among the files.
    #[error("a report holds the audit log's entries, in {ENTRIES}")]
    NoEntries,
    /// An index that is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An envelope that cannot be written.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// Bytes that are hashed as they are read.
struct Hashed<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::new() }
    }

    /// Of all that was read so far.
    fn finish(self) -> Digest {
        Digest::from_bytes(self.sha256.finalize().into())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(block)?;
        let (filled, _) = block.split_at(read);
        self.sha256.update(filled);
        Ok(read)
    }
}
