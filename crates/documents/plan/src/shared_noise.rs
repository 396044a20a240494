//! How silos share the calibrated noise of a sum.

use dp::sensitivity::{NoiseShareError, sigma_excess, sigma_local};
use dp::{DiscreteGaussian, NoisedUpdate, QuantizedUpdate, Sigma};
use rand_core::CryptoRng;
use secagg::{EXCESS_COHORT_MAX, ExcessNoise, ExcessSeed, NoiseSeeds};

use crate::document::Cohort;
use crate::mechanism::{ProtectError, share};
use crate::problems::Problem;

/// Noise of which every silo adds a share, calibrated for those of a sum that are honest.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedNoise {
    sigma_total: f64,
    share: Sigma,
    corrupt: usize,
    excess: ExcessNoise,
}

impl SharedNoise {
    /// Noise of standard deviation `sigma_total`, in lanes.
    ///
    /// # Errors
    /// The field at fault and the remedy.
    pub(crate) fn new(sigma_total: f64, cohort: &Cohort, excess: ExcessNoise) -> Result<Self, Problem> {
        let noise = Self {
            sigma_total,
            share: share(sigma_total, cohort.honest_min)?,
            corrupt: cohort.corrupt,
            excess,
        };
        if excess.is_removed() {
            const FIELD: &str = "privacy.remove_excess_noise";
            if cohort.maximum > EXCESS_COHORT_MAX {
                let why = format!(
                    "shares of the noise seeds of more than {EXCESS_COHORT_MAX} silos do not fit a message; lower \
                     cohort.maximum, or leave remove_excess_noise out"
                );
                return Err(Problem::new(FIELD, why));
            }
            // Components are the finer the more silos there are.
            noise.base(cohort.maximum).and_then(|_| noise.component(cohort.maximum - 1)).map_err(|why| {
                Problem::new(
                    FIELD,
                    format!(
                        "{why}; raise scale_bits, lower cohort.maximum, or leave remove_excess_noise out"
                    ),
                )
            })?;
        }
        Ok(noise)
    }

    /// The most that one silo adds: what the ring needs room for.
    pub fn share(&self) -> Sigma {
        self.share
    }

    /// Standard deviation of the noise in each lane of an opened sum of `included` silos, if all of them add it.
    pub fn sigma_in_sum(&self, included: usize) -> f64 {
        let included_root = (included as f64).sqrt();
        match self.excess {
            ExcessNoise::Kept => self.share.value() * included_root,
            ExcessNoise::Removed => {
                self.sigma_total * included_root
                    / (included.saturating_sub(self.corrupt).max(1) as f64).sqrt()
            }
        }
    }

    /// Adds one silo's share.
    ///
    /// # Errors
    /// [`ProtectError`] where a component would be missing or cannot be drawn: the sum could hold too little.
    ///
    /// # Privacy
    /// Where excess is kept, `σ_total/√honest_min`. Where it is removed, of `n` silos that mask: `σ_total/√(n − c)`, and a
    /// component for each number `v` of silos below `n` that may be left, of variance
    /// `σ_total²(1/(v − c) − 1/(v + 1 − c))`. A sum of `u` is rid of those with `v < u`, so that `u − c` of its silos keep
    /// `σ_total` together: the `c` that collude may add nothing, and nothing less than the calibrated noise is left.
    pub(crate) fn add_to(
        &self,
        update: QuantizedUpdate,
        seeds: &NoiseSeeds,
        rng: &mut dyn CryptoRng,
    ) -> Result<NoisedUpdate, ProtectError> {
        if !self.excess.is_removed() {
            return Ok(update.add_noise(&DiscreteGaussian::new(self.share), rng));
        }
        let components = seeds.complete().ok_or(ProtectError::NoiseSeeds)?;
        let base = DiscreteGaussian::new(self.base(seeds.silos())?);
        components.iter().try_fold(update.add_noise(&base, rng), |noised, seed| {
            let noise = DiscreteGaussian::new(self.component(seed.level())?);
            Ok(noised.add_component(&noise, &mut seed.rng()))
        })
    }

    /// Takes the components that a sum does without off its lanes.
    ///
    /// # Errors
    /// A component that no silo of this plan draws.
    pub(crate) fn take_off(&self, lanes: &mut [u32], excess: &[ExcessSeed]) -> Result<(), NoiseShareError> {
        for seed in excess {
            DiscreteGaussian::new(self.component(seed.level())?).take_off_lanes(lanes, &mut seed.rng());
        }
        Ok(())
    }

    fn base(&self, silos: usize) -> Result<Sigma, NoiseShareError> {
        sigma_local(self.sigma_total, silos.saturating_sub(self.corrupt))
    }

    fn component(&self, level: usize) -> Result<Sigma, NoiseShareError> {
        sigma_excess(self.sigma_total, level.saturating_sub(self.corrupt))
    }
}
