//! The commands beside the daemon: enrolment, the roster that waits for its operator, and the diagnosis.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use alarms::{Alarm, rosters};
use audit::Wanted;
use clap::Subcommand;
use daemon::{ConfigError, EXIT_CONFIGURATION, EXIT_FAILURE};
use identity::AuthorisedRoster;
use pki::{Finding, Outgoing, TransportKey};
use plan::Problems;
use spawner::Program;
use spending::AcceptedLoss;

use crate::enroll::Enroll;
use crate::{Config, EXIT_REFUSED, EnrollError, Loaded};

/// See the module.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Join a federation with a token, and write this silo's folder.
    Enroll(Enroll),
    /// The later roster that waits for you.
    #[command(subcommand)]
    Roster(RosterCommand),
    /// The ledger of what this silo's data has spent; `folkmoot ledger` shows and verifies it.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// What this silo remembers of the coordinator's audit log.
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Print the table [policy.schema], to stand at the end of the configuration: the columns that all files have, by their header
    /// alone. A plan that asks for others is refused before any file is opened. Take from it what plans are not to name.
    Schema {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A column of whole numbers from 0 and below CLASSES, by which rows may be classified; once for each.
        #[arg(long, value_name = "COLUMN=CLASSES", required = true)]
        label: Vec<String>,
    },
    /// Show what is wrong with this silo's data or its training, which nothing else tells of, and what waits for its operator. Exits
    /// with 1 where there is something, with 0 where there is not.
    Alarms {
        /// The configuration file. Where it does not parse, that is an alarm.
        #[arg(long, value_name = "FILE", required_unless_present = "state", conflicts_with = "state")]
        config: Option<PathBuf>,
        /// The daemon's `state_dir`, where its configuration is not at hand.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Print the same as metrics for a collector that reads files, and exit with 0.
        #[arg(long)]
        metrics: bool,
    },
    /// Show this silo's own log: what left it, and what happened to its data and its trainer, a line each. The daemon may run; what
    /// has just happened is there within seconds. Nothing of it leaves this silo by itself.
    Log {
        /// The configuration file.
        #[arg(long, value_name = "FILE", required_unless_present = "state", conflicts_with = "state")]
        config: Option<PathBuf>,
        /// The daemon's `state_dir`, where its configuration is not at hand.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Only what happened within this time, such as 24h.
        #[arg(long, value_name = "TIME", value_parser = identity::parse_time)]
        since: Option<u64>,
        /// Only this action, such as `upload.sent`, or all of a thing, such as `trainer`.
        #[arg(long, value_parser = Wanted::action)]
        action: Option<String>,
        /// One JSON object a line, with each entry's index.
        #[arg(long)]
        json: bool,
    },
    /// Say step by step what keeps this silo from its coordinator.
    Doctor {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A JSON array instead of text: `step`, `ok`, `detail` and `remedy` of each.
        #[arg(long)]
        json: bool,
    },
}

