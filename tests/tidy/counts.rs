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
