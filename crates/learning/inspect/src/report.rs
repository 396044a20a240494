//! What was found, as a text for a terminal and as JSON for programs.

use serde::Serialize;

use crate::findings::DataFinding;
use crate::inspection::{Column, Inspection};
use crate::reading::Kind;
use crate::shown::{count, cut, day, json, number, percent};

/// As wide as a terminal is.
const WIDTH: usize = 80;
/// Columns of which a terminal shows each.
const COLUMNS_MAX: usize = 60;
/// Findings of one kind of which a terminal shows each.
const OF_A_CODE_MAX: usize = 8;
const NAME_WIDTH: usize = 18;

#[derive(Serialize)]
struct Document<'a> {
    files: &'a [String],
    rows: u64,
    broken: u64,
    /// Whether quartiles are estimates; whether a count is one, its finding says.
    estimated: bool,
    label: Option<&'a str>,
    columns: Vec<ColumnDocument<'a>>,
    findings: Vec<FindingDocument<'a>>,
}

#[derive(Serialize)]
struct ColumnDocument<'a> {
    name: &'a str,
    /// What the federation calls it.
    word: &'a str,
    r#type: &'static str,
    missing: u64,
    minimum: Option<serde_json::Value>,
    maximum: Option<serde_json::Value>,
    quartiles: Option<[serde_json::Value; 3]>,
}

#[derive(Serialize)]
struct FindingDocument<'a> {
    code: &'a str,
    column: Option<&'a str>,
    count: u64,
    text: &'a str,
}

impl Inspection {
    /// One JSON object. It holds no category, and of each finding one cell at most.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let document = Document {
            files: &self.files,
            rows: self.rows,
            broken: self.broken,
            estimated: self.are_sketched,
            label: self.label.as_deref(),
            columns: self.columns.iter().map(ColumnDocument::of).collect(),
            findings: self.findings.iter().map(FindingDocument::of).collect(),
        };
        serde_json::to_string(&document).map(|text| json(&text))
    }

    /// Lines for a terminal, in the silo.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}: {} rows, {} columns{}\n",
            self.title(),
            count(self.rows),
            count(self.columns.len() as u64),
            if self.are_sketched { "; quartiles are estimates" } else { "" }
        );
        for reason in &self.reasons {
            text += &format!("  {}\n", cut(reason, 200));
        }
        text += &format!(
            "\n{:<NAME_WIDTH$} {:<8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            "column", "type", "not known", "lowest", "25 %", "median", "75 %", "highest"
        );
        for column in self.columns.iter().take(COLUMNS_MAX) {
            text += &line(column);
        }
        if self.columns.len() > COLUMNS_MAX {
            text += &format!(
                "and {} more columns: see --json, or --page\n",
                count((self.columns.len() - COLUMNS_MAX) as u64)
            );
        }
        if let Some(label) = &self.label {
            text += &format!("\nrows of each class of {}\n", cut(label, 64));
            let all: u64 = self.classes.iter().map(|(_, rows)| rows).sum();
            for (name, rows) in self.classes.iter().take(COLUMNS_MAX) {
                text += &format!(
                    "{:<NAME_WIDTH$} {:>9}  {:>6}\n",
                    cut(name, NAME_WIDTH),
                    count(*rows),
                    percent(*rows, all)
                );
            }
        }
        text += if self.findings.is_empty() { "\nnothing to look at was found\n" } else { "\nto look at\n" };
        let (first, more) = self.first_findings(OF_A_CODE_MAX);
        for finding in first {
            text += &format!("  {}\n", finding.in_words());
        }
        for (code, times) in more {
            text += &format!("  and {times} more of the kind {code}: see --json\n");
        }
        text
    }

    /// What was looked at.
    pub(crate) fn title(&self) -> String {
        match self.files.as_slice() {
            [file] => cut(file, 100),
            files => format!(
                "{} files, {} the first",
                files.len(),
                files.first().map_or(String::new(), |file| cut(file, 100))
            ),
        }
    }
}

impl DataFinding {
    /// With its column.
    pub(crate) fn in_words(&self) -> String {
        match &self.column {
            Some(column) => format!("{}: {}", cut(column, 64), self.text),
            None => self.text.clone(),
        }
    }
}

/// A column's line: its range, or its most frequent texts as far as they fit.
fn line(column: &Column) -> String {
    let begin = format!(
        "{:<NAME_WIDTH$} {:<8} {:>9}",
        cut(&column.name, NAME_WIDTH),
        column.kind.as_str(),
        if column.kind == Kind::Ignored { String::new() } else { column.missing.to_string() }
    );
    if let Some([low, high]) = column.range {
        let show = |number| column.shown(number);
        let middle =
            column.quartiles().map_or([String::new(), String::new(), String::new()], |all| all.map(show));
        let [first, half, third] = middle;
        return format!("{begin} {:>8} {first:>8} {half:>8} {third:>8} {:>8}\n", show(low), show(high));
    }
    if column.texts.is_empty() {
        return begin + "\n";
    }
    let mut texts = String::new();
    for (text, times) in &column.texts {
        let next = format!(
            "{}{} {}",
            if texts.is_empty() { " " } else { ", " },
            cut(text, 24),
            percent(*times, column.known)
        );
        if begin.len() + texts.chars().count() + next.chars().count() > WIDTH - 2 {
            texts += ", …";
            break;
        }
        texts += &next;
    }
    begin + &texts + "\n"
}

impl Column {
    /// A number of this column, or a day.
    pub(crate) fn shown(&self, of: f64) -> String {
        if self.kind == Kind::Date { day(of) } else { number(of) }
    }

    fn value(&self, of: f64) -> serde_json::Value {
        if self.kind == Kind::Date { day(of).into() } else { of.into() }
    }
}

impl<'a> ColumnDocument<'a> {
    fn of(column: &'a Column) -> Self {
        let [minimum, maximum] =
            [0, 1].map(|end| column.range.and_then(|range| range.get(end).map(|end| column.value(*end))));
        Self {
            name: &column.name,
            word: &column.word,
            r#type: column.kind.as_str(),
            missing: column.missing,
            minimum,
            maximum,
            quartiles: column.quartiles().map(|all| all.map(|number| column.value(number))),
        }
    }
}

impl<'a> FindingDocument<'a> {
    fn of(DataFinding { code, column, count, text }: &'a DataFinding) -> Self {
        Self { code, column: column.as_deref(), count: *count, text }
    }
}
