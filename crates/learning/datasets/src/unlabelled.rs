//! Rows without labels, one at a time: for whoever has a model and asks what it says of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use plan::Data;
use readers::{RecordFault, Records};
use registration::Registration;

use crate::error::DatasetError;
use crate::files::{dialect_of, name, records};
use crate::header::Header;
use crate::table::{Place, Table};

/// The rows of a file, read and encoded as a silo's are. The label's column may be there, and is not read.
pub struct Unlabelled<'a, R> {
    name: String,
    records: Records<R>,
    header: Header<'a>,
    /// It reads a row, and keeps none.
    table: Table<'a>,
    clipped: u64,
}

/// One row, or what is wrong with it.
#[derive(Debug)]
pub struct UnlabelledRow {
    /// The file's line on which it begins, counted from 1.
    pub line: u64,
    /// What the model gets; an error where the row does not fit the plan, which says nothing of any other row.
    pub features: Result<Vec<f32>, DatasetError>,
}

impl<'a> Unlabelled<'a, File> {
    /// Opens a file, which is of the kind and written as its registration says, where there is one.
    ///
    /// # Errors
    /// A file that cannot be opened or has no header, or no column that the plan asks for; a column that the registration has not.
    pub fn open(
        path: &Path,
        data: &'a Data,
        registration: Option<&'a Registration>,
    ) -> Result<Self, DatasetError> {
        Self::of(name(path), records(path, &dialect_of(registration))?, data, registration)
    }
}

impl<'a, R: Read> Unlabelled<'a, R> {
    /// The same of a text file that is open; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Unlabelled::open`]; and a registration of files that are no text.
    pub fn from_reader(
        name: &str,
        reader: R,
        data: &'a Data,
        registration: Option<&'a Registration>,
    ) -> Result<Self, DatasetError> {
        let records = Records::new(reader, &dialect_of(registration));
        let records = records.map_err(|fault| DatasetError::of_file(name, Path::new(name), fault))?;
        Self::of(name.to_owned(), records, data, registration)
    }

    fn of(
        name: String,
        mut records: Records<R>,
        data: &'a Data,
        registration: Option<&'a Registration>,
    ) -> Result<Self, DatasetError> {
        let header = Header::without_label(&records, data, registration, &name)?;
        let selected = records.select(header.positions());
        selected.map_err(|fault| DatasetError::of_file(&name, Path::new(&name), fault))?;
        Ok(Self { name, records, header, table: Table::new(data), clipped: 0 })
    }

    /// The next row; none at the end of the file. Records in which nothing stands are passed over.
    ///
    /// # Errors
    /// A file that cannot be read further.
    pub fn next_row(&mut self) -> Result<Option<UnlabelledRow>, DatasetError> {
        let failed = |fault| DatasetError::of_file(&self.name, Path::new(&self.name), fault);
        while let Some(record) = self.records.next_record().map_err(failed)? {
            let line = record.line;
            if matches!(record.cells, Err(RecordFault::Empty)) {
                continue;
            }
            let place = Place { file: &self.name, line };
            let read = self.table.features_alone(&self.header, record.cells, place);
            let features = read.map(|(features, clipped)| {
                self.clipped += clipped as u64;
                features
            });
            return Ok(Some(UnlabelledRow { line, features }));
        }
        Ok(None)
    }

    /// How many cells of the rows so far lay outside their column's public range and were clipped to it.
    pub fn clipped_values(&self) -> u64 {
        self.clipped
    }
}

#[cfg(test)]
mod tests {
    use plan::Feature;

    use super::*;
    use crate::Dataset;

    fn data() -> Data {
        plan::Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap().data
    }

    /// A number with a flag, a list with a place for others, a text, a day, and classes by name.
    fn typed() -> Data {
        let feature = |text: &str| toml::from_str::<Feature>(text).unwrap();
        Data {
            label: "income".into(),
            classes: plan::Classes::Names(vec!["<=50K".into(), ">50K".into()]),
            scaled_to: [-0.5, 0.5],
            features: vec![
                feature("column = 'gain'\nlog_range = [0, 1000]\nmissing = 'flag'"),
                feature("column = 'work'\none_hot = ['Private', 'State']\nother = true\nmissing = 'State'"),
                feature("column = 'sex'\nflag = 'Male'"),
                feature("column = 'since'\nfirst_day = '2000-01-01'\nlast_day = '2020-01-01'"),
                feature("columns = 'p_{0..2}'\nminimum = 0\nmaximum = 255"),
            ],
            class_weights: None,
        }
    }

    /// All rows of both files, the first of which has labels, are those of a silo's table; so many cells of them were clipped.
    fn assert_read_as_a_silos(data: &Data, labelled: &str, without: &str, clipped: u64) {
        let silo = Dataset::from_csv("silo.csv", labelled.as_bytes(), data).unwrap();
        for file in [labelled, without] {
            let mut rows = Unlabelled::from_reader("rows.csv", file.as_bytes(), data, None).unwrap();
            for index in 0..silo.rows() {
                let row = rows.next_row().unwrap().unwrap();
                let expected = (index as u64 + 2, silo.row(index).unwrap());
                assert_eq!((row.line, row.features.unwrap().as_slice()), expected);
            }
            assert!(rows.next_row().unwrap().is_none());
            assert_eq!((rows.clipped_values(), silo.clipped_values()), (clipped, clipped));
        }
    }

