//! Why a silo does not take part.

use accounting::{OverBudget, OverPeriod};
use serde::{Deserialize, Serialize};

use crate::policy::Hours;
use crate::privacy::PrivacyMode;
use crate::refusal_code::RefusalCode;

/// Why a silo does not take part: a code, and the whole of it for the silo's own log.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The plan's mode is not in `privacy_modes`.
    #[error("the plan's privacy mode {mode} is not among this silo's privacy_modes")]
    PrivacyMode { mode: PrivacyMode },
    /// The plan's smallest cohort is below the silo's.
    #[error("the plan admits cohorts of {plan} silos, this silo's cohort_min is {policy}")]
    CohortMin { plan: usize, policy: usize },
    /// The plan guarantees fewer honest silos than the silo demands.
    #[error("the plan guarantees {plan} honest silos in a sum, this silo's honest_min is {policy}")]
    HonestMin { plan: usize, policy: usize },
    /// The plan reckons with fewer corrupt silos than the silo does.
    #[error("the plan tolerates {plan} corrupt silos, this silo's corrupt_min is {policy}")]
    Corrupt { plan: usize, policy: usize },
    /// The plan may spend more than the silo allows.
    #[error("the plan may spend epsilon {plan}, this silo's epsilon_max is {policy}")]
    Epsilon { plan: f64, policy: f64 },
    /// The plan counts epsilon at a larger delta than the silo allows.
    #[error("the plan's delta is {plan}, this silo's delta_max is {policy}")]
    Delta { plan: f64, policy: f64 },
    /// The plan's author is not among the silo's.
    #[error("the plan is signed by {author}, who is not among this silo's authors")]
    Author {
        /// Its key, hexadecimal.
        author: String,
    },
    /// The plan is of another federation.
    #[error(
        "the plan is meant for the federation {plan:?}, this is {here:?}; ask its author for one that names this one"
    )]
    OtherFederation {
        plan: String,
        /// The pinned roster's.
        here: String,
    },
    /// The plan names no federation.
    #[error("the plan names no federation, and this silo's require_federation asks for one")]
    NoFederation,
    /// The plan promises something about single rows only.
    #[error(
        "the plan promises something about one row, and this silo's require_person_unit asks for persons with all their rows: ask its \
         author for one with unit = \"person\""
    )]
    RowUnit,
    /// The plan gives training less time, and hides less of it, than the silo demands.
    #[error(
        "the plan's ready_after_ms is {plan}, this silo's ready_after_ms_min is {policy}: sooner, when it is ready and whether its \
         training fails would tell of its rows"
    )]
    ReadyAfter { plan: u64, policy: u64 },
    /// The run may spend more than one run may here.
    #[error("the plan may spend epsilon {plan}, this silo's epsilon_per_run_max is {policy}")]
    EpsilonPerRun { plan: f64, policy: f64 },
    /// The run is longer than one may be here.
    #[error(
        "the plan has {plan} rounds, with those before it where it goes on from another run's model; this silo's rounds_max is {policy}"
    )]
    Rounds { plan: u64, policy: u64 },
    /// The run's updates are larger than they may be here.
    #[error("the plan's updates take up to {plan} MiB, this silo's upload_mib_max is {policy}")]
    UploadBytes {
        /// The plan's, rounded up.
        plan: u64,
        policy: u64,
    },
    /// The model is larger than one may be here.
    #[error("the plan's model has {plan} parameters, this silo's parameters_max is {policy}")]
    Parameters { plan: usize, policy: usize },
    /// The model is of a kind that is not allowed here.
    #[error("the plan's model is a {plan}, which is not among this silo's models")]
    Model {
        /// The plan's kind.
        plan: String,
    },
    /// Not at this time of day.
    #[error("rounds begin here between {} UTC only", String::from(*hours))]
    Hours { hours: Hours },
    /// The data's budget for the period has no room for another round.
    #[error(transparent)]
    PeriodSpent(OverPeriod),
    /// Too few others have seen the same log.
    #[error(
        "{witnesses} other members have lately cosigned the coordinator's log as this silo sees it, witnesses_min is {policy}"
    )]
    Witnesses { witnesses: usize, policy: usize },
    /// The log is silent of what this silo has uploaded.
    #[error(
        "the coordinator's log as this silo sees it does not tell of the silo's own upload of round {round}: compare its \
         checkpoint with what the other members see"
    )]
    Receipt { round: u64 },
    /// This data's budget has no room for another round.
    #[error(transparent)]
    BudgetSpent(OverBudget),
    /// The run has the results that its plan asks for.
    #[error(
        "all {rounds} rounds of the plan are committed in this run; another run needs a plan of its own, signed anew"
    )]
    PlanComplete { rounds: u64 },
    /// As many uploads under this plan as there may be.
    #[error(
        "this silo has uploaded {uploads} times under this plan, in all runs together; its rounds and this silo's \
         repeats_per_plan allow {limit}: have it signed anew for another run, or raise repeats_per_plan"
    )]
    PlanUploads {
        uploads: u64,
        /// Rounds and repeats.
        limit: u64,
    },
    /// As many bytes under this plan as there may be.
    #[error(
        "one more upload would bring this silo to {after} MiB under this plan, in all runs together; its upload_mib_max is \
         {policy}"
    )]
    PlanBytes { after: u64, policy: u64 },
    /// As much epsilon under this plan as there may be.
    #[error(
        "one more round would bring this silo's data to epsilon {} under this plan, in all runs together; the smaller of the \
         plan's and this silo's epsilon_per_run_max is {limit}",
        accounting::rounded_up(*after, 4)
    )]
    PlanSpent {
        after: f64,
        /// The smaller of the plan's and the policy's.
        limit: f64,
    },
    /// The server's steps before this round are still being done again here.
    #[error(
        "this silo is catching up: it does {behind} of the server's earlier steps again before it takes part"
    )]
    CatchingUp { behind: usize },
    /// Another exact sum on the same model.
    #[error(
        "this silo has uploaded {uploads} times on this model without noise; repeats_without_dp is {repeats}"
    )]
    Repeats {
        /// Uploads so far.
        uploads: u32,
        repeats: u32,
    },
    /// The silo's table has no such column.
    #[error("the plan asks for the column {column:?}, which this silo's schema does not have")]
    SchemaColumn { column: String },
    /// The silo's table has something else there.
    #[error("the plan's label is the column {column:?}, which is no label in this silo's schema")]
    SchemaLabel { column: String },
    /// The silo's table has more classes.
    #[error(
        "the plan knows {plan} classes, and in this silo's schema its label has {here}: all other rows would count for nothing"
    )]
    SchemaClasses { plan: usize, here: usize },
    /// The silo's table has cells of another kind there.
    #[error("the plan makes of the column {column:?} {plan}, and in this silo's schema it is a {here}")]
    SchemaKind {
        column: String,
        /// The kind in the schema.
        here: String,
        /// What the plan makes of it.
        plan: String,
    },
    /// The silo's table has texts that the plan does not list.
    #[error(
        "the plan does not list {text:?}, which in this silo's schema stands in the column {column:?}: all such rows would count for \
         nothing"
    )]
    SchemaCategory {
        column: String,
        /// The first that it does not list.
        text: String,
    },
    /// The silo's table does not say whose a row is.
    #[error(
        "the plan promises something about persons, and no column of this silo's schema says whose a row is: register that one with \
         type = \"person\""
    )]
    SchemaPersons,
    /// The data is in the run by another silo already.
    #[error(
        "another silo on this roster debited a round of this run before this one did, from the same ledger: in one sum the data would \
         count twice, at the cost of once; have one of the two take part in this federation"
    )]
    SharedData,
    /// A limit that would not be passed but for what other runs have used.
    #[error("{0}")]
    Elsewhere(Box<Refusal>),
    /// The data's budget has no room for the run beside what other runs have claimed.
    #[error(
        "with what this run may cost and what {claims} other runs that are not over have claimed, this silo's data would come to epsilon \
         {}, its limit is {}",
        accounting::rounded_up(over.after, 4),
        over.limit
    )]
    Claims {
        /// Of all together.
        over: OverBudget,
        claims: usize,
    },
    /// Runs of one author would have claimed too much.
    #[error(
        "with this one, runs of this author that are not over would have claimed epsilon {}, this silo's claims_per_author_max is {}",
        accounting::rounded_up(.0.after, 4),
        .0.limit
    )]
    ClaimsPerAuthor(OverBudget),
    /// Uploads of other runs under the plan leave too few for all its rounds.
    #[error(
        "this run would need {needed} uploads under its plan, of which other runs of the same plan have left {left}: have it signed anew"
    )]
    PlanClaimed { needed: u64, left: u64 },
    /// Sums without noise of the same data.
    #[error(
        "{made} sums without noise hold this silo's data, which no epsilon covers: whoever has those can test guesses of a row against \
         them, whatever noise is added from here on; accepts_exact_releases is {accepted}: set it to {made} to promise the rest all \
         the same"
    )]
    ExactReleases { made: u64, accepted: u64 },
    /// The same was asked before.
    #[error(
        "there was no room for this plan when it was offered before under this policy, and an offer is answered once: see the log of \
         then; a changed policy lets it be looked at again"
    )]
    AnsweredBefore,
    /// As many plans of the author as are looked at.
    #[error(
        "this silo looks at its balance for {plans} plans of an author in {days} days, and has done so; nothing was looked at. Where \
         more plans are meant to run, raise the number in [policy], which has `offers_per_author = {{ plans = {plans}, days = {days} }}` \
         now, or wait"
    )]
    OffersPerAuthor { plans: u32, days: u32 },
    /// The plan counts fewer rounds before it than there were.
    #[error(
        "the plan says that {stated} rounds went before the run whose model it goes on from, and that run's own plan counts {least}: \
         `folkmoot runs extend` states the number, or have it signed anew with rounds_before = {least} in `parent`"
    )]
    RoundsBefore {
        stated: u64,
        /// By the parent's plan.
        least: u64,
    },
}

