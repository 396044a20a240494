//! The gate in front of every service: who calls, whether it may, and how often.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::clock::DefaultClock;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request, Response};
use identity::{AccessToken, Role, Subject};
use params::Digest;
use pki::{HangUp, Peer};
use secagg::ClientId;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};
use wire::ToStatus;

use crate::denied::Denied;
use crate::error::{AccessError, in_words};
use crate::limits::{Key, Limits, Rates};
use crate::registry::Registry;
use crate::requirements::{CallRule, RateClass, Requirement, requirement};

mod ending;
mod progress;

use ending::{Ended, EndsWithItsCaller};
use progress::{Counted, Places, Progress};

/// An RPC's path that no row names is a stranger's text.
const PATH_BYTES_MAX: usize = 128;
/// How soon whoever has too many calls in progress may ask again.
const TOO_MANY_RETRY: Duration = Duration::from_secs(1);

/// How long a call of who proved nothing may last.
const STRANGERS_CALL: Duration = Duration::from_secs(300);

/// How often the clock is asked whether what a call was begun with has expired.
const LOOK: Duration = Duration::from_secs(60);

/// The wall clock, in milliseconds since the Unix epoch.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Receives each refusal and each recorded call. It must return soon: calls wait for it.
pub type Hook = Arc<dyn Fn(&CallRecord) + Send + Sync>;

/// What a caller without certificate and token may be in plain text: what a silo and who watches it need. A session
/// still proves the silo's identity by its signed hello.
const PLAINTEXT_ROLES: [Role; 2] = [Role::Client, Role::Viewer];

/// Who made a call. Every request that passed the [`Guard`] has it in its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For people: an operator's name, `silo/7`, or an address.
    pub name: String,
    /// What it proved to be; `None` where it proved nothing.
    pub subject: Option<Subject>,
    /// In what role it acts.
    pub role: Option<Role>,
    /// How it proved it.
    pub proof: Proof,
    /// Where it calls from, where the transport knows.
    pub address: Option<SocketAddr>,
    /// When what it proved itself with expires. Seconds since the Unix epoch.
    pub expires_s: Option<u64>,
}

/// How a caller proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    Nothing,
    /// By a certificate of the federation.
    Certificate {
        /// SHA-256 over its DER bytes.
        fingerprint: Digest,
    },
    /// By an operator's token.
    Token {
        /// The token's id, which is no secret.
        id: String,
    },
}

impl Caller {
    /// Whether a session or an upload of this silo may be this caller's: a certificate speaks for its own silo only.
    /// Where nothing was proven, in plain text, the silo's signature inside the stream alone decides.
    pub fn may_be(&self, silo: ClientId) -> bool {
        self.subject.as_ref().is_none_or(|subject| *subject == Subject::Silo(silo))
    }

    fn proven(subject: Subject, proof: Proof, expires_s: Option<u64>, address: Option<SocketAddr>) -> Self {
        let name = match &subject {
            Subject::Coordinator => "the coordinator".to_owned(),
            Subject::Silo(id) => format!("silo/{id}"),
            Subject::Operator { name, .. } => name.clone(),
        };
        Self { name, role: subject.role(), subject: Some(subject), proof, address, expires_s }
    }

    fn nobody(address: Option<SocketAddr>) -> Self {
        let name =
            address.map_or_else(|| "a caller without address".to_owned(), |address| address.to_string());
        Self { name, subject: None, role: None, proof: Proof::Nothing, address, expires_s: None }
    }
}

/// One call, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The RPC's path.
    pub rpc: String,
    /// Who made it.
    pub caller: Caller,
    /// What became of it.
    pub outcome: CallOutcome,
}

