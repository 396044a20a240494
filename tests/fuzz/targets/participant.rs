//! A real participant under an arbitrary coordinator that holds the coordinator's key and all other silos'.
//!
//! An input is a script: an operation a byte, arguments behind it. Whatever it says, the silo says each thing once,
//! and nothing before it is written down.

use std::collections::VecDeque;

use accounting::OverBudget;
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{Manifest, ModelArtifact, SignedManifest, public_key_text, samples};
use identity::IdentityKey;
use params::Digest;
use plan::{Origin, Plan, Refusal};
use protocol::{
    Attempt, ClaimAnswer, ClientEffect, ClientEffects, ClientInput, ClientRecord, JobId, OfRun, Participant,
    Profile, Rejection, RoundOutcome, RunEnd, StepOutcome, Timestamp, ToClient, ToCoordinator, TrainOutcome,
    Vector,
};
use secagg::adversary::mask_any;

use super::edits::edited;
use super::oracle::Oracle;
use super::peers::{Exchange, OWN};
use super::script::{Script, piece};
use super::seeds::{plans, policy, roster, signing_key};

const STEPS_MAX: usize = 96;
const RUNS: usize = 3;

/// Operations, by number.
const WELCOME: u8 = 0;
const GENESIS: u8 = 1;
const NEXT_RECORD: u8 = 2;
const OPEN: u8 = 3;
const TRAINED: u8 = 4;
const TICK: u8 = 5;
const ROSTER: u8 = 6;
const DELIVER: u8 = 7;
const MASKED: u8 = 8;
const INCLUDED: u8 = 9;
const REQUEST: u8 = 10;
const REPEAT: u8 = 11;
const EDIT: u8 = 12;
const RESTART: u8 = 13;
const RAW: u8 = 14;
const OTHER: u8 = 15;

pub(crate) fn drive(bytes: &[u8]) {
    let mut world = World::new();
    let mut script = Script::new(bytes);
    for _ in 0..STEPS_MAX {
        let Some(operation) = script.byte() else { break };
        world.step(operation % 16, &mut script);
    }
    world.restart();
}

/// A coordinator's script that comes as far as a round goes, then further lies.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let joined = vec![WELCOME, 0, GENESIS, OPEN, 0];
    let keyed = [&joined[..], &[TRAINED, 0, TICK, 4, ROSTER, 0]].concat();
    let uploaded = [&keyed[..], &[DELIVER, 0, MASKED, 0]].concat();
    let answered = [&uploaded[..], &[INCLUDED, 0, REQUEST, 0]].concat();
    let raw = wire::to_client_bytes(ToClient::Finished { reason: RunEnd::Complete });
    vec![
        ("joined", joined.clone()),
        ("refused-roster", [&keyed[..9], &[ROSTER, 2, REPEAT, 3, ROSTER, 0]].concat()),
        ("dropout", [&keyed[..], &[DELIVER, 8, MASKED, 0, INCLUDED, 4, REQUEST, 4]].concat()),
        ("other-delivery", [&uploaded[..], &[DELIVER, 8, DELIVER, 0]].concat()),
        ("two-sets", [&uploaded[..], &[INCLUDED, 0, INCLUDED, 4, REQUEST, 4, REQUEST, 0]].concat()),
        ("no-quorum", [&uploaded[..], &[REQUEST, 0xf0, REQUEST, 0, REQUEST, 4]].concat()),
        (
            "restart-after-upload",
            [&uploaded[..], &[RESTART, WELCOME, 0, OPEN, 0, OPEN, 3, INCLUDED, 0]].concat(),
        ),
        ("restart-after-answer", [&answered[..], &[RESTART, WELCOME, 0, REQUEST, 0, REQUEST, 4]].concat()),
        (
            "second-round",
            [&answered[..], &[NEXT_RECORD, 1, OPEN, 2, TRAINED, 0, TICK, 4, ROSTER, 0]].concat(),
        ),
        (
            "other-run",
            [&keyed[..], &[WELCOME, 1, GENESIS, OPEN, 0, WELCOME, 3, WELCOME, 0, OPEN, 3]].concat(),
        ),
        ("edited", [&answered[..], &[EDIT, 3, 1, 40, 0, 1, 60, 0, 255, REPEAT, 3]].concat()),
        ("raw", [&joined[..], &[RAW], &piece(&raw), &[OTHER, 0, OTHER, 1, OTHER, 2, OTHER, 3]].concat()),
    ]
}

