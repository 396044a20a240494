//! One column: where it stands in the silo's files, and what its cells say in the federation's words.

use std::collections::{BTreeMap, BTreeSet};

use plan::Column;
use serde::Deserialize;

/// A column as the federation knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredColumn {
    /// Its name in the silo's files, where that is another.
    pub from: Option<String>,
    /// What its cells say.
    pub meaning: Meaning,
    /// Cells that mean "not known" in this column, beside those of the dialect.
    pub missing: Vec<String>,
}

impl RegisteredColumn {
    /// How many texts it lists.
    pub(crate) fn listed(&self) -> usize {
        self.missing.len() + self.meaning.cells().len()
    }

    /// One that stands in the files under the federation's word, as plain files have it.
    pub(crate) fn plain(column: &Column) -> Self {
        let meaning = match column {
            Column::Number {} => Meaning::Number(Number::PLAIN),
            Column::Label { classes } => Meaning::Label(Label { classes: *classes, values: None, plus: 0 }),
            Column::Category { values } => {
                Meaning::Category(values.iter().map(|value| (value.clone(), value.clone())).collect())
            }
            Column::Flag {} => Meaning::Flag { yes: [YES.to_owned()].into(), no: [NO.to_owned()].into() },
            Column::Date {} => Meaning::Date(DateForm::Iso),
            Column::Text {} => Meaning::Text,
            Column::Person {} => Meaning::Person,
        };
        Self { from: None, meaning, missing: Vec::new() }
    }

    /// What a plan may take it for; `None` where no plan may ask for it.
    pub(crate) fn schema(&self) -> Option<Column> {
        match &self.meaning {
            Meaning::Number(_) => Some(Column::Number {}),
            Meaning::Label(label) => Some(Column::Label { classes: label.classes }),
            Meaning::Category(values) => {
                Some(Column::Category { values: values.values().cloned().collect() })
            }
            Meaning::Flag { .. } => Some(Column::Flag {}),
            Meaning::Date(_) => Some(Column::Date {}),
            Meaning::Text => Some(Column::Text {}),
            Meaning::Person => Some(Column::Person {}),
            Meaning::Ignore => None,
        }
    }
}

/// What the cells of a column say.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    Number(Number),
    /// The number of a class, counted from 0.
    Label(Label),
    /// Each cell that may stand there, and the federation's word for it.
    Category(BTreeMap<String, String>),
    /// Cells for yes and cells for no.
    Flag {
        yes: BTreeSet<String>,
        no: BTreeSet<String>,
    },
    Date(DateForm),
    /// Whatever people write: a plan may ask for its words.
    Text,
    /// Whose the row is.
    Person,
    /// Nothing that a plan may ask for.
    Ignore,
}

/// How a number becomes the federation's: it is multiplied, then added to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    pub times: f64,
    pub plus: f64,
    /// What a number in the federation's unit lies between; beyond, it is taken for a mistake and fits nothing.
    pub minimum: f64,
    pub maximum: f64,
}

impl Number {
    /// As it stands in the file.
    const PLAIN: Self = Self { times: 1.0, plus: 0.0, minimum: f64::NEG_INFINITY, maximum: f64::INFINITY };
}

/// How a label's cell becomes the number of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// How many classes there are.
    pub classes: usize,
    /// The class of each cell that may stand there. None where the cell is a number, to which `plus` is added.
    pub values: Option<BTreeMap<String, usize>>,
    pub plus: i64,
}

/// How a day is written. `D` and `M` may be one digit where something stands between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateForm {
    Iso,
    Dotted,
    DayFirst,
    MonthFirst,
    Digits,
}

impl DateForm {
    /// All, each as a registration writes it.
    pub const ALL: [(&str, Self); 5] = [
        ("YYYY-MM-DD", Self::Iso),
        ("DD.MM.YYYY", Self::Dotted),
        ("DD/MM/YYYY", Self::DayFirst),
        ("MM/DD/YYYY", Self::MonthFirst),
        ("YYYYMMDD", Self::Digits),
    ];
}

/// What a flag's cells are where nothing else is said.
const YES: &str = "1";
const NO: &str = "0";

