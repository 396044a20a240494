//! What of a table that was read its operator should look at.

use std::fmt;

use plan::{Data, Encoding};

/// Columns or files that are named one by one; of more, only the number is given.
const NAMED_MAX: usize = 8;

/// What was read, and may not be what was meant: cells outside their range, records in which nothing stands, files that were left
/// out or are there twice.
///
/// # Privacy
/// For the silo's own operator, and never sent: it follows from rows. No cell is quoted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remarks {
    clipped: Vec<Clipped>,
    rows: u64,
    empty: u64,
    left_out: LeftOut,
    twice: Vec<(String, String)>,
}

/// The names of files in a silo's folder that were not read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LeftOut {
    /// What an operating system or a program put there.
    pub(crate) beside: Vec<String>,
    /// Data of another kind than the files that were read.
    pub(crate) other_kinds: Vec<String>,
    /// What is named as no kind of data is: it may be data all the same, or a folder of it.
    pub(crate) other_names: Vec<String>,
    /// How the files that are read are named.
    pub(crate) named: &'static str,
}

impl LeftOut {
    fn len(&self) -> usize {
        self.beside.len() + self.other_kinds.len() + self.other_names.len()
    }
}

/// A column of which cells were clipped.
#[derive(Debug, Clone, PartialEq)]
struct Clipped {
    column: String,
    count: u64,
    how: String,
}

impl Remarks {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.clipped.is_empty() && self.empty == 0 && self.left_out.len() == 0 && self.twice.is_empty()
    }

    /// How many files were left out or are there twice.
    pub fn files(&self) -> usize {
        self.left_out.len() + self.twice.len()
    }

    /// Files that were left out, and pairs of which one is the other's copy.
    pub(crate) fn of_files(left_out: LeftOut, twice: Vec<(String, String)>) -> Self {
        Self { left_out, twice, ..Self::default() }
    }

    /// One more record in which nothing stands.
    pub(crate) fn empty_row(&mut self) {
        self.empty += 1;
    }

    /// How many cells of each feature were clipped, in the plan's order, in a table of so many rows that fit.
    pub(crate) fn clipped(&mut self, data: &Data, counts: &[u64], rows: u64) {
        self.rows = rows;
        let clipped = data.columns().zip(counts).filter(|(_, count)| **count > 0);
        self.clipped = clipped
            .map(|((column, feature), count)| Clipped {
                column: column.into_owned(),
                count: *count,
                how: how_clipped(&feature.encoding),
            })
            .collect();
    }
}

/// What cells lie beyond, and what they are read as; only those of some encodings are.
fn how_clipped(encoding: &Encoding) -> String {
    let range = match (encoding.number_range(), encoding) {
        (Some([minimum, maximum]), _) => format!("{minimum} to {maximum}"),
        (None, Encoding::Days { first, last }) => format!("{first} to {last}"),
        (None, Encoding::Tokens { length, .. }) => {
            return format!("have more than {length} words, of which the first {length} are read");
        }
        (None, other) => other.to_string(),
    };
    format!("lie outside {range} and are read as its ends")
}

/// One line for all of it.
impl fmt::Display for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for Clipped { column, count, how } in self.clipped.iter().take(NAMED_MAX) {
            said.push(format!("{count} of {} cells in column {column} {how}", self.rows));
        }
        if self.clipped.len() > NAMED_MAX {
            said.push(format!(
                "cells outside their range in {} more columns",
                self.clipped.len() - NAMED_MAX
            ));
        }
        if self.empty > 0 {
            said.push(format!("{} records in which nothing stands were passed over", self.empty));
        }
        let LeftOut { beside, other_kinds, other_names, named: kind } = &self.left_out;
        for name in beside.iter().take(NAMED_MAX) {
            said.push(format!(
                "{name} was left out: an operating system or a program made it, and it is no table"
            ));
        }
        for name in other_kinds.iter().take(NAMED_MAX) {
            said.push(format!("{name} was left out: it is of another kind than the files that are read"));
        }
        for name in other_names.iter().take(NAMED_MAX) {
            said.push(format!("{name} was left out: a file is read where it is one {kind}; rename it, if it is one of the data"));
        }
        let lists = [beside, other_kinds, other_names];
        let named: usize = lists.iter().map(|names| names.len().min(NAMED_MAX)).sum();
        if self.left_out.len() > named {
            said.push(format!("{} more files were left out", self.left_out.len() - named));
        }
        for (first, copy) in self.twice.iter().take(NAMED_MAX) {
            said.push(format!(
                "{copy} is the same as {first}, and each of its records counts twice: remove one of them"
            ));
        }
        if self.twice.len() > NAMED_MAX {
            said.push(format!("{} more files are there twice", self.twice.len() - NAMED_MAX));
        }
        f.write_str(&said.join("; "))
    }
}
