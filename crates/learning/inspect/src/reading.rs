//! What a cell says: as it is registered, or as it was found to be.

use std::borrow::Cow;

use plan::{Cell, Day};
use registration::{CellReader, DateForm, Marks, Meaning, RegisteredCell, number};

use crate::columns::Holds;

/// What a column's cells are, as programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Label,
    Category,
    Flag,
    Date,
    /// Whose the row is.
    Person,
    /// Texts of which nearly all differ.
    Text,
    /// No cell is known.
    Empty,
    /// Not registered, or to be ignored; or a column whose name is empty or there twice.
    Ignored,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Label => "label",
            Self::Category => "category",
            Self::Flag => "flag",
            Self::Date => "date",
            Self::Person => "person",
            Self::Text => "text",
            Self::Empty => "empty",
            Self::Ignored => "ignored",
        }
    }

    /// Of what was found in a column.
    pub(crate) fn found(holds: &Holds) -> Self {
        match holds {
            Holds::Numbers => Self::Number,
            Holds::Classes { .. } => Self::Label,
            Holds::Categories(_) => Self::Category,
            Holds::Dates(_) => Self::Date,
            Holds::Words | Holds::Texts => Self::Text,
            Holds::Nothing => Self::Empty,
        }
    }

    /// Of what a column is registered as.
    pub(crate) fn registered(meaning: &Meaning) -> Self {
        match meaning {
            Meaning::Number(_) => Self::Number,
            Meaning::Label(_) => Self::Label,
            Meaning::Category(_) => Self::Category,
            Meaning::Flag { .. } => Self::Flag,
            Meaning::Date(_) => Self::Date,
            Meaning::Text => Self::Text,
            Meaning::Person => Self::Person,
            Meaning::Ignore => Self::Ignored,
        }
    }
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said<'a> {
    Missing,
    Number(f64),
    Text(Cow<'a, str>),
    Day(Day),
}

impl Said<'_> {
    /// As a plan takes it; `day` holds the text of one.
    pub(crate) fn as_cell<'c>(&'c self, day: &'c mut String) -> Cell<'c> {
        match self {
            Said::Missing => Cell::Missing,
            Said::Number(number) => Cell::Number(*number),
            Said::Text(text) => Cell::Text(text),
            Said::Day(date) => {
                *day = date.to_string();
                Cell::Text(day)
            }
        }
    }
}

/// What reads a column's cells.
pub(crate) enum Reader<'a> {
    /// By the registration.
    Registered(CellReader<'a>, Kind),
    /// By what all cells were found to be.
    Found { marks: Marks, missing: Vec<&'static str>, kind: Kind, form: Option<DateForm> },
    /// Not at all.
    Ignored,
}

impl<'a> Reader<'a> {
    /// By what was found, with these marks for "not known" beside the empty cell.
    pub(crate) fn found(marks: Marks, missing: Vec<&'static str>, holds: &Holds) -> Self {
        let named =
            |name: &str| DateForm::ALL.into_iter().find(|(form, _)| *form == name).map(|(_, form)| form);
        let form = if let Holds::Dates(name) = holds { named(name) } else { None };
        Self::Found { marks, missing, kind: Kind::found(holds), form }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Registered(_, kind) | Self::Found { kind, .. } => *kind,
            Self::Ignored => Kind::Ignored,
        }
    }

    /// What the cell says, or why the registration knows no such cell.
    pub(crate) fn read<'c>(&'c self, cell: &'c str) -> Result<Said<'c>, &'static str> {
        match self {
            Self::Registered(reader, _) => match reader.read(cell).map_err(|why| why.as_str())? {
                RegisteredCell::Missing => Ok(Said::Missing),
                RegisteredCell::Number(number) => Ok(Said::Number(number)),
                RegisteredCell::Text(text) => {
                    let day = matches!(self.kind(), Kind::Date).then(|| text.parse());
                    match day {
                        Some(Ok(day)) => Ok(Said::Day(day)),
                        Some(Err(_)) => Err("is no day of the calendar"),
                        None => Ok(Said::Text(text)),
                    }
                }
            },
            Self::Found { missing, .. } if cell.is_empty() || missing.contains(&cell) => Ok(Said::Missing),
            Self::Found { form: Some(form), .. } => match form.iso(cell).map(|day| day.parse()) {
                Some(Ok(day)) => Ok(Said::Day(day)),
                _ => Err("is no day of the calendar"),
            },
            Self::Found { marks, kind: Kind::Number | Kind::Label, .. } => match number(cell, *marks) {
                Some(number) => Ok(Said::Number(number + 0.0)),
                None => Err("is no number"),
            },
            Self::Found { .. } => Ok(Said::Text(Cow::Borrowed(cell))),
            Self::Ignored => Ok(Said::Text(Cow::Borrowed(cell))),
        }
    }
}
