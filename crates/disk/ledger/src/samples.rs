//! Releases for tests, and a ledger of three debits.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use accounting::{DpEvent, Relation, Unit};
use params::Digest;

use crate::{ClaimLimits, Cost, Ledger, Limits, Release, RunClaim};

/// What the debits of [`spent`] keep.
pub const LIMITS: Limits = Limits { epsilon_max: 9.0, delta: 1e-6, period: None, releases_max: None };

/// What each of them costs.
pub const COST: Cost =
    Cost { event: DpEvent::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 1.0 }, count: 1 };

/// An upload of the daemon `silo` in the run of this name, behind noise that hides a record. A test states beside it what the test
/// is about.
pub fn release(run: &str, round: u64) -> Release {
    Release {
        daemon: "silo".into(),
        run: Digest::sha256(run.as_bytes()),
        run_name: run.into(),
        plan: Digest::sha256(b"plan"),
        round,
        attempt: 1,
        model: Digest::sha256(b"model"),
        upload: Digest::sha256(b"upload"),
        data_version: Some(Digest::sha256(b"data")),
        mode: "distributed_dp_sgd".into(),
        unit: Some(Unit::Record),
        relation: Some(Relation::AddRemoveOne),
        noise_by: "every silo, a share each".into(),
    }
}

/// What the claims of [`claim`] keep.
pub const CLAIM_LIMITS: ClaimLimits = ClaimLimits { limits: LIMITS, per_author: None, exact_releases: 0 };

/// A claim of the daemon `silo` for so many rounds like those of [`release`], for a day.
pub fn claim(run: &str, uploads: u64) -> RunClaim {
    let Release { daemon, run, run_name, plan, unit, .. } = release(run, 1);
    let cost = Some(Cost { count: uploads, ..COST });
    let author = "author".into();
    RunClaim {
        daemon,
        run,
        run_name,
        plan,
        author,
        rounds: uploads,
        uploads,
        unit,
        cost,
        lease_ms: 24 * 3_600_000,
    }
}

/// The ledger of `admissions` in this folder, with two rounds of run `a` and one of run `b`.
pub fn spent(folder: &Path, anchor: Option<PathBuf>) -> Ledger {
    let ledger = Ledger::new(folder, "admissions", anchor, None).unwrap();
    for (run, round) in [("a", 1), ("a", 2), ("b", 1)] {
        ledger.reserve(release(run, round), Some(COST), &LIMITS, round).unwrap();
    }
    ledger
}
