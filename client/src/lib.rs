//! A silo's shell: sockets, disk and clock around `protocol::Participant`.
//!
//! ```text
//!   coordinator <--one HTTP/2 connection--> link --News--> driver (one task, owner of the core and the journal)
//!                                                           |  ^
//!                                                 fetch, train, mask, upload            (jobs)
//! ```
//!
//! Owns: the configuration ([`Config`]), the driver that performs effects in order, the session and its
//! reconnection, the jobs. Decides nothing about a round and keeps no secret on disk: both are the core's. It
//! opens one outbound connection and listens nowhere.
//!
//! ```
//! let nowhere = client::Config::load(std::path::Path::new("no-such-folder/client.toml")).err().unwrap();
//! assert!(nowhere.to_string().starts_with("cannot read it: "));
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

// Printing that outlives its reader: see `daemon::out`. Tests print as the test runner captures it.
#[cfg(not(test))]
#[macro_use(eprintln, print, println)]
extern crate daemon;

mod commands;
mod config;
mod departures;
mod driver;
mod enroll;
mod isolation;
mod jobs;
mod link;
mod models;
mod offers;
mod patience;
mod policy_file;
mod proxy;
mod renewal;
mod trainer_program;
mod transport;
mod watchman;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use alarms::Alarm;
use identity::with_causes;
use protocol::{ClientRecord, Participant, ParticipantError, RecordError, RunEnd, SandboxLevelError};
use sandbox::Demand;
use spawner::Program;
use spending::{LostJournal, RolledBack, SpendingError, UncheckedSpending};
use store::{FileStore, JournalKind, OpenedStore, Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vault::Vault;
use witness::{ForgottenLog, OpenFault};

pub use config::{BesideDaemon, BesideError, Config, LedgerConfig, Loaded};
pub use daemon::ConfigError;
use daemon::{Daemon, EXIT_CONFIGURATION, EXIT_FAILURE, Stopped};
use departures::Departures;
use driver::{Driver, Parts};
pub use enroll::EnrollError;
use link::Link;
use offers::Offers;
use patience::Patience;
use policy_file::PolicyFile;
pub use transport::Tls;
use watchman::Watchman;
use workshop::{TrainerPool, TrainerSource, Workshop};

/// News that may wait for the driver; beyond it the link stops reading, and the coordinator waits.
const NEWS_WAITING: usize = 256;

/// Exit code of a silo that the coordinator refused, or that its own policy keeps out.
const EXIT_REFUSED: u8 = 3;

/// The command line of the daemon.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The daemon takes part in every run that it is offered and its policy allows, and stays when one is over: stop it, \
                  or start it with --one-run.\n\
                  Exit codes: 0 it was stopped (with --one-run: the run is over), 1 a failure while running, 2 the \
                  configuration cannot be used, 3 refused by the coordinator (with --one-run: or by this silo's policy). Data \
                  that does not fit a plan, training that fails, and runs that this silo refuses end nothing and change no exit \
                  code: `alarms` shows what you have to look at, and exits with 1 where there is something.\n\
                  The log goes to standard error; FOLKMOOT_LOG overrides its filter.",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Args {
    /// The configuration file; deploy/ holds a commented sample.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Check the configuration, the roster and the key, read the data to its end, say what of it fits no registered column, and exit.
    #[arg(long)]
    check: bool,
    /// Take part in one run and exit when it is over, or refused: for a job of a scheduler.
    #[arg(long)]
    one_run: bool,
    #[command(subcommand)]
    command: Option<commands::Command>,
}

/// How the daemon ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The coordinator said that the one run is over that it was to take part in.
    Finished(RunEnd),
    /// It was asked to stop.
    ShutDown,
}

