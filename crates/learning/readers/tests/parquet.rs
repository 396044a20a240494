//! Parquet of several writers. `data/make.py` has made the files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use readers::{FileFault, RECORD_BYTES_MAX, RecordFault, Records};
use registration::{Dialect, FileKind};
use tempfile::TempDir;

/// A record's cells, missing as none; or what is wrong with it.
type Row = Result<Vec<Option<String>>, RecordFault>;

const NAMES: [&str; 16] = [
    "age",
    "big",
    "count",
    "small",
    "dose",
    "weight",
    "ill",
    "ward",
    "group",
    "born",
    "admitted",
    "price",
    "nothing",
    "tags.list.element",
    "place.x",
    "time",
];

/// How many of the columns are plain.
const PLAIN: usize = 13;

const ROWS: [[&str; PLAIN]; 4] = [
    [
        "71",
        "9223372036854775807",
        "18446744073709551615",
        "255",
        "0.1",
        "0.1",
        "1",
        "a, \"b\"",
        "x",
        "1949-02-28",
        "2020-01-31",
        "1.50",
        "-",
    ],
    ["-", "-1", "0", "-", "1", "-", "0", "-", "y", "-", "2020-01-31T12:30:00", "-", "-"],
    ["64", "0", "-", "0", "-", "70.5", "-", "é", "-", "2024-02-29", "-", "-0.05", "-"],
    ["33", "-", "7", "1", "-0.00000025", "0", "1", "", "x", "1970-01-01", "1969-12-31", "1234567.89", "-"],
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(path: &Path) -> Result<Records<File>, FileFault> {
    Records::open(path, &Dialect { kind: FileKind::Parquet, ..Dialect::default() })
}

fn rest(records: &mut Records<File>) -> Result<Vec<Row>, FileFault> {
    let mut rows = Vec::new();
    while let Some(record) = records.next_record()? {
        assert_eq!(record.line, rows.len() as u64 + 1);
        rows.push(record.cells.map(|cells| {
            let cell = |index| (!cells.is_null(index)).then(|| cells.get(index).unwrap().into_owned());
            (0..cells.len()).map(cell).collect()
        }));
    }
    Ok(rows)
}

/// The rows of a file, of which the first `columns` are read.
fn read(path: &Path, columns: usize) -> Result<Vec<Row>, FileFault> {
    let mut records = open(path)?;
    records.select(&(0..columns).collect::<Vec<_>>())?;
    rest(&mut records)
}

fn written(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("a.parquet");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_writers_file_is_the_same_table() {
    for name in ["plain", "snappy", "gzip", "zstd", "encodings"] {
        let path = data(&format!("{name}.parquet"));
        assert_eq!(open(&path).unwrap().names(), NAMES, "{name}");
        let rows = read(&path, PLAIN).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(rows.len(), ROWS.len(), "{name}");
        for (row, expected) in rows.iter().zip(ROWS) {
            let cells = row.as_ref().unwrap();
            let shown: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect();
            assert_eq!(shown[..PLAIN], expected, "{name}");
            assert!(cells[PLAIN..].iter().all(Option::is_none), "{name}: what was not asked for is not read");
        }
    }
    let old = read(&data("old.parquet"), 2).unwrap();
    let days: Vec<_> = old.iter().map(|row| row.as_ref().unwrap()[1].as_deref()).collect();
    assert_eq!(days, [Some("2020-01-31"), Some("2020-01-31T12:30:00"), None, Some("1969-12-31")]);
}

#[test]
fn what_is_not_read_is_named_and_only_where_it_is_asked_for() {
    let mut records = open(&data("plain.parquet")).unwrap();
    for (column, said) in [
        (13, "column tags.list.element is nested; flatten it"),
        (14, "column place.x is nested"),
        (15, "column time is of the type TIME (INT32), which is not read; write it as"),
    ] {
        let why = records.select(&[0, column]).unwrap_err().to_string();
        assert!(why.starts_with(said), "{why}");
    }
    assert!(matches!(rest(&mut records), Err(FileFault::Nested { .. })), "all are asked for");
    let why = read(&data("lz4.parquet"), 1).unwrap_err().to_string();
    assert_eq!(
        why,
        "column age is packed by LZ4, which is not read; write the file with snappy, gzip or zstd"
    );
    let folder = tempfile::tempdir().unwrap();
    for bytes in [&b"age,ill\n71,1\n64,0\n"[..], b"", b"PAR1"] {
        let why = read(&written(&folder, bytes), 1).unwrap_err();
        assert!(matches!(why, FileFault::NotParquet), "{why}");
    }
    let whole = fs::read(data("old.parquet")).unwrap();
    let encrypted = [&whole[..whole.len() - 4], b"PARE"].concat();
    assert!(matches!(read(&written(&folder, &encrypted), 1), Err(FileFault::Encrypted)));
    assert!(matches!(read(folder.path(), 1), Err(FileFault::Unreadable(_))));
}

#[test]
fn every_cut_of_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(data("old.parquet")).unwrap();
    for end in 0..whole.len() {
        let why = read(&written(&folder, &whole[..end]), 2).unwrap_err();
        assert!(matches!(why, FileFault::NotParquet | FileFault::Parquet(_)), "{end}: {why}");
    }
    // In the middle of the pages, with a description that is whole.
    let shorter = [&whole[..100], &whole[140..]].concat();
    let why = read(&written(&folder, &shorter), 2).unwrap_err().to_string();
    assert!(why.starts_with("what Parquet stored cannot be read: "), "{why}");
}

#[test]
fn a_page_that_is_not_what_was_written_is_said_by_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(data("zstd.parquet")).unwrap();
    let zstd = bytes.windows(4).position(|window| window == b"\x28\xb5\x2f\xfd").unwrap();
    bytes[zstd + 6] ^= 1;
    let why = read(&written(&folder, &bytes), PLAIN).unwrap_err().to_string();
    assert_eq!(
        why,
        "what Parquet stored cannot be read: in column age, a page is damaged: it has not its checksum; write the file anew"
    );
}

