//! Digits, five silos: the secure sum of shares of noise against a trusted centre with the same noise.

use std::fmt::Write;

use datasets::{Dataset, digits};
use identity::{Model, Plan, Privacy};
use params::Activation;

use super::measure::{DELTA, Setup, accuracies, averaging, epsilon, mean, percent, training};
use crate::Failure;

const SILOS: usize = 5;
/// `t - c` of five silos, one of them corrupt.
const HONEST_MIN: usize = 3;
const CLIP: f64 = 1.0;
const NOISE: f64 = 1.1;
const RATE: f64 = 0.0435;
const ROWS: f64 = 1437.0;
/// Mode A: a silo's own rate, as its rows are a fifth of all.
const SILO_RATE: f64 = 0.2;
const SILO_STEPS: [u64; 4] = [5, 20, 50, 250];
/// Of a round.
const LOCAL_STEPS: u32 = 5;
const STEPS: [u64; 4] = [80, 170, 360, 760];

pub(super) fn report(seeds: u8) -> Result<String, Failure> {
    let mut text = format!(
        "# Digits: what the noise costs\n\n\
         Made by `folkmoot bench utility`; {seeds} seeds, mean ± standard deviation of the held-out accuracy in per cent\n\
         (359 rows). Five silos that hold equal shares of 1,438 rows; clip norm {CLIP}, noise multiplier {NOISE}, sampling rate\n\
         {RATE}, delta {DELTA:e}; epsilon by RDP at integer orders, for one record added or removed. *Trusted centre*: all rows\n\
         in one place, noise added there (central DP-SGD). *Mode B*: each silo adds a share of the noise, nobody is trusted but for at\n\
         most one colluder. *Mode A*: each silo adds all the noise of its own steps and trusts nobody; sampling rate {SILO_RATE},\n\
         {LOCAL_STEPS} local steps a round.\n"
    );
    for (name, hidden, learning_rate) in
        [("Softmax regression", vec![], 0.4), ("Perceptron, 64-32-10", vec![32], 0.35)]
    {
        section(&mut text, name, &hidden, learning_rate, seeds)?;
    }
    Ok(text)
}

fn section(text: &mut String, name: &str, hidden: &[usize], rate: f64, seeds: u8) -> Result<(), Failure> {
    let centre = plan(hidden, rate, 1, 1);
    let mode_b = plan(hidden, rate, SILOS, HONEST_MIN);
    let held_out = table(&centre, digits::held_out_rows())?;
    let pooled = [table(&centre, digits::training_rows())?];
    let silos = (0..SILOS)
        .map(|silo| table(&centre, digits::silo_rows(silo, SILOS)))
        .collect::<Result<Vec<_>, _>>()?;
    let central = accuracies(&centre, &pooled, &held_out, &STEPS, seeds)?;
    let federated = accuracies(&mode_b, &silos, &held_out, &STEPS, seeds)?;
    let _ = write!(
        text,
        "\n## {name}\n\nLearning rate {rate}, chosen among a few on these same held-out rows.\n\n| steps | epsilon | trusted centre | mode B | difference |\n| --- | --- | --- | --- | --- |\n"
    );
    for ((steps, central), federated) in STEPS.iter().zip(&central).zip(&federated) {
        let _ = writeln!(
            text,
            "| {steps} | {:.2} | {} | {} | {:+.1} |",
            epsilon(RATE, NOISE, *steps)?,
            percent(central),
            percent(federated),
            100.0 * (mean(federated) - mean(central)),
        );
    }
    let mode_a = mode_a(hidden, rate);
    let rounds = SILO_STEPS.map(|steps| steps / u64::from(LOCAL_STEPS));
    let alone = accuracies(&mode_a, &silos, &held_out, &rounds, seeds)?;
    let _ = write!(text, "\n| steps in each silo | epsilon | mode A |\n| --- | --- | --- |\n");
    for (steps, accuracies) in SILO_STEPS.iter().zip(&alone) {
        let epsilon = epsilon(SILO_RATE, NOISE, *steps)?;
        let _ = writeln!(text, "| {steps} | {epsilon:.2} | {} |", percent(accuracies));
    }
    Ok(())
}

/// The same model and noise, all of it added in each silo.
fn mode_a(hidden: &[usize], rate: f64) -> Plan {
    let mut plan = plan(hidden, 1.0, SILOS, HONEST_MIN);
    plan.training.learning_rate = rate;
    plan.privacy = Privacy::SiloDpSgd {
        epsilon: 20.0,
        delta: DELTA,
        noise_multiplier: NOISE,
        clip_norm: CLIP,
        sampling_rate: SILO_RATE,
        divisor: SILO_RATE * ROWS / SILOS as f64,
        local_steps: LOCAL_STEPS,
        scale_bits: 16,
        batch_rows_max: 1024,
        coordinate_max: 8.0,
        fraction_bits: 24,
    };
    plan
}

fn plan(hidden: &[usize], rate: f64, silos: usize, honest_min: usize) -> Plan {
    let steps = STEPS.iter().copied().max().unwrap_or_default();
    Setup {
        data: digits::data_section([0.0, 1.0]),
        model: Model {
            hidden: hidden.to_vec(),
            activation: Activation::Tanh,
            initial_seed: 1,
            network: None,
        },
        training: training(1, 32, 0.1),
        server: averaging(rate, 0.0),
        privacy: Privacy::DistributedDpSgd {
            epsilon: 8.0,
            delta: DELTA,
            noise_multiplier: NOISE,
            clip_norm: CLIP,
            sampling_rate: RATE,
            divisor: RATE * ROWS,
            scale_bits: 16,
            batch_rows_max: 1024,
            remove_excess_noise: false,
            adaptive_clip: None,
        },
        honest_min,
        rounds: steps,
    }
    .plan(silos)
}

fn table(plan: &Plan, rows: impl Iterator<Item = &'static str>) -> Result<Dataset, Failure> {
    Dataset::from_csv("digits.csv", digits::table(rows).as_bytes(), &plan.data).map_err(Failure::failed)
}
