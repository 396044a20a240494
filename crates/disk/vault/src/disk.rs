//! Small files that appear whole and are readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{VaultError, failed};

/// Creates a file that must not be there; durable when this returns.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let temporary = written_beside(path, bytes)?;
    // A link, unlike a rename, never replaces what is there.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VaultError::Exists(path.to_owned()),
        _ => failed("create", path)(error),
    })?;
    removed.map_err(failed("delete", &temporary))?;
    sync_parent(path).map_err(failed("fsync the folder of", path))
}

/// Puts a file in the place of another, or of none; durable when this returns.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let temporary = written_beside(path, bytes)?;
    fs::rename(&temporary, path).map_err(failed("rename to", path))?;
    sync_parent(path).map_err(failed("fsync the folder of", path))
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn written_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, VaultError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("delete", &temporary)(error));
        }
        _ => {}
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let written = opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(failed("write", &temporary))?;
    Ok(temporary)
}
