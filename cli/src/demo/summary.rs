//! What the demonstration has shown: an object for programs, a text to read aloud.

use std::collections::BTreeSet;
use std::path::Path;

use demo::HONEST_MIN;
use plan::{Plan, PrivacyMode};
use serde::Serialize;

use crate::demo::follow::Checkpoint;

/// The result. Its fields are a contract with scripts.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    /// Committed.
    pub(super) rounds: u64,
    /// Of the final model, on the held-out rows.
    pub(super) test_accuracy: f64,
    /// Spent; none without noise.
    pub(super) epsilon: Option<f64>,
    pub(super) delta: Option<f64>,
    pub(super) privacy_unit: String,
    pub(super) clients: usize,
    /// Silos that are missing from the sum of at least one committed round.
    pub(super) dropouts: usize,
    pub(super) wall_seconds: f64,
    /// Between consecutive checkpoints, without the first round, which waits for everybody to arrive.
    pub(super) seconds_per_round_median: f64,
    pub(super) model_path: String,
    pub(super) model_sha256: String,
    pub(super) chain_verified: bool,
}

/// What only the end of a demonstration knows.
pub(super) struct Ending<'a> {
    pub(super) clients: usize,
    pub(super) wall_seconds: f64,
    pub(super) model_path: &'a Path,
    pub(super) chain_verified: bool,
}

impl Summary {
    /// Of checkpoints from the initial model to the last; `None` where there is not even the first.
    pub(super) fn of(checkpoints: &[Checkpoint], ending: &Ending<'_>) -> Option<Self> {
        let last = checkpoints.last()?;
        let manifest = &last.manifest;
        Some(Self {
            rounds: checkpoints.iter().filter(|checkpoint| checkpoint.manifest.round > 0).count() as u64,
            test_accuracy: last.accuracy,
            epsilon: manifest.privacy.epsilon,
            delta: manifest.privacy.delta,
            privacy_unit: manifest.privacy.unit.clone(),
            clients: ending.clients,
            dropouts: dropouts(checkpoints, ending.clients),
            wall_seconds: ending.wall_seconds,
            seconds_per_round_median: median_seconds(checkpoints),
            model_path: ending.model_path.display().to_string(),
            model_sha256: manifest.model.sha256.to_string(),
            chain_verified: ending.chain_verified,
        })
    }

    /// For people; `check` is the command that verifies the chain.
    pub(super) fn text(&self, plan: &Plan, check: &str) -> String {
        let mode = plan.mode();
        let model = if plan.model.hidden.is_empty() { "a softmax regression" } else { "a neural network" };
        let parameters = plan.architecture().parameter_count();
        let rows = datasets::digits::training_rows().count();
        let held_out = datasets::digits::held_out_rows().count();
        let timing = "a real plan sets ready_after_ms, so that the time of training says nothing about the data; \
                      here it is 0";
        let rows = [
            ("trained", format!("{model} of {parameters} parameters, {} rounds, mode {mode}", self.rounds)),
            (
                "on",
                format!("handwritten digits: {rows} rows, dealt to {} silos, which kept them", self.clients),
            ),
            ("who saw what", seen(mode).to_owned()),
            ("accuracy", format!("{:.4} on {held_out} rows that no silo has", self.test_accuracy)),
            ("promise", self.promise(mode)),
            ("noise", noise(plan)),
            ("trust", self.trust(plan)),
            ("dropouts", format!("{} of {} silos missed at least one sum", self.dropouts, self.clients)),
            (
                "time",
                format!(
                    "{:.1} s in all; the median secure round took {:.0} ms",
                    self.wall_seconds,
                    self.seconds_per_round_median * 1000.0
                ),
            ),
            ("note", timing.to_owned()),
            (
                "chain",
                if self.chain_verified { "verified, from the initial model on" } else { "NOT verified" }
                    .into(),
            ),
            ("model", self.model_path.clone()),
            ("check it", check.to_owned()),
        ];
        rows.map(|(name, value)| format!("{name:<13} {value}\n")).concat()
    }

    fn promise(&self, mode: PrivacyMode) -> String {
        match (self.epsilon, self.delta) {
            (Some(epsilon), Some(delta)) => format!(
                "({}, {delta})-differential privacy; unit: one {}; relation: {}",
                accounting::rounded_up(epsilon, 3),
                self.privacy_unit,
                mode.relation()
            ),
            _ => "NO differential privacy: sums are exact, and can be differenced across rounds".into(),
        }
    }

    fn trust(&self, plan: &Plan) -> String {
        match plan.mode() {
            PrivacyMode::SiloDpSgd | PrivacyMode::CentralDpFedavg => plan.trust(),
            _ => format!(
                "at most {} of {} silos colludes with the coordinator",
                plan.cohort.corrupt, self.clients
            ),
        }
    }
}

