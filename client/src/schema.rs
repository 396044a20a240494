//! The columns that this silo has registered, made of and held against its files' headers.
//!
//! # Privacy
//! Others learn of a schema by which plans are refused. So nothing of it follows from a row.

use std::collections::BTreeMap;

use datasets::Columns;
use plan::{Column, Schema};

use crate::Config;

impl Config {
    /// Whether it can be opened, and holds no more rows than a table may. Nothing that keeps the daemon from starting: whether a
    /// silo takes part does not follow from its data.
    pub(crate) fn data_problem(&self) -> Option<String> {
        let opened = match std::fs::metadata(&self.data) {
            Ok(found) if found.is_dir() => std::fs::read_dir(&self.data).map(|_| ()),
            Ok(_) => std::fs::File::open(&self.data).map(|_| ()),
            Err(why) => Err(why),
        };
        let path = self.data.display();
        match opened {
            Err(why) => Some(format!(
                "`{path}`: cannot be read: {why}; name a CSV file, or a folder that holds CSV files"
            )),
            Ok(()) => datasets::check_rows(&self.data)
                .err()
                .map(|why| why.to_string())
                .or_else(|| self.schema_problem()),
        }
    }

    /// What a header lacks of the columns that are registered. No row is looked at.
    fn schema_problem(&self) -> Option<String> {
        let schema = self.policy.schema.as_ref()?;
        let found = match datasets::columns(&self.data) {
            Ok(found) => found,
            Err(why) => return Some(why.to_string()),
        };
        found.iter().find_map(|columns| {
            let missing = schema.0.keys().find(|name| !columns.names.contains(name))?;
            Some(format!(
                "{}: the header has no column {missing}, which this silo's schema promises; add it, or take it from [policy.schema]",
                columns.file
            ))
        })
    }
}

/// Nothing of it follows from a row: others learn of it by which plans are refused.
pub(crate) fn schema_of(found: &[Columns], labels: &[String]) -> Result<String, String> {
    let mut columns: BTreeMap<&str, Column> = BTreeMap::new();
    let (first, others) = found.split_first().ok_or("there is no file")?;
    for name in &first.names {
        if others.iter().all(|file| file.names.contains(name)) {
            columns.insert(name, Column::Number {});
        }
    }
    for label in labels {
        let (name, classes) = label
            .rsplit_once('=')
            .and_then(|(name, classes)| Some((name, classes.parse().ok().filter(|classes| *classes >= 2)?)))
            .ok_or_else(|| format!("{label:?}: write a label as COLUMN=CLASSES, with at least 2 classes"))?;
        let column = columns.get_mut(name).ok_or_else(|| format!("not every file has a column {name:?}"))?;
        *column = Column::Label { classes };
    }
    let columns = columns.into_iter().map(|(name, column)| (name.to_owned(), column));
    Ok(format!("\n[policy.schema]\n{}", Schema(columns.collect()).to_toml()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_made_of_headers_and_reads_back_in_the_policy() {
        let file = |names: &[&str]| Columns {
            file: "a.csv".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let odd = "b \"q\" \\ \u{7}é";
        let found = [file(&["y", "a", odd, "only here"]), file(&[odd, "a", "y"])];
        let text = schema_of(&found, &["y=3".into()]).unwrap();
        assert!(text.contains("\na = { kind = \"number\" }\n"), "{text}");
        let config = format!("{}{text}", include_str!("../../deploy/config/client.toml"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        std::fs::write(&path, config).unwrap();
        let schema = Config::read(&path).unwrap().0.policy.schema.unwrap();
        let number = Column::Number {};
        let expected = [("a", number), (odd, number), ("y", Column::Label { classes: 3 })];
        assert_eq!(schema.0, expected.map(|(name, column)| (name.to_owned(), column)).into());
        for wrong in ["y", "y=1", "y=x", "none=2", "only here=2"] {
            assert!(schema_of(&found, &[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
