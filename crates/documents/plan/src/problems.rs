//! Every problem of a document at once, each with its place and its mend.

use std::fmt;

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which field, dotted: `privacy.epsilon`.
    pub field: String,
    /// The line of the text that sets it, counted from 1, where the text is known.
    pub line: Option<usize>,
    /// What is wrong, and what would mend it.
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
    /// The parser reports lines for its own errors only; a meaning found wrong afterwards is looked up by its
    /// key: inside its table for `table.key`, else anywhere at the top.
    #[must_use]
    pub fn with_lines_of(mut self, text: &str) -> Self {
        for problem in &mut self.0 {
            problem.line = line_of(text, &problem.field);
        }
        self
    }
}

fn line_of(text: &str, field: &str) -> Option<usize> {
    let (table, key) = field.rsplit_once('.').unwrap_or(("", field));
    let mut inside = table.is_empty();
    let mut table_line = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            inside = name == table;
            if inside {
                table_line = table_line.or(Some(index + 1));
            }
        } else if inside && line.split('=').next().is_some_and(|k| k.trim() == key) {
            return Some(index + 1);
        }
    }
    table_line
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

    #[test]
    fn a_problem_names_the_line_of_its_own_table() {
        let text = "rounds = 1\n[server]\nlearning_rate = 2\n[training]\nlearning_rate = 3\n";
        assert_eq!(line_of(text, "training.learning_rate"), Some(5));
        assert_eq!(line_of(text, "rounds"), Some(1));
        assert_eq!(line_of(text, "server.absent"), Some(2), "an absent key: the table's line");
        assert_eq!(line_of(text, "absent"), None);
    }
}
