//! The program that a daemon starts beside itself: it starts trainers, and each of these is it again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use params::Digest;
use registration::Registration;
use sandbox::{Demand, Seal, SealProfile};
use trainer_protocol::{Frame, FrameFault, Reply};
use zeroize::Zeroizing;

use crate::{TrainerRole, Trainers, serve};

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
    /// Read the silo's policy, seal this process, then train as the daemon asks over standard input.
    Train {
        /// The silo's configuration, of which the policy is read: no plan is trained for that it refuses.
        #[arg(long, value_name = "FILE")]
        configuration: PathBuf,
        #[command(flatten)]
        held: Held,
    },
    /// Seal this process, then describe the files to the operator who asks over standard input.
    Describe(Held),
}

#[derive(clap::Args, Debug)]
struct Held {
    /// The silo's table: a CSV file, or a folder of them.
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// How its files are written and what their columns mean, as its operator has confirmed it.
    #[arg(long, value_name = "FILE", requires = "registration_digest")]
    registration: Option<PathBuf>,
    /// Of the registration's bytes, as they were when the daemon started.
    #[arg(long, value_name = "SHA256", requires = "registration")]
    registration_digest: Option<Digest>,
    /// How it is sealed: required, best_effort or off.
    #[arg(long, value_name = "DEMAND")]
    sandbox: Demand,
    /// The most memory that it may use.
    #[arg(long, value_name = "MEBIBYTES", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    memory_mb: Option<u64>,
}

const CHANGED: &str = "is not what it was when the daemon started, and nothing is read by it: start the daemon again, once it is what you \
                       have confirmed";

/// Why a trainer ended that its daemon did not end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    NoParent(#[from] spawner::NoParent),
    #[error("it cannot be sealed: {0}")]
    Seal(#[from] sandbox::SealError),
    #[error("{}: the policy that it trains by cannot be read: {why}; correct the file", file.display())]
    Policy { file: PathBuf, why: String },
    #[error("{}: the registration of the data {why}", file.display())]
    Registration { file: PathBuf, why: String },
    #[error("the registration's {0}")]
    Registered(#[from] plan::Problem),
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
        Role::Train { configuration, held } => {
            work(held, Some(configuration), trainers).map_err(|why| why.to_string())
        }
        Role::Describe(held) => work(held, None, trainers).map_err(|why| why.to_string()),
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

/// The policy, before the seal leaves no way to it, and anew by each trainer: what an operator allows holds from the next one on.
fn by_configuration(file: &Path) -> Result<TrainerRole, Broken> {
    let unusable = |why: String| Broken::Policy { file: file.to_owned(), why };
    // Beside the policy there may be a password.
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|why| unusable(why.to_string()))?;
    TrainerRole::by_configuration(&text).map_err(|why| unusable(why.to_string()))
}

/// What the daemon started with, and nothing that took its name since: else files would be read in another way in the midst of a run.
fn registered(args: &Held) -> Result<Option<Registration>, Broken> {
    let (Some(file), Some(digest)) = (&args.registration, args.registration_digest) else { return Ok(None) };
    let unusable = |why: String| Broken::Registration { file: file.clone(), why };
    let text = std::fs::read_to_string(file).map_err(|why| unusable(format!("cannot be read: {why}")))?;
    if Digest::sha256(text.as_bytes()) != digest {
        return Err(unusable(CHANGED.into()));
    }
    Registration::from_toml(&text).map(Some).map_err(|why| unusable(format!("cannot be used: {why}")))
}

fn work(args: &Held, configuration: Option<&Path>, trainers: &Trainers) -> Result<(), Broken> {
    spawner::tether()?;
    let role = configuration.map_or(Ok(TrainerRole::Describe), by_configuration);
    let prepared = role.and_then(|role| {
        let registration = registered(args)?;
        Ok((role.registered(registration.as_ref())?, registration))
    });
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
    let sealed = seal.apply(args.sandbox).map_err(Broken::from);
    let mut stream = spawner::standard_input().map_err(Broken::NoStream)?;
    match sealed.and_then(|level| Ok((level, prepared?))) {
        Ok((level, (role, registration))) => {
            Ok(serve(stream, &args.data, registration, &role, level, trainers)?)
        }
        Err(why) => {
            // Its standard error is nobody's.
            let failed = Reply::Failed { job: 0, data: false, why: Reply::text(&why.to_string()) };
            stream.write_all(&Frame::of(&failed, &[])?.to_bytes()).map_err(FrameFault::from)?;
            Err(why)
        }
    }
}
