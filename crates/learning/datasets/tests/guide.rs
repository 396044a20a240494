//! The tables that the guide shows, read from the public files that they are made for, as they were published.
//!
//! Where `FOLKMOOT_DATA` is set, it must name a folder with `adult` and `heart` in it; where it is not, nothing is read.

use std::path::{Path, PathBuf};

use datasets::{Dataset, Survey};
use plan::Data;
use registration::{Dialect, Registration};

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

/// The guide's registration.
fn registered(change: impl FnOnce(&str) -> String) -> Registration {
    let guide = include_str!("../../../../deploy/DATA.md");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let [block] = blocks.filter(|block| block.contains("header = false")).collect::<Vec<_>>()[..] else {
        panic!("one is shown")
    };
    Registration::from_toml(&change(block)).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn the_guides_registration_fits_the_plan_that_it_is_shown_for() {
    let schema = registered(str::to_owned).schema().unwrap();
    assert_eq!(schema.check(&shown("num")), Ok(()));
    assert!(schema.check(&shown("income")).is_err());
}

#[test]
fn the_guide_shows_a_dialect_of_each_kind_of_files_that_are_no_text() {
    let guide = include_str!("../../../../deploy/DATA.md");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let others: Vec<&str> = blocks.filter(|block| block.contains("[dialect]\nkind = ")).collect();
    let dialect = |block: &&str| -> Dialect {
        toml::from_str::<toml::Table>(block).unwrap()["dialect"].clone().try_into().unwrap()
    };
    let dialects: Vec<Dialect> = others.iter().map(dialect).collect();
    let kinds: Vec<&str> = dialects.iter().map(|dialect| dialect.kind.as_str()).collect();
    assert_eq!(kinds, ["parquet", "idx", "images"]);
    assert!(dialects.iter().all(|dialect| dialect.marks().is_ok()));
    let images = Registration::from_toml(others[2]).unwrap_or_else(|why| panic!("{why}"));
    let plan = Data { classes: 2.into(), ..shown("label") };
    assert_eq!(images.schema().unwrap().check(&plan), Ok(()), "the guide's plan for images");
}

const ADULT: &str = r#"format = 1
[dialect]
header = false
columns = ["age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"]
comment = "|"
missing = ["?"]
[columns]
age = { type = "number" }
workclass = { type = "category", values = ["Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov", "Without-pay", "Never-worked"] }
education = { type = "category", values = ["Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate"] }
marital-status = { type = "category", values = ["Married-civ-spouse", "Never-married", "Divorced", "Separated", "Widowed", "Married-spouse-absent", "Married-AF-spouse"] }
occupation = { type = "category", values = ["Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial", "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical", "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv", "Armed-Forces"] }
relationship = { type = "category", values = ["Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried"] }
sex = { type = "category", values = ["Male", "Female"] }
capital-gain = { type = "number" }
capital-loss = { type = "number" }
hours-per-week = { type = "number" }
native-country = { type = "category", values = ["United-States", "Mexico", "Philippines", "Germany", "Canada", "Puerto-Rico", "El-Salvador", "India", "Cuba", "England", "Jamaica", "South", "China", "Italy", "Dominican-Republic", "Vietnam", "Guatemala", "Japan", "Poland", "Columbia", "Taiwan", "Haiti", "Iran", "Portugal", "Nicaragua", "Peru", "Greece", "France", "Ecuador", "Ireland", "Hong", "Trinadad&Tobago", "Cambodia", "Thailand", "Laos", "Yugoslavia", "Outlying-US(Guam-USVI-etc)", "Hungary", "Honduras", "Scotland", "Holand-Netherlands"] }
income = { type = "category", values = { "<=50K" = "<=50K", "<=50K." = "<=50K", ">50K" = ">50K", ">50K." = ">50K" } }
"#;

#[test]
fn large_data_adult_is_read_whole_by_the_guides_table_as_it_is_published() {
    let Some(folder) = folder() else { return };
    let (data, registration) = (shown("income"), Registration::from_toml(ADULT).unwrap());
    assert_eq!(registration.schema().unwrap().check(&data), Ok(()));
    let read =
        |name: &str| Dataset::load(&folder.join("adult").join(name), Some(&registration), &data).unwrap();
    let rich = |table: &Dataset| table.labels().iter().filter(|class| **class == 1).count();
    let test = read("adult.test");
    assert_eq!(
        (test.rows(), rich(&test)),
        (16_281, 3_846),
        "whose first line is no record, and whose classes end in a point"
    );
    let table = read("adult.data");
    assert_eq!((table.rows(), table.columns(), table.clipped_values()), (32_561, 44, 0));
    assert_eq!(rich(&table), 7_841);
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
fn large_data_heart_disease_is_read_alike_at_four_hospitals_as_it_is_published() {
    let Some(folder) = folder() else { return };
    let (data, registration) = (shown("num"), registered(str::to_owned));
    for (hospital, rows, healthy, men, without_cholesterol) in [
        ("cleveland", 303, 164, 206, 0),
        ("hungarian", 294, 188, 213, 23),
        ("switzerland", 123, 8, 113, 123),
        ("va", 200, 51, 194, 56),
    ] {
        let file = folder.join(format!("heart/processed.{hospital}.data"));
        let table = Dataset::load(&file, Some(&registration), &data).unwrap();
        let ones = |place: usize| (0..rows).filter(|row| table.row(*row).unwrap()[place] == 1.0).count();
        let classes = table.labels().iter().filter(|class| **class == 1).count();
        assert_eq!(
            (table.rows(), classes, ones(1), ones(8)),
            (rows, healthy, men, without_cholesterol),
            "{hospital}"
        );
        let survey = Survey::of(&file, Some(&registration), None).unwrap().lines();
        assert_eq!(survey[0], format!("{rows} rows"));
        let missing = format!("{without_cholesterol} in chol");
        assert!(without_cholesterol == 0 || survey[1].contains(&missing), "{survey:?}");
    }
}

#[test]
fn large_data_heart_disease_of_rows_without_a_missing_cell_is_as_many_as_are_known() {
    const KNOWN: &str = r#"
        label = "num"
        classes = { flag = "0" }
        scaled_to = [0.0, 1.0]
        features = [
            { column = "age", minimum = 20, maximum = 90 },
            { column = "sex", flag = "1" },
            { column = "cp", one_hot = ["1", "2", "3", "4"] },
            { column = "trestbps", minimum = 0, maximum = 250 },
            { column = "chol", minimum = 0, maximum = 700 },
            { column = "fbs", flag = "1" },
            { column = "restecg", one_hot = ["0", "1", "2"] },
            { column = "thalach", minimum = 60, maximum = 220 },
            { column = "exang", flag = "1" },
            { column = "oldpeak", minimum = -3, maximum = 7 },
        ]"#;
    let Some(folder) = folder() else { return };
    let data = toml::from_str(KNOWN).unwrap();
    // 0 counts as known, as whoever published these numbers of rows had it.
    let registration = registered(|text| text.replace(", missing = [\"0\"]", ""));
    for (hospital, known) in [("cleveland", 303), ("hungarian", 261), ("switzerland", 46), ("va", 130)] {
        let file = folder.join(format!("heart/processed.{hospital}.data"));
        let (table, misfits) = Dataset::load_leniently(&file, Some(&registration), &data).unwrap();
        assert_eq!((0..table.rows()).filter(|row| table.fits(*row)).count(), known, "{hospital}: {misfits}");
    }
}
