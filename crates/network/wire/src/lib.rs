//! The network's bytes: generated protobuf code, its conversions, chunks, and every size limit.
//!
//! Owns: the contract in `proto/folkmoot/v1` and the code generated from it ([`v1`], client and server), the
//! conversions to and from the plain types of `protocol` and `secagg`, the session's first two messages
//! ([`Challenge`], [`Hello`]), how models and masked vectors travel in chunks, what an operator is shown
//! (a `run_status::Shown` as [`v1::RunStatus`], and back), how errors become gRPC statuses and sentences ([`ToStatus`],
//! [`describe`]), how soon a call is made again ([`Backoff`]), and the sizes that a peer may send ([`limits`]).
//!
//! Does not: open sockets, hold TLS keys, or judge a message beyond its shape.
//!
//! ```text
//! messages::OfRun<ToClient>      --From--> v1::ServerEnvelope --TryFrom--> messages::OfRun<ToClient>
//! messages::OfRun<ToCoordinator> --From--> v1::ClientEnvelope --TryFrom--> messages::OfRun<ToCoordinator>
//! secagg::MaskedUpdate    --upload_chunks--> v1::UploadChunk … --UploadVerifier--> bytes to stage
//! a model's file          --model_chunks-->  v1::ModelChunk …  --ChunkVerifier---> bytes of the file
//! ```
//!
//! ```
//! use params::Digest;
//! use messages::{Attempt, OfRun, ToClient};
//! use wire::v1::ServerEnvelope;
//!
//! let said = ToClient::UploadDurable { at: Attempt { round: 3, attempt: 1 } };
//! let said = OfRun::named(Digest::sha256(b"a run's random name"), said);
//! assert_eq!(OfRun::try_from(ServerEnvelope::from(said.clone()))?, said);
//!
//! let refused = OfRun::<ToClient>::try_from(ServerEnvelope::default()).unwrap_err();
//! assert_eq!(refused.to_string(), "message: missing");
//! # Ok::<(), wire::ConversionError>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod assembly;
mod backoff;
mod chunks;
mod convert;
mod frames;
mod handshake;
pub mod limits;
mod operator;
mod runs;
mod status;

pub use assembly::{Assembly, FileError, file_request};
pub use backoff::{Backoff, RETRY_FIRST};
pub use chunks::{
    ChunkError, ChunkPlace, ChunkVerifier, UploadVerifier, model_chunks, model_data, model_header,
    upload_chunks,
};
pub use convert::{CheckpointRecord, ConversionError, Fault, ModelHeader, run_bytes, run_named, said_in};
pub use frames::{
    FrameError, read_to_client, read_to_coordinator, read_upload_header, to_client_bytes,
    to_coordinator_bytes, upload_header_bytes,
};
pub use handshake::{
    Challenge, HandshakeError, Hello, Offer, hello_signed_bytes, hello_versions_signed_bytes,
};
pub use status::{ServiceError, ToStatus, describe, reason, retry_after};

/// The code generated from `proto/folkmoot/v1`, where the contract is documented; `tests/contract.rs` makes it and holds it to that.
#[allow(unreachable_pub, clippy::all, clippy::unwrap_used, clippy::indexing_slicing)]
pub mod v1 {
    include!("../../../../proto/generated/folkmoot.v1.rs");
}

/// How long a message is as it travels.
pub fn message_bytes(message: &impl prost::Message) -> usize {
    message.encoded_len()
}

/// The compiled contract, for the server's reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../../../../proto/generated/folkmoot.v1.bin");

impl std::fmt::Debug for v1::JoinRequest {
    /// Without the token's secret: who traces requests must not learn it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("silo", &self.silo).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_admission_does_not_show_its_secret() {
        let request = v1::JoinRequest { secret: vec![201; 32], silo: "north".into(), ..Default::default() };
        let shown = format!("{request:?}");
        assert!(shown.contains("north") && !shown.contains("201"), "{shown}");
    }

    #[test]
    fn the_compiled_contract_holds_every_service_for_reflection() {
        for name in ["Federation", "Models", "Operator", "UploadChunk", "google.protobuf"] {
            let found = FILE_DESCRIPTOR_SET.windows(name.len()).any(|bytes| bytes == name.as_bytes());
            assert!(found, "{name}");
        }
    }
}
