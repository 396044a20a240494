//! A whole federation in one thread: what is said to whom, and in which order things happen.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use federation::{Input, RunNumber};
use identity::IdentityKey;
use params::Digest;
use plan::{Plan, Policy, PrivacyMode};
use protocol::{ClientInput, ClientRecord, Coordinator, Participant, Record, Rejection, Timestamp};
use run_status::{RunEntry, Status};
use secagg::ClientId;

use crate::agenda::{Agenda, Event};
use crate::center::Center;
use crate::deceiver::Deceiver;
use crate::faults::{Fate, Faults, Moment, Scripted};
use crate::invariant::Violation;
use crate::liar::{Liars, Lie};
use crate::oracles::Oracles;
use crate::run_files::OpenedSum;
use crate::samples::{author_text, authored, authorised, first_roster};
use crate::silo::Silo;
use crate::trace::{Place, Row, Trace, short};
use crate::twin::{Said, Twin};

/// The wall clock at the start.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
/// A run that takes more events than this goes round in circles.
const EVENTS_MAX: u64 = 2_000_000;

/// A whole federation.
pub struct Federation {
    pub(crate) center: Center,
    pub(crate) silos: BTreeMap<ClientId, Silo>,
    pub(crate) agenda: Agenda,
    /// Milliseconds after the start.
    pub(crate) now_ms: u64,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) faults: Box<dyn Faults>,
    pub(crate) oracle: Oracles,
    pub(crate) trace: Trace,
    /// Set where the coordinator lies.
    pub(crate) deceiver: Option<Deceiver>,
    /// A lying coordinator's second mind, once it has one.
    pub(crate) twin: Option<Twin>,
    pub(crate) rejections: Vec<Rejection>,
    /// How many sessions were opened so far.
    pub(crate) sessions: u64,
    /// When the last message of a connection arrives, in each direction: those after it come later.
    pub(crate) last_arrival: BTreeMap<(ClientId, bool), u64>,
    /// Sessions that are dead and look alive.
    pub(crate) half_open: BTreeSet<u64>,
    /// The coordinator's effects are being performed: what comes up meanwhile waits its turn.
    pub(crate) performing: bool,
    /// Plans whose authors were not answered yet.
    pub(crate) submissions: usize,
    /// Whether silos' daemons end with the run that they joined or refused, as those of one run do.
    pub(crate) one_run: bool,
    events: u64,
}

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
        // The keys come of the seed too: an equal seed replays an equal run to the last byte.
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keys: BTreeMap<ClientId, IdentityKey> =
            (1..=members).map(|id| (ClientId(id), IdentityKey::generate(&mut rng))).collect();
        let coordinator_key = IdentityKey::generate(&mut rng);
        let roster = authorised(&first_roster(&keys, &coordinator_key));
        let silos = keys
            .iter()
            .map(|(id, key)| {
                let mut policy = policy();
                edit(id.0, &mut policy);
                (*id, Silo::new(*id, key.secret_hex().to_string(), roster.clone(), policy))
            })
            .collect();
        let mut oracle = Oracles::default();
        oracle.admits(RunNumber::FIRST, plan.cohort.corrupt);
        let mut federation = Self {
            center: Center::new(authored(plan), roster, coordinator_key.secret_hex().to_string()),
            silos,
            agenda: Agenda::default(),
            now_ms: 0,
            rng,
            faults: Box::new(Scripted(|_: &Moment<'_>| Fate::Pass)),
            oracle,
            trace: Trace::default(),
            deceiver: None,
            twin: None,
            rejections: Vec::new(),
            sessions: 0,
            last_arrival: BTreeMap::new(),
            half_open: BTreeSet::new(),
            performing: false,
            submissions: 0,
            one_run: true,
            events: 0,
        };
        federation.agenda.add(0, Event::StartCoordinator);
        for id in federation.silos.keys() {
            federation.agenda.add(0, Event::StartSilo(*id));
        }
        federation
    }

    /// Of several runs, of which so many are active at one time: the first is of the plan that the federation was made with, the others
    /// come by [`Federation::submitting`]. Silos stay when a run is over or refused, and claim of their balances what a run may cost.
    pub fn with_runs(mut self, active_max: usize) -> Self {
        self.center.active_max = active_max;
        self.one_run = false;
        self
    }

    /// From now on, `faults` decides about each moment.
    pub fn with_faults(self, faults: impl FnMut(&Moment<'_>) -> Fate + 'static) -> Self {
        self.under(Scripted(faults))
    }

    /// The same, for faults that know the time.
    pub(crate) fn under(mut self, faults: impl Faults + 'static) -> Self {
        self.faults = Box::new(faults);
        self
    }

    /// This silo runs a changed program that tells this lie.
    pub fn with_liar(mut self, id: u32, lie: Lie) -> Self {
        let id = ClientId(id);
        self.oracle.lies(id);
        if let Some(silo) = self.silos.get_mut(&id) {
            silo.liar = Some(Liars::new(id, lie));
        }
        self
    }

    /// The coordinator lies, as the seed decides.
    pub fn with_deceiver(mut self, seed: u64) -> Self {
        self.deceiver = Some(Deceiver::new(seed));
        self.oracle.coordinator_lies();
        self
    }

    /// From now on, what happens is kept, for [`Federation::into_trace`].
    pub fn with_trace(mut self) -> Self {
        self.trace = Trace::kept();
        self
    }

    /// Runs until all runs have ended or nothing can happen any more.
    ///
    /// # Panics
    /// When an invariant breaks, or the federation goes round in circles.
    pub fn run(&mut self) {
        self.run_until(u64::MAX);
        if let Some(violation) = self.violation() {
            panic!("{violation}");
        }
    }

    /// The same, but not beyond this many milliseconds, and without panicking at a broken invariant.
    ///
    /// # Panics
    /// When the federation goes round in circles.
    pub fn run_until(&mut self, end_ms: u64) {
        while self.violation().is_none() && !(self.agenda_is_empty() && self.has_ended()) {
            let deadline = self.next_deadline_ms();
            let next = [self.agenda.next_ms(), deadline].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end_ms) else { return };
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "the federation goes round in circles");
            if self.agenda.next_ms() == Some(next) {
                let Some((at, event)) = self.agenda.pop() else { return };
                self.now_ms = at.max(self.now_ms);
                self.happen(event);
            } else {
                self.now_ms = next.max(self.now_ms);
                self.tick();
            }
        }
    }

    /// The same, and then it is that late, whatever happens next.
    ///
    /// # Panics
    /// When the federation goes round in circles.
    pub fn pass_until(&mut self, end_ms: u64) {
        self.run_until(end_ms);
        self.now_ms = self.now_ms.max(end_ms);
    }

    /// A silo's operator changes what it allows; its daemon takes that up while it runs.
    pub fn change_policy(&mut self, id: u32, edit: impl FnOnce(&mut Policy)) {
        let id = ClientId(id);
        let Some(silo) = self.silos.get_mut(&id) else { return };
        edit(&mut silo.policy);
        let policy = Box::new(silo.policy.clone());
        self.note(Place::Silo(id), || "has another policy".into());
        self.silo_input(id, ClientInput::Policy(policy));
    }

    /// The invariant that was broken, if one was.
    pub fn violation(&self) -> Option<&Violation> {
        self.oracle.violation()
    }

    /// What happened, where [`Federation::with_trace`] was asked for.
    pub fn into_trace(self) -> Vec<Row> {
        self.trace.into_rows()
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The coordinator's side of the first run as it is.
    ///
    /// # Panics
    /// While its process is dead.
    pub fn coordinator(&self) -> &Coordinator {
        self.core().run(RunNumber::FIRST).expect("the configured plan's run has begun")
    }

    /// All runs.
    ///
    /// # Panics
    /// While the coordinator's process is dead.
    pub fn runs(&self) -> Vec<RunEntry> {
        self.core().runs()
    }

    /// What an operator sees of a run.
    ///
    /// # Panics
    /// While the coordinator's process is dead, and where there is no such run.
    pub fn status(&self, run: RunNumber) -> Status {
        self.core().status(run).expect("the run has begun")
    }

    fn core(&self) -> &federation::Federation {
        &self.center.process.as_ref().expect("the coordinator's process is dead").core
    }

    /// The runs of the rounds that were committed, in their order.
    pub fn commits(&self) -> &[RunNumber] {
        self.oracle.commits()
    }

    /// Whether the coordinator's process lives and its first run has begun.
    pub fn coordinator_is_up(&self) -> bool {
        self.center.process.as_ref().is_some_and(|process| process.core.default_run().is_some())
    }

    /// What the coordinator's first run is made of.
    pub fn setup(&self) -> protocol::Setup {
        self.center.setup(self.center.first().plan.clone())
    }

    /// A silo's participant, while its process lives.
    pub fn participant(&self, id: u32) -> Option<&Participant> {
        self.silos
            .get(&ClientId(id))
            .and_then(|silo| silo.process.as_ref())
            .map(|process| &process.participant)
    }

    /// A silo's journal.
    pub fn silo_journal(&self, id: u32) -> &[ClientRecord] {
        self.silos.get(&ClientId(id)).map(|silo| silo.acknowledged.as_slice()).unwrap_or_default()
    }

    /// The journal of the first run.
    pub fn journal(&self) -> &[Record] {
        &self.center.first().acknowledged
    }

    /// The journal of any run that there is.
    pub fn journal_of(&self, run: RunNumber) -> Option<&[Record]> {
        self.center.runs.get(&run).map(|run| run.acknowledged.as_slice())
    }

    /// Every sum of the first run that was opened.
    pub fn opened(&self) -> &[OpenedSum] {
        &self.center.first().opened
    }

    /// Every message that the coordinator refused.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Rounds of the first run that were published, with their model's digest.
    pub fn published(&self) -> &BTreeMap<u64, Digest> {
        &self.center.first().published
    }

    fn agenda_is_empty(&self) -> bool {
        self.agenda.next_ms().is_none()
    }

    pub(crate) fn has_ended(&self) -> bool {
        let Some(process) = &self.center.process else { return false };
        let mut runs = process.core.numbers().filter_map(|number| process.core.run(number)).peekable();
        self.submissions == 0 && runs.peek().is_some() && runs.all(|run| run.ended().is_some())
    }

    /// The run of this name; the first where there is none.
    pub(crate) fn number_of(&self, run: Option<&Digest>) -> RunNumber {
        let core = self.center.process.as_ref().map(|process| &process.core);
        core.zip(run).and_then(|(core, run)| core.by_id(run)).unwrap_or(RunNumber::FIRST)
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        let silos = self.silos.values().filter_map(|silo| silo.deadline_ms(START_MS));
        let due = silos.chain(self.center.deadline_ms(START_MS)).min();
        due.map(|due| due.max(self.now_ms))
    }

    fn tick(&mut self) {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= self.now_ms);
        let silos: Vec<ClientId> =
            self.silos.values().filter(|silo| due(silo.deadline_ms(START_MS))).map(|silo| silo.id).collect();
        let center = due(self.center.deadline_ms(START_MS));
        for id in silos {
            self.silo_input(id, ClientInput::Tick);
        }
        if center {
            self.feed(Input::Tick);
            self.center_performs();
            self.twin(|twin, now, rng| twin.tick(now, rng));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(id) => self.connect(id),
            Event::Broken { client, session } => self.broken(client, session),
            Event::ToSilo { to, session, bytes } => self.deliver_to_silo(to, session, &bytes),
            Event::Done { id, life, input } => {
                if self.silos.get(&id).is_some_and(|silo| silo.life == life) {
                    self.silo_input(id, *input);
                }
            }
            Event::UploadAgain { life, job, header } => self.upload_again(life, job, *header),
            Event::StartSilo(id) => self.start_silo(id),
            Event::Operator { run, deed } => self.operate(run, deed),
            Event::Policy { id, refuses } => self.write_policy(id, refuses),
            Event::Submit(plan) => self.submitted(*plan),
            Event::StartCoordinator => self.start_center(),
            for_the_coordinator => {
                self.for_center(for_the_coordinator);
                // Whatever else is here already shares one fsync with it, as in the shell.
                let more = self.faults.batch();
                for _ in 1..more {
                    if !self.agenda.more_for_the_coordinator(self.now_ms) {
                        break;
                    }
                    if let Some((_, event)) = self.agenda.pop() {
                        self.for_center(event);
                    }
                }
                self.center_performs();
            }
        }
    }

    fn for_center(&mut self, event: Event) {
        match event {
            Event::ToCoordinator { from, session, bytes } => self.deliver_to_center(from, session, &bytes),
            Event::Upload { life, job, header } => self.upload_arrives(life, job, *header),
            Event::Opened { life, run, at, result } if life == self.center.life => {
                self.feed(Input::Summed { run, at, result: *result });
            }
            _ => {}
        }
    }

    /// Starts whatever process is dead.
    pub fn start_the_dead(&mut self) {
        if self.center.process.is_none() {
            self.agenda.add(self.now_ms, Event::StartCoordinator);
        }
        for silo in self.silos.values().filter(|silo| !silo.alive()) {
            self.agenda.add(self.now_ms, Event::StartSilo(silo.id));
        }
    }

    /// Lets a lying coordinator's second mind speak, or gives it one.
    pub(crate) fn twin(&mut self, work: impl FnOnce(&mut Twin, Timestamp, &mut ChaCha20Rng) -> Said) {
        let Some(deceiver) = &mut self.deceiver else { return };
        let now = self.center.clock(START_MS, self.now_ms);
        let said = match &mut self.twin {
            Some(twin) => work(twin, now, &mut self.rng),
            None if deceiver.splits() => {
                let audience = deceiver.audience(self.silos.keys().copied());
                let Some((twin, said)) = Twin::of(&self.center, audience, now, &mut self.rng) else { return };
                self.note(Place::Coordinator, || "splits in two".into());
                self.twin = Some(twin);
                said
            }
            None => return,
        };
        for (to, message) in said {
            let session = self.center.process.as_ref().and_then(|process| process.sessions.get(&to)).copied();
            let Some(session) = session else { continue };
            self.note(Place::Coordinator, || {
                format!("says {} to silo {to}, of its other mind", short(&format!("{:?}", message.message)))
            });
            self.transmit(to, session, false, Fate::Pass, wire::to_client_bytes(message));
        }
    }

    pub(crate) fn note(&mut self, place: Place, what: impl FnOnce() -> String) {
        self.trace.note(self.now_ms, place, what);
    }
}

/// The rules of a silo that allows what a simulation asks.
pub(crate) fn policy() -> Policy {
    Policy {
        epsilon_max: 1000.0,
        delta_max: 1e-3,
        privacy_modes: [
            PrivacyMode::Fedavg,
            PrivacyMode::DistributedDpSgd,
            PrivacyMode::DistributedDpFedavg,
            PrivacyMode::SiloDpSgd,
            PrivacyMode::CentralDpFedavg,
        ]
        .into(),
        ..Policy::for_authors([author_text()])
    }
}
