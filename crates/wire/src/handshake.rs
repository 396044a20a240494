//! The first two messages of a session: which protocol is spoken, and who speaks it.
//!
//! ```text
//! server -- Challenge{nonce, version} --> client
//! server <-- Hello{client, version, signature} -- client        then the session's messages, both ways
//! ```
//!
//! # Security
//! It keeps strangers from speaking in a client's name on this connection. Every message that matters carries
//! a signature of its own; nothing in a round rests on this one.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use secagg::ClientId;

use crate::convert::{ConversionError, Fault, fixed};
use crate::v1;

/// The version that this build speaks. Another one is another protocol: there is no fallback.
pub const PROTOCOL_VERSION: u32 = 2;

const HELLO_LABEL: &[u8] = b"folkmoot/v1/sig/hello\0";

/// The server's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Fresh from the operating system for every connection.
    pub nonce: [u8; 32],
    /// What the server speaks.
    pub protocol_version: u32,
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it says it is.
    pub client: ClientId,
    /// What it speaks.
    pub protocol_version: u32,
    /// Over [`hello_signed_bytes`].
    pub signature: [u8; 64],
}

/// Why two sides do not get to talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// They speak different versions.
    #[error(
        "the client speaks protocol version {client} and the coordinator {coordinator}; \
         install the same release of folkmoot on both sides"
    )]
    Version {
        /// The client's.
        client: u32,
        /// The coordinator's.
        coordinator: u32,
    },
    /// The signature is not the named client's.
    #[error(
        "client {0} did not prove that it holds its identity key; \
         check that the client's key is the one on the roster"
    )]
    Signature(ClientId),
}

impl Challenge {
    /// A challenge in this build's version.
    pub fn new(nonce: [u8; 32]) -> Self {
        Self { nonce, protocol_version: PROTOCOL_VERSION }
    }

    /// The client's answer.
    ///
    /// # Errors
    /// [`HandshakeError::Version`]: the server speaks another version, and nothing is signed for it.
    pub fn answer(&self, client: ClientId, key: &SigningKey) -> Result<Hello, HandshakeError> {
        if self.protocol_version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version {
                client: PROTOCOL_VERSION,
                coordinator: self.protocol_version,
            });
        }
        let signature = key.sign(&hello_signed_bytes(&self.nonce, client)).to_bytes();
        Ok(Hello { client, protocol_version: PROTOCOL_VERSION, signature })
    }

    /// Checks a client's answer against its key on the roster.
    ///
    /// # Errors
    /// [`HandshakeError`]; the version first, so that an old client is told what to do and not that its key is
    /// wrong.
    pub fn verify(&self, hello: &Hello, key: &VerifyingKey) -> Result<(), HandshakeError> {
        if hello.protocol_version != self.protocol_version {
            return Err(HandshakeError::Version {
                client: hello.protocol_version,
                coordinator: self.protocol_version,
            });
        }
        let signed = hello_signed_bytes(&self.nonce, hello.client);
        key.verify_strict(&signed, &Signature::from_bytes(&hello.signature))
            .map_err(|_| HandshakeError::Signature(hello.client))
    }
}

/// What a client signs to say hello: a label that no other signature has, the nonce, the client (`u32`, little
/// endian).
pub fn hello_signed_bytes(nonce: &[u8; 32], client: ClientId) -> Vec<u8> {
    [HELLO_LABEL, nonce, &client.0.to_le_bytes()].concat()
}

impl From<Challenge> for v1::ServerEnvelope {
    fn from(challenge: Challenge) -> Self {
        let message =
            v1::Challenge { nonce: challenge.nonce.to_vec(), protocol_version: challenge.protocol_version };
        Self { message: Some(v1::server_envelope::Message::Challenge(message)) }
    }
}

impl TryFrom<v1::ServerEnvelope> for Challenge {
    type Error = ConversionError;

