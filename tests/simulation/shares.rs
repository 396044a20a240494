//! What one run, one author or one silo can take from all others of a federation.

use std::cell::Cell;
use std::rc::Rc;

use federation::RunNumber;
use plan::{OffersPerAuthor, Plan};
use protocol::{Record, RoundOutcome};
use run_status::{RunState, Standing};
use secagg::ClientId;
use sim::{Fate, Federation, Lie, Moment};

/// A plan that needs so many silos.
fn needing(minimum: usize, name: &str) -> Plan {
    let mut plan = Plan { name: name.into(), ..sim::plan(4, 2) };
    (plan.cohort.minimum, plan.cohort.maximum) = (minimum, minimum.max(4));
    plan
}

/// Four silos, one run active at a time; the second plan comes after so many milliseconds.
fn two(first: Plan, second: Plan, after_ms: u64) -> Federation {
    let federation = Federation::with_policies(first, 4, 5, |_, policy| {
        policy.offers_per_author = OffersPerAuthor { plans: 100, days: 1 };
    });
    federation.with_runs(1).submitting(after_ms, second)
}

/// The same; the fourth silo's machine fails until it is said to be sound.
fn federation(first: Plan, second: Plan) -> (Federation, Rc<Cell<bool>>) {
    let here = Rc::new(Cell::new(false));
    let comes = Rc::clone(&here);
    let federation = two(first, second, 1_000).with_faults(move |moment| {
        let dies = matches!(moment, Moment::SiloSays(ClientId(4), _)) && !comes.get();
        if dies { Fate::Kill } else { Fate::Late(2) }
    });
    (federation, here)
}

#[test]
fn a_run_that_waits_for_silos_that_are_away_leaves_its_place_to_one_that_has_enough_and_takes_it_back() {
    let (mut federation, here) = federation(needing(4, "all four"), needing(3, "three"));
    federation.run_until(120_000);
    let state = |federation: &Federation| federation.runs().iter().map(|run| run.state).collect::<Vec<_>>();
    assert_eq!(state(&federation), [RunState::Waiting, RunState::Finished], "{:?}", federation.runs());
    let why = federation.runs()[0].reason.clone();
    assert!(why.contains("3 of the 4 silos that a round needs have checked in"), "{why}");
    here.set(true);
    federation.start_the_dead();
    federation.run();
    assert_eq!(state(&federation), [RunState::Finished; 2], "{:?}", federation.runs());
}

#[test]
fn silos_are_connected_to_the_federation_whichever_of_its_runs_is_looked_at() {
    let (mut federation, _) = federation(needing(3, "first"), needing(3, "second"));
    federation.run_until(1_100);
    let links = |federation: &Federation, run: u32| -> Vec<bool> {
        federation.status(RunNumber(run)).clients.iter().map(|silo| silo.connected).collect()
    };
    let queued = federation.status(RunNumber(2));
    assert_eq!(federation.runs()[1].state, RunState::Queued, "{}", queued.waiting_why);
    assert_eq!(queued.waiting_why, "run 1 goes before it");
    assert!(queued.waiting_for.is_empty(), "nobody owes it anything: {:?}", queued.waiting_for);
    let standing: Vec<Standing> = queued.clients.iter().map(|silo| silo.state).collect();
    let here = Standing::Connected;
    assert_eq!(standing, [here, here, here, Standing::NotConnected]);
    for run in [1, 2] {
        assert_eq!(links(&federation, run), [true, true, true, false], "run {run}");
    }
    federation.run();
    assert!(federation.status(RunNumber(1)).ended.is_some());
    for run in [1, 2] {
        assert_eq!(links(&federation, run), [true, true, true, false], "run {run}, which is over");
    }
}

#[test]
fn a_run_that_needs_more_silos_than_the_roster_has_keeps_no_other_from_its_place() {
    let (mut federation, here) = federation(needing(9, "nine"), needing(3, "three"));
    here.set(true);
    federation.run_until(120_000);
    let runs = federation.runs();
    assert_eq!((runs[0].state, runs[1].state), (RunState::Waiting, RunState::Finished), "{runs:?}");
    assert!(runs[0].reason.contains("enrol more silos"), "{}", runs[0].reason);
}

#[test]
fn who_is_caught_at_a_lie_in_one_run_spoils_no_other() {
    let mut federation = two(needing(3, "one"), needing(3, "two"), 1).with_liar(3, Lie::Commitment);
    federation.run();
    let written = |run| federation.journal_of(run).unwrap();
    let caught = |run| {
        let aborted = |record: &&Record| {
            matches!(record, Record::Aborted { outcome: RoundOutcome::WrongSecret { .. }, .. })
        };
        written(run).iter().filter(aborted).count()
    };
    assert_eq!(caught(RunNumber(1)) + caught(RunNumber(2)), 1);
    for run in [1, 2].map(RunNumber) {
        let barred = |record: &&Record| matches!(record, Record::Barred { client: ClientId(3), .. });
        assert_eq!(written(run).iter().filter(barred).count(), 1, "{run}");
    }
}
