//! Where a run is. In a round that is an attempt and its step, of an enum of structs: a step knows whom it asks for what, how
//! many answers it needs, and which step comes after it.

mod advertising;
mod consistency;
mod sharing;
mod summing;
mod unmasking;
mod uploading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use params::Digest;
use plan::Plan;
use run_status::{Owed, RunPhase};
use secagg::{ClientId, Ctx0, Members, SharedCohort};

pub(super) use advertising::Advertising;
pub(super) use consistency::Consistency;
pub(super) use sharing::Sharing;
pub(super) use summing::Summing;
pub(super) use unmasking::Unmasking;
pub(super) use uploading::Uploading;

use crate::Timestamp;
use crate::record::Record;
use messages::{Attempt, DropReason, Rejection, RoundOutcome, RunEnd, ToClient, UploadHeader};

/// Where a run is.
pub(super) enum Phase {
    NotStarted,
    Idle,
    InRound(Box<Round>, Step),
    Ended(RunEnd),
}

/// What every step of one attempt knows.
pub(super) struct Round {
    pub(super) at: Attempt,
    pub(super) model: Digest,
    pub(super) context: Ctx0,
    /// When the attempt began.
    pub(super) begun: Timestamp,
    /// When the step was entered.
    pub(super) since: Timestamp,
    /// Who it is open to.
    pub(super) cohort: BTreeSet<ClientId>,
    /// Who is out, and why.
    pub(super) dropped: BTreeMap<ClientId, DropReason>,
}

/// How far an attempt has come.
pub(super) enum Step {
    Advertising(Advertising),
    Sharing(Sharing),
    Uploading(Uploading),
    Consistency(Consistency),
    Unmasking(Unmasking),
    Summing(Summing),
}

/// U3, once it is fixed.
pub(super) struct Sum {
    pub(super) cohort: Arc<SharedCohort>,
    pub(super) included: BTreeSet<ClientId>,
    pub(super) staged: BTreeMap<ClientId, UploadHeader>,
}

/// What a step waits for. It borrows from the step: this is asked with every record and every message.
struct Asking<'a> {
    /// Whoever is out of the attempt among them owes nothing any more.
    asked: &'a BTreeSet<ClientId>,
    answered: &'a dyn Answered,
    /// With fewer answers the attempt is over.
    need: usize,
}

/// What a step is in every attempt.
struct Kind {
    name: RunPhase,
    /// What one that is awaited owes.
    owed: Owed,
    /// The share of the round's deadline, in per cent, at which the step must be over.
    deadline_percent: u64,
    /// Where the answers decide who is in: why those still awaited when the step ends are out of the attempt. From the
    /// consistency step on nobody is: their vectors are in the sum.
    silence: Option<DropReason>,
    /// How many there are, and how many are needed.
    too_few: fn(usize, usize) -> RoundOutcome,
    /// The fact that ends it.
    end: fn(Timestamp) -> Record,
}

/// Who has answered, whatever the answers are.
trait Answered {
    fn by(&self, client: &ClientId) -> bool;
    fn count(&self) -> usize;
}

impl<T> Answered for BTreeMap<ClientId, T> {
    fn by(&self, client: &ClientId) -> bool {
        self.contains_key(client)
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// Whether a step is over.
pub(super) enum Verdict {
    Wait,
    Go(Record),
    Abort(RoundOutcome),
}

impl Phase {
    pub(super) fn name(&self) -> RunPhase {
        match self {
            Self::NotStarted => RunPhase::NotStarted,
            Self::Idle => RunPhase::GatheringSilos,
            Self::InRound(_, step) => step.kind().map_or(RunPhase::OpeningTheSum, |kind| kind.name),
            Self::Ended(_) => RunPhase::Ended,
        }
    }

    pub(super) fn round(&self) -> Option<&Round> {
        match self {
            Self::InRound(round, _) => Some(round),
            Self::NotStarted | Self::Idle | Self::Ended(_) => None,
        }
    }

    fn kind(&self) -> Option<&'static Kind> {
        match self {
            Self::InRound(_, step) => step.kind(),
            Self::NotStarted | Self::Idle | Self::Ended(_) => None,
        }
    }

    fn asking(&self) -> Option<Asking<'_>> {
        match self {
            Self::InRound(round, step) => step.asking(round),
            Self::NotStarted | Self::Idle | Self::Ended(_) => None,
        }
    }

    /// This attempt and its step, if it is the one in progress.
    ///
    /// # Errors
    /// [`Rejection::StaleAttempt`].
    pub(super) fn step(&self, at: Attempt) -> Result<(&Round, &Step), Rejection> {
        match self {
            Self::InRound(round, step) if round.at == at => Ok((round, step)),
            _ => Err(Rejection::StaleAttempt),
        }
    }

