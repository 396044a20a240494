//! Who may depend on whom. A new edge is a change of the design: it is made here, on purpose, or not at all.

use std::collections::BTreeSet;

use crate::faults::gather;
use crate::{rooms, tree};

/// Every crate with the crates of the workspace that it may depend on; where they stand is in `rooms.rs`.
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("access", &["identity", "params", "pki", "plan", "protocol", "run_status", "secagg", "vault", "wire"]),
    ("accounting", &[]),
    ("alarms", &["identity", "params", "store", "vault"]),
    ("attest", &["checkpoint", "params"]),
    ("audit", &["identity", "params", "store", "tlog"]),
    (
        "audit_log",
        &[
            "access",
            "audit",
            "checkpoint",
            "daemon",
            "identity",
            "params",
            "protocol",
            "secagg",
            "store",
            "tlog",
            "wire",
        ],
    ),
    (
        "bench",
        &[
            "accounting",
            "daemon",
            "datasets",
            "demo",
            "identity",
            "optim",
            "params",
            "plan",
            "published",
            "rehearsal",
            "run_status",
            "train",
            "trainer",
        ],
    ),
    ("card", &["accounting", "checkpoint", "identity", "params", "plan"]),
    ("checkpoint", &["params"]),
    (
        "cli",
        &[
            "accounting",
            "attest",
            "audit",
            "bench",
            "card",
            "checkpoint",
            "client",
            "coordinator",
            "daemon",
            "datasets",
            "demo",
            "forecast",
            "identity",
            "inspect",
            "ledger",
            "operate",
            "params",
            "pki",
            "plan",
            "privacy_audit",
            "published",
            "registration",
            "run_status",
            "runs",
            "secagg",
            "sim",
            "spending",
            "store",
            "tlog",
            "train",
            "trainer",
            "vault",
            "wire",
        ],
    ),
    (
        "client",
        &[
            "alarms",
            "audit",
            "checkpoint",
            "daemon",
            "identity",
            "ledger",
            "optim",
            "params",
            "pki",
            "plan",
            "protocol",
            "published",
            "sandbox",
            "secagg",
            "spawner",
            "spending",
            "store",
            "telemetry",
            "vault",
            "wire",
            "witness",
            "workshop",
        ],
    ),
    (
        "coordinator",
        &[
            "access",
            "attest",
            "audit",
            "audit_log",
            "card",
            "checkpoint",
            "daemon",
            "federation",
            "founding",
            "identity",
            "params",
            "pki",
            "plan",
            "protocol",
            "published",
            "run_status",
            "runs",
            "secagg",
            "store",
            "telemetry",
            "tlog",
            "vault",
            "wire",
        ],
    ),
    ("daemon", &["identity", "plan", "protocol", "telemetry", "vault"]),
    ("datasets", &["identity", "params", "plan", "readers", "registration"]),
    (
        "demo",
        &[
            "accounting",
            "checkpoint",
            "datasets",
            "identity",
            "operate",
            "optim",
            "params",
            "plan",
            "run_status",
            "secagg",
            "train",
            "trainer",
            "vault",
            "wire",
        ],
    ),
    ("dp", &[]),
    ("empirical", &[]),
    ("features", &[]),
    ("federation", &["identity", "params", "plan", "protocol", "run_status", "secagg"]),
    ("forecast", &["accounting", "identity", "optim", "params", "plan", "secagg"]),
    ("founding", &["attest", "identity", "pki", "vault"]),
    ("identity", &["params", "secagg"]),
    ("inspect", &["datasets", "identity", "plan", "readers", "registration"]),
    ("ledger", &["accounting", "identity", "params", "vault"]),
    ("messages", &["checkpoint", "identity", "params", "plan", "secagg"]),
    (
        "operate",
        &[
            "attest",
            "card",
            "checkpoint",
            "identity",
            "params",
            "pki",
            "plan",
            "protocol",
            "published",
            "run_status",
            "secagg",
            "store",
            "vault",
            "wire",
        ],
    ),
    ("optim", &["params"]),
    ("params", &[]),
    ("pki", &["identity", "params"]),
    ("plan", &["accounting", "dp", "features", "identity", "optim", "params", "secagg"]),
    (
        "privacy_audit",
        &[
            "accounting",
            "checkpoint",
            "datasets",
            "dp",
            "empirical",
            "params",
            "plan",
            "published",
            "rehearsal",
            "secagg",
            "train",
            "trainer",
        ],
    ),
    (
        "protocol",
        &[
            "accounting",
            "checkpoint",
            "identity",
            "messages",
            "optim",
            "params",
            "plan",
            "run_status",
            "secagg",
            "suspicion",
        ],
    ),
    (
        "published",
        &[
            "accounting",
            "attest",
            "card",
            "checkpoint",
            "identity",
            "optim",
            "params",
            "plan",
            "protocol",
            "store",
            "tlog",
            "vault",
        ],
    ),
    ("readers", &["plan", "registration"]),
    ("registration", &["plan"]),
    ("rehearsal", &["datasets", "optim", "params", "plan", "protocol", "secagg", "train", "trainer"]),
    ("run_status", &["accounting", "checkpoint", "identity", "params", "secagg"]),
    (
        "runs",
        &[
            "attest",
            "card",
            "checkpoint",
            "identity",
            "optim",
            "params",
            "plan",
            "protocol",
            "published",
            "store",
            "vault",
        ],
    ),
    ("sandbox", &[]),
    ("secagg", &["dp"]),
    (
        "sim",
        &[
            "accounting",
            "checkpoint",
            "dp",
            "federation",
            "identity",
            "optim",
            "params",
            "plan",
            "protocol",
            "run_status",
            "secagg",
            "store",
            "wire",
        ],
    ),
    ("spawner", &["sandbox"]),
    ("spending", &["accounting", "identity", "ledger", "params", "plan", "protocol", "store", "vault"]),
    ("store", &["params", "vault"]),
    ("suspicion", &["identity", "secagg"]),
    ("telemetry", &["alarms"]),
    ("tlog", &[]),
    ("train", &["datasets", "dp", "params", "plan", "trainer"]),
    (
        "trainer",
        &["datasets", "dp", "params", "plan", "registration", "sandbox", "spawner", "trainer_protocol"],
    ),
    ("trainer_protocol", &["params", "plan", "sandbox"]),
    ("vault", &[]),
    ("wire", &["checkpoint", "identity", "messages", "params", "plan", "run_status", "secagg"]),
    ("witness", &["audit", "identity", "params", "plan", "protocol", "secagg", "store", "tlog"]),
    (
        "workshop",
        &[
            "alarms",
            "audit",
            "params",
            "plan",
            "protocol",
            "published",
            "registration",
            "sandbox",
            "spawner",
            "trainer_protocol",
        ],
    ),
];

