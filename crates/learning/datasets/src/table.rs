//! Rows gathered from files: columns found by name, cells checked, scaled and hashed.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use params::Digest;
use plan::{Cell, Data, Encoder, Unfit};
use readers::{Cells, RecordFault, Records};
use registration::{Misread, Registration};
use sha2::{Digest as _, Sha256};

use crate::dataset::Dataset;
use crate::error::{DatasetError, shortened};
use crate::files::{dialect_of, files_with_remarks, name, records};
use crate::header::Header;
use crate::misfits::Misfits;
use crate::persons::Naming;
use crate::remarks::Remarks;
use crate::row::{Row, cell, is_tagged};

/// Most rows of a table.
pub const ROWS_MAX: usize = plan::TABLE_ROWS_MAX as usize;

/// The label of a row that does not fit: no plan has so many classes.
pub(crate) const NO_LABEL: u16 = u16::MAX;

/// What stands for such a row in the digest of the content, where another has its label.
const NO_ROW: u64 = u64::MAX;

/// What stands for the person of a row that is nobody's, where another has a number.
const NOBODY: u64 = u64::MAX;

/// A table while its files are read.
pub(crate) struct Table<'a> {
    data: &'a Data,
    registration: Option<&'a Registration>,
    /// One for each of the plan's features.
    encoders: Vec<Encoder<'a>>,
    dataset: Dataset,
    hasher: Sha256,
    last_file: String,
    rows_max: usize,
    /// Whether what does not fit keeps its place and contributes nothing. Otherwise it is an error, when all of it is known.
    lenient: bool,
    misfits: Misfits,
    first_misfit: Option<DatasetError>,
    row: Row,
    /// Whose rows are whose, where a registered column says so.
    persons: Option<Naming>,
    /// What is wrong with the row that is being read.
    faults: Vec<DatasetError>,
}

/// Where a row is, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: u64,
}

impl Place<'_> {
    /// Of a row beyond the last that a table may have.
    pub(crate) fn one_too_many(self) -> DatasetError {
        DatasetError::TooManyRows { file: self.file.to_owned(), line: self.line }
    }

    /// Of a record that is broken.
    pub(crate) fn broken(self, fault: RecordFault) -> DatasetError {
        DatasetError::Record { file: self.file.to_owned(), line: self.line, fault }
    }

    /// Of a cell in a registered column.
    pub(crate) fn unregistered(self, column: &str, (why, cell): (Misread, String)) -> DatasetError {
        let (file, column, cell) = (self.file.to_owned(), column.to_owned(), shortened(&cell));
        DatasetError::Unregistered { file, line: self.line, column, cell, why }
    }
}

impl<'a> Table<'a> {
    pub(crate) fn new(data: &'a Data) -> Self {
        let mut hasher = Sha256::new();
        hash_text(
            &mut hasher,
            if is_tagged(data) { "folkmoot/v1/typed-dataset" } else { "folkmoot/v1/dataset" },
        );
        hash_text(&mut hasher, &data.label);
        for (column, _) in data.columns() {
            hash_text(&mut hasher, &column);
        }
        let dataset = Dataset {
            features: Vec::new(),
            labels: Vec::new(),
            columns: data.width(),
            clipped: vec![0; data.column_count()],
            remarks: Remarks::default(),
            version: Digest::from_bytes([0; 32]),
            persons: None,
        };
        Self {
            data,
            encoders: data.features.iter().map(|feature| Encoder::new(feature, data.scaled_to)).collect(),
            registration: None,
            dataset,
            hasher,
            last_file: String::new(),
            rows_max: ROWS_MAX,
            lenient: false,
            misfits: Misfits::default(),
            first_misfit: None,
            row: Row::new(data),
            persons: None,
            faults: Vec::new(),
        }
    }

    /// A table in which what does not fit is counted.
    pub(crate) fn lenient(data: &'a Data) -> Self {
        Self { lenient: true, ..Self::new(data) }
    }

    /// A table of files of which this is registered.
    pub(crate) fn registered(mut self, registration: Option<&'a Registration>) -> Self {
        self.persons = registration.and_then(Registration::person).map(|_| Naming::default());
        if self.persons.is_some() {
            hash_text(&mut self.hasher, "persons");
        }
        Self { registration, ..self }
    }

