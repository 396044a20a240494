//! Files as silos have them: each is read, or is refused with what it is and what to do.

use std::fs;
use std::io::Write;

use datasets::Dataset;
use flate2::write::GzEncoder;
use plan::{Data, Feature};
use registration::{Compression, Dialect, Registration};

const PLAIN: &str = "age,bp,chol,ill\n45,170,186,0\n70,169,153,1\n68,96,360,1\n";

fn data() -> Data {
    let feature = |column: &str, minimum, maximum| Feature::range(column, minimum, maximum);
    Data {
        label: "ill".into(),
        classes: 2.into(),
        scaled_to: [-0.5, 0.5],
        features: vec![feature("age", 0.0, 110.0), feature("bp", 60.0, 240.0), feature("chol", 50.0, 600.0)],
        class_weights: None,
    }
}

fn read(content: impl AsRef<[u8]>, registration: Option<&Registration>) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silo.csv");
    fs::write(&path, content).unwrap();
    Dataset::load(&path, registration, &data()).map_err(|why| why.to_string())
}

/// The plan's columns under their own names, in files that are written so.
fn registered(dialect: &Dialect) -> Registration {
    let dialect = toml::to_string(dialect).unwrap();
    let numbers = "age = { type = \"number\" }\nbp = { type = \"number\" }\nchol = { type = \"number\" }";
    let columns = format!("[columns]\n{numbers}\nill = {{ type = \"label\", classes = 2 }}\n");
    Registration::from_toml(&format!("format = 1\n[dialect]\n{dialect}{columns}"))
        .unwrap_or_else(|why| panic!("{why}"))
}

fn plain() -> Dataset {
    read(PLAIN, None).unwrap()
}

/// Refused as it stands, for this reason, and read as the plain table where this dialect is registered.
fn assert_read_as(content: impl AsRef<[u8]>, dialect: &Dialect, refused: &str) {
    let why = read(&content, None).unwrap_err();
    assert!(why.contains(refused), "{why}");
    assert_eq!(read(&content, Some(&registered(dialect))).unwrap().version(), plain().version(), "{refused}");
}

#[test]
fn another_separator_is_named_and_read_where_it_is_registered() {
    for separator in [';', '\t', '|'] {
        let dialect = Dialect { separator: separator.into(), ..Dialect::default() };
        let bare = PLAIN.replace(',', &dialect.separator);
        let refused = format!(
            "the file looks like separated by {separator:?}: save it with the registered separator, or register"
        );
        let whole = format!(
            "the header (line 1, 1 names) has no column ill (nor 3 more), which the plan asks for; {refused}"
        );
        assert_read_as(&bare, &dialect, &whole);
        assert_read_as(bare.replace("age", "\"age\"").replace("bp", "\"bp\""), &dialect, &refused);
    }
}

#[test]
fn columns_have_names_by_position_where_there_is_no_header() {
    let (_, rows) = PLAIN.split_once('\n').unwrap();
    let columns = ["age", "bp", "chol", "ill"].map(String::from).to_vec();
    let dialect = Dialect { header: false, columns, ..Dialect::default() };
    assert_read_as(
        rows.replace(',', ", "),
        &dialect,
        "the header (line 1, 4 names) has no column ill (nor 3 more)",
    );
}

#[test]
fn all_cells_that_do_not_fit_are_counted_by_column_in_one_message() {
    let content = format!("{PLAIN}55,176,?,1\n63,NA,,1\n72,103,201,\n?,NaN,?,9\n");
    assert_eq!(
        read(content, None).unwrap_err(),
        "silo.csv, line 5, column chol: \"?\" is not a number; every feature must be a number, correct the file; in all 4 rows do \
         not fit: 1 rows: no class of the plan in column ill, the first in silo.csv, line 8; 1 rows: no label in column ill, the \
         first in silo.csv, line 7; 1 rows: no value in column chol, the first in silo.csv, line 6; 1 rows: not a number in column \
         age, the first in silo.csv, line 8; 1 rows: not a number in column bp, the first in silo.csv, line 6; 2 rows: not a number \
         in column chol, the first in silo.csv, line 5; 1 rows: not finite in column bp, the first in silo.csv, line 8"
    );
}

