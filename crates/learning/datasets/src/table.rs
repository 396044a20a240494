//! Rows gathered from files: columns found by name, cells checked, scaled and hashed.

use std::io::Read;
use std::path::Path;

use params::Digest;
use plan::{Data, Feature};
use readers::{Cells, RecordFault, Records};
use registration::{Dialect, Misread, Registration};
use sha2::{Digest as _, Sha256};

use crate::dataset::Dataset;
use crate::error::{DatasetError, shortened};
use crate::files::{files_with_remarks, name, records};
use crate::header::Header;
use crate::misfits::Misfits;
use crate::remarks::Remarks;

/// Most rows of a table.
pub const ROWS_MAX: usize = plan::TABLE_ROWS_MAX as usize;

/// The label of a row that does not fit: no plan has so many classes.
pub(crate) const NO_LABEL: u16 = u16::MAX;

/// What stands for such a row in the digest of the content, where another has its label.
const NO_ROW: u64 = u64::MAX;

/// A table while its files are read.
pub(crate) struct Table<'a> {
    data: &'a Data,
    registration: Option<&'a Registration>,
    dataset: Dataset,
    hasher: Sha256,
    last_file: String,
    rows_max: usize,
    /// Whether what does not fit keeps its place and contributes nothing. Otherwise it is an error, when all of it is known.
    lenient: bool,
    misfits: Misfits,
    first_misfit: Option<DatasetError>,
    /// Of the row that is being read: its values, and what is wrong with it.
    values: Vec<f64>,
    faults: Vec<DatasetError>,
    /// Of the row that is being kept: what is hashed of it.
    hashed: Vec<u8>,
}

/// Where a row is, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    file: &'a str,
    line: u64,
}

impl<'a> Table<'a> {
    pub(crate) fn new(data: &'a Data) -> Self {
        let mut hasher = Sha256::new();
        hash_text(&mut hasher, "folkmoot/v1/dataset");
        hash_text(&mut hasher, &data.label);
        for feature in &data.features {
            hash_text(&mut hasher, &feature.column);
        }
        let dataset = Dataset {
            features: Vec::new(),
            labels: Vec::new(),
            columns: data.features.len(),
            clipped: vec![0; data.features.len()],
            remarks: Remarks::default(),
            version: Digest::from_bytes([0; 32]),
        };
        Self {
            data,
            registration: None,
            dataset,
            hasher,
            last_file: String::new(),
            rows_max: ROWS_MAX,
            lenient: false,
            misfits: Misfits::default(),
            first_misfit: None,
            values: Vec::new(),
            faults: Vec::new(),
            hashed: Vec::new(),
        }
    }

    /// A table in which what does not fit is counted.
    pub(crate) fn lenient(data: &'a Data) -> Self {
        Self { lenient: true, ..Self::new(data) }
    }

    /// A table whose files are registered.
    pub(crate) fn registered(self, registration: &'a Registration) -> Self {
        Self { registration: Some(registration), ..self }
    }

    /// Adds the rows of a file, or of every file of a folder.
    pub(crate) fn append_all(&mut self, path: &Path, dialect: &Dialect) -> Result<(), DatasetError> {
        let listed = files_with_remarks(path, dialect);
        let (files, remarks) = self.counted(listed)?;
        self.dataset.remarks = remarks;
        for file in files {
            self.append(&name(&file), &file, records(&file, dialect))?;
        }
        Ok(())
    }

    /// Adds a file's rows.
    pub(crate) fn append<R: Read>(
        &mut self,
        name: &str,
        path: &Path,
        opened: Result<Records<R>, DatasetError>,
    ) -> Result<(), DatasetError> {
        let appended = self.append_file(name, path, opened);
        self.counted(appended)
    }

    /// Counts what keeps a whole file out, where that is no error. A table with too many rows is one, in whichever file.
    pub(crate) fn counted<T: Default>(&mut self, read: Result<T, DatasetError>) -> Result<T, DatasetError> {
        match read {
            Err(why @ DatasetError::TooManyRows { .. }) => Err(why),
            Err(why) if self.lenient => {
                self.misfits.file(why);
                Ok(T::default())
            }
            read => read,
        }
    }

    fn append_file<R: Read>(
        &mut self,
        name: &str,
        path: &Path,
        opened: Result<Records<R>, DatasetError>,
    ) -> Result<(), DatasetError> {
        name.clone_into(&mut self.last_file);
        let failed = |fault| DatasetError::of_file(name, path, fault);
        let mut records = opened?;
        let header = Header::find(&records, self.data, self.registration, name)?;
        while let Some(record) = records.next_record().map_err(failed)? {
            let place = Place { file: name, line: record.line };
            match record.cells {
                Err(RecordFault::Empty) if !self.lenient => self.dataset.remarks.empty_row(),
                cells => {
                    self.check_room(place)?;
                    self.judge(&header, cells, place);
                }
            }
        }
        Ok(())
    }