struct World {
    /// How often a claim was asked for.
    claims: u32,
    participant: Participant,
    oracle: Oracle,
    now: Timestamp,
    rng: ChaCha20Rng,
    /// The run that the coordinator speaks of.
    run: usize,
    plan: Plan,
    /// What it has published, by run.
    chains: [Vec<SignedManifest>; RUNS],
    model: Digest,
    /// What it has said, to say it again.
    said: Vec<ToClient>,
    exchange: Option<Exchange>,
    /// The jobs of each kind that the silo has asked for, the newest last.
    trainings: Vec<(JobId, Origin)>,
    maskings: Vec<(JobId, Vector)>,
    data: Data,
}

/// What the silo's shell reads.
#[derive(Default)]
struct Data {
    /// The job that reads it.
    wanted: Option<JobId>,
    /// How often it was read: it is other data each time.
    reads: u64,
}

impl World {
    fn new() -> Self {
        let [plan, _] = plans();
        Self {
            claims: 0,
            participant: recovered(&[]),
            oracle: Oracle::default(),
            now: Timestamp(1_700_000_000_000),
            rng: ChaCha20Rng::from_seed([5; 32]),
            run: 0,
            model: plan.initial_model().digest(),
            plan,
            chains: Default::default(),
            said: Vec::new(),
            exchange: None,
            trainings: Vec::new(),
            maskings: Vec::new(),
            data: Data::default(),
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        if operation == RESTART {
            return self.restart();
        }
        if operation == GENESIS {
            let genesis = self.record(0, None, self.plan.initial_model().digest());
            self.chains[self.run] = vec![genesis.clone()];
            return self.say(ToClient::Published(genesis));
        }
        let argument = script.byte().unwrap_or(0);
        match operation {
            WELCOME => self.welcome(argument),
            NEXT_RECORD => self.next_record(argument),
            OPEN => {
                let model = if argument & 0x80 == 0 { self.model } else { Digest::sha256(b"another model") };
                self.say(ToClient::Open { at: attempt(argument), model });
            }
            TRAINED => {
                // The newest first, as with what was said: older ones are stale.
                let Some((job, origin)) = nth_last(&self.trainings, argument >> 4) else { return };
                let elsewhere = Origin { plan: origin.start, start: origin.plan };
                let outcome = match argument % 3 {
                    0 => TrainOutcome::Ready { origin },
                    1 => TrainOutcome::Unavailable,
                    _ => TrainOutcome::Ready { origin: elsewhere },
                };
                self.input(ClientInput::Trained { job, outcome });
            }
            TICK => {
                self.now = self.now.plus_ms(u64::from(argument) * 50);
                self.read_data();
                self.input(ClientInput::Tick);
            }
            MASKED => {
                let Some((job, vector)) = nth_last(&self.maskings, argument & 0x0f) else { return };
                let vector = match argument {
                    0xff => None,
                    0x80.. => Some(Vector { digest: Digest::sha256(&[argument]), ..vector }),
                    0x40.. => {
                        Some(Vector { origin: Origin { start: vector.digest, ..vector.origin }, ..vector })
                    }
                    _ => Some(vector),
                };
                self.input(ClientInput::Masked { job, vector });
            }
            ROSTER | DELIVER | INCLUDED | REQUEST => self.exchanged(operation, argument),
            REPEAT => {
                if let Some(message) = self.earlier(argument) {
                    self.input(ClientInput::Message(OfRun::from(message)));
                }
            }
            EDIT => {
                if let Some(message) = self.earlier(argument) {
                    let bytes = edited(wire::to_client_bytes(message), script);
                    self.raw(&bytes);
                }
            }
            RAW => {
                let rest = script.piece().unwrap_or_default();
                self.raw(rest);
            }
            _ => self.other(argument),
        }
    }

    fn welcome(&mut self, argument: u8) {
        self.run = usize::from(argument) % RUNS;
        let [exact, private] = plans();
        self.plan = if argument & 0x10 == 0 { exact } else { private };
        if argument & 0x20 != 0 {
            self.plan.rounds += 1;
        }
        if argument & 0x40 != 0 {
            self.plan.cohort.corrupt = 0;
        }
        self.model = self.plan.initial_model().digest();
        let mut roster = roster();
        if argument & 0x80 != 0 {
            // A later one, without a member.
            roster.epoch += 1;
            roster.members.pop_last();
        }
        self.say(sim::welcome(self.run_id(), &self.plan, &roster));
    }

    /// The chain's next record, or one that leaves rounds out, or does not follow.
    fn next_record(&mut self, argument: u8) {
        let Some(head) = self.chains[self.run].last() else { return };
        let before = Manifest::from_bytes(&head.manifest_bytes).expect("its own record");
        let parent = (argument & 0x80 == 0).then(|| (head.digest(), before.model.params_digest));
        let model = Digest::sha256(&[b"model", &[argument][..]].concat());
        let next = self.record(before.round + 1 + u64::from(argument % 4), parent, model);
        if parent.is_some() {
            self.chains[self.run].push(next.clone());
            self.model = model;
        }
        self.say(ToClient::Published(next));
    }

    fn exchanged(&mut self, operation: u8, argument: u8) {
        let Some(exchange) = &mut self.exchange else { return };
        let message = match operation {
            ROSTER => Some(exchange.roster(argument, &mut self.rng)),
            DELIVER => exchange.deliver(argument),
            INCLUDED => Some(exchange.included(argument)),
            _ => exchange.request(argument),
        };
        if let Some(message) = message {
            self.say(message);
        }
    }

    fn other(&mut self, argument: u8) {
        let at = self.participant.status().round.unwrap_or(attempt(argument));
        self.say(match argument % 4 {
            0 => ToClient::UploadDurable { at },
            1 => ToClient::Rejected { rejection: Rejection::StaleAttempt },
            2 => ToClient::Aborted { at, outcome: RoundOutcome::TooFewAdverts { got: 1, need: 3 } },
            _ => ToClient::Finished { reason: RunEnd::Complete },
        });
    }

    fn earlier(&self, argument: u8) -> Option<ToClient> {
        // The newest first: a script need not know how long it is.
        self.said.iter().rev().nth(usize::from(argument) % self.said.len().max(1)).cloned()
    }

    fn raw(&mut self, bytes: &[u8]) {
        if let Ok(said) = wire::read_to_client(bytes) {
            self.say(said.message);
        }
    }

    fn read_data(&mut self) {
        let Some(job) = self.data.wanted.take() else { return };
        self.data.reads += 1;
        let commitment = Some(Digest::sha256(&self.data.reads.to_le_bytes()));
        self.input(ClientInput::DataRead { job, commitment });
    }

    fn say(&mut self, message: ToClient) {
        self.said.push(message.clone());
        self.input(ClientInput::Message(OfRun::from(message)));
    }

    fn input(&mut self, input: ClientInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            inputs.extend(self.performed(input));
        }
        let status = self.participant.status();
        assert_eq!(status.uploads, self.oracle.debits, "what is spent is what the journal says");
    }

