//! Secret 32-byte values, and everything derived from them.

use std::fmt;

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use crate::messages::{ClientId, ShareCommitments};
use crate::transcript::{Ctx0, R1, R2, Transcript, derivation_info};

/// Thirty-two secret bytes.
///
/// # Security
/// Zeroised on drop, redacted in `Debug`, neither `Clone` nor serialisable. Boxed, so that moving it leaves
/// no copy behind.
pub(crate) struct Secret(Box<[u8; 32]>);

impl Secret {
    pub(crate) fn zero() -> Self {
        Self(Box::new([0; 32]))
    }

    pub(crate) fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self::zero();
        rng.fill_bytes(secret.0.as_mut());
        secret
    }

    pub(crate) fn copy_of(bytes: &[u8; 32]) -> Self {
        let mut secret = Self::zero();
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    fn derive(salt: Option<&[u8; 32]>, key_material: &Secret, info: &[u8]) -> Self {
        let mut secret = Self::zero();
        let hkdf = Hkdf::<Sha256>::new(salt.map(|salt| salt.as_slice()), key_material.expose());
        #[allow(clippy::expect_used, reason = "HKDF-SHA-256 refuses outputs above 8160 bytes only")]
        hkdf.expand(info, secret.0.as_mut()).expect("32 bytes");
        secret
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The X25519 public key of a secret.
pub(crate) fn public_key(secret: &Secret) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes()
}

/// The X25519 agreement, or nothing where the peer's key contributes nothing.
pub(crate) fn agree(secret: &Secret, public: &[u8; 32]) -> Option<Secret> {
    let shared = StaticSecret::from(*secret.expose()).diffie_hellman(&PublicKey::from(*public));
    shared.was_contributory().then(|| Secret::copy_of(shared.as_bytes()))
}

/// Whether a public key is canonically encoded and of large order: one encoding for each key keeps duplicates
/// visible, and clamped secrets are multiples of the cofactor, so any of them finds out a key of small order.
pub(crate) fn is_sound_public_key(public: &[u8; 32]) -> bool {
    let canonical = match public {
        [low, middle @ .., high] => {
            *high < 0x7f || (*high == 0x7f && !(*low >= 0xed && middle.iter().all(|byte| *byte == 0xff)))
        }
    };
    canonical && agree(&Secret::copy_of(&[9; 32]), public).is_some()
}

/// The key of the pairwise masks, from the round seed that is shared: opening the seed opens this key only.
pub(crate) fn mask_key(round_seed: &Secret) -> Secret {
    Secret::derive(None, round_seed, &derivation_info("mask-x25519", &[]))
}

/// The key that seals one share, in one direction, once.
pub(crate) fn sealing_key(r1: R1, agreed: &Secret, dealer: ClientId, holder: ClientId) -> Secret {
    Secret::derive(Some(&r1.0), agreed, &derivation_info("share", &[dealer, holder]))
}

/// The seed of the mask that two clients share.
pub(crate) fn pair_seed(r2: R2, agreed: &Secret, one: ClientId, other: ClientId) -> Secret {
    Secret::derive(Some(&r2.0), agreed, &derivation_info("pair", &[one.min(other), one.max(other)]))
}

/// The seed of a client's own mask.
pub(crate) fn self_seed(r2: R2, self_mask: &Secret, id: ClientId) -> Secret {
    Secret::derive(Some(&r2.0), self_mask, &derivation_info("self", &[id]))
}

/// The link below `link` of a member's chain of noise seeds: one step down, and none back.
pub(crate) fn noise_link(ctx0: Ctx0, link: &Secret, id: ClientId, level: usize) -> Secret {
    Secret::derive(Some(&ctx0.0), link, &derivation_info(&format!("noise-link/{level}"), &[id]))
}

/// The seed of one component of a client's excess noise.
pub(crate) fn noise_seed(r2: R2, link: &Secret, id: ClientId) -> Secret {
    Secret::derive(Some(&r2.0), link, &derivation_info("noise", &[id]))
}

/// The advertised commitment to a self-mask seed.
pub(crate) fn self_mask_commitment(ctx0: Ctx0, id: ClientId, self_mask: &Secret) -> [u8; 32] {
    Transcript::new("bcom").bytes(&ctx0.0).client(id).bytes(self_mask.expose()).finish()
}

/// Which of a dealer's secrets a share belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareKind {
    /// The self-mask seed, opened for the members of the included set.
    SelfMask,
    /// The round seed, opened for those that dropped.
    RoundSeed,
    /// A link of the chain of noise seeds, opened for the members of the included set.
    Noise {
        /// Its place among the links that are dealt, from the lowest level up.
        place: usize,
    },
}

