//! New files that are written bit by bit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Begun, absent, remove_left, rename_new, sync_parent};

/// A file that is written bit by bit and appears in its place whole, in one step: dropped before [`NewFile::put`] it is gone. What a
/// process leaves that was killed is found and removed by the next one for the same place, as that of `write_new`.
///
/// ```
/// use std::io::Write;
/// use vault::files::{NewFile, WORLD_READABLE};
///
/// let here = tempfile::tempdir()?;
/// let place = here.path().join("long");
/// let new = NewFile::beside(&place, WORLD_READABLE)?;
/// new.file().write_all(b"first")?;
/// assert!(!place.exists());
/// new.put()?;
/// assert_eq!(std::fs::read(place)?, b"first");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct NewFile {
    begun: Begun,
    place: PathBuf,
}

impl NewFile {
    /// Where nothing is yet. That a file can be made there at all is known once this returns.
    ///
    /// # Errors
    /// A file that exists ([`io::ErrorKind::AlreadyExists`]); a disk that fails.
    pub fn beside(place: &Path, mode: u32) -> io::Result<Self> {
        remove_left(place);
        absent(place)?;
        Ok(Self { begun: Begun::new(place, mode)?, place: place.to_owned() })
    }

    /// What is written to.
    pub fn file(&self) -> &File {
        &self.begun.file
    }

    /// Puts it in its place, durably.
    ///
    /// # Errors
    /// A place that was taken meanwhile; a disk that fails.
    pub fn put(self) -> io::Result<()> {
        self.begun.finish(b"", &self.place, rename_new)?;
        sync_parent(&self.place)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Nothing has this name once the file is in its place; and who gives it up has nobody to tell of a disk that fails.
        let _ = fs::remove_file(&self.begun.at);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::files::WORLD_READABLE;

    #[test]
    fn a_file_that_is_given_up_half_written_leaves_nothing_and_a_finished_one_replaces_nothing() {
        let here = tempfile::tempdir().unwrap();
        let place = here.path().join("f");
        let half = NewFile::beside(&place, WORLD_READABLE).unwrap();
        half.file().write_all(b"half").unwrap();
        assert!(!place.exists());
        drop(half);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
        let [one, other] = [b"one", b"two"].map(|content| {
            let new = NewFile::beside(&place, WORLD_READABLE).unwrap();
            new.file().write_all(content).unwrap();
            new
        });
        one.put().unwrap();
        assert_eq!(other.put().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"one");
        assert_eq!(NewFile::beside(&place, 0o644).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }
}