/// What ends the daemon.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration, or what it names, cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be used.
    #[error("the coordinator's address cannot be used: {0}")]
    Address(#[source] tonic::transport::Error),
    /// The roster, the key and the journal do not fit together.
    #[error(transparent)]
    Participant(#[from] ParticipantError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be written.
    #[error("{0}; stopped before anything was said that the journal does not hold: fix that and start again")]
    Append(#[source] StoreError),
    /// A record of the journal is of another version.
    #[error(
        "{0}; start the release that wrote the journal, and do not delete it: it holds what this silo spent"
    )]
    Record(#[source] RecordError),
    /// The ledger of the data cannot be used, or does not agree with its anchor.
    #[error("{0}; nothing leaves this silo that its ledger does not hold")]
    Ledger(#[from] ledger::LedgerError),
    /// The ledger lacks what the journal has.
    #[error(transparent)]
    RolledBack(RolledBack),
    /// The journal lacks what the ledger has.
    #[error(transparent)]
    LostJournal(LostJournal),
    /// What leaves cannot be written down.
    #[error(
        "{0}; stopped before anything left that the silo's own log does not tell: fix that and start again"
    )]
    Departures(#[source] audit::LogError),
    /// The silo's memory of the coordinator's audit log cannot be used.
    #[error(transparent)]
    Memory(#[from] audit::WitnessError),
    /// What this silo remembered of that log is gone.
    #[error(transparent)]
    ForgottenLog(#[from] ForgottenLog),
    /// The coordinator's audit log contradicts what was signed before.
    #[error("this silo takes no further part: {0}")]
    History(String),
    /// The coordinator's record of a round contradicts what this silo saw and signed in it.
    #[error(
        "this silo takes no further part: the coordinator signed a record of round {round} whose `{what}` is not what this \
         silo saw and signed in that round; both are kept in `{}`: show them to the other members", evidence.display()
    )]
    Contradiction {
        /// The round.
        round: u64,
        /// What in the record does not fit.
        what: &'static str,
        /// The file with both texts.
        evidence: PathBuf,
    },
    /// The coordinator does not talk to this silo.
    #[error("the coordinator refused this silo: {0}")]
    RefusedByCoordinator(String),
    /// This silo does not take part in the one run that it is offered.
    #[error("this silo refused the run: {0}; change the plan or, if that is meant, this silo's policy")]
    RefusedRun(String),
}

impl From<SpendingError> for RunError {
    fn from(why: SpendingError) -> Self {
        match why {
            SpendingError::Ledger(why) => Self::Ledger(why),
            SpendingError::RolledBack(why) => Self::RolledBack(why),
            SpendingError::LostJournal(why) => Self::LostJournal(why),
        }
    }
}

impl From<OpenFault> for RunError {
    fn from(why: OpenFault) -> Self {
        match why {
            OpenFault::Name(why) => Self::Departures(why.into()),
            OpenFault::Memory(why) => Self::Memory(why),
        }
    }
}

impl RunError {
    /// The process's exit code, as `--help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Address(_) => EXIT_CONFIGURATION,
            Self::Participant(ParticipantError::Journal { .. }) => EXIT_FAILURE,
            Self::Participant(_) => EXIT_CONFIGURATION,
            Self::Ledger(_) | Self::RolledBack(_) | Self::LostJournal(_) => EXIT_FAILURE,
            Self::Store(_) | Self::Append(_) | Self::Record(_) | Self::Departures(_) | Self::Memory(_) => {
                EXIT_FAILURE
            }
            Self::ForgottenLog(_) => EXIT_FAILURE,
            Self::RefusedByCoordinator(_) | Self::RefusedRun(_) | Self::History(_) => EXIT_REFUSED,
            Self::Contradiction { .. } => EXIT_REFUSED,
        }
    }
}

/// The whole program behind `folkmoot-client` and `folkmoot client`.
///
/// `trainer` is the subcommand by which this very program plays the roles of the spawner and the trainer, where it does; else
/// `folkmoot-trainer` beside it does. A configuration may name another.
#[allow(clippy::print_stderr, reason = "there is no log yet")]
pub fn main_with(args: Args, trainer: Option<&str>) -> ExitCode {
    // Whatever was open as this process began leads past what it gives up later.
    let closed = sandbox::close_descriptors().map_err(|why| why.to_string());
    let program = match closed.and_then(|()| workshop::program(trainer).map_err(|why| why.to_string())) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    if let Some(command) = args.command {
        return daemon::out::finish(commands::run(command, &program));
    }
    // Without a subcommand there is one.
    let Args { config, check, one_run, .. } = args;
    daemon::main::<Loaded>(&config.unwrap_or_default(), check, |loaded| {
        (loaded.one_run, loaded.trains.program) = (one_run, Some(program));
    })
}

impl Daemon for Loaded {
    fn load(file: &Path) -> Result<Self, ConfigError> {
        Config::load(file)
    }

    fn log(&self) -> (&str, bool) {
        (&self.config.log, self.config.log_json)
    }

