//! What administrators ask of the runs, over the driver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use access::{Caller, IssuedCertificate, Issuer, OperationError, Operations};
use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, Role, SignedRoster, Subject};
use params::Digest;
use pki::CertificateAuthority;
use protocol::{Act, Rejection};
use secagg::ClientId;
use tokio::sync::{mpsc, oneshot, watch};
use vault::Vault;
use wire::ServiceError;

use crate::board::Board;
use crate::events::Event;
use crate::service::RESTARTING;

/// See the module.
pub(crate) struct Run {
    pub(crate) inbox: mpsc::Sender<Event>,
    pub(crate) roster: watch::Receiver<Arc<AuthorisedRoster>>,
    pub(crate) board: watch::Receiver<Option<Arc<Board>>>,
    pub(crate) authority: VerifyingKey,
    pub(crate) vault: Option<Arc<Vault>>,
}

impl Run {
    async fn act(
        &self,
        run: Option<Digest>,
        act: Act,
        by: Option<&Caller>,
        done: &str,
    ) -> Result<String, OperationError> {
        self.is_known(run)?;
        let emergency = by.is_some_and(|by| by.role != Some(Role::Admin));
        let notices = self.ask(|reply| Event::Act { run, act, emergency, reply }).await?;
        Ok(std::iter::once(done.to_owned()).chain(notices).collect::<Vec<_>>().join("; "))
    }

    /// Refuses the name of no run.
    fn is_known(&self, named: Option<Digest>) -> Result<(), OperationError> {
        let Some(run) = named else { return Ok(()) };
        let board = self.board.borrow().clone().ok_or(RESTARTING)?;
        if board.runs.contains_key(&run) { Ok(()) } else { Err(ServiceError::NoSuchRun(run).into()) }
    }

    pub(crate) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, Rejection>>) -> Event,
    ) -> Result<T, OperationError> {
        self.answered(question).await?.map_err(OperationError::from)
    }

    /// What the driver answers.
    pub(crate) async fn answered<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Event,
    ) -> Result<T, OperationError> {
        let (reply, answer) = oneshot::channel();
        self.tell(question(reply)).await?;
        Ok(answer.await.map_err(|_| RESTARTING)?)
    }

    async fn tell(&self, event: Event) -> Result<(), OperationError> {
        self.inbox.send(event).await.map_err(|_| RESTARTING.into())
    }
}

#[tonic::async_trait]
impl Operations for Run {
    async fn current_roster(&self) -> Result<SignedRoster, OperationError> {
        Ok(self.roster.borrow().signed().clone())
    }

    async fn put_roster(&self, roster: SignedRoster) -> Result<(), OperationError> {
        let roster = roster.authorise(&self.authority)?;
        self.ask(|reply| Event::Roster { roster: Box::new(roster), reply }).await
    }

    async fn pause(&self, run: Option<Digest>, reason: &str, by: &Caller) -> Result<String, OperationError> {
        let act = Act::Pause { by: by.name.clone(), reason: reason.to_owned() };
        self.act(run, act, Some(by), "paused: the round in progress goes on to its end, no other begins")
            .await
    }

    async fn resume(&self, run: Option<Digest>, by: &Caller) -> Result<String, OperationError> {
        self.act(run, Act::Resume { by: by.name.clone() }, Some(by), "resumed").await
    }

    async fn quarantine(
        &self,
        run: Option<Digest>,
        round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError> {
        let act = Act::Quarantine { round, by: by.name.clone(), reason: reason.to_owned() };
        self.act(
            run,
            act,
            Some(by),
            &format!("the model of round {round} is quarantined: no silo trains on it any more"),
        )
        .await
    }

    async fn rollback(
        &self,
        run: Option<Digest>,
        to_round: u64,
        reason: &str,
        by: &Caller,
    ) -> Result<String, OperationError> {
        let act = Act::Rollback { to_round, by: by.name.clone(), reason: reason.to_owned() };
        self.act(
            run,
            act,
            Some(by),
            &format!("the run goes on from the model of round {to_round}; what was spent stays spent"),
        )
        .await
    }

    async fn remove(&self, client: ClientId) -> Result<(), OperationError> {
        let act = Act::Remove { client, reason: "revoked".into() };
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Act { run: None, act, emergency: false, reply }).await?;
        match answer.await.map_err(|_| RESTARTING)? {
            // A roster without it came into force meanwhile: it is out already.
            Ok(_) | Err(Rejection::UnknownClient(_)) => Ok(()),
            Err(why) => Err(why.into()),
        }
    }

    async fn restore(&self, client: ClientId, reason: &str, by: &str) -> Result<bool, OperationError> {
        let act = Act::Restore { client, by: by.to_owned(), reason: reason.to_owned() };
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Act { run: None, act, emergency: false, reply }).await?;
        match answer.await.map_err(|_| RESTARTING)? {
            Ok(_) => Ok(true),
            Err(Rejection::NotPossible(_)) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }

    async fn reconcile(
        &self,
        run: Option<Digest>,
        one: ClientId,
        other: ClientId,
        reason: &str,
        by: &str,
    ) -> Result<String, OperationError> {
        let act = Act::Reconcile { one, other, by: by.to_owned(), reason: reason.to_owned() };
        self.act(run, act, None, &format!("silos {one} and {other} may be in one cohort again")).await
    }

    async fn rotate_keys(&self, by: &str) -> Result<String, OperationError> {
        let vault = self.vault.as_ref().ok_or(OperationError::NotEncrypted)?;
        let id = vault
            .rotate_data_key()
            .inspect_err(|why| tracing::error!(%why, "the data key cannot be rotated"))?;
        tracing::info!(by, key = id, "a new data key seals what is written from now on");
        Ok(format!("data key {id} seals what is written from now on; older ones still open what they sealed"))
    }

    async fn connected(&self) -> Result<BTreeSet<ClientId>, OperationError> {
        let board = self.board.borrow();
        Ok(board.iter().flat_map(|board| board.connected.iter().copied()).collect())
    }
}

/// Signs transport certificates; without TLS there is nothing to sign.
pub(crate) struct Certificates {
    pub(crate) authority: Option<Arc<CertificateAuthority>>,
    pub(crate) now_s: fn() -> u64,
}

impl Issuer for Certificates {
    fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, String> {
        let authority =
            self.authority.as_ref().ok_or("this coordinator runs in plain text and signs no certificates")?;
        let issued = authority
            .issue(request, subject, &[], (self.now_s)(), lifetime.as_secs())
            .map_err(|why| why.to_string())?;
        Ok(IssuedCertificate { chain: issued.chain_pem, not_after_s: issued.not_after_s })
    }
}
