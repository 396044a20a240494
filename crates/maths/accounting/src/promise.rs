//! The words that stand beside every printed epsilon.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How two data sets that must look alike differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// One unit more or less.
    AddRemoveOne,
    /// One unit takes part and adds its noise, its contribution replaced by zero.
    ZeroOut,
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AddRemoveOne => "add or remove one",
            Self::ZeroOut => "zero-out",
        })
    }
}

/// Whose presence is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One record of a silo's data set.
    Record,
    /// Everything a silo holds.
    Silo,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Record => "record",
            Self::Silo => "silo",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_and_units_print_as_words_for_people() {
        assert_eq!(format!("{}, {}", Unit::Record, Relation::AddRemoveOne), "record, add or remove one");
        assert_eq!(format!("{}, {}", Unit::Silo, Relation::ZeroOut), "silo, zero-out");
    }
}
