//! What attacks show about a model's privacy: lower bounds on epsilon, and how well members are told from others.
//!
//! Owns: the one-run audit ([`one_run`]), the membership-inference attack's figures ([`membership`]) and the inversion
//! of a linear layer's gradient ([`inversion`]). Does not: train, choose canaries or know a plan. An audit that finds
//! little proves little: a lower bound is no promise, it can only contradict one.
//!
//! ```
//! use empirical::one_run::{Guesses, epsilon_lower_bound};
//! let perfect = Guesses { canaries: 100, guesses: 100, correct: 100 };
//! let bound = epsilon_lower_bound(&perfect, 0.0, 0.95);
//! assert!((bound - 3.49).abs() < 0.01);
//! ```
//!
//! # Papers
//! Steinke, Nasr, Jagielski 2023, *Privacy Auditing with One (1) Training Run*; Yeom et al. 2018 (loss-threshold
//! membership inference); Hanley, McNeil 1982 (area under the curve); Phong et al. 2018 (inversion of a linear layer).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod binomial;
pub mod inversion;
pub mod membership;
pub mod one_run;
