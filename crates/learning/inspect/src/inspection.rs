//! All rows of a silo's files, looked at once, in bounded memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash};
use std::path::Path;

use identity::printable;
use plan::{Classes, Data, Encoder};
use readers::{FileFault, Records};
use registration::{Dialect, Registration};

use crate::files::{leave_out_unreadable, tables};
use crate::findings::{DataFinding, of_absent, of_classes, of_column, of_names};
use crate::profile::{Planned, Profile, Takes};
use crate::proposal::{InspectError, Proposal};
use crate::reading::{Kind, Reader};
use crate::repeats::Repeats;
use crate::shown::{are, count};
use crate::sketch::quantile;

/// Numbers that the sketches of all columns hold together, at most: eight bytes each.
const SKETCHED_MAX: usize = 3 << 19;
/// How often the number of rows can double before a sketch has more.
const DOUBLINGS: usize = 20;
/// Different rows that are counted exactly.
const ROWS_MAX: usize = 1 << 19;
/// Different persons of one column that are counted exactly, and columns in which they are.
const PERSONS_MAX: usize = 1 << 17;
const PERSONS_COLUMNS_MAX: usize = 4;
/// Last words of names that are given to numbers of persons.
const PERSONS: [&str; 14] = [
    "id",
    "ids",
    "patient",
    "patientid",
    "pid",
    "mrn",
    "person",
    "personid",
    "subject",
    "subjectid",
    "participant",
    "ssn",
    "uuid",
    "patnr",
];

/// What is known of the files before they are looked at.
#[derive(Default, Clone, Copy)]
pub struct Known<'a> {
    /// By which they are read; without one, by what [`Proposal::of`] finds.
    pub registration: Option<&'a Registration>,
    /// Whose columns are looked for, and whose ranges and categories cells are held against.
    pub plan: Option<&'a Data>,
    /// The label's column, as the files name it, where no plan or registration says it.
    pub label: Option<&'a str>,
}

/// What was found in a silo's files.
///
/// # Privacy
/// For the silo's own screen and nobody else: categories, extremes and counts are statistics of rows without any noise. What is about single
/// rows quotes one cell at most.
pub struct Inspection {
    pub(crate) files: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) broken: u64,
    /// How the files are written, where a person has not said it.
    pub(crate) reasons: Vec<String>,
    pub(crate) columns: Vec<Column>,
    pub(crate) label: Option<String>,
    /// Of the label: each class, and how many rows it has.
    pub(crate) classes: Vec<(String, u64)>,
    pub(crate) findings: Vec<DataFinding>,
    /// Whether quartiles are estimates.
    pub(crate) are_sketched: bool,
}

/// What one column holds.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) word: String,
    pub(crate) kind: Kind,
    pub(crate) known: u64,
    pub(crate) missing: u64,
    /// Of numbers and days.
    pub(crate) range: Option<[f64; 2]>,
    /// In order, each with how many it stands for.
    pub(crate) weighed: Vec<(f64, u64)>,
    /// The most frequent texts, and how many cells have others.
    pub(crate) texts: Vec<(String, u64)>,
    pub(crate) others: u64,
}

impl Column {
    /// A quarter, a half and three quarters lie below.
    pub(crate) fn quartiles(&self) -> Option<[f64; 3]> {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&self.weighed, share));
        Some([low?, middle?, high?])
    }
}

