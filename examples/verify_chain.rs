//! Checks a run's published chain from its files alone, as an auditor would inside a program of their own.
//!
//!     cargo run --example verify_chain -- FOLDER [PLAN.json]
//!
//! FOLDER is a coordinator's data folder or a copy of its folder `checkpoints`. With the signed plan the server's step of each
//! round is done again.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use anyhow::Context;
use plan::SignedPlan;
use published::{Plain, check_spent, check_steps, checkpoints_in, verify_chain};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("which folder? verify_chain FOLDER [PLAN.json]")?);
    let folder = checkpoints_in(&folder);
    let plain = Plain::new(&folder);
    // A key that was pinned elsewhere would show whose chain it is; without one it is shown to be one author's.
    let verified = verify_chain(&plain, None, None)?;
    for manifest in &verified.manifests {
        let (silos, model) = (manifest.included.len(), manifest.model.params_digest.short());
        println!("round {}: {silos} silos, model {model}", manifest.round);
    }
    if let Some(file) = args.next() {
        let plan = SignedPlan::from_json(&std::fs::read_to_string(file)?)?.open()?;
        check_spent(&plain, &verified.manifests, &plan)?;
        let steps = check_steps(&plain, &verified, &plan)?;
        println!("{} steps done again", steps.len());
    }
    println!("{} rounds hold, head {}", verified.rounds, verified.head);
    Ok(())
}
