//! Which cells of a record the plan asks for, and what to do where a column is missing.

use std::collections::BTreeMap;
use std::io::Read;

use plan::Data;
use readers::Records;

use crate::error::{DatasetError, shortened};

/// The positions of the plan's columns.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) label: usize,
    pub(crate) features: Vec<usize>,
}

impl Header {
    /// Finds the plan's columns by their names. Others may stand there under any name, in any number.
    pub(crate) fn find<R: Read>(records: &Records<R>, data: &Data, file: &str) -> Result<Self, DatasetError> {
        let mut positions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, name) in records.names().iter().enumerate() {
            positions.entry(name).or_default().push(position);
        }
        let wanted = || [&data.label].into_iter().chain(data.features.iter().map(|feature| &feature.column));
        let missing: Vec<&String> =
            wanted().filter(|column| !positions.contains_key(column.as_str())).collect();
        if let Some((first, others)) = missing.split_first() {
            return Err(DatasetError::MissingColumn {
                file: file.to_owned(),
                column: (*first).clone(),
                others: others.len(),
                header: header(records),
                near: near(records, first),
                remedy: remedy(records, wanted().map(String::as_str)),
            });
        }
        let mut found = Vec::with_capacity(data.features.len() + 1);
        for column in wanted() {
            match positions.get(column.as_str()).map(Vec::as_slice) {
                Some([position]) => found.push(*position),
                _ => {
                    return Err(DatasetError::RepeatedColumn {
                        file: file.to_owned(),
                        column: column.clone(),
                    });
                }
            }
        }
        let features = found.split_off(1);
        Ok(Self { label: found.into_iter().sum(), features })
    }
}

/// What was taken for the header.
fn header<R: Read>(records: &Records<R>) -> String {
    let names = records.names().len();
    match records.header_line() {
        Some(line) => format!("the header (line {line}, {names} names)"),
        None => format!("the list of {names} registered columns"),
    }
}

/// What would most likely help where no name is near.
fn remedy<'a, R: Read>(records: &Records<R>, wanted: impl Iterator<Item = &'a str> + Clone) -> String {
    let below = records.line_with(wanted).filter(|line| records.header_line().is_some_and(|own| own < *line));
    match (records.resembles(), below) {
        (Some(resembles), _) => format!("the file looks like {resembles}"),
        (None, Some(line)) => {
            format!(
                "line {line} names all of them: remove the lines above it, or register `skip_lines = {}`",
                line - 1
            )
        }
        (None, None) => "add or rename it".into(),
    }
}

/// The name that is the wanted one but for case, spaces and what stands in brackets.
fn near<R: Read>(records: &Records<R>, column: &str) -> Option<String> {
    let found = records.names().iter().find(|name| bare(name) == bare(column));
    found.filter(|_| records.resembles().is_none()).map(|name| shortened(name))
}

/// A name without what people write differently: case, spaces and marks between words, a unit in brackets.
fn bare(name: &str) -> String {
    let before_unit = match name.find(['(', '[']) {
        Some(at) if at > 0 => name.split_at(at).0,
        _ => name,
    };
    before_unit.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_another_that_differs_in_how_it_is_written() {
        for name in ["Age", "age (years)", " age ", "a g e", "AGE[y]", "\u{feff}age", "age\u{a0}"] {
            assert_eq!(bare(name), "age", "{name}");
        }
        assert_eq!(bare("Capital-Gain"), bare("capital_gain"));
        assert_ne!(bare("(age)"), bare("(sex)"));
    }
}
