//! One real participant among peers made of `secagg`'s own types; the test itself is the coordinator.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{Manifest, ModelArtifact, SignedManifest};
use ed25519_dalek::SigningKey;
use identity::{IdentityKey, Member, Roster};
use params::Digest;
use plan::{Origin, Plan, Policy, PrivacyMode};
use protocol::{
    Attempt, ClaimAnswer, ClientEffect, ClientEffects, ClientInput, ClientRecord, Decline, JobId, MaskJob,
    OfRun, Participant, ParticipantError, Profile, Timestamp, ToClient, ToCoordinator, TrainOutcome,
    UploadHeader, Vector,
};
use secagg::adversary::mask_any;
use secagg::{
    Advert, Advertised, ClientId, FixedCohort, HeldShares, IncludedSignature, RoundBinding, ShareBundle,
    SharedCohort, SharesSent, SignedIncluded,
};

pub(crate) const OWN: ClientId = ClientId(1);
pub(crate) const AT: Attempt = Attempt { round: 1, attempt: 1 };
const MEMBERS: u32 = 4;
/// What a silo that declares its data says of its trainers.
pub(crate) const SEALED: &str = "required: landlock 7, seccomp 3f2a90c1d4e5, namespaces";

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) roster: Roster,
    pub(crate) run: Digest,
    pub(crate) participant: Participant,
    /// The jobs of each kind that the silo has asked for.
    pub(crate) trainings: Vec<(JobId, Origin)>,
    pub(crate) maskings: Vec<(JobId, Origin)>,
    pub(crate) readings: Vec<JobId>,
    /// Every record persisted so far.
    pub(crate) journal: Vec<ClientRecord>,
    /// Answers to the claim of a run, where the balance may be looked at or not.
    pub(crate) ledger: Box<dyn FnMut(Digest, bool) -> ClaimAnswer>,
    policy: Policy,
    keys: BTreeMap<ClientId, SigningKey>,
    coordinator_key: SigningKey,
    pub(crate) now: Timestamp,
    rng: ChaCha20Rng,
}

/// Everyone has advertised.
pub(crate) struct Keyed {
    pub(crate) adverts: Vec<Advert>,
    peers: BTreeMap<ClientId, Advertised>,
}

/// Everyone has accepted the roster and dealt shares.
pub(crate) struct Dealt {
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
    pub(crate) cohort: FixedCohort,
    peers: BTreeMap<ClientId, SharesSent>,
}

/// Everyone in U2 has its shares; the participant has been asked to mask.
pub(crate) struct Delivered {
    pub(crate) shared: SharedCohort,
    pub(crate) mask: Box<MaskJob>,
    peers: BTreeMap<ClientId, HeldShares>,
}

/// The participant's vector is on its way.
pub(crate) struct Uploaded {
    pub(crate) shared: SharedCohort,
    pub(crate) header: UploadHeader,
    peers: BTreeMap<ClientId, HeldShares>,
}

/// Everyone has signed the included set.
pub(crate) struct Agreed {
    pub(crate) included: Vec<ClientId>,
    pub(crate) signatures: Vec<IncludedSignature>,
}

/// What the silos of these tests allow.
pub(crate) fn policy() -> Policy {
    Policy {
        epsilon_max: 5.0,
        delta_max: 1e-5,
        privacy_modes: [PrivacyMode::Fedavg, PrivacyMode::DistributedDpSgd].into(),
        ..Policy::for_authors([sim::author_text()])
    }
}

pub(crate) fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<ClientId> {
    numbers.into_iter().map(ClientId).collect()
}

impl World {
    /// Not welcomed yet.
    pub(crate) fn new(plan: Plan, policy: Policy) -> Self {
        let coordinator_key = SigningKey::from_bytes(&[99; 32]);
        let keys: BTreeMap<ClientId, SigningKey> =
            (1..=MEMBERS).map(|id| (ClientId(id), SigningKey::from_bytes(&[id as u8; 32]))).collect();
        let member = |id: &ClientId, key: &SigningKey| Member {
            name: format!("silo {id}"),
            identity_key: hex::encode(key.verifying_key().as_bytes()),
            admitted: 1,
        };
        let roster = Roster {
            format: None,
            previous: None,
            federation: "attacked".into(),
            epoch: 1,
            coordinator_key: hex::encode(coordinator_key.verifying_key().as_bytes()),
            members: keys.iter().map(|(id, key)| (*id, member(id, key))).collect(),
        };
        Self {
            participant: recovered(&roster, &policy, &keys[&OWN], &[]),
            plan,
            roster,
            run: Digest::sha256(b"run"),
            trainings: Vec::new(),
            maskings: Vec::new(),
            readings: Vec::new(),
            journal: Vec::new(),
            ledger: Box::new(|_, _| ClaimAnswer::Held),
            policy,
            keys,
            coordinator_key,
            now: Timestamp(1_700_000_000_000),
            rng: ChaCha20Rng::from_seed([5; 32]),
        }
    }