#[test]
fn line_breaks_in_quoted_cells_are_read_where_they_are_registered() {
    let content = "age,bp,chol,ill,address\n45,170,186,0,\"0 High Street\nNorthtown\"\n70,169,153,1,\"1 \"\"High\"\"\r\n\nStreet\"\n\
                   68,96,360,1,plain\n";
    let dialect = Dialect { line_breaks: true, ..Dialect::default() };
    assert_read_as(
        content,
        &dialect,
        "silo.csv, line 2: a quoted cell does not end before a separator or the end of the line",
    );
}

#[test]
fn columns_that_nobody_asks_for_may_have_any_name_and_none() {
    for (header, before, after) in [
        ("age,bp,chol,ill,,", "", ",,"),
        (",,age,bp,chol,ill", "0,0,", ""),
        ("note,note,age,bp,chol,ill", "a,\"\",", ""),
    ] {
        let (_, rows) = PLAIN.split_once('\n').unwrap();
        let rows: String = rows.lines().map(|row| format!("{before}{row}{after}\n")).collect();
        let table = read(format!("{header}\n{rows}"), None).unwrap();
        assert_eq!(table.version(), plain().version(), "{header}");
        assert!(table.remarks().is_empty());
    }
    let why = read("age,bp,chol,ill,age\n1,2,3,0,4\n", None).unwrap_err();
    assert_eq!(why, "silo.csv: the header names column age twice; remove or rename one of them");
}

#[test]
fn records_in_which_nothing_stands_are_passed_over_and_said() {
    for end in [",,,\n", "   \n", "\x1a", "\t\n,,,,,,\n"] {
        let table = read(format!("{PLAIN}{end}"), None).unwrap();
        assert_eq!(table.version(), plain().version(), "{end:?}");
        let count = end.trim_end_matches('\n').split('\n').count();
        assert_eq!(
            table.remarks().to_string(),
            format!("{count} records in which nothing stands were passed over")
        );
    }
    let why = read(format!("{PLAIN}{}", "\0".repeat(50)), None).unwrap_err();
    assert_eq!(why, "silo.csv, line 5: the record has 1 cells, and there are 4 columns; correct the record");
}

