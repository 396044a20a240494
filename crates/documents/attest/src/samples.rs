//! A public tool's bundle of a small folder, and a small run of our own.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{
    LeftOut, MANIFEST_FILE, MANIFEST_FORMAT, MODEL_FILE, Manifest, ModelArtifact, PrivacySpent,
    SIGNATURE_FILE, SignedManifest, folder_name, public_key_text,
};
use ed25519_dalek::SigningKey;
use params::Digest;

use crate::*;

/// A bundle that the Python tool made.
pub(crate) const BUNDLE: &[u8] = include_bytes!("../tests/sample/model.sig");
/// Its key, as OpenSSL printed it.
pub(crate) const PUBLIC_PEM: &str = include_str!("../tests/sample/pub.pem");

/// The folder of [`BUNDLE`].
pub(crate) fn folder() -> Vec<(String, Digest)> {
    let files: [(&str, &[u8]); 8] = [
        (".hidden", include_bytes!("../tests/sample/model/.hidden")),
        ("README.md", include_bytes!("../tests/sample/model/README.md")),
        ("a/b.txt", include_bytes!("../tests/sample/model/a/b.txt")),
        ("a-b.txt", include_bytes!("../tests/sample/model/a-b.txt")),
        ("config.yaml", include_bytes!("../tests/sample/model/config.yaml")),
        ("empty.bin", include_bytes!("../tests/sample/model/empty.bin")),
        ("model.safetensors", include_bytes!("../tests/sample/model/model.safetensors")),
        ("naïve.txt", include_bytes!("../tests/sample/model/naïve.txt")),
    ];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), Digest::sha256(bytes))).collect()
}

pub(crate) fn key(seed: u64) -> ModelKey {
    ModelKey::generate(&mut ChaCha20Rng::seed_from_u64(seed)).unwrap()
}

fn digest(what: &str, round: u64) -> Digest {
    Digest::of(what, &[&round.to_le_bytes()])
}

/// Round `round`'s record; its parent is round `round - 1`.
pub(crate) fn record(round: u64) -> SignedManifest {
    let key = SigningKey::from_bytes(&[7; 32]);
    let trained = round > 0;
    let ids = |ids: &[u32]| if trained { ids.to_vec() } else { vec![] };
    let manifest = Manifest {
        format: MANIFEST_FORMAT.into(),
        run_id: Digest::sha256(b"run"),
        run_name: "demo".into(),
        round,
        attempt: 0,
        action: None,
        parent: trained.then(|| record(round - 1).digest()),
        plan_digest: Digest::sha256(b"plan"),
        roster_digest: Digest::sha256(b"roster"),
        parent_model: trained.then(|| digest("params", round - 1)),
        model: ModelArtifact {
            file: MODEL_FILE.into(),
            sha256: digest("model", round),
            bytes: 268,
            params_digest: digest("params", round),
        },
        optimizer: None,
        transcript: trained.then(|| digest("transcript", round)),
        cohort: ids(&[2, 3, 5, 7]),
        shared: ids(&[2, 3, 5]),
        included: ids(&[2, 3, 5]),
        left_out: if trained { vec![LeftOut { client: 7, reason: "deadline".into() }] } else { vec![] },
        aggregate_digest: trained.then(|| digest("aggregate", round)),
        metrics: [("loss".into(), 0.1), ("accuracy".into(), 0.75)].into(),
        privacy: PrivacySpent {
            mode: "distributed".into(),
            unit: "client".into(),
            relation: "add-or-remove-one".into(),
            epsilon: Some(0.3 * round as f64),
            delta: Some(1e-5),
            accountant: "rdp".into(),
            steps: round,
            noise_by: "clients".into(),
            trust: "majority".into(),
        },
        created_ms: 1_700_000_000_000 + round,
        previous_rounds_aborted: vec![],
        public_key: public_key_text(&key.verifying_key()),
    };
    SignedManifest::sign(&manifest, &key).unwrap()
}

/// The files that hold `record`.
pub(crate) fn files(record: &SignedManifest) -> Vec<(String, Digest)> {
    let model = record.verify_strict().unwrap().model.sha256;
    vec![
        (MANIFEST_FILE.into(), Digest::sha256(&record.manifest_bytes)),
        (SIGNATURE_FILE.into(), Digest::sha256(&record.signature)),
        (MODEL_FILE.into(), model),
    ]
}

pub(crate) fn signed_model(round: u64) -> SignedModel {
    sign_model(&folder_name(round), &files(&record(round)), &IGNORED_PATHS, &key(1)).unwrap()
}

pub(crate) fn evidence(round: u64) -> RoundEvidence {
    RoundEvidence::of(&record(round), "0.1.0").unwrap()
}

/// Bundle and evidence of a round, the evidence after `edit`.
pub(crate) fn published(round: u64, edit: impl Fn(&mut RoundEvidence)) -> (Vec<u8>, Vec<u8>) {
    let SignedModel { bundle, root } = signed_model(round);
    let mut evidence = evidence(round);
    edit(&mut evidence);
    (bundle, sign_round(&folder_name(round), &root, &evidence, &key(1)).unwrap())
}
