//! What the two sides say to each other. Plain data; `wire` gives it its bytes.

use checkpoint::SignedManifest;
use identity::SignedRoster;
use params::Digest;
use plan::SignedPlan;
use secagg::{Advert, ClientId, Complaint, Delivery, IncludedSignature, ShareBundle, UnmaskShares};
use serde::{Deserialize, Serialize};

use crate::sandbox::SandboxLevel;

/// One try at one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The round, counted from 1; an aborted round's number is not used again.
    pub round: u64,
    /// The attempt in it, counted from 1.
    pub attempt: u32,
}

/// A message of a session with the run that it belongs to: one session carries all of a silo's runs.
#[derive(Debug, Clone, PartialEq)]
pub struct OfRun<M> {
    /// The run's random name; `None` in a session that has one run, which is one of a version before 4.
    pub run: Option<Digest>,
    pub message: M,
}

/// A message of the one run that a session of a version before 4 has.
impl<M> From<M> for OfRun<M> {
    fn from(message: M) -> Self {
        Self { run: None, message }
    }
}

impl<M> OfRun<M> {
    /// A message of the run of this name.
    pub fn named(run: Digest, message: M) -> Self {
        Self { run: Some(run), message }
    }
}

/// From the coordinator to one client.
#[derive(Debug, Clone, PartialEq)]
pub enum ToClient {
    /// The run that the client is asked to join. First on every connection, and again when the roster changes.
    Welcome {
        run_id: Digest,
        /// As its author signed it.
        plan: Box<SignedPlan>,
        /// As the authority signed it: the one that the client pins, or a later one.
        roster: Box<SignedRoster>,
        /// The rosters that lead to it, oldest first, as far as the client may need them. From version 3 on.
        between: Vec<SignedRoster>,
    },
    /// A published checkpoint's record, in chain order.
    Published(SignedManifest),
    /// Train on `model`, then advertise.
    Open {
        at: Attempt,
        /// The model to start from: the chain head's.
        model: Digest,
    },
    /// The cohort's adverts, U1.
    Adverts {
        at: Attempt,
        /// Sorted by client.
        adverts: Vec<Advert>,
    },
    /// U2 and the shares for this client.
    Deliver { at: Attempt, delivery: Delivery },
    /// The upload is durable; it needs no resending.
    UploadDurable { at: Attempt },
    /// The included set U3, to be signed.
    Included {
        at: Attempt,
        /// In ascending order.
        included: Vec<ClientId>,
    },
    /// A quorum's signatures on U3. There is no request that names two sets.
    UnmaskRequest {
        at: Attempt,
        /// U3 again, so that the request stands alone.
        included: Vec<ClientId>,
        /// At least the threshold of them.
        signatures: Vec<IncludedSignature>,
    },
    /// The attempt is over without a result.
    Aborted { at: Attempt, outcome: RoundOutcome },
    /// A message of this client was rejected.
    Rejected { rejection: Rejection },
    /// The run is over.
    Finished { reason: RunEnd },
}

/// From one client to the coordinator.
#[derive(Debug, Clone, PartialEq)]
pub enum ToCoordinator {
    /// The client will take part; it has seen the chain up to here.
    CheckIn {
        /// Round of the newest record it holds, if any.
        head: Option<u64>,
        /// A salted commitment to the version of its data; `None` where it declares none. Only the silo can open it.
        data: Option<Digest>,
        /// What holds its trainers; `None` where it does not say, as releases before this one do not.
        sandbox: Option<SandboxLevel>,
    },
    /// The client will not take part: in this run, or in this round.
    Declined {
        /// The round; `None` for the whole run.
        round: Option<u64>,
        reason: Decline,
    },
    /// Trained, and here are this attempt's keys ("ready" and "advertise" are one message).
    Advertise { at: Attempt, advert: Advert },
    /// Sealed shares for every member of U1.
    ShareKeys { at: Attempt, bundle: ShareBundle },
    /// A peer's shares were bad.
    Complain { at: Attempt, complaint: Complaint },
    /// The client's signature on U3.
    SignIncluded { at: Attempt, signature: IncludedSignature },
    /// The shares that open the sum.
    Unmask { at: Attempt, shares: UnmaskShares },
}

impl ToCoordinator {
    /// What it is, for people who read that it was said.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CheckIn { .. } => "check-in",
            Self::Declined { .. } => "declined",
            Self::Advertise { .. } => "advert",
            Self::ShareKeys { .. } => "key shares",
            Self::Complain { .. } => "complaint",
            Self::SignIncluded { .. } => "signature on the included set",
            Self::Unmask { .. } => "unmask shares",
        }
    }

    /// The attempt that it is about, where it is about one.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::CheckIn { .. } | Self::Declined { .. } => None,
            Self::Advertise { at, .. }
            | Self::ShareKeys { at, .. }
            | Self::Complain { at, .. }
            | Self::SignIncluded { at, .. }
            | Self::Unmask { at, .. } => Some(*at),
        }
    }
}