/// What is done about a later roster.
#[derive(Subcommand, Debug)]
pub(crate) enum RosterCommand {
    /// Show who joins and who leaves.
    Show {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Accept what `roster show` showed.
    Accept {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The digest that `roster show` printed.
        digest: String,
        /// Do not ask again.
        #[arg(long)]
        yes: bool,
    },
}

/// What is done about a ledger, or a journal, that lost entries, and about claims.
#[derive(Subcommand, Debug)]
pub(crate) enum LedgerCommand {
    /// Go on with a ledger that lacks entries, or whose anchor or this silo's journal does: copies into it what the journal
    /// has debited, and writes an entry with your reason. What other daemons debited and nobody has a copy of stays lost;
    /// so do the rosters that a lost journal had seen: configure the newest one. Restore the newest copy instead where
    /// there is one. Stop the daemon first.
    Accept {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What happened; it stays in the ledger.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Give back what a run has claimed of the data and will not use, so that other runs may: where its daemon is gone for good, or the
    /// run is known to be over. A daemon that still takes part in the run then uploads only what other runs leave. The daemon may run.
    Unclaim {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The run, as `folkmoot ledger show` names it beside `claim`.
        #[arg(long, value_name = "RUN")]
        run: String,
        /// What happened; it stays in the ledger.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What is done about a memory that is lost.
#[derive(Subcommand, Debug)]
pub(crate) enum WitnessCommand {
    /// Go on without it: the next state of the log that the coordinator shows is taken as it is. Compare it with what
    /// another member sees. Stop the daemon first.
    Forget {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What happened; it stays in the journal.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(crate) fn run(command: Command, program: &Program) -> ExitCode {
    let done = match command {
        Command::Enroll(enroll) => return exit(run_enroll(enroll)),
        Command::Roster(RosterCommand::Show { config }) => show(&config).map(|_| ()).map_err(failed),
        Command::Roster(RosterCommand::Accept { config, digest, yes }) => {
            accept(&config, &digest, yes).map_err(failed)
        }
        Command::Ledger(LedgerCommand::Accept { config, reason }) => accept_loss(&config, &reason),
        Command::Ledger(LedgerCommand::Unclaim { config, run, reason }) => unclaim(&config, &run, &reason),
        Command::Witness(WitnessCommand::Forget { config, reason }) => forget_witness(&config, &reason),
        Command::Schema { config, label } => print_schema(&config, &label, program),
        Command::Alarms { config, state, metrics } => {
            state_folder(state, config).and_then(|found| alarms(found, metrics))
        }
        Command::Log { config, state, since, action, json } => {
            let state = state_folder(state, config).and_then(|found| {
                found.or_else(|Unparsed { why, state }| state.ok_or((EXIT_CONFIGURATION, why)))
            });
            state.and_then(|state| log(&state.join("audit"), since, action, json))
        }
        Command::Doctor { config, json } => doctor(&config, json, program),
    };
    exit(done.map(|()| ExitCode::SUCCESS))
}

fn exit(done: Result<ExitCode, (u8, String)>) -> ExitCode {
    done.unwrap_or_else(|(code, why)| {
        eprintln!("error: {why}");
        ExitCode::from(code)
    })
}

/// Exit code of an enrolment that nobody has decided about yet.
const EXIT_UNDECIDED: u8 = 5;

fn failed(why: String) -> (u8, String) {
    (EXIT_FAILURE, why)
}

fn run_enroll(enroll: Enroll) -> Result<ExitCode, (u8, String)> {
    let runtime = daemon::runtime().map_err(failed)?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = enroll.run() => ended,
            () = daemon::terminated() => {
                println!("stopped; run this again with the same folder to go on");
                Ok(false)
            }
        }
    });
    match ended {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(EXIT_UNDECIDED)),
        Err(why @ EnrollError::Other(_)) => Err((EXIT_FAILURE, why.to_string())),
        Err(why) => Err((EXIT_REFUSED, why.to_string())),
    }
}

/// Prints the change; gives the roster on offer and the state folder.
fn show(path: &Path) -> Result<Option<(AuthorisedRoster, Config)>, String> {
    let (config, _) = Config::read(path).map_err(|why| why.to_string())?;
    let mut problems = Problems::default();
    let pinned = daemon::read_roster(&config.roster, &config.authority_key, &mut problems);
    let (pinned, authority) = pinned.ok_or_else(|| problems.to_string())?;
    let Some(offered) = rosters::offered(&config.state_dir)? else {
        println!("no later roster waits for this silo");
        return Ok(None);
    };
    let offered = offered.authorise(&authority).map_err(|why| why.to_string())?;
    let accepted = rosters::in_force(&config.state_dir)?
        .map(|roster| roster.authorise(&authority))
        .transpose()
        .map_err(|why| why.to_string())?;
    let newest = accepted.filter(|roster| roster.epoch > pinned.epoch).unwrap_or(pinned);
    println!("{}", offered.change_from(&newest));
    println!("digest  {}", offered.digest());
    Ok(Some((offered, config)))
}

fn accept(path: &Path, digest: &str, yes: bool) -> Result<(), String> {
    let Some((offered, config)) = show(path)? else { return Err("there is nothing to accept".into()) };
    if offered.digest().to_string() != digest.trim() {
        return Err(
            "another roster is on offer than the one of this digest: look at it with `roster show`".into()
        );
    }
    if !yes {
        print!("accept it? [y/N] ");
        std::io::stdout().flush().map_err(|why| why.to_string())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|why| why.to_string())?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err("not accepted".into());
        }
    }
    rosters::accept(&config.state_dir, &offered.digest())?;
    println!("accepted; a daemon that runs takes it up within seconds");
    Ok(())
}

/// For what an operator does by a reason that is kept.
fn open(path: &Path, reason: &str) -> Result<Loaded, (u8, String)> {
    if reason.trim().is_empty() {
        return Err((EXIT_CONFIGURATION, "--reason is empty: say what happened".into()));
    }
    Config::load(path).map_err(|why| (EXIT_CONFIGURATION, format!("{}: {why}", path.display())))
}

