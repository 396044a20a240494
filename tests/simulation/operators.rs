//! What operators stop stays stopped, in whatever step of a round they do it.

use std::cell::Cell;
use std::rc::Rc;

use protocol::{Act, Attempt, ClientRecord, DropReason, Record, Rejection, RoundOutcome, Timestamp};
use secagg::ClientId;
use sim::{Fate, Federation, Moment, plan};

const SILOS: u32 = 5;
/// Every step of a round, as the status names it.
const STEPS: [&str; 6] =
    ["training", "sharing keys", "masked input", "consistency check", "unmasking", "opening the sum"];

/// A federation whose every step takes time, so that it can be stopped in each; with `rounds` rounds.
fn slow(rounds: u64) -> Federation {
    Federation::new(plan(SILOS as usize, rounds), SILOS, 77).with_faults(late)
}

fn late(_: &Moment<'_>) -> Fate {
    Fate::Late(5)
}

fn phase(federation: &Federation) -> &'static str {
    federation.coordinator().status().phase.word()
}

/// Runs until a round is in this step, with this many rounds committed.
fn run_to(federation: &mut Federation, committed: u64, step: &str) {
    for ms in federation.now_ms()..federation.now_ms() + 60_000 {
        federation.run_until(ms);
        sound(federation);
        if federation.coordinator_is_up()
            && federation.coordinator().status().rounds_committed == committed
            && phase(federation) == step
        {
            return;
        }
    }
    panic!("{committed} rounds and {step:?} never came: {:?}", federation.coordinator().status());
}

fn sound(federation: &Federation) {
    if let Some(violation) = federation.violation() {
        panic!("{violation}");
    }
}

fn pause() -> Act {
    Act::Pause { by: "ops".into(), reason: "an incident".into() }
}

fn resume() -> Act {
    Act::Resume { by: "ops".into() }
}

fn quarantine(round: u64) -> Act {
    Act::Quarantine { round, by: "ops".into(), reason: "poisoned".into() }
}

fn rollback(to_round: u64) -> Act {
    Act::Rollback { to_round, by: "ops".into(), reason: "poisoned".into() }
}

fn remove(id: u32) -> Act {
    Act::Remove { client: ClientId(id), reason: "revoked".into() }
}

fn head(federation: &Federation) -> checkpoint::Manifest {
    let head = federation.coordinator().head_record().unwrap();
    checkpoint::Manifest::from_bytes(&head.manifest_bytes).unwrap()
}

fn opened(federation: &Federation) -> Vec<Attempt> {
    let opened = |record: &Record| match record {
        Record::AttemptBegun { at, .. } => Some(*at),
        _ => None,
    };
    federation.journal().iter().filter_map(opened).collect()
}

fn debits(federation: &Federation) -> usize {
    let is_debit = |record: &&ClientRecord| matches!(record, ClientRecord::Debited { .. });
    (1..=SILOS).map(|id| federation.silo_journal(id).iter().filter(is_debit).count()).sum()
}

