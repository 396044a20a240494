//! The sampler against its law.
//!
//! Seeds are fixed, so a test either always passes or always fails. Each chi-square test is made at alpha = 1e-6,
//! and each has a counterpart that shows it would notice a law that is a little off.

#[path = "oracle/textbook.rs"]
mod textbook;

use chacha20::ChaCha20Rng;
use dp::{DiscreteGaussian, Sigma};
use rand_core::SeedableRng;
use textbook::Textbook;

const SAMPLES: usize = 400_000;
/// Where every integer is a bin of its own.
const MANY_SAMPLES: usize = 2_000_000;
/// Of the slow implementation.
const FEW_SAMPLES: usize = 20_000;
/// Normal quantile of 1 − 1e-6.
const QUANTILE: f64 = 4.753_424;
const SIGMAS: [f64; 6] = [0.6, 4.0, 7.3, 64.0, 90.5, 1000.0];
const STATED_SIGMAS: [f64; 4] = [4.0, 7.3, 64.0, 1000.0];

fn gaussian(sigma: f64) -> DiscreteGaussian {
    DiscreteGaussian::new(Sigma::at_least(sigma).unwrap())
}

fn draw(sigma: f64, seed: u8) -> Vec<i64> {
    draw_many(sigma, seed, SAMPLES)
}

fn draw_many(sigma: f64, seed: u8, count: usize) -> Vec<i64> {
    let mut samples = vec![0; count];
    gaussian(sigma).fill(&mut samples, &mut ChaCha20Rng::from_seed([seed; 32]));
    samples
}

/// Probabilities of bins `[low, low + width)` over ±4.2σ, and of the two open ends, which hold the tails.
struct Bins {
    low: i64,
    width: i64,
    probabilities: Vec<f64>,
}

impl Bins {
    /// Bins of a quarter of sigma, a few hundred samples each.
    fn of(sigma: f64) -> Self {
        Self::wide(sigma, (sigma / 4.0).ceil() as i64)
    }

    fn wide(sigma: f64, width: i64) -> Self {
        let reach = (4.2 * sigma).ceil() as i64;
        let count = (2 * reach / width + 1) as usize;
        let density = |x: i64| (-(x as f64).powi(2) / (2.0 * sigma * sigma)).exp();
        let far = (20.0 * sigma).ceil() as i64 + 20;
        let total: f64 = (-far..=far).map(density).sum();
        let mut bins = Self { low: -reach, width, probabilities: vec![0.0; count] };
        for x in -far..=far {
            let bin = bins.bin(x);
            bins.probabilities[bin] += density(x) / total;
        }
        bins
    }

    fn bin(&self, x: i64) -> usize {
        let last = self.probabilities.len() as i64 - 1;
        (x - self.low).div_euclid(self.width).clamp(0, last) as usize
    }

    fn counts(&self, samples: &[i64]) -> Vec<f64> {
        let mut counts = vec![0.0; self.probabilities.len()];
        for sample in samples {
            counts[self.bin(*sample)] += 1.0;
        }
        counts
    }

    fn excess(&self, samples: &[i64]) -> f64 {
        let expected: Vec<f64> = self.probabilities.iter().map(|p| p * samples.len() as f64).collect();
        excess(&self.counts(samples), &expected)
    }
}

