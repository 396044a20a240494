//! What comes out of gRPC as one message.

use prost::Message;
use secagg::ClientId;
use tonic::{Code, Status};
use wire::v1;

use super::seeds::signing_key;

/// A refusal is logged and shown: whoever sent the message must not decide how long it is.
const REFUSAL_BYTES_MAX: usize = 2 << 10;

pub(crate) fn client_envelope(bytes: &[u8]) {
    match wire::read_to_coordinator(bytes) {
        Ok(said) => {
            let written = wire::to_coordinator_bytes(said.clone());
            assert_eq!(wire::read_to_coordinator(&written), Ok(said));
        }
        Err(why) => assert_short(&why.to_string()),
    }
}

pub(crate) fn server_envelope(bytes: &[u8]) {
    match wire::read_to_client(bytes) {
        Ok(said) => {
            let written = wire::to_client_bytes(said.clone());
            assert_eq!(wire::read_to_client(&written), Ok(said));
        }
        Err(why) => assert_short(&why.to_string()),
    }
}

pub(crate) fn handshake(bytes: &[u8]) {
    let key = signing_key(1);
    if let Ok(envelope) = v1::ServerEnvelope::decode(bytes)
        && let Ok(challenge) = wire::Challenge::try_from(envelope)
    {
        let written = v1::ServerEnvelope::from(challenge.clone());
        assert_eq!(wire::Challenge::try_from(written), Ok(challenge.clone()));
        match challenge.answer(ClientId(1), &key, &signing_key(9).verifying_key()) {
            Ok((hello, version)) => {
                assert!(version.number() >= challenge.protocol_version);
                assert_eq!(challenge.verify(&hello, &key.verifying_key()), Ok(version));
            }
            Err(why) => assert_short(&why.to_string()),
        }
    }
    if let Ok(envelope) = v1::ClientEnvelope::decode(bytes)
        && let Ok(hello) = wire::Hello::try_from(envelope)
    {
        let written = v1::ClientEnvelope::from(hello.clone());
        assert_eq!(wire::Hello::try_from(written), Ok(hello.clone()));
        // Nobody has the key of this nonce's answer.
        let unforeseen = wire::Challenge::new([0xa5; 32], &signing_key(9));
        assert!(unforeseen.verify(&hello, &signing_key(77).verifying_key()).is_err());
    }
}

pub(crate) fn checkpoint_record(bytes: &[u8]) {
    let Ok(message) = v1::CheckpointRecord::decode(bytes) else { return };
    match wire::CheckpointRecord::try_from(message) {
        Ok(record) => {
            let written = v1::CheckpointRecord::from(record.clone());
            assert_eq!(wire::CheckpointRecord::try_from(written), Ok(record));
        }
        Err(why) => assert_short(&why.to_string()),
    }
}

/// A refusal that a peer or a middlebox sends, shown to an operator: the first byte is the code, a piece of text
/// follows, the rest are details.
pub(crate) fn refusal(bytes: &[u8]) {
    let mut script = super::script::Script::new(bytes);
    let (Some(code), Some(message)) = (script.byte(), script.piece()) else { return };
    let message = String::from_utf8_lossy(message);
    let details = bytes::Bytes::copy_from_slice(script.rest());
    let status = Status::with_details(Code::from_i32(code.into()), message, details);
    let shown = wire::describe(&status);
    assert!(!shown.chars().any(char::is_control), "{shown:?} could drive a terminal");
    assert!(shown.len() < 8 << 10, "{} bytes are shown", shown.len());
    if let Some(reason) = wire::reason(&status) {
        assert!(reason.len() <= bytes.len());
    }
}

fn assert_short(refusal: &str) {
    assert!(refusal.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", refusal.len());
}
