//! The model card of each version, made when it is published and signed with it.

use std::fs;
use std::path::{Path, PathBuf};

use card::{Card, Controls, Declarations, Evaluation, Silo};
use checkpoint::{Action, Manifest, folder_name};
use identity::Roster;
use plan::Plan;
use published::read_record;
use store::Store;

use crate::RunFolderError;

/// The folder of the data folder where evaluations are put for later cards.
pub const EVALUATIONS_FOLDER: &str = "evaluations";
const EVALUATION_BYTES_MAX: u64 = 1 << 16;

/// The silos in the card of the version that a record's model goes on from: the one before it, or after a rollback the one gone
/// back to. So every card names all silos on its model's own line.
pub(crate) fn silos_before(store: &dyn Store, manifest: &Manifest) -> Result<Vec<Silo>, RunFolderError> {
    let mut before = match &manifest.action {
        Some(Action::Rollback { to_round, .. }) => to_round.saturating_add(1),
        _ => manifest.round,
    };
    while let Some(round) = before.checked_sub(1) {
        let folder = folder_name(round);
        // A round that was aborted has no record.
        if read_record(store, &folder)?.is_some() {
            let what = format!(
                "the model card of checkpoint {folder}, which the next card goes on from, is gone or damaged"
            );
            let text = store.read_published(&folder, card::CARD_FILE);
            let text = text.map_err(RunFolderError::damaged(what.as_str()))?;
            let card =
                Card::from_yaml(&String::from_utf8_lossy(&text)).map_err(RunFolderError::damaged(what))?;
            return Ok(card.training_data.silos);
        }
        before = round;
    }
    Ok(Vec::new())
}

/// What cards say of this coordinator.
pub struct CardWriter {
    controls: Controls,
    evaluations: PathBuf,
}

impl CardWriter {
    /// For a federation whose evaluations lie in [`EVALUATIONS_FOLDER`] of this folder.
    pub fn new(controls: Controls, data_folder: &Path) -> Self {
        Self { controls, evaluations: data_folder.join(EVALUATIONS_FOLDER) }
    }

    /// The card's files for a record.
    pub(crate) fn files(
        &self,
        manifest: &Manifest,
        plan: &Plan,
        roster: &Roster,
        before: &[Silo],
        declared: &Declarations,
    ) -> Result<[(&'static str, Vec<u8>); 2], RunFolderError> {
        let card =
            Card::of(manifest, plan, roster, before, declared, &self.controls, &self.read_evaluations());
        Ok([
            (card::CARD_FILE, card.to_yaml()?.into_bytes()),
            (card::README_FILE, card.readme()?.into_bytes()),
        ])
    }

    /// What lies there, in the order of the names. A file that is none is reported to the operator and left out: a run does not
    /// end for it.
    fn read_evaluations(&self) -> Vec<Evaluation> {
        let Ok(entries) = fs::read_dir(&self.evaluations) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let read = |file: &PathBuf| -> Result<Evaluation, RunFolderError> {
            if fs::metadata(file)?.len() > EVALUATION_BYTES_MAX {
                return Err(RunFolderError::Lost("it is too long for one".into()));
            }
            Ok(Evaluation::from_json(&fs::read(file)?)?)
        };
        let evaluations = files.iter().filter_map(|file| {
            let why = match read(file) {
                Ok(evaluation) => return Some(evaluation),
                Err(why) => why,
            };
            tracing::warn!("`{}` is no evaluation and stays out of the model card: {why}", file.display());
            None
        });
        evaluations.collect()
    }
}
