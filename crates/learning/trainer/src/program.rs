//! The program that a daemon starts beside itself: it starts trainers, and each of these is it again.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use sandbox::{Demand, Seal, SealProfile};
use trainer_protocol::{Frame, FrameFault, Reply};

use crate::{Trainers, serve};

/// The command line, which a daemon writes.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand, Debug)]
enum Role {
    /// Start and end trainers, as the daemon asks over standard input.
    Spawner(spawner::SpawnerArgs),
    /// Seal this process, then train as the daemon asks over standard input.
    Train(Training),
}

#[derive(clap::Args, Debug)]
struct Training {
    /// The silo's table: a CSV file, or a folder of them.
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// How it is sealed: required, best_effort or off.
    #[arg(long, value_name = "DEMAND")]
    sandbox: Demand,
    /// The most memory that it may use.
    #[arg(long, value_name = "MEBIBYTES", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    memory_mb: Option<u64>,
}

/// Why a trainer ended that its daemon did not end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    NoParent(#[from] spawner::NoParent),
    #[error("it cannot be sealed: {0}")]
    Seal(#[from] sandbox::SealError),
    #[error("its standard input is no stream of a daemon's: {0}")]
    NoStream(#[source] std::io::Error),
    #[error(transparent)]
    Daemon(#[from] FrameFault),
}

/// The whole program behind `folkmoot-trainer`, with what trains. Called with one thread: a process can be sealed only before it has
/// a second one.
pub fn main_with(args: &Args, trainers: &Trainers) -> ExitCode {
    let ended = match &args.role {
        Role::Spawner(args) => spawner::serve_daemon(args).map_err(|why| why.to_string()),
        Role::Train(args) => train(args, trainers).map_err(|why| why.to_string()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // A spawner's standard error is its daemon's, a trainer's nobody's: nothing is lost that the exit code does not say.
            let _ = writeln!(std::io::stderr(), "trainer: {why}");
            ExitCode::FAILURE
        }
    }
}

fn train(args: &Training, trainers: &Trainers) -> Result<(), Broken> {
    spawner::tether()?;
    let seal = Seal {
        profile: SealProfile::Native,
        // Where it is not there it cannot be read: the daemon hears so when it asks.
        read: Some(args.data.clone()).filter(|data| data.exists()).into_iter().collect(),
        runtime: Vec::new(),
        write: Vec::new(),
        memory_bytes: args.memory_mb.map(|mebibytes| mebibytes << 20),
    };
    // Where memory is short, it ends before its daemon does. What cannot be written here changes nothing else.
    let _: std::io::Result<()> = std::fs::write("/proc/self/oom_score_adj", "1000");
    let sealed = seal.apply(args.sandbox);
    let mut stream = spawner::standard_input().map_err(Broken::NoStream)?;
    let level = match sealed {
        Ok(level) => level,
        Err(why) => {
            // Its standard error is nobody's.
            let failed = Reply::Failed {
                job: 0,
                data: false,
                why: Reply::text(&format!("it cannot be sealed: {why}")),
            };
            stream.write_all(&Frame::of(&failed, &[])?.to_bytes()).map_err(FrameFault::from)?;
            return Err(why.into());
        }
    };
    Ok(serve(stream, &args.data, level, trainers)?)
}
