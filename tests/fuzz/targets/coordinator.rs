//! A real coordinator among four real silos, under an arbitrary network and silos that say anything.
//!
//! An input is a script: an operation a byte, arguments behind it. Whatever it says, the coordinator does not
//! panic, its journal gives the same state again, and it says one thing to all.

use std::collections::{BTreeMap, VecDeque};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use identity::IdentityKey;
use params::Digest;
use protocol::{
    Artifacts, Attempt, ClaimAnswer, ClientEffect, ClientEffects, ClientInput, Coordinator, Effect, Effects,
    Input, OfRun, Participant, Profile, Record, SessionVersion, Setup, StepOutcome, SumFailure, Summed,
    Timestamp, ToClient, ToCoordinator, TrainOutcome, UploadHeader, Vector,
};
use run_status::{Standing, Status};
use secagg::ClientId;
use secagg::adversary::mask_any;

use super::edits::edited;
use super::script::{Script, piece};
use super::seeds::{plans, policy, roster, signing_key};

const STEPS_MAX: usize = 96;
const SILOS: u32 = 4;

/// Operations, by number.
const CONNECT: u8 = 0;
const DISCONNECT: u8 = 1;
const LISTEN: u8 = 2;
const SPEAK: u8 = 3;
const LOSE: u8 = 4;
const EDIT: u8 = 5;
const REPEAT: u8 = 6;
const UPLOAD: u8 = 7;
const UPLOAD_EDIT: u8 = 8;
const COMPUTED: u8 = 9;
const TICK: u8 = 10;
const RESTART: u8 = 11;
const RESTART_SILO: u8 = 12;
const RAW: u8 = 13;
const SETTLE: u8 = 14;
const OTHERS: u8 = 15;

pub(crate) fn drive(bytes: &[u8]) {
    let mut world = World::new();
    let mut script = Script::new(bytes);
    for _ in 0..STEPS_MAX {
        let Some(operation) = script.byte() else { break };
        world.step(operation % 16, &mut script);
    }
    world.restart();
}

/// A whole round, and what may go wrong in it.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let here: Vec<u8> = (0..4).flat_map(|silo| [CONNECT, silo, LISTEN, silo, SPEAK, 0]).collect();
    let keyed = [&here[..], &[SETTLE, 1]].concat();
    let raw = wire::to_coordinator_bytes(ToCoordinator::CheckIn { head: Some(9), data: None, sandbox: None });
    vec![
        ("here", here.clone()),
        ("round", [&here[..], &[SETTLE, 40, COMPUTED, 0, SETTLE, 40, COMPUTED, 0]].concat()),
        ("late", [&here[..], &[SETTLE, 2, TICK, 255, TICK, 255, SETTLE, 9]].concat()),
        ("wrong-secret", [&here[..], &[SETTLE, 40, COMPUTED, 1, SETTLE, 40, COMPUTED, 2]].concat()),
        ("restarts", [&keyed[..], &[RESTART, CONNECT, 0, CONNECT, 1, SETTLE, 40, RESTART]].concat()),
        (
            "silo-gone",
            [&keyed[..], &[RESTART_SILO, 2, CONNECT, 2, SETTLE, 40, TICK, 255, SETTLE, 40]].concat(),
        ),
        (
            "disconnects",
            [&keyed[..], &[DISCONNECT, 3, SETTLE, 40, TICK, 255, SETTLE, 40, COMPUTED, 0]].concat(),
        ),
        ("edited", [&keyed[..], &[LISTEN, 0, EDIT, 0, 0, 40, 0, 1, SPEAK, 0, REPEAT, 0, REPEAT, 1]].concat()),
        (
            "upload-edited",
            [&keyed[..], &[SETTLE, 3, UPLOAD_EDIT, 0, 1, 9, 0, 1, 40, 0, 1, UPLOAD, 0]].concat(),
        ),
        ("lost", [&keyed[..], &[LISTEN, 1, LOSE, 0, OTHERS, 0, OTHERS, 5, SETTLE, 40]].concat()),
        ("raw", [&keyed[..], &[RAW, 1], &piece(&raw)].concat()),
    ]
}

struct Silo {
    participant: Participant,
    journal: Vec<protocol::ClientRecord>,
    inbox: VecDeque<ToClient>,
}

