//! `folkmoot simulate`: whole federations under faults, liars and a lying coordinator, each from a seed.

use std::ops::Range;
use std::time::{Duration, Instant};

use sim::{Campaign, Invariant, ScenarioPart, Tally};

use crate::Failure;

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
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    without: Vec<ScenarioPart>,
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

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let campaign = Campaign { without: args.without.clone() };
    let started = Instant::now();
    let (mut tally, text) = match (&args.seeds, args.seed) {
        (Some(seeds), _) => (all(args, &campaign, seeds.clone()), None),
        (None, Some(seed)) => {
            let (tally, text) = one(args, &campaign, seed);
            (tally, Some(text))
        }
        (None, None) => return Err(Failure::usage("name a --seed or a range of --seeds")),
    };
    tally.seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!("{}", serde_json::to_string(&tally).map_err(Failure::failed)?);
    } else {
        print!("{}", text.unwrap_or_else(|| tally.to_text()));
    }
    tally.verdict().map_err(Failure::failed)
}

/// Simulates one federation; what is said of it.
fn one(args: &Args, campaign: &Campaign, seed: u64) -> (Tally, String) {
    let scenario = campaign.scenario(seed);
    let mut report = scenario.run_caught(args.trace);
    let rows = std::mem::take(&mut report.trace);
    print!("{}", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    let text = format!(
        "{scenario}\n{} rounds, {} committed, {} attempts aborted, {} events, {:.1} simulated seconds\n",
        report.rounds,
        report.rounds_committed,
        report.attempts_aborted,
        report.events,
        report.simulated_ms as f64 / 1000.0
    );
    (campaign.tally_of(report), text)
}

/// Simulates them all, and says now and then how far it is.
fn all(args: &Args, campaign: &Campaign, seeds: Range<u64>) -> Tally {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let federations = seeds.end - seeds.start;
    let mut said = Instant::now();
    campaign.run(seeds, jobs, |tally| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            eprintln!(
                "{} of {federations} federations, {} rounds, {} failures",
                tally.federations,
                tally.rounds,
                tally.failures.len()
            );
        }
    })
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, such as 0..2000")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|why| format!("`{text}`: {why}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("it holds no seed; the second number is not in it".into()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn the_second_number_of_a_range_of_seeds_is_not_in_it() {
        assert_eq!(range("3..7"), Ok(3..7));
    }
}
