//! What would make a plan better at the same promise.

use accounting::{Budget, NoiseMultiplier, calibrate, steps_allowed};

use plan::{Mechanism, Plan};

use crate::ForecastError;

/// What would fit the budget exactly.
pub(crate) fn suggestions(plan: &Plan) -> Result<Vec<String>, ForecastError> {
    let Some((event, (epsilon, delta))) = plan.event().zip(plan.budget()) else { return Ok(Vec::new()) };
    let (rate, noise, _) = event.parts();
    let sums = event.sums(plan.rounds);
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

/// How much less noise a step's mean would have with batches twice as large: noise grows by less than the batch does. Nothing where
/// every record is in every batch already.
fn larger_batches(
    rate: f64,
    noise: f64,
    calibrated: impl Fn(f64) -> Option<NoiseMultiplier>,
) -> Option<String> {
    if rate >= 1.0 {
        return None;
    }
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
    *without.privacy.promise_mut()?.remove_excess_noise_mut()? = true;
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

    #[test]
    fn no_larger_batch_is_suggested_than_the_whole_table_however_much_noise_there_is_too_much() {
        let suggested = |rate| larger_batches(rate, 50.0, |rate| calibrate(4.0, 1e-5, rate, 10).ok());
        assert_eq!(suggested(1.0), None);
        let half = suggested(0.75).unwrap();
        assert!(half.starts_with("sampling_rate = 1 with noise_multiplier = "), "{half}");
        assert!(!half.contains("divisor 1 times"), "{half}");
    }
}
