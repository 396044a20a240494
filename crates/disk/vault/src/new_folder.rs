//! New folders that are whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::files::{self, FOLDER_OWNER_ONLY, FOLDER_WORLD_READABLE, OWNER_ONLY};

/// Why a new folder is not there.
#[derive(Debug, thiserror::Error)]
pub enum NewFolderError {
    /// Something is there already.
    #[error("`{}` exists and is not overwritten: choose another name", place.display())]
    Taken { place: PathBuf },
    /// A name in the folder leads out of it.
    #[error("`{}` is no name in `{}`: it leads out of it", name.display(), place.display())]
    Outside {
        name: PathBuf,
        /// Where the folder was to be.
        place: PathBuf,
    },
    /// The system refuses.
    #[error("`{}` cannot be written: {why}", place.display())]
    Io {
        /// Where the folder was to be.
        place: PathBuf,
        #[source]
        why: io::Error,
    },
}

/// A folder that is being filled beside its place, and gone if it is not [`NewFolder::put`] there. What a process has filled that
/// was killed stays beside the place, under its name with 16 random hexadecimal digits and `.tmp` after it, until somebody
/// removes it.
///
/// ```
/// use vault::NewFolder;
/// use vault::files::WORLD_READABLE;
///
/// let here = tempfile::tempdir()?;
/// let place = here.path().join("new");
/// let folder = NewFolder::beside(&place)?;
/// folder.add("a/b", b"ab", WORLD_READABLE)?;
/// assert!(!place.exists());
/// folder.put()?;
/// assert_eq!(std::fs::read(place.join("a/b"))?, b"ab");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NewFolder {
    made: PathBuf,
    place: PathBuf,
    /// Of it and of the folders in it.
    mode: u32,
}

impl NewFolder {
    /// Where nothing is yet, for its owner alone. That a folder can be made there at all is known once this returns.
    ///
    /// # Errors
    /// A place that is taken, or cannot be written.
    pub fn beside(place: &Path) -> Result<Self, NewFolderError> {
        Self::of_mode(place, FOLDER_OWNER_ONLY)
    }

    /// As [`NewFolder::beside`], for everybody on the machine, as far as the umask allows: for published models.
    ///
    /// # Errors
    /// As [`NewFolder::beside`].
    pub fn world_readable(place: &Path) -> Result<Self, NewFolderError> {
        Self::of_mode(place, FOLDER_WORLD_READABLE)
    }

    fn of_mode(place: &Path, mode: u32) -> Result<Self, NewFolderError> {
        if place.exists() {
            return Err(NewFolderError::Taken { place: place.to_owned() });
        }
        let made = files::fresh_beside(place).and_then(|made| {
            files::make_folder(&made, mode)?;
            Ok(made)
        });
        let made = made.map_err(|why| NewFolderError::Io { place: place.to_owned(), why })?;
        Ok(Self { made, place: place.to_owned(), mode })
    }

    /// Makes a folder of these files, each by its path in it; whoever may read them may look into it.
    ///
    /// # Errors
    /// As the three steps.
    pub fn whole<N: AsRef<Path>>(
        place: &Path,
        files: &[(N, Vec<u8>)],
        mode: u32,
    ) -> Result<(), NewFolderError> {
        let made = if mode == OWNER_ONLY { Self::beside(place)? } else { Self::world_readable(place)? };
        files.iter().try_for_each(|(name, bytes)| made.add(name, bytes, mode))?;
        made.put()
    }

    /// Adds a file, and the folders above it.
    ///
    /// # Errors
    /// A file that is there already, a name that leads out of the folder, and a disk that fails.
    pub fn add(&self, name: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), NewFolderError> {
        let file = self.inside(name.as_ref())?;
        let written = file.parent().map_or(Ok(()), |above| files::make_folders_as(above, self.mode));
        written
            .and_then(|()| files::write_synced(&file, bytes, mode))
            .and_then(|()| files::sync_parent(&file))
            .map_err(|why| self.refused(why))
    }

