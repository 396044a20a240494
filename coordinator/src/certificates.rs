//! What connections are secured with, and the server's own certificate, which is renewed here.

use std::sync::Arc;
use std::time::Duration;

use access::Denied;
use daemon::now_s;
use ed25519_dalek::VerifyingKey;
use identity::{Authority, Subject};
use pki::{CertificateAuthority, ConnectionBudget, Incoming, ServerTls, TransportKey, Watcher};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::LoadedTls;
use crate::operations::Certificates;

/// How long the server's own certificate is good.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How often the clock is asked whether it must be renewed: a machine may have slept.
const LOOK: Duration = Duration::from_secs(60);

/// TLS, or plain text on loopback.
pub(crate) struct Secured {
    /// What join tokens pin.
    pub(crate) authority: Authority,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    server: ServerTls,
    issuer: Arc<CertificateAuthority>,
    /// What the server shows.
    chain: String,
}

impl Secured {
    pub(crate) fn new(
        tls: Option<LoadedTls>,
        federation: &str,
        authority_key: &VerifyingKey,
        denied: Denied,
    ) -> anyhow::Result<Self> {
        let Some(loaded) = tls else {
            let authority = Authority {
                federation: federation.to_owned(),
                key: hex::encode(authority_key.as_bytes()),
                ca_certificate: String::new(),
            };
            return Ok(Self { authority, tls: None });
        };
        let LoadedTls { authority, issuer, chain, key } = loaded;
        let denied = Arc::new(move |certificate: &pki::PeerCertificate| {
            let denied = denied.now();
            denied.subject(&certificate.subject).is_some()
                || denied.certificate(&certificate.subject, &certificate.fingerprint).is_some()
        });
        let server = ServerTls::new(&chain, &key, &authority.ca_certificate, denied)?;
        let mut tls = Tls { server, issuer, chain };
        // One that has expired while nobody was here would greet nobody.
        tls.renew_if_due()?;
        Ok(Self { authority, tls: Some(tls) })
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    pub(crate) fn issuer(&self) -> Certificates {
        Certificates { authority: self.tls.as_ref().map(|tls| Arc::clone(&tls.issuer)), now_s }
    }

    /// Accepted connections, without Nagle's algorithm: a round is many small messages, and with it each waits for an
    /// acknowledgement.
    pub(crate) fn incoming(
        &self,
        listener: TcpListener,
        budget: ConnectionBudget,
        watcher: Watcher,
    ) -> Incoming {
        match &self.tls {
            Some(tls) => Incoming::tls_within(listener, tls.server.clone(), budget, watcher),
            None => Incoming::plain_within(listener, budget, watcher),
        }
    }

    /// Renews the server's certificate at two thirds of its life, without a restart.
    pub(crate) fn keep_renewed(&self) -> Option<JoinHandle<()>> {
        let mut tls = self.tls.clone()?;
        Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(why) = tls.renew_if_due() {
                    tracing::error!("the server's certificate cannot be renewed: {why:#}");
                }
            }
        }))
    }
}

impl Tls {
    fn renew_if_due(&mut self) -> anyhow::Result<()> {
        let leaf = pki::inspect(&self.chain)?;
        let now = now_s();
        if now < pki::renew_at(leaf.not_before_s, leaf.not_after_s, 0) {
            return Ok(());
        }
        // The key is fresh too, and lives in memory: the next start finds the old pair, and renews it.
        let key = TransportKey::generate()?;
        let issued = self.issuer.issue(
            &key.request_der()?,
            &Subject::Coordinator,
            &leaf.names,
            now,
            LIFETIME.as_secs(),
        )?;
        self.server.replace(&issued.chain_pem, &key)?;
        self.chain = issued.chain_pem;
        tracing::info!(names = leaf.names.join(" "), "the server shows a fresh certificate");
        Ok(())
    }
}