    #[allow(clippy::print_stdout)]
    fn check(&self) -> Result<String, String> {
        for line in Alarm::new(&self.config.state_dir, daemon::wall_ms).lines() {
            println!("alarm: {line}");
        }
        if let Some(why) = self.unaccepted() {
            return Err(format!("policy: {why}"));
        }
        let program = self.program().map_err(|why| format!("trainer: {why}"))?;
        let demand = self.config.demand();
        if demand != Demand::Off {
            let keeps =
                self.config.shut_out(self.file.as_deref(), &program.path).map_err(|why| why.to_string())?;
            keeps.check(demand).map_err(|why| format!("sandbox: {why}"))?;
        }
        let found = self.config.check_data(&program).map_err(|why| format!("data: {why}"))?;
        found.iter().for_each(|line| println!("data: {line}"));
        Ok(String::new())
    }

    fn notes(&self) -> Vec<String> {
        let of_ledger = self.config.ledger.notes().map(str::to_owned);
        let of_sandbox = self.config.sandbox_note().map(str::to_owned);
        of_ledger.chain(of_sandbox).chain(self.config.policy.notes()).collect()
    }

    fn isolate(&mut self) -> Result<(), Stopped> {
        let unusable = |why: String| Stopped { why, exit_code: EXIT_CONFIGURATION };
        let program = self.program().map_err(|why| unusable(format!("trainer: {why}")))?;
        let file = self.file.as_deref().ok_or_else(|| unusable("the configuration is in no file".into()))?;
        let spawner = self.config.spawner(&program, Some(file)).map_err(|why| unusable(why.to_string()))?;
        let spawner = Arc::new(spawner);
        let level = workshop::sandbox_level(&workshop::of_spawner(Arc::clone(&spawner)))
            .map_err(|why| unusable(format!("trainer: {why}")))?;
        // As it is now, for each check-in: it follows from no data, and is the same in each run.
        let sandbox = level.word().parse().map_err(|why: SandboxLevelError| unusable(why.to_string()))?;
        self.profile.sandbox = Some(sandbox);
        (self.trains.spawner, self.trains.level) = (Some(spawner), Some(level));
        let keeps = self
            .config
            .shut_out(self.file.as_deref(), &program.path)
            .map_err(|why| unusable(why.to_string()))?;
        let shut_out = sandbox::shut_out(&keeps, self.config.demand());
        let shut_out = shut_out.map_err(|why| unusable(format!("sandbox: {why}")))?;
        match shut_out.is_full() {
            true => tracing::info!("this process has shut itself out of the data; {shut_out}"),
            false => tracing::warn!("this process is not shut out of the data; {shut_out}"),
        }
        Ok(())
    }

    async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Stopped> {
        self.notes().iter().for_each(|note| tracing::warn!("{note}"));
        if let Some(sandbox) = &self.profile.sandbox {
            tracing::info!("trainers are held like this: {sandbox}");
        }
        if let Some(why) = self.unaccepted() {
            tracing::error!("policy: no plan with a promise is taken part in: {why}");
        }
        let Some(spawner) = self.trains.spawner.clone() else {
            let why = "nothing was started that starts trainers".to_owned();
            return Err(Stopped { why, exit_code: EXIT_FAILURE });
        };
        let ended = run(self, workshop::of_spawner(spawner), shutdown).await;
        ended.map(drop).map_err(|why| Stopped { why: with_causes(&why), exit_code: why.exit_code() })
    }
}

impl Loaded {
    fn program(&self) -> std::io::Result<Program> {
        self.trains.program.clone().map_or_else(|| workshop::program(None), Ok)
    }

    /// What the ledger has of sums without noise that the policy does not accept. A ledger that cannot be read stops the daemon when it
    /// is opened, and is no answer here.
    fn unaccepted(&self) -> Option<String> {
        let account = self.ledger.entries_as_they_are().ok()?;
        spending::unaccepted_exact_releases(&account, &self.config.policy)
    }
}

