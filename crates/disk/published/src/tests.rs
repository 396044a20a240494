//! A chain that anyone touched is refused, and what was touched is named.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use checkpoint::{
    CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FILE, ModelArtifact, OPTIMIZER_FILE, OptimizerArtifact,
    SIGNATURE_FILE, folder_name,
};
use ed25519_dalek::SigningKey;
use params::Digest;
use store::{FileStore, JournalKind, Published, Store};
use vault::{MasterSource, Vault};

use crate::samples::{chain, key};
use crate::{
    CheckpointFault, Folder, Plain, Records, read_version, read_version_files, verify_chain, verify_folder,
    verify_records,
};

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

/// The versions of a chain in a sealed store, with all that lies in their folders; and the vault.
pub(crate) fn sealed(folder: &Path, checkpoints: &Path) -> (FileStore, Arc<Vault>) {
    let master = folder.join("master.key");
    vault::make_master(&master).unwrap();
    let vault = Arc::new(Vault::create(folder, MasterSource::File(master)).unwrap());
    let opened =
        FileStore::open_sealed(folder, JournalKind::Coordinator, Arc::clone(&vault), |_, _, _| Ok(()));
    let mut store = opened.unwrap().store;
    for name in Plain::new(checkpoints).names().unwrap() {
        let files = fs::read_dir(checkpoints.join(&name)).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        });
        let files: Vec<_> = files.collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (&file[..], &bytes[..])).collect();
        store.publish(&name, &files).unwrap();
    }
    (store, vault)
}

#[test]
fn a_sealed_chain_verifies_through_its_store_and_beside_it_and_as_plain_files_it_is_named_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = chain(|_| {});
    let (store, vault) = sealed(folder.path(), &plain.path().join(CHECKPOINTS_FOLDER));
    let beside = Published::new(folder.path().join(CHECKPOINTS_FOLDER), Some(vault));
    let store: &dyn Store = &store;
    for rounds in [verify_chain(store, None, None), verify_chain(&beside, None, None)] {
        assert_eq!(rounds.unwrap().rounds, 2);
    }
    assert_eq!(verify_records(&beside, None).unwrap().len(), 3);
    // The newest record, without which less would seem to have been spent.
    fs::remove_file(folder.path().join(CHECKPOINTS_FOLDER).join(folder_name(3)).join(SIGNATURE_FILE))
        .unwrap();
    let why = verify_records(&beside, None).unwrap_err();
    assert!(
        matches!(&why, CheckpointFault::Missing { file } if file.ends_with("000003/manifest.sig")),
        "{why}"
    );
    assert!(refused(folder.path()).contains("folkmoot model export"));
}

#[test]
fn records_follow_from_one_another_over_rounds_without_one_and_a_missing_one_is_noticed() {
    fn rounds<F: Folder + ?Sized>(folder: &F) -> Result<Vec<u64>, CheckpointFault> {
        let mut records = Records::new(0, 9);
        std::iter::from_fn(|| records.next(folder).transpose())
            .map(|next| next.map(|(round, _)| round))
            .collect()
    }
    let folder = chain(|_| {});
    let checkpoints = folder.path().join(CHECKPOINTS_FOLDER);
    assert_eq!(rounds(&Plain::new(&checkpoints)).unwrap(), [0, 1, 3]);
    fs::remove_dir_all(checkpoints.join(folder_name(1))).unwrap();
    let why = rounds(&Plain::new(&checkpoints)).unwrap_err().to_string();
    assert!(why.contains("000003/manifest.json") && why.contains("does not follow"), "{why}");
}

#[test]
fn a_version_is_read_only_as_its_record_names_it() {
    let folder = chain(|_| {});
    let checkpoints = folder.path().join(CHECKPOINTS_FOLDER);
    let manifests = verify_folder(folder.path(), None).unwrap().manifests;
    let plan = plan::Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
    // Another plan's model.
    let why = read_version(&Plain::new(&checkpoints), &plan, &manifests[1]).unwrap_err().to_string();
    assert!(why.contains("000001/model.safetensors"), "{why}");
    let why = read_version(&Plain::new(Path::new("nowhere")), &plan, &manifests[1]).unwrap_err();
    assert!(matches!(why, CheckpointFault::Missing { .. }), "{why}");
}

#[test]
fn no_run_goes_on_from_a_state_that_is_none_though_its_record_names_it() {
    let plan = plan::Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
    let source = chain(|_| {});
    let mut manifest = verify_folder(source.path(), None).unwrap().manifests.remove(1);
    let model =
        checkpoint::model_bytes(&plan.initial_model(), &checkpoint::model_metadata(&manifest.run_id, 1));
    manifest.model = ModelArtifact::of(&model, plan.initial_model().digest());
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join(folder_name(1));
    fs::create_dir(&here).unwrap();
    fs::write(here.join(MODEL_FILE), &model).unwrap();
    let read = |manifest: &_| read_version_files(&Plain::new(folder.path()), &plan, manifest);
    for (state, fits) in [(plan.initial_state(plan.lanes()).to_bytes(), true), (b"moments".to_vec(), false)] {
        manifest.optimizer = Some(OptimizerArtifact::of(&state));
        fs::write(here.join(OPTIMIZER_FILE), &state).unwrap();
        match read(&manifest) {
            Ok((version, files)) => {
                assert!(fits && version.is_named_by(&manifest));
                assert_eq!((files.model, files.optimizer), (model.clone(), Some(state)));
            }
            Err(why) => {
                assert!(!fits && why.to_string().contains("000001/optimizer.state"), "{why}");
            }
        }
    }
}