    /// Adds a file that is written bit by bit, and the folders above it. It is durable after [`NewFolder::sync`].
    ///
    /// # Errors
    /// As [`NewFolder::add`].
    pub fn create(&self, name: impl AsRef<Path>, mode: u32) -> Result<File, NewFolderError> {
        let file = self.inside(name.as_ref())?;
        let above = file.parent().map_or(Ok(()), |above| files::make_folders_as(above, self.mode));
        above.and_then(|()| files::create(&file, mode)).map_err(|why| self.refused(why))
    }

    /// Adds a folder, which may stay empty.
    ///
    /// # Errors
    /// A name that leads out of this one, and a disk that fails.
    pub fn add_folder(&self, name: impl AsRef<Path>) -> Result<(), NewFolderError> {
        files::make_folders_as(&self.inside(name.as_ref())?, self.mode).map_err(|why| self.refused(why))
    }

    /// The path of what is called so, which has a name at every step: no `..`, and no root.
    fn inside(&self, name: &Path) -> Result<PathBuf, NewFolderError> {
        let mut steps = name.components().peekable();
        if steps.peek().is_some() && steps.all(|step| matches!(step, Component::Normal(_))) {
            return Ok(self.made.join(name));
        }
        Err(NewFolderError::Outside { name: name.to_owned(), place: self.place.clone() })
    }

    /// Makes all that was written to it durable, in one step for files of any number.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn sync(&self) -> Result<(), NewFolderError> {
        let synced = File::open(&self.made).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        synced.map_err(|why| self.refused(why))
    }

    /// Puts it in its place in one step, so that a reader sees none or all of it.
    ///
    /// # Errors
    /// A place that was taken meanwhile, and a disk that fails.
    pub fn put(self) -> Result<(), NewFolderError> {
        fs::rename(&self.made, &self.place).map_err(|why| self.refused(why))
    }

    fn refused(&self, why: io::Error) -> NewFolderError {
        NewFolderError::Io { place: self.place.clone(), why }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Nothing is there once it is in its place; and who gives it up has nobody to tell of a disk that fails.
        let _ = fs::remove_dir_all(&self.made);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        let modes = |place: &Path| {
            [place.to_owned(), place.join("a")]
                .map(|of| fs::metadata(of).unwrap().permissions().mode() & 0o777)
        };
        assert_eq!(modes(&place), [FOLDER_OWNER_ONLY; 2]);
        let others = here.path().join("others");
        NewFolder::whole(&others, &[("a/b", b"ab".to_vec())], 0o644).unwrap();
        assert_eq!(modes(&others), [FOLDER_WORLD_READABLE; 2], "what others may read they find");
        assert!(matches!(NewFolder::beside(&place), Err(NewFolderError::Taken { .. })));
        assert!(matches!(NewFolder::beside(&here.path().join("no/where")), Err(NewFolderError::Io { .. })));
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused_and_nothing_is_written() {
        let here = tempfile::tempdir().unwrap();
        let folder = NewFolder::beside(&here.path().join("new")).unwrap();
        let absolute = here.path().join("a");
        for name in [Path::new("../a"), Path::new("b/../../a"), Path::new("./a"), Path::new(""), &absolute] {
            for refused in [folder.add(name, b"a", 0o600), folder.add_folder(name)] {
                assert!(matches!(refused, Err(NewFolderError::Outside { .. })), "{}", name.display());
            }
        }
        let why = folder.add("../a", b"a", 0o600).unwrap_err().to_string();
        assert_eq!(why, format!("`../a` is no name in `{}`: it leads out of it", folder.place.display()));
        assert_eq!(fs::read_dir(&folder.made).unwrap().count(), 0);
        drop(folder);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_made_whole_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("round-1");
        let files = [("manifest.json", b"{}".to_vec()), ("model.sig", b"sig".to_vec())];
        NewFolder::whole(&out, &files, 0o644).unwrap();
        assert_eq!(fs::read(out.join("model.sig")).unwrap(), b"sig");
        let again = NewFolder::whole(&out, &files, 0o644).unwrap_err();
        assert!(again.to_string().contains("not overwritten"), "{again}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
