//! How files are packed, encoded and laid out.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use readers::{FileFault, RECORD_BYTES_MAX, RecordFault, Records};
use registration::{Compression, Dialect};

const TEXT: &str = "age,name\n71,Ä\n64,b\n";

fn cells(bytes: &[u8], dialect: &Dialect) -> Result<Vec<Result<Vec<String>, RecordFault>>, FileFault> {
    let mut records = Records::new(bytes, dialect)?;
    let mut found = Vec::new();
    while let Some(record) = records.next_record()? {
        found.push(
            record
                .cells
                .map(|cells| (0..cells.len()).map(|index| cells.get(index).unwrap().into_owned()).collect()),
        );
    }
    Ok(found)
}

fn rows(rows: &[[&str; 2]]) -> Vec<Result<Vec<String>, RecordFault>> {
    rows.iter().map(|row| Ok(row.map(str::to_owned).to_vec())).collect()
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: &str) -> Dialect {
    Dialect { encoding: encoding.into(), ..Dialect::default() }
}

#[test]
fn a_first_record_that_begins_like_a_byte_order_mark_costs_itself_as_any_other_does() {
    let headless = |encoding| Dialect {
        header: false,
        columns: vec!["a".into(), "b".into()],
        encoding: String::from(encoding),
        ..Dialect::default()
    };
    let broken = Err(RecordFault::NotText("UTF-8"));
    let found = cells(b"\xff\xfe1,2\n3,4\n", &headless("utf-8")).unwrap();
    assert_eq!(found, [broken, rows(&[["3", "4"]]).remove(0)]);
    let found = cells(b"\xef\xbb\xbf1,2\n3,4\n", &headless("windows-1252")).unwrap();
    assert_eq!(found, rows(&[["\u{ef}\u{bb}\u{bf}1", "2"], ["3", "4"]]));
    let found = cells(b"\xef\xbb\xbf1,2\n3,4\n", &headless("utf-8")).unwrap();
    assert_eq!(found, rows(&[["1", "2"], ["3", "4"]]), "its own is none of its text");
    // The line above is no record.
    let headed = Dialect { skip_lines: 1, ..headless("utf-8") };
    assert!(matches!(cells(b"\xff\xfeabove\n3,4\n", &headed), Err(FileFault::ByteOrderMark { .. })));
}

#[test]
fn text_is_read_in_the_encoding_that_is_registered() {
    let expected = rows(&[["71", "Ä"], ["64", "b"]]);
    let utf16 = |bytes: fn(u16) -> [u8; 2]| TEXT.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
    for (bytes, encoding) in [
        (TEXT.as_bytes(), "utf-8"),
        (&[b"\xef\xbb\xbf", TEXT.as_bytes()].concat(), "UTF8"),
        (b"age,name\n71,\xc4\n64,b\n", "windows-1252"),
        (b"age,name\n71,\xc4\n64,b\n", "latin1"),
        (&little, "utf-16"),
        (&[b"\xff\xfe", &little[..]].concat(), "utf-16le"),
        (&[b"\xfe\xff", &big[..]].concat(), "utf-16be"),
    ] {
        assert_eq!(cells(bytes, &encoded(encoding)).unwrap(), expected, "{encoding}");
    }
    // In Shift_JIS the second byte of a character can be a bar.
    let bars = Dialect { separator: "|".into(), ..encoded("shift_jis") };
    assert_eq!(cells(b"a|b\n\x83\x7c|1\n", &bars).unwrap(), rows(&[["ポ", "1"]]));
}

#[test]
fn what_is_no_character_costs_the_record_that_it_stands_in() {
    let fault = |name| Err(RecordFault::NotText(name));
    let found = cells(b"age,name\n71,\xff\n64,b\n", &encoded("utf-8")).unwrap();
    assert_eq!(found, [fault("UTF-8"), rows(&[["64", "b"]]).remove(0)]);
    let mut utf16: Vec<u8> = "a,b\n1,x\n2,y\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    // Half of a pair.
    utf16.splice(12..14, [0x00, 0xd8]);
    let found = cells(&utf16, &encoded("utf-16le")).unwrap();
    assert_eq!(found, [fault("UTF-16LE"), rows(&[["2", "y"]]).remove(0)]);
    let found = cells(b"a,b\n1,\x81\n2,y\n", &encoded("shift_jis")).unwrap();
    assert_eq!(found, [fault("Shift_JIS"), rows(&[["2", "y"]]).remove(0)]);
}

#[test]
fn an_encoding_that_is_none_that_has_states_or_that_the_file_denies_is_refused() {
    for (bytes, encoding, said) in [
        (TEXT.as_bytes(), "utf-9", "\"utf-9\" is the label of no encoding"),
        (TEXT.as_bytes(), "iso-2022-kr", "\"iso-2022-kr\" is the label of no encoding"),
        (TEXT.as_bytes(), "iso-2022-jp", "in ISO-2022-JP one record changes how the next is read"),
        (
            b"\xff\xfea\0",
            "utf-8",
            "the file begins with the byte-order mark of UTF-16LE, and UTF-8 is registered",
        ),
        (b"\xfe\xff\0a", "utf-16le", "the file begins with the byte-order mark of UTF-16BE"),
        (
            b"\xef\xbb\xbfa",
            "latin1",
            "the file begins with the byte-order mark of UTF-8, and windows-1252 is registered",
        ),
    ] {
        let why = cells(bytes, &encoded(encoding)).unwrap_err().to_string();
        assert!(why.starts_with(said), "{why}");
    }
}

