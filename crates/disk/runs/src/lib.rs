//! The folders of a federation's runs at its coordinator, and how a version of the model comes to lie in one.
//!
//! Owns: where each run's folder is and what makes one ([`RunFolders`]), what is in it ([`RunFolder`]), opening a sum from the staged vectors ([`SumOpening`]), the files of the next version, staged
//! before the record that names them and published after it, the card of each ([`CardWriter`]), and all that was
//! published in the clear ([`RunFolders::export`]). Does not: decide when anything
//! of that happens, which the core does; or speak with anybody.
//!
//! ```text
//! DATA_DIR/                the first run: its store (journal, staged/, checkpoints/), and plan.json
//! DATA_DIR/runs/0002/      the second, of the same shape; and so on
//!
//! staged/       vectors of silos --SumOpening--> NextVersion --stage_next--> staged/   (then the core's record is journalled)
//! checkpoints/  publish: manifest, signature, model, optimiser's state, opened sum, card, evidence: at once or not at all
//! ```
//!
//! ```
//! let full = std::io::Error::from_raw_os_error(28);
//! assert!(runs::is_disk(&full), "a full disk says nothing of the round whose files were written");
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod artifacts;
mod error;
mod export;
mod folder;
mod folders;
mod model_card;
mod opening;
mod parent;

pub use artifacts::next_record;
pub use error::RunFolderError;
pub use export::ExportError;
pub use folder::{NextVersion, RunFolder};
pub use folders::{FIRST, PlanOf, RUNS_FOLDER, RunFolders, RunFoldersError, run_folders_in};
pub use model_card::{CardWriter, EVALUATIONS_FOLDER};
pub use opening::{OpeningError, SumOpening, is_disk};
pub use parent::ParentError;
