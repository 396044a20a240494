//! The words that stand beside every printed epsilon.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands for a unit or a relation where nothing is promised.
const NONE: &str = "none";

/// How two data sets that must look alike differ. Its words are those of records that are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// One record more or less.
    #[serde(rename = "add or remove one record")]
    AddRemoveOne,
    /// All of one person's records more or less.
    #[serde(rename = "add or remove all records of one person")]
    AddRemovePerson,
    /// One silo takes part and adds its noise, its contribution replaced by zero.
    #[serde(rename = "zero-out: one silo's contribution replaced by zero")]
    ZeroOut,
}

/// Whose presence is hidden. Its words are those of records that are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One record of a silo's data set: a row.
    Record,
    /// All records of one person in a silo's data set.
    Person,
    /// Everything a silo holds.
    Silo,
}

impl Relation {
    /// Its name in documents and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddRemoveOne => "add or remove one record",
            Self::AddRemovePerson => "add or remove all records of one person",
            Self::ZeroOut => "zero-out: one silo's contribution replaced by zero",
        }
    }

    /// In words, `none` where nothing is promised.
    pub fn or_none(relation: Option<Self>) -> &'static str {
        relation.map_or(NONE, Self::name)
    }
}

impl Unit {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Person => "person",
            Self::Silo => "silo",
        }
    }

    /// How two data sets differ that its promise is about.
    pub fn relation(self) -> Relation {
        match self {
            Self::Record => Relation::AddRemoveOne,
            Self::Person => Relation::AddRemovePerson,
            Self::Silo => Relation::ZeroOut,
        }
    }

    /// What is hidden, for whoever reads a promise: a record is a row, and says nothing of who has several.
    pub fn hidden(self) -> &'static str {
        match self {
            Self::Record => "one row",
            Self::Person => "one person, with all their rows in a silo",
            Self::Silo => "one silo, with all its rows",
        }
    }

    /// The same by the word that records have; a word that is none of these, of another release, stands as it is.
    pub fn hidden_by_name(word: &str) -> &str {
        match [Self::Record, Self::Person, Self::Silo].into_iter().find(|unit| unit.name() == word) {
            Some(unit) => unit.hidden(),
            None => word,
        }
    }

    /// In a word, `none` where nothing is promised.
    pub fn or_none(unit: Option<Self>) -> &'static str {
        unit.map_or(NONE, Self::name)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// For `serde(with)`: a unit or a relation as records hold it, `none` where nothing is promised.
pub mod or_none {
    use serde::de::IntoDeserializer;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::NONE;

    /// Writes the word.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(
        word: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match word {
            Some(word) => word.serialize(serializer),
            None => serializer.serialize_str(NONE),
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// A word that is none of the type's.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let word = String::deserialize(deserializer)?;
        if word == NONE { Ok(None) } else { T::deserialize(word.into_deserializer()).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        #[serde(with = "or_none")]
        unit: Option<Unit>,
        #[serde(with = "or_none")]
        relation: Option<Relation>,
    }

    #[test]
    fn relations_and_units_are_written_and_printed_in_the_words_of_every_record_before() {
        for (unit, relation, text) in [
            (None, None, r#"{"unit":"none","relation":"none"}"#),
            (
                Some(Unit::Record),
                Some(Relation::AddRemoveOne),
                r#"{"unit":"record","relation":"add or remove one record"}"#,
            ),
            (
                Some(Unit::Person),
                Some(Relation::AddRemovePerson),
                r#"{"unit":"person","relation":"add or remove all records of one person"}"#,
            ),
            (
                Some(Unit::Silo),
                Some(Relation::ZeroOut),
                r#"{"unit":"silo","relation":"zero-out: one silo's contribution replaced by zero"}"#,
            ),
        ] {
            let record = Record { unit, relation };
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
            assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
            let printed = format!(
                r#"{{"unit":"{}","relation":"{}"}}"#,
                Unit::or_none(unit),
                Relation::or_none(relation)
            );
            assert_eq!(printed, text);
        }
        let why = serde_json::from_str::<Record>(r#"{"unit":"user","relation":"none"}"#).unwrap_err();
        assert!(why.to_string().contains("unknown variant `user`"), "{why}");
    }
}