#[test]
fn a_packed_file_is_read_in_one_part_or_several_and_what_is_wrong_with_it_is_said() {
    let gzip = Dialect { compression: Compression::Gzip, ..Dialect::default() };
    let whole = packed(TEXT.as_bytes());
    let expected = rows(&[["71", "Ä"], ["64", "b"]]);
    assert_eq!(cells(&whole, &gzip).unwrap(), expected);
    let (first, second) = TEXT.as_bytes().split_at(11);
    assert_eq!(cells(&[packed(first), packed(second)].concat(), &gzip).unwrap(), expected);

    assert!(matches!(cells(TEXT.as_bytes(), &gzip), Err(FileFault::NotGzip)));
    assert!(matches!(cells(b"", &gzip), Err(FileFault::NotGzip)));
    let mut damaged = whole.clone();
    *damaged.iter_mut().nth_back(5).unwrap() ^= 1;
    for wrong in [&whole[..whole.len() - 1], &whole[..20], &[&whole[..], b"and more"].concat(), &damaged] {
        assert!(matches!(cells(wrong, &gzip), Err(FileFault::Gzip(_))), "{} bytes", wrong.len());
    }
    let why = cells(&whole, &Dialect::default()).unwrap_err().to_string();
    assert!(
        why.starts_with("line 1, taken for the header: ")
            && why.contains("looks like packed by gzip: unpack it"),
        "{why}"
    );
}

#[test]
fn a_few_packed_bytes_that_become_many_are_read_in_the_memory_of_one_record() {
    let mut text = b"a,b\n".to_vec();
    text.resize(64 << 20, b'x');
    text.extend(b"\n1,2\n");
    let gzip = Dialect { compression: Compression::Gzip, ..Dialect::default() };
    let found = cells(&packed(&text), &gzip).unwrap();
    assert_eq!(found, [Err(RecordFault::TooLong), rows(&[["1", "2"]]).remove(0)]);
}

#[test]
fn what_stands_above_between_and_below_the_records_is_left_out() {
    let dialect = Dialect { skip_lines: 2, comment: "#".into(), ..Dialect::default() };
    let text = "Export of ward 7\r\n\r\n# units\r\nage , name\r\n\r\n71,#1\r\n#64,b\r\n 64 ,\" b \"\r\n";
    assert_eq!(cells(text.as_bytes(), &dialect).unwrap(), rows(&[["71", "#1"], ["64", " b "]]));
    let records = Records::new(text.as_bytes(), &dialect).unwrap();
    assert_eq!(
        (records.names(), records.header_line()),
        (&["age".to_owned(), "name".to_owned()][..], Some(4))
    );
    let headless =
        Dialect { header: false, columns: vec!["age".into(), "name".into()], ..Dialect::default() };
    assert_eq!(cells(b"71,a\n64,b", &headless).unwrap(), rows(&[["71", "a"], ["64", "b"]]));
    assert!(cells(b"", &headless).unwrap().is_empty());
    for empty in ["", "\n\r\n", "Export\n", "Export\n\n# only\n"] {
        assert!(matches!(cells(empty.as_bytes(), &dialect), Err(FileFault::NoHeader)), "{empty:?}");
    }
}

#[test]
fn a_record_in_which_nothing_stands_says_so_whatever_its_width() {
    let text = "age,name\n71,a\n,\n   \n,,,\n\x1a";
    let mut expected = rows(&[["71", "a"]]);
    expected.resize(5, Err(RecordFault::Empty));
    assert_eq!(cells(text.as_bytes(), &Dialect::default()).unwrap(), expected);
    let found = cells(b"age,name\n1,\n\0,\0\n1\n1,2,3\n", &Dialect::default()).unwrap();
    let ragged = |actual| Err(RecordFault::Ragged { expected: 2, actual });
    assert_eq!(found[..2], rows(&[["1", ""], ["\0", "\0"]]));
    assert_eq!(found[2..], [ragged(1), ragged(3)]);
}

#[test]
fn a_record_of_the_longest_length_is_read_and_one_byte_more_is_not() {
    for line_breaks in [false, true] {
        let dialect = Dialect { line_breaks, ..Dialect::default() };
        let mut record = b"1,".to_vec();
        record.resize(RECORD_BYTES_MAX - 1, b'x');
        let file = |record: &[u8]| [b"a,b\n", record, b"\n2,y\n"].concat();
        assert!(cells(&file(&record), &dialect).unwrap()[0].is_ok());
        record.push(b'x');
        let found = cells(&file(&record), &dialect).unwrap();
        assert_eq!(found, [Err(RecordFault::TooLong), rows(&[["2", "y"]]).remove(0)]);
    }
}

#[test]
fn a_header_that_is_too_wide_or_broken_is_no_header() {
    let wide = ",a".repeat(readers::COLUMNS_MAX);
    let why = cells(wide.as_bytes(), &Dialect::default()).unwrap_err();
    assert!(matches!(why, FileFault::Header { line: 1, fault: RecordFault::TooWide, .. }), "{why}");
    let why = cells(b"\n\"a,b\n1,2\n", &Dialect::default()).unwrap_err();
    assert!(matches!(why, FileFault::Header { line: 2, fault: RecordFault::Quote, .. }), "{why}");
}

#[test]
fn a_dialect_that_cannot_be_used_is_said() {
    let why = cells(b"a\n", &Dialect { quote: ",".into(), ..Dialect::default() }).unwrap_err().to_string();
    assert!(
        why.starts_with("the registered dialect cannot be used: dialect.quote: is the separator"),
        "{why}"
    );
}
