//! Records, and the headers of what travels in chunks.

use checkpoint::SignedManifest;
use messages::{OfRun, UploadHeader};
use params::Digest;
use secagg::ClientId;

use super::{ConversionError, Fault, at_most, bounded, digest, fixed, required, run_bytes, run_named};
use crate::{limits, v1};

/// What precedes a model's chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelHeader {
    /// Round of the checkpoint that published it.
    pub round: u64,
    /// Digest of the parameters, as the checkpoint's record names them.
    pub model: Digest,
    /// SHA-256 over the file's bytes.
    pub sha256: Digest,
    /// Length of the file.
    pub total_bytes: u64,
    /// Data in every chunk but the last.
    pub chunk_bytes: u32,
}

/// One link of the published chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// Its round, as the sender says; the signed bytes decide.
    pub round: u64,
    /// The link, not verified.
    pub signed: SignedManifest,
}

impl From<SignedManifest> for v1::SignedManifest {
    fn from(signed: SignedManifest) -> Self {
        Self { manifest: signed.manifest_bytes, signature: signed.signature.to_vec() }
    }
}

impl TryFrom<v1::SignedManifest> for SignedManifest {
    type Error = ConversionError;

    fn try_from(signed: v1::SignedManifest) -> Result<Self, ConversionError> {
        Ok(Self {
            manifest_bytes: bounded("manifest", signed.manifest, limits::MANIFEST_BYTES_MAX)?,
            signature: fixed("signature", &signed.signature)?,
        })
    }
}

impl From<CheckpointRecord> for v1::CheckpointRecord {
    fn from(record: CheckpointRecord) -> Self {
        Self { round: record.round, signed: Some(record.signed.into()) }
    }
}

impl TryFrom<v1::CheckpointRecord> for CheckpointRecord {
    type Error = ConversionError;

    fn try_from(record: v1::CheckpointRecord) -> Result<Self, ConversionError> {
        Ok(Self { round: record.round, signed: required("signed", record.signed)? })
    }
}

impl From<ModelHeader> for v1::ModelHeader {
    fn from(header: ModelHeader) -> Self {
        Self {
            round: header.round,
            model: header.model.as_bytes().to_vec(),
            sha256: header.sha256.as_bytes().to_vec(),
            total_bytes: header.total_bytes,
            chunk_bytes: header.chunk_bytes,
        }
    }
}

impl TryFrom<v1::ModelHeader> for ModelHeader {
    type Error = ConversionError;

    fn try_from(header: v1::ModelHeader) -> Result<Self, ConversionError> {
        positive("total_bytes", header.total_bytes)?;
        positive("chunk_bytes", header.chunk_bytes.into())?;
        at_most("total_bytes", header.total_bytes, limits::MODEL_BYTES_MAX, "bytes")?;
        at_most("chunk_bytes", header.chunk_bytes.into(), limits::CHUNK_BYTES_MAX as u64, "bytes")?;
        Ok(Self {
            round: header.round,
            model: digest("model", &header.model)?,
            sha256: digest("sha256", &header.sha256)?,
            total_bytes: header.total_bytes,
            chunk_bytes: header.chunk_bytes,
        })
    }
}

/// The first message of a model's stream.
impl TryFrom<v1::ModelChunk> for ModelHeader {
    type Error = ConversionError;

    fn try_from(chunk: v1::ModelChunk) -> Result<Self, ConversionError> {
        match chunk.part {
            Some(v1::model_chunk::Part::Header(header)) => header.try_into().map_err(in_header),
            Some(v1::model_chunk::Part::Data(_)) => Err(ConversionError::new("data", Fault::Unexpected)),
            None => Err(ConversionError::new("part", Fault::Missing)),
        }
    }
}

impl From<OfRun<UploadHeader>> for v1::UploadHeader {
    fn from(OfRun { run, message: header }: OfRun<UploadHeader>) -> Self {
        Self {
            client: header.client.0,
            at: Some(header.at.into()),
            r2: header.r2.as_bytes().to_vec(),
            digest: header.digest.as_bytes().to_vec(),
            lanes: header.lanes,
            signature: header.signature.to_vec(),
            run: run_bytes(run),
        }
    }
}

impl TryFrom<v1::UploadHeader> for OfRun<UploadHeader> {
    type Error = ConversionError;

    fn try_from(header: v1::UploadHeader) -> Result<Self, ConversionError> {
        positive("lanes", header.lanes)?;
        at_most("lanes", header.lanes, limits::LANES_MAX, "lanes")?;
        let run = run_named(&header.run)?;
        let message = UploadHeader {
            client: ClientId(header.client),
            at: required("at", header.at)?,
            r2: digest("r2", &header.r2)?,
            digest: digest("digest", &header.digest)?,
            lanes: header.lanes,
            signature: fixed("signature", &header.signature)?,
        };
        Ok(Self { run, message })
    }
}

/// The first message of an upload's stream.
impl TryFrom<v1::UploadChunk> for OfRun<UploadHeader> {
    type Error = ConversionError;

    fn try_from(chunk: v1::UploadChunk) -> Result<Self, ConversionError> {
        match chunk.part {
            Some(v1::upload_chunk::Part::Header(header)) => header.try_into().map_err(in_header),
            Some(v1::upload_chunk::Part::Data(_)) => Err(ConversionError::new("data", Fault::Unexpected)),
            None => Err(ConversionError::new("part", Fault::Missing)),
        }
    }
}

fn in_header(error: ConversionError) -> ConversionError {
    error.within("header")
}

fn positive(field: &str, value: u64) -> Result<(), ConversionError> {
    if value == 0 { Err(ConversionError::new(field, Fault::Zero)) } else { Ok(()) }
}
