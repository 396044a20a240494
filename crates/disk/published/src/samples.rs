//! A small chain in a folder, for tests.
#![allow(clippy::unwrap_used)]

use std::fs;

pub use checkpoint::samples::key;
use checkpoint::{
    AbortedRound, CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FILE, Manifest, ModelArtifact, OPTIMIZER_FILE,
    OptimizerArtifact, SIGNATURE_FILE, SignedManifest, folder_name,
};
use params::{Activation, Architecture, Digest, Params};

const OPTIMIZER: &[u8] = b"moments";

fn params(round: u64) -> Params {
    let layout = Architecture::perceptron(2, &[], Activation::Relu, 3).layout();
    let values = (0..layout.len()).map(|lane| (round * 10 + lane as u64) as f32).collect();
    Params::new(layout, values).unwrap()
}

/// Records of so many rounds, without their files, each following from the one before it.
///
/// # Panics
/// Never, but with a record that cannot be signed.
pub fn records(rounds: u64) -> impl Iterator<Item = SignedManifest> {
    let model = |round: u64| Digest::sha256(&round.to_le_bytes());
    let mut parent = None;
    (0..rounds).map(move |round| {
        let ids = if round == 0 { vec![] } else { vec![1, 2, 3] };
        let manifest = Manifest {
            parent,
            parent_model: round.checked_sub(1).map(model),
            model: ModelArtifact::of(b"model", model(round)),
            cohort: ids.clone(),
            shared: ids.clone(),
            included: ids,
            ..checkpoint::samples::bare(round)
        };
        let signed = SignedManifest::sign(&manifest, &key()).unwrap();
        parent = Some(signed.digest());
        signed
    })
}

/// Rounds 0, 1 and 3, each record changed by `edit` before it is signed; round 2 was aborted.
///
/// # Panics
/// Where the disk fails.
pub fn chain(edit: impl Fn(&mut Manifest)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run_id = Digest::sha256(b"run");
    let mut parent: Option<(SignedManifest, u64)> = None;
    for round in [0, 1, 3] {
        let model = checkpoint::model_bytes(&params(round), &checkpoint::model_metadata(&run_id, round));
        let ids = if round == 0 { vec![] } else { vec![1, 2, 3] };
        let mut manifest = Manifest {
            run_id,
            parent: parent.as_ref().map(|(signed, _)| signed.digest()),
            parent_model: parent.as_ref().map(|(_, round)| params(*round).digest()),
            model: ModelArtifact::of(&model, params(round).digest()),
            optimizer: Some(OptimizerArtifact::of(OPTIMIZER)),
            cohort: ids.clone(),
            shared: ids.clone(),
            included: ids,
            created_ms: 1000 + round,
            previous_rounds_aborted: if round == 3 {
                vec![AbortedRound { round: 2, attempt: 1, outcome: "too few".into() }]
            } else {
                vec![]
            },
            ..checkpoint::samples::bare(round)
        };
        // Before it is signed: a record that lies is one of a coordinator that holds the key.
        edit(&mut manifest);
        let signed = SignedManifest::sign(&manifest, &key()).unwrap();
        let here = folder.path().join(CHECKPOINTS_FOLDER).join(folder_name(round));
        fs::create_dir_all(&here).unwrap();
        fs::write(here.join(MANIFEST_FILE), &signed.manifest_bytes).unwrap();
        fs::write(here.join(SIGNATURE_FILE), signed.signature).unwrap();
        fs::write(here.join(MODEL_FILE), model).unwrap();
        fs::write(here.join(OPTIMIZER_FILE), OPTIMIZER).unwrap();
        parent = Some((signed, round));
    }
    folder
}
