//! What the two sides write down before they act on it.

use checkpoint::SignedManifest;
use identity::SignedRoster;
use params::Digest;
use secagg::{Advert, ClientId, IncludedSignature, ShareBundle, UnmaskShares};
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use messages::{Attempt, DropReason, RoundOutcome, RunEnd, SandboxLevel, UploadHeader};

/// The coordinator's journal. Applying the records in order is the only way its state changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The run exists; version 0 of the model is published.
    RunStarted {
        /// Random name of the run.
        run_id: Digest,
        /// Of the plan it was started with; another plan is refused at recovery.
        plan: Digest,
        /// The roster it was started with.
        roster: SignedRoster,
        /// Round 0.
        genesis: SignedManifest,
    },
    /// An attempt is open to these clients.
    AttemptBegun { now: Timestamp, at: Attempt, cohort: Vec<ClientId> },
    /// A client's keys.
    Advertised(Advert),
    /// U1 is fixed: everyone who advertised.
    AdvertsFixed { now: Timestamp },
    /// A client's sealed shares.
    Shared(ShareBundle),
    /// U2 is fixed: everyone who shared.
    SharesFixed { now: Timestamp },
    /// A client's masked vector is durable in staging.
    Staged(UploadHeader),
    /// U3 is fixed: everyone whose vector is staged. The point of no return.
    IncludedFixed { now: Timestamp },
    /// A client's signature on U3.
    IncludedSigned(IncludedSignature),
    /// A quorum has signed; the shares may be asked for.
    UnmaskRequested { now: Timestamp },
    /// A client's shares.
    Unmasked(UnmaskShares),
    /// Enough shares: the sum can be opened.
    SharesComplete { now: Timestamp },
    /// A client is out of the attempt.
    Dropped { client: ClientId, reason: DropReason },
    /// A client declines the whole run.
    Declined {
        client: ClientId,
        /// Why, in its words.
        reason: String,
    },
    /// A client that declined the run has checked in after all.
    Willing { client: ClientId },
    /// A client is put into no cohort any more.
    Barred { client: ClientId, reason: String },
    /// Two clients are not put into one cohort for some rounds, of which the attempt in progress names the first.
    KeptApart { accuser: ClientId, accused: ClientId },
    /// The round's result.
    Committed {
        now: Timestamp,
        /// The checkpoint's record.
        manifest: SignedManifest,
    },
    /// The attempt is over without a result.
    Aborted { now: Timestamp, outcome: RoundOutcome },
    /// The run is over.
    Ended { reason: RunEnd },
    /// The authority has signed a later roster; it is in force from the next attempt on.
    RosterChanged {
        /// Verified before it is written.
        roster: SignedRoster,
    },
    /// An operator has paused the run.
    Paused { now: Timestamp, by: String, reason: String },
    /// An operator has ended the pause.
    Resumed { now: Timestamp, by: String },
    /// An operator's action that the chain records: a quarantine or a rollback.
    Acted {
        now: Timestamp,
        /// The chain's record.
        manifest: SignedManifest,
    },
    /// A client has checked in with another commitment to its data's version than before.
    DataDeclared {
        client: ClientId,
        /// The commitment; `None` where it declares none any more.
        data: Option<Digest>,
    },
    /// A client that was barred may be in cohorts again.
    Restored {
        now: Timestamp,
        client: ClientId,
        /// Who decided it.
        by: String,
        reason: String,
    },
    /// An operator has ended that two clients are kept apart.
    Reconciled {
        now: Timestamp,
        /// One of them.
        one: ClientId,
        other: ClientId,
        /// Who decided it.
        by: String,
        reason: String,
    },
    /// The run's plan was submitted to the federation: the run's second record.
    Submitted {
        now: Timestamp,
        /// Who submitted it.
        by: String,
    },
    /// Too few silos are willing for any cohort, and were for a round's time: the run waits, as long as its plan's patience. Or,
    /// after that, enough are again, and the next wait is a new one.
    Waits {
        /// When that was noticed.
        now: Timestamp,
        /// Whether enough are willing again.
        over: bool,
    },
    /// A client has checked in with another word of what holds its trainers than before.
    SandboxDeclared {
        client: ClientId,
        /// `None` where it does not say any more.
        level: Option<SandboxLevel>,
    },
}

impl Record {
    /// When it was written, where it says so. A coordinator's clock that stands before the newest of these was
    /// set back.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::AttemptBegun { now, .. }
            | Self::AdvertsFixed { now }
            | Self::SharesFixed { now }
            | Self::IncludedFixed { now }
            | Self::UnmaskRequested { now }
            | Self::SharesComplete { now }
            | Self::Committed { now, .. }
            | Self::Aborted { now, .. }
            | Self::Paused { now, .. }
            | Self::Resumed { now, .. }
            | Self::Restored { now, .. }
            | Self::Reconciled { now, .. }
            | Self::Submitted { now, .. }
            | Self::Waits { now, .. }
            | Self::Acted { now, .. } => Some(*now),
            _ => None,
        }
    }
}

