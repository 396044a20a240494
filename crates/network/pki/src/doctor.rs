//! Why a connection to the coordinator does not come about, step by step.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::printable;
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;

use crate::client::{ClientTls, secure, target};
use crate::explain::{date, explain};
use crate::key::TransportKey;
use crate::leaf::{Leaf, certificates, inspect_der};
use crate::outgoing::{Outgoing, dial};
use crate::proxy::{ProxyFault, Through};
use crate::server::certified;
use crate::verify::{Recorder, provider, roots};

/// For what one address says, once it is connected.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Of an address that is not needed.
const SPARE: &str = "another address is used, after a wait at every connection: have this one repaired, or taken out of the \
                     name server's records";
/// What an HTTP/2 client says first: the preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What one step of the diagnosis found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In JSON `step`. Of the connection: `address`, `proxy`, `name`, `reach`, once for each address, `tunnel`, `tls`, `chain`, `server name`, `clock`, `own certificate`,
    /// `own key` or `admission`.
    #[serde(rename = "step")]
    pub what: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What helps, if something can.
    pub remedy: Option<String>,
}

impl Finding {
    /// A line for people, and one more with the remedy. Nothing in it drives a terminal.
    pub fn text(&self) -> String {
        let mark = if self.ok { "ok " } else { "BAD" };
        let line = format!("{mark}  {:<15}  {}\n", self.what, printable(&self.detail));
        match &self.remedy {
            Some(remedy) => format!("{line}     {:<15}  -> {}\n", "", printable(remedy)),
            None => line,
        }
    }

    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, ok: true, detail: detail.into(), remedy: None }
    }

    fn bad(what: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        Self { what, ok: false, detail: detail.into(), remedy: Some(remedy.to_owned()) }
    }
}

/// Tries a connection to `address` by way of `outgoing` step by step, as a client that trusts `ca_pem` and shows the PEM
/// chain of `identity`, with `now_s` as this machine's clock. Steps that need one that failed are left out.
pub async fn doctor(
    address: &str,
    ca_pem: &str,
    identity: Option<(&str, &TransportKey)>,
    outgoing: &Outgoing,
    now_s: u64,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let way = server(address, ca_pem, outgoing, now_s, &mut findings).await;
    let own = own(ca_pem, identity, now_s, &mut findings);
    // Shows the certificate as a client does: only to a server that is the right one.
    if let (Some(way), true, Ok(tls)) = (way, own, ClientTls::new(ca_pem, identity)) {
        findings.push(admission(&tls, &way).await);
    }
    findings
}

/// How the server was reached.
struct Way {
    host: String,
    port: u16,
    through: Option<Through>,
    /// The server's own, or the proxy's.
    address: SocketAddr,
}

impl Way {
    async fn open(&self, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let dialled = dial(self.address, self.through.as_ref(), &self.host, self.port, || ());
        let stream = timeout(ANSWER_TIME, dialled).await??;
        secure(config, stream, self.host.clone()).await
    }
}

/// The server's side; how it was reached, if all is well.
async fn server(
    address: &str,
    ca_pem: &str,
    outgoing: &Outgoing,
    now_s: u64,
    findings: &mut Vec<Finding>,
) -> Option<Way> {
    let parsed = address.parse::<Uri>().map_err(|error| error.to_string());
    let (host, port) = match parsed.and_then(|uri| target(&uri).map_err(|error| error.to_string())) {
        Ok(found) => found,
        Err(error) => {
            findings.push(Finding::bad(
                "address",
                format!("`{address}` cannot be dialled: {error}"),
                "give the coordinator's address such as https://fl.example.org:7440",
            ));
            return None;
        }
    };
    findings.push(Finding::good("address", format!("host {host}, port {port}")));
    let through = match outgoing.through(&host, port) {
        Ok(through) => through,
        Err(error) => {
            findings.push(Finding::bad("proxy", explain(&error), "name a proxy that can be used, or none"));
            return None;
        }
    };
    findings.push(proxy(outgoing, through.as_ref(), &host));
    let reached = reach(outgoing, through.as_ref(), &host, port, findings).await;
    let (way, chain) = shown(reached, through, &host, port, findings).await?;
    let (leaf, others) = chain.split_first()?;
    judge(leaf, others, &host, ca_pem, now_s, findings).then_some(way)
}

/// What is said of a proxy is where it is, never its credentials.
fn proxy(outgoing: &Outgoing, through: Option<&Through>, host: &str) -> Finding {
    let detail = match (through, outgoing.variable()) {
        (Some(proxy), _) => format!("by way of the proxy {proxy}, which {} names", proxy.named_by),
        (None, Some(variable)) => {
            format!(
                "{variable} is set, and not used for {host}: no_proxy names it, or the proxy is of another kind"
            )
        }
        (None, None) => "no proxy is configured or set in the environment".into(),
    };
    Finding::good("proxy", detail)
}

