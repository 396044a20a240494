//! `folkmoot predict`: what a published model says of rows.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use datasets::{DatasetError, Unlabelled};
use params::Params;
use plan::{Classes, Data, PLAN_FILE, Plan};
use published::{Against, check_version};
use serde_json::json;
use train::{Answer, Prediction, Predictor};

use crate::Failure;
use crate::evaluate::read_parameters;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "ROWS is CSV with a header that names the plan's feature columns, in any order; others are left alone, and the label's \
                  need not be there. A line for each row: its line in ROWS, the class of the largest probability, the probability of \
                  each class, classes by the plan's names for them. With --json an object a line: \
                  {\"line\":…,\"class\":…,\"probabilities\":[…]}, and for a row that does not fit the plan {\"line\":…,\"fault\":…}.\n\n\
                  A folder is held against its own signatures first; whose they are, `folkmoot verify --key` says. Ends with 0 where every \
                  row has a prediction, with 1 where some have none: each is named.\n\n\
                  Examples:\n  \
                  folkmoot predict newest rows.csv\n  \
                  folkmoot predict model.safetensors - --plan plan.json --json < rows.csv"
)]
pub(crate) struct Args {
    /// What `model fetch --bundle` made; or a model's file, with --plan.
    model: PathBuf,
    /// The table; - for standard input.
    rows: PathBuf,
    /// The plan of a model's file; or the signed plan of a folder that has none, as earlier releases published no plan.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// How ROWS is written and what its columns mean, as `folkmoot data register` writes it.
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    /// JSON, an object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (plan, params) = model(&args.model, args.plan.as_deref())?;
    let registration = args.registration.as_deref().map(crate::data::registered).transpose()?;
    let predictor = Predictor::new(&plan, &params).map_err(Failure::usage)?;
    let (data, registration) = (&plan.data, registration.as_ref());
    match args.rows.as_os_str() == "-" {
        true => ask(
            &predictor,
            data,
            Unlabelled::from_reader("standard input", io::stdin(), data, registration),
            args.json,
        ),
        false => ask(&predictor, data, Unlabelled::open(&args.rows, data, registration), args.json),
    }
}

fn ask<R: Read>(
    predictor: &Predictor,
    data: &Data,
    rows: Result<Unlabelled<'_, R>, DatasetError>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut rows = rows.map_err(Failure::usage)?;
    if !as_json {
        let classes = (0..data.classes.count()).map(|class| format!("p({})", called(&data.classes, class)));
        println!("line,class,{}", classes.map(|name| cell(&name)).collect::<Vec<_>>().join(","));
    }
    let (mut all, mut silent) = (0u64, 0u64);
    loop {
        let answers = predictor.answers(&mut rows).map_err(Failure::failed)?;
        if answers.is_empty() {
            break;
        }
        for answer in &answers {
            all += 1;
            silent += u64::from(answer.said.is_err());
            say(answer, &data.classes, as_json);
        }
    }
    if rows.clipped_values() > 0 {
        eprintln!(
            "warning: {} cells lay beyond what the plan takes of their column and were clipped to it: look at their units",
            rows.clipped_values()
        );
    }
    match silent {
        0 => Ok(()),
        silent => Err(Failure::failed(format!("{silent} of {all} rows have no prediction, as said above"))),
    }
}

/// A verified version of a folder, or a model's file, with its plan.
fn model(model: &Path, plan: Option<&Path>) -> Result<(Plan, Params), Failure> {
    if !model.is_dir() {
        let plan =
            plan.ok_or_else(|| Failure::usage("a model's file says nothing of its columns: add --plan"))?;
        let plan = crate::plan::read_any(plan)?;
        return Ok((plan.clone(), read_parameters(model, &plan)?));
    }
    let given = plan.map(crate::plan::read_signed).transpose()?;
    let version = check_version(model, &Against { plan: given.as_deref(), ..Against::default() })?;
    let plan = given.or(version.plan).ok_or_else(|| {
        Failure::usage(format!(
            "`{}` has no {PLAN_FILE}, as earlier releases published none: add --plan with the signed plan",
            model.display()
        ))
    })?;
    Ok((Plan::clone(&plan), version.params))
}

fn say(answer: &Answer, classes: &Classes, as_json: bool) {
    let line = answer.line;
    match &answer.said {
        Err(why) => {
            eprintln!("{why}");
            if as_json {
                println!("{}", json!({ "line": line, "fault": why.to_string() }));
            }
        }
        Ok(Prediction { class, probabilities }) if as_json => {
            let class = called(classes, *class);
            println!("{}", json!({ "line": line, "class": class, "probabilities": probabilities }));
        }
        Ok(Prediction { class, probabilities }) => {
            let shown: Vec<String> = probabilities.iter().map(|share| format!("{share:.6}")).collect();
            println!("{line},{},{}", cell(&called(classes, *class)), shown.join(","));
        }
    }
}

/// A class as the plan names it.
fn called(classes: &Classes, class: usize) -> Cow<'_, str> {
    classes.name(class).unwrap_or_else(|| class.to_string().into())
}

/// A text of the plan's author as a cell of CSV, safe to show on a terminal.
fn cell(text: &str) -> String {
    let text = identity::printable(text);
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
