//! What must hold of one run, checked after every event.
//!
//! The oracle sees every message, record and sum of the run, and knows who lies. It shares no code with
//! what it checks but for plain data: thresholds are computed here from their formula.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::Manifest;
use params::Digest;
use protocol::{
    Attempt, ClientRecord, Contradiction, DropReason, Record, RoundOutcome, ToClient, ToCoordinator,
    UploadHeader,
};
use secagg::{ClientId, OpenedShare, UnmaskShares};

use crate::holds::Holds;
use crate::invariant::{Invariant, Violation};
use crate::run_files::OpenedSum;
use crate::turns::Turns;

#[derive(Default)]
pub(crate) struct Oracle {
    corrupt: usize,
    /// Silos whose program lies.
    liars: BTreeSet<ClientId>,
    /// The coordinator lies: what its journal says of others, and its sums, may be wrong.
    deceived: bool,
    violation: Option<Violation>,
    silos: BTreeMap<ClientId, SiloFacts>,
    /// Members of the cohort that a silo dealt shares to, in an attempt.
    dealt: BTreeMap<(Attempt, ClientId), usize>,
    /// Who opened its share of whose secret: self masks first, round seeds second.
    opened: BTreeMap<(Attempt, ClientId), [BTreeSet<ClientId>; 2]>,
    vectors: BTreeMap<(ClientId, u64), Digest>,
    signatures: BTreeMap<(ClientId, u64), [u8; 64]>,
    answers: BTreeMap<(ClientId, u64), UnmaskShares>,
    /// Uploads whose owners learned that they are durable, of the attempt in progress.
    accepted: BTreeSet<(Attempt, ClientId)>,
    facts: CenterFacts,
    chain: BTreeMap<u64, Digest>,
    charged: u64,
    /// Digests of the opened sums, and whose vectors are in them.
    sums: BTreeMap<Attempt, (Digest, BTreeSet<ClientId>)>,
    attempts_aborted: u64,
    /// What operators did.
    pub(crate) holds: Holds,
    turns: Turns,
}

/// What a silo's journal says.
#[derive(Default)]
struct SiloFacts {
    advertised: BTreeSet<Attempt>,
    uploads: BTreeMap<Attempt, Digest>,
    signed: BTreeSet<Attempt>,
    answered: BTreeSet<Attempt>,
}

/// What the coordinator's journal says.
#[derive(Default)]
struct CenterFacts {
    at: Option<Attempt>,
    opened: BTreeSet<Attempt>,
    aborted: BTreeSet<Attempt>,
    ended: bool,
    adverts_fixed: BTreeSet<Attempt>,
    shares_fixed: BTreeSet<Attempt>,
    staged: BTreeSet<(Attempt, ClientId)>,
    included_fixed: BTreeSet<Attempt>,
    unmask_requested: BTreeSet<Attempt>,
}

