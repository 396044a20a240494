//! A plan is run where it is meant to be, and no more often than its silos agreed to.

use identity::{Plan, Policy};

use super::refusal_code;
use super::world::{World, policy};

fn meant_for(federation: &str) -> Plan {
    Plan { federation: Some(federation.into()), ..sim::plan(4, 1) }
}

#[test]
fn a_plan_that_is_meant_for_another_federation_is_refused() {
    World::new(meant_for("attacked"), policy()).join();
    let mut world = World::new(meant_for("another"), policy());
    assert_eq!(refusal_code(&world.say(world.welcome())), "PLAN_FEDERATION");
    assert!(world.journal.is_empty());
}

#[test]
fn a_plan_that_names_no_federation_holds_in_any_unless_the_policy_forbids_it() {
    World::new(sim::plan(4, 1), policy()).join();
    let strict = Policy { require_federation: true, ..policy() };
    World::new(meant_for("attacked"), strict.clone()).join();
    let mut world = World::new(sim::plan(4, 1), strict);
    assert_eq!(refusal_code(&world.say(world.welcome())), "POLICY_FEDERATION");
}
