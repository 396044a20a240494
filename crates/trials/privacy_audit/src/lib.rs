//! Attacks on a run, beside what is claimed of it.
//!
//! Owns: canaries, which a silo puts into its data by the toss of a coin ([`Canaries`]); the guess of those coins from what
//! every member of a run is given, over a finished chain in a folder ([`audit_folder`]) or over a federation in this process
//! ([`Trial`]); membership inference and inversion; and what all of it says of the claim ([`Findings`]), also for
//! people ([`findings_text`]). Does not: write a file. The statistics are `empirical`'s.
//!
//! ```text
//! Canaries::draw ──> a silo's table ──> the run ──> audit_folder ┐
//!       └────────────────────────────> Trial (rehearsal) ────────┴─> scores ──> guesses ──> Findings, Verdict
//! ```
//!
//! ```
//! let plan = demo::demo_plan(plan::PrivacyMode::DistributedDpSgd, 5, None, None)?;
//! let canaries = privacy_audit::Canaries::draw(&plan, 8, [1; 32])?;
//! assert_eq!(privacy_audit::Canaries::from_json(&canaries.to_json()?, &plan)?, canaries);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod canaries;
mod chain;
mod error;
mod findings;
mod membership;
mod rehearse;
mod scores;
mod text;

pub use canaries::{Canaries, CanariesError, Canary};
pub use chain::{audit_folder, last_model};
pub use error::AuditError;
pub use findings::{Claim, Contradicted, Findings, Inversion, Membership, Verdict};
pub use membership::membership;
pub use rehearsal::NoiseLevel;
pub use rehearse::Trial;
pub use text::{findings_text, reach_text};
