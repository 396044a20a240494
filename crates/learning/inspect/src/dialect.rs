//! How a text file seems to be written.

use registration::{Compression, Dialect, FileKind, ImageForm, Marks, number};

use crate::text::{Line, decoded, lines, split, unpacked};

/// What files of these kinds begin with.
const PARQUET: &[u8] = b"PAR1";
const IDX_IMAGES: &[u8] = &[0, 0, 8, 3];
/// So many lines are looked at.
const LINES: usize = 2_000;
/// What was unpacked of a head is no longer.
const UNPACKED_MAX: usize = 8 << 20;
/// What may separate cells; of several that do equally, the first.
const SEPARATORS: [char; 5] = ['\t', ';', '|', ',', ' '];
/// What lines begin with that are no records.
const COMMENTS: [&str; 4] = ["#", "%", "|", "//"];
/// Marks of decimals and thousands.
const NUMBERS: [(char, &str); 7] =
    [('.', ""), (',', ""), ('.', ","), (',', "."), ('.', " "), (',', " "), ('.', "'")];

/// How the file seems to be written that begins with these bytes, and why, a sentence each. `is_whole` says whether these are all.
pub fn dialect_of(head: &[u8], is_whole: bool) -> (Dialect, Vec<String>) {
    if head.starts_with(PARQUET) {
        let dialect = Dialect { kind: FileKind::Parquet, ..Dialect::default() };
        return (dialect, vec!["it is Parquet, by its first bytes".into()]);
    }
    let (bytes, packed) = unpacked(head, UNPACKED_MAX);
    if bytes.starts_with(IDX_IMAGES) {
        let dialect = Dialect { kind: FileKind::Idx, ..Dialect::default() };
        return (
            dialect,
            vec!["it is IDX, images of bytes by its first bytes; its labels lie beside it".into()],
        );
    }
    let (text, encoding) = decoded(&bytes);
    let mut found = Found { dialect: Dialect::default(), reasons: Vec::new() };
    if packed {
        found.dialect.compression = Compression::Gzip;
        found.says("it is packed by gzip");
    }
    if encoding != encoding_rs::UTF_8 {
        found.dialect.encoding = encoding.name().to_lowercase();
        let guess = "it is not UTF-8: one byte a character, most likely of this encoding; look at a name with an accent";
        found.says(if encoding == encoding_rs::WINDOWS_1252 { guess } else { "its first bytes are UTF-16" });
    }
    let all = lines(&text, is_whole && !packed, LINES);
    let rows = found.without_comments(&all);
    let (separator, width) = separator(&rows);
    found.dialect.separator = separator.to_string();
    let cells: Vec<(&Line, Vec<String>)> =
        rows.iter().map(|row| (*row, split(&row.text, separator))).collect();
    let share = cells.iter().filter(|(_, cells)| cells.len() == width).count();
    found
        .says(format!("{share} of the first {} lines have {width} cells, cut at {separator:?}", cells.len()));
    found.skip_above(&cells, &all, width);
    let table: Vec<&Vec<String>> =
        cells.iter().map(|(_, cells)| cells).filter(|cells| cells.len() == width).collect();
    found.dialect.line_breaks = cells.iter().any(|(row, cells)| row.joined && cells.len() == width);
    if found.dialect.line_breaks {
        found.says("quoted cells hold line breaks");
    }
    found.header(&table, width);
    found.number_marks(&table);
    (found.dialect, found.reasons)
}

/// How a folder of images lies, of which the first has this form, and why.
pub(crate) fn of_images(form: ImageForm) -> (Dialect, Vec<String>) {
    let dialect = Dialect { kind: FileKind::Images, image: Some(form), ..Dialect::default() };
    let why = format!(
        "it has a folder for each class, and the first image has {} by {} pixels; each is read as how light it is, or write colour = \"rgb\"",
        form.width, form.height
    );
    (dialect, vec![why])
}

struct Found {
    dialect: Dialect,
    reasons: Vec<String>,
}

