//! What a run asks of its silos: model, data, training, privacy, cohort and time, all fixed before it starts.
// What is promised of a mode that is added later is decided for it, and not by a wildcard.
#![deny(clippy::wildcard_enum_match_arm)]

use accounting::Unit;
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use features::Data;
use optim::State;
use params::{Architecture, Digest, Params};
use serde::{Deserialize, Serialize};

use crate::clipping::Clipping;
use crate::privacy::{AdaptiveClipping, Privacy, PrivacyMode, Promise, Sampled, Scheme, Weights};
use crate::problems::Problems;
use crate::refusal::Refusal;
use crate::validate;

/// A run's plan. Constant for the whole run and content-addressed by [`Plan::digest`], which is bound into
/// every mask, so silos that were shown different plans cannot be summed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Which rules it is read by: `None` is format 1, of releases that did not number them, and keeps its rules for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// Random, hexadecimal: two plans that say the same are two. Drawn when the plan is signed; since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The one federation that it is meant for; `None` holds in any whose silos do not forbid that. Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<String>,
    /// The model of another run that this one begins with, in place of one that follows from `initial_seed`. Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentModel>,
    /// A name for people.
    pub name: String,
    /// Rounds to commit before the run is complete.
    pub rounds: u64,
    pub model: Model,
    /// The table every silo must hold.
    pub data: Data,
    /// What a silo does in a round.
    pub training: Training,
    /// What the coordinator does with the aggregate.
    pub server: optim::ServerOptimizer,
    /// What is promised about the silos' records.
    pub privacy: Privacy,
    /// Who must take part.
    pub cohort: Cohort,
    /// How long anyone is waited for.
    pub timing: Timing,
}

/// A model that another run has published, and that a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentModel {
    /// The other run's random name.
    pub run: Digest,
    /// The round of the record that published it there: so many rounds went before, at least.
    pub round: u64,
    /// The parameters' digest, as that record names it. It decides: silos start from no other parameters.
    pub model: Digest,
    /// Rounds that had gone before version 0 of that run, as its own plan says ([`Plan::rounds_before`]); left out for none. Releases
    /// that did not know it refuse a plan that says it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rounds_before: u64,
}

pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A multilayer perceptron, softmax regression where `hidden` is empty, or any network of the layers there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Widths of the hidden layers, in order; left out beside `network`.
    #[serde(default)]
    pub hidden: Vec<usize>,
    /// The hidden layers' activation; left out beside `network`.
    #[serde(default)]
    pub activation: params::Activation,
    /// Seed of the initial values: public, so that anyone can recompute version 0.
    pub initial_seed: u64,
    /// The layers one by one, in place of `hidden` and `activation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Architecture>,
}

/// What a silo does in a round of a mode that trains locally. `distributed_dp_sgd` takes one step a round and
/// uses only `micro_batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Passes over the silo's rows.
    pub local_epochs: u32,
    /// Rows of one local step.
    pub batch_size: usize,
    /// The local step's rule.
    pub optimizer: LocalOptimizer,
    /// The client learning rate.
    pub learning_rate: f64,
    /// Rows whose per-example gradients are held at once (mode `distributed_dp_sgd`).
    pub micro_batch: usize,
}

/// The local step's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalOptimizer {
    /// Stochastic gradient descent.
    Sgd,
    /// Adam (Kingma & Ba 2015) with its usual constants.
    Adam,
}

/// Who must take part in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Fewest silos in a cohort, and in an included set.
    pub minimum: usize,
    /// Most silos in a cohort; sizes the ring.
    pub maximum: usize,
    /// Corrupt silos tolerated among the whole roster, `c`.
    pub corrupt: usize,
    /// Honest silos guaranteed in every opened sum; the noise is calibrated to this constant.
    pub honest_min: usize,
}

impl Cohort {
    /// Silos of the largest cohort that may be lost after they shared their keys.
    pub fn dropouts_survived(&self) -> usize {
        let threshold = secagg::Threshold::new(self.maximum, self.corrupt);
        let tolerated = threshold.map_or(0, secagg::Threshold::dropouts_tolerated);
        tolerated.min(self.maximum.saturating_sub(self.minimum))
    }
}

