//! Connections that a server accepts.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::explain::explain;
use crate::peer::{HangUp, Peer, PeerCertificate};
use crate::server::ServerTls;
use crate::verify::peer_certificate;

mod hello;
mod places;
mod requests;

use hello::Hello;
use places::{Book, Place};
use requests::Requests;

pub use places::{ConnectionBudget, Turned, Watcher, networks};

/// A handshake takes two round trips and a few signatures; who needs longer is stuck or hostile. Who shows no certificate
/// has no longer for its first request either, from the same beginning.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For a client that was refused to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// After an error of the listener itself, such as too many open files: it is still there the next instant.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How fine a connection's idleness is counted.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Accepted connections, for tonic's `serve_with_incoming_shutdown`. Requests carry their [`Peer`] in the extensions.
///
/// Handshakes run beside each other, and one that fails is logged and ends nothing. There is a [`ConnectionBudget`]: where more
/// come than it has room for, everybody is accepted and somebody gives way, a silent handshake or an idle connection
/// without a certificate of the network that has the most of them. Dropping the stream closes the listener.
#[derive(Debug)]
pub struct Incoming {
    accepted: mpsc::Receiver<Connection>,
    accepting: AbortHandle,
}

impl Incoming {
    /// Connections over TLS.
    pub fn tls(listener: TcpListener, tls: ServerTls) -> Self {
        Self::tls_within(listener, tls, ConnectionBudget::default(), Arc::new(|_| ()))
    }

    /// Connections over TLS, as many as there is room for.
    pub fn tls_within(
        listener: TcpListener,
        tls: ServerTls,
        budget: ConnectionBudget,
        watcher: Watcher,
    ) -> Self {
        Self::spawn(listener, Some(TlsAcceptor::from(tls.config)), budget, watcher)
    }

    /// Connections in plain text, whose peers have no certificate. Nobody gives way: who finds no room waits.
    pub fn plain(listener: TcpListener) -> Self {
        Self::plain_within(listener, ConnectionBudget::default(), Arc::new(|_| ()))
    }

    /// Connections in plain text, as many as there is room for.
    pub fn plain_within(listener: TcpListener, budget: ConnectionBudget, watcher: Watcher) -> Self {
        Self::spawn(listener, None, budget, watcher)
    }

    fn spawn(
        listener: TcpListener,
        acceptor: Option<TlsAcceptor>,
        budget: ConnectionBudget,
        watcher: Watcher,
    ) -> Self {
        let (send, accepted) = mpsc::channel(1);
        let book = Book::new(budget, watcher);
        let accepting = tokio::spawn(accept(listener, acceptor, book, send)).abort_handle();
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

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    book: Arc<Book>,
    send: mpsc::Sender<Connection>,
) {
    // Ends with this task, and the handshakes with it.
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        while !book.relieve() {
            // Whoever was asked to end closes its descriptor soon.
            let _ = timeout(ACCEPT_PAUSE, book.freed.notified()).await;
        }
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                book.press();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (place, ended) = book.enter(address.ip(), acceptor.is_none());
        let newcomer = Newcomer { stream, address, place, ended };
        handshakes.spawn(welcome(newcomer, acceptor.clone(), Arc::clone(&book), send.clone()));
    }
}

struct Newcomer {
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    ended: oneshot::Receiver<()>,
}

/// From the accepted socket to the connection that is served, or to the reason why there is none.
async fn welcome(
    newcomer: Newcomer,
    acceptor: Option<TlsAcceptor>,
    book: Arc<Book>,
    send: mpsc::Sender<Connection>,
) {
    let Newcomer { stream, address, place, mut ended } = newcomer;
    let begun = Instant::now();
    let place = Arc::new(place);
    let heard = Heard { io: stream, place: Arc::clone(&place), spoke: false, hello: Hello::default() };
    let shaken = tokio::select! {
        biased;
        _ = &mut ended => {
            tracing::debug!(peer = %address, "a handshake gave way to a newer one");
            return;
        }
        shaken = shake(heard, acceptor) => shaken,
    };
    let (io, certificate) = match shaken {
        Ok(shaken) => shaken,
        Err(failure) => {
            tell(&book, address, &failure);
            if let Some(stream) = failure.left {
                let _ = timeout(LINGER_TIME, hang_up(stream)).await;
            }
            return;
        }
    };
    if matches!(io, Io::Tls(_)) {
        place.established(certificate.as_ref().map(|certificate| &certificate.subject));
    }
    let stranger = matches!(io, Io::Tls(_)) && certificate.is_none();
    let late = stranger.then(|| Box::pin(sleep_until(begun + HANDSHAKE_TIME)));
    let peer = Peer { address, certificate, hang_up: HangUp::default() };
    let requests = Requests::new();
    // A server that shuts down takes no more.
    drop(send.send(Connection { io, peer, place, ended, late, requests, asked: begun }).await);
}

