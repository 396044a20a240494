//! Every attack on one aggregation fails closed, and the right party is blamed.

mod support;

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use secagg::{
    Advert, AdvertRejection, Advertised, AdvertsRejection, BundleRejection, ClientId, Delivery,
    DeliveryFault, DeliveryRejection, ExcessNoise, Floors, IncludedRejection, Members, RecoverError,
    ShareKind, SharersRejection, SignatureRejection, ThresholdError, UnmaskBlame, UnmaskRejection, recover,
    sign_input, sum_into, unmask_request_digest, verify_advert,
};
use support::{Federation, Keyed, noised};

/// What the client at `place` says to a roster.
fn roster_refusal(
    federation: &mut Federation,
    mut keyed: Keyed,
    place: usize,
    adverts: &[Advert],
) -> AdvertsRejection {
    let id = federation.id(place);
    let client = keyed.clients.remove(&id).unwrap();
    let identity = SigningKey::from_bytes(federation.identity(id).as_bytes());
    client
        .accept_adverts(adverts, &federation.members, &federation.floors, &identity, &mut federation.rng)
        .unwrap_err()
}

/// What the client at `place` says to a delivery after the coordinator changed it.
fn delivery_refusal(place: usize, lie: impl Fn(&mut Delivery)) -> DeliveryFault {
    let mut federation = Federation::new(5, 1);
    let id = federation.id(place);
    let keyed = federation.advertise();
    let mut sharing = federation.share(keyed);
    let shared = sharing.cohort.fix_u2(&sharing.bundles).unwrap();
    let mut delivery = shared.delivery_for(id).unwrap();
    lie(&mut delivery);
    let client = sharing.clients.remove(&id).unwrap();
    match client.accept_delivery(&delivery, federation.identity(id)) {
        Err(DeliveryRejection::Coordinator(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_swapped_public_key_is_refused_by_clients_and_coordinator() {
    for swap in [
        (|advert, other| advert.ek_pub = other.ek_pub) as fn(&mut Advert, &Advert),
        |advert, other| advert.mk_pub = other.mk_pub,
        |advert, other| advert.commitment = other.commitment,
        |advert, other| advert.signature = other.signature,
    ] {
        let mut federation = Federation::new(4, 1);
        let other = federation.advertise().adverts[2].clone();
        let keyed = federation.advertise();
        let mut adverts = keyed.adverts.clone();
        swap(&mut adverts[2], &other);
        let expected = AdvertRejection::Signature(federation.id(2));
        assert_eq!(
            verify_advert(federation.ctx0, &adverts[2], &federation.members, ExcessNoise::Kept),
            Err(expected)
        );
        assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected.into());
    }
}

#[test]
fn an_advert_of_another_attempt_is_refused() {
    let mut federation = Federation::new(4, 1);
    let mut adverts = federation.advertise().adverts;
    federation.ctx0.0[0] ^= 1;
    let keyed = federation.advertise();
    adverts[..3].clone_from_slice(&keyed.adverts[..3]);
    let expected = AdvertRejection::Signature(federation.id(3)).into();
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected);
}

#[test]
fn a_stranger_is_refused() {
    let mut federation = Federation::new(4, 1);
    let keyed = federation.advertise();
    let stranger = ClientId(9999);
    let mut adverts = keyed.adverts.clone();
    let forger = SigningKey::from_bytes(&[99; 32]);
    adverts
        .push(Advertised::new(stranger, federation.ctx0, ExcessNoise::Kept, &forger, &mut federation.rng).1);
    let expected = AdvertRejection::UnknownMember(stranger).into();
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected);
}

#[test]
fn the_own_advert_must_be_there_and_be_the_one_sent() {
    let mut federation = Federation::new(4, 1);
    let older = federation.advertise().adverts;
    let keyed = federation.advertise();
    let mut replaced = keyed.adverts.clone();
    replaced[1] = older[1].clone();
    assert_eq!(roster_refusal(&mut federation, keyed, 1, &replaced), AdvertsRejection::OwnAdvert);
    let keyed = federation.advertise();
    let without = keyed.adverts[1..].to_vec();
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &without), AdvertsRejection::OwnAdvert);
}

