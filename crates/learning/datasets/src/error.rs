//! What can be wrong with a silo's files, each with its place and its remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use readers::{FileFault, RecordFault};
use registration::Misread;

use crate::misfits::Misfits;
use crate::table::ROWS_MAX;

const SHOWN_CHARS_MAX: usize = 32;

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
    #[error(
        "{}: the folder holds no file {named}; put the silo's files there under such names, or register the `kind` that they are",
        path.display()
    )]
    NoFiles {
        path: PathBuf,
        /// How files of the registered kind are named.
        named: &'static str,
    },
    /// A file, where the files are several by their kind.
    #[error("{}: this is no folder, and files of kind \"{kind}\" lie in one; name the folder that holds them", path.display())]
    NoFolder { path: PathBuf, kind: &'static str },
    /// A file that gives no records.
    #[error("{file}: {fault}")]
    File {
        /// The file's name.
        file: String,
        fault: FileFault,
    },
    /// Headers and no row under any of them.
    #[error("{file}: there is a header and no row under it; a silo needs at least one row")]
    NoRows {
        /// The (last) file's name.
        file: String,
    },
    /// A header that lacks a column.
    #[error("{file}: {header} has no column {column}{}, {}; {}", and_others(*.others), wanted(*.registered), near_or(.near.as_deref(), .remedy))]
    MissingColumn {
        /// The file's name.
        file: String,
        column: String,
        /// How many more are missing.
        others: usize,
        /// Whether it is wanted because it is registered, and not by the plan alone.
        registered: bool,
        /// What was taken for the header, and how many names it has.
        header: Box<str>,
        /// Of the file's names, shortened, the one that differs in how it is written alone.
        near: Option<Box<str>>,
        /// What would most likely help where there is none.
        remedy: Box<str>,
    },
    /// A header that names a column of the plan twice.
    #[error("{file}: the header names column {column} twice; remove or rename one of them")]
    RepeatedColumn {
        /// The file's name.
        file: String,
        column: String,
    },
    /// A record that is broken.
    #[error("{file}, line {line}: {fault}")]
    Record {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        fault: RecordFault,
    },
    /// Several cells or rows that do not fit.
    #[error("{}", in_all(first, misfits))]
    Misfits {
        /// The first of all.
        first: Box<DatasetError>,
        /// All of them, counted.
        misfits: Misfits,
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
    /// An empty cell.
    #[error(
        "{file}, line {line}, column {column}: the cell is empty, and the plan has nothing that stands for one; fill it in, take \
         the row out, or ask the plan's author for `missing`"
    )]
    Missing {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
    },
    /// A text that the plan does not list.
    #[error(
        "{file}, line {line}, column {column}: {cell:?} is none of the plan's categories; correct the file, or ask the plan's \
         author to list it"
    )]
    Category {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
        /// The cell, shortened.
        cell: String,
    },
    /// A day that is none.
    #[error(
        "{file}, line {line}, column {column}: {cell:?} is no day; write days like 2020-01-31, correct the file"
    )]
    Day {
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
        "{file}, line {line}, column {column}: {cell:?} is no class; every label must be {classes}, correct the file"
    )]
    Label {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        column: String,
        /// The cell, shortened.
        cell: String,
        /// What a label must be.
        classes: String,
    },
    /// A cell of which the registration does not know what it says.
    #[error("{file}, line {line}, column {column}: {cell:?} {why}; correct the file or the registration")]
    Unregistered {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        /// In the federation's words.
        column: String,
        /// The cell, shortened.
        cell: String,
        why: Misread,
    },
    /// A column of the plan that the registration has not, or ignores.
    #[error(
        "the registration has no column {column}, which the plan asks for; add it, or take part in no such plan"
    )]
    NotRegistered {
        /// In the federation's words.
        column: String,
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
            Self::Unregistered { file, line, column, why, .. } => {
                format!(
                    "{}: the cell {why}; correct the file or the registration",
                    place(file, *line, column)
                )
            }
            Self::Category { file, line, column, .. } => format!(
                "{}: the cell is none of the plan's categories; correct the file, or ask the plan's author to list it",
                place(file, *line, column)
            ),
            Self::Day { file, line, column, .. } => format!(
                "{}: the cell is no day; write days like 2020-01-31, correct the file",
                place(file, *line, column)
            ),
            Self::Label { file, line, column, classes, .. } => format!(
                "{}: the cell is no class; every label must be {classes}, correct the file",
                place(file, *line, column)
            ),
            // Without a header line, what stands in brackets may be a cell's.
            Self::MissingColumn { file, column, others, registered, header, near: Some(_), .. } => format!(
                "{file}: {header} has no column {column}{}, {}; a name there differs in case, spaces or \
                 brackets alone: rename it",
                and_others(*others),
                wanted(*registered)
            ),
            // An image's own name may be a person's.
            Self::Record { file, line, fault: RecordFault::Image { fault, .. } } => {
                format!("{file}, image {line}: {fault}")
            }
            Self::Misfits { first, misfits } => in_all(&first.without_cells(), misfits),
            other => other.to_string(),
        }
    }

    /// What keeps a file from being read, as an error that names it.
    pub(crate) fn of_file(name: &str, path: &Path, fault: FileFault) -> Self {
        match fault {
            FileFault::Unreadable(why) => Self::Unreadable { path: path.to_owned(), why },
            FileFault::Special(kind) => Self::Special { path: path.to_owned(), kind },
            fault => Self::File { file: name.to_owned(), fault },
        }
    }
}

/// A cell as an error shows it.
pub(crate) fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", cell.split_at(end).0),
        None => cell.to_owned(),
    }
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" (nor {others} more)"),
    }
}

fn wanted(registered: bool) -> &'static str {
    if registered { "which is registered" } else { "which the plan asks for" }
}

fn near_or(near: Option<&str>, otherwise: &str) -> String {
    match near {
        Some(near) => format!("the nearest is {near:?}: rename it"),
        None => otherwise.to_owned(),
    }
}

fn in_all(first: &impl fmt::Display, misfits: &Misfits) -> String {
    format!("{first}; in all {} rows do not fit: {misfits}", misfits.rows())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_quoted_in_part() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(33)), format!("{}…", "é".repeat(32)));
    }
}
