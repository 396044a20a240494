//! The noise that a silo adds to its own steps.

use dp::{
    ClippedSum, DiscreteGaussian, Scale, dequantize, ring::require_room_for_sums, sensitivity::delta_l2_sum,
};
use rand_core::CryptoRng;

use crate::document::Plan;
use crate::mechanism::{ProtectError, RING_BITS, SCALE_BITS, scale, share, wrap};
use crate::privacy::{Promise, Sampling, Scheme};
use crate::problems::Problem;

/// The noise of a silo's own steps: `silo_dp_sgd`.
#[derive(Debug, Clone, PartialEq)]
pub struct SiloNoise {
    scale: Scale,
    clip_norm: f64,
    rows_max: u64,
    noise: DiscreteGaussian,
    divisor: f64,
}

impl SiloNoise {
    /// A step's noised mean of clipped descent directions, one value per parameter.
    ///
    /// # Errors
    /// [`ProtectError`]: nothing may be stepped by then.
    ///
    /// # Privacy
    /// The integers get all their noise here, before anything of them is used. `rng`: seeded afresh by the operating system
    /// for each round.
    pub fn step(&self, sum: ClippedSum, rng: &mut dyn CryptoRng) -> Result<Vec<f32>, ProtectError> {
        let rows_max = sum.rows().max(self.rows_max);
        if sum.clip_norm() != self.clip_norm {
            return Err(ProtectError::Clip);
        }
        let noised = sum.quantize_nearest(self.scale, rows_max)?.add_noise(&self.noise, rng);
        let mean = |value: f32| (f64::from(value) / self.divisor) as f32;
        Ok(dequantize(&noised.into_lanes(), self.scale).into_iter().map(mean).collect())
    }
}

impl Plan {
    /// The noise of each local step; `None` but in `silo_dp_sgd`.
    ///
    /// # Errors
    /// As [`Plan::mechanism`].
    pub fn silo_noise(&self) -> Result<Option<SiloNoise>, Problem> {
        let Some(promise) = self.privacy.promise() else { return Ok(None) };
        let Scheme::SiloDpSgd { sampling, .. } = promise.scheme else { return Ok(None) };
        let dimension = self.architecture().parameter_count();
        let Promise { noise_multiplier, clip_norm, scale_bits, .. } = *promise;
        let Sampling { divisor, rows_max, .. } = sampling;
        let scale = scale(SCALE_BITS, scale_bits)?;
        // All of it, by one silo alone.
        let sigma = share(noise_multiplier * delta_l2_sum(scale, clip_norm, dimension), 1)?;
        require_room_for_sums(RING_BITS, 1, scale, clip_norm, rows_max, dimension, sigma)
            .map_err(wrap(SCALE_BITS))?;
        Ok(Some(SiloNoise { scale, clip_norm, rows_max, noise: DiscreteGaussian::new(sigma), divisor }))
    }
}
