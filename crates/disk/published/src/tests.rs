//! A chain that anyone touched is refused, and what was touched is named.

use std::fs;
use std::path::Path;

use checkpoint::{
    CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, SIGNATURE_FILE, folder_name,
};
use ed25519_dalek::SigningKey;
use params::Digest;

use crate::samples::{chain, key};
use crate::{CheckpointFault, verify_folder};

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
    assert!(matches!(why, CheckpointFault::Gap { round: 2, .. }), "{why}");
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
