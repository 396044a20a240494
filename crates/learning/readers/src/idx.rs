//! Pairs of IDX files: images and their labels, as MNIST and its successors are published.
//!
//! Each file is read as it is or, where it begins like one, as gzip.
//!
//! # Format
//! LeCun, Cortes, Burges, *The MNIST database of handwritten digits*: two zero bytes, the type of the values, the
//! number of dimensions, each dimension as a big-endian u32, the values. Here the values are bytes (`08`), images
//! have three dimensions and labels one.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use plan::TABLE_ROWS_MAX;
use registration::ImageForm;

use crate::fault::{FileFault, RecordFault, shortened};
use crate::image_columns::ImageColumns;
use crate::open::{name, open};
use crate::row::{Row, Rows};
use crate::source::GZIP;

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Images,
    Labels,
}

/// Why two files are no pair.
///
/// # Privacy
/// For the silo's own operator. A message shows sizes alone.
#[derive(Debug, thiserror::Error)]
pub enum IdxFault {
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
    /// More than a table may have.
    #[error(
        "there are {labels} labels, a table has at most {TABLE_ROWS_MAX} rows; split it over several silos"
    )]
    TooManyRows { labels: u32 },
}

/// Images and their labels.
///
/// Nothing is set aside on a header's word: memory grows with what is there.
pub struct IdxPair<'a> {
    labels: Vec<u8>,
    images: IdxFile<'a>,
    size: [u32; 2],
    /// How many images were read.
    read: usize,
}

impl<'a> IdxPair<'a> {
    /// Reads all labels, and how many images there are of which size.
    ///
    /// # Errors
    /// [`IdxFault`], the first that is met.
    pub fn open(images: impl Read + 'a, labels: impl Read) -> Result<Self, IdxFault> {
        // First of all the labels: their number bounds the images, and one decoder at a time is held.
        let labels = read_labels(labels)?;
        let mut images = IdxFile::open(Part::Images, images)?;
        let [count, rows, columns] = images.dimensions()?;
        // There are no more than a header can announce.
        if count as usize != labels.len() {
            return Err(IdxFault::Counts { images: count, labels: labels.len() as u32 });
        }
        images.count = count;
        Ok(Self { labels, images, size: [rows, columns], read: 0 })
    }

    /// The labels of all images.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// How many rows an image has, and how many pixels a row.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Reads the next image, of which `pixels` has the length, and gives its label; none behind the last.
    ///
    /// # Errors
    /// Images that end early, or go on behind the last.
    pub fn next_image(&mut self, pixels: &mut [u8]) -> Result<Option<u8>, IdxFault> {
        let Some(label) = self.labels.get(self.read) else {
            self.images.end()?;
            return Ok(None);
        };
        self.images.fill(pixels)?;
        self.read += 1;
        Ok(Some(*label))
    }
}

fn read_labels(reader: impl Read) -> Result<Vec<u8>, IdxFault> {
    let mut file = IdxFile::open(Part::Labels, reader)?;
    let [count] = file.dimensions()?;
    if u64::from(count) > TABLE_ROWS_MAX {
        return Err(IdxFault::TooManyRows { labels: count });
    }
    file.count = count;
    let mut labels = Vec::new();
    let read = (&mut file.reader).take(u64::from(count)).read_to_end(&mut labels);
    read.map_err(|why| file.failed(why))?;
    if labels.len() < count as usize {
        return Err(IdxFault::Truncated { part: file.part, count });
    }
    file.end()?;
    Ok(labels)
}

/// A file whose first bytes were those of its part.
struct IdxFile<'a> {
    part: Part,
    reader: Box<dyn Read + 'a>,
    /// What its header announces.
    count: u32,
}

impl<'a> IdxFile<'a> {
    fn open(part: Part, mut reader: impl Read + 'a) -> Result<Self, IdxFault> {
        let mut start = Vec::new();
        let read = reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut start);
        read.map_err(|why| IdxFault::Unreadable { part, why })?;
        let packed = start == GZIP;
        let whole = BufReader::new(io::Cursor::new(start).chain(reader));
        let reader: Box<dyn Read> =
            if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        let mut file = Self { part, reader, count: 0 };
        let actual = file.word()?;
        if actual == part.magic() { Ok(file) } else { Err(IdxFault::Magic { part, actual }) }
    }

    fn dimensions<const N: usize>(&mut self) -> Result<[u32; N], IdxFault> {
        let mut dimensions = [0; N];
        for dimension in &mut dimensions {
            *dimension = self.word()?;
        }
        Ok(dimensions)
    }

    fn word(&mut self) -> Result<u32, IdxFault> {
        let (part, mut bytes) = (self.part, [0; 4]);
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(u32::from_be_bytes(bytes)),
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => Err(IdxFault::CutHeader { part }),
            Err(why) => Err(IdxFault::Unreadable { part, why }),
        }
    }

    fn fill(&mut self, values: &mut [u8]) -> Result<(), IdxFault> {
        self.reader.read_exact(values).map_err(|why| self.failed(why))
    }

    /// The file's end, at which gzip's own checksum is compared too.
    fn end(&mut self) -> Result<(), IdxFault> {
        let mut beyond = Vec::new();
        let read = (&mut self.reader).take(1).read_to_end(&mut beyond);
        read.map_err(|why| self.failed(why))?;
        let (part, count) = (self.part, self.count);
        if beyond.is_empty() { Ok(()) } else { Err(IdxFault::TrailingBytes { part, count }) }
    }

    fn failed(&self, why: io::Error) -> IdxFault {
        let (part, count) = (self.part, self.count);
        match why.kind() {
            ErrorKind::UnexpectedEof => IdxFault::Truncated { part, count },
            _ => IdxFault::Unreadable { part, why },
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

/// A pair's records: the pixels of an image, row by row of it, and its label.
pub(crate) struct IdxRows {
    pair: IdxPair<'static>,
    columns: ImageColumns,
    pixels: Vec<u8>,
}

impl IdxRows {
    /// Opens the file of images and, beside it, that of their labels.
    pub(crate) fn open(images: &Path, form: Option<ImageForm>) -> Result<Self, FileFault> {
        let labels = labels_of(images).ok_or(FileFault::NoPair)?;
        let of_labels = || format!("beside its images there is no {}", shortened(&name(&labels)));
        let opened = open(&labels).map_err(|_| FileFault::NoLabels(of_labels()))?;
        let pair = IdxPair::open(open(images)?, opened)?;
        let [height, width] = pair.size();
        let is_registered =
            form.is_none_or(|form| [u32::from(form.height), u32::from(form.width)] == [height, width]);
        let numbers = u64::from(height) * u64::from(width);
        match ImageColumns::new(numbers).filter(|_| is_registered) {
            Some(columns) => Ok(Self { pair, columns, pixels: vec![0; numbers as usize] }),
            None => Err(FileFault::ImageSize { width, height }),
        }
    }
}

impl Rows for IdxRows {
    fn names(&self) -> &[String] {
        self.columns.names()
    }

    fn select(&mut self, _: &[usize]) -> Result<(), FileFault> {
        Ok(())
    }

    fn next_row(&mut self, row: &mut Row) -> Result<Option<Result<(), RecordFault>>, FileFault> {
        let Some(label) = self.pair.next_image(&mut self.pixels)? else { return Ok(None) };
        self.columns.set(row, &self.pixels, &label.to_string());
        Ok(Some(Ok(())))
    }
}

/// The file of labels that belongs to one of images: `train-labels-idx1-ubyte.gz` to `train-images-idx3-ubyte.gz`.
fn labels_of(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    (labels != name).then(|| images.with_file_name(labels))
}
