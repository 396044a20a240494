//! What one silo allows, whoever asks.

use std::collections::BTreeSet;

use accounting::Unit;
use identity::parse_verifying_key;
use params::{Digest, Layer, Shape};
use serde::{Deserialize, Serialize};

use crate::authored::AuthoredPlan;
use crate::document::{Plan, is_zero};
use crate::limits::mebibytes;
use crate::offers::OffersPerAuthor;
use crate::privacy::PrivacyMode;
use crate::problems::Problems;
use crate::refusal::Refusal;
use crate::schema::Schema;

/// A silo's own rules. They are read from the silo's disk, never from the network, and they fail closed: a plan
/// that violates one is refused before any data is opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Fewest silos in any cohort that this silo joins.
    pub cohort_min: usize,
    /// Fewest honest silos guaranteed in any sum that holds this silo's update.
    pub honest_min: usize,
    /// Fewest corrupt silos that a plan must reckon with, `c`. The threshold and the noise rest on the plan's number,
    /// so this is what keeps a coordinator from naming too small a one.
    pub corrupt_min: usize,
    /// Most epsilon that this silo's data may spend, over all runs together.
    pub epsilon_max: f64,
    /// Largest delta at which an epsilon counts.
    pub delta_max: f64,
    /// Whose plans this silo runs: Ed25519 keys, hexadecimal.
    pub authors: BTreeSet<String>,
    /// Whether a plan must name the federation that it is meant for. One that names none can be run in any federation whose
    /// silos list its author.
    #[serde(default)]
    pub require_federation: bool,
    /// Whether a plan that promises something about rows must promise it about persons: of somebody with forty rows, a promise about
    /// one row says next to nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_person_unit: bool,
    /// Most epsilon that may be spent under one plan, in all runs together, where that is less than `epsilon_max`.
    #[serde(default)]
    pub epsilon_per_run_max: Option<f64>,
    /// Most epsilon that this silo's data may spend in any period of so many days, all runs together.
    #[serde(default)]
    pub period: Option<Period>,
    /// Most rounds that a plan may have, together with those of the runs before it whose models it goes on from, one from another.
    #[serde(default)]
    pub rounds_max: Option<u64>,
    /// Uploads under one plan beyond its rounds, in all runs together: a round that is aborted after the upload costs one. Left
    /// out, a quarter of the plan's rounds, and at least three. In modes with a promise the plan's own epsilon ends it earlier.
    #[serde(default)]
    pub repeats_per_plan: Option<u64>,
    /// Most bytes that this silo's updates may take under one plan, in all runs together, in MiB. The rounds before it, of the runs
    /// whose models it goes on from, count as if this silo had been in each.
    #[serde(default)]
    pub upload_mib_max: Option<u64>,
    /// Most parameters that a model may have: this silo's memory holds several times as many numbers of 4 bytes.
    #[serde(default = "default_parameters")]
    pub parameters_max: usize,
    /// The kinds of models allowed.
    #[serde(default = "ModelKind::all")]
    pub models: BTreeSet<ModelKind>,
    /// The hours, UTC, in which a round may begin here.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// How a later roster, signed by the authority, takes effect here.
    #[serde(default)]
    pub roster_changes: RosterChanges,
    /// How many other members must have cosigned the coordinator's audit log lately, in a state that this silo's own view
    /// of it agrees with, before it takes part in a round beyond the run's first. Where it is not 0, the log must also
    /// tell of this silo's own uploads.
    #[serde(default)]
    pub witnesses_min: usize,
    /// In modes with a promise, the least `ready_after_ms` of a plan: how long this silo's reading and training have at least, and
    /// how long nobody learns how they go. Below what they need, an author sees by their time or failure what is in the rows.
    /// Left out, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_after_ms_min: Option<u64>,
    /// For how many plans of one author this silo looks at its balance, in any stretch of so many days. Whether there is room for a
    /// plan tells whoever offers it one bit of what the data has spent elsewhere; further plans are refused without a look.
    #[serde(default, skip_serializing_if = "OffersPerAuthor::is_default")]
    pub offers_per_author: OffersPerAuthor,
    /// Most epsilon that runs of one author may have claimed while they are not over, where that is less than `epsilon_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_per_author_max: Option<f64>,
    /// In modes with a promise: so many sums without noise may hold this silo's data already. No epsilon covers those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accepts_exact_releases: u64,
    /// The modes allowed. `fedavg` adds no noise: list it only where exact sums may be seen.
    pub privacy_modes: BTreeSet<PrivacyMode>,
    /// In `fedavg`: uploads on one and the same model, beyond the first. Two sums on one model can be
    /// differenced; one repeat lets an aborted round be tried again.
    #[serde(default = "default_repeats")]
    pub repeats_without_dp: u32,
    /// Without an anchor outside this machine, a journal and a ledger restored from a snapshot cannot be told from the
    /// newest ones, and budget spent since then would be forgotten. Whoever runs like that sets it to `true`; whether
    /// there is an anchor is the daemon's configuration, which checks this.
    #[serde(default)]
    pub accepts_undetected_rollback: bool,
    /// The columns of this silo's table. A plan that asks for others is refused, before any file is opened; left out, what is wrong
    /// with the table is found when a run reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