impl Oracle {
    /// Of a run that reckons with so many corrupt members, where these silos lie, and perhaps the coordinator.
    pub(crate) fn new(corrupt: usize, liars: BTreeSet<ClientId>, deceived: bool) -> Self {
        Self { corrupt, liars, deceived, ..Self::default() }
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Rounds tried so far.
    pub(crate) fn rounds_opened(&self) -> u64 {
        self.facts.at.map_or(0, |at| at.round)
    }

    /// Attempts aborted so far.
    pub(crate) fn attempts_aborted(&self) -> u64 {
        self.attempts_aborted
    }

    pub(crate) fn broken(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    fn check(&mut self, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.broken(invariant, what());
        }
    }

    fn honest(&self, id: ClientId) -> bool {
        !self.liars.contains(&id)
    }

    /// `floor((n + c) / 2) + 1`.
    fn threshold(&self, members: usize) -> usize {
        (members + self.corrupt) / 2 + 1
    }

    /// An operator removes this member.
    pub(crate) fn removes(&mut self, client: ClientId) {
        self.holds.removes(client);
    }

    /// A silo's record is durable.
    pub(crate) fn silo_wrote(&mut self, id: ClientId, record: &ClientRecord) {
        if let Err(what) = self.holds.silo_wrote(id, record) {
            self.broken(Invariant::Stopped, what);
        }
        let facts = self.silos.entry(id).or_default();
        match record {
            ClientRecord::Advertised { at } => {
                let newest = facts.advertised.last().copied();
                facts.advertised.insert(*at);
                self.check(newest.is_none_or(|newest| newest < *at), Invariant::SaidOnce, || {
                    format!("silo {id} advertised in {at:?} after {newest:?}")
                });
            }
            ClientRecord::Debited { at, upload, .. } => {
                facts.uploads.insert(*at, *upload);
            }
            ClientRecord::SignedIncluded { at, .. } => {
                facts.signed.insert(*at);
            }
            ClientRecord::Unmasked { at, .. } => {
                facts.answered.insert(*at);
            }
            ClientRecord::ChainHead(signed) => {
                let Ok(manifest) = Manifest::from_bytes(&signed.manifest_bytes) else { return };
                let expected = self.chain.get(&manifest.round).copied();
                self.check(expected == Some(signed.digest()), Invariant::OneChain, || {
                    format!("silo {id} holds a record of round {} that the chain does not", manifest.round)
                });
            }
            ClientRecord::Joined { .. }
            | ClientRecord::RosterAdopted { .. }
            | ClientRecord::DataCommitted { .. }
            | ClientRecord::DataNotDeclared { .. }
            | ClientRecord::TrainingFailed { .. }
            | ClientRecord::OfferAnswered(_)
            | ClientRecord::RunOver
            | ClientRecord::RoundsBefore { .. }
            | ClientRecord::AboutPersons
            | ClientRecord::UploadReceipted { .. }
            | ClientRecord::WitnessBegun
            | ClientRecord::WitnessForgotten { .. }
            | ClientRecord::SetsFixed { .. }
            | ClientRecord::StepVerified { .. } => {}
        }
    }

    /// A silo holds a record for a lie. None of a coordinator's that tells the truth is one.
    pub(crate) fn silo_contradicts(&mut self, id: ClientId, contradiction: &Contradiction) {
        let Contradiction { round, what, known, .. } = contradiction;
        self.check(self.deceived, Invariant::OneChain, || {
            format!(
                "silo {id} takes the record of round {round} for a lie by its `{what}`; it knows: {known}"
            )
        });
    }

    /// A silo says this.
    pub(crate) fn silo_says(&mut self, id: ClientId, message: &ToCoordinator) {
        if !self.honest(id) {
            return;
        }
        let facts = self.silos.entry(id).or_default();
        match message {
            ToCoordinator::Advertise { at, .. } => {
                let written = facts.advertised.contains(at);
                self.written(written, || format!("silo {id}'s keys of {at:?}"));
            }
            ToCoordinator::ShareKeys { at, bundle } => {
                self.dealt.insert((*at, id), bundle.shares.len());
            }
            ToCoordinator::SignIncluded { at, signature } => {
                let written = facts.signed.contains(at);
                self.written(written, || format!("silo {id}'s signature in {at:?}"));
                let first = *self.signatures.entry((id, at.round)).or_insert(signature.signature);
                self.check(first == signature.signature, Invariant::SaidOnce, || {
                    format!("silo {id} signed two included sets in round {}", at.round)
                });
            }
            ToCoordinator::Unmask { at, shares } => {
                let written = facts.answered.contains(at);
                self.written(written, || format!("silo {id}'s unmask answer in {at:?}"));
                self.answered(id, *at, shares);
            }
            _ => {}
        }
    }

    fn written(&mut self, written: bool, what: impl FnOnce() -> String) {
        self.check(written, Invariant::PersistBeforeSend, || {
            format!("{} left before it was written down", what())
        });
    }

    fn answered(&mut self, id: ClientId, at: Attempt, shares: &UnmaskShares) {
        let first = self.answers.entry((id, at.round)).or_insert_with(|| shares.clone());
        let same = first == shares;
        self.check(same, Invariant::SaidOnce, || format!("silo {id} answered twice in round {}", at.round));
        let own = self.dealt.get(&(at, id)).copied().unwrap_or_default();
        let included: Vec<ClientId> = shares.self_mask.iter().map(|share| share.owner).collect();
        // Whoever lies in earnest does not say so: as many members as may be corrupt are taken to be.
        let honest = included.len().saturating_sub(self.corrupt);
        let floor = self.threshold(own).saturating_sub(self.corrupt);
        self.check(honest >= floor, Invariant::HonestInputs, || {
            format!("silo {id} helped to open a sum of {included:?} in {at:?}: {honest} honest of {floor}")
        });
        for (kind, opened) in [&shares.self_mask, &shares.round_seed].into_iter().enumerate() {
            for OpenedShare { owner, .. } in opened {
                if self.honest(*owner) {
                    self.opened.entry((at, *owner)).or_default()[kind].insert(id);
                    self.check_secrets(at, *owner);
                }
            }
        }
    }

    /// Corrupt members hold shares of both secrets.
    fn check_secrets(&mut self, at: Attempt, owner: ClientId) {
        let Some(members) = self.dealt.get(&(at, owner)) else { return };
        let needed = self.threshold(*members);
        let Some([masks, seeds]) = self.opened.get(&(at, owner)) else { return };
        let (masks, seeds) = (masks.len() + self.corrupt, seeds.len() + self.corrupt);
        self.check(masks < needed || seeds < needed, Invariant::OneSecret, || {
            format!("silo {owner} in {at:?}: {masks} shares of its self mask and {seeds} of its round seed")
        });
    }

    /// A silo sends its masked vector.
    pub(crate) fn silo_uploads(&mut self, header: &UploadHeader) {
        let (id, at) = (header.client, header.at);
        if !self.honest(id) {
            return;
        }
        let debited = self.silos.get(&id).and_then(|facts| facts.uploads.get(&at)).copied();
        self.check(debited == Some(header.digest), Invariant::PersistBeforeSend, || {
            format!("silo {id} sends a vector in {at:?} that it did not debit")
        });
        let first = *self.vectors.entry((id, at.round)).or_insert(header.digest);
        self.check(first == header.digest, Invariant::SaidOnce, || {
            format!("silo {id} sends two vectors in round {}", at.round)
        });
    }

    /// The coordinator's record is durable.
    pub(crate) fn center_wrote(&mut self, record: &Record) {
        if let Err(what) = self.holds.center_wrote(record) {
            self.broken(Invariant::Stopped, what);
        }
        match record {
            Record::RunStarted { genesis, .. } => {
                self.chain.insert(0, genesis.digest());
            }
            Record::AttemptBegun { at, .. } => {
                self.facts.at = Some(*at);
                self.facts.opened.insert(*at);
            }
            Record::AdvertsFixed { .. } => {
                self.facts.adverts_fixed.extend(self.facts.at);
            }
            Record::SharesFixed { .. } => {
                self.facts.shares_fixed.extend(self.facts.at);
                self.charged += 1;
            }
            Record::Staged(header) => {
                self.facts.staged.insert((header.at, header.client));
            }
            Record::IncludedFixed { .. } => self.facts.included_fixed.extend(self.facts.at),
            Record::UnmaskRequested { .. } => self.facts.unmask_requested.extend(self.facts.at),
            Record::Committed { manifest, .. } => self.committed_record(manifest),
            Record::Acted { manifest, .. } => drop(self.chain_record(manifest)),
            // What it said is taken back, and not the coordinator's to keep.
            Record::Dropped { client, reason: DropReason::Removed(_) } => {
                self.accepted.retain(|(_, accepted)| accepted != client);
            }
            Record::Barred { client, .. } if self.holds.is_unwanted(*client) => {}
            Record::Aborted { outcome, .. } => {
                self.facts.aborted.extend(self.facts.at);
                self.aborted(outcome);
            }
            Record::Ended { .. } => self.facts.ended = true,
            // A coordinator that lies to a silo takes its answer for a lie.
            Record::Dropped { client, reason: DropReason::Misbehaved(why) } if !self.deceived => {
                self.blamed(&[*client], why);
            }
            Record::Barred { client, reason } => self.blamed(&[*client], reason),
            Record::KeptApart { accuser, accused } => {
                self.turns.complaint(*accuser, *accused);
                self.blamed(&[*accuser, *accused], "a complaint");
            }
            _ => {}
        }
    }

    /// Of a round or of an action: it follows the chain, and charges what was asked for.
    fn chain_record(&mut self, signed: &checkpoint::SignedManifest) -> Option<Manifest> {
        let Ok(manifest) = Manifest::from_bytes(&signed.manifest_bytes) else {
            self.broken(Invariant::OneChain, "a record that does not decode".into());
            return None;
        };
        let round = manifest.round;
        let newest = self.chain.last_key_value().map(|(round, digest)| (*round, *digest));
        let follows = newest.is_some_and(|(last, digest)| last < round && manifest.parent == Some(digest));
        self.check(follows, Invariant::OneChain, || format!("round {round} does not follow the chain"));
        self.chain.insert(round, signed.digest());
        let (steps, charged) = (manifest.privacy.steps, self.charged);
        self.check(steps == charged, Invariant::Budget, || {
            format!("round {round}'s record charges {steps} rounds, uploads were asked for in {charged}")
        });
        Some(manifest)
    }

    fn committed_record(&mut self, signed: &checkpoint::SignedManifest) {
        let Some(manifest) = self.chain_record(signed) else { return };
        let round = manifest.round;
        let included: BTreeSet<u32> = manifest.included.iter().copied().collect();
        let left: Vec<ClientId> = self
            .accepted
            .iter()
            .filter(|(at, client)| at.round == round && !included.contains(&client.0))
            .map(|(_, client)| *client)
            .collect();
        self.check(left.is_empty(), Invariant::UploadKept, || {
            format!("round {round} was committed without the accepted uploads of {left:?}")
        });
        self.accepted.clear();
        let cohort = manifest.cohort.iter().copied().collect();
        let kept_out = self.turns.committed(&cohort, self.corrupt, |client| !self.liars.contains(&client));
        self.check(kept_out.is_none(), Invariant::Turns, || {
            format!(
                "round {round} is one too many without silo {kept_out:?}, which is honest and in a complaint"
            )
        });
        if !self.deceived {
            let summed = self.sums.get(&Attempt { round, attempt: manifest.attempt });
            let same = summed.is_some_and(|(aggregate, members)| {
                manifest.aggregate_digest == Some(*aggregate)
                    && members.iter().all(|m| included.contains(&m.0))
                    && members.len() == included.len()
            });
            self.check(same, Invariant::ExactSum, || {
                format!("round {round}'s record names another sum or other silos than were summed")
            });
        }
    }

    fn aborted(&mut self, outcome: &RoundOutcome) {
        self.accepted.clear();
        self.attempts_aborted += 1;
        if let RoundOutcome::WrongSecret { client } = outcome {
            self.blamed(&[*client], "a wrong secret");
        }
        if let RoundOutcome::BadAggregate(why) | RoundOutcome::Weights(why) = outcome {
            self.check(self.deceived || !self.liars.is_empty(), Invariant::ExactSum, || {
                format!("a sum of honest updates was not usable: {why}")
            });
        }
    }

    fn blamed(&mut self, clients: &[ClientId], why: &str) {
        self.check(clients.iter().any(|client| !self.honest(*client)), Invariant::Blame, || {
            format!("honest silos {clients:?} are blamed for {why:?}")
        });
    }

    /// The coordinator says this.
    pub(crate) fn center_says(&mut self, to: ClientId, message: &ToClient) {
        let (written, what) = match message {
            ToClient::Open { at, .. } => (self.facts.opened.contains(at), "an opening"),
            ToClient::Aborted { at, .. } => (self.facts.aborted.contains(at), "an abort"),
            ToClient::Finished { .. } => (self.facts.ended, "the run's end"),
            ToClient::Adverts { at, .. } => (self.facts.adverts_fixed.contains(at), "a roster"),
            ToClient::Deliver { at, .. } => (self.facts.shares_fixed.contains(at), "a delivery"),
            ToClient::UploadDurable { at } => {
                self.accepted.insert((*at, to));
                (self.facts.staged.contains(&(*at, to)), "an upload's receipt")
            }
            ToClient::Included { at, .. } => (self.facts.included_fixed.contains(at), "an included set"),
            ToClient::UnmaskRequest { at, .. } => {
                (self.facts.unmask_requested.contains(at), "an unmask request")
            }
            ToClient::Published(signed) => {
                let known = self.chain.values().any(|digest| *digest == signed.digest());
                (known, "a checkpoint's record")
            }
            _ => return,
        };
        self.written(written, || format!("{what} for silo {to}"));
    }

    /// A sum was opened.
    pub(crate) fn sum_opened(&mut self, opened: &OpenedSum) {
        let at = opened.at;
        self.sums.insert(at, (opened.aggregate, opened.included.clone()));
        self.check(self.deceived || opened.sum == opened.plaintext, Invariant::ExactSum, || {
            format!("the opened sum of {at:?} is not the sum of its included set {:?}", opened.included)
        });
    }
}
