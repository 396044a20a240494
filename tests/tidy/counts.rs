//! Numbers that prose repeats.

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
