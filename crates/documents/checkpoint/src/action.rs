//! What an operator did to a run, as a record of its chain.

use params::Digest;
use serde::{Deserialize, Serialize};

/// The longest reason.
pub const REASON_BYTES_MAX: usize = 1000;
/// The longest name of an operator.
pub const OPERATOR_BYTES_MAX: usize = 200;

/// An operator's action. Its record takes a round's number, sums nothing and spends nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Action {
    /// Nobody may train on this model from now on. The record keeps the model of the one before it.
    Quarantine {
        /// Parameters' digest of the model.
        model: Digest,
        /// The round whose result it was.
        round: u64,
        /// Why, in the operator's words.
        reason: String,
        by: String,
    },
    /// The run goes on from an earlier model. The record's model and optimiser state are that round's.
    Rollback {
        /// The round whose result the run goes on from.
        to_round: u64,
        /// Why, in the operator's words.
        reason: String,
        by: String,
    },
}

impl Action {
    /// Why, in the operator's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Quarantine { reason, .. } | Self::Rollback { reason, .. } => reason,
        }
    }

    /// The operator who decided it.
    pub fn by(&self) -> &str {
        match self {
            Self::Quarantine { by, .. } | Self::Rollback { by, .. } => by,
        }
    }
}

/// In one line, as an operator reads it.
impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quarantine { round, reason, by, .. } => {
                write!(f, "the model of round {round} is quarantined by {by}: {reason}")
            }
            Self::Rollback { to_round, reason, by } => {
                write!(f, "rolled back to the model of round {to_round} by {by}: {reason}")
            }
        }
    }
}