    /// Not welcomed yet, and of those who tell of their data.
    pub(crate) fn telling() -> Self {
        let mut world = Self::new(sim::plan(MEMBERS as usize, 9), policy());
        let profile = profile(&world.roster, &world.policy, &world.keys[&OWN]);
        let sandbox = Some(SEALED.parse().unwrap());
        let profile = Profile { declares_data: true, sandbox, ..profile };
        world.participant = Participant::recover(profile, &[]).unwrap();
        world
    }

    /// In a run of `sim::plan`, with its genesis record.
    pub(crate) fn in_a_run() -> Self {
        let mut world = Self::new(sim::plan(MEMBERS as usize, 9), policy());
        world.join();
        world
    }

    /// Says the welcome and the genesis record.
    pub(crate) fn join(&mut self) {
        let checked_in = self.say(self.welcome());
        assert!(matches!(messages(&checked_in)[..], [ToCoordinator::CheckIn { .. }]), "{checked_in:?}");
        let genesis = self.signed(&self.genesis());
        assert!(messages(&self.say(ToClient::Published(genesis))).is_empty());
    }

    /// The process is killed and started again from its journal's bytes.
    pub(crate) fn restart(&mut self) {
        let decoded = |record: &ClientRecord| ClientRecord::decode(&record.encode()).unwrap();
        let journal: Vec<ClientRecord> = self.journal.iter().map(decoded).collect();
        self.participant = recovered(&self.roster, &self.policy, &self.keys[&OWN], &journal);
    }

    /// What a silo of this journal makes of another pinned roster.
    pub(crate) fn recover_pinning(&self, roster: &Roster) -> Result<Participant, ParticipantError> {
        Participant::recover(profile(roster, &self.policy, &self.keys[&OWN]), &self.journal)
    }

    /// [`World::restart`], of those who tell of their data.
    pub(crate) fn restart_telling(&mut self) {
        self.restart();
        let profile = profile(&self.roster, &self.policy, &self.keys[&OWN]);
        self.participant =
            Participant::recover(Profile { declares_data: true, ..profile }, &self.journal).unwrap();
    }

    pub(crate) fn say(&mut self, message: ToClient) -> ClientEffects {
        self.input(ClientInput::Message(OfRun::from(message)))
    }

    /// What it comes to. A claim that the silo asks for is answered at once, and is not among it.
    pub(crate) fn input(&mut self, input: ClientInput) -> ClientEffects {
        let (mut effects, mut asked) = (ClientEffects::new(), ClientEffects::new());
        self.participant.handle(self.now, &mut self.rng, input, &mut asked);
        while !asked.is_empty() {
            for effect in std::mem::take(&mut asked) {
                let ClientEffect::Claim { run, may_look, .. } = effect else {
                    effects.push(effect);
                    continue;
                };
                let answer = (self.ledger)(run, may_look);
                let claimed = ClientInput::Claimed { run, answer };
                self.participant.handle(self.now, &mut self.rng, claimed, &mut asked);
            }
        }
        for effect in &effects {
            match effect {
                ClientEffect::Persist(record) => self.journal.push(record.clone()),
                ClientEffect::Train(job) => self.trainings.push((job.id, job.origin())),
                ClientEffect::Mask(job) => self.maskings.push((job.id, job.origin)),
                ClientEffect::ReadData { job, .. } => self.readings.push(*job),
                _ => {}
            }
        }
        effects
    }

    /// The newest training is done.
    pub(crate) fn trained(&self) -> ClientInput {
        let (job, origin) = *self.trainings.last().unwrap();
        ClientInput::Trained { job, outcome: TrainOutcome::Ready { origin } }
    }

    /// The newest vector is masked.
    pub(crate) fn masked(&self, digest: Digest) -> ClientInput {
        let (job, origin) = *self.maskings.last().unwrap();
        ClientInput::Masked { job, vector: Some(Vector { origin, digest, failed: false }) }
    }

    /// [`World::say`], by a coordinator of several runs.
    pub(crate) fn say_of(&mut self, run: Digest, message: ToClient) -> ClientEffects {
        self.input(ClientInput::Message(OfRun { run: Some(run), message }))
    }

    /// The newest table is read.
    pub(crate) fn read(&self, commitment: Option<Digest>) -> ClientInput {
        ClientInput::DataRead { job: *self.readings.last().unwrap(), commitment }
    }

    /// From here on the silo's machine draws other numbers.
    pub(crate) fn reseed(&mut self, byte: u8) {
        self.rng = ChaCha20Rng::from_seed([byte; 32]);
    }

