//! The two envelopes of a session, and the run that each names.

use identity::SignedRoster;
use messages::{Attempt, OfRun, RunEnd, SessionVersion, ToClient, ToCoordinator};
use params::Digest;

use super::{ConversionError, Fault, at_most, clients, digest, list, required};
use crate::{limits, v1};

impl From<Attempt> for v1::Attempt {
    fn from(at: Attempt) -> Self {
        Self { round: at.round, attempt: at.attempt }
    }
}

impl TryFrom<v1::Attempt> for Attempt {
    type Error = ConversionError;

    fn try_from(at: v1::Attempt) -> Result<Self, ConversionError> {
        match at {
            v1::Attempt { round: 0, .. } => Err(ConversionError::new("round", Fault::Zero)),
            v1::Attempt { attempt: 0, .. } => Err(ConversionError::new("attempt", Fault::Zero)),
            v1::Attempt { round, attempt } => Ok(Self { round, attempt }),
        }
    }
}

impl From<ToClient> for v1::ServerEnvelope {
    fn from(message: ToClient) -> Self {
        use v1::server_envelope::Message;
        let message = match message {
            ToClient::Welcome { run_id, plan, roster, between } => Message::Welcome(v1::Welcome {
                run_id: run_id.as_bytes().to_vec(),
                plan: Some((*plan).into()),
                roster: Some((*roster).into()),
                between: between.into_iter().map(Into::into).collect(),
            }),
            ToClient::Published(signed) => Message::Published(signed.into()),
            ToClient::Open { at, model } => {
                Message::Open(v1::Open { at: Some(at.into()), model: model.as_bytes().to_vec() })
            }
            ToClient::Adverts { at, adverts } => Message::Roster(v1::CohortRoster {
                at: Some(at.into()),
                adverts: adverts.into_iter().map(Into::into).collect(),
            }),
            ToClient::Deliver { at, delivery } => {
                Message::Deliver(v1::Deliver { at: Some(at.into()), delivery: Some(delivery.into()) })
            }
            ToClient::UploadDurable { at } => {
                Message::UploadDurable(v1::UploadDurable { at: Some(at.into()) })
            }
            ToClient::Included { at, included } => Message::Included(v1::Included {
                at: Some(at.into()),
                included: included.into_iter().map(|id| id.0).collect(),
            }),
            ToClient::UnmaskRequest { at, included, signatures } => {
                Message::UnmaskRequest(v1::UnmaskRequest {
                    at: Some(at.into()),
                    included: included.into_iter().map(|id| id.0).collect(),
                    signatures: signatures.into_iter().map(Into::into).collect(),
                })
            }
            ToClient::Aborted { at, outcome } => {
                Message::Aborted(v1::Aborted { at: Some(at.into()), outcome: Some(outcome.into()) })
            }
            ToClient::Rejected { rejection } => Message::Refused(rejection.into()),
            ToClient::Finished { reason } => Message::Finished(reason.into()),
        };
        Self { message: Some(message), run: Vec::new() }
    }
}

/// Bounded together: each may be as long as a roster can be.
fn rosters(field: &'static str, sent: Vec<v1::SignedRoster>) -> Result<Vec<SignedRoster>, ConversionError> {
    let bytes: usize = sent.iter().map(|signed| signed.roster.len()).sum();
    at_most(field, bytes as u64, limits::ROSTERS_BETWEEN_BYTES_MAX as u64, "bytes")?;
    list(field, sent, limits::ROSTERS_BETWEEN_MAX)
}

impl TryFrom<v1::ServerEnvelope> for ToClient {
    type Error = ConversionError;

