//! Small files: made whole, replaced whole, durable when a call returns; and texts, read up to a limit.
//!
//! They are here, below the store, because what lies lowest on a disk is written so: keyrings and key files. The store, the
//! ledgers and all above link this crate for what they seal.
//!
//! ```
//! use vault::files::{self, OWNER_ONLY};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("note");
//! files::write_new(&file, b"one", OWNER_ONLY)?;
//! assert!(files::write_new(&file, b"two", OWNER_ONLY).is_err());
//! files::replace(&file, b"three", OWNER_ONLY)?;
//! assert_eq!(files::read_text(&file, 5)?, "three");
//! assert!(files::read_text(&file, 4).is_err());
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// The mode of what only its owner reads.
pub const OWNER_ONLY: u32 = 0o600;
/// The mode of what everybody on the machine may read.
pub const WORLD_READABLE: u32 = 0o644;
/// The mode of what whoever the process's umask allows may read and write, as with any file.
pub const AS_UMASK: u32 = 0o666;

/// Longer than any text that a person writes or a program of ours keeps in one file: a configuration, a plan, a roster, a
/// certificate, a key.
pub const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Writes a file that is not there yet. One that cannot be written whole, or whose name cannot be made durable, is taken away
/// again: it would stand in the way of the next call. A reader may see a part of it, and a crash may leave one: see [`put_new`].
///
/// # Errors
/// A file that exists ([`io::ErrorKind::AlreadyExists`]); a disk that fails.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_synced(path, bytes, mode)?;
    // The failure is what is reported.
    sync_parent(path).inspect_err(|_| drop(fs::remove_file(path)))
}

/// As [`write_new`], for whoever makes the new name durable later: [`sync_folder`].
///
/// # Errors
/// As [`write_new`].
pub fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // The failure to write is what is reported.
        let _ = fs::remove_file(path);
    }
    written
}

/// As [`write_new`], and all of the file appears at once, also to other processes and after a crash. Of several that make the
/// same file, one does. It needs a file system with hard links.
///
/// # Errors
/// As [`write_new`].
pub fn put_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut random = [0; 8];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    let temporary = beside(path, &format!(".{}.tmp", hex::encode(random)));
    write_synced(&temporary, bytes, mode)?;
    // A link, unlike a rename, never replaces what is there.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked.and(removed)?;
    sync_parent(path)
}

/// Puts a file in the place of another, or of none: a reader, and a crash, find all of the old content or all of the new. One
/// process at a time replaces a file.
///
/// # Errors
/// A disk that fails; the old content is there then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    // Of a call that was cut off.
    match fs::remove_file(&temporary) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    write_synced(&temporary, bytes, mode)?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// A disk that fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the name of `path` durable.
///
/// # Errors
/// A disk that fails.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// A file that cannot be read, is longer, or holds no text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    read_secret_text(path, limit).map(|mut text| std::mem::take(&mut *text))
}

/// As [`read_text`], for what is to be wiped: no copy of it is left in memory.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes"));
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_long());
    }
    // Room for all of it at once: a text that is moved while it grows leaves copies.
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(length).map_err(|_| too_long())? + 1));
    (&mut file).take(limit).read_to_string(&mut text)?;
    // A file that has grown meanwhile, or one whose length nobody knows.
    if file.read(&mut [0])? > 0 { Err(too_long()) } else { Ok(text) }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_there_is_left_as_it_is_and_nothing_lies_beside_it() {
        let here = tempfile::tempdir().unwrap();
        for (name, make) in [("a", write_new as fn(&Path, &[u8], u32) -> io::Result<()>), ("b", put_new as _)]
        {
            let file = here.path().join(name);
            make(&file, b"one", OWNER_ONLY).unwrap();
            assert_eq!(make(&file, b"two", OWNER_ONLY).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&file).unwrap(), b"one");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        }
        assert_eq!(names(here.path()), ["a", "b"]);
    }

    #[test]
    fn what_a_replacement_that_was_cut_off_left_stands_in_nobodys_way_and_keeps_no_mode() {
        let here = tempfile::tempdir().unwrap();
        let (file, left) = (here.path().join("f"), here.path().join("f.tmp"));
        fs::write(&left, "a longer half").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        for content in ["one", "two"] {
            replace(&file, content.as_bytes(), OWNER_ONLY).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(names(here.path()), ["f"]);
    }

    #[test]
    fn a_replacement_that_fails_leaves_what_was_there() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        replace(&file, b"one", OWNER_ONLY).unwrap();
        fs::create_dir(here.path().join("f.tmp")).unwrap();
        assert!(replace(&file, b"two", OWNER_ONLY).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"one");
    }

    #[test]
    fn a_text_is_read_up_to_its_limit_and_no_further() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        fs::write(&file, "dïx").unwrap();
        assert_eq!(read_text(&file, 4).unwrap(), "dïx");
        assert_eq!(*read_secret_text(&file, TEXT_BYTES_MAX).unwrap(), "dïx");
        // In the middle of a letter too.
        for limit in [3, 2, 0] {
            assert!(read_text(&file, limit).is_err(), "{limit}");
        }
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
