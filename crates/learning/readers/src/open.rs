//! Opens files that end.

use std::borrow::Cow;
use std::fs::{self, File, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::fault::FileFault;

/// Opens a regular file and nothing else: the end of a pipe or a device is waited for in vain.
///
/// # Errors
/// [`FileFault::Unreadable`] and [`FileFault::Special`]
pub fn open(path: &Path) -> Result<File, FileFault> {
    let found = fs::metadata(path).map_err(FileFault::Unreadable)?;
    match special(found.file_type()) {
        Some(kind) => Err(FileFault::Special(kind)),
        None => File::open(path).map_err(FileFault::Unreadable),
    }
}

/// A file's name without its folder.
pub(crate) fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

/// What it is where it is no file and no folder.
fn special(found: FileType) -> Option<&'static str> {
    match found {
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => None,
    }
}
