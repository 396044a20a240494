//! The shares that one dealer gives one holder: committed to, and sealed on their way.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::messages::{ClientId, OpenedShare, ShareCommitments, sealed_share_bytes};
use crate::secret::{Secret, ShareKind};
use crate::transcript::{R1, Transcript};

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
pub(crate) struct DealtShares {
    pub(crate) round_seed: CommittedShare,
    pub(crate) self_mask: CommittedShare,
    /// Of the links of the chain of noise seeds, from the lowest level up.
    pub(crate) noise: Vec<CommittedShare>,
}

impl DealtShares {
    pub(crate) fn commitments(&self, dealer: ClientId, holder: ClientId) -> ShareCommitments {
        let noise = self.noise.iter().enumerate();
        ShareCommitments {
            round_seed: self.round_seed.commitment(ShareKind::RoundSeed, dealer, holder),
            self_mask: self.self_mask.commitment(ShareKind::SelfMask, dealer, holder),
            noise: noise
                .map(|(place, share)| share.commitment(ShareKind::Noise { place }, dealer, holder))
                .collect(),
        }
    }

    /// Seals the shares under a key that is used for nothing else, which is why the nonce may be constant.
    pub(crate) fn seal(&self, key: &Secret, r1: R1, dealer: ClientId, holder: ClientId) -> Vec<u8> {
        let parts = [&self.round_seed, &self.self_mask].into_iter().chain(&self.noise);
        // Of its whole length at once: growing would leave copies behind.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(64 * (2 + self.noise.len())));
        for part in parts {
            plaintext.extend_from_slice(part.share.expose());
            plaintext.extend_from_slice(part.opening.expose());
        }
        let aad = associated_data(r1, dealer, holder);
        let payload = Payload { msg: plaintext.as_slice(), aad: &aad };
        #[allow(clippy::expect_used, reason = "the cipher refuses plaintexts above 256 GiB only")]
        cipher(key).encrypt(&Nonce::default(), payload).expect("a few kilobytes")
    }

    /// Opens sealed shares; nothing where they were not sealed by this dealer for this holder and roster.
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
        let mut shares = parts.chunks_exact(2).filter_map(|part| match part {
            [share, opening] => {
                Some(CommittedShare { share: Secret::copy_of(share), opening: Secret::copy_of(opening) })
            }
            _ => None,
        });
        let opened = Self { round_seed: shares.next()?, self_mask: shares.next()?, noise: shares.collect() };
        (rest.is_empty() && ciphertext.len() == sealed_share_bytes(opened.noise.len())).then_some(opened)
    }
}

fn cipher(key: &Secret) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.expose().into())
}

fn associated_data(r1: R1, dealer: ClientId, holder: ClientId) -> [u8; 32] {
    Transcript::new("share-aad").bytes(&r1.0).client(dealer).client(holder).finish()
}