fn noise(plan: &Plan) -> String {
    let mode = plan.mode();
    match mode {
        PrivacyMode::Fedavg => "nobody adds any".to_owned(),
        PrivacyMode::SiloDpSgd => format!("{}, in each of its steps", mode.noise_by()),
        PrivacyMode::CentralDpFedavg => mode.noise_by().to_owned(),
        _ if plan.excess_noise().is_removed() => {
            format!("{}; what a sum has too much of is taken off again", mode.noise_by())
        }
        _ => format!("{}; any {HONEST_MIN} honest silos add enough", mode.noise_by()),
    }
}

fn seen(mode: PrivacyMode) -> &'static str {
    match mode {
        PrivacyMode::Fedavg | PrivacyMode::CentralDpFedavg => {
            "each silo its own rows; the coordinator exact sums, and no silo's update"
        }
        PrivacyMode::SiloDpSgd => {
            "each silo its own rows; the coordinator sums of noisy updates, and no silo's update"
        }
        _ => "each silo its own rows; the coordinator noisy sums, and no silo's update",
    }
}

fn dropouts(checkpoints: &[Checkpoint], clients: usize) -> usize {
    let rounds = checkpoints.iter().filter(|checkpoint| checkpoint.manifest.round > 0);
    // Members are numbered from 1.
    let all: BTreeSet<u32> = (1..).take(clients).collect();
    let missing: BTreeSet<u32> = rounds
        .flat_map(|checkpoint| all.iter().filter(|id| !checkpoint.manifest.included.contains(id)))
        .copied()
        .collect();
    missing.len()
}

fn median_seconds(checkpoints: &[Checkpoint]) -> f64 {
    let times = checkpoints.iter().map(|checkpoint| checkpoint.manifest.created_ms);
    let mut between: Vec<u64> =
        times.clone().zip(times.skip(1)).map(|(one, next)| next.saturating_sub(one)).collect();
    // A run of one round has no other interval than the first.
    if between.len() > 1 {
        between.remove(0);
    }
    between.sort_unstable();
    let (low, high) = (between.len().saturating_sub(1) / 2, between.len() / 2);
    let at = |index: usize| between.get(index).copied().unwrap_or(0) as f64;
    (at(low) + at(high)) / 2.0 / 1000.0
}

#[cfg(test)]
mod tests {
    use demo::demo_plan;

    use super::*;
    use crate::demo::samples::checkpoint;

    const ALL: [u32; 5] = [1, 2, 3, 4, 5];

    fn summary(checkpoints: &[Checkpoint]) -> Summary {
        let ending = Ending {
            clients: 5,
            wall_seconds: 2.0,
            model_path: Path::new("/m/model.safetensors"),
            chain_verified: true,
        };
        Summary::of(checkpoints, &ending).unwrap()
    }

    #[test]
    fn the_json_has_exactly_the_documented_keys_in_their_order() {
        let json = serde_json::to_string(&summary(&[checkpoint(0, &[]), checkpoint(1, &ALL)])).unwrap();
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
        let mut last = checkpoint(1, &ALL);
        last.manifest.privacy.epsilon = None;
        last.manifest.privacy.delta = None;
        last.manifest.privacy.unit = PrivacyMode::Fedavg.unit().into();
        let summary = summary(&[checkpoint(0, &[]), last]);
        let json = serde_json::to_value(&summary).unwrap();
        assert!(json["epsilon"].is_null() && json["delta"].is_null());
        assert_eq!(json["privacy_unit"], "none");
        let plan = demo_plan(PrivacyMode::Fedavg, 5, None, None).unwrap();
        assert!(summary.text(&plan, "").contains("NO differential privacy"));
    }

    #[test]
    fn a_silo_counts_as_one_dropout_however_many_rounds_it_missed() {
        let checkpoints =
            [checkpoint(0, &[]), checkpoint(1, &ALL), checkpoint(2, &ALL[..4]), checkpoint(3, &ALL[..4])];
        assert_eq!(summary(&checkpoints).dropouts, 1);
        assert_eq!(summary(&checkpoints[..2]).dropouts, 0);
    }

    #[test]
    fn the_median_leaves_the_first_interval_out() {
        let at = |round, created_ms| {
            let mut checkpoint = checkpoint(round, &ALL);
            checkpoint.manifest.created_ms = created_ms;
            checkpoint
        };
        let run = [at(0, 0), at(1, 9000), at(2, 9100), at(3, 9160), at(4, 9200)];
        assert!((median_seconds(&run) - 0.06).abs() < 1e-9);
        assert!((median_seconds(&run[..4]) - 0.08).abs() < 1e-9);
        assert!((median_seconds(&run[..2]) - 9.0).abs() < 1e-9);
    }

    #[test]
    fn the_text_says_what_a_newcomer_must_know() {
        let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        let text = summary(&[checkpoint(0, &[]), checkpoint(1, &ALL)]).text(&plan, "folkmoot verify /m");
        for part in [
            "softmax regression",
            "1438 rows",
            "359 rows that no silo has",
            "0.00001)-differential privacy",
            "one record",
            "add or remove one record",
            "every silo, a share each",
            "at most 1 of 5 silos",
            "median secure round",
            "/m/model.safetensors",
            "folkmoot verify /m",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
