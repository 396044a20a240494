//! `folkmoot demo`: a federation on one machine, from keys to a verified chain of checkpoints.
//!
//! ```text
//!              ┌─ folkmoot coordinator ─┐  Watch, ListCheckpoints, FetchModel
//! demo ─starts─┤                        ├──────────────────────> progress, summary
//!              └─ folkmoot client × N  ─┘
//! ```

mod mode;
mod progress;

use std::io;
use std::num::TryFromIntError;
use std::path::PathBuf;
use std::time::Instant;

use demo::{
    DemoEnd, DemoFolder, DemoFolderError, DemoPlanError, DemoRunError, EvaluatedVersion, StopSignals,
    StoppedError, Summary, adaptive, demo_plan,
};
use plan::Plan;
use published::{CheckpointFault, verify_folder};

pub(crate) use mode::Mode;
use progress::Progress;

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
    #[arg(long = "dir", alias = "data", value_name = "DIR")]
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
    Run(#[from] DemoRunError),
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
    #[error(transparent)]
    Stopped(#[from] StoppedError),
}

pub(crate) async fn run(args: Args) -> Result<(), DemoError> {
    let clients = usize::try_from(args.clients)?;
    let mut plan = demo_plan(args.privacy.into(), clients, args.rounds, args.epsilon)?;
    if args.adaptive_clip {
        plan = adaptive(plan)?;
    }
    check_kill(&args, &plan)?;
    let stop = StopSignals::listen()?;
    let folder = DemoFolder::create(args.data.as_deref(), plan)?;
    let plan = folder.plan();
    let demo = Demo {
        progress: Progress::new(args.json, plan, folder.path()),
        started: Instant::now(),
        args: &args,
        plan,
        folder: &folder,
    };
    stop.unless(demo.run()).await.inspect_err(|_| {
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
    folder: &'a DemoFolder,
    progress: Progress,
    started: Instant,
}

impl Demo<'_> {
    async fn run(mut self) -> Result<(), DemoError> {
        self.announce();
        let versions = demo::run(self.folder, self.args.kill_client_at_round, &mut self.progress).await?;
        self.finish(&versions)
    }

    fn announce(&mut self) {
        let mode = self.plan.mode();
        self.progress.say(&format!(
            "Folkmoot demonstration: handwritten digits, {} silos, {} rounds, mode {mode}",
            self.plan.cohort.maximum, self.plan.rounds
        ));
        if let Some(warning) = demo::mode_warning(mode) {
            self.progress.say(warning);
        }
    }

    /// Verifies what is on disk, as anyone can, and says what was shown.
    fn finish(mut self, versions: &[EvaluatedVersion]) -> Result<(), DemoError> {
        let data = self.folder.coordinator_data();
        let verified = verify_folder(&data, Some(self.folder.coordinator_key()))?;
        let seen = versions.last().map(|version| version.manifest.model.sha256);
        if seen != Some(verified.model_sha256) {
            return Err(DemoError::AnotherModel);
        }
        let unwritable = |why| DemoError::Unwritable { folder: self.folder.path().to_owned(), why };
        let model_path = self.folder.publish_model(&verified.model_path).map_err(unwritable)?;
        if !self.args.keep {
            self.folder.remove_private().map_err(unwritable)?;
        }
        let ending = DemoEnd {
            clients: self.plan.cohort.maximum,
            wall_seconds: self.started.elapsed().as_secs_f64(),
            model_path: &model_path,
            chain_verified: true,
        };
        let summary = Summary::of(versions, &ending).ok_or(DemoError::NoCheckpoint)?;
        self.progress.say("");
        let program = std::env::current_exe().map_err(StoppedError::Process)?;
        let check = format!(
            "{} verify {} --key {}",
            program.display(),
            data.display(),
            checkpoint::public_key_text(&self.folder.coordinator_key())
        );
        self.progress.say(demo::summary_text(&summary, self.plan, &check).trim_end());
        if self.args.keep {
            self.progress.say(&format!("kept          {}", self.folder.path().display()));
        }
        if self.args.json {
            println!("{}", serde_json::to_string(&summary)?);
        }
        Ok(())
    }
}
