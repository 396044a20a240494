//! A plan is run where it is meant to be, and no more often than its silos agreed to.

use params::Digest;
use plan::{Plan, Policy, Refusal};
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, LedgerView, OfRun, SessionVersion, Timestamp, ToClient,
    ToCoordinator,
};

use super::refusal_code;
use super::world::{AT, World, messages, policy};

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

/// An upload in a round whose model was never seen before: so that no other limit than the plan's is in the way.
fn debit(plan: &Plan, round: u64) -> ClientRecord {
    ClientRecord::Debited {
        now: Timestamp(1_700_000_000_000 + round),
        at: Attempt { round, attempt: 1 },
        model: Digest::sha256(&round.to_le_bytes()),
        r2: Digest::sha256(&round.to_le_bytes()),
        upload: Digest::sha256(b"upload"),
        event: plan.event(),
    }
}

/// A silo that has joined, and uploaded in this many rounds that it never saw a result of.
fn uploaded(plan: Plan, policy: Policy, rounds: u64) -> World {
    let mut world = World::new(plan, policy);
    world.join();
    world.journal.extend((1..=rounds).map(|round| debit(&world.plan, round)));
    world.restart();
    world.say(world.welcome());
    world
}

/// Shown the same plan as a run of another name.
fn in_another_run(world: &mut World) {
    world.run = Digest::sha256(b"another run");
    world.say(world.welcome());
    world.say(ToClient::Published(world.signed(&world.genesis())));
}

fn opens(world: &mut World, round: u64) -> Result<(), String> {
    match &world.say(world.open(Attempt { round, attempt: 1 }))[..] {
        [.., ClientEffect::Train(_)] => Ok(()),
        effects => Err(refusal_code(effects)),
    }
}

#[test]
fn a_plan_of_one_round_is_not_uploaded_under_in_a_second_whatever_number_that_has() {
    let strict = Policy { rounds_max: Some(1), repeats_per_plan: Some(0), ..policy() };
    let mut world = uploaded(sim::plan(4, 1), strict, 1);
    assert_eq!(opens(&mut world, 2), Err("PLAN_UPLOADS".into()));
    assert_eq!(opens(&mut world, 9), Err("PLAN_UPLOADS".into()));
}

#[test]
fn no_round_is_opened_once_the_chain_holds_the_results_that_the_plan_asks_for() {
    let mut world = World::new(sim::plan(4, 1), policy());
    world.join();
    let genesis = world.genesis();
    let mut result = checkpoint::Manifest {
        round: 1,
        attempt: 1,
        parent: Some(world.signed(&genesis).digest()),
        parent_model: Some(genesis.model.params_digest),
        ..genesis.clone()
    };
    result.model.params_digest = Digest::sha256(b"the result");
    world.say(ToClient::Published(world.signed(&result)));
    let model = result.model.params_digest;
    let effects = world.say(ToClient::Open { at: Attempt { round: 2, attempt: 1 }, model });
    assert_eq!(refusal_code(&effects), "PLAN_COMPLETE");
}

#[test]
fn a_run_that_is_declined_in_its_middle_is_answered_again_when_the_policy_changes() {
    let mut world = uploaded(sim::plan(4, 10), policy(), 13);
    assert_eq!(opens(&mut world, 14), Err("PLAN_UPLOADS".into()));
    let raised = Policy { repeats_per_plan: Some(10), ..policy() };
    let said = world.input(ClientInput::Policy(Box::new(raised)));
    assert!(matches!(messages(&said)[..], [ToCoordinator::CheckIn { .. }]), "{said:?}");
    assert_eq!(opens(&mut world, 14), Ok(()));
}

