//! Which files are looked at.

use std::path::{Path, PathBuf};

use datasets::{DatasetError, Remarks, files_with_remarks};
use registration::{Compression, Dialect};

use crate::proposal::InspectError;

/// The file, or the tables of the folder: those that a silo reads there.
pub(crate) fn tables(
    path: &Path,
    compression: Option<Compression>,
) -> Result<(Vec<PathBuf>, Remarks), InspectError> {
    let found = path.metadata()?;
    // A pipe would be waited for, and is read once.
    if !found.is_file() && !found.is_dir() {
        return Err(InspectError::NoFile);
    }
    let listed = |compression| files_with_remarks(path, &Dialect { compression, ..Dialect::default() });
    let files = match compression {
        Some(compression) => listed(compression),
        None => match listed(Compression::None) {
            Err(DatasetError::NoFiles { .. }) => listed(Compression::Gzip),
            found => found,
        },
    };
    Ok(files?)
}
