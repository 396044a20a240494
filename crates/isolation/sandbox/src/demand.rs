use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much the operator asks of the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Nothing starts without Landlock, a filter of system calls, and no way to the network.
    Required,
    /// Whatever this machine offers; what was reached is reported.
    BestEffort,
    /// No seal, said aloud.
    Off,
}

impl Demand {
    /// As a configuration writes it: `required`, `best_effort`, `off`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best_effort",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Demand {
    type Err = UnknownDemand;

    fn from_str(text: &str) -> Result<Self, UnknownDemand> {
        let all = [Self::Required, Self::BestEffort, Self::Off];
        all.into_iter().find(|demand| demand.name() == text).ok_or_else(|| UnknownDemand(text.to_owned()))
    }
}

/// A demand that there is not.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no demand on a sandbox: it is required, best_effort or off")]
pub struct UnknownDemand(String);

/// What kind of program is sealed, which decides what its filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealProfile {
    /// The program that sealed itself goes on, and becomes no other.
    Native,
    /// The program that sealed itself becomes an interpreter of a listed runtime, and nothing outside of that runtime is executed.
    Interpreter,
}

impl SealProfile {
    /// As it is written: `native`, `interpreter`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Interpreter => "interpreter",
        }
    }
}

impl fmt::Display for SealProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_read_as_it_is_written_and_no_other_word_is_one() {
        for demand in [Demand::Required, Demand::BestEffort, Demand::Off] {
            assert_eq!(demand.to_string().parse::<Demand>().unwrap(), demand);
            assert_eq!(serde_json::to_string(&demand).unwrap(), format!("\"{demand}\""));
        }
        assert!("on".parse::<Demand>().unwrap_err().to_string().contains("best_effort"));
    }
}