fn refusal(answer: Result<(), Rejection>) -> String {
    match answer {
        Err(Rejection::NotPossible(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// What is said of an action that changes nothing, as what it wants is so: no failure of whoever asks twice.
fn already(answer: Result<(), Rejection>) -> String {
    match answer {
        Err(Rejection::AlreadySo(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pause_lets_the_round_end_and_opens_no_other_until_it_is_resumed() {
    for step in STEPS {
        let mut federation = slow(3);
        run_to(&mut federation, 1, step);
        federation.act(pause()).unwrap();
        let before = opened(&federation).len();
        federation.run_until(federation.now_ms() + 300_000);
        sound(&federation);
        let status = federation.coordinator().status();
        assert_eq!(status.rounds_committed, 2, "{step}: the round in progress goes on to its end");
        assert_eq!(opened(&federation).len(), before, "{step}");
        assert_eq!(status.notices, ["paused by ops: an incident"], "{step}");
        assert!(status.waiting_why.contains("paused by ops: an incident"), "{}", status.waiting_why);
        assert_eq!(status.ended, None, "{step}: a paused run waits, however long");
        assert!(already(federation.act(pause())).contains("paused already, by ops"));

        federation.act(resume()).unwrap();
        federation.run();
        let status = federation.coordinator().status();
        assert_eq!((status.rounds_committed, status.notices.len()), (3, 0), "{step}");
        assert!(status.ended.is_some());
    }
}

#[test]
fn a_quarantine_in_any_step_ends_the_round_and_nobody_uploads_on_that_model_any_more() {
    for step in STEPS {
        let mut federation = slow(4);
        run_to(&mut federation, 2, step);
        let (bad, before) = (head(&federation), debits(&federation));
        federation.act(quarantine(2)).unwrap();
        let quarantined = head(&federation);
        let status = federation.coordinator().status();
        assert_eq!(status.attempts_aborted, Some(1), "{step}: also where the round is not given up");
        assert_eq!(quarantined.model, bad.model, "{step}");
        assert_eq!(quarantined.previous_rounds_aborted.len(), 1, "{step}");
        assert!(quarantined.previous_rounds_aborted[0].outcome.contains("quarantined the model of round 2"));

        federation.run_until(federation.now_ms() + 300_000);
        sound(&federation);
        let notices = federation.coordinator().status().notices.join("; ");
        assert!(notices.contains("no round opens until a rollback"), "{step}: {notices}");
        let uploaded = debits(&federation) - before;
        let others = if step == "masked input" { SILOS as usize } else { 0 };
        assert!(uploaded <= others, "{step}: {uploaded} uploads on a quarantined model");
        for id in 1..=SILOS {
            let journal = federation.silo_journal(id);
            let learned = journal.iter().position(|record| {
                matches!(record, ClientRecord::ChainHead(signed) if signed.digest() == federation.coordinator().head_record().unwrap().digest())
            });
            // A step that was begun in the round is done to its end: it is the chain's, not the round's.
            let after: Vec<_> = journal
                [learned.unwrap_or_else(|| panic!("{step}: silo {id} did not learn of it"))..]
                .iter()
                .filter(|record| !matches!(record, ClientRecord::StepVerified { .. }))
                .collect();
            assert_eq!(after.len(), 1, "{step}: silo {id} goes on: {after:?}");
        }

        federation.act(rollback(1)).unwrap();
        assert_eq!(federation.published()[&head(&federation).round], federation.published()[&1], "{step}");
        federation.run();
        let status = federation.coordinator().status();
        assert_eq!(status.rounds_committed, 4, "{step}");
        let charged = federation.journal().iter().filter(|r| matches!(r, Record::SharesFixed { .. })).count();
        assert_eq!(status.privacy.steps, charged as u64, "{step}: nothing is refunded");
        assert!(status.notices[0].ends_with("the newest model does not descend from it"), "{status:?}");
    }
}

#[test]
fn a_quarantine_of_an_older_model_is_shown_and_the_run_goes_on() {
    let mut federation = slow(4);
    run_to(&mut federation, 2, "masked input");
    federation.act(quarantine(1)).unwrap();
    let notices = federation.coordinator().status().notices;
    assert!(notices[0].ends_with("the newest model descends from it"), "{notices:?}");
    federation.run();
    assert_eq!(federation.coordinator().status().rounds_committed, 4);
    assert!(federation.journal().iter().any(|record| matches!(
        record,
        Record::Aborted { outcome: RoundOutcome::Quarantined { round: 1 }, .. }
    )));
}

#[test]
fn actions_that_make_no_sense_are_refused_with_a_reason_and_change_nothing() {
    let mut federation = slow(5);
    run_to(&mut federation, 2, "masked input");
    let before = federation.journal().len();
    for (act, why) in [
        (quarantine(3), "round 3 has no result"),
        (rollback(9), "round 9 has no result"),
        (Act::Pause { by: "ops".into(), reason: String::new() }, "the reason has 0 bytes"),
        (Act::Pause { by: "o".repeat(201), reason: "r".into() }, "the operator's name has 201 bytes"),
        (Act::Quarantine { round: 2, by: "ops".into(), reason: "r".repeat(1001) }, "1001 bytes"),
    ] {
        let refused = refusal(federation.act(act));
        assert!(refused.contains(why), "{refused}");
    }
    assert!(already(federation.act(resume())).contains("not paused"));
    assert!(already(federation.act(rollback(2))).contains("round 2's already"));
    assert_eq!(federation.act(remove(9)), Err(Rejection::UnknownClient(ClientId(9))));
    assert_eq!(federation.journal().len(), before);
    assert_eq!(phase(&federation), "masked input", "the round is as it was");

    federation.act(quarantine(2)).unwrap();
    assert!(already(federation.act(quarantine(2))).contains("round 2 is quarantined by ops"));
    let held = refusal(federation.act(rollback(2)));
    assert!(held.contains("round 2's already"), "no way out of the quarantine: {held}");
    federation.act(rollback(1)).unwrap();
    assert!(already(federation.act(rollback(1))).contains("round 1's already"));
    assert!(refusal(federation.act(rollback(2))).contains("quarantined"));
    // The records of actions are no round's result.
    assert!(refusal(federation.act(quarantine(3))).contains("has no result"));
}

#[test]
fn an_operator_acts_a_few_times_and_never_takes_the_last_trained_model_also_after_a_restart() {
    let mut federation = slow(6);
    run_to(&mut federation, 4, "masked input");
    let long_ago = Timestamp(0);
    let does = |federation: &mut Federation, act: Act| {
        federation.coordinator().operator_may(&act, long_ago).unwrap();
        federation.act(act).unwrap();
    };
    let refused =
        |federation: &Federation, act: Act| refusal(federation.coordinator().operator_may(&act, long_ago));
    for to_round in [1, 0, 1, 0, 1] {
        does(&mut federation, rollback(to_round));
        does(&mut federation, pause());
        does(&mut federation, resume());
    }
    for round in [4, 3] {
        does(&mut federation, quarantine(round));
    }
    let (hour, day) = ("5 times within an hour", "times within a day");
    for (act, most) in [(pause(), hour), (resume(), hour), (rollback(2), day), (quarantine(2), day)] {
        let why = refused(&federation, act);
        assert!(why.contains(most), "{why}");
    }
    // Whoever it is: version 0 is no model that anything was trained for, and may go, but what was trained may not.
    let another = |round| Act::Quarantine { round, by: "another".into(), reason: "poisoned".into() };
    does(&mut federation, another(2));
    let why = refused(&federation, another(1));
    assert!(why.contains("no trained model is left") && why.contains("pause the run instead"), "{why}");
    does(&mut federation, another(0));
    sound(&federation);

    let journal = federation.journal().to_vec();
    let acted = |record: &Record| match record {
        Record::Acted { now, .. } => Some(now.0),
        _ => None,
    };
    let last = journal.iter().filter_map(acted).max().unwrap();
    let now = Timestamp(1_800_000_000_000);
    let again = protocol::Coordinator::recover(federation.setup(), &journal, now, &mut vec![]).unwrap();
    assert!(refusal(again.operator_may(&pause(), long_ago)).contains(hour));
    again.operator_may(&Act::Pause { by: "another".into(), reason: "an incident".into() }, long_ago).unwrap();
    let later = |hours: u64| Timestamp(last + hours * 3_600_000 + 1);
    again.operator_may(&pause(), later(1)).unwrap();
    for act in [rollback(0), quarantine(2)] {
        assert!(refusal(again.operator_may(&act, later(23))).contains(day));
        again.operator_may(&act, later(24)).unwrap();
    }
    assert!(refusal(again.operator_may(&another(1), later(24))).contains("no trained model is left"));
}

#[test]
fn a_removed_member_is_out_at_once_and_the_round_ends_without_it() {
    for step in STEPS {
        let mut federation = slow(3);
        run_to(&mut federation, 1, step);
        federation.act(remove(3)).unwrap();
        let dropped = |record: &Record| matches!(record, Record::Dropped { client: ClientId(3), reason: DropReason::Removed(why) } if why == "revoked");
        assert!(federation.journal().iter().any(dropped), "{step}");
        federation.run();
        let status = federation.coordinator().status();
        assert_eq!((status.rounds_committed, status.rounds_aborted), (3, 0), "{step}");
        for sum in federation.opened() {
            // Once the included set is fixed, what is in it stays in it.
            let fixed = matches!(step, "consistency check" | "unmasking" | "opening the sum");
            let expected = sum.at.round == 1 || (sum.at.round == 2 && fixed);
            assert_eq!(sum.included.contains(&ClientId(3)), expected, "{step}, {:?}", sum.at);
        }
    }
}

#[test]
fn a_vector_that_arrived_before_its_silo_was_removed_is_not_in_the_sum() {
    let mut federation =
        Federation::new(plan(SILOS as usize, 1), SILOS, 78).with_faults(|moment| match moment {
            // All others are slow.
            Moment::SiloUploads(id, _) if id.0 != 3 => Fate::Late(500),
            _ => Fate::Late(5),
        });
    let staged = |federation: &Federation| {
        let of = |r: &Record| matches!(r, Record::Staged(header) if header.client == ClientId(3));
        federation.journal().iter().any(of)
    };
    for ms in 0.. {
        if staged(&federation) {
            break;
        }
        federation.run_until(ms);
    }
    federation.act(remove(3)).unwrap();
    federation.run();
    assert_eq!(federation.opened().len(), 1);
    assert!(!federation.opened()[0].included.contains(&ClientId(3)));
    assert_eq!(federation.opened()[0].included.len(), 4);
}

#[test]
fn whatever_effect_of_an_action_a_crash_prevents_the_run_goes_on_as_the_action_says() {
    let mut crashes = 0;
    for crash_at in 1..60 {
        let seen = Rc::new(Cell::new(0u32));
        let armed = Rc::new(Cell::new(false));
        let (count, active) = (Rc::clone(&seen), Rc::clone(&armed));
        let mut federation = Federation::new(plan(SILOS as usize, 4), SILOS, 79).with_faults(move |moment| {
            if active.get() && matches!(moment, Moment::CoordinatorDoes(_)) {
                count.set(count.get() + 1);
                if count.get() == crash_at {
                    return Fate::Restart;
                }
            }
            Fate::Late(5)
        });
        run_to(&mut federation, 2, "masked input");
        armed.set(true);
        for act in [quarantine(2), rollback(1)] {
            // A crash on the way loses what was not written down; an operator says it again.
            for ms in federation.now_ms().. {
                if is_done(&federation, &act) {
                    break;
                }
                if federation.coordinator_is_up() {
                    let _ = federation.act(act.clone());
                }
                federation.run_until(ms);
                sound(&federation);
            }
        }
        if seen.get() < crash_at {
            break;
        }
        crashes += 1;
        armed.set(false);
        federation.run();
        let status = federation.coordinator().status();
        assert_eq!(status.rounds_committed, 4, "crash at effect {crash_at}: {status:?}");
        let chain: Vec<u64> = federation.published().keys().copied().collect();
        assert_eq!(chain.len(), 7, "crash at effect {crash_at}: {chain:?}");
    }
    assert!(crashes > 20, "{crashes}");
}

fn is_done(federation: &Federation, act: &Act) -> bool {
    federation.journal().iter().any(|record| {
        let Record::Acted { manifest, .. } = record else { return false };
        let action = checkpoint::Manifest::from_bytes(&manifest.manifest_bytes).unwrap().action.unwrap();
        matches!(
            (act, action),
            (Act::Quarantine { .. }, checkpoint::Action::Quarantine { .. })
                | (Act::Rollback { .. }, checkpoint::Action::Rollback { .. })
        )
    })
}

#[test]
fn several_actions_of_one_moment_are_all_published_after_a_crash() {
    // Recovery does not know what was published: it names every record that may not have been.
    let mut federation = slow(4);
    run_to(&mut federation, 2, "training");
    federation.act(quarantine(2)).unwrap();
    federation.act(rollback(1)).unwrap();
    let journal = federation.journal().to_vec();
    let mut effects = protocol::Effects::new();
    let now = protocol::Timestamp(1_800_000_000_000);
    protocol::Coordinator::recover(federation.setup(), &journal, now, &mut effects).unwrap();
    let published: Vec<u64> = effects
        .iter()
        .filter_map(|effect| match effect {
            protocol::Effect::Publish(signed) => {
                Some(checkpoint::Manifest::from_bytes(&signed.manifest_bytes).unwrap().round)
            }
            _ => None,
        })
        .collect();
    assert_eq!(published, [2, 3, 4]);
}

#[test]
fn a_finished_runs_model_can_still_be_quarantined_and_the_one_before_it_restored() {
    let mut federation = Federation::new(plan(SILOS as usize, 2), SILOS, 80);
    federation.run();
    assert!(refusal(federation.act(pause())).contains("the run is over"));
    federation.act(quarantine(2)).unwrap();
    federation.act(rollback(1)).unwrap();
    sound(&federation);
    let status = federation.coordinator().status();
    assert_eq!((status.head_round, status.rounds_committed), (4, 2));
    assert_eq!(status.model, Some(federation.published()[&1]));
    assert!(status.ended.is_some());
}

#[test]
fn a_late_silo_hears_of_a_quarantine_before_it_hears_of_a_round() {
    let mut federation = slow(3);
    run_to(&mut federation, 2, "training");
    federation.act(quarantine(2)).unwrap();
    federation.act(rollback(1)).unwrap();
    federation.reset_connections();
    federation.run();
    assert_eq!(federation.coordinator().status().rounds_committed, 3);
    for id in 1..=SILOS {
        let heads = federation.silo_journal(id).iter().filter(|r| matches!(r, ClientRecord::ChainHead(_)));
        assert_eq!(heads.count(), federation.published().len(), "silo {id}");
    }
    let declined = |r: &Rejection| matches!(r, Rejection::Invalid(_));
    assert!(!federation.rejections().iter().any(declined), "{:?}", federation.rejections());
}
