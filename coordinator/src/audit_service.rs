//! The audit log as a service: witnesses, receipts, entries.

use audit_log::AuditLog;
use std::sync::Arc;
use std::time::Duration;

use access::Caller;
use identity::{AuthorisedRoster, Subject};
use secagg::ClientId;
use tlog::VerifierKey;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::ToStatus;
use wire::v1::audit_server::{Audit, AuditServer};
use wire::{ServiceError, limits, v1};

use crate::service::RETRY_AFTER;
use crate::streaming::{BoxStream, unread};

/// Entries that may wait for a slow reader.
const ENTRIES_WAITING: usize = 16;
/// Readers of entries at once: auditors are few, and each holds a block of entries.
const READERS: usize = 8;

/// See the module; cheap to clone.
#[derive(Clone)]
pub(crate) struct AuditService {
    log: AuditLog,
    roster: watch::Receiver<Arc<AuthorisedRoster>>,
    /// How long each entry may wait to be read.
    patience: Duration,
    readers: Arc<Semaphore>,
}

impl AuditService {
    pub(crate) fn new(
        log: AuditLog,
        roster: watch::Receiver<Arc<AuthorisedRoster>>,
        patience: Duration,
    ) -> Self {
        Self { log, roster, patience, readers: Arc::new(Semaphore::new(READERS)) }
    }

    pub(crate) fn server(&self) -> AuditServer<Self> {
        AuditServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl Audit for AuditService {
    type EntriesStream = BoxStream<v1::AuditEntry>;

    async fn witness(
        &self,
        request: Request<v1::WitnessRequest>,
    ) -> Result<Response<v1::WitnessReply>, Status> {
        let client = silo(&request)?;
        let v1::WitnessRequest { seen, receipts_after } = request.into_inner();
        let view = answered(self.log.witness(client, seen, receipts_after).await)?;
        let receipts = view
            .receipts
            .into_iter()
            .map(|(index, entry, proof)| v1::Receipt { index, entry, proof })
            .collect();
        let proof = view.proof.into_iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(v1::WitnessReply { checkpoint: view.checkpoint, proof, receipts }))
    }

    async fn cosign(&self, request: Request<v1::CosignRequest>) -> Result<Response<v1::CosignReply>, Status> {
        let client = silo(&request)?;
        let line = request.into_inner().line;
        let roster = Arc::clone(&self.roster.borrow());
        let key = roster
            .keys()
            .get(&client)
            .ok_or_else(|| protocol::Rejection::UnknownClient(client).to_status())?;
        let name = audit::silo_name(&roster.federation, client.0);
        let witness =
            VerifierKey::new(&name, *key).map_err(|why| Status::failed_precondition(why.to_string()))?;
        answered(self.log.cosign(line, witness).await)?;
        Ok(Response::new(v1::CosignReply {}))
    }

    async fn entries(
        &self,
        request: Request<v1::EntriesRequest>,
    ) -> Result<Response<Self::EntriesStream>, Status> {
        let mut at = request.into_inner().from;
        let Ok(reader) = Arc::clone(&self.readers).try_acquire_owned() else {
            return Err(ServiceError::Busy { retry_after: RETRY_AFTER }.to_status());
        };
        let (log, patience) = (self.log.clone(), self.patience);
        let (send, entries) = mpsc::channel(ENTRIES_WAITING);
        let (failed, failure) = oneshot::channel();
        tokio::spawn(async move {
            let _reader = reader;
            loop {
                let block = match answered(log.entries(at).await) {
                    Ok(block) if block.is_empty() => return,
                    Ok(block) => block,
                    Err(why) => {
                        let _ = send.send(Err(why)).await;
                        return;
                    }
                };
                for (index, entry) in block {
                    at = index + 1;
                    let sent = send.send(Ok(v1::AuditEntry { index, entry }));
                    match tokio::time::timeout(patience, sent).await {
                        Ok(Ok(())) => {}
                        // Nobody is there, or nobody reads: what the log ends with is not what this stream ends with.
                        Ok(Err(_)) => return,
                        Err(_) => {
                            let _ = failed.send(unread(patience));
                            return;
                        }
                    }
                }
            }
        });
        let last = tokio_stream::once(failure).then(|failure| failure).filter_map(Result::ok).map(Err);
        Ok(Response::new(Box::pin(ReceiverStream::new(entries).chain(last))))
    }
}

/// Which silo calls. In plain text, where nobody proves who calls, nobody is a witness.
fn silo<T>(request: &Request<T>) -> Result<ClientId, Status> {
    match request.extensions().get::<Caller>().and_then(|caller| caller.subject.as_ref()) {
        Some(Subject::Silo(id)) => Ok(*id),
        _ => Err(Status::unimplemented("the audit log is witnessed over TLS, by silos with a certificate")),
    }
}

fn answered<T>(answer: Option<Result<T, audit::LogError>>) -> Result<T, Status> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(why)) => Err(Status::failed_precondition(why.to_string())),
        None => {
            tracing::error!("the audit log's thread has ended");
            Err(ServiceError::Internal.to_status())
        }
    }
}