    #[test]
    fn a_row_is_read_as_a_silos_is_with_a_label_beside_it_or_without() {
        assert_read_as_a_silos(
            &data(),
            "note,cholesterol,diagnosis,age,systolic\nx,200,1,50,120\ny,1000,0,-1,240\n",
            "systolic,age,cholesterol\n120,50,200\n240,-1,1000\n",
            2,
        );
        assert_read_as_a_silos(
            &typed(),
            "since,p_2,p_1,p_0,sex,income,work,gain\n2010-07-01,1,2,3,Male,>50K,Private,30\n\
             1999-01-01,7,8,300,x,<=50K,Inc,\n2020-01-01,0,0,0,Female,>50K,,5\n",
            "gain,work,sex,since,p_0,p_1,p_2\n30,Private,Male,2010-07-01,3,2,1\n\
             ,Inc,x,1999-01-01,300,8,7\n5,,Female,2020-01-01,0,0,0\n",
            2,
        );
    }

    #[test]
    fn a_row_that_does_not_fit_is_named_and_changes_nothing_of_the_others() {
        let data = data();
        let file = "age,systolic,cholesterol\n50,120,200\nold,120,200\n50,120\n\n50,\"120,200\n50,120,200\n";
        let mut rows = Unlabelled::from_reader("rows.csv", file.as_bytes(), &data, None).unwrap();
        let read = std::iter::from_fn(|| rows.next_row().unwrap());
        let read: Vec<_> = read.map(|row| (row.line, row.features.map_err(|why| why.to_string()))).collect();
        let fits: Vec<(u64, bool)> = read.iter().map(|(line, features)| (*line, features.is_ok())).collect();
        assert_eq!(fits, [(2, true), (3, false), (4, false), (6, false), (7, true)]);
        assert_eq!(read[0].1, read[4].1);
        let why = read[1].1.as_ref().unwrap_err();
        assert!(why.contains("rows.csv, line 3, column age") && why.contains("old"), "{why}");
        let missing = Unlabelled::from_reader("rows.csv", "age\n1\n".as_bytes(), &data, None);
        let missing = missing.err().unwrap().to_string();
        assert!(missing.contains("systolic") && !missing.contains("diagnosis"), "{missing}");
    }

    #[test]
    fn a_cell_of_each_kind_that_does_not_fit_is_named_by_its_column() {
        let data = typed();
        let row = |gain: &str, sex: &str, since: &str, p_1: &str| {
            format!("{gain},Private,{sex},{since},1,{p_1},3\n")
        };
        for (row, expected) in [
            (row("much", "Male", "2010-01-01", "2"), "column gain: \"much\" is not a number"),
            (row("inf", "Male", "2010-01-01", "2"), "column gain: \"inf\" is not finite"),
            (row("1", "", "2010-01-01", "2"), "column sex: the cell is empty"),
            (row("1", "Male", "1.1.2010", "2"), "column since: \"1.1.2010\" is no day"),
            (row("1", "Male", "2010-01-01", "x"), "column p_1: \"x\" is not a number"),
        ] {
            let file = format!("gain,work,sex,since,p_0,p_1,p_2\n{row}");
            let mut rows = Unlabelled::from_reader("rows.csv", file.as_bytes(), &data, None).unwrap();
            let why = rows.next_row().unwrap().unwrap().features.unwrap_err().to_string();
            assert!(why.starts_with(&format!("rows.csv, line 2, {expected}")), "{why}");
        }
    }

    #[test]
    fn a_registered_file_is_read_in_the_federations_words() {
        let data = data();
        let plain = "age,systolic,cholesterol\n50,120.5,200\n61,140,310\n";
        let registration = Registration::from_toml(
            "format = 1\n[dialect]\nseparator = ';'\ndecimal = ','\n[columns]\nage = { from = 'Alter', type = 'number' }\n\
             systolic = { from = 'RR', type = 'number' }\ncholesterol = { from = 'Chol', type = 'number', times = 50 }\n",
        )
        .unwrap();
        let own = "Alter;RR;Chol\n50;120,5;4\n61;140;6,2\n";
        let rows = |file: &str, registration| -> Vec<Vec<f32>> {
            let mut rows = Unlabelled::from_reader("rows.csv", file.as_bytes(), &data, registration).unwrap();
            std::iter::from_fn(|| rows.next_row().unwrap()).map(|row| row.features.unwrap()).collect()
        };
        assert_eq!(rows(own, Some(&registration)), rows(plain, None));
    }

    #[test]
    fn rows_of_a_parquet_file_are_read_where_its_registration_says_that_it_is_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../readers/tests/data/snappy.parquet");
        let data = Data { features: vec![Feature::range("age", 0.0, 100.0)], ..data() };
        let registration = Registration::from_toml(
            "format = 1\n[dialect]\nkind = 'parquet'\n[columns]\nage = { type = 'number' }\n",
        )
        .unwrap();
        let mut rows = Unlabelled::open(&path, &data, Some(&registration)).unwrap();
        let read = std::iter::from_fn(|| rows.next_row().unwrap());
        let read: Vec<_> = read.map(|row| row.features.map_err(|why| why.to_string())).collect();
        let scaled = |age: f64| Ok(vec![(age / 100.0 - 0.5) as f32]);
        assert_eq!([&read[0], &read[2], &read[3]], [&scaled(71.0), &scaled(64.0), &scaled(33.0)]);
        let why = read[1].as_ref().unwrap_err();
        assert!(why.starts_with("snappy.parquet, line 2, column age: the cell is empty"), "{why}");
        let file = std::fs::File::open(&path).unwrap();
        let why = Unlabelled::from_reader("standard input", file, &data, Some(&registration)).err().unwrap();
        assert!(why.to_string().starts_with("standard input: "), "{why}");
    }
}
