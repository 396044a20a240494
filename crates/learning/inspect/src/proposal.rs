//! A registration as it is proposed: of all rows, with what each line means.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use datasets::DatasetError;
use identity::printable;
use plan::Data;
use readers::{FileFault, Records, form_of_first};
use registration::{Dialect, FileKind, Marks};

use crate::columns::{Counted, Holds, VALUES_MAX};
use crate::dialect::{dialect_of, of_images};
use crate::files::{leave_out_unreadable, tables};
use crate::inspection::places;
use crate::reading::Reader;
use crate::shown::cut;
use crate::words::{Asked, asked, words};
use crate::written::quoted;

/// So much of a file's beginning says how it is written.
const HEAD_BYTES: usize = 4 << 20;
/// Different cells that are kept of all columns together.
const VALUES_OF_ALL: usize = 1 << 17;
/// Columns that are named one by one where there is something to say of them.
const NAMED_MAX: usize = 20;

/// Why there is nothing to propose, or to look at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is no file; name one of the silo's tables, or a folder of them")]
    NoFile,
    #[error("{0}")]
    Files(#[from] DatasetError),
    #[error("{file}: {fault}")]
    File { file: String, fault: FileFault },
    /// The label that was named is none of the columns.
    #[error("there is no column {label:?}; the columns are {names}")]
    NoLabel { label: String, names: String },
}

/// What is proposed for a silo's files, once all of them were read.
pub struct Proposal {
    pub(crate) dialect: Dialect,
    /// Why the dialect is this one, a sentence each, and what the files are in all.
    reasons: Vec<String>,
    /// What became of the plan's columns, a sentence each.
    planned: Vec<String>,
    /// How many records there are.
    pub records: u64,
    /// How many of them are broken.
    pub broken: u64,
    /// The first of these, with why.
    first_broken: Option<String>,
    pub(crate) missing: Vec<&'static str>,
    pub(crate) columns: Vec<Found>,
    /// The label's column in the files.
    pub(crate) label: Option<String>,
}

/// A column of the files.
pub(crate) struct Found {
    pub(crate) name: String,
    /// None of a column that cannot be read, or whose name is empty or there twice.
    pub(crate) held: Option<Held>,
}

/// What the federation calls it, what its cells are, and those among them that mean "not known".
pub(crate) struct Held {
    pub(crate) word: String,
    pub(crate) holds: Holds,
    pub(crate) missing: Vec<&'static str>,
    /// Of days: another way to write one, in which all cells are days too.
    pub(crate) other_form: Option<&'static str>,
}

impl Proposal {
    /// Of this file or folder of files, in which `label` is the label's column. With a plan, in its words, and its label is the label
    /// where none is named.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn of(path: &Path, label: Option<&str>, plan: Option<&Data>) -> Result<Self, InspectError> {
        let (files, _) = tables(path, None)?;
        let Some(first) = files.first() else { return Err(InspectError::NoFile) };
        let (dialect, mut reasons) = match form_of_first(first) {
            Some(form) => of_images(form),
            None => {
                let mut head = Vec::new();
                File::open(first)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
                dialect_of(&head, head.len() < HEAD_BYTES)
            }
        };
        let mut rows = Rows::default();
        for file in &files {
            rows.count(file, &dialect, &mut reasons)?;
        }
        let Rows { names, unreadable, columns, records, broken, first_broken } = rows;
        if let Some(label) = label.filter(|label| !names.iter().any(|name| name == label)) {
            return Err(InspectError::NoLabel { label: label.to_owned(), names: some(&names) });
        }
        let asked = plan.map_or(BTreeMap::new(), asked);
        // Images have their classes under this name, whatever they lie in.
        let of_images = matches!(dialect.kind, FileKind::Idx | FileKind::Images) && plan.is_none();
        let label = label.or(of_images.then_some("label"));
        let (missing, mut columns) = held(names, &columns, &asked, label);
        for place in unreadable {
            if let Some(found) = columns.get_mut(place) {
                found.held = None;
            }
        }
        reasons.extend(days_or_months(&columns));
        let planned = plan.map_or(Vec::new(), |plan| planned(plan, &asked, &columns));
        let is_label = |held: &Held| plan.is_some_and(|plan| plan.label == held.word);
        let of_plan = columns.iter().find(|found| found.held.as_ref().is_some_and(is_label));
        let label = label.or(of_plan.map(|found| found.name.as_str())).map(str::to_owned);
        Ok(Self { dialect, reasons, planned, records, broken, first_broken, missing, columns, label })
    }

    /// How the files are written.
    pub(crate) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Why they are taken to be written so.
    pub(crate) fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// The label's column in the files.
    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What the federation calls the column at this place, and what reads its cells.
    pub(crate) fn reader<'a>(&self, place: usize) -> Option<(String, Reader<'a>)> {
        let Found { name, held } = self.columns.get(place)?;
        let Some(Held { word, holds, missing, .. }) = held else {
            return Some((name.clone(), Reader::Ignored));
        };
        let missing = self.missing.iter().chain(missing).copied().collect();
        Some((word.clone(), Reader::found(self.dialect.marks().ok()?, missing, holds)))
    }

    /// What was taken for what, for the person who is to confirm it; and [`Proposal::to_toml`].
    pub fn to_text(&self) -> String {
        let mut text = format!("{} records, {} of them broken\n", self.records, self.broken);
        if let Some(first) = &self.first_broken {
            text += &format!("  the first that is broken: {first}\n");
        }
        for line in self.reasons.iter().chain(&self.planned) {
            text += &format!("  {line}\n");
        }
        if self.label.is_none() {
            text += "  no column is the label: name it (--label COLUMN), or a plan (--plan FILE)\n";
        }
        text = text + "\n" + &self.to_toml();
        text.lines().map(|line| printable(line) + "\n").collect()
    }
}