/// The addresses that accept connections, in the order in which clients try them.
async fn reach(
    outgoing: &Outgoing,
    through: Option<&Through>,
    host: &str,
    port: u16,
    findings: &mut Vec<Finding>,
) -> Vec<SocketAddr> {
    let (host, port) = through.map_or((host, port), |proxy| (&proxy.host, proxy.port));
    let addresses = match timeout(outgoing.limit(), outgoing.addresses(host, port)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        failed => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(_)) => "it has no address".into(),
                Err(_) => "the name server does not answer".into(),
            };
            let remedy =
                "check the name's spelling and this machine's name server, such as with `getent hosts`";
            findings.push(Finding::bad("name", format!("the name {host} cannot be resolved: {why}"), remedy));
            return Vec::new();
        }
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::good("name", format!("{host} is {}", shown.join(", "))));
    let tried: Vec<_> = addresses
        .into_iter()
        .map(|address| (address, tokio::spawn(timeout(outgoing.limit(), TcpStream::connect(address)))))
        .collect();
    let mut fates = Vec::new();
    for (address, attempt) in tried {
        let fate = match attempt.await {
            Ok(Ok(Ok(_))) => Ok(format!("{address} accepts connections")),
            Ok(Ok(Err(error))) => Err(format!("{address}: {}", explain(&error))),
            _ => Err(format!("{address}: no answer in {} s", outgoing.limit().as_secs_f64())),
        };
        fates.push((address, fate));
    }
    let reached: Vec<_> =
        fates.iter().filter(|(_, fate)| fate.is_ok()).map(|(address, _)| *address).collect();
    findings.extend(fates.into_iter().map(|(_, fate)| match fate {
        Ok(detail) => Finding::good("reach", detail),
        Err(detail) if reached.is_empty() => Finding::bad(
            "reach",
            detail,
            "check that the coordinator runs, that the port is its own, and that the firewall lets it out",
        ),
        Err(detail) => Finding { remedy: Some(SPARE.into()), ..Finding::good("reach", detail) },
    }));
    reached
}

/// The first of `reached` over which the server shows a chain, whatever it is worth.
async fn shown(
    reached: Vec<SocketAddr>,
    through: Option<Through>,
    host: &str,
    port: u16,
    findings: &mut Vec<Finding>,
) -> Option<(Way, Vec<CertificateDer<'static>>)> {
    let mut failed = Vec::new();
    let mut found = None;
    for address in reached {
        let way = Way { host: host.to_owned(), port, through: through.clone(), address };
        let recorder = Arc::new(Recorder::default());
        let tried = async {
            let tls = ClientTls::with_verifier(Arc::clone(&recorder) as _).map_err(io::Error::other)?;
            way.open(tls.config).await
        };
        match tried.await {
            Ok(_) => {
                found = recorder.chain.get().cloned().map(|chain| (way, chain));
                break;
            }
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<ProxyFault>()) => {
                failed.push(("tunnel", explain(&error), "see what the proxy says; it is asked with CONNECT"));
            }
            Err(error) => failed.push((
                "tls",
                format!("{address}: {}", explain(&error)),
                "check that this is the coordinator's port, that it serves TLS, and that no proxy is between",
            )),
        }
    }
    findings.extend(failed.into_iter().map(|(what, detail, remedy)| match &found {
        Some(_) => Finding { remedy: Some(SPARE.into()), ..Finding::good(what, detail) },
        None => Finding::bad(what, detail, remedy),
    }));
    if found.is_some() {
        findings.push(Finding::good("tls", "the server speaks TLS 1.3 and HTTP/2"));
    }
    found
}

