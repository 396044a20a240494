//! What goes into a participant and what comes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use checkpoint::Manifest;
use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, IdentityKey};
use params::Digest;
use plan::{AuthoredPlan, Origin, Policy, Refusal};
use secagg::{ClientId, Masking};
use zeroize::Zeroizing;

use super::sets::Contradiction;
use super::steps::{StepJob, StepOutcome};
use super::witnesses::Witnessed;
use crate::Timestamp;
use crate::record::ClientRecord;
use crate::server_step::round_start;
use messages::{Attempt, OfRun, RunEnd, ToClient, ToCoordinator, UploadHeader};
use messages::{SandboxLevel, SessionVersion};

/// Who this silo is and what it pins and allows; all of it from the silo's own disk.
pub struct Profile {
    /// Its number on the roster.
    pub id: ClientId,
    pub identity: IdentityKey,
    /// The federation's authority, pinned.
    pub authority: VerifyingKey,
    /// The roster that the silo was given; the journal may hold a later one.
    pub roster: AuthorisedRoster,
    pub policy: Policy,
    /// Whether it commits to its data's version when it checks in.
    pub declares_data: bool,
    /// What holds its trainers, where that is known: as its configuration asks for it, and as was reached when it was started. The
    /// same in each check-in.
    pub sandbox: Option<SandboxLevel>,
}

/// What happened.
pub enum ClientInput {
    /// A session stands.
    Connected {
        /// What it is spoken in.
        version: SessionVersion,
    },
    /// The coordinator said something.
    Message(OfRun<ToClient>),
    /// This job's update is trained and held by the shell, or could not be.
    Trained {
        job: JobId,
        /// Whether there is an update.
        outcome: TrainOutcome,
    },
    /// The step of this record was done again, or could not be.
    StepVerified {
        /// Digest of the signed record.
        record: Digest,
        /// What it gave.
        outcome: StepOutcome,
    },
    /// This job's vector is masked and held by the shell; `None` where it could not be.
    Masked {
        job: JobId,
        /// What came of it.
        vector: Option<Vector>,
    },
    /// The silo's operator has looked at the roster of [`ClientEffect::Offer`] and accepts it.
    AcceptRoster {
        /// Of the roster that was shown.
        roster: Digest,
    },
    /// The shell has looked at the coordinator's audit log, which continues what it remembers, and remembers this state now.
    Witnessed(Witnessed),
    /// What [`ClientEffect::ReadData`] asks for has begun, or waits for the readings before it alone. The plan's time for it counts
    /// from here on; where nothing is said of it, from when it was asked for.
    ReadingBegun { job: JobId },
    /// The silo's table is read, or could not be.
    DataRead {
        job: JobId,
        /// The commitment to its version that may be declared; `None` where there is none.
        commitment: Option<Digest>,
    },
    /// What came of [`ClientEffect::Claim`].
    Claimed { run: Digest, answer: ClaimAnswer },
    /// What the ledger of the silo's data says now, before a round is opened on it.
    Ledger(LedgerView),
    /// The silo's operator has changed what this silo allows.
    Policy(Box<Policy>),
    /// The deadline that [`crate::Participant::deadline`] named has passed.
    Tick,
}

/// What the ledger of the silo's data says of this silo's next round in a run. The journal knows what this daemon has
/// spent; the ledger knows what every run, daemon and version of the data has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LedgerView {
    /// The run; that of the last welcome where there is none.
    pub run: Option<Digest>,
    /// What the wall clock said then, by which the policy's hours and periods are judged: the core's own time may stand
    /// still while the machine sleeps. `None` where the two are one.
    pub wall: Option<Timestamp>,
    /// The highest round of the run that the ledger has a debit of for this silo: no attempt at it, nor at one before
    /// it, is taken, though the journal may have forgotten it.
    pub round: Option<u64>,
    /// The rounds of the run that the ledger has debits of for other silos with the same data: no attempt at them is taken, as
    /// what a round costs is the cost of one contribution to its sum.
    pub rounds_of_others: BTreeSet<u64>,
    /// The identity keys of other silos with the same data that debited a round of the run before this silo debited any: where one
    /// of them is on the roster, the run is theirs. Otherwise both would be invited to each round, to find only once one of them
    /// is debited that the other cannot upload.
    pub before: BTreeSet<[u8; 32]>,
    /// How often the data was used under the run's plan, by whatever daemon and in whatever run.
    pub uploads_under_plan: u64,
    /// Epsilon of everything in it, at the policy's `delta_max`.
    pub epsilon_spent: f64,
    /// Why one more round of the run's plan is not admitted, where it is not.
    pub refusal: Option<Refusal>,
}