impl Inspection {
    /// Of this file, or of the tables of this folder.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn of(path: &Path, known: &Known<'_>) -> Result<Self, InspectError> {
        let proposal = match known.registration {
            Some(_) => None,
            None => Some(Proposal::of(path, known.label, known.plan)?),
        };
        let dialect = match (known.registration, &proposal) {
            (Some(registration), _) => registration.dialect(),
            (None, Some(proposal)) => proposal.dialect(),
            (None, None) => &Dialect::default(),
        };
        let (files, remarks) = tables(path, Some(dialect))?;
        let (mut looking, mut findings) = (Looking::default(), Vec::new());
        let mut names = Vec::new();
        let mut profiles = Vec::new();
        for (number, path) in (0u32..).zip(&files) {
            let file = datasets::file_name(path);
            let failed = |fault| InspectError::File { file: file.clone(), fault };
            let mut records = Records::open(path, dialect).map_err(failed)?;
            let unreadable = leave_out_unreadable(&mut records).map_err(failed)?;
            // The first file says which columns there are; in others they are found by their names.
            if number == 0 {
                names = records.names().to_vec();
                profiles = columns(&names, known, proposal.as_ref());
                for (place, why) in unreadable {
                    findings.extend(profiles.get_mut(place).map(|profile| unread(profile, &why)));
                }
            }
            let places = places(&names, records.names());
            looking.file(&mut records, number, &file, &places, &mut profiles).map_err(failed)?;
        }
        let label = label(&profiles, known, proposal.as_ref());
        let classes = label.map_or(Vec::new(), classes);
        findings.extend(looking.findings(known.plan.is_some()));
        if remarks.files() > 0 {
            findings.push(DataFinding::of_rows("files", remarks.files() as u64, remarks.to_string()));
        }
        findings.extend(of_names(&names));
        if let Some(plan) = known.plan {
            findings.extend(of_absent(plan, &profiles));
        }
        findings.extend(profiles.iter().flat_map(of_column));
        findings.extend(label.into_iter().flat_map(|label| of_classes(&label.name, &classes)));
        let is_sketched =
            |profile: &Profile<'_>| profile.numbers.sketch.as_ref().is_some_and(|sketch| !sketch.is_exact());
        Ok(Self {
            files: files.iter().map(|file| datasets::file_name(file)).collect(),
            rows: looking.rows,
            broken: looking.broken,
            reasons: proposal.as_ref().map_or(Vec::new(), |proposal| proposal.reasons().to_vec()),
            are_sketched: profiles.iter().any(is_sketched),
            label: label.map(|label| label.word.clone()),
            columns: profiles.into_iter().map(Column::from).collect(),
            classes,
            findings,
        })
    }

    /// How many records the files have, the broken ones too.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// So many findings of each code, in order, and of which codes there are more, with how many.
    pub(crate) fn first_findings(&self, most: usize) -> (Vec<&DataFinding>, Vec<(&'static str, usize)>) {
        let mut times: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut is_first = |finding: &&DataFinding| {
            let times = times.entry(finding.code).or_default();
            *times += 1;
            *times <= most
        };
        let first = self.findings.iter().filter(|finding| is_first(finding)).collect();
        let more = times.into_iter().filter(|(_, times)| *times > most);
        (first, more.map(|(code, times)| (code, times - most)).collect())
    }

    /// What a person should look at, what is about whole rows first.
    pub fn findings(&self) -> &[DataFinding] {
        &self.findings
    }
}

/// What is counted of whole rows.
struct Looking {
    rows: u64,
    broken: u64,
    first_broken: Option<String>,
    /// Rows with a cell that is not known, and those that contribute nothing to the plan.
    incomplete: u64,
    unfit: u64,
    repeats: Repeats,
}

impl Default for Looking {
    fn default() -> Self {
        let repeats = Repeats::new(ROWS_MAX);
        Self { rows: 0, broken: 0, first_broken: None, incomplete: 0, unfit: 0, repeats }
    }
}