#[test]
fn an_encoding_and_a_packing_are_named_and_read_where_they_are_registered() {
    let utf16 = format!("\u{feff}{PLAIN}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let encoded = |encoding: &str| Dialect { encoding: encoding.into(), ..Dialect::default() };
    let refused = "silo.csv: the file begins with the byte-order mark of UTF-16LE, and UTF-8 is registered; register \
                   `encoding = \"utf-16le\"`, or save it as UTF-8";
    assert_read_as(&utf16, &encoded("utf-16le"), refused);
    assert_read_as(
        &utf16[2..],
        &encoded("utf-16le"),
        "(nor 3 more), which the plan asks for; the file looks like UTF-16: save it",
    );

    let mut latin =
        format!("nom,{}", PLAIN.replace('\n', "\né,")).trim_end_matches("é,").to_owned().into_bytes();
    latin = String::from_utf8(latin).unwrap().chars().map(|letter| letter as u8).collect();
    assert_read_as(
        &latin,
        &encoded("latin1"),
        "silo.csv, line 2: the record is not UTF-8; save the file as UTF-8, or register",
    );

    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(PLAIN.as_bytes()).unwrap();
    let packed = Dialect { compression: Compression::Gzip, ..Dialect::default() };
    assert_read_as(
        gzip.finish().unwrap(),
        &packed,
        "the file looks like packed by gzip: unpack it, or register",
    );
    for (content, what) in [
        (&b"PK\x03\x04\x14\x00\x06\x00\xe1\n"[..], "a spreadsheet (.xlsx, .ods)"),
        (b"PAR1\x15\x04\x15", "Parquet"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"@relation heart\n@attribute age numeric\n@data\n45,1\n", "ARFF"),
    ] {
        let why = read(content, None).unwrap_err();
        assert!(why.contains(&format!("the file looks like {what}")), "{why}");
    }
}

#[test]
fn a_lone_carriage_return_ends_a_line_and_no_message_holds_one() {
    assert_eq!(read(PLAIN.replace('\n', "\r"), None).unwrap().version(), plain().version());
    for content in ["a\u{7},b\rc\u{202e}d,e\r", "age,bp,chol,ill\r\u{7}\u{1b}[2J,1,2,0\r"] {
        let why = read(content, None).unwrap_err();
        assert!(why.chars().all(identity::is_printable), "{why:?}");
    }
}

#[test]
fn a_number_with_separators_of_thousands_is_no_number() {
    let why = |cell: &str| read(format!("{PLAIN}75,155,{cell},1\n"), None).unwrap_err();
    assert!(why("\"1,234\"").starts_with("silo.csv, line 5, column chol: \"1,234\" is not a number"));
    assert!(why("1,234").starts_with("silo.csv, line 5: the record has 5 cells, and there are 4 columns"));
}

#[test]
fn lines_above_the_header_are_named_and_passed_over_where_they_are_registered() {
    let skipping = Dialect { skip_lines: 2, ..Dialect::default() };
    let refused = "the header (line 1, 2 names) has no column ill (nor 3 more), which the plan asks for; line 3 names all of them: \
                   remove the lines above it, or register `skip_lines = 2`";
    assert_read_as(format!("Export of ward 7, 2026-01-02\nUnits: years; mmHg\n{PLAIN}"), &skipping, refused);
    let comments = Dialect { comment: "#".into(), ..Dialect::default() };
    assert_read_as(format!("# made by lab export 3.2\n{PLAIN}"), &comments, "line 2 names all of them");
}

#[test]
fn the_nearest_column_is_named_where_one_is_missing() {
    for (header, column, near) in [
        ("Age,bp,chol,ill", "age", "\"Age\""),
        ("age,bp [mmHg],chol,ill", "bp", "\"bp [mmHg]\""),
        ("age,bp,chol (mg/dl),ill", "chol", "\"chol (mg/dl)\""),
        ("\"age \",bp,chol,ill", "age", "\"age \""),
        ("\"a\u{a0}g\u{a0}e\",bp,chol,ill", "age", "\"a\\u{a0}g\\u{a0}e\""),
    ] {
        let content = PLAIN.replace("age,bp,chol,ill", header);
        assert_eq!(
            read(content, None).unwrap_err(),
            format!(
                "silo.csv: the header (line 1, 4 names) has no column {column}, which the plan asks for; the nearest is {near}: rename it"
            )
        );
    }
    let table = read(PLAIN.replace("age", "age\u{a0} "), None).unwrap();
    assert_eq!(table.version(), plain().version());
}

#[test]
fn cells_outside_the_ranges_are_said_by_column() {
    let content = PLAIN.replace("186", "4.81").replace("153", "3.96").replace("360", "9.31");
    let table = read(content, None).unwrap();
    assert_eq!(table.clipped_values(), 3);
    assert_eq!(
        table.remarks().to_string(),
        "3 of 3 cells in column chol lie outside 50 to 600 and are read as its ends"
    );
    assert!(plain().remarks().is_empty());
}

#[test]
fn what_a_system_puts_beside_files_is_left_out_and_a_copy_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("data.csv", PLAIN),
        ("data (1).csv", PLAIN),
        ("._data.csv", "\0\u{5}\u{16}\u{7}"),
        ("~$data.csv", "\u{4}me"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let table = Dataset::load(folder.path(), None, &data()).unwrap();
    assert_eq!(table.rows(), 6);
    assert_eq!(
        table.remarks().to_string(),
        "._data.csv was left out: an operating system or a program made it, and it is no table; ~$data.csv was left out: an \
         operating system or a program made it, and it is no table; data.csv is the same as data (1).csv, and each of its records \
         counts twice: remove one of them"
    );
    let (lenient, misfits) = Dataset::load_leniently(folder.path(), None, &data()).unwrap();
    assert!(misfits.is_empty() && lenient.version() == table.version());
    fs::write(folder.path().join("data (1).csv"), PLAIN.replace("45", "46")).unwrap();
    fs::remove_file(folder.path().join("._data.csv")).unwrap();
    fs::remove_file(folder.path().join("~$data.csv")).unwrap();
    assert!(Dataset::load(folder.path(), None, &data()).unwrap().remarks().is_empty());
}

#[test]
fn a_folder_of_packed_files_is_read_where_that_is_registered() {
    let folder = tempfile::tempdir().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(PLAIN.as_bytes()).unwrap();
    fs::write(folder.path().join("silo.CSV.gz"), gzip.finish().unwrap()).unwrap();
    let packed = Dialect { compression: Compression::Gzip, ..Dialect::default() };
    assert_eq!(
        Dataset::load(folder.path(), Some(&registered(&packed)), &data()).unwrap().version(),
        plain().version()
    );
    assert!(
        Dataset::load(folder.path(), None, &data())
            .unwrap_err()
            .to_string()
            .contains("holds no file that ends in .csv")
    );
}
