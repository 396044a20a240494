//! Crates of pure rooms compute from their arguments alone, and do not panic on what a peer sent.

use toml::{Table, Value};

use crate::faults::gather;
use crate::rooms::{ROOMS, folder};
use crate::rust::{is_test, production_code, test_modules};
use crate::tree;

/// The crates of the pure rooms.
pub(crate) fn pure() -> impl Iterator<Item = &'static str> {
    ROOMS.iter().filter(|room| room.pure).flat_map(|room| room.crates).copied()
}

/// What each must forbid; one of a row is enough.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("random order", &["std::collections::HashMap"]),
    ("random order", &["std::collections::HashSet"]),
    ("the clock", &["std::time::Instant", "std::time::Instant::now"]),
    ("the clock", &["std::time::SystemTime", "std::time::SystemTime::now"]),
    ("threads", &["std::thread::spawn"]),
    ("the environment", &["std::env::var"]),
    ("files", &["std::fs::read"]),
    ("files", &["std::fs::write"]),
    ("files", &["std::fs::File", "std::fs::File::open"]),
];

const DENIED: &str =
    "#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]";

#[test]
fn every_pure_crate_forbids_clocks_random_order_threads_files_and_the_environment() {
    gather(|faults| {
        for name in pure() {
            let path = format!("{}/clippy.toml", folder(name));
            let Some(text) = tree::read(&path) else {
                faults.add(format!("{path} is missing"));
                continue;
            };
            let table: Table = toml::from_str(&text).unwrap();
            let entries: Vec<&Value> = ["disallowed-types", "disallowed-methods"]
                .iter()
                .filter_map(|kind| table.get(*kind).and_then(Value::as_array))
                .flatten()
                .collect();
            for (what, any_of) in FORBIDDEN {
                let bans =
                    |entry: &&&Value| entry["path"].as_str().is_some_and(|path| any_of.contains(&path));
                faults.unless(entries.iter().any(|entry| bans(&entry)), || {
                    format!("{path} does not forbid {any_of:?} ({what})")
                });
            }
            for entry in entries {
                let reason = entry.get("reason").and_then(Value::as_str).unwrap_or_default();
                faults.unless(!reason.is_empty(), || format!("{path}: {} has no reason", entry["path"]));
            }
        }
    });
}

#[test]
fn every_pure_crate_denies_what_panics_on_a_peers_input() {
    gather(|faults| {
        for name in pure() {
            let path = format!("{}/src/lib.rs", folder(name));
            let text = tree::read(&path).unwrap();
            let one_line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            faults.unless(one_line.contains(DENIED), || format!("{path} lacks {DENIED}"));
        }
    });
}

/// What stops a process by hand.
const BY_HAND: [&str; 2] = ["panic!(", "unreachable!("];
/// Where alone it may stand: what `invariant!` expands to.
const INVARIANT: &str = "crates/round/protocol/src/invariant.rs";

#[test]
fn a_pure_crate_stops_for_nothing_but_a_broken_invariant_of_the_table() {
    let test_modules = test_modules();
    let table = tree::read("ARCHITECTURE.md").unwrap();
    let mut used = 0;
    gather(|faults| {
        let files = pure().flat_map(|name| tree::files(&format!("{}/src", folder(name)), "rs"));
        for file in files.filter(|file| file.path != INVARIANT && !is_test(&file.path, &test_modules)) {
            for (number, line) in production_code(&file.text) {
                for word in BY_HAND.iter().filter(|word| line.contains(**word)) {
                    faults
                        .add(format!("{}:{number} says {word}: invariant! names what is broken", file.path));
                }
            }
            for called in file.text.split("invariant!(").skip(1) {
                used += 1;
                let id = called.trim_start().trim_start_matches('"').split('"').next().unwrap_or_default();
                faults.unless(table.contains(&format!("\n| {id} | ")), || {
                    format!("{}: {id} is no invariant of ARCHITECTURE.md", file.path)
                });
            }
        }
    });
    assert!(used > 4, "only {used} calls of invariant! were found");
}
