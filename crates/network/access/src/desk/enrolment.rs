//! How a silo becomes a member, and renews its certificate.

use ed25519_dalek::Signature;
use identity::{Roster, Subject, parse_verifying_key};
use secagg::ClientId;
use tonic::{Request, Response, Status, async_trait};
use wire::v1;
use wire::v1::enrolment_server::Enrolment;
use wire::v1::join_reply::State;
use zeroize::Zeroizing;

use super::{Desk, caller, status};
use crate::error::RegistryError;
use crate::registry::{JoinRequest, RequestStanding};

#[async_trait]
impl Enrolment for Desk {
    async fn describe_authority(
        &self,
        _: Request<v1::DescribeAuthorityRequest>,
    ) -> Result<Response<v1::AuthorityDocument>, Status> {
        Ok(Response::new(v1::AuthorityDocument { authority: self.0.authority.clone() }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        let v1::JoinRequest { secret, silo, identity_key, certificate_request, signature } =
            request.into_inner();
        let secret = Zeroizing::new(secret);
        let key = hex::encode(&identity_key);
        let identity_key =
            parse_verifying_key(&key).map_err(|why| status(RegistryError::Invalid(why.to_string())))?;
        let signature =
            Signature::from_slice(&signature).map_err(|_| status(RegistryError::JoinSignature))?;
        let (signed, roster) = self.roster().await?;
        let join = JoinRequest {
            secret: &secret,
            silo: &silo,
            identity_key: &identity_key,
            certificate_request: &certificate_request,
            signature: &signature,
        };
        let standing = self
            .0
            .registry
            .join(&join, &roster, |request| self.0.issuer.check(request), self.now_s())
            .map_err(status)?;
        let state = match (standing, member(&roster, &silo, &key)) {
            // The roster decides: the registry follows it, and may be a crash behind.
            (RequestStanding::Awaiting { .. } | RequestStanding::Admitted, Some(id)) => {
                self.0.registry.check_member(id, &roster).map_err(status)?;
                let subject = Subject::Silo(id);
                let certificate = self.issue(&certificate_request, &subject, self.0.lifetimes.silo)?;
                let roster = serde_json::to_string(&signed).map_err(|_| Status::internal("a roster"))?;
                State::Admitted(v1::Admission { client: id.0, certificate: Some(certificate), roster })
            }
            (RequestStanding::Awaiting { fingerprint }, None) => {
                State::Awaiting(v1::AwaitingApproval { fingerprint })
            }
            (RequestStanding::Admitted, None) => {
                State::Refused("it has left the federation since".to_owned())
            }
            (RequestStanding::Refused { reason }, _) => State::Refused(reason),
        };
        Ok(Response::new(v1::JoinReply { state: Some(state) }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        let caller = caller(&request)?;
        // The guard lets none but the holder of a certificate through.
        let subject = caller.subject.unwrap_or(Subject::Coordinator);
        let (_, roster) = self.roster().await?;
        self.0.registry.may_renew(&subject, &roster).map_err(status)?;
        let request = request.into_inner().certificate_request;
        self.issue(&request, &subject, self.0.lifetimes.silo).map(Response::new)
    }
}

fn member(roster: &Roster, name: &str, key: &str) -> Option<ClientId> {
    let mut members = roster.members.iter();
    members.find(|(_, member)| member.name == name && member.identity_key == key).map(|(id, _)| *id)
}
