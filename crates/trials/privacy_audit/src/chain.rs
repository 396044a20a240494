//! A run that is over, attacked by the canaries that were put in before it.

use std::path::Path;

use checkpoint::{AGGREGATE_FILE, Manifest, folder_name};
use datasets::Dataset;
use empirical::one_run::guess;
use params::Params;
use plan::{Mechanism, Plan};
use published::{Plain, Version, checkpoints_in, read_bounded, read_version, verify_folder};

use crate::canaries::Canaries;
use crate::error::AuditError;
use crate::findings::{Claim, Findings};
use crate::scores::{Scores, Seen};

/// Checks the chain in a coordinator's data folder, or in what was exported of it, and attacks it with what every member of the
/// run was given. `known` are records that are known to have been trained on, without the canaries.
///
/// The claim is what the newest record says was spent: a run that ended early spent less than its plan allows.
///
/// # Errors
/// [`AuditError`]; [`AuditError::MembersHoldCanaries`] before the folder is looked at, and [`AuditError::AnotherPlan`] before
/// a model is.
pub fn audit_folder(
    folder: &Path,
    plan: &Plan,
    canaries: &Canaries,
    known: Option<&Dataset>,
    confidence: f64,
) -> Result<Findings, AuditError> {
    let table = canaries.table(plan)?;
    if known.is_some_and(|known| share_a_record(known, &table)) {
        return Err(AuditError::MembersHoldCanaries);
    }
    let verified = verify_folder(folder, None)?;
    if verified.manifests.iter().any(|manifest| manifest.plan_digest != plan.digest()) {
        return Err(AuditError::AnotherPlan);
    }
    let mechanism = plan.mechanism()?;
    let checkpoints = checkpoints_in(folder);
    let plain = Plain::new(&checkpoints);
    let mut scores = Scores::new(plan, table, known)?;
    let mut before: Option<Version> = None;
    for manifest in &verified.manifests {
        if let Some(before) = &before {
            see(&mut scores, &mechanism, manifest, before, &checkpoints)?;
        }
        before = Some(read_version(&plain, plan, manifest).map_err(AuditError::File)?);
    }
    let guesses = guess(&scores.scores, &canaries.included(), canaries.canaries.len() / 4);
    let claim = Claim::after(plan, verified.privacy.epsilon, verified.privacy.steps)?;
    Ok(Findings::new(claim, guesses, confidence))
}

/// The newest model of a chain in a folder, once the chain is checked.
///
/// # Errors
/// [`AuditError::Chain`], [`AuditError::File`], [`AuditError::NoModel`]
pub fn last_model(folder: &Path, plan: &Plan) -> Result<Params, AuditError> {
    let verified = verify_folder(folder, None)?;
    let last = verified.manifests.last().ok_or(AuditError::NoModel)?;
    let version = read_version(&Plain::new(&checkpoints_in(folder)), plan, last);
    Ok(version.map_err(AuditError::File)?.params)
}

/// Takes a round into account, where its record has a sum.
fn see(
    scores: &mut Scores<'_>,
    mechanism: &Mechanism,
    manifest: &Manifest,
    before: &Version,
    checkpoints: &Path,
) -> Result<(), AuditError> {
    if manifest.aggregate_digest.is_none() {
        return Ok(());
    }
    let file = checkpoints.join(folder_name(manifest.round)).join(AGGREGATE_FILE);
    let bytes_max = scores.plan().lanes() as u64 * Plan::LANE_BYTES;
    let bytes = read_bounded(&file, bytes_max).map_err(AuditError::File)?;
    let lanes: Vec<u32> = bytes.as_chunks().0.iter().map(|lane| u32::from_le_bytes(*lane)).collect();
    let sum = mechanism.read_sum(&lanes, manifest.included.len(), &before.state)?;
    let clip_norm = scores.plan().clip_norm_after(&before.state).map_err(AuditError::ClipNorm)?;
    scores.see(&Seen { before: &before.params, clip_norm, aggregate: &sum.update })
}

fn share_a_record(known: &Dataset, canaries: &Dataset) -> bool {
    let record =
        |table: &Dataset, row: usize| (table.row(row).map(<[f32]>::to_vec), table.labels().get(row).copied());
    let canaries: Vec<_> = (0..canaries.rows()).map(|row| record(canaries, row)).collect();
    (0..known.rows()).any(|row| canaries.contains(&record(known, row)))
}

#[cfg(test)]
mod tests;