    fn try_from(envelope: v1::ServerEnvelope) -> Result<Self, ConversionError> {
        use v1::server_envelope::Message;
        no_run(&envelope.run)?;
        match envelope.message.ok_or_else(|| ConversionError::new("message", Fault::Missing))? {
            Message::Challenge(_) => Err(ConversionError::new("challenge", Fault::Unexpected)),
            Message::Welcome(m) => within("welcome", || {
                Ok(Self::Welcome {
                    run_id: digest("run_id", &m.run_id)?,
                    plan: Box::new(required("plan", m.plan)?),
                    roster: Box::new(required("roster", m.roster)?),
                    between: rosters("between", m.between)?,
                })
            }),
            Message::Published(m) => within("published", || m.try_into().map(Self::Published)),
            Message::Open(m) => within("open", || {
                Ok(Self::Open { at: required("at", m.at)?, model: digest("model", &m.model)? })
            }),
            Message::Roster(m) => within("roster", || {
                Ok(Self::Adverts {
                    at: required("at", m.at)?,
                    adverts: list("adverts", m.adverts, limits::COHORT_MAX)?,
                })
            }),
            Message::Deliver(m) => within("deliver", || {
                Ok(Self::Deliver { at: required("at", m.at)?, delivery: required("delivery", m.delivery)? })
            }),
            Message::UploadDurable(m) => {
                within("upload_durable", || Ok(Self::UploadDurable { at: required("at", m.at)? }))
            }
            Message::Included(m) => within("included", || {
                Ok(Self::Included { at: required("at", m.at)?, included: clients("included", m.included)? })
            }),
            Message::UnmaskRequest(m) => within("unmask_request", || {
                Ok(Self::UnmaskRequest {
                    at: required("at", m.at)?,
                    included: clients("included", m.included)?,
                    signatures: list("signatures", m.signatures, limits::COHORT_MAX)?,
                })
            }),
            Message::Aborted(m) => within("aborted", || {
                Ok(Self::Aborted { at: required("at", m.at)?, outcome: required("outcome", m.outcome)? })
            }),
            Message::Refused(m) => {
                within("refused", || m.try_into().map(|rejection| Self::Rejected { rejection }))
            }
            Message::Finished(m) => {
                within("finished", || m.try_into().map(|reason| Self::Finished { reason }))
            }
        }
    }
}

impl From<ToCoordinator> for v1::ClientEnvelope {
    fn from(message: ToCoordinator) -> Self {
        use v1::client_envelope::Message;
        let message = match message {
            ToCoordinator::CheckIn { head, data, sandbox } => Message::CheckIn(v1::CheckIn {
                head,
                data: data.map(|data| data.as_bytes().to_vec()),
                sandbox: sandbox.map(String::from),
            }),
            ToCoordinator::Declined { round, reason } => {
                Message::Declined(v1::Declined { round, reason: Some(reason.into()) })
            }
            ToCoordinator::Advertise { at, advert } => {
                Message::Advertise(v1::Advertise { at: Some(at.into()), advert: Some(advert.into()) })
            }
            ToCoordinator::ShareKeys { at, bundle } => {
                Message::ShareKeys(v1::ShareKeys { at: Some(at.into()), bundle: Some(bundle.into()) })
            }
            ToCoordinator::Complain { at, complaint } => {
                Message::Complain(v1::Complain { at: Some(at.into()), complaint: Some(complaint.into()) })
            }
            ToCoordinator::SignIncluded { at, signature } => Message::SignIncluded(v1::SignIncluded {
                at: Some(at.into()),
                signature: Some(signature.into()),
            }),
            ToCoordinator::Unmask { at, shares } => {
                Message::Unmask(v1::Unmask { at: Some(at.into()), shares: Some(shares.into()) })
            }
        };
        Self { message: Some(message), run: Vec::new() }
    }
}

impl TryFrom<v1::ClientEnvelope> for ToCoordinator {
    type Error = ConversionError;

    fn try_from(envelope: v1::ClientEnvelope) -> Result<Self, ConversionError> {
        use v1::client_envelope::Message;
        no_run(&envelope.run)?;
        match envelope.message.ok_or_else(|| ConversionError::new("message", Fault::Missing))? {
            Message::Hello(_) => Err(ConversionError::new("hello", Fault::Unexpected)),
            Message::CheckIn(m) => within("check_in", || {
                let data = m.data.map(|data| digest("data", &data)).transpose()?;
                let level = |_| ConversionError::new("sandbox", Fault::NoSandboxLevel);
                let sandbox = m.sandbox.map(|text| text.parse().map_err(level)).transpose()?;
                Ok(Self::CheckIn { head: m.head, data, sandbox })
            }),
            Message::Declined(m) => within("declined", || {
                Ok(Self::Declined { round: m.round, reason: required("reason", m.reason)? })
            }),
            Message::Advertise(m) => within("advertise", || {
                Ok(Self::Advertise { at: required("at", m.at)?, advert: required("advert", m.advert)? })
            }),
            Message::ShareKeys(m) => within("share_keys", || {
                Ok(Self::ShareKeys { at: required("at", m.at)?, bundle: required("bundle", m.bundle)? })
            }),
            Message::Complain(m) => within("complain", || {
                Ok(Self::Complain {
                    at: required("at", m.at)?,
                    complaint: required("complaint", m.complaint)?,
                })
            }),
            Message::SignIncluded(m) => within("sign_included", || {
                Ok(Self::SignIncluded {
                    at: required("at", m.at)?,
                    signature: required("signature", m.signature)?,
                })
            }),
            Message::Unmask(m) => within("unmask", || {
                Ok(Self::Unmask { at: required("at", m.at)?, shares: required("shares", m.shares)? })
            }),
        }
    }
}