impl ShareKind {
    /// The commitment to one share of this kind.
    pub(crate) fn commit(
        self,
        dealer: ClientId,
        holder: ClientId,
        share: &[u8; 32],
        opening: &[u8; 32],
    ) -> [u8; 32] {
        let transcript = match self {
            Self::SelfMask => Transcript::new("share-commitment/self-mask"),
            Self::RoundSeed => Transcript::new("share-commitment/round-seed"),
            Self::Noise { place } => Transcript::new("share-commitment/noise").u64(place as u64),
        };
        transcript.client(dealer).client(holder).bytes(share).bytes(opening).finish()
    }

    /// This kind's part of a leaf; nothing where the dealer committed to no such share.
    pub(crate) fn of(self, commitments: &ShareCommitments) -> Option<&[u8; 32]> {
        match self {
            Self::SelfMask => Some(&commitments.self_mask),
            Self::RoundSeed => Some(&commitments.round_seed),
            Self::Noise { place } => commitments.noise.get(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_order_and_non_canonical_keys_are_unsound() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut low_order = vec![[0; 32], one];
        // The two points of order 8, and p - 1 of order 2.
        for text in [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            low_order.push(hex::decode(text).unwrap().try_into().unwrap());
        }
        for key in low_order {
            assert!(!is_sound_public_key(&key), "{}", hex::encode(key));
        }

        let sound = public_key(&Secret::copy_of(&[3; 32]));
        assert!(is_sound_public_key(&sound));
        let mut high_bit = sound;
        high_bit[31] |= 0x80;
        assert!(!is_sound_public_key(&high_bit), "the same key under another encoding");
        let mut nine_plus_p = [0xff; 32];
        nine_plus_p[0] = 0xed + 9;
        nine_plus_p[31] = 0x7f;
        assert!(!is_sound_public_key(&nine_plus_p), "the base point, not reduced");
        let mut nine = [0; 32];
        nine[0] = 9;
        assert!(is_sound_public_key(&nine));
    }

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Secret::copy_of(&[0xab; 32])), "Secret(redacted)");
    }

    #[test]
    fn derived_values_differ_by_purpose_direction_and_transcript() {
        let seed = Secret::copy_of(&[5; 32]);
        let (a, b) = (ClientId(1), ClientId(2));
        let values = [
            mask_key(&seed),
            sealing_key(R1([1; 32]), &seed, a, b),
            sealing_key(R1([1; 32]), &seed, b, a),
            sealing_key(R1([2; 32]), &seed, a, b),
            pair_seed(R2([1; 32]), &seed, a, b),
            pair_seed(R2([2; 32]), &seed, a, b),
            self_seed(R2([1; 32]), &seed, a),
            self_seed(R2([1; 32]), &seed, b),
            noise_seed(R2([1; 32]), &seed, a),
            noise_seed(R2([1; 32]), &seed, b),
            noise_link(Ctx0([1; 32]), &seed, a, 4),
            noise_link(Ctx0([1; 32]), &seed, b, 4),
            noise_link(Ctx0([1; 32]), &seed, a, 5),
        ];
        let distinct: std::collections::BTreeSet<_> = values.iter().map(|v| *v.expose()).collect();
        assert_eq!(distinct.len(), values.len());
        assert_eq!(
            pair_seed(R2([1; 32]), &seed, b, a).expose(),
            pair_seed(R2([1; 32]), &seed, a, b).expose()
        );
    }

    #[test]
    fn derivations_are_pinned() {
        // Computed by another implementation (Python's hashlib and hmac).
        let seed = Secret::copy_of(&[5; 32]);
        let (one, two, salt) = (ClientId(1), ClientId(2), [1; 32]);
        for (value, pinned) in [
            (*mask_key(&seed).expose(), "dc1db701fd4eb838d7d6d7175f8ba81d4b095aef81be5784c6a0739a4e6338f1"),
            (
                *sealing_key(R1(salt), &seed, two, one).expose(),
                "03284971e13272756eafc64e43551ec237503f5c767790251f7512b7e00a71ad",
            ),
            (
                *pair_seed(R2(salt), &seed, two, one).expose(),
                "ce2dc93df0a412b8e29403cb707669af6eafcf40691f8c9fd5a7c4a47e7bc581",
            ),
            (
                *self_seed(R2(salt), &seed, two).expose(),
                "5ea3cc7393cd4e717896c37713d30c1ee44266d56baf1536f2ccae9427ae86c2",
            ),
            (
                self_mask_commitment(Ctx0([7; 32]), two, &seed),
                "3ac57717a324d75e3b93b97c0a7f4651701289edad8594c09c1a94174f4db8a8",
            ),
            (
                ShareKind::SelfMask.commit(one, two, seed.expose(), &[6; 32]),
                "96f3c344002feb681d0f2ccd6c42a3b9ea38bedf8fc98cf3e396768f0c8be7af",
            ),
        ] {
            assert_eq!(hex::encode(value), pinned);
        }
    }
}
