//! A party's long-term Ed25519 identity.

use ed25519_dalek::{SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// A party's signing key. Made on the party's own machine; only its public half ever leaves.
///
/// # Security
/// Zeroised on drop, redacted in `Debug`, not `Clone`.
pub struct IdentityKey(SigningKey);

/// Why a key's text was refused.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("a key is 64 hexadecimal digits, this text is not; copy it again from where it was printed")]
    NotHex,
    /// The bytes are no point of the curve, or one of small order that anyone can sign for.
    #[error(
        "these 32 bytes are not a usable Ed25519 public key; copy the key again from where it was printed"
    )]
    NotAPoint,
}

impl IdentityKey {
    /// A fresh key from `rng`, which must be the operating system's generator outside tests.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads the secret from its 64 hexadecimal digits, as [`IdentityKey::secret_hex`] wrote them.
    ///
    /// # Errors
    /// [`KeyError::NotHex`].
    pub fn from_secret_hex(text: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| KeyError::NotHex)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The secret as text, for the party's own key file.
    ///
    /// # Security
    /// The only way out of this type; the buffer is wiped when dropped.
    pub fn secret_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_bytes()))
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// The key itself, to sign with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey({})", hex::encode(self.public().as_bytes()))
    }
}

/// Reads a public key from 64 hexadecimal digits.
///
/// # Errors
/// [`KeyError`] where the text is no key, or the key is weak.
pub fn parse_verifying_key(text: &str) -> Result<VerifyingKey, KeyError> {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyError::NotHex)?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotAPoint)?;
    if key.is_weak() { Err(KeyError::NotAPoint) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    #[test]
    fn a_key_survives_its_own_text() {
        let one = key(7);
        let again = IdentityKey::from_secret_hex(&one.secret_hex()).unwrap();
        assert_eq!(one.public(), again.public());
        let text = hex::encode(one.public().as_bytes());
        assert_eq!(parse_verifying_key(&text).unwrap(), one.public());
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let one = key(7);
        let shown = format!("{one:?}");
        assert!(!shown.contains(one.secret_hex().as_str()));
        assert!(shown.contains(&hex::encode(one.public().as_bytes())));
    }

    #[test]
    fn a_weak_or_mistyped_key_is_refused() {
        // The identity point: it verifies signatures that nobody made.
        let identity = format!("01{}", "00".repeat(31));
        assert_eq!(parse_verifying_key(&identity), Err(KeyError::NotAPoint));
        assert_eq!(parse_verifying_key("abc"), Err(KeyError::NotHex));
    }
}
