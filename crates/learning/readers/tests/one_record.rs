//! One record is read by itself: what stands in another changes nothing of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use readers::{RecordFault, Records};
use registration::Dialect;

/// Records by their lines, each with its cells or what is wrong with it.
type Read = BTreeMap<u64, Result<Vec<String>, RecordFault>>;

fn read(bytes: &[u8], dialect: &Dialect) -> Read {
    let mut records = Records::new(bytes, dialect).unwrap();
    let mut found = Read::new();
    while let Some(record) = records.next_record().unwrap() {
        let cells = record
            .cells
            .map(|cells| (0..cells.len()).map(|index| cells.get(index).unwrap().into_owned()).collect());
        assert!(found.insert(record.line, cells).is_none(), "two records on line {}", record.line);
    }
    found
}

fn dialect(line_breaks: bool) -> Dialect {
    Dialect { line_breaks, ..Dialect::default() }
}

/// Of each byte the line that it stands on, counted from 1.
fn lines(text: &str) -> Vec<u64> {
    let mut line = 1;
    let of = |byte: u8| {
        let own = line;
        line += u64::from(byte == b'\n');
        own
    };
    text.bytes().map(of).collect()
}

/// What is read of a text with a quote more, at every place below the header: all but the record that it is put into is as before.
fn assert_a_stray_quote_costs_one_record(text: &str, dialect: &Dialect) {
    let before = read(text.as_bytes(), dialect);
    assert!(before.len() > 3 && before.values().all(Result::is_ok), "{before:?}");
    let header = text.find('\n').unwrap() + 1;
    for (place, line) in lines(text).into_iter().enumerate().skip(header) {
        let mut changed = text.to_owned();
        changed.insert(place, '"');
        let after = read(changed.as_bytes(), dialect);
        let own = *before.range(..=line).next_back().unwrap().0;
        let next = before.range(own + 1..).next().map_or(u64::MAX, |(line, _)| *line);
        let of_others = |read: &Read| {
            let mut read = read.clone();
            read.retain(|line, _| !(own..next).contains(line));
            read
        };
        assert_eq!(of_others(&after), of_others(&before), "a quote at {place} of {text:?}");
        assert!(after.contains_key(&own), "the record keeps its place");
    }
}

const ONE_LINE_EACH: &str = "id,note,age\n1,plain,20\n2,\"a, b\",30\n3,\"say \"\"no\"\"\",40\n\
                             4,\"\",50\n\"5\",\"\"\"\",\"60\"\n6,5'11 tall,70\n7,\",\",80\n8,last,90\n\
                             9,\",c,d\",100\n";

const OVER_LINES: &str = "id,note,age\n1,plain,20\n2,\"a\nb, c\",30\n3,\"say \"\"no\"\"\n\",40\n4,\"\",50\n\
                          \"5\",\"x\n\n\"\"y\"\"\",\"60\"\n6,tall,70\n7,\",\",80\n8,\"last\none\",90\n\
                          9,\",c,d\",100\n";

#[test]
fn a_stray_quote_costs_one_record_wherever_it_stands() {
    assert_a_stray_quote_costs_one_record(ONE_LINE_EACH, &dialect(false));
    assert_a_stray_quote_costs_one_record(ONE_LINE_EACH, &dialect(true));
    assert_a_stray_quote_costs_one_record(OVER_LINES, &dialect(true));
    let semicolons = Dialect { separator: ";".into(), ..dialect(true) };
    assert_a_stray_quote_costs_one_record(&OVER_LINES.replace(',', ";"), &semicolons);
}

#[test]
fn a_quote_that_nothing_closes_costs_its_line_alone_up_to_the_end_of_a_long_file() {
    let rows: String = (0..200_000).map(|row| format!("{row},plain,{row}\n")).collect();
    let text = format!("id,note,age\n1,\"open,2\n{rows}");
    assert!(text.len() < readers::RECORD_BYTES_MAX);
    for line_breaks in [false, true] {
        let found = read(text.as_bytes(), &dialect(line_breaks));
        assert_eq!(found.len(), 200_001);
        assert_eq!(found[&2], Err(RecordFault::Quote));
        assert_eq!(found.values().filter(|record| record.is_ok()).count(), 200_000);
    }
}

