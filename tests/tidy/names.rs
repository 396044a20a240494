//! One name, one thing: what two crates export under one name is listed with a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::gather;
use crate::tree;

/// Names at the root of two crates or more.
type Shared = (&'static str, &'static [&'static str], &'static str);

/// Of what the core says: who drives it takes its words from it.
const PASSED_ON: &str =
    "passed on: the core's messages, which the network gives their bytes without knowing the core";

const SHARED: &[Shared] = &[
    (
        "Action",
        &["audit", "checkpoint"],
        "what an event is about, and what an operator did to the chain, which is such an event",
    ),
    ("Args", &["client", "coordinator"], "the command line of each daemon"),
    ("Attempt", &["messages", "protocol"], PASSED_ON),
    ("Config", &["client", "coordinator"], "the configuration of each daemon"),
    ("ConfigError", &["client", "coordinator", "daemon"], "`daemon`'s is what both have in theirs"),
    ("CoordinatorFault", &["messages", "protocol"], PASSED_ON),
    ("Decline", &["messages", "protocol"], PASSED_ON),
    ("DropReason", &["messages", "protocol"], PASSED_ON),
    (
        "Effect",
        &["federation", "protocol"],
        "what is to be done for a run, with and without the run's number",
    ),
    ("Effects", &["federation", "protocol"], "the same, in its order"),
    ("Ended", &["client", "run_status"], "how a silo's part in a run ended, and how the run did"),
    (
        "Federation",
        &["federation", "sim"],
        "the coordinator's side of one, and a simulated one with its silos",
    ),
    ("Input", &["federation", "protocol"], "what happened, to a federation and to one of its runs"),
    ("Loaded", &["client", "coordinator"], "the configuration of each daemon, read and checked"),
    ("NoiseLevel", &["privacy_audit", "rehearsal"], "passed on: an audit rehearses"),
    ("OfRun", &["messages", "protocol"], PASSED_ON),
    ("Record", &["protocol", "readers"], "of a journal, and of a silo's file"),
    ("Records", &["published", "readers"], "the same: a chain's, and those of a file"),
    ("Rejection", &["messages", "protocol"], PASSED_ON),
    ("RoundOutcome", &["messages", "protocol"], PASSED_ON),
    ("RunEnd", &["messages", "protocol"], PASSED_ON),
    ("SandboxLevel", &["messages", "protocol"], PASSED_ON),
    ("SandboxLevelError", &["messages", "protocol"], PASSED_ON),
    ("SessionVersion", &["messages", "protocol"], PASSED_ON),
    ("Status", &["audit", "run_status"], "of an event, as the log's format names it, and of a run"),
    ("Tls", &["client", "coordinator"], "the section of each daemon's configuration"),
    ("ToClient", &["messages", "protocol"], PASSED_ON),
    ("ToCoordinator", &["messages", "protocol"], PASSED_ON),
    ("UploadHeader", &["messages", "protocol"], PASSED_ON),
    (
        "adaptive",
        &["demo", "sim"],
        "the same change of a plan, for a mode that may lack it and for one that has it",
    ),
    ("main", &["cli", "daemon"], "what a program's `main` calls"),
    (
        "main_with",
        &["client", "coordinator"],
        "a daemon from its command line, with parts of the caller's own",
    ),
    (
        "now_s",
        &["daemon", "operate", "pki"],
        "the machine's clock: a daemon does not start on a broken clock, a person's command says that it is broken",
    ),
    ("read", &["daemon", "ledger"], "of a configuration, and of a ledger"),
    (
        "read_authority",
        &["daemon", "operate"],
        "a daemon adds to its problems, a person's command ends with the first",
    ),
    (
        "read_secret_text",
        &["daemon", "operate"],
        "a daemon adds to its problems, a person's command ends with the first",
    ),
    ("run", &["bench", "client", "coordinator", "demo"], "what the crate is for"),
    ("run_on", &["client", "coordinator"], "a daemon on a disk that a test may spoil"),
];

#[test]
fn a_name_at_the_root_of_two_crates_has_a_reason() {
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for a_crate in tree::crates() {
        let Some(text) = tree::read(&format!("{}/src/lib.rs", a_crate.folder)) else { continue };
        for name in public_names(&text) {
            exported.entry(name).or_default().insert(a_crate.name.clone());
        }
    }
    exported.retain(|_, crates| crates.len() > 1);
    gather(|faults| {
        for (name, crates) in &exported {
            let known = SHARED.iter().find(|(shared, ..)| shared == name);
            let listed: BTreeSet<String> =
                known.into_iter().flat_map(|row| row.1).map(|c| (*c).to_owned()).collect();
            faults.unless(*crates == listed, || {
                format!("{name}: exported by {crates:?}, and listed of {listed:?}: rename one, or say why it is one name")
            });
        }
        for (name, ..) in SHARED {
            faults.unless(exported.contains_key(*name), || format!("{name}: no longer to be listed"));
        }
        faults.unless(SHARED.is_sorted_by_key(|(name, ..)| *name), || "SHARED is sorted by name".into());
    });
}

/// The items that a crate's root declares or passes on; modules are paths, not names.
fn public_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for statement in code.join("\n").split(';') {
        let begins = statement.rfind("\npub use ").map(|at| at + 9);
        let begins = begins.or_else(|| statement.starts_with("pub use ").then_some(8));
        let passed_on = begins.map_or("", |at| &statement[at..]);
        for path in passed_on.split(['{', '}', ',']).map(str::trim).filter(|path| !path.ends_with("::")) {
            let name = path.rsplit([' ', ':']).next().unwrap();
            names.insert(name.to_owned());
        }
    }
    for line in code {
        let Some(rest) = line.strip_prefix("pub ") else { continue };
        let rest =
            ["const fn ", "async fn ", "fn "].iter().find_map(|kind| rest.strip_prefix(kind)).or_else(|| {
                ["struct ", "enum ", "trait ", "type ", "const ", "static "]
                    .iter()
                    .find_map(|kind| rest.strip_prefix(kind))
            });
        let name = rest.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        names.extend(name.map(str::to_owned));
    }
    names.remove("");
    names
}

#[test]
fn a_roots_names_are_what_it_declares_and_what_it_passes_on() {
    let text = "//! pub use no::More;\nmod a;\npub mod b;\npub use a::{One, b::{Two, Three as Four},\n    five};\npub use six::Six;\n\
                pub(crate) use a::Seven;\npub enum Eight {\n    A,\n}\npub const fn nine() {}\npub const TEN: u8 = 1;\n";
    let names = ["Eight", "Four", "One", "Six", "TEN", "Two", "five", "nine"];
    assert_eq!(public_names(text), names.map(String::from).into());
}
