//! Versions of a run of five silos, for tests.

use checkpoint::{LeftOut, Manifest, samples};

use crate::follow::EvaluatedVersion;

/// A round whose sum holds these silos; the others of five were too late.
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
        ..samples::bare(round)
    };
    EvaluatedVersion { manifest, accuracy: 0.9 }
}
