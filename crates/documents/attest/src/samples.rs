//! A public tool's bundle of a small folder, and a small run of our own.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{
    MANIFEST_FILE, MODEL_FILE, Manifest, ModelArtifact, SIGNATURE_FILE, SignedManifest, folder_name, samples,
};
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
    let trained = |what| (round > 0).then(|| digest(what, round));
    let manifest = Manifest {
        parent: (round > 0).then(|| record(round - 1).digest()),
        parent_model: (round > 0).then(|| digest("params", round - 1)),
        model: ModelArtifact {
            sha256: digest("model", round),
            bytes: 268,
            ..ModelArtifact::of(b"", digest("params", round))
        },
        transcript: trained("transcript"),
        aggregate_digest: trained("aggregate"),
        metrics: [("loss".into(), 0.1), ("accuracy".into(), 0.75)].into(),
        privacy: samples::spent(round, 0.3 * round as f64),
        ..samples::manifest(round)
    };
    SignedManifest::sign(&manifest, &samples::key()).unwrap()
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
