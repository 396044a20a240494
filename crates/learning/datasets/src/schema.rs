//! The columns that a silo has registered, made of and held against its files' headers.
//!
//! # Privacy
//! Others learn of a schema by which plans are refused. So nothing of it follows from a row.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plan::{Column, Schema};

use crate::error::DatasetError;
use crate::files::name;
use crate::survey::{Columns, check_rows, columns};

/// What an operator has to look at in a silo's files, before any plan is seen.
#[derive(Debug, thiserror::Error)]
pub enum DataProblem {
    /// The path cannot be opened.
    #[error("`{}`: cannot be read: {why}; name a CSV file, or a folder that holds CSV files", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// The files hold too many rows, or a header cannot be read.
    #[error(transparent)]
    Files(#[from] DatasetError),
    /// A header lacks a registered column.
    #[error(
        "{file}: the header has no column {column}, which this silo's schema promises; add it, or take it from [policy.schema]"
    )]
    MissingColumn {
        /// The file's name.
        file: String,
        /// The registered column that it lacks.
        column: String,
    },
}

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

/// Whether the path can be opened, and holds no more rows than a table may and, by their headers, every column of the schema. No
/// more of a row is looked at than where it ends. Nothing that keeps a daemon from starting: whether a silo takes part does not
/// follow from its data.
///
/// # Errors
/// The first [`DataProblem`].
pub fn check(path: &Path, schema: Option<&Schema>) -> Result<(), DataProblem> {
    let unreadable = |why| DataProblem::Unreadable { path: path.to_owned(), why };
    if fs::metadata(path).map_err(unreadable)?.is_dir() {
        fs::read_dir(path).map_err(unreadable)?;
    } else {
        readers::open(path).map_err(|why| match DatasetError::of_file(&name(path), path, why) {
            DatasetError::Unreadable { why, .. } => unreadable(why),
            special => special.into(),
        })?;
    }
    check_rows(path)?;
    let Some(schema) = schema else { return Ok(()) };
    for Columns { file, names } in columns(path)? {
        if let Some(missing) = schema.0.keys().find(|name| !names.contains(name)) {
            return Err(DataProblem::MissingColumn { file, column: missing.clone() });
        }
    }
    Ok(())
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

    #[test]
    fn a_header_that_lacks_what_is_registered_is_named_and_no_row_is() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
        fs::write(&first, "y,a\nno number,1\n").unwrap();
        fs::write(&second, "a,y\n").unwrap();
        let schema = schema_of(&columns(folder.path()).unwrap(), &["y=2".into()]).unwrap();
        check(folder.path(), Some(&schema)).unwrap();
        fs::write(&second, "y\n").unwrap();
        let why = check(folder.path(), Some(&schema)).unwrap_err().to_string();
        assert!(
            why.starts_with("b.csv: the header has no column a, which this silo's schema promises"),
            "{why}"
        );
        check(folder.path(), None).unwrap();
        let why = check(&folder.path().join("none.csv"), None).unwrap_err().to_string();
        assert!(why.contains("none.csv`: cannot be read: No such file"), "{why}");
    }
}
