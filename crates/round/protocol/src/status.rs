//! What an operator sees of a run: always why it waits, for whom and until when.

use params::Digest;
use secagg::ClientId;

use crate::Timestamp;

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The run.
    pub run_id: Digest,
    /// The plan's name for people.
    pub run_name: String,
    /// The plan.
    pub plan: Digest,
    /// Rounds the plan asks for.
    pub rounds_planned: u64,
    /// Rounds committed.
    pub rounds_committed: u64,
    /// Rounds given up: none of their attempts came to a result, and none follows.
    pub rounds_aborted: u64,
    /// Attempts aborted, those too after which their round was tried again.
    pub attempts_aborted: u64,
    /// The round in progress, or the last one.
    pub round: u64,
    /// The attempt in it.
    pub attempt: u32,
    /// The step.
    pub phase: &'static str,
    /// When the step must be over.
    pub deadline: Option<Timestamp>,
    /// Who is waited for, and for what.
    pub waiting_for: Vec<(ClientId, &'static str)>,
    /// In words: why nothing happens at this moment.
    pub waiting_why: String,
    /// What operators have done that still matters, in words: who paused the run and why, which models are quarantined.
    /// In `waiting_why` too.
    pub notices: Vec<String>,
    /// Every member.
    pub clients: Vec<ClientStatus>,
    /// Clients left out of committed rounds so far, counted once a round.
    pub dropouts: u64,
    /// What has been spent.
    pub privacy: checkpoint::PrivacySpent,
    /// Plan's budget less what is spent; `None` without noise.
    pub epsilon_left: Option<f64>,
    /// Digest of the newest checkpoint's record.
    pub head: Option<Digest>,
    /// The newest model.
    pub model: Option<Digest>,
    /// Round of the newest checkpoint.
    pub head_round: u64,
    /// Metrics of the newest checkpoint.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// How the last round ended.
    pub last_outcome: String,
    /// Why the run is over, once it is.
    pub ended: Option<String>,
}

/// One member at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientStatus {
    /// Who.
    pub id: ClientId,
    /// Its name on the roster.
    pub name: String,
    /// Whether its connection stands.
    pub connected: bool,
    /// What it is doing.
    pub state: &'static str,
    /// The last thing that went wrong with it.
    pub last_reason: String,
    /// Rounds whose sum holds its update.
    pub rounds_included: u64,
    /// Rounds it was left out of.
    pub rounds_left_out: u64,
}
