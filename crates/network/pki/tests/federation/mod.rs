//! A federation with one coordinator that answers health checks, over real sockets.
#![allow(dead_code, unreachable_pub, reason = "each target of these tests uses a part")]

pub mod network;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use identity::Subject;
use pki::{
    CertificateAuthority, ClientTls, DenialCheck, Incoming, Outgoing, Peer, Proxy, ServerTls, TransportKey,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

pub const DAY_S: u64 = 86_400;

pub fn now_s() -> u64 {
    pki::now_s().unwrap()
}

pub fn silo(id: u32) -> Subject {
    Subject::Silo(secagg::ClientId(id))
}

/// A certificate and its key.
pub struct Identity {
    pub chain: String,
    pub key: TransportKey,
}

impl Identity {
    pub fn shown(&self) -> Option<(&str, &TransportKey)> {
        Some((&self.chain, &self.key))
    }
}

pub struct Federation {
    pub ca: CertificateAuthority,
}

impl Federation {
    pub fn new() -> Self {
        Self { ca: CertificateAuthority::create("hospitals", now_s() - 100 * DAY_S).unwrap() }
    }

    pub fn ca_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    pub fn issue_at(&self, subject: &Subject, names: &[&str], now_s: u64) -> Identity {
        let key = TransportKey::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = self.ca.issue(&key.request_der().unwrap(), subject, &names, now_s, DAY_S).unwrap();
        Identity { chain: issued.chain_pem, key }
    }

    pub fn issue(&self, subject: &Subject, names: &[&str]) -> Identity {
        self.issue_at(subject, names, now_s())
    }

    pub fn coordinator(&self) -> Identity {
        self.issue(&Subject::Coordinator, &["localhost", "127.0.0.1", "::1"])
    }

    pub fn server_tls(&self, identity: &Identity) -> ServerTls {
        self.server_tls_denying(identity, Arc::new(|_| false))
    }

    pub fn server_tls_denying(&self, identity: &Identity, denied: DenialCheck) -> ServerTls {
        ServerTls::new(&identity.chain, &identity.key, self.ca_pem(), denied).unwrap()
    }

    pub fn client_tls(&self, identity: Option<&Identity>) -> ClientTls {
        ClientTls::new(self.ca_pem(), identity.and_then(Identity::shown)).unwrap()
    }
}

/// A server, and everyone who called it.
pub struct Coordinator {
    pub address: SocketAddr,
    pub callers: Arc<Mutex<Vec<Peer>>>,
    _stop: oneshot::Sender<()>,
}

impl Coordinator {
    pub async fn serve(tls: ServerTls) -> Self {
        Self::serve_at("127.0.0.1:0", tls).await
    }

    pub async fn serve_at(address: &str, tls: ServerTls) -> Self {
        Self::start(address, |listener| Incoming::tls(listener, tls)).await
    }

    pub async fn serve_plain() -> Self {
        Self::start("127.0.0.1:0", Incoming::plain).await
    }

    async fn start(address: &str, incoming: impl FnOnce(TcpListener) -> Incoming) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let callers = Arc::new(Mutex::new(Vec::new()));
        let (_, health) = tonic_health::server::health_reporter();
        let seen = Arc::clone(&callers);
        let health = InterceptedService::new(health, move |request: Request<()>| {
            let peer = request.extensions().get::<Peer>().cloned();
            seen.lock().unwrap().push(peer.ok_or_else(|| Status::internal("no peer"))?);
            Ok(request)
        });
        let server =
            Server::builder().add_service(health).serve_with_incoming_shutdown(incoming(listener), async {
                let _ = stopped.await;
            });
        tokio::spawn(server);
        Self { address, callers, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn last_caller(&self) -> Peer {
        self.callers.lock().unwrap().last().cloned().unwrap()
    }

    /// A channel, and what a failure to make one means.
    pub async fn channel(&self, tls: &ClientTls) -> Result<Channel, String> {
        dial(&self.url(), tls).await
    }

    /// One call over a new connection, and what its failure means.
    pub async fn call(&self, tls: &ClientTls) -> Result<(), String> {
        check(self.channel(tls).await?).await
    }
}

/// By no proxy, whatever the environment says.
pub fn direct() -> Outgoing {
    Outgoing::new(Proxy::none())
}

pub async fn dial(url: &str, tls: &ClientTls) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.connect_with_connector(tls.connector(&direct())).await.map_err(|error| pki::explain(&error))
}

pub async fn check(channel: Channel) -> Result<(), String> {
    let mut client = HealthClient::new(channel);
    let answer = client.check(HealthCheckRequest { service: String::new() }).await;
    answer.map(|_| ()).map_err(|status| pki::explain(&status))
}
