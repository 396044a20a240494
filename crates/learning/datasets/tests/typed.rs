//! Columns that are no numbers: what the model gets of them, what does not fit, and what names the table's content.

use datasets::{Dataset, Misfits};
use plan::Data;

/// One column of each kind, with a rule for missing cells where there is one.
const DATA: &str = r#"
label = "ill"
classes = ["no", "yes"]
scaled_to = [0.0, 1.0]
features = [
    { column = "age", minimum = 0, maximum = 100 },
    { column = "dose", log_range = [0, 1000], missing = 0 },
    { column = "chol", mean = 200, deviation = 50, missing = "flag" },
    { column = "ward", one_hot = ["A", "B"] },
    { column = "work", one_hot = ["a, b", "c"], other = true, missing = "c" },
    { column = "grade", ordinal = ["low", "middle", "high"] },
    { column = "sex", flag = "female" },
    { column = "admitted", first_day = "2020-01-01", last_day = "2020-01-05" },
    { columns = "x_{1..2}", minimum = -1, maximum = 1 },
]
"#;
const HEADER: &str = "ill,age,dose,chol,ward,work,grade,sex,admitted,x_1,x_2\n";
const FIRST: &str = "no,50,0,200,A,\"a, b\",high,female,2020-01-02,0,1\n";
const SECOND: &str = "yes,25,1000,,B,z,low,male,2020-01-05,-1,-9\n";

fn data() -> Data {
    toml::from_str(DATA).unwrap()
}

fn strict(rows: &str) -> Result<Dataset, String> {
    Dataset::from_csv("silo.csv", format!("{HEADER}{rows}").as_bytes(), &data())
        .map_err(|why| why.to_string())
}

fn lenient(rows: &str) -> (Dataset, Misfits) {
    Dataset::from_csv_leniently("silo.csv", format!("{HEADER}{rows}").as_bytes(), &data()).unwrap()
}

#[test]
fn each_column_becomes_the_numbers_that_the_plan_says_and_names_stand_for_classes() {
    let table = strict(&[FIRST, SECOND].concat()).unwrap();
    assert_eq!((table.rows(), table.columns(), table.labels()), (2, 14, &[0, 1][..]));
    let first = [0.5, 0.0, 0.5, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 1.0];
    let second = [0.25, 1.0, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    assert_eq!((table.row(0).unwrap(), table.row(1).unwrap()), (&first[..], &second[..]));
    assert_eq!(table.clipped_values(), 1, "the last cell");
}

/// Each way in which a row can fail to fit, and what is said of it.
const MISFITS: [(&str, &str, &str); 14] = [
    ("age", "", "no value in column age"),
    ("age", "old", "not a number in column age"),
    ("age", "nan", "not finite in column age"),
    ("dose", "much", "not a number in column dose"),
    ("chol", "?", "not a number in column chol"),
    ("ward", "", "no value in column ward"),
    ("ward", "a", "no category of the plan in column ward"),
    ("grade", "highest", "no category of the plan in column grade"),
    ("sex", "", "no value in column sex"),
    ("admitted", "", "no value in column admitted"),
    ("admitted", "2020-02-30", "no day in column admitted"),
    ("x_2", "", "no value in column x_2"),
    ("ill", "", "no label in column ill"),
    ("ill", "maybe", "no class of the plan in column ill"),
];

/// A row like the first, but for one cell.
fn with_cell(column: &str, cell: &str) -> String {
    let cells = "no,50,0,200,A,c,high,female,2020-01-02,0,1".split(',');
    let cells =
        HEADER.trim_end().split(',').zip(cells).map(|(name, own)| if name == column { cell } else { own });
    cells.collect::<Vec<_>>().join(",") + "\n"
}

#[test]
fn a_row_that_does_not_fit_moves_no_other_and_its_operator_learns_the_column() {
    let around = |row: &str| [FIRST, row, SECOND].concat();
    let (fitting, none) = lenient(&around(&with_cell("age", "3")));
    assert!(none.is_empty());
    for (column, cell, kind) in MISFITS {
        let rows = around(&with_cell(column, cell));
        let (table, misfits) = lenient(&rows);
        assert_eq!(
            (table.rows(), table.fits(0), table.fits(1), table.fits(2)),
            (3, true, false, true),
            "{kind}"
        );
        assert_eq!((table.row(0), table.row(2)), (fitting.row(0), fitting.row(2)), "{kind}");
        assert_eq!(table.row(1).unwrap(), [0.0; 14], "{kind}");
        assert_eq!(misfits.to_string(), format!("1 rows: {kind}, the first in silo.csv, line 3"));
        let why = strict(&rows).unwrap_err();
        assert!(why.starts_with(&format!("silo.csv, line 3, column {column}: ")), "{why}");
        let text = format!("{HEADER}{rows}");
        let why = Dataset::from_csv("silo.csv", text.as_bytes(), &data()).unwrap_err().without_cells();
        assert!(cell.is_empty() || cell == "?" || cell == "a" || !why.contains(cell), "{why}");
    }
}

#[test]
fn what_stands_for_a_missing_cell_is_not_a_cell_like_it_in_the_content() {
    let version = |rows: &str| strict(rows).unwrap().version();
    let base = version(&with_cell("dose", "0"));
    assert_eq!(version(&with_cell("dose", "0.0")), base, "one number, one content");
    for (column, cell) in
        [("dose", ""), ("work", ""), ("work", "z"), ("sex", "male"), ("chol", ""), ("ill", "yes")]
    {
        assert_ne!(version(&with_cell(column, cell)), base, "{column} {cell:?}");
    }
    assert_eq!(
        strict(&with_cell("dose", "")).unwrap().row(0),
        strict(&with_cell("dose", "0")).unwrap().row(0)
    );
    assert_ne!(
        version(&with_cell("sex", "male")),
        version(&with_cell("sex", "boy")),
        "read alike, and not the same"
    );
}

#[test]
fn a_pattern_and_a_list_of_the_same_columns_name_the_same_content() {
    let of = |features: &str| -> Data {
        toml::from_str(&format!("label = \"y\"\nclasses = 2\nscaled_to = [0, 1]\nfeatures = [{features}]"))
            .unwrap()
    };
    let pattern = of("{ columns = \"x_{1..2}\", minimum = 0, maximum = 4 }");
    let list =
        of("{ column = \"x_1\", minimum = 0, maximum = 4 }, { column = \"x_2\", minimum = 0, maximum = 4 }");
    let read =
        |data: &Data| Dataset::from_csv("t.csv", "x_2,y,x_1\n1,0,2\n3,1,4\n".as_bytes(), data).unwrap();
    let (one, two) = (read(&pattern), read(&list));
    assert_eq!((one.features(), one.version()), (two.features(), two.version()));
    assert_eq!(one.features(), [0.5, 0.25, 1.0, 0.75]);
}

#[test]
fn a_table_of_sixty_thousand_columns_is_read() {
    let data: Data = toml::from_str(
        "label = \"y\"\nclasses = 2\nscaled_to = [0, 1]\nfeatures = [{ columns = \"g{1..60000}\", minimum = 0, maximum = 9 }]",
    )
    .unwrap();
    let names: String = (1..=60_000).rev().map(|gene| format!("g{gene},")).collect();
    let cells: String = (1..=60_000).rev().map(|gene| format!("{},", gene % 10)).collect();
    let table = Dataset::from_csv("t.csv", format!("{names}y\n{cells}1\n").as_bytes(), &data).unwrap();
    assert_eq!((table.columns(), table.row(0).unwrap()[9], table.row(0).unwrap()[8]), (60_000, 0.0, 1.0));
}
