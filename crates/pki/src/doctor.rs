//! Why a connection to the coordinator does not come about, step by step.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::codegen::http::Uri;

use crate::client::{ClientTls, secure, target};
use crate::explain::{date, explain};
use crate::key::TransportKey;
use crate::leaf::{Leaf, certificates, inspect_der};
use crate::server::certified;
use crate::verify::{Recorder, provider, roots};

const REACH_TIME: Duration = Duration::from_secs(10);
/// Variables that other programs take a proxy from.
const PROXIES: [&str; 6] =
    ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
/// What an HTTP/2 client says first: the preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What one step of the diagnosis found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The step: `address`, `proxy`, `name`, `reach`, `tls`, `chain`, `server name`, `clock`, `own certificate`,
    /// `own key` or `admission`.
    pub what: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What helps, if something can.
    pub mend: Option<String>,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, ok: true, detail: detail.into(), mend: None }
    }

    fn bad(what: &'static str, detail: impl Into<String>, mend: &str) -> Self {
        Self { what, ok: false, detail: detail.into(), mend: Some(mend.to_owned()) }
    }
}

/// Tries a connection to `address` step by step, as a client that trusts `ca_pem` and shows the PEM chain of
/// `identity`, with `now_s` as this machine's clock. Steps that need one that failed are left out.
pub async fn doctor(
    address: &str,
    ca_pem: &str,
    identity: Option<(&str, &TransportKey)>,
    now_s: u64,
) -> Vec<Finding> {
    let set = PROXIES.into_iter().filter(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let mut findings = Vec::new();
    let served = server(address, ca_pem, &set.collect::<Vec<_>>(), now_s, &mut findings).await;
    let own = own(ca_pem, identity, now_s, &mut findings);
    // Shows the certificate as a client does: only to a server that is the right one.
    if let (Some((host, dialled)), true, Ok(tls)) = (served, own, ClientTls::new(ca_pem, identity)) {
        findings.push(admission(&tls, &host, dialled).await);
    }
    findings
}

/// The server's side; its name and where it was reached, if all is well.
async fn server(
    address: &str,
    ca_pem: &str,
    proxies: &[&str],
    now_s: u64,
    findings: &mut Vec<Finding>,
) -> Option<(String, SocketAddr)> {
    let (host, port) = match address.parse::<Uri>().map_err(|error| error.to_string()).and_then(|uri| {
        let found = target(&uri).map_err(|error| error.to_string())?;
        Ok(found)
    }) {
        Ok(found) => found,
        Err(error) => {
            findings.push(Finding::bad(
                "address",
                format!("`{address}` cannot be dialled: {error}"),
                "give the coordinator's address such as https://coordinator.example:8443",
            ));
            return None;
        }
    };
    findings.push(Finding::good("address", format!("host {host}, port {port}")));
    findings.push(proxy(proxies, &host, port));
    let dialled = reach(&host, port, findings).await?;
    let chain = shown(&host, dialled, findings).await?;
    let (leaf, others) = chain.split_first()?;
    let good = judge(leaf, others, &host, ca_pem, now_s, findings);
    good.then_some((host, dialled))
}

fn proxy(set: &[&str], host: &str, port: u16) -> Finding {
    if set.is_empty() {
        return Finding::good("proxy", "no proxy is set in the environment");
    }
    // Their values are not shown: they may hold a password.
    Finding {
        what: "proxy",
        ok: true,
        detail: format!("{} set, and not used: the coordinator is dialled directly", set.join(", ")),
        mend: Some(format!("if only the proxy leads out, have {host} port {port} opened for this machine")),
    }
}

async fn reach(host: &str, port: u16, findings: &mut Vec<Finding>) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => {
            let mend =
                "check the name's spelling and this machine's name server, such as with `getent hosts`";
            findings.push(Finding::bad("name", format!("the name {host} cannot be resolved: {error}"), mend));
            return None;
        }
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::good("name", format!("{host} is {}", shown.join(", "))));
    let mut failure = "it has no address".to_owned();
    for address in addresses {
        match timeout(REACH_TIME, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                findings.push(Finding::good("reach", format!("{address} accepts connections")));
                return Some(address);
            }
            Ok(Err(error)) => failure = format!("{address}: {}", explain(&error)),
            Err(_) => failure = format!("{address}: no answer in {} s", REACH_TIME.as_secs()),
        }
    }
    let mend = "check that the coordinator runs, that the port is its own, and that the firewall lets it out";
    findings.push(Finding::bad("reach", failure, mend));
    None
}

/// The chain that the server shows, whatever it is worth.
async fn shown(
    host: &str,
    dialled: SocketAddr,
    findings: &mut Vec<Finding>,
) -> Option<Vec<CertificateDer<'static>>> {
    let recorder = Arc::new(Recorder::default());
    let tried = async {
        let tls = ClientTls::with_verifier(Arc::clone(&recorder) as _).map_err(std::io::Error::other)?;
        secure(tls.config, TcpStream::connect(dialled).await?, host).await
    };
    match tried.await {
        Ok(_) => {
            findings.push(Finding::good("tls", "the server speaks TLS 1.3 and HTTP/2"));
            recorder.chain.get().cloned()
        }
        Err(error) => {
            let mend =
                "check that this is the coordinator's port, that it serves TLS, and that no proxy is between";
            findings.push(Finding::bad("tls", explain(&error), mend));
            None
        }
    }
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
            let mend = "check the address: another server, or a proxy that opens the encryption, answers";
            findings.push(Finding::bad("chain", format!("the server's certificate: {error}"), mend));
            return false;
        }
    };
    let (Some(verifier), Ok(name)) = (verifier(ca_pem), ServerName::try_from(host)) else {
        let mend = "restore the federation's authority certificate, or enrol again";
        findings.push(Finding::bad("chain", "the pinned authority's certificate cannot be read", mend));
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
            "check the address; if the federation's authority was made anew, enrol again",
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
        Err(error) => {
            Finding::bad("own key", error.to_string(), "restore both from one backup, or enrol again")
        }
    };
    let good = certificate.ok && own_key.ok;
    findings.extend([certificate, own_key]);
    good
}

fn own_certificate(ca_pem: &str, chain_pem: &str, now_s: u64) -> Finding {
    const WHAT: &str = "own certificate";
    const ENROL: &str = "enrol again";
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
async fn admission(tls: &ClientTls, host: &str, dialled: SocketAddr) -> Finding {
    let tried = async {
        let mut stream = secure(Arc::clone(&tls.config), TcpStream::connect(dialled).await?, host).await?;
        stream.write_all(HELLO).await?;
        timeout(REACH_TIME, stream.read_u8()).await?
    };
    match tried.await {
        Ok(_) => Finding::good("admission", "the server goes on with this client"),
        Err(error) => {
            Finding::bad("admission", explain(&error), "ask the coordinator's operator, or enrol again")
        }
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_in_the_environment_is_named_but_not_what_it_is_set_to() {
        let finding = proxy(&["https_proxy", "ALL_PROXY"], "coordinator.example", 8443);
        assert_eq!(
            finding.detail,
            "https_proxy, ALL_PROXY set, and not used: the coordinator is dialled directly"
        );
        assert!(finding.mend.unwrap().contains("coordinator.example port 8443"));
        assert_eq!(proxy(&[], "coordinator.example", 8443).mend, None);
    }
}
