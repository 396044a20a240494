//! The unmasked sum is the plaintext sum, bit for bit, whoever drops out and whenever.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use secagg::{ClientId, Threshold, recover, sign_input, sum_into};
use support::{Federation, noised};

/// Two blocks of masks and a part of a third.
const LANES: usize = 2 * 16 * 1024 + 37;
const PRIMES: [u32; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// How many clients fall silent at each step.
#[derive(Debug, Clone, Copy)]
struct Dropouts {
    before_sharing: usize,
    before_upload: usize,
    before_consistency: usize,
    before_unmask: usize,
}

/// One-hot at the client's own lane, a prime multiple elsewhere, some of it negative.
fn update(place: usize) -> Vec<u32> {
    let prime = PRIMES[place];
    let mut lanes: Vec<u32> = (0..LANES as u32).map(|lane| lane.wrapping_mul(prime).wrapping_neg()).collect();
    lanes[..PRIMES.len()].fill(0);
    lanes[place] = prime;
    lanes
}

fn sum_is_exact(n: usize, corrupt: usize, dropouts: Dropouts) {
    let case = format!("n = {n}, c = {corrupt}, {dropouts:?}");
    let mut federation = Federation::new(n, corrupt);
    let places: BTreeMap<ClientId, usize> = (0..n).map(|place| (federation.id(place), place)).collect();
    let keyed = federation.advertise();
    let sharing = federation.share(keyed);
    // Silent ones from the middle outwards, so that survivors sit on both sides of them.
    let mut by_distance: Vec<ClientId> = places.keys().copied().collect();
    by_distance.sort_by_key(|id| places[id].abs_diff(n / 2));
    let mut fall_silent = by_distance.into_iter();
    let mut silent = |count: usize| fall_silent.by_ref().take(count).collect::<Vec<_>>();

    let mut round = federation.deliver(sharing, &silent(dropouts.before_sharing));
    let never_uploaded = silent(dropouts.before_upload);
    let u3: BTreeSet<ClientId> =
        round.shared.u2().into_iter().filter(|id| !never_uploaded.contains(id)).collect();

    let (mut sum, mut plaintext) = (vec![0u32; LANES], vec![0u32; LANES]);
    for id in &u3 {
        let masked = round.masking.remove(id).unwrap().mask(noised(update(places[id])));
        let signature = sign_input(round.shared.r2(), masked.digest(), federation.identity(*id));
        round.shared.verify_input(*id, masked.digest(), &signature).unwrap();
        sum_into(&mut sum, masked.lanes()).unwrap();
        sum_into(&mut plaintext, &update(places[id])).unwrap();
    }
    assert_ne!(sum, plaintext, "{case}: masked");

    let unsigned = silent(dropouts.before_consistency);
    let mut signatures = Vec::new();
    let mut states = BTreeMap::new();
    for id in u3.iter().filter(|id| !unsigned.contains(id)) {
        let held = round.held.remove(id).unwrap();
        let (state, signature) = held.sign_included(&u3, federation.identity(*id)).unwrap();
        signatures.push(signature);
        states.insert(*id, state);
    }
    for id in silent(dropouts.before_unmask) {
        states.remove(&id);
    }
    let answers = states
        .into_iter()
        .map(|(id, state)| {
            let answer = state.unmask(&signatures).unwrap();
            round.shared.verify_unmask(&u3, &answer).unwrap();
            (id, answer)
        })
        .collect();
    recover(&round.shared, &u3, &answers).unwrap().remove(&mut sum);
    assert!(sum == plaintext, "{case}: the sum differs");
}

#[test]
fn the_unmasked_sum_is_the_plaintext_sum_for_3_to_12_clients_and_every_dropout_step() {
    for n in 3..=12 {
        for corrupt in 1..=(n - 1).min(4) {
            let all = Threshold::new(n, corrupt).unwrap().dropouts_tolerated();
            let none =
                Dropouts { before_sharing: 0, before_upload: 0, before_consistency: 0, before_unmask: 0 };
            sum_is_exact(n, corrupt, none);
            if all > 0 {
                sum_is_exact(n, corrupt, Dropouts { before_sharing: all, ..none });
                sum_is_exact(n, corrupt, Dropouts { before_upload: all, ..none });
                sum_is_exact(n, corrupt, Dropouts { before_consistency: all, ..none });
                sum_is_exact(n, corrupt, Dropouts { before_unmask: all, ..none });
            }
            if all >= 4 {
                let each = 1;
                sum_is_exact(
                    n,
                    corrupt,
                    Dropouts {
                        before_sharing: each,
                        before_upload: each,
                        before_consistency: each,
                        before_unmask: all - 3,
                    },
                );
            }
        }
    }
}
