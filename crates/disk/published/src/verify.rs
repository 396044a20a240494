//! A chain of checkpoints in a folder, from the oldest on.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use card::{Card, Learned};
use checkpoint::{
    ArtifactError, CHECKPOINTS_FOLDER, ChainError, ChainVerifier, MANIFEST_FILE, MODEL_FILE, Manifest,
    OPTIMIZER_FILE, SIGNATURE_FILE, SignatureError, SignedManifest, folder_name, round_of_folder,
    verify_checkpoint,
};
use ed25519_dalek::VerifyingKey;
use identity::with_causes;
use params::Digest;
use plan::Plan;

pub(crate) const OTHER_PLAN: &str = "is the record of another plan than was given";

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
pub enum CheckpointFault {
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

/// Checks every checkpoint in `folder`, or in the folder `checkpoints` in it.
///
/// Without a `key` the first record's is taken: that proves one author, not which.
///
/// # Errors
/// [`CheckpointFault`], the first that is met, from the oldest checkpoint on.
pub fn verify_folder(folder: &Path, key: Option<VerifyingKey>) -> Result<Verified, CheckpointFault> {
    verify_folder_under(folder, key, None)
}

/// [`verify_folder`], with the model cards held against the plan too, where there is one.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_folder_under(
    folder: &Path,
    key: Option<VerifyingKey>,
    plan: Option<&Plan>,
) -> Result<Verified, CheckpointFault> {
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
            return Err(CheckpointFault::File { file: here.join(MANIFEST_FILE), why });
        }
        let first_missing = manifests.last().map_or(0, |previous| previous.round + 1);
        let explained = |missing: &u64| manifest.previous_rounds_aborted.iter().any(|a| a.round == *missing);
        if let Some(missing) = (first_missing..round).find(|missing| !explained(missing)) {
            return Err(CheckpointFault::Gap { folder: folder.join(folder_name(missing)), round: missing });
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
        _ => Err(CheckpointFault::Empty { folder }),
    }
}

/// The folder of a run's checkpoints: of a data folder its `checkpoints`, or the folder itself.
pub fn checkpoints_in(folder: &Path) -> PathBuf {
    let inner = folder.join(CHECKPOINTS_FOLDER);
    if inner.is_dir() { inner } else { folder.to_owned() }
}

/// Rounds that have a folder, ascending. Other entries, such as one that a crash left half-written, are none.
fn rounds_in(folder: &Path) -> Result<Vec<u64>, CheckpointFault> {
    let unreadable = |why| CheckpointFault::Unreadable { file: folder.to_owned(), why };
    let mut rounds = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        rounds.extend(name.to_str().and_then(round_of_folder));
    }
    rounds.sort_unstable();
    Ok(rounds)
}

/// A checkpoint's record, unverified.
pub(crate) fn read_record(here: &Path) -> Result<SignedManifest, CheckpointFault> {
    let signature_path = here.join(SIGNATURE_FILE);
    let signature = read_bounded(&signature_path, 64)?;
    let signature = <[u8; 64]>::try_from(signature.as_slice()).map_err(|_| CheckpointFault::File {
        file: signature_path.clone(),
        why: format!("has {} bytes, a signature has 64", signature.len()),
    })?;
    Ok(SignedManifest {
        manifest_bytes: read_bounded(&here.join(MANIFEST_FILE), checkpoint::MANIFEST_BYTES_MAX as u64)?,
        signature,
    })
}

/// One version by itself: its files are what its signed record says, whoever signed it. Its card is not looked at.
///
/// # Errors
/// The first file that is not as signed.
pub fn verify_version(here: &Path) -> Result<(SignedManifest, Manifest), CheckpointFault> {
    let signed = read_record(here)?;
    let manifest = signed
        .verify_strict()
        .map_err(|why| CheckpointFault::File { file: here.join(MANIFEST_FILE), why: with_causes(&why) })?;
    verify_files(here, &signed)?;
    Ok((signed, manifest))
}

