//! The model card: what an owner, a user and an auditor must know of a published version, written from its records.
//!
//! Owns: [`Card`], made from a signed record, its plan, its roster and the controls that were really on; its two
//! renderings, [`Card::to_yaml`] and a [`Card::readme`] that model hubs read; and the check of a card against its record.
//! Does not: read files, measure anything or decide. Nothing in it is written by hand but what says so.
//!
//! ```text
//! Manifest, Plan, Roster, Controls, [Evaluation] --Card::of--> model_card.yaml, README.md    beside the model, and signed with it
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod check;
mod evaluation;
mod learned;
mod planned;
mod readme;
mod usage;
mod yaml;

use std::collections::BTreeMap;

use accounting::{Unit, rounded_up};
use checkpoint::{Manifest, PrivacySpent};
use identity::Roster;
use params::Digest;
use plan::Plan;
use serde::{Deserialize, Serialize};

pub use evaluation::Evaluation;
pub use learned::LearnedFrom;
pub use usage::{LayerUse, TensorUse, Usage};

/// The card's file beside a model.
pub const CARD_FILE: &str = "model_card.yaml";
/// The card for model hubs beside it.
pub const README_FILE: &str = "README.md";
/// The value of [`Card::format`]. Cards are checked by making them again, their words and their rendering included: who changes
/// either changes this too.
pub const CARD_FORMAT: &str = "folkmoot-model-card/2";
/// That of cards without a section `use`, whose texts are quoted as YAML 1.2 alone asks for: they are read and checked like any other.
pub const FIRST_CARD_FORMAT: &str = "folkmoot-model-card/1";
/// What stands where only the owner knows.
pub const OWNER: &str = "TO BE FILLED BY THE OWNER";
/// How many versions of one silo's data a card names.
pub const DATA_VERSIONS_MAX: usize = 8;
/// The longest card: with as many silos as anyone has, each with all the data versions that are named, and with the columns of the
/// longest plan.
pub const CARD_BYTES_MAX: usize = 4 << 20;

/// Everything about one published version, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub format: String,
    pub model: ModelDetails,
    /// How it is used; none in a card of [`FIRST_CARD_FORMAT`], and where only the plan would know.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where it comes from.
    pub lineage: Lineage,
    /// What it was trained on.
    pub training_data: TrainingData,
    /// What is promised about it.
    pub privacy: PrivacyFacts,
    /// How updates were summed.
    pub secure_aggregation: SecureAggregation,
    /// What protected the run.
    pub security: Controls,
    /// How many of the silos in this round's sum say that their trainers are held like this, by level: what their configuration asks
    /// for and what their machine reached when their daemon was started. Their own word; no event of a sandbox is ever in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sandboxes: BTreeMap<String, u64>,
    /// How the model does.
    pub metrics: Vec<Metric>,
    /// What to watch.
    pub monitoring: Vec<String>,
    /// What is not promised.
    pub limits: Vec<String>,
    /// For the owner to fill.
    pub compliance: Compliance,
}

/// What the model is, and in which files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDetails {
    /// Of the run.
    pub name: String,
    /// The round whose result it is.
    pub version: u64,
    pub run: Digest,
    /// Milliseconds since 1970, by the coordinator's clock.
    pub created_ms: u64,
    /// Beside the card.
    pub file: String,
    /// Of the file.
    pub sha256: Digest,
    /// Of the parameters, whatever file carries them.
    pub params_digest: Digest,
    /// How many parameters.
    pub parameters: u64,
    /// What it does, as model hubs name it.
    pub task: String,
    /// Its kind, as policies name it.
    pub architecture: String,
    /// Its layers, first to last.
    pub layers: Vec<String>,
    /// Features of one example.
    pub inputs: u64,
    pub outputs: u64,
}

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The record before this one's; none of the initial model.
    pub parent_record: Option<Digest>,
    /// The model that the round started from.
    pub parent_model: Option<Digest>,
    /// The opened sum.
    pub aggregate: Option<Digest>,
    /// The signed plan.
    pub plan: Digest,
    /// The signed roster.
    pub roster: Digest,
    /// The operator's decision, where the version is one.
    pub decision: Option<String>,
    /// The model of another run that this one began with, where it did: what that run learned and spent is in the model, and not in
    /// this card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<String>,
}

