//! Ranges of seeds: each simulated, what came of them added up, and a failure brought down to what is enough to see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::scenario::{NoiseBy, Scenario, ScenarioReport};
use crate::swarm::FaultKind;

/// Failures after which a campaign stops: more of them say nothing new.
const FAILURES_MAX: usize = 20;

/// Something that can be left out of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScenarioPart {
    /// A kind of faults.
    Fault(FaultKind),
    /// The silo that lies.
    Liar,
    /// The coordinator's lies.
    Deceiver,
    /// The plan's noise.
    Noise,
    /// Other runs than the first.
    Runs,
}

/// A text that names no [`ScenarioPart`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such kind; there are liar, deceiver, noise, runs, {}", FaultKind::ALL.map(FaultKind::name).join(", "))]
pub struct UnknownScenarioPart;

impl ScenarioPart {
    /// As a tally counts it, and as [`ScenarioPart::from_str`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault(kind) => kind.name(),
            Self::Liar => "liar",
            Self::Deceiver => "deceiver",
            Self::Noise => "noise",
            Self::Runs => "runs",
        }
    }

    /// Everything that is in this scenario.
    fn all_of(scenario: &Scenario) -> impl Iterator<Item = Self> {
        let others = [
            (scenario.liar.is_some(), Self::Liar),
            (scenario.deceived, Self::Deceiver),
            (scenario.noise != NoiseBy::None, Self::Noise),
            (scenario.runs > 1, Self::Runs),
        ];
        let others = others.into_iter().filter(|(is, _)| *is).map(|(_, part)| part);
        scenario.faults.iter().copied().map(Self::Fault).chain(others)
    }
}

impl FromStr for ScenarioPart {
    type Err = UnknownScenarioPart;

    fn from_str(text: &str) -> Result<Self, UnknownScenarioPart> {
        let faults = FaultKind::ALL.into_iter().map(Self::Fault);
        let mut all = faults.chain([Self::Liar, Self::Deceiver, Self::Noise, Self::Runs]);
        all.find(|part| part.name() == text).ok_or(UnknownScenarioPart)
    }
}

/// Scenarios of many seeds, all without the same parts.
#[derive(Debug, Clone, Default)]
pub struct Campaign {
    /// What is left out of each.
    pub without: Vec<ScenarioPart>,
}

/// What came of all seeds. Its fields are a contract with scripts.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    pub federations: u64,
    pub rounds: u64,
    /// Those of them that were committed.
    pub rounds_committed: u64,
    pub attempts_aborted: u64,
    pub events: u64,
    pub simulated_hours: f64,
    /// Real; whoever has a clock sets it.
    pub seconds: f64,
    /// Federations that had this part, by its name.
    pub with: BTreeMap<&'static str, u64>,
    /// At most a few dozen.
    pub failures: Vec<FailedSeed>,
}

/// A seed that failed.
#[derive(Debug, Serialize)]
pub struct FailedSeed {
    /// It alone decides everything.
    pub seed: u64,
    /// The id of the first invariant that broke.
    pub invariant: String,
    pub what: String,
    /// The scenario that is enough to see it.
    pub smallest: String,
    /// The command that shows it.
    pub replay: String,
}

/// Federations of a campaign that failed: each with what broke, and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("{} of {federations} federations failed{}", failures.len(), failures.iter().map(FailedSeed::lines).collect::<String>())]
pub struct FailedFederations {
    federations: u64,
    failures: Vec<FailedSeed>,
}

impl FailedSeed {
    fn lines(&self) -> String {
        let Self { invariant, what, smallest, replay, .. } = self;
        format!("\n  {invariant} {what}\n    enough to see it: {smallest}\n    replay: {replay}")
    }
}

impl Tally {
    /// Lines for people.
    pub fn to_text(&self) -> String {
        let with: Vec<String> = self.with.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "federations   {}\nrounds        {}, {} committed, {} attempts aborted\nevents        {}\nsimulated     {:.1} hours in \
             {:.1} s\nwith          {}\n",
            self.federations,
            self.rounds,
            self.rounds_committed,
            self.attempts_aborted,
            self.events,
            self.simulated_hours,
            self.seconds,
            with.join(", ")
        )
    }

    /// Ends a campaign.
    ///
    /// # Errors
    /// [`FailedFederations`], where one failed.
    pub fn verdict(self) -> Result<(), FailedFederations> {
        let Self { federations, failures, .. } = self;
        if failures.is_empty() { Ok(()) } else { Err(FailedFederations { federations, failures }) }
    }
}

