//! A silo's files as records, whatever kind of files they are: bytes unpacked, decoded and cut into cells as a registered dialect says.
//!
//! Owns: [`Records`], which reads one record after another in the memory of the longest that may be; [`RecordFault`], for a record
//! that is broken and keeps its place; [`FileFault`], for a file that gives no records; and [`Resemblance`], what a file looks like that
//! is not what the dialect says.
//!
//! Does not: choose a dialect, know what a cell means, or keep a record.
//!
//! # One record is read by itself
//! Where [`Dialect::line_breaks`] is off a record is a line, whatever stands in another one: a quote that is left open ends with its
//! line. Where it is on, a record goes on over line breaks that stand between quotes. One that then has not the header's number of
//! cells, or never ends, is broken, and reading goes on at the line after its first. So a stray quote costs the record
//! that it stands in. One that ends and is too long is passed over whole: whoever writes a cell must not make records of its lines. It
//! is followed over four times what a record may have before it is believed that it ends. One case is left: where the bytes from a stray quote to a later one are, as they stand, one record with the
//! header's number of cells, nobody can tell it from a cell with line breaks in it.
//!
//! ```
//! use readers::{RecordFault, Records};
//! use registration::Dialect;
//!
//! let file = "age,note\n71,\"left open\n64,\"a, b\"\n";
//! let mut records = Records::new(file.as_bytes(), &Dialect::default())?;
//! assert_eq!(records.names(), ["age", "note"]);
//! let broken = records.next_record()?.expect("it has a place");
//! assert!(broken.line == 2 && matches!(broken.cells, Err(RecordFault::Quote)));
//! let whole = records.next_record()?.expect("what follows is read as before");
//! assert_eq!(whole.cells?.get(1).as_deref(), Some("a, b"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Dialect::line_breaks`]: registration::Dialect::line_breaks
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod cells;
mod fault;
pub mod idx;
mod image_columns;
mod images;
mod open;
mod parquet;
mod records;
mod resemblance;
mod row;
mod source;
mod text;
mod window;

pub use cells::Cells;
pub use fault::{FileFault, ImageFault, RecordFault};
pub use images::form_of_first;
pub use open::open;
pub use records::{COLUMNS_MAX, RECORD_BYTES_MAX, Record, Records};
pub use resemblance::Resemblance;
