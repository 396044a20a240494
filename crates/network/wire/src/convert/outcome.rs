//! How attempts, runs and single messages end.

use messages::{CoordinatorFault, Decline, Rejection, RoundOutcome, RunEnd};
use secagg::ClientId;

use super::{ConversionError, Fault, cut, size, text};
use crate::v1;

impl From<Decline> for v1::Decline {
    fn from(decline: Decline) -> Self {
        use v1::decline::Reason;
        let reason = match decline {
            Decline::Policy { code, text } => {
                Reason::Policy(v1::PolicyRefusal { code: cut(code), text: cut(text) })
            }
            Decline::SitsOut => Reason::SitsOut(()),
            Decline::Unavailable => Reason::Unavailable(()),
            Decline::AwaitsOperator(change) => Reason::AwaitsOperator(cut(change)),
            Decline::CoordinatorFault(fault) => {
                Reason::CoordinatorFault(v1::CoordinatorFault::from(fault).into())
            }
        };
        Self { reason: Some(reason) }
    }
}

impl TryFrom<v1::Decline> for Decline {
    type Error = ConversionError;

    fn try_from(decline: v1::Decline) -> Result<Self, ConversionError> {
        use v1::decline::Reason;
        Ok(match decline.reason.ok_or_else(|| ConversionError::new("reason", Fault::Missing))? {
            Reason::Policy(refusal) => Self::Policy {
                code: text("policy.code", refusal.code)?,
                text: text("policy.text", refusal.text)?,
            },
            Reason::SitsOut(()) => Self::SitsOut,
            Reason::Unavailable(()) => Self::Unavailable,
            Reason::AwaitsOperator(change) => Self::AwaitsOperator(text("awaits_operator", change)?),
            Reason::CoordinatorFault(number) => Self::CoordinatorFault(fault_from(number)?),
        })
    }
}

macro_rules! faults {
    ($($name:ident),*) => {
        impl From<CoordinatorFault> for v1::CoordinatorFault {
            fn from(fault: CoordinatorFault) -> Self {
                match fault { $(CoordinatorFault::$name => Self::$name),* }
            }
        }

        fn fault_from(number: i32) -> Result<CoordinatorFault, ConversionError> {
            match v1::CoordinatorFault::try_from(number) {
                $(Ok(v1::CoordinatorFault::$name) => Ok(CoordinatorFault::$name),)*
                Ok(v1::CoordinatorFault::Unspecified) | Err(_) => {
                    Err(ConversionError::new("coordinator_fault", Fault::Unknown(number)))
                }
            }
        }
    };
}
faults!(
    Roster,
    Plan,
    Chain,
    Model,
    Cohort,
    Delivery,
    Equivocation,
    Included,
    UnmaskRequest,
    Step,
    Quarantined
);

impl From<RoundOutcome> for v1::RoundOutcome {
    fn from(outcome: RoundOutcome) -> Self {
        use v1::round_outcome::Outcome;
        let too_few = |got: usize, need: usize| v1::TooFew { got: got as u64, need: need as u64 };
        let outcome = match outcome {
            RoundOutcome::Committed => Outcome::Committed(()),
            RoundOutcome::TooFewAdverts { got, need } => Outcome::TooFewAdverts(too_few(got, need)),
            RoundOutcome::TooFewShares { got, need } => Outcome::TooFewShares(too_few(got, need)),
            RoundOutcome::TooFewUploads { got, need } => Outcome::TooFewUploads(too_few(got, need)),
            RoundOutcome::TooFewSignatures { got, need } => Outcome::TooFewSignatures(too_few(got, need)),
            RoundOutcome::TooFewUnmaskAnswers { got, need } => {
                Outcome::TooFewUnmaskAnswers(too_few(got, need))
            }
            RoundOutcome::WrongSecret { client } => Outcome::WrongSecret(client.0),
            RoundOutcome::Complaint { accuser, accused } => {
                Outcome::Complaint(v1::Accusation { accuser: accuser.0, accused: accused.0 })
            }
            // Which kind it was decides what a coordinator does next, and nothing that a silo does.
            RoundOutcome::BadAggregate(why) | RoundOutcome::Weights(why) => Outcome::BadAggregate(cut(why)),
            RoundOutcome::Quarantined { round } => Outcome::Quarantined(round),
            RoundOutcome::RolledBack { to_round } => Outcome::RolledBack(to_round),
        };
        Self { outcome: Some(outcome) }
    }
}

impl TryFrom<v1::RoundOutcome> for RoundOutcome {
    type Error = ConversionError;

