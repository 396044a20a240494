//! Says what a silo's files hold, and proposes a registration of them: for a person to look at and to confirm.
//!
//! Owns: [`dialect_of`], which says how a text file seems to be written, from its first bytes alone and with its reasons; [`Proposal`],
//! which then reads the whole file, or all files of a folder, by that, says what stands in each column, and writes the registration, in a
//! plan's words where there is one; and [`Inspection`], which counts what the columns hold, finds what a person should look at, and shows both
//! as a text, as JSON and as a page.
//!
//! Does not: decide. What is proposed or found is what stands in some files; nothing is inferred where a silo's daemon starts or trains.
//!
//! # Memory
//! Bounded by the number of columns, and not by that of rows: sketches for quartiles, the first hundred texts of a column, half a million hashes
//! of rows, and the longest record. Some tens of megabytes for the columns that a plan may ask for.
//!
//! ```
//! use inspect::{Inspection, Known};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("silo.csv");
//! std::fs::write(&file, "age;chol\n45;186\n70;0\n61;203\n52;194\n61;203\n")?;
//! let found = Inspection::of(&file, &Known::default())?;
//! let codes: Vec<&str> = found.findings().iter().map(|finding| finding.code).collect();
//! assert_eq!(codes, ["duplicate_rows", "stands_for_missing"]);
//! assert!(found.findings()[1].text.starts_with("1 cell is 0, far from all others"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod columns;
mod dialect;
mod files;
mod findings;
mod inspection;
mod page;
mod plot;
mod profile;
mod proposal;
mod reading;
mod repeats;
mod report;
mod shown;
mod sketch;
mod text;
mod words;
mod written;

pub use dialect::dialect_of;
pub use findings::DataFinding;
pub use inspection::{Inspection, Known};
pub use proposal::{InspectError, Proposal};
