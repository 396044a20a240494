//! A server behind the guard, whose connections carry what a test says that they proved.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use access::{
    CallRecord, Desk, FakeRun, Guard, Hook, IssuedCertificate, Issuer, Lifetimes, Operations, Purpose, Queue,
    Rate, Rates, Registry, RunDesk, WallClock,
};
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use identity::{AccessToken, Authority, IdentityKey, Member, Role, Roster, Subject};
use params::Digest;
use pki::{HangUp, Peer, PeerCertificate};
use secagg::ClientId;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status};

pub(crate) const NOW_S: u64 = 1_700_000_000;

pub(crate) fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

pub(crate) fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

/// The authority's key is 100, the coordinator's 99, a silo's its number.
pub(crate) fn roster(epoch: u64, members: &[(u32, &str, u8)]) -> Roster {
    Roster {
        format: None,
        previous: None,
        federation: "hospitals".into(),
        epoch,
        coordinator_key: public(99),
        members: members
            .iter()
            .map(|(id, name, key)| {
                let member = Member { name: (*name).into(), identity_key: public(*key), admitted: 1 };
                (ClientId(*id), member)
            })
            .collect(),
    }
}

pub(crate) fn rates(burst: u32) -> Rates {
    let rate = Rate { burst: NonZeroU32::new(burst).unwrap(), every: Duration::from_secs(3600) };
    let unproven = Rate { burst: NonZeroU32::new(10_000).unwrap(), ..rate };
    Rates { probe: rate, admission: rate, round: rate, read: rate, change: rate, unproven }
}

/// Certificates that say what they were made from.
pub(crate) struct FakeIssuer;

impl Issuer for FakeIssuer {
    fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, String> {
        if request.is_empty() {
            return Err("the request is empty".into());
        }
        let chain = format!("{subject} from {}", hex::encode(request));
        Ok(IssuedCertificate { chain, not_after_s: NOW_S + lifetime.as_secs() })
    }
}

pub(crate) struct Served {
    pub(crate) registry: Arc<Registry>,
    pub(crate) run: Arc<FakeRun>,
    pub(crate) guard: Guard,
    pub(crate) desk: Desk,
    records: Arc<Mutex<Vec<CallRecord>>>,
    now_ms: Arc<AtomicU64>,
    made: AtomicU64,
    pub(crate) folder: TempDir,
    /// Notified when a session's stream is dropped, and when an upload begins.
    pub(crate) notified: Mutex<Option<mpsc::UnboundedSender<()>>>,
}

impl Served {
    pub(crate) fn new(rates: &Rates) -> Self {
        Self::build(rates, false)
    }

    pub(crate) fn plaintext(rates: &Rates) -> Self {
        Self::build(rates, true)
    }

    fn build(rates: &Rates, plaintext: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::open(&folder.path().join("access.json")).unwrap());
        let first = roster(1, &[(1, "north", 1), (2, "south", 2)]);
        registry.settle_roster(&first, "init", NOW_S).unwrap();
        let run = Arc::new(FakeRun::new(first.sign(&key(100))));
        let now_ms = Arc::new(AtomicU64::new(NOW_S * 1000));
        let ticking = Arc::clone(&now_ms);
        let clock: WallClock = Arc::new(move || ticking.load(Ordering::SeqCst));
        let records = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&records);
        let hook: Hook = Arc::new(move |record: &CallRecord| kept.lock().unwrap().push(record.clone()));
        let guard = if plaintext { Guard::plaintext } else { Guard::new };
        let guard = guard(Arc::clone(&registry), rates, Arc::clone(&clock), hook);
        let authority =
            Authority { federation: "hospitals".into(), key: public(100), ca_certificate: "PEM".into() };
        let desk = Desk::new(
            Arc::clone(&registry),
            &authority,
            Arc::clone(&run) as Arc<dyn Operations>,
            Arc::new(FakeIssuer),
            Lifetimes::default(),
            clock,
        )
        .unwrap();
        Self {
            registry,
            run,
            guard,
            desk,
            records,
            now_ms,
            made: AtomicU64::new(1),
            folder,
            notified: Mutex::default(),
        }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// What was reported since the last time.
    pub(crate) fn reported(&self) -> Vec<CallRecord> {
        std::mem::take(&mut *self.records.lock().unwrap())
    }

    /// An operator's token, good for an hour, as its text and its id.
    pub(crate) fn token(&self, name: &str, role: Role) -> (String, String) {
        let seed = self.made.fetch_add(1, Ordering::SeqCst);
        let token = AccessToken::generate(&mut ChaCha20Rng::seed_from_u64(seed));
        let purpose = Purpose::Operator { name: name.into(), role };
        let registered =
            self.registry.register_token(token.secret_hash(), purpose, NOW_S + 3600, NOW_S).unwrap();
        (token.to_text().to_string(), registered.id())
    }

    /// A port whose connections have proved this, with the desk behind the guard.
    pub(crate) async fn connect(&self, certificate: Option<PeerCertificate>) -> Channel {
        channel(self.listen(certificate, None).await).await
    }

    /// One whose client asks and never reads, from this address where one is given.
    pub(crate) async fn connect_unread(
        &self,
        certificate: Option<PeerCertificate>,
        from: Option<IpAddr>,
    ) -> Channel {
        let address = self.listen(certificate, from).await;
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        endpoint.initial_stream_window_size(0).connect().await.unwrap()
    }

    async fn listen(&self, certificate: Option<PeerCertificate>, from: Option<IpAddr>) -> SocketAddr {
        let (_, health) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
        };
        let server = Server::builder()
            .layer(self.guard.clone())
            .add_service(self.desk.admin())
            .add_service(self.desk.enrolment())
            .add_service(RunDesk::new(Arc::clone(&self.run) as Arc<dyn Queue>).service())
            .add_service(health)
            .add_service(reflection().build_v1().unwrap())
            .add_service(reflection().build_v1alpha().unwrap())
            .add_service(crate::live::federation(self.notified.lock().unwrap().clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpListenerStream::new(listener).map(move |stream| {
            stream.map(|stream| {
                let mut address = stream.peer_addr().unwrap();
                address.set_ip(from.unwrap_or(address.ip()));
                let hang_up = HangUp::default();
                let peer = Peer { address, certificate: certificate.clone(), hang_up };
                Proven { stream, peer }
            })
        });
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }
}

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) fn certificate(subject: &Subject, serial: &[u8]) -> PeerCertificate {
    PeerCertificate {
        subject: subject.clone(),
        fingerprint: Digest::sha256(serial),
        expires_s: NOW_S + 24 * 3600,
    }
}

pub(crate) fn silo(id: u32) -> PeerCertificate {
    certificate(&Subject::Silo(ClientId(id)), &id.to_be_bytes())
}

/// A request that shows a token.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Calls any RPC with an empty message, as far as its first headers: whether it was let in.
pub(crate) async fn call(channel: &Channel, path: &'static str, token: Option<&str>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let request = match token {
        Some(token) => with_token((), token),
        None => Request::new(()),
    };
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await.map(drop)
}

/// The reason code of a refusal.
pub(crate) fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    wire::reason(&answer.unwrap_err()).expect("a refusal has a reason")
}

struct Proven {
    stream: TcpStream,
    peer: Peer,
}

impl Connected for Proven {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Proven {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.peer.hang_up.is_due(cx) {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Proven {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
