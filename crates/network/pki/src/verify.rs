//! What a certificate must be to be believed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use crate::leaf::{LeafError, certificates, inspect_der};
use crate::peer::PeerCertificate;
use crate::server::DenialCheck;

/// The one provider: named everywhere, so that a second one that some dependency links can never be chosen.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The authority as the one root.
pub(crate) fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, LeafError> {
    let [ca] = certificates(ca_pem)?.try_into().map_err(|_| LeafError::NoAuthority)?;
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|_| LeafError::Syntax)?;
    Ok(Arc::new(roots))
}

pub(crate) fn peer_certificate(der: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let leaf = inspect_der(der).ok()?;
    Some(PeerCertificate {
        subject: leaf.subject,
        fingerprint: leaf.fingerprint,
        expires_s: leaf.not_after_s,
    })
}

/// A client may show no certificate; one that it shows verifies, names one subject, and is not denied.
pub(crate) struct Clients {
    pub(crate) inner: Arc<dyn ClientCertVerifier>,
    pub(crate) denied: DenialCheck,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let certificate =
            peer_certificate(end_entity).ok_or(CertificateError::ApplicationVerificationFailure)?;
        if (self.denied)(&certificate) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The signature checks of a verifier that has no authority to ask: whoever shows a certificate holds its key.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// A server that nobody vouches for yet: its certificate must follow from the authority that it sends along itself,
/// and that authority may not change from one connection to the next.
#[derive(Debug, Default)]
pub(crate) struct FirstContact {
    pub(crate) authority: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sent = intermediates.last().ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(sent.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| CertificateError::UnknownIssuer)?;
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if self.authority.get_or_init(|| sent.clone().into_owned()) != sent {
            return Err(CertificateError::UnknownIssuer.into());
        }
        Ok(verified)
    }

    signatures!();
}

/// Believes anyone, and keeps what it was shown: for a diagnosis that then hangs up. Nothing is said over such a
/// connection.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) chain: OnceLock<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain.get_or_init(|| {
            let chain = std::iter::once(end_entity).chain(intermediates);
            chain.map(|certificate| certificate.clone().into_owned()).collect()
        });
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
