//! A silo's own table: loaded, validated against the plan, named by its content.
//!
//! Owns: [`Dataset`], read from a CSV file or a folder of them; [`DatasetError`], which names the file, the line,
//! the column and the remedy for the silo's operator; [`Misfits`], which counts the same where none of it is an error; [`Remarks`],
//! which say what of a table that was read may not be what was meant; [`Unlabelled`], the rows of whoever has a model and no labels;
//! [`columns`], [`schema_of`] and [`Survey`], which describe files without a plan; [`idx`], the reader of pairs of IDX files; and [`digits`],
//! the small public table of the examples.
//!
//! Does not: train, split, shuffle, or send anything. No statistic of the data is computed: features are scaled by
//! the public ranges that the plan states.
//!
//! ```
//! use datasets::Dataset;
//! use plan::{Data, Feature};
//!
//! let data = Data {
//!     label: "ill".into(),
//!     classes: 2.into(),
//!     scaled_to: [0.0, 1.0],
//!     features: vec![Feature::range("age", 0.0, 100.0)],
//!     class_weights: None,
//! };
//! let silo = Dataset::from_csv("silo.csv", "ill,age\n0,25\n1,150\n".as_bytes(), &data)?;
//! assert_eq!(silo.features(), [0.25, 1.0]);
//! assert_eq!(silo.labels(), [0, 1]);
//! assert_eq!(silo.clipped_values(), 1, "an age of 150 is clipped to 100");
//! # Ok::<(), datasets::DatasetError>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod dataset;
pub mod digits;
mod error;
mod files;
mod header;
pub mod idx;
mod misfits;
mod persons;
mod remarks;
mod row;
mod schema;
mod survey;
mod table;
mod unlabelled;

pub use dataset::Dataset;
pub use error::DatasetError;
pub use files::{files_with_remarks, name as file_name};
pub use header::bare_name;
pub use misfits::Misfits;
pub use persons::Persons;
pub use remarks::Remarks;
pub use schema::{SchemaError, schema_of};
pub use survey::{Columns, Survey, columns};
pub use table::ROWS_MAX;
pub use unlabelled::{Unlabelled, UnlabelledRow};