/// The server's certificate: its chain, its name and its days, each for itself.
fn judge(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    host: &str,
    ca_pem: &str,
    now_s: u64,
    findings: &mut Vec<Finding>,
) -> bool {
    let read = match inspect_der(leaf) {
        Ok(read) => read,
        Err(error) => {
            let remedy = "check the address: another server, or a proxy that opens the encryption, answers";
            findings.push(Finding::bad("chain", format!("the server's certificate: {error}"), remedy));
            return false;
        }
    };
    let (Some(verifier), Ok(name)) = (verifier(ca_pem), ServerName::try_from(host)) else {
        let remedy = "restore the federation's authority certificate; a silo may enrol again instead";
        findings.push(Finding::bad("chain", "the pinned authority's certificate cannot be read", remedy));
        return false;
    };
    // At a moment that the certificate covers, so that a wrong clock does not look like a foreign authority; and
    // under a name that it has, so that neither does a wrong name.
    let covered = at(read.not_after_s.saturating_sub(1));
    let named =
        read.names.first().and_then(|name| ServerName::try_from(name.as_str()).ok()).unwrap_or(name.clone());
    let chain = match verifier.verify_server_cert(leaf, others, &named, &[], covered) {
        Ok(_) => Finding::good("chain", "the federation's authority issued the server's certificate"),
        Err(error) => Finding::bad(
            "chain",
            explain(&error),
            "check the address, and ask the administrator: only where the federation's authority was made anew, enrol again, with a new token",
        ),
    };
    let server_name = match verifier.verify_server_cert(leaf, others, &name, &[], covered) {
        Err(error) if chain.ok => Finding::bad(
            "server name",
            explain(&error),
            "dial one of these names, or add this one to the coordinator's certificate",
        ),
        _ if read.names.iter().any(|name| name == host) || chain.ok => {
            Finding::good("server name", format!("the certificate covers {host}"))
        }
        _ => Finding::bad(
            "server name",
            format!("the certificate is for {}, not for {host}", read.names.join(", ")),
            "dial one of these names, or add this one to the coordinator's certificate",
        ),
    };
    let clock =
        days("clock", "the server's certificate", &read, now_s, "have the coordinator renew its certificate");
    let good = chain.ok && server_name.ok && clock.ok;
    findings.extend([chain, server_name, clock]);
    good
}

fn verifier(ca_pem: &str) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(roots(ca_pem).ok()?, provider()).build().ok()
}

fn days(what: &'static str, whose: &str, leaf: &Leaf, now_s: u64, renew: &str) -> Finding {
    let (clock, from, until) = (date(now_s), date(leaf.not_before_s), date(leaf.not_after_s));
    let detail = format!("this machine's clock says {clock}, {whose} is valid from {from} to {until}");
    if now_s < leaf.not_before_s {
        Finding::bad(what, detail, "set this machine's clock, such as with `timedatectl`: it is behind")
    } else if now_s > leaf.not_after_s {
        Finding::bad(
            what,
            detail,
            &format!("check this machine's clock with `timedatectl`; if it is right, {renew}"),
        )
    } else {
        Finding::good(what, detail)
    }
}

/// The client's own side; true if nothing is wrong with it.
fn own(
    ca_pem: &str,
    identity: Option<(&str, &TransportKey)>,
    now_s: u64,
    findings: &mut Vec<Finding>,
) -> bool {
    let Some((chain_pem, key)) = identity else { return true };
    let certificate = own_certificate(ca_pem, chain_pem, now_s);
    let own_key = match certified(chain_pem, key) {
        Ok(_) => Finding::good("own key", "the key and the certificate belong together"),
        Err(error) => Finding::bad(
            "own key",
            error.to_string(),
            "restore both from one backup; a silo may enrol again instead",
        ),
    };
    let good = certificate.ok && own_key.ok;
    findings.extend([certificate, own_key]);
    good
}

fn own_certificate(ca_pem: &str, chain_pem: &str, now_s: u64) -> Finding {
    const WHAT: &str = "own certificate";
    const ENROL: &str = "a silo enrols again; an operator is issued another folder by an administrator, or by `folkmoot-coordinator admin`";
    let chain = match certificates(chain_pem) {
        Ok(chain) => chain,
        Err(error) => return Finding::bad(WHAT, error.to_string(), ENROL),
    };
    let Some((leaf, others)) = chain.split_first() else { return Finding::bad(WHAT, "there is none", ENROL) };
    let read = match inspect_der(leaf) {
        Ok(read) => read,
        Err(error) => return Finding::bad(WHAT, error.to_string(), ENROL),
    };
    let verifier = roots(ca_pem)
        .ok()
        .and_then(|roots| WebPkiClientVerifier::builder_with_provider(roots, provider()).build().ok());
    let covered = at(read.not_after_s.saturating_sub(1));
    if verifier.is_none_or(|verifier| verifier.verify_client_cert(leaf, others, covered).is_err()) {
        let detail = format!("the certificate of {} is not one of this federation's clients", read.subject);
        return Finding::bad(WHAT, detail, ENROL);
    }
    let finding = days(WHAT, "the own certificate", &read, now_s, ENROL);
    if finding.ok {
        Finding { detail: format!("{}: {}", read.subject, finding.detail), ..finding }
    } else {
        finding
    }
}

/// Whether the server goes on once it has seen the client's certificate: in TLS 1.3 it says so after the handshake.
async fn admission(tls: &ClientTls, way: &Way) -> Finding {
    let tried = async {
        let mut stream = way.open(Arc::clone(&tls.config)).await?;
        stream.write_all(HELLO).await?;
        timeout(ANSWER_TIME, stream.read_u8()).await?
    };
    match tried.await {
        Ok(_) => Finding::good("admission", "the server goes on with this client"),
        Err(error) => Finding::bad(
            "admission",
            explain(&error),
            "ask the coordinator's operator; enrol again only as they say",
        ),
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
