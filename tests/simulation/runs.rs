//! Several runs in one federation, which share its silos.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use chacha20::{ChaCha20Rng, rand_core::Rng, rand_core::SeedableRng};
use checkpoint::{ChainVerifier, ModelArtifact};
use federation::{Input, RunNumber};
use plan::{OffersPerAuthor, Plan};
use protocol::{Act, Artifacts, Record, Rejection, Timestamp};
use run_status::{RunEntry, RunState};
use sim::{Fate, Federation, Moment};

use crate::coordinator::setup_of;

/// The plan of the run of this number: another one for each.
fn plan_of(run: u32, members: usize, rounds: u64) -> Plan {
    Plan { name: format!("the {run}. plan"), ..sim::plan(members, rounds) }
}

/// A federation to which a plan comes each second.
fn of_runs(runs: u32, active_max: usize, members: u32, rounds: u64, seed: u64) -> Federation {
    let plan = |run| plan_of(run, members as usize, rounds);
    let first = Federation::with_policies(plan(1), members, seed, |_, policy| {
        // Aborted rounds do not end a run; what the rule itself does is tested elsewhere.
        policy.repeats_without_dp = 1000;
        policy.repeats_per_plan = Some(1000);
        // All plans are of one author; as it comes, it is for four.
        policy.offers_per_author = OffersPerAuthor { plans: runs.max(4), days: 30 };
    });
    let begin = first.with_runs(active_max);
    (2..=runs).fold(begin, |all, run| all.submitting(1_000 * u64::from(run), plan(run)))
}

/// All runs have what their plans ask for, each with a chain of its own that verifies.
fn assert_complete(federation: &Federation, runs: u32, rounds: u64) {
    let entries = federation.runs();
    assert_eq!(entries.len(), runs as usize, "{entries:?}");
    // Whose author has to try again comes later.
    let names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, (1..=runs).map(|run| plan_of(run, 4, rounds).name).collect());
    for RunEntry { number, state, reason, rounds_committed, .. } in &entries {
        assert_eq!((*state, *rounds_committed), (RunState::Finished, rounds), "run {number}: {reason}");
        let mut chain = ChainVerifier::new(None);
        let journal = federation.journal_of(RunNumber(*number)).unwrap();
        let records = journal.iter().filter_map(|record| match record {
            Record::RunStarted { genesis: signed, .. } | Record::Committed { manifest: signed, .. } => {
                Some(signed)
            }
            _ => None,
        });
        let verified = records.map(|signed| chain.push(signed).unwrap()).count() as u64;
        assert_eq!(verified, 1 + rounds, "run {number}");
    }
}

#[test]
fn each_active_run_has_its_round_in_turn_and_those_behind_wait_in_the_queue() {
    let (runs, active, rounds) = (5, 3, 6);
    let mut federation = of_runs(runs, active, 4, rounds, 1);
    federation.run();
    assert_complete(&federation, runs, rounds);
    let commits = federation.commits();
    for run in (1..=runs).map(RunNumber) {
        let places: Vec<usize> = (0..commits.len()).filter(|place| commits[*place] == run).collect();
        let longest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= active, "{run} waited for {longest} rounds: {commits:?}");
        // It begins once one of those before it is over.
        let before = commits[..places[0]].iter().filter(|other| **other < run);
        let over = run.0.saturating_sub(active as u32) as usize;
        assert!(before.count() >= over * rounds as usize, "{run} began too early: {commits:?}");
    }
}

/// Kills of whichever process, at any moment, one in so many.
fn kills(seed: u64, one_in: u32) -> impl FnMut(&Moment<'_>) -> Fate {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    move |moment| {
        let mortal =
            !matches!(moment, Moment::SiloConnects(_) | Moment::SiloWorks(_) | Moment::SiloUploads(..));
        match rng.next_u32() % one_in {
            0 if mortal => Fate::Down(u64::from(rng.next_u32() % 4_000)),
            1 if mortal => Fate::PowerCut(u64::from(rng.next_u32() % 4_000)),
            _ => Fate::Late(u64::from(rng.next_u32() % 8)),
        }
    }
}

