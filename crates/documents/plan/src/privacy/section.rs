//! The plan's section `[privacy]` as it is written and as it travels: flat, each mode with all its keys.

use serde::{Deserialize, Serialize};

use super::{AdaptiveClipping, Exact, Promise, Sampled, Sampling, Scheme, Weights};

/// [`super::Privacy`], by its keys: their names and their order are those of every plan that was ever signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Privacy {
    Fedavg {
        coordinate_max: f64,
        fraction_bits: u32,
        weights: Weights,
        evaluate: bool,
        loss_max: f64,
    },
    DistributedDpSgd {
        epsilon: f64,
        delta: f64,
        noise_multiplier: f64,
        clip_norm: f64,
        #[serde(default, skip_serializing_if = "Sampled::is_record")]
        unit: Sampled,
        sampling_rate: f64,
        divisor: f64,
        scale_bits: u32,
        batch_rows_max: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remove_excess_noise: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
    SiloDpSgd {
        epsilon: f64,
        delta: f64,
        noise_multiplier: f64,
        clip_norm: f64,
        #[serde(default, skip_serializing_if = "Sampled::is_record")]
        unit: Sampled,
        sampling_rate: f64,
        divisor: f64,
        local_steps: u32,
        scale_bits: u32,
        batch_rows_max: u64,
        coordinate_max: f64,
        fraction_bits: u32,
    },
    DistributedDpFedavg {
        epsilon: f64,
        delta: f64,
        noise_multiplier: f64,
        clip_norm: f64,
        scale_bits: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remove_excess_noise: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
    CentralDpFedavg {
        epsilon: f64,
        delta: f64,
        noise_multiplier: f64,
        clip_norm: f64,
        scale_bits: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adaptive_clip: Option<AdaptiveClipping>,
    },
}

impl From<Privacy> for super::Privacy {
    fn from(section: Privacy) -> Self {
        // Field by field, without `..`: a field that one side lacks does not compile.
        match section {
            Privacy::Fedavg { coordinate_max, fraction_bits, weights, evaluate, loss_max } => {
                Self::Exact(Exact { coordinate_max, fraction_bits, weights, evaluate, loss_max })
            }
            Privacy::DistributedDpSgd {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                unit,
                sampling_rate: rate,
                divisor,
                scale_bits,
                batch_rows_max: rows_max,
                remove_excess_noise,
                adaptive_clip,
            } => {
                let sampling = Sampling { unit, rate, divisor, rows_max };
                let scheme = Scheme::DistributedDpSgd { sampling, remove_excess_noise, adaptive_clip };
                Self::Private(Promise { epsilon, delta, noise_multiplier, clip_norm, scale_bits, scheme })
            }
            Privacy::SiloDpSgd {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                unit,
                sampling_rate: rate,
                divisor,
                local_steps,
                scale_bits,
                batch_rows_max: rows_max,
                coordinate_max,
                fraction_bits,
            } => {
                let sampling = Sampling { unit, rate, divisor, rows_max };
                let scheme = Scheme::SiloDpSgd { sampling, local_steps, coordinate_max, fraction_bits };
                Self::Private(Promise { epsilon, delta, noise_multiplier, clip_norm, scale_bits, scheme })
            }
            Privacy::DistributedDpFedavg {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                scale_bits,
                remove_excess_noise,
                adaptive_clip,
            } => {
                let scheme = Scheme::DistributedDpFedavg { remove_excess_noise, adaptive_clip };
                Self::Private(Promise { epsilon, delta, noise_multiplier, clip_norm, scale_bits, scheme })
            }
            Privacy::CentralDpFedavg {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                scale_bits,
                adaptive_clip,
            } => {
                let scheme = Scheme::CentralDpFedavg { adaptive_clip };
                Self::Private(Promise { epsilon, delta, noise_multiplier, clip_norm, scale_bits, scheme })
            }
        }
    }
}

impl From<super::Privacy> for Privacy {
    fn from(privacy: super::Privacy) -> Self {
        // Field by field, without `..`: a field that one side lacks does not compile.
        let Promise { epsilon, delta, noise_multiplier, clip_norm, scale_bits, scheme } = match privacy {
            super::Privacy::Exact(Exact { coordinate_max, fraction_bits, weights, evaluate, loss_max }) => {
                return Self::Fedavg { coordinate_max, fraction_bits, weights, evaluate, loss_max };
            }
            super::Privacy::Private(promise) => promise,
        };
        match scheme {
            Scheme::DistributedDpSgd { sampling, remove_excess_noise, adaptive_clip } => {
                Self::DistributedDpSgd {
                    epsilon,
                    delta,
                    noise_multiplier,
                    clip_norm,
                    unit: sampling.unit,
                    sampling_rate: sampling.rate,
                    divisor: sampling.divisor,
                    scale_bits,
                    batch_rows_max: sampling.rows_max,
                    remove_excess_noise,
                    adaptive_clip,
                }
            }
            Scheme::SiloDpSgd { sampling, local_steps, coordinate_max, fraction_bits } => Self::SiloDpSgd {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                unit: sampling.unit,
                sampling_rate: sampling.rate,
                divisor: sampling.divisor,
                local_steps,
                scale_bits,
                batch_rows_max: sampling.rows_max,
                coordinate_max,
                fraction_bits,
            },
            Scheme::DistributedDpFedavg { remove_excess_noise, adaptive_clip } => Self::DistributedDpFedavg {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                scale_bits,
                remove_excess_noise,
                adaptive_clip,
            },
            Scheme::CentralDpFedavg { adaptive_clip } => Self::CentralDpFedavg {
                epsilon,
                delta,
                noise_multiplier,
                clip_norm,
                scale_bits,
                adaptive_clip,
            },
        }
    }
}

/// [`Sampled`], by its keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "`unit` must be \"record\", \"person\", or { person = { rows_max = N } }")]
pub(super) enum Unit {
    Word(Word),
    Bounded(Bounded),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Record,
    Person,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bounded {
    person: PersonRows,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonRows {
    rows_max: usize,
}

impl From<Unit> for Sampled {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Word(Word::Record) => Self::Record,
            Unit::Word(Word::Person) => Self::PERSON,
            Unit::Bounded(Bounded { person: PersonRows { rows_max } }) => Self::Person { rows_max },
        }
    }
}

impl From<Sampled> for Unit {
    fn from(sampled: Sampled) -> Self {
        match sampled {
            Sampled::Record => Self::Word(Word::Record),
            Sampled::Person { rows_max } => Self::Bounded(Bounded { person: PersonRows { rows_max } }),
        }
    }
}
