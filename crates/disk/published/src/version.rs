//! A version of the model: its parameters, and what the server remembers with them.

use checkpoint::{ArtifactError, MANIFEST_FILE, MODEL_FILE, Manifest, OPTIMIZER_FILE, verify_files};
use identity::with_causes;
use optim::State;
use params::{Digest, Layout, Params};
use plan::Plan;

use crate::CheckpointFault;
use crate::folder::{Folder, required};

/// A version of the model, from which a run can go on.
#[derive(Clone, Debug)]
pub struct Version {
    pub params: Params,
    /// The server optimiser's state.
    pub state: State,
}

impl Version {
    /// Whether a record names this model and this state of the server's.
    pub fn is_named_by(&self, manifest: &Manifest) -> bool {
        let state = manifest.optimizer.as_ref().map(|artifact| artifact.sha256);
        self.params.digest() == manifest.model.params_digest
            && state.is_none_or(|sha256| Digest::sha256(&self.state.to_bytes()) == sha256)
    }
}

/// A version's own files, which are those that its record names.
#[derive(Clone, Debug)]
pub struct VersionFiles {
    /// The model's file.
    pub model: Vec<u8>,
    /// The server optimiser's state, where the record names one.
    pub optimizer: Option<Vec<u8>>,
}

/// Reads a version's files under `name`, held against its record, and the model's parameters. With the layout of the run's plan
/// the model has to be that plan's.
///
/// # Errors
/// The first file that is missing, or is not the one in the record.
pub(crate) fn read_files<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    manifest: &Manifest,
    layout: Option<&Layout>,
) -> Result<(VersionFiles, Params), CheckpointFault> {
    let model = required(folder, name, MODEL_FILE)?;
    let optimizer = folder.read(name, OPTIMIZER_FILE)?;
    let params = verify_files(manifest, &model, optimizer.as_deref(), layout).map_err(|why| {
        let file = match &why {
            ArtifactError::Missing { file }
            | ArtifactError::Unexpected { file }
            | ArtifactError::Sha256 { file, .. } => *file,
            ArtifactError::Manifest(_) => MANIFEST_FILE,
            ArtifactError::Model(_) | ArtifactError::Params { .. } => MODEL_FILE,
        };
        CheckpointFault::File { file: folder.place(name, file), why: with_causes(&why) }
    })?;
    Ok((VersionFiles { model, optimizer }, params))
}

/// The version of a record of this plan's run, from its folder.
///
/// # Errors
/// As [`read_version_files`].
pub fn read_version<F: Folder + ?Sized>(
    folder: &F,
    plan: &Plan,
    manifest: &Manifest,
) -> Result<Version, CheckpointFault> {
    read_version_files(folder, plan, manifest).map(|(version, _)| version)
}

/// As [`read_version`], with the files that it was read from.
///
/// # Errors
/// The first file that is missing, or is not the one in the record; a model of another layout than the plan's; a state that is none.
pub fn read_version_files<F: Folder + ?Sized>(
    folder: &F,
    plan: &Plan,
    manifest: &Manifest,
) -> Result<(Version, VersionFiles), CheckpointFault> {
    let name = checkpoint::folder_name(manifest.round);
    let layout = plan.architecture().layout();
    let (files, params) = read_files(folder, &name, manifest, Some(&layout))?;
    let state = match &files.optimizer {
        None => plan.initial_state(layout.len()),
        Some(bytes) => State::from_bytes(bytes).map_err(|why| CheckpointFault::File {
            file: folder.place(&name, OPTIMIZER_FILE),
            why: with_causes(&why),
        })?,
    };
    Ok((Version { params, state }, files))
}
