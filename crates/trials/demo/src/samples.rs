//! Versions of a run of five silos, for tests.

use checkpoint::{LeftOut, MANIFEST_FORMAT, MODEL_FILE, Manifest, ModelArtifact, PrivacySpent};
use params::Digest;

use crate::follow::EvaluatedVersion;

/// A round whose sum holds these silos; the others of five were too late.
pub fn version(round: u64, included: &[u32]) -> EvaluatedVersion {
    let digest = Digest::sha256(&round.to_le_bytes());
    let left_out = (1..=5)
        .filter(|id| round > 0 && !included.contains(id))
        .map(|client| LeftOut { client, reason: "was too late".into() })
        .collect();
    let manifest = Manifest {
        format: MANIFEST_FORMAT.into(),
        run_id: digest,
        run_name: "test".into(),
        round,
        attempt: 1,
        action: None,
        parent: None,
        plan_digest: digest,
        roster_digest: digest,
        parent_model: None,
        model: ModelArtifact { file: MODEL_FILE.into(), sha256: digest, bytes: 9, params_digest: digest },
        optimizer: None,
        transcript: None,
        cohort: included.to_vec(),
        shared: included.to_vec(),
        included: included.to_vec(),
        left_out,
        aggregate_digest: None,
        metrics: Default::default(),
        privacy: PrivacySpent {
            mode: "distributed_dp_sgd".into(),
            unit: "record".into(),
            relation: "add or remove one record".into(),
            epsilon: Some(round as f64 / 10.0),
            delta: Some(1e-5),
            accountant: "rdp".into(),
            steps: round,
            noise_by: "every silo".into(),
            trust: "one colluder".into(),
        },
        created_ms: 1_000 + round * 50,
        previous_rounds_aborted: Vec::new(),
        public_key: String::new(),
    };
    EvaluatedVersion { manifest, accuracy: 0.9 }
}
