//! What a run asks and what a silo allows: the plan, its author's signature, its arithmetic, and the policy.
//!
//! A **plan** says what a run asks; a **policy** says what one silo allows. A client goes on only where both and
//! the roster (`identity`) agree, so nothing that the coordinator says can weaken what the silo's own policy
//! demands.
//!
//! This crate reads and checks text; it opens no file and no socket, and it holds no protocol state.
//!
//! ```text
//! author    --signs--> Plan   (model, data, privacy, cohort)  content-addressed: Plan::digest
//! silo      --writes-> Policy (floors, budget, modes)         local; Policy::check(&Plan)
//! Plan      --makes--> Mechanism (clip, noise, lanes)         what a contribution passes through
//! trainer   --answers> TrainerAnswer, Plan::believe        what becomes one, and without_data what becomes one instead
//! ```
//!
//! ```
//! use plan::{Policy, Plan};
//! let author = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
//! let policy = Policy::from_toml(&format!(
//!     "cohort_min = 4\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
//!      privacy_modes = [\"distributed_dp_sgd\"]\naccepts_undetected_rollback = true\n\
//!      authors = [\"{author}\"]\n",
//! )).unwrap();
//! assert_eq!(policy.honest_min, 2);
//! assert!(Plan::from_toml("name = \"x\"\ncolour = 1\n").is_err(), "unknown keys are refused");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod answer;
mod authored;
mod claims;
mod clipping;
mod document;
mod limits;
mod mechanism;
mod offers;
mod policy;
mod privacy;
mod problems;
mod refusal;
mod refusal_code;
mod schema;
mod shared_noise;
mod silo_noise;
mod validate;
mod without_data;

pub use answer::{AnswerError, AnswerValues, TABLE_ROWS_MAX, TrainerAnswer};
pub use authored::{AuthorError, AuthoredPlan, PLAN_FILE, SignedPlan};
pub use claims::RunCost;
pub use clipping::Clipping;
pub use document::{Cohort, LocalOptimizer, Model, ParentModel, Plan, PlanError, Timing, Training};
/// What a plan says of tables, for whoever reads the plan.
pub use features::*;
pub use mechanism::{Aggregate, Contribution, Learned, Mechanism, Origin, ProtectError, Protected, SumError};
pub use offers::{Answered, Offers, OffersPerAuthor, PlanOffer};
pub use policy::{Hours, ModelKind, Period, Policy, PolicyError, RosterChanges};
pub use privacy::{
    AdaptiveClipping, Exact, Privacy, PrivacyMode, Promise, Sampled, Sampling, Scheme, Weights,
};
pub use problems::{Problem, Problems};
pub use refusal::Refusal;
pub use refusal_code::RefusalCode;
pub use schema::{Column, Schema};
pub use shared_noise::SharedNoise;
pub use silo_noise::SiloNoise;
pub use validate::VALUES_AT_ONCE_MAX;
pub use without_data::WithoutDataError;
