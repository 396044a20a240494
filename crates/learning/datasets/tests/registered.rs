//! Files as their silos have them, read in the federation's words.

use std::path::{Path, PathBuf};

use datasets::{Dataset, Survey};
use plan::{Column, Data, Feature, Schema};
use registration::Registration;

fn data() -> Data {
    let feature = |column: &str, minimum, maximum| Feature::range(column, minimum, maximum);
    Data {
        label: "ill".into(),
        classes: 2.into(),
        scaled_to: [0.0, 1.0],
        features: vec![feature("age", 0.0, 100.0), feature("chol", 0.0, 400.0)],
        class_weights: None,
    }
}

fn registration(text: &str) -> Registration {
    Registration::from_toml(&format!("format = 1\n{text}")).unwrap_or_else(|why| panic!("{why}"))
}

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("silo.csv");
    std::fs::write(&path, text).unwrap();
    path
}

const PLAIN: &str = "age,chol,ill\n45,200,0\n70,150.5,1\n";

#[test]
fn the_same_rows_in_another_dialect_with_other_names_units_and_labels_are_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Dataset::from_csv("silo.csv", PLAIN.as_bytes(), &data()).unwrap();
    for (columns, text) in [
        (
            "[dialect]\nseparator = \";\"\ndecimal = \",\"\n[columns]\nage = { from = \"Age (years)\", type = \"number\" }\n\
             chol = { from = \"Chol\", type = \"number\", times = 50 }\nill = { type = \"label\", classes = 2, plus = -1 }\n",
            "Chol;ill;Age (years)\n4;1;45\n3,01;2,0;70\n",
        ),
        (
            "[dialect]\nheader = false\ncolumns = [\"a\", \"c\", \"y\"]\ncomment = \"|\"\n[columns]\n\
             age = { from = \"a\", type = \"number\" }\nchol = { from = \"c\", type = \"number\" }\n\
             ill = { from = \"y\", type = \"label\", classes = 2, values = { \"<=50K.\" = 0, \">50K.\" = 1 } }\n",
            "|1x3 Cross validator\n45, 200, <=50K.\n70, 150.5, >50K.\n",
        ),
    ] {
        let path = written(folder.path(), text);
        let read = Dataset::load(&path, Some(&registration(columns)), &data()).unwrap();
        assert_eq!((read.version(), read.features()), (plain.version(), plain.features()), "{text}");
    }
}

const MARKED: &str = "[dialect]\nmissing = [\"?\"]\n[columns]\nage = { type = \"number\", maximum = 120 }\n\
                      chol = { type = \"number\", missing = [\"0\"] }\nill = { type = \"flag\", yes = [\"yes\"], no = [\"no\"] }\n";

#[test]
fn what_is_not_known_or_not_registered_contributes_nothing_and_never_another_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(
        folder.path(),
        "age,chol,ill\n45,200,no\n45,0,no\n45,0.0,no\n?,200,no\n45,200,?\n450,200,no\n45,200,perhaps\n45,\"1,5\",no\n70,1,yes\n",
    );
    let (read, misfits) = Dataset::load_leniently(&path, Some(&registration(MARKED)), &data()).unwrap();
    let fits: Vec<bool> = (0..read.rows()).map(|row| read.fits(row)).collect();
    assert_eq!(fits, [true, false, false, false, false, false, false, false, true]);
    let said = misfits.to_string();
    for part in [
        "2 rows: no value in column chol",
        "1 rows: no value in column age",
        "1 rows: no label in column ill",
        "1 rows: lies outside the registered minimum and maximum in column age, the first in silo.csv, line 7",
        "1 rows: is none of the registered values in column ill",
        "1 rows: is no number in the registered spelling in column chol",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("perhaps"), "{said}");
    let why = Dataset::load(&path, Some(&registration(MARKED)), &data()).unwrap_err();
    assert!(!why.without_cells().contains("450"), "{}", why.without_cells());
}

#[test]
fn adding_a_row_of_any_kind_moves_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let path = written(folder.path(), text);
        Dataset::load_leniently(&path, Some(&registration(MARKED)), &data()).unwrap().0
    };
    let without = read("age,chol,ill\n45,200,no\n70,1,yes\n");
    for row in ["?,1,no", "1,x,no", "1,0,no", "1,1,maybe", "1", "\"1,1,no", "999,1,no"] {
        let with = read(&format!("age,chol,ill\n45,200,no\n{row}\n70,1,yes\n"));
        let fits = [with.fits(0), with.fits(1), with.fits(2)];
        assert_eq!((with.rows(), fits), (3, [true, false, true]), "{row}");
        assert_eq!((with.row(0), with.row(2)), (without.row(0), without.row(1)), "{row}");
    }
}

