//! Models and masked vectors in chunks, each with its own digest.
//!
//! A damaged chunk is found when it arrives and named; the digest of the whole is checked at the end. The
//! digests find accidents. What stops a malicious peer is the signature over the whole's digest, which the
//! header's owner checks.

use std::fmt;

use bytes::Bytes;
use messages::{OfRun, UploadHeader};
use params::Digest;
use secagg::MaskedUpdate;
use sha2::{Digest as _, Sha256};

use crate::convert::{ConversionError, Fault, ModelHeader, fixed};
use crate::{limits, v1};

/// Why a stream of chunks is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A message that is no chunk.
    #[error(transparent)]
    Malformed(#[from] ConversionError),
    /// A chunk's data do not have its digest.
    #[error("{place} arrived damaged: its digest is not that of its data; transfer it again")]
    Damaged { place: ChunkPlace },
    /// Another chunk than the next one.
    #[error("{place} arrived where {expected} was due")]
    OutOfOrder {
        place: ChunkPlace,
        /// Which should have.
        expected: ChunkPlace,
    },
    /// A chunk is longer or shorter than it may be.
    #[error("{place} holds {got} bytes; {need} are expected at most, and fewer only in the last one")]
    Size {
        place: ChunkPlace,
        got: usize,
        /// The bytes that are due.
        need: u64,
    },
    /// The stream ended too early.
    #[error("the stream ended after {received} of {total} bytes")]
    Truncated {
        /// Bytes that arrived whole.
        received: u64,
        total: u64,
    },
    /// All chunks are sound, and together they are something else than the header says.
    #[error("all chunks arrived, but together they do not have the digest that the header names")]
    WholeDigest,
}

/// Where a chunk belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkPlace {
    /// Of a model: counted from 0, shown from 1.
    Index {
        index: u64,
        /// Of how many.
        count: u64,
    },
    /// Of a masked vector, which is resumed anywhere.
    Offset {
        /// Of its first byte.
        offset: u64,
        /// Of how many bytes.
        total: u64,
    },
}

impl fmt::Display for ChunkPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { index, count } => write!(f, "chunk {} of {count}", index.saturating_add(1)),
            Self::Offset { offset, total } => write!(f, "the chunk at byte {offset} of {total}"),
        }
    }
}

/// An upload's messages: the header, then the vector's bytes from `from_offset` on.
///
/// # Privacy
/// The only function that makes network bytes of an update, and it takes a masked one. Plain lanes are not
/// accepted:
///
/// ```
/// fn upload(header: &messages::OfRun<messages::UploadHeader>, masked: &secagg::MaskedUpdate) -> usize {
///     wire::upload_chunks(header, masked, 0).count()
/// }
/// ```
///
/// ```compile_fail,E0308
/// fn upload(header: &messages::OfRun<messages::UploadHeader>, noised: &Vec<u32>) -> usize {
///     wire::upload_chunks(header, noised, 0).count()
/// }
/// ```
pub fn upload_chunks<'a>(
    header: &OfRun<UploadHeader>,
    masked: &'a MaskedUpdate,
    from_offset: u64,
) -> impl Iterator<Item = v1::UploadChunk> + use<'a> {
    let first = v1::upload_chunk::Part::Header(header.clone().into());
    let data = lane_chunks(masked.lanes(), from_offset).map(v1::upload_chunk::Part::Data);
    std::iter::once(first).chain(data).map(|part| v1::UploadChunk { part: Some(part) })
}

/// A model's messages: the header, then the file's bytes in chunks of [`limits::CHUNK_BYTES`].
pub fn model_chunks(round: u64, model: Digest, file: Bytes) -> impl Iterator<Item = v1::ModelChunk> {
    let header = ModelHeader {
        round,
        model,
        sha256: Digest::sha256(&file),
        total_bytes: file.len() as u64,
        chunk_bytes: limits::CHUNK_BYTES as u32,
    };
    let starts = (0..file.len()).step_by(limits::CHUNK_BYTES);
    let data = (0..).zip(starts).map(move |(index, start)| {
        model_data(index, file.slice(start..file.len().min(start.saturating_add(limits::CHUNK_BYTES))))
    });
    std::iter::once(model_header(header)).chain(data)
}

