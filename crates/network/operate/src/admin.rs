//! The administrative calls, each with what its refusal means.

use identity::{Authority, SignedRoster};
use params::Digest;
use pki::TransportKey;
use secagg::ClientId;
use tonic::{Code, Response, Status};
use wire::run_bytes;
use wire::v1::admin_client::AdminClient;
use wire::v1::{
    Bar, Clients, CloseIncidentRequest, Done, Incident, IssueOperatorRequest, ListBarsRequest,
    ListClientsRequest, ListIncidentsRequest, ListTokensRequest, NoteIncidentRequest, OpenIncidentRequest,
    PauseRequest, QuarantineRequest, ReconcileRequest, RefuseClientRequest, RegisterTokenRequest,
    RestoreAccessRequest, RestoreClientRequest, ResumeRequest, RevokeAccessRequest, RevokeClientRequest,
    RollbackRequest, RotateKeysRequest, SubmitRosterRequest, TokenState, WithdrawTokenRequest,
};

use crate::connect::{ConnectError, Link, refused};
use crate::operators::{NewOperator, NewOperatorError};
use crate::tokens::NewToken;

/// The reason code of what changes nothing, as what is asked for is so.
const SETTLED: &str = "SETTLED";

/// What came of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// It was carried out.
    Done(T),
    /// Nothing changed, as what was asked for is so; in the coordinator's words. Who asks twice has what it wants.
    AlreadySo(String),
}

/// What the coordinator says of a roster that it is given.
#[derive(Debug)]
pub enum Submitted {
    /// It is in force; in the coordinator's words.
    Taken(String),
    /// Refused by its rules. It is not in force.
    Refused(ConnectError),
}

/// A coordinator's administrative service.
///
/// # Errors
/// Each call: [`ConnectError::Refused`] where the coordinator says no, [`ConnectError::Lost`] where it is gone.
pub struct Admin(AdminClient<Link>);

impl Admin {
    /// Over a connection that is there.
    pub fn over(link: Link) -> Self {
        Self(AdminClient::new(link).max_decoding_message_size(wire::limits::LISTING_BYTES_MAX))
    }

    /// Registers the hash of a token's secret.
    pub async fn register_token(&mut self, token: &NewToken, expires_s: u64) -> Result<Done, ConnectError> {
        let request = RegisterTokenRequest {
            secret_hash: token.secret_hash.as_bytes().to_vec(),
            expires_s,
            purpose: Some(token.purpose.clone()),
        };
        taken(self.0.register_token(request).await)
    }

    /// Every token that is kept.
    pub async fn tokens(&mut self) -> Result<Vec<TokenState>, ConnectError> {
        Ok(taken(self.0.list_tokens(ListTokensRequest {}).await)?.tokens)
    }

    /// Makes a token worthless; by its id, as it is listed.
    pub async fn withdraw_token(&mut self, id: String) -> Result<Done, ConnectError> {
        taken(self.0.withdraw_token(WithdrawTokenRequest { id }).await)
    }

    /// Has the key of a person or a program certified; gives the certificate and those above it, PEM.
    ///
    /// # Errors
    /// [`NewOperatorError`], also where what was issued is not what was asked for: it would fail its owner later.
    pub async fn issue_operator(
        &mut self,
        asked: &NewOperator,
        key: &TransportKey,
        authority: &Authority,
    ) -> Result<String, NewOperatorError> {
        let request = IssueOperatorRequest {
            name: asked.name.clone(),
            role: asked.role.to_string(),
            certificate_request: key.request_der()?,
            lifetime_s: asked.lifetime_s,
        };
        let chain = taken(self.0.issue_operator(request).await)?.chain;
        asked.check(&chain, key, authority)?;
        Ok(chain)
    }

    /// The members, whoever asks to become one, and the roster in force.
    pub async fn clients(&mut self) -> Result<Clients, ConnectError> {
        taken(self.0.list_clients(ListClientsRequest {}).await)
    }

    /// Gives the coordinator a roster to put in force.
    ///
    /// # Errors
    /// [`ConnectError`] where it may have been put in force all the same; a refusal by its rules is no error.
    pub async fn submit_roster(&mut self, signed: &SignedRoster) -> Result<Submitted, ConnectError> {
        let roster = serde_json::to_string(signed)?;
        match self.0.submit_roster(SubmitRosterRequest { roster }).await {
            Ok(done) => Ok(Submitted::Taken(done.into_inner().text)),
            Err(why) if breaks_a_rule(&why) => Ok(Submitted::Refused(refused(&why))),
            Err(why) => Err(refused(&why)),
        }
    }

    /// Says no to a silo that asks under this name.
    pub async fn refuse_client(&mut self, name: String, reason: String) -> Result<Done, ConnectError> {
        taken(self.0.refuse_client(RefuseClientRequest { name, reason }).await)
    }

