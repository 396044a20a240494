//! Strangers: connections that say nothing or one byte, TLS connections without a certificate, calls that nobody serves.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use super::{MIB, assert_alive, by_hand, coordinator, folder_bytes, pace, resident_bytes, until};
use crate::Running;
use crate::trust::{Trust, number};

const SILENT_A_SECOND: u64 = 200;
const IDLE_BY_HAND: usize = 3_000;
const IDLE: usize = 400;
const UNKNOWN_BY_HAND: u64 = 100_000;
const UNKNOWN: u64 = 2_000;
const SILOS: usize = 4;

/// A stranger believes anybody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn connector() -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The silos' own network, and others: every second connection comes from one of 250.
fn source(number: u64) -> Ipv4Addr {
    match number % 2 {
        0 => Ipv4Addr::LOCALHOST,
        _ => Ipv4Addr::new(127, 7, (number / 2 % 250) as u8, 1),
    }
}

async fn connect(to: SocketAddr, from: Ipv4Addr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((from, 0).into()).ok()?;
    tokio::time::timeout(Duration::from_secs(10), socket.connect(to)).await.ok()?.ok()
}

/// So many new connections a second that say nothing, or every other pair one byte, each held until 2,000 later ones are there.
async fn silent(to: SocketAddr, made: Arc<AtomicU64>) {
    let mut held = VecDeque::new();
    let mut due = tokio::time::interval(Duration::from_millis(1000 / SILENT_A_SECOND));
    for number in 0.. {
        due.tick().await;
        if let Some(mut stream) = connect(to, source(number)).await {
            if number % 4 < 2 {
                let _ = stream.write_all(&[22]).await;
            }
            made.fetch_add(1, Ordering::Relaxed);
            held.push_back(stream);
        }
        if held.len() > 2_000 {
            held.pop_front();
        }
    }
}

/// One TLS connection without a certificate that asks nothing, and comes again some time after it was ended.
async fn idle(to: SocketAddr, number: usize, made: Arc<AtomicU64>) {
    let name = ServerName::try_from("localhost").unwrap();
    loop {
        if let Some(stream) = connect(to, source(number as u64)).await
            && let Ok(mut stream) = connector().connect(name.clone(), stream).await
        {
            made.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 64]).await;
        }
        pace(Duration::from_secs(20)).await;
    }
}

