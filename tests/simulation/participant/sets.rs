//! A round's record against what the silo saw and signed in the round.

use checkpoint::{LeftOut, Manifest};
use params::Digest;
use protocol::{
    Attempt, ClientEffect, ClientInput, ClientRecord, CoordinatorFault, Decline, LedgerView, ToClient,
    ToCoordinator,
};
use secagg::SharedCohort;

use super::fault;
use super::quarantine::head;
use super::world::{AT, World, assert_refuses, ids, messages};

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
    let declined = ToCoordinator::Declined { round: None, reason: fault(CoordinatorFault::Chain) };
    assert_eq!(messages(&effects), [&declined], "{case}");
    assert_eq!(world.journal.len(), heads, "{case}");
}

#[test]
fn a_record_that_tells_a_round_otherwise_than_the_silo_saw_and_signed_it_is_kept_as_evidence_and_ends_it() {
    for restarted in [false, true] {
        for (what, lie) in LIES {
            let (mut world, uploaded) = World::uploaded();
            let mut published = record(&world, &uploaded.shared);
            if what == "cohort" {
                published.left_out.push(LeftOut { client: 5, reason: "silent".into() });
            }
            world.agree(uploaded);
            lie(&mut published);
            if restarted {
                world.restart();
                world.say(world.welcome());
            }
            contradicts(&mut world, &published, what, &format!("{what}, restarted: {restarted}"));
        }
    }
}

#[test]
fn a_record_that_is_published_after_a_later_upload_is_held_against_its_own_round() {
    let (mut world, uploaded) = World::uploaded();
    let mut published = record(&world, &uploaded.shared);
    world.agree(uploaded);
    // The coordinator says that the round came to nothing, and opens the next one on the same model.
    let later = ClientRecord::Debited {
        now: world.now,
        at: Attempt { round: 2, attempt: 1 },
        model: world.model(),
        r2: Digest::sha256(b"of round 2"),
        upload: Digest::sha256(b"vector"),
        event: None,
    };
    world.journal.push(later);
    world.restart();
    world.say(world.welcome());
    leave_out(&mut published, 1);
    contradicts(&mut world, &published, "included", "a later upload");
}

#[test]
fn a_record_that_tells_the_truth_is_followed_by_silos_that_signed_that_only_uploaded_or_that_only_advertised()
{
    let (mut world, uploaded) = World::uploaded();
    let published = record(&world, &uploaded.shared);
    let said = world.say(ToClient::Published(world.signed(&published)));
    assert!(matches!(said[..], [ClientEffect::Persist(_), ClientEffect::Forget(_)]), "uploaded: {said:?}");

    let (mut world, uploaded) = World::uploaded();
    world.agree(uploaded);
    let said = world.say(ToClient::Published(world.signed(&published)));
    assert!(matches!(said[..], [ClientEffect::Persist(_)]), "signed: {said:?}");

    // Its vector did not come in time: it is left out, and has signed nothing.
    let (mut world, _) = World::uploaded();
    let mut left_out = published.clone();
    leave_out(&mut left_out, 1);
    let said = world.say(ToClient::Published(world.signed(&left_out)));
    assert!(matches!(said[..], [ClientEffect::Persist(_), ClientEffect::Forget(_)]), "left out: {said:?}");

    let (mut world, _) = World::dealt();
    let said = world.say(ToClient::Published(world.signed(&left_out)));
    assert!(matches!(said[..], [ClientEffect::Persist(_), ClientEffect::Forget(_)]), "advertised: {said:?}");
    let (mut world, _) = World::dealt();
    let mut lie = left_out;
    lie.cohort.push(5);
    lie.left_out.push(LeftOut { client: 5, reason: "silent".into() });
    contradicts(&mut world, &lie, "cohort", "before any upload");
}

#[test]
fn a_record_that_includes_a_silo_which_uploaded_nothing_in_the_round_ends_it_and_is_kept() {
    let opened = || {
        let mut world = World::in_a_run();
        world.say(world.open(AT));
        world
    };
    let worlds = [
        ("in no attempt", World::in_a_run()),
        ("advertised", World::keyed().0),
        ("shared", World::dealt().0),
        ("masking", World::delivered().0),
        ("training", opened()),
    ];
    for (step, mut world) in worlds {
        let all = vec![1, 2, 3, 4];
        let lie = Manifest { cohort: all.clone(), shared: all.clone(), included: all, ..made_up(&world) };
        assert!(world.participant.would_doubt(&world.run, &world.signed(&lie)), "{step}");
        contradicts(&mut world, &lie, "included", step);
    }
}

