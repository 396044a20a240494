//! What must hold of everything that one silo says, whatever its coordinator does.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};

use checkpoint::Manifest;
use params::Digest;
use protocol::{Attempt, ClientEffect, ClientRecord, OfRun, ToCoordinator};
use secagg::{Advert, ShareBundle, UnmaskShares};

/// What a silo may say at most once, by run: a key of two parts and the one value that it may have.
type Once<K, V> = BTreeMap<(Digest, K), V>;

/// What must hold of everything that leaves the silo, over all its restarts.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) journal: Vec<ClientRecord>,
    pub(super) debits: u64,
    run: Option<Digest>,
    newest: BTreeMap<Digest, Attempt>,
    declared: Once<(), Digest>,
    /// By run: records whose steps were not done again yet.
    due: BTreeMap<Digest, VecDeque<Digest>>,
    adverts: Once<Attempt, Advert>,
    bundles: Once<Attempt, ShareBundle>,
    masks: BTreeSet<(Digest, Attempt)>,
    uploads: Once<u64, (Attempt, Digest, Digest)>,
    signatures: Once<u64, [u8; 64]>,
    answers: Once<u64, UnmaskShares>,
}

impl Oracle {
    pub(super) fn judge(&mut self, effect: &ClientEffect) {
        match effect {
            ClientEffect::Persist(record) => self.persisted(record),
            ClientEffect::Send(said) => self.sent(&said.message),
            ClientEffect::Mask(job) => {
                assert!(self.masks.insert((self.current(), job.at)), "one vector is masked in {:?}", job.at);
            }
            ClientEffect::Upload(OfRun { message: header, .. }) => {
                let debited = |record: &ClientRecord| {
                    matches!(record, ClientRecord::Debited { at, r2, upload, .. }
                        if (*at, *r2, *upload) == (header.at, header.r2, header.digest))
                };
                assert!(self.holds(debited), "an upload starts before its debit is durable");
                let upload = (header.at, header.r2, header.digest);
                once(&mut self.uploads, (self.run, header.at.round), upload, "upload");
            }
            ClientEffect::Train(_) => {
                let due = self.due.get(&self.current());
                assert!(due.is_none_or(VecDeque::is_empty), "it trains before every step was done again");
            }
            ClientEffect::ReadData { .. }
            | ClientEffect::Claim { .. }
            | ClientEffect::ReturnClaim { .. }
            | ClientEffect::VerifyStep(_)
            | ClientEffect::Contradiction(_)
            | ClientEffect::Forget(_)
            | ClientEffect::Offer(_) => {}
        }
    }

    fn persisted(&mut self, record: &ClientRecord) {
        match record {
            ClientRecord::Joined { run_id, .. } => self.run = Some(*run_id),
            ClientRecord::Advertised { at } => {
                let before = self.newest.insert(self.current(), *at);
                assert!(before.is_none_or(|before| before < *at), "attempts only go up: {before:?}, {at:?}");
            }
            ClientRecord::Debited { .. } => self.debits += 1,
            ClientRecord::ChainHead(signed) => {
                let record = Manifest::from_bytes(&signed.manifest_bytes).expect("a sound record");
                if record.round > 0 {
                    self.due.entry(self.current()).or_default().push_back(signed.digest());
                }
            }
            ClientRecord::StepVerified { record } => {
                let due = self.due.get_mut(&self.current()).and_then(VecDeque::pop_front);
                assert_eq!(due, Some(*record), "steps are done again in the chain's order");
            }
            _ => {}
        }
        self.journal.push(record.clone());
    }

    fn sent(&mut self, message: &ToCoordinator) {
        match message {
            ToCoordinator::CheckIn { data: Some(data), .. } => {
                let written = |r: &ClientRecord| match r {
                    ClientRecord::DataCommitted { commitment } => *commitment == Some(*data),
                    ClientRecord::DataNotDeclared { word } => word == data,
                    _ => false,
                };
                assert!(self.holds(written), "a commitment leaves before it is fixed");
                once(&mut self.declared, (self.run, ()), *data, "commitment to the data");
            }
            ToCoordinator::Advertise { at, advert } => {
                let written = |r: &ClientRecord| matches!(r, ClientRecord::Advertised { at: w } if w == at);
                assert!(self.holds(written), "keys leave before it is written that they did");
                once(&mut self.adverts, (self.run, *at), advert.clone(), "advert");
            }
            ToCoordinator::ShareKeys { at, bundle } => {
                once(&mut self.bundles, (self.run, *at), bundle.clone(), "bundle");
            }
            ToCoordinator::SignIncluded { at, signature } => {
                let written =
                    |r: &ClientRecord| matches!(r, ClientRecord::SignedIncluded { at: w, .. } if w == at);
                assert!(self.holds(written), "a set is signed before it is written that it was");
                once(&mut self.signatures, (self.run, at.round), signature.signature, "signature");
            }
            ToCoordinator::Unmask { at, shares } => {
                let written = |r: &ClientRecord| matches!(r, ClientRecord::Unmasked { at: w, shares: s, .. } if w == at && s == shares);
                assert!(self.holds(written), "shares leave before it is written that they did");
                once(&mut self.answers, (self.run, at.round), shares.clone(), "unmask answer");
                let spent = self.uploads.contains_key(&(self.current(), at.round));
                assert!(spent, "an answer in a round without an upload");
            }
            _ => {}
        }
    }

    /// Whether such a record is durable, in the run of this session.
    fn holds(&self, wanted: impl Fn(&ClientRecord) -> bool) -> bool {
        let mut run = None;
        self.journal.iter().any(|record| {
            if let ClientRecord::Joined { run_id, .. } = record {
                run = Some(*run_id);
            }
            run == self.run && wanted(record)
        })
    }

    fn current(&self) -> Digest {
        self.run.expect("a silo acts in a run")
    }
}

fn once<K: Ord, V: PartialEq>(said: &mut Once<K, V>, (run, key): (Option<Digest>, K), value: V, what: &str) {
    match said.entry((run.expect("a silo speaks in a run"), key)) {
        Entry::Vacant(free) => drop(free.insert(value)),
        Entry::Occupied(taken) => assert!(*taken.get() == value, "a second, different {what}"),
    }
}
