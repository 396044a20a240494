//! A chain of checkpoints in a folder, from the oldest on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use card::{CARD_FILE, Card, LearnedFrom, README_FILE};
use checkpoint::{
    ChainError, ChainVerifier, MANIFEST_FILE, MODEL_FILE, Manifest, SIGNATURE_FILE, SignatureError,
    SignedManifest, folder_name, round_of_folder,
};
use ed25519_dalek::VerifyingKey;
use identity::with_causes;
use params::Digest;
use plan::{AuthoredPlan, PLAN_FILE, Plan, SignedPlan};
use store::StoreError;

use crate::folder::{Folder, Plain, checkpoints_in};
use crate::records::read_record;
use crate::version::read_files;

pub(crate) const OTHER_PLAN: &str = "is the record of another plan than was given";

/// A chain that holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
        file: PathBuf,
        #[source]
        why: std::io::Error,
    },
    /// A store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that a record names, or its signature.
    #[error("`{}`: is missing; restore it from a copy", file.display())]
    Missing { file: PathBuf },
    /// A vault sealed it, as it seals a daemon's folder.
    #[error(
        "`{}` is sealed, so nothing in it can be verified as it lies: write its models in the clear with `folkmoot model export \
         --data {} --master SOURCE OUT`, then run `folkmoot verify OUT`", folder.display(), data_folder.display()
    )]
    Sealed {
        folder: PathBuf,
        /// What is exported instead: the folder, or the one above it that holds a run.
        data_folder: PathBuf,
    },
    /// There is no chain.
    #[error("`{}`: holds no checkpoints; name a coordinator's data folder, or its folder `checkpoints`", folder.display())]
    Empty { folder: PathBuf },
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
    verify_chain(&Plain::new(&checkpoints_in(folder)), key, None)
}

/// Checks every checkpoint of a chain, wherever it lies; its model cards against the plan too, where there is one.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_chain<F: Folder + ?Sized>(
    folder: &F,
    key: Option<VerifyingKey>,
    plan: Option<&Plan>,
) -> Result<Verified, CheckpointFault> {
    let mut chain = ChainVerifier::new(key);
    let mut learned = LearnedFrom::default();
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut cards = 0;
    for round in rounds(folder)? {
        let name = folder_name(round);
        let manifest = verify_record(folder, round, manifests.last(), &mut chain)?;
        read_files(folder, &name, &manifest, None)?;
        read_plan(folder, &name, &manifest)?;
        cards += u64::from(verify_card(folder, &name, &manifest, Some(&learned.push(&manifest)), plan)?);
        manifests.push(manifest);
    }
    match (manifests.last(), chain.head_digest()) {
        (Some(newest), Some(head)) => Ok(Verified {
            rounds: manifests.iter().filter(|m| m.round > 0 && m.action.is_none()).count() as u64,
            head,
            model_path: folder.place(&folder_name(newest.round), MODEL_FILE),
            model_sha256: newest.model.sha256,
            privacy: newest.privacy.clone(),
            cards,
            manifests,
        }),
        _ => Err(CheckpointFault::Empty { folder: folder.place("", "") }),
    }
}

/// Checks the records of a chain alone, every one that lies there; no model is opened.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_records<F: Folder + ?Sized>(
    folder: &F,
    key: Option<VerifyingKey>,
) -> Result<Vec<Manifest>, CheckpointFault> {
    let mut chain = ChainVerifier::new(key);
    let mut manifests: Vec<Manifest> = Vec::new();
    for round in rounds(folder)? {
        manifests.push(verify_record(folder, round, manifests.last(), &mut chain)?);
    }
    Ok(manifests)
}

/// One version by itself, under its name: its files are what its signed record says, whoever signed it. Its card is not looked at.
///
/// # Errors
/// The first file that is not as signed.
pub fn verify_version<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
) -> Result<(SignedManifest, Manifest), CheckpointFault> {
    let signed = record(folder, name)?;
    let manifest = signed.verify_strict().map_err(|why| CheckpointFault::File {
        file: folder.place(name, MANIFEST_FILE),
        why: with_causes(&why),
    })?;
    read_files(folder, name, &manifest, None)?;
    Ok((signed, manifest))
}

/// Rounds that have a folder, ascending.
pub(crate) fn rounds<F: Folder + ?Sized>(folder: &F) -> Result<Vec<u64>, CheckpointFault> {
    let mut rounds: Vec<u64> = folder.names()?.iter().filter_map(|name| round_of_folder(name)).collect();
    rounds.sort_unstable();
    Ok(rounds)
}

