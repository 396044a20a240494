//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use tlog::VerifierKey;

use crate::{Actor, Event, Log, Status};

pub(crate) const ORIGIN: &str = "folkmoot.example/log";

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) fn log_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, key().verifying_key()).unwrap()
}

/// A silo's identity, and its name's key.
pub(crate) fn silo(seed: u8) -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let named = VerifierKey::new(&format!("silo-{seed}"), key.verifying_key()).unwrap();
    (key, named)
}

pub(crate) fn event(n: u64) -> Event {
    let actor = Actor { id: format!("silo-{}", n % 5), role: "client".into(), address: None };
    let mut event = Event::new(1000 + n, actor, "upload.received", Status::Ok);
    event.bytes = Some(n);
    event
}

pub(crate) fn events(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(event).collect()
}

pub(crate) fn open(folder: &Path) -> Log {
    Log::open(folder, ORIGIN, key()).unwrap()
}

/// A log of so many entries, published once.
pub(crate) fn published(folder: &Path, size: u64) -> Log {
    let mut log = open(folder);
    log.append(&events(0..size)).unwrap();
    log.publish().unwrap();
    log
}

/// The same, but one entry says something else, and everything is signed anew.
pub(crate) fn rewritten(folder: &Path, size: u64, index: u64) -> Log {
    let mut log = open(folder);
    let mut events = events(0..size);
    events[index as usize].status = Status::Refused;
    log.append(&events).unwrap();
    log.publish().unwrap();
    log
}

/// Every file below a folder with its bytes, by its path.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// Writes files that lay below one folder below another.
pub(crate) fn write_all(files: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    for (path, bytes) in files {
        let to = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}
