//! Identity keys, and the keys that seal what lies on disk.

use std::fs;

use vault::{MasterSource, Vault};

use crate::program::{Here, USAGE};

#[test]
fn a_new_key_is_readable_by_its_owner_only_and_reads_back() {
    let here = Here::new();
    let public = here.done("keys new k");
    assert_eq!(here.mode("k"), 0o600);
    assert_eq!(here.done("keys show k"), public);
}

#[test]
fn a_key_is_never_overwritten() {
    let here = Here::new();
    let first = here.done("keys new k");
    let again = here.refused("keys new k", USAGE);
    assert!(again.contains("is not overwritten"), "{again}");
    assert_eq!(here.done("keys show k"), first);
}

#[test]
fn a_file_that_holds_no_key_is_named() {
    let here = Here::new();
    here.write("k", "secret");
    let why = here.refused("keys show k", USAGE);
    assert!(why.contains("`k`") && why.contains("64 hexadecimal digits"), "{why}");
}

/// A folder with a keyring, and a new master key beside the old one.
fn sealed_folder() -> (Here, MasterSource, MasterSource) {
    let here = Here::new();
    for file in ["master.key", "new.key"] {
        here.done(&format!("keys master {file}"));
    }
    let [master, new] = ["master.key", "new.key"].map(|file| MasterSource::File(here.path(file)));
    Vault::create(&here.path(""), master.clone()).unwrap();
    (here, master, new)
}

#[test]
fn a_rotation_is_adopted_by_a_vault_that_is_open_and_what_was_sealed_stays_readable() {
    let (here, master, _) = sealed_folder();
    let open = Vault::open_folder(&here.path(""), master).unwrap();
    let sealed = open.seal(b"here", b"three").unwrap();
    for (new_master, active) in [("", 2), ("--new-master new.key", 3), ("--new-master new.key", 4)] {
        here.done(&format!("keys rotate --data . --master master.key {new_master}"));
        assert_eq!(open.active_key().unwrap(), active);
    }
    assert_eq!(open.open(b"here", &sealed).unwrap().as_slice(), b"three");
    assert_eq!(fs::read(here.path("master.key")).unwrap(), fs::read(here.path("new.key")).unwrap());
}

#[test]
fn a_rotation_in_two_calls_ends_with_the_new_master_key_alone() {
    let (here, old, new) = sealed_folder();
    Vault::open_folder(&here.path(""), old).unwrap().add_master(&new).unwrap();
    let why = here.refused("keys rotate --data . --master master.key", USAGE);
    assert!(why.contains("end that rotation first"), "{why}");
    here.done("keys rotate --data . --master new.key --end");
    let why = here.refused("keys rotate --data . --master master.key", USAGE);
    assert!(why.contains("is not the master key"), "{why}");
}
