//! The federation's model key: ECDSA over P-256, as public tools read it.

use std::fmt;

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use params::Digest;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// The key that signs published models. Made where it signs; only its public half is published.
///
/// # Security
///
/// Zeroised on drop, redacted in `Debug`, not `Clone`. Signatures are deterministic (RFC 6979): a machine
/// without good randomness gives no key away, and what is signed again after a crash has the same bytes.
pub struct ModelKey {
    key: SigningKey,
    public: ModelPublicKey,
}

/// The public half, which every verifier needs.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelPublicKey {
    key: VerifyingKey,
    pem: String,
}

/// Why a model key was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelKeyError {
    /// Not the PEM of a private P-256 key in PKCS#8.
    #[error(
        "this is no P-256 private key in PKCS#8 PEM; convert another form with `openssl pkcs8 -topk8 -nocrypt`"
    )]
    Private(#[source] p256::pkcs8::Error),
    /// Not the PEM of a public P-256 key.
    #[error(
        "this is no P-256 public key in PEM; take the file that was published, or `openssl pkey -pubout`"
    )]
    Public(#[source] p256::pkcs8::spki::Error),
}

impl ModelKey {
    /// A fresh key from `rng`, which must be the operating system's generator outside tests.
    ///
    /// # Errors
    ///
    /// None that is known: writing the public half is fallible in its library.
    pub fn generate(rng: &mut dyn CryptoRng) -> Result<ModelKey, ModelKeyError> {
        ModelKey::of(SigningKey::generate_from_rng(rng))
    }

    /// Reads `-----BEGIN PRIVATE KEY-----`.
    ///
    /// # Errors
    ///
    /// [`ModelKeyError::Private`].
    pub fn from_pem(pem: &str) -> Result<ModelKey, ModelKeyError> {
        ModelKey::of(SigningKey::from_pkcs8_pem(pem).map_err(ModelKeyError::Private)?)
    }

    /// Writes `-----BEGIN PRIVATE KEY-----`, for the key's own file.
    ///
    /// # Errors
    ///
    /// None that is known: the encoding is fallible in its library.
    ///
    /// # Security
    ///
    /// The only way out of this type; the buffer is wiped when dropped.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, ModelKeyError> {
        self.key.to_pkcs8_pem(LineEnding::LF).map_err(ModelKeyError::Private)
    }

    /// The public half.
    pub fn public(&self) -> &ModelPublicKey {
        &self.public
    }

    /// ECDSA with SHA-256 over `message`, in DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.key.sign(message);
        signature.as_bytes().to_vec()
    }

    fn of(key: SigningKey) -> Result<ModelKey, ModelKeyError> {
        let public = ModelPublicKey::of(*key.verifying_key())?;
        Ok(ModelKey { key, public })
    }
}

impl ModelPublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`ModelKeyError::Public`].
    pub fn from_pem(pem: &str) -> Result<ModelPublicKey, ModelKeyError> {
        ModelPublicKey::of(VerifyingKey::from_public_key_pem(pem).map_err(ModelKeyError::Public)?)
    }

    /// `-----BEGIN PUBLIC KEY-----`, byte for byte as `openssl ec -pubout` prints it.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// How bundles name the key: SHA-256 of [`ModelPublicKey::to_pem`].
    pub fn hint(&self) -> Digest {
        Digest::sha256(self.pem.as_bytes())
    }

    /// `None` where the signature is no DER of two integers.
    pub(crate) fn verifies(&self, message: &[u8], der: &[u8]) -> Option<bool> {
        let signature = DerSignature::try_from(der).ok()?;
        Some(self.key.verify(message, &signature).is_ok())
    }

    fn of(key: VerifyingKey) -> Result<ModelPublicKey, ModelKeyError> {
        let pem = key.to_public_key_pem(LineEnding::LF).map_err(ModelKeyError::Public)?;
        Ok(ModelPublicKey { key, pem })
    }
}

impl fmt::Debug for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelKey({})", self.public.hint())
    }
}

impl fmt::Debug for ModelPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelPublicKey({})", self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_key_survives_its_own_text() {
        let key = samples::key(1);
        let again = ModelKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.sign(b"x"), key.sign(b"x"));
        assert_eq!(&ModelPublicKey::from_pem(key.public().to_pem()).unwrap(), key.public());
        assert_ne!(samples::key(2).public(), key.public());
    }

    #[test]
    fn the_sample_keys_text_and_hint_are_those_of_openssl_and_of_its_bundle() {
        let public = ModelPublicKey::from_pem(samples::PUBLIC_PEM).unwrap();
        assert_eq!(public.to_pem(), samples::PUBLIC_PEM);
        let bundle = std::str::from_utf8(samples::BUNDLE).unwrap();
        assert!(bundle.contains(&format!("\"hint\":\"{}\"", public.hint())));
    }

    #[test]
    fn a_key_read_from_windows_line_ends_has_the_same_hint() {
        let public = ModelPublicKey::from_pem(&samples::PUBLIC_PEM.replace('\n', "\r\n")).unwrap();
        assert_eq!(public.to_pem(), samples::PUBLIC_PEM);
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let key = samples::key(1);
        let shown = format!("{key:?} {:?}", key.public());
        assert_eq!(shown, format!("ModelKey({0}) ModelPublicKey({0})", key.public().hint()));
    }

    #[test]
    fn signatures_are_deterministic_so_that_a_second_signing_gives_the_same_bytes() {
        let key = samples::key(1);
        assert_eq!(key.sign(b"message"), key.sign(b"message"));
        assert_ne!(key.sign(b"message"), key.sign(b"massage"));
    }

    #[test]
    fn rfc_6979_a_2_5_is_reproduced() {
        let secret = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
        let bytes: Vec<u8> =
            (0..32).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).unwrap()).collect();
        let key = ModelKey::of(SigningKey::from_slice(&bytes).unwrap()).unwrap();
        let r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716";
        let s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";
        let der: String = key.sign(b"sample").iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(der, format!("3046022100{r}022100{s}"));
    }

    #[test]
    fn a_private_key_is_not_taken_for_a_public_one_nor_the_reverse() {
        let key = samples::key(1);
        assert!(matches!(ModelKey::from_pem(key.public().to_pem()), Err(ModelKeyError::Private(_))));
        let private = key.to_pem().unwrap();
        let refused = ModelPublicKey::from_pem(&private).unwrap_err();
        assert!(matches!(refused, ModelKeyError::Public(_)));
        let body = private.lines().nth(1).unwrap();
        assert!(!format!("{refused:?} {refused}").contains(body));
    }
}