/// A record that has to be there, unverified.
pub(crate) fn record<F: Folder + ?Sized>(folder: &F, name: &str) -> Result<SignedManifest, CheckpointFault> {
    read_record(folder, name)?
        .ok_or_else(|| CheckpointFault::Missing { file: folder.place(name, SIGNATURE_FILE) })
}

/// The record in the folder of a round: it follows from the one before it, and explains each round in between.
fn verify_record<F: Folder + ?Sized>(
    folder: &F,
    round: u64,
    before: Option<&Manifest>,
    chain: &mut ChainVerifier,
) -> Result<Manifest, CheckpointFault> {
    let name = folder_name(round);
    let bad = |why| CheckpointFault::File { file: folder.place(&name, MANIFEST_FILE), why };
    let manifest = chain.push(&record(folder, &name)?).map_err(|why| match why {
        ChainError::Signature(SignatureError::Signature) => bad(format!(
            "does not match its signature `{}`: one of the two was changed",
            folder.place(&name, SIGNATURE_FILE).display()
        )),
        why => bad(with_causes(&why)),
    })?;
    if manifest.round != round {
        return Err(bad(format!(
            "is the record of round {}, in the folder of round {round}",
            manifest.round
        )));
    }
    let first_missing = before.map_or(0, |before| before.round + 1);
    let explained = |missing: &u64| manifest.previous_rounds_aborted.iter().any(|a| a.round == *missing);
    match (first_missing..round).find(|missing| !explained(missing)) {
        None => Ok(manifest),
        Some(missing) => {
            let folder = folder.place(&folder_name(missing), "");
            Err(CheckpointFault::Gap { folder, round: missing })
        }
    }
}

/// The signed plan that was published with a version, where one was: its author's signature holds, and the version's record names it.
///
/// # Errors
/// A file that is another's, or that nobody signed.
pub fn read_plan<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    manifest: &Manifest,
) -> Result<Option<AuthoredPlan>, CheckpointFault> {
    let Some(bytes) = folder.read(name, PLAN_FILE)? else { return Ok(None) };
    let bad = |why| CheckpointFault::File { file: folder.place(name, PLAN_FILE), why };
    let plan = SignedPlan::from_json(&String::from_utf8_lossy(&bytes)).and_then(SignedPlan::open);
    let plan = plan.map_err(|why| bad(with_causes(&why)))?;
    match plan.digest() == manifest.plan_digest {
        true => Ok(Some(plan)),
        false => Err(bad("is another plan than the record names".into())),
    }
}

/// A model card, where there is one, says what its record, the chain before it and the plan say, and its README says the same.
/// Gives whether there is one. Without the chain, `learned` of none, whom those before learned from is the card's own word.
pub(crate) fn verify_card<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    manifest: &Manifest,
    learned: Option<&BTreeSet<u32>>,
    plan: Option<&Plan>,
) -> Result<bool, CheckpointFault> {
    let [text, readme] = [folder.read(name, CARD_FILE)?, folder.read(name, README_FILE)?];
    if text.is_none() && readme.is_none() {
        return Ok(false);
    }
    let bad = |file, why| CheckpointFault::File { file: folder.place(name, file), why };
    if plan.is_some_and(|plan| plan.digest() != manifest.plan_digest) {
        return Err(bad(MANIFEST_FILE, OTHER_PLAN.into()));
    }
    let missing = |file| CheckpointFault::Missing { file: folder.place(name, file) };
    let text = text.ok_or_else(|| missing(CARD_FILE))?;
    let readme = readme.ok_or_else(|| missing(README_FILE))?;
    let rendered = Card::from_yaml(&String::from_utf8_lossy(&text)).and_then(|card| {
        let own = || card.training_data.silos.iter().map(|silo| silo.id).chain(manifest.included.clone());
        card.check(manifest, &learned.cloned().unwrap_or_else(|| own().collect()), plan)?;
        card.readme()
    });
    let rendered = rendered.map_err(|why| bad(CARD_FILE, with_causes(&why)))?;
    if rendered.as_bytes() != readme {
        let why = format!("is not how `{CARD_FILE}` beside it reads: one of the two was changed");
        return Err(bad(README_FILE, why));
    }
    Ok(true)
}
