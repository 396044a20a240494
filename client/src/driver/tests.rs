//! The driver, the core and the ledger themselves under a lying coordinator, without a network: a seed decides in which order
//! news, ends of streams and finished jobs come, and what the coordinator says. Whatever the order, what is masked, debited and
//! uploaded was trained on the model and under the plan that its masks are bound to.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use checkpoint::{Manifest, ModelArtifact, SignedManifest};
use identity::{IdentityKey, Member, Roster};
use ledger::Ledger;
use plan::{Contribution, Origin, Plan, Policy, PrivacyMode};
use protocol::{Attempt, SessionVersion};
use published::Version;
use secagg::adversary::mask_any;
use secagg::{Advert, Advertised, ClientId, ExcessNoise, Members, NoiseSeeds, RoundBinding, ShareBundle};
use store::{JournalKind, MemoryStore};
use workshop::TrainingResult;

use super::*;
use crate::jobs::Masked;
use crate::link::Attached;

const SEEDS: u64 = 500;
const STEPS: usize = 80;
const OWN: ClientId = ClientId(1);

/// Hands every assignment to the script, which decides when it is done.
struct Given(Arc<Mutex<Vec<Assignment>>>);

impl Work for Given {
    fn on(&self, assignment: Assignment) -> Pin<Box<dyn Future<Output = Done> + Send>> {
        self.0.lock().unwrap().push(assignment);
        Box::pin(std::future::pending())
    }

    fn run_is_over(&self, _: Digest) {}
}

/// What an update was trained on: the places of its plan and of its model.
type Made = (usize, usize);

struct Exchange {
    at: Attempt,
    adverts: Vec<Advert>,
    peers: BTreeMap<ClientId, Advertised>,
    bound: Made,
}

struct World {
    driver: Driver,
    given: Arc<Mutex<Vec<Assignment>>>,
    /// Done, and not joined yet: giving a job up does not take it back.
    finished: Vec<Done>,
    outbox: Option<mpsc::Receiver<ClientEnvelope>>,
    rng: ChaCha20Rng,
    plans: [Plan; 2],
    chains: [Vec<SignedManifest>; 2],
    /// Every model that a chain names.
    models: Vec<Digest>,
    run: usize,
    at: Attempt,
    exchange: Option<Exchange>,
    /// What each update looks like.
    looks: BTreeMap<Vec<u32>, Made>,
    /// What masks under a transcript are bound to, by the adverts that it was made of.
    bound: BTreeMap<Digest, Made>,
    /// What is under a mask, by the vector's digest.
    masked: BTreeMap<Digest, Made>,
    uploads: usize,
    seed: u64,
}

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

