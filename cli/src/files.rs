//! New files and folders that are whole or not there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) use operate::{Unusable, read_secret_text, read_text};
pub(crate) use vault::files::write_new;

/// Why a new file or folder is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Something is.
    #[error("`{}` exists and is not overwritten: choose another name", place.display())]
    Taken { place: PathBuf },
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

/// A folder that is being filled beside its place, and gone if it is not [`NewFolder::put`] there.
pub(crate) struct NewFolder {
    made: tempfile::TempDir,
    place: PathBuf,
}

impl NewFolder {
    /// Where nothing is yet. That a folder can be made there at all is known once this returns.
    ///
    /// # Errors
    /// A place that is taken, or cannot be written.
    pub(crate) fn beside(place: &Path) -> Result<Self, WriteError> {
        if place.exists() {
            return Err(WriteError::Taken { place: place.to_owned() });
        }
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir_in(parent);
        Ok(Self { made: made.map_err(|why| cannot_write(place, why))?, place: place.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.made.path()
    }

    /// Adds a file, and the folders above it.
    pub(crate) fn add(&self, name: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
        let file = self.path().join(name);
        let written = file.parent().map_or(Ok(()), fs::create_dir_all);
        written.and_then(|()| write_new(&file, bytes, mode)).map_err(|why| cannot_write(&self.place, why))
    }

    /// In one step, so that a reader sees none or all of it.
    pub(crate) fn put(self) -> Result<(), WriteError> {
        fs::rename(self.path(), &self.place).map_err(|why| cannot_write(&self.place, why))
    }
}

pub(crate) fn cannot_write(place: &Path, why: io::Error) -> WriteError {
    WriteError::Io { place: place.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_finished_leaves_nothing_and_a_finished_one_is_whole() {
        let here = tempfile::tempdir().unwrap();
        let place = here.path().join("new");
        let folder = NewFolder::beside(&place).unwrap();
        folder.add("key", b"k", 0o600).unwrap();
        assert!(folder.add("key", b"other", 0o600).is_err());
        drop(folder);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
        let folder = NewFolder::beside(&place).unwrap();
        folder.add("key", b"k", 0o600).unwrap();
        folder.add("a/b", b"ab", 0o644).unwrap();
        folder.put().unwrap();
        assert_eq!(fs::read(place.join("a/b")).unwrap(), b"ab");
        assert_eq!(fs::metadata(place.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(matches!(NewFolder::beside(&place), Err(WriteError::Taken { .. })));
        assert!(matches!(NewFolder::beside(&here.path().join("no/where")), Err(WriteError::Io { .. })));
    }
}