    /// What a client that is awaited owes.
    pub(super) fn owed(&self) -> Owed {
        match self {
            Self::Idle => Owed::CheckIn,
            phase => phase.kind().map_or(Owed::Nothing, |kind| kind.owed),
        }
    }

    /// What is to be said to this client now: on entering the step, and again whenever it reconnects.
    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        let Self::InRound(round, step) = self else { return None };
        let Asking { asked, answered, .. } = step.asking(round)?;
        if round.dropped.contains_key(&client) || !asked.contains(&client) {
            None
        } else if answered.by(&client) {
            matches!(step, Step::Uploading(_)).then_some(ToClient::UploadDurable { at: round.at })
        } else {
            step.question(round, client)
        }
    }

    /// Who owes an answer.
    pub(super) fn awaited(&self) -> impl Iterator<Item = ClientId> {
        let waiting = self.round().zip(self.asking()).into_iter();
        waiting.flat_map(|(round, asking)| {
            asking.asked.iter().copied().filter(move |client| asking.waits_for(round, client))
        })
    }

    /// Whether this client owes an answer.
    pub(super) fn awaits(&self, client: &ClientId) -> bool {
        self.round()
            .zip(self.asking())
            .is_some_and(|(round, asking)| asking.asked.contains(client) && asking.waits_for(round, client))
    }

    /// Whether the step is over. Where its answers decide who is in, everyone is waited for until patience ends, and then
    /// a quorum is enough; elsewhere it is enough at once. At the deadline the step is over either way.
    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        let Some((kind, Asking { answered, need, .. })) = self.kind().zip(self.asking()) else {
            return Verdict::Wait;
        };
        let (answered, awaited) = (answered.count(), self.awaited().count());
        let late = self.deadline(plan).is_some_and(|deadline| now >= deadline);
        let impatient = self.patience(plan).is_none_or(|patience| now >= patience);
        if answered >= need && (awaited == 0 || impatient || late) {
            Verdict::Go((kind.end)(now))
        } else if answered + awaited < need || late {
            Verdict::Abort((kind.too_few)(answered, need))
        } else {
            Verdict::Wait
        }
    }

    /// Why those who are still awaited when the step ends are out of the attempt, if they are.
    pub(super) fn silence(&self) -> Option<DropReason> {
        self.kind()?.silence.clone()
    }

    /// When the step must be over.
    pub(super) fn deadline(&self, plan: &Plan) -> Option<Timestamp> {
        let one_percent_ms = plan.timing.round_deadline_ms / 100;
        Some(self.round()?.begun.plus_ms(one_percent_ms * self.kind()?.deadline_percent))
    }

    /// Until when everyone is waited for.
    pub(super) fn patience(&self, plan: &Plan) -> Option<Timestamp> {
        let Self::InRound(round, step) = self else { return None };
        let begins = match step {
            // Nobody is ready before that.
            Step::Advertising(_) => round.since.plus_ms(plan.timing.ready_after_ms),
            Step::Sharing(_) | Step::Uploading(_) => round.since,
            Step::Consistency(_) | Step::Unmasking(_) | Step::Summing(_) => return None,
        };
        Some(begins.plus_ms(plan.timing.minimum_wait_ms))
    }

    /// Whether exactly this upload is already in the sum.
    pub(super) fn has_staged(&self, header: &UploadHeader) -> bool {
        let Self::InRound(_, step) = self else { return false };
        step.staged().is_some_and(|staged| staged.get(&header.client) == Some(header))
    }
}

impl Asking<'_> {
    /// Whether one of those asked still owes its answer.
    fn waits_for(&self, round: &Round, asked: &ClientId) -> bool {
        !self.answered.by(asked) && !round.dropped.contains_key(asked)
    }
}

impl Round {
    pub(super) fn takes_part(&self, client: ClientId) -> bool {
        self.cohort.contains(&client) && !self.dropped.contains_key(&client)
    }
}

