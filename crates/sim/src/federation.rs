//! The world around the state machines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use dp::{ClippedSum, LocalUpdate};
use identity::{Contribution, IdentityKey, Member, Plan, Policy, Privacy, PrivacyMode, Roster};
use optim::State;
use params::{Digest, Params};
use protocol::{
    Artifacts, Attempt, ClientInput, ClientRecord, Coordinator, Effect, Effects, Input, Participant, Record,
    RecoverJob, RecoverResult, Recovered, Rejection, Setup, Timestamp, ToClient, ToCoordinator, UploadHeader,
    next_model,
};
use secagg::ClientId;

use crate::silo::{Silo, Wish};

/// What may go wrong, at the moment before it would go right.
pub enum Moment<'a> {
    /// A silo is about to say something.
    SiloSays(ClientId, &'a ToCoordinator),
    /// A silo is about to send its masked vector.
    SiloUploads(ClientId, &'a UploadHeader),
    /// The coordinator is about to perform an effect; what precedes it is done and durable.
    CoordinatorDoes(&'a Effect),
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Pass,
    /// The message is lost, with its sender's connection: it reconnects at once.
    Lose,
    /// The process dies before doing it, and stays dead.
    Kill,
    /// The process dies before doing it, and is started again.
    Restart,
}

/// A sum that was opened, and what went into it.
pub struct OpenedSum {
    /// In which attempt.
    pub at: Attempt,
    /// Whose vectors.
    pub included: BTreeSet<ClientId>,
    /// The opened lanes.
    pub sum: Vec<u32>,
    /// The wrapping sum of the included silos' lanes before masking.
    pub plaintext: Vec<u32>,
}

enum Delivery {
    ToCoordinator(ClientId, Box<ToCoordinator>),
    Upload(Box<UploadHeader>),
    ToSilo(ClientId, Box<ToClient>),
    Connect(ClientId),
    Recovered(Attempt, Box<RecoverResult>),
}

/// Decides what becomes of each moment.
type Faults = Box<dyn FnMut(&Moment<'_>) -> Fate>;

/// A whole federation.
pub struct Federation {
    plan: Plan,
    roster: Roster,
    coordinator_key: String,
    coordinator: Coordinator,
    silos: BTreeMap<ClientId, Silo>,
    queue: VecDeque<Delivery>,
    now: Timestamp,
    rng: ChaCha20Rng,
    faults: Faults,
    /// The coordinator's disk.
    journal: Vec<Record>,
    staged: BTreeMap<(Attempt, ClientId), Vec<u32>>,
    models: BTreeMap<Digest, (Params, State)>,
    published: BTreeMap<u64, Digest>,
    opened: Vec<OpenedSum>,
    rejections: Vec<Rejection>,
    events: u64,
}

/// A run that takes more events than this hangs.
const EVENTS_MAX: u64 = 2_000_000;
const START_MS: u64 = 1_700_000_000_000;

impl Federation {
    /// `members` silos under one plan; the seed decides every key, share and noise draw.
    ///
    /// # Panics
    /// Where the plan is not usable.
    pub fn new(plan: Plan, members: u32, seed: u64) -> Self {
        Self::with_policies(plan, members, seed, |_, _| {})
    }

    /// The same, with silos whose rules `edit` changes.
    ///
    /// # Panics
    /// Where the plan is not usable.
    pub fn with_policies(plan: Plan, members: u32, seed: u64, edit: impl Fn(u32, &mut Policy)) -> Self {
        plan.validate().unwrap_or_else(|why| panic!("{why}"));
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keys: BTreeMap<ClientId, IdentityKey> =
            (1..=members).map(|id| (ClientId(id), IdentityKey::generate(&mut rng))).collect();
        let coordinator_key = IdentityKey::generate(&mut rng);
        let roster = Roster {
            federation: "simulated".into(),
            epoch: 1,
            coordinator_key: hex::encode(coordinator_key.public().as_bytes()),
            members: keys
                .iter()
                .map(|(id, key)| {
                    let identity_key = hex::encode(key.public().as_bytes());
                    (*id, Member { name: format!("silo {id}"), identity_key, admitted: 1 })
                })
                .collect(),
        };
        let policy = Policy {
            cohort_min: 3,
            honest_min: 2,
            corrupt_min: 1,
            epsilon_max: 1000.0,
            delta_max: 1e-3,
            privacy_modes: [
                PrivacyMode::Fedavg,
                PrivacyMode::DistributedDpSgd,
                PrivacyMode::DistributedDpFedavg,
            ]
            .into(),
            repeats_without_dp: 2,
            accepts_undetected_rollback: true,
        };
        let silos = keys
            .iter()
            .map(|(id, key)| {
                let mut policy = policy.clone();
                edit(id.0, &mut policy);
                (*id, Silo::new(*id, key.secret_hex().to_string(), roster.clone(), policy))
            })
            .collect();
        let now = Timestamp(START_MS);
        let coordinator_key = coordinator_key.secret_hex().to_string();
        let coordinator = recover(&plan, &roster, &coordinator_key, &[], now, &mut Effects::new());
        let mut federation = Self {
            plan,
            roster,
            coordinator_key,
            coordinator,
            silos,
            queue: VecDeque::new(),
            now,
            rng,
            faults: Box::new(|_| Fate::Pass),
            journal: Vec::new(),
            staged: BTreeMap::new(),
            models: BTreeMap::new(),
            published: BTreeMap::new(),
            opened: Vec::new(),
            rejections: Vec::new(),
            events: 0,
        };
        federation.start();
        federation
    }

    /// From now on, `faults` decides about each moment.
    pub fn with_faults(mut self, faults: impl FnMut(&Moment<'_>) -> Fate + 'static) -> Self {
        self.faults = Box::new(faults);
        self
    }

    /// Runs until the run ends or nothing can happen any more.
    ///
    /// # Panics
    /// When an invariant breaks, or the federation goes round in circles.
    pub fn run(&mut self) {
        loop {
            while let Some(delivery) = self.queue.pop_front() {
                self.events += 1;
                assert!(self.events < EVENTS_MAX, "the federation goes round in circles");
                self.deliver(delivery);
            }
            if self.coordinator.status().ended.is_some() {
                return;
            }
            let next = self
                .silos
                .values()
                .filter_map(Silo::deadline)
                .chain(self.coordinator.deadline(self.now))
                .filter(|at| *at > self.now)
                .min();
            let Some(next) = next else { return };
            self.now = next;
            self.tick();
        }
    }

    /// The coordinator as it is.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// A silo's participant, while its process lives.
    pub fn participant(&self, id: u32) -> Option<&Participant> {
        self.silos.get(&ClientId(id)).and_then(Silo::participant)
    }

    /// A silo's journal.
    pub fn silo_journal(&self, id: u32) -> &[ClientRecord] {
        self.silos.get(&ClientId(id)).map(Silo::journal).unwrap_or_default()
    }

    /// The coordinator's journal.
    pub fn journal(&self) -> &[Record] {
        &self.journal
    }

    /// Every sum that was opened.
    pub fn opened(&self) -> &[OpenedSum] {
        &self.opened
    }

    /// Every message that the coordinator refused.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Rounds published, with their model's digest.
    pub fn published(&self) -> &BTreeMap<u64, Digest> {
        &self.published
    }

    /// Starts a dead silo's process again.
    pub fn restart_silo(&mut self, id: u32) {
        if let Some(silo) = self.silos.get_mut(&ClientId(id)) {
            silo.start();
            self.queue.push_back(Delivery::Connect(ClientId(id)));
        }
    }

    /// What a silo brings: one-hot in its own lane, a prime in another, so that a sum that counts somebody
    /// twice, not at all or with the wrong sign is not the right one by accident.
    pub fn contribute(plan: &Plan, id: ClientId, at: Attempt) -> Contribution {
        const PRIMES: [u16; 8] = [2, 3, 5, 7, 11, 13, 17, 19];
        let lanes = plan.architecture().parameter_count();
        let mut values = vec![0f32; lanes];
        let own = id.0 as usize % lanes;
        let prime = f32::from(PRIMES[id.0 as usize % PRIMES.len()]);
        values[own] = 1.0 / 16.0;
        values[(own + 1 + at.round as usize) % lanes] -= prime / 64.0;
        match plan.privacy {
            Privacy::DistributedDpSgd { clip_norm, .. } => {
                let values = values.into_iter().map(f64::from).collect();
                Contribution::Sum(ClippedSum::new(values, clip_norm, 8).expect("finite values"))
            }
            _ => Contribution::Update {
                update: LocalUpdate::new(values).expect("finite values"),
                rows: u64::from(id.0) * 10,
                metrics: [0.25 * f64::from(id.0), 0.5],
            },
        }
    }

    fn start(&mut self) {
        let params = self.plan.initial_model();
        let state = self.plan.server.initial_state(params.layout().len());
        let genesis = artifacts(&params, &state);
        self.models.insert(params.digest(), (params, state));
        self.coordinate(Input::Start { genesis });
        for id in self.silos.keys() {
            self.queue.push_back(Delivery::Connect(*id));
        }
    }

    fn tick(&mut self) {
        let ids: Vec<ClientId> = self.silos.keys().copied().collect();
        for id in ids {
            self.silo(id, ClientInput::Tick);
        }
        self.coordinate(Input::Tick);
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::ToCoordinator(from, message) => {
                self.coordinate(Input::Message { from, message: *message });
            }
            Delivery::Upload(header) => self.upload(*header),
            Delivery::ToSilo(to, message) => self.silo(to, ClientInput::Message(*message)),
            Delivery::Connect(client) => {
                if self.silos.get(&client).is_some_and(Silo::alive) {
                    self.coordinate(Input::Connected { client });
                }
            }
            Delivery::Recovered(at, result) => self.coordinate(Input::Recovered { at, result: *result }),
        }
    }

    fn upload(&mut self, header: UploadHeader) {
        if let Err(rejection) = self.coordinator.admit_upload(&header) {
            self.rejections.push(rejection);
            return;
        }
        let masked = self.silos.get(&header.client).and_then(|silo| silo.masked(header.at));
        if let Some(masked) = masked {
            self.staged.insert((header.at, header.client), masked.lanes().to_vec());
            self.coordinate(Input::Staged(header));
        }
    }

    fn silo(&mut self, id: ClientId, input: ClientInput) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let plan = &self.plan;
        let mut contribute = |id, at| Self::contribute(plan, id, at);
        let wishes = silo.handle(self.now, &mut self.rng, input, &mut contribute);
        for wish in wishes {
            let fate = match &wish {
                Wish::Say(message) => (self.faults)(&Moment::SiloSays(id, message)),
                Wish::Upload(header) => (self.faults)(&Moment::SiloUploads(id, header)),
            };
            match fate {
                Fate::Pass => self.queue.push_back(match wish {
                    Wish::Say(message) => Delivery::ToCoordinator(id, Box::new(message)),
                    Wish::Upload(header) => Delivery::Upload(Box::new(header)),
                }),
                Fate::Lose => {
                    self.coordinate(Input::Disconnected { client: id });
                    self.queue.push_back(Delivery::Connect(id));
                    return;
                }
                Fate::Kill | Fate::Restart => {
                    let Some(silo) = self.silos.get_mut(&id) else { return };
                    silo.kill();
                    self.coordinate(Input::Disconnected { client: id });
                    if fate == Fate::Restart {
                        self.restart_silo(id.0);
                    }
                    return;
                }
            }
        }
    }

    fn coordinate(&mut self, input: Input) {
        let mut effects = Effects::new();
        if let Err(rejection) = self.coordinator.handle(self.now, &mut self.rng, input, &mut effects) {
            self.rejections.push(rejection);
        }
        self.perform(effects);
    }

    fn perform(&mut self, effects: Effects) {
        for effect in effects {
            match (self.faults)(&Moment::CoordinatorDoes(&effect)) {
                Fate::Pass => self.perform_one(effect),
                Fate::Lose => {}
                Fate::Kill | Fate::Restart => return self.restart_coordinator(),
            }
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(record) => self.journal.push(record),
            Effect::Send { to, message } => self.queue.push_back(Delivery::ToSilo(to, message)),
            Effect::Compute(job) => {
                let at = job.at;
                let result = self.open(&job);
                self.queue.push_back(Delivery::Recovered(at, Box::new(result)));
            }
            Effect::Publish(signed) => {
                let manifest =
                    checkpoint::Manifest::from_bytes(&signed.manifest_bytes).expect("its own record");
                let digest = manifest.model.params_digest;
                assert!(self.models.contains_key(&digest), "a published model that was never staged");
                let before = self.published.insert(manifest.round, digest);
                assert!(before.is_none_or(|before| before == digest), "round {} forked", manifest.round);
            }
            Effect::DiscardStaged { before } => self.staged.retain(|(at, _), _| at.round >= before),
        }
    }

    /// Everything in memory is gone, messages on their way included; the journal is read again.
    fn restart_coordinator(&mut self) {
        self.queue.clear();
        let journal: Vec<Record> = self
            .journal
            .iter()
            .map(|record| Record::decode(&record.encode()).expect("its own bytes"))
            .collect();
        let mut effects = Effects::new();
        self.coordinator =
            recover(&self.plan, &self.roster, &self.coordinator_key, &journal, self.now, &mut effects);
        if self.coordinator.is_new() {
            self.start();
        } else {
            self.perform(effects);
            for id in self.silos.keys() {
                self.queue.push_back(Delivery::Connect(*id));
            }
        }
    }

    fn open(&mut self, job: &RecoverJob) -> RecoverResult {
        let lanes = self.plan.lanes();
        let (mut sum, mut plaintext) = (vec![0u32; lanes], vec![0u32; lanes]);
        for header in &job.uploads {
            let staged = self.staged.get(&(header.at, header.client)).expect("a staged vector is durable");
            secagg::sum_into(&mut sum, staged).expect("admitted lanes");
            if let Some(own) = self.silos.get(&header.client).and_then(|silo| silo.plaintext.get(&job.at)) {
                secagg::sum_into(&mut plaintext, own).expect("admitted lanes");
            }
        }
        job.removal()?.remove(&mut sum);
        let parent = self.published.get(&job.parent_round).expect("the parent is published");
        let (params, state) = &self.models[parent];
        let next = next_model(&self.plan, &sum, job.included.len(), params, state.clone())?;
        self.opened.push(OpenedSum { at: job.at, included: job.included.clone(), sum, plaintext });
        let artifacts = artifacts(&next.params, &next.state);
        self.models.insert(next.params.digest(), (next.params, next.state));
        Ok(Recovered { aggregate: next.aggregate, artifacts, metrics: next.metrics })
    }
}

fn recover(
    plan: &Plan,
    roster: &Roster,
    key: &str,
    journal: &[Record],
    now: Timestamp,
    effects: &mut Effects,
) -> Coordinator {
    let key = IdentityKey::from_secret_hex(key).expect("a key made by the simulation");
    let setup = Setup { plan: plan.clone(), roster: roster.clone(), key: key.signing_key().clone() };
    Coordinator::recover(setup, journal, now, effects).expect("the journal's own plan and roster")
}

fn artifacts(params: &Params, state: &State) -> Artifacts {
    let bytes = checkpoint::model_bytes(params, &BTreeMap::new());
    let state = state.to_bytes();
    Artifacts {
        model: checkpoint::ModelArtifact {
            file: checkpoint::MODEL_FILE.into(),
            sha256: Digest::sha256(&bytes),
            bytes: bytes.len() as u64,
            params_digest: params.digest(),
        },
        optimizer: Some(checkpoint::OptimizerArtifact {
            file: checkpoint::OPTIMIZER_FILE.into(),
            sha256: Digest::sha256(&state),
            bytes: state.len() as u64,
        }),
    }
}
