//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use identity::Subject;
use params::Digest;

/// A connection's other end, as the transport knows it. Every request of the connection carries it in its extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// What it proved in the handshake; `None` without TLS, and for a client that showed no certificate.
    pub certificate: Option<PeerCertificate>,
    /// Ends the connection.
    pub hang_up: HangUp,
}

/// Ends one connection and all calls over it, whatever its other end reads or does not.
#[derive(Debug, Clone, Default)]
pub struct HangUp(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    asked: bool,
    connection: Option<Waker>,
}

impl HangUp {
    /// Asks for it: the connection ends when its task runs next.
    pub fn now(&self) {
        let connection = {
            let mut asked = self.asked();
            asked.asked = true;
            asked.connection.take()
        };
        if let Some(connection) = connection {
            connection.wake();
        }
    }

    /// Whether it was asked for. Where it was not, the task that asks last is woken when it is: the connection's own.
    pub fn is_due(&self, cx: &Context<'_>) -> bool {
        let mut asked = self.asked();
        if !asked.asked && !asked.connection.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            asked.connection = Some(cx.waker().clone());
        }
        asked.asked
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
