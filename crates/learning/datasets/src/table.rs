//! Rows gathered from files: columns found by name, cells checked, scaled and hashed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;

use params::Digest;
use plan::{Data, Feature};
use sha2::{Digest as _, Sha256};

use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::fields::fields;
use crate::lines::{LineError, Lines};
use crate::misfits::Misfits;

/// Most rows of a table.
pub const ROWS_MAX: usize = plan::TABLE_ROWS_MAX as usize;

const QUOTED_CHARS_MAX: usize = 32;

/// The label of a row that does not fit: no plan has so many classes.
pub(crate) const NO_LABEL: u16 = u16::MAX;

/// What stands for such a row in the digest of the content, where another has its label.
const NO_ROW: u64 = u64::MAX;

/// A table while its files are read.
pub(crate) struct Table<'a> {
    data: &'a Data,
    dataset: Dataset,
    hasher: Sha256,
    last_file: String,
    rows_max: usize,
    /// What did not fit; none where the first that does not is an error.
    misfits: Option<Misfits>,
    /// The values of the row that is being read.
    values: Vec<f64>,
}

/// Where a row is, for errors.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    line: u64,
}

/// Which fields of a row the plan asks for.
struct Header {
    width: usize,
    label: usize,
    features: Vec<usize>,
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
            clipped_values: 0,
            version: Digest::from_bytes([0; 32]),
        };
        let last_file = String::new();
        Self { data, dataset, hasher, last_file, rows_max: ROWS_MAX, misfits: None, values: Vec::new() }
    }

    /// A table in which what does not fit is counted.
    pub(crate) fn lenient(data: &'a Data) -> Self {
        Self { misfits: Some(Misfits::default()), ..Self::new(data) }
    }

    /// Adds a file's rows.
    pub(crate) fn append(
        &mut self,
        name: &str,
        path: &Path,
        reader: impl BufRead,
    ) -> Result<(), DatasetError> {
        let appended = self.append_file(name, path, reader);
        self.counted(appended)
    }

    /// Counts what keeps a whole file out, where that is no error. A table with too many rows is one, in whichever file.
    pub(crate) fn counted<T: Default>(&mut self, read: Result<T, DatasetError>) -> Result<T, DatasetError> {
        match (read, &mut self.misfits) {
            (Err(why @ DatasetError::TooManyRows { .. }), _) => Err(why),
            (Err(why), Some(misfits)) => {
                misfits.file(why);
                Ok(T::default())
            }
            (read, _) => read,
        }
    }

    fn append_file(&mut self, name: &str, path: &Path, reader: impl BufRead) -> Result<(), DatasetError> {
        name.clone_into(&mut self.last_file);
        let mut lines = Lines::new(reader);
        let failed = |(line, why)| line_error(why, Place { file: name, line }, path);
        let (line, names) = lines
            .next_line()
            .map_err(failed)?
            .ok_or_else(|| DatasetError::NoHeader { file: name.to_owned() })?;
        let header = self.header(&split(names, Place { file: name, line })?, name)?;
        loop {
            let read = match lines.next_line() {
                Ok(None) => return Ok(()),
                Ok(Some((line, row))) => {
                    let place = Place { file: name, line };
                    self.check_room(place)?;
                    split(row, place).and_then(|cells| self.push(&header, &cells, place))
                }
                Err(why @ (_, LineError::Io(_))) => return Err(failed(why)),
                Err(why) => {
                    self.check_room(Place { file: name, line: why.0 })?;
                    Err(failed(why))
                }
            };
            self.fitted(read)?;
        }
    }

    /// Before anything is judged of a row: whether there is one too many follows from how many there are. The last is never cut
    /// off instead: a row that comes would then push another one out, and move a sum by two.
    fn check_room(&self, Place { file, line }: Place<'_>) -> Result<(), DatasetError> {
        match self.dataset.labels.len() < self.rows_max {
            true => Ok(()),
            false => Err(DatasetError::TooManyRows { file: file.to_owned(), line }),
        }
    }

    /// A row that does not fit keeps its place where that is no error, so that the others keep theirs.
    fn fitted(&mut self, read: Result<(), DatasetError>) -> Result<(), DatasetError> {
        let (Err(why), Some(misfits)) = (&read, &mut self.misfits) else { return read };
        misfits.row(why);
        self.hasher.update(NO_ROW.to_le_bytes());
        self.dataset.labels.push(NO_LABEL);
        self.dataset.features.resize(self.dataset.labels.len() * self.dataset.columns, 0.0);
        Ok(())
    }

    /// The table, if it has rows.
    pub(crate) fn finish(self) -> Result<Dataset, DatasetError> {
        if self.dataset.labels.is_empty() {
            return Err(DatasetError::NoRows { file: self.last_file });
        }
        Ok(self.named())
    }

    /// The table, and what did not fit in it.
    pub(crate) fn finish_lenient(mut self) -> (Dataset, Misfits) {
        let mut misfits = self.misfits.take().unwrap_or_default();
        if self.dataset.labels.is_empty() && !misfits.any_file() {
            misfits.file(DatasetError::NoRows { file: std::mem::take(&mut self.last_file) });
        }
        (self.named(), misfits)
    }

    /// The table under the digest of what was pushed.
    pub(crate) fn named(mut self) -> Dataset {
        self.dataset.version = Digest::from_bytes(self.hasher.finalize().into());
        self.dataset
    }

    fn header(&self, names: &[Cow<'_, str>], file: &str) -> Result<Header, DatasetError> {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name.as_ref()) {
                return Err(DatasetError::RepeatedColumn { file: file.to_owned(), column: shortened(name) });
            }
        }
        let find = |column: &str| {
            names.iter().position(|name| name == column).ok_or_else(|| DatasetError::MissingColumn {
                file: file.to_owned(),
                column: column.to_owned(),
            })
        };
        let features =
            self.data.features.iter().map(|feature| find(&feature.column)).collect::<Result<_, _>>()?;
        Ok(Header { width: names.len(), label: find(&self.data.label)?, features })
    }

    fn push(
        &mut self,
        header: &Header,
        cells: &[Cow<'_, str>],
        place: Place<'_>,
    ) -> Result<(), DatasetError> {
        let Place { file, line } = place;
        if cells.len() != header.width {
            let (expected, actual) = (header.width, cells.len());
            return Err(DatasetError::Ragged { file: file.to_owned(), line, expected, actual });
        }
        // The header's positions lie within its width, which the row has: `get` never fails.
        let cell = |position: usize| cells.get(position).map_or("", |cell| cell.as_ref());
        let label = self.label(cell(header.label), place)?;
        let data = self.data;
        // All of a row is read before any of it is kept.
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        for (feature, &position) in data.features.iter().zip(&header.features) {
            values.push(number(cell(position), &feature.column, place)?);
        }
        self.push_label(label);
        for (value, feature) in values.iter().zip(&data.features) {
            self.push_value(*value, feature);
        }
        self.values = values;
        Ok(())
    }

    /// Begins a row; a value for each of the plan's features, in their order, must follow.
    pub(crate) fn push_label(&mut self, label: u16) {
        self.hasher.update(u64::from(label).to_le_bytes());
        self.dataset.labels.push(label);
    }

    /// The row's next value, which is finite and not minus zero.
    pub(crate) fn push_value(&mut self, value: f64, feature: &Feature) {
        self.hasher.update(value.to_le_bytes());
        let (scaled, clipped) = scale(value, feature, self.data.scaled_to);
        self.dataset.features.push(scaled);
        self.dataset.clipped_values += u64::from(clipped);
    }

    fn label(&self, cell: &str, place: Place<'_>) -> Result<u16, DatasetError> {
        match cell.parse::<u16>() {
            Ok(label) if usize::from(label) < self.data.classes => Ok(label),
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

fn number(cell: &str, column: &str, Place { file, line }: Place<'_>) -> Result<f64, DatasetError> {
    let (file, column) = (file.to_owned(), column.to_owned());
    match cell.parse::<f64>() {
        // Adding zero turns minus zero into zero: one number, one digest.
        Ok(value) if value.is_finite() => Ok(value + 0.0),
        Ok(_) => Err(DatasetError::NotFinite { file, line, column, cell: shortened(cell) }),
        Err(_) => Err(DatasetError::NotANumber { file, line, column, cell: shortened(cell) }),
    }
}

/// The value clipped to the feature's range and mapped to `low..=high`, and whether it was clipped.
fn scale(value: f64, feature: &Feature, [low, high]: [f64; 2]) -> (f32, bool) {
    let inside = value.max(feature.minimum).min(feature.maximum);
    let share = (inside - feature.minimum) / (feature.maximum - feature.minimum);
    ((low + share * (high - low)) as f32, inside != value)
}

fn split<'a>(line: &'a str, place: Place<'_>) -> Result<Vec<Cow<'a, str>>, DatasetError> {
    fields(line)
        .collect::<Result<_, _>>()
        .map_err(|_| DatasetError::Quote { file: place.file.to_owned(), line: place.line })
}

fn line_error(why: LineError, Place { file, line }: Place<'_>, path: &Path) -> DatasetError {
    let file = file.to_owned();
    match why {
        LineError::Io(why) => DatasetError::Unreadable { path: path.to_owned(), why },
        LineError::NotUtf8 => DatasetError::NotUtf8 { file, line },
        LineError::TooLong => DatasetError::LineTooLong { file, line },
    }
}

fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", cell.split_at(end).0),
        None => cell.to_owned(),
    }
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

    #[test]
    fn one_row_above_the_limit_is_refused() {
        let data = data();
        let read = |text: &str| {
            let mut table = Table { rows_max: 2, ..Table::new(&data) };
            table.append("t.csv", Path::new("t.csv"), text.as_bytes())?;
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
                table.append("t.csv", Path::new("t.csv"), text.as_bytes())?;
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

    #[test]
    fn a_long_cell_is_quoted_in_part() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(33)), format!("{}…", "é".repeat(32)));
    }
}
