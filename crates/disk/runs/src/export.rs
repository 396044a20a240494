//! What runs have published, in the clear, for whoever checks it offline.

use std::path::{Path, PathBuf};

use store::{CHECKPOINTS, StoreError};
use vault::files::WORLD_READABLE;
use vault::{NewFolder, NewFolderError};

use crate::folders::{FIRST, RunFolders, RunFoldersError};

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A published file that cannot be read, or that the vault does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folders of the later runs cannot be read.
    #[error(transparent)]
    Folders(#[from] RunFoldersError),
    /// The new folder is there already, or cannot be written.
    #[error(transparent)]
    New(#[from] NewFolderError),
}

impl RunFolders {
    /// Writes the published versions of every run into the new folder `out`, as they lie in the data folder: those of the first run
    /// in its `checkpoints`, of each later one below `runs`. The daemon may go on. Gives each run's folder, with how many versions
    /// are in it; `out` is there whole or not at all.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export(&self, out: &Path) -> Result<Vec<(PathBuf, usize)>, ExportError> {
        let [below, new] = [Path::new(""), out].map(|folder| RunFolders::new(folder, None));
        let made = NewFolder::world_readable(out)?;
        let mut exported = Vec::new();
        for number in std::iter::once(FIRST).chain(self.later()?) {
            // A later run that is being submitted, or whose submission a crash cut short.
            if number != FIRST && !self.folder(number).join(CHECKPOINTS).is_dir() {
                continue;
            }
            let (published, checkpoints) = (self.published(number), below.folder(number).join(CHECKPOINTS));
            let names = published.names()?;
            // A run without a version yet is a folder as well.
            made.add_folder(&checkpoints)?;
            for name in &names {
                for file in published.files(name)? {
                    let to = checkpoints.join(name).join(&file);
                    made.add(to, &published.read(name, &file)?, WORLD_READABLE)?;
                }
            }
            exported.push((new.folder(number), names.len()));
        }
        made.put()?;
        Ok(exported)
    }
}
