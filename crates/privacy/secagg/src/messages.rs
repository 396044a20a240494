//! The messages between a client and the coordinator: plain data that an encoder may take apart.
//!
//! Nothing here has been verified. Lists are sorted by client id and duplicate nobody; receivers check that.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::transcript::R1;

/// Length of a sealed share of the round seed, the self-mask seed and `noise_links` links of the chain of noise seeds:
/// each with an opening of 32 bytes, and one authentication tag.
pub const fn sealed_share_bytes(noise_links: usize) -> usize {
    (2 + noise_links) * 64 + 16
}

/// A member of the pinned roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The pinned roster: every member's identity key.
pub type Members = BTreeMap<ClientId, VerifyingKey>;

/// Step 0, client to coordinator and back to all: a member's keys for one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    pub id: ClientId,
    /// X25519 key that shares are sealed to.
    pub ek_pub: [u8; 32],
    /// X25519 key that pairwise masks are agreed with.
    pub mk_pub: [u8; 32],
    /// Commitment to the self-mask seed.
    pub commitment: [u8; 32],
    /// Where the chain of noise seeds ends; only in a cohort whose excess noise is removed.
    pub noise: Option<[u8; 32]>,
    /// Over the context and the fields above.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// Commitments to the shares that one peer holds; with the ciphertext's digest, its Merkle leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCommitments {
    /// To the share of the round seed.
    pub round_seed: [u8; 32],
    /// To the share of the self-mask seed.
    pub self_mask: [u8; 32],
    /// To the shares of the links of the chain of noise seeds, from the lowest level up; none where excess is kept.
    pub noise: Vec<[u8; 32]>,
}

/// The shares for one peer, sealed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedShare {
    /// Who can open it.
    pub recipient: ClientId,
    /// [`sealed_share_bytes`] long; empty where the recipient is the sender, which keeps its own share.
    pub ciphertext: Vec<u8>,
    /// What the shares must open to.
    pub commitments: ShareCommitments,
}

/// Step 1, client to coordinator: one entry for each member of U1, the sender included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareBundle {
    pub sender: ClientId,
    /// Sorted by recipient.
    pub shares: Vec<SealedShare>,
    /// Over R1 and the Merkle root of the leaves.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// A dealer's signature over the Merkle root of all its shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRoot {
    pub id: ClientId,
    pub merkle_root: [u8; 32],
    /// Over R1 and the root.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// One dealer's share as its recipient receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredShare {
    pub sender: ClientId,
    /// Of [`sealed_share_bytes`] bytes.
    pub ciphertext: Vec<u8>,
    /// What the shares must open to.
    pub commitments: ShareCommitments,
    /// From the leaf's sibling up to below the root.
    pub merkle_path: Vec<[u8; 32]>,
}

/// Step 1, coordinator to one client: U2, and the shares addressed to that client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// U2, sorted by id.
    pub members: Vec<SignedRoot>,
    /// One for each member of U2 but the recipient, sorted by sender.
    pub shares: Vec<DeliveredShare>,
}

/// Step 2: a client's signature over R2 and the digest of its masked update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSignature(#[serde(with = "signature_bytes")] pub [u8; 64]);

/// Step 3: a client's signature over R2 and the included set U3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludedSignature {
    pub id: ClientId,
    /// Over R2 and the sorted set.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// One share of one dealer's secret, with the opening of its commitment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedShare {
    pub owner: ClientId,
    pub share: [u8; 32],
    /// The commitment's randomness.
    pub opening: [u8; 32],
}

impl fmt::Debug for OpenedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedShare").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Step 4, client to coordinator: what opens the masks of one included set, and of no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmaskShares {
    /// The holder that returns these shares.
    pub id: ClientId,
    /// Shares of the self-mask seeds of U3, sorted by owner.
    pub self_mask: Vec<OpenedShare>,
    /// Shares of the round seeds of U2 without U3, sorted by owner.
    pub round_seed: Vec<OpenedShare>,
    /// Shares of one link of the chains of noise seeds of U3, sorted by owner: the level below the number of U3. None
    /// where excess is kept, or where the sum holds the fewest updates that it may and has no excess.
    pub noise: Vec<OpenedShare>,
}

/// What was wrong with a share whose dealer had signed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComplaintReason {
    /// The ciphertext does not open.
    Sealing = 1,
    /// It opens to shares that do not match their commitments.
    Commitment = 2,
}

/// A client's signed word that a dealer sent it a bad share. It proves nothing about the accused, and it
/// carries no key, share or plaintext: those would hand the coordinator what sealing keeps from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The roster it is about.
    pub r1: R1,
    pub accuser: ClientId,
    pub accused: ClientId,
    /// What was wrong.
    pub reason: ComplaintReason,
    /// Over the fields above.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// Serde knows arrays up to 32 elements: a signature travels as its two halves.
mod signature_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(signature: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        let (r, s) = signature.split_at(32);
        let halves: (&[u8; 32], &[u8; 32]) = (
            r.try_into().map_err(serde::ser::Error::custom)?,
            s.try_into().map_err(serde::ser::Error::custom)?,
        );
        halves.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
        let (r, s) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut signature = [0; 64];
        for (to, from) in signature.iter_mut().zip(r.iter().chain(&s)) {
            *to = *from;
        }
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_signatures_survive_encoding_byte_for_byte() {
        let signature: [u8; 64] = std::array::from_fn(|i| i as u8);
        let sent = IncludedSignature { id: ClientId(7), signature };
        let bytes = postcard::to_stdvec(&sent).unwrap();
        assert_eq!(bytes[bytes.len() - 64..], signature);
        assert_eq!(postcard::from_bytes::<IncludedSignature>(&bytes).unwrap(), sent);
        assert!(postcard::from_bytes::<IncludedSignature>(&bytes[..bytes.len() - 1]).is_err());
    }
}
