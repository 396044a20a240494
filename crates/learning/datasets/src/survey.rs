//! What can be said of a silo's files without a plan: their columns, and whether they hold too many rows.
//!
//! # Privacy
//! For the silo's own operator, before any plan is seen.

use std::fs;
use std::path::Path;

use registration::Dialect;

use crate::error::DatasetError;
use crate::files::{files, name, records};
use crate::table::ROWS_MAX;

/// What the shortest row takes, with its end.
const ROW_BYTES_MIN: u64 = 2;

/// The columns that a file's header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The file's name.
    pub file: String,
    /// In the header's order.
    pub names: Vec<String>,
}

/// The header of the file, or of every file of the folder; no row is read.
///
/// # Errors
/// [`DatasetError`]: what cannot be read, or has no header.
pub fn columns(path: &Path) -> Result<Vec<Columns>, DatasetError> {
    let dialect = Dialect::default();
    let header = |path: &Path| {
        let names = records(path, &dialect)?.names().to_vec();
        Ok(Columns { file: name(path), names })
    };
    files(path, &dialect)?.iter().map(|file| header(file)).collect()
}

/// Whether the files hold more rows than a table may have. They are read only where they are long enough for that.
///
/// # Errors
/// [`DatasetError::TooManyRows`] where they do; another where they cannot be read.
pub(crate) fn check_rows(path: &Path) -> Result<(), DatasetError> {
    check_rows_within(path, ROWS_MAX as u64)
}

fn check_rows_within(path: &Path, rows_max: u64) -> Result<(), DatasetError> {
    let dialect = Dialect::default();
    let files = files(path, &dialect)?;
    let lengths = files.iter().map(|file| fs::metadata(file).map(|found| found.len()));
    if lengths.flatten().sum::<u64>() <= rows_max.saturating_mul(ROW_BYTES_MIN) {
        return Ok(());
    }
    let mut rows = 0;
    for path in &files {
        let file = name(path);
        let failed = |fault| DatasetError::of_file(&file, path, fault);
        let mut records = records(path, &dialect)?;
        // One that is broken takes a place like every other.
        while let Some(record) = records.next_record().map_err(failed)? {
            rows += 1;
            if rows > rows_max {
                return Err(DatasetError::TooManyRows { line: record.line, file });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_a_row_too_many_is_found_from_its_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.csv"), "y,a\n0,1\n\n1,x\n").unwrap();
        fs::write(folder.path().join("b.csv"), "y,a\n0,1").unwrap();
        assert!(check_rows_within(folder.path(), 3).is_ok());
        let why = check_rows_within(folder.path(), 2).unwrap_err();
        assert!(matches!(&why, DatasetError::TooManyRows { file, line: 2 } if file == "b.csv"), "{why}");
        assert!(check_rows_within(&folder.path().join("a.csv"), 2).is_ok());
        assert!(check_rows(folder.path()).is_ok());
        assert!(check_rows(&folder.path().join("none.csv")).is_err());
    }

    #[test]
    fn the_columns_of_every_file_are_listed_without_a_plan() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.csv"), "\u{feff}y, \"a,b\"\r\n0,1\n").unwrap();
        fs::write(folder.path().join("b.csv"), "a\n").unwrap();
        let found = columns(folder.path()).unwrap();
        assert_eq!(found[1], Columns { file: "b.csv".into(), names: vec!["a".into()] });
        assert_eq!(found[0].names.len(), 3, "a quote begins a field: {found:?}");
        fs::write(folder.path().join("b.csv"), "").unwrap();
        assert!(matches!(columns(folder.path()), Err(DatasetError::File { file, .. }) if file == "b.csv"));
    }
}
