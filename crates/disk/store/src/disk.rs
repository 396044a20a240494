//! File operations that are durable when they return.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vault::files::{self, AS_UMASK, FOLDER_OWNER_ONLY};
pub(crate) use vault::files::{sync_folder, sync_parent};

use crate::StoreError;

/// Creates a file with this content, or gives it this content: all of it, or none.
///
/// # Errors
///
/// A disk that fails.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    files::replace(path, bytes, AS_UMASK)
}

/// As [`write_durably`], with an error that names the file.
///
/// # Errors
///
/// [`StoreError::Io`].
pub fn write_replacing(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_durably(path, bytes).map_err(failed("write", path))
}

/// Writes and fsyncs a new file; its name is durable only after its folder's fsync.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    files::write_synced(path, bytes, AS_UMASK)
}

/// Creates a folder below an existing one, for its owner alone, unless it is there.
///
/// # Errors
///
/// A disk that fails; a file of that name.
pub fn create_folder(path: &Path) -> io::Result<()> {
    match files::make_folder(path, FOLDER_OWNER_ONLY) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(path),
    }
}

/// Names in a folder, ascending; those that are not UTF-8 are not ours.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// For `map_err`: names the action and the path.
pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: PathBuf::from(path), source }
}
