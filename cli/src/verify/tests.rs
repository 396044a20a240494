//! A chain that anyone touched is refused, and what was touched is named.

use checkpoint::{AbortedRound, MANIFEST_FORMAT, ModelArtifact, OptimizerArtifact, PrivacySpent};
use ed25519_dalek::SigningKey;
use params::{Activation, Architecture, Params};

use super::*;

const OPTIMIZER: &[u8] = b"moments";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn params(round: u64) -> Params {
    let layout = Architecture::perceptron(2, &[], Activation::Relu, 3).layout();
    let values = (0..layout.len()).map(|lane| (round * 10 + lane as u64) as f32).collect();
    Params::new(layout, values).unwrap()
}

/// Rounds 0, 1 and 3; round 2 was aborted.
pub(crate) fn chain(edit: impl Fn(&mut Manifest)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run_id = Digest::sha256(b"run");
    let mut parent: Option<(SignedManifest, u64)> = None;
    for round in [0, 1, 3] {
        let model = checkpoint::model_bytes(&params(round), &checkpoint::model_metadata(&run_id, round));
        let ids = if round == 0 { vec![] } else { vec![1, 2, 3] };
        let mut manifest = Manifest {
            format: MANIFEST_FORMAT.into(),
            run_id,
            run_name: "test".into(),
            round,
            attempt: 1,
            action: None,
            parent: parent.as_ref().map(|(signed, _)| signed.digest()),
            plan_digest: Digest::sha256(b"plan"),
            roster_digest: Digest::sha256(b"roster"),
            parent_model: parent.as_ref().map(|(_, round)| params(*round).digest()),
            model: ModelArtifact {
                file: MODEL_FILE.into(),
                sha256: Digest::sha256(&model),
                bytes: model.len() as u64,
                params_digest: params(round).digest(),
            },
            optimizer: Some(OptimizerArtifact {
                file: OPTIMIZER_FILE.into(),
                sha256: Digest::sha256(OPTIMIZER),
                bytes: OPTIMIZER.len() as u64,
            }),
            transcript: None,
            cohort: ids.clone(),
            shared: ids.clone(),
            included: ids,
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
            created_ms: 1000 + round,
            previous_rounds_aborted: if round == 3 {
                vec![AbortedRound { round: 2, attempt: 1, outcome: "too few".into() }]
            } else {
                vec![]
            },
            public_key: checkpoint::public_key_text(&key().verifying_key()),
        };
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

fn refused(folder: &Path) -> String {
    verify_folder(folder, None).unwrap_err().to_string()
}

#[test]
fn a_good_chain_verifies_from_either_folder_and_names_its_newest_model() {
    let folder = chain(|_| {});
    for start in [folder.path().to_owned(), folder.path().join(CHECKPOINTS_FOLDER)] {
        let verified = verify_folder(&start, Some(key().verifying_key())).unwrap();
        assert_eq!(verified.rounds, 2);
        let model = fs::read(&verified.model_path).unwrap();
        assert_eq!(Digest::sha256(&model), verified.model_sha256);
        assert!(verified.model_path.ends_with("000003/model.safetensors"));
    }
}

#[test]
fn an_operators_action_is_told_in_its_own_words_on_one_line() {
    let folder = chain(|_| {});
    let mut manifest = verify_folder(folder.path(), None).unwrap().manifests.pop().unwrap();
    let (reason, by) = ("bad\nrows".to_owned(), "ops".to_owned());
    manifest.action = Some(checkpoint::Action::Rollback { to_round: 1, reason, by });
    let told = line(&manifest);
    assert!(told.contains("rolled back to the model of round 1 by ops: bad"), "{told}");
    assert!(!told.contains('\n'), "{told}");
}

#[test]
fn every_flipped_byte_of_every_file_is_found_and_its_file_named() {
    let folder = chain(|_| {});
    for round in [0, 1, 3] {
        let here = folder.path().join(CHECKPOINTS_FOLDER).join(folder_name(round));
        for name in [MANIFEST_FILE, SIGNATURE_FILE, MODEL_FILE, OPTIMIZER_FILE] {
            let file = here.join(name);
            let good = fs::read(&file).unwrap();
            for at in (0..good.len()).step_by(7) {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&file, &bad).unwrap();
                let why = refused(folder.path());
                assert!(why.contains(&file.display().to_string()), "{name} at {at}: {why}");
            }
            fs::write(&file, &good).unwrap();
        }
    }
    verify_folder(folder.path(), None).unwrap();
}

#[test]
fn every_missing_file_is_named() {
    let folder = chain(|_| {});
    let here = folder.path().join(CHECKPOINTS_FOLDER).join(folder_name(1));
    for name in [MANIFEST_FILE, SIGNATURE_FILE, MODEL_FILE, OPTIMIZER_FILE] {
        let file = here.join(name);
        let good = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let why = refused(folder.path());
        assert!(why.contains(&file.display().to_string()), "{name}: {why}");
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn a_missing_round_that_was_not_aborted_is_a_gap() {
    let folder = chain(|manifest| manifest.previous_rounds_aborted.clear());
    let why = verify_folder(folder.path(), None).unwrap_err();
    assert!(matches!(why, VerifyError::Gap { round: 2, .. }), "{why}");
}

#[test]
fn a_removed_checkpoint_breaks_the_chain() {
    let folder = chain(|_| {});
    fs::remove_dir_all(folder.path().join(CHECKPOINTS_FOLDER).join(folder_name(1))).unwrap();
    assert!(refused(folder.path()).contains("its parent is"));
}

#[test]
fn a_checkpoint_in_another_rounds_folder_is_refused() {
    let folder = chain(|_| {});
    let root = folder.path().join(CHECKPOINTS_FOLDER);
    fs::rename(root.join(folder_name(3)), root.join(folder_name(4))).unwrap();
    assert!(refused(folder.path()).contains("is the record of round 3, in the folder of round 4"));
}

#[test]
fn another_key_than_the_pinned_one_is_refused() {
    let folder = chain(|_| {});
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let why = verify_folder(folder.path(), Some(other)).unwrap_err().to_string();
    assert!(why.contains("another key"), "{why}");
}

#[test]
fn a_folder_without_checkpoints_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(folder.path()).contains("name a coordinator's data folder"));
}