#[test]
fn ten_runs_three_of_them_active_are_completed_under_kills_at_random() {
    let simulate = |seed: u64| {
        let died = Rc::new(Cell::new(0));
        let (counter, mut kills) = (Rc::clone(&died), kills(seed, 150));
        let mut federation = of_runs(10, 3, 4, 2, seed).with_faults(move |moment| {
            let fate = kills(moment);
            counter.set(counter.get() + u32::from(!matches!(fate, Fate::Late(_))));
            fate
        });
        federation.run();
        assert_complete(&federation, 10, 2);
        assert!(died.get() > 20, "seed {seed}: {} kills", died.get());
    };
    std::thread::scope(|threads| (0..2).for_each(|seed| drop(threads.spawn(move || simulate(seed)))));
}

#[test]
fn a_submission_is_taken_once_or_not_at_all_whenever_the_coordinator_dies() {
    let effects = Rc::new(Cell::new(0u32));
    let counter = Rc::clone(&effects);
    let run = |dies_at: Option<u32>| {
        let (seen, counter) = (Cell::new(0u32), Rc::clone(&counter));
        let mut federation = of_runs(2, 2, 3, 1, 7).with_faults(move |moment| {
            if !matches!(moment, Moment::CoordinatorDoes(_)) {
                return Fate::Pass;
            }
            seen.set(seen.get() + 1);
            counter.set(seen.get());
            if Some(seen.get()) == dies_at { Fate::Restart } else { Fate::Pass }
        });
        federation.run();
        assert_complete(&federation, 2, 1);
    };
    run(None);
    let all = effects.get();
    assert!(all > 50, "{all} effects");
    (1..=all).for_each(|dies_at| run(Some(dies_at)));
}

/// A federation without silos, and plans that are submitted to it.
struct Desk(federation::Federation);

impl Desk {
    fn submit(&mut self, plan: Plan, by: &str) -> Result<RunNumber, Rejection> {
        let number = self.0.next_number();
        let model = plan.initial_model();
        let input = Input::Submit {
            number,
            setup: Box::new(setup_of(plan)),
            genesis: Artifacts { model: ModelArtifact::of(b"model", model.digest()), optimizer: None },
            by: by.into(),
        };
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        self.0.handle(Timestamp(9), rng, input, &mut vec![]).map(|()| number)
    }

    fn stop(&mut self, run: RunNumber) {
        let act = Act::Stop { by: "anna".into(), reason: "room".into() };
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        self.0.handle(Timestamp(9), rng, Input::Act { run, act, staged: None }, &mut vec![]).unwrap();
    }
}

#[test]
fn nobody_fills_the_queue_and_who_stops_a_run_has_room_again() {
    let federation = federation::Federation::recover(vec![], 3, Timestamp(0), &mut vec![]).unwrap();
    let mut desk = Desk(federation);
    let mut plans = (1..).map(|run| plan_of(run, 4, 2));
    let mut next = || plans.next().unwrap();
    desk.submit(next(), "").unwrap();
    let mine: Vec<RunNumber> = (0..15).map(|_| desk.submit(next(), "anna").unwrap()).collect();
    // All plans are of one author.
    let refused = desk.submit(next(), "bert").unwrap_err().to_string();
    assert!(
        refused.contains("16 runs of this plan's author, or of who submits it, are not over"),
        "{refused}"
    );
    desk.stop(mine[3]);
    let plan = next();
    assert_eq!(desk.submit(plan.clone(), "bert"), Ok(RunNumber(17)));
    let refused = desk.submit(plan, "bert").unwrap_err();
    assert!(
        matches!(&refused, Rejection::AlreadySo(why) if why.contains("this plan is run 17 already")),
        "{refused}"
    );
    assert_eq!(desk.0.runs().iter().filter(|run| run.state == RunState::Queued).count(), 13);
    // Who stops them all does not begin them without end.
    let more = (0..40).take_while(|_| desk.submit(next(), "anna").map(|run| desk.stop(run)).is_ok()).count();
    assert_eq!(more, 0, "all places are taken");
    desk.stop(mine[4]);
    let more = (0..40).take_while(|_| desk.submit(next(), "anna").map(|run| desk.stop(run)).is_ok()).count();
    assert_eq!(more, 32 - 17);
    let refused = desk.submit(next(), "anna").unwrap_err().to_string();
    assert!(
        refused.contains("32 runs of this plan's author") && refused.contains("within a day"),
        "{refused}"
    );
    let elsewhere = Plan { federation: Some("banks".into()), ..next() };
    let refused = desk.submit(elsewhere, "bert").unwrap_err().to_string();
    assert!(refused.contains("no silo takes part in it") && refused.contains("banks"), "{refused}");
}