/// Why there is no connection, and what is left of it.
struct Failure {
    error: io::Error,
    /// Whether the other end had said anything.
    spoke: bool,
    left: Option<Heard>,
}

fn tell(book: &Book, address: SocketAddr, failure: &Failure) {
    let late = failure.error.kind() == io::ErrorKind::TimedOut;
    let turned = match (failure.spoke, late) {
        (_, true) => Turned::Late,
        (false, false) => Turned::HungUp,
        (true, false) => Turned::Refused,
    };
    book.turned(turned);
    // Whoever said nothing is no client: a probe, or worse, and as many of them as somebody likes.
    if failure.spoke && book.may_tell() {
        tracing::info!(peer = %address, "connection refused: {}", explain(&failure.error));
    } else {
        tracing::debug!(peer = %address, "connection refused: {}", explain(&failure.error));
    }
}

async fn shake(
    stream: Heard,
    acceptor: Option<TlsAcceptor>,
) -> Result<(Io, Option<PeerCertificate>), Failure> {
    let place = Arc::clone(&stream.place);
    let failure = |error: io::Error, left: Option<Heard>| {
        let spoke = place.has_spoken();
        Failure { error, spoke, left }
    };
    stream.io.set_nodelay(true).map_err(|error| failure(error, None))?;
    let Some(acceptor) = acceptor else { return Ok((Io::Plain(stream.io), None)) };
    let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream).into_fallible())
        .await
        .map_err(|late| failure(late.into(), None))?
        .map_err(|(error, stream)| failure(error, Some(stream)))?;
    let certificate = shown(&stream).map_err(|error| failure(error, None))?;
    Ok((Io::Tls(Box::new(stream)), certificate))
}

/// Reads on until the client hangs up. Closing while its first request is on the way would reset the connection, and
/// the client would hear of that and not of the reason that was sent.
async fn hang_up(mut stream: Heard) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

fn shown(stream: &TlsStream<Heard>) -> io::Result<Option<PeerCertificate>> {
    let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
    // The handshake read it already: a failure here is a defect, and must not pass for a client without certificate.
    peer_certificate(leaf)
        .map(Some)
        .ok_or_else(|| io::Error::other("the client's certificate names no subject"))
}

/// A socket whose place hears of its first byte, and of the end of its ClientHello.
#[derive(Debug)]
struct Heard {
    io: TcpStream,
    place: Arc<Place>,
    spoke: bool,
    hello: Hello,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if !self.spoke && buf.filled().len() > before {
            self.spoke = true;
            self.place.spoke();
        }
        if self.hello.ends_in(buf.filled().get(before..).unwrap_or_default()) {
            self.place.greeted();
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// An accepted connection that knows its [`Peer`].
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: Peer,
    place: Arc<Place>,
    /// Comes when this connection must give way.
    ended: oneshot::Receiver<()>,
    /// Until the first request of who showed no certificate.
    late: Option<Pin<Box<Sleep>>>,
    requests: Requests,
    asked: Instant,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<Heard>>),
}

impl Connection {
    /// Whether it may go on.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.peer.hang_up.is_due(cx) {
            tracing::debug!(peer = %self.peer.address, "a connection was ended, as nobody reads over it that its calls have");
            self.place.turned(Turned::Unread);
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this connection was ended"));
        }
        if !self.ended.is_terminated() && Pin::new(&mut self.ended).poll(cx).is_ready() {
            tracing::debug!(peer = %self.peer.address, "an idle connection gave way to a newer one");
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this connection gave way"));
        }
        if self.late.as_mut().is_some_and(|late| late.as_mut().poll(cx).is_ready()) {
            self.late = None;
            self.place.turned(Turned::Late);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came in time"));
        }
        Ok(())
    }

    fn heard(&mut self, bytes: &[u8]) {
        if matches!(self.io, Io::Tls(_)) && self.requests.begin_in(bytes) {
            let now = Instant::now();
            if self.late.take().is_some() || now.duration_since(self.asked) >= ASKED_EVERY {
                self.asked = now;
                self.place.asked();
            }
        }
    }
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
        self.check(cx)?;
        let before = buf.filled().len();
        let read = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        self.heard(buf.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
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
