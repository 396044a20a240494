//! A sealed folder's models in the clear, read beside the daemon that holds the folder.

use std::fs;
use std::sync::Arc;

use checkpoint::{CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FILE, SIGNATURE_FILE};
use published::samples::chain;
use serde_json::Value;
use store::{FileStore, JournalKind, Published, Store};
use vault::{KEYRING_FILE, MasterSource, Vault};

use crate::program::{Here, USAGE, VERIFICATION};

const EXPORT: &str = "model export --data data --master master.key out";

/// A sealed folder with two checkpoints, whose daemon runs.
fn sealed_folder() -> (Here, FileStore) {
    let here = Here::new();
    here.done("keys master master.key");
    let (data, master) = (here.path("data"), MasterSource::File(here.path("master.key")));
    fs::create_dir(&data).unwrap();
    let vault = Arc::new(Vault::create(&data, master).unwrap());
    let opened = FileStore::open_sealed(&data, JournalKind::Coordinator, vault, |_, _, _| Ok(()));
    let mut store = opened.unwrap().store;
    for name in ["000000", "000001"] {
        store
            .publish(name, &[(MODEL_FILE, name.as_bytes()), (MANIFEST_FILE, b"{}"), (SIGNATURE_FILE, b"s")])
            .unwrap();
    }
    (here, store)
}

#[test]
fn every_file_is_written_as_it_was_published_while_the_daemon_runs() {
    let (here, _daemon) = sealed_folder();
    here.done(EXPORT);
    for name in ["000000", "000001"] {
        let file = |file: &str| here.read(&format!("out/{CHECKPOINTS_FOLDER}/{name}/{file}"));
        assert_eq!((file(MODEL_FILE).as_str(), file(MANIFEST_FILE).as_str()), (name, "{}"));
    }
    let again = here.refused(EXPORT, USAGE);
    assert!(again.contains("not overwritten"), "{again}");
}

#[test]
fn every_run_of_a_sealed_folder_is_exported_and_verified_and_one_alone_where_it_is_named() {
    let (here, daemon) = sealed_folder();
    drop(daemon);
    fs::remove_dir_all(here.path("data").join(CHECKPOINTS_FOLDER)).unwrap();
    let master = MasterSource::File(here.path("master.key"));
    let vault = Arc::new(Vault::open_folder(&here.path("data"), master).unwrap());
    for folder in ["data", "data/runs/0002"] {
        fs::create_dir_all(here.path(folder)).unwrap();
        let (kind, vault) = (JournalKind::Coordinator, vault.clone());
        let opened = FileStore::open_sealed(&here.path(folder), kind, vault, |_, _, _| Ok(()));
        let mut store = opened.unwrap().store;
        let clear = chain(|_| {});
        let clear = Published::new(clear.path().join(CHECKPOINTS_FOLDER), None);
        for name in clear.names().unwrap() {
            let files = clear.files(&name).unwrap();
            let files: Vec<(&str, Vec<u8>)> =
                files.iter().map(|file| (file.as_str(), clear.read(&name, file).unwrap())).collect();
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
            store.publish(&name, &files).unwrap();
        }
    }
    // What a crash left of a submission is no run.
    fs::create_dir(here.path("data/runs/0003")).unwrap();
    let why = here.refused("verify data", USAGE);
    assert!(why.lines().count() == 1 && why.contains("`data` is sealed"), "{why}");

    let said = here.done(EXPORT);
    let (first, later) = said.split_once('\n').unwrap();
    assert_eq!(first, "out: 3 checkpoints in the clear");
    assert_eq!(later, "out/runs/0002: 3 checkpoints in the clear\n");
    let verified = here.done("verify out");
    let held: Vec<&str> = verified.lines().map(|line| &line[..17]).collect();
    assert_eq!(held, ["run    1 verified", "run    2 verified"]);

    let spent = here.done("ledger show data --master master.key");
    let of_runs: Vec<&str> = spent.lines().map(|line| &line[..14]).collect();
    assert_eq!(of_runs, ["run 1         ", "rounds        ", "run 2         ", "rounds        "], "{spent}");
    let spent: Value =
        serde_json::from_str(&here.done("ledger show data --master master.key --json")).unwrap();
    assert_eq!(spent["runs"][1]["number"], 2);
    let second = here.done("ledger show data/runs/0002 --master master.key --json");
    assert_eq!(serde_json::from_str::<Value>(&second).unwrap(), spent["runs"][1]["privacy"]);

    here.done("model export --data data/runs/0002 --master master.key second");
    let verified = here.done("verify second");
    assert!(verified.contains("round      3: 3 silos") && !verified.contains("run "), "{verified}");
}

#[test]
fn a_keyring_beside_the_configuration_is_found_above_the_data_folder() {
    let (here, _daemon) = sealed_folder();
    fs::rename(here.path("data").join(KEYRING_FILE), here.path(KEYRING_FILE)).unwrap();
    here.done(EXPORT);
    assert_eq!(fs::read_dir(here.path("out").join(CHECKPOINTS_FOLDER)).unwrap().count(), 2);
}

#[test]
fn a_changed_file_is_named_and_a_wrong_master_key_too() {
    let (here, _daemon) = sealed_folder();
    let model = here.path("data").join(CHECKPOINTS_FOLDER).join("000001").join(MODEL_FILE);
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let why = here.refused(EXPORT, VERIFICATION);
    assert!(why.contains(&format!("000001/{MODEL_FILE}")), "{why}");
    here.done("keys master other.key");
    let why = here.refused("model export --data data --master other.key out", USAGE);
    assert!(why.contains("other.key"), "{why}");
}

#[test]
fn a_sealed_folder_is_said_to_be_sealed_once_with_what_to_do_and_not_to_be_damaged() {
    let (here, _daemon) = sealed_folder();
    for named in ["data", "data/checkpoints", "data/checkpoints/000001"] {
        let why = here.refused(&format!("verify {named}"), USAGE);
        assert_eq!(why.lines().count(), 1, "{why}");
        for part in [
            &format!("`{named}` is sealed"),
            "`folkmoot model export --data data --master ",
            "`folkmoot verify OUT`",
        ] {
            assert!(why.contains(part), "{why}");
        }
    }
}
