//! Rooms: which crates are about one thing, and which rooms may use which. An arrow between rooms points to a lower
//! floor; the floors are those that `cargo metadata` shows, not what somebody wrote down.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::gather;
use crate::tree;

/// A room of the house.
pub(crate) struct Room {
    pub(crate) floor: usize,
    pub(crate) name: &'static str,
    /// Computes from its arguments alone: no clock, file, thread, environment, random order.
    pub(crate) pure: bool,
    /// In order.
    pub(crate) crates: &'static [&'static str],
}

const fn room(floor: usize, name: &'static str, pure: bool, crates: &'static [&'static str]) -> Room {
    Room { floor, name, pure, crates }
}

pub(crate) const ROOMS: &[Room] = &[
    room(0, "maths", true, &["accounting", "empirical", "optim", "params"]),
    room(0, "privacy", true, &["dp", "secagg"]),
    room(0, "isolation", false, &["sandbox", "spawner"]),
    room(
        1,
        "documents",
        true,
        &["attest", "card", "checkpoint", "features", "forecast", "identity", "plan", "registration", "tlog"],
    ),
    room(2, "round", true, &["federation", "messages", "protocol", "run_status", "suspicion"]),
    room(2, "learning", false, &["datasets", "inspect", "readers", "train", "trainer", "trainer_protocol"]),
    room(
        3,
        "disk",
        false,
        &["alarms", "audit", "ledger", "published", "runs", "spending", "store", "vault", "witness"],
    ),
    room(
        4,
        "network",
        false,
        &["access", "audit_log", "daemon", "founding", "operate", "pki", "telemetry", "wire", "workshop"],
    ),
    room(5, "trials", false, &["bench", "demo", "privacy_audit", "rehearsal", "sim"]),
    room(6, "programs", false, &["cli", "client", "coordinator"]),
];

/// Edges inside one room, each with its reason.
const INSIDE: &[(&str, &str, &str)] = &[
    ("optim", "params", "an optimiser moves the parameters"),
    ("forecast", "identity", "it is said as all that people read is, and no time in raw seconds"),
    ("spawner", "sandbox", "whether it restricts itself is what the operator asks of the sandbox"),
    ("secagg", "dp", "nothing is masked but what has its noise, and the type says so"),
    ("attest", "checkpoint", "evidence restates a signed record, and is checked against it"),
    ("card", "checkpoint", "a card is made from a signed record"),
    ("card", "identity", "a card restates the roster"),
    ("card", "plan", "a card restates the plan"),
    ("forecast", "plan", "what is foreseen follows from a plan"),
    ("plan", "features", "a plan says what it asks of tables"),
    (
        "plan",
        "identity",
        "an author signs with an identity's key, and a policy names whose plans a silo runs",
    ),
    ("registration", "plan", "all that is wrong in a registration is said as of a plan"),
    ("federation", "protocol", "a federation is several coordinators"),
    ("federation", "run_status", "the list of runs is filled where their order is decided"),
    ("protocol", "messages", "the core decides what is said, and when"),
    ("protocol", "run_status", "the core fills the status that everybody else only reads"),
    (
        "protocol",
        "suspicion",
        "who is in the next cohort depends on what was complained of and spoiled before",
    ),
    ("datasets", "readers", "a table is made of the records of files"),
    ("inspect", "datasets", "it looks at the files that a table would be made of"),
    ("inspect", "readers", "a proposal is tried on the whole file by what will read it"),
    ("train", "datasets", "training reads the tables that datasets parsed"),
    ("train", "trainer", "burn is one way to train of several"),
    ("trainer", "trainer_protocol", "it does what the daemon asks over their stream"),
    ("trainer", "datasets", "whatever trains is given the tables that datasets parsed"),
    ("audit_log", "access", "who called what is written down as the guard names it"),
    ("audit_log", "daemon", "an entry that has no time of its own gets the daemon's"),
    ("audit_log", "wire", "an upload's size is counted in the bytes that travel"),
    ("alarms", "store", "an alarm that is kept replaces the file as a whole"),
    ("alarms", "vault", "what an operator has answered is read up to a limit"),
    ("audit", "store", "an audit log's truth is a journal"),
    ("ledger", "vault", "what lies on a disk is sealed where it is written"),
    ("published", "store", "a version is read from a store as from a plain folder"),
    ("published", "vault", "a sealed file is told from a damaged one by its first bytes"),
    ("runs", "published", "the next version goes on from one that was published"),
    ("runs", "store", "a run's folder is a store"),
    ("runs", "vault", "a sealed federation's runs are sealed"),
    ("spending", "ledger", "a silo's journal is held against what its data has spent"),
    ("spending", "store", "which plans a silo has answered stands in its journal"),
    ("spending", "vault", "both are read from outside with the master key"),
    ("store", "vault", "what lies on a disk is sealed where it is written"),
    ("access", "pki", "a caller is who its certificate names"),
    ("access", "wire", "it serves enrolment and administration, and refuses in statuses"),
    ("founding", "pki", "a federation begins with its authority and the first certificates"),
    ("operate", "pki", "an operator calls with its certificate, and trusts the federation's authority"),
    ("operate", "wire", "it calls the services that are declared there"),
    ("witness", "audit", "what a silo remembers of a log is an audit log's to continue"),
    ("witness", "store", "a receipt that is kept replaces the file as a whole"),
    ("daemon", "telemetry", "a daemon's main begins its log"),
    ("bench", "demo", "a soak runs the demonstration's processes"),
    ("bench", "rehearsal", "what privacy costs is measured on rehearsed runs"),
    ("privacy_audit", "rehearsal", "a plan is attacked as a rehearsal of it, before anybody runs it"),
    ("cli", "client", "the demo starts whole federations"),
    ("cli", "coordinator", "the demo starts whole federations"),
];

/// The longest way down through the crates, in crates. Each more is one more that compiles after another. It leads from the tool
/// by bench, the rehearsal, what trains, the tables, their readers, the registration and the plan to the noise.
const FLOORS_MAX: usize = 12;

/// The room whose crates lie at the root, where a user finds them.
const AT_THE_ROOT: &str = "programs";

/// Where a crate of this name lies, relative to the repository.
///
/// # Panics
/// Where no room has it.
pub(crate) fn folder(name: &str) -> String {
    let room = of(name).unwrap_or_else(|| panic!("{name} lies in no room")).name;
    if room == AT_THE_ROOT { name.to_owned() } else { format!("crates/{room}/{name}") }
}

/// The room of a crate.
pub(crate) fn of(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.crates.contains(&name))
}

