//! What happened, as a table for people.

use std::fmt;

use federation::RunNumber;
use secagg::ClientId;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the coordinator's process or on its disk.
    Coordinator,
    /// In a silo's.
    Silo(ClientId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.pad("coordinator"),
            Self::Silo(id) => f.pad(&format!("silo {id}")),
        }
    }
}

/// One row of a trace: something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds after the start.
    pub at_ms: u64,
    pub place: Place,
    pub what: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6}.{:03} s  {:<12} {}", self.at_ms / 1000, self.at_ms % 1000, self.place, self.what)
    }
}

/// Rows, if anyone wants them: most federations of a campaign are never looked at.
#[derive(Default)]
pub(crate) struct Trace(Option<Vec<Row>>);

impl Trace {
    pub(crate) fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    pub(crate) fn note(&mut self, at_ms: u64, place: Place, what: impl FnOnce() -> String) {
        if let Some(rows) = &mut self.0 {
            rows.push(Row { at_ms, place, what: what() });
        }
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.0.unwrap_or_default()
    }
}

/// A message or record without its bytes: the name of its kind, and of its attempt where it has one.
pub(crate) fn short(debug: &str) -> String {
    let name: String = debug.chars().take_while(|c| c.is_alphanumeric()).collect();
    match debug.split_once("at: Attempt { round: ").and_then(|(_, rest)| rest.split_once(", attempt: ")) {
        Some((round, rest)) => {
            let attempt: String = rest.chars().take_while(char::is_ascii_digit).collect();
            format!("{name} {round}.{attempt}")
        }
        None => name,
    }
}

/// Which run something is about, where it is not the first.
pub(crate) fn of_run(number: RunNumber) -> String {
    if number == RunNumber::FIRST { String::new() } else { format!(" of {number}") }
}
