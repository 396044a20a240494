//! Canaries: records that stand out, each in the training by the toss of a coin.

use std::collections::BTreeSet;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use datasets::Dataset;
use params::{Digest, Shape};
use plan::{Classes, Encoding, Plan};
use serde::{Deserialize, Serialize};

use crate::error::AuditError;

/// Why a text holds no canaries for a plan.
#[derive(Debug, thiserror::Error)]
pub enum CanariesError {
    /// It is not what [`Canaries::to_json`] makes.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// They are of another run, or of a plan that was changed.
    #[error("these canaries were made for another plan; name the run's own, as it was signed, both times")]
    AnotherPlan,
}

/// A silo's canaries for a run.
///
/// # Privacy
/// Whoever has them can tell which are in the training: they stay on the silo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canaries {
    /// The plan that they were made for.
    pub plan: Digest,
    /// One a canary.
    pub canaries: Vec<Canary>,
}

/// A record that stands out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// A line of a table: the plan's features, then the label.
    pub row: String,
    /// Whether the coin put it into the training.
    pub included: bool,
}

impl Canaries {
    /// Draws so many, no two alike: every feature at one end of its public range, the class and the coin at random. Such
    /// records are far from every real one and from each other, which is what makes them easy to find where nothing hides
    /// them. A plan of few features has few such records; then some lie at any place of the range.
    ///
    /// # Errors
    /// [`AuditError::NoRoom`]
    pub fn draw(plan: &Plan, count: usize, seed: [u8; 32]) -> Result<Self, AuditError> {
        /// Draws of one canary that may meet another before there are taken to be no more.
        const TRIES: usize = 64;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut drawn = BTreeSet::new();
        let mut canaries = Vec::with_capacity(count);
        while canaries.len() < count {
            let mut fresh = (0..TRIES).map(|attempt| row(plan, attempt < TRIES / 2, &mut rng));
            let Some(row) = fresh.find(|row| drawn.insert(row.clone())) else {
                return Err(AuditError::NoRoom { room: canaries.len() });
            };
            canaries.push(Canary { row, included: rng.next_u32() & 1 == 1 });
        }
        Ok(Self { plan: plan.digest(), canaries })
    }

    /// Reads what [`Canaries::to_json`] made for this plan.
    ///
    /// # Errors
    /// [`CanariesError`]
    pub fn from_json(text: &str, plan: &Plan) -> Result<Self, CanariesError> {
        let read: Self = serde_json::from_str(text)?;
        if read.plan == plan.digest() { Ok(read) } else { Err(CanariesError::AnotherPlan) }
    }

    /// As the silo remembers them.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The text of the table that the silo trains on: those that the coin put in.
    ///
    /// # Errors
    /// [`AuditError::EveryCoinSaidNo`]
    pub fn planted(&self, plan: &Plan) -> Result<String, AuditError> {
        let included = self.canaries.iter().filter(|canary| canary.included);
        csv(plan, included).ok_or(AuditError::EveryCoinSaidNo)
    }

    /// All of them as a table.
    pub(crate) fn table(&self, plan: &Plan) -> Result<Dataset, AuditError> {
        let text = csv(plan, &self.canaries).ok_or(AuditError::NoCanary)?;
        Dataset::from_csv("canaries", text.as_bytes(), &plan.data).map_err(AuditError::OwnTable)
    }

    /// The coins, in the order of the canaries.
    pub(crate) fn included(&self) -> Vec<bool> {
        self.canaries.iter().map(|canary| canary.included).collect()
    }
}

/// A random record: each number at an end of its range, or at a place in it, each text one of the plan's. Tokens are whole numbers.
fn row(plan: &Plan, at_ends: bool, rng: &mut ChaCha20Rng) -> String {
    let whole = matches!(plan.architecture().input, Shape::Tokens { .. });
    let mut row = String::new();
    for (_, feature) in plan.data.columns() {
        row.push_str(&cell(&feature.encoding, at_ends, whole, rng));
        row.push(',');
    }
    // The remainder's bias is below 2^-50 for any number of classes.
    let classes = &plan.data.classes;
    let class = (rng.next_u64() % classes.count() as u64) as usize;
    match (classes, classes.name(class)) {
        (Classes::Names(_) | Classes::Flag(_), Some(name)) => row + &quoted(&name),
        _ => row + &class.to_string(),
    }
}

fn cell(encoding: &Encoding, at_ends: bool, whole: bool, rng: &mut ChaCha20Rng) -> String {
    if let Some([minimum, maximum]) = encoding.number_range() {
        let share = match at_ends {
            true => f64::from(rng.next_u32() & 1),
            false => f64::from(rng.next_u32()) / f64::from(u32::MAX),
        };
        let value = minimum + share * (maximum - minimum);
        return if whole { value.round() } else { value.clamp(minimum, maximum) }.to_string();
    }
    let drawn = rng.next_u32();
    match encoding {
        Encoding::OneHot { categories, .. } | Encoding::Ordinal { categories } => {
            let texts = categories.iter().cycle().skip(drawn as usize % categories.len().max(1));
            texts.take(1).map(|text| quoted(text)).collect()
        }
        Encoding::Flag { value } if drawn & 1 == 0 => quoted(&format!("not {value}")),
        Encoding::Flag { value } => quoted(value),
        Encoding::Days { first, .. } if drawn & 1 == 0 => first.to_string(),
        Encoding::Days { last, .. } => last.to_string(),
        Encoding::Tokens { words, length } => {
            let texts = words.iter().cycle().skip(drawn as usize % words.len().max(1));
            let words: Vec<&str> = texts.take(*length).map(String::as_str).collect();
            quoted(&words.join(" "))
        }
        Encoding::Range { .. } | Encoding::Log { .. } | Encoding::Standard { .. } => String::new(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The columns of a canary's row: the plan's features, then its label.
fn header(plan: &Plan) -> String {
    let features = plan.data.columns().map(|(name, _)| quoted(&name) + ",");
    features.chain([quoted(&plan.data.label)]).collect()
}

/// These canaries as the text of a table; `None` where there is none of them.
pub(crate) fn csv<'a>(plan: &Plan, canaries: impl IntoIterator<Item = &'a Canary>) -> Option<String> {
    let rows: String = canaries.into_iter().flat_map(|canary| [&canary.row, "\n"]).collect();
    (!rows.is_empty()).then(|| format!("{}\n{rows}", header(plan)))
}