fn verify_one(here: &Path, chain: &mut ChainVerifier) -> Result<Manifest, CheckpointFault> {
    let manifest_path = here.join(MANIFEST_FILE);
    let signature_path = here.join(SIGNATURE_FILE);
    let signed = read_record(here)?;
    let manifest = chain.push(&signed).map_err(|why| match why {
        ChainError::Signature(SignatureError::Signature) => CheckpointFault::File {
            file: manifest_path.clone(),
            why: format!(
                "does not match its signature `{}`: one of the two was changed",
                signature_path.display()
            ),
        },
        why => CheckpointFault::File { file: manifest_path.clone(), why: with_causes(&why) },
    })?;
    verify_files(here, &signed)?;
    Ok(manifest)
}

fn verify_files(here: &Path, signed: &SignedManifest) -> Result<(), CheckpointFault> {
    let model = read_bounded(&here.join(MODEL_FILE), checkpoint::MODEL_BYTES_MAX)?;
    let optimizer_path = here.join(OPTIMIZER_FILE);
    let optimizer = optimizer_path
        .exists()
        .then(|| read_bounded(&optimizer_path, checkpoint::MODEL_BYTES_MAX))
        .transpose()?;
    verify_checkpoint(signed, &model, optimizer.as_deref(), None)
        .map_err(|why| CheckpointFault::File { file: here.join(file_of(&why)), why: with_causes(&why) })?;
    Ok(())
}

/// A model card, where there is one, says what its record, the chain before it and the plan say, and its README says the same.
/// Gives whether there is one.
fn verify_card(
    here: &Path,
    manifest: &Manifest,
    learned: &BTreeSet<u32>,
    plan: Option<&Plan>,
) -> Result<bool, CheckpointFault> {
    let [file, readme] = [card::CARD_FILE, card::README_FILE].map(|name| here.join(name));
    if !file.exists() && !readme.exists() {
        return Ok(false);
    }
    if plan.is_some_and(|plan| plan.digest() != manifest.plan_digest) {
        return Err(CheckpointFault::File { file: here.join(MANIFEST_FILE), why: OTHER_PLAN.into() });
    }
    let [text, said] = [
        read_bounded(&file, card::CARD_BYTES_MAX as u64)?,
        read_bounded(&readme, card::CARD_BYTES_MAX as u64)?,
    ];
    let rendered = Card::from_yaml(&String::from_utf8_lossy(&text)).and_then(|card| {
        card.check(manifest, learned, plan)?;
        card.readme()
    });
    let rendered = rendered.map_err(|why| CheckpointFault::File { file, why: with_causes(&why) })?;
    if rendered.as_bytes() != said {
        let why = format!("is not how `{}` beside it reads: one of the two was changed", card::CARD_FILE);
        return Err(CheckpointFault::File { file: readme, why });
    }
    Ok(true)
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

/// Reads a file no longer than `bytes_max`, in the clear.
///
/// # Errors
/// One that cannot be read, is longer, or is sealed.
pub fn read_bounded(file: &Path, bytes_max: u64) -> Result<Vec<u8>, CheckpointFault> {
    let unreadable = |why| CheckpointFault::Unreadable { file: file.to_owned(), why };
    let mut start = Vec::new();
    let opened = fs::File::open(file).map_err(unreadable)?;
    opened.take(vault::MAGIC_BYTES).read_to_end(&mut start).map_err(unreadable)?;
    if vault::is_sealed(&start) {
        let why = "is sealed: write the models in the clear with `folkmoot model export`, and verify those";
        return Err(CheckpointFault::File { file: file.to_owned(), why: why.into() });
    }
    let length = fs::metadata(file).map_err(unreadable)?.len();
    if length > bytes_max {
        let why = format!("has {length} bytes, more than the {bytes_max} that it may have");
        return Err(CheckpointFault::File { file: file.to_owned(), why });
    }
    fs::read(file).map_err(unreadable)
}
