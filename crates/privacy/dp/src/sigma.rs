//! Standard deviations that the exact sampler can work with.

/// Largest standard deviation of the sampler; up to it every intermediate value fits 128 bits.
pub const SIGMA_MAX: f64 = (1_u64 << NUMERATOR_BITS) as f64;
const NUMERATOR_BITS: u32 = 28;

/// A standard deviation as a binary fraction `numerator / 2^shift`, of 28 significant bits at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sigma {
    numerator: u32,
    shift: u32,
}

/// Why a number is no standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a standard deviation of {sigma} is not above 0 and at most 2^28")]
pub struct SigmaError {
    /// As asked for.
    pub sigma: f64,
}

impl Sigma {
    /// The least binary fraction of 28 bits that is not below `sigma`.
    ///
    /// # Errors
    /// A number that is not above 0 and at most [`SIGMA_MAX`].
    pub fn at_least(sigma: f64) -> Result<Self, SigmaError> {
        if !(sigma > 0.0 && sigma <= SIGMA_MAX) {
            return Err(SigmaError { sigma });
        }
        // Multiplying by a power of two is exact, so the ceiling is the only rounding, and it is upwards.
        let mut shift = NUMERATOR_BITS;
        let mut scaled = sigma * SIGMA_MAX;
        while scaled > SIGMA_MAX {
            shift -= 1;
            scaled /= 2.0;
        }
        let numerator = scaled.ceil() as u32;
        let common = numerator.trailing_zeros().min(shift);
        Ok(Self { numerator: numerator >> common, shift: shift - common })
    }

    /// The standard deviation, exactly.
    pub fn value(self) -> f64 {
        f64::from(self.numerator) / (1_u64 << self.shift) as f64
    }

    pub(crate) fn numerator(self) -> u32 {
        self.numerator
    }

    pub(crate) fn shift(self) -> u32 {
        self.shift
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_fractions_are_kept_as_they_are() {
        for sigma in [4.0, 7.5, 0.125, 1000.0, 268_435_455.0, SIGMA_MAX] {
            assert_eq!(Sigma::at_least(sigma).unwrap().value(), sigma);
        }
    }

    #[test]
    fn what_is_no_standard_deviation_is_refused() {
        for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY, SIGMA_MAX.next_up()] {
            assert!(Sigma::at_least(sigma).is_err(), "{sigma}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_upwards_and_by_less_than_a_part_in_2_to_the_27(sigma in 1e-2..SIGMA_MAX) {
            let rounded = Sigma::at_least(sigma).unwrap();
            prop_assert!(rounded.value() >= sigma);
            // Below one the fraction has 28 bits after the point rather than 28 significant ones.
            prop_assert!(rounded.value() - sigma <= sigma.max(1.0) / f64::from(1 << 27));
            prop_assert!(f64::from(rounded.numerator()) <= SIGMA_MAX);
        }
    }
}
