//! The steps of a round, an enum of structs. A step knows who owes what, when it is over and what it says.

mod advertising;
mod consistency;
mod recovering;
mod sharing;
mod unmasking;
mod uploading;

use std::collections::{BTreeMap, BTreeSet};

use params::Digest;
use plan::Plan;
use run_status::{Owed, RunPhase};
use secagg::{ClientId, Ctx0, SharedCohort};

pub(super) use advertising::Advertising;
pub(super) use consistency::Consistency;
pub(super) use recovering::Recovering;
pub(super) use sharing::Sharing;
pub(super) use unmasking::Unmasking;
pub(super) use uploading::Uploading;

use crate::Timestamp;
use crate::message::{Attempt, DropReason, Rejection, RoundOutcome, RunEnd, ToClient, UploadHeader};
use crate::record::Record;

/// Where a run is.
pub(super) enum Phase {
    NotStarted,
    Idle,
    Advertising(Advertising),
    Sharing(Sharing),
    Uploading(Uploading),
    Consistency(Consistency),
    Unmasking(Unmasking),
    Recovering(Recovering),
    Ended(RunEnd),
}

/// What every step of one attempt knows.
pub(super) struct Round {
    pub(super) at: Attempt,
    pub(super) model: Digest,
    pub(super) context: Ctx0,
    /// When the attempt was opened.
    pub(super) opened: Timestamp,
    /// When the step was entered.
    pub(super) since: Timestamp,
    /// To whom it was opened.
    pub(super) cohort: BTreeSet<ClientId>,
    /// Who is out, and why.
    pub(super) dropped: BTreeMap<ClientId, DropReason>,
}

/// Whether a step is over.
pub(super) enum Verdict {
    Wait,
    Go,
    Abort(RoundOutcome),
}

/// Answers of a step, counted.
struct Count {
    answered: usize,
    awaited: usize,
    need: usize,
}

/// The share of the round's deadline, in per cent, at which each step must be over.
const ADVERTISE_PERCENT: u64 = 50;
const SHARE_PERCENT: u64 = 65;
const UPLOAD_PERCENT: u64 = 85;
const CONSISTENCY_PERCENT: u64 = 92;
const UNMASK_PERCENT: u64 = 100;

impl Round {
    /// The same attempt, one step on.
    pub(super) fn entered(mut self, now: Timestamp) -> Self {
        self.since = now;
        self
    }

    fn deadline(&self, plan: &Plan, percent: u64) -> Timestamp {
        self.opened.plus_ms(plan.timing.round_deadline_ms / 100 * percent)
    }

    fn awaited<'a>(
        &'a self,
        asked: impl Iterator<Item = ClientId> + 'a,
        answered: impl Fn(&ClientId) -> bool + 'a,
    ) -> Vec<ClientId> {
        asked.filter(|client| !self.dropped.contains_key(client) && !answered(client)).collect()
    }
}

impl Count {
    /// For steps whose answers decide who is in: everyone is waited for until `patience` ends, then a quorum is
    /// enough, and at the deadline the step ends either way.
    fn inclusive(
        &self,
        now: Timestamp,
        patience: Timestamp,
        deadline: Timestamp,
        outcome: impl FnOnce(usize, usize) -> RoundOutcome,
    ) -> Verdict {
        let enough = self.answered >= self.need;
        if enough && (self.awaited == 0 || now >= patience || now >= deadline) {
            Verdict::Go
        } else if self.hopeless() || now >= deadline {
            Verdict::Abort(outcome(self.answered, self.need))
        } else {
            Verdict::Wait
        }
    }

    /// For steps whose answers change nothing but that there are enough of them.
    fn quorum(
        &self,
        now: Timestamp,
        deadline: Timestamp,
        outcome: impl FnOnce(usize, usize) -> RoundOutcome,
    ) -> Verdict {
        if self.answered >= self.need {
            Verdict::Go
        } else if self.hopeless() || now >= deadline {
            Verdict::Abort(outcome(self.answered, self.need))
        } else {
            Verdict::Wait
        }
    }

    fn hopeless(&self) -> bool {
        self.answered + self.awaited < self.need
    }
}

impl Phase {
    pub(super) fn name(&self) -> RunPhase {
        match self {
            Self::NotStarted => RunPhase::NotStarted,
            Self::Idle => RunPhase::GatheringSilos,
            Self::Advertising(_) => RunPhase::Training,
            Self::Sharing(_) => RunPhase::SharingKeys,
            Self::Uploading(_) => RunPhase::MaskedInput,
            Self::Consistency(_) => RunPhase::ConsistencyCheck,
            Self::Unmasking(_) => RunPhase::Unmasking,
            Self::Recovering(_) => RunPhase::OpeningTheSum,
            Self::Ended(_) => RunPhase::Ended,
        }
    }

