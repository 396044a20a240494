//! What a demonstration has shown, as an object for programs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::follow::EvaluatedVersion;

/// The result. Its fields are a contract with scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub rounds: u64,
    /// Of the final model, on the held-out rows.
    pub test_accuracy: f64,
    /// Spent; none without noise.
    pub epsilon: Option<f64>,
    /// Of that epsilon; none without noise.
    pub delta: Option<f64>,
    /// What one unit of the promise is.
    pub privacy_unit: String,
    pub clients: usize,
    /// Silos that are missing from the sum of at least one committed round.
    pub dropouts: usize,
    /// From the first process to the last.
    pub wall_seconds: f64,
    /// Between consecutive versions, without the first round, which waits for everybody to arrive.
    pub seconds_per_round_median: f64,
    /// The final model.
    pub model_path: String,
    /// Of its file.
    pub model_sha256: String,
    /// Whether the chain was, from the initial model on.
    pub chain_verified: bool,
}

/// What only the end of a demonstration knows.
pub struct DemoEnd<'a> {
    pub clients: usize,
    /// From the first process to the last.
    pub wall_seconds: f64,
    /// The final model.
    pub model_path: &'a Path,
    /// Whether the chain was, from the initial model on.
    pub chain_verified: bool,
}

impl Summary {
    /// Of versions from the initial model to the last; `None` where there is not even the first.
    pub fn of(versions: &[EvaluatedVersion], ending: &DemoEnd<'_>) -> Option<Self> {
        let last = versions.last()?;
        let manifest = &last.manifest;
        Some(Self {
            rounds: versions.iter().filter(|version| version.manifest.round > 0).count() as u64,
            test_accuracy: last.accuracy,
            epsilon: manifest.privacy.epsilon,
            delta: manifest.privacy.delta,
            privacy_unit: manifest.privacy.unit.clone(),
            clients: ending.clients,
            dropouts: dropouts(versions, ending.clients),
            wall_seconds: ending.wall_seconds,
            seconds_per_round_median: median_seconds(versions),
            model_path: ending.model_path.display().to_string(),
            model_sha256: manifest.model.sha256.to_string(),
            chain_verified: ending.chain_verified,
        })
    }
}

fn dropouts(versions: &[EvaluatedVersion], clients: usize) -> usize {
    let rounds = versions.iter().filter(|version| version.manifest.round > 0);
    // Members are numbered from 1.
    let all: BTreeSet<u32> = (1..).take(clients).collect();
    let missing: BTreeSet<u32> = rounds
        .flat_map(|version| all.iter().filter(|id| !version.manifest.included.contains(id)))
        .copied()
        .collect();
    missing.len()
}

/// Zero where there is no interval.
fn median_seconds(versions: &[EvaluatedVersion]) -> f64 {
    let times = versions.iter().map(|version| version.manifest.created_ms);
    // A clock may be set back meanwhile.
    let mut between: Vec<u64> =
        times.clone().zip(times.skip(1)).map(|(one, next)| next.max(one) - one).collect();
    // A run of one round has no other interval than the first.
    if between.len() > 1 {
        between.remove(0);
    }
    between.sort_unstable();
    let count = between.len();
    // One in the middle, or two.
    let middle: Vec<u64> = between.into_iter().skip((count.max(1) - 1) / 2).take(2 - count % 2).collect();
    middle.iter().sum::<u64>() as f64 / middle.len().max(1) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::version;

    const ALL: [u32; 5] = [1, 2, 3, 4, 5];

    fn summary(versions: &[EvaluatedVersion]) -> Summary {
        let ending = DemoEnd {
            clients: 5,
            wall_seconds: 2.0,
            model_path: Path::new("/m/model.safetensors"),
            chain_verified: true,
        };
        Summary::of(versions, &ending).unwrap()
    }

    #[test]
    fn the_json_has_exactly_the_documented_keys_in_their_order() {
        let json = serde_json::to_string(&summary(&[version(0, &[]), version(1, &ALL)])).unwrap();
        let keys: Vec<&str> = json
            .trim_matches(['{', '}'])
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .map(|(key, _)| key.trim_matches('"'))
            .collect();
        assert_eq!(
            keys,
            [
                "rounds",
                "test_accuracy",
                "epsilon",
                "delta",
                "privacy_unit",
                "clients",
                "dropouts",
                "wall_seconds",
                "seconds_per_round_median",
                "model_path",
                "model_sha256",
                "chain_verified"
            ]
        );
    }

    #[test]
    fn without_noise_epsilon_and_delta_are_null_and_the_unit_is_none() {
        let mut last = version(1, &ALL);
        last.manifest.privacy.epsilon = None;
        last.manifest.privacy.delta = None;
        last.manifest.privacy.unit = "none".into();
        let summary = summary(&[version(0, &[]), last]);
        let json = serde_json::to_value(&summary).unwrap();
        assert!(json["epsilon"].is_null() && json["delta"].is_null());
        assert_eq!(json["privacy_unit"], "none");
    }

    #[test]
    fn the_model_is_the_last_versions_file_and_the_spending_its_own() {
        let versions = [version(0, &[]), version(1, &ALL), version(2, &ALL)];
        let summary = summary(&versions);
        let last = &versions[2].manifest;
        assert_eq!((summary.rounds, summary.epsilon), (2, last.privacy.epsilon));
        assert_eq!(summary.model_sha256, last.model.sha256.to_string());
        let of_round = versions.each_ref().map(|version| version.manifest.model.sha256);
        assert!(!of_round[..2].contains(&of_round[2]) && last.model.params_digest != of_round[2]);
    }

    #[test]
    fn a_silo_counts_as_one_dropout_however_many_rounds_it_missed() {
        let versions = [version(0, &[]), version(1, &ALL), version(2, &ALL[..4]), version(3, &ALL[..4])];
        assert_eq!(summary(&versions).dropouts, 1);
        assert_eq!(summary(&versions[..2]).dropouts, 0);
    }

    #[test]
    fn the_median_leaves_the_first_interval_out() {
        let at = |round, created_ms| {
            let mut version = version(round, &ALL);
            version.manifest.created_ms = created_ms;
            version
        };
        let run = [at(0, 0), at(1, 9000), at(2, 9100), at(3, 9160), at(4, 9200)];
        assert!((median_seconds(&run) - 0.06).abs() < 1e-9);
        assert!((median_seconds(&run[..4]) - 0.08).abs() < 1e-9);
        assert!((median_seconds(&run[..2]) - 9.0).abs() < 1e-9);
    }
}
