//! The discrete Gaussian, sampled exactly.
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use rand_core::CryptoRng;

use crate::random_bits::RandomBits;
use crate::sigma::Sigma;

/// The discrete Gaussian `N_Z(0, σ²)`: `P[x] ∝ exp(−x²/(2σ²))` over the integers.
///
/// Sampling uses integers only, and its law is exact: nothing is rounded after σ is fixed.
///
/// # Security
/// Not constant time: how long a vector takes says something about the sizes of its noise. What is measurable from
/// outside is a sum over a whole vector, long before it is uploaded.
///
/// # Paper
/// Canonne, Kamath, Steinke 2020, algorithms 1 to 3, with two deviations that keep the law. The envelope's scale
/// `t` is the power of two nearest to σ instead of `⌊σ⌋ + 1` (any `t` is correct; acceptance stays above 0.65).
/// `Bernoulli(γ/K)` is drawn as `Bernoulli(γ)` and `Bernoulli(1/K)`, which are independent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscreteGaussian {
    sigma: Sigma,
    /// `t = 2^envelope_bits`
    envelope_bits: u32,
    /// `S²` of `σ = S/2^k`
    numerator_squared: u64,
    /// `|y| 2^magnitude_shift − S²` is what an acceptance squares: `2k + log2 t`.
    magnitude_shift: u32,
    /// The acceptance exponent is a number over `S² 2^exponent_bits`: `2k + 2 log2 t + 1`.
    exponent_bits: u32,
}

impl DiscreteGaussian {
    /// The distribution of standard deviation parameter `sigma`.
    pub fn new(sigma: Sigma) -> Self {
        let numerator_squared = u64::from(sigma.numerator()).pow(2);
        let mut envelope_bits = 0;
        // t √2 < σ, squared and times 2^2k: at most 2^57, for t never passes σ by more than √2.
        while (1_u64 << (2 * envelope_bits + 1 + 2 * sigma.shift())) < numerator_squared {
            envelope_bits += 1;
        }
        Self {
            sigma,
            envelope_bits,
            numerator_squared,
            magnitude_shift: 2 * sigma.shift() + envelope_bits,
            exponent_bits: 2 * sigma.shift() + 2 * envelope_bits + 1,
        }
    }

    /// The standard deviation parameter; the standard deviation itself to within 10^-100 for σ ≥ 4.
    pub fn sigma(&self) -> Sigma {
        self.sigma
    }

    /// Overwrites `samples` with independent draws.
    pub fn fill(&self, samples: &mut [i64], rng: &mut dyn CryptoRng) {
        self.fill_from(samples, &mut RandomBits::new(rng));
    }

    pub(crate) fn fill_from(&self, samples: &mut [i64], bits: &mut RandomBits<'_>) {
        for sample in samples {
            *sample = self.sample(bits);
        }
    }

    /// Algorithm 3: a discrete Laplace value, kept with probability `exp(−(|y| − σ²/t)²/(2σ²))`.
    fn sample(&self, bits: &mut RandomBits<'_>) -> i64 {
        loop {
            let magnitude = self.geometric_magnitude(bits);
            let negative = bits.bits(1) == 1;
            // Zero has one sign only.
            if negative && magnitude == 0 {
                continue;
            }
            if let Some(exponent) = self.acceptance_exponent(magnitude)
                && self.bernoulli_exp(&exponent, bits)
                && let Ok(value) = i64::try_from(magnitude)
            {
                return if negative { -value } else { value };
            }
        }
    }

    /// Algorithm 2 without its sign: `P[m] ∝ exp(−m/t)`.
    fn geometric_magnitude(&self, bits: &mut RandomBits<'_>) -> u64 {
        loop {
            let remainder = bits.bits(self.envelope_bits);
            if !bernoulli_exp_below_one(bits, |bits| bits.bits(self.envelope_bits) < remainder) {
                continue;
            }
            let mut quotient = 0_u64;
            while bernoulli_exp_one(bits) {
                quotient += 1;
            }
            // Past 64 bits with probability exp(-2^35): not in the life of the universe, and not kept if it is.
            if let Some(magnitude) = quotient
                .checked_mul(1 << self.envelope_bits)
                .and_then(|multiple| multiple.checked_add(remainder))
            {
                return magnitude;
            }
        }
    }