#[test]
fn a_coordinator_that_runs_a_plan_without_noise_for_ever_is_stopped() {
    let limit = 10 + 3;
    let mut world = uploaded(sim::plan(4, 10), policy(), limit - 1);
    assert_eq!(opens(&mut world, limit), Ok(()));
    let mut world = uploaded(sim::plan(4, 10), policy(), limit);
    assert_eq!(opens(&mut world, limit + 1), Err("PLAN_UPLOADS".into()));
    // In another run of the same plan the rounds begin anew, and the count does not; neither does it across a restart.
    in_another_run(&mut world);
    assert_eq!(opens(&mut world, 1), Err("BALANCE".into()));
    assert!(
        world.participant.status().last_reason.starts_with("PLAN_UPLOADS: "),
        "its own log names the rule"
    );
    world.restart();
    world.say(world.welcome());
    assert_eq!(opens(&mut world, 1), Err("BALANCE".into()));
    // Signed anew, it is another plan.
    world.plan = world.plan.clone().numbered([9; Plan::ID_BYTES]);
    world.run = Digest::sha256(b"a run of another plan");
    world.say(world.welcome());
    world.say(ToClient::Published(world.signed(&world.genesis())));
    assert_eq!(opens(&mut world, 1), Ok(()));
}

#[test]
fn a_plan_of_the_first_format_shares_its_limits_among_its_runs_too() {
    let plan = sim::of_first_format(sim::plan(4, 1));
    let mut world = uploaded(plan, Policy { repeats_per_plan: Some(1), ..policy() }, 1);
    in_another_run(&mut world);
    assert_eq!(opens(&mut world, 1), Ok(()));
    let mut world = uploaded(world.plan, Policy { repeats_per_plan: Some(0), ..policy() }, 1);
    in_another_run(&mut world);
    assert_eq!(opens(&mut world, 1), Err("BALANCE".into()));
}

#[test]
fn a_plans_epsilon_is_spent_once_over_all_the_runs_that_it_is_shown_under() {
    let generous = Policy { epsilon_max: 100.0, repeats_per_plan: Some(1000), ..policy() };
    let plan = sim::private_plan(4, 4, 3.0);
    for (rounds, expected) in [(3, Ok(())), (4, Err("BALANCE".into()))] {
        let mut world = uploaded(plan.clone(), generous.clone(), rounds);
        in_another_run(&mut world);
        assert_eq!(opens(&mut world, 1), expected, "after {rounds}");
    }
}

#[test]
fn what_other_daemons_uploaded_under_the_plan_counts_at_the_silo_that_shares_the_ledger() {
    let strict = Policy { repeats_per_plan: Some(0), ..policy() };
    let mut world = World::new(sim::plan(4, 3), strict);
    world.join();
    let view =
        |uploads_under_plan| ClientInput::Ledger(LedgerView { uploads_under_plan, ..LedgerView::default() });
    world.input(view(3));
    assert_eq!(refusal_code(&world.say(world.open(AT))), "BALANCE");
    world.input(view(2));
    assert_eq!(opens(&mut world, 1), Ok(()));
}

#[test]
fn what_the_data_has_spent_elsewhere_leaves_in_no_refusal() {
    let mut world = uploaded(sim::private_plan(4, 4, 3.0), Policy { epsilon_max: 3.0, ..policy() }, 4);
    let effects = world.say(world.open(Attempt { round: 5, attempt: 1 }));
    let [ToCoordinator::Declined { reason, .. }] = messages(&effects)[..] else { panic!("{effects:?}") };
    assert!(!reason.to_string().bytes().any(|byte| byte.is_ascii_digit()), "{reason}");
    let own = world.participant.status().last_reason;
    assert!(own.starts_with("BUDGET_SPENT: ") && own.contains("its limit is 3"), "{own}");
}

#[test]
fn refusals_by_a_plans_limits_say_what_would_help() {
    let complete = Refusal::PlanComplete { rounds: 3 }.to_string();
    let uploads = Refusal::PlanUploads { uploads: 4, limit: 4 }.to_string();
    assert!(
        complete.contains("signed anew") && uploads.contains("raise repeats_per_plan"),
        "{complete}; {uploads}"
    );
}

#[test]
fn a_coordinator_that_shows_runs_without_end_is_not_answered_and_fills_no_memory() {
    let mut world = World::new(meant_for("another"), policy());
    world.input(ClientInput::Connected { version: SessionVersion::NEWEST });
    let answers = |world: &mut World, run: u32| {
        world.run = Digest::sha256(&run.to_le_bytes());
        let shown = OfRun::named(world.run, world.welcome());
        messages(&world.input(ClientInput::Message(shown))).len()
    };
    let answered: usize = (0..400).map(|run| answers(&mut world, run)).sum();
    assert_eq!(answered, 128);
    assert_eq!(answers(&mut world, 1), 1, "one that it knows is answered again");
}
