//! A silo's schema, as its files' headers make it.
//!
//! # Privacy
//! Others learn of a schema by which plans are refused. So nothing of it follows from a row.

use std::collections::BTreeMap;

use plan::{Column, Schema};

use crate::survey::Columns;

/// Why no schema is made.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// There is no header to make it of.
    #[error("there is no file")]
    NoFile,
    /// A label that is not written as one.
    #[error("{0:?}: write a label as COLUMN=CLASSES, with at least 2 classes")]
    Label(String),
    /// A label that not all files have.
    #[error("not every file has a column {0:?}")]
    Column(String),
}

/// The columns that all files have, by their headers alone: numbers, but for the labels, each written `COLUMN=CLASSES`.
///
/// # Errors
/// [`SchemaError`].
pub fn schema_of(found: &[Columns], labels: &[String]) -> Result<Schema, SchemaError> {
    let mut columns: BTreeMap<&str, Column> = BTreeMap::new();
    let (first, others) = found.split_first().ok_or(SchemaError::NoFile)?;
    for name in first.names.iter().filter(|name| !name.is_empty()) {
        if others.iter().all(|file| file.names.contains(name)) {
            columns.insert(name, Column::Number {});
        }
    }
    for label in labels {
        let (name, classes) = label
            .rsplit_once('=')
            .and_then(|(name, classes)| Some((name, classes.parse().ok().filter(|classes| *classes >= 2)?)))
            .ok_or_else(|| SchemaError::Label(label.clone()))?;
        let column = columns.get_mut(name).ok_or_else(|| SchemaError::Column(name.to_owned()))?;
        *column = Column::Label { classes };
    }
    Ok(Schema(columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_made_of_headers_and_reads_back() {
        let file = |names: &[&str]| Columns {
            file: "a.csv".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let odd = "b \"q\" \\ \u{7}é";
        let found = [file(&["y", "a", odd, "only here"]), file(&[odd, "a", "y"])];
        let schema = schema_of(&found, &["y=3".into()]).unwrap();
        let number = || Column::Number {};
        let expected = [("a", number()), (odd, number()), ("y", Column::Label { classes: 3 })];
        assert_eq!(schema.0, expected.map(|(name, column)| (name.to_owned(), column)).into());
        let text = schema.to_toml();
        assert!(text.contains("a = { kind = \"number\" }\n"), "{text}");
        assert_eq!(toml::from_str::<Schema>(&text).unwrap(), schema);
        for wrong in ["y", "y=1", "y=x", "none=2", "only here=2"] {
            assert!(schema_of(&found, &[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
