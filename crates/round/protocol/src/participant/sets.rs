//! A round's record, held against what this silo saw and signed in the round.

use std::fmt;

use checkpoint::{Manifest, SignedManifest};
use params::Digest;
use secagg::{ClientId, R2, unmask_request_digest};

use super::Participant;
use super::facts::RunFacts;
use super::round::cohort_of;
use messages::Attempt;

/// What the journal says of a round that this silo uploaded in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Uploaded {
    debited: Option<(Attempt, Digest)>,
    /// U1 and U2. Releases before the third version of the session did not write them down.
    sets: Option<(Vec<u32>, Vec<u32>)>,
    /// Digest of (R2, U3), where it has signed U3.
    signed: Option<Digest>,
}

/// A record that cannot be true, by what this silo saw and signed itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Contradiction {
    /// The coordinator's word.
    pub published: SignedManifest,
    pub round: u64,
    /// What in it does not fit.
    pub what: &'static str,
    /// This silo's side, in lines.
    pub known: String,
}

impl Uploaded {
    pub(super) fn debited(&mut self, at: Attempt, r2: Digest) {
        self.debited = Some((at, r2));
    }

    pub(super) fn sets(&mut self, cohort: &[ClientId], shared: &[ClientId]) {
        self.sets = Some((numbers(cohort), numbers(shared)));
    }

    pub(super) fn has_sets(&self) -> bool {
        self.sets.is_some()
    }

    pub(super) fn signed(&mut self, request: Digest) {
        self.signed = Some(request);
    }

    /// What in this round's record cannot be true.
    fn contradicts(&self, record: &Manifest) -> Option<&'static str> {
        let (at, r2) = self.debited?;
        let included = record.included.iter().map(|id| ClientId(*id)).collect();
        let request = Digest::from_bytes(unmask_request_digest(R2(*r2.as_bytes()), &included));
        // Where one silo has uploaded, the round has no later attempt.
        if at.attempt != record.attempt {
            Some("attempt")
        } else if record.transcript != Some(r2) {
            Some("transcript")
        } else if self.sets.as_ref().is_some_and(|(cohort, _)| *cohort != record.cohort) {
            Some("cohort")
        } else if self.sets.as_ref().is_some_and(|(_, shared)| *shared != record.shared) {
            Some("shared")
        } else if self.signed.is_some_and(|signed| signed != request) {
            Some("included")
        } else {
            None
        }
    }
}

impl fmt::Display for Uploaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((at, r2)) = &self.debited {
            writeln!(f, "round {} attempt {}\ntranscript {r2}", at.round, at.attempt)?;
        }
        if let Some((cohort, shared)) = &self.sets {
            writeln!(f, "cohort {cohort:?}\nshared {shared:?}")?;
        }
        match &self.signed {
            Some(request) => {
                writeln!(f, "signed an included set; digest of the transcript and the set {request}")
            }
            None => writeln!(f, "signed no included set"),
        }
    }
}

impl Participant {
    /// What a record that follows from the chain says against this silo's own knowledge of its round.
    pub(super) fn contradiction(&self, signed: &SignedManifest, record: &Manifest) -> Option<Contradiction> {
        if record.action.is_some() {
            return None;
        }
        let run = self.hand?;
        let (_, facts) = self.taken_part_in(&run)?;
        let contradiction =
            |what, known| Contradiction { published: signed.clone(), round: record.round, what, known };
        if self.is_unknown_upload(facts, record) && !self.has_lost(&run, facts, record.round) {
            let known = format!(
                "round {} attempt {}\nno upload in this round, in the journal nor in the data's ledger (where both were lost, \
                 enrol this silo anew)\n",
                record.round, record.attempt
            );
            return Some(contradiction("included", known));
        }
        if let Some(uploaded) = facts.uploaded(record.round) {
            let what = uploaded.contradicts(record)?;
            return Some(contradiction(what, uploaded.to_string()));
        }
        // Without an upload nothing is written down, and what is in memory is still the coordinator's word to this silo.
        let at = Attempt { round: record.round, attempt: record.attempt };
        let round =
            self.round.as_ref().filter(|round| round.is(self.hand, at) && !round.adverts.is_empty())?;
        let cohort: Vec<u32> = cohort_of(&round.adverts).iter().map(|client| client.0).collect();
        (cohort != record.cohort).then(|| {
            let known = format!("round {} attempt {}\ncohort {cohort:?}\n", at.round, at.attempt);
            contradiction("cohort", known)
        })
    }

    /// Whether this record says of this silo that it uploaded where its journal knows of no upload. The shell says what the
    /// data's ledger knows before it passes such a record on ([`super::ClientInput::Ledger`]).
    pub fn would_doubt(&self, run: &Digest, signed: &SignedManifest) -> bool {
        let Some((_, facts)) = self.taken_part_in(run) else { return false };
        let record = Manifest::from_bytes(&signed.manifest_bytes);
        !facts.holds(signed) && record.is_ok_and(|record| self.is_unknown_upload(facts, &record))
    }

    fn is_unknown_upload(&self, facts: &RunFacts, record: &Manifest) -> bool {
        record.action.is_none()
            && record.included.contains(&self.profile.id.0)
            && facts.uploaded(record.round).is_none_or(|known| known.debited.is_none())
    }

    /// Whether the journal may have lost this round: an attempt is in it before its debit is in the ledger, so a ledger that
    /// is ahead is of a journal whose loss the operator has accepted.
    fn has_lost(&self, run: &Digest, facts: &RunFacts, round: u64) -> bool {
        let (known, journalled) = (self.ledger(run).and_then(|view| view.round), facts.newest_round());
        known.is_some_and(|known| round <= known && journalled.is_none_or(|newest| newest < known))
    }
}

fn numbers(clients: &[ClientId]) -> Vec<u32> {
    clients.iter().map(|client| client.0).collect()
}
