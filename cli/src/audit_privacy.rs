//! `folkmoot audit-privacy`: attacks on a run, beside what is claimed of it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use datasets::{Dataset, DatasetError, digits};
use demo::{DemoPlanError, demo_plan};
use plan::{Plan, PrivacyMode};
use privacy_audit::{
    AuditError, Canaries, Contradicted, Findings, NoiseLevel, Trial, audit_folder, findings_text, last_model,
    membership, reach_text,
};
use rand::rand_core::{Rng, UnwrapErr};
use vault::files::{self, AS_UMASK, OWNER_ONLY};

use crate::demo::Mode;
use crate::files::Unusable;

/// How sure a lower bound is, unless asked otherwise.
const CONFIDENCE: f64 = 0.95;

/// Why an audit found nothing out, or what it found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditPrivacyError {
    #[error(transparent)]
    Input(#[from] Unusable),
    #[error(transparent)]
    Demonstration(#[from] DemoPlanError),
    /// A table that was named.
    #[error(transparent)]
    Table(DatasetError),
    #[error(transparent)]
    Audit(Box<AuditError>),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Contradicted(#[from] Contradicted),
}

impl From<AuditError> for AuditPrivacyError {
    fn from(why: AuditError) -> Self {
        Self::Audit(Box::new(why))
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum AuditPrivacy {
    /// Before a run: make canaries for a silo's data folder, each in it by the toss of a coin.
    #[command(
        after_help = "The canaries' table lies beside the silo's own .csv files in its data folder, so that the run trains \
                      on it. Keep --secret on the silo: it says which canaries are in.\n\n\
                      Example:\n  folkmoot audit-privacy insert --plan plan.json --table data/canaries.csv --secret canaries.json"
    )]
    Insert {
        /// The run's plan, as it was signed.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// The table to write: a new file in the silo's data folder.
        #[arg(long, value_name = "FILE")]
        table: PathBuf,
        /// Where the coins are remembered; must not exist.
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        /// How many; a half of them, by coins, goes into the table. Few cannot contradict a large epsilon: it says how many can.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=2_000))]
        canaries: u32,
    },
    /// After a run: attack its models and sums with the canaries, on the silo's machine.
    #[command(
        after_help = "The run's folder is a coordinator's data folder or what `folkmoot model export` wrote.\n\n\
                      Example:\n  folkmoot audit-privacy run out --plan plan.json --secret canaries.json \
                      --members data/silo.csv --held-out held-out.csv"
    )]
    Run {
        /// The finished run's checkpoints.
        folder: PathBuf,
        /// The run's plan, as it was signed.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// What `insert` remembered.
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        /// Records of the silo that were trained on, without the canaries.
        #[arg(long, value_name = "FILE")]
        members: Option<PathBuf>,
        /// Records of the silo that were not.
        #[arg(long, value_name = "FILE", requires = "members")]
        held_out: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Rehearse a plan as a test federation in this process, and attack it: every figure, and an inversion.
    #[command(
        after_help = "Without --plan: the demonstration's plan and digits. All rows are in one memory: for test data.\n\n\
                      Examples:\n  folkmoot audit-privacy rehearse\n  \
                      folkmoot audit-privacy rehearse --plan plan.toml --data all.csv --held-out held-out.csv --runs 20"
    )]
    Rehearse {
        /// The plan, TOML or signed.
        #[arg(long, value_name = "FILE", requires = "data")]
        plan: Option<PathBuf>,
        /// The training rows of all silos, dealt to as many silos as the plan's largest cohort.
        #[arg(long, value_name = "FILE", requires = "plan")]
        data: Option<PathBuf>,
        /// Rows that are not trained on.
        #[arg(long, value_name = "FILE", requires = "plan")]
        held_out: Option<PathBuf>,
        /// The demonstration's mode.
        #[arg(
            long,
            value_name = "MODE",
            value_enum,
            default_value = "distributed_dp_sgd",
            conflicts_with = "plan"
        )]
        privacy: Mode,
        /// Independent runs, each with canaries of its own.
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        runs: u32,
        /// Canaries of each run.
        #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(8..=2_000))]
        canaries: u32,
        /// Equal seeds give equal audits [default: drawn, and printed]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct How {
    /// How sure the lower bound is to be.
    #[arg(long, value_name = "P", default_value_t = CONFIDENCE, value_parser = parse_confidence)]
    confidence: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(audit: &AuditPrivacy) -> Result<(), AuditPrivacyError> {
    match audit {
        AuditPrivacy::Insert { plan, table, secret, canaries } => {
            insert(&read_plan(plan)?, table, secret, *canaries as usize)
        }
        AuditPrivacy::Run { folder, plan, secret, members, held_out, how } => {
            let plan = read_plan(plan)?;
            let mut findings = finished(&plan, folder, secret, members.as_deref(), how.confidence)?;
            if let Some((members, held_out)) = members.as_ref().zip(held_out.as_ref()) {
                let (members, held_out) = (load(&plan, members)?, load(&plan, held_out)?);
                let model = last_model(folder, &plan)?;
                findings.membership = membership(&plan, &model, &members, &held_out)?;
            }
            finish(&findings, how.json)
        }
        AuditPrivacy::Rehearse { plan, data, held_out, privacy, runs, canaries, seed, how } => {
            let (plan, training, held_out) = match plan.as_ref().zip(data.as_ref()) {
                Some((file, data)) => {
                    let plan = read_plan(file)?;
                    let training = fs::read_to_string(data).map_err(|why| Unusable::new(data, why))?;
                    let held_out = held_out.as_deref().map(|file| load(&plan, file)).transpose()?;
                    (plan, training, held_out)
                }
                None => demonstration((*privacy).into())?,
            };
            let seed = seed.unwrap_or_else(|| UnwrapErr(rand::rngs::SysRng).next_u64());
            eprintln!("seed {seed}; {runs} runs of {} rounds", plan.rounds);
            let trial = Trial {
                plan: &plan,
                training: &training,
                held_out: held_out.as_ref(),
                runs: *runs,
                canaries: *canaries as usize,
                confidence: how.confidence,
                seed,
                noise: NoiseLevel::AsPlanned,
            };
            finish(&trial.audit()?, how.json)
        }
    }
}

