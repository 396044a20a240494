//! What one seed stands for: a federation, its faults, its liars, and what must come of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use federation::RunNumber;
use plan::Plan;
use rand_core::Rng;
use run_status::{RunEntry, RunState};

use crate::federation::{Federation, policy};
use crate::invariant::{Invariant, Violation};
use crate::liar::Lie;
use crate::operators::{deeds, wrong_policies};
use crate::oracles::epsilon;
use crate::samples::{
    adaptive, noised_at_the_coordinator, noised_in_each_silo, plan, private_plan, removing_excess,
};
use crate::swarm::{FaultKind, Swarm};
use crate::trace::Row;

/// Rounds of a simulated federation before its faults heal.
const ROUNDS: u64 = 11;
/// Milliseconds after which faults heal even if fewer rounds were reached.
const HEALS_MS: u64 = 240_000;
/// Rounds' deadlines within which a healed federation commits a round: one that was doomed when it healed, one that
/// a silo sits out, and time to gather.
const PATIENCE_ROUNDS: u64 = 6;
/// Uploads that a tight budget is for.
const TIGHT_ROUNDS: u64 = 4;

/// Rounds of all runs but the last, where there are several.
const SHORT_ROUNDS: u64 = 3;
/// When the last plan is submitted.
const SUBMITTED_MS: u64 = 20_000;

/// Who adds the noise of a scenario's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseBy {
    None,
    /// Every silo a share.
    Shared,
    /// Every silo a share, and a sum is rid of what it has too much of.
    ExcessRemoved,
    /// Every silo all of it, to its own update.
    InEachSilo,
    /// The coordinator, to the sum.
    AtTheCoordinator,
}