struct World {
    coordinator: Coordinator,
    journal: Vec<Record>,
    silos: BTreeMap<ClientId, Silo>,
    outbox: VecDeque<(ClientId, ToCoordinator)>,
    spoken: Vec<(ClientId, ToCoordinator)>,
    uploads: Vec<UploadHeader>,
    job: Option<Attempt>,
    /// What was said to all of an attempt: U1, U3.
    rosters: BTreeMap<Attempt, Vec<secagg::Advert>>,
    included: BTreeMap<Attempt, Vec<ClientId>>,
    now: Timestamp,
    rng: ChaCha20Rng,
}

impl World {
    fn new() -> Self {
        let now = Timestamp(1_700_000_000_000);
        let mut effects = Effects::new();
        let coordinator = Coordinator::recover(setup(), &[], now, &mut effects).expect("a sound setup");
        let silo =
            |id: u32| Silo { participant: participant(id, &[]), journal: vec![], inbox: VecDeque::new() };
        let mut world = Self {
            coordinator,
            journal: Vec::new(),
            silos: (1..=SILOS).map(|id| (ClientId(id), silo(id))).collect(),
            outbox: VecDeque::new(),
            spoken: Vec::new(),
            uploads: Vec::new(),
            job: None,
            rosters: BTreeMap::new(),
            included: BTreeMap::new(),
            now,
            rng: ChaCha20Rng::from_seed([6; 32]),
        };
        world.perform(effects);
        let genesis = artifacts(setup().plan.initial_model().digest());
        world.feed(Input::Start { genesis });
        world
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        if operation == RESTART {
            return self.restart();
        }
        let argument = script.byte().unwrap_or(0);
        let silo = ClientId(1 + u32::from(argument) % SILOS);
        match operation {
            CONNECT => self.connect(silo),
            DISCONNECT => self.feed(Input::Disconnected { client: silo }),
            LISTEN => self.listen(silo),
            SPEAK => self.speak(argument),
            LOSE => drop(self.outbox.pop_front()),
            EDIT => {
                if let Some((from, message)) = self.outbox.pop_front() {
                    let bytes = edited(wire::to_coordinator_bytes(message), script);
                    self.raw(from, &bytes);
                }
            }
            REPEAT => {
                let nth = usize::from(argument) % self.spoken.len().max(1);
                if let Some((from, message)) = self.spoken.iter().rev().nth(nth).cloned() {
                    self.feed(Input::Message { from, message });
                }
            }
            UPLOAD => self.upload(argument),
            UPLOAD_EDIT => {
                let nth = usize::from(argument) % self.uploads.len().max(1);
                if let Some(header) = self.uploads.get(nth).cloned() {
                    let bytes = edited(wire::upload_header_bytes(header), script);
                    if let Ok(OfRun { message: header, .. }) = wire::read_upload_header(&bytes) {
                        // A stage that was admitted may be done after its step: the core judges again.
                        let _ = self.coordinator.admit_upload(&header);
                        self.feed(Input::Staged(header));
                    }
                }
            }
            COMPUTED => self.computed(argument),
            TICK => {
                self.now = self.now.plus_ms(u64::from(argument) * 100);
                self.tick_silos();
                self.feed(Input::Tick);
            }
            RESTART_SILO => self.restart_silo(silo),
            RAW => {
                let bytes = script.piece().unwrap_or_default();
                self.raw(silo, bytes);
            }
            SETTLE => self.settle(argument),
            _ => {
                // A silo speaks in another's name, which its session does not allow, or for no member.
                if let Some((_, message)) = self.outbox.front().cloned() {
                    let from = ClientId(u32::from(argument) % (SILOS + 2));
                    self.feed(Input::Message { from, message });
                }
            }
        }
    }

    /// All that waits is delivered, a few times over.
    fn settle(&mut self, rounds: u8) {
        for _ in 0..rounds.min(40) {
            for id in 1..=SILOS {
                self.listen(ClientId(id));
            }
            while !self.outbox.is_empty() {
                self.speak(0);
            }
            for nth in 0..self.uploads.len() {
                self.upload(nth as u8);
            }
            self.now = self.now.plus_ms(100);
            self.tick_silos();
            self.feed(Input::Tick);
        }
    }

    fn connect(&mut self, client: ClientId) {
        self.feed(Input::Connected { client, version: SessionVersion::NEWEST });
    }

    fn listen(&mut self, id: ClientId) {
        while let Some(message) = self.silos.get_mut(&id).and_then(|silo| silo.inbox.pop_front()) {
            let bytes = wire::to_client_bytes(message);
            let said = wire::read_to_client(&bytes).expect("the coordinator's own words");
            self.silo(id, ClientInput::Message(said));
        }
    }

