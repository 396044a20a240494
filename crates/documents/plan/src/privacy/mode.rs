//! Names of the modes, and what goes with each.

use serde::{Deserialize, Serialize};

/// A privacy mode's name, as plans and policies write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyMode {
    /// Described at [`super::Exact`].
    Fedavg,
    /// Described at [`super::Scheme::DistributedDpSgd`].
    DistributedDpSgd,
    /// Described at [`super::Scheme::DistributedDpFedavg`].
    DistributedDpFedavg,
    /// Described at [`super::Scheme::SiloDpSgd`].
    SiloDpSgd,
    /// Described at [`super::Scheme::CentralDpFedavg`].
    CentralDpFedavg,
}

impl PrivacyMode {
    /// Its name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fedavg => "fedavg",
            Self::DistributedDpSgd => "distributed_dp_sgd",
            Self::DistributedDpFedavg => "distributed_dp_fedavg",
            Self::SiloDpSgd => "silo_dp_sgd",
            Self::CentralDpFedavg => "central_dp_fedavg",
        }
    }

    /// Whether it promises something about records or silos: then who takes part, and when, follows from no row.
    pub fn promises(self) -> bool {
        match self {
            Self::Fedavg => false,
            Self::DistributedDpSgd | Self::DistributedDpFedavg | Self::SiloDpSgd | Self::CentralDpFedavg => {
                true
            }
        }
    }

    /// Who adds the noise.
    pub fn noise_by(self) -> &'static str {
        match self {
            Self::Fedavg => "nobody",
            Self::SiloDpSgd => "every silo, in full",
            Self::CentralDpFedavg => "the coordinator, to the sum that it has opened",
            Self::DistributedDpSgd | Self::DistributedDpFedavg => "every silo, a share each",
        }
    }

    /// What a silo's trainer could do against the promise and not be found out: what of it the rest of the silo cannot check.
    pub fn trusts_the_trainer_with(self) -> &'static str {
        match self {
            Self::Fedavg => "all that leaves: within its bounds an update may say anything",
            Self::DistributedDpSgd => {
                "clipping each record's gradient, and drawing the batch; the sum's norm is checked, the noise is not the trainer's"
            }
            Self::SiloDpSgd => {
                "clipping, drawing the batches, and all of the noise: nothing of it can be checked"
            }
            Self::DistributedDpFedavg | Self::CentralDpFedavg => {
                "nothing: whatever it answers is within the clip norm that the noise is calibrated for"
            }
        }
    }
}

impl std::fmt::Display for PrivacyMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
