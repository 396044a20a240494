//! A folder that is being filled.

use std::fs;
use std::path::Path;

use crate::error::FoundingError;
use crate::{CONFIG, MASTER_KEY};

/// What was written is taken away again where it is not finished.
pub(crate) struct Unfinished<'a> {
    folder: &'a Path,
    made: bool,
    finished: bool,
}

impl<'a> Unfinished<'a> {
    /// The folder, made where it is not there. It is filled in its place: it may be a mounted one, or belong to somebody.
    pub(crate) fn empty(folder: &'a Path) -> Result<Self, FoundingError> {
        let made = !folder.exists();
        vault::files::make_folders(folder)
            .map_err(|why| FoundingError::Folder { folder: folder.to_owned(), why })?;
        let entries =
            fs::read_dir(folder).map_err(|why| FoundingError::NotRead { folder: folder.to_owned(), why })?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name());
        }
        let holds = |file: &str| names.iter().any(|name| name == file);
        if holds(MASTER_KEY) && !holds(CONFIG) {
            return Err(FoundingError::CutOff(folder.to_owned()));
        }
        if !names.is_empty() {
            return Err(FoundingError::NotEmpty(folder.to_owned()));
        }
        Ok(Self { folder, made, finished: false })
    }

    pub(crate) fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be removed stays, and the next call says so.
        for entry in fs::read_dir(self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        if self.made {
            let _ = fs::remove_dir(self.folder);
        }
    }
}
