//! Runs that cannot go on say so: who refuses, by which rule, and what an operator can do.

use std::cell::RefCell;
use std::rc::Rc;

use plan::Policy;
use protocol::{Act, Effect, Record, RoundOutcome, RunEnd, ToClient};
use run_status::Status;
use sim::{Fate, Federation, Lie, Moment, plan};

const LIAR: u32 = 2;

/// Five silos, of which so many are needed, and one spoils the weights of every sum that it is in.
fn spoiled(needed: usize, seed: u64, edit: impl Fn(u32, &mut Policy)) -> Federation {
    let mut federation = spoiling(needed, seed, edit);
    federation.run();
    federation
}

/// The same, at its start.
fn spoiling(needed: usize, seed: u64, edit: impl Fn(u32, &mut Policy)) -> Federation {
    let mut plan = plan(5, 4);
    plan.cohort.minimum = needed;
    Federation::with_policies(plan, 5, seed, edit).with_liar(LIAR, Lie::Weight)
}

fn few_uploads(_: u32, policy: &mut Policy) {
    policy.repeats_without_dp = 1000;
    policy.repeats_per_plan = Some(0);
}

/// What `status` and `watch` print.
fn shown(status: &Status) -> String {
    format!("{}\n{}", status.waiting_why, status.ended.as_ref().map_or("", |ended| &ended.why))
}

#[test]
fn a_run_that_has_used_up_its_uploads_under_a_plan_names_the_rule_the_silos_and_the_remedy() {
    let federation = spoiled(5, 1, few_uploads);
    let status = federation.coordinator().status();
    assert_eq!(status.rounds_committed, 0);
    let shown = shown(&status);
    for expected in [
        "at most 1 of the 5 silos needed can take part: PLAN_UPLOADS",
        "(said by silo 1, silo 3, silo 4, silo 5)",
        "to go on, have the plan signed anew and begin another run with it, or have repeats_per_plan raised",
    ] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
}

#[test]
fn a_search_that_policies_end_leaves_a_status_that_says_who_it_may_be_and_what_to_do() {
    let mut ended = 0;
    for seed in 0..12 {
        let federation = spoiled(4, seed, |_, policy| policy.repeats_per_plan = Some(1000));
        let status = federation.coordinator().status();
        let spoiled =
            |record: &Record| matches!(record, Record::Aborted { outcome: RoundOutcome::Weights(_), .. });
        assert!(federation.journal().iter().any(spoiled), "seed {seed}");
        if status.rounds_committed == 4 {
            continue;
        }
        ended += 1;
        let shown = shown(&status);
        for expected in [
            "of the 4 silos needed can take part: REPEATS_WITHOUT_DP",
            "have repeats_without_dp raised at these silos",
            "if one silo does that, it is one of",
            "silo 2",
            "revoke the silo if you know better, or have the plan signed in format 2 with uniform weights",
        ] {
            assert!(shown.contains(expected), "seed {seed}: {expected} is not in {shown}");
        }
    }
    assert!((1..12).contains(&ended), "{ended} of 12 came to no result");
}

#[test]
fn a_run_that_is_held_has_the_whole_of_its_patience_from_when_nothing_holds_it_any_more() {
    let mut federation = spoiling(5, 1, few_uploads);
    let by = || "ops".to_owned();
    let waits = |federation: &Federation| {
        let notices = federation.coordinator().status().notices;
        notices.into_iter().find(|notice| notice.starts_with("the run waits "))
    };
    for ms in 0..600_000 {
        federation.run_until(ms);
        if waits(&federation).is_some() {
            break;
        }
    }
    let coming = "for 7 days at most, which begin a round's deadline from now";
    assert!(waits(&federation).unwrap().contains(coming));
    federation.act(Act::Pause { by: by(), reason: "an incident".into() }).unwrap();
    let timing = federation.setup().plan.timing.clone();
    for _ in 0..3 {
        federation.run_until(federation.now_ms() + timing.patience_ms());
        assert_eq!(federation.coordinator().status().ended, None);
        let notice = waits(&federation).unwrap();
        assert!(notice.contains("which begin when no pause and no quarantine holds it"), "{notice}");
    }
    federation.act(Act::Resume { by: by() }).unwrap();
    assert!(waits(&federation).unwrap().contains(coming));
    federation.run_until(federation.now_ms() + timing.round_deadline_ms + timing.patience_ms() - 1);
    assert_eq!(federation.coordinator().status().ended, None);
    federation.run();
    assert!(federation.coordinator().status().ended.is_some());
}

#[test]
fn silos_hear_one_reason_for_the_end_and_no_names_also_when_they_come_after_it() {
    let heard: Rc<RefCell<Vec<RunEnd>>> = Rc::default();
    let hears = Rc::clone(&heard);
    let mut federation = spoiling(5, 1, few_uploads).with_faults(move |moment| match moment {
        Moment::CoordinatorDoes(Effect::Send { message, .. }) => match &**message {
            ToClient::Finished { reason } => {
                hears.borrow_mut().push(reason.clone());
                // All come again and ask.
                if hears.borrow().len() <= 5 { Fate::Lose } else { Fate::Pass }
            }
            _ => Fate::Pass,
        },
        _ => Fate::Pass,
    });
    federation.run();
    let heard = heard.borrow();
    assert!(heard.len() > 5, "{heard:?}");
    for end in heard.iter() {
        let RunEnd::TooFewWilling { willing: 1, needed: 5, first_reason } = end else { panic!("{end:?}") };
        assert!(!first_reason.contains("silo ") && !first_reason.contains("to go on"), "{first_reason}");
        assert!(first_reason.len() < 200, "{first_reason}");
    }
    assert!(heard[0].to_string().contains("PLAN_UPLOADS"), "{heard:?}");
    let ended = federation.coordinator().status().ended.unwrap().why;
    assert!(ended.contains("(said by silo 1, silo 3, silo 4, silo 5)"), "{ended}");
}