    /// Before anything is judged of a row: whether there is one too many follows from how many there are. The last is never cut
    /// off instead: a row that comes would then push another one out, and move a sum by two.
    fn check_room(&self, Place { file, line }: Place<'_>) -> Result<(), DatasetError> {
        match self.dataset.labels.len() < self.rows_max {
            true => Ok(()),
            false => Err(DatasetError::TooManyRows { file: file.to_owned(), line }),
        }
    }

    /// Keeps a row that fits; all of it is read before any of it is kept.
    fn judge(&mut self, header: &Header<'_>, cells: Result<Cells<'_>, RecordFault>, place: Place<'_>) {
        self.faults.clear();
        let label = match cells {
            Ok(cells) => self.read(header, &cells, place),
            Err(fault) => {
                self.faults.push(DatasetError::Record {
                    file: place.file.to_owned(),
                    line: place.line,
                    fault,
                });
                None
            }
        };
        match label.filter(|_| self.faults.is_empty()) {
            Some(label) => {
                let values = std::mem::take(&mut self.values);
                self.push_row(label, &values);
                self.values = values;
            }
            None => self.unfit(),
        }
    }

    /// Reads a row's label and values; what is wrong with its cells is gathered.
    fn read(&mut self, header: &Header<'_>, cells: &Cells<'_>, place: Place<'_>) -> Option<u16> {
        let data = self.data;
        let cell =
            |index, column| header.cell(index, cells).map_err(|misread| unregistered(misread, column, place));
        let label = cell(0, &data.label).and_then(|cell| self.label(&cell, place));
        let label = label.map_err(|why| self.faults.push(why)).ok();
        self.values.clear();
        for (feature, index) in data.features.iter().zip(1..) {
            let column = &feature.column;
            match cell(index, column).and_then(|cell| number(&cell, column, place)) {
                Ok(value) => self.values.push(value),
                Err(why) => self.faults.push(why),
            }
        }
        label
    }

    /// A row that does not fit keeps its place where that is no error, so that the others keep theirs.
    fn unfit(&mut self) {
        self.misfits.row(&self.faults);
        if self.lenient {
            self.hasher.update(NO_ROW.to_le_bytes());
            self.dataset.labels.push(NO_LABEL);
            self.dataset.features.resize(self.dataset.labels.len() * self.dataset.columns, 0.0);
        } else if self.first_misfit.is_none() {
            self.first_misfit = self.faults.drain(..).next();
        }
    }

    /// The table, if it has rows and all of them fit.
    pub(crate) fn finish(mut self) -> Result<Dataset, DatasetError> {
        if let Some(first) = self.first_misfit.take() {
            return Err(match self.misfits.faults() {
                1 => first,
                _ => DatasetError::Misfits { first: Box::new(first), misfits: self.misfits },
            });
        }
        if self.dataset.labels.is_empty() {
            return Err(DatasetError::NoRows { file: self.last_file });
        }
        Ok(self.named())
    }

    /// The table, and what did not fit in it.
    pub(crate) fn finish_lenient(mut self) -> (Dataset, Misfits) {
        let mut misfits = std::mem::take(&mut self.misfits);
        if self.dataset.labels.is_empty() && !misfits.any_file() {
            misfits.file(DatasetError::NoRows { file: std::mem::take(&mut self.last_file) });
        }
        (self.named(), misfits)
    }

    /// The table under the digest of what was pushed.
    pub(crate) fn named(mut self) -> Dataset {
        self.dataset.version = Digest::from_bytes(self.hasher.finalize().into());
        let fitting = self.dataset.labels.iter().filter(|label| **label != NO_LABEL).count();
        self.dataset.remarks.clipped(self.data, &self.dataset.clipped, fitting as u64);
        self.dataset
    }

    /// Adds a row: a value for each of the plan's features, in their order, which is finite and not minus zero.
    pub(crate) fn push_row(&mut self, label: u16, values: &[f64]) {
        self.hashed.clear();
        self.hashed.extend(u64::from(label).to_le_bytes());
        self.dataset.labels.push(label);
        for ((value, feature), count) in values.iter().zip(&self.data.features).zip(&mut self.dataset.clipped)
        {
            self.hashed.extend(value.to_le_bytes());
            let (scaled, clipped) = scale(*value, feature, self.data.scaled_to);
            self.dataset.features.push(scaled);
            *count += u64::from(clipped);
        }
        self.hasher.update(&self.hashed);
    }

