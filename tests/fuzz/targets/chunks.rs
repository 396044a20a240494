//! What comes out of gRPC as a stream of chunks.
//!
//! ```text
//! input  = chunk, chunk, ...      a piece each: a protobuf message
//! a chunk whose first byte is odd gets the digest of its data, which no mutation would hit
//! ```

use params::Digest;
use prost::Message;
use protocol::{OfRun, UploadHeader};
use wire::v1::{ModelChunk, UploadChunk, model_chunk, upload_chunk};
use wire::{ChunkError, ChunkVerifier, ModelHeader, UploadVerifier};

use super::script::Script;

pub(crate) fn upload(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let Some(Ok(header)) = script.piece().map(UploadChunk::decode) else { return };
    let Ok(OfRun::<UploadHeader> { message: header, .. }) = header.try_into() else { return };
    let total = header.lanes * wire::limits::LANE_BYTES;
    let mut verifier = UploadVerifier::new(&header);
    let mut accepted = Vec::new();
    while let Some((chunk, repair)) = next::<UploadChunk>(&mut script) {
        let chunk = if repair { upload_with_digest(chunk) } else { chunk };
        let before = verifier.received_bytes();
        match verifier.accept(chunk) {
            Ok(data) => accepted.extend_from_slice(&data),
            Err(_) => assert_eq!(verifier.received_bytes(), before, "what is refused does not count"),
        }
        assert_eq!(verifier.received_bytes(), accepted.len() as u64);
        assert!(accepted.len() as u64 <= total);
    }
    let mut resumed = UploadVerifier::new(&header);
    let (first, second) = accepted.split_at(accepted.len() / 2);
    assert_eq!(resumed.resume(first).and_then(|()| resumed.resume(second)), Ok(()));
    let verdict = verifier.finish();
    assert_eq!(resumed.finish(), verdict, "a resumed upload is judged like one that never broke off");
    assert_verdict(verdict, &accepted, total, header.digest);
}

pub(crate) fn model_chunks(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let Some(Ok(header)) = script.piece().map(ModelChunk::decode) else { return };
    let Ok(header) = ModelHeader::try_from(header) else { return };
    let mut verifier = ChunkVerifier::new(header);
    let mut accepted = Vec::new();
    while let Some((chunk, repair)) = next::<ModelChunk>(&mut script) {
        let chunk = if repair { model_with_digest(chunk) } else { chunk };
        match verifier.accept(chunk) {
            Ok(data) => accepted.extend_from_slice(&data),
            Err(_) => break,
        }
        assert!(accepted.len() as u64 <= header.total_bytes);
    }
    assert_verdict(verifier.finish(), &accepted, header.total_bytes, header.sha256);
}

fn assert_verdict(verdict: Result<(), ChunkError>, accepted: &[u8], total: u64, digest: Digest) {
    let whole = accepted.len() as u64 == total;
    assert_eq!(verdict.is_ok(), whole && Digest::sha256(accepted) == digest, "{verdict:?}");
}

/// The next message that decodes, and whether its digest is to be put right.
fn next<M: Message + Default>(script: &mut Script<'_>) -> Option<(M, bool)> {
    loop {
        let (repair, message) = script.piece()?.split_first()?;
        if let Ok(message) = M::decode(message) {
            return Some((message, repair & 1 == 1));
        }
    }
}

fn upload_with_digest(mut chunk: UploadChunk) -> UploadChunk {
    if let Some(upload_chunk::Part::Data(data)) = &mut chunk.part {
        data.sha256 = Digest::sha256(&data.data).as_bytes().to_vec();
    }
    chunk
}

fn model_with_digest(mut chunk: ModelChunk) -> ModelChunk {
    if let Some(model_chunk::Part::Data(data)) = &mut chunk.part {
        data.sha256 = Digest::sha256(&data.data).as_bytes().to_vec();
    }
    chunk
}
