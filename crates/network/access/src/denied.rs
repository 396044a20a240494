//! Who is barred at this moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{Role, Subject};
use params::Digest;
use secagg::ClientId;
use tokio::sync::watch;

use crate::guard::{Caller, Proof};

/// Everybody who is barred, each with the reason in the words of who did it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeniedSet {
    pub(crate) clients: BTreeMap<ClientId, Bar>,
    pub(crate) certificates: BTreeMap<Digest, Bar>,
    pub(crate) operators: BTreeMap<String, Bar>,
    /// Operators' tokens that were withdrawn, by their ids.
    pub(crate) tokens: BTreeMap<String, String>,
}

/// Why somebody is barred, and whom that binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) reason: String,
    /// By the word of somebody who is no administrator.
    pub(crate) suspension: bool,
}

impl Bar {
    /// An administrator is bound by another administrator's word only: whoever holds an operator's token must not be able
    /// to lock out the only ones who could take it away again, however they prove themselves.
    fn binds(&self, subject: &Subject) -> bool {
        !(self.suspension && subject.role() == Some(Role::Admin))
    }
}

impl DeniedSet {
    /// Why this subject is barred, if it is.
    pub fn subject(&self, subject: &Subject) -> Option<&str> {
        let bar = match subject {
            Subject::Coordinator => None,
            Subject::Silo(id) => self.clients.get(id),
            Subject::Operator { name, .. } => self.operators.get(name),
        };
        bar.filter(|bar| bar.binds(subject)).map(|bar| bar.reason.as_str())
    }

    /// Why the certificate of this fingerprint is barred for its subject, if it is.
    pub fn certificate(&self, subject: &Subject, fingerprint: &Digest) -> Option<&str> {
        let bar = self.certificates.get(fingerprint).filter(|bar| bar.binds(subject));
        bar.map(|bar| bar.reason.as_str())
    }

    /// Why this caller is barred: itself, or what it proved itself with.
    pub fn caller(&self, caller: &Caller) -> Option<&str> {
        let by_subject = caller.subject.as_ref().and_then(|subject| self.subject(subject));
        by_subject.or_else(|| match &caller.proof {
            Proof::Nothing => None,
            Proof::Certificate { fingerprint } => {
                caller.subject.as_ref().and_then(|subject| self.certificate(subject, fingerprint))
            }
            Proof::Token { id } => self.tokens.get(id).map(String::as_str),
        })
    }
}

/// The live list of who is barred; cheap to clone and to ask.
///
/// The [`crate::Guard`] asks it before each call and ends the calls in progress of whoever is barred meanwhile, streams
/// included. A service asks it itself only for a caller that named itself inside a stream, as a silo does in plain
/// text by its signed hello:
///
/// ```text
/// tokio::select! {
///     end = self.listen(client, &mut inbound) => end,
///     reason = denied.wait_for(&Subject::Silo(client)) => Err(barred(reason)),
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Denied(pub(crate) watch::Receiver<Arc<DeniedSet>>);

impl Denied {
    /// The list at this moment.
    pub fn now(&self) -> Arc<DeniedSet> {
        Arc::clone(&self.0.borrow())
    }

    /// Ends when this subject is barred, at once if it is, with the reason.
    pub async fn wait_for(&self, subject: &Subject) -> String {
        self.wait(|set| set.subject(subject).map(str::to_owned)).await
    }

    /// Ends when this caller is barred: itself, its certificate or its token.
    pub async fn wait_for_caller(&self, caller: &Caller) -> String {
        self.wait(|set| set.caller(caller).map(str::to_owned)).await
    }

    async fn wait(&self, barred: impl Fn(&DeniedSet) -> Option<String>) -> String {
        let mut list = self.0.clone();
        loop {
            if let Some(reason) = barred(&list.borrow_and_update()) {
                return reason;
            }
            // Where the registry is gone, the server is going down, and nobody is barred any more.
            if list.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
