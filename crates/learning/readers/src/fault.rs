//! Why a record is broken, and why a file gives none.

use std::io;

use plan::Problems;

use crate::idx::IdxFault;
use crate::records::{COLUMNS_MAX, RECORD_BYTES_MAX};
use crate::resemblance::Resemblance;

/// Names and texts of others are shown up to here.
const SHOWN_CHARS_MAX: usize = 128;

/// What is wrong with one record. It keeps its place among the others, which are read as if it were whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Bytes that are no characters in the dialect's encoding.
    #[error("the record is not {0}; save the file as {0}, or register the `encoding` that it has")]
    NotText(&'static str),
    /// More bytes than a record may have.
    #[error("the record is longer than {RECORD_BYTES_MAX} bytes; end each record with a line break")]
    TooLong,
    /// A quoted cell that does not end as one.
    #[error(
        "a quoted cell does not end before a separator or the end of the line; close its quote, or register \
         `line_breaks = true` where cells hold line breaks"
    )]
    Quote,
    /// Nothing but separators and spaces, or the mark with which old systems end a file.
    #[error("nothing stands in the record; remove it")]
    Empty,
    /// More or fewer cells than there are names.
    #[error("the record has {actual} cells, and there are {expected} columns; correct the record")]
    Ragged {
        /// Cells that there should be.
        expected: usize,
        /// Cells that there are.
        actual: usize,
    },
    /// A header with more cells than a file may have columns.
    #[error("there are more than {COLUMNS_MAX} columns; leave out those that nobody asks for")]
    TooWide,
    /// A decimal number of more than 16 bytes.
    #[error("a decimal number has more digits than are read; round it")]
    Decimal,
    /// A file in a folder of images that gives no record.
    #[error("{file}: {fault}")]
    Image {
        /// Its class's folder and its own name.
        ///
        /// # Privacy
        /// May name a person; where no cell may be shown, neither may this.
        file: String,
        fault: ImageFault,
    },
}

/// Why a file in a folder of images gives no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    #[error("cannot be read ({0}); check its permissions")]
    Unreadable(io::ErrorKind),
    /// It is no regular file.
    #[error("is {0}, and not opened; take it out of the folder")]
    Special(&'static str),
    /// Its name does not end as that of an image.
    #[error("is neither .png nor .jpg by its name; take it out of the folder, or save it as one")]
    Ending,
    /// It lies beside the folders of the classes.
    #[error("lies in no folder of a class; move it into one")]
    NoClass,
    /// It lies in a class's folder whose name is no text.
    #[error("lies in a folder whose name is no text, and so of no class; rename the folder")]
    ClassName,
    /// A folder where images should be.
    #[error("is a folder within that of a class; move its images up")]
    Folder,
    /// Longer than an image's file may be.
    #[error("is longer than {} bytes; save a smaller image", crate::images::FILE_BYTES_MAX)]
    TooLong,
    /// It begins as neither does.
    #[error("is neither PNG nor JPEG; save it as one")]
    Format,
    /// Not as large as is registered.
    #[error("the image has {height} rows of {width} pixels, and another size is registered; scale it")]
    Size { width: u32, height: u32 },
    /// What was stored is damaged, ends too early or is of a rare kind.
    #[error("the image cannot be decoded ({0}); save it anew")]
    Damaged(String),
}

