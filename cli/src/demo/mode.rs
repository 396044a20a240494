//! The privacy modes as the demonstration's options name them.

use plan::PrivacyMode;

/// What the demonstration promises about the silos' records.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Per-example clipping, noise by every silo; the unit is one record.
    #[value(name = "distributed_dp_sgd")]
    DistributedDpSgd,
    /// Exact sums: secure aggregation without differential privacy.
    #[value(name = "none")]
    None,
    /// Every silo adds all its noise itself and trusts nobody; the unit is one record.
    #[value(name = "silo_dp_sgd")]
    SiloDpSgd,
    /// Whole updates clipped, noise by the COORDINATOR, which has to be trusted; the unit is one silo. Useless with few silos.
    #[value(name = "central_dp_fedavg")]
    CentralDpFedavg,
    /// Whole updates clipped, noise by every silo; the unit is one silo. Useless with few silos.
    #[value(name = "distributed_dp_fedavg")]
    DistributedDpFedavg,
}

impl From<Mode> for PrivacyMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::DistributedDpSgd => Self::DistributedDpSgd,
            Mode::None => Self::Fedavg,
            Mode::SiloDpSgd => Self::SiloDpSgd,
            Mode::CentralDpFedavg => Self::CentralDpFedavg,
            Mode::DistributedDpFedavg => Self::DistributedDpFedavg,
        }
    }
}