#[test]
fn unsorted_and_repeated_adverts_are_refused() {
    let mut federation = Federation::new(4, 1);
    let keyed = federation.advertise();
    let mut swapped = keyed.adverts.clone();
    swapped.swap(0, 1);
    let expected = AdvertsRejection::Order(federation.id(0));
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &swapped), expected);
    let keyed = federation.advertise();
    let mut twice = keyed.adverts.clone();
    twice.insert(2, twice[2].clone());
    let expected = AdvertsRejection::Order(federation.id(2));
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &twice), expected);
}

#[test]
fn keys_and_identities_that_occur_twice_are_refused() {
    // A member that draws the same randomness as another has the same keys, signed by itself.
    let mut federation = Federation::new(4, 1);
    let mut keyed = federation.advertise();
    let (first, last) = (federation.id(0), federation.id(3));
    let replay = || <chacha20::ChaCha20Rng as rand_core::SeedableRng>::from_seed([8; 32]);
    for (place, id) in [(0, first), (3, last)] {
        let (client, advert) =
            Advertised::new(id, federation.ctx0, ExcessNoise::Kept, federation.identity(id), &mut replay());
        keyed.clients.insert(id, client);
        keyed.adverts[place] = advert;
    }
    let adverts = keyed.adverts.clone();
    let expected = AdvertsRejection::DuplicateKey(last);
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected);

    // One signer under two ids would count twice towards a quorum.
    let mut federation = Federation::new(4, 1);
    let mut keyed = federation.advertise();
    let key = federation.members[&first];
    federation.members.insert(last, key);
    let identity = federation.identity(first);
    keyed.adverts[3] = Advertised::new(last, federation.ctx0, ExcessNoise::Kept, identity, &mut replay()).1;
    let adverts = keyed.adverts.clone();
    let expected = AdvertsRejection::DuplicateIdentity(last);
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected);
}

#[test]
fn a_cohort_below_a_floor_is_refused() {
    let refuse = |n: usize, floors: Floors| {
        let mut federation = Federation::new(n, 1);
        federation.floors = floors;
        let keyed = federation.advertise();
        let adverts = keyed.adverts.clone();
        roster_refusal(&mut federation, keyed, 0, &adverts)
    };
    let floors =
        Floors { cohort_min: 5, cohort_max: 255, honest_min: 3, corrupt: 1, excess_noise: ExcessNoise::Kept };
    assert_eq!(refuse(4, floors), AdvertsRejection::CohortTooSmall { members: 4, cohort_min: 5 });
    let floors =
        Floors { cohort_min: 3, cohort_max: 255, honest_min: 4, corrupt: 1, excess_noise: ExcessNoise::Kept };
    assert_eq!(refuse(5, floors), AdvertsRejection::HonestTooFew { honest: 3, honest_min: 4 });
    let floors =
        Floors { cohort_min: 2, cohort_max: 255, honest_min: 1, corrupt: 1, excess_noise: ExcessNoise::Kept };
    assert_eq!(refuse(2, floors), AdvertsRejection::Threshold(ThresholdError::TooSmall(2)));
    let floors =
        Floors { cohort_min: 3, cohort_max: 255, honest_min: 1, corrupt: 0, excess_noise: ExcessNoise::Kept };
    assert_eq!(refuse(4, floors), AdvertsRejection::Threshold(ThresholdError::CorruptNone));
}