#[test]
fn a_column_that_is_not_registered_or_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), PLAIN);
    let columns = "[columns]\nage = { type = \"number\" }\nchol = { from = \"Chol\", type = \"number\" }\n\
                   ill = { type = \"label\", classes = 2 }\n";
    let all = registration(columns);
    let why = Dataset::load(&path, Some(&all), &data()).unwrap_err().to_string();
    assert!(why.contains("has no column Chol") && why.contains("nearest is \"chol\""), "{why}");
    let none =
        registration("[columns]\nage = { type = \"number\" }\nill = { type = \"label\", classes = 2 }\n");
    let why = Dataset::load(&path, Some(&none), &data()).unwrap_err().to_string();
    assert!(why.starts_with("the registration has no column chol"), "{why}");
}

#[test]
fn all_that_an_operator_should_know_of_registered_files_is_said_before_any_plan() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "age,chol,ill\n45,200,no\n45,0,no\n?,200,no\n450,200,no\n45,200,SECRET\n45,1\n,,\n70,1,yes\n";
    written(folder.path(), rows);
    for name in ["copy.csv", "._silo.csv"] {
        std::fs::copy(folder.path().join("silo.csv"), folder.path().join(name)).unwrap();
    }
    let survey = Survey::of(folder.path(), Some(&registration(MARKED)), None).unwrap();
    assert!(!survey.is_empty());
    assert_eq!(
        survey.lines(),
        [
            "14 rows in 2 files",
            "6 rows contribute nothing to a plan that asks for these columns: 2 rows: is none of the registered values in column ill, \
             the first in copy.csv, line 6; 2 rows: lies outside the registered minimum and maximum in column age, the first in \
             copy.csv, line 5; 2 rows: more or fewer cells than columns, the first in copy.csv, line 7",
            "rows without a value: 2 in age, 2 in chol",
            "2 records in which nothing stands were passed over; ._silo.csv was left out: an operating system or a program made it, and \
             it is no table; silo.csv is the same as copy.csv, and each of its records counts twice: remove one of them",
        ]
    );
    let none = written(folder.path(), "age,chol,ill\n450,1,no\n1,1,?no\n");
    assert!(Survey::of(&none, Some(&registration(MARKED)), None).unwrap().is_empty());
    let absent = registration("[columns]\nage = { from = \"Age\", type = \"number\" }\n");
    let why = Survey::of(&none, Some(&absent), None).unwrap_err().to_string();
    assert!(why.contains("has no column Age, which is registered; the nearest is \"age\""), "{why}");
}

#[test]
fn the_words_of_a_registered_text_are_numbers_and_a_plan_takes_no_other_column_for_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "ill,Befund\n1,\"No pain, no\nfever\"\n0,?\n1,PAIN again and again\n");
    let data: Data = toml::from_str(
        r#"
        label = "ill"
        classes = 2
        scaled_to = [0.0, 4.0]
        features = [{ column = "note", tokens = ["pain", "no", "fever"], length = 3, missing = "" }]
        "#,
    )
    .unwrap();
    let text = |note: &str| {
        let columns = format!("[columns]\nill = {{ type = \"label\", classes = 2 }}\nnote = {{ {note} }}\n");
        registration(&format!("[dialect]\nline_breaks = true\nmissing = [\"?\"]\n{columns}"))
    };
    let notes = text("from = \"Befund\", type = \"text\"");
    assert_eq!(notes.schema().unwrap().check(&data), Ok(()));
    let table = Dataset::load(&path, Some(&notes), &data).unwrap();
    assert_eq!(table.features(), [3.0, 2.0, 3.0, 0.0, 0.0, 0.0, 2.0, 1.0, 1.0]);
    let remarks = table.remarks().to_string();
    assert!(
        remarks.contains("2 of 3 cells in column note have more than 3 words, of which the first 3 are read"),
        "{remarks}"
    );
    let numbers = text("type = \"number\"");
    let why = numbers.schema().unwrap().check(&data).unwrap_err().to_string();
    assert!(why.contains("note") && why.contains("number") && why.contains("words"), "{why}");
}

#[test]
fn plain_files_are_held_against_a_schema_and_are_counted_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "sex,ill,day,age\nmale,1,2020-01-31,4\nother,2,31.1.2020,four\n");
    let values = ["female", "male"].map(String::from).into();
    let columns = [
        ("age", Column::Number {}),
        ("day", Column::Date {}),
        ("ill", Column::Label { classes: 2 }),
        ("sex", Column::Category { values }),
    ];
    let schema = Schema(columns.map(|(name, column)| (name.to_owned(), column)).into());
    let lines = Survey::of(&path, None, Some(&schema)).unwrap().lines();
    let [rows, misfits] = &lines[..] else { panic!("{lines:?}") };
    assert!(rows == "2 rows" && misfits.starts_with("1 rows contribute nothing"), "{misfits}");
    for column in schema.0.keys() {
        assert!(misfits.contains(&format!("in column {column}, the first in silo.csv, line 3")), "{misfits}");
    }
    assert_eq!(Survey::of(&path, None, None).unwrap().lines(), ["2 rows"]);
}