/// Prints what was found; a contradicted claim is a failed verification.
fn finish(findings: &Findings, json: bool) -> Result<(), AuditPrivacyError> {
    if json {
        println!("{}", serde_json::to_string(findings)?);
    } else {
        print!("{}", findings_text(findings));
    }
    Ok(findings.check()?)
}

fn insert(plan: &Plan, table: &Path, secret: &Path, count: usize) -> Result<(), AuditPrivacyError> {
    let mut seed = [0; 32];
    UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut seed);
    let canaries = Canaries::draw(plan, count, seed)?;
    let planted = canaries.planted(plan)?;
    let write_new = |file: &Path, text: &str, mode| {
        files::write_new(file, text.as_bytes(), mode).map_err(|why| Unusable::new(file, why))
    };
    write_new(secret, &canaries.to_json()?, OWNER_ONLY)?;
    write_new(table, &planted, AS_UMASK)?;
    let folder = files::parent(table);
    println!(
        "wrote {} and {}\nStart the silo's daemon after this, with the folder {} as its data: one that is given a single file \
         does not read the canaries. Keep the second file secret.",
        table.display(),
        secret.display(),
        folder.display()
    );
    println!("{}", reach_text(&Findings::foreseen(plan, count as u64, CONFIDENCE)?));
    Ok(())
}

/// Attacks the chain in a folder.
fn finished(
    plan: &Plan,
    folder: &Path,
    secret: &Path,
    members: Option<&Path>,
    confidence: f64,
) -> Result<Findings, AuditPrivacyError> {
    let canaries = read_canaries(secret, plan)?;
    let known = members.map(|file| load(plan, file)).transpose()?;
    Ok(audit_folder(folder, plan, &canaries, known.as_ref(), confidence)?)
}

fn read_canaries(file: &Path, plan: &Plan) -> Result<Canaries, Unusable> {
    let text = fs::read_to_string(file).map_err(|why| Unusable::new(file, why))?;
    Canaries::from_json(&text, plan).map_err(|why| Unusable::new(file, why))
}

fn demonstration(mode: PrivacyMode) -> Result<(Plan, String, Option<Dataset>), AuditPrivacyError> {
    let plan = demo_plan(mode, 5, None, None)?;
    let held_out = digits::table(digits::held_out_rows());
    let held_out =
        Dataset::from_csv("digits", held_out.as_bytes(), &plan.data).map_err(AuditError::OwnTable)?;
    Ok((plan, digits::table(digits::training_rows()), Some(held_out)))
}

fn load(plan: &Plan, file: &Path) -> Result<Dataset, AuditPrivacyError> {
    Dataset::load(file, None, &plan.data).map_err(AuditPrivacyError::Table)
}

fn read_plan(file: &Path) -> Result<Plan, Unusable> {
    crate::plan::read_any(file)
}

fn parse_confidence(text: &str) -> Result<f64, String> {
    let confidence: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if confidence > 0.0 && confidence < 1.0 { Ok(confidence) } else { Err("must lie between 0 and 1".into()) }
}
