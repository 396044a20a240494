//! Who may depend on whom. A new edge is a change of the design: it is made here, on purpose, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{self, Crate};

/// Every crate with its layer and the crates of the workspace that it may depend on.
pub(crate) const CRATES: [(&str, u8, &[&str]); 28] = [
    ("accounting", 0, &[]),
    ("empirical", 0, &[]),
    ("params", 0, &[]),
    ("attest", 1, &["checkpoint", "params"]),
    ("checkpoint", 1, &["params"]),
    ("dp", 1, &[]),
    ("optim", 1, &["params"]),
    ("secagg", 1, &[]),
    ("tlog", 1, &[]),
    ("identity", 2, &["accounting", "dp", "optim", "params", "secagg"]),
    ("protocol", 2, &["accounting", "checkpoint", "identity", "optim", "params", "secagg"]),
    ("access", 3, &["identity", "params", "pki", "secagg", "wire"]),
    ("audit", 3, &["store", "tlog"]),
    ("card", 3, &["accounting", "checkpoint", "identity", "params"]),
    ("daemon", 3, &["identity", "protocol", "vault"]),
    ("datasets", 3, &["identity", "params"]),
    ("ledger", 3, &["accounting", "params", "vault"]),
    ("pki", 3, &["identity", "params"]),
    ("rehearsal", 3, &["datasets", "identity", "optim", "params", "protocol", "secagg", "train"]),
    (
        "sim",
        3,
        &[
            "accounting",
            "checkpoint",
            "dp",
            "identity",
            "optim",
            "params",
            "protocol",
            "secagg",
            "store",
            "wire",
        ],
    ),
    ("store", 3, &["params", "vault"]),
    ("telemetry", 3, &[]),
    ("train", 3, &["datasets", "dp", "identity", "params"]),
    ("vault", 3, &[]),
    ("wire", 3, &["checkpoint", "identity", "params", "protocol", "secagg"]),
    (
        "cli",
        4,
        &[
            "accounting",
            "attest",
            "audit",
            "card",
            "checkpoint",
            "client",
            "coordinator",
            "daemon",
            "datasets",
            "dp",
            "empirical",
            "identity",
            "ledger",
            "optim",
            "params",
            "pki",
            "protocol",
            "rehearsal",
            "secagg",
            "sim",
            "store",
            "tlog",
            "train",
            "vault",
            "wire",
        ],
    ),
    (
        "client",
        4,
        &[
            "accounting",
            "audit",
            "checkpoint",
            "daemon",
            "datasets",
            "identity",
            "ledger",
            "optim",
            "params",
            "pki",
            "protocol",
            "secagg",
            "store",
            "telemetry",
            "tlog",
            "train",
            "vault",
            "wire",
        ],
    ),
    (
        "coordinator",
        4,
        &[
            "access",
            "attest",
            "audit",
            "card",
            "checkpoint",
            "daemon",
            "identity",
            "optim",
            "params",
            "pki",
            "protocol",
            "secagg",
            "store",
            "telemetry",
            "tlog",
            "vault",
            "wire",
        ],
    ),
];

/// Edges inside one layer, each with its reason. Any other edge points downward.
const SIDEWAYS: [(&str, &str, &str); 15] = [
    ("attest", "checkpoint", "evidence restates a signed record, and is checked against it"),
    ("protocol", "identity", "a round is run under a plan, a roster and a policy"),
    ("access", "pki", "a caller is who its certificate names"),
    ("access", "wire", "it serves enrolment and administration, and refuses in statuses"),
    ("audit", "store", "an audit log's truth is a journal"),
    ("daemon", "vault", "both daemons open their sealed folders and keys in one way"),
    ("rehearsal", "datasets", "a rehearsal trains on the silos' own tables"),
    ("rehearsal", "train", "a rehearsal is the real training"),
    ("ledger", "vault", "what lies on a disk is sealed where it is written"),
    ("sim", "store", "the simulated processes write the real journal, over simulated disks"),
    ("sim", "wire", "every simulated message is encoded and decoded"),
    ("store", "vault", "what lies on a disk is sealed where it is written"),
    ("train", "datasets", "training reads the tables that datasets parsed"),
    ("cli", "client", "the demo starts whole federations"),
    ("cli", "coordinator", "the demo starts whole federations"),
];

