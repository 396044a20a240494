//! A measurement of a model, made by whoever holds data that no silo trained on.

use checkpoint::Manifest;
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::Metric;

/// The normal quantile of a 95 % interval.
const Z95: f64 = 1.959_964;

/// How a model did on a table of the evaluator's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Of the model's parameters.
    pub params_digest: Digest,
    /// The evaluator's name for the table.
    pub data: String,
    /// Of the table's content.
    pub data_version: Digest,
    /// How many rows.
    pub rows: u64,
    /// Rows whose largest output was the label's.
    pub correct: u64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Standard deviation of the rows' cross-entropies.
    pub loss_deviation: f64,
}

impl Evaluation {
    /// Its figures, if it is of the record's model.
    pub(crate) fn metrics(&self, manifest: &Manifest) -> Vec<Metric> {
        if self.params_digest != manifest.model.params_digest || self.rows == 0 {
            return Vec::new();
        }
        let over = format!("{} ({} rows, version {})", self.data, self.rows, self.data_version.short());
        let spread = Z95 * self.loss_deviation / (self.rows as f64).sqrt();
        vec![
            Metric {
                name: "accuracy".into(),
                value: self.correct as f64 / self.rows as f64,
                interval_95: Some(wilson(self.correct, self.rows)),
                method: "Wilson 1927".into(),
                over: over.clone(),
            },
            Metric {
                name: "loss".into(),
                value: self.loss,
                interval_95: Some([self.loss - spread, self.loss + spread]),
                method: "normal, of the mean over rows".into(),
                over,
            },
        ]
    }
}

/// Wilson's score interval for a proportion.
fn wilson(successes: u64, trials: u64) -> [f64; 2] {
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let centre = p + Z95 * Z95 / (2.0 * n);
    let spread = Z95 * (p * (1.0 - p) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
    [-spread, spread].map(|spread| ((centre + spread) / (1.0 + Z95 * Z95 / n)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_published_one() {
        // Newcombe 1998, table I: 81 of 263.
        let [low, high] = wilson(81, 263);
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
    }
}
