//! A coordinator that lies: what the real one would say, changed, left out, repeated, or said to the wrong silo.
//!
//! Or it has two minds ([`crate::twin`]), both of which sign with the coordinator's key. It forges no silo's
//! signature. Whatever it does, silos may only refuse.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use identity::{IdentityKey, Roster, SignedRoster};
use params::Digest;
use plan::{Plan, SignedPlan};
use protocol::{Attempt, ToClient};
use rand_core::Rng;
use secagg::ClientId;

/// How many of its messages are lies: one in this many.
const ONE_IN: u32 = 4;
/// How many messages it remembers, to repeat them.
const REMEMBERED: usize = 200;

pub(crate) struct Deceiver {
    rng: ChaCha20Rng,
    /// It has two minds, each of which speaks the truth; otherwise one that lies.
    split: bool,
    said: Vec<ToClient>,
    /// What it said to each silo in an attempt, to say the same to another.
    views: BTreeMap<ClientId, ToClient>,
}

impl Deceiver {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(0xdece);
        let split = rng.next_u32().is_multiple_of(2);
        Self { rng, split, said: Vec::new(), views: BTreeMap::new() }
    }

    /// Whether it becomes two at this moment.
    pub(crate) fn splits(&mut self) -> bool {
        self.split && self.draw(80) == 0
    }

    /// Whom its second mind speaks to: most of all silos, since few get it nowhere.
    pub(crate) fn audience(&mut self, silos: impl Iterator<Item = ClientId>) -> BTreeSet<ClientId> {
        silos.filter(|_| self.draw(5) != 0).collect()
    }

    /// What is said in place of `message`.
    pub(crate) fn say(&mut self, to: ClientId, message: ToClient) -> Vec<ToClient> {
        let mut said = vec![message.clone()];
        if self.split {
            return said;
        }
        if self.draw(ONE_IN) == 0 {
            let lie = self.lie(to, message.clone());
            match self.draw(3) {
                0 => said = vec![lie],
                1 => said.push(lie),
                _ => said.insert(0, lie),
            }
        }
        if self.draw(2 * ONE_IN) == 0 && !self.said.is_empty() {
            let old = self.draw(self.said.len() as u32) as usize;
            said.push(self.said[old].clone());
        }
        if self.said.len() < REMEMBERED {
            self.said.push(message.clone());
        }
        self.views.insert(to, message);
        said
    }

    fn lie(&mut self, to: ClientId, message: ToClient) -> ToClient {
        match message {
            ToClient::Welcome { run_id, plan, roster, .. } => self.other_run(run_id, plan, roster),
            ToClient::Published(mut signed) => {
                let place = self.draw(signed.manifest_bytes.len() as u32) as usize;
                signed.manifest_bytes[place] ^= 1;
                ToClient::Published(signed)
            }
            ToClient::Open { at, model } => match self.draw(4) {
                0 => ToClient::Open { at, model: Digest::sha256(b"another model") },
                1 => ToClient::Open { at: Attempt { attempt: at.attempt + 1, ..at }, model },
                2 => ToClient::Open { at: Attempt { round: at.round + 1, ..at }, model },
                _ => ToClient::Open { at: Attempt { round: 1, attempt: 1 }, model },
            },
            ToClient::Adverts { at, mut adverts } => {
                let (one, other) = self.two(adverts.len());
                match self.draw(6) {
                    0 => adverts[one].ek_pub = adverts[other].ek_pub,
                    1 => adverts[one].mk_pub[5] ^= 1,
                    2 => adverts[one].commitment = adverts[other].commitment,
                    3 => drop(adverts.remove(one)),
                    4 => adverts.swap(one, other),
                    _ => adverts.retain(|advert| advert.id == to || advert.id.0.is_multiple_of(2)),
                }
                ToClient::Adverts { at, adverts }
            }
            ToClient::Deliver { at, mut delivery } => {
                let (one, other) = self.two(delivery.shares.len());
                match self.draw(5) {
                    // Another U2 for this silo: sound in itself, and not what the others see.
                    0 => {
                        let left = delivery.shares.remove(one).sender;
                        delivery.members.retain(|member| member.id != left);
                    }
                    1 => drop(delivery.shares.remove(one)),
                    2 => delivery.shares[one].ciphertext = delivery.shares[other].ciphertext.clone(),
                    3 => delivery.shares[one].commitments.self_mask[0] ^= 1,
                    _ => delivery.members.swap(0, 1),
                }
                ToClient::Deliver { at, delivery }
            }
            ToClient::Included { at, mut included } => {
                self.other_set(&mut included);
                ToClient::Included { at, included }
            }
            ToClient::UnmaskRequest { at, mut included, mut signatures } => {
                let (one, other) = self.two(signatures.len());
                match self.draw(5) {
                    0 => self.other_set(&mut included),
                    1 => drop(signatures.remove(one)),
                    2 => signatures[one] = signatures[other],
                    3 => signatures[one].id = signatures[other].id,
                    _ => signatures.clear(),
                }
                ToClient::UnmaskRequest { at, included, signatures }
            }
            // What another silo heard last, or nothing else to lie about.
            other => self.views.values().next().cloned().unwrap_or(other),
        }
    }

    fn other_run(
        &mut self,
        run_id: Digest,
        mut plan: Box<SignedPlan>,
        mut roster: Box<SignedRoster>,
    ) -> ToClient {
        let edited = |edit: fn(&mut Plan)| {
            let mut other = Plan::from_canonical(plan.plan.as_bytes()).expect("the coordinator's own plan");
            edit(&mut other);
            other
        };
        // The author's key is not the coordinator's: it can leave the old signature, or sign with a key of its own.
        match self.draw(5) {
            0 => {
                let mut other: Roster = serde_json::from_str(&roster.roster).expect("a roster of its own");
                other.members.pop_first();
                other.epoch += 1;
                *roster = other.sign(&IdentityKey::generate(&mut self.rng));
            }
            1 => plan.plan = text(&edited(|plan| plan.cohort.corrupt = 0)),
            2 => plan.plan = text(&edited(|plan| plan.cohort.minimum = 2)),
            3 => {
                let other = edited(|plan| plan.timing.minimum_wait_ms += 1);
                *plan = other.sign(&IdentityKey::generate(&mut self.rng)).signed().clone();
            }
            _ => plan.plan = text(&edited(|plan| plan.timing.minimum_wait_ms += 1)),
        }
        ToClient::Welcome { run_id, plan, roster, between: vec![] }
    }

    fn other_set(&mut self, included: &mut Vec<ClientId>) {
        match self.draw(3) {
            0 => {
                let (one, _) = self.two(included.len());
                included.remove(one);
            }
            1 => included.push(ClientId(included.last().map_or(1, |last| last.0 + 1))),
            _ => included.truncate(2),
        }
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.rng.next_u32() % below.max(1)
    }

    /// Two places of a list of at least two.
    fn two(&mut self, length: usize) -> (usize, usize) {
        let one = self.draw(length as u32) as usize;
        (one, (one + 1) % length.max(1))
    }
}

fn text(plan: &Plan) -> String {
    String::from_utf8(plan.to_canonical()).expect("JSON")
}