#[test]
fn every_crate_lies_in_one_room_and_in_its_folder() {
    gather(|faults| {
        let listed: Vec<&str> = ROOMS.iter().flat_map(|room| room.crates).copied().collect();
        for name in &listed {
            faults.unless(tree::edges().contains_key(*name), || format!("{name} is no crate"));
            let times = listed.iter().filter(|other| *other == name).count();
            faults.unless(times == 1, || format!("{name} lies in {times} rooms"));
        }
        for a_crate in tree::crates() {
            let name = a_crate.name.as_str();
            if !listed.contains(&name) {
                faults.add(format!("{name} lies in no room"));
                continue;
            }
            let wanted = folder(name);
            faults.unless(a_crate.folder == wanted, || {
                format!("{name} lies in {}, and its room's folder is {wanted}", a_crate.folder)
            });
        }
        for room in ROOMS {
            faults.unless(room.crates.is_sorted(), || format!("{}: {:?}", room.name, room.crates));
        }
    });
}

#[test]
fn no_arrow_goes_up_or_across_between_rooms_and_those_inside_a_room_have_a_reason() {
    gather(|faults| {
        let inside: BTreeSet<(&str, &str)> = INSIDE.iter().map(|(from, to, _)| (*from, *to)).collect();
        faults.unless(inside.len() == INSIDE.len(), || "an edge inside a room has two reasons".into());
        let mut seen = BTreeSet::new();
        for (from, used) in tree::edges() {
            for to in used {
                let (Some(above), Some(below)) = (of(from), of(to)) else { continue };
                if above.name == below.name {
                    seen.insert((from.as_str(), to.as_str()));
                    faults.unless(inside.contains(&(from, to)), || {
                        format!("{from} -> {to}, inside {}, has no reason", above.name)
                    });
                } else {
                    faults.unless(above.floor > below.floor, || {
                        format!(
                            "{from} -> {to}: {} (floor {}) does not stand above {} (floor {})",
                            above.name, above.floor, below.name, below.floor
                        )
                    });
                }
            }
        }
        for (from, to) in inside.difference(&seen) {
            faults.add(format!("{from} -> {to} is no edge inside a room"));
        }
    });
}