    fn silo(&mut self, id: ClientId, input: ClientInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(silo) = self.silos.get_mut(&id) else { return };
            let mut effects = ClientEffects::new();
            silo.participant.handle(self.now, &mut self.rng, input, &mut effects);
            for effect in effects {
                match effect {
                    ClientEffect::Persist(record) => silo.journal.push(record),
                    ClientEffect::Send(said) => self.outbox.push_back((id, said.message)),
                    ClientEffect::VerifyStep(job) => {
                        let (record, outcome) = (job.record, StepOutcome::Follows);
                        inputs.push_back(ClientInput::StepVerified { record, outcome });
                    }
                    ClientEffect::Contradiction(lie) => panic!("an honest coordinator's record: {lie:?}"),
                    ClientEffect::Train(job) => {
                        let outcome = TrainOutcome::Ready { origin: job.origin() };
                        inputs.push_back(ClientInput::Trained { job: job.id, outcome });
                    }
                    ClientEffect::Mask(job) => {
                        let masked = mask_any(job.masking, vec![0; job.plan.lanes()]);
                        let digest = Digest::from_bytes(masked.digest());
                        let vector = Some(Vector { origin: job.origin, digest, failed: false });
                        inputs.push_back(ClientInput::Masked { job: job.id, vector });
                    }
                    ClientEffect::Upload(OfRun { message: header, .. }) => {
                        if !self.uploads.contains(&header) {
                            self.uploads.push(header);
                        }
                    }
                    ClientEffect::ReadData { job, .. } => {
                        let commitment = Some(Digest::sha256(&id.0.to_le_bytes()));
                        inputs.push_back(ClientInput::DataRead { job, commitment });
                    }
                    ClientEffect::Claim { run, .. } => {
                        inputs.push_back(ClientInput::Claimed { run, answer: ClaimAnswer::Held });
                    }
                    ClientEffect::Forget(_) | ClientEffect::Offer(_) | ClientEffect::ReturnClaim { .. } => {}
                }
            }
        }
    }

    fn tick_silos(&mut self) {
        for id in 1..=SILOS {
            self.silo(ClientId(id), ClientInput::Tick);
        }
    }

    fn speak(&mut self, argument: u8) {
        let nth = usize::from(argument) % self.outbox.len().max(1);
        if let Some((from, message)) = self.outbox.remove(nth) {
            let bytes = wire::to_coordinator_bytes(message);
            self.raw(from, &bytes);
        }
    }

    fn raw(&mut self, from: ClientId, bytes: &[u8]) {
        if let Ok(OfRun { message, .. }) = wire::read_to_coordinator(bytes) {
            self.spoken.push((from, message.clone()));
            self.feed(Input::Message { from, message });
        }
    }

    fn upload(&mut self, argument: u8) {
        let nth = usize::from(argument) % self.uploads.len().max(1);
        if let Some(header) = self.uploads.get(nth).cloned()
            && self.coordinator.admit_upload(&header).is_ok()
        {
            self.feed(Input::Staged(header));
        }
    }

    fn computed(&mut self, argument: u8) {
        let Some(at) = self.job else { return };
        let result = match argument % 4 {
            0 => Ok(Summed {
                aggregate: Digest::sha256(&[argument]),
                artifacts: artifacts(Digest::sha256(&[argument, 1])),
                metrics: BTreeMap::new(),
            }),
            1 => Err(SumFailure::WrongSecret(ClientId(1 + u32::from(argument >> 4) % SILOS))),
            2 => Err(SumFailure::BadAggregate("not finite".into())),
            _ => {
                return self.feed(Input::Summed {
                    at: Attempt { round: at.round + 1, ..at },
                    result: Err(SumFailure::BadAggregate("stale".into())),
                });
            }
        };
        self.feed(Input::Summed { at, result });
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Effects::new();
        let before = self.coordinator.status();
        let result = self.coordinator.handle(self.now, &mut self.rng, input, &mut effects);
        if let Err(why) = result {
            assert!(why.to_string().len() <= 4 << 10, "a refusal of {} bytes", why.to_string().len());
        }
        self.perform(effects);
        let after = self.coordinator.status();
        assert!(after.rounds_committed >= before.rounds_committed && after.round >= before.round);
        assert!(after.privacy.steps >= before.privacy.steps);
    }

    fn perform(&mut self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.journal.push(record),
                Effect::Send { to, message } => {
                    self.judge(&message);
                    if let Some(silo) = self.silos.get_mut(&to) {
                        silo.inbox.push_back(*message);
                    }
                }
                Effect::Compute(job) => self.job = Some(job.at),
                Effect::SendChain { to, after } => {
                    let records = self.journal.iter().filter_map(|record| match record {
                        Record::RunStarted { genesis, .. } => Some(genesis),
                        Record::Committed { manifest, .. } => Some(manifest),
                        _ => None,
                    });
                    let newer = records.filter(|signed| {
                        let manifest = checkpoint::Manifest::from_bytes(&signed.manifest_bytes);
                        let round = manifest.expect("its own record").round;
                        after.is_none_or(|after| round > after)
                    });
                    let newer: Vec<ToClient> = newer.cloned().map(ToClient::Published).collect();
                    if let Some(silo) = self.silos.get_mut(&to) {
                        silo.inbox.extend(newer);
                    }
                }
                Effect::Publish(signed) => {
                    signed.verify_strict().expect("its own record");
                }
                Effect::DiscardStaged { before } => self.uploads.retain(|header| header.at.round >= before),
            }
        }
    }

    /// One U1 and one U3 for everyone, and the latter durable before anyone hears of it.
    fn judge(&mut self, message: &ToClient) {
        match message {
            ToClient::Adverts { at, adverts } => {
                assert_eq!(self.rosters.entry(*at).or_insert_with(|| adverts.clone()), adverts);
            }
            ToClient::Included { at, included } | ToClient::UnmaskRequest { at, included, .. } => {
                assert_eq!(self.included.entry(*at).or_insert_with(|| included.clone()), included);
                let opened =
                    |r: &Record| matches!(r, Record::AttemptBegun { at: opened, .. } if opened == at);
                let since = self.journal.iter().rev().take_while(|record| !opened(record));
                let fixed = since.filter(|record| matches!(record, Record::IncludedFixed { .. })).count();
                assert_eq!(fixed, 1, "a set is named before it is written down");
            }
            _ => {}
        }
    }

    /// The process is killed and started again from its journal's bytes.
    fn restart(&mut self) {
        let decoded = |record: &Record| Record::decode(&record.encode()).expect("its own bytes");
        let journal: Vec<Record> = self.journal.iter().map(decoded).collect();
        let before = (durable(self.coordinator.status()), self.coordinator.data_declared().clone());
        let mut effects = Effects::new();
        self.coordinator =
            Coordinator::recover(setup(), &journal, self.now, &mut effects).expect("its own journal");
        let after = (durable(self.coordinator.status()), self.coordinator.data_declared().clone());
        assert_eq!(after, before, "the journal gives the state again");
        self.perform(effects);
    }

    fn restart_silo(&mut self, id: ClientId) {
        if let Some(silo) = self.silos.get_mut(&id) {
            silo.participant = participant(id.0, &silo.journal);
            silo.inbox.clear();
        }
    }
}

