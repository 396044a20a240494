//! `folkmoot demo`: a federation on one machine, from keys to a verified chain of checkpoints.
//!
//! ```text
//!              ┌─ folkmoot coordinator ─┐  Watch, ListCheckpoints, FetchModel
//! demo ─starts─┤                        ├──────────────────────> progress, summary
//!              └─ folkmoot client × N  ─┘
//! ```

#[cfg(test)]
mod configurations;
mod follow;
mod mode;
mod progress;
#[cfg(test)]
mod samples;
mod summary;

use std::io;
use std::num::TryFromIntError;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use demo::{Daemon, DaemonError, DemoFolderError, DemoPlanError, Folder, adaptive, demo_plan, silo_name};
use plan::Plan;
use protocol::RunEnd;
use published::{CheckpointFault, verify_folder};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::v1::operator_client::OperatorClient;
use wire::v1::{RunStatus, WatchRequest};

use crate::connect::{ConnectError, connect, printable, refused};
pub(crate) use follow::FollowError;
use follow::{Checkpoint, follow};
pub(crate) use mode::Mode;
use progress::Progress;
use summary::{Ending, Summary};

/// How often the processes are looked after.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// A run that commits nothing for so many round deadlines is stuck.
const STUCK_AFTER_DEADLINES: u32 = 3;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Data: 1,797 handwritten digits that the program carries; every fifth is held out and no silo has it. \
                  Without --keep the silos' data, keys, states and logs are removed at the end; the model, the chain of \
                  checkpoints, the plan and the roster stay. With --json the last line of standard output is one object, \
                  progress goes to standard error, and `dropouts` counts silos that missed at least one sum.\n\n\
                  Examples:\n  \
                  folkmoot demo\n  \
                  folkmoot demo --privacy none --clients 3\n  \
                  folkmoot demo --kill-client-at-round 5\n  \
                  folkmoot demo --rounds 3 --json"
)]
pub(crate) struct Args {
    /// How many silos, 3 to 32.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=32))]
    clients: u64,
    /// How many rounds; the noise is calibrated to them [default: 30; 40 for none, else 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: Option<u64>,
    /// How much the run may spend, at delta 1e-5 [default: 4.9; 8 for silo_dp_sgd, 50 for the dp_fedavg modes]
    #[arg(long, value_name = "E", value_parser = parse_epsilon)]
    epsilon: Option<f64>,
    /// What is promised about the silos' records.
    #[arg(long, value_name = "MODE", value_enum, default_value = "distributed_dp_sgd")]
    privacy: Mode,
    /// Let the clip norm follow the median of the norms, counted under the same noise.
    #[arg(long)]
    adaptive_clip: bool,
    /// Kill the last silo's daemon by SIGKILL in this round; takes four silos or more.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    kill_client_at_round: Option<u64>,
    /// Work in this folder, which must be empty or absent, instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep everything: the silos' data, keys, states and logs too.
    #[arg(long)]
    keep: bool,
    /// End with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Why the demonstration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Clients(#[from] TryFromIntError),
    #[error(transparent)]
    Plan(#[from] DemoPlanError),
    #[error("--kill-client-at-round {round}: the run has {rounds} rounds only")]
    KillTooLate { round: u64, rounds: u64 },
    #[error(
        "--kill-client-at-round: three silos are the fewest that a sum may hold, so none of three can be lost; add \
         --clients 4 or more"
    )]
    KillOfThree,
    #[error(transparent)]
    Folder(#[from] DemoFolderError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Call(#[from] ConnectError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("the published models are no longer followed")]
    NotFollowed,
    #[error(transparent)]
    Chain(#[from] CheckpointFault),
    #[error("the model on disk is not the one that the coordinator served")]
    AnotherModel,
    #[error("the run ended without a single checkpoint")]
    NoCheckpoint,
    #[error("`{}`: {why}", folder.display())]
    Unwritable {
        folder: PathBuf,
        #[source]
        why: io::Error,
    },
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Of this process.
    #[error(transparent)]
    Process(io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("terminated")]
    Terminated,
}

pub(crate) async fn run(args: Args) -> Result<(), DemoError> {
    let clients = usize::try_from(args.clients)?;
    let mut plan = demo_plan(args.privacy.into(), clients, args.rounds, args.epsilon)?;
    if args.adaptive_clip {
        plan = adaptive(plan)?;
    }
    check_kill(&args, &plan)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Process)?;
    let folder = Folder::create(args.data.as_deref(), plan)?;
    let plan = folder.plan();
    let demo = Demo {
        progress: Progress::new(args.json, plan.rounds, plan.budget().map(|(epsilon, _)| epsilon)),
        started: Instant::now(),
        kill_at: args.kill_client_at_round,
        args: &args,
        plan,
        folder: &folder,
    };
    // Dropping the demonstration's future kills its processes.
    let done = tokio::select! {
        done = demo.run() => done,
        _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        _ = terminate.recv() => Err(DemoError::Terminated),
    };
    done.inspect_err(|_| {
        eprintln!("the demonstration's files are kept in {}", folder.path().display());
    })
}