#[test]
fn the_floors_are_those_that_cargo_shows() {
    let mut down: BTreeMap<&str, BTreeSet<&str>> =
        ROOMS.iter().map(|room| (room.name, BTreeSet::new())).collect();
    for (from, used) in tree::edges() {
        for to in used {
            let (Some(above), Some(below)) = (of(from), of(to)) else { continue };
            if above.name != below.name {
                down.get_mut(above.name).unwrap().insert(below.name);
            }
        }
    }
    gather(|faults| {
        for room in ROOMS {
            let real = floor(room.name, &|name| down[name].iter().copied().collect(), 0);
            faults.unless(real == room.floor, || {
                format!("{} stands on floor {real}, and the table says {}", room.name, room.floor)
            });
        }
        let edges = tree::edges();
        for name in edges.keys() {
            let height = 1 + floor(name, &|name| edges[name].iter().map(String::as_str).collect(), 0);
            faults
                .unless(height <= FLOORS_MAX, || format!("{name} stands on {height} crates, one on another"));
        }
    });
}

#[test]
fn architecture_shows_the_rooms_as_they_are() {
    let lines = ROOMS.iter().rev().map(|room| {
        let crates = room.crates.join("  ");
        format!("{} {:<11} {crates}\n", room.floor, room.name)
    });
    let drawn: String = lines.collect();
    let text = tree::read("ARCHITECTURE.md").unwrap();
    assert!(text.contains(&format!("```\n{drawn}```\n")), "ARCHITECTURE.md should draw:\n{drawn}");
}

#[test]
fn the_readme_of_the_crates_has_a_sentence_for_each_in_its_room() {
    let text = tree::read("crates/README.md").unwrap();
    gather(|faults| {
        let mut found = BTreeMap::new();
        for section in text.split("\n## ").skip(1) {
            let room = section.lines().next().unwrap();
            for line in section.lines().filter_map(|line| line.strip_prefix("* `")) {
                let (name, sentence) = line.split_once("`: ").unwrap_or((line, ""));
                faults.unless(sentence.len() > 20, || format!("{name}: says nothing"));
                faults.unless(found.insert(name, room).is_none(), || format!("{name} stands twice"));
            }
        }
        for a_crate in tree::crates().iter().filter(|a_crate| a_crate.folder.starts_with("crates/")) {
            let room = of(&a_crate.name).map_or("no room", |room| room.name);
            let said = found.remove(a_crate.name.as_str()).unwrap_or("no room");
            faults.unless(said == room, || format!("{}: stands under {said}, is in {room}", a_crate.name));
        }
        for name in found.keys() {
            faults.add(format!("{name} is no crate in this folder"));
        }
    });
}

/// How many stand below, one on another; a circle ends at more than anyone may have.
fn floor<'a>(name: &'a str, below: &dyn Fn(&'a str) -> Vec<&'a str>, depth: usize) -> usize {
    if depth > 50 {
        return depth;
    }
    below(name).into_iter().map(|next| 1 + floor(next, below, depth + 1)).max().unwrap_or(0)
}
