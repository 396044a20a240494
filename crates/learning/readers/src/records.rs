//! The records of files, whatever the files are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use registration::{Dialect, FileKind};

use crate::cells::Cells;
use crate::fault::{FileFault, RecordFault};
use crate::idx::IdxRows;
use crate::images::ImageRows;
use crate::open::open;
use crate::parquet::ParquetRows;
use crate::resemblance::Resemblance;
use crate::row::{Row, Rows};
use crate::text::TextRecords;

/// Longest record, the end of its line included.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// Most columns of a file.
pub const COLUMNS_MAX: usize = 1 << 18;

/// A file's records in their order.
pub struct Records<R>(Reading<R>);

enum Reading<R> {
    Text(Box<TextRecords<R>>),
    /// Records that the file has cut into cells itself.
    Rows {
        rows: Box<dyn Rows>,
        row: Row,
        count: u64,
    },
}

/// A record, which has its place even where it is broken.
#[derive(Debug)]
pub struct Record<'a> {
    /// The line on which it begins, counted from 1. Of files that have no lines, the record's number.
    pub line: u64,
    /// Its cells, as many as there are columns.
    pub cells: Result<Cells<'a>, RecordFault>,
}

impl Records<File> {
    /// Opens a file of the kind that the dialect says, and nothing that is no regular file: a pipe or a device may never end. Of a pair
    /// of IDX files `path` is that of the images; of images it is the folder in which each class has its own.
    ///
    /// # Errors
    /// As [`Records::new`]; and what cannot be opened, or is none of that kind.
    pub fn open(path: &Path, dialect: &Dialect) -> Result<Self, FileFault> {
        dialect.marks().map_err(FileFault::Dialect)?;
        let rows: Box<dyn Rows> = match dialect.kind {
            FileKind::Csv => return Self::new(open(path)?, dialect),
            FileKind::Parquet => Box::new(ParquetRows::new(open(path)?)?),
            FileKind::Idx => Box::new(IdxRows::open(path, dialect.image)?),
            FileKind::Images => Box::new(ImageRows::open(path, dialect.image)?),
        };
        Ok(Self(Reading::Rows { rows, row: Row::default(), count: 0 }))
    }
}

impl<R: Read> Records<R> {
    /// Reads the header of a text file that is open, where the dialect says that it has one.
    ///
    /// # Errors
    /// A dialect that cannot be used or is not of text, a file that is not packed or encoded as it says, a header that is broken or is not there.
    pub fn new(file: R, dialect: &Dialect) -> Result<Self, FileFault> {
        match dialect.kind {
            FileKind::Csv => Ok(Self(Reading::Text(Box::new(TextRecords::new(file, dialect)?)))),
            other => Err(FileFault::NotText(other.as_str())),
        }
    }

    /// The columns' names in their order.
    pub fn names(&self) -> &[String] {
        match &self.0 {
            Reading::Text(text) => text.names(),
            Reading::Rows { rows, .. } => rows.names(),
        }
    }

    /// The line that was taken for the header, where there is one.
    pub fn header_line(&self) -> Option<u64> {
        match &self.0 {
            Reading::Text(text) => text.header_line(),
            Reading::Rows { .. } => None,
        }
    }

    /// Whether the file has lines. Where it has none, a record's number stands for its line.
    pub fn has_lines(&self) -> bool {
        matches!(self.0, Reading::Text(_))
    }

    /// What the file looks like that the dialect does not say.
    pub fn resembles(&self) -> Option<Resemblance> {
        match &self.0 {
            Reading::Text(text) => text.resembles(),
            Reading::Rows { .. } => None,
        }
    }

    /// The first line in which all of these names stand, where that is near the file's beginning.
    pub fn line_with<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Option<u64> {
        match &self.0 {
            Reading::Text(text) => text.line_with(names),
            Reading::Rows { .. } => None,
        }
    }

    /// Leaves out all columns but these, by their places: of files that keep each column by itself the others are not read. Without
    /// it all are asked for.
    ///
    /// # Errors
    /// A column that cannot be read, by its name.
    pub fn select(&mut self, columns: &[usize]) -> Result<(), FileFault> {
        match &mut self.0 {
            Reading::Text(_) => Ok(()),
            Reading::Rows { rows, .. } => rows.select(columns),
        }
    }

    /// The next record; `None` at the end of the file. Blank lines and comments are none.
    ///
    /// # Errors
    /// What ends the reading of the file. What is wrong with one record is in that record.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, FileFault> {
        match &mut self.0 {
            Reading::Text(text) => text.next_record(),
            Reading::Rows { rows, row, count } => {
                row.begin(rows.names().len());
                let Some(read) = rows.next_row(row)? else { return Ok(None) };
                *count += 1;
                Ok(Some(Record { line: *count, cells: read.and_then(|()| row.cells()) }))
            }
        }
    }
}
