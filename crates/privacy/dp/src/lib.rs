//! From a silo's trained update to noised lanes: clip, quantise, add exact noise, in one direction.
//!
//! The crate owns the types of that pipeline, the sensitivities that the noise is calibrated to, the checks that
//! the ring cannot wrap, and an exact sampler of the discrete Gaussian. It accounts nothing (that is
//! `accounting`), masks nothing (`secagg`), trains nothing and reads no plan.
//!
//! ```text
//! LocalUpdate  --clip-----------> ClippedUpdate --quantize_stochastic--+
//! LocalUpdate  --quantize_exact------------------(no privacy mode)-----+--> QuantizedUpdate
//! ClippedSum   --quantize_nearest--------------------------------------+          |
//!                                       add_noise, or without_noise and a witness v
//!                                                                     NoisedUpdate --into_lanes--> u32 lanes
//! ```
//!
//! Each step consumes the last type; nothing on the way can be copied, printed or kept, and memory is zeroised.
//! Lanes are two's complement in Z_{2^32}; after secure aggregation [`dequantize`] or [`ExactEncoding::decode`]
//! reads the sum.
//!
//! ```
//! use chacha20::ChaCha20Rng;
//! use chacha20::rand_core::SeedableRng;
//! use dp::{ClippedSum, DiscreteGaussian, Scale, dequantize, sensitivity};
//!
//! let mut rng = ChaCha20Rng::from_seed([7; 32]);
//! let scale = Scale::from_bits(16)?;
//! let delta = sensitivity::delta_l2_sum(scale, 1.0, 3);
//! let noise = DiscreteGaussian::new(sensitivity::sigma_local(0.01 * delta, 2)?);
//!
//! let sum = ClippedSum::new(vec![0.5, -2.0, 1.0], 1.0, 8)?;
//! let noised = sum.quantize_nearest(scale, 64)?.add_noise(&noise, &mut rng);
//! let read = dequantize(&noised.into_lanes(), scale);
//! assert!((read[1] + 2.0).abs() < 0.1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An update cannot skip the steps between it and the lanes:
//!
//! ```compile_fail,E0599
//! let update = dp::LocalUpdate::new(vec![1.0]).unwrap();
//! let noised: dp::NoisedUpdate = update.without_noise(dp::WithoutNoise::plan_has_no_privacy());
//! ```
//!
//! ```compile_fail,E0599
//! let update = dp::LocalUpdate::new(vec![1.0]).unwrap();
//! let lanes = update.into_lanes();
//! ```
//!
//! nor be used twice:
//!
//! ```compile_fail,E0382
//! let update = dp::LocalUpdate::new(vec![1.0]).unwrap();
//! let once = update.clip(1.0);
//! let twice = update.clip(1.0);
//! ```
//!
//! nor be copied:
//!
//! ```compile_fail,E0599
//! let update = dp::LocalUpdate::new(vec![1.0]).unwrap();
//! let copy = update.clone();
//! ```
//!
//! # Paper
//! Kairouz, Liu, Steinke 2021 (the distributed discrete Gaussian); Canonne, Kamath, Steinke 2020 (the sampler).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod adaptive;
mod exact;
mod mechanism;
mod noise;
mod quantize;
mod random_bits;
pub mod ring;
mod scale;
pub mod sensitivity;
mod sigma;
mod update;

pub use adaptive::{AdaptiveClip, AdaptiveClipError};
pub use exact::{DecodeError, EncodingError, ExactEncoding, ExactMean, ExactQuantized, MetricRange, Weight};
pub use mechanism::DiscreteGaussian;
pub use noise::{NoisedUpdate, WithoutNoise, dequantize};
pub use quantize::{QuantizeError, QuantizedUpdate};
pub use scale::{Scale, ScaleError};
pub use sigma::{SIGMA_MAX, Sigma, SigmaError};
pub use update::{ClippedSum, ClippedUpdate, LocalUpdate, UpdateError};