/// What the rows of all files hold, by the columns of the first.
#[derive(Default)]
struct Rows {
    names: Vec<String>,
    /// Places of columns that are not read.
    unreadable: BTreeSet<usize>,
    columns: Vec<Counted>,
    records: u64,
    broken: u64,
    first_broken: Option<String>,
}

impl Rows {
    /// Adds all that a file holds.
    fn count(
        &mut self,
        path: &Path,
        dialect: &Dialect,
        reasons: &mut Vec<String>,
    ) -> Result<(), InspectError> {
        let file = datasets::file_name(path);
        let failed = |fault| InspectError::File { file: file.clone(), fault };
        let mut records = Records::open(path, dialect).map_err(failed)?;
        let place = if records.has_lines() { "line" } else { "record" };
        let left_out = leave_out_unreadable(&mut records).map_err(failed)?;
        reasons.extend(left_out.iter().map(|(_, why)| format!("{file}: {why}")));
        if self.names.is_empty() {
            let marks: Marks = dialect.marks().map_err(FileFault::Dialect).map_err(failed)?;
            self.names = records.names().to_vec();
            let values_max = (VALUES_OF_ALL / self.names.len().max(1)).clamp(4, VALUES_MAX);
            self.columns = self.names.iter().map(|_| Counted::new(marks, values_max)).collect();
            self.unreadable = left_out.into_iter().map(|(place, _)| place).collect();
        }
        let places = places(&self.names, records.names());
        let is_whole = places.len() == records.names().len() && places.iter().all(Option::is_some);
        if !is_whole {
            reasons.push(format!(
                "{file} has other columns than the first file: those of the first are registered"
            ));
        }
        while let Some(record) = records.next_record().map_err(failed)? {
            self.records += 1;
            match record.cells {
                Ok(cells) => {
                    for (column, place) in self.columns.iter_mut().zip(&places) {
                        if let Some(cell) = place.and_then(|place| cells.get(place)) {
                            column.add(&cell);
                        }
                    }
                }
                Err(fault) => {
                    self.broken += 1;
                    self.first_broken
                        .get_or_insert_with(|| format!("{file}, {place} {}: {fault}", record.line));
                }
            }
        }
        Ok(())
    }
}

/// The marks that hold for every column, and what each column holds.
fn held(
    names: Vec<String>,
    counted: &[Counted],
    asked: &BTreeMap<String, Asked>,
    label: Option<&str>,
) -> (Vec<&'static str>, Vec<Found>) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *times.entry(name).or_default() += 1;
    }
    let is_usable = |name: &str| !name.is_empty() && times.get(name) == Some(&1);
    let usable: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_usable(name)).collect();
    let words: BTreeMap<String, String> =
        usable.iter().map(|name| (*name).to_owned()).zip(words(&usable, asked)).collect();
    let found = |(name, counted): (String, &Counted)| {
        let held = words.get(&name).map(|word| {
            let asked = match asked.get(word) {
                Some(asked) => *asked,
                None if label == Some(name.as_str()) => Asked::Label,
                None => Asked::Nothing,
            };
            let (holds, missing) = (counted.holds(asked), counted.missing());
            let other_form = counted.date_forms().nth(1).filter(|_| matches!(holds, Holds::Dates(_)));
            Held { word: word.clone(), holds, missing, other_form }
        });
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

/// Whose days could be written in two ways, so that a day may be taken for a month.
fn days_or_months(columns: &[Found]) -> Option<String> {
    let is_either = |found: &&Found| found.held.as_ref().is_some_and(|held| held.other_form.is_some());
    let names: Vec<String> = columns.iter().filter(is_either).map(|found| found.name.clone()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "whether 03/04 is in March or in April cannot be seen in {}: ask who exported the files",
            some(&names)
        )
    })
}

