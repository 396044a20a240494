//! The runs of a federation: who has which begun, and who may end it.

use std::sync::Arc;

use identity::Role;
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use run_status::RunEntry;
use tonic::{Request, Response, async_trait};
use wire::v1::runs_server::{Runs, RunsServer};
use wire::{ServiceError, ToStatus, limits, v1};

use super::{Answer, Caller, caller, invalid, named, reason};
use crate::error::{AccessError, OperationError};

/// The federation's runs, that the desk's callers see and move.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Every run, the first that was submitted first.
    async fn runs(&self) -> Result<Vec<RunEntry>, OperationError>;
    /// A run with its plan; without a name the one that is meant then.
    async fn run(&self, run: Option<Digest>) -> Result<(RunEntry, SignedPlan), OperationError>;
    /// Begins a run of this plan behind those that there are. What it is recorded to be submitted by is the caller's name.
    /// A plan that a run has is as it is asked to be: [`protocol::Rejection::AlreadySo`], which says what that run is.
    async fn submit(&self, plan: AuthoredPlan, by: &Caller) -> Result<RunEntry, OperationError>;
    /// Ends a run for good, also one that has not begun. One that is over is as it is asked to be: [`protocol::Rejection::AlreadySo`].
    async fn stop(&self, run: Digest, reason: &str, by: &Caller) -> Result<RunEntry, OperationError>;
}

/// The service of runs; cheap to clone. It expects the [`crate::Guard`] in front of it, and serves nobody without.
#[derive(Clone)]
pub struct RunDesk {
    queue: Arc<dyn Queue>,
}

impl RunDesk {
    /// The desk before this queue.
    pub fn new(queue: Arc<dyn Queue>) -> Self {
        Self { queue }
    }

    /// The service, as a server takes it in.
    pub fn service(&self) -> RunsServer<Self> {
        RunsServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}

#[async_trait]
impl Runs for RunDesk {
    async fn submit(&self, request: Request<v1::SubmitRunRequest>) -> Answer<v1::RunEntry> {
        let by = caller(&request)?;
        let plan = request.into_inner().plan.ok_or_else(|| invalid("a run needs a signed plan"))?;
        let signed = SignedPlan::try_from(plan).map_err(|why| why.to_status())?;
        let plan = signed.open().map_err(|why| invalid(&identity::with_causes(&why)))?;
        Ok(Response::new(self.queue.submit(plan, &by).await?.into()))
    }

    async fn list(&self, _: Request<v1::ListRunsRequest>) -> Answer<v1::RunList> {
        let runs = self.queue.runs().await?.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::RunList { runs }))
    }

    async fn show(&self, request: Request<v1::ShowRunRequest>) -> Answer<v1::RunDetail> {
        let (entry, plan) = self.queue.run(named(&request.into_inner().run)?).await?;
        Ok(Response::new(v1::RunDetail { entry: Some(entry.into()), plan: Some(plan.into()) }))
    }

    async fn stop(&self, request: Request<v1::StopRunRequest>) -> Answer<v1::RunEntry> {
        let by = caller(&request)?;
        let v1::StopRunRequest { run, reason: why } = request.into_inner();
        let run = named(&run)?.ok_or_else(|| invalid("what ends a run for good says which run"))?;
        let why = reason(why)?;
        let runs = self.queue.runs().await?;
        let entry = runs.into_iter().find(|entry| entry.run == run);
        let entry = entry.ok_or_else(|| ServiceError::NoSuchRun(run).to_status())?;
        if by.role != Some(Role::Admin) && entry.submitted_by != by.name {
            let (who, whose) = (by.name, entry.submitter().to_owned());
            return Err(AccessError::NotOwn { who, run: entry.name, whose }.to_status());
        }
        Ok(Response::new(self.queue.stop(run, &why, &by).await?.into()))
    }
}