fn accept_loss(path: &Path, reason: &str) -> Result<(), (u8, String)> {
    let loaded = open(path, reason)?;
    daemon::check_owner(&loaded.config.state_dir).map_err(failed)?;
    let file = loaded.ledger.path().display().to_string();
    let accepted = crate::accept_loss(loaded, reason);
    let AcceptedLoss { copied, forgotten, head } =
        accepted.map_err(|why| failed(crate::with_causes(&why)))?;
    println!("{file}: copied {copied} debits from the journal; the ledger ends with {head}");
    if forgotten > 0 {
        println!("{file}: {forgotten} debits of this silo's own are accepted as lost to its journal");
    }
    Ok(())
}

fn unclaim(path: &Path, run: &str, reason: &str) -> Result<(), (u8, String)> {
    let unusable = |why: String| (EXIT_CONFIGURATION, why);
    let loaded = open(path, reason)?;
    let (ledger, now_ms) = (loaded.ledger, daemon::wall_ms());
    let account = ledger.inspect().map_err(|why| failed(crate::with_causes(&why)))?.account;
    let run = run.trim().to_ascii_lowercase();
    let open = account.claims(now_ms).into_iter().map(|open| open.claim);
    let open: Vec<_> =
        open.filter(|claim| !run.is_empty() && claim.run.to_string().starts_with(&run)).collect();
    let [first, rest @ ..] = &open[..] else {
        return Err(unusable(format!("no claim of a run {run:?} counts: `folkmoot ledger show` lists them")));
    };
    if rest.iter().any(|claim| claim.run != first.run) {
        return Err(unusable(format!("several runs that have claimed begin with {run:?}: give more of it")));
    }
    for claim in &open {
        let returned = ledger.return_claim(&claim.daemon, &claim.run, reason, now_ms);
        returned.map_err(|why| failed(crate::with_causes(&why)))?;
    }
    println!("{}: what run {} had claimed is free", ledger.path().display(), first.run);
    Ok(())
}

fn forget_witness(path: &Path, reason: &str) -> Result<(), (u8, String)> {
    let loaded = open(path, reason)?;
    daemon::check_owner(&loaded.config.state_dir).map_err(failed)?;
    let forgot = crate::forget_witness(loaded, reason);
    match forgot.map_err(|why| failed(crate::with_causes(&why)))? {
        true => println!("the journal says so; the daemon goes on with what the coordinator shows next"),
        false => println!("nothing is missing: nothing was changed"),
    }
    Ok(())
}

/// The configuration alone: neither keys nor roster are opened.
fn read(path: &Path) -> Result<Config, (u8, String)> {
    let read = Config::read(path).map_err(|why| (EXIT_CONFIGURATION, format!("{}: {why}", path.display())));
    read.map(|(config, _)| config)
}

/// A configuration that does not parse, and the state folder that it names all the same.
struct Unparsed {
    why: String,
    state: Option<PathBuf>,
}

/// Where a daemon's state lies: what lies there is wanted most where its configuration does not parse.
fn state_folder(
    state: Option<PathBuf>,
    config: Option<PathBuf>,
) -> Result<Result<PathBuf, Unparsed>, (u8, String)> {
    if let Some(state) = state {
        return Ok(Ok(state));
    }
    // The one of the two that is not optional without the other.
    let file = config.ok_or_else(|| failed("name --config or --state".into()))?;
    match Config::read(&file) {
        Ok((config, _)) => Ok(Ok(config.state_dir)),
        Err(why @ ConfigError::Read(_)) => Err((EXIT_CONFIGURATION, format!("{}: {why}", file.display()))),
        Err(why) => {
            let why = format!("`{}` cannot be used, and no daemon starts by it: {why}", file.display());
            Ok(Err(Unparsed { why, state: daemon::path_of("state_dir", &file) }))
        }
    }
}

fn print_schema(path: &Path, labels: &[String], program: &Program) -> Result<(), (u8, String)> {
    let unusable = |why: String| (EXIT_CONFIGURATION, why);
    let config = read(path)?;
    if config.registration.is_some() {
        return Err(unusable(
            "`registration` says what the columns hold, and [policy.schema] is not needed beside it".into(),
        ));
    }
    let spawner = config.spawner(program, None).map_err(|why| unusable(why.to_string()))?;
    let trainers = workshop::of_spawner(Arc::new(spawner));
    let schema = workshop::describe_files(&trainers, labels).map_err(|why| unusable(why.to_string()))?;
    print!("\n[policy.schema]\n{}", schema.to_toml());
    Ok(())
}