/// The first of these names, as a message shows them.
fn some(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(NAMED_MAX).map(|name| cut(name, 64)).collect();
    match names.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// What became of the columns that the plan asks for, where it is not just what is there.
fn planned(plan: &Data, asked: &BTreeMap<String, Asked>, columns: &[Found]) -> Vec<String> {
    let by_word: BTreeMap<&str, &Found> =
        columns.iter().filter_map(|found| Some((found.held.as_ref()?.word.as_str(), found))).collect();
    let mut said = Vec::new();
    for (word, asked) in asked {
        let role = if *word == plan.label { "label" } else { "column" };
        let Some(Found { name, held: Some(held) }) = by_word.get(word.as_str()) else {
            said.push(format!(
                "the plan's {role} {word} is none of the file's: correct `from` where it has another name"
            ));
            continue;
        };
        if name != word {
            said.push(format!("the plan's {role} {word} is taken from {}", quoted(name)));
        }
        if let Some(is) = held.holds.but_for(*asked) {
            said.push(format!("the plan takes {word} for {}, and it holds {is}", asked.as_str()));
        }
    }
    if said.len() > NAMED_MAX {
        let more = said.len() - NAMED_MAX;
        said.truncate(NAMED_MAX);
        said.push(format!("and {more} more of the plan's columns"));
    }
    said
}

#[cfg(test)]
mod tests {
    use registration::{Meaning, Registration};

    use super::*;

    fn proposed(file: &str, label: Option<&str>) -> (Proposal, Registration) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, file).unwrap();
        let proposal = Proposal::of(&path, label, None).unwrap();
        let text = proposal.to_toml();
        let registration = Registration::from_toml(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        (proposal, registration)
    }

    #[test]
    fn days_that_could_be_months_are_asked_about() {
        let (proposal, registration) = proposed("a,b\n03/04/2020,03/04/2020\n12/12/2020,31/12/2020\n", None);
        assert!(matches!(registration.columns()["a"].meaning, Meaning::Date(_)));
        let text = proposal.to_text();
        assert!(text.contains("in March or in April cannot be seen in a: ask"), "{text}");
        let noted =
            |begin: &str| text.lines().any(|line| line.starts_with(begin) && line.contains("MM/DD/YYYY"));
        assert!(noted("a = ") && !noted("b = "), "{text}");
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
        assert!(proposal.first_broken.unwrap().starts_with("silo.csv, line 3: "));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let why = Proposal::of(&path, Some("c"), None).err().unwrap().to_string();
        assert_eq!(why, "there is no column \"c\"; the columns are a, b");
        let why = Proposal::of(Path::new("/dev/null"), None, None).err().unwrap().to_string();
        assert!(why.starts_with("is no file"), "{why}");
    }

    #[test]
    fn a_plan_gives_its_words_and_decides_what_codes_are() {
        let plan: Data = toml::from_str(
            "label = \"ill\"\nclasses = { flag = \"0\" }\nscaled_to = [0.0, 1.0]\nfeatures = [{ column = \"AGE\", minimum = 0, maximum = 99 }, \
             { column = \"sex\", flag = \"1\" }, { column = \"chol\", minimum = 0, maximum = 9 }, { column = \"site\", minimum = 0, maximum = 9 }]",
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "Age (years),Sex,Site,Ill\n45,1,a,0\n70,0,b,3\n").unwrap();
        let proposal = Proposal::of(&path, None, Some(&plan)).unwrap();
        let registration = Registration::from_toml(&proposal.to_toml()).unwrap();
        let columns = registration.columns();
        assert_eq!(columns.keys().collect::<Vec<_>>(), ["AGE", "ill", "sex", "site"]);
        assert!(matches!(columns["sex"].meaning, Meaning::Category(_)));
        assert!(matches!(columns["ill"].meaning, Meaning::Category(_)));
        let text = proposal.to_text();
        for line in [
            "the plan's column AGE is taken from \"Age (years)\"",
            "the plan's column chol is none of the file's",
            "the plan takes site for numbers, and it holds texts",
            "the plan's label ill is taken from \"Ill\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("no column is the label"), "{text}");
    }

    #[test]
    fn the_files_of_a_folder_are_one_table_by_the_names_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "sex,age\nm,45\n").unwrap();
        std::fs::write(folder.path().join("b.csv"), "age,sex\n70,f\n").unwrap();
        let proposal = Proposal::of(folder.path(), None, None).unwrap();
        let registration = Registration::from_toml(&proposal.to_toml()).unwrap();
        let Meaning::Category(values) = &registration.columns()["sex"].meaning else { panic!("a category") };
        assert_eq!(
            (proposal.records, values.len(), proposal.reasons.iter().any(|why| why.contains("b.csv"))),
            (2, 2, false)
        );
        std::fs::write(folder.path().join("c.csv"), "age\n1\n").unwrap();
        let proposal = Proposal::of(folder.path(), None, None).unwrap();
        assert!(proposal.to_text().contains("c.csv has other columns than the first file"));
    }
}
