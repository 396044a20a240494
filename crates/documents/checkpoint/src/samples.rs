//! Records for tests: the least that one may say, and a small run of four clients, of which one drops out.
#![allow(clippy::unwrap_used)]

use ed25519_dalek::SigningKey;
use params::{Activation, Architecture, Digest, Params};

use crate::*;

/// The key that the records name, and that signs them.
pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A record that nobody took part in, of a model that nobody has, with no parent and no privacy: a test states beside it what the
/// test is about.
pub fn bare(round: u64) -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT.into(),
        run_id: Digest::sha256(b"run"),
        run_name: "test".into(),
        round,
        attempt: 1,
        action: None,
        parent: None,
        plan_digest: Digest::sha256(b"plan"),
        roster_digest: Digest::sha256(b"roster"),
        parent_model: None,
        model: ModelArtifact::of(b"file", Digest::sha256(b"model")),
        optimizer: None,
        transcript: None,
        cohort: vec![],
        shared: vec![],
        included: vec![],
        left_out: vec![],
        aggregate_digest: None,
        metrics: Default::default(),
        privacy: PrivacySpent {
            mode: "fedavg".into(),
            unit: "none".into(),
            relation: "none".into(),
            epsilon: None,
            delta: None,
            accountant: "none".into(),
            steps: round,
            noise_by: "nobody".into(),
            trust: "nobody".into(),
        },
        created_ms: 1_700_000_000_000 + round,
        previous_rounds_aborted: vec![],
        public_key: public_key_text(&key().verifying_key()),
    }
}

/// Spending of a round with noise. Its words are placeholders: no mode of a plan states just these.
pub fn spent(round: u64, epsilon: f64) -> PrivacySpent {
    PrivacySpent {
        mode: "distributed".into(),
        unit: "client".into(),
        relation: "add-or-remove-one".into(),
        epsilon: Some(epsilon),
        delta: Some(1e-5),
        accountant: "rdp".into(),
        steps: round,
        noise_by: "clients".into(),
        trust: "majority".into(),
    }
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
pub fn manifest(round: u64) -> Manifest {
    let alone = without_clients(round);
    if round == 0 {
        return alone;
    }
    Manifest {
        transcript: Some(Digest::sha256(b"transcript")),
        cohort: vec![2, 3, 5, 7],
        shared: vec![2, 3, 5],
        included: vec![2, 3, 5],
        left_out: vec![LeftOut { client: 7, reason: "deadline".into() }],
        aggregate_digest: Some(Digest::sha256(b"aggregate")),
        ..alone
    }
}

/// What the record of round `round` says whether or not clients took part.
fn without_clients(round: u64) -> Manifest {
    let parent = round.checked_sub(1);
    Manifest {
        attempt: 0,
        parent: parent.map(|round| signed(round).digest()),
        parent_model: parent.map(|round| params(round as f32).digest()),
        model: ModelArtifact::of(&model(round), params(round as f32).digest()),
        metrics: [("loss".into(), 0.5), ("accuracy".into(), 0.75)].into(),
        privacy: spent(round, round as f64),
        run_name: "demo".into(),
        ..bare(round)
    }
}

pub(crate) fn signed(round: u64) -> SignedManifest {
    SignedManifest::sign(&manifest(round), &key()).unwrap()
}

#[cfg(test)]
pub(crate) fn quarantine(round: u64) -> Action {
    let (model, reason, by) = (params(round as f32).digest(), "poisoned".to_owned(), "ops".to_owned());
    Action::Quarantine { model, round, reason, by }
}

#[cfg(test)]
pub(crate) fn rollback(to_round: u64) -> Action {
    Action::Rollback { to_round, reason: "poisoned".into(), by: "ops".into() }
}

#[cfg(test)]
pub(crate) fn because(reason: &str) -> Action {
    Action::Rollback { to_round: 0, reason: reason.into(), by: "ops".into() }
}

/// Round `round`, an action after round `round - 1`: it holds the model of the round that it rolls back to, or of
/// the one before it.
#[cfg(test)]
pub(crate) fn acted(round: u64, action: Action) -> Manifest {
    let source = match action {
        Action::Rollback { to_round, .. } => to_round,
        Action::Quarantine { .. } => round - 1,
    };
    Manifest {
        action: Some(action),
        model: manifest(source).model,
        metrics: Default::default(),
        ..without_clients(round)
    }
}
