//! A run's folder at its coordinator: its journal, and how a version of the model comes to lie there.
//!
//! Owns: the folder ([`RunFolder`]), opening a sum from the staged vectors ([`SumOpening`]), the files of the next version, staged
//! before the record that names them and published after it, and the card of each ([`CardWriter`]). Does not: decide when anything
//! of that happens, which the core does; or speak with anybody.
//!
//! ```text
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
mod folder;
mod model_card;
mod opening;

pub use artifacts::next_record;
pub use error::RunFolderError;
pub use folder::{NextVersion, RunFolder, open_store};
pub use model_card::{CardWriter, EVALUATIONS_FOLDER};
pub use opening::{OpeningError, SumOpening, is_disk};