/// The time from a silo's start to its session.
fn time_to_join(trust: &Trust, id: usize, begun: Instant) -> (Running, Duration) {
    let silo = trust.silo(id);
    let started = Instant::now();
    let log = trust.path(&format!("silo-{id}.log"));
    while !fs::read_to_string(&log).unwrap_or_default().contains("connected to the coordinator") {
        assert!(
            begun.elapsed() < super::HANG * 4,
            "silo {id} does not come in:\n{}",
            trust.log(&format!("silo-{id}"))
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    (silo, started.elapsed())
}

fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn under_silent_and_idle_strangers_with_a_thousand_descriptors_silos_come_in_and_rounds_commit() {
    raise_descriptors();
    let trust = Trust::prepare();
    let log = trust.path("coordinator.log");
    let (mut daemon, address) = coordinator(&trust.path("fed/coordinator.toml"), &log);
    trust.enrol(&(1..=SILOS).collect::<Vec<_>>());
    let silos: Vec<Running> = (1..SILOS).map(|id| trust.silo(id)).collect();
    let before = trust.status_until("a round", |status| number(status, "rounds_committed") >= 1);
    let before = (number(&before, "rounds_committed"), resident_bytes(&daemon), Instant::now());

    let to: SocketAddr = address.parse().unwrap();
    let (quiet, shaken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let attack = Runtime::new().unwrap();
    attack.spawn(silent(to, Arc::clone(&quiet)));
    let connections = if by_hand().is_some() { IDLE_BY_HAND } else { IDLE };
    for number in 0..connections {
        let made = Arc::clone(&shaken);
        attack.spawn(async move {
            // A handshake costs the attacker as much as it costs the coordinator.
            pace(Duration::from_millis(number as u64 * 5)).await;
            idle(to, number, made).await;
        });
    }
    // The attack is at its height.
    let begun = Instant::now();
    let enough =
        || quiet.load(Ordering::Relaxed) >= 600 && shaken.load(Ordering::Relaxed) >= connections as u64 / 2;
    while !until(begun, enough) && by_hand().is_none() {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (mut slowest, mut resident) = (Duration::ZERO, 0);
    let (mut rounds, mut last) = (before.0, None);
    loop {
        drop(last.take());
        let (silo, took) = time_to_join(&trust, SILOS, begun);
        slowest = slowest.max(took);
        last = Some(silo);
        let more = rounds + 2;
        let status = trust.status_until("committed under siege", |s| number(s, "rounds_committed") >= more);
        rounds = number(&status, "rounds_committed");
        resident = resident.max(resident_bytes(&daemon));
        assert_alive(&mut daemon, &log);
        if until(begun, || true) {
            break;
        }
    }
    let grown = resident.saturating_sub(before.1);
    eprintln!(
        "siege: {} silent and {} idle connections in {:.0} s; a silo came in within {:.2} s; {} rounds, {} aborted; \
         {} MiB more",
        quiet.load(Ordering::Relaxed),
        shaken.load(Ordering::Relaxed),
        before.2.elapsed().as_secs_f64(),
        slowest.as_secs_f64(),
        rounds - before.0,
        trust.status_until("read", |_| true)["rounds_aborted"],
        grown / MIB
    );
    assert!(grown < 200 * MIB, "{} MiB more under siege", grown / MIB);
    attack.shutdown_background();
    drop((last, silos));
}

#[test]
fn calls_that_nobody_serves_are_counted_in_the_log_and_do_not_fill_it() {
    let trust = Trust::prepare();
    let log = trust.path("coordinator.log");
    let (mut daemon, address) = coordinator(&trust.path("fed/coordinator.toml"), &log);
    let audit = trust.path("fed/data/audit");
    let (before, resident) = (folder_bytes(&audit), resident_bytes(&daemon));
    let ca = fs::read_to_string(trust.path("fed/ca.crt")).unwrap();
    let tls = pki::ClientTls::new(&ca, None).unwrap();
    let outgoing = pki::Outgoing::new(pki::Proxy::none());
    let calls = if by_hand().is_some() { UNKNOWN_BY_HAND } else { UNKNOWN };
    let begun = Instant::now();
    let refused = Runtime::new().unwrap().block_on(async {
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        let channel = endpoint.connect_with_connector_lazy(tls.connector(&outgoing));
        let path = PathAndQuery::from_maybe_shared(format!("/{}", "a\\".repeat(7_900))).unwrap();
        let mut calling = tokio::task::JoinSet::new();
        for worker in 0..16 {
            let (channel, path) = (channel.clone(), path.clone());
            calling.spawn(async move {
                let mut refused = 0;
                for _ in (worker..calls).step_by(16) {
                    let mut grpc = Grpc::new(channel.clone());
                    grpc.ready().await.unwrap();
                    let codec =
                        tonic_prost::ProstCodec::<wire::v1::StatusRequest, wire::v1::RunStatus>::default();
                    let request = tonic::Request::new(wire::v1::StatusRequest::default());
                    let why = grpc.unary(request, path.clone(), codec).await.unwrap_err();
                    // On a busy machine a connection may break with a few of them.
                    refused += u64::from(wire::reason(&why).is_some());
                }
                refused
            });
        }
        calling.join_all().await.into_iter().sum::<u64>()
    });
    assert_alive(&mut daemon, &log);
    let grown_resident = resident_bytes(&daemon).saturating_sub(resident);
    let took = begun.elapsed();
    // It says what it left out when it is closed, as it does each minute.
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    daemon.0.wait().unwrap();
    std::mem::forget(daemon);
    let grown = folder_bytes(&audit) - before;
    eprintln!(
        "siege: {calls} calls of 16 kB in {:.1} s; the log grew by {} KiB, memory by {} MiB",
        took.as_secs_f64(),
        grown / 1024,
        grown_resident / MIB
    );
    assert!(grown < MIB, "{grown} bytes more");
    let (written, counted) = refusals(&audit);
    eprintln!("siege: {written} refusals are written down, {counted} counted");
    assert!(refused > 0 && written + counted >= refused, "{refused} were refused");
}

/// How many refusals stand in the log, and how many it says that it left out.
fn refusals(audit: &Path) -> (u64, u64) {
    let mut counts = (0, 0);
    for entry in audit::read_entries(audit, 0..u64::MAX).unwrap() {
        let event = audit::Event::decode(&entry).unwrap();
        if event.details.get("reason").is_some_and(|reason| reason == "UNKNOWN_RPC" || reason == "TOO_OFTEN")
        {
            counts.0 += 1;
        }
        if event.action == "calls.left_out" {
            counts.1 += event.details["refused_strangers"].parse::<u64>().unwrap();
        }
    }
    counts
}
