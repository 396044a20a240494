//! `folkmoot bench soak`: does a coordinator that runs for long hold more and more memory?

use std::path::PathBuf;
use std::time::Instant;

use demo::{DemoFolder, DemoRunError, Process, ProcessError, Processes, StopSignals, demo_plan};
use identity::printable;
use params::Digest;
use plan::PrivacyMode;
use published::verify_folder;
use run_status::Status;
use serde::Serialize;

use crate::error::BenchError;

/// After so many rounds a process has what it needs, and what comes on top is growth.
const WARM_AFTER_ROUNDS: u64 = 100;
/// How much the coordinator may have grown since then.
const GROWTH_PERCENT_MAX: f64 = 10.0;
/// Rounds are small, and everyone is there but those that were killed.
const MINIMUM_WAIT_MS: u64 = 200;
const MIB: f64 = 1_048_576.0;

/// How long, with how many silos, and which of them are killed.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Each process is real, as in `folkmoot demo`: SIGKILL ends a silo, which then starts again and joins the \
                  next round. The first silo is never killed, so that its memory can be followed from the first round to \
                  the last. Exit code 1 if the coordinator's resident memory after the last round is more than 10 % above \
                  that after round 100; with fewer than 200 rounds the growth is shown and not judged. Progress goes to \
                  standard error. Linux only: memory is read from /proc.\n\n\
                  Examples:\n  \
                  folkmoot bench soak\n  \
                  folkmoot bench soak --rounds 300 --clients 5 --churn 5 --json"
)]
pub struct SoakArgs {
    /// How many rounds to commit.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    rounds: u64,
    /// How many silos, 4 to 32: of three none can be lost.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(4..=32))]
    clients: u64,
    /// Kill one silo, and start it again, every so many rounds; 0 kills none.
    #[arg(long, value_name = "N", default_value_t = 10)]
    churn: u64,
    /// Decides which silos are killed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Work in this folder, which must be empty or absent, and keep it; instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// End with one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Resident memory after a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Sample {
    round: u64,
    coordinator_bytes: u64,
    client_bytes: Vec<u64>,
}

/// The result. Its fields are a contract with scripts.
#[derive(Debug, Serialize)]
struct Report {
    rounds: u64,
    rounds_aborted: u64,
    clients: u64,
    churn: u64,
    seed: u64,
    restarts: u64,
    wall_seconds: f64,
    /// Of the coordinator, from the warm round to the last.
    growth_percent: f64,
    /// None where the run was too short to tell.
    within_limit: Option<bool>,
    chain_verified: bool,
    samples: Vec<Sample>,
}

pub(crate) async fn run(args: SoakArgs) -> Result<(), BenchError> {
    let report = StopSignals::listen()?.unless(soak(&args)).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", table(&report));
    }
    match report.within_limit {
        Some(false) => Err(BenchError::Grew {
            percent: report.growth_percent,
            after_round: WARM_AFTER_ROUNDS,
            most: GROWTH_PERCENT_MAX,
        }),
        _ => Ok(()),
    }
}

async fn soak(args: &SoakArgs) -> Result<Report, BenchError> {
    let clients = usize::try_from(args.clients)?;
    // A round that a kill made hopeless is charged too: the plan has room for some.
    let rounds = args.rounds + args.rounds / 4 + 10;
    let mut plan = demo_plan(PrivacyMode::DistributedDpSgd, clients, Some(rounds), None)?;
    plan.timing.minimum_wait_ms = MINIMUM_WAIT_MS;
    let temporary = tempfile::tempdir().map_err(BenchError::NoTemporary)?;
    let folder = DemoFolder::create(Some(args.data.as_deref().unwrap_or(temporary.path())), plan)?;
    let processes = Processes::start(&folder).await?;
    let url = processes.url();
    eprintln!("{} rounds with {clients} silos at {url}; logs in {}", args.rounds, folder.path().display());
    let mut soak = Soak {
        args,
        folder: &folder,
        processes,
        samples: Vec::new(),
        started: Instant::now(),
        restarts: 0,
        rounds_aborted: 0,
    };
    soak.watch().await?;
    soak.finish().await
}