/// What precedes a masked vector's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadHeader {
    pub client: ClientId,
    pub at: Attempt,
    /// The transcript it was masked under.
    pub r2: Digest,
    /// SHA-256 over the vector's bytes.
    pub digest: Digest,
    /// Lanes of 32 bits.
    pub lanes: u64,
    /// The client's signature over R2 and the digest.
    #[serde(with = "bytes64")]
    pub signature: [u8; 64],
}

/// Why a client does not take part. What it says is a code; texts are of releases before, and nobody repeats them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Decline {
    /// Its policy or its budget forbids it. The code is [`plan::Refusal::code`]'s.
    #[error("{code}: {text}")]
    Policy {
        /// The code, in capitals.
        code: String,
        /// The code's own sentence, [`plan::RefusalCode::sentence`].
        text: String,
    },
    /// It was restarted in this round and holds none of the round's secrets any more.
    #[error("it was restarted in this round and sits it out")]
    SitsOut,
    /// It could not train or fetch. No detail leaves the silo: its own log holds it.
    #[error("it cannot take part in this round; its own log says why")]
    Unavailable,
    /// A later roster waits for a person at this silo to look at it.
    #[error("its operator has not accepted {0}")]
    AwaitsOperator(String),
    /// What the coordinator said does not verify.
    #[error("it does not accept what the coordinator sent: {0}")]
    CoordinatorFault(CoordinatorFault),
}

impl Decline {
    /// What is said of a later roster that waits. Who joins and leaves is for the silo's own operator.
    const LATER_ROSTER: &str = "a later roster";

    /// As a silo says it.
    pub fn by_policy(code: plan::RefusalCode) -> Self {
        Self::Policy { code: code.name().into(), text: code.sentence().into() }
    }

    /// As a silo says it.
    pub fn awaits_operator() -> Self {
        Self::AwaitsOperator(Self::LATER_ROSTER.into())
    }

    /// Whether it is taken back as soon as the silo's operator has acted: the silo has declined nothing for good.
    pub fn waits(&self) -> bool {
        match self {
            Self::AwaitsOperator(_) => true,
            Self::Policy { code, .. } => code == plan::RefusalCode::RostersMissing.name(),
            Self::SitsOut | Self::Unavailable | Self::CoordinatorFault(_) => false,
        }
    }

    /// What may be written down and shown of what a silo sent: its code with a sentence of our own, and no text of its own. What
    /// is in a signed chain or a log of events is there for good.
    #[must_use]
    pub fn in_own_words(self) -> Self {
        match self {
            Self::Policy { code, .. } => {
                let (code, text) = plan::RefusalCode::describe(&code);
                Self::Policy { code, text }
            }
            Self::AwaitsOperator(_) => Self::awaits_operator(),
            other @ (Self::SitsOut | Self::Unavailable | Self::CoordinatorFault(_)) => other,
        }
    }
}

/// What a client found wrong in the coordinator's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CoordinatorFault {
    /// The roster is not signed by the authority, is older than one seen, or does not name this silo.
    #[error("a roster that is not this federation's newest, or does not name this silo")]
    Roster,
    /// The plan is not what its author signed, does not parse, or is not the one this run began with.
    #[error("the plan is not usable, not as its author signed it, or not this run's")]
    Plan,
    /// A record does not follow from the chain seen so far, or contradicts what this silo saw and signed in its round.
    #[error("a record that breaks the checkpoint chain")]
    Chain,
    /// The model to train on is not the chain head's.
    #[error("a model that is not the chain's head")]
    Model,
    /// The cohort's adverts do not verify or violate the floors.
    #[error("a cohort that does not verify")]
    Cohort,
    /// The delivery does not verify.
    #[error("a delivery that does not verify")]
    Delivery,
    /// A second, different message of the same step.
    #[error("two different messages of one step")]
    Equivocation,
    /// The included set breaks the rules.
    #[error("an included set that breaks the rules")]
    Included,
    /// The unmask request lacks a quorum or does not match what was signed.
    #[error("an unmask request that does not verify")]
    UnmaskRequest,
    /// The published model is not what the published aggregate and the model before it give.
    #[error("a model that does not follow from the published aggregate")]
    Step,
    /// The model to train on is quarantined.
    #[error("a model that is quarantined")]
    Quarantined,
}

/// Why a client is out of the round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DropReason {
    /// It said so.
    #[error("declined: {0}")]
    Declined(Decline),
    /// It did not advertise in time.
    #[error("silent: did not advertise keys in time")]
    SilentAtAdvertise,
    /// It did not send its shares in time.
    #[error("silent: did not share keys in time")]
    SilentAtShareKeys,
    /// Its masked vector did not arrive in time.
    #[error("silent: its masked vector did not arrive in time")]
    SilentAtMaskedInput,
    /// It sent shares that do not open.
    #[error("misbehaved: {0}")]
    Misbehaved(String),
    /// An operator removed it.
    #[error("removed: {0}")]
    Removed(String),
}

