//! What a silo makes of the ledger of its data, beside its own journal.

use accounting::{OverBudget, OverPeriod};
use plan::{Hours, Policy, Refusal};
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, Decline, LedgerView, RoundOutcome, Timestamp, ToClient,
};

use super::world::{AT, World, assert_refuses, policy};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn view(round: Option<u64>, epsilon_spent: f64, refusal: Option<Refusal>) -> ClientInput {
    ClientInput::Ledger(LedgerView { round, epsilon_spent, refusal, ..LedgerView::default() })
}

#[test]
fn hours_and_debits_go_by_the_wall_clock_where_it_left_the_cores_own_time_behind() {
    let hours = Hours::try_from("08:00-16:00".to_owned()).unwrap();
    let mut world = World::new(sim::plan(4, 9), Policy { hours: Some(hours), ..policy() });
    world.join();
    let today = world.now.0 / DAY_MS * DAY_MS;
    assert!(world.now.0 - today > 22 * HOUR_MS, "the core's own time stands outside of these hours");
    let moment = |hour| Timestamp(today + DAY_MS + hour * HOUR_MS);
    let view = |hour| ClientInput::Ledger(LedgerView { wall: Some(moment(hour)), ..LedgerView::default() });
    world.input(view(17));
    let effects = world.say(world.open(Attempt { attempt: 0, ..AT }));
    assert_refuses(&effects, Some(1), policy_decline(&Refusal::Hours { hours }), "after them");
    world.input(view(9));
    let keyed = world.advertise();
    let dealt = world.share(keyed);
    let delivered = world.deliver(dealt, &[]);
    world.upload(delivered);
    let debited = world.journal.iter().find_map(|record| match record {
        ClientRecord::Debited { now, .. } => Some(*now),
        _ => None,
    });
    assert_eq!(debited, Some(moment(9)));
}

#[test]
fn a_round_that_the_ledger_knows_is_sat_out_though_the_journal_has_forgotten_it() {
    let mut world = World::in_a_run();
    world.input(view(Some(3), 0.0, None));
    for round in [1, 3] {
        let effects = world.say(world.open(Attempt { round, attempt: 9 }));
        assert_refuses(&effects, Some(round), Decline::SitsOut, "it may have uploaded in it");
    }
    let effects = world.say(world.open(Attempt { round: 4, attempt: 1 }));
    assert!(matches!(effects[..], [ClientEffect::Train(_)]), "{effects:?}");
}

#[test]
fn a_round_that_another_silo_with_the_same_data_is_in_is_sat_out_before_anything_is_trained() {
    let mut world = World::in_a_run();
    world.input(ClientInput::Ledger(LedgerView { rounds_of_others: [1].into(), ..LedgerView::default() }));
    for attempt in 1..=2 {
        let effects = world.say(world.open(Attempt { round: 1, attempt }));
        assert_refuses(&effects, Some(1), Decline::SitsOut, "the data would be in its sum twice");
    }
    let effects = world.say(world.open(Attempt { round: 2, attempt: 1 }));
    assert!(matches!(effects[..], [ClientEffect::Train(_)]), "{effects:?}");
}

#[test]
fn a_run_that_another_silo_of_the_roster_is_in_with_the_same_data_is_declined_whole_whenever_that_is_found() {
    let others = |keys: &[[u8; 32]]| {
        ClientInput::Ledger(LedgerView { before: keys.iter().copied().collect(), ..LedgerView::default() })
    };
    let mut world = World::in_a_run();
    let member = world.member_key(2);
    // One that was enrolled anew, or has left, is invited to nothing.
    assert!(world.input(others(&[[7; 32]])).is_empty());
    let effects = world.input(others(&[[7; 32], member]));
    assert_refuses(&effects, None, policy_decline(&Refusal::SharedData), "before any round");
    assert!(world.say(world.open(AT)).is_empty(), "it is in no run");
    let effects = world.input(others(&[member]));
    assert!(effects.is_empty(), "said once: {effects:?}");

    let (mut world, _) = World::keyed();
    let effects = world.input(others(&[member]));
    assert!(matches!(effects[..], [ClientEffect::Forget(_), ClientEffect::Send(_)]), "{effects:?}");
    assert_refuses(
        &effects,
        None,
        policy_decline(&Refusal::SharedData),
        "in the first round that both begin",
    );
    // The other one was there first in each session to come.
    let welcome = world.welcome();
    world.say(welcome);
    let effects = world.input(others(&[member]));
    assert_refuses(&effects, None, policy_decline(&Refusal::SharedData), "as soon as it is welcomed");
}

#[test]
fn a_budget_that_other_runs_have_spent_refuses_this_one_before_anything_is_trained() {
    let spent = Refusal::BudgetSpent(OverBudget { after: 5.5, limit: 5.0 });
    let mut world = World::new(sim::private_plan(4, 4, 3.0), policy());
    world.join();
    world.input(view(None, 4.5, Some(spent.clone())));
    assert_eq!(world.participant.status().epsilon_spent, 4.5, "it is of the data, not of the journal");
    let effects = world.say(world.open(AT));
    assert_refuses(&effects, None, policy_decline(&spent), "the run as a whole");

    let spent = Refusal::PeriodSpent(OverPeriod { after: 5.5, limit: 5.0, days: 30 });
    world.input(view(None, 4.5, Some(spent.clone())));
    let effects = world.say(world.open(AT));
    assert_refuses(&effects, Some(1), policy_decline(&spent), "a later round may find room");

    world.input(view(None, 4.5, None));
    let effects = world.say(world.open(AT));
    assert_refuses(
        &effects,
        Some(1),
        Decline::SitsOut,
        "once it is declined, saying it again changes nothing",
    );
    let effects = world.say(world.open(Attempt { attempt: 2, ..AT }));
    assert!(matches!(effects[..], [ClientEffect::Train(_)]), "{effects:?}");
}

#[test]
fn a_vector_is_awaited_only_while_its_own_attempt_is_masking() {
    let awaited = |world: &World| {
        let (job, origin) = world.maskings[0];
        world.participant.debit_for(job, origin).is_some()
    };
    let (mut world, _) = World::delivered();
    assert!(awaited(&world));
    world.say(ToClient::Aborted { at: AT, outcome: RoundOutcome::TooFewUploads { got: 1, need: 3 } });
    assert!(!awaited(&world), "nothing is debited for an attempt that is over");
    let (world, _) = World::uploaded();
    assert!(!awaited(&world));
}

fn policy_decline(refusal: &Refusal) -> Decline {
    Decline::Policy { code: refusal.code().into(), text: refusal.kind().sentence().into() }
}
