//! `folkmoot verify`: a chain of checkpoints, checked offline from its files alone.

use std::path::{Path, PathBuf};

use attest::ModelPublicKey;
use identity::KeyError;
use plan::AuthoredPlan;
use published::{
    CheckpointFault, Plain, Verified, cards_line, check_evidence, check_spent, check_steps, checkpoints_in,
    evidence_line, is_signed, record_line, verify_chain,
};

use crate::files::{Unusable, read_text};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A chain that is cut off at its end cannot be distinguished from a shorter run: compare the head with what \
                  `folkmoot status` shows.\n\n\
                  Examples:\n  \
                  folkmoot verify /var/lib/folkmoot/coordinator/data --key HEX\n  \
                  folkmoot verify out --key HEX --model-key model.pub.pem --plan plan.json\n  \
                  folkmoot verify backup/checkpoints --quiet"
)]
pub(crate) struct Args {
    /// The coordinator's data folder, or its folder `checkpoints`.
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
    #[arg(long)]
    quiet: bool,
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
    let verified = verify_chain(&Plain::new(&checkpoints_in(&args.folder)), key, plan.as_deref())?;
    if !args.quiet {
        for manifest in &verified.manifests {
            println!("{}", record_line(manifest));
        }
    }
    if verified.cards > 0 && !args.quiet {
        println!("{}", cards_line(verified.cards, plan.is_some()));
    }
    further(args, &verified, model_key.as_ref(), plan.as_ref())?;
    if !args.quiet {
        println!(
            "verified: {} rounds, head {}, model sha256 {}",
            verified.rounds, verified.head, verified.model_sha256
        );
    }
    if key.is_none() {
        let signer = verified.manifests.last().map_or("", |manifest| manifest.public_key.as_str());
        eprintln!(
            "warning: no key is pinned, so this shows that one key wrote the whole chain, not whose it is; the \
             roster names the coordinator's key: add --key {signer} if that is the one"
        );
    }
    Ok(())
}

/// What goes beyond the chain itself, where keys and plans are given for it.
fn further(
    args: &Args,
    verified: &Verified,
    model_key: Option<&ModelPublicKey>,
    plan: Option<&AuthoredPlan>,
) -> Result<(), CheckpointFault> {
    let folder = checkpoints_in(&args.folder);
    let folder = Plain::new(&folder);
    if let Some(key) = model_key {
        let lineage = check_evidence(&folder, &verified.manifests, key)?;
        if !args.quiet {
            println!("lineage:");
            for evidence in &lineage {
                println!("{}", evidence_line(evidence));
            }
        }
    } else if is_signed(&folder, &verified.manifests) {
        eprintln!("warning: model.sig and the evidence were not checked: add --model-key model.pub.pem");
    }
    if let Some(plan) = plan {
        check_spent(&folder, &verified.manifests, plan)?;
        let checked = check_steps(&folder, verified, plan)?;
        let rounds = verified.rounds;
        if !args.quiet {
            println!(
                "steps: {} of {rounds} rounds done again, each gives the published model",
                checked.len()
            );
        }
        if (checked.len() as u64) < rounds {
            eprintln!(
                "warning: the sums of {} rounds are not there, so that their steps were not done again",
                rounds.saturating_sub(checked.len() as u64)
            );
        }
    }
    Ok(())
}

pub(crate) fn read_model_key(file: &Path) -> Result<ModelPublicKey, Unusable> {
    ModelPublicKey::from_pem(&read_text(file)?).map_err(|why| Unusable::new(file, why))
}