/// Takes part in the coordinator's runs until `shutdown`, or until it cannot; with [`Loaded::one_run`] until one is over. These trainers
/// read its data and train.
///
/// # Errors
/// [`RunError`]. A coordinator that cannot be reached is none: it is tried again for as long as it takes.
///
/// # Panics
/// Outside a multi-threaded runtime of tokio.
pub async fn run(
    loaded: Loaded,
    trainers: TrainerSource,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, RunError> {
    run_on(loaded, |store| Box::new(store), trainers, shutdown).await
}

/// [`run`] on a store that `wrap` makes of the folder's: one that fails where a test wants it to.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub async fn run_on(
    loaded: Loaded,
    wrap: impl FnOnce(FileStore) -> Box<dyn Store>,
    trainers: TrainerSource,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, RunError> {
    let Loaded { config, profile, vault, ledger, transport, proxy, file, text, one_run, trains } = loaded;
    let tls = transport.as_ref().map(|transport| &transport.tls);
    let channel = link::channel(&config.coordinator, tls, proxy).map_err(RunError::Address)?;
    let (news, heard) = mpsc::channel(NEWS_WAITING);
    let patience = Patience::default();
    let link = Link::of(&profile, &config.coordinator, &channel, news, &patience);
    // The journal is opened and locked before the first word is said.
    let OpenedStore { store, torn_tail, .. } = open_journal(&config, vault)?;
    if torn_tail.is_some() {
        tracing::warn!("the journal's last append was cut short by a crash; nothing of it had been sent");
    }
    let state = config.state_dir;
    let departures = Departures::open(&state, &profile).map_err(RunError::Departures)?;
    let (watchman, lookout) = Watchman::open(&state, &profile, channel.clone(), patience.clone())?;
    let alarm = Alarm::begin(&state, daemon::wall_ms);
    let pool = TrainerPool::new(trainers, trains.level, alarm.clone(), departures.recorder());
    let (changed, policies) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    if let Some(spawner) = &trains.spawner {
        tasks.spawn(workshop::watch_spawner(Arc::clone(spawner), alarm.clone(), departures.recorder()));
    }
    let policy_file = file.map(|file| {
        let policy = (profile.policy.clone(), config.registration.is_some());
        PolicyFile::new(file, text, policy, trains.spawner).keep(changed, alarm.clone())
    });
    let driver = Driver::open(Parts {
        spending: UncheckedSpending::new(ledger, &profile.identity, &profile.policy, daemon::wall_ms),
        profile,
        store: wrap(store),
        state: state.clone(),
        patience,
        work: Box::new(jobs::Remote { channel: channel.clone(), workshop: Workshop::new(pool) }),
        alarm,
        news: heard,
        offers: Offers::new(&state),
        policies,
        departures,
        lookout,
        one_run,
    })?;
    let watchman = watchman.with_journal(driver.witness_state(), driver.uploads())?;
    if let Some(transport) = transport {
        tasks.spawn(renewal::keep(transport, channel));
    }
    if let Some(watch) = policy_file {
        tasks.spawn(watch);
    }
    tasks.spawn(watchman.keep());
    tasks.spawn(link.keep());
    let ended = driver.drive(shutdown).await;
    tasks.shutdown().await;
    ended
}

fn open_journal(config: &Config, vault: Option<Arc<Vault>>) -> Result<OpenedStore, StoreError> {
    match vault {
        Some(vault) => {
            FileStore::open_sealed(&config.state_dir, JournalKind::Client, vault, |_, _, _| Ok(()))
        }
        None => FileStore::open(&config.state_dir, JournalKind::Client, |_, _, _| Ok(())),
    }
}

/// Goes on without what was remembered of the coordinator's audit log; false where nothing is missing.
fn forget_witness(loaded: Loaded, reason: &str) -> Result<bool, RunError> {
    let Loaded { config, profile, vault, .. } = loaded;
    let mut journal = open_journal(&config, vault)?.store;
    let records: Result<Vec<_>, _> =
        journal.replay()?.iter().map(|bytes| ClientRecord::decode(bytes)).collect();
    let participant = Participant::recover(profile, &records.map_err(RunError::Record)?)?;
    let missing = !witness::memory_file(&config.state_dir).exists();
    let forgets = participant.witness_state().remembers && missing;
    if forgets {
        let record = ClientRecord::WitnessForgotten { reason: reason.to_owned() };
        journal.append_all(&[record.encode()]).map_err(RunError::Append)?;
    }
    Ok(forgets)
}

/// Goes on with a ledger, or a journal, that lacks entries.
fn accept_loss(loaded: Loaded, reason: &str) -> Result<spending::AcceptedLoss, RunError> {
    let Loaded { config, profile, vault, ledger, .. } = loaded;
    let mut journal = open_journal(&config, vault)?.store;
    let records: Result<Vec<_>, _> =
        journal.replay()?.iter().map(|bytes| ClientRecord::decode(bytes)).collect();
    let spending = UncheckedSpending::new(ledger, &profile.identity, &profile.policy, daemon::wall_ms);
    Ok(spending.accept_loss(&records.map_err(RunError::Record)?, reason)?)
}
