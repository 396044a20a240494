//! Whose turn it is among the runs of a federation, where nothing but sessions, time and operators move them.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::Rng, rand_core::SeedableRng};
use checkpoint::{ModelArtifact, OptimizerArtifact};
use federation::{Effect, Effects, Federation, Input, RunNumber};
use identity::{AuthorisedRoster, IdentityKey, Member, Roster};
use params::Digest;
use plan::Plan;
use protocol::{
    Act, Artifacts, OfRun, Record, Rejection, RunEnd, SessionVersion, Setup, Timestamp, ToClient,
    ToCoordinator,
};
use run_status::{RunEntry, RunState};
use secagg::ClientId;

const FIRST: RunNumber = RunNumber::FIRST;

/// A coordinator of several runs, and silos that check in to whatever they are welcomed to and say nothing more: each attempt
/// ends by its time.
struct Desk {
    federation: Federation,
    active_max: usize,
    plans: BTreeMap<RunNumber, Plan>,
    journals: BTreeMap<RunNumber, Vec<Record>>,
    roster: AuthorisedRoster,
    key: IdentityKey,
    rng: ChaCha20Rng,
    now: Timestamp,
    here: BTreeSet<ClientId>,
    /// Never done with reading its data.
    slow: Option<ClientId>,
    /// Each attempt that was opened, with its cohort.
    opened: Vec<(RunNumber, Vec<ClientId>)>,
}

fn silos(count: u32) -> impl Iterator<Item = ClientId> {
    (1..=count).map(ClientId)
}

fn unpack(plans: &[Plan]) -> BTreeMap<RunNumber, Plan> {
    let named = |(number, plan): (u32, &Plan)| {
        (RunNumber(number), Plan { name: format!("plan {number}"), ..plan.clone() })
    };
    (1..).zip(plans).map(named).collect()
}

impl Desk {
    /// With these plans submitted, and this many members, none of whom is here.
    fn new(plans: &[Plan], members: u32, active_max: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(u64::from(members));
        let key = IdentityKey::generate(&mut rng);
        let text = |key: &IdentityKey| hex::encode(key.public().as_bytes());
        let mut member = |id: ClientId| {
            let identity_key = text(&IdentityKey::generate(&mut rng));
            (id, Member { name: format!("silo {id}"), identity_key, admitted: 1 })
        };
        let members = silos(members).map(&mut member).collect();
        let coordinator_key = text(&key);
        let federation = "taking turns".into();
        let roster = Roster { format: None, previous: None, federation, epoch: 1, coordinator_key, members };
        let now = Timestamp(1_700_000_000_000);
        let mut desk = Self {
            federation: Federation::recover(Vec::new(), active_max, now, &mut Effects::new()).unwrap(),
            active_max,
            plans: unpack(plans),
            journals: BTreeMap::new(),
            roster: sim::authorised(&roster),
            key,
            rng,
            now,
            here: BTreeSet::new(),
            slow: None,
            opened: Vec::new(),
        };
        for number in desk.plans.keys().copied().collect::<Vec<_>>() {
            let input = Input::Submit {
                number,
                setup: Box::new(desk.setup(number)),
                genesis: genesis(&desk.plans[&number]),
                by: format!("author {}", number.0),
            };
            desk.input(input).unwrap();
        }
        desk
    }

    fn setup(&self, number: RunNumber) -> Setup {
        Setup {
            plan: sim::authored(self.plans[&number].clone()),
            roster: self.roster.clone(),
            authority: sim::authority().public(),
            key: self.key.signing_key().clone(),
        }
    }

    fn input(&mut self, input: Input) -> Result<(), Rejection> {
        let mut effects = Effects::new();
        let result = self.federation.handle(self.now, &mut self.rng, input, &mut effects);
        self.perform(effects);
        self.assert_one_attempt_a_silo();
        result
    }

