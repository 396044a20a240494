//! Too few willing silos are a state of a run, and only its patience or a person ends it.

use protocol::{
    Act, Attempt, Coordinator, Decline, Effects, Input, Record, Rejection, RunEnd, SumFailure, ToClient,
    ToCoordinator,
};
use run_status::{Ending, RunPhase};
use secagg::ClientId;
use sim::{Federation, plan};

use crate::coordinator::{Bench, setup};

const DAY_MS: u64 = 24 * 3_600_000;

/// Two of four silos decline a run that needs three; the attempt in progress comes to nothing by it.
fn declined() -> Bench {
    let mut bench = Bench::opened();
    for id in [1, 2] {
        let reason = Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
        bench.says(id, ToCoordinator::Declined { round: None, reason }).unwrap();
    }
    bench
}

/// The same, after a round's time and more.
fn waiting() -> Bench {
    let mut bench = declined();
    later(&mut bench, 10 * setup().plan.timing.round_deadline_ms);
    bench
}

fn later(bench: &mut Bench, ms: u64) {
    bench.now = bench.now.plus_ms(ms);
    bench.feed(Input::Tick).unwrap();
}

fn recovered(bench: &Bench) -> Coordinator {
    Coordinator::recover(setup(), &bench.journal, bench.now, &mut Effects::new()).unwrap()
}