/// What came of [`ClientEffect::Claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimAnswer {
    /// The claim is there since before: nothing was looked at.
    Held,
    /// There was room for it, and it is durable.
    Made,
    /// There is no room for it.
    NoRoom(Refusal),
    /// It is not there, and was not to be looked for.
    NotLooked,
}

/// How a [`ClientEffect::Train`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOutcome {
    /// The shell holds an update.
    Ready {
        /// What it was made from, as whoever made it has computed that.
        origin: Origin,
    },
    /// It could not be made; the silo's own log says why.
    Unavailable,
}

/// Names one job of a silo's core. The core draws each once in its life and matches results by nothing else: an attempt's
/// number is the coordinator's word, and may be said again of another model or run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// Draws the names.
#[derive(Default)]
pub(super) struct JobIds(u64);

impl JobIds {
    pub(super) fn draw(&mut self) -> JobId {
        self.0 += 1;
        JobId(self.0)
    }
}

/// A masked vector that the shell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector {
    /// What the contribution under the mask was made from.
    pub origin: Origin,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Whether nothing of the silo's data is in it, since training failed: no epsilon covers that.
    pub failed: bool,
}

/// What a vector that the core waits for is debited under.
#[derive(Debug, Clone)]
pub struct Debit {
    pub run: Digest,
    pub plan: Arc<AuthoredPlan>,
    pub at: Attempt,
    /// The model that was trained on.
    pub model: Digest,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum ClientEffect {
    /// Append to the journal. A barrier: nothing after it leaves the silo until it is durable.
    Persist(ClientRecord),
    /// Say this to the coordinator, if the session stands.
    Send(Box<OfRun<ToCoordinator>>),
    /// Claim in the data's ledger what a run of the plan may cost, unless that is claimed already; answer with
    /// [`ClientInput::Claimed`].
    Claim {
        run: Digest,
        plan: Arc<AuthoredPlan>,
        /// Whether the ledger may be looked at for what other runs have left.
        may_look: bool,
    },
    /// Give back what is left of the run's claim, if there is one: the run is over, or not joined.
    ReturnClaim { run: Digest },
    /// Read the silo's table anew, as the run's plan says, before it is checked in with; answer with
    /// [`ClientInput::ReadingBegun`] and [`ClientInput::DataRead`]. Tables are read in the order in which they are asked for.
    ReadData { job: JobId, run: Digest, plan: Arc<AuthoredPlan> },
    /// Fetch the published sum, do the server's step again and hold it against the record; answer with
    /// [`ClientInput::StepVerified`]. At most one is wanted at a time: a later one takes the place of an earlier one.
    VerifyStep(StepJob),
    /// Keep this record and what contradicts it where nobody deletes it, and end: the coordinator has signed a lie.
    Contradiction(Box<Contradiction>),
    /// Train on the model of the record, whose step is verified, and hold the update; answer with [`ClientInput::Trained`].
    Train(TrainJob),
    /// Quantise, add noise and mask the held update; answer with [`ClientInput::Masked`].
    Mask(Box<MaskJob>),
    /// Send the masked vector, or what the coordinator lacks of it.
    Upload(OfRun<UploadHeader>),
    /// Whatever the shell holds of the attempt that this training was for is of no more use: wipe it.
    Forget(JobId),
    /// Show this later roster to the silo's operator, who decides; answer with [`ClientInput::AcceptRoster`].
    Offer(Box<RosterOffer>),
}

/// Effects in their order.
pub type ClientEffects = Vec<ClientEffect>;

/// A later roster that waits for the silo's operator.
#[derive(Debug, Clone, PartialEq)]
pub struct RosterOffer {
    pub roster: AuthorisedRoster,
    /// Who joins and who leaves.
    pub change: String,
}

/// Training for one attempt.
pub struct TrainJob {
    /// Its name, and that of all that is held of the attempt.
    pub id: JobId,
    pub at: Attempt,
    /// The run's plan.
    pub plan: Arc<AuthoredPlan>,
    /// The chain's head: the record of the model to start from.
    pub head: Arc<Manifest>,
    /// For sampling; secret, since it tells which records were in the batch.
    pub seed: Zeroizing<[u8; 32]>,
}

impl TrainJob {
    /// What the update is to be made from.
    pub fn origin(&self) -> Origin {
        Origin { plan: self.plan.digest(), start: round_start(&self.plan, &self.head) }
    }
}

impl std::fmt::Debug for TrainJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrainJob({:?}, model {})", self.at, self.head.model.params_digest.short())
    }
}

