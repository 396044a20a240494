//! A silo's table in memory, and where it comes from.

use std::fmt;
use std::fs::{self, File, FileType};
use std::io::{BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use params::Digest;
use plan::Data;

use crate::error::DatasetError;
use crate::misfits::Misfits;
use crate::table::{NO_LABEL, Table};

/// A silo's table, scaled as the plan asks.
///
/// # Privacy
/// Stays in the silo. `Debug` shows the shape only.
pub struct Dataset {
    pub(crate) features: Vec<f32>,
    pub(crate) labels: Vec<u16>,
    pub(crate) columns: usize,
    pub(crate) clipped_values: u64,
    pub(crate) version: Digest,
}

impl Dataset {
    /// Reads a CSV file, or every file of a folder that ends in `.csv`, in the order of their names.
    ///
    /// Each file has a header line with the label's column and all feature columns, in any order; further columns
    /// are ignored. A byte-order mark, CRLF, blank lines and quoted fields are fine; a quoted line break is not.
    ///
    /// # Errors
    /// [`DatasetError`], the first that is met.
    pub fn load(path: &Path, data: &Data) -> Result<Self, DatasetError> {
        let mut table = Table::new(data);
        for file in files(path)? {
            let reader = open(&file)?;
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
            table.append(&name, &file, BufReader::new(reader))?;
        }
        table.finish()
    }

    /// Reads what [`Dataset::load`] reads and refuses no row and no file: for modes that promise something about records, in
    /// which whether a silo takes part must not follow from a row.
    ///
    /// A row that does not fit keeps its place and contributes nothing: [`Dataset::fits`]. A file that cannot be read, or
    /// lacks a column, has no rows. Both are counted, for the silo's own operator.
    ///
    /// # Privacy
    /// Each row is read and judged by itself: another row, or what is wrong with it, changes nothing of this one.
    ///
    /// # Errors
    /// [`DatasetError::TooManyRows`] alone: nothing of such a table may be used, since no part of it is a table of its own in which
    /// a row that comes changes nothing of the others.
    pub fn load_leniently(path: &Path, data: &Data) -> Result<(Self, Misfits), DatasetError> {
        let mut table = Table::lenient(data);
        let files = files(path);
        for file in table.counted(files)? {
            let Some(reader) = table.counted(open(&file).map(Some))? else { continue };
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
            table.append(&name, &file, BufReader::new(reader))?;
        }
        Ok(table.finish_lenient())
    }

    /// Reads from `reader` as [`Dataset::load_leniently`] reads a file.
    ///
    /// # Errors
    /// As [`Dataset::load_leniently`].
    pub fn from_csv_leniently(
        name: &str,
        reader: impl Read,
        data: &Data,
    ) -> Result<(Self, Misfits), DatasetError> {
        let mut table = Table::lenient(data);
        table.append(name, Path::new(name), BufReader::new(reader))?;
        Ok(table.finish_lenient())
    }

    /// A table without rows.
    pub fn empty(data: &Data) -> Self {
        Table::new(data).named()
    }

    /// Reads one table from `reader`, under the name that errors shall give it.
    ///
    /// # Errors
    /// [`DatasetError`], the first that is met.
    pub fn from_csv(name: &str, reader: impl Read, data: &Data) -> Result<Self, DatasetError> {
        Self::from_csvs([(name, reader)], data)
    }

    /// Reads several, each with a header of its own, as one table.
    ///
    /// # Errors
    /// [`DatasetError`], the first that is met.
    pub fn from_csvs<'a, R: Read>(
        tables: impl IntoIterator<Item = (&'a str, R)>,
        data: &Data,
    ) -> Result<Self, DatasetError> {
        let mut table = Table::new(data);
        for (name, reader) in tables {
            table.append(name, Path::new(name), BufReader::new(reader))?;
        }
        table.finish()
    }

    /// These rows as a table of their own; `None` where one of them does not exist.
    pub fn only(&self, rows: &[usize]) -> Option<Self> {
        let numbers: Vec<u8> = rows.iter().flat_map(|row| (*row as u64).to_le_bytes()).collect();
        let features: Vec<&[f32]> = rows.iter().map(|row| self.row(*row)).collect::<Option<_>>()?;
        Some(Self {
            features: features.concat(),
            labels: rows.iter().map(|row| self.labels.get(*row).copied()).collect::<Option<_>>()?,
            columns: self.columns,
            clipped_values: 0,
            version: Digest::of("folkmoot/v1/dataset-rows", &[self.version.as_bytes(), &numbers]),
        })
    }

    /// All features, scaled.
    ///
    /// # Shapes
    /// `[rows, columns]`, row-major, columns in the plan's order.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// One row's features; `None` where there is no such row.
    ///
    /// # Shapes
    /// `[columns]`
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        let start = index.checked_mul(self.columns)?;
        self.features.get(start..start.checked_add(self.columns)?)
    }

    /// The class of each row, below the plan's number of classes; of one that does not fit, a number beyond any plan's.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Whether there is such a row, and it fits the plan. One that does not, which only [`Dataset::load_leniently`] lets in,
    /// has a place and contributes nothing.
    pub fn fits(&self, row: usize) -> bool {
        self.labels.get(row).is_some_and(|label| *label != NO_LABEL)
    }

    /// How many rows; those that do not fit are among them.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// How many features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many cells lay outside their column's public range and were clipped to it. For the silo's operator:
    /// many of them mean a wrong unit or a wrong range in the plan.
    pub fn clipped_values(&self) -> u64 {
        self.clipped_values
    }

    /// Names the content: the plan's columns and every number as it was read.
    ///
    /// The same for any spelling of the same numbers, any order of columns, any cut into files, any scaling.
    ///
    /// # Privacy
    /// Stays in the silo: a small table can be guessed from its digest.
    pub fn version(&self) -> Digest {
        self.version
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Dataset")
            .field("rows", &self.rows())
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if !fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let file = entry.map_err(unreadable(path))?.path();
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(DatasetError::NoFiles { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

/// Opens a regular file and nothing else: the end of a pipe or a device is waited for in vain.
pub(crate) fn open(path: &Path) -> Result<File, DatasetError> {
    let found = fs::metadata(path).map_err(unreadable(path))?;
    if let Some(kind) = special(found.file_type()) {
        return Err(DatasetError::Special { path: path.to_owned(), kind });
    }
    File::open(path).map_err(unreadable(path))
}

/// What it is where it is no file and no folder.
fn special(found: FileType) -> Option<&'static str> {
    match found {
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => None,
    }
}

pub(crate) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> DatasetError {
    move |why| DatasetError::Unreadable { path: path.to_owned(), why }
}
