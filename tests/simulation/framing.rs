//! Who waits after spoiled sums, against silos that see each cohort, know the rule, and spoil what serves them.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use secagg::ClientId;
use suspicion::Spoiled;

const WAIT: u64 = Spoiled::WAIT;
const ROUNDS: u64 = 200;

fn ids(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<ClientId> {
    numbers.into_iter().map(ClientId).collect()
}

/// What a run of `silos`, of which `minimum` are needed, came to.
struct Played {
    spoiled: Spoiled,
    /// Uploads that anybody has made on one model at most.
    most: u64,
    /// Rounds without a result.
    aborted: u64,
    /// Rounds that each was in no cohort of.
    out: BTreeMap<ClientId, u64>,
}

impl Played {
    fn most_out(&self, who: impl Fn(u32) -> bool) -> u64 {
        self.out.iter().filter(|(client, _)| who(client.0)).map(|(_, out)| *out).max().unwrap()
    }
}

/// Whoever spoils sums sees each cohort, knows all that the coordinator does, and decides: `(suspicion, included) -> spoils`.
type Decides<'a> = dyn Fn(&Spoiled, &BTreeSet<ClientId>) -> bool + 'a;

fn played(silos: u32, minimum: usize, corrupt: usize, seed: u64, decides: &Decides<'_>) -> Played {
    played_without(&ids([]), silos, minimum, corrupt, seed, decides)
}

/// The same, where these are gone while lots are drawn among them and one other, and back when nobody waits any more.
fn played_without(
    leaving: &BTreeSet<ClientId>,
    silos: u32,
    minimum: usize,
    corrupt: usize,
    seed: u64,
    decides: &Decides<'_>,
) -> Played {
    let all = ids(1..=silos);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let out = all.iter().map(|client| (*client, 0)).collect();
    let mut played = Played { spoiled: Spoiled::new(corrupt), most: 0, aborted: 0, out };
    let mut uploads = vec![0; silos as usize + 1];
    for _ in 0..ROUNDS {
        let drawn = !played.spoiled.left_out(&all, minimum, &mut ChaCha20Rng::seed_from_u64(seed)).is_empty();
        let among_few =
            all.iter().filter(|client| played.spoiled.suspects(client)).count() <= leaving.len() + 1;
        let here = if drawn && among_few { &all - leaving } else { all.clone() };
        let included = &here - &played.spoiled.left_out(&here, minimum, &mut rng);
        assert!(included.len() >= minimum);
        all.difference(&included).for_each(|client| *played.out.get_mut(client).unwrap() += 1);
        included.iter().for_each(|client| uploads[client.0 as usize] += 1);
        played.most = uploads.iter().copied().max().unwrap().max(played.most);
        if decides(&played.spoiled, &included) {
            played.spoiled.spoil(&included);
            played.aborted += 1;
        } else {
            played.spoiled.commit(&included);
            uploads.fill(0);
        }
    }
    played
}

const FEDERATIONS: [(u32, usize); 4] = [(5, 3), (10, 5), (20, 10), (30, 20)];

#[test]
fn one_that_spoils_every_sum_is_told_from_the_others_within_the_uploads_that_a_policy_allows_on_one_model() {
    for (silos, minimum) in [(5, 3), (6, 3), (8, 4), (10, 5), (30, 15), (100, 50)] {
        for seed in 0..30 {
            let spoiler = ClientId(1 + seed as u32 % silos);
            let played = played(silos, minimum, 1, seed, &|_, included| included.contains(&spoiler));
            assert!(played.most <= 3, "{silos} silos, seed {seed}: {} uploads on one model", played.most);
            assert!(
                played.aborted <= ROUNDS / WAIT,
                "{silos} silos, seed {seed}: {} aborted",
                played.aborted
            );
            let honest = played.most_out(|client| client != spoiler.0);
            assert!(honest <= 3 * WAIT, "{silos} silos, seed {seed}: one of the others was out for {honest}");
        }
    }
}

#[test]
fn two_that_spoil_every_sum_leave_most_rounds_to_the_others() {
    let both = ids([2, 5]);
    for (silos, minimum) in [(10, 5), (20, 10), (30, 15)] {
        for seed in 0..30 {
            let played = played(silos, minimum, 2, seed, &|_, included| !included.is_disjoint(&both));
            let honest = played.most_out(|client| ![2, 5].contains(&client));
            assert!(played.aborted <= ROUNDS / 3, "{silos} silos, seed {seed}: {} aborted", played.aborted);
            assert!(
                honest <= ROUNDS * 2 / 3,
                "{silos} silos, seed {seed}: one of the others was out for {honest}"
            );
        }
    }
}

/// Ways to have silo 1 left out, and to be believed.
fn framings(framers: &BTreeSet<ClientId>, silos: usize) -> Vec<(&'static str, Box<Decides<'_>>)> {
    let victim = ClientId(1);
    let there = move |included: &BTreeSet<ClientId>| !included.is_disjoint(framers);
    let both = move |included: &BTreeSet<ClientId>| included.contains(&victim) && there(included);
    let hidden = move |state: &Spoiled| framers.iter().all(|framer| !state.suspects(framer));
    vec![
        ("whenever it is there", Box::new(move |_, included| both(included))),
        ("when nobody is left out", Box::new(move |_, included| included.len() == silos)),
        (
            "first, and then where it is suspected",
            Box::new(move |state, included| {
                both(included) && (included.len() == silos || state.suspects(&victim))
            }),
        ),
        ("where no framer is suspected", Box::new(move |state, included| there(included) && hidden(state))),
        (
            "where the framers are no more suspected then than it",
            Box::new(move |state, included| {
                let mut after = state.clone();
                after.spoil(included);
                both(included) && (after.suspects(&victim) || hidden(&after))
            }),
        ),
        (
            "where they are not all found out by it",
            Box::new(move |state, included| {
                let mut after = state.clone();
                after.spoil(included);
                there(included)
                    && (1..=silos as u32)
                        .any(|id| !framers.contains(&ClientId(id)) && after.suspects(&ClientId(id)))
            }),
        ),
    ]
}

#[test]
fn whoever_frames_another_waits_as_much_as_it_and_no_silo_waits_in_more_than_about_half_of_the_rounds() {
    let framers = ids([3]);
    for ((silos, minimum), leaving) in FEDERATIONS.into_iter().flat_map(|of| [(of, ids([])), (of, ids([3]))])
    {
        for (how, decides) in framings(&framers, silos as usize) {
            let how = format!("{how}, {leaving:?} leave");
            let (mut honest, mut framer) = (0, 0);
            for seed in 0..15 {
                let played = played_without(&leaving, silos, minimum, 1, seed, &*decides);
                let what = format!(
                    "{how}, {silos} silos, seed {seed}: {:?}, {} aborted",
                    played.out, played.aborted
                );
                assert!(played.most_out(|client| client != 3) <= ROUNDS * 2 / 3, "{what}");
                assert!(played.aborted <= ROUNDS / WAIT, "{what}");
                assert!(played.most <= 3, "{what}: {} uploads on one model", played.most);
                honest += played.out[&ClientId(1)];
                framer += played.out[&ClientId(3)];
            }
            assert!(honest <= 15 * ROUNDS * 11 / 20, "{how}, {silos} silos: {honest}");
            assert!(honest <= framer * 11 / 10, "{how}, {silos} silos: {honest} and {framer}");
        }
    }
}

#[test]
fn two_that_frame_another_pay_a_spoiled_sum_for_each_eight_results_that_it_misses() {
    let framers = ids([3, 4]);
    for ((silos, minimum), leaving) in
        FEDERATIONS.into_iter().flat_map(|of| [(of, ids([])), (of, ids([3])), (of, ids([3, 4]))])
    {
        for (how, decides) in framings(&framers, silos as usize) {
            let how = format!("{how}, {leaving:?} leave");
            for seed in 0..15 {
                let played = played_without(&leaving, silos, minimum, 2, seed, &*decides);
                let honest = played.most_out(|client| ![3, 4].contains(&client));
                let aborted = played.aborted;
                let what = format!("{how}, {silos} silos, seed {seed}: out for {honest}, {aborted} aborted");
                assert!(aborted <= ROUNDS / 2, "{what}");
                assert!(honest <= (WAIT + 1) * aborted, "{what}");
                assert!(honest <= ROUNDS * WAIT / (WAIT + 1), "{what}");
            }
        }
    }
}

#[test]
fn who_was_left_out_for_what_was_paid_is_tried_again_and_a_sound_sum_of_all_ends_the_search() {
    let here = ids(1..=6);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut spoiled = Spoiled::new(1);
    spoiled.spoil(&here);
    spoiled.spoil(&ids([2, 3, 4]));
    spoiled.spoil(&ids([1, 2, 5, 6]));
    for waited in 0..3 * WAIT {
        assert_eq!(
            spoiled.left_out(&here, 3, &mut rng),
            ids([2]),
            "{waited} results after the last spoiled sum"
        );
        spoiled.commit(&ids([1, 3, 4, 5, 6]));
    }
    // Sound sums without it clear nobody, and what was paid is over.
    assert_eq!(spoiled.left_out(&here, 3, &mut rng), ids([]));
    assert!(spoiled.suspects(&ClientId(2)));
    let mut cleared = spoiled.clone();
    cleared.commit(&here);
    assert_eq!(cleared, Spoiled::new(1));
    // It does it again, and is left out at once.
    spoiled.spoil(&here);
    assert_eq!(spoiled.left_out(&here, 3, &mut rng), ids([2]));
}

#[test]
fn a_cohort_that_needs_everyone_leaves_nobody_out_and_suspects_all() {
    let played = played(4, 4, 1, 1, &|_, included| included.contains(&ClientId(2)));
    assert!(ids(1..=4).iter().all(|client| played.spoiled.suspects(client)));
    assert_eq!(played.most_out(|_| true), 0);
}