/// The first of a model's messages, for whoever does not hold the file.
pub fn model_header(header: ModelHeader) -> v1::ModelChunk {
    v1::ModelChunk { part: Some(v1::model_chunk::Part::Header(header.into())) }
}

/// One of those that follow, counted from 0; all but the last hold what the header says.
pub fn model_data(index: u64, data: Bytes) -> v1::ModelChunk {
    let sha256 = Sha256::digest(&data).to_vec();
    v1::ModelChunk { part: Some(v1::model_chunk::Part::Data(v1::ModelData { index, data, sha256 })) }
}

/// Checks a model's chunks as they arrive. Holds none of them.
#[derive(Debug)]
pub struct ChunkVerifier {
    header: ModelHeader,
    whole: Whole,
}

impl ChunkVerifier {
    /// For the stream that began with this header.
    pub fn new(header: ModelHeader) -> Self {
        Self { header, whole: Whole::new(header.total_bytes) }
    }

    /// The data of the next chunk, checked.
    ///
    /// # Errors
    /// [`ChunkError`], after which the stream is of no more use.
    pub fn accept(&mut self, chunk: v1::ModelChunk) -> Result<Bytes, ChunkError> {
        let chunk = match chunk.part {
            Some(v1::model_chunk::Part::Data(chunk)) => chunk,
            Some(v1::model_chunk::Part::Header(_)) => Err(ConversionError::new("header", Fault::Unexpected))?,
            None => Err(ConversionError::new("part", Fault::Missing))?,
        };
        let chunk_bytes = u64::from(self.header.chunk_bytes);
        let count = self.header.total_bytes.div_ceil(chunk_bytes);
        let place = ChunkPlace::Index { index: chunk.index, count };
        let expected = ChunkPlace::Index { index: self.whole.received.div_ceil(chunk_bytes), count };
        if place != expected {
            return Err(ChunkError::OutOfOrder { place, expected });
        }
        let need = self.whole.left().min(chunk_bytes);
        if need == 0 || chunk.data.len() as u64 != need {
            return Err(ChunkError::Size { place, got: chunk.data.len(), need });
        }
        self.whole.take(place, chunk.data, &chunk.sha256)
    }

    /// Checks the whole, once the stream has ended.
    ///
    /// # Errors
    /// [`ChunkError::Truncated`], [`ChunkError::WholeDigest`].
    pub fn finish(self) -> Result<(), ChunkError> {
        self.whole.finish(self.header.sha256)
    }
}

/// Checks an upload's chunks as they arrive. Holds none of them.
#[derive(Debug)]
pub struct UploadVerifier {
    digest: Digest,
    whole: Whole,
}

impl UploadVerifier {
    /// For the upload that began with this header.
    pub fn new(header: &UploadHeader) -> Self {
        // A header off the network is within its limits; one made elsewhere must not overflow here.
        Self { digest: header.digest, whole: Whole::new(header.lanes.saturating_mul(limits::LANE_BYTES)) }
    }

    /// Takes in the next bytes of what is staged already, to go on where an earlier stream broke off.
    ///
    /// # Errors
    /// [`ChunkError::Size`]: more is staged than the upload has; it belongs to another one.
    pub fn resume(&mut self, staged: &[u8]) -> Result<(), ChunkError> {
        self.check_size(self.place(self.whole.received), staged.len(), self.whole.left())?;
        self.whole.extend(staged);
        Ok(())
    }

    /// Bytes checked so far: where the next chunk begins.
    pub fn received_bytes(&self) -> u64 {
        self.whole.received
    }

