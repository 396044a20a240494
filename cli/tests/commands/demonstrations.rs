//! The folder of a demonstration, as the programs read it that are started on it.

use demo::{DemoFolder, demo_plan};
use plan::PrivacyMode;

fn folder(chosen: &tempfile::TempDir) -> DemoFolder {
    let plan = demo_plan(PrivacyMode::DistributedDpSgd, 3, None, None).unwrap();
    DemoFolder::create(Some(&chosen.path().join("new")), plan).unwrap()
}

#[test]
fn the_coordinator_can_load_what_is_written() {
    let chosen = tempfile::tempdir().unwrap();
    let folder = folder(&chosen);
    let loaded = coordinator::Config::load(&folder.coordinator_config()).map_err(|e| e.to_string());
    let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(*loaded.plan, *folder.plan());
    assert_eq!(loaded.roster.members.len(), 3);
    assert_eq!(loaded.roster.coordinator_key().unwrap(), folder.coordinator_key());
}

#[test]
fn every_silo_can_load_what_is_written() {
    let chosen = tempfile::tempdir().unwrap();
    let folder = folder(&chosen);
    folder.configure_silos("http://127.0.0.1:7440").unwrap();
    for index in 0..3 {
        let loaded = client::Config::load(&folder.client_config(index)).map_err(|e| e.to_string());
        loaded.map(|_| ()).unwrap_or_else(|why| panic!("{why}"));
    }
}