/// A federation with its faults and its liars, as one seed decides them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The source of all randomness.
    pub seed: u64,
    /// Members of the roster.
    pub silos: u32,
    /// Who adds noise.
    pub noise: NoiseBy,
    /// Whether the clip norm follows a quantile; not where silos add all the noise, nor where nobody does.
    pub adaptive: bool,
    /// Whether the silos' own budgets are for a few rounds only: they leave the run when they are spent.
    pub tight: bool,
    /// A silo that lies, and how.
    pub liar: Option<(u32, Lie)>,
    /// Whether the coordinator lies.
    pub deceived: bool,
    /// Kinds of faults.
    pub faults: BTreeSet<FaultKind>,
    /// Runs: plans that are submitted one after the other.
    pub runs: u32,
    /// How many of them may be active at one time.
    pub active: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct ScenarioReport {
    /// What was simulated.
    pub scenario: Scenario,
    pub rounds: u64,
    /// Those of them that were committed.
    pub rounds_committed: u64,
    pub attempts_aborted: u64,
    pub events: u64,
    /// In milliseconds of simulated time.
    pub simulated_ms: u64,
    /// The first invariant that broke, if any.
    pub violation: Option<Violation>,
    /// What happened, where it was asked for.
    pub trace: Vec<Row>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut draw = |below: u32| rng.next_u32() % below;
        let silos = [3, 4, 4, 5, 5, 6, 7][draw(7) as usize];
        let private = draw(4) == 0;
        let tight = private && draw(3) == 0;
        let by_people = |kind: &FaultKind| matches!(kind, FaultKind::Operators | FaultKind::Policies);
        let mut faults: BTreeSet<FaultKind> =
            FaultKind::ALL.into_iter().filter(|kind| !by_people(kind) && draw(3) == 0).collect();
        let (kind, who, lie) = (draw(10), 1 + draw(silos), Lie::ALL[draw(Lie::ALL.len() as u32) as usize]);
        // Drawn last: the rest of a seed's scenario is older.
        if draw(3) == 0 {
            faults.insert(FaultKind::Operators);
        }
        let noise = match private {
            false => NoiseBy::None,
            true => [NoiseBy::Shared, NoiseBy::ExcessRemoved, NoiseBy::InEachSilo, NoiseBy::AtTheCoordinator]
                [draw(4) as usize],
        };
        let adaptive = !matches!(noise, NoiseBy::None | NoiseBy::InEachSilo) && draw(2) == 0;
        let lie = match lie {
            Lie::Commitment if noise == NoiseBy::ExcessRemoved => Lie::NoiseSeeds,
            Lie::Share if noise == NoiseBy::ExcessRemoved => Lie::NoiseShare,
            lie => lie,
        };
        // Of seeds whose balances have room for them.
        let (runs, active) = match draw(4) {
            0 if !tight => (2 + draw(3), 1 + draw(3)),
            _ => (1, 1),
        };
        if runs > 1 && draw(3) == 0 {
            faults.insert(FaultKind::Policies);
        }
        Self {
            seed,
            silos,
            noise,
            adaptive,
            tight,
            runs,
            active,
            // Three silos tolerate no loss at all, so no lie either.
            liar: match kind {
                0..=2 if silos > 3 => Some((who, lie)),
                // Of seeds that had no liar; only there do rows weigh.
                4 if silos > 3 && noise == NoiseBy::None => Some((who, Lie::Weight)),
                _ => None,
            },
            deceived: matches!(kind, 2 | 3),
            faults,
        }
    }

    /// Simulates it; `traced` keeps what happened.
    pub fn run(&self, traced: bool) -> ScenarioReport {
        let plan = self.plan();
        let deadline_ms = plan.timing.round_deadline_ms;
        let mut federation = self.federation(plan);
        if traced {
            federation = federation.with_trace();
        }
        if let Some((id, lie)) = self.liar {
            federation = federation.with_liar(id, lie);
        }
        if self.deceived {
            federation = federation.with_deceiver(self.seed);
        }
        federation.run_rounds(ROUNDS, HEALS_MS);
        if !self.deceived && !self.tight {
            federation.heal(PATIENCE_ROUNDS * deadline_ms * u64::from(self.active));
        }
        federation.report(self)
    }

    /// Its silos, runs, faults and operators.
    fn federation(&self, plan: Plan) -> Federation {
        let swarm = Swarm::new(self.seed, &self.faults, self.silos, plan.timing.round_deadline_ms, HEALS_MS);
        let budget = self.budget(&plan);
        let mut federation =
            Federation::with_policies(self.plan_of(1, &plan), self.silos, self.seed, |_, policy| {
                // So that aborted rounds do not end the run; what the rule itself does is tested elsewhere.
                policy.repeats_without_dp = 1000;
                policy.epsilon_max = budget;
                if self.runs > 1 {
                    policy.repeats_per_plan = Some(1000);
                }
            })
            .under(swarm);
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        if self.runs > 1 {
            rng.set_stream(0x0b6);
            federation = federation.with_runs(self.active as usize);
            for run in 2..=self.runs {
                let at_ms = rng.next_u64() % SUBMITTED_MS;
                federation = federation.submitting(at_ms, self.plan_of(run, &plan));
            }
        }
        if self.faults.contains(&FaultKind::Operators) {
            rng = ChaCha20Rng::seed_from_u64(self.seed);
            rng.set_stream(0x0b5);
            for run in 1..=self.runs {
                // Whom a liar gets barred or kept apart, and who is removed, may together be too many.
                let deeds = deeds(&mut rng, self.silos, self.liar.is_none(), HEALS_MS);
                federation.plan_deeds(RunNumber(run), deeds);
            }
        }
        if self.faults.contains(&FaultKind::Policies) && self.runs > 1 {
            rng = ChaCha20Rng::seed_from_u64(self.seed);
            rng.set_stream(0x0b7);
            federation.plan_policies(wrong_policies(&mut rng, self.silos, HEALS_MS));
        }
        federation
    }

    /// The plan of one of several runs: all but the last are over after a few rounds, so that others have their turn.
    fn plan_of(&self, run: u32, plan: &Plan) -> Plan {
        if self.runs == 1 {
            return plan.clone();
        }
        let rounds = if run < self.runs { SHORT_ROUNDS } else { plan.rounds };
        Plan { name: format!("{} {run}", plan.name), rounds, ..plan.clone() }
    }

    /// What is reported where the simulation itself panicked: the core does, with an id, where its journal is
    /// contradicted.
    pub fn panicked(&self, message: &str) -> ScenarioReport {
        let what = format!("a panic: {message}");
        ScenarioReport {
            scenario: self.clone(),
            rounds: 0,
            rounds_committed: 0,
            attempts_aborted: 0,
            events: 0,
            simulated_ms: 0,
            violation: Some(Violation { invariant: Invariant::NoPanic, what }),
            trace: Vec::new(),
        }
    }

    /// What a silo may spend: all that a run can, or a few rounds' worth.
    fn budget(&self, plan: &Plan) -> f64 {
        match plan.event() {
            Some(event) if self.tight => epsilon(&[(event, TIGHT_ROUNDS)], policy().delta_max),
            // A run claims as much as all that a silo of one run has, at most.
            _ => f64::from(self.runs) * policy().epsilon_max,
        }
    }

    fn plan(&self) -> Plan {
        // Calibration takes longer than a federation, and depends on no seed.
        static PRIVATE: OnceLock<Plan> = OnceLock::new();
        let rounds = 10 * ROUNDS;
        let sized = plan(self.silos as usize, rounds);
        let private = || {
            let private = PRIVATE.get_or_init(|| private_plan(5, 10 * ROUNDS, 8.0)).clone();
            Plan { cohort: sized.cohort.clone(), ..private }
        };
        let mut plan = match self.noise {
            NoiseBy::None => sized,
            NoiseBy::Shared => private(),
            NoiseBy::ExcessRemoved => removing_excess(private()),
            NoiseBy::InEachSilo => noised_in_each_silo(private()),
            NoiseBy::AtTheCoordinator => noised_at_the_coordinator(private()),
        };
        if self.adaptive {
            plan = adaptive(plan);
        }
        if self.liar.is_some() {
            // One that is kept apart or barred must not end the run.
            plan.cohort.minimum = 3;
        }
        plan
    }

    /// The same under a plan without noise.
    pub fn without_noise(&self) -> Self {
        Self { noise: NoiseBy::None, adaptive: false, tight: false, ..self.clone() }
    }

    /// The same with one run.
    pub fn of_one_run(&self) -> Self {
        Self { runs: 1, active: 1, ..self.clone() }
    }

    /// The smallest scenario, by leaving out one kind of fault or lie after the other, of which `breaks` says that
    /// it fails in the same way.
    pub fn shrunk(&self, breaks: impl Fn(&Self) -> bool) -> Self {
        let mut smallest = self.clone();
        for kind in FaultKind::ALL {
            let mut smaller = smallest.clone();
            if smaller.faults.remove(&kind) && breaks(&smaller) {
                smallest = smaller;
            }
        }
        for smaller in [
            Self { liar: None, ..smallest.clone() },
            Self { deceived: false, ..smallest.clone() },
            Self { adaptive: false, ..smallest.clone() },
            smallest.of_one_run(),
            smallest.without_noise(),
        ] {
            if smaller != smallest && breaks(&smaller) {
                smallest = smaller;
            }
        }
        smallest
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {} silos", self.seed, self.silos)?;
        let noise = match self.noise {
            NoiseBy::None => None,
            NoiseBy::Shared => Some("shared noise"),
            NoiseBy::ExcessRemoved => Some("shared noise without excess"),
            NoiseBy::InEachSilo => Some("noise of each silo's own"),
            NoiseBy::AtTheCoordinator => Some("the coordinator's noise"),
        };
        if let Some(noise) = noise {
            write!(f, ", with {noise}")?;
            if self.adaptive {
                write!(f, ", a clip norm that moves")?;
            }
            if self.tight {
                write!(f, " and a tight budget")?;
            }
        }
        if let Some((id, lie)) = self.liar {
            write!(f, ", silo {id} lies ({lie:?})")?;
        }
        if self.deceived {
            write!(f, ", the coordinator lies")?;
        }
        if self.runs > 1 {
            write!(f, ", {} runs, up to {} of them active", self.runs, self.active)?;
        }
        let faults: Vec<&str> = self.faults.iter().map(|kind| kind.name()).collect();
        write!(f, ", faults: {}", if faults.is_empty() { "none".into() } else { faults.join(", ") })
    }
}