    fn perform(&mut self, effects: Effects) {
        for Effect { run, effect } in effects {
            match effect {
                protocol::Effect::Persist(record) => {
                    if let Record::AttemptBegun { cohort, .. } = &record {
                        self.opened.push((run, cohort.clone()));
                    }
                    self.journals.entry(run).or_default().push(record);
                }
                protocol::Effect::Send { to, message }
                    if matches!(*message, ToClient::Welcome { .. }) && self.slow != Some(to) =>
                {
                    let message = OfRun {
                        run: self.federation.run(run).unwrap().run_id(),
                        message: ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None },
                    };
                    self.input(Input::Message { from: to, message }).unwrap();
                }
                _ => {}
            }
        }
    }

    fn assert_one_attempt_a_silo(&self) {
        let mut busy = BTreeSet::new();
        for number in self.federation.numbers() {
            for client in self.federation.run(number).unwrap().cohort().into_iter().flatten() {
                assert!(busy.insert(*client), "silo {client} is in {number} and in another run");
            }
        }
    }

    fn comes(&mut self, client: ClientId) {
        if self.here.insert(client) {
            self.input(Input::Connected { client, version: SessionVersion::NEWEST }).unwrap();
        }
    }

    fn all_come(&mut self) {
        for client in self.roster.keys().keys().copied().collect::<Vec<_>>() {
            self.comes(client);
        }
    }

    fn goes(&mut self, client: ClientId) {
        if self.here.remove(&client) {
            self.input(Input::Disconnected { client }).unwrap();
        }
    }

    /// The next deadline passes.
    fn waits(&mut self) {
        let due = self.federation.deadline(self.now);
        self.now = due.unwrap_or(self.now.plus_ms(1_000));
        self.input(Input::Tick).unwrap();
    }

    fn acts(&mut self, run: RunNumber, act: Act) -> Result<(), Rejection> {
        self.input(Input::Act { run, act, staged: None })
    }

    fn pauses(&mut self, run: RunNumber) -> Result<(), Rejection> {
        self.acts(run, Act::Pause { by: "ops".into(), reason: "drill".into() })
    }

    fn resumes(&mut self, run: RunNumber) -> Result<(), Rejection> {
        self.acts(run, Act::Resume { by: "ops".into() })
    }

    /// The process dies, and goes on from the journals; nobody is here.
    fn restarts(&mut self) {
        let journals = self.journals.iter();
        let of =
            |(number, journal): (&RunNumber, &Vec<Record>)| (*number, self.setup(*number), journal.clone());
        let journals = journals.map(of).collect();
        let mut effects = Effects::new();
        self.federation = Federation::recover(journals, self.active_max, self.now, &mut effects).unwrap();
        self.here.clear();
        self.perform(effects);
        self.assert_one_attempt_a_silo();
    }

    /// A run is over, as its journal says after a restart.
    fn ends(&mut self, run: RunNumber) {
        self.pauses(run).unwrap();
        while self.federation.run(run).unwrap().cohort().is_some() {
            self.waits();
        }
        self.journals.get_mut(&run).unwrap().push(Record::Ended { reason: RunEnd::Complete });
        self.restarts();
    }

    fn entry(&self, run: RunNumber) -> RunEntry {
        self.federation.runs().into_iter().find(|entry| entry.number == run.0).unwrap()
    }

    fn states(&self) -> Vec<(RunState, Option<u32>)> {
        self.federation.runs().into_iter().map(|entry| (entry.state, entry.position)).collect()
    }
}

fn genesis(plan: &Plan) -> Artifacts {
    let params = plan.initial_model();
    let state = plan.initial_state(params.layout().len());
    let bytes = checkpoint::model_bytes(&params, &BTreeMap::new());
    Artifacts {
        model: ModelArtifact::of(&bytes, params.digest()),
        optimizer: Some(OptimizerArtifact::of(&state.to_bytes())),
    }
}

/// So many plans of rounds without end, in which all members take part.
fn plans(count: usize, members: u32) -> Vec<Plan> {
    vec![sim::plan(members as usize, 1000); count]
}

fn of_cohort(minimum: usize, maximum: usize) -> Plan {
    let mut plan = sim::plan(maximum, 1000);
    (plan.cohort.minimum, plan.cohort.maximum) = (minimum, maximum);
    plan
}

#[test]
fn each_of_the_active_runs_opens_an_attempt_in_turn_also_across_restarts() {
    for active in 1..=4 {
        let mut desk = Desk::new(&plans(6, 4), 4, active);
        for step in 0..200 {
            desk.all_come();
            desk.waits();
            if step % 37 == 36 {
                desk.restarts();
            }
        }
        let opened: Vec<RunNumber> = desk.opened.iter().map(|(run, _)| *run).collect();
        assert!(opened.len() > 20, "{opened:?}");
        for among in opened.windows(active) {
            let all: BTreeSet<RunNumber> = among.iter().copied().collect();
            assert_eq!(all, (1..=active as u32).map(RunNumber).collect(), "{active} active: {opened:?}");
        }
    }
}