/// A status without what sessions and this process's own start decide.
fn durable(mut status: Status) -> Status {
    status.waiting_for.clear();
    status.waiting_why.clear();
    for client in &mut status.clients {
        client.connected = false;
        client.last_reason.clear();
        client.reason_moment = None;
        if [Standing::CheckedIn, Standing::Connected, Standing::NotConnected].contains(&client.state) {
            client.state = Standing::Unknown;
        }
    }
    status
}

fn setup() -> Setup {
    let [plan, _] = plans();
    Setup {
        plan: sim::authored(plan),
        roster: sim::authorised(&roster()),
        authority: sim::authority().public(),
        key: signing_key(99),
    }
}

fn participant(id: u32, journal: &[protocol::ClientRecord]) -> Participant {
    let key = hex::encode(signing_key(id as u8).to_bytes());
    let identity = IdentityKey::from_secret_hex(&key).expect("a key");
    let profile = Profile {
        id: ClientId(id),
        identity,
        authority: sim::authority().public(),
        roster: sim::authorised(&roster()),
        policy: policy(),
        declares_data: true,
        sandbox: None,
    };
    Participant::recover(profile, journal).expect("its own journal")
}

fn artifacts(params_digest: Digest) -> Artifacts {
    Artifacts { model: checkpoint::ModelArtifact::of(b"file", params_digest), optimizer: None }
}