/// What it was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingData {
    /// The class's column.
    pub label: String,
    /// How many feature columns; the plan names them.
    pub features: u64,
    /// Silos whose data is in this round's sum or in that of any round before it that the model goes on from, by their
    /// number on the roster.
    pub silos: Vec<Silo>,
    /// Why there are no numbers of rows.
    pub note: String,
}

/// A silo whose data is in the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silo {
    pub id: u32,
    /// Its name on the roster.
    pub name: String,
    /// Commitments to the versions of the data that it trained on, as far as it declared them, oldest first: salted by the silo,
    /// which alone can open them (`folkmoot ledger show --json` there). Of more than [`DATA_VERSIONS_MAX`], the newest.
    pub data_versions: Vec<Digest>,
}

/// What is promised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyFacts {
    /// In a sentence.
    pub statement: String,
    /// The plan's mode.
    pub mode: String,
    /// What is protected.
    pub unit: String,
    /// The neighbouring relation.
    pub relation: String,
    /// Spent up to this version.
    pub epsilon_spent: Option<f64>,
    /// What the run may spend.
    pub epsilon_budget: Option<f64>,
    /// At this probability of failure.
    pub delta: Option<f64>,
    pub accountant: String,
    /// Releases so far.
    pub steps: u64,
    /// Who adds the noise.
    pub noise_by: String,
    /// Who must be trusted.
    pub trust: String,
    /// The L2 norm that a unit's contribution is clipped to, in the first round where it follows a quantile.
    pub clip_norm: Option<f64>,
    /// The quantile of the units' norms that the clip norm follows from round to round; none where it is a constant.
    pub clip_norm_quantile: Option<f64>,
    /// Noise over sensitivity.
    pub noise_multiplier: Option<f64>,
    /// Probability that a record is in a batch.
    pub sampling_rate: Option<f64>,
}

/// How updates were summed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureAggregation {
    pub protocol: String,
    /// Silos in this round's sum.
    pub included: u64,
    /// Fewest that a sum may hold.
    pub cohort_min: u64,
    /// Honest silos in every sum.
    pub honest_min: u64,
    /// Corrupt silos that are tolerated.
    pub corrupt_max: u64,
    /// Whether sums are rid of noise beyond what was calibrated.
    #[serde(default)]
    pub excess_noise_removed: bool,
}

/// The controls that were really on when the version was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// Between silos and coordinator.
    pub transport: String,
    /// Whether the coordinator's folder is sealed.
    pub encrypted_at_rest: bool,
    /// Whether public tools can verify the published folder.
    pub model_signature: bool,
    /// The name of the audit log that silos witness.
    pub audit_log: String,
    /// Where metrics are served, if they are.
    pub metrics_endpoint: Option<String>,
}

/// One figure of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Such as `accuracy`.
    pub name: String,
    pub value: f64,
    /// Its 95 % interval, where one can be stated.
    pub interval_95: Option<[f64; 2]>,
    /// How the interval is made, or why there is none.
    pub method: String,
    /// What it was measured on.
    pub over: String,
}

/// What no record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compliance {
    pub owner: String,
    pub contact: String,
    pub intended_use: String,
    pub out_of_scope_use: String,
    pub legal_basis: String,
    pub impact_assessment: String,
    pub risk_class: String,
    pub licence: String,
}

/// Why bytes are no card, or not this record's.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// They hold no card.
    #[error("the card does not parse: {0}")]
    Syntax(#[from] serde_norway::Error),
    /// Written by a later release.
    #[error(
        "the card has format {0:?}, this release reads {FIRST_CARD_FORMAT:?} and {CARD_FORMAT:?}: install a newer release"
    )]
    Format(String),
    /// Longer than any card is.
    #[error("the card has {0} bytes, more than the {CARD_BYTES_MAX} that a card may have")]
    TooLong(usize),
    /// No record of a measurement.
    #[error("it is no evaluation: {0}")]
    Evaluation(String),
    /// A field is not the record's, or not the plan's.
    #[error(
        "the card's {field} is not what the record and the plan say: it was changed, or another release wrote it; take the card \
         from a copy, or the release that wrote it"
    )]
    Differs { field: String },
}

