//! `folkmoot verify`: a chain of checkpoints, checked offline from its files alone.

mod evidence;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use accounting::rounded_up;
use attest::ModelPublicKey;
use card::{Card, Learned};
use checkpoint::{
    ArtifactError, CHECKPOINTS_FOLDER, ChainError, ChainVerifier, MANIFEST_FILE, MODEL_FILE, Manifest,
    OPTIMIZER_FILE, SIGNATURE_FILE, SignatureError, SignedManifest, folder_name, round_of_folder,
    verify_checkpoint,
};
use ed25519_dalek::VerifyingKey;
pub(crate) use evidence::state_of;
use identity::{KeyError, with_causes};
use params::Digest;
use plan::{AuthoredPlan, Plan};

use crate::connect::printable;
use crate::files::{Unusable, read_text};

/// Largest manifest that is read: the limit that manifests have on the network.
const MANIFEST_BYTES_MAX: u64 = checkpoint::MANIFEST_BYTES_MAX as u64;

const OTHER_PLAN: &str = "is the record of another plan than was given";

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A chain that is cut off at its end cannot be told from a shorter run: compare the head with what \
                  `folkmoot status` shows.\n\n\
                  Examples:\n  \
                  folkmoot verify /var/lib/folkmoot/coordinator --key HEX\n  \
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

/// A chain that holds.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Committed rounds: checkpoints without the initial model's.
    pub rounds: u64,
    /// Digest of the newest checkpoint's record.
    pub head: Digest,
    /// The newest model.
    pub model_path: PathBuf,
    /// SHA-256 of its file.
    pub model_sha256: Digest,
    /// What the newest record says has been spent.
    pub privacy: checkpoint::PrivacySpent,
    /// How many of them have a model card.
    pub cards: u64,
    /// All records, oldest first.
    pub manifests: Vec<Manifest>,
}

/// The first thing wrong with a chain.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or folder cannot be read.
    #[error("`{}`: cannot be read: {why}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        why: std::io::Error,
    },
    /// There is no chain.
    #[error("`{}`: holds no checkpoints; name a coordinator's data folder, or its folder `checkpoints`", folder.display())]
    Empty {
        /// Where.
        folder: PathBuf,
    },
    /// A file is not what was signed.
    #[error("`{}`: {why}", file.display())]
    File {
        /// The first bad file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint is missing that no record explains.
    #[error(
        "`{}`: is missing, and the next record does not list round {round} as aborted; restore it from a copy",
        folder.display()
    )]
    Gap {
        /// The missing folder.
        folder: PathBuf,
        /// Its round.
        round: u64,
    },
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
    Chain(#[from] VerifyError),
}

/// Checks every checkpoint in `folder`, or in the folder `checkpoints` in it.
///
/// Without a `key` the first record's is taken: that proves one author, not which.
///
/// # Errors
/// [`VerifyError`], the first that is met, from the oldest checkpoint on.
pub fn verify_folder(folder: &Path, key: Option<VerifyingKey>) -> Result<Verified, VerifyError> {
    verify_under(folder, key, None)
}

