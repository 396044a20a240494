//! What others have witnessed of the coordinator's log, and whether this silo's own uploads are in it.
//!
//! A coordinator that shows one silo a history of its own has to leave it at a state that no honest member sees any more: its
//! cosignatures grow old, by the time that is in them, and receipts for what the silo uploads since never come. Colluders can
//! cosign such a state for ever, which is why a policy asks for more witnesses than there may be of them.

use std::collections::BTreeMap;

use checkpoint::Manifest;
use params::Digest;
use plan::Refusal;
use secagg::ClientId;

use super::Participant;
use super::round::Round;
use crate::Timestamp;
use crate::record::ClientRecord;
use messages::Attempt;

/// A cosignature, or an upload without a receipt, is that old and no older: silos cosign anew at least each minute, a log is
/// published within a minute and a half, and clocks may differ by a minute.
const WINDOW_MS: u64 = 180_000;
/// No member's clock is so far ahead.
const AHEAD_MS: u64 = 60_000;
/// A receipt is due before this many rounds later.
const RECEIPT_ROUNDS: u64 = 2;

/// What the shell has seen of the coordinator's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed {
    /// Members that have cosigned a state that this silo's view of the log agrees with, each with the time in its newest
    /// cosignature, in seconds since 1970.
    pub cosigned: BTreeMap<ClientId, u64>,
    /// Uploads of this silo that the log holds in the state remembered here, each with its entry's index.
    pub receipts: Vec<(Digest, u64)>,
}

/// What the journal says of this silo as a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessState {
    /// It remembers a state of the log.
    pub remembers: bool,
    /// Receipts of later entries than this are to be asked for: none that is owed is of an earlier one.
    pub receipts_after: Option<u64>,
}

/// Uploads of one run that the log must come to show.
#[derive(Default)]
pub(super) struct Owed(BTreeMap<Digest, Upload>);

struct Upload {
    at: Attempt,
    debited: Timestamp,
    /// An entry that the log held before the upload was made.
    after: Option<u64>,
    /// The coordinator has it, by its own word.
    arrived: bool,
}

impl Owed {
    pub(super) fn debited(
        &mut self,
        upload: Digest,
        at: Attempt,
        debited: Timestamp,
        newest_receipt: Option<u64>,
    ) {
        self.0.insert(upload, Upload { at, debited, after: newest_receipt, arrived: false });
    }

    pub(super) fn holds(&self, upload: &Digest) -> bool {
        self.0.contains_key(upload)
    }

    /// For each upload, an entry that its own comes after.
    pub(super) fn after(&self) -> impl Iterator<Item = Option<u64>> {
        self.0.values().map(|upload| upload.after)
    }

    /// The coordinator said that the sum of this attempt has the upload in it.
    pub(super) fn included(&mut self, at: Attempt) {
        for upload in self.0.values_mut().filter(|upload| upload.at == at) {
            upload.arrived = true;
        }
    }

    /// A round's record: it says so too; and what is in no sum by then was perhaps never received.
    pub(super) fn follow(&mut self, own: ClientId, record: &Manifest) {
        if record.included.contains(&own.0) {
            self.included(Attempt { round: record.round, attempt: record.attempt });
        }
        self.0.retain(|_, upload| upload.arrived || upload.at.round > record.round);
    }

    pub(super) fn receipted(&mut self, upload: &Digest) {
        self.0.remove(upload);
    }

    /// A round whose upload the log should show by now, before a round `next` is taken part in.
    fn overdue(&self, next: u64, wall: Timestamp) -> Option<u64> {
        let mut late = self.0.values().filter(|upload| {
            let round = upload.at.round.saturating_add(RECEIPT_ROUNDS) <= next;
            upload.arrived && round && upload.debited.plus_ms(WINDOW_MS) < wall
        });
        late.next().map(|upload| upload.at.round)
    }
}

impl Participant {
    /// What the journal says of this silo as a witness.
    pub fn witness_state(&self) -> WitnessState {
        WitnessState { remembers: self.facts.remembers, receipts_after: self.facts.receipts_after() }
    }

    /// The attempt in progress with its run, and whether all that it waits for is that others witness the log.
    pub fn attempt(&self) -> (Option<(Digest, Attempt)>, bool) {
        let round = self.round.as_ref();
        (
            round.map(|round| (round.run, round.at)),
            round.is_some_and(|round| self.witnesses_by(round).is_some()),
        )
    }

    pub(super) fn witnessed(&mut self, seen: Witnessed) {
        if !self.facts.remembers {
            self.commit(ClientRecord::WitnessBegun);
        }
        self.cosigned.extend(seen.cosigned);
        for (upload, index) in seen.receipts {
            if self.facts.owes(&upload) {
                self.commit(ClientRecord::UploadReceipted { upload, index });
            }
        }
    }

    /// Whether enough members have seen lately what this silo is shown, and its own uploads are in it.
    pub(super) fn check_witnesses(&self, round: &Round, head: u64, wall: Timestamp) -> Result<(), Refusal> {
        let least = self.profile.policy.witnesses_min;
        // Before the first round's end nothing is logged that a witness could have missed.
        if least == 0 || head == 0 {
            return Ok(());
        }
        let fresh = |seconds: u64| {
            let cosigned = Timestamp(seconds.saturating_mul(1000));
            cosigned.plus_ms(WINDOW_MS) >= wall && cosigned <= wall.plus_ms(AHEAD_MS)
        };
        let others = self.roster.keys();
        let counts = |id: &ClientId| *id != self.profile.id && others.contains_key(id);
        let witnesses = self.cosigned.iter().filter(|(id, time)| counts(id) && fresh(**time)).count();
        if witnesses < least {
            return Err(Refusal::Witnesses { witnesses, policy: least });
        }
        match self.facts.joined_run(&round.run).owed.overdue(round.at.round, wall) {
            Some(round) => Err(Refusal::Receipt { round }),
            None => Ok(()),
        }
    }
}
