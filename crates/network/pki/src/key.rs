//! The key of a certificate.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use zeroize::{Zeroize, Zeroizing};

/// An ECDSA P-256 key of a certificate. Its bytes are zeroised on drop; what the TLS library copies from them while
/// it signs is not.
pub struct TransportKey(Zeroizing<Vec<u8>>);

/// A key that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportKeyError {
    /// Not a PKCS#8 PEM text of a P-256 key.
    #[error("this is no P-256 private key in PKCS#8 PEM; restore the file, or enrol again to make a new key")]
    Unreadable,
    /// The system's random source failed.
    #[error("a key cannot be made: the system gives no random bytes")]
    Random,
}

/// rcgen's form of a key, zeroised as soon as it has signed.
pub(crate) struct Signer(rcgen::KeyPair);

impl Signer {
    pub(crate) fn pair(&self) -> &rcgen::KeyPair {
        &self.0
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TransportKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`TransportKeyError::Random`].
    pub fn generate() -> Result<Self, TransportKeyError> {
        let signer = Signer(rcgen::KeyPair::generate().map_err(|_| TransportKeyError::Random)?);
        Ok(Self(Zeroizing::new(signer.0.serialized_der().to_vec())))
    }

    /// Reads what [`TransportKey::to_pem`] wrote.
    ///
    /// # Errors
    /// [`TransportKeyError::Unreadable`].
    pub fn from_pem(pem: &str) -> Result<Self, TransportKeyError> {
        let mut der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TransportKeyError::Unreadable)?;
        let key = Self(Zeroizing::new(der.secret_pkcs8_der().to_vec()));
        der.zeroize();
        key.signer()?;
        Ok(key)
    }

    /// PKCS#8 PEM, in the clear: whoever stores it seals it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(&*self.0));
        // Sized at once: a buffer that grows leaves copies behind.
        let mut pem = Zeroizing::new(String::with_capacity(encoded.len() * 2 + 64));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for (at, digit) in encoded.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(digit);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        pem
    }

    /// A certificate signing request, signed by this key. It asks for no name: the authority decides.
    ///
    /// # Errors
    /// [`TransportKeyError::Random`].
    pub fn request_der(&self) -> Result<Vec<u8>, TransportKeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request =
            params.serialize_request(self.signer()?.pair()).map_err(|_| TransportKeyError::Random)?;
        Ok(request.der().to_vec())
    }

    pub(crate) fn signer(&self) -> Result<Signer, TransportKeyError> {
        let der = PrivatePkcs8KeyDer::from(self.0.as_slice());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        pair.map(Signer).map_err(|_| TransportKeyError::Unreadable)
    }

    pub(crate) fn tls_key(&self) -> Result<std::sync::Arc<dyn SigningKey>, TransportKeyError> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.as_slice()));
        any_ecdsa_type(&der).map_err(|_| TransportKeyError::Unreadable)
    }
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportKey(secret)")
    }
}
