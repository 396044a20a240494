//! Connections that a server accepts.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
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
/// For a client that was refused to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
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
                Err((error, left)) => {
                    tracing::info!(peer = %address, "connection refused: {}", explain(&error));
                    if let Some(stream) = left {
                        let _ = timeout(LINGER_TIME, hang_up(stream)).await;
                    }
                }
            }
            drop(place);
        });
    }
}

/// A connection, or why there is none and what is left of it.
async fn shake(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) -> Result<Connection, (io::Error, Option<TcpStream>)> {
    stream.set_nodelay(true).map_err(|error| (error, None))?;
    let Some(acceptor) = acceptor else {
        return Ok(Connection { io: Io::Plain(stream), peer: Peer { address, certificate: None } });
    };
    let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream).into_fallible())
        .await
        .map_err(|late| (late.into(), None))?
        .map_err(|(error, stream)| (error, Some(stream)))?;
    let certificate = shown(&stream).map_err(|error| (error, None))?;
    Ok(Connection { io: Io::Tls(Box::new(stream)), peer: Peer { address, certificate } })
}

/// Reads on until the client hangs up. Closing while its first request is on the way would reset the connection, and
/// the client would hear of that and not of the reason that was sent.
async fn hang_up(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
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