/// Masking for one attempt. Consumed: its seeds mask one vector.
pub struct MaskJob {
    pub id: JobId,
    /// The training whose update is masked.
    pub trained: JobId,
    pub at: Attempt,
    /// The run's plan.
    pub plan: Arc<AuthoredPlan>,
    /// What the masks are bound to: nothing that was made from anything else is masked.
    pub origin: Origin,
    /// The masks' seeds.
    pub masking: Masking,
    /// For rounding and noise; used for this attempt only.
    pub noise_seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for MaskJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MaskJob({:?})", self.at)
    }
}

/// Why a silo cannot take part at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParticipantError {
    /// The roster does not name this silo.
    #[error(
        "the pinned roster has no member {0}; ask the federation's authority for a roster that names this silo"
    )]
    NotAMember(ClientId),
    /// The roster names another key for this silo.
    #[error("the pinned roster names another identity key for member {0} than this machine holds")]
    OtherKey(ClientId),
    /// The roster's keys are not usable.
    #[error("{0}")]
    Roster(String),
    /// The roster is older than one this silo has worked with.
    #[error(
        "the pinned roster has epoch {pinned}, this silo has already worked with epoch {seen}; pin the newer one"
    )]
    OlderRoster {
        /// The configured one's.
        pinned: u64,
        /// The journal's highest.
        seen: u64,
    },
    /// The authority has signed two rosters of one epoch, and this silo holds both.
    #[error(
        "the pinned roster of epoch {epoch} has digest {pinned}, and the one of that epoch that this silo has adopted has {adopted}: \
         the authority's key has signed two successors of one roster, as two copies of its folder do, or one that deceives; pin \
         neither, keep both as evidence, and ask the federation's other silos which of the two they hold"
    )]
    ForkedRoster {
        /// Of both.
        epoch: u64,
        /// The configured one's digest.
        pinned: String,
        adopted: String,
    },
    /// The journal contradicts itself.
    #[error(
        "the silo's journal contradicts itself at record {index}: {why}; restore it, and do not delete it: it holds what this silo has spent"
    )]
    Journal {
        /// Which record, counted from 0.
        index: usize,
        /// What is wrong.
        why: String,
    },
}

/// What the silo's operator sees.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticipantStatus {
    /// The runs that it takes part in, by their names.
    pub runs: Vec<Digest>,
    /// The round it works on or worked on last.
    pub round: Option<Attempt>,
    /// What it is doing.
    pub state: &'static str,
    /// Uploads debited from this silo's data, over all runs.
    pub uploads: u64,
    /// Spent by this silo's data over all runs at the policy's `delta_max`; zero where nothing was noised.
    pub epsilon_spent: f64,
    /// The last thing that went wrong, in words.
    pub last_reason: String,
    /// Why the last run is over, where there is none.
    pub ended: Option<RunEnd>,
}
