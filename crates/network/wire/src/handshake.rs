//! The first two messages of a session: which version is spoken, and who speaks it.
//!
//! ```text
//! server -- Challenge{nonce, oldest and highest version, signature} --> client
//! server <-- Hello{client, version, highest version, signature} -- client      then the session's messages, both ways
//! ```
//!
//! The session is spoken in the highest version that both sides speak, and in no other. A peer of version 2 says one
//! version and signs none; it is served, and who serves it says so ([`SessionVersion::OLDER_PEER`]).
//!
//! # Security
//! It keeps strangers from speaking in a client's name on this connection, and anybody in between from talking two
//! sides down to an earlier version: the client signs its nonce in every version, and a server's nonce ends with its highest
//! version, as the last bytes of a TLS 1.3 server's random do (RFC 8446, 4.1.3). A challenge whose versions were taken
//! out still has them in its nonce, and the answer to another nonce is refused. Every message that matters carries a
//! signature of its own; nothing in a round rests on this one.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use messages::SessionVersion;
use secagg::ClientId;

use crate::convert::{ConversionError, Fault, fixed};
use crate::v1;

const CHALLENGE_LABEL: &[u8] = b"folkmoot/v1/sig/challenge\0";
const HELLO_LABEL: &[u8] = b"folkmoot/v1/sig/hello\0";
const HELLO_VERSIONS_LABEL: &[u8] = b"folkmoot/v1/sig/hello-versions\0";

/// Stands before the server's highest version at the end of its nonce.
const NONCE_MARK: &[u8; 6] = b"speaks";
const NONCE_RANDOM_BYTES: usize = 24;

/// The server's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Fresh for every connection.
    pub nonce: [u8; 32],
    /// The oldest version that the server speaks.
    pub protocol_version: u32,
    /// The newest; a server of version 2 says nothing of it.
    pub offer: Option<Offer>,
}

/// What a server says of its versions, from version 3 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The newest version that the server speaks.
    pub highest_version: u32,
    /// Under the coordinator's key.
    pub signature: [u8; 64],
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it says it is.
    pub client: ClientId,
    /// What the session is spoken in.
    pub protocol_version: u32,
    /// The newest version that the client speaks; one of version 2 says nothing of it.
    pub highest_version: Option<u32>,
    /// Over [`hello_signed_bytes`], or over [`hello_versions_signed_bytes`] from version 3 on.
    pub signature: [u8; 64],
}

/// Why two sides do not get to talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// No version that both speak.
    #[error(
        "the client speaks protocol version {client} and the coordinator {coordinator}; \
         install the same release of folkmoot on both sides"
    )]
    Version { client: u32, coordinator: u32 },
    /// The session would be spoken in a lower version than both sides speak.
    #[error(
        "both sides speak protocol version {highest}, and the session was to be spoken in {chosen}: something between them \
         changes what they say; connect them without it"
    )]
    Downgraded {
        /// What both speak.
        highest: u32,
        /// What was said.
        chosen: u32,
    },
    /// The signature is not the named client's.
    #[error(
        "client {0} did not prove that it holds its identity key; \
         check that the client's key is the one on the roster"
    )]
    Signature(ClientId),
    /// The challenge is not signed by the coordinator that the roster names.
    #[error(
        "who answers at the coordinator's address did not prove that it holds the coordinator's key; check the address, and \
         that the coordinator's key is the one on this silo's roster"
    )]
    Coordinator,
}

impl Challenge {
    /// A challenge in this build's versions. Of `random`, which is fresh from the operating system for every connection, 24
    /// bytes are used.
    pub fn new(random: [u8; 32], coordinator: &SigningKey) -> Self {
        let (oldest, highest) = (SessionVersion::OLDEST.number(), SessionVersion::NEWEST.number());
        let mut nonce = random;
        let (_, end) = nonce.split_at_mut(NONCE_RANDOM_BYTES);
        end.copy_from_slice(&nonce_end(SessionVersion::NEWEST));
        let signature = coordinator.sign(&challenge_signed_bytes(&nonce, oldest, highest)).to_bytes();
        Self { nonce, protocol_version: oldest, offer: Some(Offer { highest_version: highest, signature }) }
    }

    /// The client's answer, and what the session is spoken in.
    ///
    /// # Errors
    /// [`HandshakeError`]; nothing is signed for a server that speaks no version of this build's, that does not hold the
    /// coordinator's key, or whose versions somebody took out.
    pub fn answer(
        &self,
        client: ClientId,
        key: &SigningKey,
        coordinator: &VerifyingKey,
    ) -> Result<(Hello, SessionVersion), HandshakeError> {
        let own = SessionVersion::NEWEST.number();
        if let Some(Offer { highest_version, signature }) = &self.offer {
            let signed = challenge_signed_bytes(&self.nonce, self.protocol_version, *highest_version);
            coordinator
                .verify_strict(&signed, &Signature::from_bytes(signature))
                .map_err(|_| HandshakeError::Coordinator)?;
        }
        let theirs = self.highest();
        if let Some(marked) = highest_in_nonce(&self.nonce).filter(|marked| *marked != theirs) {
            return Err(HandshakeError::Downgraded { highest: marked.min(own), chosen: theirs });
        }
        let version = highest_common(own, theirs)
            .filter(|version| version.number() >= self.protocol_version)
            .ok_or(HandshakeError::Version { client: own, coordinator: theirs })?;
        let signed = match version {
            SessionVersion::Two => hello_signed_bytes(&self.nonce, client),
            SessionVersion::Three | SessionVersion::Four => {
                hello_versions_signed_bytes(&self.nonce, client, own, theirs, version)
            }
        };
        let signature = key.sign(&signed).to_bytes();
        let protocol_version = version.number();
        Ok((Hello { client, protocol_version, highest_version: Some(own), signature }, version))
    }

