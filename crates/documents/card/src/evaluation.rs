//! The figures of a card: measurements made by whoever holds data that no silo trained on, and what was summed in the round.

use checkpoint::Manifest;
use params::Digest;
use plan::Plan;
use serde::{Deserialize, Serialize};

use crate::{CardError, Metric};

/// The normal quantile of a 95 % interval.
const Z95: f64 = 1.959_964;

/// How a model did on a table of the evaluator's own.
///
/// # Privacy
/// The figures are exact, and a card is public: of data that may be spoken of in public. The table is named, and no digest of it is
/// given, which could be held against guesses of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Of the model's parameters.
    pub params_digest: Digest,
    /// The evaluator's name for the table.
    pub data: String,
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
    /// Reads a record.
    ///
    /// # Errors
    /// [`CardError::Evaluation`]: no such record, or figures that no table gives.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CardError> {
        let read: Self =
            serde_json::from_slice(bytes).map_err(|why| CardError::Evaluation(why.to_string()))?;
        let wrong = match &read {
            Self { rows: 0, .. } => "it is over no rows",
            Self { rows, correct, .. } if correct > rows => "more rows are correct than there are",
            Self { loss, .. } if !(loss.is_finite() && *loss >= 0.0) => "its loss is no cross-entropy",
            Self { loss_deviation: d, .. } if !(d.is_finite() && *d >= 0.0) => "its loss_deviation is none",
            Self { data, .. } if data.is_empty() || data.chars().any(char::is_control) => {
                "its data has no name"
            }
            _ => return Ok(read),
        };
        Err(CardError::Evaluation(wrong.into()))
    }

    /// Its figures, for a card.
    pub(crate) fn metrics(&self) -> [Metric; 2] {
        let over = format!("{} ({} rows)", self.data, self.rows);
        let spread = Z95 * self.loss_deviation / (self.rows as f64).sqrt();
        [
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
                // One row has no spread that could be known.
                interval_95: (self.rows > 1).then_some([self.loss - spread, self.loss + spread]),
                method: "normal, of the mean over rows".into(),
                over,
            },
        ]
    }
}

/// What was summed under the masks.
pub(crate) fn summed(manifest: &Manifest) -> impl Iterator<Item = Metric> + '_ {
    manifest.metrics.iter().map(|(name, value)| {
        let (method, over) = if Plan::METRICS.contains(&name.as_str()) {
            (
                "none: how many rows it is the mean of leaves no silo",
                "the silos' own training rows, before the round's training",
            )
        } else {
            (
                "none: it is noised, in one release with the update and within its epsilon",
                "the units whose contributions were clipped in the round",
            )
        };
        Metric {
            name: name.clone(),
            value: *value,
            interval_95: None,
            method: method.into(),
            over: over.into(),
        }
    })
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

    #[test]
    fn what_no_table_gives_is_refused() {
        let text = |rows: &str, correct: &str, loss: &str| {
            format!(
                r#"{{"params_digest":"{}","data":"d","rows":{rows},"correct":{correct},"loss":{loss},"loss_deviation":0.1}}"#,
                Digest::sha256(b"model")
            )
        };
        let read = |rows, correct, loss| Evaluation::from_json(text(rows, correct, loss).as_bytes());
        let one = read("1", "1", "0.5").unwrap();
        assert_eq!(one.metrics()[1].interval_95, None, "of one row");
        assert!(read("9", "3", "0.5").unwrap().metrics()[1].interval_95.is_some());
        for (rows, correct, loss) in
            [("0", "0", "0.5"), ("3", "4", "0.5"), ("3", "2", "-1"), ("3", "2", "null")]
        {
            assert!(
                matches!(read(rows, correct, loss), Err(CardError::Evaluation(_))),
                "{rows} {correct} {loss}"
            );
        }
    }
}
