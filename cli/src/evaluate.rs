//! `folkmoot evaluate`: how a model does on a table of one's own, as a record that the next model card takes up.

use std::path::{Path, PathBuf};

use card::Evaluation;
use checkpoint::read_model;
use datasets::Dataset;
use params::Params;
use plan::Plan;
use published::read_bounded;

use crate::Failure;
use crate::files::write_document;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Measure on data that no silo trained on, and that may be together with the model: a public table, or the \
                  evaluator's own. The figures are exact, with no noise: of data that may be spoken of in public. The record \
                  names the model by its parameters. `folkmoot model card` puts it into a copy of what was published; in a \
                  coordinator's folder `evaluations` it goes into the card of every version with these parameters that is \
                  published from then on, as after a rollback to it.\n\n\
                  Example:\n  folkmoot evaluate round-30/model.safetensors --plan plan.toml --data held-out.csv \
                  --name 'hold-out 2026' --out evaluation.json\n  \
                  folkmoot model card round-30 --evaluation evaluation.json --out for-the-hub"
)]
pub(crate) struct Args {
    /// The model's file.
    model: PathBuf,
    /// The run's plan, TOML or signed.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The table, CSV, or a folder of them.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// How the table is written and what its columns mean, as `folkmoot data register` writes it.
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    /// What the card shall call the table.
    #[arg(long, value_name = "TEXT", default_value = "hold-out")]
    name: String,
    /// Where the record goes; must not exist. Without it, it is printed only.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The parameters in a model's file, which are to be of the plan's layers.
pub(crate) fn read_parameters(model: &Path, plan: &Plan) -> Result<Params, Failure> {
    let bytes = read_bounded(model, checkpoint::MODEL_BYTES_MAX).map_err(Failure::usage)?;
    read_model(&bytes, &plan.architecture().layout()).map_err(Failure::usage)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let plan = crate::plan::read_any(&args.plan)?;
    let params = read_parameters(&args.model, &plan)?;
    let registration = args.registration.as_deref().map(crate::data::registered).transpose()?;
    let data = Dataset::load(&args.data, registration.as_ref(), &plan.data).map_err(Failure::usage)?;
    let losses = train::losses(&plan, &params, &data).map_err(Failure::usage)?;
    let metrics = train::evaluate(&plan, &params, &data).map_err(Failure::usage)?;
    let rows = data.rows() as f64;
    let squares: f64 = losses.iter().map(|loss| (loss - metrics.loss).powi(2)).sum();
    let evaluation = Evaluation {
        params_digest: params.digest(),
        data: args.name.clone(),
        rows: data.rows() as u64,
        correct: (metrics.accuracy * rows).round() as u64,
        loss: metrics.loss,
        loss_deviation: (squares / (rows - 1.0).max(1.0)).sqrt(),
    };
    let json = serde_json::to_string_pretty(&evaluation).map_err(Failure::failed)?;
    if let Some(out) = &args.out {
        write_document(out, &json)?;
    }
    println!("{json}");
    Ok(())
}