struct Soak<'a> {
    args: &'a SoakArgs,
    folder: &'a DemoFolder,
    processes: Processes<'a>,
    samples: Vec<Sample>,
    started: Instant,
    restarts: u64,
    rounds_aborted: u64,
}

impl Soak<'_> {
    /// Follows the run until it has committed what was asked for.
    async fn watch(&mut self) -> Result<(), DemoRunError> {
        let (_channel, mut changes) = self.processes.watch().await?;
        let mut committed = 0;
        while committed < self.args.rounds {
            tokio::select! {
                message = changes.message() => {
                    let status = self.processes.status(message)?;
                    if let Some(ended) = &status.ended {
                        let what = format!("ended the run too early: {}", printable(&ended.why));
                        return Err(self.processes.coordinator().failure(&what).into());
                    }
                    if status.rounds_committed > committed {
                        self.processes.progressed();
                        self.committed(&status, committed).await?;
                        committed = status.rounds_committed;
                    }
                }
                why = self.processes.failed() => return Err(why.into()),
            }
        }
        Ok(())
    }

    async fn committed(&mut self, status: &Status, before: u64) -> Result<(), ProcessError> {
        let round = status.rounds_committed;
        self.rounds_aborted = status.rounds_aborted;
        let sample = Sample {
            round,
            coordinator_bytes: self.processes.coordinator().resident_bytes()?,
            client_bytes: self
                .processes
                .silos()
                .iter()
                .map(Process::resident_bytes)
                .collect::<Result<_, _>>()?,
        };
        if is_shown(before, round, self.args.rounds) {
            eprintln!(
                "round {round:>6}  {:>8.1} s  {:>8.2} MiB  {} restarts, {} aborted",
                self.started.elapsed().as_secs_f64(),
                sample.coordinator_bytes as f64 / MIB,
                self.restarts,
                self.rounds_aborted
            );
        }
        self.samples.push(sample);
        if let Some(index) = self.victim(before, round) {
            self.processes.restart(index).await?;
            self.restarts += 1;
        }
        Ok(())
    }

    /// Which silo is killed after this round, if any.
    fn victim(&self, before: u64, round: u64) -> Option<usize> {
        let due = |round: u64| round.checked_div(self.args.churn);
        if due(round) == due(before) {
            return None;
        }
        let seed = [self.args.seed.to_le_bytes(), round.to_le_bytes()].concat();
        let drawn = Digest::sha256(&seed)
            .as_bytes()
            .iter()
            .take(4)
            .fold(0, |drawn, byte| drawn << 8 | usize::from(*byte));
        // All but the first, whose memory is followed throughout.
        Some(1 + drawn % (self.processes.silos().len().max(2) - 1))
    }

    async fn finish(self) -> Result<Report, BenchError> {
        self.processes.stop().await.map_err(DemoRunError::from)?;
        let verified = verify_folder(&self.folder.coordinator_data(), Some(self.folder.coordinator_key()))?;
        let growth_percent = growth_percent(&self.samples);
        let judged = self.args.rounds >= 2 * WARM_AFTER_ROUNDS;
        Ok(Report {
            rounds: verified.rounds,
            rounds_aborted: self.rounds_aborted,
            clients: self.args.clients,
            churn: self.args.churn,
            seed: self.args.seed,
            restarts: self.restarts,
            wall_seconds: self.started.elapsed().as_secs_f64(),
            growth_percent,
            within_limit: judged.then_some(growth_percent <= GROWTH_PERCENT_MAX),
            chain_verified: true,
            samples: self.samples,
        })
    }
}

/// Whether a row of the table falls between two rounds: the first, and then ten, or one every hundred.
fn is_shown(before: u64, round: u64, rounds: u64) -> bool {
    let every = if rounds >= 2 * WARM_AFTER_ROUNDS { WARM_AFTER_ROUNDS } else { (rounds / 10).max(1) };
    before == 0 || round / every != before / every || round >= rounds
}

