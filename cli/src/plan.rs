//! `folkmoot plan`: whether a plan can be meant, what it costs, and what it will do.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use client::BesideDaemon;
use forecast::{Forecast, report};
use plan::{AuthoredPlan, SignedPlan};
use rand::rand_core::{Rng, UnwrapErr};
use vault::MasterSource;

use crate::Failure;
use crate::files::{Unusable, read_text, write_document};
use crate::keys;

#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  folkmoot plan plan.toml\n  folkmoot plan check plan.toml --policy client.toml"
)]
pub(crate) struct Args {
    /// A plan, TOML or signed: print what it promises, what it costs, whether it can work, and what would fit.
    file: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long, requires = "file")]
    json: bool,
    #[command(subcommand)]
    what: Option<Plan>,
}

#[derive(Subcommand, Debug)]
enum Plan {
    /// Print what a plan promises and costs, or everything that is wrong with it.
    #[command(after_help = "Examples:\n  folkmoot plan check plan.toml --policy client.toml\n  \
                      folkmoot plan check plan.json --policy north/client.toml --ledger north/state/ledger\n  \
                      folkmoot plan check plan.toml --data silo.csv --registration registration.toml")]
    Check {
        /// The plan, TOML.
        file: PathBuf,
        /// A silo's policy, or its client.toml with the table [policy]: would that silo take part?
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// With --policy: that silo's ledger, or the folder with it: would the silo take part in a run of the plan, beside what was
        /// spent, what other runs have claimed, and the plans of the author that it has looked at? Its daemon may run.
        #[arg(long, value_name = "FOLDER", requires = "policy")]
        ledger: Option<PathBuf>,
        /// Of a sealed ledger: the master key, where --policy is not the client.toml that names it.
        #[arg(long, value_name = "SOURCE", requires = "ledger")]
        master: Option<MasterSource>,
        /// A silo's files: how many rows contribute, what of them does not fit, and whether the sums have room. Nothing is sent.
        #[arg(long, value_name = "PATH")]
        data: Option<PathBuf>,
        /// With --data: how the files are written and what their columns mean.
        #[arg(long, value_name = "FILE", requires = "data")]
        registration: Option<PathBuf>,
    },
    /// Sign a plan as its author: what a coordinator is given, and what silos hold against their policy.
    #[command(after_help = "Example:\n  folkmoot plan sign plan.toml --key author.key --out plan.json")]
    Sign {
        /// The plan, TOML.
        file: PathBuf,
        /// The author's secret key, from `folkmoot keys new`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed plan goes; must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match (&args.what, &args.file) {
        (Some(Plan::Check { file, policy, ledger, master, data, registration }), _) => {
            let plan = check(file, data.as_deref().map(|data| (data, registration.as_deref())))?;
            let Some(policy) = policy else { return Ok(()) };
            let ledger = ledger.as_deref().map(|ledger| (ledger, master.as_ref()));
            hold_against(&plan, policy, ledger)
        }
        (Some(Plan::Sign { file, key, out }), _) => sign(file, key, out),
        (None, Some(file)) => foresee(file, args.json),
        (None, None) => Err(Failure::usage("name a plan, or a command: `folkmoot plan --help`")),
    }
}

fn foresee(file: &Path, json: bool) -> Result<(), Failure> {
    let plan = match find(file)? {
        Found::Written(plan) => plan.as_it_is_signed(),
        Found::Signed(plan) => plan::Plan::clone(&plan),
    };
    if json {
        println!("{}", serde_json::to_string(&Forecast::of(&plan)?).map_err(Failure::failed)?);
    } else {
        print!("{}", foreseen(&plan)?);
    }
    Ok(())
}

/// What a plan promises, what it costs, and what it will do.
pub(crate) fn foreseen(plan: &plan::Plan) -> Result<String, Failure> {
    Ok(report(plan) + &Forecast::of(plan)?.to_text())
}

/// A plan as a person wrote it, or as its author signed it.
enum Found {
    Written(Box<plan::Plan>),
    Signed(Box<AuthoredPlan>),
}

impl Found {
    fn plan(&self) -> &plan::Plan {
        match self {
            Self::Written(plan) => plan,
            Self::Signed(plan) => plan,
        }
    }
}

