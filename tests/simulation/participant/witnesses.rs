//! What a silo asks of the coordinator's log before it takes part in a round.

use std::collections::BTreeMap;

use checkpoint::{Manifest, SignedManifest};
use params::Digest;
use plan::Policy;
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, Decline, StepOutcome, Timestamp, ToClient,
    ToCoordinator, Witnessed,
};
use secagg::ClientId;

use super::quarantine::head;
use super::world::{AT, OWN, World, messages, policy};

const MINUTE_MS: u64 = 60_000;

/// One colluder is reckoned with.
fn careful() -> Policy {
    Policy { witnesses_min: 2, corrupt_min: 1, ..policy() }
}

fn seconds(now: Timestamp) -> u64 {
    now.0 / 1000
}

/// The log continues what the silo remembers, and these members have cosigned it at these times.
fn seen(world: &mut World, cosigned: &[(u32, u64)]) -> Vec<ClientEffect> {
    let cosigned: BTreeMap<ClientId, u64> =
        cosigned.iter().map(|(id, time)| (ClientId(*id), *time)).collect();
    world.input(ClientInput::Witnessed(Witnessed { cosigned, receipts: vec![] }))
}

/// Follows a record of round 1 in which everyone is included, and verifies its step.
fn follow(world: &mut World, change: impl FnOnce(&mut Manifest)) -> SignedManifest {
    let parent = head(world);
    let mut manifest = Manifest {
        round: 1,
        attempt: 1,
        parent: Some(parent.digest()),
        parent_model: Some(world.model()),
        aggregate_digest: Some(Digest::sha256(b"sum")),
        ..world.genesis()
    };
    change(&mut manifest);
    let signed = world.signed(&manifest);
    world.say(ToClient::Published(signed.clone()));
    signed
}

/// Opens a round; the step that is due is done. Gives the code of the refusal, once the waiting is over.
fn opened(world: &mut World, round: u64) -> Result<(), String> {
    let effects = world.say(world.open(Attempt { round, attempt: 1 }));
    let mut effects = effects;
    let step = effects.iter().find_map(|effect| match effect {
        ClientEffect::VerifyStep(job) => Some(job.record),
        _ => None,
    });
    if let Some(record) = step {
        effects = world.input(ClientInput::StepVerified { record, outcome: StepOutcome::Follows });
    }
    if effects.iter().any(|effect| matches!(effect, ClientEffect::Train(_))) {
        return Ok(());
    }
    assert!(messages(&effects).is_empty(), "it waits for the next look at the log: {effects:?}");
    world.now = world.participant.deadline().unwrap();
    let effects = world.input(ClientInput::Tick);
    match messages(&effects)[..] {
        [ToCoordinator::Declined { round: Some(declined), reason: Decline::Policy { code, .. } }] => {
            assert_eq!(*declined, round);
            Err(code.clone())
        }
        ref other => panic!("{other:?}"),
    }
}

fn refused(code: &str) -> Result<(), String> {
    Err(code.to_owned())
}

#[test]
fn a_cosignature_counts_by_its_own_time_and_not_by_when_it_was_shown() {
    let mut world = World::new(sim::plan(4, 9), careful());
    world.join();
    follow(&mut world, |_| {});
    let at_first = seconds(world.now);
    seen(&mut world, &[(2, at_first), (3, at_first)]);
    assert_eq!(opened(&mut world, 2), Ok(()));
    // The coordinator leaves this silo at that state for good, and shows it again at each heartbeat.
    world.now = world.now.plus_ms(4 * MINUTE_MS);
    seen(&mut world, &[(2, at_first), (3, at_first)]);
    assert_eq!(opened(&mut world, 3), refused("POLICY_WITNESSES"));
    let now = seconds(world.now);
    seen(&mut world, &[(2, now - 50), (3, now + 50)]);
    assert_eq!(opened(&mut world, 4), Ok(()), "clocks may differ");
    let now = seconds(world.now);
    seen(&mut world, &[(2, now), (3, now + 600)]);
    assert_eq!(opened(&mut world, 5), refused("POLICY_WITNESSES"), "no clock is ten minutes ahead");
}