const TYPES: [&str; 8] = ["number", "label", "category", "flag", "date", "text", "person", "ignore"];

/// [`RegisteredColumn`] by its keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    r#type: String,
    from: Option<String>,
    #[serde(default)]
    missing: Vec<String>,
    times: Option<f64>,
    plus: Option<f64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    classes: Option<usize>,
    values: Option<Values>,
    yes: Option<Vec<String>>,
    no: Option<Vec<String>>,
    written: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`values` must be a list of texts, or { CELL = WORD }")]
enum Values {
    List(Vec<String>),
    Words(BTreeMap<String, String>),
    Classes(BTreeMap<String, usize>),
}

impl Written {
    /// The column; what is wrong in it is added to `problems`.
    pub(crate) fn column(self, marks: &[String], problems: &mut Vec<String>) -> Option<RegisteredColumn> {
        let before = problems.len();
        self.refuse_strange_keys(problems);
        let meaning = match self.r#type.as_str() {
            "number" => Some(Meaning::Number(self.number(problems))),
            "label" => self.label(problems).map(Meaning::Label),
            "category" => self.category(problems).map(Meaning::Category),
            "flag" => Some(self.flag(problems)),
            "date" => self.date(problems).map(Meaning::Date),
            "text" => Some(Meaning::Text),
            "person" => Some(Meaning::Person),
            "ignore" => Some(Meaning::Ignore),
            other => {
                problems.push(format!("the type {other:?} is none of {}", TYPES.join(", ")));
                None
            }
        };
        if self.from.as_ref().is_some_and(String::is_empty) {
            problems.push("`from` is empty; write the column's name in the files, or leave it out".into());
        }
        let column = RegisteredColumn { from: self.from, meaning: meaning?, missing: self.missing };
        let known = column.meaning.cells();
        for mark in marks.iter().chain(&column.missing).filter(|mark| known.contains(mark.as_str())) {
            problems
                .push(format!("{mark:?} means \"not known\" and something else; take it out of one of them"));
        }
        (problems.len() == before).then_some(column)
    }

    /// A key of another type would be believed to do something.
    fn refuse_strange_keys(&self, problems: &mut Vec<String>) {
        let keys = [
            ("times", self.times.is_some(), &["number"][..]),
            ("plus", self.plus.is_some(), &["number", "label"]),
            ("minimum", self.minimum.is_some(), &["number"]),
            ("maximum", self.maximum.is_some(), &["number"]),
            ("classes", self.classes.is_some(), &["label"]),
            ("values", self.values.is_some(), &["category", "label"]),
            ("yes", self.yes.is_some(), &["flag"]),
            ("no", self.no.is_some(), &["flag"]),
            ("written", self.written.is_some(), &["date"]),
        ];
        for (key, is_set, types) in keys {
            let here = self.r#type.as_str();
            if is_set && !types.contains(&here) && TYPES.contains(&here) {
                let types = types.join(" or ");
                problems.push(format!("`{key}` is of the type {types}, and this is of {here}; take it out"));
            }
        }
    }

    fn number(&self, problems: &mut Vec<String>) -> Number {
        let number = Number {
            times: self.times.unwrap_or(Number::PLAIN.times),
            plus: self.plus.unwrap_or(Number::PLAIN.plus),
            minimum: self.minimum.unwrap_or(Number::PLAIN.minimum),
            maximum: self.maximum.unwrap_or(Number::PLAIN.maximum),
        };
        if number.times == 0.0 {
            problems.push("`times` is 0, which makes all numbers one; leave it out for none".into());
        }
        let set = [
            ("times", self.times),
            ("plus", self.plus),
            ("minimum", self.minimum),
            ("maximum", self.maximum),
        ];
        for (key, _) in set.iter().filter(|(_, set)| set.is_some_and(|set| !set.is_finite())) {
            problems.push(format!("`{key}` is not finite; write a number, or leave it out"));
        }
        if number.minimum >= number.maximum {
            problems.push("`minimum` is not below `maximum`, so no number fits; correct them".into());
        }
        number
    }

    fn label(&self, problems: &mut Vec<String>) -> Option<Label> {
        let Some(classes) = self.classes.filter(|classes| *classes >= 2) else {
            problems.push("write `classes`, the number of classes, which is at least 2".into());
            return None;
        };
        let plus = self.plus.unwrap_or(0.0);
        // Within that all whole numbers are exact.
        if plus.fract() != 0.0 || plus.abs() > 1e15 {
            problems.push("`plus` must be a whole number, as classes are".into());
        }
        let values = match &self.values {
            None => None,
            Some(Values::Classes(values)) => Some(values.clone()),
            Some(Values::List(_) | Values::Words(_)) => {
                problems.push(
                    "`values` of a label is { CELL = NUMBER OF ITS CLASS }; names are the type category"
                        .into(),
                );
                None
            }
        };
        for (cell, class) in values.iter().flatten().filter(|(_, class)| **class >= classes) {
            problems.push(format!("{cell:?} is class {class}, and the classes are 0 to {}", classes - 1));
        }
        if values.is_some() && self.plus.is_some() {
            problems.push("`plus` does nothing beside `values`; take one of them out".into());
        }
        Some(Label { classes, values, plus: plus as i64 })
    }

    fn category(&self, problems: &mut Vec<String>) -> Option<BTreeMap<String, String>> {
        let values: BTreeMap<String, String> = match &self.values {
            Some(Values::Words(words)) => words.clone(),
            Some(Values::List(list)) => {
                for value in twice(list) {
                    problems.push(format!("the value {value:?} stands there twice; take one out"));
                }
                list.iter().map(|value| (value.clone(), value.clone())).collect()
            }
            Some(Values::Classes(values)) if !values.is_empty() => {
                problems.push("the words of `values` are texts: write { CELL = \"WORD\" }".into());
                return None;
            }
            Some(Values::Classes(_)) | None => BTreeMap::new(),
        };
        if values.is_empty() {
            problems.push(
                "has no `values`: write a list of all that may stand there, or { CELL = \"WORD\" }".into(),
            );
        }
        if values.values().any(String::is_empty) {
            problems.push("a word of `values` is empty; what is not known belongs to `missing`".into());
        }
        Some(values)
    }

    fn flag(&self, problems: &mut Vec<String>) -> Meaning {
        let side = |cells: &Option<Vec<String>>, plain: &str| {
            cells.as_ref().map_or_else(|| vec![plain.to_owned()], Clone::clone)
        };
        let (yes, no) = (side(&self.yes, YES), side(&self.no, NO));
        let all: Vec<String> = yes.iter().chain(&no).cloned().collect();
        for cell in twice(&all) {
            problems.push(format!("{cell:?} stands in `yes` and `no`, or twice in one; take one out"));
        }
        if yes.is_empty() || no.is_empty() {
            problems.push("`yes` and `no` each list at least one cell".into());
        }
        Meaning::Flag { yes: yes.into_iter().collect(), no: no.into_iter().collect() }
    }

    fn date(&self, problems: &mut Vec<String>) -> Option<DateForm> {
        let Some(written) = &self.written else { return Some(DateForm::Iso) };
        let form = DateForm::ALL.into_iter().find(|(name, _)| name == written).map(|(_, form)| form);
        if form.is_none() {
            let all = DateForm::ALL.map(|(name, _)| name).join(", ");
            problems.push(format!("`written` is {written:?}, and dates are read in one of {all}"));
        }
        form
    }
}

impl Meaning {
    /// The cells that are listed for it.
    fn cells(&self) -> BTreeSet<&str> {
        match self {
            Self::Category(values) => values.keys().map(String::as_str).collect(),
            Self::Label(Label { values: Some(values), .. }) => values.keys().map(String::as_str).collect(),
            Self::Flag { yes, no } => yes.union(no).map(String::as_str).collect(),
            Self::Number(_) | Self::Label(_) | Self::Date(_) | Self::Text | Self::Person | Self::Ignore => {
                BTreeSet::new()
            }
        }
    }
}

fn twice(list: &[String]) -> Vec<&String> {
    let mut seen = BTreeSet::new();
    list.iter().filter(|value| !seen.insert(*value)).collect()
}