impl Found {
    fn says(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    fn without_comments<'a>(&mut self, all: &'a [Line]) -> Vec<&'a Line> {
        let begin = |mark: &str| all.iter().filter(|line| line.text.starts_with(mark)).count();
        let few = |mark: &&&str| (1..all.len().div_ceil(2)).contains(&begin(mark));
        let Some(mark) = COMMENTS.iter().find(few) else { return all.iter().collect() };
        let count = begin(mark);
        self.dialect.comment = (*mark).to_owned();
        self.says(format!(
            "lines that begin with {mark} are taken for comments: {count} of the first {}",
            all.len()
        ));
        all.iter().filter(|line| !line.text.starts_with(mark)).collect()
    }

    fn skip_above(&mut self, cells: &[(&Line, Vec<String>)], all: &[Line], width: usize) {
        let Some((first, _)) = cells.iter().find(|(_, cells)| cells.len() == width) else { return };
        let is_record =
            |line: &&Line| line.above < first.above && cells.iter().any(|(row, _)| row.above == line.above);
        if all.iter().any(|line| is_record(&line)) {
            self.dialect.skip_lines = first.above;
            self.says(format!("{} lines above the table have another number of cells", first.above));
        }
    }

    fn header(&mut self, table: &[&Vec<String>], width: usize) {
        let Some((first, rows)) = table.split_first() else { return };
        let column =
            |index: usize| rows.iter().filter_map(move |row| row.get(index)).filter(|cell| !cell.is_empty());
        let mostly_numbers = |index: usize| {
            let (numbers, cells) =
                (column(index).filter(|cell| is_number(cell)).count(), column(index).count());
            cells > 0 && numbers * 10 >= cells * 8
        };
        let has_number = first.iter().any(|cell| is_number(cell));
        let recurs = || {
            first
                .iter()
                .enumerate()
                .any(|(index, cell)| !cell.is_empty() && column(index).any(|other| other == cell))
        };
        self.dialect.header = !has_number && ((0..width).any(mostly_numbers) || !recurs());
        if !self.dialect.header {
            self.dialect.columns = (1..=width).map(|position| format!("column_{position}")).collect();
            let why =
                if has_number { "holds a number, which is no name" } else { "says what other rows say" };
            self.says(format!(
                "its first line {why}: the columns have names by position; write in `columns` what they are"
            ));
        }
    }

    fn number_marks(&mut self, table: &[&Vec<String>]) {
        let separator = u8::try_from(self.dialect.separator.chars().next().unwrap_or(',')).unwrap_or(b',');
        let counts = NUMBERS.map(|(decimal, thousands)| {
            let marks = Marks { separator, quote: Some(b'"'), decimal, thousands: thousands.chars().next() };
            table.iter().flat_map(|row| row.iter()).filter(|cell| number(cell, marks).is_some()).count()
        });
        // Of a comma that could be either, what is usual beside this separator.
        let is_last =
            |(decimal, thousands): (char, &str)| separator == b',' && (decimal, thousands) == (',', "");
        let mut best = (0, NUMBERS.first().copied().unwrap_or(('.', "")));
        for pass in [false, true] {
            for (count, marks) in counts.into_iter().zip(NUMBERS).filter(|(_, marks)| is_last(*marks) == pass)
            {
                if count > best.0 {
                    best = (count, marks);
                }
            }
        }
        let (count, (decimal, thousands)) = best;
        (self.dialect.decimal, self.dialect.thousands) = (decimal.to_string(), thousands.to_owned());
        let other = |marks: &(usize, (char, &str))| {
            marks.0 == count && (marks.1.0 != decimal) && thousands.len() + marks.1.1.len() > 0
        };
        let both = counts.into_iter().zip(NUMBERS).any(|marks| other(&marks));
        if (decimal, thousands) != ('.', "") {
            self.says(format!(
                "numbers are written with {decimal:?} before decimals and {thousands:?} between thousands"
            ));
            if both {
                self.says("whether 1,234 is one thousand or about one cannot be seen in this file: ask who exported it");
            }
        }
    }
}

