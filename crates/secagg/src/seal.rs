//! The two shares that one dealer gives one holder: committed to, and sealed on their way.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::messages::{ClientId, OpenedShare, ShareCommitments};
use crate::secret::{Secret, ShareKind};
use crate::transcript::{R1, Transcript};

const PLAINTEXT_BYTES: usize = 4 * 32;

/// A share and its commitment's randomness.
#[derive(Debug)]
pub(crate) struct CommittedShare {
    share: Secret,
    opening: Secret,
}

impl CommittedShare {
    pub(crate) fn new(share: Secret, rng: &mut dyn CryptoRng) -> Self {
        Self { share, opening: Secret::random(rng) }
    }

    fn commitment(&self, kind: ShareKind, dealer: ClientId, holder: ClientId) -> [u8; 32] {
        kind.commit(dealer, holder, self.share.expose(), self.opening.expose())
    }

    /// The share as it is returned to the coordinator.
    pub(crate) fn open(&self, owner: ClientId) -> OpenedShare {
        OpenedShare { owner, share: *self.share.expose(), opening: *self.opening.expose() }
    }
}

/// What one holder keeps of one dealer.
#[derive(Debug)]
pub(crate) struct SharePair {
    pub(crate) round_seed: CommittedShare,
    pub(crate) self_mask: CommittedShare,
}

impl SharePair {
    pub(crate) fn commitments(&self, dealer: ClientId, holder: ClientId) -> ShareCommitments {
        ShareCommitments {
            round_seed: self.round_seed.commitment(ShareKind::RoundSeed, dealer, holder),
            self_mask: self.self_mask.commitment(ShareKind::SelfMask, dealer, holder),
        }
    }

    /// Seals the pair under a key that is used for nothing else, which is why the nonce may be constant.
    pub(crate) fn seal(&self, key: &Secret, r1: R1, dealer: ClientId, holder: ClientId) -> Vec<u8> {
        let mut plaintext = Zeroizing::new([0u8; PLAINTEXT_BYTES]);
        let parts = [
            &self.round_seed.share,
            &self.round_seed.opening,
            &self.self_mask.share,
            &self.self_mask.opening,
        ];
        for (to, from) in plaintext.as_chunks_mut::<32>().0.iter_mut().zip(parts) {
            to.copy_from_slice(from.expose());
        }
        let aad = associated_data(r1, dealer, holder);
        let payload = Payload { msg: plaintext.as_slice(), aad: &aad };
        #[allow(clippy::expect_used, reason = "the cipher refuses plaintexts above 256 GiB only")]
        cipher(key).encrypt(&Nonce::default(), payload).expect("128 bytes")
    }

    /// Opens a sealed pair; nothing where it was not sealed by this dealer for this holder and roster.
    pub(crate) fn unseal(
        ciphertext: &[u8],
        key: &Secret,
        r1: R1,
        dealer: ClientId,
        holder: ClientId,
    ) -> Option<Self> {
        let aad = associated_data(r1, dealer, holder);
        let payload = Payload { msg: ciphertext, aad: &aad };
        let plaintext = Zeroizing::new(cipher(key).decrypt(&Nonce::default(), payload).ok()?);
        let (parts, rest) = plaintext.as_chunks::<32>();
        match (parts, rest) {
            ([seed, seed_opening, mask, mask_opening], []) => Some(Self {
                round_seed: CommittedShare {
                    share: Secret::copy_of(seed),
                    opening: Secret::copy_of(seed_opening),
                },
                self_mask: CommittedShare {
                    share: Secret::copy_of(mask),
                    opening: Secret::copy_of(mask_opening),
                },
            }),
            _ => None,
        }
    }
}

fn cipher(key: &Secret) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.expose().into())
}

fn associated_data(r1: R1, dealer: ClientId, holder: ClientId) -> [u8; 32] {
    Transcript::new("share-aad").bytes(&r1.0).client(dealer).client(holder).finish()
}
