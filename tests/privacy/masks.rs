//! A masked vector says nothing by itself, whatever is under the mask.

use secagg::ClientId;

use crate::session::Session;

const LANES: usize = 1 << 16;
/// Chi-square with 255 degrees of freedom lies outside these once in 10^5 (5e-6 on each side).
const CHI_SQUARE_255: [f64; 2] = [165.4, 366.0];

#[test]
fn the_masked_vector_of_a_fixed_update_looks_uniform_in_every_byte() {
    for (case, session) in [("zeros", Session::run(1, zeros)), ("alternating", Session::run(1, alternating))]
    {
        for (id, (masked, _)) in &session.masked {
            assert_uniform(masked.lanes(), &format!("{case}, client {id}"));
        }
    }
}

#[test]
fn the_masked_vectors_of_two_runs_over_the_same_update_are_independent() {
    let (one, two) = (Session::run(1, zeros), Session::run(2, zeros));
    for id in [1, 2, 3, 4].map(ClientId) {
        assert_independent(one.masked[&id].0.lanes(), two.masked[&id].0.lanes(), &format!("client {id}"));
    }
}

#[test]
fn the_masked_vectors_of_two_clients_of_one_sum_are_independent() {
    let session = Session::run(3, zeros);
    for (one, two) in [(1, 2), (1, 4), (3, 4)] {
        let [first, second] = [one, two].map(|id| session.masked[&ClientId(id)].0.lanes());
        assert_independent(first, second, &format!("clients {one} and {two}"));
    }
}

#[test]
fn the_sum_of_fewer_than_all_masked_vectors_looks_uniform() {
    // One client's vector is withheld: pairwise masks with it, and everyone's own masks, remain.
    let session = Session::run(4, zeros);
    let mut sum = vec![0; LANES];
    for id in [1, 2, 3].map(ClientId) {
        secagg::sum_into(&mut sum, session.masked[&id].0.lanes()).unwrap();
    }
    assert_uniform(&sum, "three of four");
    secagg::sum_into(&mut sum, session.masked[&ClientId(4)].0.lanes()).unwrap();
    assert_uniform(&sum, "all four, before anyone's own mask is opened");
}

fn zeros(_: u32) -> Vec<u32> {
    vec![0; LANES]
}

/// 1 and -1: the integers of a small update, far from uniform.
fn alternating(_: u32) -> Vec<u32> {
    (0..LANES).map(|lane| if lane % 2 == 0 { 1 } else { u32::MAX }).collect()
}

/// By the chi-square test on each of the four byte places, alpha = 10^-5 each.
fn assert_uniform(lanes: &[u32], case: &str) {
    for place in 0..4 {
        let mut counts = [0u32; 256];
        for lane in lanes {
            counts[usize::from(lane.to_le_bytes()[place])] += 1;
        }
        let expected = lanes.len() as f64 / 256.0;
        let chi_square: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        let [low, high] = CHI_SQUARE_255;
        assert!((low..high).contains(&chi_square), "{case}, byte {place}: chi-square {chi_square}");
    }
}

/// Their difference and their sum are uniform too, and their correlation is that of independent ones: beyond 4.5
/// standard deviations once in 10^5.
fn assert_independent(one: &[u32], two: &[u32], case: &str) {
    let pairs = || one.iter().zip(two);
    assert_uniform(&pairs().map(|(a, b)| a.wrapping_sub(*b)).collect::<Vec<_>>(), case);
    assert_uniform(&pairs().map(|(a, b)| a.wrapping_add(*b)).collect::<Vec<_>>(), case);
    let centred = |lane: &u32| f64::from(*lane as i32) + 0.5;
    let covariance: f64 = pairs().map(|(a, b)| centred(a) * centred(b)).sum();
    let variance_of_one = 2f64.powi(64) / 12.0;
    let deviations = covariance / (variance_of_one * (one.len() as f64).sqrt());
    assert!(deviations.abs() < 4.5, "{case}: correlated by {deviations} standard deviations");
}