/// What silos declared, by their number on the roster, of which no record says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    /// The commitment to the version of its data.
    pub data: BTreeMap<u32, Digest>,
    /// What holds its trainers.
    pub sandboxes: BTreeMap<u32, String>,
}

impl Declarations {
    /// How many of these silos declared each level of a sandbox.
    pub fn sandboxes_of(&self, silos: &[u32]) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for level in silos.iter().filter_map(|silo| self.sandboxes.get(silo)) {
            *counts.entry(level.clone()).or_insert(0) += 1;
        }
        counts
    }
}

impl Card {
    /// The card of a version. `before` are the silos in the card of the version that its model goes on from, `declared` what
    /// those in its own sum declared.
    pub fn of(
        manifest: &Manifest,
        plan: &Plan,
        roster: &Roster,
        before: &[Silo],
        declared: &Declarations,
        controls: &Controls,
        evaluations: &[Evaluation],
    ) -> Self {
        let silos = learned::silos(manifest, roster, before, &declared.data);
        let mut card = Self::of_record(manifest, silos, controls, evaluation::summed(manifest).collect());
        card.sandboxes = declared.sandboxes_of(&manifest.included);
        card.add_plan(plan);
        for evaluation in evaluations {
            card.take_up(evaluation);
        }
        card
    }

    /// The card without what its plan alone tells.
    fn of_record(manifest: &Manifest, silos: Vec<Silo>, controls: &Controls, metrics: Vec<Metric>) -> Self {
        // Zeros and empty texts stand where only the plan knows: a card is checked without one too.
        Self {
            format: CARD_FORMAT.into(),
            model: ModelDetails {
                name: manifest.run_name.clone(),
                version: manifest.round,
                run: manifest.run_id,
                created_ms: manifest.created_ms,
                file: manifest.model.file.clone(),
                sha256: manifest.model.sha256,
                params_digest: manifest.model.params_digest,
                parameters: 0,
                task: String::new(),
                architecture: String::new(),
                layers: Vec::new(),
                inputs: 0,
                outputs: 0,
            },
            usage: None,
            lineage: Lineage {
                parent_record: manifest.parent,
                parent_model: manifest.parent_model,
                aggregate: manifest.aggregate_digest,
                plan: manifest.plan_digest,
                roster: manifest.roster_digest,
                decision: manifest
                    .action
                    .as_ref()
                    .map(|action| format!("{} ({})", action.reason(), action.by())),
                begun_with: None,
            },
            training_data: TrainingData {
                label: String::new(),
                features: 0,
                silos,
                note: "numbers of rows leave no silo; data_versions are salted commitments that their silo alone can open, the newest \
                       8 of those that it told"
                    .into(),
            },
            privacy: privacy(&manifest.privacy),
            secure_aggregation: SecureAggregation {
                protocol: "Bonawitz et al. 2017, for malicious servers, masks bound to the whole transcript"
                    .into(),
                included: manifest.included.len() as u64,
                cohort_min: 0,
                honest_min: 0,
                corrupt_max: 0,
                excess_noise_removed: false,
            },
            security: controls.clone(),
            sandboxes: BTreeMap::new(),
            metrics,
            monitoring: monitoring(controls),
            limits: LIMITS.iter().map(|limit| (*limit).to_owned()).collect(),
            compliance: Compliance::for_the_owner(),
        }
    }

    /// Adds a measurement's figures, if it is of this card's model, and says whether it was.
    pub fn take_up(&mut self, evaluation: &Evaluation) -> bool {
        let own = evaluation.params_digest == self.model.params_digest;
        if own {
            self.metrics.extend(evaluation.metrics());
        }
        own
    }

