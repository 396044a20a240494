//! What a file looks like that is not what the dialect says: for messages alone, never for reading.

use std::fmt;

use crate::source::GZIP;

/// A kind of file that is taken for a table of text, and what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resemblance {
    /// Packed by gzip.
    Gzip,
    /// Known by its first bytes, with what to do.
    Kind(&'static str, &'static str),
    /// UTF-16 without a byte-order mark; with the label of its byte order.
    Utf16(&'static str),
    /// Text whose characters are single bytes.
    OneByte,
    /// A text file for Weka: its attributes stand above its rows.
    Arff,
    /// The cells are separated by something else.
    Separated(char),
}

const AS_CSV: &str = "save its table as CSV";
const UNPACK: &str = "unpack it";
/// What files of a kind begin with.
const KINDS: [(&[u8], &str, &str); 15] = [
    (
        b"PK\x03\x04",
        "a spreadsheet (.xlsx, .ods) or another zip archive",
        "save the sheet as CSV, or unpack the archive",
    ),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old format (.xls)", "save the sheet as CSV"),
    (b"PAR1", "Parquet", "register `kind = \"parquet\"`"),
    (b"ARROW1", "Arrow or Feather", AS_CSV),
    (b"\x89HDF", "HDF5", AS_CSV),
    (b"SQLite format 3", "an SQLite database", AS_CSV),
    (b"\x89PNG", "a PNG image", "name a table, or a pair of IDX files"),
    (b"\xff\xd8\xff", "a JPEG image", "name a table, or a pair of IDX files"),
    (b"%PDF", "a PDF document", AS_CSV),
    (b"BZh", "packed by bzip2", UNPACK),
    (b"\xfd7zXZ", "packed by xz", UNPACK),
    (b"7z\xbc\xaf", "packed by 7-Zip", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", UNPACK),
    (b"{", "JSON", AS_CSV),
    (b"<", "HTML or XML", "look at what was downloaded, and save its table as CSV"),
];

/// What may separate cells.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

impl Resemblance {
    /// Of a file that begins so, and in which cells should be separated by `separator`.
    pub(crate) fn of(head: &[u8], separator: u8) -> Option<Self> {
        if head.starts_with(GZIP) {
            return Some(Self::Gzip);
        }
        if let Some((_, what, remedy)) = KINDS.iter().find(|(first, ..)| head.starts_with(first)) {
            return Some(Self::Kind(what, remedy));
        }
        if let Some(label) = utf16(head) {
            return Some(Self::Utf16(label));
        }
        if std::str::from_utf8(head).is_err_and(|why| why.error_len().is_some()) {
            return Some(Self::OneByte);
        }
        let mut lines = head.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
        let first = lines.clone().find(|line| !line.starts_with(b"%"))?;
        if first.get(..9).is_some_and(|word| word.eq_ignore_ascii_case(b"@relation")) {
            return Some(Self::Arff);
        }
        let (first, second) = (lines.next()?, lines.next());
        separated(first, second, separator).map(|other| Self::Separated(char::from(other)))
    }
}

/// The number of the first line that names all of these.
pub(crate) fn line_with<'a>(head: &[u8], names: impl Iterator<Item = &'a str> + Clone) -> Option<u64> {
    let text = String::from_utf8_lossy(head).replace("\r\n", "\n");
    let found = text.split(['\n', '\r']).position(|line| names.clone().all(|name| line.contains(name)));
    found.map(|index| index as u64 + 1)
}

/// The byte order in which most of the characters are Latin ones.
fn utf16(head: &[u8]) -> Option<&'static str> {
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let half = head.len() / 2;
    match (zeros(0), zeros(1)) {
        (0, high) if high * 2 > half => Some("utf-16le"),
        (high, 0) if high * 2 > half => Some("utf-16be"),
        _ => None,
    }
}

/// What separates the cells of the first two lines in the same number, where the separator that it should be does not.
fn separated(first: &[u8], second: Option<&[u8]>, separator: u8) -> Option<u8> {
    let count = |line: &[u8], of: u8| line.iter().filter(|byte| **byte == of).count();
    if count(first, separator) > 0 {
        return None;
    }
    let even = |of: &u8| {
        count(first, *of) > 0 && second.is_none_or(|second| count(second, *of) == count(first, *of))
    };
    SEPARATORS.into_iter().filter(even).max_by_key(|of| count(first, *of))
}

/// What it is, and what to do.
impl fmt::Display for Resemblance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip => f.write_str("packed by gzip: unpack it, or register `compression = \"gzip\"`"),
            Self::Kind(what, remedy) => write!(f, "{what}: {remedy}"),
            Self::Utf16(label) => write!(f, "UTF-16: save it as UTF-8, or register `encoding = \"{label}\"`"),
            Self::OneByte => f.write_str(
                "text in an encoding of one byte for each character: save it as UTF-8, or register the `encoding` that it has, \
                 such as \"windows-1252\"",
            ),
            Self::Arff => f.write_str(
                "ARFF: save it as CSV, or register `header = false`, the `columns` by position and, as `skip_lines`, how many \
                 lines stand above the first row",
            ),
            Self::Separated(other) => {
                write!(f, "separated by {other:?}: save it with the registered separator, or register `separator = {other:?}`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_beginning() {
        let utf16: Vec<u8> = "age,bp\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16be: Vec<u8> = "age,bp\n1,2\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (head, look) in [
            (&b"\x1f\x8b\x08\x00"[..], "packed by gzip: unpack it"),
            (b"PK\x03\x04\x14\x00", "a spreadsheet (.xlsx, .ods)"),
            (b"PAR1\x15\x04", "Parquet: register `kind = \"parquet\"`"),
            (b"\x89PNG\r\n", "a PNG image"),
            (&utf16, "UTF-16: save it as UTF-8, or register `encoding = \"utf-16le\"`"),
            (&utf16be, "UTF-16: save it as UTF-8, or register `encoding = \"utf-16be\"`"),
            (b"\xe2ge,bp\n1,2\n", "text in an encoding of one byte"),
            (b"% made by hand\n@RELATION heart\n", "ARFF: save it as CSV"),
            (b"\"age\";\"bp\"\r\n1;2\r\n", "separated by ';'"),
            (b"age\tbp\tname\n1\t2\tb|c\n", "separated by '\\t'"),
        ] {
            let found = Resemblance::of(head, b',').map(|look| look.to_string());
            assert!(found.as_ref().is_some_and(|found| found.starts_with(look)), "{look}: {found:?}");
        }
    }

    #[test]
    fn what_is_as_it_should_be_looks_like_nothing_else() {
        let cut = "é".repeat(9);
        for head in [
            &b"age,bp\n1,2\n"[..],
            b"",
            b"age\n1\n",
            b"a;b,c\n1;2,3\n",
            b"note\n\"a; b\"\n",
            &cut.as_bytes()[..5],
        ] {
            assert_eq!(Resemblance::of(head, b','), None, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn the_line_that_names_all_is_counted_from_one() {
        let names = ["age", "ill"];
        let found = |head: &str| line_with(head.as_bytes(), names.into_iter());
        assert_eq!(found("Export\r\nof an age\r\nage,bp,ill\r\n"), Some(3));
        assert_eq!(found("age,bp\n"), None);
    }
}
