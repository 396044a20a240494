//! A registration as it is proposed: of the whole file, with what each line means.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use readers::{FileFault, Records};
use registration::{Dialect, Marks};

use crate::columns::{Counted, Holds, VALUES_MAX};
use crate::dialect::dialect_of;

/// So much of a file's beginning says how it is written.
const HEAD_BYTES: usize = 4 << 20;
/// Different cells that are kept of all columns together.
const VALUES_OF_ALL: usize = 1 << 20;

/// Why there is nothing to propose.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is no file; name one of the silo's text files")]
    NoFile,
    #[error("{0}")]
    File(#[from] FileFault),
    /// The label that was named is none of the columns.
    #[error("there is no column {label:?}; the columns are {names}")]
    NoLabel { label: String, names: String },
}

/// What is proposed for a file, once all of it was read.
pub struct Proposal {
    dialect: Dialect,
    /// Why the dialect is this one, a sentence each.
    pub reasons: Vec<String>,
    /// How many records there are.
    pub records: u64,
    /// How many of them are broken, and the first of these with why.
    pub broken: u64,
    pub first_broken: Option<String>,
    missing: Vec<&'static str>,
    columns: Vec<Found>,
    label: Option<String>,
}

/// A column of the file.
struct Found {
    name: String,
    /// None of a name that is empty or there twice.
    held: Option<Held>,
}

/// What its cells are, and those among them that mean "not known".
struct Held {
    holds: Holds,
    missing: Vec<&'static str>,
}

impl Proposal {
    /// Of this file, in which `label` is the label's column.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn of(path: &Path, label: Option<&str>) -> Result<Self, InspectError> {
        // A pipe would be waited for, and is read once.
        if !path.metadata()?.is_file() {
            return Err(InspectError::NoFile);
        }
        let mut head = Vec::new();
        File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let (dialect, reasons) = dialect_of(&head, head.len() < HEAD_BYTES);
        let mut records = Records::new(File::open(path)?, &dialect)?;
        let names = records.names().to_vec();
        if let Some(label) = label.filter(|label| !names.iter().any(|name| name == label)) {
            let names = names.join(", ");
            return Err(InspectError::NoLabel { label: label.to_owned(), names });
        }
        let marks: Marks = dialect.marks().map_err(FileFault::Dialect)?;
        let values_max = (VALUES_OF_ALL / names.len().max(1)).clamp(4, VALUES_MAX);
        let mut counted: Vec<Counted> = names.iter().map(|_| Counted::new(marks, values_max)).collect();
        let (mut all, mut broken, mut first_broken) = (0, 0, None);
        while let Some(record) = records.next_record()? {
            all += 1;
            match record.cells {
                Ok(cells) => {
                    for (index, column) in counted.iter_mut().enumerate() {
                        if let Some(cell) = cells.get(index) {
                            column.add(&cell);
                        }
                    }
                }
                Err(fault) => {
                    broken += 1;
                    first_broken.get_or_insert_with(|| format!("line {}: {fault}", record.line));
                }
            }
        }
        let (missing, columns) = held(names, &counted, label);
        let label = label.map(str::to_owned);
        Ok(Self { dialect, reasons, records: all, broken, first_broken, missing, columns, label })
    }

    /// The registration's text, with comments that say what its lines mean.
    pub fn to_toml(&self) -> String {
        let mut text = "# How this silo's files are written, and what their columns are in the federation's words.\n\
                        # Proposed from one file: correct it before it is used. A change takes effect when the daemon is started again.\n\
                        format = 1\n\n[dialect]\n"
            .to_owned();
        self.write_dialect(&mut text);
        text += "\n# The federation's word on the left, `from` the column in the files. Units: `times` and `plus` make a number the federation's.\n\
                 # `minimum` and `maximum` (after these) bound what can be true; `missing` lists cells that mean \"not known\" in that column.\n\
                 # Others learn which columns and words there are by the plans that this silo refuses: list what a code book says.\n[columns]\n";
        let mut short: BTreeMap<String, usize> = BTreeMap::new();
        for found in self.columns.iter().filter(|found| found.held.is_some()) {
            *short.entry(word(&found.name)).or_default() += 1;
        }
        let names: BTreeSet<&str> = self.columns.iter().map(|found| found.name.as_str()).collect();
        // A short word that another column has too, or is called, would be two columns of one word.
        let is_own = |name: &str, word: &str| {
            let is_anothers = name != word && names.contains(word);
            !word.is_empty() && short.get(word) == Some(&1) && !is_anothers
        };
        for Found { name, held } in &self.columns {
            let Some(held) = held else {
                text +=
                    &format!("# {} is left out: its name is empty, or stands there twice.\n", quoted(name));
                continue;
            };
            let word = Some(word(name)).filter(|word| is_own(name, word)).unwrap_or_else(|| name.clone());
            text += &self.column(&word, name, held);
        }
        text
    }

    fn write_dialect(&self, text: &mut String) {
        let (plain, dialect) = (Dialect::default(), &self.dialect);
        let mut line = |differs: bool, key: &str, value: String, meaning: &str| {
            if differs {
                *text += &format!("{key} = {value} # {meaning}\n");
            }
        };
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
        let mut missing = vec![String::new()];
        missing.extend(self.missing.iter().map(|mark| (*mark).to_owned()));
        line(true, "missing", list(&missing), "cells that mean \"not known\" in every column");
    }

    fn column(&self, word: &str, name: &str, Held { holds, missing }: &Held) -> String {
        let mut keys = String::new();
        if word != name {
            keys += &format!("from = {}, ", quoted(name));
        }
        let is_label = self.label.as_deref() == Some(name);
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
            Holds::Dates(form) => (format!("type = \"date\", written = {}", quoted(form)), "days"),
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
        format!("{} = {{ {keys} }} # {note}\n", key(word))
    }
}