fn roster() -> Roster {
    let text = |byte| hex::encode(key(byte).public().as_bytes());
    let member = |id: u8| Member { name: format!("silo {id}"), identity_key: text(id), admitted: 1 };
    Roster {
        format: None,
        federation: "permuted".into(),
        epoch: 1,
        coordinator_key: text(99),
        members: (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect(),
        previous: None,
    }
}

fn run_id(run: usize) -> Digest {
    Digest::sha256(&run.to_le_bytes())
}

fn driver(folder: &Path, given: &Arc<Mutex<Vec<Assignment>>>) -> Driver {
    let profile = Profile {
        id: OWN,
        identity: key(1),
        authority: sim::authority().public(),
        roster: sim::authorised(&roster()),
        policy: Policy {
            delta_max: 1e-5,
            privacy_modes: [PrivacyMode::Fedavg].into(),
            repeats_without_dp: u32::MAX,
            repeats_per_plan: Some(1 << 30),
            ..Policy::for_authors([sim::author_text()])
        },
        declares_data: false,
        sandbox: None,
    };
    let ledger = Ledger::new(&folder.join("ledger"), "silo", None, None).unwrap();
    Driver::open(Parts {
        spending: UncheckedSpending::new(ledger, &profile.identity, &profile.policy, || 1),
        store: Box::new(MemoryStore::new(JournalKind::Client)),
        state: folder.to_owned(),
        patience: Patience::default(),
        work: Box::new(Given(Arc::clone(given))),
        alarm: Alarm::new(folder, || 1),
        news: mpsc::channel(1).1,
        offers: Offers::new(folder),
        policies: mpsc::channel(1).1,
        departures: Departures::open(folder, &profile).unwrap(),
        lookout: Lookout {
            roster: watch::channel(Arc::new(profile.roster.clone())).0,
            seen: mpsc::channel(1).1,
            prompt: watch::channel(Prompt::default()).0,
        },
        one_run: false,
        profile,
    })
    .unwrap()
}

impl World {
    fn new(folder: &Path, seed: u64) -> Self {
        let mut plan = sim::plan(3, 1_000);
        plan.timing.ready_after_ms = 0;
        let mut other = plan.clone();
        other.training.learning_rate *= 2.0;
        let given = Arc::default();
        Self {
            driver: driver(folder, &given),
            given,
            finished: Vec::new(),
            outbox: None,
            rng: ChaCha20Rng::seed_from_u64(seed),
            models: vec![plan.initial_model().digest()],
            plans: [plan, other],
            chains: [Vec::new(), Vec::new()],
            run: 0,
            // Ahead of every record: nobody takes part in a round that the chain has passed.
            at: Attempt { round: 1 + STEPS as u64, attempt: 1 },
            exchange: None,
            looks: BTreeMap::new(),
            bound: BTreeMap::new(),
            masked: BTreeMap::new(),
            uploads: 0,
            seed,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end.max(1)
    }

    fn take(&mut self, event: Event) {
        self.driver.take(event).unwrap();
    }

    fn say(&mut self, message: ToClient) {
        self.take(Event::News(News::Said(Box::new(OfRun::from(message)))));
    }

    fn step(&mut self) {
        match self.below(40) {
            0 => self.burst(),
            1 => self.publish(),
            2 => {
                self.outbox = None;
                self.take(Event::News(News::Detached));
            }
            3 | 4 if self.outbox.is_none() => self.attach(),
            3..=8 => self.open(),
            9..=16 => self.finish(),
            17..=26 => {
                if !self.finished.is_empty() {
                    let nth = self.below(self.finished.len());
                    let done = self.finished.remove(nth);
                    self.take(Event::Done(Ok(done)));
                }
            }
            27 => self.take(Event::Tick),
            _ => {
                self.driver.perform().unwrap();
                self.hear();
            }
        }
    }

    /// Another run or another model, and the end of the stream, in one breath: nothing is joined in between.
    fn burst(&mut self) {
        if self.below(2) == 0 {
            self.welcome();
        } else {
            self.publish();
            self.at.attempt += 1;
        }
        let Some(newest) = self.chains[self.run].last() else { return };
        let model = Manifest::from_bytes(&newest.manifest_bytes).unwrap().model.params_digest;
        self.say(ToClient::Open { at: self.at, model });
        self.outbox = None;
        self.take(Event::News(News::Detached));
        self.attach();
    }

    fn attach(&mut self) {
        let (outbox, heard) = mpsc::channel(1 << 10);
        self.outbox = Some(heard);
        let version = SessionVersion::OLDEST;
        self.take(Event::News(News::Attached(Attached { outbox, give_up: Arc::default(), version })));
    }

    fn welcome(&mut self) {
        self.run = self.below(2);
        self.say(sim::welcome(run_id(self.run), &self.plans[self.run], &roster()));
        if self.chains[self.run].is_empty() {
            self.publish();
        } else {
            self.chains[self.run]
                .clone()
                .into_iter()
                .for_each(|record| self.say(ToClient::Published(record)));
        }
    }

    /// The next record of the chain; its model is the coordinator's to invent.
    fn publish(&mut self) {
        let parent = self.chains[self.run].last().cloned();
        let before = parent.as_ref().map(|record| Manifest::from_bytes(&record.manifest_bytes).unwrap());
        let round = before.as_ref().map_or(0, |before| before.round + 1);
        let model = match round {
            0 => self.models[0],
            _ => Digest::sha256(&self.rng.next_u64().to_le_bytes()),
        };
        if !self.models.contains(&model) {
            self.models.push(model);
        }
        let plan = &self.plans[self.run];
        let manifest = Manifest {
            run_id: run_id(self.run),
            run_name: plan.name.clone(),
            parent: parent.map(|record| record.digest()),
            plan_digest: plan.digest(),
            roster_digest: roster().digest(),
            parent_model: before.map(|before| before.model.params_digest),
            model: ModelArtifact::of(b"file", model),
            aggregate_digest: (round > 0).then(|| Digest::sha256(b"sum")),
            public_key: checkpoint::public_key_text(&key(99).public()),
            ..checkpoint::samples::bare(round)
        };
        let record = SignedManifest::sign(&manifest, key(99).signing_key()).unwrap();
        self.chains[self.run].push(record.clone());
        self.say(ToClient::Published(record));
    }

    /// Mostly the newest model, mostly an attempt that was opened before.
    fn open(&mut self) {
        match self.below(16) {
            0 => self.at = Attempt { round: self.at.round + 1, attempt: 1 },
            1 => self.at.attempt += 1,
            _ => {}
        }
        let any = self.below(20 * self.models.len());
        let Some(newest) = self.chains[self.run].last() else { return };
        let newest = Manifest::from_bytes(&newest.manifest_bytes).unwrap().model.params_digest;
        let model = self.models.get(any).copied().unwrap_or(newest);
        self.say(ToClient::Open { at: self.at, model });
    }

    /// An assignment is done, whether it was given up meanwhile or not.
    fn finish(&mut self) {
        let count = self.given.lock().unwrap().len();
        if count == 0 {
            return;
        }
        // Mostly the oldest first; the newest training may be held up for long, as its files are the coordinator's to send.
        let nth = self.below(count).min(self.below(count));
        let is_training = |given: &Assignment| matches!(given, Assignment::Train { .. });
        let newest = self.given.lock().unwrap().iter().rposition(is_training);
        if self.seed % 2 == 1 && newest == Some(nth) && self.below(6) > 0 {
            return;
        }
        let assignment = self.given.lock().unwrap().remove(nth);
        let done = match assignment {
            Assignment::Read { .. } => panic!("this silo tells nothing of its data"),
            Assignment::Step { job, .. } => {
                let params = self.plans[0].initial_model();
                let state = self.plans[0].initial_state(params.values().len());
                let (record, plan, round) = (job.record, job.plan.digest(), job.manifest.round);
                Done::Stepped { record, plan, round, result: Ok(Version { params, state }) }
            }
            Assignment::Train { job, .. } => {
                let made = self.made(job.plan.digest(), job.head.model.params_digest);
                self.looks.insert(plain(&self.plans[made.0], made, job.origin()), made);
                let contribution = trained(&self.plans[made.0], made, job.origin());
                let made = TrainingResult {
                    contribution,
                    stand_in: None,
                    data_version: None,
                    empty: false,
                    failed: None,
                };
                let result = Ok(made);
                Done::Trained { job: job.id, at: job.at, version: None, result }
            }
            Assignment::Mask { made, job } => {
                let (name, at) = (job.id, job.at);
                let result = match made.map(|made| made.contribution) {
                    None => Err("nothing is held".into()),
                    Some(contribution) => {
                        let origin = contribution.origin();
                        let lanes = lanes_of(&job.plan, contribution);
                        let made = self.looks[&lanes];
                        let masked = mask_any(job.masking, lanes);
                        self.masked.insert(Digest::from_bytes(masked.digest()), made);
                        Ok(Masked { origin, vector: masked, failed: None })
                    }
                };
                Done::Masked { job: name, at, result }
            }
            Assignment::Upload { header: OfRun { message: header, .. }, masked, .. } => {
                self.uploaded(&header, &masked);
                Done::Uploaded { at: header.at, result: Ok(()) }
            }
        };
        self.finished.push(done);
    }

    fn made(&self, plan: Digest, model: Digest) -> Made {
        let plan = self.plans.iter().position(|known| known.digest() == plan).unwrap();
        (plan, self.models.iter().position(|known| *known == model).unwrap())
    }

    /// The invariant.
    fn uploaded(&mut self, header: &UploadHeader, masked: &MaskedUpdate) {
        assert_eq!(header.digest.as_bytes(), &masked.digest());
        let (bound, made) = (self.bound[&header.r2], self.masked[&header.digest]);
        assert_eq!(
            made, bound,
            "seed {}: (plan, model) that was trained on beside what the masks are bound to",
            self.seed
        );
        let account = self.driver.spending.account().unwrap();
        let release = account.entries().iter().filter_map(|entry| entry.release());
        let release = release.into_iter().find(|release| release.upload == header.digest).unwrap();
        assert_eq!(self.made(release.plan, release.model), made, "as it is debited");
        self.uploads += 1;
    }

    fn hear(&mut self) {
        while let Some(said) = self.outbox.as_mut().and_then(|outbox| outbox.try_recv().ok()) {
            match ToCoordinator::try_from(said).unwrap() {
                ToCoordinator::Advertise { at, advert } => self.advertised(at, advert),
                ToCoordinator::ShareKeys { at, bundle } => self.shared(at, bundle),
                _ => {}
            }
        }
    }

    /// Finds out what the keys are bound to, and goes on with two silos that are bound to the same.
    fn advertised(&mut self, at: Attempt, advert: Advert) {
        let members: Members = roster().member_keys().unwrap();
        let candidates = (0..2).flat_map(|plan| (0..self.models.len()).map(move |model| (plan, model)));
        let context = |(plan, model): Made| {
            RoundBinding {
                run_id: *run_id(plan).as_bytes(),
                plan_hash: *self.plans[plan].digest().as_bytes(),
                roster_hash: *roster().digest().as_bytes(),
                round: at.round,
                attempt: at.attempt,
                model_hash: *self.models[model].as_bytes(),
            }
            .ctx0()
        };
        let fits =
            |made: &Made| secagg::verify_advert(context(*made), &advert, &members, ExcessNoise::Kept).is_ok();
        let bound = candidates.into_iter().find(fits).expect("bound to a model that was published");
        let context = context(bound);
        if self.exchange.as_ref().is_some_and(|exchange| exchange.adverts[0] == advert) {
            return;
        }
        let (mut adverts, mut peers) = (vec![advert], BTreeMap::new());
        for byte in 2..=3 {
            let id = ClientId(u32::from(byte));
            let identity = key(byte);
            let (peer, advert) =
                Advertised::new(id, context, ExcessNoise::Kept, identity.signing_key(), &mut self.rng);
            adverts.push(advert);
            peers.insert(id, peer);
        }
        self.exchange = Some(Exchange { at, adverts: adverts.clone(), peers, bound });
        self.say(ToClient::Adverts { at, adverts });
    }

    fn shared(&mut self, at: Attempt, bundle: ShareBundle) {
        let Some(Exchange { adverts, peers, bound, .. }) =
            self.exchange.take_if(|exchange| exchange.at == at && !exchange.peers.is_empty())
        else {
            return;
        };
        let (members, floors) = (roster().member_keys().unwrap(), self.plans[bound.0].floors());
        let (mut bundles, mut cohort) = (BTreeMap::from([(OWN, bundle)]), None);
        for (id, peer) in peers {
            let identity = key(id.0 as u8);
            let (sent, bundle) = peer
                .accept_adverts(&adverts, &members, &floors, identity.signing_key(), &mut self.rng)
                .unwrap();
            bundles.insert(id, bundle);
            cohort = Some(sent.cohort().clone());
        }
        // Shares for another advert of the same attempt are no part of this cohort.
        let Ok(shared) = cohort.unwrap().fix_u2(&bundles) else { return };
        self.bound.insert(Digest::from_bytes(shared.r2().0), bound);
        self.say(ToClient::Deliver { at, delivery: shared.delivery_for(OWN).unwrap() });
    }
}

/// An update that looks like no other one's.
fn trained(plan: &Plan, made: Made, origin: Origin) -> Contribution {
    let mark = Attempt { round: made.0 as u64, attempt: 1 };
    Contribution::new(origin, sim::contribute(plan, ClientId(made.1 as u32 + 1), mark))
}

fn plain(plan: &Plan, made: Made, origin: Origin) -> Vec<u32> {
    lanes_of(plan, trained(plan, made, origin))
}

/// As the mode without noise rounds it, whatever masks it is meant for.
fn lanes_of(plan: &Plan, contribution: Contribution) -> Vec<u32> {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let origin = contribution.origin();
    let seeds = NoiseSeeds::nobody_drops(3);
    plan.mechanism().unwrap().protect(contribution, origin, &seeds, &mut rng).unwrap().into_plain_lanes()
}

/// In memory where there is such a place: nothing here is about disks.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_uploaded_and_debited_was_made_from_what_its_masks_are_bound_to_in_whatever_order_all_comes()
{
    let mut uploads = 0;
    for seed in 0..SEEDS {
        let folder = scratch();
        let mut world = World::new(folder.path(), seed);
        world.attach();
        world.welcome();
        for _ in 0..STEPS {
            world.step();
            if world.driver.ended.is_some() {
                break;
            }
        }
        uploads += world.uploads;
    }
    assert!(uploads > 50, "{uploads} uploads in {SEEDS} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_looked_at_when_a_session_begins_and_when_a_round_does() {
    let folder = scratch();
    let mut world = World::new(folder.path(), 0);
    let mut prompt = world.driver.prompt.subscribe();
    world.attach();
    assert!(prompt.has_changed().unwrap());
    world.welcome();
    world.driver.perform().unwrap();
    prompt.mark_unchanged();
    world.say(ToClient::Open { at: world.at, model: world.models[0] });
    world.driver.perform().unwrap();
    assert!(prompt.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_the_daemon_is_not_taken_back_by_the_end_of_a_run_that_is_heard_with_it() {
    let folder = scratch();
    let mut driver = driver(folder.path(), &Arc::default());
    driver.take(Event::Seen(Seen::Contradiction("two histories".into()))).unwrap();
    let reason = protocol::RunEnd::Complete;
    driver.take(Event::News(News::Said(Box::new(OfRun::from(ToClient::Finished { reason }))))).unwrap();
    assert!(matches!(&driver.ended, Some(Err(RunError::History(_)))), "{:?}", driver.ended);
}