    fn try_from(envelope: v1::ServerEnvelope) -> Result<Self, ConversionError> {
        match envelope.message {
            Some(v1::server_envelope::Message::Challenge(m)) => {
                Ok(Self { nonce: fixed("challenge.nonce", &m.nonce)?, protocol_version: m.protocol_version })
            }
            Some(_) => Err(ConversionError::new("message", Fault::Unexpected)),
            None => Err(ConversionError::new("message", Fault::Missing)),
        }
    }
}

impl From<Hello> for v1::ClientEnvelope {
    fn from(hello: Hello) -> Self {
        let message = v1::Hello {
            client: hello.client.0,
            protocol_version: hello.protocol_version,
            signature: hello.signature.to_vec(),
        };
        Self { message: Some(v1::client_envelope::Message::Hello(message)) }
    }
}

impl TryFrom<v1::ClientEnvelope> for Hello {
    type Error = ConversionError;

    fn try_from(envelope: v1::ClientEnvelope) -> Result<Self, ConversionError> {
        match envelope.message {
            Some(v1::client_envelope::Message::Hello(m)) => Ok(Self {
                client: ClientId(m.client),
                protocol_version: m.protocol_version,
                signature: fixed("hello.signature", &m.signature)?,
            }),
            Some(_) => Err(ConversionError::new("message", Fault::Unexpected)),
            None => Err(ConversionError::new("message", Fault::Missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn a_client_is_who_holds_its_key_and_answers_this_challenge() {
        let challenge = Challenge::new([3; 32]);
        let hello = challenge.answer(ClientId(7), &key(1)).unwrap();
        let bytes = v1::ClientEnvelope::from(hello.clone());
        let hello = Hello::try_from(bytes).unwrap();
        assert_eq!(challenge.verify(&hello, &key(1).verifying_key()), Ok(()));

        let refused = Err(HandshakeError::Signature(ClientId(7)));
        assert_eq!(challenge.verify(&hello, &key(2).verifying_key()), refused);
        assert_eq!(Challenge::new([4; 32]).verify(&hello, &key(1).verifying_key()), refused);
        let other = Hello { client: ClientId(8), ..hello };
        assert!(challenge.verify(&other, &key(1).verifying_key()).is_err());
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_contract() {
        let bytes = hello_signed_bytes(&[9; 32], ClientId(0x0102_0304));
        assert_eq!(bytes.len(), 22 + 32 + 4);
        assert!(bytes.starts_with(b"folkmoot/v1/sig/hello\0\x09"));
        assert!(bytes.ends_with(&[9, 4, 3, 2, 1]));
    }

    #[test]
    fn another_version_is_named_on_both_sides_before_any_signature() {
        let (own, next) = (PROTOCOL_VERSION, PROTOCOL_VERSION + 1);
        let newer = Challenge { nonce: [0; 32], protocol_version: next };
        let refused = newer.answer(ClientId(1), &key(1)).unwrap_err();
        assert_eq!(refused, HandshakeError::Version { client: own, coordinator: next });
        let older = Hello { client: ClientId(1), protocol_version: 0, signature: [0; 64] };
        let told = Challenge::new([0; 32]).verify(&older, &key(1).verifying_key()).unwrap_err().to_string();
        assert!(told.contains("version 0") && told.contains(&format!("coordinator {own}")), "{told}");
    }

    #[test]
    fn a_challenge_survives_the_wire_and_no_other_message_passes_for_one() {
        let challenge = Challenge::new([3; 32]);
        assert_eq!(Challenge::try_from(v1::ServerEnvelope::from(challenge.clone())), Ok(challenge));
        for (envelope, fault) in [
            (v1::ServerEnvelope { message: None }, Fault::Missing),
            (
                v1::ServerEnvelope { message: Some(v1::server_envelope::Message::Open(v1::Open::default())) },
                Fault::Unexpected,
            ),
        ] {
            assert_eq!(Challenge::try_from(envelope).unwrap_err().fault, fault);
        }
    }
}