#[test]
fn a_run_that_waits_only_for_silos_in_other_runs_keeps_them_from_those_behind_it() {
    // Two runs of three silos each share six, and one that needs all six comes to them.
    let plans = [of_cohort(3, 3), of_cohort(3, 3), of_cohort(6, 6)];
    let mut desk = Desk::new(&plans, 6, 3);
    desk.pauses(RunNumber(3)).unwrap();
    // They are never done at one time.
    for some in [1..=3, 4..=6] {
        let before = desk.opened.len();
        some.map(ClientId).for_each(|client| desk.comes(client));
        while desk.opened.len() == before {
            desk.waits();
        }
        desk.now = desk.now.plus_ms(1_200);
        desk.input(Input::Tick).unwrap();
    }
    let cohort = |run| desk.federation.run(RunNumber(run)).unwrap().cohort().map(BTreeSet::len);
    assert_eq!([cohort(1), cohort(2)], [Some(3), Some(3)]);
    desk.resumes(RunNumber(3)).unwrap();
    let before = desk.opened.len();
    for _ in 0..40 {
        desk.waits();
        if desk.opened.len() > before {
            break;
        }
    }
    let (next, cohort) = &desk.opened[before];
    assert_eq!((*next, cohort.len()), (RunNumber(3), 6), "{:?}", &desk.opened[before..]);
}

