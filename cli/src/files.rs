//! New files that a command makes, and why one is not there.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use operate::{Unusable, read_secret_text, read_text};
pub(crate) use vault::NewFolder;
use vault::NewFolderError;
use vault::files::{self, AS_UMASK, OWNER_ONLY};

/// Why a new file or folder is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Folder(#[from] NewFolderError),
    /// Something is there already.
    #[error(
        "`{}` exists and is not overwritten: a lost key cannot be made again; choose another name",
        place.display()
    )]
    KeyTaken { place: PathBuf },
    #[error("`{}` exists; write the new one beside it", place.display())]
    DocumentTaken { place: PathBuf },
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The system refuses.
    #[error("`{}` cannot be written: {why}", place.display())]
    Io {
        place: PathBuf,
        #[source]
        why: io::Error,
    },
}

/// Writes a document to a new file.
pub(crate) fn write_document(path: &Path, json: &str) -> Result<(), WriteError> {
    write(path, &format!("{json}\n"), AS_UMASK)
}

/// Writes to a new file what is for its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), WriteError> {
    write(path, text, OWNER_ONLY)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), WriteError> {
    files::write_new(path, text.as_bytes(), mode).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => WriteError::DocumentTaken { place: path.to_owned() },
        _ => cannot_write(path, why),
    })
}

pub(crate) fn cannot_write(place: &Path, why: io::Error) -> WriteError {
    WriteError::Io { place: place.to_owned(), why }
}