/// The chi-square statistic less its critical value.
fn excess(counts: &[f64], expected: &[f64]) -> f64 {
    let (mut statistic, mut cells) = (0.0, 0.0);
    // Bins too light for the approximation are pooled into one.
    let (mut light, mut light_expected) = (0.0, 0.0);
    for (count, expected) in counts.iter().zip(expected) {
        if *expected < 10.0 {
            light += count;
            light_expected += expected;
        } else {
            statistic += (count - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if light_expected > 1.0 {
        statistic += (light - light_expected).powi(2) / light_expected;
        cells += 1.0;
    } else {
        assert!(light < 20.0, "{light} samples where {light_expected} were expected");
    }
    statistic - critical(cells - 1.0)
}

/// The quantile of a chi-square law, by Wilson and Hilferty's approximation.
fn critical(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + QUANTILE * spread.sqrt()).powi(3)
}

/// The statistic of whether two samples have one law, less its critical value.
fn excess_of_two(one: &[f64], other: &[f64]) -> f64 {
    let total = |counts: &[f64]| counts.iter().sum::<f64>();
    let ratio = (total(other) / total(one)).sqrt();
    let (mut statistic, mut cells) = (0.0, 0.0);
    for (a, b) in one.iter().zip(other).filter(|(a, b)| *a + *b >= 40.0) {
        statistic += (ratio * a - b / ratio).powi(2) / (a + b);
        cells += 1.0;
    }
    statistic - critical(cells - 1.0)
}

#[test]
fn samples_follow_the_discrete_gaussian() {
    for (sigma, seed) in SIGMAS.into_iter().zip(20..) {
        let excess = Bins::of(gaussian(sigma).sigma().value()).excess(&draw(sigma, seed));
        assert!(excess < 0.0, "sigma {sigma}: chi-square is {excess} above its critical value");
    }
}

#[test]
fn a_standard_deviation_off_by_two_percent_would_be_noticed() {
    for (sigma, seed) in SIGMAS.into_iter().zip(20..) {
        for wrong in [0.98, 1.02] {
            let excess = Bins::of(sigma * wrong).excess(&draw(sigma, seed));
            assert!(excess > 0.0, "sigma {sigma}: {wrong} times it passes by {excess}");
        }
    }
}

#[test]
fn every_single_integer_comes_as_often_as_its_probability_says() {
    for (sigma, seed) in STATED_SIGMAS.into_iter().zip(60..) {
        let samples = draw_many(sigma, seed, MANY_SAMPLES);
        let excess = Bins::wide(gaussian(sigma).sigma().value(), 1).excess(&samples);
        assert!(excess < 0.0, "sigma {sigma}: chi-square is {excess} above its critical value");
    }
}

#[test]
fn a_lowest_bit_that_is_lost_in_one_of_thirty_samples_would_be_noticed() {
    for (sigma, seed) in STATED_SIGMAS.into_iter().zip(60..) {
        let mut samples = draw_many(sigma, seed, MANY_SAMPLES);
        samples.iter_mut().step_by(30).for_each(|sample| *sample &= !1);
        let excess = Bins::wide(gaussian(sigma).sigma().value(), 1).excess(&samples);
        assert!(excess > 0.0, "sigma {sigma}: it passes by {excess}");
    }
}

#[test]
fn the_papers_algorithms_to_the_letter_have_the_same_law() {
    for (sigma, seed) in STATED_SIGMAS.into_iter().zip(70..) {
        let exact = gaussian(sigma).sigma().value();
        let bins = Bins::of(exact);
        let textbook = bins.counts(&Textbook::new(exact, seed).draw(FEW_SAMPLES));
        let excess = excess_of_two(&textbook, &bins.counts(&draw(sigma, seed)));
        assert!(excess < 0.0, "sigma {sigma}: chi-square is {excess} above its critical value");

        let wrong = bins.counts(&Textbook::new(exact * 1.08, seed).draw(FEW_SAMPLES));
        let excess = excess_of_two(&wrong, &bins.counts(&draw(sigma, seed)));
        assert!(excess > 0.0, "sigma {sigma}: 1.08 times it passes by {excess}");
    }
}

#[test]
fn a_sample_says_nothing_of_the_next_one() {
    // Six cells for a sample make 36 for a pair of neighbours.
    let cells = |sigma: f64| [-1.0, -0.4, 0.0, 0.4, 1.0].map(|place: f64| (place * sigma).floor() as i64);
    let cell = |edges: [i64; 5], sample: i64| edges.iter().filter(|edge| sample > **edge).count();
    for (sigma, seed) in STATED_SIGMAS.into_iter().zip(80..) {
        let samples = draw(sigma, seed);
        let edges = cells(sigma);
        let bins = Bins::wide(gaussian(sigma).sigma().value(), 1);
        let mut probabilities = [0.0; 6];
        for (bin, probability) in (0..).zip(&bins.probabilities) {
            probabilities[cell(edges, bins.low + bin)] += probability;
        }
        let expected: Vec<f64> = (0..36)
            .map(|pair| probabilities[pair / 6] * probabilities[pair % 6] * (SAMPLES / 2) as f64)
            .collect();
        let excess_of = |samples: &[i64]| {
            let mut counts = vec![0.0; 36];
            for pair in samples.chunks_exact(2) {
                counts[6 * cell(edges, pair[0]) + cell(edges, pair[1])] += 1.0;
            }
            excess(&counts, &expected)
        };
        assert!(excess_of(&samples) < 0.0, "sigma {sigma}: {} above its critical value", excess_of(&samples));

        let mut repeating = samples;
        repeating.chunks_exact_mut(2).step_by(50).for_each(|pair| pair[1] = pair[0]);
        assert!(excess_of(&repeating) > 0.0, "sigma {sigma}: one repetition in fifty pairs passes");
    }
}

#[test]
fn a_continuous_gaussian_rounded_to_integers_would_be_noticed_where_they_differ() {
    // At σ = 0.6 the rounded Gaussian has P[0] = 0.595, the discrete one 0.664.
    let zeros = draw(0.6, 30).iter().filter(|x| **x == 0).count() as f64 / SAMPLES as f64;
    let total: f64 = (-9..=9).map(|x: i32| (-f64::from(x).powi(2) / 0.72).exp()).sum();
    assert!((zeros - 1.0 / total).abs() < 5.0 * (0.25 / SAMPLES as f64).sqrt());
    assert!((zeros - 0.595).abs() > 0.05);
}

#[test]
fn mean_variance_and_kurtosis_are_the_gaussians() {
    for (sigma, seed) in [4.0, 7.3, 64.0, 1000.0, 1e6, 2.0_f64.powi(28)].into_iter().zip(40..) {
        let samples: Vec<f64> = draw(sigma, seed).into_iter().map(|x| x as f64 / sigma).collect();
        let moment = |power| samples.iter().map(|x| x.powi(power)).sum::<f64>() / SAMPLES as f64;
        let root = (SAMPLES as f64).sqrt();
        // Five standard errors: the variances of x, x² and x⁴ are 1, 2 and 96.
        assert!(moment(1).abs() < 5.0 / root, "sigma {sigma}: mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 5.0 * 2.0_f64.sqrt() / root, "sigma {sigma}: {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5.0 * 96.0_f64.sqrt() / root, "sigma {sigma}: {}", moment(4));
    }
}

#[test]
fn one_seed_gives_one_stream_and_two_seeds_give_two() {
    assert_eq!(draw(64.0, 50)[..1000], draw(64.0, 50)[..1000]);
    assert_ne!(draw(64.0, 50)[..1000], draw(64.0, 51)[..1000]);
}
