//! Who is at the other end of a connection.

use std::net::SocketAddr;

use identity::Subject;
use params::Digest;

/// A connection's other end, as the transport knows it. Every request of the connection carries it in its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// What it proved in the handshake; `None` without TLS, and for a client that showed no certificate.
    pub certificate: Option<PeerCertificate>,
}

/// A client certificate that verified under the federation's certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whom it was issued to.
    pub subject: Subject,
    /// SHA-256 over its DER bytes.
    pub fingerprint: Digest,
    /// When it expires, in seconds since the Unix epoch: a connection may outlive it.
    pub expires_s: u64,
}
