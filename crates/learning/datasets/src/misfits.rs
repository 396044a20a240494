//! What of a silo's files did not fit the plan, counted where it is no error.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::DatasetError;

/// Files that are named one by one; of more, only the number is given.
const FILES_NAMED_MAX: usize = 8;

/// How many rows did not fit, by kind and column, and which files had none to offer.
///
/// # Privacy
/// For the silo's own operator, and never sent: who has such a row is a question about records. No cell is quoted, so that
/// it may be written down where the table may not.
#[derive(Debug, Default)]
pub struct Misfits {
    rows: BTreeMap<(&'static str, String), Counted>,
    files: Vec<DatasetError>,
    more_files: u64,
}

/// Rows of one kind.
#[derive(Debug)]
struct Counted {
    count: u64,
    /// Of the first: its file and line.
    file: String,
    line: u64,
}

impl Misfits {
    /// Whether everything fitted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.files.is_empty()
    }

    /// How many rows contribute nothing.
    pub fn rows(&self) -> u64 {
        self.rows.values().map(|counted| counted.count).sum()
    }

    /// Whether a whole file contributes nothing.
    pub fn any_file(&self) -> bool {
        !self.files.is_empty()
    }

    pub(crate) fn row(&mut self, why: &DatasetError) {
        let (kind, column, place) = named(why);
        let counted = self.rows.entry((kind, column.to_owned()));
        let (file, line) = place.unwrap_or(("", 0));
        counted.or_insert_with(|| Counted { count: 0, file: file.to_owned(), line }).count += 1;
    }

    pub(crate) fn file(&mut self, why: DatasetError) {
        if self.files.len() < FILES_NAMED_MAX {
            self.files.push(why);
        } else {
            self.more_files += 1;
        }
    }
}

/// One line for all of it.
impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for ((kind, column), Counted { count, file, line }) in &self.rows {
            write!(f, "{between}{count} rows: {kind}")?;
            if !column.is_empty() {
                write!(f, " in column {column}")?;
            }
            write!(f, ", the first in {file}, line {line}")?;
            between = "; ";
        }
        for why in &self.files {
            write!(f, "{between}{}", why.without_cells())?;
            between = "; ";
        }
        if self.more_files > 0 {
            write!(f, "; and {} more files", self.more_files)?;
        }
        Ok(())
    }
}

/// The kind of a row's fault, its column where it has one, and its file and line.
fn named(why: &DatasetError) -> (&'static str, &str, Option<(&str, u64)>) {
    match why {
        DatasetError::Label { file, line, column, cell, .. } => {
            (if cell.is_empty() { "no label" } else { "no class of the plan" }, column, Some((file, *line)))
        }
        DatasetError::NotANumber { file, line, column, cell } => {
            (if cell.is_empty() { "no value" } else { "not a number" }, column, Some((file, *line)))
        }
        DatasetError::NotFinite { file, line, column, .. } => ("not finite", column, Some((file, *line))),
        DatasetError::Ragged { file, line, .. } => {
            ("more or fewer fields than the header", "", Some((file, *line)))
        }
        DatasetError::Quote { file, line } => ("a quote that does not end", "", Some((file, *line))),
        DatasetError::NotUtf8 { file, line } => ("not UTF-8", "", Some((file, *line))),
        DatasetError::LineTooLong { file, line } => ("a line that is too long", "", Some((file, *line))),
        DatasetError::Unreadable { .. }
        | DatasetError::Special { .. }
        | DatasetError::NoFiles { .. }
        | DatasetError::NoHeader { .. }
        | DatasetError::NoRows { .. }
        | DatasetError::TooManyRows { .. }
        | DatasetError::MissingColumn { .. }
        | DatasetError::RepeatedColumn { .. } => ("not a row", "", None),
    }
}
