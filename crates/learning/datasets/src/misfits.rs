//! What of a silo's files did not fit the plan, counted where it is no error.

use std::collections::BTreeMap;
use std::fmt;

use readers::{ImageFault, RecordFault};

use crate::error::DatasetError;

/// Files that are named one by one; of more, only the number is given.
const FILES_NAMED_MAX: usize = 8;

/// The same of kinds of faults.
const KINDS_NAMED_MAX: usize = 32;

/// How many rows did not fit, by kind and column, and which files had none to offer.
///
/// # Privacy
/// For the silo's own operator, and never sent: who has such a row is a question about records. No cell is quoted, so that
/// it may be written down where the table may not.
#[derive(Debug, Default)]
pub struct Misfits {
    rows: u64,
    kinds: BTreeMap<(&'static str, String), Counted>,
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
        self.rows == 0 && self.files.is_empty()
    }

    /// How many rows contribute nothing.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether a whole file contributes nothing.
    pub fn any_file(&self) -> bool {
        !self.files.is_empty()
    }

    /// How much is wrong in all: of a row, each of its cells that does not fit.
    pub(crate) fn faults(&self) -> u64 {
        self.kinds.values().map(|counted| counted.count).sum()
    }

    /// A row, with all that is wrong with it.
    pub(crate) fn row(&mut self, faults: &[DatasetError]) {
        self.rows += 1;
        for why in faults {
            let (kind, column, place) = named(why);
            let (file, line) = place.unwrap_or(("", 0));
            let counted = self.kinds.entry((kind, column.to_owned()));
            counted.or_insert_with(|| Counted { count: 0, file: file.to_owned(), line }).count += 1;
        }
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
        for ((kind, column), Counted { count, file, line }) in self.kinds.iter().take(KINDS_NAMED_MAX) {
            write!(f, "{between}{count} rows: {kind}")?;
            if !column.is_empty() {
                write!(f, " in column {column}")?;
            }
            write!(f, ", the first in {file}, line {line}")?;
            between = "; ";
        }
        if self.kinds.len() > KINDS_NAMED_MAX {
            write!(f, "{between}and more in {} columns or ways", self.kinds.len() - KINDS_NAMED_MAX)?;
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
        DatasetError::Missing { file, line, column } => ("no value", column, Some((file, *line))),
        DatasetError::NotANumber { file, line, column, .. } => ("not a number", column, Some((file, *line))),
        DatasetError::Category { file, line, column, .. } => {
            ("no category of the plan", column, Some((file, *line)))
        }
        DatasetError::Day { file, line, column, .. } => ("no day", column, Some((file, *line))),
        DatasetError::NotFinite { file, line, column, .. } => ("not finite", column, Some((file, *line))),
        DatasetError::Unregistered { file, line, column, why, .. } => {
            (why.as_str(), column, Some((file, *line)))
        }
        DatasetError::Record { file, line, fault } => (of_record(fault), "", Some((file, *line))),
        DatasetError::Unreadable { .. }
        | DatasetError::Special { .. }
        | DatasetError::NoFiles { .. }
        | DatasetError::NoFolder { .. }
        | DatasetError::File { .. }
        | DatasetError::NoRows { .. }
        | DatasetError::TooManyRows { .. }
        | DatasetError::MissingColumn { .. }
        | DatasetError::NotRegistered { .. }
        | DatasetError::Misfits { .. }
        | DatasetError::RepeatedColumn { .. } => ("not a row", "", None),
    }
}

fn of_record(fault: &RecordFault) -> &'static str {
    match fault {
        RecordFault::NotText(_) => "not text in the file's encoding",
        RecordFault::TooLong => "a record that is too long",
        RecordFault::Quote => "a quote that does not end",
        RecordFault::Empty => "nothing in the record",
        RecordFault::Ragged { .. } => "more or fewer cells than columns",
        RecordFault::TooWide => "more cells than a file may have columns",
        RecordFault::Image { fault: ImageFault::Size { .. }, .. } => "an image of another size",
        RecordFault::Image { .. } => "no image that can be read",
        RecordFault::Decimal => "a decimal number with too many digits",
    }
}