/// Why a file, as a whole or from some place on, gives no records.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It cannot be opened or read.
    #[error("cannot be read ({0}); check the path and its permissions")]
    Unreadable(io::Error),
    /// It is no regular file.
    #[error("is {0}, and not opened; put a regular file in its place")]
    Special(&'static str),
    /// The dialect contradicts itself.
    #[error("the registered dialect cannot be used: {0}")]
    Dialect(Problems),
    /// A label that no encoding has.
    #[error(
        "{0:?} is the label of no encoding; register one such as \"utf-8\", \"utf-16le\" or \"windows-1252\""
    )]
    UnknownEncoding(String),
    /// An encoding in which the bytes of one record say how the next is read.
    #[error(
        "in {0} one record changes how the next is read; save the file as UTF-8, and register `encoding = \"utf-8\"`"
    )]
    Stateful(&'static str),
    /// The file says itself that it has another encoding.
    #[error("the file begins with the byte-order mark of {found}, and {registered} is registered; register `encoding = \"{}\"`, or save it as {registered}", found.to_lowercase())]
    ByteOrderMark {
        /// Whose mark it has.
        found: &'static str,
        /// What the dialect says.
        registered: &'static str,
    },
    /// It is not packed, and should be.
    #[error(
        "the file is not packed by gzip, as is registered; pack it, or register `compression = \"none\"`"
    )]
    NotGzip,
    /// What gzip made is damaged, ends too early, or has something behind it.
    #[error(
        "what gzip packed is damaged, ends too early or is followed by something else ({0}); make the file anew"
    )]
    Gzip(io::Error),
    /// Text was to be read, and the registered kind is none.
    #[error(
        "files of kind \"{0}\" are registered, and here text is read; write the rows as CSV, and leave the registration out"
    )]
    NotText(&'static str),
    /// It does not begin as Parquet does.
    #[error(
        "the file is not Parquet, as is registered; write it as Parquet, or register the `kind` that it is"
    )]
    NotParquet,
    /// It is Parquet, and its columns are encrypted.
    #[error("the file is encrypted Parquet; write it without encryption, on an encrypted disk")]
    Encrypted,
    /// What Parquet stored is damaged, ends too early or is longer than is read.
    #[error("what Parquet stored cannot be read: {0}; write the file anew")]
    Parquet(String),
    /// A column of structures or lists.
    #[error("column {column} is nested; flatten it: write a column for each number in it")]
    Nested { column: String },
    /// A column of something else than numbers, booleans, texts, days and timestamps.
    #[error(
        "column {column} is of the type {kind}, which is not read; write it as a number, a text, a day or a timestamp"
    )]
    ColumnKind {
        column: String,
        /// As Parquet calls it.
        kind: String,
    },
    /// A column that is packed as nothing here unpacks.
    #[error(
        "column {column} is packed by {packing}, which is not read; write the file with snappy, gzip or zstd"
    )]
    Packing { column: String, packing: &'static str },
    /// Two IDX files that are no pair.
    #[error(transparent)]
    Idx(#[from] IdxFault),
    /// A file whose name does not say that it holds images.
    #[error(
        "no file of labels is known to belong to it; name the files like train-images-idx3-ubyte and train-labels-idx1-ubyte"
    )]
    NoPair,
    /// A file of images without one of labels.
    #[error("{0}; put it there under this name, and readable")]
    NoLabels(String),
    /// IDX files with images of another size than is registered, or than any table has.
    #[error(
        "the images have {height} rows of {width} pixels, which is not the registered size, or too many; correct the registration, or scale them"
    )]
    ImageSize { width: u32, height: u32 },
    /// No folder with an image in it.
    #[error(
        "no folder in it holds a PNG or JPEG image; make a folder for each class, and put its images there"
    )]
    NoImages,
    /// There is nothing where the header should be.
    #[error("the file is empty; its first line must name the columns")]
    NoHeader,
    /// The first record, which should name the columns, is broken.
    #[error("line {line}, taken for the header: {fault}{}", and_resemblance(*.resembles))]
    Header {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: RecordFault,
        /// What the file looks like instead.
        resembles: Option<Resemblance>,
    },
}

/// A name or text of a file as a message shows it: in one line, and not longer than a line is.
pub(crate) fn shortened(text: &str) -> String {
    let shown = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() { format!("{shown}…") } else { shown }
}

fn and_resemblance(resembles: Option<Resemblance>) -> String {
    match resembles {
        Some(resembles) => format!(" (the file looks like {resembles})"),
        None => String::new(),
    }
}
