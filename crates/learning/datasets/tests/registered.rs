//! Files as their silos have them, read in the federation's words.

use std::path::{Path, PathBuf};

use datasets::Dataset;
use plan::{Data, Feature};
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