impl Looking {
    fn file(
        &mut self,
        records: &mut Records<File>,
        number: u32,
        file: &str,
        places: &[Option<usize>],
        profiles: &mut [Profile<'_>],
    ) -> Result<(), FileFault> {
        let mut numbers = Vec::new();
        let line = if records.has_lines() { "line" } else { "record" };
        while let Some(record) = records.next_record()? {
            self.rows += 1;
            let cells = match record.cells {
                Ok(cells) => cells,
                Err(fault) => {
                    self.broken += 1;
                    self.first_broken
                        .get_or_insert_with(|| format!("{file}, {line} {}: {fault}", record.line));
                    continue;
                }
            };
            // In the first file's order of columns, so that rows of files with another are equal too. A text's hash says where it ends.
            let mut row = DefaultHasher::new();
            let (mut complete, mut fits) = (true, true);
            for (profile, place) in profiles.iter_mut().zip(places) {
                let Some(cell) = place.and_then(|place| cells.get(place)) else {
                    complete &= profile.reader.kind() == Kind::Ignored;
                    continue;
                };
                let cell = place.is_none_or(|place| !cells.is_null(place)).then_some(cell);
                let (is_known, fits_plan) = profile.add(cell.as_deref(), number, &mut numbers);
                complete &= is_known;
                fits &= fits_plan;
                cell.hash(&mut row);
            }
            self.incomplete += u64::from(!complete);
            self.unfit += u64::from(!fits);
            self.repeats.add_hashed(row, number);
        }
        Ok(())
    }

    fn findings(&self, has_plan: bool) -> Vec<DataFinding> {
        let mut found = Vec::new();
        let mut say = |code, times: u64, text: String| {
            if times > 0 {
                found.push(DataFinding::of_rows(code, times, text));
            }
        };
        let first =
            self.first_broken.as_deref().map_or(String::new(), |first| format!("; the first: {first}"));
        say("broken_record", self.broken, format!("{} broken{first}", are(self.broken, "record")));
        let counts = self.repeats.counts();
        let nearly = if counts.is_estimate { "about " } else { "" };
        let within = counts.repeated - counts.in_other_files;
        say(
            "duplicate_rows",
            within,
            format!(
                "{nearly}{} the same as an earlier one of the same file in every cell: one record would count several times",
                are(within, "row")
            ),
        );
        say(
            "duplicate_rows_between_files",
            counts.in_other_files,
            format!(
                "{nearly}{} the same as one of an earlier file in every cell: is a file there twice, or do they overlap?",
                are(counts.in_other_files, "row")
            ),
        );
        say(
            "rows_with_missing",
            self.incomplete,
            format!("a cell is not known in {} of {} rows", count(self.incomplete), count(self.rows)),
        );
        if has_plan {
            let text = format!("left out under the plan: {} of {} rows", count(self.unfit), count(self.rows));
            say("rows_that_do_not_fit", self.unfit, text);
        }
        found
    }
}

/// Where the first file's columns stand in another: there where the header is the same, else by name.
pub(crate) fn places(names: &[String], header: &[String]) -> Vec<Option<usize>> {
    if names == header {
        return (0..names.len()).map(Some).collect();
    }
    let by_name: BTreeMap<&str, usize> =
        header.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    names.iter().map(|name| by_name.get(name.as_str()).copied()).collect()
}

/// Leaves out a column that cannot be read.
fn unread(profile: &mut Profile<'_>, why: &FileFault) -> DataFinding {
    profile.reader = Reader::Ignored;
    DataFinding {
        code: "unreadable_column",
        column: Some(profile.name.clone()),
        count: 1,
        text: printable(&why.to_string()),
    }
}

/// What reads each column, what it is called, and what the plan makes of it.
fn columns<'a>(names: &[String], known: &Known<'a>, proposal: Option<&Proposal>) -> Vec<Profile<'a>> {
    let by_name: BTreeMap<&str, &str> = match known.registration {
        Some(registration) => {
            let of = |(word, column): (&'a String, &'a registration::RegisteredColumn)| {
                (column.from.as_deref().unwrap_or(word), word.as_str())
            };
            registration.columns().iter().map(of).collect()
        }
        None => BTreeMap::new(),
    };
    let room = match SKETCHED_MAX / DOUBLINGS / names.len().max(1) {
        // Fewer are no help.
        room if room < 16 => 0,
        room => room.min(1 << 12),
    };
    let features: BTreeMap<_, _> = known.plan.into_iter().flat_map(|plan| plan.columns()).collect();
    let mut persons = 0;
    let mut profiles = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let (word, reader) = match (known.registration, proposal) {
            (Some(registration), _) => {
                let word = by_name.get(name.as_str()).copied();
                let registered = word
                    .and_then(|word| Some((registration.columns().get(word)?, registration.reader(word)?)));
                let reader = registered.map_or(Reader::Ignored, |(column, (_, reader))| {
                    Reader::Registered(reader, Kind::registered(&column.meaning))
                });
                (word.unwrap_or(name).to_owned(), reader)
            }
            (None, Some(proposal)) => match proposal.reader(index) {
                Some(read) => read,
                None => (name.clone(), Reader::Ignored),
            },
            (None, None) => (name.clone(), Reader::Ignored),
        };
        let kind = reader.kind();
        let mut profile = Profile::new(name.clone(), word, reader, room, names.len());
        if kind != Kind::Ignored
            && persons < PERSONS_COLUMNS_MAX
            && (kind == Kind::Text || is_of_persons(name))
        {
            profile.persons = Some(Repeats::new(PERSONS_MAX));
            persons += 1;
        }
        if let Some(plan) = known.plan {
            let takes = if profile.word == plan.label {
                Some(Takes::Label { classes: &plan.classes, rows: vec![0; plan.classes.count()] })
            } else {
                let feature = features.get(profile.word.as_str()).copied();
                feature
                    .map(|feature| Takes::Feature { feature, encoder: Encoder::new(feature, plan.scaled_to) })
            };
            profile.planned = takes.map(Planned::new);
        }
        profiles.push(profile);
    }
    profiles
}

