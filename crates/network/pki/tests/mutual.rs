//! Both sides of a connection over real sockets: who is believed, and what the other hears.

mod federation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use federation::{Coordinator, DAY_S, Federation, Identity, check, dial, now_s, silo};
use identity::{Role, Subject};
use pki::{ClientTls, TransportKey};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn refused(coordinator: &Coordinator, tls: &ClientTls, reason: &str) {
    let error = coordinator.call(tls).await.unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[tokio::test]
async fn a_call_with_a_certificate_carries_its_subject_and_one_without_carries_none() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let member = federation.issue(&silo(7), &[]);
    coordinator.call(&federation.client_tls(Some(&member))).await.unwrap();
    let certificate = coordinator.last_caller().certificate.unwrap();
    let leaf = pki::inspect(&member.chain).unwrap();
    assert_eq!(certificate.subject, silo(7));
    assert_eq!(certificate.fingerprint, leaf.fingerprint);
    assert_eq!(certificate.expires_s, leaf.not_after_s);
    coordinator.call(&federation.client_tls(None)).await.unwrap();
    assert_eq!(coordinator.last_caller().certificate, None);
}

#[tokio::test]
async fn a_plain_connection_carries_a_peer_without_a_certificate() {
    let coordinator = Coordinator::serve_plain().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", coordinator.address)).unwrap();
    check(endpoint.connect().await.unwrap()).await.unwrap();
    let peer = coordinator.last_caller();
    assert!(peer.address.ip().is_loopback());
    assert_eq!(peer.certificate, None);
}

#[tokio::test]
async fn a_client_refuses_a_server_of_another_authority() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let coordinator = Coordinator::serve(theirs.server_tls(&theirs.coordinator())).await;
    refused(&coordinator, &ours.client_tls(None), "issued by another authority").await;
}

#[tokio::test]
async fn a_server_refuses_a_client_of_another_authority_and_the_client_hears_why() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let coordinator = Coordinator::serve(ours.server_tls(&ours.coordinator())).await;
    let stranger = theirs.issue(&silo(1), &[]);
    // Often, since the reason races with the end of the connection.
    for _ in 0..20 {
        refused(&coordinator, &ours.client_tls(Some(&stranger)), "authority of our certificate").await;
    }
    assert!(coordinator.callers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_refuses_an_expired_server_and_names_both_times() {
    let federation = Federation::new();
    let late = federation.issue_at(&Subject::Coordinator, &["127.0.0.1"], now_s() - 2 * DAY_S);
    let coordinator = Coordinator::serve(federation.server_tls(&late)).await;
    let error = coordinator.call(&federation.client_tls(None)).await.unwrap_err();
    assert!(error.contains("was valid until 2") && error.contains("this machine's clock says 2"), "{error}");
}

#[tokio::test]
async fn a_client_refuses_a_server_of_another_name_and_names_its_names() {
    let federation = Federation::new();
    let other = federation.issue(&Subject::Coordinator, &["coordinator.example"]);
    let coordinator = Coordinator::serve(federation.server_tls(&other)).await;
    let error = coordinator.call(&federation.client_tls(None)).await.unwrap_err();
    assert!(error.contains("coordinator.example") && error.contains("not for 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_certificate_without_exactly_one_subject_is_refused() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let cases: [&[&str]; 4] =
        [&[], &["folkmoot:silo/1", "folkmoot:silo/2"], &["folkmoot:silo/01"], &["https://example.com/"]];
    for uris in cases {
        let odd = forged(&federation, uris);
        refused(&coordinator, &federation.client_tls(Some(&odd)), "names no silo or operator").await;
    }
    let good = forged(&federation, &["folkmoot:silo/1"]);
    coordinator.call(&federation.client_tls(Some(&good))).await.unwrap();
}

/// A client's certificate of the true authority with these URI names, which `issue` would not make.
fn forged(federation: &Federation, uris: &[&str]) -> Identity {
    let authority = KeyPair::from_pem(&federation.ca.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(federation.ca_pem(), authority).unwrap();
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let chain = params.signed_by(&pair, &issuer).unwrap().pem();
    Identity { chain, key: TransportKey::from_pem(&pair.serialize_pem()).unwrap() }
}

#[tokio::test]
async fn a_silo_cannot_pass_for_the_coordinator_nor_the_coordinator_for_a_caller() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let caller = federation.coordinator();
    refused(&coordinator, &federation.client_tls(Some(&caller)), "other side of a connection").await;
    let impostor = Coordinator::serve(federation.server_tls(&federation.issue(&silo(1), &[]))).await;
    refused(&impostor, &federation.client_tls(None), "other side of a connection").await;
    assert!(impostor.callers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_revoked_subject_is_refused_in_the_handshake_though_it_was_connected_before() {
    let federation = Federation::new();
    let revoked = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&revoked);
    let denied = Arc::new(move |peer: &pki::PeerCertificate| switch.load(SeqCst) && peer.subject == silo(1));
    let tls = federation.server_tls_denying(&federation.coordinator(), denied);
    let coordinator = Coordinator::serve(tls).await;
    let (first, second) = (federation.issue(&silo(1), &[]), federation.issue(&silo(2), &[]));
    let first = federation.client_tls(Some(&first));
    coordinator.call(&first).await.unwrap();
    revoked.store(true, SeqCst);
    // The same settings: a resumed session would pass.
    refused(&coordinator, &first, "was revoked").await;
    coordinator.call(&federation.client_tls(Some(&second))).await.unwrap();
}

#[tokio::test]
async fn a_client_that_offers_only_tls_1_2_is_refused() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    // No `supported_versions`: 1.2 is what the hello itself says.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    let mut stream = TcpStream::connect(coordinator.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[5], answer[6]), (21, 2, 70), "a fatal alert: protocol version");
}

#[tokio::test]
async fn tls_to_a_plain_port_is_explained() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve_plain().await;
    refused(&coordinator, &federation.client_tls(None), "does not speak TLS").await;
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_up_nobody() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(coordinator.address).await.unwrap());
    }
    coordinator.call(&federation.client_tls(None)).await.unwrap();
}

