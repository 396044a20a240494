//! The files of a checkpoint: their names, and whether their bytes are the signed ones.

use params::{Digest, Layout, Params};

use crate::manifest::Manifest;
use crate::model::{ModelError, read_layout, read_model};
use crate::signed::{SignatureError, SignedManifest};

/// The folder that holds one folder per checkpoint.
pub const CHECKPOINTS_FOLDER: &str = "checkpoints";
/// Canonical JSON of the manifest.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The signature's 64 bytes.
pub const SIGNATURE_FILE: &str = "manifest.sig";
/// The file of the model in each version.
pub const MODEL_FILE: &str = "model.safetensors";
/// State of the server optimiser.
pub const OPTIMIZER_FILE: &str = "optimizer.state";
/// The opened sum, lanes of 32 bits, little endian; [`Manifest::aggregate_digest`] is its name.
pub const AGGREGATE_FILE: &str = "aggregate.bin";

/// A canonical manifest at most: it names tensors, metrics and a cohort, and holds no weights.
pub const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// A model's file at most, and each other file of a checkpoint: four thousand million parameters, more than a silo's
/// processor trains.
pub const MODEL_BYTES_MAX: u64 = 16 << 30;

/// A file of a checkpoint that is missing or not the signed one.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The manifest does not hold, so nothing else can.
    #[error("`{MANIFEST_FILE}` or `{SIGNATURE_FILE}` is not valid")]
    Manifest(#[from] SignatureError),
    /// A file that the manifest names and that is not there.
    #[error("`{file}` is missing, and the manifest names it")]
    Missing { file: &'static str },
    /// A file that the manifest does not name.
    #[error("`{file}` is not named by the manifest")]
    Unexpected { file: &'static str },
    /// Other bytes than were signed.
    #[error(
        "`{file}` has {actual_bytes} bytes with sha256 {actual}; signed were {expected_bytes} with {expected}"
    )]
    Sha256 { file: &'static str, expected: Digest, actual: Digest, expected_bytes: u64, actual_bytes: u64 },
    /// The signed bytes, but not a model of this run.
    #[error("`{MODEL_FILE}` is not a model of this run")]
    Model(#[source] ModelError),
    /// The signed bytes, but other parameters than the manifest says.
    #[error("`{MODEL_FILE}` holds parameters {actual}; the manifest says {expected}")]
    Params {
        /// In the manifest.
        expected: Digest,
        /// In the file.
        actual: Digest,
    },
}

/// The name of a round's folder within [`CHECKPOINTS_FOLDER`], such as `000012`.
pub fn folder_name(round: u64) -> String {
    format!("{round:06}")
}

/// The round whose [`folder_name`] this is.
pub fn round_of_folder(name: &str) -> Option<u64> {
    name.parse().ok().filter(|&round| folder_name(round) == name)
}

/// A file of a round's checkpoint, such as `checkpoints/000012/model.safetensors`.
pub fn file_path(round: u64, file: &str) -> String {
    format!("{CHECKPOINTS_FOLDER}/{}/{file}", folder_name(round))
}

/// Checks one checkpoint by itself: signature, files, parameters.
///
/// With the layout of the run's plan the tensors must be that plan's; without one they are taken as they are.
/// Who signed, and what came before, is [`ChainVerifier`](crate::ChainVerifier)'s to say.
///
/// # Errors
///
/// Names the first file that is not the signed one.
pub fn verify_checkpoint(
    signed: &SignedManifest,
    model: &[u8],
    optimizer: Option<&[u8]>,
    layout: Option<&Layout>,
) -> Result<(Manifest, Params), ArtifactError> {
    let manifest = signed.verify_strict()?;
    let params = verify_files(&manifest, model, optimizer, layout)?;
    Ok((manifest, params))
}

/// Checks a checkpoint's files against its record alone: [`verify_checkpoint`] without the signature.
///
/// # Errors
///
/// Names the first file that is not the one in the record.
pub fn verify_files(
    manifest: &Manifest,
    model: &[u8],
    optimizer: Option<&[u8]>,
    layout: Option<&Layout>,
) -> Result<Params, ArtifactError> {
    check_bytes(MODEL_FILE, model, manifest.model.sha256, manifest.model.bytes)?;
    match (&manifest.optimizer, optimizer) {
        (Some(artifact), Some(bytes)) => check_bytes(OPTIMIZER_FILE, bytes, artifact.sha256, artifact.bytes)?,
        (Some(_), None) => return Err(ArtifactError::Missing { file: OPTIMIZER_FILE }),
        (None, Some(_)) => return Err(ArtifactError::Unexpected { file: OPTIMIZER_FILE }),
        (None, None) => {}
    }
    let params = match layout {
        Some(layout) => read_model(model, layout),
        None => read_layout(model).and_then(|layout| read_model(model, &layout)),
    };
    let params = params.map_err(ArtifactError::Model)?;
    let (expected, actual) = (manifest.model.params_digest, params.digest());
    if expected != actual {
        return Err(ArtifactError::Params { expected, actual });
    }
    Ok(params)
}

fn check_bytes(
    file: &'static str,
    bytes: &[u8],
    expected: Digest,
    expected_bytes: u64,
) -> Result<(), ArtifactError> {
    let (actual, actual_bytes) = (Digest::sha256(bytes), bytes.len() as u64);
    if expected == actual && expected_bytes == actual_bytes {
        return Ok(());
    }
    Err(ArtifactError::Sha256 { file, expected, actual, expected_bytes, actual_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::OptimizerArtifact;
    use crate::samples;

    fn sign(edit: impl Fn(&mut Manifest)) -> SignedManifest {
        let mut manifest = samples::manifest(1);
        edit(&mut manifest);
        SignedManifest::sign(&manifest, &samples::key()).unwrap()
    }

    #[test]
    fn names_of_folders_and_rounds_are_inverse() {
        assert_eq!(file_path(12, MODEL_FILE), "checkpoints/000012/model.safetensors");
        for round in [0, 12, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(round_of_folder(&folder_name(round)), Some(round));
        }
        for name in ["12", "+00012", "0000012", "000012.tmp", ""] {
            assert_eq!(round_of_folder(name), None, "{name}");
        }
    }

    #[test]
    fn a_whole_checkpoint_verifies_with_and_without_the_plans_layout() {
        let layout = samples::params(0.0).layout().clone();
        for layout in [None, Some(&layout)] {
            let (manifest, params) =
                verify_checkpoint(&samples::signed(1), &samples::model(1), None, layout).unwrap();
            assert_eq!((manifest, params), (samples::manifest(1), samples::params(1.0)));
        }
    }

    #[test]
    fn a_changed_model_is_named_with_both_digests() {
        let mut model = samples::model(1);
        *model.last_mut().unwrap() ^= 1;
        let error = verify_checkpoint(&samples::signed(1), &model, None, None).unwrap_err();
        assert!(matches!(error, ArtifactError::Sha256 { file: MODEL_FILE, .. }));
        assert!(error.to_string().contains("`model.safetensors`"));
        assert!(error.to_string().contains(&Digest::sha256(&model).to_string()));
    }

    #[test]
    fn optimiser_state_must_be_the_signed_one_and_there_exactly_when_named() {
        let state = b"state".as_slice();
        let signed = sign(|m| m.optimizer = Some(OptimizerArtifact::of(state)));
        let verify = |signed, optimizer| verify_checkpoint(signed, &samples::model(1), optimizer, None);
        assert!(verify(&signed, Some(state)).is_ok());
        let changed = verify(&signed, Some(b"stale"));
        assert!(matches!(changed, Err(ArtifactError::Sha256 { file: OPTIMIZER_FILE, .. })));
        assert!(matches!(verify(&signed, None), Err(ArtifactError::Missing { .. })));
        let unnamed = verify(&samples::signed(1), Some(state));
        assert!(matches!(unnamed, Err(ArtifactError::Unexpected { .. })));
    }

    #[test]
    fn a_signed_model_with_other_parameters_than_stated_is_refused() {
        let signed = sign(|m| m.model.params_digest = Digest::sha256(b"x"));
        let result = verify_checkpoint(&signed, &samples::model(1), None, None);
        assert!(matches!(result, Err(ArtifactError::Params { .. })));
    }

    #[test]
    fn a_model_of_another_plan_is_refused() {
        let other = params::Architecture::perceptron(3, &[], params::Activation::Relu, 2);
        let result = verify_checkpoint(&samples::signed(1), &samples::model(1), None, Some(&other.layout()));
        assert!(matches!(result, Err(ArtifactError::Model(_))));
    }
}