impl Step {
    /// What kind of a step it is; of none where the sum is being opened.
    fn kind(&self) -> Option<&'static Kind> {
        match self {
            Self::Advertising(_) => Some(&advertising::KIND),
            Self::Sharing(_) => Some(&sharing::KIND),
            Self::Uploading(_) => Some(&uploading::KIND),
            Self::Consistency(_) => Some(&consistency::KIND),
            Self::Unmasking(_) => Some(&unmasking::KIND),
            Self::Summing(_) => None,
        }
    }

    /// What is waited for; nothing of clients where the sum is being opened.
    fn asking<'a>(&'a self, round: &'a Round) -> Option<Asking<'a>> {
        match self {
            Self::Advertising(step) => Some(step.asking(round)),
            Self::Sharing(step) => Some(step.asking()),
            Self::Uploading(step) => Some(step.asking()),
            Self::Consistency(step) => Some(step.asking()),
            Self::Unmasking(step) => Some(step.asking()),
            Self::Summing(_) => None,
        }
    }

    /// What a client is asked.
    fn question(&self, round: &Round, client: ClientId) -> Option<ToClient> {
        let at = round.at;
        let ids = |set: &BTreeSet<ClientId>| set.iter().copied().collect();
        Some(match self {
            Self::Advertising(_) => ToClient::Open { at, model: round.model },
            Self::Sharing(step) => ToClient::Adverts { at, adverts: step.cohort.adverts().to_vec() },
            Self::Uploading(step) => ToClient::Deliver { at, delivery: step.cohort.delivery_for(client)? },
            Self::Consistency(step) => ToClient::Included { at, included: ids(&step.sum.included) },
            Self::Unmasking(step) => ToClient::UnmaskRequest {
                at,
                included: ids(&step.sum.included),
                signatures: step.signatures.clone(),
            },
            Self::Summing(_) => return None,
        })
    }

    fn staged(&self) -> Option<&BTreeMap<ClientId, UploadHeader>> {
        match self {
            Self::Advertising(_) | Self::Sharing(_) => None,
            Self::Uploading(step) => Some(&step.staged),
            Self::Consistency(Consistency { sum, .. })
            | Self::Unmasking(Unmasking { sum, .. })
            | Self::Summing(Summing { sum, .. }) => Some(&sum.staged),
        }
    }

    /// A client's answer, admitted when it was written down; `None` where it answers another step.
    pub(super) fn answered(&mut self, record: &Record) -> Option<()> {
        match (self, record) {
            (Self::Advertising(step), Record::Advertised(advert)) => {
                step.adverts.insert(advert.id, advert.clone());
            }
            (Self::Sharing(step), Record::Shared(bundle)) => {
                step.bundles.insert(bundle.sender, bundle.clone());
            }
            (Self::Uploading(step), Record::Staged(header)) => {
                step.staged.insert(header.client, header.clone());
            }
            (Self::Consistency(step), Record::IncludedSigned(signature)) => {
                step.signatures.insert(signature.id, *signature);
            }
            (Self::Unmasking(step), Record::Unmasked(shares)) => {
                step.answers.insert(shares.id, shares.clone());
            }
            _ => return None,
        }
        Some(())
    }

    /// The step after this one; `None` where the record ends another.
    ///
    /// # Panics
    /// C2: what was admitted part by part does not verify as a whole.
    pub(super) fn ended(self, by: &Record, round: &Round, members: &Members, plan: &Plan) -> Option<Self> {
        let end = self.kind()?.end;
        if by.time().map(end).as_ref() != Some(by) {
            return None;
        }
        match self {
            Self::Advertising(step) => Some(Self::Sharing(step.fix_u1(round, members, plan))),
            Self::Sharing(step) => Some(Self::Uploading(step.fix_u2())),
            Self::Uploading(step) => Some(Self::Consistency(step.fix_u3())),
            Self::Consistency(step) => Some(Self::Unmasking(step.request())),
            Self::Unmasking(step) => Some(Self::Summing(step.complete())),
            Self::Summing(_) => None,
        }
    }

    /// What this client said in the step in progress is as if it had not: for one that is removed before the step's
    /// set is fixed.
    pub(super) fn take_back(&mut self, client: &ClientId) {
        match self {
            Self::Advertising(step) => drop(step.adverts.remove(client)),
            Self::Sharing(step) => drop(step.bundles.remove(client)),
            Self::Uploading(step) => drop(step.staged.remove(client)),
            Self::Consistency(_) | Self::Unmasking(_) | Self::Summing(_) => {}
        }
    }
}

/// Whether an answer is to be written down: a first one that verifies is, and the same one again is not.
///
/// # Errors
/// [`Rejection`]: of one that is not asked, another answer than before, one that does not verify.
fn admit<T: PartialEq, E: ToString>(
    asked: bool,
    held: Option<&T>,
    offered: &T,
    verify: impl FnOnce() -> Result<(), E>,
) -> Result<bool, Rejection> {
    match held {
        _ if !asked => Err(Rejection::NotInCohort),
        None => verify().map(|()| true).map_err(|why| Rejection::Invalid(why.to_string())),
        Some(held) if held == offered => Ok(false),
        Some(_) => Err(Rejection::Equivocation),
    }
}