impl Refusal {
    /// The name of [`Refusal::kind`], which is all of it that leaves the silo.
    pub fn code(&self) -> &'static str {
        self.kind().name()
    }

    /// As which rule it is said to others. Whatever depends on what the data has spent elsewhere is said as one.
    pub fn kind(&self) -> RefusalCode {
        match self {
            Self::PeriodSpent(_)
            | Self::BudgetSpent(_)
            | Self::Elsewhere(_)
            | Self::Claims { .. }
            | Self::ClaimsPerAuthor(_)
            | Self::PlanClaimed { .. }
            | Self::ExactReleases { .. }
            | Self::AnsweredBefore
            | Self::OffersPerAuthor { .. } => RefusalCode::Balance,
            _ => self.rule(),
        }
    }

    /// Which rule it was, for the silo's own log.
    pub fn rule(&self) -> RefusalCode {
        match self {
            Self::Elsewhere(refusal) => refusal.rule(),
            Self::Claims { .. }
            | Self::ClaimsPerAuthor(_)
            | Self::PlanClaimed { .. }
            | Self::ExactReleases { .. }
            | Self::AnsweredBefore
            | Self::OffersPerAuthor { .. } => RefusalCode::Balance,
            Self::PrivacyMode { .. } => RefusalCode::PrivacyMode,
            Self::CohortMin { .. } => RefusalCode::CohortMin,
            Self::HonestMin { .. } => RefusalCode::HonestMin,
            Self::Corrupt { .. } => RefusalCode::Corrupt,
            Self::Epsilon { .. } => RefusalCode::Epsilon,
            Self::Delta { .. } => RefusalCode::Delta,
            Self::Author { .. } => RefusalCode::Author,
            Self::OtherFederation { .. } => RefusalCode::OtherFederation,
            Self::NoFederation => RefusalCode::NoFederation,
            Self::RowUnit => RefusalCode::RowUnit,
            Self::ReadyAfter { .. } => RefusalCode::ReadyAfter,
            Self::EpsilonPerRun { .. } => RefusalCode::EpsilonPerRun,
            Self::Rounds { .. } => RefusalCode::Rounds,
            Self::UploadBytes { .. } => RefusalCode::UploadBytes,
            Self::Parameters { .. } => RefusalCode::Parameters,
            Self::Model { .. } => RefusalCode::Model,
            Self::Hours { .. } => RefusalCode::Hours,
            Self::PeriodSpent(_) => RefusalCode::PeriodSpent,
            Self::Witnesses { .. } => RefusalCode::Witnesses,
            Self::Receipt { .. } => RefusalCode::Receipt,
            Self::BudgetSpent(_) => RefusalCode::BudgetSpent,
            Self::PlanComplete { .. } => RefusalCode::PlanComplete,
            Self::PlanUploads { .. } => RefusalCode::PlanUploads,
            Self::PlanBytes { .. } => RefusalCode::PlanBytes,
            Self::PlanSpent { .. } => RefusalCode::PlanSpent,
            Self::CatchingUp { .. } => RefusalCode::CatchingUp,
            Self::Repeats { .. } => RefusalCode::Repeats,
            Self::SchemaColumn { .. }
            | Self::SchemaLabel { .. }
            | Self::SchemaClasses { .. }
            | Self::SchemaKind { .. }
            | Self::SchemaCategory { .. }
            | Self::SchemaPersons => RefusalCode::Schema,
            Self::SharedData => RefusalCode::SharedData,
            Self::RoundsBefore { .. } => RefusalCode::RoundsBefore,
        }
    }
}
