//! Connections that a server accepts.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::explain::explain;
use crate::peer::{Peer, PeerCertificate};
use crate::server::ServerTls;
use crate::verify::peer_certificate;

/// A handshake takes two round trips and a few signatures; who needs longer is stuck or hostile.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Handshakes at once: a whole federation that reconnects passes, a flood waits in the listener's queue.
const HANDSHAKES: usize = 256;
/// After an error of the listener itself, such as too many open files: it is still there the next instant.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepted connections, for tonic's `serve_with_incoming_shutdown`. Requests carry their [`Peer`] in the extensions.
///
/// Handshakes run beside each other, and one that fails is logged and ends nothing. Dropping the stream closes the
/// listener.
#[derive(Debug)]
pub struct Incoming {
    accepted: mpsc::Receiver<Connection>,
    accepting: AbortHandle,
}

impl Incoming {
    /// Connections over TLS.
    pub fn tls(listener: TcpListener, tls: ServerTls) -> Self {
        Self::spawn(listener, Some(TlsAcceptor::from(tls.config)))
    }

    /// Connections in plain text, whose peers have no certificate.
    pub fn plain(listener: TcpListener) -> Self {
        Self::spawn(listener, None)
    }

    fn spawn(listener: TcpListener, acceptor: Option<TlsAcceptor>) -> Self {
        let (send, accepted) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, acceptor, send)).abort_handle();
        Self { accepted, accepting }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, send: mpsc::Sender<Connection>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    // Ends with this task, and the handshakes with it.
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, send) = (acceptor.clone(), send.clone());
        handshakes.spawn(async move {
            match shake(stream, address, acceptor).await {
                // A server that shuts down takes no more.
                Ok(connection) => drop(send.send(connection).await),
                Err(error) => tracing::info!(peer = %address, "connection refused: {}", explain(&error)),
            }
            drop(place);
        });
    }
}

async fn shake(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return Ok(Connection { io: Io::Plain(stream), peer: Peer { address, certificate: None } });
    };
    let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await??;
    let certificate = shown(&stream)?;
    Ok(Connection { io: Io::Tls(Box::new(stream)), peer: Peer { address, certificate } })
}

fn shown(stream: &TlsStream<TcpStream>) -> io::Result<Option<PeerCertificate>> {
    let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
    // The handshake read it already: a failure here is a defect, and must not pass for a client without certificate.
    peer_certificate(leaf)
        .map(Some)
        .ok_or_else(|| io::Error::other("the client's certificate names no subject"))
}

/// An accepted connection that knows its [`Peer`].
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: Peer,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