#[test]
fn two_policies_with_a_typo_for_an_hour_cost_an_hour_and_the_run_goes_on_once_they_are_corrected() {
    const HOUR_MS: u64 = 3_600_000;
    let allow = |min: usize| move |policy: &mut plan::Policy| policy.cohort_min = min;
    // From the beginning, in the middle of the run, and each with a coordinator that dies meanwhile.
    for (from_ms, dies) in [(0, false), (0, true), (600, false), (600, true)] {
        let rounds = 12;
        let mut federation = of_runs(3, 3, 4, rounds, 5);
        federation.pass_until(from_ms);
        for id in [1, 2] {
            federation.change_policy(id, allow(40));
        }
        federation.pass_until(HOUR_MS / 2);
        if dies {
            federation.crash_the_coordinator();
        }
        federation.pass_until(HOUR_MS);
        let before = federation.commits().len();
        for RunEntry { state, reason, since_ms, .. } in federation.runs() {
            assert_eq!(state, RunState::Waiting, "{reason}");
            assert!(
                reason.contains("at most 2 of the 3 silos needed can take part: POLICY_COHORT_MIN"),
                "{reason}"
            );
            assert!(since_ms.is_some());
        }
        for id in [1, 2] {
            federation.change_policy(id, allow(3));
        }
        let deadline_ms = plan_of(1, 4, rounds).timing.round_deadline_ms;
        federation.pass_until(HOUR_MS + 2 * deadline_ms);
        let committed: BTreeSet<RunNumber> = federation.commits()[before..].iter().copied().collect();
        assert_eq!(committed.len(), 3, "each of the runs: {:?}", federation.runs());
        assert!(federation.violation().is_none(), "{:?}", federation.violation());
    }
}

#[test]
fn a_run_that_the_silos_balances_have_no_room_for_beside_others_waits_and_those_are_completed() {
    let rounds = 3;
    let private = sim::private_plan(4, rounds, 2.0);
    let event = private.event().unwrap();
    for active in [1, 3] {
        let plan = |run: u32| Plan { name: format!("the {run}. plan"), ..private.clone() };
        let mut all = Federation::with_policies(plan(1), 4, 8, |_, policy| {
            // Room for two runs with what a claim is rounded up by, and not for three.
            let three = accounting::epsilon_or_infinity([(event, 3 * rounds)], policy.delta_max);
            policy.epsilon_max = 0.999 * three;
        })
        .with_runs(active);
        all = (2..=3).fold(all, |all, run| all.submitting(100 * u64::from(run), plan(run)));
        all.run();
        let runs = all.runs();
        let came_to: Vec<(RunState, u64)> =
            runs.iter().map(|run| (run.state, run.rounds_committed)).collect();
        let finished = (RunState::Finished, rounds);
        assert_eq!(came_to, [finished, finished, (RunState::Stopped, 0)], "{active} active: {runs:#?}");
        assert!(
            runs[2].reason.contains("at most 0 of the 3 silos needed can take part: BALANCE"),
            "{}",
            runs[2].reason
        );
        for silo in 1..=4 {
            let status = all.participant(silo).unwrap().status();
            assert_eq!(status.uploads, 2 * rounds, "silo {silo}");
        }
    }
}
