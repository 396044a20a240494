//! Rounds end as they must, whoever drops out and whenever.

use std::cell::Cell;
use std::rc::Rc;

use protocol::{ClientRecord, Effect, Record, ToCoordinator};
use sim::{Fate, Federation, Moment, plan, private_plan};

/// What a silo is lost before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Advert,
    Shares,
    Upload,
    Signature,
    Unmask,
}

const LOSSES: [Loss; 5] = [Loss::Advert, Loss::Shares, Loss::Upload, Loss::Signature, Loss::Unmask];

fn is_at(loss: Loss, moment: &Moment<'_>) -> Option<u32> {
    match (loss, moment) {
        (Loss::Advert, Moment::SiloSays(id, ToCoordinator::Advertise { .. }))
        | (Loss::Shares, Moment::SiloSays(id, ToCoordinator::ShareKeys { .. }))
        | (Loss::Signature, Moment::SiloSays(id, ToCoordinator::SignIncluded { .. }))
        | (Loss::Unmask, Moment::SiloSays(id, ToCoordinator::Unmask { .. }))
        | (Loss::Upload, Moment::SiloUploads(id, _)) => Some(id.0),
        _ => None,
    }
}

fn assert_sums_are_exact(federation: &Federation) {
    for opened in federation.opened() {
        assert_eq!(opened.sum, opened.plaintext, "the opened sum of {:?}", opened.at);
    }
}

#[test]
fn the_unmasked_sum_is_the_plaintext_sum_for_every_cohort_size_and_dropout_step() {
    for members in 3..=12u32 {
        for loss in LOSSES {
            // As many as the threshold of this cohort tolerates.
            let threshold = secagg::Threshold::new(members as usize, 1).unwrap();
            let lost = threshold.dropouts_tolerated() as u32;
            let mut a_plan = plan(members as usize, 1);
            a_plan.cohort.minimum = 3.max(threshold.value().min(members as usize - lost as usize));
            let mut federation =
                Federation::new(a_plan, members, 1000 + u64::from(members)).with_faults(move |moment| {
                    match is_at(loss, moment) {
                        Some(id) if id <= lost => Fate::Kill,
                        _ => Fate::Pass,
                    }
                });
            federation.run();
            let status = federation.coordinator().status();
            assert_eq!(status.rounds_committed, 1, "n = {members}, {loss:?}: {}", status.last_outcome);
            assert_eq!(federation.opened().len(), 1);
            assert_sums_are_exact(&federation);
            let after_upload = matches!(loss, Loss::Signature | Loss::Unmask);
            let expected = if after_upload { members } else { members - lost };
            assert_eq!(federation.opened()[0].included.len() as u32, expected, "n = {members}, {loss:?}");
        }
    }
}

#[test]
fn a_private_run_opens_the_noised_sum_exactly_and_stops_within_its_budget() {
    let mut federation = Federation::new(private_plan(5, 4, 3.0), 5, 9);
    federation.run();
    let status = federation.coordinator().status();
    assert_eq!(status.rounds_committed, 4);
    assert_sums_are_exact(&federation);
    let spent = status.privacy.epsilon.unwrap();
    assert!(spent > 2.9 && spent <= 3.0, "calibration is tight: {spent}");
    assert_eq!(status.privacy.unit, "record");
}

