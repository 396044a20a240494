//! Numbers that prose repeats, and names that it gives.

use std::collections::BTreeSet;

use sim::Invariant;

use crate::tree;

#[test]
fn what_the_simulation_checks_is_told_in_full_wherever_it_is_told() {
    let architecture = tree::read("ARCHITECTURE.md").unwrap();
    let rows = architecture.lines().filter(|line| line.starts_with("| S")).count();
    assert_eq!(rows, Invariant::ALL.len(), "the table of ARCHITECTURE.md");
    for (number, invariant) in (1..).zip(Invariant::ALL) {
        assert_eq!(invariant.id(), format!("S{number}"));
        assert!(architecture.contains(&format!("\n| {} | ", invariant.id())), "{}", invariant.id());
    }
    let last = Invariant::ALL.last().unwrap().id();
    assert!(
        tree::read("README.md").unwrap().contains(&format!("the invariants S1 to {last} are")),
        "README.md"
    );
}

#[test]
fn the_ways_in_which_a_simulated_silo_lies_are_counted() {
    let source = tree::read("crates/trials/sim/src/liar.rs").unwrap();
    let lies = source.split_once("pub enum Lie {").unwrap().1.split_once("\n}").unwrap().0;
    let count = lies.lines().filter(|line| line.trim_end().ends_with(',') && !line.contains("//")).count();
    assert_eq!(count, 17, "the word below is the number's");
    let architecture = tree::read("ARCHITECTURE.md").unwrap().replace('\n', " ");
    assert!(architecture.contains("a silo that lies in one of seventeen ways"));
}

#[test]
fn each_invariant_has_an_id_of_its_own() {
    let architecture = tree::read("ARCHITECTURE.md").unwrap();
    // A capital and a number: the tables' heads and rules have none.
    let is_id = |word: &&str| {
        let number = word.strip_prefix(|first: char| first.is_ascii_uppercase());
        number.is_some_and(|number| number.parse::<u8>().is_ok())
    };
    let rows = architecture.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let mut ids = BTreeSet::new();
    for id in rows.filter(is_id) {
        assert!(ids.insert(id), "{id} stands for two invariants in ARCHITECTURE.md");
    }
    assert!(ids.len() > 50, "only {} invariants were found", ids.len());
}
