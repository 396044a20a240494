//! A forecast, for people.

use accounting::rounded_up;
use plan::forecast::{Epsilons, Forecast};

/// A name, and what is said of it.
type Row = (&'static str, String);

/// A line for each figure, then the warnings and the suggestions.
pub(super) fn text(forecast: &Forecast) -> String {
    let mut rows = match &forecast.epsilon {
        None => vec![("epsilon", "none: exact sums".into())],
        Some(epsilon) => spent(epsilon),
    };
    rows.extend(forecast.noise.as_ref().map(|noise| {
        let said = format!(
            "norm {:.4} a round against a largest signal of {:.4}: {:.1} %",
            noise.noise_norm,
            noise.signal_norm_max,
            100.0 * noise.ratio
        );
        ("noise", said)
    }));
    rows.extend(needed(forecast));
    rows.push((
        "dropouts",
        format!("{} of the largest cohort may be lost after sharing keys", forecast.dropouts_tolerated),
    ));
    rows.push(("honest floor", format!("{} honest silos in any sum that opens", forecast.honest_floor)));
    rows.extend(forecast.warnings.iter().map(|warning| ("WARNING", warning.clone())));
    rows.extend(forecast.suggestions.iter().map(|suggestion| ("suggestion", suggestion.clone())));
    rows.into_iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
}

fn spent(epsilon: &Epsilons) -> Vec<Row> {
    let at_the_end = format!(
        "{} at the end, of {} at delta {} (RDP at integer orders: this is held to)",
        rounded_up(epsilon.at_the_end, 4),
        epsilon.budget,
        epsilon.delta
    );
    let by_round = format!(
        "{} after the first, the last adds {}",
        rounded_up(epsilon.after_one_round, 4),
        rounded_up(epsilon.last_round_adds, 4)
    );
    let continuous = format!(
        "{} by RDP at fractional orders, {} by PLD (approximations, they gate nothing)",
        rounded_up(epsilon.rdp_fractional, 4),
        rounded_up(epsilon.pld, 4)
    );
    vec![("epsilon", at_the_end), ("  by round", by_round), ("  continuous", continuous)]
}

/// What machines and the network have to bear.
fn needed(forecast: &Forecast) -> [Row; 3] {
    let bytes = format!(
        "{} up and {} down a silo and round, {} a silo and run",
        sized(forecast.bytes.up_per_silo_and_round),
        sized(forecast.bytes.down_per_silo_and_round),
        sized(forecast.bytes.per_silo_and_run)
    );
    let memory = format!(
        "a silo {} beside its table, the coordinator {}",
        sized(forecast.memory.silo_bytes),
        sized(forecast.memory.coordinator_bytes)
    );
    let time = format!(
        "about {:.2} s a round beside training (masks at 1.5 GB/s, noise at 4 M/s, network at 100 Mbit/s), {} s at most",
        forecast.seconds.per_round_beside_training, forecast.seconds.per_round_at_most
    );
    [("bytes", bytes), ("memory", memory), ("time", time)]
}

fn sized(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use accounting::calibrate;
    use demo::demo_plan;
    use plan::{Plan, PrivacyMode};

    use super::*;

    fn forecast(mode: PrivacyMode, silos: usize) -> Forecast {
        Forecast::of(&demo_plan(mode, silos, None, None).unwrap()).unwrap()
    }

    #[test]
    fn the_shipped_plan_stays_in_its_budget_by_every_accountant_and_can_work() {
        let forecast = forecast(PrivacyMode::DistributedDpSgd, 5);
        let epsilon = forecast.epsilon.as_ref().unwrap();
        assert!(epsilon.pld < epsilon.rdp_fractional && epsilon.rdp_fractional <= epsilon.at_the_end);
        assert!(epsilon.at_the_end <= epsilon.budget && epsilon.at_the_end > 0.99 * epsilon.budget);
        assert!(epsilon.last_round_adds > 0.0 && epsilon.last_round_adds < epsilon.after_one_round);
        // z C sqrt(n / (n - c)) sqrt(d) over the divisor, against C.
        let expected = 5.324 * 1.25f64.sqrt() * 650f64.sqrt() / 1437.0;
        let noise = forecast.noise.as_ref().unwrap();
        assert!((noise.ratio / expected - 1.0).abs() < 0.01, "{noise:?} {expected}");
        assert!(forecast.warnings.is_empty(), "{:?}", forecast.warnings);
        assert_eq!((forecast.dropouts_tolerated, forecast.honest_floor), (1, 2));
        assert!(!text(&forecast).contains("suggestion    sampling_rate"), "every record is in every batch");
    }

    #[test]
    fn a_mode_that_cannot_work_at_this_size_is_called_so() {
        let shown = text(&forecast(PrivacyMode::DistributedDpFedavg, 5));
        assert!(
            shown.contains("WARNING       this mode hides a whole silo") && shown.contains("USELESS"),
            "{shown}"
        );
        let shown = text(&forecast(PrivacyMode::Fedavg, 5));
        assert!(shown.contains("none: exact sums") && shown.contains("no differential privacy"), "{shown}");
    }

    #[test]
    fn excess_noise_that_could_be_removed_is_pointed_out_and_removal_is_paid_for() {
        let removing = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        let mut keeping = removing.clone();
        *keeping.privacy.promise_mut().unwrap().remove_excess_noise_mut().unwrap() = false;
        let (removing, keeping) = (Forecast::of(&removing).unwrap(), Forecast::of(&keeping).unwrap());
        // Five silos, noise calibrated to honest_min = 2 of them or to all but the corrupt one: sqrt((5/4)/(5/2)).
        let ratio = removing.noise.as_ref().unwrap().ratio / keeping.noise.as_ref().unwrap().ratio;
        assert!((ratio - 0.5f64.sqrt()).abs() < 1e-6, "{ratio}");
        let hint =
            "suggestion    remove_excess_noise = true would leave a full cohort's sums 71 % of this noise";
        assert!(text(&keeping).contains(hint), "{}", text(&keeping));
        assert!(!text(&removing).contains("remove_excess_noise"), "{}", text(&removing));
        let more = removing.bytes.up_per_silo_and_round - keeping.bytes.up_per_silo_and_round;
        assert_eq!(more, 5 * 100, "a link of noise seeds, of 100 bytes, to each silo");
    }

    #[test]
    fn larger_batches_are_suggested_where_they_have_less_noise_at_the_same_epsilon() {
        let mut plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        let sums = plan.rounds;
        let at = |plan: &mut Plan, rate: f64| {
            let promise = plan.privacy.promise_mut().unwrap();
            let least = calibrate(4.9, 1e-5, rate, sums).unwrap();
            promise.noise_multiplier = least.value();
            let sampling = promise.sampling_mut().unwrap();
            (sampling.rate, sampling.divisor) = (rate, 1437.0 * rate);
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
        assert!(text(&now).contains(&told), "{told}\n{}", text(&now));
    }

    #[test]
    fn more_noise_than_needed_is_pointed_out() {
        let mut plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
        plan.rounds = 10;
        let suggestions = Forecast::of(&plan).unwrap().suggestions;
        assert!(suggestions.iter().any(|s| s.starts_with("noise_multiplier = 3.")), "{suggestions:?}");
        assert!(
            suggestions.iter().any(|s| s == "rounds = 30 would fit the budget at this noise"),
            "{suggestions:?}"
        );
    }
}