#[test]
fn more_losses_after_upload_than_tolerated_abort_the_round_by_name_and_the_run_goes_on() {
    // n = 5, c = 1: t = 4. Two silos die in round 1 after their upload; restarted, they join round 2.
    let died = Rc::new(Cell::new(0));
    let counter = Rc::clone(&died);
    let mut federation =
        Federation::new(plan(5, 2), 5, 3).with_faults(move |moment| match is_at(Loss::Signature, moment) {
            Some(id) if id <= 2 && counter.get() < 2 => {
                counter.set(counter.get() + 1);
                Fate::Restart
            }
            _ => Fate::Pass,
        });
    federation.run();
    assert_eq!(died.get(), 2);
    let status = federation.coordinator().status();
    assert_eq!((status.rounds_committed, status.rounds_aborted, status.attempts_aborted), (2, 1, Some(1)));
    let aborted: Vec<String> = federation
        .journal()
        .iter()
        .filter_map(|record| match record {
            Record::Aborted { outcome, .. } => Some(outcome.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(aborted, ["too few silos signed the included set: 3 of 4"]);
    assert_sums_are_exact(&federation);
}

#[test]
fn a_lost_connection_at_any_step_costs_nothing() {
    for loss in LOSSES {
        let lost = Rc::new(Cell::new(false));
        let once = Rc::clone(&lost);
        let mut federation =
            Federation::new(plan(5, 1), 5, 4).with_faults(move |moment| match is_at(loss, moment) {
                Some(2) if !once.replace(true) => Fate::Lose,
                _ => Fate::Pass,
            });
        federation.run();
        let status = federation.coordinator().status();
        assert!(lost.get());
        assert_eq!(status.rounds_committed, 1, "{loss:?}: {}", status.last_outcome);
        assert_eq!(status.dropouts, 0, "{loss:?}: nobody is left out");
        assert_sums_are_exact(&federation);
    }
}

#[test]
fn the_coordinator_resumes_after_a_crash_before_any_effect() {
    let count = |federation: &mut Federation| {
        federation.run();
        let status = federation.coordinator().status();
        assert_eq!(status.rounds_committed, 2, "{}", status.last_outcome);
        assert_eq!(status.rounds_aborted, 0, "{}", status.last_outcome);
        assert_sums_are_exact(federation);
    };
    let effects = Rc::new(Cell::new(0u32));
    let counter = Rc::clone(&effects);
    let mut federation = Federation::new(plan(4, 2), 4, 5).with_faults(move |moment| {
        if matches!(moment, Moment::CoordinatorDoes(_)) {
            counter.set(counter.get() + 1);
        }
        Fate::Pass
    });
    count(&mut federation);
    assert!(effects.get() > 50, "a run of {} effects", effects.get());
    for crash in 0..effects.get() {
        let seen = Cell::new(0u32);
        let mut federation = Federation::new(plan(4, 2), 4, 5).with_faults(move |moment| {
            if !matches!(moment, Moment::CoordinatorDoes(_)) {
                return Fate::Pass;
            }
            seen.set(seen.get() + 1);
            if seen.get() == crash + 1 { Fate::Restart } else { Fate::Pass }
        });
        count(&mut federation);
    }
}

#[test]
fn an_included_set_is_persisted_before_anyone_is_asked_to_sign_it() {
    let fixed = Rc::new(Cell::new(false));
    let seen = Rc::clone(&fixed);
    let mut federation = Federation::new(plan(4, 1), 4, 6).with_faults(move |moment| {
        match moment {
            Moment::CoordinatorDoes(Effect::Persist(Record::IncludedFixed { .. })) => seen.set(true),
            Moment::CoordinatorDoes(Effect::Send { message, .. }) => {
                if matches!(**message, protocol::ToClient::Included { .. }) {
                    assert!(seen.get(), "U3 was said before it was durable");
                }
            }
            _ => {}
        }
        Fate::Pass
    });
    federation.run();
    assert!(fixed.get());
}

#[test]
fn a_silo_that_restarts_in_a_round_sits_it_out_and_joins_the_next() {
    let died = Rc::new(Cell::new(false));
    let once = Rc::clone(&died);
    let mut federation =
        Federation::new(plan(5, 2), 5, 8).with_faults(move |moment| match is_at(Loss::Upload, moment) {
            Some(3) if !once.replace(true) => Fate::Restart,
            _ => Fate::Pass,
        });
    federation.run();
    let included: Vec<usize> = federation.opened().iter().map(|opened| opened.included.len()).collect();
    assert_eq!(included, [4, 5]);
    let status = federation.coordinator().status();
    assert_eq!(status.clients[2].rounds_left_out, 1);
    // The debit was durable before the upload was tried, so it counts although nothing arrived.
    let debits = federation.silo_journal(3).iter().filter(|r| matches!(r, ClientRecord::Debited { .. }));
    assert_eq!(debits.count(), 2);
}

#[test]
fn a_silo_that_was_away_while_the_included_set_was_said_still_helps_to_open_the_sum() {
    // n = 5, t = 4. Silo 5 loses its link before it signs; silo 1 dies before it answers: without silo 5's answer
    // there are three. Back after the quorum signed, silo 5 hears the unmask request first.
    let away = Rc::new(Cell::new(false));
    let left = Rc::clone(&away);
    let mut federation = Federation::new(plan(5, 1), 5, 11).with_faults(move |moment| {
        match (is_at(Loss::Signature, moment), is_at(Loss::Unmask, moment)) {
            (Some(5), _) if !left.replace(true) => Fate::Lose,
            (_, Some(1)) => Fate::Kill,
            _ => Fate::Pass,
        }
    });
    federation.run();
    assert!(away.get());
    let status = federation.coordinator().status();
    assert_eq!((status.rounds_committed, status.rounds_aborted), (1, 0), "{}", status.last_outcome);
    assert_sums_are_exact(&federation);
}

#[test]
fn too_few_willing_silos_end_the_run_by_name_when_its_patience_is_over() {
    // A plan that silos 1 to 3 of five refuse: two are left, three are needed.
    let mut a_plan = plan(5, 1);
    a_plan.cohort.minimum = 3;
    let mut federation = Federation::with_policies(a_plan, 5, 12, |id, policy| {
        if id <= 3 {
            policy.cohort_min = 4;
        }
    });
    federation.run();
    let status = federation.coordinator().status();
    let ended = status.ended.unwrap().why;
    assert!(ended.contains("at most 2 of the 3 silos needed can take part: POLICY_COHORT_MIN"), "{ended}");
    assert!(federation.now_ms() > federation.setup().plan.timing.patience_ms());
    assert_eq!(status.clients[0].state, run_status::Standing::Refuses);
}
