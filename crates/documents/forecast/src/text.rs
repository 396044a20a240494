//! A forecast, for people.

use crate::{Epsilons, Forecast, ServerStep};
use accounting::rounded_up;
use identity::span;

/// A name, and what is said of it.
type Row = (&'static str, String);

impl Forecast {
    /// A line for each figure, then the warnings and the suggestions.
    pub fn to_text(&self) -> String {
        let mut rows = match &self.epsilon {
            None => vec![("epsilon", "none: exact sums".into())],
            Some(epsilon) => spent(epsilon),
        };
        rows.extend(self.noise.as_ref().map(|noise| {
            let run = noise.ratio_of_run.map_or_else(String::new, |ratio| {
                format!("; over {} rounds, which add up, {:.1} %", self.rounds, 100.0 * ratio)
            });
            let said = format!(
                "norm {:.4} a round, {:.1} % of a largest step's {:.4}{run}",
                noise.noise_norm,
                100.0 * noise.ratio,
                noise.signal_norm_max,
            );
            ("noise", said)
        }));
        rows.extend(self.server_step.map(|step| ("server step", largest_step(step))));
        rows.extend(needed(self));
        rows.push((
            "dropouts",
            format!("{} of the largest cohort may be lost after sharing keys", self.dropouts_tolerated),
        ));
        rows.push(("honest floor", format!("{} honest silos in any sum that opens", self.honest_floor)));
        rows.extend(self.warnings.iter().map(|warning| ("WARNING", warning.clone())));
        rows.extend(self.suggestions.iter().map(|suggestion| ("suggestion", suggestion.clone())));
        rows.into_iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
    }
}

fn largest_step(step: ServerStep) -> String {
    let moves = if step.follows_the_clip_norm { "; it shrinks and grows with the clip norm" } else { "" };
    format!(
        "norm {:.4} at most, noise aside: learning_rate {} x {} / (1 - momentum {}){moves}",
        step.norm, step.learning_rate, step.step, step.momentum
    )
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
fn needed(forecast: &Forecast) -> [Row; 4] {
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
        "about {:.2} s a round beside training (masks at 1.5 GB/s, noise at 4 M/s, network at 100 Mbit/s), {} at most",
        forecast.seconds.per_round_beside_training,
        span((1e3 * forecast.seconds.per_round_at_most) as u64)
    );
    let training = format!(
        "about {:.2} s a silo and round, {} at 1 G multiplications a second",
        forecast.training.seconds,
        forecast.training.rows_said()
    );
    [("bytes", bytes), ("memory", memory), ("time", time), ("training", training)]
}

fn sized(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