/// The separator by which most lines have one number of cells, and that number.
fn separator(rows: &[&Line]) -> (char, usize) {
    let mut best = (0, ',', 1);
    for separator in SEPARATORS {
        let mut widths: Vec<usize> = rows.iter().map(|row| split(&row.text, separator).len()).collect();
        widths.sort_unstable();
        let runs =
            widths.chunk_by(|one, other| one == other).filter_map(|run| Some((run.len(), *run.first()?)));
        let Some((lines, width)) = runs.max().filter(|(_, width)| *width > 1) else { continue };
        // A space is the last resort: texts hold some.
        let stands = if separator == ' ' { best.0 == 0 } else { lines * 50 > best.0 * 51 };
        if stands {
            best = (lines, separator, width);
        }
    }
    (best.1, best.2)
}

/// Whether a cell is a number with any marks.
fn is_number(cell: &str) -> bool {
    NUMBERS.into_iter().any(|(decimal, thousands)| {
        let marks = Marks { separator: b';', quote: None, decimal, thousands: thousands.chars().next() };
        number(cell, marks).is_some_and(f64::is_finite)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Dialect {
        dialect_of(text.as_bytes(), true).0
    }

    #[test]
    fn a_plain_file_is_plain() {
        assert_eq!(found("age,bp\n45,170\n70,169\n"), Dialect::default());
        assert_eq!(found("age,,\n45,,\n70,,\n"), Dialect::default(), "names may be empty");
        assert_eq!(found("age,bp\n"), Dialect::default());
        assert_eq!(found(""), Dialect::default());
        assert_eq!(found("PAR1\u{15}\u{4}").kind, FileKind::Parquet);
    }

    #[test]
    fn separators_headers_comments_and_what_stands_above_are_found() {
        let semicolons = found("\"age\";\"weight\";\"ill\"\n45;70,5;0\n70;1.234,25;1\n");
        assert_eq!(
            (semicolons.separator.as_str(), semicolons.decimal.as_str(), semicolons.thousands.as_str()),
            (";", ",", ".")
        );
        let adult = found("|1x3 Cross validator\n25, Private, <=50K.\n38, Private, >50K.\n28, ?, >50K.\n");
        assert_eq!((adult.comment.as_str(), adult.separator.as_str(), adult.header), ("|", ",", false));
        assert_eq!(adult.columns, ["column_1", "column_2", "column_3"]);
        let above = found(
            "Export of ward 7, 2026-01-02\nUnits: years; mmHg\nage,bp,ill\n45,170,0\n70,169,1\n71,1,1\n",
        );
        assert_eq!((above.skip_lines, above.header), (2, true));
        let comment = found("# made by lab export 3.2\nage\tbp\n45\t170\n70\t1\n");
        assert_eq!(
            (comment.comment.as_str(), comment.separator.as_str(), comment.skip_lines),
            ("#", "\t", 0)
        );
        let texts = found("red,small\nblue,small\nred,large\n");
        assert!(!texts.header, "the first row recurs below");
        assert!(found("colour,size\nblue,small\nred,large\n").header);
    }

    #[test]
    fn a_comma_that_could_be_either_is_said() {
        let (dialect, reasons) = dialect_of(b"age,chol\n45,186\n75,\"1,234\"\n", true);
        assert_eq!((dialect.decimal.as_str(), dialect.thousands.as_str()), (".", ","));
        assert!(reasons.iter().any(|reason| reason.contains("cannot be seen")), "{reasons:?}");
        assert_eq!(found("age,chol\n45,186\n75,\"1,23\"\n").decimal, ",");
    }

    #[test]
    fn packing_encoding_and_line_breaks_are_found() {
        let latin = dialect_of(b"\xe2ge,bp\n45,170\n", true).0;
        assert_eq!(latin.encoding, "windows-1252");
        assert!(
            found("age,address\n45,\"High Street\nNorthtown\"\n46,\"Low Street\nNorthtown\"\n").line_breaks
        );
        assert!(!found("age,note\n45,6 feet\"\n46,x\n").line_breaks);
    }
}
