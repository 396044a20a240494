//! What a silo's files are and, of text, how it is written: its marks, its encoding, its header.

use std::collections::BTreeSet;

use plan::{PLAN_COLUMNS_MAX, Problems};
use serde::{Deserialize, Serialize};

/// What may stand between the thousands of a number: spaces of three widths and two apostrophes among them.
const THOUSANDS: [&str; 8] = ["", ",", ".", "'", " ", "\u{2019}", "\u{a0}", "\u{202f}"];

/// How the files of a silo are written. What is left out is as in a plain CSV file.
///
/// As a registration's table `[dialect]` has it; [`Dialect::marks`] says whether it can be used. Where the files are no text, only
/// `missing` and `image` are of use beside `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dialect {
    /// What the files are.
    #[serde(skip_serializing_if = "FileKind::is_csv")]
    pub kind: FileKind,
    /// What stands between two cells: one ASCII character.
    pub separator: String,
    /// What encloses a cell that may hold separators, doubled where it is part of the cell; empty for none.
    pub quote: String,
    /// What stands before the decimals of a number: `.` or `,`.
    pub decimal: String,
    /// What may stand between the thousands of a number; empty for nothing.
    pub thousands: String,
    /// How characters are written as bytes: a label of the WHATWG Encoding Standard.
    pub encoding: String,
    /// Whether the file is packed.
    pub compression: Compression,
    /// Whether the first record names the columns.
    pub header: bool,
    /// The names of the columns by position, where no header has them.
    pub columns: Vec<String>,
    /// How many lines stand above the header, or above the first record.
    pub skip_lines: u64,
    /// What a line begins with that is no record; empty for nothing.
    pub comment: String,
    /// The cells that mean "not known".
    pub missing: Vec<String>,
    /// Whether spaces around an unquoted cell are no part of it.
    pub trim: bool,
    /// Whether a quoted cell may hold line breaks. Where it may not, a quote that is left open ends at the end of its line.
    pub line_breaks: bool,
    /// What every image is, where the files are images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageForm>,
}

/// What the files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Text, a record a line.
    #[default]
    Csv,
    /// Apache Parquet, columns by columns.
    Parquet,
    /// A folder of pairs of IDX files: images, and their labels.
    Idx,
    /// A folder for each class, which holds its images as PNG or JPEG.
    Images,
}

impl FileKind {
    /// As a registration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Idx => "idx",
            Self::Images => "images",
        }
    }

    fn is_csv(&self) -> bool {
        *self == Self::Csv
    }
}

/// What every image of a silo is: one of another size contributes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageForm {
    /// Pixels of a row.
    pub width: u16,
    /// How many rows.
    pub height: u16,
    /// What a pixel becomes.
    #[serde(default)]
    pub colour: Colour,
}

/// What a pixel becomes: a number, or one in each of three planes. Each is 0 to 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// How light it is; of a coloured one its luma.
    #[default]
    Grey,
    /// How red, how green and how blue it is: all that is red of an image, then all that is green, then all that is blue.
    Rgb,
}

impl ImageForm {
    /// How many numbers an image becomes.
    pub fn numbers(self) -> u64 {
        let planes = match self.colour {
            Colour::Grey => 1,
            Colour::Rgb => 3,
        };
        u64::from(self.width) * u64::from(self.height) * planes
    }
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By gzip, in one part or several.
    Gzip,
}

/// What a reader takes from a [`Dialect`]: marks of which no two are one where they could be mistaken for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Between two cells.
    pub separator: u8,
    /// Around a cell.
    pub quote: Option<u8>,
    /// Before the decimals of a number.
    pub decimal: char,
    /// Between the thousands of a number.
    pub thousands: Option<char>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            kind: FileKind::Csv,
            separator: ",".into(),
            quote: "\"".into(),
            decimal: ".".into(),
            thousands: String::new(),
            encoding: "utf-8".into(),
            compression: Compression::None,
            header: true,
            columns: Vec::new(),
            skip_lines: 0,
            comment: String::new(),
            missing: vec![String::new()],
            trim: true,
            line_breaks: false,
            image: None,
        }
    }
}

