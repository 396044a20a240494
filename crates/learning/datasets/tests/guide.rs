//! The tables that the guide shows, read from the public files that they are made for.
//!
//! Where `FOLKMOOT_DATA` is set, it must name a folder with `adult` and `heart` in it; where it is not, nothing is read.

use std::fs;
use std::path::{Path, PathBuf};

use datasets::Dataset;
use plan::Data;

/// The guide's table for this label.
fn shown(label: &str) -> Data {
    let guide = include_str!("../../../../deploy/DATA.md");
    let mut tables = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let table = tables.find(|table| table.contains(&format!("label = \"{label}\""))).unwrap();
    toml::from_str(table).unwrap()
}

#[expect(clippy::print_stderr, reason = "says that nothing was read")]
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("FOLKMOOT_DATA");
    if folder.is_none() {
        eprintln!("FOLKMOOT_DATA is not set: no public file was read, and this test passes without it");
    }
    folder.map(|folder| Path::new(&folder).to_owned())
}

/// A file without a header, whose missing cells are question marks, as a table that is said to be missing nothing but what is empty.
fn read(path: &Path, header: &str, data: &Data) -> Dataset {
    let text = fs::read_to_string(path).unwrap().replace('?', "");
    Dataset::from_csv("silo.csv", format!("{header}\n{text}").as_bytes(), data).unwrap()
}

#[test]
fn large_data_adult_is_read_whole_by_the_guides_table() {
    const HEADER: &str = "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,\
                          capital-gain,capital-loss,hours-per-week,native-country,income";
    let Some(folder) = folder() else { return };
    let data = shown("income");
    let table = read(&folder.join("adult/adult.data"), HEADER, &data);
    assert_eq!((table.rows(), table.columns(), table.clipped_values()), (32_561, 44, 0));
    assert_eq!(table.labels().iter().filter(|class| **class == 1).count(), 7_841);
    // Each row is at one place of each list: of workclass and its flag, 1,836 are at the flag.
    let sums = |places: std::ops::Range<usize>| -> Vec<usize> {
        let ones =
            |place: usize| (0..table.rows()).filter(|row| table.row(*row).unwrap()[place] == 0.5).count();
        places.map(ones).collect()
    };
    let workclass = sums(1..10);
    assert_eq!((workclass[8], workclass.iter().sum::<usize>()), (1_836, 32_561), "{workclass:?}");
    assert_eq!(workclass[0], 22_696, "private");
}

#[test]
fn large_data_heart_disease_is_read_alike_at_four_hospitals_however_they_write_numbers() {
    const HEADER: &str = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num";
    let Some(folder) = folder() else { return };
    let data = shown("num");
    for (hospital, rows, healthy, men, without_cholesterol) in [
        ("cleveland", 303, 164, 206, 0),
        ("hungarian", 294, 188, 213, 23),
        ("switzerland", 123, 8, 113, 0),
        ("va", 200, 51, 194, 7),
    ] {
        let table = read(&folder.join(format!("heart/processed.{hospital}.data")), HEADER, &data);
        let ones = |place: usize| (0..rows).filter(|row| table.row(*row).unwrap()[place] == 1.0).count();
        let classes = table.labels().iter().filter(|class| **class == 1).count();
        assert_eq!(
            (table.rows(), classes, ones(1), ones(8)),
            (rows, healthy, men, without_cholesterol),
            "{hospital}"
        );
    }
}
