//! `folkmoot audit-privacy`: attacks on a run, beside what is claimed of it.

mod canaries;
mod rehearse;
mod report;
mod scores;

use std::fs;
use std::path::{Path, PathBuf};

use accounting::AccountingError;
use checkpoint::{AGGREGATE_FILE, folder_name};
use clap::Subcommand;
use datasets::{Dataset, DatasetError};
use demo::{DemoPlanError, demo_plan};
use dp::UpdateError;
use empirical::one_run::{Guesses, guess};
use params::Params;
use plan::{Plan, PrivacyMode, ProtectError, SumError};
use published::{CheckpointFault, Plain, Version, checkpoints_in, read_bounded, read_version, verify_folder};
use rand::rand_core::{Rng, UnwrapErr};
use rehearsal::{Noise, RehearsalError};
use train::TrainError;

use crate::demo::Mode;
use crate::files::Unusable;
use canaries::Canaries;
use report::{Claim, Membership, Report};
use scores::{Scores, Seen};

/// How sure a lower bound is, unless asked otherwise.
const CONFIDENCE: f64 = 0.95;

/// Why an audit found nothing out, or what it found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error(transparent)]
    Input(#[from] Unusable),
    #[error(transparent)]
    Demonstration(#[from] DemoPlanError),
    #[error("the plan's table has room for about {room} canaries that differ; ask for fewer")]
    NoRoom { room: usize },
    #[error("there is no canary")]
    NoCanary,
    #[error("every coin said no: run it again, or ask for more canaries")]
    EveryCoinSaidNo,
    #[error(
        "the gradients of {rows} canaries, of {parameters} values each, do not fit in 4 GiB: at most about {fit} do"
    )]
    TooMany { rows: usize, parameters: usize, fit: usize },
    #[error(
        "--members holds canaries, whose part would be taken off as known: name the silo's own tables, not their folder"
    )]
    MembersHoldCanaries,
    #[error("the checkpoints are of a run under another plan; name the run's own, as it was signed")]
    AnotherPlan,
    #[error(transparent)]
    Mechanism(#[from] plan::Problem),
    /// A table that was named.
    #[error(transparent)]
    Table(DatasetError),
    /// A table that was made here.
    #[error(transparent)]
    OwnTable(DatasetError),
    #[error("the table has no row")]
    EmptyTable,
    #[error(transparent)]
    Chain(#[from] CheckpointFault),
    /// A file of a chain that holds.
    #[error(transparent)]
    File(CheckpointFault),
    #[error("the folder holds no model")]
    NoModel,
    #[error(transparent)]
    Sum(#[from] SumError),
    #[error("{0}")]
    ClipNorm(String),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(transparent)]
    Protect(#[from] ProtectError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(
        "the audit CONTRADICTS THE CLAIM: at confidence {confidence} epsilon is above {found}, claimed for a canary is \
         {claimed}"
    )]
    Contradicted { confidence: f64, found: String, claimed: String },
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

pub(crate) fn run(audit: &AuditPrivacy) -> Result<(), AuditError> {
    match audit {
        AuditPrivacy::Insert { plan, table, secret, canaries } => {
            insert(&read_plan(plan)?, table, secret, *canaries as usize)
        }
        AuditPrivacy::Run { folder, plan, secret, members, held_out, how } => {
            let plan = read_plan(plan)?;
            let mut report = finished(&plan, folder, secret, members.as_deref(), how.confidence)?;
            if let Some((members, held_out)) = members.as_ref().zip(held_out.as_ref()) {
                let (members, held_out) = (load(&plan, members)?, load(&plan, held_out)?);
                let (_, model) = last_model(&plan, folder)?;
                report.membership = membership(&plan, &model, &members, &held_out)?;
            }
            report.finish(how.json)
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
            let setup = rehearse::Setup {
                plan: &plan,
                training: &training,
                held_out: held_out.as_ref(),
                runs: *runs,
                canaries: *canaries as usize,
                confidence: how.confidence,
                seed,
                noise: Noise::AsPlanned,
            };
            rehearse::audit(&setup)?.finish(how.json)
        }
    }
}

fn insert(plan: &Plan, table: &Path, secret: &Path, count: usize) -> Result<(), AuditError> {
    let mut seed = [0; 32];
    UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut seed);
    let canaries = canaries::draw(plan, count, seed)?;
    let included = canaries.canaries.iter().filter(|canary| canary.included);
    let text = canaries::csv(plan, included).ok_or(AuditError::EveryCoinSaidNo)?;
    canaries.write(secret)?;
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create_new(true).open(table);
    written
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|why| Unusable::new(table, why))?;
    let folder = table.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    println!(
        "wrote {} and {}\nStart the silo's daemon after this, with the folder {} as its data: one that is given a single file \
         does not read the canaries. Keep the second file secret.",
        table.display(),
        secret.display(),
        folder.display()
    );
    let guesses = Guesses { canaries: count as u64, guesses: 2 * (count as u64 / 4), correct: 0 };
    let report = Report::new(Claim::of(plan)?, guesses, CONFIDENCE);
    println!("{}", report.reach());
    Ok(())
}