/// All that pure rooms may use from outside: arithmetic, cryptography, text. Whatever reaches a clock, a
/// socket, a thread, a file or the machine's randomness is absent.
const PURE_EXTERNALS: [&str; 21] = [
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
    "serde_norway",
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
fn the_table_is_in_order_and_repeats_nothing() {
    gather(|faults| {
        let sorted = |names: &[&str]| names.windows(2).all(|pair| pair[0] < pair[1]);
        let names: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
        faults.unless(sorted(&names), || format!("out of order: {names:?}"));
        for (name, allowed) in CRATES {
            faults.unless(sorted(allowed), || format!("out of order, {name}: {allowed:?}"));
        }
        faults.unless(sorted(&PURE_EXTERNALS), || format!("out of order: {PURE_EXTERNALS:?}"));
        for list in [&AMBIENT_FEATURES[..], &PROTOBUF[..]] {
            let unique: BTreeSet<&&str> = list.iter().collect();
            faults.unless(unique.len() == list.len(), || format!("repeated: {list:?}"));
        }
    });
}

#[test]
fn the_edges_between_crates_are_those_of_the_table() {
    gather(|faults| {
        for (name, edges) in tree::edges() {
            let Some((_, allowed)) = CRATES.iter().find(|(listed, _)| listed == name) else {
                faults.add(format!("{name} is not in the table"));
                continue;
            };
            for edge in edges.iter().filter(|edge| !allowed.contains(&edge.as_str())) {
                faults.add(format!(
                    "{name} depends on {edge}: a new edge is a change of the design; drop it, or add it to the \
                     table on purpose"
                ));
            }
            for edge in allowed.iter().filter(|edge| !edges.contains(**edge)) {
                faults.add(format!("{name} does not depend on {edge} any more: take it out of the table"));
            }
        }
        for (name, _) in CRATES {
            faults.unless(tree::edges().contains_key(*name), || format!("{name} is no crate"));
        }
    });
}

#[test]
fn nobody_depends_on_the_command_line_and_the_daemons_never_see_each_other() {
    gather(|faults| {
        for (name, edges) in tree::edges() {
            faults.unless(!edges.contains("cli"), || format!("{name} depends on cli"));
        }
        for (daemon, other) in [("client", "coordinator"), ("coordinator", "client")] {
            faults.unless(!reachable(daemon).contains(other), || format!("{daemon} reaches {other}"));
        }
    });
}

/// The package of burn that is used: `train` calls it `burn`.
const BURN: &str = "burn-tensor";

#[test]
fn no_daemon_links_burn_and_none_what_reads_data() {
    for daemon in ["coordinator", "client"] {
        let reached = reachable(daemon);
        assert!(reached.contains("protocol"), "the walk itself is broken");
        for apart in [BURN, "train", "trainer", "datasets", "readers"] {
            assert!(!reached.contains(apart), "{daemon} reaches {apart} through {reached:?}");
        }
    }
    assert!(reachable("train").contains(BURN), "the walk itself is broken");
}

#[test]
fn these_tests_may_use_anything_but_what_learns_so_that_they_stay_cheap_to_build() {
    let manifest: toml::Table = toml::from_str(&tree::read("tests/Cargo.toml").unwrap()).unwrap();
    gather(|faults| {
        for (used, _) in manifest["dev-dependencies"].as_table().unwrap() {
            faults.unless(!reachable(used).contains(BURN), || format!("tests link burn through {used}"));
        }
    });
}

#[test]
fn pure_crates_use_only_externals_that_reach_nothing_ambient() {
    let root: toml::Table = toml::from_str(&tree::read("Cargo.toml").unwrap()).unwrap();
    gather(|faults| {
        for (name, dependencies) in tree::dependencies() {
            if !rooms::of(name).is_some_and(|room| room.pure) {
                continue;
            }
            for (dependency, features) in dependencies {
                let known = PURE_EXTERNALS.contains(&dependency.as_str())
                    || CRATES.iter().any(|(listed, _)| listed == dependency);
                faults.unless(known, || format!("{name} is pure and depends on {dependency}"));
                for feature in features.iter().filter(|feature| AMBIENT_FEATURES.contains(&feature.as_str()))
                {
                    faults.add(format!("{name} enables {feature} of {dependency}"));
                }
            }
        }
        for name in PURE_EXTERNALS {
            let settings = &root["workspace"]["dependencies"][name];
            let features = settings.get("features").and_then(toml::Value::as_array).into_iter().flatten();
            for feature in features.filter_map(toml::Value::as_str) {
                faults.unless(!AMBIENT_FEATURES.contains(&feature), || {
                    format!("the workspace enables {feature} of {name}")
                });
            }
        }
    });
}

#[test]
fn wire_alone_knows_protobuf() {
    gather(|faults| {
        for (name, dependencies) in tree::dependencies().iter().filter(|(name, _)| *name != "wire") {
            for protobuf in PROTOBUF {
                faults.unless(!dependencies.contains_key(protobuf), || format!("{name} uses {protobuf}"));
            }
        }
    });
}

/// Everything that a crate of the workspace links, and what that links, as far as the workspace says.
fn reachable(from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        if let Some(used) = tree::dependencies().get(&name) {
            open.extend(used.keys().filter(|name| !seen.contains(*name)).cloned());
        }
        seen.insert(name);
    }
    seen
}
