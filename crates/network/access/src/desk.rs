//! The services of enrolment, administration and runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, Authority, AuthorityError, Roster, SignedRoster, Subject};
use params::Digest;
use secagg::ClientId;
use tonic::{Request, Response, Status, async_trait};
use wire::v1::admin_server::AdminServer;
use wire::v1::enrolment_server::EnrolmentServer;
use wire::{ToStatus, limits, v1};

use crate::error::{AccessError, OperationError, RegistryError};
use crate::guard::{Caller, WallClock};
use crate::registry::Registry;

mod admin;
mod enrolment;
mod runs;

pub use runs::{Queue, RunDesk};

type Answer<T> = Result<Response<T>, Status>;

/// What the desk asks of the run that it stands in front of. Each answer comes once what it says is durable; a text is
/// a sentence for the operator. What an operator may do as well as an administrator comes with its caller: the run counts how
/// often one does it who is no administrator.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// The signed roster in force.
    async fn current_roster(&self) -> Result<SignedRoster, OperationError>;
    /// Puts a roster in force that the desk has checked against the current one.
    async fn put_roster(&self, roster: SignedRoster) -> Result<(), OperationError>;
    /// Begins no round any more.
    async fn pause(&self, run: Option<Digest>, reason: &str, by: &Caller) -> Result<String, OperationError>;
    /// Begins rounds again.
    async fn resume(&self, run: Option<Digest>, by: &Caller) -> Result<String, OperationError>;
    /// Stops the use of a round's model.
    async fn quarantine(
        &self,
        run: Option<Digest>,
        round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError>;
    /// Goes on from an earlier round's model.
    async fn rollback(
        &self,
        run: Option<Digest>,
        to_round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError>;
    /// Ends a barred member's sessions and leaves it out of the round.
    async fn remove(&self, client: ClientId) -> Result<(), OperationError>;
    /// Lets a member into cohorts again that was put out; says whether it was.
    async fn restore(&self, client: ClientId, reason: &str, by: &str) -> Result<bool, OperationError>;
    /// Lets two members into one cohort again that a complaint keeps apart.
    async fn reconcile(
        &self,
        run: Option<Digest>,
        one: ClientId,
        other: ClientId,
        reason: &str,
        by: &str,
    ) -> Result<String, OperationError>;
    /// Changes the keys that protect what is stored.
    async fn rotate_keys(&self, by: &str) -> Result<String, OperationError>;
    /// The members that are connected.
    async fn connected(&self) -> Result<BTreeSet<ClientId>, OperationError>;
}

/// Who signs certificates.
pub trait Issuer: Send + Sync + 'static {
    /// A certificate for this subject, from a PKCS#10 request in DER.
    ///
    /// # Errors
    /// Why not, in words for whoever made the request.
    fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, String>;

    /// Whether a certificate could be issued from this request. Asked before a join token is used up by it.
    ///
    /// # Errors
    /// Why not, likewise.
    fn check(&self, request: &[u8]) -> Result<(), String> {
        // One that nobody gets, for a silo that is none.
        self.issue(request, &Subject::Silo(ClientId(0)), Duration::from_secs(1)).map(drop)
    }
}

/// A certificate, fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// PEM: the leaf, then what signed it.
    pub chain: String,
    /// When it expires. Seconds since the Unix epoch.
    pub not_after_s: u64,
}

/// How long certificates are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// How long a silo's certificate is valid.
    pub silo: Duration,
    /// How long an operator's is valid at most.
    pub operator_max: Duration,
}

impl Lifetimes {
    const HOUR: Duration = Duration::from_secs(3600);
}

impl Default for Lifetimes {
    /// A day for silos, which renew by themselves; 90 days for people, who do not.
    fn default() -> Self {
        Self { silo: Self::HOUR * 24, operator_max: Self::HOUR * 24 * 90 }
    }
}

/// Both services; cheap to clone. It expects the [`crate::Guard`] in front of it, and serves nobody without.
#[derive(Clone)]
pub struct Desk(Arc<Parts>);

struct Parts {
    registry: Arc<Registry>,
    /// In its canonical form.
    authority: String,
    federation: String,
    authority_key: VerifyingKey,
    operations: Arc<dyn Operations>,
    issuer: Arc<dyn Issuer>,
    lifetimes: Lifetimes,
    clock: WallClock,
    /// Held from the check of a roster until it is in force.
    submitting: tokio::sync::Mutex<()>,
}

impl Desk {
    /// The desk of this authority's federation.
    ///
    /// # Errors
    /// [`AuthorityError`] for one whose key cannot be used.
    pub fn new(
        registry: Arc<Registry>,
        authority: &Authority,
        operations: Arc<dyn Operations>,
        issuer: Arc<dyn Issuer>,
        lifetimes: Lifetimes,
        clock: WallClock,
    ) -> Result<Self, AuthorityError> {
        Ok(Self(Arc::new(Parts {
            registry,
            authority: authority.to_canonical(),
            federation: authority.federation.clone(),
            authority_key: authority.verifying_key()?,
            operations,
            issuer,
            lifetimes,
            clock,
            submitting: tokio::sync::Mutex::default(),
        })))
    }

    /// The service of enrolment.
    pub fn enrolment(&self) -> EnrolmentServer<Self> {
        EnrolmentServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// The service of administration.
    pub fn admin(&self) -> AdminServer<Self> {
        AdminServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    fn now_ms(&self) -> u64 {
        (self.0.clock)()
    }

    fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// The roster in force, as it was signed and as it reads.
    async fn roster(&self) -> Result<(SignedRoster, Roster), Status> {
        let roster = self.roster_in_force().await?;
        Ok((roster.signed().clone(), Roster::clone(&roster)))
    }

    async fn roster_in_force(&self) -> Result<AuthorisedRoster, Status> {
        let signed = self.0.operations.current_roster().await?;
        signed.authorise(&self.0.authority_key).map_err(|why| {
            tracing::error!(%why, "the roster in force is not this authority's");
            wire::ServiceError::Internal.to_status()
        })
    }

    fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<v1::Certificate, Status> {
        let issued = self.0.issuer.issue(request, subject, lifetime);
        let IssuedCertificate { chain, not_after_s } =
            issued.map_err(|why| RegistryError::Issue(why).to_status())?;
        Ok(v1::Certificate { chain, not_after_s })
    }
}

/// Who called, as the guard found it.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| {
        tracing::error!("a call reached the desk past the guard");
        AccessError::Unauthenticated { path: "this call".into(), needs: "a guard in front of it".into() }
            .to_status()
    })
}

fn status(why: RegistryError) -> Status {
    why.to_status()
}

fn reason(text: String) -> Result<String, Status> {
    crate::registry::text("a reason", &text).map_err(status)
}

fn invalid(why: &str) -> Status {
    status(RegistryError::Invalid(why.to_owned()))
}

/// The run that a request names.
fn named(run: &[u8]) -> Result<Option<Digest>, Status> {
    wire::run_named(run).map_err(|why| why.to_status())
}
