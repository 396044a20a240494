//! Versions of a run of five silos, for tests.

use checkpoint::{LeftOut, Manifest, ModelArtifact, samples};
use params::Digest;

use crate::follow::EvaluatedVersion;

/// A round whose sum holds these silos; the others of five were too late. Each round's model is another.
pub fn version(round: u64, included: &[u32]) -> EvaluatedVersion {
    let left_out = (1..=5)
        .filter(|id| round > 0 && !included.contains(id))
        .map(|client| LeftOut { client, reason: "was too late".into() })
        .collect();
    let manifest = Manifest {
        cohort: included.to_vec(),
        shared: included.to_vec(),
        included: included.to_vec(),
        left_out,
        privacy: samples::spent(round, round as f64 / 10.0),
        created_ms: 1_000 + round * 50,
        model: ModelArtifact::of(format!("file {round}").as_bytes(), Digest::sha256(&round.to_le_bytes())),
        ..samples::bare(round)
    };
    EvaluatedVersion { manifest, accuracy: 0.9 }
}