impl From<OfRun<ToClient>> for v1::ServerEnvelope {
    /// Without a run's name it goes to a peer that knows no run to be stopped, and hears that the run is not gone on with.
    fn from(OfRun { run, message }: OfRun<ToClient>) -> Self {
        let message = match (run, message) {
            (None, ToClient::Finished { reason: reason @ RunEnd::Stopped { .. } }) => {
                let (willing, needed, first_reason) = (0, 0, reason.to_string());
                ToClient::Finished { reason: RunEnd::TooFewWilling { willing, needed, first_reason } }
            }
            (_, message) => message,
        };
        Self { run: run_bytes(run), ..message.into() }
    }
}

impl TryFrom<v1::ServerEnvelope> for OfRun<ToClient> {
    type Error = ConversionError;

    fn try_from(mut envelope: v1::ServerEnvelope) -> Result<Self, ConversionError> {
        let run = run_named(&std::mem::take(&mut envelope.run))?;
        let message = envelope.try_into()?;
        match (run, &message) {
            (None, ToClient::Finished { reason: RunEnd::Stopped { .. } }) => {
                Err(ConversionError::new("finished.stopped", Fault::Unexpected))
            }
            _ => Ok(Self { run, message }),
        }
    }
}

impl From<OfRun<ToCoordinator>> for v1::ClientEnvelope {
    fn from(OfRun { run, message }: OfRun<ToCoordinator>) -> Self {
        Self { run: run_bytes(run), ..message.into() }
    }
}

impl TryFrom<v1::ClientEnvelope> for OfRun<ToCoordinator> {
    type Error = ConversionError;

    fn try_from(mut envelope: v1::ClientEnvelope) -> Result<Self, ConversionError> {
        let run = run_named(&std::mem::take(&mut envelope.run))?;
        Ok(Self { run, message: envelope.try_into()? })
    }
}

/// A message that arrived in a session of this version. From version 4 on each names its run; before, none does.
///
/// # Errors
/// [`ConversionError`], which names the field.
pub fn said_in<M>(version: SessionVersion, said: OfRun<M>) -> Result<OfRun<M>, ConversionError> {
    let fault = match (version.names_runs(), said.run) {
        (true, None) => Fault::Missing,
        (false, Some(_)) => Fault::Unexpected,
        (true, Some(_)) | (false, None) => return Ok(said),
    };
    Err(ConversionError::new("run", fault))
}

/// The run that a message or a request names; none where it names none.
///
/// # Errors
/// [`ConversionError`], which names the field `run`.
pub fn run_named(bytes: &[u8]) -> Result<Option<Digest>, ConversionError> {
    if bytes.is_empty() { Ok(None) } else { digest("run", bytes).map(Some) }
}

/// A run's name, or none, as messages and requests carry it.
pub fn run_bytes(run: Option<Digest>) -> Vec<u8> {
    run.map_or_else(Vec::new, |run| run.as_bytes().to_vec())
}

/// What is read as of no run must be of none.
fn no_run(bytes: &[u8]) -> Result<(), ConversionError> {
    if bytes.is_empty() { Ok(()) } else { Err(ConversionError::new("run", Fault::Unexpected)) }
}

fn within<T>(
    outer: &str,
    convert: impl FnOnce() -> Result<T, ConversionError>,
) -> Result<T, ConversionError> {
    convert().map_err(|e| e.within(outer))
}