    /// The data of the next chunk, checked.
    ///
    /// # Errors
    /// [`ChunkError`]. What was accepted before stays good: another stream may resume there.
    pub fn accept(&mut self, chunk: v1::UploadChunk) -> Result<Bytes, ChunkError> {
        let chunk = match chunk.part {
            Some(v1::upload_chunk::Part::Data(chunk)) => chunk,
            Some(v1::upload_chunk::Part::Header(_)) => {
                Err(ConversionError::new("header", Fault::Unexpected))?
            }
            None => Err(ConversionError::new("part", Fault::Missing))?,
        };
        let place = self.place(chunk.offset);
        let expected = self.place(self.whole.received);
        if place != expected {
            return Err(ChunkError::OutOfOrder { place, expected });
        }
        let most = self.whole.left().min(limits::CHUNK_BYTES_MAX as u64);
        if chunk.data.is_empty() {
            return Err(ChunkError::Size { place, got: 0, need: most });
        }
        self.check_size(place, chunk.data.len(), most)?;
        self.whole.take(place, chunk.data, &chunk.sha256)
    }

    /// Checks the whole, once the stream has ended.
    ///
    /// # Errors
    /// [`ChunkError::Truncated`], [`ChunkError::WholeDigest`].
    pub fn finish(self) -> Result<(), ChunkError> {
        self.whole.finish(self.digest)
    }

    fn place(&self, offset: u64) -> ChunkPlace {
        ChunkPlace::Offset { offset, total: self.whole.total }
    }

    fn check_size(&self, place: ChunkPlace, got: usize, need: u64) -> Result<(), ChunkError> {
        if got as u64 > need { Err(ChunkError::Size { place, got, need }) } else { Ok(()) }
    }
}

/// The running length and digest of what arrives in pieces.
#[derive(Debug)]
struct Whole {
    total: u64,
    received: u64,
    sha256: Sha256,
}

impl Whole {
    fn new(total: u64) -> Self {
        Self { total, received: 0, sha256: Sha256::new() }
    }

    fn left(&self) -> u64 {
        self.total.saturating_sub(self.received)
    }

    fn extend(&mut self, data: &[u8]) {
        self.sha256.update(data);
        self.received = self.received.saturating_add(data.len() as u64);
    }

    fn take(&mut self, place: ChunkPlace, data: Bytes, sha256: &[u8]) -> Result<Bytes, ChunkError> {
        if Digest::from_bytes(fixed("sha256", sha256)?) != Digest::sha256(&data) {
            return Err(ChunkError::Damaged { place });
        }
        self.extend(&data);
        Ok(data)
    }

    fn finish(self, digest: Digest) -> Result<(), ChunkError> {
        if self.received != self.total {
            return Err(ChunkError::Truncated { received: self.received, total: self.total });
        }
        let whole = Digest::from_bytes(self.sha256.finalize().into());
        if whole == digest { Ok(()) } else { Err(ChunkError::WholeDigest) }
    }
}

fn lane_chunks(lanes: &[u32], from_offset: u64) -> impl Iterator<Item = v1::UploadData> + use<'_> {
    let lane_bytes = limits::LANE_BYTES as usize;
    // An offset past the end, like one at the end, leaves nothing to send.
    let from = usize::try_from(from_offset).unwrap_or(usize::MAX);
    let lanes_per_chunk = limits::CHUNK_BYTES / lane_bytes;
    let (done, inside) = (from / lane_bytes, from % lane_bytes);
    let rest = lanes.get(done..).unwrap_or_default();
    rest.chunks(lanes_per_chunk).enumerate().map(move |(i, lanes)| {
        // A stream can break off inside a lane: the first chunk leaves out the bytes that arrived.
        let skip = if i == 0 { inside } else { 0 };
        let data: Bytes = lanes.iter().flat_map(|lane| lane.to_le_bytes()).skip(skip).collect();
        let offset = (done + i * lanes_per_chunk) * lane_bytes + skip;
        let sha256 = Sha256::digest(&data).to_vec();
        v1::UploadData { offset: offset as u64, data, sha256 }
    })
}

#[cfg(test)]
mod tests;