    /// What a client that is awaited owes.
    pub(super) fn awaits(&self) -> Owed {
        match self {
            Self::Idle => Owed::CheckIn,
            Self::Advertising(_) => Owed::Adverts,
            Self::Sharing(_) => Owed::KeyShares,
            Self::Uploading(_) => Owed::MaskedVector,
            Self::Consistency(_) => Owed::Signature,
            Self::Unmasking(_) => Owed::UnmaskShares,
            Self::NotStarted | Self::Recovering(_) | Self::Ended(_) => Owed::Nothing,
        }
    }

    pub(super) fn round(&self) -> Option<&Round> {
        match self {
            Self::Advertising(phase) => Some(&phase.round),
            Self::Sharing(phase) => Some(&phase.round),
            Self::Uploading(phase) => Some(&phase.round),
            Self::Consistency(phase) => Some(&phase.round),
            Self::Unmasking(phase) => Some(&phase.round),
            Self::Recovering(phase) => Some(&phase.round),
            Self::NotStarted | Self::Idle | Self::Ended(_) => None,
        }
    }

    pub(super) fn round_mut(&mut self) -> Option<&mut Round> {
        match self {
            Self::Advertising(phase) => Some(&mut phase.round),
            Self::Sharing(phase) => Some(&mut phase.round),
            Self::Uploading(phase) => Some(&mut phase.round),
            Self::Consistency(phase) => Some(&mut phase.round),
            Self::Unmasking(phase) => Some(&mut phase.round),
            Self::Recovering(phase) => Some(&mut phase.round),
            Self::NotStarted | Self::Idle | Self::Ended(_) => None,
        }
    }

    /// What this client said in the step in progress is as if it had not: for one that is removed before the step's
    /// set is fixed.
    pub(super) fn take_back(&mut self, client: &ClientId) {
        match self {
            Self::Advertising(phase) => drop(phase.adverts.remove(client)),
            Self::Sharing(phase) => drop(phase.bundles.remove(client)),
            Self::Uploading(phase) => drop(phase.staged.remove(client)),
            _ => {}
        }
    }

    /// What this client should be told now: on entering the step, and again whenever it reconnects.
    pub(super) fn message_for(&self, client: ClientId) -> Option<ToClient> {
        if self.round()?.dropped.contains_key(&client) {
            return None;
        }
        match self {
            Self::Advertising(phase) => phase.message_for(client),
            Self::Sharing(phase) => phase.message_for(client),
            Self::Uploading(phase) => phase.message_for(client),
            Self::Consistency(phase) => phase.message_for(client),
            Self::Unmasking(phase) => phase.message_for(client),
            Self::NotStarted | Self::Idle | Self::Recovering(_) | Self::Ended(_) => None,
        }
    }

    /// Who owes an answer.
    pub(super) fn awaited(&self) -> Vec<ClientId> {
        match self {
            Self::Advertising(phase) => phase.awaited(),
            Self::Sharing(phase) => phase.awaited(),
            Self::Uploading(phase) => phase.awaited(),
            Self::Consistency(phase) => phase.awaited(),
            Self::Unmasking(phase) => phase.awaited(),
            Self::NotStarted | Self::Idle | Self::Recovering(_) | Self::Ended(_) => Vec::new(),
        }
    }

    /// Whether the step is over.
    pub(super) fn verdict(&self, now: Timestamp, plan: &Plan) -> Verdict {
        match self {
            Self::Advertising(phase) => phase.verdict(now, plan),
            Self::Sharing(phase) => phase.verdict(now, plan),
            Self::Uploading(phase) => phase.verdict(now, plan),
            Self::Consistency(phase) => phase.verdict(now, plan),
            Self::Unmasking(phase) => phase.verdict(now, plan),
            Self::NotStarted | Self::Idle | Self::Recovering(_) | Self::Ended(_) => Verdict::Wait,
        }
    }

    /// The fact that ends the step.
    pub(super) fn next_record(&self, now: Timestamp) -> Record {
        match self {
            Self::Advertising(_) => Record::RosterFixed { now },
            Self::Sharing(_) => Record::SharesFixed { now },
            Self::Uploading(_) => Record::IncludedFixed { now },
            Self::Consistency(_) => Record::UnmaskRequested { now },
            _ => Record::SharesComplete { now },
        }
    }