/// How long anyone is waited for. Everything else is derived from `round_deadline_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// A round that is not committed by then is aborted.
    pub round_deadline_ms: u64,
    /// In each phase everyone is waited for at least this long; after it, a quorum is enough.
    pub minimum_wait_ms: u64,
    /// A silo shows that it is ready no sooner than this after a round opens, so that the time of training says
    /// nothing about its batch. Zero is for demonstrations.
    pub ready_after_ms: u64,
    /// Attempts at a round before anything was uploaded.
    pub attempts_max: u32,
    /// Days that the run waits where too few silos are willing; [`Timing::PATIENCE_DAYS`] where it says nothing. Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_days: Option<u32>,
}

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Made by a later release.
    #[error(
        "the plan is of format {format}, this release reads formats 1 to {}: update this program, or have the plan signed by \
         a release that it knows",
        Plan::FORMAT
    )]
    Format { format: u64 },
    /// The text is not the format, or a key is unknown or of the wrong type.
    #[error("the plan does not parse: {0}")]
    Syntax(String),
    /// The plan parses and means something impossible or unsafe.
    #[error("the plan is not usable:\n{0}")]
    Meaning(Problems),
    /// The bytes decode but are not the plan's one canonical form.
    #[error("the plan's bytes are not in canonical form; use the bytes that `Plan::to_canonical` made")]
    NotCanonical,
    /// Longer than any plan may be.
    #[error(
        "the plan has {bytes} bytes, more than the {max} that a plan may have; columns that are treated alike take one line, as \
         columns = \"pixel_{{0..783}}\""
    )]
    TooLong { bytes: usize, max: usize },
}

impl Timing {
    /// How long a run waits for willing silos whose plan does not say.
    pub const PATIENCE_DAYS: u32 = 7;

    /// How long the run waits where too few silos are willing, before it is over for that.
    pub fn patience_ms(&self) -> u64 {
        u64::from(self.days_of_patience()) * 24 * 3_600_000
    }

    /// The same in days.
    pub fn days_of_patience(&self) -> u32 {
        self.patience_days.unwrap_or(Self::PATIENCE_DAYS)
    }

    /// How long a silo may take from the model it has to what it contributes: where the plan says when "ready" is shown, not
    /// longer than that, since what shows later would tell of the data; else what leaves room in the step that waits for it.
    pub fn training_limit_ms(&self) -> u64 {
        match self.ready_after_ms {
            0 => self.round_deadline_ms / 20 * 9,
            ready_after_ms => ready_after_ms,
        }
    }
}

impl Plan {
    /// Most bytes of a plan's text or canonical form.
    pub const BYTES_MAX: usize = 1 << 20;
    /// The newest format that this release reads.
    pub const FORMAT: u32 = 3;
    /// The first format that has a number, and an id.
    pub const NUMBERED: u32 = 2;
    /// The first format whose table has more than numbers within ranges, and whose promise can be about persons.
    pub const TYPED: u32 = 3;
    /// A lane on its way: 32 bits.
    pub const LANE_BYTES: u64 = 4;
    /// Random bytes of a plan's id, as it is drawn.
    pub const ID_BYTES: usize = 16;

