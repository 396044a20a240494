//! A proposal as the text of a registration.

use registration::{Dialect, FileKind};

use crate::columns::Holds;
use crate::proposal::{Found, Held, Proposal};

/// So many columns in a row that are alike are written as one line.
const ALIKE_MIN: usize = 8;

impl Proposal {
    /// The registration's text, with comments that say what its lines mean.
    pub fn to_toml(&self) -> String {
        let mut text = "# How this silo's files are written, and what their columns are in the federation's words.\n\
                        # Proposed from the files: correct it before it is used. A change takes effect when the daemon is started again.\n\
                        format = 1\n\n[dialect]\n"
            .to_owned();
        self.write_dialect(&mut text);
        text += "\n# The federation's word on the left, `from` the column in the files. Units: `times` and `plus` make a number the federation's.\n\
                 # `minimum` and `maximum` (after these) bound what can be true; `missing` lists cells that mean \"not known\" in that column.\n\
                 # Others learn which columns and words there are by the plans that this silo refuses: list what a code book says.\n[columns]\n";
        self.write_columns(&mut text);
        text
    }

    /// A line for each column, and one for many that are numbered and alike.
    fn write_columns(&self, text: &mut String) {
        let mut rest = self.columns.as_slice();
        while let Some((Found { name, held }, _)) = rest.split_first() {
            let Some(held) = held else {
                *text += &format!(
                    "# {} is left out: it cannot be read, or its name is empty or there twice.\n",
                    quoted(name)
                );
                rest = rest.split_at(1).1;
                continue;
            };
            let count = Some(self.alike(name, held, rest)).filter(|count| *count >= ALIKE_MIN).unwrap_or(1);
            let word = match numbered(name) {
                Some((prefix, first)) if count > 1 => {
                    format!("{prefix}{{{first}..{}}}", first + count as u64 - 1)
                }
                _ => held.word.clone(),
            };
            *text += &format!("{} = {}", key(&word), self.column(name, held));
            rest = rest.split_at(count).1;
        }
    }

    /// How many of these columns, the first of which is this one, are numbered one after the other and hold the same.
    fn alike(&self, name: &str, held: &Held, columns: &[Found]) -> usize {
        let Some((prefix, first)) = numbered(name).filter(|_| held.word == name) else { return 1 };
        let said = self.column(name, held);
        let follows = |(number, found): &(u64, &Found)| {
            let is_same = |next: &Held| next.word == found.name && self.column(&found.name, next) == said;
            numbered(&found.name) == Some((prefix, *number)) && found.held.as_ref().is_some_and(is_same)
        };
        (first..).zip(columns).take_while(follows).count()
    }

    fn write_dialect(&self, text: &mut String) {
        let (plain, dialect) = (Dialect::default(), &self.dialect);
        let mut line = |differs: bool, key: &str, value: String, meaning: &str| {
            if differs {
                *text += &format!("{key} = {value} # {meaning}\n");
            }
        };
        // The other keys say how text is written, and are refused beside another kind.
        if dialect.kind != FileKind::Csv {
            line(
                true,
                "kind",
                quoted(dialect.kind.as_str()),
                "the files say themselves how they are written",
            );
            if let Some(form) = dialect.image {
                let size = format!("{{ width = {}, height = {} }}", form.width, form.height);
                line(true, "image", size, "every image's size; with colour = \"rgb\" three numbers a pixel");
            }
            line(
                true,
                "missing",
                self.missing_marks(),
                "cells that mean \"not known\" in every column, beside null",
            );
            return;
        }
        line(true, "separator", quoted(&dialect.separator), "between two cells");
        line(true, "decimal", quoted(&dialect.decimal), "before the decimals of a number");
        line(
            dialect.thousands != plain.thousands,
            "thousands",
            quoted(&dialect.thousands),
            "between thousands",
        );
        line(
            dialect.encoding != plain.encoding,
            "encoding",
            quoted(&dialect.encoding),
            "how characters are written",
        );
        let packed = dialect.compression != plain.compression;
        line(packed, "compression", quoted("gzip"), "the file is packed");
        line(!dialect.header, "header", "false".into(), "no line names the columns");
        line(
            !dialect.header,
            "columns",
            list(&dialect.columns),
            "by position: write their names, here and in `from`",
        );
        line(dialect.skip_lines > 0, "skip_lines", dialect.skip_lines.to_string(), "lines above the table");
        line(
            !dialect.comment.is_empty(),
            "comment",
            quoted(&dialect.comment),
            "begins a line that is no record",
        );
        line(dialect.line_breaks, "line_breaks", "true".into(), "in quoted cells");
        line(true, "missing", self.missing_marks(), "cells that mean \"not known\" in every column");
    }

    fn missing_marks(&self) -> String {
        let mut missing = vec![String::new()];
        missing.extend(self.missing.iter().map(|mark| (*mark).to_owned()));
        list(&missing)
    }

    /// What stands behind a column's name.
    fn column(&self, name: &str, Held { word, holds, missing, other_form }: &Held) -> String {
        let mut keys = String::new();
        if word != name {
            keys += &format!("from = {}, ", quoted(name));
        }
        let is_label = self.label.as_deref() == Some(name);
        let either =
            other_form.map(|other| format!("days, and all could be {other} too: ask who exported them"));
        let (kind, note) = match holds {
            Holds::Numbers if is_label => {
                ("type = \"label\", classes = 2".into(), "numbers, and many: correct `classes`")
            }
            Holds::Numbers => ("type = \"number\"".into(), "numbers"),
            Holds::Classes { first: 0, count } => {
                (format!("type = \"label\", classes = {count}"), "the number of a class")
            }
            Holds::Classes { first, count } => (
                format!("type = \"label\", classes = {count}, plus = {}", -first),
                "classes that are counted from 1 here",
            ),
            Holds::Categories(values) => (
                format!("type = \"category\", values = {}", list(values)),
                "write { CELL = WORD } where the federation's words differ",
            ),
            Holds::Dates(form) => {
                (format!("type = \"date\", written = {}", quoted(form)), either.as_deref().unwrap_or("days"))
            }
            Holds::Words => ("type = \"text\"".into(), "texts, of which the plan takes the words"),
            Holds::Texts => (
                "type = \"ignore\"".into(),
                "texts, nearly all different: names, notes or numbers of patients?",
            ),
            Holds::Nothing => ("type = \"ignore\"".into(), "no cell is known"),
        };
        keys += &kind;
        let own: Vec<String> = missing
            .iter()
            .filter(|mark| !self.missing.contains(mark))
            .map(|mark| (*mark).to_owned())
            .collect();
        if !own.is_empty() {
            keys += &format!(", missing = {}", list(&own));
        }
        format!("{{ {keys} }} # {note}\n")
    }
}

/// A name that ends in a number without zeros before it, in two parts. None of one that means several names in a registration.
fn numbered(name: &str) -> Option<(&str, u64)> {
    let prefix = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = name.strip_prefix(prefix)?;
    let is_plain = !prefix.contains(['{', '}']) && (digits == "0" || !digits.starts_with('0'));
    Some((prefix, digits.parse().ok().filter(|_| is_plain)?))
}

/// A text as TOML has it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn key(word: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !word.is_empty() && word.chars().all(bare) { word.to_owned() } else { quoted(word) }
}
