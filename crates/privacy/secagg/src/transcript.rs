//! The canonical encoding: every label, every hash and every signed byte of the protocol.
//!
//! A hash covers a sequence of fields, each preceded by its length as a little-endian `u64`; the first field
//! is the label. Integers are little-endian, lists are preceded by their number of items.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::messages::ClientId;

const PREFIX: &str = "folkmoot/secagg/v1/";
const VERSION: u32 = 1;

/// What one attempt at one round is about. Every mask depends on all of it, so clients that were shown
/// different facts produce masks that do not cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundBinding {
    pub run_id: [u8; 32],
    /// Digest of the signed plan.
    pub plan_hash: [u8; 32],
    /// Digest of the signed, pinned roster.
    pub roster_hash: [u8; 32],
    /// The round, from 0.
    pub round: u64,
    /// The attempt within the round, from 0.
    pub attempt: u32,
    /// Digest of the model that this round trains.
    pub model_hash: [u8; 32],
}

impl RoundBinding {
    /// The digest that stands for this attempt in everything that follows.
    pub fn ctx0(&self) -> Ctx0 {
        Ctx0(
            Transcript::new("ctx")
                .u32(VERSION)
                .bytes(&self.run_id)
                .bytes(&self.plan_hash)
                .bytes(&self.roster_hash)
                .u64(self.round)
                .u32(self.attempt)
                .bytes(&self.model_hash)
                .finish(),
        )
    }
}

/// Digest of a [`RoundBinding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ctx0(pub [u8; 32]);

/// Digest of the first roster: the context and every advert of U1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct R1(pub [u8; 32]);

/// Digest of the sharing step: R1 and the signed share roots of U2. The salt of every mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct R2(pub [u8; 32]);

/// A labelled SHA-256 over length-prefixed fields.
pub(crate) struct Transcript(Sha256);

impl Transcript {
    pub(crate) fn new(label: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(((PREFIX.len() + label.len()) as u64).to_le_bytes());
        hash.update(PREFIX);
        hash.update(label);
        Self(hash)
    }

    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
        self
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn client(self, id: ClientId) -> Self {
        self.u32(id.0)
    }

    /// A list: its length, then what `item` adds for each element.
    pub(crate) fn list<T>(
        self,
        items: impl ExactSizeIterator<Item = T>,
        item: impl Fn(Self, T) -> Self,
    ) -> Self {
        let count = self.u64(items.len() as u64);
        items.fold(count, item)
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The info string of a key derivation: a label and the ids it is about, encoded as in [`Transcript`].
pub(crate) fn derivation_info(label: &str, ids: &[ClientId]) -> Vec<u8> {
    let mut info = Vec::with_capacity(64 + 12 * ids.len());
    info.extend_from_slice(&((PREFIX.len() + label.len()) as u64).to_le_bytes());
    info.extend_from_slice(PREFIX.as_bytes());
    info.extend_from_slice(label.as_bytes());
    for id in ids {
        info.extend_from_slice(&4u64.to_le_bytes());
        info.extend_from_slice(&id.0.to_le_bytes());
    }
    info
}

/// Plain SHA-256 of a ciphertext or of a masked update's bytes, which a storage layer can compute while it
/// streams. Domains are kept apart by the labelled hash or signature that always covers it.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What a signature is about: part of the signed bytes, so none can be taken for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signed {
    Advert,
    Shares,
    Input,
    Included,
    Complaint,
}

impl Signed {
    fn name(self) -> &'static str {
        match self {
            Self::Advert => "advert",
            Self::Shares => "shares",
            Self::Input => "input",
            Self::Included => "included",
            Self::Complaint => "complaint",
        }
    }

    fn message(self, context: &[u8; 32], payload: [u8; 32]) -> Vec<u8> {
        let mut message = Vec::with_capacity(112);
        message.extend_from_slice(PREFIX.as_bytes());
        message.extend_from_slice(b"sig/");
        message.extend_from_slice(self.name().as_bytes());
        message.push(0);
        message.extend_from_slice(context);
        message.extend_from_slice(&payload);
        message
    }

    /// A transcript for the payload of this kind of message.
    pub(crate) fn payload(self) -> Transcript {
        Transcript::new(self.name())
    }

    pub(crate) fn sign(self, identity: &SigningKey, context: &[u8; 32], payload: [u8; 32]) -> [u8; 64] {
        identity.sign(&self.message(context, payload)).to_bytes()
    }

    pub(crate) fn verifies(
        self,
        key: &VerifyingKey,
        context: &[u8; 32],
        payload: [u8; 32],
        signature: &[u8; 64],
    ) -> bool {
        key.verify_strict(&self.message(context, payload), &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> RoundBinding {
        RoundBinding {
            run_id: [1; 32],
            plan_hash: [2; 32],
            roster_hash: [3; 32],
            round: 4,
            attempt: 5,
            model_hash: [6; 32],
        }
    }

    #[test]
    fn every_fact_of_a_round_changes_its_context() {
        let base = binding();
        let changed = [
            RoundBinding { run_id: [9; 32], ..base },
            RoundBinding { plan_hash: [9; 32], ..base },
            RoundBinding { roster_hash: [9; 32], ..base },
            RoundBinding { round: 9, ..base },
            RoundBinding { attempt: 9, ..base },
            RoundBinding { model_hash: [9; 32], ..base },
        ];
        let contexts: std::collections::BTreeSet<_> =
            changed.iter().chain([&base]).map(RoundBinding::ctx0).collect();
        assert_eq!(contexts.len(), 7);
    }

    #[test]
    fn the_context_is_pinned() {
        // Computed by another implementation (Python's hashlib) from the description above.
        let pinned = "90758be399aaf5dcdcd09282c52e0c4d00f317be5f5fce7568fbd49c7fd01d59";
        assert_eq!(hex::encode(binding().ctx0().0), pinned);
    }

    #[test]
    fn fields_cannot_slide_into_each_other() {
        let one = Transcript::new("x").bytes(b"ab").bytes(b"c").finish();
        let two = Transcript::new("x").bytes(b"a").bytes(b"bc").finish();
        let three = Transcript::new("xa").bytes(b"b").bytes(b"c").finish();
        assert!(one != two && one != three && two != three);
    }

    #[test]
    fn a_signature_holds_for_its_kind_and_context_only() {
        let identity = SigningKey::from_bytes(&[7; 32]);
        let key = identity.verifying_key();
        let signature = Signed::Input.sign(&identity, &[1; 32], [2; 32]);
        assert!(Signed::Input.verifies(&key, &[1; 32], [2; 32], &signature));
        assert!(!Signed::Included.verifies(&key, &[1; 32], [2; 32], &signature));
        assert!(!Signed::Input.verifies(&key, &[3; 32], [2; 32], &signature));
        assert!(!Signed::Input.verifies(&key, &[1; 32], [3; 32], &signature));
    }
}
