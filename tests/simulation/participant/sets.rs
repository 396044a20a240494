//! A round's record against what the silo saw and signed in the round.

use checkpoint::{LeftOut, Manifest};
use params::Digest;
use protocol::{ClientEffect, CoordinatorFault, ToClient};
use secagg::SharedCohort;

use super::fault;
use super::quarantine::head;
use super::world::{World, messages};

type Lie = fn(&mut Manifest);

/// What an honest coordinator would say of round 1, in which all four are included.
fn record(world: &World, shared: &SharedCohort) -> Manifest {
    let genesis = head(world);
    let all = vec![1, 2, 3, 4];
    Manifest {
        round: 1,
        attempt: 1,
        parent: Some(genesis.digest()),
        parent_model: Some(world.model()),
        transcript: Some(Digest::from_bytes(shared.r2().0)),
        cohort: all.clone(),
        shared: all.clone(),
        included: all,
        aggregate_digest: Some(Digest::sha256(b"sum")),
        ..world.genesis()
    }
}

fn leave_out(manifest: &mut Manifest, client: u32) {
    manifest.included.retain(|id| *id != client);
    manifest.left_out = vec![LeftOut { client, reason: "silent".into() }];
}

const LIES: [(&str, Lie); 5] = [
    ("attempt", |m| m.attempt = 2),
    ("transcript", |m| m.transcript = Some(Digest::sha256(b"another"))),
    ("cohort", |m| m.cohort.push(5)),
    ("shared", |m| {
        m.shared.retain(|id| *id != 4);
        leave_out(m, 4);
    }),
    ("included", |m| leave_out(m, 1)),
];

/// The silo ends over it and keeps both sides; and it holds the record for none of its own chain's.
fn contradicts(world: &mut World, record: &Manifest, what: &str, case: &str) {
    let heads = world.journal.len();
    let signed = world.signed(record);
    let effects = world.say(ToClient::Published(signed.clone()));
    let kept = effects.iter().find_map(|effect| match effect {
        ClientEffect::Contradiction(contradiction) => Some(contradiction),
        _ => None,
    });
    let kept = kept.unwrap_or_else(|| panic!("{case}: {effects:?}"));
    assert_eq!((kept.what, kept.round, &kept.published), (what, 1, &signed), "{case}");
    assert!(kept.known.contains("round 1 attempt 1"), "{case}: {}", kept.known);
    assert!(matches!(effects.last(), Some(ClientEffect::Send(_))), "{case}: kept before it is said");
    let declined = protocol::ToCoordinator::Declined { round: None, reason: fault(CoordinatorFault::Chain) };
    assert_eq!(messages(&effects), [&declined], "{case}");
    assert_eq!(world.journal.len(), heads, "{case}");
}

#[test]
fn a_record_that_tells_a_round_otherwise_than_the_silo_saw_and_signed_it_is_kept_as_evidence_and_ends_it() {
    for restarted in [false, true] {
        for (what, lie) in LIES {
            let (mut world, uploaded) = World::uploaded();
            let mut told = record(&world, &uploaded.shared);
            if what == "cohort" {
                told.left_out.push(LeftOut { client: 5, reason: "silent".into() });
            }
            world.agree(uploaded);
            lie(&mut told);
            if restarted {
                world.restart();
                world.say(world.welcome());
            }
            contradicts(&mut world, &told, what, &format!("{what}, restarted: {restarted}"));
        }
    }
}

#[test]
fn a_record_that_is_published_after_a_later_upload_is_held_against_its_own_round() {
    let (mut world, uploaded) = World::uploaded();
    let mut told = record(&world, &uploaded.shared);
    world.agree(uploaded);
    // The coordinator says that the round came to nothing, and opens the next one on the same model.
    let later = protocol::ClientRecord::Debited {
        now: world.now,
        at: protocol::Attempt { round: 2, attempt: 1 },
        model: world.model(),
        r2: Digest::sha256(b"of round 2"),
        upload: Digest::sha256(b"vector"),
        event: None,
    };
    world.journal.push(later);
    world.restart();
    world.say(world.welcome());
    leave_out(&mut told, 1);
    contradicts(&mut world, &told, "included", "a later upload");
}

#[test]
fn a_record_that_tells_the_truth_is_followed_by_silos_that_signed_that_only_uploaded_or_that_only_advertised()
{
    let (mut world, uploaded) = World::uploaded();
    let told = record(&world, &uploaded.shared);
    let said = world.say(ToClient::Published(world.signed(&told)));
    assert!(matches!(said[..], [ClientEffect::Persist(_)]), "uploaded: {said:?}");

    let (mut world, uploaded) = World::uploaded();
    world.agree(uploaded);
    let said = world.say(ToClient::Published(world.signed(&told)));
    assert!(matches!(said[..], [ClientEffect::Persist(_)]), "signed: {said:?}");

    // Its vector did not come in time: it is left out, and has signed nothing.
    let (mut world, _) = World::uploaded();
    let mut left_out = told.clone();
    leave_out(&mut left_out, 1);
    let said = world.say(ToClient::Published(world.signed(&left_out)));
    assert!(matches!(said[..], [ClientEffect::Persist(_)]), "left out: {said:?}");

    let (mut world, _) = World::dealt();
    let said = world.say(ToClient::Published(world.signed(&told)));
    assert!(matches!(said[..], [ClientEffect::Persist(_)]), "advertised: {said:?}");
    let (mut world, _) = World::dealt();
    let mut lie = told;
    lie.cohort.push(5);
    lie.left_out.push(LeftOut { client: 5, reason: "silent".into() });
    contradicts(&mut world, &lie, "cohort", "before any upload");
}
