//! `folkmoot simulate`: whole federations under faults, liars and a lying coordinator, each from a seed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use sim::{FaultKind, Invariant, Noise, Report, Scenario};

use crate::Failure;

/// Failures after which a campaign stops: more of them tell nothing new.
const FAILURES_MAX: usize = 20;
/// How often progress is said.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// Simulate the federation of this seed, and say what came of it.
    #[arg(long, required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Simulate the federations of all these seeds.
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Print everything that happened, as a table.
    #[arg(long, conflicts_with_all = ["seeds", "json"])]
    trace: bool,
    /// Leave out kinds of faults or lies, to see which one matters.
    #[arg(long, value_delimiter = ',', value_name = "KIND", value_parser = part)]
    without: Vec<Part>,
    /// Threads; as many as this machine has cores, if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

fn help() -> String {
    let [first, .., last] = Invariant::ALL;
    format!(
        "Every seed is one federation: silos, plan, faults, and in some of them a lying silo or a lying coordinator. After \
         each event the invariants {} to {} of ARCHITECTURE.md are checked; once the faults heal, a round must \
         commit.\n\n\
         Examples:\n  \
         folkmoot simulate --seeds 0..2000\n  \
         folkmoot simulate --seed 17 --trace\n  \
         folkmoot simulate --seed 17 --without loss,partition",
        first.id(),
        last.id()
    )
}

/// Something that can be left out of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Fault(FaultKind),
    Liar,
    Deceiver,
    Noise,
}

/// What came of all seeds.
#[derive(Default, Serialize)]
struct Summary {
    federations: u64,
    rounds: u64,
    rounds_committed: u64,
    attempts_aborted: u64,
    events: u64,
    simulated_hours: f64,
    seconds: f64,
    /// Federations in which this was among the faults.
    with: BTreeMap<&'static str, u64>,
    failures: Vec<Found>,
}

/// A seed that failed.
#[derive(Serialize)]
struct Found {
    seed: u64,
    invariant: String,
    what: String,
    /// What is enough to see it.
    smallest: String,
    replay: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match (&args.seeds, args.seed) {
        (Some(seeds), _) => campaign(args, seeds.clone()),
        (None, Some(seed)) => one(args, seed),
        (None, None) => Err(Failure::usage("name a --seed or a range of --seeds")),
    }
}

fn one(args: &Args, seed: u64) -> Result<(), Failure> {
    let started = Instant::now();
    let scenario = scenario(seed, &args.without);
    let mut report = simulate(&scenario, args.trace);
    print_rows(&std::mem::take(&mut report.trace));
    let mut summary = Summary::default();
    let shrunk = shrunk(&report);
    let text = format!(
        "{scenario}\n{} rounds, {} committed, {} attempts aborted, {} events, {:.1} simulated seconds",
        report.rounds,
        report.rounds_committed,
        report.attempts_aborted,
        report.events,
        report.simulated_ms as f64 / 1000.0
    );
    summary.add(report, shrunk, &args.without);
    summary.seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!("{}", json(&summary)?);
    } else {
        println!("{text}");
    }
    summary.verdict()
}

fn print_rows(rows: &[sim::Row]) {
    let rows = rows.iter().map(|row| format!("{row}\n"));
    print!("{}", rows.collect::<String>());
}

fn campaign(args: &Args, seeds: Range<u64>) -> Result<(), Failure> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let shared = Mutex::new((Summary::default(), Instant::now()));
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let scenario = scenario(seed, &args.without);
                    let report = simulate(&scenario, false);
                    let shrunk = shrunk(&report);
                    let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let (summary, said) = &mut *shared;
                    summary.add(report, shrunk, &args.without);
                    if said.elapsed() >= PROGRESS {
                        *said = Instant::now();
                        eprintln!(
                            "{} of {} federations, {} rounds, {} failures",
                            summary.federations,
                            seeds.end - seeds.start,
                            summary.rounds,
                            summary.failures.len()
                        );
                    }
                    if summary.failures.len() >= FAILURES_MAX {
                        return next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (mut summary, _) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!("{}", json(&summary)?);
    } else {
        print!("{}", summary.table());
    }
    summary.verdict()
}

fn scenario(seed: u64, without: &[Part]) -> Scenario {
    let mut scenario = Scenario::of_seed(seed);
    for part in without {
        match part {
            Part::Fault(kind) => drop(scenario.faults.remove(kind)),
            Part::Liar => scenario.liar = None,
            Part::Deceiver => scenario.deceived = false,
            Part::Noise => scenario = scenario.without_noise(),
        }
    }
    scenario
}

/// What is enough to break the same invariant.
fn shrunk(report: &Report) -> Option<Scenario> {
    let broken = report.violation.as_ref()?.invariant;
    let breaks = |scenario: &Scenario| {
        simulate(scenario, false).violation.is_some_and(|violation| violation.invariant == broken)
    };
    Some(report.scenario.shrunk(breaks))
}