impl Campaign {
    /// A seed's scenario without what this campaign leaves out.
    pub fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = Scenario::of_seed(seed);
        for part in &self.without {
            match part {
                ScenarioPart::Fault(kind) => drop(scenario.faults.remove(kind)),
                ScenarioPart::Liar => scenario.liar = None,
                ScenarioPart::Deceiver => scenario.deceived = false,
                ScenarioPart::Noise => scenario = scenario.without_noise(),
                ScenarioPart::Runs => scenario = scenario.of_one_run(),
            }
        }
        scenario
    }

    /// Simulates the federations of all these seeds on so many threads, and calls `seen` after each. Ends early where there
    /// are enough failures.
    pub fn run(&self, seeds: Range<u64>, jobs: usize, seen: impl FnMut(&Tally) + Send) -> Tally {
        let next = AtomicU64::new(seeds.start);
        let shared = Mutex::new((Tally::default(), seen));
        std::thread::scope(|threads| {
            for _ in 0..jobs {
                threads.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if !seeds.contains(&seed) {
                            return;
                        }
                        let report = self.scenario(seed).run_caught(false);
                        let smallest = report.smallest();
                        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                        let (tally, seen) = &mut *shared;
                        self.count(tally, report, smallest);
                        seen(tally);
                        if tally.failures.len() >= FAILURES_MAX {
                            return next.store(seeds.end, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        shared.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }

    /// What came of one seed alone.
    pub fn tally_of(&self, report: ScenarioReport) -> Tally {
        let mut tally = Tally::default();
        let smallest = report.smallest();
        self.count(&mut tally, report, smallest);
        tally
    }

    fn count(&self, tally: &mut Tally, report: ScenarioReport, smallest: Option<Scenario>) {
        tally.federations += 1;
        tally.rounds += report.rounds;
        tally.rounds_committed += report.rounds_committed;
        tally.attempts_aborted += report.attempts_aborted;
        tally.events += report.events;
        tally.simulated_hours += report.simulated_ms as f64 / 3_600_000.0;
        let scenario = &report.scenario;
        for part in ScenarioPart::all_of(scenario) {
            *tally.with.entry(part.name()).or_default() += 1;
        }
        let Some(violation) = report.violation else { return };
        tally.failures.push(FailedSeed {
            seed: scenario.seed,
            invariant: violation.invariant.id().into(),
            what: violation.what,
            smallest: smallest.unwrap_or_else(|| scenario.clone()).to_string(),
            replay: self.replay(scenario.seed),
        });
    }

    fn replay(&self, seed: u64) -> String {
        let without: Vec<&str> = self.without.iter().map(|part| part.name()).collect();
        let without = match without.is_empty() {
            true => String::new(),
            false => format!(" --without {}", without.join(",")),
        };
        format!("folkmoot simulate --seed {seed} --trace{without}")
    }
}

impl Scenario {
    /// Simulates it as [`Scenario::run`] does. A panic is a broken invariant too: the core panics with the id of what it
    /// holds for impossible.
    pub fn run_caught(&self, traced: bool) -> ScenarioReport {
        catch_unwind(AssertUnwindSafe(|| self.run(traced))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            self.panicked(said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message"))
        })
    }
}

impl ScenarioReport {
    /// What is enough to break the same invariant; `None` where none broke.
    pub fn smallest(&self) -> Option<Scenario> {
        let broken = self.violation.as_ref()?.invariant;
        let breaks = |scenario: &Scenario| {
            scenario.run_caught(false).violation.is_some_and(|violation| violation.invariant == broken)
        };
        Some(self.scenario.shrunk(breaks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_what_broke_and_how_to_replay_it() {
        let failed = FailedSeed {
            seed: 17,
            invariant: "S1".into(),
            what: "boom".into(),
            smallest: "seed 17: 4 silos".into(),
            replay: "folkmoot simulate --seed 17 --trace".into(),
        };
        let tally = Tally { federations: 9, failures: vec![failed], ..Tally::default() };
        assert_eq!(
            tally.verdict().unwrap_err().to_string(),
            "1 of 9 federations failed\n  S1 boom\n    enough to see it: seed 17: 4 silos\n    replay: folkmoot simulate \
             --seed 17 --trace"
        );
        assert!(Tally::default().verdict().is_ok());
    }

    #[test]
    fn every_part_that_a_tally_names_can_be_left_out() {
        for seed in 0..40 {
            for part in ScenarioPart::all_of(&Scenario::of_seed(seed)) {
                assert_eq!(part.name().parse(), Ok(part));
                let scenario = Campaign { without: vec![part] }.scenario(seed);
                assert!(ScenarioPart::all_of(&scenario).all(|left| left != part), "{seed}: {part:?}");
            }
        }
    }

    #[test]
    fn a_text_that_names_no_part_is_answered_with_all_names() {
        let why = "weather".parse::<ScenarioPart>().unwrap_err().to_string();
        assert!(
            why.contains("liar, deceiver, noise, runs") && why.contains(FaultKind::ALL[0].name()),
            "{why}"
        );
    }

    #[test]
    fn a_failure_names_its_invariant_and_how_to_replay_it() {
        let campaign = Campaign { without: vec![ScenarioPart::Fault(FaultKind::Loss)] };
        let mut tally = Tally::default();
        let scenario = Scenario::of_seed(17);
        campaign.count(&mut tally, scenario.panicked("boom"), None);
        let failed = &tally.failures[0];
        assert_eq!(failed.replay, "folkmoot simulate --seed 17 --trace --without loss");
        assert_eq!((failed.seed, failed.smallest.clone()), (17, scenario.to_string()));
        assert!(failed.what.contains("boom"), "{}", failed.what);
    }

    #[test]
    fn as_many_threads_as_there_are_give_one_tally() {
        let campaign = Campaign::default();
        let mut seen = 0;
        let tally = campaign.run(0..3, 2, |tally| seen = tally.federations);
        assert_eq!((tally.federations, seen), (3, 3));
        let alone = campaign.run(0..3, 1, |_| ());
        assert_eq!((tally.rounds, tally.events), (alone.rounds, alone.events));
    }
}