#[test]
fn a_run_that_too_few_are_willing_for_waits_named_and_dated_and_is_written_down_so_once() {
    let mut bench = declined();
    assert!(bench.coordinator.too_few_willing() && bench.coordinator.waits().is_none());
    later(&mut bench, 10 * setup().plan.timing.round_deadline_ms);
    let (since, until) = bench.coordinator.waits().expect("a round's time is over");
    assert_eq!(until.0 - since.0, 7 * DAY_MS);
    later(&mut bench, DAY_MS);
    later(&mut bench, DAY_MS);
    let written = |record: &&Record| matches!(record, Record::Waits { .. });
    assert_eq!(bench.journal.iter().filter(written).count(), 1);
    let status = bench.coordinator.status();
    assert_eq!((status.ended, status.deadline_ms), (None, Some(until.0)));
    let said = status.notices.join("; ");
    for expected in [
        "the run waits since 1970-01-01T00:",
        ", until 1970-01-08T00:",
        "as soon as enough silos are willing: at most 2 of the 3 silos needed can take part: POLICY_EPSILON",
        "(said by silo 1, silo 2)",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert_eq!(bench.coordinator.deadline(bench.now), Some(until), "nothing else is to be done before");
}

#[test]
fn it_goes_on_when_one_is_willing_again_and_has_its_whole_patience_the_next_time() {
    let mut bench = waiting();
    later(&mut bench, 6 * DAY_MS);
    bench.says(1, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
    assert_eq!(bench.coordinator.waits(), None);
    assert!(
        matches!(bench.journal.last(), Some(Record::Waits { over: true, .. })),
        "{:?}",
        bench.journal.last()
    );
    let timing = setup().plan.timing.clone();
    later(&mut bench, timing.minimum_wait_ms);
    let status = bench.coordinator.status();
    assert_eq!(status.phase, RunPhase::Training, "{}", status.waiting_why);
    let declines = Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
    bench.says(1, ToCoordinator::Declined { round: None, reason: declines }).unwrap();
    later(&mut bench, timing.round_deadline_ms);
    let (since, _) = bench.coordinator.waits().expect("it waits again");
    assert_eq!(since, bench.now);
}

#[test]
fn a_silo_that_wavers_writes_no_more_than_two_records_in_a_rounds_time() {
    let mut bench = waiting();
    let before = bench.journal.iter().filter(|record| matches!(record, Record::Waits { .. })).count();
    for _ in 0..50 {
        let reason = Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
        bench.says(1, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
        bench.says(1, ToCoordinator::Declined { round: None, reason }).unwrap();
        later(&mut bench, 1);
    }
    let after = bench.journal.iter().filter(|record| matches!(record, Record::Waits { .. })).count();
    assert_eq!(after, before + 1);
}

#[test]
fn a_restart_does_not_lengthen_the_wait_and_lets_silos_answer_before_it_ends_one() {
    let mut bench = waiting();
    let until = bench.coordinator.waits().unwrap().1;
    assert_eq!(recovered(&bench).waits(), bench.coordinator.waits());
    bench.now = until.plus_ms(DAY_MS);
    bench.coordinator = recovered(&bench);
    bench.feed(Input::Tick).unwrap();
    assert_eq!(bench.coordinator.status().ended, None, "it was down when its patience was over");
    later(&mut bench, setup().plan.timing.round_deadline_ms);
    let ended = bench.coordinator.status().ended.expect("nobody came back");
    assert_eq!(ended.how, Ending::Refused);
    assert!(
        ended.why.contains("at most 2 of the 3 silos needed can take part: POLICY_EPSILON"),
        "{}",
        ended.why
    );
    assert!(ended.why.contains("; not heard yet: silo 3"), "who may be willing is named: {}", ended.why);
    assert!(matches!(bench.journal.last(), Some(Record::Ended { reason: RunEnd::TooFewWilling { .. } })));
}

#[test]
fn a_run_can_be_stopped_while_it_waits_while_it_is_paused_and_in_a_round_and_says_by_whom_and_why() {
    let mut paused = Bench::opened();
    act(&mut paused, Act::Pause { by: "ops".into(), reason: "an incident".into() }).unwrap();
    let advanced = Bench::opened();
    for mut bench in [waiting(), paused, advanced] {
        bench.said.clear();
        act(&mut bench, stop("a better plan follows")).unwrap();
        let ended = bench.coordinator.status().ended.expect("it was stopped");
        assert_eq!((ended.how, &*ended.why), (Ending::Stopped, "ada stopped it: a better plan follows"));
        let heard = |message: &&(ClientId, ToClient)| matches!(&message.1, ToClient::Finished { reason: RunEnd::Stopped { by, reason } } if by == "ada" && reason == "a better plan follows");
        assert_eq!(bench.said.iter().filter(heard).count(), 4, "{:?}", bench.said);
        assert_eq!(recovered(&bench).ended(), bench.coordinator.ended());
        assert_eq!(bench.coordinator.deadline(bench.now), None);
        // What was on its way does no harm.
        let records = bench.journal.len();
        let _ = bench.says(3, ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable });
        let summed = Input::Summed {
            at: Attempt { round: 1, attempt: 1 },
            result: Err(SumFailure::BadAggregate("late".into())),
        };
        bench.feed(summed).unwrap();
        bench.says(4, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
        assert!(matches!(bench.said.last(), Some((ClientId(4), ToClient::Finished { .. }))));
        assert_eq!(bench.journal.len(), records);
    }
}

#[test]
fn what_is_over_is_not_stopped_again_nor_paused_nor_resumed_and_the_answer_says_how_it_ended() {
    let mut bench = waiting();
    act(&mut bench, stop("a better plan follows")).unwrap();
    let records = bench.journal.len();
    let over = "the run is over: ada stopped it: a better plan follows";
    assert_eq!(act(&mut bench, stop("again")), Err(Rejection::AlreadySo(over.into())));
    let pause = Act::Pause { by: "ops".into(), reason: "an incident".into() };
    assert_eq!(act(&mut bench, pause), Err(Rejection::NotPossible(over.into())));
    assert_eq!(act(&mut bench, Act::Resume { by: "ops".into() }), Err(Rejection::NotPossible(over.into())));
    assert!(matches!(act(&mut Bench::opened(), stop("")), Err(Rejection::NotPossible(_))));
    assert_eq!(bench.journal.len(), records);
}

fn stop(reason: &str) -> Act {
    Act::Stop { by: "ada".into(), reason: reason.into() }
}

fn act(bench: &mut Bench, act: Act) -> Result<(), Rejection> {
    bench.feed(Input::Act { act, staged: None })
}

#[test]
fn a_run_that_is_stopped_at_any_moment_leaves_a_federation_that_holds_what_it_promises() {
    let mut stopped = 0;
    for at_ms in (0..600).step_by(24) {
        let mut federation = Federation::new(plan(5, 4), 5, 3);
        federation.run_until(at_ms);
        let done = federation.act(stop("a better plan follows"));
        let ended = federation.coordinator().status().ended.expect("over or stopped").how;
        assert_eq!(done.is_ok(), ended == Ending::Stopped, "at {at_ms} ms: {done:?}");
        stopped += usize::from(ended == Ending::Stopped);
        // Every silo hears it and is done, and no sum is opened after it.
        let opened = federation.opened().len();
        federation.run();
        assert_eq!(federation.opened().len(), opened, "at {at_ms} ms");
    }
    assert!(stopped > 15, "{stopped}");
}

#[test]
fn whose_operators_have_not_accepted_a_roster_is_said_by_name_while_the_run_waits_for_them() {
    let mut bench = Bench::opened();
    for id in [1, 2] {
        let reason = Decline::AwaitsOperator("a later roster".into());
        bench.says(id, ToCoordinator::Declined { round: None, reason }).unwrap();
    }
    let said = bench.coordinator.status().waiting_why;
    let waits = "not accepted yet by their operators is roster epoch 1: silo 1, silo 2";
    assert!(said.contains(waits), "{said}");
    bench.says(1, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
    let said = bench.coordinator.status().waiting_why;
    assert!(!said.contains("silo 1"), "{said}");
}
