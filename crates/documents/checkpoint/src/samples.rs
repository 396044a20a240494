//! A small run for tests: four clients, of which one drops out.

use ed25519_dalek::SigningKey;
use params::{Activation, Architecture, Digest, Params};

use crate::*;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn params(value: f32) -> Params {
    let layout = Architecture::perceptron(2, &[], Activation::Relu, 3).layout();
    let values = (0..layout.len()).map(|lane| value * (lane as f32 + 1.0)).collect();
    Params::new(layout, values).unwrap()
}

pub(crate) fn model(round: u64) -> Vec<u8> {
    model_bytes(&params(round as f32), &model_metadata(&Digest::sha256(b"run"), round))
}

/// Round `round`; its parent is round `round - 1`, signed by [`key`].
pub(crate) fn manifest(round: u64) -> Manifest {
    let bytes = model(round);
    let first = round == 0;
    let parent = round.checked_sub(1).map(signed);
    Manifest {
        format: MANIFEST_FORMAT.into(),
        run_id: Digest::sha256(b"run"),
        run_name: "demo".into(),
        round,
        attempt: 0,
        action: None,
        parent: parent.map(|signed| signed.digest()),
        plan_digest: Digest::sha256(b"plan"),
        roster_digest: Digest::sha256(b"roster"),
        parent_model: round.checked_sub(1).map(|round| params(round as f32).digest()),
        model: ModelArtifact {
            file: MODEL_FILE.into(),
            sha256: Digest::sha256(&bytes),
            bytes: bytes.len() as u64,
            params_digest: params(round as f32).digest(),
        },
        optimizer: None,
        transcript: (!first).then(|| Digest::sha256(b"transcript")),
        cohort: if first { vec![] } else { vec![2, 3, 5, 7] },
        shared: if first { vec![] } else { vec![2, 3, 5] },
        included: if first { vec![] } else { vec![2, 3, 5] },
        left_out: if first { vec![] } else { vec![LeftOut { client: 7, reason: "deadline".into() }] },
        aggregate_digest: (!first).then(|| Digest::sha256(b"aggregate")),
        metrics: [("loss".into(), 0.5), ("accuracy".into(), 0.75)].into(),
        privacy: PrivacySpent {
            mode: "distributed".into(),
            unit: "client".into(),
            relation: "add-or-remove-one".into(),
            epsilon: Some(round as f64),
            delta: Some(1e-5),
            accountant: "rdp".into(),
            steps: round,
            noise_by: "clients".into(),
            trust: "majority".into(),
        },
        created_ms: 1_700_000_000_000 + round,
        previous_rounds_aborted: vec![],
        public_key: public_key_text(&key().verifying_key()),
    }
}

pub(crate) fn signed(round: u64) -> SignedManifest {
    SignedManifest::sign(&manifest(round), &key()).unwrap()
}

pub(crate) fn quarantine(round: u64) -> Action {
    let (model, reason, by) = (params(round as f32).digest(), "poisoned".to_owned(), "ops".to_owned());
    Action::Quarantine { model, round, reason, by }
}

pub(crate) fn rollback(to_round: u64) -> Action {
    Action::Rollback { to_round, reason: "poisoned".into(), by: "ops".into() }
}

pub(crate) fn because(reason: &str) -> Action {
    Action::Rollback { to_round: 0, reason: reason.into(), by: "ops".into() }
}

/// Round `round`, an action after round `round - 1`: it holds the model of the round that it rolls back to, or of
/// the one before it.
pub(crate) fn acted(round: u64, action: Action) -> Manifest {
    let source = match action {
        Action::Rollback { to_round, .. } => to_round,
        Action::Quarantine { .. } => round - 1,
    };
    Manifest {
        action: Some(action),
        model: manifest(source).model,
        transcript: None,
        cohort: vec![],
        shared: vec![],
        included: vec![],
        left_out: vec![],
        aggregate_digest: None,
        metrics: Default::default(),
        ..manifest(round)
    }
}
