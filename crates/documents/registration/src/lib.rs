//! What a silo's operator has registered of its files: how they are written, and what their columns mean.
//!
//! Owns: [`Dialect`], in which a silo's files are written, whatever their [`FileKind`], with all that is wrong in one at once, and
//! [`Marks`], what a reader of text takes from it; [`Registration`], the document that has a dialect and says of each column what its cells are in the
//! federation's words; and [`CellReader`], which reads a cell by it.
//!
//! Does not: read a file, or find out how one is written. Nothing is inferred where a table is read: a dialect is a person's
//! word, and the same bytes are the same records for ever.
//!
//! ```
//! use registration::Dialect;
//!
//! let dialect: Dialect = toml::from_str("separator = ';'\ndecimal = ','\n")?;
//! let marks = dialect.marks().expect("no two of its marks are one");
//! assert_eq!((marks.separator, marks.decimal), (b';', ','));
//! let twice = Dialect { quote: ";".into(), ..dialect };
//! assert!(twice.marks().unwrap_err().to_string().starts_with("dialect.quote: is the separator"));
//! # Ok::<(), toml::de::Error>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod cell;
mod column;
mod dialect;
mod document;
mod ranges;

pub use cell::{CellReader, Misread, RegisteredCell, number};
pub use column::{DateForm, Label, Meaning, Number, RegisteredColumn};
pub use dialect::{Colour, Compression, Dialect, FileKind, ImageForm, Marks};
pub use document::{REGISTRATION_BYTES_MAX, Registration};
