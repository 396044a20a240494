//! A federation on one machine, ready to start: its plan, its folder, and its processes.
//!
//! Owns: a plan over handwritten digits for each privacy mode ([`demo_plan`]), a folder with everything that the daemons
//! need to run it ([`Folder`]), and the child processes, which are the running program in its other roles ([`Daemon`]).
//! Does not: follow a run, check what it published, or print anything.
//!
//! ```text
//! demo_plan ──> Folder::create ──> Daemon::start("coordinator", …) ──> address
//!                      └─ configure_silos(address) ──> Daemon::start("client", …) × N
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

mod daemons;
mod folder;
mod plan;

pub use daemons::{Daemon, DaemonError};
pub use folder::{DemoFolderError, Folder, silo_name};
pub use plan::{DELTA, DemoPlanError, HONEST_MIN, adaptive, demo_plan};