/// Attacks the chain in a folder.
fn finished(
    plan: &Plan,
    folder: &Path,
    secret: &Path,
    members: Option<&Path>,
    confidence: f64,
) -> Result<Report, AuditError> {
    let canaries = Canaries::read(secret, plan)?;
    let table = canaries.table(plan)?;
    let known = members.map(|file| load(plan, file)).transpose()?;
    if known.as_ref().is_some_and(|known| share_a_record(known, &table)) {
        return Err(AuditError::MembersHoldCanaries);
    }
    let verified = verify_folder(folder, None)?;
    let mechanism = plan.mechanism()?;
    let checkpoints = checkpoints_in(folder);
    let mut scores = Scores::new(plan, &table, known.as_ref())?;
    let plain = Plain::new(&checkpoints);
    let mut before: Option<Version> = None;
    for manifest in &verified.manifests {
        if manifest.plan_digest != plan.digest() {
            return Err(AuditError::AnotherPlan);
        }
        let here = checkpoints.join(folder_name(manifest.round));
        if let (Some(Version { params, state }), Some(_)) = (&before, manifest.aggregate_digest) {
            let bytes = read_bounded(&here.join(AGGREGATE_FILE), plan.lanes() as u64 * 4)
                .map_err(AuditError::File)?;
            let lanes: Vec<u32> = bytes.as_chunks().0.iter().map(|lane| u32::from_le_bytes(*lane)).collect();
            let sum = mechanism.read_sum(&lanes, manifest.included.len(), state)?;
            let clip_norm = plan.clip_norm_after(state).map_err(AuditError::ClipNorm)?;
            scores.see(&Seen { before: params, clip_norm, aggregate: &sum.update })?;
        }
        before = Some(read_version(&plain, plan, manifest).map_err(AuditError::File)?);
    }
    let guesses = guess(&scores.scores, &canaries.included(), canaries.canaries.len() / 4);
    // What was spent, which a run that ended early has less of than its plan allows.
    let claim = Claim::after(plan, verified.privacy.epsilon, verified.privacy.steps)?;
    Ok(Report::new(claim, guesses, confidence))
}

fn share_a_record(known: &Dataset, canaries: &Dataset) -> bool {
    let record =
        |table: &Dataset, row: usize| (table.row(row).map(<[f32]>::to_vec), table.labels().get(row).copied());
    let canaries: Vec<_> = (0..canaries.rows()).map(|row| record(canaries, row)).collect();
    (0..known.rows()).any(|row| canaries.contains(&record(known, row)))
}

fn last_model(plan: &Plan, folder: &Path) -> Result<(u64, Params), AuditError> {
    let verified = verify_folder(folder, None)?;
    let last = verified.manifests.last().ok_or(AuditError::NoModel)?;
    let version = read_version(&Plain::new(&checkpoints_in(folder)), plan, last).map_err(AuditError::File)?;
    Ok((last.round, version.params))
}

/// Loss-threshold membership inference: what was trained on has the smaller loss.
fn membership(
    plan: &Plan,
    model: &Params,
    members: &Dataset,
    others: &Dataset,
) -> Result<Option<Membership>, AuditError> {
    let scores = |data| -> Result<Vec<f64>, AuditError> {
        let losses = train::losses(plan, model, data)?;
        Ok(losses.into_iter().map(|loss| -loss).collect())
    };
    let attack = empirical::membership::attack(&scores(members)?, &scores(others)?);
    Ok(attack.map(|attack| Membership::of(members.rows(), others.rows(), attack)))
}

fn demonstration(mode: PrivacyMode) -> Result<(Plan, String, Option<Dataset>), AuditError> {
    use datasets::digits;
    let plan = demo_plan(mode, 5, None, None)?;
    let held_out = digits::table(digits::held_out_rows());
    let held_out =
        Dataset::from_csv("digits", held_out.as_bytes(), &plan.data).map_err(AuditError::OwnTable)?;
    Ok((plan, digits::table(digits::training_rows()), Some(held_out)))
}

fn load(plan: &Plan, file: &Path) -> Result<Dataset, AuditError> {
    Dataset::load(file, &plan.data).map_err(AuditError::Table)
}

fn read_plan(file: &Path) -> Result<Plan, Unusable> {
    crate::plan::read_any(file)
}

fn parse_confidence(text: &str) -> Result<f64, String> {
    let confidence: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if confidence > 0.0 && confidence < 1.0 { Ok(confidence) } else { Err("must lie between 0 and 1".into()) }
}

#[cfg(test)]
mod tests;