fn default_repeats() -> u32 {
    2
}

fn default_parameters() -> usize {
    1 << 24
}

/// A budget for any stretch of time of one length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    pub days: u32,
    /// Most epsilon in it.
    pub epsilon_max: f64,
}

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// No hidden layer.
    SoftmaxRegression,
    /// One hidden layer or more.
    MultilayerPerceptron,
    /// With a convolution.
    ConvolutionalNetwork,
    /// Over the positions of a sequence, such as a text's tokens.
    SequenceModel,
}

impl ModelKind {
    fn all() -> BTreeSet<Self> {
        [Self::SoftmaxRegression, Self::MultilayerPerceptron, Self::ConvolutionalNetwork, Self::SequenceModel]
            .into()
    }

    /// The kind of a plan's model.
    pub fn of(plan: &Plan) -> Self {
        let network = plan.architecture();
        if matches!(network.input, Shape::Tokens { .. } | Shape::Positions { .. }) {
            Self::SequenceModel
        } else if network.layers.iter().any(|layer| matches!(layer, Layer::Conv2d { .. })) {
            Self::ConvolutionalNetwork
        } else if matches!(network.layers.as_slice(), [Layer::Linear { .. }]) {
            Self::SoftmaxRegression
        } else {
            Self::MultilayerPerceptron
        }
    }

    /// Its name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftmaxRegression => "softmax_regression",
            Self::MultilayerPerceptron => "multilayer_perceptron",
            Self::ConvolutionalNetwork => "convolutional_network",
            Self::SequenceModel => "sequence_model",
        }
    }
}

/// How a later roster takes effect at a silo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RosterChanges {
    /// The silo waits until its operator has looked at who joins and leaves.
    #[default]
    ByHand,
    /// At once, on the authority's signature.
    Auto,
}

/// A daily stretch of time, UTC, such as `22:00-06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// Minute of the day, in it.
    from: u32,
    /// Minute of the day, no longer in it.
    to: u32,
}

impl Hours {
    /// Whether this moment, in milliseconds since the Unix epoch, is in it.
    pub fn contain(&self, now_ms: u64) -> bool {
        let minute = (now_ms / 60_000 % (24 * 60)) as u32;
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(from, to)| Some(Self { from: minute(from)?, to: minute(to)? }))
            .filter(|hours| hours.from != hours.to)
            .ok_or_else(|| format!("{text:?} are no hours; write them as \"22:00-06:00\", UTC"))
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        let [from, to] =
            [hours.from, hours.to].map(|minute| format!("{:02}:{:02}", minute / 60, minute % 60));
        format!("{from}-{to}")
    }
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text does not parse, or has an unknown key.
    #[error("the policy does not parse: {0}")]
    Syntax(String),
    /// It parses and cannot be meant.
    #[error("the policy is not usable:\n{0}")]
    Meaning(Problems),
}

impl Policy {
    /// The least that a silo can allow: the smallest floors there are, epsilon 1 at 1e-6 in the mode with the best
    /// utility, rosters by the authority's word. For tests and demonstrations to start from; a silo writes its own.
    pub fn for_authors(authors: impl IntoIterator<Item = String>) -> Self {
        Self {
            cohort_min: 3,
            honest_min: 2,
            corrupt_min: 1,
            epsilon_max: 1.0,
            delta_max: 1e-6,
            authors: authors.into_iter().collect(),
            require_federation: false,
            require_person_unit: false,
            epsilon_per_run_max: None,
            period: None,
            rounds_max: None,
            repeats_per_plan: None,
            upload_mib_max: None,
            parameters_max: default_parameters(),
            models: ModelKind::all(),
            hours: None,
            roster_changes: RosterChanges::Auto,
            witnesses_min: 0,
            ready_after_ms_min: Some(0),
            offers_per_author: OffersPerAuthor::default(),
            claims_per_author_max: None,
            accepts_exact_releases: 0,
            privacy_modes: [PrivacyMode::DistributedDpSgd].into(),
            repeats_without_dp: default_repeats(),
            accepts_undetected_rollback: true,
            schema: None,
        }
    }

