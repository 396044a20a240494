//! What a silo contributes without a row of its data.

use dp::{ClippedSum, LocalUpdate};
use params::Params;

use crate::document::Plan;
use crate::mechanism::{Learned, ProtectError};
use crate::privacy::{Privacy, Scheme};
use crate::problems::Problem;

/// Why nothing stands for a silo's data. It follows from the plan and the model alone.
#[derive(Debug, thiserror::Error)]
pub enum WithoutDataError {
    /// The plan's model cannot be had.
    #[error(transparent)]
    Architecture(#[from] params::ArchitectureError),
    /// The model's parameters are not the plan's architecture.
    #[error("the model has another layout than the plan's architecture")]
    Layout,
    #[error("the model has a parameter that is not finite")]
    Model,
    /// A mode that clips got nothing to clip to.
    #[error("the plan's mode clips, and no clip norm was given")]
    NoClipNorm,
    /// There is no such update, or the noise of a local step cannot be added.
    #[error(transparent)]
    Protect(#[from] ProtectError),
    /// The plan's constants make no mechanism.
    #[error("the plan's {0}")]
    Mechanism(#[from] Problem),
}

impl From<dp::UpdateError> for WithoutDataError {
    fn from(why: dp::UpdateError) -> Self {
        Self::Protect(why.into())
    }
}

impl Plan {
    /// What training on a table without a row brings, bit for bit: zero, and in `silo_dp_sgd` the noise of every step.
    ///
    /// # Privacy
    /// A function of the plan, the model and the seed, which is as secret as a training's. In a mode that promises something about
    /// records it stands for a training that failed, so that who takes part does not give a failure away; what it leaves out is all
    /// of the silo's rows, so the round counts as an exact release.
    ///
    /// # Errors
    /// [`WithoutDataError`]
    pub fn without_data(
        &self,
        model: &Params,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Learned, WithoutDataError> {
        let architecture = self.architecture();
        architecture.validate()?;
        if *model.layout() != architecture.layout() {
            return Err(WithoutDataError::Layout);
        }
        if !model.is_finite() {
            return Err(WithoutDataError::Model);
        }
        let parameters = model.values().len();
        let clip_norm = || clip_norm.ok_or(WithoutDataError::NoClipNorm);
        // Neither rows nor how the model does on them.
        let local = |update| Learned::Update { update, rows: 0, metrics: [0.0; 2] };
        let promise = match &self.privacy {
            Privacy::Exact(_) => return Ok(local(LocalUpdate::new(vec![0.0; parameters])?)),
            Privacy::Private(promise) => promise,
        };
        Ok(match &promise.scheme {
            Scheme::SiloDpSgd { .. } => {
                let noise = self.silo_noise()?.ok_or(ProtectError::OtherKind)?;
                local(noise.steps_without_data(model, seed)?)
            }
            Scheme::DistributedDpSgd { .. } => {
                Learned::Sum(ClippedSum::new(vec![0.0; parameters], clip_norm()?, 0)?)
            }
            Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => {
                Learned::Clipped(LocalUpdate::new(vec![0.0; parameters])?.clip(clip_norm()?)?)
            }
        })
    }
}