impl CallRecord {
    /// Whether it only looks, and changes nothing.
    pub fn looks(&self) -> bool {
        requirement(&self.rpc).is_some_and(|row| row.rate == RateClass::Read)
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// It is handed to its service now; a [`CallOutcome::Failed`] follows where that refuses it.
    Begun,
    /// The guard refused it.
    Refused {
        /// A word that programs act on.
        reason: String,
        /// A sentence for whoever reads it.
        text: String,
    },
    /// Its service refused it.
    Failed {
        /// A word that programs act on.
        reason: String,
        /// A sentence for whoever reads it.
        text: String,
    },
}

/// The layer for `Server::builder().layer(…)`.
///
/// It reads the caller from the connection's [`Peer`] or from `authorization: Bearer TOKEN`; refuses whoever is
/// barred, whose certificate or token has expired, and whose role is not in the RPC's row of
/// [`crate::REQUIREMENTS`]; counts its calls; and ends the calls in progress of whoever is barred meanwhile. A token
/// that is sent must be good, whatever the certificate says.
///
/// A call in progress ends, streams included, when the certificate or the token expires that it was begun with. Where
/// its caller does not read that it ended, its connection does.
#[derive(Clone)]
pub struct Guard(Arc<Shared>);

struct Shared {
    registry: Arc<Registry>,
    denied: Denied,
    limits: Limits<DefaultClock>,
    progress: Arc<Progress>,
    plaintext: bool,
    clock: WallClock,
    hook: Hook,
}

impl Guard {
    /// For connections over TLS.
    pub fn new(registry: Arc<Registry>, rates: &Rates, clock: WallClock, hook: Hook) -> Self {
        Self::build(registry, rates, clock, hook, false)
    }

    /// For plain text: loopback only, chosen explicitly. A caller without token acts as a client and a viewer.
    pub fn plaintext(registry: Arc<Registry>, rates: &Rates, clock: WallClock, hook: Hook) -> Self {
        Self::build(registry, rates, clock, hook, true)
    }

    fn build(registry: Arc<Registry>, rates: &Rates, clock: WallClock, hook: Hook, plaintext: bool) -> Self {
        let limits = Limits::new(rates, DefaultClock::default());
        let denied = registry.denied();
        let progress = Arc::default();
        Self(Arc::new(Shared { registry, denied, limits, progress, plaintext, clock, hook }))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("plaintext", &self.0.plaintext).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, shared: Arc::clone(&self.0) }
    }
}

/// A service behind the [`Guard`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (caller, row, counted) = match self.shared.admit(&request) {
            Ok(admitted) => admitted,
            Err(why) => return Box::pin(std::future::ready(Ok(why.to_status().into_http()))),
        };
        request.extensions_mut().insert(caller.clone());
        // The service that is ready is the one that was asked; the clone takes its place.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone).call(request);
        Box::pin(Arc::clone(&self.shared).watch(caller, row, counted, inner))
    }
}

impl Shared {
    /// Everything that is decided before a service sees the call.
    fn admit(&self, request: &Request<Body>) -> Result<(Caller, &'static CallRule, Counted), AccessError> {
        let path = shortened(request.uri().path());
        let peer = peer(request.extensions());
        let mut caller = Caller::nobody(peer.as_ref().map(|peer| peer.address));
        let admitted = self.judge(path, peer, request.headers(), &mut caller);
        match &admitted {
            Err(why) => self.report_refusal(path, &caller, why),
            Ok((row, _)) if row.recorded => self.report(path, &caller, CallOutcome::Begun),
            Ok(_) => {}
        }
        admitted.map(|(row, counted)| (caller, row, counted))
    }

    fn judge(
        &self,
        path: &str,
        peer: Option<Peer>,
        headers: &HeaderMap,
        caller: &mut Caller,
    ) -> Result<(&'static CallRule, Counted), AccessError> {
        if peer.as_ref().is_none_or(|peer| peer.certificate.is_none()) {
            self.count_unproven(path, caller)?;
        }
        let row = requirement(path).ok_or_else(|| AccessError::UnknownRpc(path.to_owned()))?;
        let hang_up = peer.as_ref().map_or_else(HangUp::default, |peer| peer.hang_up.clone());
        self.identify(peer, headers, caller)?;
        self.require(row, caller)?;
        self.count(row, caller)?;
        let counted = Progress::begin(&self.progress, self.key(caller), Places::of(row), hang_up)
            .ok_or_else(|| AccessError::TooMany { who: caller.name.clone(), retry_after: TOO_MANY_RETRY })?;
        Ok((row, counted))
    }

    /// Whoever showed no certificate is counted before anything is looked up for it.
    fn count_unproven(&self, path: &str, caller: &Caller) -> Result<(), AccessError> {
        let key = self.key(caller);
        self.limits.check_unproven(key).map_err(|retry_after| AccessError::TooOften {
            who: caller.name.clone(),
            path: path.to_owned(),
            retry_after,
        })
    }