#[test]
fn a_silo_whose_lost_journal_was_accepted_follows_what_its_ledger_knows_and_nothing_later() {
    let including = |world: &World| {
        let all = vec![1, 2, 3, 4];
        Manifest { cohort: all.clone(), shared: all.clone(), included: all, ..made_up(world) }
    };
    let knows = |round| ClientInput::Ledger(LedgerView { round: Some(round), ..LedgerView::default() });
    let mut world = World::in_a_run();
    world.input(knows(3));
    let first = including(&world);
    let signed = world.signed(&first);
    let said = world.say(ToClient::Published(signed.clone()));
    assert!(matches!(said[0], ClientEffect::Persist(ClientRecord::ChainHead(_))), "{said:?}");
    let (parent, parent_model) = (Some(signed.digest()), Some(first.model.params_digest));
    let later = Manifest { round: 4, parent, parent_model, ..including(&world) };
    let said = world.say(ToClient::Published(world.signed(&later)));
    assert!(said.iter().any(|effect| matches!(effect, ClientEffect::Contradiction(_))), "{said:?}");

    // Where the journal is as new as the ledger, nothing was lost.
    let (mut world, _) = World::keyed();
    world.input(knows(1));
    let lie = including(&world);
    contradicts(&mut world, &lie, "included", "the ledger knows of a debit alone");
}

/// A record of round 1 that is made up: the silo took no part in it.
pub(super) fn made_up(world: &World) -> Manifest {
    let others = vec![2, 3, 4];
    let mut manifest = Manifest {
        round: 1,
        attempt: 1,
        parent: Some(head(world).digest()),
        parent_model: Some(world.model()),
        transcript: Some(Digest::sha256(b"nobody's")),
        cohort: others.clone(),
        shared: others.clone(),
        included: others,
        aggregate_digest: Some(Digest::sha256(b"sum")),
        ..world.genesis()
    };
    manifest.model.params_digest = Digest::sha256(b"of the sum");
    manifest
}

#[test]
fn a_round_whose_record_came_before_it_is_not_taken_part_in() {
    for restarted in [false, true] {
        let mut world = World::in_a_run();
        let record = made_up(&world);
        world.say(ToClient::Published(world.signed(&record)));
        if restarted {
            world.restart();
            world.say(world.welcome());
        }
        let model = record.model.params_digest;
        for at in [AT, Attempt { attempt: 7, ..AT }] {
            assert!(!world.participant.would_begin(&world.run, at, model), "{at:?}, restarted: {restarted}");
            let effects = world.say(ToClient::Open { at, model });
            assert_refuses(&effects, Some(1), Decline::SitsOut, &format!("{at:?}, restarted: {restarted}"));
        }
        let next = Attempt { round: 2, attempt: 1 };
        assert!(world.participant.would_begin(&world.run, next, model));
        let effects = world.say(ToClient::Open { at: next, model });
        assert!(matches!(effects[..], [ClientEffect::VerifyStep(_)]), "{effects:?}");
    }
}

#[test]
fn a_record_of_the_round_in_progress_ends_it_before_the_upload_and_nothing_is_debited() {
    let opened = || {
        let mut world = World::in_a_run();
        world.say(world.open(AT));
        world
    };
    let trained = || {
        let mut world = opened();
        world.input(world.trained());
        world
    };
    let worlds = [
        ("training", opened()),
        ("trained", trained()),
        ("advertised", World::keyed().0),
        ("shared", World::dealt().0),
        ("masking", World::delivered().0),
    ];
    for (step, mut world) in worlds {
        let all = vec![1, 2, 3, 4];
        let mut record = Manifest { cohort: all.clone(), shared: all, ..made_up(&world) };
        leave_out(&mut record, 1);
        let effects = world.say(ToClient::Published(world.signed(&record)));
        assert!(
            matches!(effects[..], [ClientEffect::Persist(_), ClientEffect::Forget(_)]),
            "{step}: {effects:?}"
        );
        let masked = (!world.maskings.is_empty()).then(|| world.masked(Digest::sha256(b"vector")));
        for late in [world.trained(), ClientInput::Tick].into_iter().chain(masked) {
            let effects = world.input(late);
            assert!(effects.is_empty(), "{step}: {effects:?}");
        }
        assert!(!world.journal.iter().any(|record| matches!(record, ClientRecord::Debited { .. })), "{step}");
    }
}

#[test]
fn no_included_set_is_signed_in_a_round_whose_record_is_there() {
    let (mut world, uploaded) = World::uploaded();
    let published = record(&world, &uploaded.shared);
    world.say(ToClient::Published(world.signed(&published)));
    // Whatever the record says, this silo would sign another set, and open another sum.
    for included in [ids([1, 2, 3]), ids(1..=4)] {
        let effects = world.say(ToClient::Included { at: AT, included: included.clone() });
        assert_refuses(&effects, Some(1), Decline::SitsOut, "signed alone");
        let effects = world.say(ToClient::UnmaskRequest { at: AT, included, signatures: vec![] });
        assert_refuses(&effects, Some(1), Decline::SitsOut, "signed with the request");
    }
}