#[test]
fn a_silo_that_was_started_again_takes_part_at_once_by_what_it_had_seen_while_that_is_fresh() {
    for (minutes, goes_on) in [(2, Ok(())), (4, refused("POLICY_WITNESSES"))] {
        let mut world = World::new(sim::plan(4, 9), careful());
        world.join();
        follow(&mut world, |_| {});
        let before = seconds(world.now);
        world.restart();
        world.now = world.now.plus_ms(minutes * MINUTE_MS);
        // As the shell says it before any look at the log.
        seen(&mut world, &[(2, before), (3, before)]);
        world.say(world.welcome());
        assert_eq!(opened(&mut world, 2), goes_on, "{minutes} minutes");
    }
}

#[test]
fn one_colluder_the_silo_itself_and_strangers_are_not_enough_witnesses() {
    let mut world = World::new(sim::plan(4, 9), careful());
    world.join();
    follow(&mut world, |_| {});
    let now = seconds(world.now);
    seen(&mut world, &[(2, now), (OWN.0, now), (77, now)]);
    assert_eq!(opened(&mut world, 2), refused("POLICY_WITNESSES"));
}

#[test]
fn witnesses_that_cosign_while_a_round_waits_for_them_are_in_time() {
    let mut world = World::new(sim::plan(4, 9), careful());
    world.join();
    follow(&mut world, |_| {});
    let effects = world.say(world.open(Attempt { round: 2, attempt: 1 }));
    let [ClientEffect::VerifyStep(job)] = &effects[..] else { panic!("{effects:?}") };
    let effects =
        world.input(ClientInput::StepVerified { record: job.record, outcome: StepOutcome::Follows });
    assert!(!effects.iter().any(|effect| matches!(effect, ClientEffect::Train(_))), "{effects:?}");
    let now = seconds(world.now);
    let effects = seen(&mut world, &[(2, now), (4, now)]);
    assert!(matches!(effects[..], [.., ClientEffect::Train(_)]), "{effects:?}");
}

/// A round in which this silo's update is in the sum.
fn included() -> World {
    let mut world = World::new(sim::plan(4, 9), careful());
    world.join();
    let keyed = world.advertise();
    let dealt = world.share(keyed);
    let delivered = world.deliver(dealt, &[]);
    let uploaded = world.upload(delivered);
    let r2 = Digest::from_bytes(uploaded.shared.r2().0);
    world.agree(uploaded);
    let all = vec![1, 2, 3, 4];
    follow(&mut world, |record| {
        record.transcript = Some(r2);
        (record.cohort, record.shared, record.included) = (all.clone(), all.clone(), all);
    });
    world
}

fn uploaded(world: &World) -> Digest {
    let debits = world.journal.iter().find_map(|record| match record {
        ClientRecord::Debited { upload, at: AT, .. } => Some(*upload),
        _ => None,
    });
    debits.unwrap()
}

#[test]
fn a_log_that_never_tells_of_a_silos_own_upload_is_not_gone_on_with() {
    for (receipted, restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = included();
        let now = seconds(world.now);
        seen(&mut world, &[(2, now), (3, now)]);
        assert_eq!(opened(&mut world, 2), Ok(()), "the log has not been published since");
        assert_eq!(opened(&mut world, 3), Ok(()), "nor is it late");
        if receipted {
            let receipts = vec![(Digest::sha256(b"another's"), 3), (uploaded(&world), 4)];
            let said = world.input(ClientInput::Witnessed(Witnessed { cosigned: BTreeMap::new(), receipts }));
            let written = ClientRecord::UploadReceipted { upload: uploaded(&world), index: 4 };
            assert!(matches!(&said[..], [ClientEffect::Persist(record)] if *record == written), "{said:?}");
        }
        if restarted {
            world.restart();
            world.say(world.welcome());
            let after = world.participant.witness_state().receipts_after;
            assert_eq!(after, receipted.then_some(4));
        }
        world.now = world.now.plus_ms(4 * MINUTE_MS);
        let now = seconds(world.now);
        seen(&mut world, &[(2, now), (3, now)]);
        let expected = if receipted { Ok(()) } else { refused("RECEIPT_MISSING") };
        assert_eq!(opened(&mut world, 4), expected, "receipted: {receipted}, restarted: {restarted}");
    }
}

