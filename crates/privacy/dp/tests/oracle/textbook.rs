//! Canonne, Kamath, Steinke 2020, algorithms 1 to 3, to the letter, over rationals of any size: slow, and with no
//! deviation that could share a mistake with the sampler.

use chacha20::ChaCha20Rng;
use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use rand_core::{Rng, SeedableRng};

pub(crate) struct Textbook {
    sigma_squared: BigRational,
    /// `⌊σ⌋ + 1`
    scale: u64,
    rng: ChaCha20Rng,
}

impl Textbook {
    pub(crate) fn new(sigma: f64, seed: u8) -> Self {
        let exact = BigRational::from_float(sigma).unwrap();
        Self {
            sigma_squared: &exact * &exact,
            scale: sigma.floor() as u64 + 1,
            rng: ChaCha20Rng::from_seed([seed; 32]),
        }
    }

    pub(crate) fn draw(&mut self, count: usize) -> Vec<i64> {
        (0..count).map(|_| self.discrete_gaussian()).collect()
    }

    /// Algorithm 3.
    fn discrete_gaussian(&mut self) -> i64 {
        loop {
            let y = self.discrete_laplace();
            let distance = whole(y.unsigned_abs()) - &self.sigma_squared / whole(self.scale);
            let gamma = &distance * &distance / (&self.sigma_squared * whole(2));
            if self.bernoulli_exp(&gamma) {
                return y;
            }
        }
    }

    /// Algorithm 2 with its `s` of 1.
    fn discrete_laplace(&mut self) -> i64 {
        loop {
            let u = u64::try_from(self.below(&BigUint::from(self.scale))).unwrap();
            if !self.bernoulli_exp(&(whole(u) / whole(self.scale))) {
                continue;
            }
            let mut v = 0;
            while self.bernoulli_exp(&whole(1)) {
                v += 1;
            }
            let y = i64::try_from(u + self.scale * v).unwrap();
            let negative = self.bernoulli(&(whole(1) / whole(2)));
            if !(negative && y == 0) {
                return if negative { -y } else { y };
            }
        }
    }

    /// Algorithm 1.
    fn bernoulli_exp(&mut self, gamma: &BigRational) -> bool {
        if *gamma <= whole(1) {
            let mut k = 1;
            while self.bernoulli(&(gamma / whole(k))) {
                k += 1;
            }
            return k % 2 == 1;
        }
        let floor = u64::try_from(gamma.floor().to_integer()).unwrap();
        (0..floor).all(|_| self.bernoulli_exp(&whole(1))) && self.bernoulli_exp(&(gamma - whole(floor)))
    }

    fn bernoulli(&mut self, probability: &BigRational) -> bool {
        let denominator = probability.denom().to_biguint().unwrap();
        BigInt::from(self.below(&denominator)) < *probability.numer()
    }

    /// Uniform below `bound`, by rejection.
    fn below(&mut self, bound: &BigUint) -> BigUint {
        loop {
            let mut words = vec![0; bound.bits().div_ceil(32) as usize];
            words.fill_with(|| self.rng.next_u32());
            let drawn = BigUint::new(words) >> ((32 - bound.bits() % 32) % 32);
            if drawn < *bound {
                return drawn;
            }
        }
    }
}

fn whole(number: u64) -> BigRational {
    BigRational::from_integer(number.into())
}