    /// Why those who are still awaited when the step ends are out of the attempt. From the consistency step on
    /// nobody is: their vectors are in the sum.
    pub(super) fn silence(&self) -> Option<DropReason> {
        match self {
            Self::Advertising(_) => Some(DropReason::SilentAtAdvertise),
            Self::Sharing(_) => Some(DropReason::SilentAtShareKeys),
            Self::Uploading(_) => Some(DropReason::SilentAtMaskedInput),
            _ => None,
        }
    }

    /// When the step must be over.
    pub(super) fn deadline(&self, plan: &Plan) -> Option<Timestamp> {
        let percent = match self {
            Self::Advertising(_) => ADVERTISE_PERCENT,
            Self::Sharing(_) => SHARE_PERCENT,
            Self::Uploading(_) => UPLOAD_PERCENT,
            Self::Consistency(_) => CONSISTENCY_PERCENT,
            Self::Unmasking(_) => UNMASK_PERCENT,
            Self::NotStarted | Self::Idle | Self::Recovering(_) | Self::Ended(_) => return None,
        };
        self.round().map(|round| round.deadline(plan, percent))
    }

    /// Until when everyone is waited for.
    pub(super) fn patience(&self, plan: &Plan) -> Option<Timestamp> {
        match self {
            Self::Advertising(phase) => Some(phase.patience(plan)),
            Self::Sharing(Sharing { round, .. }) | Self::Uploading(Uploading { round, .. }) => {
                Some(round.since.plus_ms(plan.timing.minimum_wait_ms))
            }
            _ => None,
        }
    }

    /// Whether no client can have been asked for its vector yet.
    pub(super) fn before_uploads(&self) -> bool {
        matches!(self, Self::Advertising(_) | Self::Sharing(_))
    }

    pub(super) fn advertising(&self, at: Attempt) -> Result<Option<&Advertising>, Rejection> {
        self.current(at)?;
        Ok(if let Self::Advertising(phase) = self { Some(phase) } else { None })
    }

    pub(super) fn sharing(&self, at: Attempt) -> Result<Option<&Sharing>, Rejection> {
        self.current(at)?;
        Ok(if let Self::Sharing(phase) = self { Some(phase) } else { None })
    }

    pub(super) fn consistency(&self, at: Attempt) -> Result<Option<&Consistency>, Rejection> {
        self.current(at)?;
        Ok(if let Self::Consistency(phase) = self { Some(phase) } else { None })
    }

    pub(super) fn unmasking(&self, at: Attempt) -> Result<Option<&Unmasking>, Rejection> {
        self.current(at)?;
        Ok(if let Self::Unmasking(phase) = self { Some(phase) } else { None })
    }

    /// The attempt's transcript once U2 is fixed, while complaints about shares are still of use.
    pub(super) fn delivered(&self, at: Attempt) -> Result<Option<&SharedCohort>, Rejection> {
        self.current(at)?;
        Ok(if let Self::Uploading(phase) = self { Some(&phase.cohort) } else { None })
    }

    /// Whether a late signature of this attempt is harmless.
    pub(super) fn is_past_consistency(&self) -> bool {
        matches!(self, Self::Unmasking(_) | Self::Recovering(_))
    }

    /// Whether a late answer of this attempt is harmless.
    pub(super) fn is_past_unmasking(&self) -> bool {
        matches!(self, Self::Recovering(_))
    }

    /// Whether exactly this upload is already in the sum.
    pub(super) fn has_staged(&self, header: &UploadHeader) -> bool {
        let staged = match self {
            Self::Uploading(phase) => &phase.staged,
            Self::Consistency(phase) => &phase.staged,
            Self::Unmasking(phase) => &phase.staged,
            Self::Recovering(phase) => &phase.staged,
            _ => return false,
        };
        staged.get(&header.client) == Some(header)
    }

    fn current(&self, at: Attempt) -> Result<(), Rejection> {
        match self.round() {
            Some(round) if round.at == at => Ok(()),
            _ => Err(Rejection::StaleAttempt),
        }
    }
}

/// `Ok(true)` for a first answer, `Ok(false)` for the same one again.
///
/// # Errors
/// [`Rejection::Equivocation`] for another one.
fn once<T: PartialEq>(held: Option<&T>, offered: &T) -> Result<bool, Rejection> {
    match held {
        None => Ok(true),
        Some(held) if held == offered => Ok(false),
        Some(_) => Err(Rejection::Equivocation),
    }
}
