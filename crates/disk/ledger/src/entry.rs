//! One entry: what was released, what it cost, what a run may still cost, or what an operator accepted.

use accounting::{DpEvent, Relation, Unit};
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::claims::RunClaim;

/// A place in a ledger: equal heads mean equal ledgers up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerHead {
    /// The entry's number, from 1; 0 before the first.
    pub sequence: u64,
    /// Its hash, over everything up to it.
    pub hash: Digest,
}

impl std::fmt::Display for LedgerHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {} ({})", self.sequence, self.hash.short())
    }
}

/// An entry, opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub sequence: u64,
    /// When; never earlier than the entry before it.
    ///
    /// # Units
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Data was used behind noise, and its budget is less by that, whatever became of the round.
    Debit {
        /// What may have left.
        release: Release,
        /// What it costs.
        cost: Cost,
        /// The delta at which this silo's policy counts.
        delta: f64,
    },
    /// Data was used without noise, or, beside a debit of the same release, training failed and nothing of the silo's data
    /// was contributed: no epsilon covers it.
    ExactRelease {
        /// What may have left.
        release: Release,
    },
    /// An operator went on although the ledger, its anchor, or a daemon's own journal, lacks entries.
    OperatorAcceptsLoss {
        /// In the operator's words.
        reason: String,
        /// The last line of the anchor then, where there was one.
        anchor: Option<LedgerHead>,
        /// The daemon, as [`Release::daemon`] names it, whose journal need not hold what it debited before this entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        journal_of: Option<String>,
    },
    /// A run may use so much of the data before it is over; nothing was used yet.
    Claim { claim: RunClaim },
    /// What is left of a claim is free.
    ClaimReturned {
        /// Whose claim it was: as [`RunClaim::daemon`] names it.
        daemon: String,
        run: Digest,
        /// Why, in words.
        reason: String,
    },
}

/// An upload that a silo is about to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Whose daemon: the public key of its identity, hexadecimal.
    pub daemon: String,
    /// The run's identifier.
    pub run: Digest,
    /// The run's name, as its plan says; empty where it was copied from a journal.
    pub run_name: String,
    /// The run's plan.
    pub plan: Digest,
    pub round: u64,
    /// The attempt at it.
    pub attempt: u32,
    /// The model that the update starts from.
    pub model: Digest,
    /// The masked vector.
    pub upload: Digest,
    /// The data's content; none where it was copied from a journal.
    pub data_version: Option<Digest>,
    /// The privacy mode's name; more than one where it was copied from a journal, which tells no more.
    pub mode: String,
    /// Whose presence is hidden; `none` without noise.
    #[serde(with = "accounting::or_none")]
    pub unit: Option<Unit>,
    /// The neighbouring relation; `none` without noise.
    #[serde(with = "accounting::or_none")]
    pub relation: Option<Relation>,
    /// Who adds the noise, in words.
    pub noise_by: String,
}

/// Equal events that are debited together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// One of them.
    pub event: DpEvent,
    pub count: u64,
}

/// A text that is no entry.
#[derive(Debug, thiserror::Error)]
#[error("it does not parse: {0}")]
pub struct EntryError(#[from] serde_json::Error);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    time_ms: u64,
    what: What,
}

impl Entry {
    /// One line of JSON, without its number, which stands before it.
    ///
    /// # Errors
    /// Numbers that JSON has no words for.
    pub fn encode(&self) -> Result<String, EntryError> {
        Ok(serde_json::to_string(&Text { time_ms: self.time_ms, what: self.what.clone() })?)
    }

    /// The entry of a text.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn decode(sequence: u64, text: &[u8]) -> Result<Self, EntryError> {
        let Text { time_ms, what } = serde_json::from_slice(text)?;
        Ok(Self { sequence, time_ms, what })
    }

    /// Whether it says of a round with noise that training failed in it: beside what it costs.
    pub fn says_training_failed(&self) -> bool {
        matches!(&self.what, What::ExactRelease { release } if release.unit.is_some())
    }

    /// What may have left, if the entry is of that.
    pub fn release(&self) -> Option<&Release> {
        match &self.what {
            What::Debit { release, .. } | What::ExactRelease { release } => Some(release),
            What::OperatorAcceptsLoss { .. } | What::Claim { .. } | What::ClaimReturned { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_first_release_is_read_and_written_byte_for_byte() {
        let text = include_str!("../../../../tests/fixtures/release-1/silo-1/state/ledger/silo.ledger");
        let mut entries = 0;
        for (sequence, line) in (1..).zip(text.lines().skip(1)) {
            let body = line.splitn(3, ' ').nth(2).unwrap();
            let entry = Entry::decode(sequence, body.as_bytes()).unwrap();
            let release = entry.release().unwrap();
            assert_eq!(
                (release.unit, release.relation),
                (Some(Unit::Record), Some(Relation::AddRemoveOne)),
                "{body}"
            );
            assert_eq!(entry.encode().unwrap(), body);
            entries += 1;
        }
        assert!(entries > 0);
    }
}