    pub(crate) fn welcome(&self) -> ToClient {
        sim::welcome(self.run, &self.plan, &self.roster)
    }

    /// A welcome under a roster that an authority of somebody else's has signed.
    pub(crate) fn refused_welcome(&self) -> ToClient {
        let roster = Box::new(self.roster.sign(&sim::author()));
        let ToClient::Welcome { run_id, plan, .. } = self.welcome() else { unreachable!() };
        ToClient::Welcome { run_id, plan, roster, between: vec![] }
    }

    pub(crate) fn open(&self, at: Attempt) -> ToClient {
        ToClient::Open { at, model: self.model() }
    }

    /// The model of the genesis record.
    pub(crate) fn member_key(&self, id: u32) -> [u8; 32] {
        self.keys[&ClientId(id)].verifying_key().to_bytes()
    }

    pub(crate) fn model(&self) -> Digest {
        self.plan.starts_from()
    }

    pub(crate) fn signed(&self, manifest: &Manifest) -> SignedManifest {
        SignedManifest::sign(manifest, &self.coordinator_key).unwrap()
    }

    pub(crate) fn genesis(&self) -> Manifest {
        Manifest {
            run_id: self.run,
            run_name: self.plan.name.clone(),
            attempt: 0,
            plan_digest: self.plan.digest(),
            roster_digest: self.roster.digest(),
            model: ModelArtifact::of(b"model", self.model()),
            created_ms: self.now.0,
            public_key: checkpoint::public_key_text(&self.coordinator_key.verifying_key()),
            ..checkpoint::samples::bare(0)
        }
    }

