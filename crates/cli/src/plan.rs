//! `folkmoot plan`: whether a plan can be meant, and what it costs a silo.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::Policy;

use crate::Failure;

/// A lane is 32 bits on the way.
const LANE_BYTES: u64 = wire::limits::LANE_BYTES;

#[derive(Subcommand, Debug)]
pub(crate) enum Plan {
    /// Print what a plan promises and costs, or everything that is wrong with it.
    #[command(after_help = "Example:\n  folkmoot plan check plan.toml --policy client.toml")]
    Check {
        /// The plan, TOML.
        file: PathBuf,
        /// A silo's policy, or its client.toml with the table [policy]: would that silo take part?
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let Plan::Check { file, policy } = plan;
    let plan = identity::Plan::from_toml(&read(file)?)
        .map_err(|why| Failure::usage(format!("`{}`: {why}", file.display())))?;
    print!("{}", report(&plan));
    if let Some(file) = policy {
        let policy = Policy::from_toml(&policy_table(&read(file)?))
            .map_err(|why| Failure::usage(format!("`{}`: {why}", file.display())))?;
        policy.check(&plan).map_err(|why| Failure::usage(format!("the policy refuses the plan: {why}")))?;
        println!("policy        accepts the plan");
    }
    Ok(())
}

/// The table `[policy]` of a client's configuration, or the whole text where there is none.
fn policy_table(text: &str) -> String {
    let table = text.parse::<toml::Table>().ok().and_then(|mut table| table.remove("policy"));
    table.and_then(|policy| toml::to_string(&policy).ok()).unwrap_or_else(|| text.to_owned())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|why| Failure::usage(format!("`{}`: cannot be read: {why}", file.display())))
}

fn report(plan: &identity::Plan) -> String {
    let mode = plan.mode();
    let lanes = plan.lanes();
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<13} {value}\n"));
    row("plan", plan.digest().to_string());
    row("rounds", plan.rounds.to_string());
    row("mode", mode.to_string());
    row(
        "promise",
        plan.budget().map_or_else(
            || "none: exact sums, no differential privacy".into(),
            |(epsilon, delta)| format!("(epsilon {epsilon}, delta {delta})"),
        ),
    );
    row("unit", mode.unit().into());
    row("relation", mode.relation().into());
    row("noise by", mode.noise_by().into());
    row("trust", plan.trust());
    let cohort = &plan.cohort;
    row(
        "cohort",
        format!(
            "{} to {} silos, {} corrupt, at least {} honest in any sum",
            cohort.minimum, cohort.maximum, cohort.corrupt, cohort.honest_min
        ),
    );
    row("dropouts", format!("a round of {} survives {}", cohort.maximum, dropouts_survived(cohort)));
    row("parameters", plan.architecture().parameter_count().to_string());
    row("lanes", lanes.to_string());
    row("upload", format!("{} bytes a silo and round", lanes as u64 * LANE_BYTES));
    text
}

/// Silos of the largest cohort that may be lost after they shared their keys.
fn dropouts_survived(cohort: &identity::Cohort) -> usize {
    let threshold = secagg::Threshold::new(cohort.maximum, cohort.corrupt);
    let tolerated = threshold.map_or(0, secagg::Threshold::dropouts_tolerated);
    tolerated.min(cohort.maximum.saturating_sub(cohort.minimum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Mode, demo_plan};

    fn check(plan: &str, policy: Option<&str>) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.toml");
        fs::write(&file, plan).unwrap();
        let policy = policy.map(|text| {
            let file = folder.path().join("policy.toml");
            fs::write(&file, text).unwrap();
            file
        });
        run(&Plan::Check { file, policy })
    }

    #[test]
    fn a_report_states_the_promise_its_unit_and_the_bytes_of_an_upload() {
        let report = report(&demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap());
        for fact in ["distributed_dp_sgd", "epsilon 4.9, delta 0.00001", "record", "650", "2600 bytes"] {
            assert!(report.contains(fact), "no {fact:?} in\n{report}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let plan = demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap().to_toml();
        let why = check(&format!("colour = 1\n{plan}"), None).unwrap_err().to_string();
        assert!(why.contains("line 1") && why.contains("colour"), "{why}");
    }

    #[test]
    fn the_samples_of_deploy_accept_each_other() {
        let client = include_str!("../../../deploy/config/client.toml");
        check(include_str!("../../../deploy/config/plan.toml"), Some(client)).unwrap();
        let stricter = client.replace("epsilon_max = 5.0", "epsilon_max = 1.0");
        let why = check(include_str!("../../../deploy/config/plan.toml"), Some(&stricter)).unwrap_err();
        assert!(why.to_string().contains("this silo's epsilon_max is 1"), "{why}");
    }

    #[test]
    fn the_dropouts_that_a_round_survives_are_capped_by_the_smallest_cohort() {
        let of = |minimum, maximum| {
            dropouts_survived(&identity::Cohort { minimum, maximum, corrupt: 1, honest_min: 2 })
        };
        assert_eq!([of(3, 3), of(4, 5), of(5, 5), of(3, 12)], [0, 1, 0, 5]);
    }

    #[test]
    fn a_policy_that_refuses_the_plan_says_why() {
        let plan = demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap().to_toml();
        let policy = |epsilon: f64| {
            format!(
                "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = {epsilon:?}\ndelta_max = 1e-5\n\
                 privacy_modes = [\"distributed_dp_sgd\"]\naccepts_undetected_rollback = true\n"
            )
        };
        check(&plan, Some(&policy(5.0))).unwrap();
        let why = check(&plan, Some(&policy(1.0))).unwrap_err().to_string();
        assert!(why.contains("this silo's epsilon_max is 1"), "{why}");
    }
}
