//! The ways to a coordinator: names with dead addresses, and proxies.

mod federation;

use std::net::SocketAddr;
use std::time::Duration;

use federation::network::{ConnectProxy, Silent, resolving};
use federation::{Coordinator, Federation, check, direct, now_s, silo};
use pki::{ClientTls, Finding, Outgoing, Proxy, doctor, explain};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

async fn call(url: &str, tls: &ClientTls, outgoing: &Outgoing) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    let channel = endpoint.connect_with_connector(tls.connector(outgoing)).await;
    check(channel.map_err(|error| explain(&error))?).await
}

async fn coordinator_at(federation: &Federation, address: &str) -> Coordinator {
    Coordinator::serve_at(address, federation.server_tls(&federation.coordinator())).await
}

fn details(findings: &[Finding], what: &str) -> Vec<String> {
    let of = findings.iter().filter(|finding| finding.what == what);
    of.map(|finding| format!("{} {}", finding.ok, finding.detail)).collect()
}

/// The hang guard is the connection's own limit. How soon, the clock of `outgoing`'s own tests says.
#[tokio::test]
async fn a_name_whose_first_address_is_silent_is_connected_to_in_both_orders_of_families() {
    let federation = Federation::new();
    let tls = federation.client_tls(None);
    for (dead, alive) in [("[::1]:0", "127.0.0.1:0"), ("127.0.0.1:0", "[::1]:0")] {
        let coordinator = coordinator_at(&federation, alive).await;
        let silent = Silent::bind(dead).await;
        let outgoing = resolving(direct(), &[silent.address, coordinator.address]);
        call("https://localhost:7440", &tls, &outgoing).await.unwrap();
        let brief = outgoing.within(Duration::from_secs(2));
        let findings = doctor("https://localhost:7440", federation.ca_pem(), None, &brief, now_s()).await;
        assert!(findings.iter().all(|finding| finding.ok), "{findings:#?}");
        let reach = details(&findings, "reach");
        assert!(reach[0].starts_with(&format!("true {}: no answer", silent.address)), "{reach:?}");
        assert_eq!(reach[1], format!("true {} accepts connections", coordinator.address));
    }
}

#[tokio::test]
async fn an_address_that_accepts_and_says_nothing_or_is_another_servers_gives_way_to_the_next() {
    let federation = Federation::new();
    let tls = federation.client_tls(None);
    let coordinator = coordinator_at(&federation, "127.0.0.1:0").await;
    // Bound and never accepted from: the system takes the connection.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let foreign = coordinator_at(&Federation::new(), "127.0.0.1:0").await;
    let plain = Coordinator::serve_plain().await;
    for first in [mute.local_addr().unwrap(), foreign.address, plain.address] {
        let outgoing = resolving(direct(), &[first, coordinator.address]);
        call("https://localhost:7440", &tls, &outgoing).await.unwrap();
    }
}

#[tokio::test]
async fn where_no_address_serves_each_ones_fate_is_reported() {
    let federation = Federation::new();
    let foreign = coordinator_at(&Federation::new(), "127.0.0.1:0").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outgoing = resolving(direct(), &[free, foreign.address]);
    let why = call("https://localhost:7440", &federation.client_tls(None), &outgoing).await.unwrap_err();
    assert!(why.contains("no address of localhost"), "{why}");
    assert!(why.contains(&format!("{free}: nothing listens there")), "{why}");
    assert!(
        why.contains(&format!("{}: the other end's certificate was issued by", foreign.address)),
        "{why}"
    );
    let none = call("https://localhost:7440", &federation.client_tls(None), &resolving(direct(), &[])).await;
    assert!(none.unwrap_err().contains("localhost has no address"));
}

#[tokio::test]
async fn calls_pass_through_a_proxy_that_is_asked_for_the_coordinators_name() {
    let federation = Federation::new();
    let coordinator = coordinator_at(&federation, "127.0.0.1:0").await;
    let proxy = ConnectProxy::start().await;
    let through = |credentials| Outgoing::new(Proxy::parse(&proxy.url(), credentials).unwrap());
    let member = federation.issue(&silo(1), &[]);
    let tls = federation.client_tls(Some(&member));
    // Its own name server is not asked for the coordinator's name.
    let name = format!("https://localhost:{}", coordinator.address.port());
    call(&name, &tls, &through(None)).await.unwrap();
    call(&coordinator.url(), &tls, &through(Some("ann:secret"))).await.unwrap();
    let asked = proxy.asked.lock().unwrap().clone();
    let port = coordinator.address.port();
    assert_eq!(asked[0], format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"));
    assert!(asked[1].contains("\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"), "{}", asked[1]);
    assert!(!format!("{:?}", through(Some("ann:secret"))).contains("secret"));
    let findings = doctor(&name, federation.ca_pem(), member.shown(), &through(None), now_s()).await;
    assert!(findings.iter().all(|finding| finding.ok), "{findings:#?}");
    assert_eq!(
        details(&findings, "proxy"),
        [format!("true by way of the proxy {}, which the configuration names", proxy.address)]
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_status_and_what_helps() {
    let federation = Federation::new();
    let tls = federation.client_tls(None);
    for (answer, status, remedy) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            "407",
            "proxy_auth_file",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden", "allow that address and port"),
        (
            "HTTP/1.0 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
            "502 Bad Gateway",
            "cannot reach the coordinator",
        ),
        ("HTTP/1.1 405\r\n\r\n", "405", "CONNECT"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP", "an HTTP proxy listens there"),
        ("HTTP/1.1 200 OK\r\n\r\nand more", "not HTTP", "an HTTP proxy listens there"),
        ("", "closed the connection", "an HTTP proxy listens there"),
    ] {
        let proxy = ConnectProxy::answering(Some(answer)).await;
        let outgoing = Outgoing::new(Proxy::parse(&proxy.url(), None).unwrap());
        let why = call("https://fl.example.org:7440", &tls, &outgoing).await.unwrap_err();
        assert!(why.contains(&format!("the proxy {} (from the configuration)", proxy.address)), "{why}");
        assert!(why.contains("fl.example.org:7440") && why.contains(status) && why.contains(remedy), "{why}");
        let findings =
            doctor("https://fl.example.org:7440", federation.ca_pem(), None, &outgoing, now_s()).await;
        assert_eq!(details(&findings, "tunnel"), [format!("false {why}")]);
    }
    let refused = ConnectProxy::answering(Some("HTTP/1.1 407 No\r\n\r\n")).await;
    let outgoing = Outgoing::new(Proxy::parse(&refused.url(), Some("ann:secret")).unwrap());
    let why = call("https://fl.example.org:7440", &tls, &outgoing).await.unwrap_err();
    assert!(why.contains("does not take this user") && !why.contains("secret"), "{why}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_not_taken_for_the_coordinator() {
    let federation = Federation::new();
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outgoing = Outgoing::new(Proxy::parse(&format!("http://{free}"), None).unwrap());
    let why = call("https://fl.example.org:7440", &federation.client_tls(None), &outgoing).await.unwrap_err();
    assert!(why.contains("nothing listens there") && why.contains(&format!("the proxy {free}")), "{why}");
}
