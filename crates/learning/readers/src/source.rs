//! A file's bytes, unpacked while they are read.

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use registration::Compression;

use crate::fault::FileFault;

/// What a file packed by gzip begins with.
pub(crate) const GZIP: &[u8] = b"\x1f\x8b";

/// Plain or unpacked.
pub(crate) enum Source<R> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<Chain<Cursor<Vec<u8>>, R>>>),
}

impl<R: Read> Source<R> {
    pub(crate) fn new(mut file: R, compression: Compression) -> Result<Self, FileFault> {
        if compression == Compression::None {
            return Ok(Self::Plain(file));
        }
        let mut first = Vec::new();
        file.by_ref().take(GZIP.len() as u64).read_to_end(&mut first).map_err(FileFault::Unreadable)?;
        match first == GZIP {
            true => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(Cursor::new(first).chain(file))))),
            false => Err(FileFault::NotGzip),
        }
    }

    /// What stopped the reading: the file, or what is packed in it.
    pub(crate) fn fault(&self, why: io::Error) -> FileFault {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match self {
            Self::Gzip(_) if matches!(why.kind(), InvalidData | InvalidInput | UnexpectedEof) => {
                FileFault::Gzip(why)
            }
            Self::Plain(_) | Self::Gzip(_) => FileFault::Unreadable(why),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(packed) => packed.read(buffer),
        }
    }
}
