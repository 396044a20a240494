//! What a run's noise is worth: privacy events, their composition, and the (epsilon, delta) they add up to.
//!
//! The crate owns the arithmetic from a released sum ([`DpEvent`]) to a promise ([`Guarantee`]), and the way back:
//! the least noise that keeps a promise ([`calibrate`]), the most releases a promise pays for
//! ([`steps_allowed`]). It adds no noise, keeps no journal and knows nothing of rounds: whoever debits a data set
//! records the events and composes them here.
//!
//! ```text
//! DpEvent --RdpCurve::compose--> RdpCurve (RDP at integer orders 2..=256) --epsilon(delta)--> Guarantee    gates budgets
//! [(DpEvent, count)] --fractional_epsilon, pld_epsilon--> epsilon of the continuous Gaussian               is printed beside it
//! ```
//!
//! What gates a budget uses integer orders only: there the moment bound of the continuous Gaussian carries over to the
//! discrete one under Poisson sampling, so the epsilon holds for the noise that is really added. Fractional orders and
//! privacy loss distributions are sharper, and are the continuous Gaussian's: no proof here carries them over.
//!
//! ```
//! use accounting::{DpEvent, RdpCurve};
//! let step = DpEvent::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 1.0 };
//! let mut spent = RdpCurve::zero();
//! spent.compose(&step, 1000)?;
//! let guarantee = spent.epsilon(1e-5)?;
//! assert!((guarantee.epsilon - 2.10).abs() < 0.01);
//! # Ok::<(), accounting::AccountingError>(())
//! ```
//!
//! # Paper
//! Mironov, Talwar, Zhang 2019 (RDP of the sampled Gaussian); Canonne, Kamath, Steinke 2020, proposition 12
//! (conversion to epsilon); Wang, Balle, Kasiviswanathan 2019 (batches of fixed size); Doroshenko et al. 2022 (privacy
//! loss distributions); Balle, Wang 2018 (one Gaussian release); Kairouz, Liu, Steinke 2021 (sums of discrete noise).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod accountant;
mod budget;
mod calibrate;
mod event;
mod fixed_size;
mod fractional;
mod gaussian;
mod pld;
mod promise;
mod rdp;
mod shown;

pub use accountant::{Accountant, EpsilonSpent};
pub use budget::{Budget, OverBudget, OverPeriod, steps_allowed};
pub use calibrate::{CalibrationError, NoiseMultiplier, calibrate, calibrate_by};
pub use event::{AccountingError, DpEvent};
pub use fractional::{FractionalGuarantee, default_orders, fractional_epsilon, rdp_at};
pub use gaussian::{
    DiscreteSum, analytic_gaussian_delta, analytic_gaussian_epsilon, analytic_gaussian_noise, rdp_epsilon,
    zcdp_epsilon,
};
pub use pld::{PldRelation, pld_epsilon, pld_epsilon_under};
pub use promise::{Relation, Unit, or_none};
pub use rdp::{Guarantee, ORDER_MAX, ORDER_MIN, RdpCurve, epsilon_of, epsilon_or_infinity};
pub use shown::{rounded_down, rounded_up};