    /// Who a caller is among all that call at once.
    fn key(&self, caller: &Caller) -> Key {
        match (&caller.subject, caller.address) {
            (Some(subject), _) => Key::Identity(subject.to_string()),
            (None, None) => Key::Rest,
            // On one machine: its callers differ by their ports alone.
            (None, Some(address)) if self.plaintext => Key::Connection(address),
            (None, Some(address)) => Key::network(address.ip()),
        }
    }

    /// Who it is, and whether that still holds.
    fn identify(
        &self,
        peer: Option<Peer>,
        headers: &HeaderMap,
        caller: &mut Caller,
    ) -> Result<(), AccessError> {
        let now_s = (self.clock)() / 1000;
        let address = caller.address;
        if let Some(certificate) = peer.and_then(|peer| peer.certificate) {
            let proof = Proof::Certificate { fingerprint: certificate.fingerprint };
            *caller = Caller::proven(certificate.subject, proof, Some(certificate.expires_s), address);
            self.refuse_barred(caller)?;
            if now_s >= certificate.expires_s {
                return Err(AccessError::CertificateExpired);
            }
            if let Some(Subject::Operator { name, .. }) = &caller.subject {
                self.registry.saw_operator(name);
            }
        }
        if let Some(value) = headers.get(AUTHORIZATION) {
            let text = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let token = text.and_then(|text| AccessToken::from_text(text).ok());
            let token = token.ok_or(AccessError::UnknownToken)?;
            let (subject, id, expires_s) = self.registry.operator(&token, now_s)?;
            // A call that showed a certificate too lasts no longer than that.
            let expires_s = caller.expires_s.map_or(expires_s, |certificate| certificate.min(expires_s));
            *caller = Caller::proven(subject, Proof::Token { id }, Some(expires_s), address);
            self.refuse_barred(caller)?;
        }
        Ok(())
    }

    fn refuse_barred(&self, caller: &Caller) -> Result<(), AccessError> {
        match self.denied.now().caller(caller) {
            None => Ok(()),
            Some(reason) => Err(AccessError::Denied { who: caller.name.clone(), reason: reason.to_owned() }),
        }
    }

    fn require(&self, row: &CallRule, caller: &Caller) -> Result<(), AccessError> {
        let (needs, may) = match row.requirement {
            Requirement::Anyone => return Ok(()),
            Requirement::Certificate => (
                "a certificate of this federation".to_owned(),
                matches!(caller.proof, Proof::Certificate { .. }),
            ),
            Requirement::AnyOf(roles) => {
                let may = match caller.role {
                    Some(role) => roles.contains(&role),
                    None => {
                        self.plaintext
                            && caller.proof == Proof::Nothing
                            && PLAINTEXT_ROLES.iter().any(|role| roles.contains(role))
                    }
                };
                (in_words(roles), may)
            }
        };
        if may {
            return Ok(());
        }
        let path = row.path.to_owned();
        if caller.proof == Proof::Nothing {
            return Err(AccessError::Unauthenticated { path, needs });
        }
        let has = caller.role.map_or_else(|| "no role".to_owned(), |role| in_words(&[role]));
        Err(AccessError::WrongRole { path, needs, who: caller.name.clone(), has })
    }

    fn count(&self, row: &'static CallRule, caller: &Caller) -> Result<(), AccessError> {
        let key = match (&caller.subject, caller.address, row.requirement) {
            (Some(subject), _, _) => Key::Identity(subject.to_string()),
            (None, None, _) => Key::Rest,
            (None, Some(address), Requirement::Anyone) => Key::network(address.ip()),
            // Plain text, on one machine: its callers differ by their ports alone.
            (None, Some(address), _) => Key::Connection(address),
        };
        self.limits.check(key, row.rate, row.path).map_err(|retry_after| AccessError::TooOften {
            who: caller.name.clone(),
            path: row.path.to_owned(),
            retry_after,
        })
    }

    fn report(&self, path: &str, caller: &Caller, outcome: CallOutcome) {
        (self.hook)(&CallRecord { rpc: path.to_owned(), caller: caller.clone(), outcome });
    }