    /// The card as YAML.
    ///
    /// # Errors
    /// Numbers that YAML cannot hold.
    pub fn to_yaml(&self) -> Result<String, CardError> {
        Ok(yaml::write(&serde_norway::to_value(self)?))
    }

    /// Whether an earlier release has written it: what follows from that is kept, as a card is checked by making it again.
    pub(crate) fn is_of_first_format(&self) -> bool {
        self.format == FIRST_CARD_FORMAT
    }

    /// The card for model hubs: YAML front matter, then Markdown.
    ///
    /// # Errors
    /// Numbers that YAML cannot hold.
    pub fn readme(&self) -> Result<String, CardError> {
        readme::render(self)
    }

    /// Reads a card.
    ///
    /// # Errors
    /// [`CardError`]
    pub fn from_yaml(text: &str) -> Result<Self, CardError> {
        if text.len() > CARD_BYTES_MAX {
            return Err(CardError::TooLong(text.len()));
        }
        /// What is read before the rest, which a later format may say in its own way.
        #[derive(Deserialize)]
        struct Numbered {
            format: String,
        }
        match serde_norway::from_str(text) {
            Ok(Numbered { format }) if ![FIRST_CARD_FORMAT, CARD_FORMAT].contains(&format.as_str()) => {
                Err(CardError::Format(format))
            }
            _ => Ok(serde_norway::from_str(text)?),
        }
    }
}

impl Compliance {
    fn for_the_owner() -> Self {
        let fill = || OWNER.to_owned();
        Self {
            owner: fill(),
            contact: fill(),
            intended_use: fill(),
            out_of_scope_use: fill(),
            legal_basis: fill(),
            impact_assessment: fill(),
            risk_class: fill(),
            licence: fill(),
        }
    }
}

/// What secure aggregation and differential privacy do not give.
const LIMITS: [&str; 4] = [
    "A silo that takes part can poison the model within its clip; clipping binds honest silos only.",
    "Who took part, and when, is public to the federation.",
    "Availability rests on the coordinator.",
    "Differential privacy bounds what is learned of one unit, not what is learned of a population.",
];

/// What is promised, of what a promise hides in words.
fn statement(spent: &PrivacySpent, hidden: &str) -> String {
    match (spent.epsilon, spent.delta) {
        (Some(epsilon), Some(delta)) => format!(
            "({}, {delta})-differential privacy of this run for {hidden}; relation: {}; noise by {}; trusted: {}",
            rounded_up(epsilon, 4),
            spent.relation,
            spent.noise_by,
            spent.trust
        ),
        _ => "NO DIFFERENTIAL PRIVACY: exact sums were opened, and can be differenced across rounds".into(),
    }
}

/// The same as cards of the first format say it.
pub(crate) fn first_statement(spent: &PrivacySpent) -> String {
    statement(spent, &format!("one {}", spent.unit))
}

fn privacy(spent: &PrivacySpent) -> PrivacyFacts {
    PrivacyFacts {
        statement: statement(spent, Unit::hidden_by_name(&spent.unit)),
        mode: spent.mode.clone(),
        unit: spent.unit.clone(),
        relation: spent.relation.clone(),
        epsilon_spent: spent.epsilon,
        epsilon_budget: None,
        delta: spent.delta,
        accountant: spent.accountant.clone(),
        steps: spent.steps,
        noise_by: spent.noise_by.clone(),
        trust: spent.trust.clone(),
        clip_norm: None,
        clip_norm_quantile: None,
        noise_multiplier: None,
        sampling_rate: None,
    }
}

fn monitoring(controls: &Controls) -> Vec<String> {
    let mut hooks = vec![
        "rounds, refusals and blame: the operator's Watch call, `folkmoot watch`".to_owned(),
        format!("what was done, by whom: the audit log {}, `folkmoot audit`", controls.audit_log),
        "the chain from this version to the initial model: `folkmoot verify`".to_owned(),
        "withdrawal: a quarantined version is named in a later record of the chain".to_owned(),
    ];
    hooks.extend(controls.metrics_endpoint.as_ref().map(|at| format!("Prometheus metrics at {at}")));
    hooks
}

#[cfg(test)]
mod tests;
