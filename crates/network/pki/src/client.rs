//! TLS of a client, and how it dials.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tower_service::Service;

use crate::incoming::HANDSHAKE_TIME;
use crate::key::TransportKey;
use crate::outgoing::Outgoing;
use crate::proxy::Proxy;
use crate::server::{TlsError, certified};
use crate::verify::{provider, roots};

/// A client's TLS 1.3 settings, for HTTP/2. Clones share the certificate: [`ClientTls::replace`] changes it for every
/// connection from then on, and connections that are open go on.
#[derive(Clone)]
pub struct ClientTls {
    shown: Arc<Shown>,
    pub(crate) config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Settings that believe servers under `ca_pem` alone, and show the PEM chain of `identity` if there is one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(ca_pem: &str, identity: Option<(&str, &TransportKey)>) -> Result<Self, TlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca_pem)?, provider())
            .build()
            .map_err(|error| TlsError::Settings(error.to_string()))?;
        let tls = Self::with_verifier(verifier)?;
        if let Some((chain_pem, key)) = identity {
            tls.replace(chain_pem, key)?;
        }
        Ok(tls)
    }

    pub(crate) fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(None)));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesClientCert>);
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would go on under the certificate of the first one.
        config.resumption = Resumption::disabled();
        Ok(Self { shown, config: Arc::new(config) })
    }

    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate then stays.
    pub fn replace(&self, chain_pem: &str, key: &TransportKey) -> Result<(), TlsError> {
        let next = certified(chain_pem, key)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }

    /// For tonic's `Endpoint::connect_with_connector` and `connect_with_connector_lazy`, with an `https` address. It
    /// bounds its time itself, and says then which address did what: give the endpoint no `connect_timeout`.
    pub fn connector(&self, outgoing: &Outgoing) -> Connector {
        Connector { config: Arc::clone(&self.config), outgoing: outgoing.clone() }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_certs(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// A connection that a [`Connector`] made.
pub type TlsIo = TokioIo<TlsStream<TcpStream>>;

/// Dials an `https` address over TLS.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    outgoing: Outgoing,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Service<Uri> for Connector {
    type Response = TlsIo;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsIo>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (config, outgoing) = (Arc::clone(&self.config), self.outgoing.clone());
        Box::pin(async move {
            let (host, port) = target(&uri)?;
            let name = host.clone();
            let secured =
                outgoing.open(&host, port, move |stream| secure(Arc::clone(&config), stream, name.clone()));
            Ok(TokioIo::new(secured.await?))
        })
    }
}

/// Dials an `http` address: on this machine, where no proxy is between.
#[derive(Debug, Clone)]
pub struct PlainConnector {
    outgoing: Outgoing,
}

impl PlainConnector {
    /// Within `limit`, for tonic's `Endpoint` like [`ClientTls::connector`].
    pub fn new(limit: Duration) -> Self {
        Self { outgoing: Outgoing::new(Proxy::none()).within(limit) }
    }
}

impl Service<Uri> for PlainConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let outgoing = self.outgoing.clone();
        Box::pin(async move {
            let (host, port) = host_and_port(&uri, 80)?;
            outgoing.open(&host, port, |stream| async move { Ok(stream) }).await.map(TokioIo::new)
        })
    }
}

/// Whom to dial.
pub(crate) fn target(uri: &Uri) -> io::Result<(String, u16)> {
    if uri.scheme_str() != Some("https") {
        return Err(refused(uri, "does not begin with https://"));
    }
    host_and_port(uri, 443)
}

fn host_and_port(uri: &Uri, usual: u16) -> io::Result<(String, u16)> {
    let host = uri.host().ok_or_else(|| refused(uri, "names no host"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(usual)))
}

fn refused(uri: &Uri, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the address `{uri}` {what}"))
}

pub(crate) async fn secure(
    config: Arc<ClientConfig>,
    stream: TcpStream,
    host: String,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("the host is no name of a server: {error}"))
    })?;
    let stream = timeout(HANDSHAKE_TIME, TlsConnector::from(config).connect(name, stream)).await??;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the server does not speak HTTP/2 over TLS"));
    }
    Ok(stream)
}
