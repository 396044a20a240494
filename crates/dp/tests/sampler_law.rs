//! The sampler against its law.
//!
//! Seeds are fixed, so a test either always passes or always fails. Each chi-square test is made at alpha = 1e-6,
//! and each has a counterpart that shows it would notice a law that is a little off.

use chacha20::ChaCha20Rng;
use dp::{DiscreteGaussian, Sigma};
use rand_core::SeedableRng;

const SAMPLES: usize = 400_000;
/// Normal quantile of 1 − 1e-6.
const QUANTILE: f64 = 4.753_424;
const SIGMAS: [f64; 6] = [0.6, 4.0, 7.3, 64.0, 90.5, 1000.0];

fn gaussian(sigma: f64) -> DiscreteGaussian {
    DiscreteGaussian::new(Sigma::at_least(sigma).unwrap())
}

fn draw(sigma: f64, seed: u8) -> Vec<i64> {
    let mut samples = vec![0; SAMPLES];
    gaussian(sigma).fill(&mut samples, &mut ChaCha20Rng::from_seed([seed; 32]));
    samples
}

/// Probabilities of bins `[low, low + width)` over ±4.2σ, each at least a few hundred samples heavy but for the two
/// open ends, which hold the tails.
struct Bins {
    low: i64,
    width: i64,
    probabilities: Vec<f64>,
}

impl Bins {
    fn of(sigma: f64) -> Self {
        let reach = (4.2 * sigma).ceil() as i64;
        let width = (sigma / 4.0).ceil() as i64;
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

    /// The chi-square statistic less its critical value, by Wilson and Hilferty's approximation.
    fn excess(&self, samples: &[i64]) -> f64 {
        let mut counts = vec![0_u32; self.probabilities.len()];
        for sample in samples {
            counts[self.bin(*sample)] += 1;
        }
        let expected: Vec<f64> = self.probabilities.iter().map(|p| p * samples.len() as f64).collect();
        let (mut statistic, mut cells) = (0.0, 0.0);
        // Bins too light for the approximation are pooled into one.
        let (mut light, mut light_expected) = (0.0, 0.0);
        for (count, expected) in counts.iter().zip(expected) {
            if expected < 10.0 {
                light += f64::from(*count);
                light_expected += expected;
            } else {
                statistic += (f64::from(*count) - expected).powi(2) / expected;
                cells += 1.0;
            }
        }
        if light_expected > 1.0 {
            statistic += (light - light_expected).powi(2) / light_expected;
            cells += 1.0;
        } else {
            assert!(light < 20.0, "{light} samples where {light_expected} were expected");
        }
        let freedom: f64 = cells - 1.0;
        let spread = 2.0 / (9.0 * freedom);
        statistic - freedom * (1.0 - spread + QUANTILE * spread.sqrt()).powi(3)
    }
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