/// The marks that hold for every column, and what each column holds.
fn held(names: Vec<String>, counted: &[Counted], label: Option<&str>) -> (Vec<&'static str>, Vec<Found>) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for name in &names {
        *times.entry(name.clone()).or_default() += 1;
    }
    let found = |(name, counted): (String, &Counted)| {
        let is_usable = !name.is_empty() && times.get(&name) == Some(&1);
        let is_label = label == Some(name.as_str());
        let held = is_usable.then(|| Held { holds: counted.holds(is_label), missing: counted.missing() });
        Found { name, held }
    };
    let columns: Vec<Found> = names.into_iter().zip(counted).map(found).collect();
    let held = || columns.iter().filter_map(|found| found.held.as_ref());
    // A mark that is a value in another column stays with the columns in which it is none.
    let is_value = |mark: &str| {
        held().any(|held| matches!(&held.holds, Holds::Categories(values) if values.iter().any(|value| value == mark)))
    };
    let marks: BTreeSet<&'static str> = held().flat_map(|held| held.missing.iter().copied()).collect();
    (marks.into_iter().filter(|mark| !is_value(mark)).collect(), columns)
}

/// A name as federations write it: without its unit in brackets, small, with `_` between words.
fn word(name: &str) -> String {
    let before_unit = match name.find(['(', '[']) {
        Some(at) if at > 0 => name.split_at(at).0,
        _ => name,
    };
    let small = before_unit.trim().to_lowercase();
    let parts = small.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("_")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn key(word: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !word.is_empty() && word.chars().all(bare) { word.to_owned() } else { quoted(word) }
}

#[cfg(test)]
mod tests {
    use registration::{Meaning, Registration};

    use super::*;

    fn proposed(file: &str, label: Option<&str>) -> (Proposal, Registration) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, file).unwrap();
        let proposal = Proposal::of(&path, label).unwrap();
        let text = proposal.to_toml();
        let registration = Registration::from_toml(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        (proposal, registration)
    }

    #[test]
    fn what_is_proposed_can_be_used_and_names_what_it_found() {
        let (proposal, registration) = proposed(
            "Patient;Age (years);\"Chol [mg/dl]\";Sex;Admitted;;Ill\n\
             a;45;1.234,5;M;31.1.2020;;1\nb;70;153;F;1.2.2021;;2\nc;?;-;M;3.2.2021;;2\n",
            Some("Ill"),
        );
        assert_eq!((proposal.records, proposal.broken), (3, 0));
        let columns = registration.columns();
        assert_eq!(columns["age"].from.as_deref(), Some("Age (years)"));
        assert_eq!(
            columns["chol"].missing,
            Vec::<String>::new(),
            "its mark stands for all: {:?}",
            registration.dialect()
        );
        assert_eq!(registration.dialect().missing, ["", "-", "?"]);
        assert!(
            matches!(&columns["ill"].meaning, Meaning::Label(label) if label.classes == 2 && label.plus == -1)
        );
        assert!(matches!(columns["admitted"].meaning, Meaning::Date(_)));
        let Meaning::Category(values) = &columns["sex"].meaning else { panic!("a category") };
        assert_eq!(values.keys().collect::<Vec<_>>(), ["F", "M"]);
        assert!(proposal.to_toml().contains("# \"\" is left out"));
    }

    #[test]
    fn columns_without_names_have_them_by_position_and_words_that_would_be_one_are_kept_apart() {
        let (_, registration) = proposed("45, 170, <=50K\n70, 169, >50K\n", Some("column_3"));
        assert_eq!(registration.dialect().columns.len(), 3);
        let Meaning::Category(values) = &registration.columns()["column_3"].meaning else {
            panic!("a category")
        };
        assert_eq!(values.len(), 2);
        let (_, registration) = proposed("a (mg),a [g],\"a\"\n1,2,3\n", None);
        assert_eq!(registration.columns().keys().collect::<Vec<_>>(), ["a", "a (mg)", "a [g]"]);
    }

    #[test]
    fn what_is_broken_beyond_the_head_is_counted_and_an_absent_label_refused() {
        let (proposal, _) = proposed("a,b\n1,2\n1\n3,4\n", None);
        assert_eq!((proposal.records, proposal.broken), (3, 1));
        assert!(proposal.first_broken.unwrap().starts_with("line 3: "));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let why = Proposal::of(&path, Some("c")).err().unwrap().to_string();
        assert_eq!(why, "there is no column \"c\"; the columns are a, b");
        let why = Proposal::of(folder.path(), None).err().unwrap().to_string();
        assert!(why.starts_with("is no file"), "{why}");
    }

    #[test]
    fn a_word_is_small_and_without_its_unit() {
        for (name, is) in [
            ("Age (years)", "age"),
            ("capital-gain", "capital_gain"),
            ("ENSG0.1", "ensg0_1"),
            ("(x)", "x"),
            ("Größe", "größe"),
        ] {
            assert_eq!(word(name), is, "{name}");
        }
    }
}