#[tokio::test]
async fn a_renewed_server_is_seen_by_new_connections_while_the_old_one_goes_on() {
    let federation = Federation::new();
    let old = federation.issue(&Subject::Coordinator, &["localhost"]);
    let new = federation.issue(&Subject::Coordinator, &["127.0.0.1"]);
    let server = federation.server_tls(&old);
    let coordinator = Coordinator::serve(server.clone()).await;
    let by_name = format!("https://localhost:{}", coordinator.address.port());
    let client = federation.client_tls(None);
    let before = dial(&by_name, &client).await.unwrap();
    check(before.clone()).await.unwrap();
    refused(&coordinator, &client, "not for 127.0.0.1").await;
    assert!(server.replace(&new.chain, &old.key).is_err(), "a key of another certificate");
    server.replace(&new.chain, &new.key).unwrap();
    coordinator.call(&client).await.unwrap();
    assert!(dial(&by_name, &client).await.unwrap_err().contains("not for localhost"));
    check(before).await.unwrap();
}

#[tokio::test]
async fn a_renewed_client_is_seen_by_new_connections_while_the_old_one_goes_on() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let shown = || coordinator.last_caller().certificate.unwrap().fingerprint;
    let (old, new) = (federation.issue(&silo(1), &[]), federation.issue(&silo(1), &[]));
    let [old_print, new_print] = [&old, &new].map(|one| pki::inspect(&one.chain).unwrap().fingerprint);
    let client = federation.client_tls(Some(&old));
    let before = coordinator.channel(&client).await.unwrap();
    check(before.clone()).await.unwrap();
    assert_eq!(shown(), old_print);
    client.replace(&new.chain, &new.key).unwrap();
    coordinator.call(&client).await.unwrap();
    assert_eq!(shown(), new_print);
    check(before).await.unwrap();
    assert_eq!(shown(), old_print);
}

#[tokio::test]
async fn a_connection_that_is_hung_up_ends_and_no_other() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let client = federation.client_tls(Some(&federation.issue(&silo(1), &[])));
    let watch = async |channel: Channel| {
        let mut health = HealthClient::new(channel);
        let mut watching = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert!(watching.message().await.unwrap().is_some());
        (watching, coordinator.last_caller().hang_up)
    };
    let (mut ends, hang_up) = watch(coordinator.channel(&client).await.unwrap()).await;
    let other = coordinator.channel(&client).await.unwrap();
    let (_goes_on, _) = watch(other.clone()).await;
    hang_up.now();
    ends.message().await.unwrap_err();
    check(other).await.unwrap();
}

#[tokio::test]
async fn an_operator_is_known_by_name_and_role() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let alice = Subject::operator("alice", Role::Auditor).unwrap();
    coordinator.call(&federation.client_tls(Some(&federation.issue(&alice, &[])))).await.unwrap();
    assert_eq!(coordinator.last_caller().certificate.unwrap().subject, alice);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_handshake_is_hung_up_on() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let mut silent = TcpStream::connect(coordinator.address).await.unwrap();
    let since = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(since.elapsed().as_secs(), 10);
}