    /// What the shell answers to it at once.
    fn performed(&mut self, input: ClientInput) -> Vec<ClientInput> {
        let mut effects = ClientEffects::new();
        self.participant.handle(self.now, &mut self.rng, input, &mut effects);
        let mut answers = Vec::new();
        for effect in effects {
            self.oracle.judge(&effect);
            match effect {
                ClientEffect::VerifyStep(job) => {
                    let record = job.record;
                    let outcome = match record.as_bytes()[0] % 8 {
                        0 => StepOutcome::DoesNotFollow,
                        1 => StepOutcome::Unavailable,
                        _ => StepOutcome::Follows,
                    };
                    answers.push(ClientInput::StepVerified { record, outcome });
                }
                ClientEffect::Send(said) => self.heard(said.message),
                ClientEffect::ReadData { job, .. } => {
                    assert!(self.participant.status().round.is_none(), "other data in the middle of a round");
                    self.data.wanted = Some(job);
                }
                ClientEffect::Claim { run, may_look, .. } => {
                    self.claims += 1;
                    let answer = match (may_look, self.claims % 8) {
                        (false, _) => ClaimAnswer::NotLooked,
                        (true, 0) => {
                            ClaimAnswer::NoRoom(Refusal::BudgetSpent(OverBudget { after: 2.0, limit: 1.0 }))
                        }
                        (true, 1..=3) => ClaimAnswer::Made,
                        (true, _) => ClaimAnswer::Held,
                    };
                    answers.push(ClientInput::Claimed { run, answer });
                }
                ClientEffect::Train(job) => self.trainings.push((job.id, job.origin())),
                ClientEffect::Mask(job) => {
                    let masked = mask_any(job.masking, vec![0; job.plan.lanes()]);
                    let digest = Digest::from_bytes(masked.digest());
                    self.maskings.push((job.id, Vector { origin: job.origin, digest, failed: false }));
                }
                _ => {}
            }
        }
        answers
    }

