//! Real files as they were published, where they are at hand: `FOLKMOOT_DATA` names their folder.

use std::path::PathBuf;

use inspect::{Inspection, Known, Proposal};
use registration::{Meaning, Registration};

#[expect(clippy::print_stderr, reason = "says that nothing was read")]
fn data(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("FOLKMOOT_DATA") else {
        eprintln!("FOLKMOOT_DATA is not set: {file} was not read, and this test passes without it");
        return None;
    };
    Some(PathBuf::from(folder).join(file))
}

fn proposed(file: &str, label: &str) -> Option<(Proposal, Registration)> {
    let proposal = Proposal::of(&data(file)?, Some(label), None).unwrap();
    let text = proposal.to_toml();
    assert!(text.lines().count() <= 40, "{text}");
    let registration = Registration::from_toml(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    Some((proposal, registration))
}

#[test]
fn large_data_of_a_census_is_registered_as_it_is() {
    for (file, rows, comment, label) in
        [("adult/adult.data", 32_561, "", "<=50K"), ("adult/adult.test", 16_281, "|", "<=50K.")]
    {
        let Some((proposal, registration)) = proposed(file, "column_15") else { return };
        assert_eq!((proposal.records, proposal.broken), (rows, 0));
        let dialect = registration.dialect();
        assert_eq!(
            (dialect.comment.as_str(), dialect.separator.as_str(), dialect.columns.len()),
            (comment, ",", 15)
        );
        assert_eq!(dialect.missing, ["", "?"]);
        let Meaning::Category(values) = &registration.columns()["column_15"].meaning else {
            panic!("a category")
        };
        assert!(values.len() == 2 && values.contains_key(label), "{values:?}");
        assert!(matches!(registration.columns()["column_1"].meaning, Meaning::Number(_)));
        let Meaning::Category(values) = &registration.columns()["column_2"].meaning else {
            panic!("a category")
        };
        assert!(values.contains_key("Private") && !values.contains_key("?"), "{values:?}");
    }
}

#[test]
fn large_data_of_four_hospitals_is_registered_as_it_is() {
    for (hospital, rows) in [("cleveland", 303), ("hungarian", 294), ("switzerland", 123), ("va", 200)] {
        let file = format!("heart/processed.{hospital}.data");
        let Some((proposal, registration)) = proposed(&file, "column_14") else { return };
        assert_eq!((proposal.records, proposal.broken), (rows, 0), "{hospital}");
        let dialect = registration.dialect();
        assert_eq!((dialect.header, dialect.missing.as_slice()), (false, &[String::new(), "?".into()][..]));
        let Meaning::Label(label) = &registration.columns()["column_14"].meaning else {
            panic!("{hospital}")
        };
        assert!(label.plus == 0 && (2..=5).contains(&label.classes), "{hospital}: {label:?}");
        assert!(matches!(registration.columns()["column_5"].meaning, Meaning::Number(_)), "{hospital}");
    }
}

#[test]
fn large_data_of_a_census_is_looked_at_as_it_is() {
    let Some(path) = data("adult/adult.data") else { return };
    let inspected = Inspection::of(&path, &Known { label: Some("column_15"), ..Known::default() }).unwrap();
    let found: Vec<_> = inspected
        .findings()
        .iter()
        .map(|finding| (finding.code, finding.column.as_deref(), finding.count))
        .collect();
    // A gain of 99999 stands for all above.
    let expected = [
        ("duplicate_rows", None, 24),
        ("rows_with_missing", None, 2_399),
        ("stands_for_missing", Some("column_11"), 159),
    ];
    assert_eq!(found, expected);
    let json: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    let column = |place: usize, key: &str| json["columns"][place][key].as_f64();
    assert_eq!(
        (inspected.rows(), column(0, "minimum"), column(0, "maximum")),
        (32_561, Some(17.0), Some(90.0))
    );
    assert_eq!([1, 6, 13].map(|place| column(place, "missing")), [1_836.0, 1_843.0, 583.0].map(Some));
    assert!(inspected.to_text().contains("<=50K                 24,720  75.9 %"));
}

#[test]
fn large_data_of_hospitals_shows_what_was_not_measured() {
    for (hospital, column, code, count) in [
        ("switzerland", "column_5", "stands_for_missing", 123),
        ("va", "column_5", "stands_for_missing", 49),
        ("va", "column_4", "stands_for_missing", 1),
        ("hungarian", "column_12", "missing", 291),
    ] {
        let Some(path) = data(&format!("heart/processed.{hospital}.data")) else { return };
        let inspected =
            Inspection::of(&path, &Known { label: Some("column_14"), ..Known::default() }).unwrap();
        let is = |finding: &&inspect::DataFinding| {
            finding.code == code && finding.column.as_deref() == Some(column)
        };
        let found = inspected.findings().iter().find(is);
        assert_eq!(found.map(|finding| finding.count), Some(count), "{hospital}, {column}");
    }
}
