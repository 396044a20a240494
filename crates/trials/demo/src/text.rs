//! What a demonstration has shown, as a text to read aloud.

use accounting::{Relation, Unit, rounded_up};
use plan::{Plan, PrivacyMode};

use crate::follow::EvaluatedVersion;
use crate::plan::HONEST_MIN;
use crate::summary::Summary;

/// What to know of a mode before it is shown; none where noise of the silos' own hides a record.
pub fn mode_warning(mode: PrivacyMode) -> Option<&'static str> {
    match mode {
        PrivacyMode::DistributedDpSgd | PrivacyMode::SiloDpSgd => None,
        PrivacyMode::Fedavg => Some(
            "WARNING: without noise the sums are exact. They carry NO differential privacy, and can be differenced across rounds.",
        ),
        PrivacyMode::CentralDpFedavg => Some(
            "WARNING: in this mode the coordinator sees exact sums and has to be trusted to add the noise; and it hides a whole silo, \
             which wants about a thousand of them.",
        ),
        PrivacyMode::DistributedDpFedavg => Some(
            "WARNING: this mode hides a whole silo among the others. With so few silos it learns nothing at an epsilon that means \
             anything; it wants about a thousand.",
        ),
    }
}

/// What a run of this plan has shown, for people; `check` is the command that verifies the chain.
pub fn summary_text(summary: &Summary, plan: &Plan, check: &str) -> String {
    let mode = plan.mode();
    let model = if plan.model.hidden.is_empty() { "a softmax regression" } else { "a neural network" };
    let parameters = plan.architecture().parameter_count();
    let rows = datasets::digits::training_rows().count();
    let held_out = datasets::digits::held_out_rows().count();
    let timing = "a real plan sets ready_after_ms, so that the time of training says nothing about the data; \
                      here it is 0";
    let rows = [
        ("trained", format!("{model} of {parameters} parameters, {} rounds, mode {mode}", summary.rounds)),
        (
            "on",
            format!("handwritten digits: {rows} rows, dealt to {} silos, which kept them", summary.clients),
        ),
        ("who saw what", seen(mode).to_owned()),
        ("accuracy", format!("{:.4} on {held_out} rows that no silo has", summary.test_accuracy)),
        ("promise", promise(summary, plan.privacy.relation())),
        ("noise", noise(plan)),
        ("trust", trust(summary, plan)),
        ("dropouts", format!("{} of {} silos missed at least one sum", summary.dropouts, summary.clients)),
        (
            "time",
            format!(
                "{:.1} s in all; the median secure round took {:.0} ms",
                summary.wall_seconds,
                summary.seconds_per_round_median * 1000.0
            ),
        ),
        ("note", timing.to_owned()),
        (
            "chain",
            if summary.chain_verified { "verified, from the initial model on" } else { "NOT verified" }
                .into(),
        ),
        ("model", summary.model_path.clone()),
        ("check it", check.to_owned()),
    ];
    rows.map(|(name, value)| format!("{name:<13} {value}\n")).concat()
}

fn promise(summary: &Summary, relation: Option<Relation>) -> String {
    match (summary.epsilon, summary.delta) {
        (Some(epsilon), Some(delta)) => format!(
            "({}, {delta})-differential privacy of {}; relation: {}",
            rounded_up(epsilon, 3),
            Unit::hidden_by_name(&summary.privacy_unit),
            Relation::or_none(relation)
        ),
        _ => "NO differential privacy: sums are exact, and can be differenced across rounds".into(),
    }
}

fn trust(summary: &Summary, plan: &Plan) -> String {
    match plan.mode() {
        PrivacyMode::SiloDpSgd | PrivacyMode::CentralDpFedavg => plan.trust(),
        _ => format!(
            "at most {} of {} silos colludes with the coordinator",
            plan.cohort.corrupt, summary.clients
        ),
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

/// A line for one version that was published, so many seconds after the run's begin; `budget` is the run's epsilon.
pub fn version_line(version: &EvaluatedVersion, rounds: u64, budget: Option<f64>, seconds: f64) -> String {
    let manifest = &version.manifest;
    let epsilon = match (manifest.privacy.epsilon, budget) {
        (Some(spent), Some(budget)) => format!("{} of {}", rounded_up(spent, 2), rounded_up(budget, 2)),
        _ => "-".into(),
    };
    let outcome = if manifest.round == 0 { "initial" } else { "committed" };
    let left_out: Vec<String> = manifest
        .left_out
        .iter()
        .map(|left_out| format!("silo-{}: {}", left_out.client, left_out.reason))
        .collect();
    let line = format!(
        "{:>5}/{rounds:<4} {outcome:<9} {:>6}  {:>8.4}  {epsilon:<15} {seconds:>8.2}  {}",
        manifest.round,
        manifest.included.len(),
        version.accuracy,
        left_out.join("; ")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::demo_plan;
    use crate::samples::version;
    use crate::summary::DemoEnd;

    fn summary(last: EvaluatedVersion) -> Summary {
        let ending = DemoEnd {
            clients: 5,
            wall_seconds: 2.0,
            model_path: Path::new("/m/model.safetensors"),
            chain_verified: true,
        };
        Summary::of(&[version(0, &[]), last], &ending).unwrap()
    }

    #[test]
    fn the_text_says_what_a_newcomer_must_know() {
        let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        let mut last = version(1, &[1, 2, 3, 4, 5]);
        last.manifest.privacy.unit = "record".into();
        let text = summary_text(&summary(last), &plan, "folkmoot verify /m");
        for part in [
            "softmax regression",
            "1438 rows",
            "359 rows that no silo has",
            "0.00001)-differential privacy",
            "differential privacy of one row; relation: ",
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

    #[test]
    fn where_nothing_is_promised_the_text_says_so() {
        let mut last = version(1, &[1, 2, 3, 4, 5]);
        last.manifest.privacy.epsilon = None;
        last.manifest.privacy.delta = None;
        let plan = demo_plan(PrivacyMode::Fedavg, 5, None, None).unwrap();
        assert!(summary_text(&summary(last), &plan, "").contains("NO differential privacy"));
    }

    #[test]
    fn a_line_names_round_outcome_accuracy_epsilon_seconds_and_who_was_left_out() {
        let line = version_line(&version(7, &[1, 2, 3, 4]), 30, Some(4.9), 1.5);
        for part in ["7/30", "committed", " 4 ", "0.9000", "0.70 of 4.90", "1.50", "silo-5: was too late"] {
            assert!(line.contains(part), "no {part:?} in {line:?}");
        }
    }

    #[test]
    fn without_a_budget_no_epsilon_is_shown() {
        let line = version_line(&version(7, &[1, 2, 3, 4, 5]), 30, None, 1.5);
        assert!(!line.contains("of 4.90") && !line.contains("left out"), "{line:?}");
    }
}