    /// Checks a client's answer against its key on the roster; what the session is spoken in.
    ///
    /// # Errors
    /// [`HandshakeError`]; the version first, so that a client of another release learns what to do and not that its
    /// key is wrong.
    pub fn verify(&self, hello: &Hello, key: &VerifyingKey) -> Result<SessionVersion, HandshakeError> {
        let own = self.highest();
        let theirs = hello.highest_version.unwrap_or(hello.protocol_version);
        let version = highest_common(own, theirs)
            .filter(|version| version.number() >= self.protocol_version)
            .ok_or(HandshakeError::Version { client: theirs, coordinator: own })?;
        if hello.protocol_version != version.number() {
            return Err(HandshakeError::Downgraded {
                highest: version.number(),
                chosen: hello.protocol_version,
            });
        }
        let signed = match version {
            SessionVersion::Two => hello_signed_bytes(&self.nonce, hello.client),
            SessionVersion::Three | SessionVersion::Four => {
                hello_versions_signed_bytes(&self.nonce, hello.client, theirs, own, version)
            }
        };
        key.verify_strict(&signed, &Signature::from_bytes(&hello.signature))
            .map_err(|_| HandshakeError::Signature(hello.client))?;
        Ok(version)
    }

    fn highest(&self) -> u32 {
        self.offer.as_ref().map_or(self.protocol_version, |offer| offer.highest_version)
    }
}

/// The highest version that two sides speak, where this build speaks it.
fn highest_common(one: u32, other: u32) -> Option<SessionVersion> {
    SessionVersion::of(one.min(other))
}

/// The last eight bytes of a nonce of a server that speaks up to `highest`.
fn nonce_end(highest: SessionVersion) -> [u8; 8] {
    let mut end = [0; 8];
    let (mark, number) = end.split_at_mut(NONCE_MARK.len());
    mark.copy_from_slice(NONCE_MARK);
    number.copy_from_slice(&(highest as u16).to_le_bytes());
    end
}

/// The server's highest version, as its nonce has it; `None` for a server of version 2, but once in 2^48 connections.
fn highest_in_nonce(nonce: &[u8; 32]) -> Option<u32> {
    let (rest, number) = nonce.split_last_chunk::<2>()?;
    rest.ends_with(NONCE_MARK).then(|| u32::from(u16::from_le_bytes(*number)))
}

/// What a server signs of its versions: a label that no other signature has, the nonce, the oldest and the highest
/// version (`u32`, little endian).
fn challenge_signed_bytes(nonce: &[u8; 32], oldest: u32, highest: u32) -> Vec<u8> {
    [CHALLENGE_LABEL, nonce, &oldest.to_le_bytes(), &highest.to_le_bytes()].concat()
}

/// What a client signs to say hello in version 2: a label that no other signature has, the nonce, the client (`u32`,
/// little endian).
pub fn hello_signed_bytes(nonce: &[u8; 32], client: ClientId) -> Vec<u8> {
    [HELLO_LABEL, nonce, &client.0.to_le_bytes()].concat()
}

/// What a client signs to say hello from version 3 on: a label that no other signature has, the nonce, and as `u32`,
/// little endian, the client, its highest version, the server's, and the one that the session is spoken in.
pub fn hello_versions_signed_bytes(
    nonce: &[u8; 32],
    client: ClientId,
    client_highest: u32,
    server_highest: u32,
    chosen: SessionVersion,
) -> Vec<u8> {
    let numbers = [client.0, client_highest, server_highest, chosen.number()].map(u32::to_le_bytes);
    [HELLO_VERSIONS_LABEL, nonce, numbers.as_flattened()].concat()
}

impl From<Challenge> for v1::ServerEnvelope {
    fn from(challenge: Challenge) -> Self {
        let Challenge { nonce, protocol_version, offer } = challenge;
        let (highest_version, signature) =
            offer.map_or((0, vec![]), |offer| (offer.highest_version, offer.signature.to_vec()));
        let message = v1::Challenge { nonce: nonce.to_vec(), protocol_version, highest_version, signature };
        Self { message: Some(v1::server_envelope::Message::Challenge(message)), run: Vec::new() }
    }
}

impl TryFrom<v1::ServerEnvelope> for Challenge {
    type Error = ConversionError;

    fn try_from(envelope: v1::ServerEnvelope) -> Result<Self, ConversionError> {
        match envelope.message {
            Some(v1::server_envelope::Message::Challenge(m)) => {
                let offer = match m.highest_version {
                    0 => None,
                    highest_version => Some(Offer {
                        highest_version,
                        signature: fixed("challenge.signature", &m.signature)?,
                    }),
                };
                let nonce = fixed("challenge.nonce", &m.nonce)?;
                Ok(Self { nonce, protocol_version: m.protocol_version, offer })
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
            highest_version: hello.highest_version.unwrap_or(0),
        };
        Self { message: Some(v1::client_envelope::Message::Hello(message)), run: Vec::new() }
    }
}

impl TryFrom<v1::ClientEnvelope> for Hello {
    type Error = ConversionError;

    fn try_from(envelope: v1::ClientEnvelope) -> Result<Self, ConversionError> {
        match envelope.message {
            Some(v1::client_envelope::Message::Hello(m)) => Ok(Self {
                client: ClientId(m.client),
                protocol_version: m.protocol_version,
                highest_version: Some(m.highest_version).filter(|version| *version != 0),
                signature: fixed("hello.signature", &m.signature)?,
            }),
            Some(_) => Err(ConversionError::new("message", Fault::Unexpected)),
            None => Err(ConversionError::new("message", Fault::Missing)),
        }
    }
}

#[cfg(test)]
mod tests;