impl Federation {
    /// Runs until this many rounds were tried, or so much time has passed.
    fn run_rounds(&mut self, rounds: u64, most_ms: u64) {
        while self.violation().is_none() && self.now_ms() < most_ms && self.oracle.rounds_opened() < rounds {
            let before = self.now_ms();
            self.run_until((before + 500).min(most_ms));
            if self.now_ms() == before {
                self.now_ms = (before + 500).min(most_ms);
            }
            if self.has_ended() {
                return;
            }
        }
    }

    /// Ends all faults, and expects of each active run that it commits a round within this time.
    fn heal(&mut self, patience_ms: u64) {
        if self.violation().is_some() {
            return;
        }
        self.faults = Box::new(Healed);
        self.start_the_dead();
        self.reset_connections();
        let (before, end) = (self.oracle.committed(), self.now_ms() + patience_ms);
        let mut awaited = None;
        while self.violation().is_none() && self.now_ms() < end {
            self.release();
            let step = (self.now_ms() + 100).min(end);
            self.run_until(step);
            self.now_ms = self.now_ms.max(step);
            if self.coordinator_is_up() {
                let active = self.active_runs();
                let awaited = awaited.get_or_insert_with(|| active.clone());
                // One that was held may find its place taken.
                awaited.retain(|run| active.contains(run) && !self.commits()[before..].contains(run));
                if awaited.is_empty() && self.oracle.committed() > before {
                    return;
                }
            }
        }
        if self.violation().is_none() {
            let hangs = |entry: &RunEntry| match &awaited {
                Some(awaited) => awaited.contains(&RunNumber(entry.number)),
                None => true,
            };
            // Nothing that these faults do may end a run, so one that has ended is as bad as one that hangs.
            let why: Vec<String> = match self.coordinator_is_up() {
                true => self.runs().into_iter().filter(hangs).map(|run| run.reason).collect(),
                false => Vec::new(),
            };
            let what =
                format!("no round was committed within {patience_ms} ms after all faults healed: {why:?}");
            self.oracle.broken(Invariant::Liveness, what);
        }
    }

    /// Runs that have a place and are not over.
    fn active_runs(&self) -> BTreeSet<RunNumber> {
        let has_place =
            |run: &RunEntry| !matches!(run.state, RunState::Queued | RunState::Finished | RunState::Stopped);
        self.runs().into_iter().filter(has_place).map(|run| RunNumber(run.number)).collect()
    }

    fn report(self, scenario: &Scenario) -> ScenarioReport {
        ScenarioReport {
            scenario: scenario.clone(),
            rounds: self.oracle.rounds_opened(),
            rounds_committed: self.oracle.committed() as u64,
            attempts_aborted: self.oracle.attempts_aborted(),
            events: self.events(),
            simulated_ms: self.now_ms(),
            violation: self.violation().cloned(),
            trace: self.into_trace(),
        }
    }
}

/// A network without faults, and silos that take their time to come back.
struct Healed;

impl crate::faults::Faults for Healed {
    fn fate(&mut self, _now_ms: u64, _moment: &crate::faults::Moment<'_>) -> crate::faults::Fate {
        crate::faults::Fate::Late(5)
    }

    fn backoff_ms(&mut self) -> u64 {
        200
    }
}