/// The same, with the model cards held against the plan too, where there is one.
fn verify_under(
    folder: &Path,
    key: Option<VerifyingKey>,
    plan: Option<&Plan>,
) -> Result<Verified, VerifyError> {
    let folder = checkpoints_in(folder);
    let mut chain = ChainVerifier::new(key);
    let mut learned = Learned::default();
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut cards = 0;
    for round in rounds_in(&folder)? {
        let here = folder.join(folder_name(round));
        let manifest = verify_one(&here, &mut chain)?;
        cards += u64::from(verify_card(&here, &manifest, &learned.push(&manifest), plan)?);
        if manifest.round != round {
            let why = format!("is the record of round {}, in the folder of round {round}", manifest.round);
            return Err(VerifyError::File { file: here.join(MANIFEST_FILE), why });
        }
        let first_missing = manifests.last().map_or(0, |previous| previous.round + 1);
        let explained = |missing: &u64| manifest.previous_rounds_aborted.iter().any(|a| a.round == *missing);
        if let Some(missing) = (first_missing..round).find(|missing| !explained(missing)) {
            return Err(VerifyError::Gap { folder: folder.join(folder_name(missing)), round: missing });
        }
        manifests.push(manifest);
    }
    match (manifests.last(), chain.head_digest()) {
        (Some(newest), Some(head)) => Ok(Verified {
            rounds: manifests.iter().filter(|m| m.round > 0 && m.action.is_none()).count() as u64,
            head,
            model_path: folder.join(folder_name(newest.round)).join(MODEL_FILE),
            model_sha256: newest.model.sha256,
            privacy: newest.privacy.clone(),
            cards,
            manifests,
        }),
        _ => Err(VerifyError::Empty { folder }),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Unverified> {
    let key = args.key.as_deref().map(identity::parse_verifying_key).transpose();
    let key = key.map_err(Unverified::Key)?;
    let model_key = args.model_key.as_deref().map(read_model_key).transpose()?;
    let plan = args.plan.as_deref().map(crate::plan::read_signed).transpose()?;
    let verified = verify_under(&args.folder, key, plan.as_deref())?;
    if !args.quiet {
        for manifest in &verified.manifests {
            println!("{}", line(manifest));
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
) -> Result<(), VerifyError> {
    let folder = checkpoints_in(&args.folder);
    if let Some(key) = model_key {
        let lineage = evidence::check_evidence(&folder, &verified.manifests, key)?;
        if !args.quiet {
            println!("lineage:");
            for evidence in &lineage {
                println!("{}", evidence::line(evidence));
            }
        }
    } else if evidence::is_signed(&folder, &verified.manifests) {
        eprintln!("warning: model.sig and the evidence were not checked: add --model-key model.pub.pem");
    }
    if let Some(plan) = plan {
        evidence::check_spent(&folder, &verified.manifests, plan)?;
        let checked = evidence::check_steps(&folder, &verified.manifests, plan)?;
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

pub(crate) fn checkpoints_in(folder: &Path) -> PathBuf {
    let inner = folder.join(CHECKPOINTS_FOLDER);
    if inner.is_dir() { inner } else { folder.to_owned() }
}

fn line(manifest: &Manifest) -> String {
    if let Some(action) = &manifest.action {
        return format!("round {:>6}: {}", manifest.round, printable(&action.to_string()));
    }
    let spent = manifest
        .privacy
        .epsilon
        .map_or_else(String::new, |epsilon| format!(", epsilon {}", rounded_up(epsilon, 4)));
    let left_out: Vec<String> = manifest
        .left_out
        .iter()
        .map(|left_out| format!("client {} ({})", left_out.client, printable(&left_out.reason)))
        .collect();
    let left_out =
        if left_out.is_empty() { String::new() } else { format!(", left out: {}", left_out.join(", ")) };
    format!(
        "round {:>6}: {} silos{left_out}, model {}{spent}",
        manifest.round,
        manifest.included.len(),
        manifest.model.params_digest.short()
    )
}

/// Rounds that have a folder, ascending. Other entries, such as one that a crash left half-written, are none.
fn rounds_in(folder: &Path) -> Result<Vec<u64>, VerifyError> {
    let unreadable = |why| VerifyError::Unreadable { file: folder.to_owned(), why };
    let mut rounds = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        rounds.extend(name.to_str().and_then(round_of_folder));
    }
    rounds.sort_unstable();
    Ok(rounds)
}

/// A checkpoint's record, unverified.
fn read_record(here: &Path) -> Result<SignedManifest, VerifyError> {
    let signature_path = here.join(SIGNATURE_FILE);
    let signature = read(&signature_path, 64)?;
    let signature = <[u8; 64]>::try_from(signature.as_slice()).map_err(|_| VerifyError::File {
        file: signature_path.clone(),
        why: format!("has {} bytes, a signature has 64", signature.len()),
    })?;
    Ok(SignedManifest { manifest_bytes: read(&here.join(MANIFEST_FILE), MANIFEST_BYTES_MAX)?, signature })
}

/// One version by itself: its files are what its signed record says, whoever signed it. Its card is not looked at.
pub(crate) fn verify_version(here: &Path) -> Result<(SignedManifest, Manifest), VerifyError> {
    let signed = read_record(here)?;
    let manifest = signed
        .verify_strict()
        .map_err(|why| VerifyError::File { file: here.join(MANIFEST_FILE), why: with_causes(&why) })?;
    verify_files(here, &signed)?;
    Ok((signed, manifest))
}

fn verify_one(here: &Path, chain: &mut ChainVerifier) -> Result<Manifest, VerifyError> {
    let manifest_path = here.join(MANIFEST_FILE);
    let signature_path = here.join(SIGNATURE_FILE);
    let signed = read_record(here)?;
    let manifest = chain.push(&signed).map_err(|why| match why {
        ChainError::Signature(SignatureError::Signature) => VerifyError::File {
            file: manifest_path.clone(),
            why: format!(
                "does not match its signature `{}`: one of the two was changed",
                signature_path.display()
            ),
        },
        why => VerifyError::File { file: manifest_path.clone(), why: with_causes(&why) },
    })?;
    verify_files(here, &signed)?;
    Ok(manifest)
}

fn verify_files(here: &Path, signed: &SignedManifest) -> Result<(), VerifyError> {
    let model = read(&here.join(MODEL_FILE), checkpoint::MODEL_BYTES_MAX)?;
    let optimizer_path = here.join(OPTIMIZER_FILE);
    let optimizer =
        optimizer_path.exists().then(|| read(&optimizer_path, checkpoint::MODEL_BYTES_MAX)).transpose()?;
    verify_checkpoint(signed, &model, optimizer.as_deref(), None)
        .map_err(|why| VerifyError::File { file: here.join(file_of(&why)), why: with_causes(&why) })?;
    Ok(())
}

/// A model card, where there is one, says what its record, the chain before it and the plan say, and its README says the same.
/// Gives whether there is one.
fn verify_card(
    here: &Path,
    manifest: &Manifest,
    learned: &BTreeSet<u32>,
    plan: Option<&Plan>,
) -> Result<bool, VerifyError> {
    let [file, readme] = [card::CARD_FILE, card::README_FILE].map(|name| here.join(name));
    if !file.exists() && !readme.exists() {
        return Ok(false);
    }
    if plan.is_some_and(|plan| plan.digest() != manifest.plan_digest) {
        return Err(VerifyError::File { file: here.join(MANIFEST_FILE), why: OTHER_PLAN.into() });
    }
    let [text, said] =
        [read(&file, card::CARD_BYTES_MAX as u64)?, read(&readme, card::CARD_BYTES_MAX as u64)?];
    let rendered = Card::from_yaml(&String::from_utf8_lossy(&text)).and_then(|card| {
        card.check(manifest, learned, plan)?;
        card.readme()
    });
    let rendered = rendered.map_err(|why| VerifyError::File { file, why: with_causes(&why) })?;
    if rendered.as_bytes() != said {
        let why = format!("is not how `{}` beside it reads: one of the two was changed", card::CARD_FILE);
        return Err(VerifyError::File { file: readme, why });
    }
    Ok(true)
}

/// What was held against what, and what nothing could be held against.
fn cards_line(cards: u64, planned: bool) -> String {
    let (against, left) = if planned {
        ("the records and the plan", "")
    } else {
        ("the records", ", and without --plan what the plan tells")
    };
    format!(
        "cards: {cards} say what {against} say; the coordinator's word alone are the silos' names and data versions, the \
         security controls, the metrics and the owner's part{left}"
    )
}

fn file_of(error: &ArtifactError) -> &'static str {
    match error {
        ArtifactError::Manifest(_) => MANIFEST_FILE,
        ArtifactError::Missing { file }
        | ArtifactError::Unexpected { file }
        | ArtifactError::Sha256 { file, .. } => file,
        ArtifactError::Model(_) | ArtifactError::Params { .. } => MODEL_FILE,
    }
}

/// Reads a file no longer than `bytes_max`.
pub(crate) fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>, VerifyError> {
    let unreadable = |why| VerifyError::Unreadable { file: file.to_owned(), why };
    let mut start = Vec::new();
    let opened = fs::File::open(file).map_err(unreadable)?;
    opened.take(vault::MAGIC_BYTES).read_to_end(&mut start).map_err(unreadable)?;
    if vault::is_sealed(&start) {
        let why = "is sealed: write the models in the clear with `folkmoot model export`, and verify those";
        return Err(VerifyError::File { file: file.to_owned(), why: why.into() });
    }
    let length = fs::metadata(file).map_err(unreadable)?.len();
    if length > bytes_max {
        let why = format!("has {length} bytes, more than the {bytes_max} that it may have");
        return Err(VerifyError::File { file: file.to_owned(), why });
    }
    fs::read(file).map_err(unreadable)
}

#[cfg(test)]
pub(crate) mod tests;
