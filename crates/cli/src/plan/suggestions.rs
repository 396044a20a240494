//! What would make a plan better at the same promise.

use accounting::{Budget, NoiseMultiplier, calibrate, steps_allowed};
use plan::{Mechanism, Plan, Privacy};

use super::forecast::ForecastError;

/// What would fit the budget exactly.
pub(super) fn suggestions(plan: &Plan) -> Result<Vec<String>, ForecastError> {
    let Some((event, (epsilon, delta))) = plan.event().zip(plan.budget()) else { return Ok(Vec::new()) };
    let (rate, noise, steps) = event.parts();
    let sums = plan.rounds.saturating_mul(steps);
    let mut suggestions = Vec::new();
    if let Ok(least) = calibrate(epsilon, delta, rate, sums)
        && least.value() < 0.999 * noise
    {
        suggestions.push(format!("noise_multiplier = {least} is the least that keeps epsilon {epsilon}"));
    }
    let budget = Budget::new(epsilon, delta)?;
    let most = steps_allowed(&event, &budget)?;
    if most > plan.rounds {
        suggestions.push(format!("rounds = {most} would fit the budget at this noise"));
    }
    suggestions.extend(larger_batches(rate, noise, |rate| calibrate(epsilon, delta, rate, sums).ok()));
    suggestions.extend(less_excess(plan));
    Ok(suggestions)
}

/// How much less noise a step's mean would have with batches twice as large: noise grows by less than the batch does.
fn larger_batches(
    rate: f64,
    noise: f64,
    calibrated: impl Fn(f64) -> Option<NoiseMultiplier>,
) -> Option<String> {
    let larger = (2.0 * rate).min(1.0);
    let least = calibrated(larger)?;
    let ratio = (least.value() / larger) / (noise / rate);
    (ratio < 0.95).then(|| {
        format!(
            "sampling_rate = {larger} with noise_multiplier = {least}, and privacy.divisor {} times as large, would leave a mean \
             {:.0} % of this noise, at the same epsilon and more computing",
            larger / rate,
            100.0 * ratio
        )
    })
}

/// How much less noisy the sums would be without what they have beyond the calibrated noise.
fn less_excess(plan: &Plan) -> Option<String> {
    let mut without = plan.clone();
    match &mut without.privacy {
        Privacy::DistributedDpSgd { remove_excess_noise, .. }
        | Privacy::DistributedDpFedavg { remove_excess_noise, .. } => *remove_excess_noise = true,
        Privacy::Fedavg { .. } | Privacy::SiloDpSgd { .. } | Privacy::CentralDpFedavg { .. } => return None,
    }
    let sigma = |plan: &Plan| match plan.mechanism() {
        Ok(Mechanism::Sums { noise, .. } | Mechanism::Updates { noise, .. }) => {
            Some(noise.sigma_in_sum(plan.cohort.maximum))
        }
        Ok(Mechanism::Exact { .. } | Mechanism::Central { .. }) | Err(_) => None,
    };
    let ratio = sigma(&without)? / sigma(plan)?;
    (ratio < 0.95).then(|| {
        format!(
            "remove_excess_noise = true would leave a full cohort's sums {:.0} % of this noise, at the same epsilon",
            100.0 * ratio
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Mode, demo_plan};
    use crate::plan::forecast::Forecast;

    #[test]
    fn larger_batches_are_suggested_where_they_have_less_noise_at_the_same_epsilon() {
        let mut plan = demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap();
        let sums = plan.rounds;
        let at = |plan: &mut Plan, rate: f64| {
            let Privacy::DistributedDpSgd { sampling_rate, noise_multiplier, divisor, .. } =
                &mut plan.privacy
            else {
                panic!()
            };
            let least = calibrate(4.9, 1e-5, rate, sums).unwrap();
            (*sampling_rate, *noise_multiplier, *divisor) = (rate, least.value(), 1437.0 * rate);
            (least, Forecast::of(plan).unwrap())
        };
        let (_, now) = at(&mut plan, 0.05);
        let (least, then) = at(&mut plan, 0.1);
        let ratio = then.noise.as_ref().unwrap().ratio / now.noise.as_ref().unwrap().ratio;
        assert!(ratio < 0.9, "{ratio}");
        let told = format!(
            "suggestion    sampling_rate = 0.1 with noise_multiplier = {least}, and privacy.divisor 2 times as large, would leave \
             a mean {:.0} % of this noise",
            100.0 * ratio
        );
        assert!(now.text().contains(&told), "{told}\n{}", now.text());
    }

    #[test]
    fn more_noise_than_needed_is_pointed_out() {
        let mut plan = demo_plan(Mode::DistributedDpSgd, 5, None, None).unwrap();
        plan.rounds = 10;
        let suggestions = suggestions(&plan).unwrap();
        assert!(suggestions.iter().any(|s| s.starts_with("noise_multiplier = 3.")), "{suggestions:?}");
        assert!(
            suggestions.iter().any(|s| s == "rounds = 30 would fit the budget at this noise"),
            "{suggestions:?}"
        );
    }
}