/// The client's journal: facts only. No secret, no share as received, no noise and no vector is ever in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClientRecord {
    /// The silo takes part in a run, for the first time or again: what follows is of it.
    Joined {
        run_id: Digest,
        plan: Digest,
        /// Epoch of the pinned roster.
        roster_epoch: u64,
    },
    /// A record of the run's chain, verified.
    ChainHead(SignedManifest),
    /// Keys of an attempt have left the silo.
    Advertised { at: Attempt },
    /// The debit: written before the first byte of the update leaves, never released.
    Debited {
        now: Timestamp,
        at: Attempt,
        /// The model trained on.
        model: Digest,
        /// Transcript of the masks.
        r2: Digest,
        /// Of the masked bytes.
        upload: Digest,
        /// What it costs; `None` in the mode without noise.
        event: Option<accounting::DpEvent>,
    },
    /// The one included set this silo signed in this attempt.
    SignedIncluded {
        at: Attempt,
        /// Digest of (R2, U3).
        request: Digest,
    },
    /// The one unmask answer of this silo in this attempt, to be repeated to the same request.
    Unmasked {
        at: Attempt,
        /// Digest of (R2, U3).
        request: Digest,
        shares: UnmaskShares,
    },
    /// A later roster is in force here.
    RosterAdopted {
        epoch: u64,
        /// Verified before it is written.
        roster: SignedRoster,
    },
    /// What is declared of the data's version in the current run, for good: whatever becomes of the data, a later check-in
    /// declares the same.
    DataCommitted {
        /// The commitment; `None` where the table was not read in time, and nothing is promised.
        commitment: Option<Digest>,
    },
    /// Who the masks of an attempt are bound to: written with the debit, so that the round's record can be held against it.
    SetsFixed {
        at: Attempt,
        /// U1, ascending.
        cohort: Vec<ClientId>,
        /// U2, ascending.
        shared: Vec<ClientId>,
    },
    /// The server's step of this record of the run's chain was done again here, and gives what the record says. Steps are
    /// done again in the chain's order, so those of all records before it were too.
    StepVerified {
        /// Digest of the signed record.
        record: Digest,
    },
    /// The coordinator's audit log holds this upload, in the state of it that this silo remembers.
    UploadReceipted {
        /// Of the masked bytes.
        upload: Digest,
        /// The entry's index in the log.
        index: u64,
    },
    /// This silo remembers a state of the coordinator's audit log from here on: that memory may not be missing.
    WitnessBegun,
    /// The silo's operator goes on without that memory.
    WitnessForgotten { reason: String },
    /// What the silo says in the current run in place of a commitment to the data's version, for good: in a mode that promises
    /// something about records, where the table was not read in time or could not be read.
    DataNotDeclared {
        /// Random: it opens to nothing, and nobody outside of the silo can tell it from a commitment.
        word: Digest,
    },
    /// Nothing of the data is in what is uploaded in this attempt, since training failed: written with its debit, beside
    /// which the ledger calls it an exact release.
    TrainingFailed { at: Attempt },
    /// The data's balance was looked at for a run that the silo was offered: written before it is answered, so that no restart
    /// forgets how often that was.
    OfferAnswered(plan::Answered),
    /// The coordinator has said that the current run is over: what it claimed of the data's balance is given back, and is not asked
    /// for again where the run is shown once more, so that this silo hears what it missed of it.
    RunOver,
    /// How many rounds had gone before the current run's version 0, as its plan says ([`plan::Plan::rounds_before`]); written on joining
    /// where there were any. A plan that goes on from this run states no fewer.
    RoundsBefore { rounds: u64 },
    /// The current run's promise is about persons, not rows: written on joining. What such a run's debit costs a single row is another
    /// sum, and a debit alone does not say which it is of.
    AboutPersons,
}

impl ClientRecord {
    /// Whether it belongs to a run: that of the last [`ClientRecord::Joined`] before it, which marks where the records of another
    /// run begin, and so may come again.
    pub fn is_of_a_run(&self) -> bool {
        match self {
            Self::Joined { .. }
            | Self::RosterAdopted { .. }
            | Self::UploadReceipted { .. }
            | Self::WitnessBegun
            | Self::WitnessForgotten { .. }
            | Self::OfferAnswered(_) => false,
            Self::ChainHead(_)
            | Self::Advertised { .. }
            | Self::Debited { .. }
            | Self::SignedIncluded { .. }
            | Self::Unmasked { .. }
            | Self::DataCommitted { .. }
            | Self::SetsFixed { .. }
            | Self::StepVerified { .. }
            | Self::DataNotDeclared { .. }
            | Self::RunOver
            | Self::RoundsBefore { .. }
            | Self::AboutPersons
            | Self::TrainingFailed { .. } => true,
        }
    }
}

/// A record's bytes are damaged, or another version wrote them.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They hold no record.
    #[error("a journal record does not decode: {0}")]
    Content(#[from] postcard::Error),
    /// They hold a record and more.
    #[error("a journal record ends {0} bytes before its frame does")]
    Longer(usize),
}

macro_rules! codec {
    ($($record:ty),*) => {$(
        impl $record {
            /// The journal's bytes.
            ///
            /// # Panics
            /// Never: these types have no value that the format cannot hold.
            #[allow(clippy::expect_used)]
            pub fn encode(&self) -> Vec<u8> {
                postcard::to_stdvec(self).expect("records hold only encodable values")
            }

            /// Reads the journal's bytes.
            ///
            /// # Errors
            /// [`RecordError`]
            pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
                match postcard::take_from_bytes(bytes)? {
                    (record, []) => Ok(record),
                    (_, rest) => Err(RecordError::Longer(rest.len())),
                }
            }
        }
    )*};
}
codec!(Record, ClientRecord);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_anything_behind_it_is_refused() {
        let record = ClientRecord::Advertised { at: Attempt { round: 3, attempt: 1 } };
        let mut bytes = record.encode();
        assert_eq!(ClientRecord::decode(&bytes).unwrap(), record);
        bytes.push(0);
        assert!(matches!(ClientRecord::decode(&bytes), Err(RecordError::Longer(1))));
    }
}
