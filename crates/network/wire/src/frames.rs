//! Messages as the bytes that gRPC carries, for whoever has them without gRPC: simulations and fuzzers.

use messages::{OfRun, ToClient, ToCoordinator, UploadHeader};
use prost::Message;

use crate::convert::ConversionError;
use crate::v1;

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// They are no protobuf of this contract.
    #[error("not a message of this contract: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The message does not convert.
    #[error(transparent)]
    Content(#[from] ConversionError),
}

macro_rules! frames {
    ($(($write:ident, $read:ident, $message:ty, $envelope:ty, $what:literal)),*) => {$(
        #[doc = concat!("The bytes of ", $what, ".")]
        pub fn $write(said: impl Into<OfRun<$message>>) -> Vec<u8> {
            <$envelope>::from(said.into()).encode_to_vec()
        }

        #[doc = concat!("Reads ", $what, ".")]
        ///
        /// # Errors
        /// [`FrameError`]
        pub fn $read(bytes: &[u8]) -> Result<OfRun<$message>, FrameError> {
            Ok(OfRun::try_from(<$envelope>::decode(bytes)?)?)
        }
    )*};
}
frames!(
    (to_client_bytes, read_to_client, ToClient, v1::ServerEnvelope, "what the coordinator says"),
    (to_coordinator_bytes, read_to_coordinator, ToCoordinator, v1::ClientEnvelope, "what a client says"),
    (
        upload_header_bytes,
        read_upload_header,
        UploadHeader,
        v1::UploadHeader,
        "what precedes a masked vector"
    )
);

#[cfg(test)]
mod tests {
    use messages::Attempt;
    use params::Digest;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let said = ToClient::UploadDurable { at: Attempt { round: 3, attempt: 1 } };
        let bytes = to_client_bytes(said.clone());
        assert_eq!(read_to_client(&bytes), Ok(said.clone().into()));
        let named = OfRun::named(Digest::sha256(b"run"), said);
        assert_eq!(read_to_client(&to_client_bytes(named.clone())), Ok(named));
        assert!(matches!(read_to_client(&bytes[..bytes.len() - 1]), Err(FrameError::Protobuf(_))));
        assert!(matches!(read_to_client(&[]), Err(FrameError::Content(_))));
    }
}