    /// Reads and validates a plan that a person wrote. It is of the format that it names; one that names none is of format 1
    /// until it is signed ([`Plan::numbered`]).
    ///
    /// # Errors
    /// [`PlanError`], with every problem of meaning at once and the line of each.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        bounded(text.len())?;
        known(toml::from_str(text).ok())?;
        let mut plan: Self = toml::from_str(text).map_err(|e| PlanError::Syntax(e.to_string()))?;
        if plan.format.is_none()
            && (plan.federation.is_some()
                || plan.parent.is_some()
                || plan.id.is_some()
                || plan.timing.patience_days.is_some()
                || !plan.says_only_what_format_2_did())
        {
            plan = plan.as_it_is_signed();
        }
        plan.validate().map_err(|problems| PlanError::Meaning(problems.with_lines_of(text)))?;
        Ok(plan)
    }

    /// The same in the format that it is signed in, without an id: the oldest that has one and says all that the plan says, so that
    /// silos of earlier releases read what they can.
    #[must_use]
    pub fn as_it_is_signed(self) -> Self {
        let least = if self.says_only_what_format_2_did() { Self::NUMBERED } else { Self::TYPED };
        Self { format: self.format.max(Some(least)), ..self }
    }

    /// Whether its table has only numbers within ranges, and its promise, if any, is about rows or silos.
    pub(crate) fn says_only_what_format_2_did(&self) -> bool {
        self.data.is_plain() && self.unit() != Some(Unit::Person)
    }

    /// The same as it is signed, with an id of its own: another plan than any before, whatever they say.
    #[must_use]
    pub fn numbered(self, random: [u8; Self::ID_BYTES]) -> Self {
        Self { id: Some(hex::encode(random)), ..self.as_it_is_signed() }
    }

    /// Which rules it is read by, counted from 1.
    pub fn format(&self) -> u32 {
        self.format.unwrap_or(1)
    }

    /// Whether it may be run in this federation.
    ///
    /// # Errors
    /// A plan that names another.
    pub fn check_federation(&self, federation: &str) -> Result<(), Refusal> {
        match &self.federation {
            Some(named) if named != federation => {
                Err(Refusal::OtherFederation { plan: named.clone(), here: federation.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Reads and validates the canonical bytes that travel.
    ///
    /// # Errors
    /// [`PlanError`]; bytes that are not exactly what [`Plan::to_canonical`] makes are refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, PlanError> {
        bounded(bytes.len())?;
        known(serde_json::from_slice(bytes).ok())?;
        let plan: Self = serde_json::from_slice(bytes).map_err(|e| PlanError::Syntax(e.to_string()))?;
        plan.validate().map_err(PlanError::Meaning)?;
        validate::travels(&plan).map_err(PlanError::Meaning)?;
        if plan.to_canonical() == bytes { Ok(plan) } else { Err(PlanError::NotCanonical) }
    }

    /// The one byte string of this plan: JSON without spaces, fields in the order declared here, numbers in
    /// their shortest form that reads back the same.
    ///
    /// # Panics
    /// Never: every field is a number, a text or a list of them.
    #[allow(clippy::expect_used)]
    pub fn to_canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan holds nothing that JSON cannot")
    }

    /// As TOML, for people.
    ///
    /// # Panics
    /// Never, for the same reason.
    #[allow(clippy::expect_used)]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a plan holds nothing that TOML cannot")
    }

    /// The plan's name in every transcript.
    pub fn digest(&self) -> Digest {
        Digest::of("folkmoot/v1/plan", &[&self.to_canonical()])
    }

    /// Everything that is wrong with this plan, if anything.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), Problems> {
        validate::plan(self)
    }

    /// The model's shape.
    pub fn architecture(&self) -> Architecture {
        let Model { hidden, activation, network, .. } = &self.model;
        network.clone().unwrap_or_else(|| {
            Architecture::perceptron(self.data.width(), hidden, *activation, self.data.classes.count())
        })
    }

    /// The digest of version 0's parameters: those that the author names of another run, else [`Plan::initial_model`]'s.
    pub fn starts_from(&self) -> Digest {
        self.parent.map_or_else(|| self.initial_model().digest(), |parent| parent.model)
    }

    /// Rounds that version 0 has been trained for, as the plan states: those of the run that it goes on from, and of the runs before
    /// that one.
    pub fn rounds_before(&self) -> u64 {
        let rounds = |parent: ParentModel| parent.round.checked_add(parent.rounds_before);
        self.parent.map_or(0, |parent| rounds(parent).unwrap_or(u64::MAX))
    }

    /// Rounds that the model has been trained for once the run is complete, as the plan states: its own and those before.
    pub fn rounds_in_all(&self) -> u64 {
        self.rounds.saturating_add(self.rounds_before())
    }

    /// Holds what the plan states of the rounds before the run that it goes on from against `least`, what that run's own plan comes to
    /// ([`Plan::rounds_before`]).
    ///
    /// # Errors
    /// It counts fewer.
    pub fn check_rounds_before(&self, least: u64) -> Result<(), Refusal> {
        let stated = self.parent.map_or(0, |parent| parent.rounds_before);
        if stated < least {
            return Err(Refusal::RoundsBefore { stated, least });
        }
        Ok(())
    }

    /// The model that follows from the plan's seed: version 0, where the plan names no parent. Public: anyone can recompute it.
    pub fn initial_model(&self) -> Params {
        let mut rng = ChaCha20Rng::seed_from_u64(self.model.initial_seed);
        self.architecture().initialise(&mut rng)
    }

    /// The mode of the plan, by its name.
    pub fn mode(&self) -> PrivacyMode {
        self.privacy.mode()
    }

    /// What one unit of the promise is; `None` in the mode without one.
    pub fn unit(&self) -> Option<Unit> {
        self.privacy.unit()
    }

    /// What is drawn into a batch by itself; `None` in the modes that draw none.
    pub fn sampled(&self) -> Option<Sampled> {
        self.privacy.promise().and_then(Promise::sampling).map(|sampling| sampling.unit)
    }

    /// Whether its mode promises something about records or silos.
    pub fn promises(&self) -> bool {
        self.mode().promises()
    }

    /// What one upload costs, as an event for the accountant; `None` in the mode without noise.
    pub fn event(&self) -> Option<accounting::DpEvent> {
        self.privacy.promise().map(Promise::event)
    }

    /// (epsilon, delta) that the run may spend; `None` in the mode without noise.
    pub fn budget(&self) -> Option<(f64, f64)> {
        self.privacy.promise().map(|promise| (promise.epsilon, promise.delta))
    }

    /// The L2 norm that the unit's contribution is clipped to, in the first round where it moves; `None` in the mode without
    /// noise.
    pub fn clip_norm(&self) -> Option<f64> {
        self.privacy.promise().map(|promise| promise.clip_norm)
    }

    /// Who must be trusted for the promise to hold.
    pub fn trust(&self) -> String {
        match self.mode() {
            PrivacyMode::Fedavg => {
                "exact sums are seen by the coordinator and can be differenced across rounds".into()
            }
            PrivacyMode::CentralDpFedavg => {
                "THE COORDINATOR: it sees exact sums, and is believed to add the noise".into()
            }
            PrivacyMode::SiloDpSgd => "nobody: each silo's own machine adds all its noise".into(),
            PrivacyMode::DistributedDpSgd | PrivacyMode::DistributedDpFedavg => {
                format!("at most {} of the roster's silos collude with the coordinator", self.cohort.corrupt)
            }
        }
    }

    /// Whether the masked vector has a lane of the weight: where silos average with weights that differ, and in format 1
    /// wherever they average. Weights that are all the same are public, and what is not sent cannot be spoilt.
    pub fn sums_weights(&self) -> bool {
        match &self.privacy {
            Privacy::Exact(exact) => self.format() == 1 || exact.weights != Weights::Uniform,
            Privacy::Private(promise) => match promise.scheme {
                Scheme::SiloDpSgd { .. } => self.format() == 1,
                Scheme::DistributedDpSgd { .. }
                | Scheme::DistributedDpFedavg { .. }
                | Scheme::CentralDpFedavg { .. } => false,
            },
        }
    }

    /// How many metric lanes stand last in the masked vector.
    pub fn metric_lanes(&self) -> usize {
        match &self.privacy {
            Privacy::Exact(exact) if exact.evaluate => Self::METRICS.len(),
            Privacy::Exact(_) | Privacy::Private(_) => 0,
        }
    }

    /// Lanes of the masked vector: the parameters; the weight, where it is summed; metrics without noise only; one count where
    /// the clip norm follows a quantile.
    pub fn lanes(&self) -> usize {
        let parameters = self.architecture().parameter_count();
        let beside = [self.sums_weights(), self.adaptive_clipping().is_some()].map(usize::from);
        parameters + beside.into_iter().sum::<usize>() + self.metric_lanes()
    }

    /// How the clip norm moves; `None` where it is a constant.
    pub fn adaptive_clipping(&self) -> Option<AdaptiveClipping> {
        self.privacy.promise().and_then(Promise::adaptive_clip)
    }

    /// What the server remembers before the first round of a model of `lanes` parameters.
    pub fn initial_state(&self, lanes: usize) -> State {
        let state = self.server.initial_state(lanes);
        match self.clip_norm().filter(|_| self.adaptive_clipping().is_some()) {
            Some(clip_norm) => state.with_clip_norm(clip_norm),
            None => state,
        }
    }

    /// The L2 norm that the unit's contribution to the round after `state` is clipped to; `None` in the mode without noise.
    ///
    /// # Errors
    /// A state that names no clip norm where it moves, or one that no steps from the plan's lead to, in words.
    pub fn clip_norm_after(&self, state: &State) -> Result<Option<f64>, String> {
        let Some(promise) = self.privacy.promise() else { return Ok(None) };
        let clipping = Clipping::of(promise).map_err(|why| why.to_string())?;
        clipping.norm_after(state).map(Some)
    }
}

/// What of a plan is read before its format is known. What else it says may be anything.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    format: Option<u64>,
}

fn known(numbered: Option<Numbered>) -> Result<(), PlanError> {
    match numbered.and_then(|numbered| numbered.format) {
        Some(format) if format > u64::from(Plan::FORMAT) => Err(PlanError::Format { format }),
        // What is no plan at all is an error where it is read.
        _ => Ok(()),
    }
}

fn bounded(bytes: usize) -> Result<(), PlanError> {
    if bytes > Plan::BYTES_MAX {
        return Err(PlanError::TooLong { bytes, max: Plan::BYTES_MAX });
    }
    Ok(())
}
