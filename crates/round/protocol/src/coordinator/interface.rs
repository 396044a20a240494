//! What goes into the coordinator and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkpoint::SignedManifest;
use ed25519_dalek::{SigningKey, VerifyingKey};
use identity::AuthorisedRoster;
use params::Digest;
use plan::AuthoredPlan;
use secagg::{ClientId, SharedCohort, UnmaskShares};

use super::actions::Act;
use crate::record::Record;
use messages::SessionVersion;
use messages::{Attempt, ToClient, ToCoordinator, UploadHeader};

/// What a run is made of. All of it is fixed but the roster, which the authority may replace ([`Input::Roster`]).
pub struct Setup {
    /// What is asked.
    pub plan: AuthoredPlan,
    /// Of whom: the roster to begin with, or a later one than the journal's.
    pub roster: AuthorisedRoster,
    /// Signs rosters.
    pub authority: VerifyingKey,
    /// Signs the checkpoints; its public half is the roster's `coordinator_key`.
    pub key: SigningKey,
}

/// What happened.
pub enum Input {
    /// A new run: version 0 of the model is staged. Only where the journal is empty.
    Start {
        /// Of the staged files.
        genesis: Artifacts,
    },
    /// A member's session stands and its identity is proven.
    Connected {
        client: ClientId,
        /// What the session is spoken in.
        version: SessionVersion,
    },
    /// Its session ended.
    Disconnected { client: ClientId },
    /// It said something.
    Message {
        /// Who, as its session has proven.
        from: ClientId,
        message: ToCoordinator,
    },
    /// Its masked vector lies in staging, complete, of the announced digest and durable.
    Staged(UploadHeader),
    /// A job is done.
    Summed {
        /// Of which attempt.
        at: Attempt,
        /// What came out.
        result: SumResult,
    },
    /// The authority has signed a later roster. It is in force once the attempt in progress has ended.
    Roster(Box<AuthorisedRoster>),
    /// An operator, who may, wants this.
    Act {
        act: Act,
        /// For a rollback: copies of the earlier round's published files, staged at [`crate::Coordinator::action_at`].
        /// For a quarantine the newest ones' are staged there, and not named.
        staged: Option<Artifacts>,
    },
    /// The deadline that [`crate::Coordinator::deadline`] named has passed.
    Tick,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the journal. A barrier: nothing after it may be seen until it is durable.
    Persist(Record),
    /// Say this to a client, if its session stands; it is said again when it reconnects.
    Send { to: ClientId, message: Box<ToClient> },
    /// Say to a client every published record after this round, oldest first; all of them where there is none. The
    /// chain grows with the run, so it is kept where it is published and not in here.
    SendChain {
        to: ClientId,
        /// The round of the newest record that it holds.
        after: Option<u64>,
    },
    /// Open the sum and step the model on a worker; answer with [`Input::Summed`].
    Compute(Box<SumJob>),
    /// Put the staged files of this record into the chain's folder, under their names. Idempotent.
    Publish(SignedManifest),
    /// Staged vectors of rounds before this one are of no more use.
    DiscardStaged {
        /// The first round that still matters.
        before: u64,
    },
}

/// Effects in their order.
pub type Effects = Vec<Effect>;

/// Opening one sum.
pub struct SumJob {
    pub at: Attempt,
    pub cohort: Arc<SharedCohort>,
    /// Whose vectors are summed, U3.
    pub included: BTreeSet<ClientId>,
    /// The staged vectors.
    pub uploads: Vec<UploadHeader>,
    /// The shares that open it.
    pub answers: BTreeMap<ClientId, UnmaskShares>,
    /// Round of the checkpoint whose model is stepped.
    pub parent_round: u64,
}

impl std::fmt::Debug for SumJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SumJob({:?}, {} vectors)", self.at, self.uploads.len())
    }
}

/// What a [`SumJob`] came to.
pub type SumResult = Result<Summed, SumFailure>;

/// The next version, staged and durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Summed {
    /// Of the opened integer sum.
    pub aggregate: Digest,
    /// Of the staged files.
    pub artifacts: Artifacts,
    /// What was summed under the mask, as means.
    pub metrics: BTreeMap<String, f64>,
}

/// Files that the shell has staged for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifacts {
    pub model: checkpoint::ModelArtifact,
    /// The server optimiser's state, where it has one.
    pub optimizer: Option<checkpoint::OptimizerArtifact>,
}

/// Why a sum could not be opened or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SumFailure {
    /// A client's shares open, and give another secret than it committed to.
    #[error("client {0} shared a secret that is not the one it committed to")]
    WrongSecret(ClientId),
    /// The sum or the stepped model is not finite, or a server step is impossible.
    #[error("{0}")]
    BadAggregate(String),
    /// The weights in the sum are not those of any silos.
    #[error("{0}")]
    Weights(String),
}

/// Why a run cannot start or go on from its journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The plan is not the journal's.
    #[error(
        "this folder's run has plan {journal}, the configured plan is {configured}; start another run in a folder of its own"
    )]
    OtherPlan {
        /// The journal's, short.
        journal: String,
        /// The configured one's, short.
        configured: String,
    },
    /// The configured roster is neither the journal's, nor one before it, nor one that may follow it.
    #[error(
        "this folder's run has roster {journal} and the configured one, {configured}, cannot follow it: {why}; ask the \
         authority for a later roster, or start another run in a folder of its own"
    )]
    OtherRoster {
        /// The journal's, short.
        journal: String,
        /// The configured one's, short.
        configured: String,
        /// The rule that it breaks.
        why: String,
    },
    /// The roster does not name this coordinator's key.
    #[error(
        "the roster names another coordinator key than this machine's; ask the authority for a roster with key {0}"
    )]
    OtherKey(String),
    /// The plan's privacy cannot be accounted.
    #[error("{0}")]
    Plan(String),
}
