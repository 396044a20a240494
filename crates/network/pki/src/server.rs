//! TLS of a server.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use crate::key::{TransportKey, TransportKeyError};
use crate::leaf::{LeafError, certificates};
use crate::peer::PeerCertificate;
use crate::verify::{Clients, provider, roots};

/// Says of a certificate that verified whether it is refused all the same, because it or its subject was revoked.
pub type DenialCheck = Arc<dyn Fn(&PeerCertificate) -> bool + Send + Sync>;

/// Certificates and keys that make no TLS settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] LeafError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] TransportKeyError),
    /// The key is of another certificate.
    #[error(
        "the certificate and the key do not belong together; restore both from one backup; a silo may enrol again"
    )]
    Mismatch,
    /// The TLS library refused.
    #[error("the TLS settings cannot be used: {0}")]
    Settings(String),
}

/// A server's TLS 1.3 settings, for HTTP/2. Clones share the certificate: [`ServerTls::replace`] changes it for every
/// connection from then on, and connections that are open go on.
#[derive(Clone)]
pub struct ServerTls {
    shown: Arc<Shown>,
    pub(crate) config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Settings that show `chain_pem`, whose key is `key`, and accept clients' certificates under `ca_pem` that are
    /// not `denied`. Clients may show none: enrolment and tokens come without.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        chain_pem: &str,
        key: &TransportKey,
        ca_pem: &str,
        denied: DenialCheck,
    ) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(certified(chain_pem, key)?)));
        let inner = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::Settings(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .with_client_cert_verifier(Arc::new(Clients { inner, denied }))
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would skip the check of the client's certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { shown, config: Arc::new(config) })
    }

    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate then stays.
    pub fn replace(&self, chain_pem: &str, key: &TransportKey) -> Result<(), TlsError> {
        let next = certified(chain_pem, key)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The certificate and its key, once they are known to belong together.
pub(crate) fn certified(chain_pem: &str, key: &TransportKey) -> Result<Arc<CertifiedKey>, TlsError> {
    let certified = CertifiedKey::new(certificates(chain_pem)?, key.tls_key()?);
    certified.keys_match().map_err(|_| TlsError::Mismatch)?;
    Ok(Arc::new(certified))
}

struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