    /// `(m 2^(2k) t − S²)² / (2 S² 2^(2k) t²)`, split so that `Bernoulli` needs no division.
    ///
    /// `None` where it does not fit 128 bits. There m is at least 256t, hence above 180σ: drawn with probability
    /// `exp(−256)` and kept with one below `exp(−15000)`, so to reject it moves the law by less than 2^-20000.
    fn acceptance_exponent(&self, magnitude: u64) -> Option<Exponent> {
        let scaled = u128::from(magnitude).checked_mul(1 << self.magnitude_shift)?;
        let distance = scaled.abs_diff(u128::from(self.numerator_squared));
        let square = distance.checked_mul(distance)?;
        let divisor = u128::from(self.numerator_squared);
        let quotient = square / divisor;
        let whole = quotient >> self.exponent_bits;
        Some(Exponent {
            whole: u64::try_from(whole).ok()?,
            fraction: u64::try_from(quotient - (whole << self.exponent_bits)).ok()?,
            remainder: u64::try_from(square - quotient * divisor).ok()?,
        })
    }

    /// True with probability `exp(−exponent)`.
    fn bernoulli_exp(&self, exponent: &Exponent, bits: &mut RandomBits<'_>) -> bool {
        for _ in 0..exponent.whole {
            if !bernoulli_exp_one(bits) {
                return false;
            }
        }
        bernoulli_exp_below_one(bits, |bits| {
            let drawn = bits.bits(self.exponent_bits);
            drawn < exponent.fraction
                || (drawn == exponent.fraction && bits.below(self.numerator_squared) < exponent.remainder)
        })
    }
}

/// `whole + (fraction + remainder / S²) / 2^exponent_bits`
struct Exponent {
    whole: u64,
    fraction: u64,
    remainder: u64,
}