#[test]
fn a_record_with_line_breaks_takes_one_place_and_the_lines_below_keep_their_numbers() {
    for end in ["\n", "\r\n", "\r"] {
        let found = read(OVER_LINES.replace('\n', end).as_bytes(), &dialect(true));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [2, 3, 5, 7, 8, 11, 12, 13, 15], "{end:?}");
        assert_eq!(found[&3].as_ref().unwrap()[1], format!("a{end}b, c"));
        assert_eq!(found[&8].as_ref().unwrap(), &["5", &format!("x{end}{end}\"y\""), "60"]);
    }
}

#[test]
fn lines_within_a_cell_are_no_records_however_long_its_record_is() {
    const MOST: usize = readers::RECORD_BYTES_MAX;
    let long_line = "x".repeat(MOST);
    // Cells of many lines, which would be records by themselves; the last is longer than any record is followed.
    for (begin, line, lines) in [
        ("1,\"", "\n8,8,8", MOST / 6),
        ("1,\"\"\"", "\r\n8,8,8", MOST / 7),
        ("\"1\",\"", "\n\"\"\"\"", MOST / 5),
        (&format!("1,\"{long_line}"), "\n8,8,8", 3),
        (&format!("{long_line},\""), "\n8,8,8", 3),
        (&format!("1,\"{}", long_line.repeat(5)), "\r\n8,8,8", 3),
        ("1,\"", "\r\n8,8,\"\"8\"\"", 5 * MOST / 11),
    ] {
        let text = format!("id,note,age\n{begin}{}\",9\n3,plain,30\n", line.repeat(lines));
        let cells = read(text.as_bytes(), &dialect(true));
        let after = 3 + lines as u64;
        assert_eq!(cells.keys().copied().collect::<Vec<_>>(), [2, after], "{lines} lines {line:?}");
        assert_eq!(cells[&2], Err(RecordFault::TooLong));
        assert_eq!(cells[&after], Ok(vec!["3".into(), "plain".into(), "30".into()]));
    }
}

fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

/// Bytes of which most mean something to a reader.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"a1,,\"\"; \xc3\xa9\xff\x00\x1a".to_vec()), 0..24)
}

proptest! {
    #[test]
    fn what_is_written_with_quotes_is_read_as_it_was(
        rows in prop::collection::vec(prop::collection::vec("[a\", \r\n;é]{0,6}", 3), 1..6)
    ) {
        let written = rows.iter().map(|row| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
        let text = format!("a,b,c\n{}\n", written.collect::<Vec<_>>().join("\n"));
        let found: Vec<_> = read(text.as_bytes(), &dialect(true)).into_values().collect();
        prop_assert_eq!(found, rows.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_is_read_as_it_is_read_alone(all in prop::collection::vec(line(), 0..8)) {
        let file = |lines: &[Vec<u8>]| [&b"a,b\n"[..], &lines.join(&b"\n"[..]), b"\n"].concat();
        let together = read(&file(&all), &dialect(false));
        for (index, line) in all.iter().enumerate() {
            let alone = read(&file(std::slice::from_ref(line)), &dialect(false));
            prop_assert_eq!(together.get(&(index as u64 + 2)), alone.get(&2));
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end_in_every_dialect(
        all in prop::collection::vec(line(), 0..8), line_breaks: bool, trim: bool, quotes: bool
    ) {
        let text = all.join(&b"\n"[..]);
        let quote = if quotes { "\"".into() } else { String::new() };
        let dialect = Dialect { quote, trim, header: false, columns: vec!["a".into(), "b".into()], ..dialect(line_breaks) };
        let blank = all.iter().filter(|line| line.is_empty()).count();
        let found = read(&text, &dialect);
        prop_assert!(found.len() <= all.len() - blank);
        prop_assert!(line_breaks || found.len() == all.len() - blank);
    }
}
