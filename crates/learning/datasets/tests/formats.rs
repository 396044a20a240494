//! Files that are no text give the table that a CSV file with the same cells gives.

use std::fs;
use std::path::{Path, PathBuf};

use datasets::Dataset;
use plan::Data;
use registration::Registration;

fn data(text: &str) -> Data {
    toml::from_str(text).unwrap()
}

/// Of the columns that [`TYPED`] asks for, in files of Parquet.
fn registered() -> Registration {
    let columns = "age = { type = \"number\" }\ndose = { type = \"number\" }\nweight = { type = \"number\" }\n\
                   group = { type = \"category\", values = [\"x\", \"y\"] }\nborn = { type = \"date\" }\n\
                   ill = { type = \"label\", classes = 2 }\n";
    Registration::from_toml(&format!("format = 1\n[dialect]\nkind = \"parquet\"\n[columns]\n{columns}"))
        .unwrap()
}

/// A Parquet file that another program wrote.
fn parquet(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../readers/tests/data").join(format!("{name}.parquet"))
}

const TYPED: &str = "label = \"ill\"\nclasses = 2\nscaled_to = [0.0, 1.0]\nfeatures = [\n\
    { column = \"age\", minimum = 0, maximum = 100, missing = \"flag\" },\n\
    { column = \"dose\", minimum = -1, maximum = 1, missing = 0 },\n\
    { column = \"weight\", minimum = 0, maximum = 100, missing = 70 },\n\
    { column = \"group\", one_hot = [\"x\", \"y\"], missing = \"flag\" },\n\
    { column = \"born\", first_day = \"1900-01-01\", last_day = \"2030-01-01\", missing = \"flag\" },\n]\n";

#[test]
fn a_parquet_file_is_the_same_table_as_its_rows_as_csv_and_one_bad_row_costs_itself() {
    // The third has no label.
    let csv = "ill,age,dose,weight,group,born\n1,71,0.1,0.1,x,1949-02-28\n0,,1,,y,\n,64,,70.5,,2024-02-29\n\
               1,33,-0.00000025,0,x,1970-01-01\n";
    let plan = data(TYPED);
    let (expected, _) = Dataset::from_csv_leniently("a.csv", csv.as_bytes(), &plan).unwrap();
    for name in ["plain", "snappy", "gzip", "zstd", "encodings"] {
        let (read, misfits) = Dataset::load_leniently(&parquet(name), Some(&registered()), &plan).unwrap();
        assert_eq!(read.version(), expected.version(), "{name}");
        assert_eq!((read.features(), read.labels()), (expected.features(), expected.labels()), "{name}");
        assert_eq!(
            misfits.to_string(),
            format!("1 rows: no label in column ill, the first in {name}.parquet, line 3"),
        );
    }
}

#[test]
fn a_folder_of_parquet_files_is_one_table_and_other_kinds_in_it_are_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.parquet", "a.PARQUET"] {
        fs::copy(parquet("snappy"), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("c.csv"), "ill,age\n1,2\n").unwrap();
    let plan = data(TYPED);
    let (both, _) = Dataset::load_leniently(folder.path(), Some(&registered()), &plan).unwrap();
    assert_eq!(both.rows(), 8);
    let why = Dataset::load(&parquet("lz4"), Some(&registered()), &plan).unwrap_err().to_string();
    assert!(
        why.starts_with("lz4.parquet: the file (1 columns) has no column ill (nor 4 more), which"),
        "{why}"
    );
    for name in ["a.PARQUET", "b.parquet"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let why = Dataset::load(folder.path(), Some(&registered()), &plan).unwrap_err().to_string();
    assert!(why.contains("holds no file that ends in .parquet"), "{why}");
}

#[test]
fn a_null_is_missing_whatever_a_registration_has_for_it_and_a_nested_column_is_named() {
    let registration = Registration::from_toml(
        "format = 1\n[dialect]\nkind = \"parquet\"\nmissing = [\"7\"]\n[columns]\n\
         years = { from = \"age\", type = \"number\" }\n\
         sick = { from = \"ill\", type = \"flag\", yes = [\"1\"], no = [\"0\"] }\n\
         inside = { from = \"place.x\", type = \"number\" }\n",
    )
    .unwrap();
    let table = |column: &str| {
        data(&format!(
            "label = \"sick\"\nclasses = 2\nscaled_to = [0.0, 1.0]\nfeatures = [{{ column = \"{column}\", \
             minimum = 0, maximum = 100, missing = \"flag\" }}]\n"
        ))
    };
    let (read, _) =
        Dataset::load_leniently(&parquet("snappy"), Some(&registration), &table("years")).unwrap();
    let rows: Vec<_> = (0..4).map(|row| read.fits(row).then(|| read.row(row).unwrap().to_vec())).collect();
    let expected = [Some(vec![0.71, 0.0]), Some(vec![0.5, 1.0]), None, Some(vec![0.33, 0.0])];
    assert_eq!(rows, expected, "the second has no age, the third no label");
    let why = Dataset::load(&parquet("snappy"), Some(&registration), &table("inside")).unwrap_err();
    assert!(why.to_string().starts_with("snappy.parquet: column place.x is nested; flatten it"), "{why}");
}