impl Dialect {
    /// The marks, where everything in the dialect can be used.
    ///
    /// # Errors
    /// All problems at once. Whether there is such an encoding is found by whoever reads the file.
    pub fn marks(&self) -> Result<Marks, Problems> {
        let mut problems = Problems::default();
        self.check_kind(&mut problems);
        let separator = separator(&self.separator, &mut problems);
        let quote = quote(&self.quote, &mut problems);
        let decimal = decimal(&self.decimal, &mut problems);
        problems.require(THOUSANDS.contains(&self.thousands.as_str()), "dialect.thousands", || {
            format!("{:?}: write \"\", \",\", \".\", \"'\" or \" \"", self.thousands)
        });
        self.check_pairs(&mut problems);
        self.check_names(&mut problems);
        self.check_texts(&mut problems);
        problems.into_result()?;
        Ok(Marks { separator, quote, decimal, thousands: self.thousands.chars().next() })
    }

    /// What is said of files of another kind.
    fn check_kind(&self, problems: &mut Problems) {
        let (kind, text) = (self.kind.as_str(), Self::default());
        let plain = [
            ("dialect.separator", self.separator == text.separator),
            ("dialect.quote", self.quote == text.quote),
            ("dialect.decimal", self.decimal == text.decimal),
            ("dialect.thousands", self.thousands == text.thousands),
            ("dialect.encoding", self.encoding == text.encoding),
            ("dialect.compression", self.compression == text.compression),
            ("dialect.header", self.header == text.header),
            ("dialect.columns", self.columns == text.columns),
            ("dialect.skip_lines", self.skip_lines == text.skip_lines),
            ("dialect.comment", self.comment == text.comment),
            ("dialect.trim", self.trim == text.trim),
            ("dialect.line_breaks", self.line_breaks == text.line_breaks),
        ];
        for (field, is_plain) in plain {
            problems.require(self.kind == FileKind::Csv || is_plain, field, || {
                format!("is said of text, and kind is \"{kind}\"; take it out")
            });
        }
        let is_of_images = matches!(self.kind, FileKind::Idx | FileKind::Images);
        problems.require(self.image.is_none() || is_of_images, "dialect.image", || {
            format!("is said of images, and kind is \"{kind}\"; take it out")
        });
        problems.require(self.image.is_some() || self.kind != FileKind::Images, "dialect.image", || {
            "is not there; write what every image is, such as image = { width = 28, height = 28 }".into()
        });
        let numbers = self.image.map_or(1, ImageForm::numbers);
        problems.require((1..=PLAN_COLUMNS_MAX as u64).contains(&numbers), "dialect.image", || {
            format!("an image becomes {numbers} numbers, and a plan asks for 1 to {PLAN_COLUMNS_MAX}; make the images smaller")
        });
        let is_grey = self.image.is_none_or(|image| image.colour == Colour::Grey);
        problems.require(self.kind != FileKind::Idx || is_grey, "dialect.image", || {
            "IDX files hold one number a pixel; take `colour` out".into()
        });
    }

    /// Marks that would be mistaken for each other.
    fn check_pairs(&self, problems: &mut Problems) {
        let Self { separator, quote, decimal, thousands, comment, .. } = self;
        problems.require(quote != separator, "dialect.quote", || {
            "is the separator too; choose another, or \"\" for none".into()
        });
        problems.require(thousands != decimal, "dialect.thousands", || {
            "is the decimal mark too; write \"\" where nothing stands between thousands".into()
        });
        for (field, mark) in [("dialect.decimal", decimal), ("dialect.thousands", thousands)] {
            problems.require(!quote.is_empty() || mark != separator, field, || {
                "is the separator too, and without quotes a number would be two cells; name the quote, or another separator"
                    .into()
            });
            problems.require(mark.is_empty() || mark != quote, field, || "is the quote too".into());
        }
        let first = comment.chars().next();
        let begins_a_record = |first: char| first.is_alphanumeric() || "+-.".contains(first);
        problems.require(!first.is_some_and(begins_a_record), "dialect.comment", || {
            format!("{comment:?}: records begin like this, and would be left out; write what only comments begin with")
        });
        for mark in [separator, quote] {
            problems.require(mark.is_empty() || !comment.starts_with(mark), "dialect.comment", || {
                format!(
                    "{comment:?}: begins with {mark:?}, as a record can; write what only comments begin with"
                )
            });
        }
    }

    fn check_names(&self, problems: &mut Problems) {
        problems.require(!self.header || self.columns.is_empty(), "dialect.columns", || {
            "the header names the columns; take this out, or write header = false where there is none".into()
        });
        problems.require(self.header || !self.columns.is_empty(), "dialect.header", || {
            "without a header the columns have no names; list them by position in `columns`".into()
        });
        let mut seen = BTreeSet::new();
        for (index, name) in self.columns.iter().enumerate() {
            let position = index + 1;
            problems.require(!name.trim().is_empty(), "dialect.columns", || {
                format!("the name at position {position} is empty")
            });
            problems.require(seen.insert(name), "dialect.columns", || {
                format!("the name at position {position}, {name:?}, stands there twice")
            });
        }
    }

