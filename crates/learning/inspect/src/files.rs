//! Which files are looked at.

use std::fs::File;
use std::path::{Path, PathBuf};

use datasets::{DatasetError, Remarks, files_with_remarks};
use readers::{FileFault, Records, form_of_first};
use registration::{Compression, Dialect, FileKind};

use crate::proposal::InspectError;

/// The file, or the tables of the folder: those that a silo reads there by this dialect. Without one, of the first kind of which there are some.
pub(crate) fn tables(
    path: &Path,
    dialect: Option<&Dialect>,
) -> Result<(Vec<PathBuf>, Remarks), InspectError> {
    let found = path.metadata()?;
    // A pipe would be waited for, and is read once.
    if !found.is_file() && !found.is_dir() {
        return Err(InspectError::NoFile);
    }
    if let Some(dialect) = dialect {
        return Ok(files_with_remarks(path, dialect)?);
    }
    let plain = Dialect::default();
    let packed = Dialect { compression: Compression::Gzip, ..plain.clone() };
    let of_kind = |kind| Dialect { kind, ..plain.clone() };
    let others = [packed, of_kind(FileKind::Parquet), of_kind(FileKind::Idx)];
    let of_other = || others.iter().map(|dialect| files_with_remarks(path, dialect)).find(Result::is_ok);
    match files_with_remarks(path, &plain) {
        Err(none @ DatasetError::NoFiles { .. }) => match of_other() {
            Some(found) => Ok(found?),
            None if form_of_first(path).is_some() => Ok((vec![path.to_owned()], Remarks::default())),
            None => Err(none.into()),
        },
        found => Ok(found?),
    }
}

/// Leaves out the columns that cannot be read, such as lists, where a file keeps each by itself: their places, and why.
///
/// # Errors
/// As [`Records::select`], of columns that it took one by one.
pub(crate) fn leave_out_unreadable(
    records: &mut Records<File>,
) -> Result<Vec<(usize, FileFault)>, FileFault> {
    if records.has_lines() {
        return Ok(Vec::new());
    }
    let (mut read, mut left_out) = (Vec::new(), Vec::new());
    for place in 0..records.names().len() {
        match records.select(&[place]) {
            Ok(()) => read.push(place),
            Err(why) => left_out.push((place, why)),
        }
    }
    records.select(&read)?;
    Ok(left_out)
}
