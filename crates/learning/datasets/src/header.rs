//! Which cells of a record the plan asks for, and what to do where a column is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use plan::Data;
use readers::{Cells, Records};
use registration::{CellReader, Misread, RegisteredCell, Registration};

use crate::error::{DatasetError, shortened};

/// The positions of the columns that are asked for, in that order, and what reads their cells where they are registered.
pub(crate) struct Header<'a> {
    positions: Vec<usize>,
    readers: Vec<CellReader<'a>>,
    /// The place of the column that says whose a row is.
    person: Option<usize>,
}

impl<'a> Header<'a> {
    /// Finds the plan's columns, its label first, by their names, which are the registration's where there is one. Others may stand
    /// there under any name, in any number.
    pub(crate) fn find<R: Read>(
        records: &Records<R>,
        data: &Data,
        registration: Option<&'a Registration>,
        file: &str,
    ) -> Result<Self, DatasetError> {
        let person = registration.and_then(Registration::person);
        let wanted: Vec<Cow<'_, str>> = words(data).chain(person.map(Cow::Borrowed)).collect();
        let place = person.map(|_| wanted.len() - 1);
        Ok(Self { person: place, ..Self::of(records, wanted.into_iter(), registration, file)? })
    }

    /// The same of the features alone: the label may be there like any other column.
    pub(crate) fn without_label<R: Read>(
        records: &Records<R>,
        data: &Data,
        registration: Option<&'a Registration>,
        file: &str,
    ) -> Result<Self, DatasetError> {
        Self::of(records, words(data).skip(1), registration, file)
    }

    fn of<'w, R: Read>(
        records: &Records<R>,
        words: impl Iterator<Item = Cow<'w, str>>,
        registration: Option<&'a Registration>,
        file: &str,
    ) -> Result<Self, DatasetError> {
        let words: Vec<Cow<'_, str>> = words.collect();
        let words = words.iter().map(Cow::as_ref);
        match registration {
            Some(registration) => Self::registered(records, words, registration, file),
            None => {
                let wanted: Vec<&str> = words.collect();
                let positions = positions(records, &wanted, false, file)?;
                Ok(Self { positions, readers: Vec::new(), person: None })
            }
        }
    }

    /// Finds the columns that are registered under these words.
    pub(crate) fn registered<'w, R: Read>(
        records: &Records<R>,
        words: impl Iterator<Item = &'w str>,
        registration: &'a Registration,
        file: &str,
    ) -> Result<Self, DatasetError> {
        let reader = |word: &str| {
            let unregistered = || DatasetError::NotRegistered { column: word.to_owned() };
            registration.reader(word).ok_or_else(unregistered)
        };
        let readers = words.map(reader).collect::<Result<Vec<_>, _>>()?;
        let (wanted, readers): (Vec<&str>, Vec<CellReader<'a>>) = readers.into_iter().unzip();
        Ok(Self { positions: positions(records, &wanted, true, file)?, readers, person: None })
    }

    /// Where the columns stand that were asked for.
    pub(crate) fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Whose the record is; of nobody where that is missing, or no column says so.
    pub(crate) fn person<'c>(&self, cells: &Cells<'c>) -> Option<Cow<'c, str>> {
        let said = self.cell(self.person?, cells).ok()?;
        (!said.is_empty()).then_some(said)
    }

    /// What the record says in the column that was asked for in this place, counted from 0: as the file has it, or in the federation's
    /// words. Empty where it is missing.
    pub(crate) fn cell<'c>(
        &self,
        number: usize,
        cells: &Cells<'c>,
    ) -> Result<Cow<'c, str>, (Misread, String)> {
        // A position lies within the header's width, which the record has: nothing is made up.
        let position = self.positions.get(number).copied();
        let cell = position.and_then(|position| cells.get(position)).unwrap_or_default();
        let is_null = position.is_some_and(|position| cells.is_null(position));
        let Some(reader) = self.readers.get(number).filter(|_| !is_null) else { return Ok(cell) };
        let read = reader.read(&cell).map(|said| match said {
            RegisteredCell::Missing => String::new(),
            // Its shortest spelling is read as the same number again.
            RegisteredCell::Number(number) => number.to_string(),
            RegisteredCell::Text(text) => text.into_owned(),
        });
        match read {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(why) => Err((why, cell.into_owned())),
        }
    }
}

/// The plan's columns, the label first.
fn words(data: &Data) -> impl Iterator<Item = Cow<'_, str>> {
    std::iter::once(Cow::Borrowed(data.label.as_str())).chain(data.columns().map(|(column, _)| column))
}

/// Where these columns stand.
fn positions<R: Read>(
    records: &Records<R>,
    wanted: &[&str],
    registered: bool,
    file: &str,
) -> Result<Vec<usize>, DatasetError> {
    let mut positions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, name) in records.names().iter().enumerate() {
        positions.entry(name).or_default().push(position);
    }
    let missing: Vec<&&str> = wanted.iter().filter(|column| !positions.contains_key(**column)).collect();
    if let Some((first, others)) = missing.split_first() {
        return Err(DatasetError::MissingColumn {
            file: file.to_owned(),
            column: (**first).to_owned(),
            others: others.len(),
            registered,
            header: header(records).into(),
            near: near(records, first).map(Into::into),
            remedy: remedy(records, wanted.iter().copied()).into(),
        });
    }
    let position = |column: &&str| match positions.get(column).map(Vec::as_slice) {
        Some([position]) => Ok(*position),
        _ => Err(DatasetError::RepeatedColumn { file: file.to_owned(), column: (*column).to_owned() }),
    };
    wanted.iter().map(position).collect()
}

/// What was taken for the header.
fn header<R: Read>(records: &Records<R>) -> String {
    let names = records.names().len();
    match records.header_line() {
        Some(line) => format!("the header (line {line}, {names} names)"),
        None if records.has_lines() => format!("the list of {names} registered columns"),
        None => format!("the file ({names} columns)"),
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
    let found = records.names().iter().find(|name| bare_name(name) == bare_name(column));
    found.filter(|_| records.resembles().is_none()).map(|name| shortened(name))
}

/// A name without what people write differently: case, spaces and marks between words, a unit in brackets. Two columns whose bare
/// names are one are most likely meant to be one.
pub fn bare_name(name: &str) -> String {
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
            assert_eq!(bare_name(name), "age", "{name}");
        }
        assert_eq!(bare_name("Capital-Gain"), bare_name("capital_gain"));
        assert_ne!(bare_name("(age)"), bare_name("(sex)"));
    }
}