/// Algorithm 1 for γ ≤ 1: true with probability `exp(−γ)`, where `bernoulli` draws true with probability γ.
#[inline]
fn bernoulli_exp_below_one(
    bits: &mut RandomBits<'_>,
    mut bernoulli: impl FnMut(&mut RandomBits<'_>) -> bool,
) -> bool {
    let mut round = 1_u64;
    while (round == 1 || bits.below(round) == 0) && bernoulli(bits) {
        round += 1;
    }
    round % 2 == 1
}

/// True with probability `exp(−1)`.
#[inline]
fn bernoulli_exp_one(bits: &mut RandomBits<'_>) -> bool {
    bernoulli_exp_below_one(bits, |_| true)
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use num_rational::BigRational;
    use rand_core::SeedableRng;

    use super::*;
    use crate::sigma::SIGMA_MAX;

    #[test]
    fn acceptance_exponents_are_the_papers() {
        for sigma in [0.3, 1.0, 4.0, 7.3, 64.0, 1000.0, 1e6, SIGMA_MAX] {
            let gaussian = DiscreteGaussian::new(Sigma::at_least(sigma).unwrap());
            let sigma = gaussian.sigma().value();
            let t = f64::from(1_u32 << gaussian.envelope_bits);
            assert!(t >= 1.0 && (t == 1.0 || (0.70..1.42).contains(&(t / sigma))), "sigma {sigma}: t {t}");
            for magnitude in [0.0, 1.0, 0.5 * sigma, sigma, 3.0 * sigma, 20.0 * sigma, 60.0 * sigma] {
                let magnitude = magnitude.floor();
                let got = gaussian.acceptance_exponent(magnitude as u64).unwrap();
                assert!(got.fraction < 1 << gaussian.exponent_bits);
                assert!(got.remainder < gaussian.numerator_squared);
                let got =
                    got.whole as f64 + got.fraction as f64 / (2.0_f64).powi(gaussian.exponent_bits as i32);
                let want = (magnitude - sigma * sigma / t).powi(2) / (2.0 * sigma * sigma);
                // The remainder, which the value above leaves out, is less than one unit of the last bit.
                let last_bit = (2.0_f64).powi(-(gaussian.exponent_bits as i32));
                assert!((got - want).abs() <= last_bit + 1e-9 * want.max(1e-3), "{sigma}, {magnitude}");
            }
        }
    }

    #[test]
    fn envelope_and_acceptance_make_the_discrete_gaussian_exactly() {
        // exp(−m/t) exp(−e) must be exp(−m²/(2σ²)) but for a factor that is the same for every m: exp(−σ²/(2t²)).
        for sigma in [0.3, 1.0, 3.0, 4.0, 7.3, 64.0, 90.5, 1000.0, 1e6, SIGMA_MAX] {
            let gaussian = DiscreteGaussian::new(Sigma::at_least(sigma).unwrap());
            let integer = |number: u64| BigRational::from_integer(number.into());
            let sigma_squared =
                integer(gaussian.numerator_squared) / integer(1 << (2 * gaussian.sigma.shift()));
            let t = integer(1 << gaussian.envelope_bits);
            let constant = &sigma_squared / (integer(2) * &t * &t);
            let (step, reach) = ((sigma / 16.0).ceil() as usize, (180.0 * sigma) as u64);
            for magnitude in (0..40).chain((0..reach).step_by(step)) {
                let Exponent { whole, fraction, remainder } =
                    gaussian.acceptance_exponent(magnitude).unwrap();
                let below = integer(remainder) / integer(gaussian.numerator_squared);
                let exponent =
                    integer(whole) + (integer(fraction) + below) / integer(1 << gaussian.exponent_bits);
                let m = integer(magnitude);
                assert_eq!(
                    &m / &t + exponent - &constant,
                    &m * &m / (integer(2) * &sigma_squared),
                    "sigma {sigma}, magnitude {magnitude}"
                );
            }
        }
    }

    #[test]
    fn a_magnitude_that_overflows_is_rejected_and_one_within_180_sigma_is_not() {
        let gaussian = DiscreteGaussian::new(Sigma::at_least(SIGMA_MAX).unwrap());
        assert!(gaussian.acceptance_exponent(u64::MAX).is_none());
        assert!(gaussian.acceptance_exponent(180 << 28).is_some());
    }

    #[test]
    fn the_remainder_of_the_exponent_counts() {
        // σ = 3, t = 4 (or 2): the exponent of m = 0 is σ²/(2t²), a ninth of a power of two away from dyadic.
        let gaussian = DiscreteGaussian::new(Sigma::at_least(3.0).unwrap());
        let exponent = gaussian.acceptance_exponent(1).unwrap();
        assert_ne!(exponent.remainder, 0);
        let scale = (2.0_f64).powi(gaussian.exponent_bits as i32);
        let value = exponent.whole as f64
            + (exponent.fraction as f64 + exponent.remainder as f64 / gaussian.numerator_squared as f64)
                / scale;
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let mut bits = RandomBits::new(&mut rng);
        let kept = (0..400_000).filter(|_| gaussian.bernoulli_exp(&exponent, &mut bits)).count() as f64;
        let p = (-value).exp();
        assert!((kept - 400_000.0 * p).abs() < 5.0 * (400_000.0 * p * (1.0 - p)).sqrt(), "{kept} for {p}");
    }

    #[test]
    fn exp_of_minus_one_has_its_frequency() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut bits = RandomBits::new(&mut rng);
        let kept = (0..400_000).filter(|_| bernoulli_exp_one(&mut bits)).count() as f64;
        let p = (-1.0_f64).exp();
        assert!((kept - 400_000.0 * p).abs() < 5.0 * (400_000.0 * p * (1.0 - p)).sqrt());
    }
}
