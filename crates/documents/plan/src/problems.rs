//! Every problem of a document at once, each with its place and its remedy.

use std::fmt;

use toml::Spanned;
use toml::de::DeTable;

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which field, dotted: `privacy.epsilon`; an item of a list by its place from 0: `data.features[3]`.
    pub field: String,
    /// The line of the text that sets it, counted from 1, where the text is known.
    pub line: Option<usize>,
    /// What is wrong, and what would fix it.
    pub text: String,
}

impl Problem {
    /// In a field whose line is not known.
    pub fn new(field: &str, text: impl Into<String>) -> Self {
        Self { field: field.to_owned(), line: None, text: text.into() }
    }

    /// Makes what some computation said a problem of the field that it was computed from.
    pub(crate) fn of<E: fmt::Display>(field: &'static str) -> impl FnOnce(E) -> Self {
        move |why| Self::new(field, why.to_string())
    }
}

/// All that is wrong in a document; never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, field: &str, text: impl Into<String>) {
        self.0.push(Problem::new(field, text));
    }

    /// Adds a problem unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, text: impl FnOnce() -> String) {
        if !holds {
            self.add(field, text());
        }
    }

    /// `Ok` when nothing is wrong.
    ///
    /// # Errors
    /// All problems found.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Finds the line of each field in the TOML text that it was read from.
    ///
    /// The parser reports lines for its own errors only; a meaning found wrong afterwards is looked up by its key. Of a key
    /// that is absent, the line is that of the innermost table which has it not.
    #[must_use]
    pub fn with_lines_of(mut self, text: &str) -> Self {
        // What does not parse has no lines to look up, and was said to be no document where it was read.
        if let Ok(document) = DeTable::parse(text) {
            for problem in &mut self.0 {
                problem.line = line_of(document.get_ref(), text, &problem.field);
            }
        }
        self
    }
}

fn line_of(document: &DeTable<'_>, text: &str, field: &str) -> Option<usize> {
    let (mut table, mut start) = (Some(document), None);
    for part in field.split('.') {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = table.and_then(|table| table.get_key_value(name)) else { break };
        let item = index.and_then(|index| value.get_ref().as_array()?.get(index));
        start = Some(item.map_or(key.span(), Spanned::span).start);
        table = item.unwrap_or(value).get_ref().as_table();
    }
    let before = text.get(..start?)?;
    Some(1 + before.matches('\n').count())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_in(text: &str, field: &str) -> Option<usize> {
        line_of(DeTable::parse(text).unwrap().get_ref(), text, field)
    }

    #[test]
    fn a_problem_names_the_line_of_its_own_table() {
        let text = "rounds = 1\n[server]\nlearning_rate = 2\n[training]\nlearning_rate = 3\n";
        assert_eq!(line_in(text, "training.learning_rate"), Some(5));
        assert_eq!(line_in(text, "rounds"), Some(1));
        assert_eq!(line_in(text, "server"), Some(2));
        assert_eq!(line_in(text, "server.absent"), Some(2), "an absent key: the table's line");
        assert_eq!(line_in(text, "absent"), None);
    }

    #[test]
    fn a_problem_is_found_however_its_table_is_written() {
        let text = "note = \"\"\"\nrounds = 9\n[server]\n\"\"\"\nrounds = 1\nserver.rate = 2\n\
                    clip = { share = 3,\n  rate = 4 }\n[[silos]]\nname = 5\n[a.b]\n\"c d\" = 6\n";
        for (field, line) in [
            ("rounds", 5),
            ("server.rate", 6),
            ("clip.share", 7),
            ("clip.rate", 8),
            ("clip.absent", 7),
            ("silos.name", 9),
            ("a.b.c d", 12),
            ("a.b.absent", 11),
        ] {
            assert_eq!(line_in(text, field), Some(line), "{field}");
        }
        let list =
            "[data]\nfeatures = [ # several\n  { column = 1 },\n  { column = 2 }, { column = 3 },\n]\n";
        for (field, line) in [("data.features[0]", 3), ("data.features[2]", 4), ("data.features[3]", 2)] {
            assert_eq!(line_in(list, field), Some(line), "{field}");
        }
        assert_eq!(line_in(text, "silos[0]"), Some(9), "an item of an array of tables");
        let problems = Problems(vec![Problem::new("clip.rate", "too much"), Problem::new("", "whole")]);
        let said = problems.with_lines_of(text).to_string();
        assert_eq!(said, "line 8: clip.rate: too much\nwhole");
    }
}