/// All that the layers 0 to 2 may use from outside: arithmetic, cryptography, text. Whatever reaches a clock, a
/// socket, a thread, a file or the machine's randomness is absent.
const PURE_EXTERNALS: [&str; 20] = [
    "base64",
    "base64ct",
    "chacha20",
    "chacha20poly1305",
    "ed25519-dalek",
    "hex",
    "hkdf",
    "libm",
    "p256",
    "postcard",
    "rand_core",
    "rustfft",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "toml",
    "x25519-dalek",
    "zeroize",
];

/// Features with which an otherwise pure crate draws from the machine.
const AMBIENT_FEATURES: [&str; 6] = ["getrandom", "os_rng", "sys_rng", "std_rng", "thread_rng", "rand"];

/// Who may speak protobuf.
const PROTOBUF: [&str; 3] = ["prost", "prost-types", "tonic-prost"];

#[test]
fn the_table_names_every_crate_once() {
    let listed: BTreeSet<&str> = CRATES.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(listed.len(), CRATES.len(), "a crate is listed twice");
    let present: BTreeSet<String> = tree::crates().into_iter().map(|a_crate| a_crate.name).collect();
    assert_eq!(present, listed.into_iter().map(String::from).collect());
}

#[test]
fn the_table_is_in_order_and_repeats_nothing() {
    let sorted = |names: &[&str]| names.windows(2).all(|pair| pair[0] < pair[1]);
    for layer in 0..=4 {
        let names: Vec<&str> = CRATES.iter().filter(|row| row.1 == layer).map(|row| row.0).collect();
        assert!(sorted(&names), "layer {layer}: {names:?}");
    }
    assert!(CRATES.is_sorted_by_key(|(_, layer, _)| *layer));
    for (name, _, allowed) in CRATES {
        assert!(sorted(allowed), "{name}: {allowed:?}");
    }
    let sideways: BTreeSet<(&str, &str)> = SIDEWAYS.iter().map(|(from, to, _)| (*from, *to)).collect();
    assert_eq!(sideways.len(), SIDEWAYS.len(), "an edge has two reasons");
    for list in [&PURE_EXTERNALS[..], &AMBIENT_FEATURES[..], &PROTOBUF[..]] {
        let unique: BTreeSet<&&str> = list.iter().collect();
        assert_eq!(unique.len(), list.len(), "{list:?}");
    }
    assert!(sorted(&PURE_EXTERNALS));
}

#[test]
fn every_edge_between_crates_is_in_the_table() {
    for a_crate in tree::crates() {
        let (_, allowed) = row(&a_crate.name);
        for edge in edges(&a_crate) {
            assert!(
                allowed.contains(&edge.as_str()),
                "{} depends on {edge}: a new edge is a change of the design; drop it, or add it to the table on \
                 purpose",
                a_crate.name
            );
        }
    }
}

#[test]
fn the_table_points_downward_but_for_the_edges_with_a_reason() {
    for (name, layer, allowed) in CRATES {
        for edge in allowed {
            let below = row(edge).0;
            let sideways = SIDEWAYS.iter().any(|(from, to, _)| (*from, *to) == (name, *edge));
            if sideways {
                assert_eq!(below, layer, "{name} -> {edge} is no edge inside one layer");
            } else {
                assert!(
                    below < layer,
                    "{name} (layer {layer}) -> {edge} (layer {below}) does not point downward"
                );
            }
        }
    }
}

#[test]
fn the_shells_never_see_each_other() {
    for (shell, other) in [("client", "coordinator"), ("coordinator", "client")] {
        assert!(!reachable(shell).contains(other), "{shell} reaches {other}");
    }
}