fn alarms(found: Result<PathBuf, Unparsed>, metrics: bool) -> Result<(), (u8, String)> {
    let (state, mut lines) = match found {
        Ok(state) => (Some(state), Vec::new()),
        Err(Unparsed { why, state }) => (state, vec![why]),
    };
    let (alarm, parses) = (state.map(|state| Alarm::new(&state, daemon::wall_ms)), lines.is_empty());
    if metrics {
        let counts = alarm.map_or_else(Vec::new, |alarm| alarm.counts());
        print!("{}", telemetry::alarms(&counts, parses));
        return Ok(());
    }
    let unknown = "what else there is is not known: name the daemon's state_dir with --state";
    lines.extend(alarm.map_or_else(|| vec![unknown.to_owned()], |alarm| alarm.lines()));
    lines.iter().for_each(|line| println!("ALARM {line}"));
    lines.is_empty().then_some(()).ok_or_else(|| failed("this silo's operator has to look at that".into()))
}

fn log(folder: &Path, since: Option<u64>, action: Option<String>, json: bool) -> Result<(), (u8, String)> {
    if !audit::is_published(folder) {
        return Err((EXIT_CONFIGURATION, format!("`{}` holds no log of a daemon's", folder.display())));
    }
    let since_ms =
        since.map(|since_s| daemon::now_s().checked_sub(since_s).map_or(0, |from_s| from_s * 1000));
    let shown = audit::read_events(folder, &Wanted { action, round: None, since_ms }, |event| {
        println!("{}", if json { event.json() } else { event.line_at_its_silo() });
        !daemon::out::is_closed()
    });
    shown.map_err(|why| failed(crate::with_causes(&why)))
}

fn doctor(path: &Path, json: bool, program: &Program) -> Result<(), (u8, String)> {
    let mut config = read(path)?;
    let fine = |what, detail: &str| Finding { what, ok: true, detail: detail.to_owned(), remedy: None };
    let bad = |what, detail| Finding { what, ok: false, detail, remedy: None };
    let mut findings = vec![match Config::load(path) {
        Ok(_) => fine("configuration", "it, the roster and the keys can be used"),
        Err(why) => bad("configuration", why.to_string()),
    }];
    // What is wrong with the registration was said with the configuration.
    config.register(&mut Problems::default());
    findings.push(match config.check_data(program) {
        Ok(found) => fine("data", &found.join("; ")),
        Err(why) => bad("data", why),
    });
    let alarms = Alarm::new(&config.state_dir, daemon::wall_ms).lines();
    findings.extend(alarms.into_iter().map(|line| bad("alarm", line)));
    match &config.tls {
        None => findings.push(fine("plaintext", "there is no certificate to look at")),
        Some(tls) => {
            let mut problems = Problems::default();
            let authority = daemon::read_authority(&tls.authority, "tls.authority", &mut problems);
            let Some(authority) = authority else { return Err(failed(problems.to_string())) };
            let vault = config.open_vault(&mut problems);
            let key =
                daemon::read_secret_text(&tls.key_file, "tls.key_file", vault.as_deref(), &mut problems)
                    .and_then(|pem| TransportKey::from_pem(&pem).ok());
            let chain = std::fs::read_to_string(&tls.certificate).ok();
            let identity = chain.as_deref().zip(key.as_ref());
            let runtime = daemon::runtime().map_err(failed)?;
            let Some(proxy) = config.proxy(&mut problems) else { return Err(failed(problems.to_string())) };
            let (outgoing, now_s) = (Outgoing::new(proxy), daemon::now_s());
            let (url, ca) = (&config.coordinator, &authority.ca_certificate);
            findings.extend(runtime.block_on(pki::doctor(url, ca, identity, &outgoing, now_s)));
        }
    }
    if json {
        println!("{}", serde_json::to_string(&findings).map_err(|why| failed(why.to_string()))?);
    } else {
        findings.iter().for_each(|finding| print!("{}", finding.text()));
    }
    ended(findings.iter().filter(|finding| !finding.ok).count(), findings.len())
}

fn ended(fails: usize, steps: usize) -> Result<(), (u8, String)> {
    match fails {
        0 => Ok(()),
        _ => Err(failed(format!("{fails} of {steps} steps are not as they must be"))),
    }
}