/// With `data`, files and their registration.
fn check(file: &Path, data: Option<(&Path, Option<&Path>)>) -> Result<Found, Failure> {
    let found = match find(file)? {
        Found::Written(plan) => Found::Written(Box::new(plan.as_it_is_signed())),
        signed @ Found::Signed(_) => signed,
    };
    print!("{}", report(found.plan()));
    match &found {
        Found::Written(_) => println!("author        nobody yet: `folkmoot plan sign` signs it"),
        Found::Signed(plan) => println!("author        {}", plan.signed().author),
    }
    if let Some((data, registration)) = data {
        let lines = trainer::fit(found.plan(), data, registration).map_err(Failure::usage)?;
        lines.iter().for_each(|line| println!("data          {line}"));
    }
    Ok(found)
}

/// Against a silo's policy, and against a ledger with the master key that was named for it.
fn hold_against(
    found: &Found,
    file: &Path,
    ledger: Option<(&Path, Option<&MasterSource>)>,
) -> Result<(), Failure> {
    let silo = BesideDaemon::of_text(file, &read_text(file)?).map_err(|why| Unusable::new(file, why))?;
    let checked = match found {
        Found::Written(plan) => silo.policy.check_unsigned(plan),
        Found::Signed(plan) => silo.policy.check(plan),
    };
    checked.map_err(|why| Failure::usage(format!("the policy refuses the plan: {}: {why}", why.code())))?;
    match found {
        Found::Written(_) => println!("policy        accepts the plan, if one of its authors signs it"),
        Found::Signed(_) => println!("policy        accepts the plan"),
    }
    let Some((ledger, master)) = ledger else { return Ok(()) };
    let (spent, now_ms) = (silo.inspect(ledger, master)?, daemon::wall_ms());
    let answer = match found {
        Found::Written(plan) => spent.answer_unsigned(plan, &silo.policy, now_ms),
        Found::Signed(plan) => spent.answer(plan, &silo.policy, now_ms),
    };
    let standing = answer.map_err(|why| Failure::usage(spending::refusal_text(&why)))?;
    println!("ledger        {}{standing}", if spent.is_new { "nothing spent yet; " } else { "" });
    if let Found::Written(_) = found {
        println!(
            "              whether it looks at one more plan of the author is known once the plan is signed"
        );
    }
    Ok(())
}

fn sign(file: &Path, key: &Path, out: &Path) -> Result<(), Failure> {
    let plan = plan::Plan::from_toml(&read_text(file)?).map_err(|why| Unusable::new(file, why))?;
    let author = keys::read(key)?;
    let signed = newly_numbered(plan).sign(&author);
    write_document(out, &signed.signed().to_json())?;
    println!("plan {}", signed.digest());
    println!("authors = [\"{}\"]", signed.signed().author);
    Ok(())
}

/// A plan as it is signed: with an id that no plan had before.
pub(crate) fn newly_numbered(plan: plan::Plan) -> plan::Plan {
    let mut random = [0u8; plan::Plan::ID_BYTES];
    UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut random);
    plan.numbered(random)
}

fn find(file: &Path) -> Result<Found, Unusable> {
    let text = read_text(file)?;
    if text.trim_start().starts_with('{') {
        let signed = SignedPlan::from_json(&text).and_then(SignedPlan::open);
        return signed.map(|plan| Found::Signed(Box::new(plan))).map_err(|why| Unusable::new(file, why));
    }
    plan::Plan::from_toml(&text)
        .map(|plan| Found::Written(Box::new(plan)))
        .map_err(|why| Unusable::new(file, why))
}

/// A plan as a person wrote it, or as its author signed it.
pub(crate) fn read_any(file: &Path) -> Result<plan::Plan, Unusable> {
    Ok(find(file)?.plan().clone())
}

/// A signed plan, under its author's signature.
pub(crate) fn read_signed(file: &Path) -> Result<AuthoredPlan, Unusable> {
    SignedPlan::from_json(&read_text(file)?)
        .and_then(SignedPlan::open)
        .map_err(|why| Unusable::new(file, why))
}