    fn try_from(outcome: v1::RoundOutcome) -> Result<Self, ConversionError> {
        use v1::round_outcome::Outcome;
        let counts = |c: v1::TooFew| Ok::<_, ConversionError>((size("got", c.got)?, size("need", c.need)?));
        Ok(match outcome.outcome.ok_or_else(|| ConversionError::new("outcome", Fault::Missing))? {
            Outcome::Committed(()) => Self::Committed,
            Outcome::TooFewAdverts(c) => counts(c).map(|(got, need)| Self::TooFewAdverts { got, need })?,
            Outcome::TooFewShares(c) => counts(c).map(|(got, need)| Self::TooFewShares { got, need })?,
            Outcome::TooFewUploads(c) => counts(c).map(|(got, need)| Self::TooFewUploads { got, need })?,
            Outcome::TooFewSignatures(c) => {
                counts(c).map(|(got, need)| Self::TooFewSignatures { got, need })?
            }
            Outcome::TooFewUnmaskAnswers(c) => {
                counts(c).map(|(got, need)| Self::TooFewUnmaskAnswers { got, need })?
            }
            Outcome::WrongSecret(client) => Self::WrongSecret { client: ClientId(client) },
            Outcome::Complaint(a) => {
                Self::Complaint { accuser: ClientId(a.accuser), accused: ClientId(a.accused) }
            }
            Outcome::BadAggregate(why) => Self::BadAggregate(text("bad_aggregate", why)?),
            Outcome::Quarantined(round) => Self::Quarantined { round },
            Outcome::RolledBack(to_round) => Self::RolledBack { to_round },
        })
    }
}

impl From<RunEnd> for v1::RunEnd {
    fn from(end: RunEnd) -> Self {
        use v1::run_end::Reason;
        let reason = match end {
            RunEnd::Complete => Reason::Complete(()),
            RunEnd::BudgetSpent => Reason::BudgetSpent(()),
            RunEnd::TooFewWilling { willing, needed, first_reason } => Reason::Refused(v1::RunRefused {
                willing: willing as u64,
                needed: needed as u64,
                first_reason: cut(first_reason),
            }),
            RunEnd::Stopped { by, reason } => {
                Reason::Stopped(v1::RunStopped { by: cut(by), reason: cut(reason) })
            }
        };
        Self { reason: Some(reason) }
    }
}

impl TryFrom<v1::RunEnd> for RunEnd {
    type Error = ConversionError;

    fn try_from(end: v1::RunEnd) -> Result<Self, ConversionError> {
        use v1::run_end::Reason;
        Ok(match end.reason.ok_or_else(|| ConversionError::new("reason", Fault::Missing))? {
            Reason::Complete(()) => Self::Complete,
            Reason::BudgetSpent(()) => Self::BudgetSpent,
            Reason::Refused(refused) => Self::TooFewWilling {
                willing: size("refused.willing", refused.willing)?,
                needed: size("refused.needed", refused.needed)?,
                first_reason: text("refused.first_reason", refused.first_reason)?,
            },
            Reason::Stopped(stopped) => Self::Stopped {
                by: text("stopped.by", stopped.by)?,
                reason: text("stopped.reason", stopped.reason)?,
            },
        })
    }
}

impl From<Rejection> for v1::Rejection {
    fn from(rejection: Rejection) -> Self {
        use v1::rejection::Reason;
        let reason = match rejection {
            Rejection::UnknownClient(client) => Reason::UnknownClient(client.0),
            Rejection::OutOfPhase { message, phase } => {
                Reason::OutOfPhase(v1::OutOfPhase { message: cut(message), phase: cut(phase) })
            }
            Rejection::StaleAttempt => Reason::StaleAttempt(()),
            Rejection::NotInCohort => Reason::NotInCohort(()),
            Rejection::Equivocation => Reason::Equivocation(()),
            Rejection::Invalid(why) => Reason::Invalid(cut(why)),
            // Operators hear it as a status; no silo is answered so.
            Rejection::NotPossible(why) | Rejection::AlreadySo(why) => Reason::NotPossible(cut(why)),
        };
        Self { reason: Some(reason) }
    }
}

impl TryFrom<v1::Rejection> for Rejection {
    type Error = ConversionError;

    fn try_from(rejection: v1::Rejection) -> Result<Self, ConversionError> {
        use v1::rejection::Reason;
        Ok(match rejection.reason.ok_or_else(|| ConversionError::new("reason", Fault::Missing))? {
            Reason::UnknownClient(client) => Self::UnknownClient(ClientId(client)),
            Reason::OutOfPhase(at) => Self::OutOfPhase {
                message: text("out_of_phase.message", at.message)?,
                phase: text("out_of_phase.phase", at.phase)?,
            },
            Reason::StaleAttempt(()) => Self::StaleAttempt,
            Reason::NotInCohort(()) => Self::NotInCohort,
            Reason::Equivocation(()) => Self::Equivocation,
            Reason::Invalid(why) => Self::Invalid(text("invalid", why)?),
            Reason::NotPossible(why) => Self::NotPossible(text("not_possible", why)?),
        })
    }
}
