//! A federation on one machine: its plan, its folder, its processes, and a run of it.
//!
//! Owns: a plan over handwritten digits for each privacy mode ([`demo_plan`]), a folder with everything that the daemons
//! need to run it ([`DemoFolder`]), the child processes, which are the running program in its other roles ([`Processes`]), and a
//! run to its end, each published version judged on rows that no silo has ([`run()`], [`Summary`], [`summary_text`]), or to where a signal stops it
//! ([`StopSignals`]). Does not: check the chain that is left in the folder, or print anything.
//!
//! ```text
//! demo_plan ──> DemoFolder::create ──> run ─┬─ Processes: coordinator, client × N   (child processes)
//!                                           └─ status, versions ──> Audience, Summary
//! ```
//!
//! ```
//! use plan::PrivacyMode;
//!
//! let plan = demo::demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None)?;
//! assert_eq!((plan.cohort.maximum, plan.budget()), (5, Some((4.9, 1e-5))));
//! # Ok::<(), demo::DemoPlanError>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod error;
mod folder;
mod follow;
mod plan;
mod process;
mod processes;
mod run;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod stopped;
mod summary;
mod text;

pub use error::DemoRunError;
pub use folder::{DemoFolder, DemoFolderError};
pub use follow::{EvaluatedVersion, FollowError};
pub use plan::{DELTA, DemoPlanError, HONEST_MIN, adaptive, demo_plan};
pub use process::{Process, ProcessError};
pub use processes::Processes;
pub use run::{Audience, run};
pub use stopped::{StopSignals, StoppedError};
pub use summary::{DemoEnd, Summary};
pub use text::{mode_warning, summary_text, version_line};
