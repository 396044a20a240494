//! A silo's table in memory, and where it comes from.

use std::fmt;
use std::io::Read;
use std::path::Path;

use params::Digest;
use plan::Data;
use readers::Records;
use registration::{Dialect, Registration};

use crate::error::DatasetError;
use crate::misfits::Misfits;
use crate::persons::{Naming, Persons};
use crate::remarks::Remarks;
use crate::table::{NO_LABEL, Table};

/// A silo's table, scaled as the plan asks.
///
/// # Privacy
/// Stays in the silo. `Debug` shows the shape only.
pub struct Dataset {
    pub(crate) features: Vec<f32>,
    pub(crate) labels: Vec<u16>,
    pub(crate) columns: usize,
    pub(crate) clipped: Vec<u64>,
    pub(crate) remarks: Remarks,
    pub(crate) version: Digest,
    /// Where something says whose a row is.
    pub(crate) persons: Option<Persons>,
}

impl Dataset {
    /// Reads a CSV file, or every file of a folder that ends in `.csv`, in the order of their names.
    ///
    /// How the files are written and what their columns mean is as their operator has registered it. Without a registration each has a
    /// header line with the plan's own names for the label and all features, in any order; further columns are ignored, and a
    /// byte-order mark, line ends of any kind, blank lines and quoted cells are fine; a quoted line break is not.
    ///
    /// # Errors
    /// [`DatasetError`]: the first file that cannot be read, or the first row that does not fit, with how many there are of each kind.
    pub fn load(path: &Path, registration: Option<&Registration>, data: &Data) -> Result<Self, DatasetError> {
        let mut table = Table::new(data).registered(registration);
        table.append_all(path)?;
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
    pub fn load_leniently(
        path: &Path,
        registration: Option<&Registration>,
        data: &Data,
    ) -> Result<(Self, Misfits), DatasetError> {
        let mut table = Table::lenient(data).registered(registration);
        table.append_all(path)?;
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
        table.append(name, Path::new(name), records_of(name, reader))?;
        Ok(table.finish_lenient())
    }

    /// A table without rows, none of which is nobody's.
    pub fn empty(data: &Data) -> Self {
        Self { persons: Some(Persons::default()), ..Table::new(data).named() }
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
            table.append(name, Path::new(name), records_of(name, reader))?;
        }
        table.finish()
    }

    /// The same table, of which these names say whose each row is; `None` where there are not as many names as rows. A row without a name
    /// is nobody's.
    #[must_use]
    pub fn of_persons(self, names: &[Option<&str>]) -> Option<Self> {
        let mut naming = Naming::default();
        for name in names {
            naming.push(*name);
        }
        (names.len() == self.rows()).then(|| Self { persons: Some(naming.finish()), ..self })
    }

    /// Whose rows are whose; `None` where nothing says so.
    pub fn persons(&self) -> Option<&Persons> {
        self.persons.as_ref()
    }

    /// These rows as a table of their own, which does not say whose they are; `None` where one of them does not exist.
    pub fn only(&self, rows: &[usize]) -> Option<Self> {
        let numbers: Vec<u8> = rows.iter().flat_map(|row| (*row as u64).to_le_bytes()).collect();
        let features: Vec<&[f32]> = rows.iter().map(|row| self.row(*row)).collect::<Option<_>>()?;
        Some(Self {
            features: features.concat(),
            labels: rows.iter().map(|row| self.labels.get(*row).copied()).collect::<Option<_>>()?,
            columns: self.columns,
            clipped: vec![0; self.clipped.len()],
            remarks: Remarks::default(),
            version: Digest::of("folkmoot/v1/dataset-rows", &[self.version.as_bytes(), &numbers]),
            persons: None,
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

    /// The rows of a person that are used where so many are: the first of those that fit, in the table's order. None where there is no
    /// such person.
    pub fn rows_of_person(&self, person: usize, rows_max: usize) -> impl Iterator<Item = usize> + '_ {
        let rows = self.persons().into_iter().flat_map(move |persons| persons.rows(person));
        rows.filter(|row| self.fits(*row)).take(rows_max)
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
        self.clipped.iter().sum()
    }

    /// What of the table its operator should look at: clipped cells by column, files that were left out or are there twice.
    pub fn remarks(&self) -> &Remarks {
        &self.remarks
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

/// The records of a file that is open, in the dialect of a plain CSV file.
fn records_of<R: Read>(name: &str, reader: R) -> Result<Records<R>, DatasetError> {
    Records::new(reader, &Dialect::default())
        .map_err(|fault| DatasetError::of_file(name, Path::new(name), fault))
}