impl DropReason {
    /// Whether nothing came, in place of something wrong.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::SilentAtAdvertise | Self::SilentAtShareKeys | Self::SilentAtMaskedInput => true,
            Self::Declined(_) | Self::Misbehaved(_) | Self::Removed(_) => false,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RoundOutcome {
    /// A checkpoint was written.
    #[error("committed")]
    Committed,
    /// Fewer silos than the floor advertised keys.
    #[error("too few silos advertised keys: {got} of {need}")]
    TooFewAdverts {
        /// How many did.
        got: usize,
        /// How many are needed.
        need: usize,
    },
    /// Fewer silos than the floor shared keys.
    #[error("too few silos shared keys: {got} of {need}")]
    TooFewShares {
        /// How many did.
        got: usize,
        /// How many are needed.
        need: usize,
    },
    /// Fewer masked vectors than the floor arrived.
    #[error("too few masked vectors arrived: {got} of {need}")]
    TooFewUploads {
        /// How many did.
        got: usize,
        /// How many are needed.
        need: usize,
    },
    /// No quorum signed the included set.
    #[error("too few silos signed the included set: {got} of {need}")]
    TooFewSignatures {
        /// How many did.
        got: usize,
        /// How many are needed.
        need: usize,
    },
    /// Too few silos answered the unmask request.
    #[error("too few silos answered the unmask request: {got} of {need}")]
    TooFewUnmaskAnswers {
        /// How many did.
        got: usize,
        /// How many are needed.
        need: usize,
    },
    /// A silo's shared secret is not the one it committed to.
    #[error("client {client} shared a secret that is not the one it committed to")]
    WrongSecret { client: ClientId },
    /// A silo's complaint made the attempt useless.
    #[error("client {accuser} complained about client {accused}")]
    Complaint {
        /// Who says so.
        accuser: ClientId,
        /// About whom; nothing is proven.
        accused: ClientId,
    },
    /// The opened sum or the stepped model is not a model.
    #[error("the aggregate is not usable: {0}")]
    BadAggregate(String),
    /// An operator quarantined a model.
    #[error("an operator quarantined the model of round {round}")]
    Quarantined {
        /// Whose result it was.
        round: u64,
    },
    /// An operator went back to an earlier model.
    #[error("an operator rolled the run back to round {to_round}")]
    RolledBack {
        /// Whose result it goes on from.
        to_round: u64,
    },
    /// The weights in the opened sum are not those of any silos. Peers hear only that the aggregate is not usable.
    #[error("the aggregate is not usable: {0}")]
    Weights(String),
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RunEnd {
    /// All rounds of the plan are committed.
    #[error("all rounds of the plan are committed")]
    Complete,
    /// One more round would spend more than the plan's epsilon.
    #[error("one more round would spend more than the plan's epsilon")]
    BudgetSpent,
    /// Too many members decline to take part for any cohort to be met.
    #[error("at most {willing} of the {needed} silos needed can take part: {first_reason}")]
    TooFewWilling {
        /// Members that have not declined.
        willing: usize,
        /// The plan's smallest cohort.
        needed: usize,
        /// What one that declined said. In the journal and the status: what each said, who, and what fixes it.
        first_reason: String,
    },
    /// Somebody who may ended it before.
    #[error("{by} stopped it: {reason}")]
    Stopped {
        /// An operator's name.
        by: String,
        /// In their words.
        reason: String,
    },
}

/// Why a message was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejection {
    /// The sender is no member.
    #[error("client {0} is not on the roster")]
    UnknownClient(ClientId),
    /// The message is of a step that the round is not in.
    #[error("{message} does not belong to the current step ({phase})")]
    OutOfPhase {
        message: String,
        /// Where the round is.
        phase: String,
    },
    /// The message is of an attempt that is over.
    #[error("the attempt is over or unknown")]
    StaleAttempt,
    /// The sender does not take part in this attempt.
    #[error("the sender is not in this attempt's cohort")]
    NotInCohort,
    /// It differs from what the same sender said before.
    #[error("it differs from what the same sender said before in this step")]
    Equivocation,
    /// It does not verify.
    #[error("it does not verify: {0}")]
    Invalid(String),
    /// An operator's action that makes no sense now.
    #[error("not possible: {0}")]
    NotPossible(String),
    /// An operator's action that changes nothing: what it wants is so.
    #[error("{0}; nothing was changed")]
    AlreadySo(String),
}

/// Serde for signatures: serde's own arrays end at 32.
pub(crate) mod bytes64 {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 64], s: S) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 64], D::Error> {
        Vec::<u8>::deserialize(d)?.try_into().map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}
