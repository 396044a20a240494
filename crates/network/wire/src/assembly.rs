//! One published file, put together as it arrives.

use params::Digest;
use tonic::Status;

use crate::chunks::{ChunkError, ChunkVerifier};
use crate::convert::{ConversionError, ModelHeader, run_bytes};
use crate::v1::{self, model_chunk};

/// Room that is made at once on a header's word.
const ROOM_MAX: u64 = 64 << 20;

/// Why a published file is not there.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Status(#[from] Status),
    /// A stream without anything in it.
    #[error("the model's stream was empty")]
    Empty,
    /// Data before its header.
    #[error("the model's stream does not begin with its header")]
    NoHeader,
    /// A header that is none.
    #[error("the header is not usable: {0}")]
    Header(#[source] ConversionError),
    /// More than the caller wants.
    #[error("the header announces {got} bytes; this file has {most} at most")]
    TooLarge {
        got: u64,
        /// Bytes that there may be.
        most: u64,
    },
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// What asks a coordinator for a file of a round's checkpoint, in the run of this name, or in the one that is meant where none
/// is named.
pub fn file_request(run: Option<Digest>, round: u64, part: v1::ModelPart) -> v1::FetchModelRequest {
    let run = run_bytes(run);
    v1::FetchModelRequest { digest: Vec::new(), round: Some(round), part: part.into(), run }
}

/// A file whose chunks arrive, its header first. Every chunk is held against its digest and the whole against the header's. What
/// the header says is the sender's word alone: hold the file against a signed record.
pub struct Assembly {
    most: u64,
    verifier: Option<ChunkVerifier>,
    file: Vec<u8>,
}

impl Assembly {
    /// Of a file of at most `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { most, verifier: None, file: Vec::new() }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// A stream that does not begin with a header of a file that is wanted; a chunk that is damaged, or not due.
    pub fn take(&mut self, chunk: v1::ModelChunk) -> Result<(), FileError> {
        if let Some(verifier) = &mut self.verifier {
            self.file.extend_from_slice(&verifier.accept(chunk)?);
            return Ok(());
        }
        let Some(model_chunk::Part::Header(header)) = chunk.part else { return Err(FileError::NoHeader) };
        let header = ModelHeader::try_from(header).map_err(FileError::Header)?;
        if header.total_bytes > self.most {
            return Err(FileError::TooLarge { got: header.total_bytes, most: self.most });
        }
        self.file.reserve(header.total_bytes.min(ROOM_MAX) as usize);
        self.verifier = Some(ChunkVerifier::new(header));
        Ok(())
    }

    /// The file, once the stream is over.
    ///
    /// # Errors
    /// One that is not whole.
    pub fn finish(self) -> Result<Vec<u8>, FileError> {
        self.verifier.ok_or(FileError::Empty)?.finish()?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use params::Digest;

    use super::*;
    use crate::limits;

    fn collect(most: u64, chunks: Vec<v1::ModelChunk>) -> Result<Vec<u8>, FileError> {
        let mut assembly = Assembly::new(most);
        chunks.into_iter().try_for_each(|chunk| assembly.take(chunk))?;
        assembly.finish()
    }

    fn file() -> Vec<u8> {
        (0..limits::CHUNK_BYTES * 2 + 9).map(|i| (i % 251) as u8).collect()
    }

    fn chunks(file: &[u8]) -> Vec<v1::ModelChunk> {
        crate::model_chunks(3, Digest::sha256(b"params"), file.to_vec().into()).collect()
    }

    #[test]
    fn whole_chunks_make_the_file() {
        assert_eq!(collect(u64::MAX, chunks(&file())).unwrap(), file());
    }

    #[test]
    fn a_flipped_bit_is_an_error_that_names_the_chunk() {
        let mut chunks = chunks(&file());
        let Some(model_chunk::Part::Data(data)) = &mut chunks[2].part else { panic!("the header is first") };
        let mut bytes = data.data.to_vec();
        bytes[5] ^= 1;
        data.data = bytes.into();
        let why = collect(u64::MAX, chunks).unwrap_err();
        assert!(matches!(why, FileError::Chunk(_)) && why.to_string().contains("chunk 2 of 3"), "{why}");
    }

    #[test]
    fn a_stream_that_is_empty_cut_short_without_a_header_or_too_long_is_refused() {
        let whole = chunks(&file());
        let most = file().len() as u64;
        assert!(matches!(collect(most, vec![]), Err(FileError::Empty)));
        assert!(matches!(collect(most, whole[1..].to_vec()), Err(FileError::NoHeader)));
        assert!(matches!(
            collect(most, whole[..2].to_vec()),
            Err(FileError::Chunk(ChunkError::Truncated { .. }))
        ));
        assert!(matches!(collect(most - 1, whole), Err(FileError::TooLarge { .. })));
    }
}