    fn heard(&mut self, message: ToCoordinator) {
        match (message, &mut self.exchange) {
            (ToCoordinator::Advertise { at, advert }, exchange)
                if exchange.as_ref().is_none_or(|exchange| exchange.at != at) =>
            {
                let run = Digest::sha256(&[self.run as u8]);
                let fresh = Exchange::new(at, advert, run, &self.plan, self.model, &mut self.rng);
                *exchange = Some(fresh);
            }
            (ToCoordinator::ShareKeys { bundle, .. }, Some(exchange)) => exchange.shares(bundle),
            (ToCoordinator::SignIncluded { signature, .. }, Some(exchange)) => exchange.signed(signature),
            _ => {}
        }
    }

    /// The process is killed and started again from its journal's bytes.
    fn restart(&mut self) {
        let before = self.participant.status();
        let decoded = |record: &ClientRecord| ClientRecord::decode(&record.encode()).expect("its own bytes");
        let journal: Vec<ClientRecord> = self.oracle.journal.iter().map(decoded).collect();
        self.participant = recovered(&journal);
        let after = self.participant.status();
        assert_eq!((before.uploads, before.epsilon_spent), (after.uploads, after.epsilon_spent));
        // A process's jobs end with it, and so do their names.
        self.trainings.clear();
        self.maskings.clear();
        self.data = Data { reads: self.data.reads, wanted: None };
    }

    fn run_id(&self) -> Digest {
        Digest::sha256(&[self.run as u8])
    }

    fn record(&self, round: u64, parent: Option<(Digest, Digest)>, model: Digest) -> SignedManifest {
        let key = signing_key(99);
        let manifest = Manifest {
            run_id: self.run_id(),
            run_name: self.plan.name.clone(),
            parent: parent.map(|(digest, _)| digest),
            plan_digest: self.plan.digest(),
            roster_digest: roster().digest(),
            parent_model: parent.map(|(_, model)| model),
            model: ModelArtifact::of(b"file", model),
            created_ms: self.now.0,
            public_key: public_key_text(&key.verifying_key()),
            ..samples::bare(round)
        };
        SignedManifest::sign(&manifest, &key).expect("a sound manifest")
    }
}

fn nth_last<T: Copy>(of: &[T], place: u8) -> Option<T> {
    of.iter().rev().nth(usize::from(place) % of.len().max(1)).copied()
}

fn recovered(journal: &[ClientRecord]) -> Participant {
    let key = hex::encode(signing_key(1).to_bytes());
    let identity = IdentityKey::from_secret_hex(&key).expect("a key");
    let profile = Profile {
        id: OWN,
        identity,
        authority: sim::authority().public(),
        roster: sim::authorised(&roster()),
        policy: policy(),
        declares_data: true,
        sandbox: None,
    };
    Participant::recover(profile, journal).expect("its own journal")
}

fn attempt(argument: u8) -> Attempt {
    Attempt { round: 1 + u64::from(argument % 3), attempt: 1 + u32::from(argument / 3 % 3) }
}
