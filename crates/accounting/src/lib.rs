//! What a run's noise is worth: privacy events, their composition, and the (epsilon, delta) they add up to.
//!
//! The crate owns the arithmetic from a released sum ([`Event`]) to a promise ([`Guarantee`]), and the way back:
//! the least noise that keeps a promise ([`calibrate`]), the most releases a promise pays for
//! ([`steps_allowed`]). It adds no noise, keeps no journal and knows nothing of rounds: whoever debits a data set
//! records the events and composes them here.
//!
//! ```text
//! Event --RdpCurve::compose--> RdpCurve (RDP at integer orders 2..=256) --epsilon(delta)--> Guarantee
//! ```
//!
//! Only integer orders are used: there the moment bound of the continuous Gaussian carries over to the discrete
//! one under Poisson sampling, so the epsilon holds for the noise that is really added.
//!
//! ```
//! use accounting::{Event, RdpCurve};
//! let step = Event::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 1.0 };
//! let mut spent = RdpCurve::zero();
//! spent.compose(&step, 1000)?;
//! let guarantee = spent.epsilon(1e-5)?;
//! assert!((guarantee.epsilon - 2.10).abs() < 0.01);
//! # Ok::<(), accounting::AccountingError>(())
//! ```
//!
//! # Paper
//! Mironov, Talwar, Zhang 2019 (RDP of the sampled Gaussian); Canonne, Kamath, Steinke 2020, proposition 12
//! (conversion to epsilon).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod budget;
mod calibrate;
mod event;
mod promise;
mod rdp;

pub use budget::{Budget, steps_allowed};
pub use calibrate::{CalibrationError, NoiseMultiplier, calibrate};
pub use event::{AccountingError, Event};
pub use promise::{Relation, Unit};
pub use rdp::{Guarantee, ORDER_MAX, ORDER_MIN, RdpCurve};
