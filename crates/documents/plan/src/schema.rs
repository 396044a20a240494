//! What a silo's own table holds, as its operator registered it before any plan was seen.
//!
//! # Privacy
//! Others learn of it by which plans are refused. So it is what a header and a code book say, and nothing that is found in rows.

use std::collections::BTreeMap;

use features::Data;
use serde::{Deserialize, Serialize};

use crate::problems::Problems;
use crate::refusal::Refusal;

/// The columns that every file of the silo has, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema(pub BTreeMap<String, Column>);

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Column {
    /// Numbers: a feature.
    Number {},
    /// Whole numbers from 0, below `classes`: a label, or a feature.
    Label { classes: usize },
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

    /// Whether the table has what a plan asks for.
    ///
    /// # Errors
    /// The first of the plan's columns that it has not, or has otherwise.
    pub fn check(&self, data: &Data) -> Result<(), Refusal> {
        let missing = |column: &str| Refusal::SchemaColumn { column: column.into() };
        match self.0.get(&data.label).ok_or_else(|| missing(&data.label))? {
            Column::Number {} => return Err(Refusal::SchemaLabel { column: data.label.clone() }),
            Column::Label { classes } if data.classes.count() < *classes => {
                return Err(Refusal::SchemaClasses { plan: data.classes.count(), here: *classes });
            }
            Column::Label { .. } => {}
        }
        match data.columns().find(|(name, _)| !self.0.contains_key(name.as_ref())) {
            Some((name, _)) => Err(missing(&name)),
            None => Ok(()),
        }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        let labels = self.0.values().filter(|column| matches!(column, Column::Label { .. })).count();
        problems.require(labels > 0, "schema", || {
            "has no label, and each plan asks for one: write one column as { kind = \"label\", classes = NUMBER }".into()
        });
        for (name, column) in &self.0 {
            if let Column::Label { classes: 0 | 1 } = column {
                problems.add("schema", format!("{name:?}: a label has at least 2 classes"));
            }
        }
    }
}
