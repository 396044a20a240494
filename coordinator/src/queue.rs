//! The federation's runs as the desk's callers see and move them, over the driver.

use access::{Caller, OperationError, Queue};
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use run_status::RunEntry;
use wire::ServiceError;

use crate::events::Event;
use crate::operations::Run;

#[tonic::async_trait]
impl Queue for Run {
    async fn runs(&self) -> Result<Vec<RunEntry>, OperationError> {
        self.answered(|reply| Event::List { reply }).await
    }

    async fn run(&self, run: Option<Digest>) -> Result<(RunEntry, SignedPlan), OperationError> {
        let found = self.answered(|reply| Event::Show { run, reply }).await?;
        let name = run.unwrap_or_else(|| Digest::from_bytes([0; 32]));
        found.ok_or_else(|| ServiceError::NoSuchRun(name).into())
    }

    async fn submit(&self, plan: AuthoredPlan, by: &Caller) -> Result<RunEntry, OperationError> {
        let by = by.name.clone();
        self.ask(|reply| Event::Submit { plan: Box::new(plan), by, reply }).await
    }

    async fn stop(&self, _: Digest, _: &str, _: &Caller) -> Result<RunEntry, OperationError> {
        let why = "this release ends no run before its plan does; pause it: it opens no round then, and leaves its place to the next one";
        Err(protocol::Rejection::NotPossible(why.into()).into())
    }
}