    /// Each of them: whoever keeps the log knows how many it can bear, and counts the rest.
    fn report_refusal(&self, path: &str, caller: &Caller, why: &AccessError) {
        tracing::debug!(rpc = path, caller = caller.name, %why, "refused a call");
        let outcome = CallOutcome::Refused { reason: why.reason().to_owned(), text: why.to_string() };
        self.report(path, caller, outcome);
    }

    /// Runs an admitted call, until its end or until its caller is barred.
    async fn watch<E>(
        self: Arc<Self>,
        caller: Caller,
        row: &'static CallRule,
        mut counted: Counted,
        call: impl Future<Output = Result<Response<Body>, E>> + Send,
    ) -> Result<Response<Body>, E> {
        let mut ended: Ended = Box::pin(self.clone().ended(caller.clone(), counted.word()));
        let mut call = Box::pin(call);
        let first = poll_fn(|cx| match ended.as_mut().poll(cx) {
            Poll::Ready(status) => Poll::Ready(Err(status)),
            Poll::Pending => call.as_mut().poll(cx).map(Ok),
        });
        let (response, ended) = match first.await {
            Ok(response) => (response?, Some(ended)),
            Err(status) => (status.into_http(), None),
        };
        if row.recorded
            && let Some(status) = Status::from_header_map(response.headers())
            && status.code() != tonic::Code::Ok
        {
            let reason = wire::reason(&status).unwrap_or_else(|| status.code().description().to_owned());
            self.report(row.path, &caller, CallOutcome::Failed { reason, text: status.message().to_owned() });
        }
        Ok(response.map(|body| Body::new(EndsWithItsCaller::new(body, ended, counted))))
    }

    /// Ends when this caller is barred, or what it proved itself with has expired; and where it proved nothing, with the
    /// word to give way, or after some time.
    async fn ended(self: Arc<Self>, caller: Caller, word: Option<oneshot::Receiver<()>>) -> Status {
        let strange = word.is_some();
        tokio::select! {
            () = word_to_give_way(word) => {
                AccessError::GaveWay { who: caller.name.clone(), retry_after: TOO_MANY_RETRY }.to_status()
            }
            () = tokio::time::sleep(STRANGERS_CALL), if strange => {
                AccessError::TooLong { who: caller.name.clone(), most: STRANGERS_CALL }.to_status()
            }
            reason = self.denied.wait_for_caller(&caller) => {
                AccessError::Denied { who: caller.name.clone(), reason }.to_status()
            }
            () = self.until(caller.expires_s) => match caller.proof {
                Proof::Token { .. } => AccessError::TokenExpired.to_status(),
                Proof::Certificate { .. } | Proof::Nothing => AccessError::CertificateExpired.to_status(),
            }
        }
    }

    /// Ends at this time of the clock, which is asked now and then: a machine may have slept.
    async fn until(&self, at_s: Option<u64>) {
        let Some(at_s) = at_s else { return std::future::pending().await };
        loop {
            let left_ms = at_s.saturating_mul(1000).saturating_sub((self.clock)());
            if left_ms == 0 {
                return;
            }
            tokio::time::sleep(LOOK.min(Duration::from_millis(left_ms))).await;
        }
    }
}

/// Ends with the word; never without one.
async fn word_to_give_way(word: Option<oneshot::Receiver<()>>) {
    let came = match word {
        Some(word) => word.await.is_ok(),
        None => false,
    };
    if !came {
        std::future::pending().await
    }
}

/// A path, or its beginning.
fn shortened(path: &str) -> &str {
    let end = (0..=path.len().min(PATH_BYTES_MAX)).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// The connection's other end: as `pki`'s transport says, or as plain TCP does.
fn peer(extensions: &Extensions) -> Option<Peer> {
    extensions.get::<Peer>().cloned().or_else(|| {
        let address = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
        Some(Peer { address, certificate: None, hang_up: HangUp::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_its_own_silo_only_and_an_operator_for_none() {
        let proven = |subject| Caller::proven(subject, Proof::Nothing, None, None);
        assert!(proven(Subject::Silo(ClientId(3))).may_be(ClientId(3)));
        assert!(!proven(Subject::Silo(ClientId(3))).may_be(ClientId(4)));
        assert!(!proven(Subject::operator("ada", Role::Admin).unwrap()).may_be(ClientId(3)));
        assert!(!proven(Subject::Coordinator).may_be(ClientId(3)));
        assert!(Caller::nobody(None).may_be(ClientId(3)));
    }
}