/// Whether a column of this name most likely names persons: by its last word.
fn is_of_persons(name: &str) -> bool {
    let mut spaced = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if before.is_lowercase() && letter.is_uppercase() {
            spaced.push(' ');
        }
        spaced.extend(letter.to_lowercase());
        before = letter;
    }
    let mut words = spaced.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.next_back().is_some_and(|last| PERSONS.contains(&last))
}

/// The label's column.
fn label<'p, 'a>(
    profiles: &'p [Profile<'a>],
    known: &Known<'_>,
    proposal: Option<&Proposal>,
) -> Option<&'p Profile<'a>> {
    let named = known.label.or(proposal.and_then(Proposal::label));
    let is_label = |profile: &&Profile<'_>| match (known.plan, named) {
        (Some(plan), _) => profile.word == plan.label,
        (None, Some(label)) => profile.name == label,
        (None, None) => profile.reader.kind() == Kind::Label,
    };
    profiles.iter().find(is_label)
}

/// The classes of the label, as the plan names them, or as they stand there.
fn classes(profile: &Profile<'_>) -> Vec<(String, u64)> {
    let by_plan = profile.planned.as_ref().and_then(|planned| match &planned.takes {
        Takes::Label { classes, rows } => Some((classes, rows)),
        Takes::Feature { .. } => None,
    });
    if let Some((classes, rows)) = by_plan {
        let classes: &Classes = classes;
        let name = |class| classes.name(class).map_or(String::new(), |name| name.into_owned());
        return rows.iter().enumerate().map(|(class, rows)| (name(class), *rows)).collect();
    }
    if !profile.texts.counts.is_empty() {
        return profile.texts.counts.iter().map(|(text, rows)| (text.clone(), *rows)).collect();
    }
    let mut classes: Vec<(f64, u64)> = Vec::new();
    for (number, weight) in profile.numbers.sketch.as_ref().map_or(Vec::new(), |sketch| sketch.weighed()) {
        match classes.last_mut() {
            Some((last, rows)) if *last == number => *rows += weight,
            _ => classes.push((number, weight)),
        }
    }
    classes.into_iter().map(|(number, rows)| (number.to_string(), rows)).collect()
}

impl From<Profile<'_>> for Column {
    fn from(profile: Profile<'_>) -> Self {
        let numbers = &profile.numbers;
        let range = numbers
            .lowest
            .first
            .zip(numbers.highest.first)
            .map(|((lowest, _), (highest, _))| [lowest, highest]);
        let mut texts: Vec<(String, u64)> = profile.texts.counts.into_iter().collect();
        texts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Self {
            kind: profile.reader.kind(),
            name: profile.name,
            word: profile.word,
            known: profile.known,
            missing: profile.missing,
            range,
            weighed: numbers.sketch.as_ref().map_or(Vec::new(), |sketch| sketch.weighed()),
            texts,
            others: profile.texts.others,
        }
    }
}