/// Of the coordinator, from the warm round, or the first of a run that has none, to the last.
fn growth_percent(samples: &[Sample]) -> f64 {
    let warm = samples.iter().find(|sample| sample.round >= WARM_AFTER_ROUNDS).or(samples.first());
    let (Some(warm), Some(last)) = (warm, samples.last()) else { return 0.0 };
    (last.coordinator_bytes as f64 / warm.coordinator_bytes as f64 - 1.0) * 100.0
}

fn table(report: &Report) -> String {
    let mut text =
        String::from("round   coordinator   silo-1   other silos, least and most   (MiB resident)\n");
    let mut before = 0;
    for sample in &report.samples {
        if is_shown(before, sample.round, report.rounds) {
            let mib = |bytes: Option<&u64>| bytes.map_or(0.0, |bytes| *bytes as f64 / MIB);
            let (first, others) = sample.client_bytes.split_first().unwrap_or((&0, &[]));
            text += &format!(
                "{:>5}   {:>11.2}   {:>6.2}   {:.2} to {:.2}\n",
                sample.round,
                mib(Some(&sample.coordinator_bytes)),
                mib(Some(first)),
                mib(others.iter().min()),
                mib(others.iter().max())
            );
        }
        before = sample.round;
    }
    let judgement = match report.within_limit {
        Some(true) => "within the limit of 10 %",
        Some(false) => "ABOVE the limit of 10 %",
        None => "not judged: fewer than 200 rounds",
    };
    text + &format!(
        "{} rounds, {} aborted, {} silos killed and started again, {:.1} s, chain verified\n\
         growth of the coordinator: {:+.1} % ({judgement})\n",
        report.rounds, report.rounds_aborted, report.restarts, report.wall_seconds, report.growth_percent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: u64, coordinator_mib: u64) -> Sample {
        Sample {
            round,
            coordinator_bytes: coordinator_mib << 20,
            client_bytes: vec![30 << 20, 20 << 20, 40 << 20],
        }
    }

    fn report(samples: Vec<Sample>) -> Report {
        Report {
            rounds: samples.last().unwrap().round,
            rounds_aborted: 0,
            clients: 3,
            churn: 10,
            seed: 1,
            restarts: 4,
            wall_seconds: 2.0,
            growth_percent: growth_percent(&samples),
            within_limit: Some(growth_percent(&samples) <= GROWTH_PERCENT_MAX),
            chain_verified: true,
            samples,
        }
    }

    #[test]
    fn growth_counts_from_round_100_and_what_came_before_is_warming_up() {
        let samples = [sample(1, 5), sample(99, 9), sample(101, 20), sample(500, 40), sample(1000, 23)];
        assert!((growth_percent(&samples) - 15.0).abs() < 1e-9);
        assert!(
            (growth_percent(&samples[..2]) - 80.0).abs() < 1e-9,
            "a short run counts from its first round"
        );
    }

    #[test]
    fn a_thousand_rounds_have_a_row_for_the_first_and_for_each_hundred() {
        let rounds = (1..=1000).map(|round| sample(round, 20)).collect();
        let text = table(&report(rounds));
        let shown: Vec<&str> = text.lines().filter(|line| line.contains(" to ")).collect();
        assert_eq!(shown.len(), 11, "{text}");
        assert!(shown[0].starts_with("    1") && shown[1].starts_with("  100"), "{text}");
        assert!(
            shown[1].contains("20.00") && shown[1].contains("30.00") && shown[1].contains("20.00 to 40.00")
        );
        assert!(text.contains("+0.0 % (within the limit"), "{text}");
    }

    #[test]
    fn more_than_ten_per_cent_is_said_to_be_above_the_limit() {
        let text = table(&report(vec![sample(100, 20), sample(200, 23)]));
        assert!(text.contains("+15.0 % (ABOVE the limit"), "{text}");
    }
}