#[test]
fn a_bundle_for_other_recipients_of_another_length_or_changed_is_refused() {
    let mut federation = Federation::new(4, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let sender = federation.id(1);
    let verdict = |lie: &dyn Fn(&mut secagg::ShareBundle)| {
        let mut bundle = sharing.bundles[&sender].clone();
        lie(&mut bundle);
        sharing.cohort.verify_bundle(&bundle)
    };
    assert_eq!(verdict(&|_| ()), Ok(()));
    assert_eq!(verdict(&|b| b.shares.swap(0, 2)), Err(BundleRejection::Recipients(sender)));
    assert_eq!(verdict(&|b| drop(b.shares.pop())), Err(BundleRejection::Recipients(sender)));
    assert_eq!(verdict(&|b| b.shares[0].ciphertext.push(0)), Err(BundleRejection::Length(sender)));
    assert_eq!(verdict(&|b| b.shares[1].ciphertext.push(0)), Err(BundleRejection::Length(sender)));
    assert_eq!(verdict(&|b| b.shares[0].ciphertext[0] ^= 1), Err(BundleRejection::Signature(sender)));
    assert_eq!(
        verdict(&|b| b.shares[3].commitments.self_mask[0] ^= 1),
        Err(BundleRejection::Signature(sender))
    );
    assert_eq!(verdict(&|b| b.sender = ClientId(1)), Err(BundleRejection::UnknownMember(ClientId(1))));
    let mut misfiled = sharing.bundles.clone();
    let bundle = misfiled.remove(&sender).unwrap();
    misfiled.insert(ClientId(1), bundle);
    assert!(matches!(sharing.cohort.fix_u2(&misfiled), Err(SharersRejection::Bundle(_))));
}

#[test]
fn what_the_coordinator_changes_on_the_way_is_its_own_fault_and_no_complaint() {
    let path = delivery_refusal(0, |delivery| delivery.shares[1].merkle_path[0][0] ^= 1);
    let path_length = delivery_refusal(0, |delivery| delivery.shares[1].merkle_path.push([0; 32]));
    let ciphertext = delivery_refusal(0, |delivery| delivery.shares[1].ciphertext[0] ^= 1);
    let cut = delivery_refusal(0, |delivery| delivery.shares[1].ciphertext.clear());
    let commitments = delivery_refusal(0, |delivery| delivery.shares[1].commitments.round_seed[0] ^= 1);
    for fault in [path, path_length, ciphertext, cut, commitments] {
        assert!(matches!(fault, DeliveryFault::MerklePath(_)), "{fault:?}");
    }
    let root = delivery_refusal(0, |delivery| delivery.members[2].merkle_root[0] ^= 1);
    assert!(matches!(root, DeliveryFault::Sharers(SharersRejection::Signature(_))), "{root:?}");
    let own = delivery_refusal(0, |delivery| delivery.members[0].signature[0] ^= 1);
    assert!(matches!(own, DeliveryFault::Sharers(SharersRejection::Signature(_))), "{own:?}");
}

#[test]
fn a_u2_that_is_too_small_foreign_unsorted_or_without_the_client_is_refused() {
    let few = delivery_refusal(0, |delivery| delivery.members.truncate(3));
    assert_eq!(few, DeliveryFault::Sharers(SharersRejection::TooFew { members: 3, needed: 4 }));
    let foreign = delivery_refusal(0, |delivery| delivery.members[4].id = ClientId(9999));
    assert_eq!(foreign, DeliveryFault::Sharers(SharersRejection::UnknownMember(ClientId(9999))));
    let unsorted = delivery_refusal(0, |delivery| delivery.members.swap(1, 2));
    assert!(matches!(unsorted, DeliveryFault::Sharers(SharersRejection::Order(_))));
    let twice = delivery_refusal(0, |delivery| delivery.members.push(delivery.members[4].clone()));
    assert!(matches!(twice, DeliveryFault::Sharers(SharersRejection::Order(_))));
    let without_self = delivery_refusal(0, |delivery| delivery.members = delivery.members.split_off(1));
    assert_eq!(without_self, DeliveryFault::OwnRoot);
    let share_missing = delivery_refusal(0, |delivery| drop(delivery.shares.pop()));
    assert_eq!(share_missing, DeliveryFault::Senders);
    let share_twice = delivery_refusal(0, |delivery| delivery.shares[1] = delivery.shares[0].clone());
    assert_eq!(share_twice, DeliveryFault::Senders);
}

#[test]
fn a_client_shown_another_u2_turns_the_sum_into_noise_and_signs_nothing_usable() {
    const LANES: usize = 4096;
    let mut federation = Federation::new(5, 1);
    let victim = federation.id(0);
    let keyed = federation.advertise();
    let mut sharing = federation.share(keyed);
    let mut fewer = sharing.bundles.clone();
    fewer.pop_last();
    let other = sharing.cohort.fix_u2(&fewer).unwrap();
    let shared = sharing.cohort.fix_u2(&sharing.bundles).unwrap();
    assert_ne!(other.r2(), shared.r2());

    let u3 = shared.u2();
    let mut sum = vec![0; LANES];
    let (mut states, mut signatures) = (Vec::new(), Vec::new());
    for id in &u3 {
        let view = if *id == victim { &other } else { &shared };
        let client = sharing.clients.remove(id).unwrap();
        let delivery = view.delivery_for(*id).unwrap();
        let (masking, held) = client.accept_delivery(&delivery, federation.identity(*id)).unwrap();
        let masked = masking.mask(noised(vec![1; LANES]));
        let signature = sign_input(view.r2(), masked.digest(), federation.identity(*id));
        sum_into(&mut sum, masked.lanes()).unwrap();
        if *id == victim {
            let refused = shared.verify_input(*id, masked.digest(), &signature);
            assert_eq!(refused, Err(SignatureRejection::Signature(victim)));
            // Its own U2 lacks a member of this U3.
            let reason = held.sign_included(&u3, federation.identity(*id)).unwrap_err().reason;
            assert!(matches!(reason, IncludedRejection::NotSharer(_)));
            continue;
        }
        let (state, signature) = held.sign_included(&u3, federation.identity(*id)).unwrap();
        signatures.push(signature);
        states.push((*id, state));
    }
    let answers = states.into_iter().map(|(id, state)| (id, state.unmask(&signatures).unwrap())).collect();
    recover(&shared, &u3, &answers).unwrap().remove(&mut sum);
    let right = sum.iter().filter(|lane| **lane == 5).count();
    assert!(right < 4, "{right} of {LANES} lanes show through");
}

#[test]
fn an_included_set_that_is_no_part_of_u2_too_small_or_without_the_client_is_not_signed() {
    let mut federation = Federation::new(5, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let late = federation.id(4);
    let mut round = federation.deliver(sharing, &[late]);
    let own = federation.id(0);
    let identity = federation.identity(own);
    let held = round.held.remove(&own).unwrap();
    let u2 = round.shared.u2();

    let with_late: BTreeSet<_> = u2.iter().copied().chain([late]).collect();
    let refused = held.sign_included(&with_late, identity).unwrap_err();
    assert_eq!(refused.reason, IncludedRejection::NotSharer(late));
    let few: BTreeSet<_> = u2.iter().copied().take(3).collect();
    let refused = refused.state.sign_included(&few, identity).unwrap_err();
    assert_eq!(refused.reason, IncludedRejection::TooFew { members: 3, needed: 4 });
    let (signed, signature) = refused.state.sign_included(&u2, identity).expect("refusals signed nothing");
    assert_eq!(signed.u3(), &u2);
    round.shared.verify_included_signature(&u2, &signature).unwrap();

    let mut federation = Federation::new(5, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let mut round = federation.deliver(sharing, &[]);
    let held = round.held.remove(&own).unwrap();
    let without: BTreeSet<_> = held.u2().into_iter().filter(|id| *id != own).collect();
    let refused = held.sign_included(&without, federation.identity(own)).unwrap_err();
    assert_eq!(refused.reason, IncludedRejection::NotSelf);
}

#[test]
fn nothing_is_opened_below_the_quorum_or_on_foreign_repeated_or_forged_signatures() {
    let mut federation = Federation::new(5, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let mut round = federation.deliver(sharing, &[]);
    let dropped = federation.id(4);
    let mut u3 = round.shared.u2();
    u3.remove(&dropped);
    let everyone = round.shared.u2();

    // The coordinator has the dropped member sign another set than the others.
    let held = round.held.remove(&dropped).unwrap();
    let (_, of_other_set) = held.sign_included(&everyone, federation.identity(dropped)).unwrap();
    let mut states = Vec::new();
    let mut signatures = Vec::new();
    for (id, held) in round.held {
        let (state, signature) = held.sign_included(&u3, federation.identity(id)).unwrap();
        states.push(state);
        signatures.push(signature);
    }
    let state = states.remove(0);
    assert_eq!(state.unmask_request_digest(), unmask_request_digest(round.shared.r2(), &u3));
    assert_ne!(state.unmask_request_digest(), unmask_request_digest(round.shared.r2(), &everyone));

    let refused = state.unmask(&signatures[..3]).unwrap_err();
    assert_eq!(refused.reason, UnmaskRejection::BelowQuorum { signatures: 3, needed: 4 });
    let mut repeated = signatures.clone();
    repeated[3] = repeated[0];
    let refused = refused.state.unmask(&repeated).unwrap_err();
    assert_eq!(refused.reason, UnmaskRejection::Duplicate(signatures[0].id));
    let mut foreign = signatures.clone();
    foreign[3] = of_other_set;
    let refused = refused.state.unmask(&foreign).unwrap_err();
    assert_eq!(refused.reason, SignatureRejection::UnknownMember(dropped).into());
    let mut of_other = signatures.clone();
    of_other[3].signature = of_other_set.signature;
    let refused = refused.state.unmask(&of_other).unwrap_err();
    assert_eq!(refused.reason, SignatureRejection::Signature(signatures[3].id).into());
    let answer = refused.state.unmask(&signatures).expect("refusals opened nothing");
    assert_eq!(answer.round_seed.iter().map(|share| share.owner).collect::<Vec<_>>(), [dropped]);
    assert!(answer.self_mask.iter().map(|share| share.owner).eq(u3));
}

#[test]
fn an_answer_never_opens_both_secrets_of_one_client() {
    let mut federation = Federation::new(7, 2);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let round = federation.deliver(sharing, &[]);
    let u2 = round.shared.u2();
    let u3: BTreeSet<_> = u2.iter().copied().skip(2).collect();
    let (_, answers) = federation.unmask(round, &u3);
    for answer in answers.values() {
        let alive: BTreeSet<_> = answer.self_mask.iter().map(|share| share.owner).collect();
        let dead: BTreeSet<_> = answer.round_seed.iter().map(|share| share.owner).collect();
        assert!(alive.is_disjoint(&dead));
        assert_eq!(alive.union(&dead).copied().collect::<BTreeSet<_>>(), u2);
    }
}

#[test]
fn a_bad_share_is_blamed_on_its_returner_and_any_other_quorum_recovers() {
    const LANES: usize = 100;
    let mut federation = Federation::new(7, 2);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let mut round = federation.deliver(sharing, &[]);
    let dropped = federation.id(3);
    let mut u3 = round.shared.u2();
    u3.remove(&dropped);
    let mut sum = vec![0; LANES];
    for id in &u3 {
        let masked = round.masking.remove(id).unwrap().mask(noised(vec![id.0; LANES]));
        sum_into(&mut sum, masked.lanes()).unwrap();
    }
    let total: u32 = u3.iter().map(|id| id.0).sum();
    let (shared, mut answers) = federation.unmask(round, &u3);

    let (liar, second_liar) = (federation.id(0), federation.id(1));
    answers.get_mut(&liar).unwrap().self_mask[2].share[5] ^= 1;
    let blame = |returner, owner, kind| Err(UnmaskBlame::Opening { returner, owner, kind });
    let owner = answers[&liar].self_mask[2].owner;
    assert_eq!(shared.verify_unmask(&u3, &answers[&liar]), blame(liar, owner, ShareKind::SelfMask));
    recover(&shared, &u3, &answers).unwrap().remove(&mut sum);
    assert_eq!(sum, vec![total; LANES]);

    answers.get_mut(&second_liar).unwrap().round_seed[0].opening[0] ^= 1;
    let expected = blame(second_liar, dropped, ShareKind::RoundSeed);
    assert_eq!(shared.verify_unmask(&u3, &answers[&second_liar]), expected);
    let too_few = RecoverError::TooFewAnswers { valid: 4, needed: 5 };
    assert_eq!(recover(&shared, &u3, &answers).unwrap_err(), too_few);
}

#[test]
fn answers_of_outsiders_or_about_other_clients_are_blamed() {
    let mut federation = Federation::new(5, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let round = federation.deliver(sharing, &[]);
    let dropped = federation.id(4);
    let mut u3 = round.shared.u2();
    u3.remove(&dropped);
    let (shared, answers) = federation.unmask(round, &u3);
    let first = federation.id(0);
    let mut outsider = answers[&first].clone();
    outsider.id = dropped;
    assert_eq!(shared.verify_unmask(&u3, &outsider), Err(UnmaskBlame::NotIncluded(dropped)));
    let mut incomplete = answers[&first].clone();
    incomplete.self_mask.pop();
    assert_eq!(shared.verify_unmask(&u3, &incomplete), Err(UnmaskBlame::Owners(first)));
    let mut both_kinds = answers[&first].clone();
    both_kinds.round_seed = both_kinds.self_mask.clone();
    assert_eq!(shared.verify_unmask(&u3, &both_kinds), Err(UnmaskBlame::Owners(first)));
    let mut impostor = answers[&first].clone();
    impostor.id = federation.id(1);
    assert!(matches!(
        shared.verify_unmask(&u3, &impostor),
        Err(UnmaskBlame::Opening { returner, .. }) if returner == federation.id(1)
    ));
    let few: BTreeSet<_> = u3.iter().copied().take(3).collect();
    assert!(matches!(recover(&shared, &few, &answers), Err(RecoverError::Included(_))));
}

#[test]
fn a_masked_update_is_accepted_from_its_signer_only() {
    let mut federation = Federation::new(4, 1);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let late = federation.id(3);
    let round = federation.deliver(sharing, &[late]);
    let (signer, other) = (federation.id(0), federation.id(1));
    let signature = sign_input(round.shared.r2(), [1; 32], federation.identity(signer));
    assert_eq!(round.shared.verify_input(signer, [1; 32], &signature), Ok(()));
    let wrong = Err(SignatureRejection::Signature(signer));
    assert_eq!(round.shared.verify_input(signer, [2; 32], &signature), wrong);
    let wrong = Err(SignatureRejection::Signature(other));
    assert_eq!(round.shared.verify_input(other, [1; 32], &signature), wrong);
    let of_late = sign_input(round.shared.r2(), [1; 32], federation.identity(late));
    let unknown = Err(SignatureRejection::UnknownMember(late));
    assert_eq!(round.shared.verify_input(late, [1; 32], &of_late), unknown);
}

#[test]
fn an_unpinned_roster_accepts_nobody() {
    let mut federation = Federation::new(4, 1);
    let keyed = federation.advertise();
    federation.members = Members::new();
    let adverts = keyed.adverts.clone();
    let expected = AdvertRejection::UnknownMember(federation.id(0)).into();
    assert_eq!(roster_refusal(&mut federation, keyed, 0, &adverts), expected);
}