    /// Reads and validates a policy.
    ///
    /// # Errors
    /// [`PolicyError`], with every problem at once.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        policy.validate().map_err(|problems| PolicyError::Meaning(problems.with_lines_of(text)))?;
        Ok(policy)
    }

    /// Everything that is wrong with this policy, if anything.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), Problems> {
        // Every problem is named, not the first alone: whoever corrects the file does it once.
        let mut problems = Problems::default();
        problems.require(self.cohort_min >= 3, "cohort_min", || {
            "must be at least 3: with two silos each can subtract its own update from the sum".into()
        });
        problems.require(self.honest_min >= 2, "honest_min", || {
            "must be at least 2: a sum with one honest update in it is that update".into()
        });
        problems.require(self.corrupt_min >= 1, "corrupt_min", || {
            "must be at least 1: any member can subtract its own update from a sum".into()
        });
        problems.require(self.epsilon_max.is_finite() && self.epsilon_max > 0.0, "epsilon_max", || {
            "must be a positive number".into()
        });
        problems.require(self.delta_max > 0.0 && self.delta_max < 1.0, "delta_max", || {
            "must lie between 0 and 1; usual is at most one over the number of records".into()
        });
        problems.require(!self.privacy_modes.is_empty(), "privacy_modes", || {
            "allows nothing: list at least one of distributed_dp_sgd, silo_dp_sgd, distributed_dp_fedavg, central_dp_fedavg, \
             fedavg"
                .into()
        });
        let exact = self.privacy_modes.contains(&PrivacyMode::Fedavg);
        problems.require(!exact || self.privacy_modes.len() == 1, "privacy_modes", || {
            "lists fedavg beside a mode that promises privacy: exact sums of the same data are in no epsilon, so the \
             promise would not hold; allow one or the other"
                .into()
        });
        problems.require(!self.authors.is_empty(), "authors", || {
            "allows nobody's plans: list the keys of the authors whose plans this silo runs".into()
        });
        for author in &self.authors {
            if let Err(why) = parse_verifying_key(author) {
                problems.add("authors", format!("{author:?}: {why}"));
            }
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        problems.require(self.epsilon_per_run_max.is_none_or(positive), "epsilon_per_run_max", || {
            "must be a positive number".into()
        });
        problems.require(self.claims_per_author_max.is_none_or(positive), "claims_per_author_max", || {
            "must be a positive number".into()
        });
        let OffersPerAuthor { plans, days } = self.offers_per_author;
        problems.require(plans > 0 && days > 0, "offers_per_author", || {
            "must allow at least one plan, in at least one day: no run is joined without a look at the balance".into()
        });
        let period = self.period.is_none_or(|period| period.days > 0 && positive(period.epsilon_max));
        problems.require(period, "period", || "must have at least one day and a positive epsilon_max".into());
        problems.require(!self.models.is_empty(), "models", || {
            "allows nothing: list softmax_regression, multilayer_perceptron, convolutional_network or sequence_model"
                .into()
        });
        if let Some(schema) = &self.schema {
            schema.validate(&mut problems);
        }
        problems.into_result()
    }

    /// Names these rules: the same for the same ones, however their file is laid out.
    ///
    /// # Panics
    /// Never: a policy holds nothing that JSON cannot.
    #[allow(clippy::expect_used)]
    pub fn digest(&self) -> Digest {
        let rules = serde_json::to_vec(self).expect("a policy holds nothing that JSON cannot");
        Digest::of("folkmoot/v1/policy", &[&rules])
    }

    /// What can be used and is weaker than it looks.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let (witnesses, corrupt) = (self.witnesses_min, self.corrupt_min);
        let note = (1..=corrupt).contains(&witnesses).then(|| {
            format!(
                "policy: witnesses_min is {witnesses} and corrupt_min {corrupt}: so many members in the coordinator's hands can \
                 cosign whatever it shows this silo alone; set witnesses_min to {} where the federation has that many others",
                corrupt + 1
            )
        });
        let promises = self.privacy_modes.iter().any(|mode| mode.promises());
        let timing = (promises && self.ready_after_ms_min.is_none()).then(|| {
            "policy: ready_after_ms_min is not set: a plan's author can ask that this silo be ready at once, or sooner than it can \
             train, and learn of its rows from how long training takes or whether it fails; set it to several times what \
             reading and training need here, in milliseconds, or to 0 to accept that"
                .to_owned()
        });
        let schema = self.schema.is_none().then(|| {
            "policy: no schema is registered: which columns this silo has is held against a plan only when a run reads the data; \
             `folkmoot-client schema --config FILE --label COLUMN=CLASSES` makes one from the header, to stand behind the policy"
                .to_owned()
        });
        note.into_iter().chain(timing).chain(schema)
    }

    /// Whether this silo may take part in a run of `plan` at all.
    ///
    /// # Errors
    /// The first rule that the plan violates.
    pub fn check(&self, plan: &AuthoredPlan) -> Result<(), Refusal> {
        let author = hex::encode(plan.author().as_bytes());
        // Compared as text: `validate` has read each entry as a key, and hex reads capitals too.
        if !self.authors.iter().any(|allowed| allowed.eq_ignore_ascii_case(&author)) {
            return Err(Refusal::Author { author });
        }
        self.check_unsigned(plan)
    }

    /// The rules of [`Policy::check`] that do not ask who signed.
    ///
    /// # Errors
    /// The first rule that the plan violates.
    pub fn check_unsigned(&self, plan: &Plan) -> Result<(), Refusal> {
        if self.require_federation && plan.federation.is_none() {
            return Err(Refusal::NoFederation);
        }
        let mode = plan.mode();
        if !self.privacy_modes.contains(&mode) {
            return Err(Refusal::PrivacyMode { mode });
        }
        if self.require_person_unit && plan.unit() == Some(Unit::Record) {
            return Err(Refusal::RowUnit);
        }
        if plan.cohort.minimum < self.cohort_min {
            return Err(Refusal::CohortMin { plan: plan.cohort.minimum, policy: self.cohort_min });
        }
        if plan.cohort.honest_min < self.honest_min {
            return Err(Refusal::HonestMin { plan: plan.cohort.honest_min, policy: self.honest_min });
        }
        if plan.cohort.corrupt < self.corrupt_min {
            return Err(Refusal::Corrupt { plan: plan.cohort.corrupt, policy: self.corrupt_min });
        }
        if let Some((epsilon, delta)) = plan.budget() {
            if epsilon > self.epsilon_max {
                return Err(Refusal::Epsilon { plan: epsilon, policy: self.epsilon_max });
            }
            if delta > self.delta_max {
                return Err(Refusal::Delta { plan: delta, policy: self.delta_max });
            }
            if let Some(policy) = self.epsilon_per_run_max.filter(|policy| epsilon > *policy) {
                return Err(Refusal::EpsilonPerRun { plan: epsilon, policy });
            }
        }
        let ready_after_ms = plan.timing.ready_after_ms;
        if plan.promises()
            && let Some(policy) = self.ready_after_ms_min.filter(|policy| ready_after_ms < *policy)
        {
            return Err(Refusal::ReadyAfter { plan: ready_after_ms, policy });
        }
        if let Some(schema) = &self.schema {
            schema.check_plan(plan)?;
        }
        self.check_size(plan)
    }

    fn check_size(&self, plan: &Plan) -> Result<(), Refusal> {
        if let Some(policy) = self.rounds_max.filter(|policy| plan.rounds_in_all() > *policy) {
            return Err(Refusal::Rounds { plan: plan.rounds_in_all(), policy });
        }
        let kind = ModelKind::of(plan);
        if !self.models.contains(&kind) {
            return Err(Refusal::Model { plan: kind.name().into() });
        }
        let parameters = plan.architecture().parameter_count();
        if parameters > self.parameters_max {
            return Err(Refusal::Parameters { plan: parameters, policy: self.parameters_max });
        }
        // What it takes if all goes well; what is in fact uploaded is counted (`Policy::check_uploads`).
        let mebibytes = mebibytes(plan, plan.rounds);
        match self.upload_mib_max.filter(|policy| mebibytes > *policy) {
            Some(policy) => Err(Refusal::UploadBytes { plan: mebibytes, policy }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