#[test]
fn the_journal_tells_once_that_a_state_of_the_log_is_remembered() {
    let mut world = World::in_a_run();
    let begun = seen(&mut world, &[]);
    assert!(matches!(begun[..], [ClientEffect::Persist(ClientRecord::WitnessBegun)]), "{begun:?}");
    assert!(seen(&mut world, &[]).is_empty());
    world.restart();
    assert!(world.participant.witness_state().remembers);
    world.journal.push(ClientRecord::WitnessForgotten { reason: "the disk broke".into() });
    world.restart();
    assert!(!world.participant.witness_state().remembers, "until it is begun again");
}

fn receipted(world: &mut World, receipts: Vec<(Digest, u64)>) -> Vec<ClientEffect> {
    world.input(ClientInput::Witnessed(Witnessed { cosigned: BTreeMap::new(), receipts }))
}

#[test]
fn a_receipt_is_taken_while_another_run_is_joined_already() {
    for restarted in [false, true] {
        let mut world = included();
        seen(&mut world, &[]);
        let first = world.run;
        world.run = Digest::sha256(b"another run");
        world.join();
        if restarted {
            world.restart();
        }
        let upload = uploaded(&world);
        let said = receipted(&mut world, vec![(upload, 4)]);
        let written = ClientRecord::UploadReceipted { upload, index: 4 };
        assert!(matches!(&said[..], [ClientEffect::Persist(record)] if *record == written), "{said:?}");
        world.run = first;
        world.say(world.welcome());
        world.now = world.now.plus_ms(4 * MINUTE_MS);
        let now = seconds(world.now);
        seen(&mut world, &[(2, now), (3, now)]);
        assert_eq!(opened(&mut world, 4), Ok(()), "restarted: {restarted}");
    }
}

#[test]
fn receipts_are_asked_for_from_the_oldest_upload_that_is_owed_and_not_from_the_newest_receipt() {
    let mut world = included();
    seen(&mut world, &[]);
    let (one, two) = (uploaded(&world), Digest::sha256(b"of round 2"));
    let at = Attempt { round: 2, attempt: 1 };
    let (cohort, shared) = (super::world::ids(1..=4), super::world::ids(1..=4));
    let (model, r2) = (world.model(), Digest::sha256(b"r2"));
    world.journal.push(ClientRecord::SetsFixed { at, cohort, shared });
    world.journal.push(ClientRecord::Debited { now: world.now, at, model, r2, upload: two, event: None });
    // What the log said of the first was lost; that of the second was not.
    world.journal.push(ClientRecord::UploadReceipted { upload: two, index: 9 });
    world.restart();
    assert_eq!(world.participant.witness_state().receipts_after, None);
    receipted(&mut world, vec![(one, 4)]);
    assert_eq!(world.participant.witness_state().receipts_after, Some(9));
    world.restart();
    assert_eq!(world.participant.witness_state().receipts_after, Some(9));
}

#[test]
fn a_silo_whose_operator_forgot_the_log_waits_for_no_receipt_of_it() {
    let mut world = included();
    let now = seconds(world.now);
    seen(&mut world, &[(2, now), (3, now)]);
    world.journal.push(ClientRecord::UploadReceipted { upload: Digest::sha256(b"an earlier one"), index: 9 });
    world.journal.push(ClientRecord::WitnessForgotten { reason: "the coordinator lost its log".into() });
    world.restart();
    world.say(world.welcome());
    assert_eq!(world.participant.witness_state().receipts_after, None, "another log counts anew");
    world.now = world.now.plus_ms(4 * MINUTE_MS);
    let now = seconds(world.now);
    seen(&mut world, &[(2, now), (3, now)]);
    assert_eq!(opened(&mut world, 4), Ok(()));
}
