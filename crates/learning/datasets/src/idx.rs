//! Pairs of IDX files: images and their classes, as MNIST and its successors are published.
//!
//! Each file is read as it is or, where it begins like one, as gzip. A row is an image's pixels, row by row of the
//! image; the plan's features are those columns by their place, whatever they are called.
//!
//! # Format
//! LeCun, Cortes, Burges, *The MNIST database of handwritten digits*: two zero bytes, the type of the values, the
//! number of dimensions, each dimension as a big-endian u32, the values. Here the values are bytes (`08`), images
//! have three dimensions and labels one.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use plan::{Data, Feature, Unfit};

use crate::dataset::Dataset;
use crate::table::{ROWS_MAX, Table};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Images,
    /// The classes of the images.
    Labels,
}

/// Why two files are not the table that the plan asks for.
///
/// # Privacy
/// For the silo's own operator. A message shows sizes, or one label.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// A file that cannot be read or unpacked.
    #[error("{part}: cannot be read ({why}); check the path, its permissions and that the copy is whole")]
    Unreadable {
        part: Part,
        /// What the system, or the decoder of gzip, said.
        why: io::Error,
    },
    /// A file of another kind.
    #[error(
        "{part}: the file begins with {actual:08x}, not with {:08x}; give the IDX files of images and of labels, \
         in this order", part.magic()
    )]
    Magic {
        part: Part,
        /// Its first four bytes.
        actual: u32,
    },
    /// A file that is shorter than its header.
    #[error("{part}: the file ends inside its header; copy it anew")]
    CutHeader { part: Part },
    /// A file that ends early.
    #[error("{part}: the file ends before the {count} {part} that its header announces; copy it anew")]
    Truncated {
        part: Part,
        /// What its header announces.
        count: u32,
    },
    /// A file that goes on.
    #[error(
        "{part}: there is more in the file than the {count} {part} that its header announces; copy it anew"
    )]
    TrailingBytes {
        part: Part,
        /// What its header announces.
        count: u32,
    },
    /// Two files that are no pair.
    #[error("there are {images} images and {labels} labels; give two files of one data set")]
    Counts { images: u32, labels: u32 },
    /// Images of another size than the plan's.
    #[error(
        "an image has {rows} rows of {columns} pixels, the plan has {features} features; correct the plan"
    )]
    Pixels {
        /// Rows of an image.
        rows: u32,
        /// Pixels of a row.
        columns: u32,
        /// Features of the plan.
        features: usize,
    },
    /// A plan that asks for something else than numbers.
    #[error("pixel {pixel} of an image {why}; have the plan ask for numbers")]
    Misfit {
        /// Which, from 0.
        pixel: usize,
        why: Unfit,
    },
    /// A label that is no class.
    #[error("label {index} is {label}, which is no class: the plan's are 0 to {largest}; correct the plan")]
    Label {
        /// Which, from 0.
        index: usize,
        label: u8,
        /// The plan's last class.
        largest: usize,
    },
    /// Files of nothing.
    #[error("there is no image in the files; a silo needs at least one row")]
    NoRows,
    /// More than a table may have.
    #[error("there are {labels} labels, a table has at most {ROWS_MAX} rows; split it over several silos")]
    TooManyRows { labels: u32 },
}

/// Reads images and their labels.
///
/// Nothing is set aside on a header's word: memory grows with what is there. [`Dataset::version`] is that of a CSV
/// file with the same numbers.
///
/// # Errors
/// [`IdxError`], the first that is met.
pub fn read(images: impl Read, labels: impl Read, data: &Data) -> Result<Dataset, IdxError> {
    // First of all the labels: their number bounds the images, and one decoder at a time is held.
    let labels = read_labels(labels, data)?;
    let mut file = IdxFile::open(Part::Images, images)?;
    let ([count, rows, columns], width) = (file.dimensions()?, data.column_count());
    let announced = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    if count != announced {
        return Err(IdxError::Counts { images: count, labels: announced });
    }
    if u64::from(rows) * u64::from(columns) != width as u64 {
        return Err(IdxError::Pixels { rows, columns, features: width });
    }
    let mut table = Table::new(data);
    let mut pixels = vec![0_u8; width];
    for label in labels {
        file.reader.read_exact(&mut pixels).map_err(|why| file.failed(why, count))?;
        let pushed = table.push_numbers(f64::from(label), pixels.iter().map(|pixel| f64::from(*pixel)));
        pushed.map_err(|(pixel, why)| IdxError::Misfit { pixel, why })?;
    }
    file.end(count)?;
    Ok(table.named())
}

