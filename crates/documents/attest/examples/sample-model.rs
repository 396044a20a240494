//! Writes a folder like that of a published checkpoint, signed, for tools of others to verify.
//!
//! `cargo run -p attest --example sample-model -- DIR` makes `DIR/000001` and, beside it, `DIR/pub.pem` and
//! `DIR/other.pem`, a key that signed nothing. The keys come from fixed seeds: they are for tests alone.

// The crate itself is pure; this program is the shell around it.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use attest::{
    BUNDLE_FILE, EVIDENCE_FILE, IGNORED_PATHS, ModelKey, RoundEvidence, sign_model, sign_round, verify_model,
    verify_round,
};
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{
    MANIFEST_FILE, MODEL_FILE, Manifest, ModelArtifact, OPTIMIZER_FILE, OptimizerArtifact, SIGNATURE_FILE,
    SignedManifest, folder_name, model_bytes, model_metadata, samples,
};
use params::{Activation, Architecture, Digest, Params};

const ROUND: u64 = 1;
const AGGREGATE_FILE: &str = "aggregate.bin";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or("name the folder to write to")?;
    write(&folder)
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let key = ModelKey::generate(&mut ChaCha20Rng::seed_from_u64(1))?;
    let other = ModelKey::generate(&mut ChaCha20Rng::seed_from_u64(2))?;
    let name = folder_name(ROUND);
    let here = folder.join(&name);
    fs::create_dir_all(&here)?;

    let (record, contents) = checkpoint()?;
    let mut files = Vec::new();
    for (file, bytes) in &contents {
        fs::write(here.join(file), bytes)?;
        files.push(((*file).to_owned(), Digest::sha256(bytes)));
    }
    let signed = sign_model(&name, &files, &IGNORED_PATHS, &key)?;
    let evidence = RoundEvidence::of(&record, env!("CARGO_PKG_VERSION"))?;
    let evidence = sign_round(&name, &signed.root, &evidence, &key)?;

    let statement = verify_model(&signed.bundle, &files, key.public())?;
    verify_round(&evidence, &statement, key.public())?.check(&record, &statement)?;
    fs::write(here.join(BUNDLE_FILE), &signed.bundle)?;
    fs::write(here.join(EVIDENCE_FILE), &evidence)?;
    fs::write(folder.join("pub.pem"), key.public().to_pem())?;
    fs::write(folder.join("other.pem"), other.public().to_pem())?;
    Ok(())
}

type Contents = Vec<(&'static str, Vec<u8>)>;

/// The record of a round, and every file that belongs to it.
fn checkpoint() -> Result<(SignedManifest, Contents), Box<dyn Error>> {
    let layout = Architecture::perceptron(4, &[], Activation::Relu, 3).layout();
    let values = (0..layout.len()).map(|lane| lane as f32 / 8.0).collect();
    let params = Params::new(layout, values)?;
    let run_id = Digest::sha256(b"sample run");
    let model = model_bytes(&params, &model_metadata(&run_id, ROUND));
    let optimizer = b"moments of the server optimiser".to_vec();
    let aggregate = b"the sum that the round opened".to_vec();
    // Nothing is drawn and no clock is read: the sample is the same wherever it is made.
    let manifest = Manifest {
        run_id,
        run_name: "sample".into(),
        attempt: 0,
        parent: Some(Digest::sha256(b"record of round 0")),
        parent_model: Some(Digest::sha256(b"model of round 0")),
        model: ModelArtifact::of(&model, params.digest()),
        optimizer: Some(OptimizerArtifact::of(&optimizer)),
        transcript: Some(Digest::sha256(b"transcript")),
        cohort: vec![2, 3, 5],
        shared: vec![2, 3, 5],
        included: vec![2, 3, 5],
        aggregate_digest: Some(Digest::sha256(&aggregate)),
        metrics: [("loss".into(), 0.5)].into(),
        privacy: samples::spent(ROUND, 0.8),
        created_ms: 1_700_000_000_000,
        ..samples::bare(ROUND)
    };
    let record = SignedManifest::sign(&manifest, &samples::key())?;
    let contents = vec![
        (MANIFEST_FILE, record.manifest_bytes.clone()),
        (SIGNATURE_FILE, record.signature.to_vec()),
        (MODEL_FILE, model),
        (OPTIMIZER_FILE, optimizer),
        (AGGREGATE_FILE, aggregate),
    ];
    Ok((record, contents))
}