    fn check_texts(&self, problems: &mut Problems) {
        let label = !self.encoding.is_empty() && self.encoding.bytes().all(|byte| byte.is_ascii_graphic());
        problems.require(label, "dialect.encoding", || {
            format!("{:?}: write a label such as \"utf-8\", \"utf-16le\" or \"windows-1252\"", self.encoding)
        });
        let mut seen = BTreeSet::new();
        for mark in &self.missing {
            problems.require(seen.insert(mark), "dialect.missing", || format!("{mark:?} stands there twice"));
        }
        let with_comment = self.missing.iter().chain([&self.comment]);
        for text in with_comment.filter(|text| text.contains(['\r', '\n'])) {
            let field = if *text == self.comment { "dialect.comment" } else { "dialect.missing" };
            problems.add(field, format!("{text:?}: no line holds a line break"));
        }
    }
}

/// The separator's byte, or any where it is none and that was said.
fn separator(text: &str, problems: &mut Problems) -> u8 {
    match text.as_bytes() {
        [byte] if byte.is_ascii_punctuation() || matches!(byte, b'\t' | b' ' | 0x1c..=0x1f) => *byte,
        _ => {
            let remedy = "write one ASCII character that is no letter and no digit, such as \",\", \";\", \"|\" or \"\\t\"";
            problems.add("dialect.separator", format!("{text:?}: {remedy}"));
            b','
        }
    }
}

fn quote(text: &str, problems: &mut Problems) -> Option<u8> {
    match text.as_bytes() {
        [] => None,
        [byte] if byte.is_ascii_punctuation() => Some(*byte),
        _ => {
            problems.add(
                "dialect.quote",
                format!("{text:?}: write one ASCII mark such as \"\\\"\" or \"'\", or \"\" for none"),
            );
            None
        }
    }
}

