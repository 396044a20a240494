//! What an outsider can verify of a published model, with public tools and one public key.
//!
//! Owns: the federation's model key ([`ModelKey`]), DSSE envelopes ([`Envelope`]), the OpenSSF Model Signing
//! bundle of a folder ([`sign_model`], [`verify_model`]), the evidence of a round in a second envelope about
//! the same folder ([`sign_round`], [`verify_round`]), and the walk from a model to the first one
//! ([`verify_lineage`]).
//!
//! Does not: read folders, keep keys, or decide what a round releases. Folders arrive as paths with digests.
//!
//! ```text
//! checkpoints/000012/  manifest.json, manifest.sig, model.safetensors ...      the files that are signed
//!                      model.sig            their names, digests and root, signed: `model_signing verify key`
//!                      evidence.dsse.json   the root again, and what made the model, signed by the same key
//!
//! evidence 0 <--parent-- evidence 1 <--parent-- evidence 3      (round 2 aborted)
//! ```
//!
//! # Example
//!
//! ```
//! use attest::{IGNORED_PATHS, ModelKey, sign_model, verify_model};
//! use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
//! use params::Digest;
//!
//! let key = ModelKey::generate(&mut ChaCha20Rng::seed_from_u64(1))?;
//! let files = vec![("model.safetensors".to_owned(), Digest::sha256(b"weights"))];
//! let signed = sign_model("000012", &files, &IGNORED_PATHS, &key)?;
//! let statement = verify_model(&signed.bundle, &files, key.public())?;
//! assert_eq!(statement.root, signed.root);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Papers
//!
//! DSSE protocol 1.0, in-toto Statement v1, OpenSSF Model Signing 1.0 (method `key`, serialization `files`,
//! SHA-256, P-256), RFC 6979 (deterministic ECDSA). Deviations, all towards refusing: one signature an
//! envelope, no log entries, `hint` is required, and unknown fields are refused wherever the model signing
//! schemas allow that.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod envelope;
mod evidence;
mod key;
mod lineage;
mod model;
mod statement;

pub use envelope::{Envelope, EnvelopeError};
pub use evidence::{
    EVIDENCE_BYTES_MAX, EVIDENCE_FILE, EvidenceError, Parent, ROUND_PREDICATE, RoundEvidence, RoundKind,
    included_commitment, sign_round, verify_round,
};
pub use key::{ModelKey, ModelKeyError, ModelPublicKey};
pub use lineage::{LineageError, verify_lineage};
pub use model::{
    BUNDLE_BYTES_MAX, BUNDLE_FILE, BundleError, IGNORED_PATHS, MODEL_PREDICATE, ModelStatement, SignedModel,
    sign_model, verify_model,
};
pub use statement::StatementError;

#[cfg(test)]
mod samples;
