//! `folkmoot verify`: a chain of checkpoints, checked offline from its files alone.

use std::path::{Path, PathBuf};

use attest::ModelPublicKey;
use checkpoint::{MANIFEST_FILE, Manifest, public_key_text};
use identity::KeyError;
use plan::AuthoredPlan;
use published::{
    CheckpointFault, Plain, Verified, cards_line, check_evidence, check_spent, check_steps, checkpoints_in,
    evidence_line, is_signed, record_line, verified_json, verify_chain, verify_version, version_json,
};

use crate::files::{Unusable, read_text};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A chain that is cut off at its end cannot be distinguished from a shorter run: compare the head with what \
                  `folkmoot status` shows.\n\n\
                  Examples:\n  \
                  folkmoot verify /var/lib/folkmoot/coordinator/data --key HEX\n  \
                  folkmoot verify out --key HEX --model-key model.pub.pem --plan plan.json\n  \
                  folkmoot verify backup/checkpoints --quiet\n  \
                  folkmoot verify round-12 --key HEX --json"
)]
pub(crate) struct Args {
    /// The coordinator's data folder, or its folder `checkpoints`; or one version, as `model fetch --bundle` writes it.
    folder: PathBuf,
    /// The coordinator's public key, as the roster names it.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// The coordinator's model.pub.pem: checks model.sig and the evidence of every checkpoint, and prints the lineage.
    #[arg(long, value_name = "FILE")]
    model_key: Option<PathBuf>,
    /// The signed plan: does the server's step of each round again, from the sums that lie there.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Print nothing but errors and warnings.
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// One JSON object instead of text, with every record in it.
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
}

pub(crate) fn run(args: &Args) -> Result<(), Unverified> {
    let key = args.key.as_deref().map(identity::parse_verifying_key).transpose();
    let key = key.map_err(Unverified::Key)?;
    let model_key = args.model_key.as_deref().map(read_model_key).transpose()?;
    let plan = args.plan.as_deref().map(crate::plan::read_signed).transpose()?;
    if args.folder.join(MANIFEST_FILE).is_file() {
        return alone(args, key.as_ref().map(public_key_text));
    }
    let verified = verify_chain(&Plain::new(&checkpoints_in(&args.folder)), key, plan.as_deref())?;
    for manifest in &verified.manifests {
        args.say(|| record_line(manifest));
    }
    if verified.cards > 0 {
        args.say(|| cards_line(verified.cards, plan.is_some()));
    }
    let (evidence, steps) = further(args, &verified, model_key.as_ref(), plan.as_ref())?;
    args.say(|| {
        let (rounds, head, model) = (verified.rounds, verified.head, verified.model_sha256);
        format!("verified: {rounds} rounds, head {head}, model sha256 {model}")
    });
    if args.json {
        println!("{}", verified_json(&verified, key.is_some(), evidence, steps));
    }
    if key.is_none() {
        unpinned(verified.manifests.last());
    }
    Ok(())
}

fn unpinned(newest: Option<&Manifest>) {
    let signer = newest.map_or("", |manifest| manifest.public_key.as_str());
    eprintln!(
        "warning: no key is pinned, so this shows that one key wrote all of it, not whose it is; the roster names the \
         coordinator's key: add --key {signer} if that is the one"
    );
}

/// A version by itself, as `model fetch --bundle` writes it.
fn alone(args: &Args, key: Option<String>) -> Result<(), Unverified> {
    let (signed, manifest) = verify_version(&Plain::new(&args.folder), "")?;
    if key.as_ref().is_some_and(|key| *key != manifest.public_key) {
        let why = "is signed by another key than --key names".to_owned();
        return Err(CheckpointFault::File { file: args.folder.join(MANIFEST_FILE), why }.into());
    }
    args.say(|| {
        format!("{}\nverified: this version alone, record {}", record_line(&manifest), signed.digest())
    });
    if args.json {
        let record = (signed.digest(), &manifest);
        println!("{}", version_json(record, key.is_some()));
    }
    eprintln!(
        "warning: this is one version, and the chain before it was not checked: `folkmoot model export` writes a chain; \
         model.sig is checked by `model_signing verify key`"
    );
    if key.is_none() {
        unpinned(Some(&manifest));
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

/// What goes beyond the chain itself, where keys and plans are given for it: how many checkpoints have evidence that holds, and how
/// many rounds' steps were done again.
fn further(
    args: &Args,
    verified: &Verified,
    model_key: Option<&ModelPublicKey>,
    plan: Option<&AuthoredPlan>,
) -> Result<(Option<usize>, Option<usize>), CheckpointFault> {
    let folder = checkpoints_in(&args.folder);
    let folder = Plain::new(&folder);
    let (mut evidence, mut steps) = (None, None);
    if let Some(key) = model_key {
        let lineage = check_evidence(&folder, &verified.manifests, key)?;
        args.say(|| "lineage:".into());
        lineage.iter().for_each(|evidence| args.say(|| evidence_line(evidence)));
        evidence = Some(lineage.len());
    } else if is_signed(&folder, &verified.manifests) {
        eprintln!("warning: model.sig and the evidence were not checked: add --model-key model.pub.pem");
    }
    if let Some(plan) = plan {
        check_spent(&folder, &verified.manifests, plan)?;
        let checked = check_steps(&folder, verified, plan)?.len();
        let rounds = verified.rounds;
        args.say(|| {
            format!("steps: {checked} of {rounds} rounds done again, each gives the published model")
        });
        if let Some(left) = rounds.checked_sub(checked as u64).filter(|left| *left > 0) {
            eprintln!(
                "warning: the sums of {left} rounds are not there, so that their steps were not done again"
            );
        }
        steps = Some(checked);
    }
    Ok((evidence, steps))
}

pub(crate) fn read_model_key(file: &Path) -> Result<ModelPublicKey, Unusable> {
    ModelPublicKey::from_pem(&read_text(file)?).map_err(|why| Unusable::new(file, why))
}