fn parse_epsilon(text: &str) -> Result<f64, String> {
    let epsilon: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if epsilon.is_finite() && epsilon > 0.0 { Ok(epsilon) } else { Err("must be a positive number".into()) }
}

fn check_kill(args: &Args, plan: &Plan) -> Result<(), DemoError> {
    let Some(round) = args.kill_client_at_round else { return Ok(()) };
    if round > plan.rounds {
        return Err(DemoError::KillTooLate { round, rounds: plan.rounds });
    }
    if plan.cohort.minimum >= plan.cohort.maximum {
        return Err(DemoError::KillOfThree);
    }
    Ok(())
}

struct Demo<'a> {
    args: &'a Args,
    plan: &'a Plan,
    folder: &'a Folder,
    progress: Progress,
    started: Instant,
    kill_at: Option<u64>,
}

impl Demo<'_> {
    async fn run(mut self) -> Result<(), DemoError> {
        self.announce();
        let mut coordinator = Daemon::start(
            "coordinator",
            "coordinator",
            &self.folder.coordinator_config(),
            self.folder.log("coordinator"),
        )?;
        let url = format!("http://{}", coordinator.address().await?);
        self.folder.configure_silos(&url)?;
        let mut silos = Vec::new();
        for index in 0..self.plan.cohort.maximum {
            let name = silo_name(index);
            let log = self.folder.log(&name);
            silos.push(Daemon::start("client", &name, &self.folder.client_config(index), log)?);
        }
        self.progress.say(&format!(
            "coordinator at {url}, {} silos, each a process of its own; their logs are in {}",
            silos.len(),
            self.folder.path().display()
        ));
        self.progress.header();
        let checkpoints = self.watch(&url, &mut coordinator, &mut silos).await?;
        for silo in &mut silos {
            silo.stop().await?;
        }
        coordinator.stop().await?;
        self.finish(&checkpoints)
    }

    fn announce(&mut self) {
        let mode = self.plan.mode();
        self.progress.say(&format!(
            "Folkmoot demonstration: handwritten digits, {} silos, {} rounds, mode {mode}",
            self.plan.cohort.maximum, self.plan.rounds
        ));
        match self.args.privacy {
            Mode::DistributedDpSgd | Mode::SiloDpSgd => {}
            Mode::None => self.progress.say(
                "WARNING: without noise the sums are exact. They carry NO differential privacy, and can be \
                 differenced across rounds.",
            ),
            Mode::CentralDpFedavg => self.progress.say(
                "WARNING: in this mode the coordinator sees exact sums and has to be trusted to add the noise; and it hides \
                 a whole silo, which wants about a thousand of them.",
            ),
            Mode::DistributedDpFedavg => self.progress.say(
                "WARNING: this mode hides a whole silo among the others. With so few silos it learns nothing at an \
                 epsilon that means anything; it wants about a thousand.",
            ),
        }
    }

    /// Follows the run to its end.
    async fn watch(
        &mut self,
        url: &str,
        coordinator: &mut Daemon,
        silos: &mut [Daemon],
    ) -> Result<Vec<Checkpoint>, DemoError> {
        let channel = connect(url).await?;
        let changes = OperatorClient::new(channel.clone()).watch(WatchRequest {}).await;
        let mut changes = changes.map_err(|why| refused(&why))?.into_inner();
        let (head, heads) = watch::channel(None);
        let mut evaluated = follow(channel, self.folder.coordinator_key(), self.plan.clone(), heads);
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        let mut last_progress = Instant::now();
        let mut aborted = 0;
        let mut last_round = None;
        let mut check = tokio::time::interval(CHECK_EVERY);
        loop {
            tokio::select! {
                status = changes.message(), if last_round.is_none() => {
                    let status = match status {
                        Ok(Some(status)) => status,
                        Ok(None) => return Err(coordinator.failure("closed its connection").into()),
                        Err(why) => return Err(coordinator.failure(&wire::describe(&why)).into()),
                    };
                    self.kill_when_due(&status, silos).await?;
                    self.show(&status, &mut aborted);
                    if status.head.is_some() {
                        head.send_if_modified(|round| round.replace(status.head_round) != Some(status.head_round));
                    }
                    if let Some(ended) = &status.ended {
                        self.check_end(ended, coordinator)?;
                        last_round = Some(status.head_round);
                    }
                }
                checkpoint = evaluated.recv() => {
                    let checkpoint = checkpoint.ok_or(DemoError::NotFollowed)??;
                    self.progress.committed(&checkpoint);
                    last_progress = Instant::now();
                    checkpoints.push(checkpoint);
                }
                _ = check.tick() => {
                    coordinator.check()?;
                    silos.iter_mut().try_for_each(Daemon::check)?;
                    let patience = Duration::from_millis(self.plan.timing.round_deadline_ms) * STUCK_AFTER_DEADLINES;
                    if last_progress.elapsed() > patience {
                        let what = format!("has committed no round for {} s", patience.as_secs());
                        return Err(coordinator.failure(&what).into());
                    }
                }
            }
            let newest = checkpoints.last().map(|checkpoint| checkpoint.manifest.round);
            if newest.is_some() && newest == last_round {
                return Ok(checkpoints);
            }
        }
    }

    async fn kill_when_due(&mut self, status: &RunStatus, silos: &mut [Daemon]) -> Result<(), DemoError> {
        let Some(round) = self.kill_at else { return Ok(()) };
        let in_progress = status.deadline_ms.is_some() || status.round > round;
        if status.round < round || !in_progress {
            return Ok(());
        }
        self.kill_at = None;
        if let Some(last) = silos.last_mut() {
            last.kill().await?;
            let line = format!(
                "{:>5}  {} was killed by SIGKILL, as asked; the run goes on",
                status.round,
                last.name()
            );
            self.progress.say(&line);
        }
        Ok(())
    }

    fn show(&mut self, status: &RunStatus, aborted: &mut u64) {
        if status.rounds_aborted > *aborted {
            *aborted = status.rounds_aborted;
            self.progress.say(&format!("       aborted    {}", printable(&status.last_outcome)));
        }
        self.progress.phase(status.round, &printable(&status.phase));
    }

    fn check_end(&self, ended: &str, coordinator: &Daemon) -> Result<(), DemoError> {
        let well = [RunEnd::Complete, RunEnd::BudgetSpent].iter().any(|end| end.to_string() == ended);
        if well {
            Ok(())
        } else {
            Err(coordinator.failure(&format!("ended the run: {}", printable(ended))).into())
        }
    }

    /// Verifies what is on disk, as anyone can, and says what was shown.
    fn finish(mut self, checkpoints: &[Checkpoint]) -> Result<(), DemoError> {
        let data = self.folder.coordinator_data();
        let verified = verify_folder(&data, Some(self.folder.coordinator_key()))?;
        let seen = checkpoints.last().map(|checkpoint| checkpoint.manifest.model.sha256);
        if seen != Some(verified.model_sha256) {
            return Err(DemoError::AnotherModel);
        }
        let unwritable = |why| DemoError::Unwritable { folder: self.folder.path().to_owned(), why };
        let model_path = self.folder.publish_model(&verified.model_path).map_err(unwritable)?;
        if !self.args.keep {
            self.folder.remove_private().map_err(unwritable)?;
        }
        let ending = Ending {
            clients: self.plan.cohort.maximum,
            wall_seconds: self.started.elapsed().as_secs_f64(),
            model_path: &model_path,
            chain_verified: true,
        };
        let summary = Summary::of(checkpoints, &ending).ok_or(DemoError::NoCheckpoint)?;
        self.progress.say("");
        let program = std::env::current_exe().map_err(DemoError::Process)?;
        let check = format!(
            "{} verify {} --key {}",
            program.display(),
            data.display(),
            checkpoint::public_key_text(&self.folder.coordinator_key())
        );
        self.progress.say(summary.text(self.plan, &check).trim_end());
        if self.args.keep {
            self.progress.say(&format!("kept          {}", self.folder.path().display()));
        }
        if self.args.json {
            println!("{}", serde_json::to_string(&summary)?);
        }
        Ok(())
    }
}