#[test]
fn no_script_of_sessions_operators_and_crashes_puts_a_silo_into_two_attempts_or_opens_one_out_of_turn() {
    for seed in 0..40 {
        let mut script = ChaCha20Rng::seed_from_u64(seed);
        let mut draw = move |below: u32| script.next_u32() % below;
        let plans: Vec<Plan> = (0..5).map(|_| of_cohort(3, 3 + draw(4) as usize)).collect();
        let mut desk = Desk::new(&plans, 6, 1 + draw(3) as usize);
        for _ in 0..150 {
            let (client, run) = (ClientId(1 + draw(6)), RunNumber(1 + draw(5)));
            let before = desk.opened.len();
            // Whether it was refused says the same as the states below.
            match draw(12) {
                0..=3 => desk.comes(client),
                4 => desk.goes(client),
                5 => drop(desk.pauses(run)),
                6 => drop(desk.resumes(run)),
                7 => desk.restarts(),
                _ => desk.waits(),
            }
            for (opened, _) in &desk.opened[before..] {
                let state = desk.entry(*opened).state;
                assert_eq!(state, RunState::Running, "seed {seed}: {opened}");
            }
            let states = desk.federation.runs();
            let queued: Vec<u32> = states.iter().filter_map(|entry| entry.position).collect();
            assert_eq!(queued, (1..=queued.len() as u32).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn what_is_paused_over_or_queued_takes_no_place_and_positions_count_those_that_wait() {
    let mut desk = Desk::new(&plans(5, 4), 4, 2);
    desk.all_come();
    let queued = |position| (RunState::Queued, Some(position));
    assert_eq!(desk.states()[2..], [queued(1), queued(2), queued(3)]);
    assert!(desk.states()[..2].iter().all(|(state, _)| *state == RunState::Running), "{:?}", desk.states());
    // One that is held leaves its place to the next, and finds it taken no longer than that one has an attempt open.
    desk.pauses(FIRST).unwrap();
    assert_eq!(desk.states()[0].0, RunState::Paused);
    assert_eq!(desk.states()[3..], [queued(1), queued(2)]);
    desk.resumes(FIRST).unwrap();
    assert_eq!(desk.states()[3..].last(), Some(&queued(desk.states()[2].1.map_or(2, |_| 3))));
    // One that is over leaves it for good.
    desk.ends(FIRST);
    desk.all_come();
    assert_eq!(desk.states()[0].0, RunState::Finished);
    assert_eq!(desk.states()[3..], [queued(1), queued(2)]);
    assert_eq!(desk.federation.default_run(), Some(RunNumber(2)));
}

#[test]
fn a_moment_that_is_two_runs_deadline_gives_no_silo_to_both() {
    // The first run cannot open without two that are kept apart, until a round's time is over: it keeps nobody till then.
    let mut desk = Desk::new(&[of_cohort(4, 4), of_cohort(3, 4)], 5, 2);
    silos(4).for_each(|client| desk.comes(client));
    while desk.opened.len() < 2 {
        desk.waits();
    }
    assert_eq!(desk.opened.iter().map(|(run, _)| run.0).collect::<Vec<_>>(), [1, 2]);
    let complaint = Record::KeptApart { accuser: ClientId(1), accused: ClientId(2) };
    desk.journals.get_mut(&FIRST).unwrap().push(complaint);
    desk.restarts();
    desk.slow = Some(ClientId(5));
    desk.all_come();
    desk.pauses(RunNumber(2)).unwrap();
    while desk.federation.run(RunNumber(2)).unwrap().cohort().is_some() {
        desk.waits();
    }
    let timing = plans(1, 4)[0].timing.clone();
    let before = desk.opened.len();
    desk.now = desk.now.plus_ms(timing.minimum_wait_ms);
    desk.input(Input::Tick).unwrap();
    assert_eq!(desk.opened.len(), before, "{:?}", desk.opened);
    desk.now = desk.now.plus_ms(timing.round_deadline_ms - timing.minimum_wait_ms - 500);
    // The other waits for a fifth silo no longer than its minimum wait, which is over a little later.
    desk.resumes(RunNumber(2)).unwrap();
    assert_eq!(desk.opened.len(), before, "{:?}", desk.opened);
    desk.now = desk.now.plus_ms(timing.minimum_wait_ms);
    desk.input(Input::Tick).unwrap();
    assert_eq!(desk.opened.len(), before + 1, "{:?}", desk.opened);
}

#[test]
fn a_silo_of_an_older_release_is_offered_the_oldest_run_that_is_not_over_and_no_other() {
    let mut desk = Desk::new(&plans(3, 4), 4, 3);
    let older = ClientId(4);
    for run in 1..=3 {
        for client in silos(3) {
            desk.comes(client);
        }
        desk.here.insert(older);
        desk.input(Input::Connected { client: older, version: SessionVersion::Three }).unwrap();
        let before = desk.opened.len();
        for _ in 0..60 {
            desk.waits();
        }
        let with: BTreeSet<RunNumber> = desk.opened[before..]
            .iter()
            .filter(|(_, cohort)| cohort.contains(&older))
            .map(|of| of.0)
            .collect();
        assert_eq!(with, [RunNumber(run)].into());
        let all: BTreeSet<RunNumber> = desk.opened[before..].iter().map(|(run, _)| *run).collect();
        assert_eq!(all, (run..=3).map(RunNumber).collect(), "the others go on with those that are in all");
        desk.ends(RunNumber(run));
    }
}

#[test]
fn a_word_of_no_run_or_of_one_that_is_over_is_refused_and_moves_nothing() {
    let mut desk = Desk::new(&plans(3, 4), 4, 3);
    desk.ends(FIRST);
    desk.all_come();
    desk.waits();
    let over = desk.federation.run(FIRST).unwrap().run_id();
    let (states, journals) = (desk.federation.runs(), desk.journals.clone());
    let declined = || ToCoordinator::Declined { round: Some(1), reason: protocol::Decline::SitsOut };
    for run in [None, over, Some(Digest::sha256(b"no run"))] {
        let message = OfRun { run, message: declined() };
        let heard = desk.input(Input::Message { from: ClientId(1), message });
        assert!(heard.is_err() || run == over, "{run:?}: {heard:?}");
        assert_eq!(desk.federation.runs(), states, "{run:?}");
        assert_eq!(desk.journals, journals, "{run:?}");
    }
}

#[test]
fn a_restart_finds_each_run_where_its_journal_left_it() {
    let mut desk = Desk::new(&plans(5, 4), 4, 2);
    desk.all_come();
    for _ in 0..12 {
        desk.waits();
    }
    desk.pauses(RunNumber(2)).unwrap();
    let known = |desk: &Desk| -> Vec<_> {
        let of = |entry: RunEntry| {
            let cohort = desk.federation.run(RunNumber(entry.number)).unwrap().cohort().cloned();
            (entry.run, entry.name, entry.submitted_by, entry.submitted_ms, entry.position, cohort)
        };
        desk.federation.runs().into_iter().map(of).collect()
    };
    let before = known(&desk);
    desk.restarts();
    assert_eq!(known(&desk), before);
    assert_eq!(desk.entry(RunNumber(2)).state, RunState::Paused);
    assert_eq!(desk.federation.next_number(), RunNumber(6));
}
