//! Canaries: records that stand out, each in the training by the toss of a coin.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use params::{Digest, Shape};
use plan::Plan;
use rand::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::AuditError;
use crate::files::Unusable;

/// A silo's canaries for a run: who holds this file can tell which are in the training.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Canaries {
    /// The plan that they were made for.
    pub(super) plan: Digest,
    /// One a canary.
    pub(super) canaries: Vec<Canary>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Canary {
    /// A line of a table with [`header`].
    pub(super) row: String,
    /// Whether the coin put it into the training.
    pub(super) included: bool,
}

/// Draws so many, no two alike: every feature at one end of its public range, the class and the coin at random. Such
/// records are far from every real one and from each other, which is what makes them easy to find where nothing hides them.
/// A plan of few features has few such records; then some lie at any place of the range.
pub(super) fn draw(plan: &Plan, count: usize, seed: [u8; 32]) -> Result<Canaries, AuditError> {
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
    Ok(Canaries { plan: plan.digest(), canaries })
}

/// A random record: each feature at an end of its range, or at a place in it. Tokens are whole numbers.
fn row(plan: &Plan, at_ends: bool, rng: &mut ChaCha20Rng) -> String {
    let whole = matches!(plan.architecture().input, Shape::Tokens { .. });
    let mut row = String::new();
    for feature in &plan.data.features {
        let share = match at_ends {
            true => f64::from(rng.next_u32() & 1),
            false => f64::from(rng.next_u32()) / f64::from(u32::MAX),
        };
        let value = feature.minimum + share * (feature.maximum - feature.minimum);
        let value = if whole { value.round() } else { value.clamp(feature.minimum, feature.maximum) };
        row.push_str(&format!("{value},"));
    }
    // The remainder's bias is below 2^-50 for any number of classes.
    row + &(rng.next_u64() % plan.data.classes as u64).to_string()
}

/// The columns of a canary's row: the plan's features, then its label.
fn header(plan: &Plan) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let features = plan.data.features.iter().map(|feature| quoted(&feature.column) + ",");
    features.chain([quoted(&plan.data.label)]).collect()
}

/// These canaries as a table; empty text where there is none.
pub(super) fn csv<'a>(plan: &Plan, canaries: impl IntoIterator<Item = &'a Canary>) -> Option<String> {
    let rows: String = canaries.into_iter().flat_map(|canary| [&canary.row, "\n"]).collect();
    (!rows.is_empty()).then(|| format!("{}\n{rows}", header(plan)))
}

impl Canaries {
    /// All of them as a table.
    pub(super) fn table(&self, plan: &Plan) -> Result<Dataset, AuditError> {
        let text = csv(plan, &self.canaries).ok_or(AuditError::NoCanary)?;
        Dataset::from_csv("canaries", text.as_bytes(), &plan.data).map_err(AuditError::OwnTable)
    }

    pub(super) fn included(&self) -> Vec<bool> {
        self.canaries.iter().map(|canary| canary.included).collect()
    }

    /// Reads the file that [`Canaries::write`] wrote.
    pub(super) fn read(file: &Path, plan: &Plan) -> Result<Self, AuditError> {
        let text = fs::read_to_string(file).map_err(|why| Unusable::new(file, why))?;
        let read: Self = serde_json::from_str(&text).map_err(|why| Unusable::new(file, why))?;
        if read.plan != plan.digest() {
            return Err(Unusable::new(
                file,
                "these canaries were made for another plan; name the run's own, as it was signed, both times",
            )
            .into());
        }
        Ok(read)
    }

    /// Writes the secret file, readable by its owner alone.
    pub(super) fn write(&self, file: &Path) -> Result<(), AuditError> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let text = serde_json::to_string_pretty(self)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
        Ok(written.map_err(|why| Unusable::new(file, why))?)
    }
}