    /// Bars a member at once.
    pub async fn revoke_client(&mut self, client: ClientId, reason: String) -> Result<Done, ConnectError> {
        taken(self.0.revoke_client(RevokeClientRequest { client: client.0, reason }).await)
    }

    /// Lets a member in again that was barred.
    pub async fn restore_client(&mut self, client: ClientId, reason: String) -> Result<Done, ConnectError> {
        taken(self.0.restore_client(RestoreClientRequest { client: client.0, reason }).await)
    }

    /// Bars an operator by name, or a certificate by its fingerprint.
    pub async fn revoke_access(
        &mut self,
        whom: String,
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        ordered(self.0.revoke_access(RevokeAccessRequest { whom, reason }).await)
    }

    /// Lifts such a bar.
    pub async fn restore_access(
        &mut self,
        whom: String,
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        ordered(self.0.restore_access(RestoreAccessRequest { whom, reason }).await)
    }

    /// Everybody who is barred.
    pub async fn bars(&mut self) -> Result<Vec<Bar>, ConnectError> {
        Ok(taken(self.0.list_bars(ListBarsRequest {}).await)?.bars)
    }

    /// Begins no further round of a run. Here and below, without a name the run is meant that is shown then.
    pub async fn pause(
        &mut self,
        run: Option<Digest>,
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        ordered(self.0.pause(PauseRequest { reason, run: run_bytes(run) }).await)
    }

    /// Begins rounds again.
    pub async fn resume(&mut self, run: Option<Digest>) -> Result<Outcome<Done>, ConnectError> {
        ordered(self.0.resume(ResumeRequest { run: run_bytes(run) }).await)
    }

    /// Lets two silos into one cohort again that a complaint keeps apart.
    pub async fn reconcile(
        &mut self,
        run: Option<Digest>,
        pair: (ClientId, ClientId),
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        let run = run_bytes(run);
        ordered(self.0.reconcile(ReconcileRequest { one: pair.0.0, other: pair.1.0, reason, run }).await)
    }

    /// Stops the use of a round's model.
    pub async fn quarantine(
        &mut self,
        run: Option<Digest>,
        round: u64,
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        let run = run_bytes(run);
        ordered(self.0.quarantine(QuarantineRequest { round, reason, run }).await)
    }

    /// Continues from an earlier round's model.
    pub async fn rollback(
        &mut self,
        run: Option<Digest>,
        to_round: u64,
        reason: String,
    ) -> Result<Outcome<Done>, ConnectError> {
        let run = run_bytes(run);
        ordered(self.0.rollback(RollbackRequest { to_round, reason, run }).await)
    }

    /// Has a new data key seal what the coordinator writes from now on.
    pub async fn rotate_keys(&mut self) -> Result<Outcome<Done>, ConnectError> {
        ordered(self.0.rotate_keys(RotateKeysRequest {}).await)
    }

    /// Opens an incident.
    pub async fn open_incident(&mut self, title: String) -> Result<Incident, ConnectError> {
        taken(self.0.open_incident(OpenIncidentRequest { title }).await)
    }

    /// Adds a note to it.
    pub async fn note_incident(&mut self, id: String, text: String) -> Result<Incident, ConnectError> {
        taken(self.0.note_incident(NoteIncidentRequest { id, text }).await)
    }

    /// Closes an incident.
    pub async fn close_incident(
        &mut self,
        id: String,
        resolution: String,
    ) -> Result<Outcome<Incident>, ConnectError> {
        ordered(self.0.close_incident(CloseIncidentRequest { id, resolution }).await)
    }

    /// Every incident with its notes.
    pub async fn incidents(&mut self) -> Result<Vec<Incident>, ConnectError> {
        Ok(taken(self.0.list_incidents(ListIncidentsRequest {}).await)?.incidents)
    }
}

pub(crate) fn taken<T>(answer: Result<Response<T>, Status>) -> Result<T, ConnectError> {
    answer.map(Response::into_inner).map_err(|why| refused(&why))
}

pub(crate) fn ordered<T>(answer: Result<Response<T>, Status>) -> Result<Outcome<T>, ConnectError> {
    match answer {
        Ok(answer) => Ok(Outcome::Done(answer.into_inner())),
        Err(why) if wire::reason(&why).is_some_and(|reason| reason == SETTLED) => {
            Ok(Outcome::AlreadySo(why.message().to_owned()))
        }
        Err(why) => Err(refused(&why)),
    }
}

/// An answer of the desk's, not a connection that broke: then it may have been put in force.
fn breaks_a_rule(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument)
        && wire::reason(status).is_some_and(|reason| reason.starts_with("ROSTER"))
}
