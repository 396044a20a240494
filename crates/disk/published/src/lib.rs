//! Published versions of a model, as files: read, and checked offline from the files alone.
//!
//! Owns: the check of a chain of checkpoints in a folder ([`verify_folder`]), of one version by itself ([`check_version`]), of
//! the signatures and the evidence for outsiders ([`check_evidence`]), and of the server's steps and spending, done again from a
//! signed plan ([`check_steps`], [`check_spent`]), or all of these at once, of one run ([`check_run`]) or of all runs of a federation ([`check_runs`]); a copy of a version with measurements in its card ([`Measured`]); and an incident's evidence as a document ([`report`]). Does not: fetch anything, write anything, or decide what is used.
//!
//! ```text
//! checkpoints/000012/  manifest.json manifest.sig       the chain: every record signed, every file named by a record
//!                      model.safetensors optimizer.state
//!                      aggregate.bin                    the opened sum: with a plan, the step is done again
//!                      model_card.yaml README.md        the model card: says what record, chain and plan say
//!                      plan.json                        the plan, as its author signed it: the one that the record names
//!                      model.sig evidence.dsse.json     for public tools, under the model key
//! ```
//!
//! # Example
//!
//! ```
//! let nowhere = published::verify_folder(std::path::Path::new("no-such-folder"), None).unwrap_err();
//! assert!(nowhere.to_string().contains("no-such-folder"));
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod alone;
mod checked;
mod evidence;
mod folder;
mod listing;
mod measured;
mod records;
pub mod report;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod sealed;
#[cfg(test)]
mod tests;
mod text;
mod verify;
mod version;

pub use alone::{Alone, check_version};
pub use checked::{Against, Checked, check_run, check_runs, plan_among};
pub use evidence::{check_evidence, check_spent, check_steps, is_signed};
pub use folder::{Folder, Plain, checkpoints_in, read_bounded};
pub use listing::{ListingError, list_files};
pub use measured::{CopiedFiles, Measured, MeasuredError};
pub use records::{Records, read_record};
pub use sealed::refuse_sealed;
pub use text::{cards_line, evidence_line, record_line, verified_json};
pub use verify::{
    CheckpointFault, Verified, read_plan, verify_chain, verify_folder, verify_records, verify_version,
};
pub use version::{Version, VersionFiles, read_version, read_version_files};
