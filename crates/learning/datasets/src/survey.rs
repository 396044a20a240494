//! What can be said of a silo's files without a plan: their columns, how many rows they have, and what of them does not fit what is
//! registered.
//!
//! # Privacy
//! For the silo's own operator, before any plan is seen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use plan::Schema;
use readers::{Cells, RecordFault};
use registration::{Dialect, Registration};

use crate::error::DatasetError;
use crate::files::{dialect_of, files, files_with_remarks, name, records};
use crate::header::Header;
use crate::misfits::Misfits;
use crate::remarks::Remarks;
use crate::table::{Place, ROWS_MAX};

/// Columns that are named one by one; of more, only the number is given.
const COLUMNS_NAMED_MAX: usize = 32;

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

/// What a silo's operator should know of the files before any plan is seen: all of them, read to their end by what reads them for a
/// plan.
///
/// # Privacy
/// For that operator, and never sent: it follows from rows. No cell is quoted.
#[derive(Debug, Default)]
pub struct Survey {
    files: usize,
    rows: u64,
    /// Rows without a value, by column.
    missing: BTreeMap<String, u64>,
    misfits: Misfits,
    remarks: Remarks,
}

impl Survey {
    /// Reads the file, or every file of the folder. Each cell of a registered column is held against its registration. Without one
    /// each is held against the schema, as plain files have its columns; without both, records are counted.
    ///
    /// # Errors
    /// What keeps a file from being used under any plan: it cannot be read, or lacks a column, or there are too many rows.
    pub fn of(
        path: &Path,
        registration: Option<&Registration>,
        schema: Option<&Schema>,
    ) -> Result<Self, DatasetError> {
        let by_schema = schema.map(Registration::of_schema);
        Self::of_rows(path, registration.or(by_schema.as_ref()), ROWS_MAX as u64)
    }

    fn of_rows(
        path: &Path,
        registration: Option<&Registration>,
        rows_max: u64,
    ) -> Result<Self, DatasetError> {
        let dialect = dialect_of(registration);
        let (files, remarks) = files_with_remarks(path, &dialect)?;
        let mut survey = Self { files: files.len(), remarks, ..Self::default() };
        for file in files {
            survey.add(&file, &dialect, registration, rows_max)?;
        }
        Ok(survey)
    }

    fn add(
        &mut self,
        path: &Path,
        dialect: &Dialect,
        registration: Option<&Registration>,
        rows_max: u64,
    ) -> Result<(), DatasetError> {
        let file = name(path);
        let failed = |fault| DatasetError::of_file(&file, path, fault);
        let mut records = records(path, dialect)?;
        let words: Vec<&str> = registration.iter().flat_map(|registration| registration.words()).collect();
        let header = registration
            .map(|registration| Header::registered(&records, words.iter().copied(), registration, &file))
            .transpose()?;
        if let Some(header) = &header {
            records.select(header.positions()).map_err(failed)?;
        }
        while let Some(record) = records.next_record().map_err(failed)? {
            let place = Place { file: &file, line: record.line };
            match record.cells {
                Err(RecordFault::Empty) => self.remarks.empty_row(),
                _ if self.rows == rows_max => return Err(place.one_too_many()),
                Err(fault) => self.count(&[place.broken(fault)]),
                Ok(cells) => {
                    let faults = self.judge(&words, header.as_ref(), &cells, place);
                    self.count(&faults);
                }
            }
        }
        Ok(())
    }

    /// What of a row's cells is not registered; those that say nothing are counted.
    fn judge(
        &mut self,
        words: &[&str],
        header: Option<&Header<'_>>,
        cells: &Cells<'_>,
        place: Place<'_>,
    ) -> Vec<DatasetError> {
        let Some(header) = header else { return Vec::new() };
        let mut faults = Vec::new();
        for (number, word) in words.iter().enumerate() {
            match header.cell(number, cells) {
                Ok(said) if said.is_empty() => *self.missing.entry((*word).to_owned()).or_default() += 1,
                Ok(_) => {}
                Err(misread) => faults.push(place.unregistered(word, misread)),
            }
        }
        faults
    }

    fn count(&mut self, faults: &[DatasetError]) {
        self.rows += 1;
        if !faults.is_empty() {
            self.misfits.row(faults);
        }
    }

    /// Whether no row can contribute to any plan that asks for all columns.
    pub fn is_empty(&self) -> bool {
        self.rows == self.misfits.rows()
    }

    /// What was found, a line for each kind of it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.files {
            1 => format!("{} rows", self.rows),
            files => format!("{} rows in {files} files", self.rows),
        }];
        if !self.misfits.is_empty() {
            let rows = self.misfits.rows();
            lines.push(format!(
                "{rows} rows contribute nothing to a plan that asks for these columns: {}",
                self.misfits
            ));
        }
        if !self.missing.is_empty() {
            let named = self.missing.iter().take(COLUMNS_NAMED_MAX);
            let mut columns: Vec<Cow<'_, str>> =
                named.map(|(column, count)| format!("{count} in {column}").into()).collect();
            if let Some(more @ 1..) = self.missing.len().checked_sub(COLUMNS_NAMED_MAX) {
                columns.push(format!("and more in {more} columns").into());
            }
            lines.push(format!("rows without a value: {}", columns.join(", ")));
        }
        if !self.remarks.is_empty() {
            lines.push(self.remarks.to_string());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_table_with_a_row_too_many_is_found_from_its_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.csv"), "y,a\n0,1\n\n1,x\n").unwrap();
        fs::write(folder.path().join("b.csv"), "y,a\n0,1").unwrap();
        assert!(Survey::of_rows(folder.path(), None, 3).is_ok());
        let why = Survey::of_rows(folder.path(), None, 2).unwrap_err();
        assert!(matches!(&why, DatasetError::TooManyRows { file, line: 2 } if file == "b.csv"), "{why}");
        assert!(Survey::of_rows(&folder.path().join("a.csv"), None, 2).is_ok());
        assert!(Survey::of(&folder.path().join("none.csv"), None, None).is_err());
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