    /// Adds the rows of a file, or of every file of a folder.
    pub(crate) fn append_all(&mut self, path: &Path) -> Result<(), DatasetError> {
        let dialect = dialect_of(self.registration);
        let listed = files_with_remarks(path, &dialect);
        let (files, remarks) = self.counted(listed)?;
        self.dataset.remarks = remarks;
        for file in files {
            self.append(&name(&file), &file, records(&file, &dialect))?;
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
        records.select(header.positions()).map_err(failed)?;
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
    fn check_room(&self, place: Place<'_>) -> Result<(), DatasetError> {
        match self.dataset.labels.len() < self.rows_max {
            true => Ok(()),
            false => Err(place.one_too_many()),
        }
    }

    /// Keeps a row that fits; all of it is read before any of it is kept.
    fn judge(&mut self, header: &Header<'_>, cells: Result<Cells<'_>, RecordFault>, place: Place<'_>) {
        self.faults.clear();
        let owner = cells.as_ref().ok().and_then(|cells| header.person(cells));
        match cells {
            Ok(cells) => self.read(header, &cells, place),
            Err(fault) => self.faults.push(place.broken(fault)),
        }
        let fits = self.faults.is_empty();
        match fits {
            true => self.keep(),
            false => self.unfit(),
        }
        if fits || self.lenient {
            self.name(owner.as_deref());
        }
    }

    /// Names the person of the row that has just got its place.
    fn name(&mut self, owner: Option<&str>) {
        if let Some(persons) = &mut self.persons {
            let person = persons.push(owner).map_or(NOBODY, |person| person as u64);
            self.hasher.update(person.to_le_bytes());
        }
    }

    /// Reads a row's label and features; what is wrong with its cells is gathered.
    fn read(&mut self, header: &Header<'_>, cells: &Cells<'_>, place: Place<'_>) {
        let data = self.data;
        let label = header.cell(0, cells);
        let own = label.as_ref().map_or(Cell::Missing, |text| cell(text, data.classes.kind()));
        // Begun in any case: what is left of the row before goes.
        match (self.row.begin(data, own), label) {
            (_, Err(misread)) => self.faults.push(place.unregistered(&data.label, misread)),
            (Err(_), Ok(text)) => self.faults.push(DatasetError::Label {
                file: place.file.to_owned(),
                line: place.line,
                column: data.label.clone(),
                cell: shortened(&text),
                classes: data.classes.to_string(),
            }),
            (Ok(()), Ok(_)) => {}
        }
        self.read_features(header, 1, cells, place);
    }

    /// Reads a row's features, the first of which the header has at this number.
    fn read_features(&mut self, header: &Header<'_>, first: usize, cells: &Cells<'_>, place: Place<'_>) {
        let data = self.data;
        let mut numbers = first..;
        for (feature, encoder) in data.features.iter().zip(&self.encoders) {
            for (column, number) in (0..feature.count()).zip(&mut numbers) {
                let name = || feature.columns().nth(column).unwrap_or(Cow::Borrowed(feature.name()));
                let text = match header.cell(number, cells) {
                    Ok(text) => text,
                    Err(misread) => {
                        self.faults.push(place.unregistered(&name(), misread));
                        continue;
                    }
                };
                if let Err(why) = self.row.add(encoder, cell(&text, feature.kind())) {
                    self.faults.push(misfit(why, &name(), &text, place));
                }
            }
        }
    }

    /// What the model gets of a row, and how many of its cells lay outside their column's range; or the first thing that is wrong with
    /// it. The header has no label, and nothing of the row is kept.
    pub(crate) fn features_alone(
        &mut self,
        header: &Header<'_>,
        cells: Result<Cells<'_>, RecordFault>,
        place: Place<'_>,
    ) -> Result<(Vec<f32>, usize), DatasetError> {
        self.faults.clear();
        self.row.clear();
        match cells {
            Ok(cells) => self.read_features(header, 0, &cells, place),
            Err(fault) => self.faults.push(place.broken(fault)),
        }
        match self.faults.drain(..).next() {
            None => Ok((self.row.numbers().to_vec(), self.row.clipped().len())),
            Some(why) => Err(why),
        }
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
        self.dataset.persons = self.persons.take().map(Naming::finish);
        self.dataset.remarks.clipped(self.data, &self.dataset.clipped, fitting as u64);
        self.dataset
    }

    /// Adds a row of numbers alone, one for each of the plan's columns.
    ///
    /// # Errors
    /// The first column whose number does not fit.
    pub(crate) fn push_numbers(
        &mut self,
        label: f64,
        numbers: impl IntoIterator<Item = f64>,
    ) -> Result<(), (usize, Unfit)> {
        self.row.begin(self.data, Cell::Number(label)).map_err(|why| (0, why))?;
        let mut numbers = (0..).zip(numbers);
        for (feature, encoder) in self.data.features.iter().zip(&self.encoders) {
            for (place, number) in numbers.by_ref().take(feature.count()) {
                self.row.add(encoder, Cell::Number(number)).map_err(|why| (place, why))?;
            }
        }
        self.keep();
        Ok(())
    }

    /// Keeps the row that was read.
    fn keep(&mut self) {
        self.hasher.update(self.row.content());
        self.dataset.labels.push(self.row.class());
        self.dataset.features.extend_from_slice(self.row.numbers());
        for column in self.row.clipped() {
            if let Some(count) = self.dataset.clipped.get_mut(*column) {
                *count += 1;
            }
        }
    }
}

fn misfit(why: Unfit, column: &str, cell: &str, Place { file, line }: Place<'_>) -> DatasetError {
    let (file, column, cell) = (file.to_owned(), column.to_owned(), shortened(cell));
    match why {
        Unfit::Missing => DatasetError::Missing { file, line, column },
        Unfit::NotFinite => DatasetError::NotFinite { file, line, column, cell },
        Unfit::NoCategory => DatasetError::Category { file, line, column, cell },
        Unfit::NoDay => DatasetError::Day { file, line, column, cell },
        Unfit::NoNumber | Unfit::NoClass => DatasetError::NotANumber { file, line, column, cell },
    }
}

fn hash_text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use registration::Dialect;

    use super::*;

    fn data() -> Data {
        Data {
            label: "y".into(),
            classes: 3.into(),
            scaled_to: [-1.0, 1.0],
            features: vec![plan::Feature::range("a", 0.0, 8.0)],
            class_weights: None,
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
}