#[test]
fn the_coordinator_does_not_link_burn() {
    let reached = reachable("coordinator");
    assert!(reached.contains("protocol"), "the walk itself is broken");
    assert!(!reached.contains("burn"), "through {reached:?}");
    assert!(reachable("client").contains("burn"), "the walk itself is broken");
}

#[test]
fn these_tests_may_use_anything_but_what_learns_so_that_they_stay_cheap_to_build() {
    let manifest: toml::Table = toml::from_str(&tree::read("tests/Cargo.toml").unwrap()).unwrap();
    for (used, _) in manifest["dev-dependencies"].as_table().unwrap() {
        assert!(!reachable(used).contains("burn"), "tests link burn through {used}");
    }
}

#[test]
fn pure_crates_use_only_externals_that_reach_nothing_ambient() {
    for a_crate in tree::crates().iter().filter(|a_crate| row(&a_crate.name).0 <= 2) {
        for (dependency, settings) in dependencies(a_crate) {
            let known = PURE_EXTERNALS.contains(&dependency.as_str());
            assert!(
                known || CRATES.iter().any(|(name, _, _)| *name == dependency),
                "{} is in layer {} and depends on {dependency}",
                a_crate.name,
                row(&a_crate.name).0
            );
            assert_no_ambient_feature(&a_crate.name, &dependency, &settings);
        }
    }
    let root: toml::Table = toml::from_str(&tree::read("Cargo.toml").unwrap()).unwrap();
    for name in PURE_EXTERNALS {
        let settings = &root["workspace"]["dependencies"][name];
        assert_no_ambient_feature("the workspace", name, settings);
    }
}

#[test]
fn wire_alone_knows_protobuf() {
    for a_crate in tree::crates().iter().filter(|a_crate| a_crate.name != "wire") {
        for protobuf in PROTOBUF {
            assert!(!dependencies(a_crate).contains_key(protobuf), "{} uses {protobuf}", a_crate.name);
        }
    }
}

fn row(name: &str) -> (u8, &'static [&'static str]) {
    let found = CRATES.iter().find(|(listed, _, _)| *listed == name);
    found
        .map(|(_, layer, allowed)| (*layer, *allowed))
        .unwrap_or_else(|| panic!("{name} is not in the table"))
}

/// What a crate links, or builds with, unless a feature is asked for; targets' own tables included.
fn dependencies(a_crate: &Crate) -> BTreeMap<String, toml::Value> {
    let targets = a_crate.manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    let mut found = BTreeMap::new();
    for table in tables.chain([&a_crate.manifest]) {
        for kind in ["dependencies", "build-dependencies"] {
            let entries = table.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
            let entries = entries.filter(|(_, settings)| {
                settings.get("optional").and_then(toml::Value::as_bool) != Some(true)
            });
            found.extend(entries.map(|(name, settings)| (name.clone(), settings.clone())));
        }
    }
    found
}

/// Edges to crates of the workspace.
fn edges(a_crate: &Crate) -> Vec<String> {
    let inside = |name: &String| CRATES.iter().any(|(listed, _, _)| listed == name);
    dependencies(a_crate).into_keys().filter(inside).collect()
}

/// Everything that a crate of the workspace links, and what that links, as far as the workspace says.
fn reachable(from: &str) -> BTreeSet<String> {
    let crates = tree::crates();
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        if let Some(a_crate) = crates.iter().find(|a_crate| a_crate.name == name) {
            open.extend(dependencies(a_crate).into_keys().filter(|name| !seen.contains(name)));
        }
        seen.insert(name);
    }
    seen
}

fn assert_no_ambient_feature(user: &str, dependency: &str, settings: &toml::Value) {
    let features = settings.get("features").and_then(toml::Value::as_array).into_iter().flatten();
    for feature in features.filter_map(toml::Value::as_str) {
        assert!(!AMBIENT_FEATURES.contains(&feature), "{user} enables {feature} of {dependency}");
    }
}