fn decimal(text: &str, problems: &mut Problems) -> char {
    problems
        .require([".", ","].contains(&text), "dialect.decimal", || format!("{text:?}: write \".\" or \",\""));
    if text == "," { ',' } else { '.' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Dialect {
        toml::from_str(text).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let Problems(problems) = read(text).marks().unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_table_is_a_plain_csv_file() {
        let plain = read("");
        assert_eq!(plain, Dialect::default());
        let marks = Marks { separator: b',', quote: Some(b'"'), decimal: '.', thousands: None };
        assert_eq!(plain.marks().unwrap(), marks);
        assert!(plain.header && plain.trim && !plain.line_breaks);
        assert_eq!(plain.missing, [""]);
    }

    #[test]
    fn a_dialect_is_written_as_it_is_read() {
        let text = "separator = \"\\t\"\nquote = \"\"\ndecimal = \",\"\nthousands = \".\"\nencoding = \"windows-1252\"\n\
                    compression = \"gzip\"\nheader = false\ncolumns = [\"age\", \"sex\"]\nskip_lines = 3\ncomment = \"#\"\n\
                    missing = [\"\", \"?\"]\ntrim = false\nline_breaks = true\n";
        let dialect = read(text);
        let marks = Marks { separator: b'\t', quote: None, decimal: ',', thousands: Some('.') };
        assert_eq!(dialect.marks().unwrap(), marks);
        assert_eq!(toml::to_string(&dialect).unwrap(), text);
    }

    #[test]
    fn files_that_are_no_text_are_said_with_what_is_of_use_for_them() {
        let idx =
            "kind = \"idx\"\nmissing = [\"0\"]\n\n[image]\nwidth = 28\nheight = 28\ncolour = \"grey\"\n";
        assert_eq!(read(idx).image.unwrap().numbers(), 784);
        for text in [
            "kind = 'csv'",
            "kind = 'parquet'\nmissing = ['', '-9']",
            idx,
            "kind = 'idx'",
            "kind = 'images'\nimage = { width = 256, height = 85, colour = 'rgb' }",
        ] {
            let plain = Marks { separator: b',', quote: Some(b'"'), decimal: '.', thousands: None };
            assert_eq!(read(text).marks().unwrap(), plain, "{text}");
            assert_eq!(read(&toml::to_string(&read(text)).unwrap()), read(text));
        }
        for (text, problem) in [
            ("image = { width = 28, height = 28 }", "dialect.image: is said of images, and kind is \"csv\""),
            ("kind = 'parquet'\nimage = { width = 1, height = 1 }", "dialect.image: is said of images"),
            ("kind = 'images'", "dialect.image: is not there"),
            (
                "kind = 'images'\nimage = { width = 0, height = 9 }",
                "dialect.image: an image becomes 0 numbers",
            ),
            (
                "kind = 'images'\nimage = { width = 257, height = 256 }",
                "dialect.image: an image becomes 65792",
            ),
            (
                "kind = 'idx'\nimage = { width = 9, height = 9, colour = 'rgb' }",
                "dialect.image: IDX files hold",
            ),
            ("kind = 'parquet'\ncompression = 'gzip'", "dialect.compression: is said of text, and kind is"),
            ("kind = 'idx'\ntrim = false", "dialect.trim: is said of text"),
            ("kind = 'parquet'\nskip_lines = 1", "dialect.skip_lines: is said of text"),
        ] {
            let said = problems(text);
            assert!(said.len() == 1 && said[0].starts_with(problem), "{text}: {said:?}");
        }
        for text in
            ["kind = 'xlsx'", "image = { width = 28 }", "image = { width = 1, height = 1, depth = 1 }"]
        {
            assert!(toml::from_str::<Dialect>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_and_an_unknown_packing_are_refused() {
        for text in ["seperator = ';'", "compression = 'zip'", "header = 'no'", "skip_lines = -1"] {
            assert!(toml::from_str::<Dialect>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let said = problems(
            "separator = ';;'\nquote = 'x'\ndecimal = ';'\nthousands = '_'\nencoding = ''\nheader = false\n\
             comment = '1'\nmissing = ['?', '?']\n",
        );
        let fields: Vec<&str> = said.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(
            fields,
            ["separator", "quote", "decimal", "thousands", "comment", "header", "encoding", "missing"]
                .map(|field| format!("dialect.{field}"))
        );
    }

    #[test]
    fn a_mark_that_could_be_mistaken_for_another_is_refused() {
        for (text, problem) in [
            ("quote = ','", "dialect.quote: is the separator too"),
            ("decimal = ','\nquote = ''", "dialect.decimal: is the separator too"),
            ("thousands = ','\nquote = ''", "dialect.thousands: is the separator too"),
            ("thousands = '.'", "dialect.thousands: is the decimal mark too"),
            ("thousands = \"'\"\nquote = \"'\"", "dialect.thousands: is the quote too"),
            ("comment = ',#'", "dialect.comment: \",#\": begins with \",\""),
            ("comment = '\"'", "dialect.comment: \"\\\"\": begins with"),
            ("comment = 'NB'", "dialect.comment: \"NB\": records begin like this"),
            ("separator = ''", "dialect.separator: \"\": write one ASCII character"),
            ("separator = 'a'", "dialect.separator: \"a\": write one"),
            ("separator = \"\\n\"", "dialect.separator: \"\\n\": write one"),
            ("separator = '§'", "dialect.separator: \"§\": write one"),
            ("encoding = 'latin 1'", "dialect.encoding: \"latin 1\": write a label"),
            ("missing = [\"a\\nb\"]", "dialect.missing: \"a\\nb\": no line holds"),
            ("comment = \"#\\n\"", "dialect.comment: \"#\\n\": no line holds"),
        ] {
            let said = problems(text);
            assert!(said.len() == 1 && said[0].starts_with(problem), "{text}: {said:?}");
        }
        for text in [
            "decimal = ','",
            "thousands = ','",
            "separator = ';'\ndecimal = ','\nquote = ''",
            "separator = ' '",
        ] {
            read(text).marks().unwrap();
        }
    }

    #[test]
    fn names_stand_in_the_header_or_in_the_dialect_each_once() {
        for (text, said) in [
            ("columns = ['a']", &["dialect.columns: the header names the columns"][..]),
            ("header = false", &["dialect.header: without a header"]),
            (
                "header = false\ncolumns = ['a', '', 'a']",
                &[
                    "dialect.columns: the name at position 2 is empty",
                    "dialect.columns: the name at position 3, \"a\", stands there twice",
                ],
            ),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), said.len(), "{found:?}");
            for (problem, begin) in found.iter().zip(said) {
                assert!(problem.starts_with(begin), "{problem}");
            }
        }
        read("header = false\ncolumns = ['a', 'b']").marks().unwrap();
    }
}
