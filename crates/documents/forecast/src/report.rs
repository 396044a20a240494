//! What a plan promises and asks, for people.

use accounting::{Relation, Unit};

use plan::{Cohort, Plan};

/// What a plan promises and asks, a line each, without its costs.
pub fn report(plan: &Plan) -> String {
    let mode = plan.mode();
    let lanes = plan.lanes();
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<13} {value}\n"));
    // Without its id a plan has another digest than the one that will be signed.
    match &plan.id {
        None if plan.format.is_some() => row("plan", "not signed yet: signing draws its id".into()),
        _ => row("plan", plan.digest().to_string()),
    }
    row("format", plan.format().to_string());
    row("federation", plan.federation.clone().unwrap_or_else(|| "any whose silos do not forbid that".into()));
    row("rounds", plan.rounds.to_string());
    row("mode", mode.to_string());
    row(
        "promise",
        plan.budget().map_or_else(
            || "none: exact sums, no differential privacy".into(),
            |(epsilon, delta)| format!("(epsilon {epsilon}, delta {delta})"),
        ),
    );
    row("hides", Unit::hidden_by_name(Unit::or_none(plan.unit())).into());
    row("relation", Relation::or_none(plan.privacy.relation()).into());
    row("noise by", mode.noise_by().into());
    if plan.excess_noise().is_removed() {
        row("excess noise", "removed: of u silos in a sum, any u - corrupt keep the calibrated noise".into());
    }
    if let (Some(adaptive), Some(clip_norm)) = (plan.adaptive_clipping(), plan.clip_norm()) {
        row(
            "clip norm",
            format!(
                "from {clip_norm} on it follows the quantile {} of the norms; counting who is within is {} % of the \
                 squared sensitivity, and in the epsilon",
                adaptive.target_quantile,
                100.0 * adaptive.share
            ),
        );
    }
    row("trust", plan.trust());
    row("own trainer", format!("trusted with {}", mode.trusts_the_trainer_with()));
    let cohort = &plan.cohort;
    row(
        "cohort",
        format!(
            "{} to {} silos, {} corrupt, at least {} honest in any sum",
            cohort.minimum, cohort.maximum, cohort.corrupt, cohort.honest_min
        ),
    );
    row("dropouts", survived(cohort));
    row("patience", format!("{} days for willing silos, where too few are", plan.timing.days_of_patience()));
    for (name, what) in plan.data.described() {
        row(&name, what);
    }
    row("parameters", plan.architecture().parameter_count().to_string());
    row("lanes", lanes.to_string());
    row("upload", format!("{} bytes a silo and round", lanes as u64 * Plan::LANE_BYTES));
    text
}

/// Of the largest cohort, and of the smallest where that is another answer.
fn survived(cohort: &Cohort) -> String {
    let smallest = Cohort { maximum: cohort.minimum, ..cohort.clone() };
    let said = |cohort: &Cohort| match cohort.dropouts_survived() {
        0 => format!("a round of {} survives none", cohort.maximum),
        lost => format!("a round of {} survives {lost}", cohort.maximum),
    };
    match smallest.dropouts_survived() == cohort.dropouts_survived() {
        true => said(cohort),
        false => format!("{}, {}", said(cohort), said(&smallest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_round_survives_is_said_of_the_smallest_cohort_too_where_it_is_another_number() {
        let said = |minimum, maximum| survived(&Cohort { minimum, maximum, corrupt: 1, honest_min: 2 });
        assert_eq!(said(3, 7), "a round of 7 survives 2, a round of 3 survives none");
        assert_eq!(said(3, 3), "a round of 3 survives none");
    }
}
