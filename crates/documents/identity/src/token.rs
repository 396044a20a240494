//! Join tokens: what an administrator hands to a silo, once, so that it knows whom it talks to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use params::Digest;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::role::is_name;

const PREFIX: &str = "fmjoin1.";
const ACCESS_PREFIX: &str = "fmtoken1.";
const JOIN_SIGNATURE_LABEL: &[u8] = b"folkmoot/v1/sig/join\0";
const SECRET_BYTES: usize = 32;

/// A one-use permission to ask for admission, which pins the federation's authority.
///
/// # Security
/// The secret is zeroised on drop and redacted in `Debug`; the coordinator keeps only [`JoinToken::secret_hash`].
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct JoinToken {
    /// The name that the silo will be admitted under.
    #[zeroize(skip)]
    pub silo: String,
    /// [`crate::Authority::fingerprint`] of the federation that the silo joins.
    #[zeroize(skip)]
    pub authority: Digest,
    secret: [u8; SECRET_BYTES],
}

/// A text that is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token, or not all of it; copy it again from where `folkmoot tokens create` printed it"
)]
pub struct TokenError;

impl JoinToken {
    /// A fresh token for a silo of this name.
    ///
    /// # Errors
    /// [`TokenError`] for a name that cannot be one.
    pub fn generate(silo: &str, authority: Digest, rng: &mut dyn CryptoRng) -> Result<Self, TokenError> {
        if !is_name(silo) {
            return Err(TokenError);
        }
        let mut secret = [0; SECRET_BYTES];
        rng.fill_bytes(&mut secret);
        Ok(Self { silo: silo.to_owned(), authority, secret })
    }

    /// The text to hand over.
    ///
    /// # Security
    /// The only way out of this type; the buffer is wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 32 + self.silo.len()));
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.authority.as_bytes());
        bytes.extend_from_slice(self.silo.as_bytes());
        Zeroizing::new(format!("{PREFIX}{}", Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes)).as_str()))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError)?);
        let (secret, rest) = bytes.split_first_chunk::<SECRET_BYTES>().ok_or(TokenError)?;
        let (authority, silo) = rest.split_first_chunk::<32>().ok_or(TokenError)?;
        let silo = std::str::from_utf8(silo).map_err(|_| TokenError)?;
        if !is_name(silo) {
            return Err(TokenError);
        }
        Ok(Self { silo: silo.to_owned(), authority: Digest::from_bytes(*authority), secret: *secret })
    }

    /// What the coordinator keeps: enough to recognise the secret, not to use it.
    pub fn secret_hash(&self) -> Digest {
        secret_hash(&self.secret)
    }

    /// The secret, to be said once over a connection whose server is the pinned authority's.
    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }
}

/// What a silo signs with its identity key when it asks for admission: the token's secret, its name and its
/// certificate request, so that neither can be put beside another's key.
pub fn join_signed_bytes(secret: &[u8], silo: &str, certificate_request: &[u8]) -> Vec<u8> {
    let digest = Digest::of("folkmoot/v1/join", &[secret, silo.as_bytes(), certificate_request]);
    [JOIN_SIGNATURE_LABEL, digest.as_bytes()].concat()
}

/// An operator's token, which a person or a program shows with each call instead of a certificate.
///
/// # Security
/// Zeroised on drop and redacted in `Debug`; the coordinator keeps only [`AccessToken::secret_hash`].
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct AccessToken([u8; SECRET_BYTES]);

impl AccessToken {
    /// A fresh token.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = [0; SECRET_BYTES];
        rng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// The text to hand over, and what follows `Bearer ` in a call.
    ///
    /// # Security
    /// The only way out of this type; the buffer is wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{ACCESS_PREFIX}{}", Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0)).as_str()))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(ACCESS_PREFIX).ok_or(TokenError)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError)?);
        Ok(Self(bytes.as_slice().try_into().map_err(|_| TokenError)?))
    }

    /// What the coordinator keeps: enough to recognise the secret, not to use it.
    pub fn secret_hash(&self) -> Digest {
        secret_hash(&self.0)
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken(hidden)")
    }
}

/// The stored form of a token's secret. A fast hash is enough: the secret has 256 random bits.
pub fn secret_hash(secret: &[u8]) -> Digest {
    Digest::of("folkmoot/v1/token", &[secret])
}

/// Whether `secret` hashes to `kept`, in constant time.
pub fn secret_matches(secret: &[u8], kept: &Digest) -> bool {
    secret_hash(secret).as_bytes().ct_eq(kept.as_bytes()).into()
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({}, authority {})", self.silo, self.authority.short())
    }
}

#[cfg(test)]
mod tests {
    use chacha20::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn token() -> JoinToken {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        JoinToken::generate("north", Digest::sha256(b"authority"), &mut rng).unwrap()
    }

    #[test]
    fn a_token_survives_its_own_text_and_no_shorter_one() {
        let text = token().to_text();
        assert_eq!(JoinToken::from_text(&format!(" {}\n", text.as_str())).unwrap(), token());
        for cut in 0..text.len() - "north".len() {
            assert_eq!(JoinToken::from_text(&text[..cut]), Err(TokenError), "{cut}");
        }
    }

    #[test]
    fn the_kept_hash_recognises_the_secret_and_debug_hides_it() {
        let token = token();
        assert!(secret_matches(token.secret(), &token.secret_hash()));
        assert!(!secret_matches(&[0; 32], &token.secret_hash()));
        let shown = format!("{token:?}");
        assert!(!shown.contains(&hex::encode(token.secret())));
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(token.secret())[..10]));
    }

    #[test]
    fn an_operators_token_survives_its_own_text_and_debug_hides_it() {
        let join = token();
        let token = AccessToken::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let text = token.to_text();
        assert_eq!(AccessToken::from_text(&text).unwrap(), token);
        assert_eq!(AccessToken::from_text(&text[..text.len() - 2]), Err(TokenError));
        assert!(AccessToken::from_text(&join.to_text()).is_err(), "a join token is another kind");
        assert_eq!(token.secret_hash(), secret_hash(&token.0));
        assert_eq!(format!("{token:?}"), "AccessToken(hidden)");
    }

    #[test]
    fn secret_name_and_request_are_each_under_the_join_signature() {
        let good = join_signed_bytes(&[1; 32], "north", b"csr");
        assert!(good.starts_with(b"folkmoot/v1/sig/join\0"));
        assert_ne!(join_signed_bytes(&[2; 32], "north", b"csr"), good);
        assert_ne!(join_signed_bytes(&[1; 32], "south", b"csr"), good);
        assert_ne!(join_signed_bytes(&[1; 32], "nort", b"hcsr"), good);
    }

    #[test]
    fn a_name_that_a_path_would_read_is_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for name in ["", "../x", "a b", ".hidden", "a/b"] {
            assert!(JoinToken::generate(name, Digest::sha256(b"a"), &mut rng).is_err(), "{name}");
        }
    }
}
