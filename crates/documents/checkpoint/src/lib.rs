//! Checkpoints: canonical bytes of a model, the signed manifest about it, and the chain of manifests.
//!
//! Owns: the model file ([`model_bytes`], [`read_model`]: safetensors), the [`Manifest`] of a round, its
//! signature ([`SignedManifest`]), the operators' [`Action`]s in it, the rules between rounds ([`ChainVerifier`]) and the names of a
//! checkpoint's files ([`folder_name`]). What an auditor checks offline is checked here
//! ([`verify_checkpoint`]).
//!
//! Does not: read or write files, hold keys, or decide what a round releases.
//!
//! ```text
//! checkpoints/000012/  manifest.json        canonical JSON: model, cohort, privacy spent, parent
//!                      manifest.sig         64 bytes, Ed25519 over label and SHA-256 of manifest.json
//!                      model.safetensors    F32 tensors in layout order
//!                      optimizer.state      when the server optimiser remembers anything
//!                      aggregate.bin        the opened sum: members step the model by themselves with it
//!
//! manifest 0 <--parent-- manifest 1 <--parent-- manifest 3      (round 2 aborted)
//!                                               ^--parent-- manifest 4 is an action: round 3's model is quarantined
//! ```
//!
//! # Example
//!
//! ```
//! use params::{Activation, Architecture, Digest, Params};
//!
//! let layout = Architecture::perceptron(2, &[], Activation::Relu, 3).layout();
//! let params = Params::zeros(layout.clone());
//! let metadata = checkpoint::model_metadata(&Digest::sha256(b"run"), 0);
//! let bytes = checkpoint::model_bytes(&params, &metadata);
//! assert_eq!(checkpoint::read_model(&bytes, &layout)?, params);
//! # Ok::<(), checkpoint::ModelError>(())
//! ```
//!
//! # Papers
//!
//! RFC 8032 (Ed25519, verified strictly).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod action;
mod artifacts;
mod chain;
mod manifest;
mod model;
mod signed;

pub use action::{Action, OPERATOR_BYTES_MAX, REASON_BYTES_MAX};
pub use artifacts::{
    AGGREGATE_FILE, ArtifactError, CHECKPOINTS_FOLDER, MANIFEST_BYTES_MAX, MANIFEST_FILE, MODEL_BYTES_MAX,
    MODEL_FILE, OPTIMIZER_FILE, SIGNATURE_FILE, file_path, folder_name, round_of_folder, verify_checkpoint,
    verify_files,
};
pub use chain::{ChainError, ChainVerifier};
pub use manifest::{
    AbortedRound, LeftOut, MANIFEST_FORMAT, Manifest, ManifestError, ModelArtifact, OptimizerArtifact,
    PrivacySpent, public_key_text,
};
pub use model::{HEADER_BYTES_MAX, ModelError, model_bytes, model_metadata, read_layout, read_model};
pub use signed::{SignatureError, SignedManifest};

#[cfg(any(test, feature = "samples"))]
pub mod samples;