/// A panic is an invariant too: the core panics with the id of what it holds for impossible.
fn simulate(scenario: &Scenario, traced: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| scenario.run(traced))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        scenario.panicked(said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message"))
    })
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, such as 0..2000")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|why| format!("`{text}`: {why}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("it holds no seed; the second number is not in it".into()) } else { Ok(range) }
}

fn part(text: &str) -> Result<Part, String> {
    let fault = FaultKind::ALL.into_iter().find(|kind| kind.name() == text).map(Part::Fault);
    fault
        .or(match text {
            "liar" => Some(Part::Liar),
            "deceiver" => Some(Part::Deceiver),
            "noise" => Some(Part::Noise),
            _ => None,
        })
        .ok_or_else(|| {
            let names = FaultKind::ALL.map(FaultKind::name).join(", ");
            format!("no such kind; there are liar, deceiver, noise, {names}")
        })
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Fault(kind) => kind.name(),
            Self::Liar => "liar",
            Self::Deceiver => "deceiver",
            Self::Noise => "noise",
        }
    }
}

impl Summary {
    fn add(&mut self, report: Report, shrunk: Option<Scenario>, without: &[Part]) {
        self.federations += 1;
        self.rounds += report.rounds;
        self.rounds_committed += report.rounds_committed;
        self.attempts_aborted += report.attempts_aborted;
        self.events += report.events;
        self.simulated_hours += report.simulated_ms as f64 / 3_600_000.0;
        let scenario = &report.scenario;
        let faults = scenario.faults.iter().map(|kind| kind.name());
        let lies = [
            (scenario.liar.is_some(), "liar"),
            (scenario.deceived, "deceiver"),
            (scenario.noise != Noise::None, "noise"),
        ];
        for name in faults.chain(lies.into_iter().filter(|(is, _)| *is).map(|(_, name)| name)) {
            *self.with.entry(name).or_default() += 1;
        }
        let Some(violation) = report.violation else { return };
        let without: Vec<&str> = without.iter().map(|part| part.name()).collect();
        let without = match without.is_empty() {
            true => String::new(),
            false => format!(" --without {}", without.join(",")),
        };
        self.failures.push(Found {
            seed: scenario.seed,
            invariant: violation.invariant.id().into(),
            what: violation.what,
            smallest: shrunk.unwrap_or_else(|| scenario.clone()).to_string(),
            replay: format!("folkmoot simulate --seed {} --trace{without}", scenario.seed),
        });
    }

    fn table(&self) -> String {
        let mut text = format!(
            "federations   {}\nrounds        {}, {} committed, {} attempts aborted\nevents        {}\nsimulated     {:.1} hours in \
             {:.1} s\n",
            self.federations,
            self.rounds,
            self.rounds_committed,
            self.attempts_aborted,
            self.events,
            self.simulated_hours,
            self.seconds
        );
        let with: Vec<String> = self.with.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text.push_str(&format!("with          {}\n", with.join(", ")));
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let found: Vec<String> = self
            .failures
            .iter()
            .map(|found| {
                format!(
                    "\n  {} {}\n    enough to see it: {}\n    replay: {}",
                    found.invariant, found.what, found.smallest, found.replay
                )
            })
            .collect();
        Err(Failure::failed(format!(
            "{} of {} federations failed{}",
            found.len(),
            self.federations,
            found.concat()
        )))
    }
}

fn json(summary: &Summary) -> Result<String, Failure> {
    serde_json::to_string(summary).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_seeds_is_half_open_and_holds_one_at_least() {
        assert_eq!(range("3..7"), Ok(3..7));
        for bad in ["7", "7..7", "9..3", "a..b", "..4"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_kind_that_a_summary_names_can_be_left_out() {
        for seed in 0..40 {
            let scenario = Scenario::of_seed(seed);
            for kind in &scenario.faults {
                assert_eq!(part(kind.name()), Ok(Part::Fault(*kind)));
            }
        }
        assert!(part("weather").unwrap_err().contains("half-open"));
        let seed = (0..).find(|seed| Scenario::of_seed(*seed).liar.is_some()).unwrap();
        assert_eq!(scenario(seed, &[Part::Liar]).liar, None);
    }

    #[test]
    fn a_failure_names_its_invariant_and_how_to_replay_it() {
        let scenario = Scenario::of_seed(17);
        let mut summary = Summary::default();
        summary.add(scenario.panicked("boom"), None, &[Part::Fault(FaultKind::Loss)]);
        let text = summary.verdict().unwrap_err().to_string();
        for word in ["1 of 1", "boom", "folkmoot simulate --seed 17 --trace --without loss"] {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
    }
}
