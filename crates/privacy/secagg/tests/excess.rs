//! Excess noise: exactly the components that a sum has too many of can be drawn again, for every number of survivors.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rand_core::Rng;
use secagg::{
    AdvertRejection, AdvertsRejection, ClientId, ExcessNoise, ExcessSeed, ShareKind, UnmaskBlame, recover,
    verify_advert,
};
use support::{Federation, Round};

/// What identifies a component: its level, and what its generator says first.
fn component(seed: &ExcessSeed) -> (usize, u64) {
    (seed.level(), seed.rng().next_u64())
}

/// A cohort of `n`, of which the first `silent` share no keys.
fn round(n: usize, corrupt: usize, silent: usize) -> (Federation, Round) {
    let mut federation = Federation::removing_excess(n, corrupt);
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    let silent: Vec<ClientId> = (0..silent).map(|place| federation.id(place)).collect();
    let round = federation.deliver(sharing, &silent);
    (federation, round)
}

#[test]
fn every_number_of_survivors_opens_the_levels_below_it_of_all_survivors_and_no_other() {
    for (n, corrupt) in [(3, 1), (4, 1), (5, 1), (6, 2), (9, 1), (9, 3), (12, 2)] {
        let tolerated = secagg::Threshold::new(n, corrupt).unwrap().dropouts_tolerated();
        for silent in 0..=tolerated {
            for lost in 0..=tolerated - silent {
                let case = format!("n = {n}, c = {corrupt}, {silent} silent, {lost} lost");
                let (federation, round) = round(n, corrupt, silent);
                let fewest = round.shared.threshold().value();
                let u2 = round.shared.u2();
                let u3: BTreeSet<ClientId> = u2.iter().copied().skip(lost).collect();
                let mut expected = Vec::new();
                for (id, masking) in &round.masking {
                    let own = masking.noise().complete().unwrap();
                    let levels: Vec<usize> = own.iter().map(ExcessSeed::level).collect();
                    assert_eq!(levels, (fewest..u2.len()).collect::<Vec<_>>(), "{case}");
                    let excess = own.iter().filter(|seed| u3.contains(id) && seed.level() < u3.len());
                    expected.extend(excess.map(component));
                }
                let (shared, answers) = federation.unmask(round, &u3);
                let removal = recover(&shared, &u3, &answers).unwrap();
                let mut opened: Vec<_> = removal.excess().iter().map(component).collect();
                opened.sort_unstable();
                expected.sort_unstable();
                assert_eq!(opened, expected, "{case}");
                assert_eq!(opened.len(), u3.len() * (u3.len() - fewest), "{case}");
            }
        }
    }
}

#[test]
fn a_cohort_that_keeps_its_excess_shares_and_opens_no_noise_seed() {
    let mut federation = Federation::new(5, 1);
    let keyed = federation.advertise();
    assert!(keyed.adverts.iter().all(|advert| advert.noise.is_none()));
    let sharing = federation.share(keyed);
    let round = federation.deliver(sharing, &[]);
    assert!(round.masking.values().all(|masking| masking.noise().complete().is_none()));
    let u3 = round.shared.u2();
    let (shared, answers) = federation.unmask(round, &u3);
    assert!(answers.values().all(|answer| answer.noise.is_empty()));
    assert!(recover(&shared, &u3, &answers).unwrap().excess().is_empty());
}

#[test]
fn no_two_components_of_a_round_share_a_generator() {
    let (_, round) = round(9, 1, 0);
    let mut seen = BTreeMap::new();
    for (id, masking) in &round.masking {
        for seed in masking.noise().complete().unwrap() {
            let (level, draw) = component(seed);
            assert_eq!(seen.insert(draw, (id, level)), None);
        }
    }
    assert_eq!(seen.len(), 9 * 3);
}

#[test]
fn an_advert_without_seeds_or_with_unwanted_ones_is_refused() {
    for (advertised, planned) in
        [(ExcessNoise::Kept, ExcessNoise::Removed), (ExcessNoise::Removed, ExcessNoise::Kept)]
    {
        let mut federation = Federation::new(4, 1);
        federation.floors.excess_noise = advertised;
        let mut keyed = federation.advertise();
        federation.floors.excess_noise = planned;
        let first = federation.id(0);
        let refused = AdvertRejection::NoiseSeeds(first);
        assert_eq!(
            verify_advert(federation.ctx0, &keyed.adverts[0], &federation.members, planned),
            Err(refused)
        );
        let client = keyed.clients.remove(&first).unwrap();
        let identity = ed25519_dalek::SigningKey::from_bytes(federation.identity(first).as_bytes());
        let rejection = client
            .accept_adverts(
                &keyed.adverts,
                &federation.members,
                &federation.floors,
                &identity,
                &mut federation.rng,
            )
            .unwrap_err();
        assert_eq!(rejection, AdvertsRejection::Advert(refused));
    }
}

#[test]
fn a_changed_end_of_the_chain_breaks_the_adverts_signature() {
    let mut federation = Federation::removing_excess(4, 1);
    let mut keyed = federation.advertise();
    keyed.adverts[1].noise.as_mut().unwrap()[0] ^= 1;
    let refused =
        verify_advert(federation.ctx0, &keyed.adverts[1], &federation.members, ExcessNoise::Removed);
    assert_eq!(refused, Err(AdvertRejection::Signature(federation.id(1))));
}

#[test]
fn a_wrong_noise_share_is_blamed_on_its_returner_and_the_others_suffice() {
    let (federation, round) = round(6, 1, 0);
    let u3 = round.shared.u2();
    let (shared, mut answers) = federation.unmask(round, &u3);
    let (returner, owner) = (federation.id(0), federation.id(2));
    answers.get_mut(&returner).unwrap().noise[2].share[5] ^= 1;
    let blame = shared.verify_unmask(&u3, &answers[&returner]).unwrap_err();
    let kind = ShareKind::Noise { place: 1 };
    assert_eq!(blame, UnmaskBlame::Opening { returner, owner, kind });
    assert_eq!(recover(&shared, &u3, &answers).unwrap().excess().len(), 6 * 2);
}

#[test]
fn noise_shares_that_were_not_asked_for_or_are_missing_are_blamed_on_their_returner() {
    let (federation, round) = round(5, 1, 0);
    let u3 = round.shared.u2();
    let (shared, answers) = federation.unmask(round, &u3);
    let returner = federation.id(1);
    let owners = Err(UnmaskBlame::Owners(returner));
    let mut fewer = answers[&returner].clone();
    fewer.noise.pop();
    assert_eq!(shared.verify_unmask(&u3, &fewer), owners);
    let mut none = answers[&returner].clone();
    none.noise.clear();
    assert_eq!(shared.verify_unmask(&u3, &none), owners);

    // The fewest that may be summed have no excess: what opens any for them is more than was asked.
    let (federation, round) = self::round(5, 1, 0);
    let u3: BTreeSet<ClientId> = round.shared.u2().into_iter().skip(1).collect();
    let (shared, fewest) = federation.unmask(round, &u3);
    let mut more = fewest[&returner].clone();
    assert!(more.noise.is_empty() && shared.verify_unmask(&u3, &more).is_ok());
    more.noise = answers[&returner].noise.clone();
    assert_eq!(shared.verify_unmask(&u3, &more), owners);
}