    /// A class in any spelling of its number that a feature may have.
    fn label(&self, cell: &str, place: Place<'_>) -> Result<u16, DatasetError> {
        let whole = |value: &f64| value.fract() == 0.0 && (0.0..self.data.classes as f64).contains(value);
        match cell.parse::<f64>().ok().filter(whole) {
            Some(label) if label < f64::from(NO_LABEL) => Ok(label as u16),
            _ => Err(DatasetError::Label {
                file: place.file.to_owned(),
                line: place.line,
                column: self.data.label.clone(),
                cell: shortened(cell),
                largest: self.data.classes.saturating_sub(1),
            }),
        }
    }
}

fn unregistered(
    (why, cell): (Misread, String),
    column: &str,
    Place { file, line }: Place<'_>,
) -> DatasetError {
    let (file, column, cell) = (file.to_owned(), column.to_owned(), shortened(&cell));
    DatasetError::Unregistered { file, line, column, cell, why }
}

fn number(cell: &str, column: &str, Place { file, line }: Place<'_>) -> Result<f64, DatasetError> {
    match cell.parse::<f64>() {
        // Adding zero turns minus zero into zero: one number, one digest.
        Ok(value) if value.is_finite() => Ok(value + 0.0),
        parsed => {
            let (file, column, cell) = (file.to_owned(), column.to_owned(), shortened(cell));
            Err(match parsed {
                Ok(_) => DatasetError::NotFinite { file, line, column, cell },
                Err(_) => DatasetError::NotANumber { file, line, column, cell },
            })
        }
    }
}

/// The value clipped to the feature's range and mapped to `low..=high`, and whether it was clipped.
fn scale(value: f64, feature: &Feature, [low, high]: [f64; 2]) -> (f32, bool) {
    let inside = value.max(feature.minimum).min(feature.maximum);
    let share = (inside - feature.minimum) / (feature.maximum - feature.minimum);
    ((low + share * (high - low)) as f32, inside != value)
}

fn hash_text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Data {
        Data {
            label: "y".into(),
            classes: 3,
            scaled_to: [-1.0, 1.0],
            features: vec![Feature { column: "a".into(), minimum: 0.0, maximum: 8.0 }],
        }
    }

    fn append(table: &mut Table<'_>, text: &str) -> Result<(), DatasetError> {
        let records = Records::new(text.as_bytes(), &Dialect::default()).unwrap();
        table.append("t.csv", Path::new("t.csv"), Ok(records))
    }

    #[test]
    fn one_row_above_the_limit_is_refused() {
        let data = data();
        let read = |text: &str| {
            let mut table = Table { rows_max: 2, ..Table::new(&data) };
            append(&mut table, text)?;
            table.finish()
        };
        assert_eq!(read("a,y\n1,0\n2,1\n").unwrap().rows(), 2);
        let error = read("a,y\n1,0\n2,1\n3,2\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "t.csv, line 4: the table has more than 536870912 rows; split it over several silos"
        );
    }

    #[test]
    fn a_table_with_a_row_too_many_is_never_cut_whatever_its_rows_are() {
        let data = data();
        let read = |texts: &[&str]| {
            let mut table = Table { rows_max: 2, ..Table::lenient(&data) };
            for text in texts {
                append(&mut table, text)?;
            }
            Ok::<_, DatasetError>(table.finish_lenient().0.rows())
        };
        for row in ["3,2", "x,2", "3", "3,\"2", ","] {
            let two = format!("a,y\n1,0\n{row}\n");
            assert_eq!(read(&[&two]).unwrap(), 2, "{row}");
            for three in [format!("{two}2,1\n"), format!("a,y\n2,1\n1,0\n{row}\n")] {
                assert!(matches!(read(&[&three]), Err(DatasetError::TooManyRows { line: 4, .. })), "{row}");
            }
            assert!(
                matches!(read(&[&two, "a,y\n2,1\n"]), Err(DatasetError::TooManyRows { line: 2, .. })),
                "{row}"
            );
        }
    }

    #[test]
    fn the_range_is_mapped_to_the_interval_end_to_end_and_clipping_is_reported() {
        let feature = &data().features[0];
        let scaled = [-3.0, 0.0, 2.0, 8.0, 8.5].map(|value| scale(value, feature, [-1.0, 1.0]));
        assert_eq!(scaled, [(-1.0, true), (-1.0, false), (-0.5, false), (1.0, false), (1.0, true)]);
    }
}