/// A file of `n`, a number, and `t`, bytes without a kind, in groups of rows.
fn made(folder: &TempDir, groups: &[(&[i32], Vec<&[u8]>)]) -> PathBuf {
    let schema = "message m { required int32 n; required binary t; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let path = folder.path().join("made.parquet");
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    for (numbers, texts) in groups {
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(numbers, None, None).unwrap();
        column.close().unwrap();
        let texts: Vec<ByteArray> = texts.iter().map(|text| text.to_vec().into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    file.close().unwrap();
    path
}

#[test]
fn what_is_wrong_with_one_record_costs_that_record() {
    let folder = tempfile::tempdir().unwrap();
    let long = vec![b'x'; RECORD_BYTES_MAX + 1];
    let path = made(
        &folder,
        &[(&[1, 2, 3, 4], vec![b"a", b"\xff", &long, b"d"]), (&[], vec![]), (&[5], vec![b"e"])],
    );
    let row = |number: &str, text: &str| Ok(vec![Some(number.to_owned()), Some(text.to_owned())]);
    let fault = Err::<Vec<Option<String>>, _>;
    assert_eq!(
        read(&path, 2).unwrap(),
        [
            row("1", "a"),
            fault(RecordFault::NotText("UTF-8")),
            fault(RecordFault::TooLong),
            row("4", "d"),
            row("5", "e")
        ]
    );
}

#[test]
fn more_rows_than_are_decoded_at_once_are_read_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<i32> = (0..1000).collect();
    let texts: Vec<String> = numbers.iter().map(|number| format!("t{}", number % 7)).collect();
    let path = made(&folder, &[(&numbers, texts.iter().map(String::as_bytes).collect())]);
    let rows = read(&path, 2).unwrap();
    let expected = |number: &i32| Ok(vec![Some(number.to_string()), Some(format!("t{}", number % 7))]);
    assert_eq!(rows, numbers.iter().map(expected).collect::<Vec<Row>>());
}

proptest! {
    #[test]
    fn a_file_in_which_bytes_are_changed_is_read_or_refused(
        name in prop::sample::select(vec!["plain", "snappy", "gzip", "zstd", "encodings", "old"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(data(&format!("{name}.parquet"))).unwrap();
        for (place, byte) in changes {
            let length = bytes.len();
            bytes[place.index(length)] = byte;
        }
        // Whatever it is, it ends, and no panic ends it.
        match read(&written(&folder, &bytes), 2) {
            Ok(rows) => prop_assert!(rows.len() < 1 << 20),
            Err(why) => prop_assert!(why.to_string().len() < 2 << 10),
        }
    }
}