/// What a plan says of images of `pixels` bytes each: columns `pixel_0`, `pixel_1` and so on, each from 0 to 255.
pub fn data_section(pixels: usize, classes: usize, scaled_to: [f64; 2]) -> Data {
    let features = (0..pixels).map(|pixel| Feature::range(format!("pixel_{pixel}"), 0.0, 255.0)).collect();
    Data { label: "label".into(), classes: classes.into(), scaled_to, features, class_weights: None }
}

fn read_labels(reader: impl Read, data: &Data) -> Result<Vec<u8>, IdxError> {
    let mut file = IdxFile::open(Part::Labels, reader)?;
    let [count] = file.dimensions()?;
    if count == 0 {
        return Err(IdxError::NoRows);
    }
    if count as usize > ROWS_MAX {
        return Err(IdxError::TooManyRows { labels: count });
    }
    let mut labels = Vec::new();
    let read = (&mut file.reader).take(u64::from(count)).read_to_end(&mut labels);
    read.map_err(|why| file.failed(why, count))?;
    if labels.len() < count as usize {
        return Err(IdxError::Truncated { part: file.part, count });
    }
    file.end(count)?;
    match labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= data.classes.count()) {
        Some((index, &label)) => {
            Err(IdxError::Label { index, label, largest: data.classes.count().saturating_sub(1) })
        }
        None => Ok(labels),
    }
}

/// A file whose first bytes were those of its part.
struct IdxFile<'a> {
    part: Part,
    reader: Box<dyn Read + 'a>,
}

impl<'a> IdxFile<'a> {
    fn open(part: Part, mut reader: impl Read + 'a) -> Result<Self, IdxError> {
        let mut start = Vec::new();
        let read = reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut start);
        read.map_err(|why| IdxError::Unreadable { part, why })?;
        let packed = start == GZIP;
        let whole = BufReader::new(io::Cursor::new(start).chain(reader));
        let reader: Box<dyn Read> =
            if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        let mut file = Self { part, reader };
        let actual = file.word()?;
        if actual == part.magic() { Ok(file) } else { Err(IdxError::Magic { part, actual }) }
    }

    fn dimensions<const N: usize>(&mut self) -> Result<[u32; N], IdxError> {
        let mut dimensions = [0; N];
        for dimension in &mut dimensions {
            *dimension = self.word()?;
        }
        Ok(dimensions)
    }

    fn word(&mut self) -> Result<u32, IdxError> {
        let (part, mut bytes) = (self.part, [0; 4]);
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(u32::from_be_bytes(bytes)),
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => Err(IdxError::CutHeader { part }),
            Err(why) => Err(IdxError::Unreadable { part, why }),
        }
    }

    /// The file's end, at which gzip's own checksum is compared too.
    fn end(mut self, count: u32) -> Result<(), IdxError> {
        let mut beyond = Vec::new();
        let read = (&mut self.reader).take(1).read_to_end(&mut beyond);
        read.map_err(|why| self.failed(why, count))?;
        if beyond.is_empty() { Ok(()) } else { Err(IdxError::TrailingBytes { part: self.part, count }) }
    }

    fn failed(&self, why: io::Error, count: u32) -> IdxError {
        let part = self.part;
        match why.kind() {
            ErrorKind::UnexpectedEof => IdxError::Truncated { part, count },
            _ => IdxError::Unreadable { part, why },
        }
    }
}

impl Part {
    /// Two zero bytes, `08` for bytes, the number of dimensions.
    fn magic(self) -> u32 {
        match self {
            Self::Images => 0x0803,
            Self::Labels => 0x0801,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Images => "images",
            Self::Labels => "labels",
        })
    }
}