    /// Opens [`AT`] and lets everyone advertise.
    pub(crate) fn advertise(&mut self) -> Keyed {
        let opened = self.say(self.open(AT));
        assert!(matches!(opened[..], [ClientEffect::Train(_)]), "{opened:?}");
        assert!(messages(&self.input(self.trained())).is_empty());
        self.now = self.participant.deadline().unwrap();
        let advertised = self.input(ClientInput::Tick);
        let own = match &advertised[..] {
            [ClientEffect::Persist(ClientRecord::Advertised { at: AT }), ClientEffect::Send(said)] => {
                match &said.message {
                    ToCoordinator::Advertise { at: AT, advert } => advert.clone(),
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("keys leave before it is written that they did: {other:?}"),
        };
        let context = RoundBinding {
            run_id: *self.run.as_bytes(),
            plan_hash: *self.plan.digest().as_bytes(),
            roster_hash: *self.roster.digest().as_bytes(),
            round: AT.round,
            attempt: AT.attempt,
            model_hash: *self.model().as_bytes(),
        }
        .ctx0();
        let mut keyed = Keyed { adverts: vec![own], peers: BTreeMap::new() };
        for (id, key) in self.keys.iter().filter(|(id, _)| **id != OWN) {
            let (peer, advert) = Advertised::new(*id, context, self.plan.excess_noise(), key, &mut self.rng);
            keyed.peers.insert(*id, peer);
            keyed.adverts.push(advert);
        }
        keyed
    }

    /// Everyone accepts the one roster.
    pub(crate) fn share(&mut self, keyed: Keyed) -> Dealt {
        let effects = self.say(ToClient::Adverts { at: AT, adverts: keyed.adverts.clone() });
        let own = match &messages(&effects)[..] {
            [ToCoordinator::ShareKeys { at: AT, bundle }] => bundle.clone(),
            other => panic!("{other:?}"),
        };
        let members = self.roster.member_keys().unwrap();
        let floors = self.plan.floors();
        let mut bundles = BTreeMap::from([(OWN, own)]);
        let (mut peers, mut cohort) = (BTreeMap::new(), None);
        for (id, peer) in keyed.peers {
            let (sent, bundle) = peer
                .accept_adverts(&keyed.adverts, &members, &floors, &self.keys[&id], &mut self.rng)
                .unwrap();
            cohort = Some(sent.cohort().clone());
            peers.insert(id, sent);
            bundles.insert(id, bundle);
        }
        Dealt { bundles, cohort: cohort.unwrap(), peers }
    }

    /// The bundles of `silent` never arrive; all others take delivery.
    pub(crate) fn deliver(&mut self, mut dealt: Dealt, silent: &[u32]) -> Delivered {
        dealt.bundles.retain(|id, _| !silent.contains(&id.0));
        let shared = dealt.cohort.fix_u2(&dealt.bundles).unwrap();
        let delivery = shared.delivery_for(OWN).unwrap();
        let effects = self.say(ToClient::Deliver { at: AT, delivery });
        let mask = match effects.into_iter().next() {
            Some(ClientEffect::Mask(job)) => job,
            other => panic!("{other:?}"),
        };
        let mut peers = BTreeMap::new();
        for (id, peer) in dealt.peers.into_iter().filter(|(id, _)| dealt.bundles.contains_key(id)) {
            let delivery = shared.delivery_for(id).unwrap();
            peers.insert(id, peer.accept_delivery(&delivery, &self.keys[&id]).unwrap().1);
        }
        Delivered { shared, mask, peers }
    }

    /// The participant masks zeros, and says that it will upload them.
    pub(crate) fn upload(&mut self, delivered: Delivered) -> Uploaded {
        let masked = mask_any(delivered.mask.masking, vec![0; self.plan.lanes()]);
        let digest = Digest::from_bytes(masked.digest());
        let header = match &self.input(self.masked(digest))[..] {
            [
                ClientEffect::Persist(ClientRecord::SetsFixed { at: AT, .. }),
                ClientEffect::Persist(ClientRecord::Debited { at: AT, .. }),
                ClientEffect::Upload(said),
            ] => said.message.clone(),
            other => panic!("an upload starts before its debit is durable: {other:?}"),
        };
        Uploaded { shared: delivered.shared, header, peers: delivered.peers }
    }

    /// Everyone, the participant included, signs the whole of U2.
    pub(crate) fn agree(&mut self, uploaded: Uploaded) -> Agreed {
        let set: BTreeSet<ClientId> = uploaded.shared.u2();
        let included: Vec<ClientId> = set.iter().copied().collect();
        let own = match &self.say(ToClient::Included { at: AT, included: included.clone() })[..] {
            [
                ClientEffect::Persist(ClientRecord::SignedIncluded { at: AT, .. }),
                ClientEffect::Send(said),
            ] => match said.message {
                ToCoordinator::SignIncluded { at: AT, signature } => signature,
                ref other => panic!("{other:?}"),
            },
            other => panic!("a set is signed before it is written that it was: {other:?}"),
        };
        let mut signatures = vec![own];
        for (id, held) in uploaded.peers {
            let (_, signature): (SignedIncluded, _) = held.sign_included(&set, &self.keys[&id]).unwrap();
            signatures.push(signature);
        }
        Agreed { included, signatures }
    }

    pub(crate) fn keyed() -> (Self, Keyed) {
        let mut world = Self::in_a_run();
        let keyed = world.advertise();
        (world, keyed)
    }

    pub(crate) fn dealt() -> (Self, Dealt) {
        let (mut world, keyed) = Self::keyed();
        let dealt = world.share(keyed);
        (world, dealt)
    }

    pub(crate) fn delivered() -> (Self, Delivered) {
        let (mut world, dealt) = Self::dealt();
        let delivered = world.deliver(dealt, &[]);
        (world, delivered)
    }

    pub(crate) fn uploaded() -> (Self, Uploaded) {
        let (mut world, delivered) = Self::delivered();
        let uploaded = world.upload(delivered);
        (world, uploaded)
    }

    pub(crate) fn agreed() -> (Self, Agreed) {
        let (mut world, uploaded) = Self::uploaded();
        let agreed = world.agree(uploaded);
        (world, agreed)
    }
}

impl Agreed {
    pub(crate) fn request(&self) -> ToClient {
        self.request_with(self.signatures.clone())
    }

    pub(crate) fn request_with(&self, signatures: Vec<IncludedSignature>) -> ToClient {
        ToClient::UnmaskRequest { at: AT, included: self.included.clone(), signatures }
    }
}

pub(crate) fn messages(effects: &[ClientEffect]) -> Vec<&ToCoordinator> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            ClientEffect::Send(said) => Some(&said.message),
            _ => None,
        })
        .collect()
}

/// The refusal is all that is said, and nothing but wiping goes with it: no debit, no upload, no signature.
pub(crate) fn assert_refuses(effects: &[ClientEffect], round: Option<u64>, reason: Decline, case: &str) {
    assert_eq!(messages(effects), [&ToCoordinator::Declined { round, reason }], "{case}");
    for effect in effects {
        assert!(matches!(effect, ClientEffect::Send(_) | ClientEffect::Forget(_)), "{case}: {effect:?}");
    }
}

fn recovered(roster: &Roster, policy: &Policy, key: &SigningKey, journal: &[ClientRecord]) -> Participant {
    Participant::recover(profile(roster, policy, key), journal).unwrap()
}

fn profile(roster: &Roster, policy: &Policy, key: &SigningKey) -> Profile {
    let identity = IdentityKey::from_secret_hex(&hex::encode(key.to_bytes())).unwrap();
    let authority = sim::authority().public();
    let roster = sim::authorised(roster);
    Profile {
        id: OWN,
        identity,
        authority,
        roster,
        policy: policy.clone(),
        declares_data: false,
        sandbox: None,
    }
}
