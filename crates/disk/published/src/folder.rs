//! Where published files lie: in a plain folder, or in a store, sealed or not.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use attest::{BUNDLE_FILE, EVIDENCE_FILE};
use card::{CARD_BYTES_MAX, CARD_FILE, README_FILE};
use checkpoint::{CHECKPOINTS_FOLDER, MANIFEST_BYTES_MAX, MANIFEST_FILE, MODEL_BYTES_MAX, SIGNATURE_FILE};
use params::Digest;
use plan::{PLAN_FILE, SignedPlan};
use store::{Published, Store, StoreError};

use crate::CheckpointFault;
use crate::listing::list_files;
use crate::sealed::is_sealed;

/// Published versions: for each a name, and files under theirs.
pub trait Folder {
    /// The names, in any order. Others may be among them, such as one that a crash left half written.
    ///
    /// # Errors
    /// A disk that fails.
    fn names(&self) -> Result<Vec<String>, CheckpointFault>;

    /// A file of a version; none where there is no such file.
    ///
    /// # Errors
    /// One that is longer than it may be or cannot be opened; a disk that fails.
    fn read(&self, name: &str, file: &str) -> Result<Option<Vec<u8>>, CheckpointFault>;

    /// All files that lie under a version's name, with their digests, in the order of code points: anyone may have added some.
    ///
    /// # Errors
    /// As [`Folder::read`]; a version that is not there; what no signature can cover, such as a folder, and in a plain folder
    /// also a link.
    fn files(&self, name: &str) -> Result<Vec<(String, Digest)>, CheckpointFault>;

    /// Where a file lies, in messages for people. Without a `name` or a `file`, the folder above.
    fn place(&self, name: &str, file: &str) -> PathBuf;
}

/// A file of a version that has to be there.
pub(crate) fn required<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    file: &str,
) -> Result<Vec<u8>, CheckpointFault> {
    folder.read(name, file)?.ok_or_else(|| CheckpointFault::Missing { file: folder.place(name, file) })
}

/// Files in the clear, as anyone has copied them.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(&'a Path);

impl<'a> Plain<'a> {
    /// The versions in this folder.
    pub fn new(folder: &'a Path) -> Self {
        Self(folder)
    }
}

impl Folder for Plain<'_> {
    fn names(&self) -> Result<Vec<String>, CheckpointFault> {
        let unreadable = |why| CheckpointFault::Unreadable { file: self.0.to_owned(), why };
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0).map_err(unreadable)? {
            names.extend(entry.map_err(unreadable)?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str, file: &str) -> Result<Option<Vec<u8>>, CheckpointFault> {
        let bytes_max = match file {
            SIGNATURE_FILE => 64,
            MANIFEST_FILE => MANIFEST_BYTES_MAX as u64,
            CARD_FILE | README_FILE => CARD_BYTES_MAX as u64,
            BUNDLE_FILE => attest::BUNDLE_BYTES_MAX as u64,
            EVIDENCE_FILE => attest::EVIDENCE_BYTES_MAX as u64,
            PLAN_FILE => SignedPlan::BYTES_MAX as u64,
            _ => MODEL_BYTES_MAX,
        };
        match read_bounded(&self.place(name, file), bytes_max) {
            Err(CheckpointFault::Unreadable { why, .. }) if why.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn files(&self, name: &str) -> Result<Vec<(String, Digest)>, CheckpointFault> {
        let here = self.place(name, "");
        list_files(&here, &[]).map_err(|why| CheckpointFault::File { file: here, why: why.to_string() })
    }

    fn place(&self, name: &str, file: &str) -> PathBuf {
        below(self.0, name, file)
    }
}

impl Folder for Published {
    fn names(&self) -> Result<Vec<String>, CheckpointFault> {
        Ok(Published::names(self)?)
    }

    fn read(&self, name: &str, file: &str) -> Result<Option<Vec<u8>>, CheckpointFault> {
        there(Published::read(self, name, file))
    }

    fn files(&self, name: &str) -> Result<Vec<(String, Digest)>, CheckpointFault> {
        digests(self, name, Published::files(self, name)?)
    }

    fn place(&self, name: &str, file: &str) -> PathBuf {
        below(Path::new(CHECKPOINTS_FOLDER), name, file)
    }
}

impl Folder for dyn Store + '_ {
    fn names(&self) -> Result<Vec<String>, CheckpointFault> {
        Ok(self.list_published()?)
    }

    fn read(&self, name: &str, file: &str) -> Result<Option<Vec<u8>>, CheckpointFault> {
        there(self.read_published(name, file))
    }

    fn files(&self, name: &str) -> Result<Vec<(String, Digest)>, CheckpointFault> {
        digests(self, name, self.published_files(name)?)
    }

    fn place(&self, name: &str, file: &str) -> PathBuf {
        below(Path::new(CHECKPOINTS_FOLDER), name, file)
    }
}

fn digests<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    files: Vec<String>,
) -> Result<Vec<(String, Digest)>, CheckpointFault> {
    let digest = |file: String| required(folder, name, &file).map(|bytes| (file, Digest::sha256(&bytes)));
    files.into_iter().map(digest).collect()
}

/// An empty name is no folder of its own.
fn below(folder: &Path, name: &str, file: &str) -> PathBuf {
    folder
        .iter()
        .chain([name, file].iter().filter(|part| !part.is_empty()).map(|part| part.as_ref()))
        .collect()
}

fn there(read: Result<Vec<u8>, StoreError>) -> Result<Option<Vec<u8>>, CheckpointFault> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotPublished { .. }) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// The folder of a run's checkpoints: of a data folder its `checkpoints`, or the folder itself.
pub fn checkpoints_in(folder: &Path) -> PathBuf {
    let inner = folder.join(CHECKPOINTS_FOLDER);
    if inner.is_dir() { inner } else { folder.to_owned() }
}

/// Reads a file no longer than `bytes_max`, in the clear.
///
/// # Errors
/// One that cannot be read, is longer, or is sealed.
pub fn read_bounded(file: &Path, bytes_max: u64) -> Result<Vec<u8>, CheckpointFault> {
    let unreadable = |why: io::Error| CheckpointFault::Unreadable { file: file.to_owned(), why };
    if is_sealed(file).map_err(unreadable)? {
        let why = "is sealed: write the models in the clear with `folkmoot model export`, and verify those";
        return Err(CheckpointFault::File { file: file.to_owned(), why: why.into() });
    }
    let length = fs::metadata(file).map_err(unreadable)?.len();
    if length > bytes_max {
        let why = format!("has {length} bytes, more than the {bytes_max} that it may have");
        return Err(CheckpointFault::File { file: file.to_owned(), why });
    }
    fs::read(file).map_err(unreadable)
}
