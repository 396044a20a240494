//! The federation's runs as the desk's callers see and move them, over the driver.

use access::{Caller, OperationError, Queue};
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use protocol::Act;
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

    /// Who may stop it was asked before: the desk knows who submitted it.
    async fn stop(&self, run: Digest, reason: &str, by: &Caller) -> Result<RunEntry, OperationError> {
        let act = Act::Stop { by: by.name.clone(), reason: reason.to_owned() };
        self.ask(|reply| Event::Act { run: Some(run), act, emergency: false, reply }).await?;
        Ok(self.run(Some(run)).await?.0)
    }
}
