//! What a silo's own table holds, as its operator registered it before any plan was seen.
//!
//! # Privacy
//! Others learn of it by which plans are refused. So it is what a header and a code book say, and nothing that is found in rows.

use std::collections::{BTreeMap, BTreeSet};

use accounting::Unit;
use features::{CellKind, Classes, Data, Encoding, Feature, spelled};
use serde::{Deserialize, Serialize};

use crate::document::Plan;
use crate::problems::Problems;
use crate::refusal::Refusal;

/// The columns that every file of the silo has, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema(pub BTreeMap<String, Column>);

/// What stands in a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Column {
    /// Numbers: a feature.
    Number {},
    /// Whole numbers from 0, below `classes`: a label, or a feature.
    Label { classes: usize },
    /// One of these texts: a label whose classes have names, or a feature.
    Category { values: BTreeSet<String> },
    /// 0 or 1: a label of two classes, or a feature.
    Flag {},
    /// Days: a feature.
    Date {},
    /// Any text: a feature by its words.
    Text {},
    /// Who the row is of: what a promise about persons goes by, and never a feature.
    Person {},
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Number {} => "number",
            Self::Label { .. } => "label",
            Self::Category { .. } => "category",
            Self::Flag {} => "flag",
            Self::Date {} => "date",
            Self::Text {} => "text",
            Self::Person {} => "person",
        }
    }

    /// Whether a feature can be made of it at all.
    fn serves(&self, feature: &Feature) -> bool {
        let by_words = matches!(feature.encoding, Encoding::Tokens { .. });
        match self {
            Self::Number {} | Self::Label { .. } => feature.kind() == CellKind::Number,
            // A whole number is compared with texts by its digits.
            Self::Flag {} => matches!(feature.kind(), CellKind::Number | CellKind::Text) && !by_words,
            Self::Category { .. } => feature.kind() == CellKind::Text,
            Self::Text {} => by_words,
            Self::Date {} => feature.kind() == CellKind::Day,
            Self::Person {} => false,
        }
    }

    /// The texts that stand in it, where they are known.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Category { values } => values.iter().map(String::as_str).collect(),
            Self::Flag {} => vec!["0", "1"],
            Self::Number {} | Self::Label { .. } | Self::Date {} | Self::Text {} | Self::Person {} => vec![],
        }
    }
}

impl Schema {
    /// A line for each column, as a configuration's table `[policy.schema]` has them.
    ///
    /// # Panics
    /// Never: a column is a text and a number.
    #[allow(clippy::expect_used)]
    pub fn to_toml(&self) -> String {
        let line = |(name, column)| {
            let entry = toml::Value::try_from(BTreeMap::from([(name, column)]));
            let entry = entry.expect("a column holds nothing that TOML cannot").to_string();
            // An inline table of one: what is between its braces is a key and its value.
            format!("{}\n", entry.trim_start_matches('{').strip_suffix('}').unwrap_or(&entry).trim())
        };
        self.0.iter().map(line).collect()
    }

    /// Whether a plan can be run on the table: it has the columns that the plan asks for, and says whose a row is where the plan's
    /// promise is about persons.
    ///
    /// # Errors
    /// As [`Schema::check`], and that nothing says whose a row is.
    pub fn check_plan(&self, plan: &Plan) -> Result<(), Refusal> {
        let names_persons = self.0.values().any(|column| matches!(column, Column::Person {}));
        if plan.unit() == Some(Unit::Person) && !names_persons {
            return Err(Refusal::SchemaPersons);
        }
        self.check(&plan.data)
    }

    /// Whether the table has the columns that a plan asks for.
    ///
    /// # Errors
    /// The first of the plan's columns that it has not, or has otherwise.
    pub fn check(&self, data: &Data) -> Result<(), Refusal> {
        let of = |name: &str| self.0.get(name).ok_or_else(|| Refusal::SchemaColumn { column: name.into() });
        check_label(data, of(&data.label)?)?;
        for (name, feature) in data.columns() {
            let column = of(&name)?;
            if !column.serves(feature) {
                let (here, plan) = (column.name().into(), feature.encoding.to_string());
                return Err(Refusal::SchemaKind { column: name.into(), here, plan });
            }
            let listed = match &feature.encoding {
                Encoding::OneHot { categories, other: false } | Encoding::Ordinal { categories } => {
                    categories
                }
                _ => continue,
            };
            check_texts(&name, column, listed)?;
        }
        Ok(())
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        let labels = |column: &Column| {
            matches!(column, Column::Label { .. } | Column::Category { .. } | Column::Flag {})
        };
        problems.require(self.0.values().any(labels), "schema", || {
            "has no label, and each plan asks for one: write one column as { kind = \"label\", classes = NUMBER }, as \
             { kind = \"category\", values = [TEXT, TEXT] } or as { kind = \"flag\" }"
                .into()
        });
        for (name, column) in &self.0 {
            match column {
                Column::Label { classes: 0 | 1 } => {
                    problems.add("schema", format!("{name:?}: a label has at least 2 classes"));
                }
                Column::Category { values } if values.is_empty() => {
                    problems.add("schema", format!("{name:?}: a category has at least 1 value"));
                }
                _ => {}
            }
        }
    }
}

/// Whether the label's column holds the plan's classes, or fewer.
fn check_label(data: &Data, column: &Column) -> Result<(), Refusal> {
    let no_label = || Refusal::SchemaLabel { column: data.label.clone() };
    let here = match (&data.classes, column) {
        (Classes::Count(_), Column::Label { classes }) => *classes,
        (Classes::Count(_), Column::Flag {}) => 2,
        (Classes::Names(names), Column::Category { .. } | Column::Flag {}) => {
            return check_texts(&data.label, column, names);
        }
        (Classes::Flag(_), Column::Category { .. } | Column::Flag {}) => return Ok(()),
        (
            Classes::Count(_),
            Column::Number {}
            | Column::Category { .. }
            | Column::Date {}
            | Column::Text {}
            | Column::Person {},
        )
        | (
            Classes::Names(_) | Classes::Flag(_),
            Column::Number {} | Column::Label { .. } | Column::Date {} | Column::Text {} | Column::Person {},
        ) => {
            return Err(no_label());
        }
    };
    let plan = data.classes.count();
    if plan < here { Err(Refusal::SchemaClasses { plan, here }) } else { Ok(()) }
}

/// Whether the plan lists all that stands in the column.
fn check_texts(name: &str, column: &Column, listed: &[String]) -> Result<(), Refusal> {
    let text =
        column.texts().into_iter().find(|text| !listed.iter().any(|listed| spelled(listed) == spelled(text)));
    match text {
        Some(text) => Err(Refusal::SchemaCategory { column: name.into(), text: text.into() }),
        None => Ok(()),
    }
}
