//! What can be wrong with a silo's files, each with its place and its remedy.

use std::io;
use std::path::PathBuf;

use crate::lines::LINE_BYTES_MAX;
use crate::table::ROWS_MAX;

/// Why files are not the table that the plan asks for.
///
/// # Privacy
/// For the silo's own operator. A message quotes one cell at most, never a row; [`DatasetError::without_cells`] quotes none.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A path that cannot be opened or read.
    #[error("{}: cannot be read ({why}); check the path and its permissions", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Something that has no end, or that waits for another process: nothing of it is opened.
    #[error("{}: this is {kind}, and not opened; put a regular file in its place", path.display())]
    Special {
        /// What is no file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A folder without tables.
    #[error("{}: the folder holds no file that ends in .csv; put the silo's files there", path.display())]
    NoFiles { path: PathBuf },
    /// A file without a header line.
    #[error("{file}: the file is empty; its first line must name the columns")]
    NoHeader {
        /// The file's name.
        file: String,
    },
    /// Headers and no row under any of them.
    #[error("{file}: there is a header and no row under it; a silo needs at least one row")]
    NoRows {
        /// The (last) file's name.
        file: String,
    },
    /// A header that lacks a column.
    #[error("{file}: the header has no column {column}, which the plan asks for; add or rename it")]
    MissingColumn {
        /// The file's name.
        file: String,
        column: String,
    },
    /// A header that names one column twice.
    #[error("{file}: the header names column {column} twice; remove or rename one of them")]
    RepeatedColumn {
        /// The file's name.
        file: String,
        column: String,
    },
    /// A line that is not UTF-8.
    #[error("{file}, line {line}: the line is not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
    },
    /// A line too long to be a row.
    #[error(
        "{file}, line {line}: the line is longer than {LINE_BYTES_MAX} bytes; end each row with a line break"
    )]
    LineTooLong {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
    },
    /// A quoted field that does not end as one.
    #[error(
        "{file}, line {line}: a quoted field does not end before a comma or the end of the line; close its quote"
    )]
    Quote {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
    },
    /// A row with more or fewer fields than the header.
    #[error("{file}, line {line}: the row has {actual} fields and the header {expected}; correct the row")]
    Ragged {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        actual: usize,
    },
    /// A feature that is not a number.
    #[error(
        "{file}, line {line}, column {column}: {cell:?} is not a number; every feature must be a number, \
         correct the file"
    )]
    NotANumber {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
        /// The cell, shortened.
        cell: String,
    },
    /// A feature that is infinite, not a number by name, or beyond a double.
    #[error(
        "{file}, line {line}, column {column}: {cell:?} is not finite; every feature must be a finite number, \
         correct the file"
    )]
    NotFinite {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
        /// The cell, shortened.
        cell: String,
    },
    /// A label that is no class.
    #[error(
        "{file}, line {line}, column {column}: {cell:?} is no class; every label must be a whole number from 0 to \
         {largest}, correct the file"
    )]
    Label {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
        /// The cell, shortened.
        cell: String,
        /// The last class.
        largest: usize,
    },
    /// More rows than a table may have.
    #[error("{file}, line {line}: the table has more than {ROWS_MAX} rows; split it over several silos")]
    TooManyRows {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
    },
}

impl DatasetError {
    /// Place, kind and remedy, without a character of a cell: for whoever may not see the data. Where a header line is missing, the
    /// names in it are cells of the first row.
    pub fn without_cells(&self) -> String {
        let place = |file: &str, line: u64, column: &str| format!("{file}, line {line}, column {column}");
        match self {
            Self::NotANumber { file, line, column, .. } => format!(
                "{}: the cell is not a number; every feature must be a number, correct the file",
                place(file, *line, column)
            ),
            Self::NotFinite { file, line, column, .. } => format!(
                "{}: the number is not finite; every feature must be a finite number, correct the file",
                place(file, *line, column)
            ),
            Self::Label { file, line, column, largest, .. } => format!(
                "{}: the cell is no class; every label must be a whole number from 0 to {largest}, correct the file",
                place(file, *line, column)
            ),
            Self::RepeatedColumn { file, .. } => {
                format!("{file}: the header names a column twice; remove or rename one of them")
            }
            other => other.to_string(),
        }
    }
}
