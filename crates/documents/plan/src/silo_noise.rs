//! The steps that a silo takes by itself in `silo_dp_sgd`, each with its noise.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use dp::{
    ClippedSum, DiscreteGaussian, LocalUpdate, Scale, dequantize, ring::require_room_for_sums,
    sensitivity::delta_l2_sum,
};
use params::Params;
use rand_core::{CryptoRng, Rng};
use zeroize::Zeroizing;

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
    steps: u32,
    learning_rate: f64,
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

    /// How the parameters change by the plan's local steps. `sum` gives a step's clipped descent directions at a model, of the batch
    /// that its seed draws.
    ///
    /// # Errors
    /// Those of `sum`, and [`ProtectError`].
    ///
    /// # Privacy
    /// What is returned is made of noised integers, public constants and the model that was received: it may be shown to anybody. A
    /// step that overflows is the last, and is left out: a refusal would leak something of the data by who takes part, at no charge.
    /// `seed`: fresh from the operating system for each round, and secret; batches and noise of every step come from it.
    pub fn steps<E: From<ProtectError>>(
        &self,
        model: &Params,
        seed: [u8; 32],
        mut sum: impl FnMut(&Params, [u8; 32]) -> Result<ClippedSum, E>,
    ) -> Result<LocalUpdate, E> {
        // Wiped when dropped.
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut current = model.clone();
        for _ in 0..self.steps {
            let mut batch = Zeroizing::new([0; 32]);
            rng.fill_bytes(batch.as_mut());
            let mut step = self.step(sum(&current, *batch)?, &mut rng)?;
            // Descent directions: they are added.
            step.iter_mut().for_each(|value| *value *= self.learning_rate as f32);
            let next = current.add(&step).map_err(|_| ProtectError::Length)?;
            if !next.difference(model).iter().all(|change| change.is_finite()) {
                break;
            }
            current = next;
        }
        Ok(LocalUpdate::new(current.difference(model)).map_err(ProtectError::from)?)
    }

    /// What a silo without a row contributes to a round on `model`: the noise of every step.
    ///
    /// # Errors
    /// [`ProtectError`]
    pub(crate) fn steps_without_data(
        &self,
        model: &Params,
        seed: [u8; 32],
    ) -> Result<LocalUpdate, ProtectError> {
        self.steps(model, seed, |model, _| {
            Ok(ClippedSum::new(vec![0.0; model.values().len()], self.clip_norm, 0)?)
        })
    }
}

impl Plan {
    /// The noise of each local step; `None` but in `silo_dp_sgd`.
    ///
    /// # Errors
    /// As [`Plan::mechanism`].
    pub fn silo_noise(&self) -> Result<Option<SiloNoise>, Problem> {
        let Some(promise) = self.privacy.promise() else { return Ok(None) };
        let Scheme::SiloDpSgd { sampling, local_steps: steps, .. } = promise.scheme else { return Ok(None) };
        let dimension = self.architecture().parameter_count();
        let Promise { noise_multiplier, clip_norm, scale_bits, .. } = *promise;
        let Sampling { divisor, rows_max, .. } = sampling;
        let scale = scale(SCALE_BITS, scale_bits)?;
        // All of it, by one silo alone.
        let sigma = share(noise_multiplier * delta_l2_sum(scale, clip_norm, dimension), 1)?;
        require_room_for_sums(RING_BITS, 1, scale, clip_norm, rows_max, dimension, sigma)
            .map_err(wrap(SCALE_BITS))?;
        let (noise, learning_rate) = (DiscreteGaussian::new(sigma), self.training.learning_rate);
        Ok(Some(SiloNoise { scale, clip_norm, rows_max, noise, divisor, steps, learning_rate }))
    }
}
