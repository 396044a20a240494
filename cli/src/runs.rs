//! `folkmoot runs`: what a federation is asked to train, in what order, and how each run stands.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use forecast::Forecast;
use identity::printable;
use operate::{Outcome, Runs as Calls};
use plan::SignedPlan;
use run_status::{RunEntry, render_run, render_runs};
use vault::files::{self, WORLD_READABLE};

use crate::Failure;
use crate::connect::Remote;
use crate::files::cannot_write;
use crate::keys;
use crate::plan::newly_numbered;
use crate::run::{self, Run};

#[derive(Subcommand, Debug)]
pub(crate) enum Runs {
    /// Have a run of a signed plan begun, behind those that there are.
    #[command(
        after_help = "Authors and administrators may. Silos are asked once the run's turn comes; each decides by its own policy. A plan \
                      is run once; given again, the run that has it is named, and with --json printed.\n\n\
                      Examples:\n  \
                      folkmoot plan sign plan.toml --key author.key --out plan.json\n  \
                      folkmoot runs submit plan.json --as author"
    )]
    Submit {
        /// The signed plan, as `folkmoot plan sign` writes it.
        plan: PathBuf,
        #[command(flatten)]
        remote: Remote,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show every run: its state, its place in the queue, and why.
    #[command(
        after_help = "Examples:\n  folkmoot runs list --as admin\n  folkmoot runs list --as admin --json"
    )]
    List {
        #[command(flatten)]
        remote: Remote,
        /// A JSON array instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show one run with what its plan promises and costs, and write the plan where a file is named for it.
    #[command(after_help = "Examples:\n  \
                            folkmoot runs show wards --as admin\n  \
                            folkmoot runs show 3f2a --plan-out plan.json --as admin")]
    Show {
        /// The name of its plan, or its own first digits, 4 at least. Else the run in progress.
        run: Option<String>,
        #[command(flatten)]
        remote: Remote,
        /// Where its signed plan goes.
        #[arg(long, value_name = "FILE")]
        plan_out: Option<PathBuf>,
        /// One JSON object instead of text; the signed plan is its field `plan`.
        #[arg(long)]
        json: bool,
    },
    /// Sign and submit a plan that goes on from the newest model of a run that is over.
    #[command(
        after_help = "All but the rounds and the name is as in that run's plan. It counts as one more plan of its author's in \
                      each silo's offers_per_author. What the run spent stays spent, and its rounds, with those \
                      of the runs that it went on from itself, count against a policy's rounds_max.\n\n\
                      Example:\n  folkmoot runs extend wards --rounds 20 --key author.key --as author"
    )]
    Extend {
        /// The name of its plan, or its own first digits, 4 at least.
        run: String,
        /// Rounds beyond those that it has.
        #[arg(long, value_name = "N")]
        rounds: u64,
        /// The author's identity key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The new plan's name. Else the old one's, with the round that it goes on from.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Begin no further round of a run; the one in progress ends as it would, and another run takes its place.
    #[command(after_help = "Example:\n  folkmoot runs pause wards --reason 'odd losses at north' --as admin")]
    Pause {
        /// The name of its plan, or its own first digits, 4 at least.
        run: String,
        /// Why; silos read it, and it goes into the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a run go on that was paused.
    #[command(after_help = "Example:\n  folkmoot runs resume wards --as admin")]
    Resume {
        /// The name of its plan, or its own first digits, 4 at least.
        run: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a run for good, also one that waits or has not begun. What it has published stays.
    #[command(
        after_help = "An author stops runs that it has submitted itself, an administrator any. A run that was stopped does not go \
                      on: to hold one for a while, `folkmoot runs pause`. One that is over already is left as it is, which is said, and the exit \
                      code is 0.\n\n\
                      Example:\n  folkmoot runs stop wards --reason 'another plan follows' --as author"
    )]
    Stop {
        /// The name of its plan, or its own first digits, 4 at least.
        run: String,
        /// Why; silos read it, and it goes into the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(crate) async fn run(runs: Runs) -> Result<(), Failure> {
    match runs {
        Runs::Submit { plan, remote, json } => {
            let plan = crate::plan::read_signed(&plan)?;
            submit(&mut Calls::over(remote.connect().await?), plan.signed(), json).await
        }
        Runs::List { remote, json } => {
            let runs = Calls::over(remote.connect().await?).list().await?;
            match json {
                true => println!("{}", serde_json::to_string(&runs).map_err(Failure::failed)?),
                false => print!("{}", render_runs(&runs)),
            }
            Ok(())
        }
        Runs::Show { run, remote, plan_out, json } => show(run, &remote, plan_out.as_deref(), json).await,
        Runs::Extend { run, rounds, key, name, remote } => {
            let author = keys::read(&key)?;
            let link = remote.connect().await?;
            let mut calls = Calls::over(link.clone());
            let run = calls.named(&run).await?;
            let plan = operate::extension(link, run, rounds, name).await?;
            let signed = newly_numbered(plan).sign(&author);
            submit(&mut calls, signed.signed(), false).await
        }
        Runs::Pause { run, reason, remote } => run::run(Run::Pause { reason, run: remote.run(run) }).await,
        Runs::Resume { run, remote } => run::run(Run::Resume { run: remote.run(run) }).await,
        Runs::Stop { run, reason, remote } => {
            let mut calls = Calls::over(remote.connect().await?);
            let run = calls.named(&run).await?;
            match calls.stop(run, reason).await? {
                Outcome::Done(entry) => print(&entry, false)?,
                Outcome::AlreadySo(why) => println!("{}", printable(&why)),
            }
            Ok(())
        }
    }
}

async fn submit(calls: &mut Calls, plan: &SignedPlan, json: bool) -> Result<(), Failure> {
    match calls.submit(plan.clone()).await? {
        Outcome::Done(entry) => print(&entry, json)?,
        // A program that asks again has the same answer.
        Outcome::AlreadySo(_) if json => print(&calls.of_plan(plan).await?, true)?,
        Outcome::AlreadySo(why) => println!("{}", printable(&why)),
    }
    Ok(())
}

async fn show(
    run: Option<String>,
    remote: &Remote,
    plan_out: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let mut calls = Calls::over(remote.connect().await?);
    let run = match run {
        Some(wanted) => Some(calls.named(&wanted).await?),
        None => None,
    };
    let (entry, plan) = calls.show(run).await?;
    if let Some(out) = plan_out {
        let text = serde_json::to_string_pretty(&plan).map_err(Failure::failed)? + "\n";
        files::put(out, text.as_bytes(), WORLD_READABLE).map_err(|why| cannot_write(out, why))?;
    }
    // The author's signature says what was asked, and not the coordinator.
    let opened = plan.clone().open().map_err(Failure::failed)?;
    if !json {
        print(&entry, false)?;
        print!("{}", crate::plan::foreseen(&opened)?);
        return Ok(());
    }
    #[derive(serde::Serialize)]
    struct Detail<'a> {
        #[serde(flatten)]
        entry: &'a RunEntry,
        plan: &'a SignedPlan,
        forecast: Forecast,
    }
    let detail = Detail { entry: &entry, plan: &plan, forecast: Forecast::of(&opened)? };
    println!("{}", serde_json::to_string(&detail).map_err(Failure::failed)?);
    Ok(())
}

fn print(entry: &RunEntry, json: bool) -> Result<(), Failure> {
    match json {
        true => println!("{}", serde_json::to_string(entry).map_err(Failure::failed)?),
        false => print!("{}", render_run(entry)),
    }
    Ok(())
}
