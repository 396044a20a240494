//! `folkmoot verify`: a chain of checkpoints, or those of all runs of a federation, checked offline from their files alone.

use std::path::{Path, PathBuf};

use attest::ModelPublicKey;
use checkpoint::MANIFEST_FILE;
use identity::KeyError;
use plan::AuthoredPlan;
use published::{
    Against, Checked, CheckpointFault, Plain, check_run, check_runs, check_version, checkpoints_in,
    plan_among, refuse_sealed,
};
use runs::{RUNS_FOLDER, run_folders_in};
use serde_json::json;

use crate::files::{Unusable, read_text};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A chain that is cut off at its end cannot be distinguished from a shorter run: compare the head with what \
                  `folkmoot status` shows.\n\n\
                  Of a federation with several runs each is verified, with a line for each, and what is wrong with one keeps no other \
                  from being looked at. Name `runs/0002` in the folder, or `checkpoints` for the first, to see one run's records.\n\n\
                  What a coordinator keeps is sealed, as `folkmoot-coordinator init` makes it: `folkmoot model export` writes all runs in the clear.\n\n\
                  Examples:\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator/data --master master.key out\n  \
                  folkmoot verify out --key HEX --model-key model.pub.pem --plan plan.json\n  \
                  folkmoot verify out --key HEX --plan first.json --plan second.json\n  \
                  folkmoot verify backup/checkpoints --quiet\n  \
                  folkmoot verify round-12 --key HEX --json"
)]
pub(crate) struct Args {
    /// What `model export` wrote, or a coordinator's data folder that is not sealed, or the folder `checkpoints` in either; or one
    /// version, as `model fetch --bundle` writes it.
    folder: PathBuf,
    /// The coordinator's public key, as the roster names it.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// The coordinator's model.pub.pem: checks model.sig and the evidence of every checkpoint, and prints the lineage.
    #[arg(long, value_name = "FILE")]
    model_key: Option<PathBuf>,
    /// The signed plan: does the server's step of each round again, from the sums that lie there. Once for each run where there are
    /// several.
    #[arg(long, value_name = "FILE")]
    plan: Vec<PathBuf>,
    /// Print nothing but errors and warnings.
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// One JSON object instead of text, with every record in it; of several runs `runs`, an object for each.
    #[arg(long)]
    json: bool,
}

/// Why `folkmoot verify` has nothing to say for a folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unverified {
    #[error("--key: {0}")]
    Key(#[source] KeyError),
    /// A key or a plan that it is to be held against.
    #[error(transparent)]
    Against(#[from] Unusable),
    #[error(transparent)]
    Chain(#[from] CheckpointFault),
    /// Some of a federation's runs; each was named when it was looked at.
    #[error("{bad} of {runs} runs do not hold, as said above")]
    Runs { bad: usize, runs: usize },
}

pub(crate) fn run(args: &Args) -> Result<(), Unverified> {
    let key = args.key.as_deref().map(identity::parse_verifying_key).transpose();
    let key = key.map_err(Unverified::Key)?;
    let model_key = args.model_key.as_deref().map(read_model_key).transpose()?;
    let plans = args.plan.iter().map(|file| crate::plan::read_signed(file));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let unreadable = |why| CheckpointFault::Unreadable { file: args.folder.join(RUNS_FOLDER), why };
    let runs = run_folders_in(&args.folder).map_err(unreadable)?;
    refuse_sealed(&args.folder, &runs)?;
    let against = Against { key, model_key: model_key.as_ref(), plan: None };
    if args.folder.join(MANIFEST_FILE).is_file() {
        return alone(args, &Against { plan: plans.first().map(|plan| &**plan), ..against });
    }
    if runs.len() > 1 {
        return each_run(args, &check_runs(&runs, &against, &plans), &plans);
    }
    let folder = checkpoints_in(&args.folder);
    let folder = Plain::new(&folder);
    let plan = plan_among(&folder, &plans)?.or(plans.first()).map(|plan| &**plan);
    let checked = check_run(&folder, &Against { plan, ..against })?;
    checked.lines().into_iter().for_each(|line| args.say(|| line));
    if args.json {
        println!("{}", checked.to_json());
    }
    checked.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    if key.is_none() {
        unpinned(checked.signer());
    }
    Ok(())
}

/// A line for each of a federation's runs, whether it holds or not.
fn each_run(
    args: &Args,
    runs: &[(u32, Result<Checked, CheckpointFault>)],
    plans: &[AuthoredPlan],
) -> Result<(), Unverified> {
    let mut objects = Vec::new();
    for (number, checked) in runs {
        match checked {
            Ok(checked) => {
                args.say(|| format!("run {number:>4} {}", checked.one_line()));
                checked.warnings().iter().for_each(|warning| eprintln!("warning: run {number}: {warning}"));
                objects.push(json!({ "number": number, "fault": null, "chain": checked.to_json() }));
            }
            Err(why) => {
                eprintln!("run {number:>4} does not hold: {why}");
                objects.push(json!({ "number": number, "fault": why.to_string(), "chain": null }));
            }
        }
    }
    if args.json {
        println!("{}", json!({ "runs": objects }));
    }
    let held: Vec<&Checked> = runs.iter().filter_map(|(_, checked)| checked.as_ref().ok()).collect();
    if let (None, Some(first)) = (&args.key, held.first()) {
        unpinned(first.signer());
    }
    if held.len() < runs.len() {
        return Err(Unverified::Runs { bad: runs.len() - held.len(), runs: runs.len() });
    }
    let unheard = |plan: &AuthoredPlan| !held.iter().any(|run| run.plan() == Some(plan.digest()));
    match args.plan.iter().zip(plans).find(|(_, plan)| unheard(plan)) {
        Some((file, _)) => Err(Unusable::new(file, "is the plan of none of these runs").into()),
        None => Ok(()),
    }
}

fn unpinned(signer: &str) {
    eprintln!(
        "warning: no key is pinned, so this shows that one key wrote all of it, not whose it is; the roster names the \
         coordinator's key: add --key {signer} if that is the one"
    );
}

/// A version by itself, as `model fetch --bundle` writes it.
fn alone(args: &Args, against: &Against) -> Result<(), Unverified> {
    let checked = check_version(&args.folder, against)?;
    checked.lines().into_iter().for_each(|line| args.say(|| line));
    if args.json {
        println!("{}", checked.to_json(against.key.is_some()));
    }
    checked.unchecked().iter().for_each(|what| eprintln!("not checked: {what}"));
    if against.key.is_none() {
        unpinned(&checked.manifest.public_key);
    }
    Ok(())
}

impl Args {
    /// Prints a line for people.
    fn say(&self, line: impl FnOnce() -> String) {
        if !self.quiet && !self.json {
            println!("{}", line());
        }
    }
}

pub(crate) fn read_model_key(file: &Path) -> Result<ModelPublicKey, Unusable> {
    ModelPublicKey::from_pem(&read_text(file)?).map_err(|why| Unusable::new(file, why))
}
