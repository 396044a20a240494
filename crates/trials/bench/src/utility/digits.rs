//! Digits, five silos: the secure sum of shares of noise against a trusted centre with the same noise.

use std::fmt::Write;

use accounting::rounded_up;
use datasets::{Dataset, digits};
use params::Activation;
use plan::{Model, Plan, Privacy, Promise, Sampling, Scheme};

use super::measure::{DELTA, Setup, accuracies, averaging, epsilon, mean, percent, training};
use crate::error::UtilityError;

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
/// Learning rates that are tried for every mode.
const RATES: [f64; 5] = [0.35, 0.7, 1.4, 2.8, 5.6];
const TUNING_SEEDS: u8 = 3;
/// One training row in so many is kept apart while a rate is chosen.
const VALIDATION_EVERY: usize = 5;

pub(super) fn report(seeds: u8) -> Result<String, UtilityError> {
    let mut text = format!(
        "# Digits: what the noise costs\n\n\
         Made by `folkmoot bench utility`; {seeds} seeds, mean ± standard deviation of the held-out accuracy in per cent\n\
         (359 rows). Five silos that hold equal shares of 1,438 rows; clip norm {CLIP}, noise multiplier {NOISE}, sampling rate\n\
         {RATE}, delta {DELTA:e}; epsilon by RDP at integer orders, for one record added or removed. *Trusted centre*: all rows\n\
         in one place, noise added there (central DP-SGD). *Mode B*: each silo adds a share of the noise, nobody is trusted but for at\n\
         most one colluder; excess noise is removed. *Mode A*: each silo adds all the noise of its own steps and trusts nobody;\n\
         sampling rate {SILO_RATE}, {LOCAL_STEPS} local steps a round.\n\n\
         Each figure's learning rate, in brackets, is the one of {RATES:?} that did best after as many steps, over\n\
         {TUNING_SEEDS} seeds, on a fifth of the training rows after training on the others; the held-out rows played no part in it.\n"
    );
    for (name, hidden) in [("Softmax regression", vec![]), ("Perceptron, 64-32-10", vec![32])] {
        section(&mut text, name, &hidden, seeds)?;
    }
    Ok(text)
}

fn section(text: &mut String, name: &str, hidden: &[usize], seeds: u8) -> Result<(), UtilityError> {
    let central = |rate| plan(hidden, rate, 1, 1);
    let mode_b = |rate| plan(hidden, rate, SILOS, HONEST_MIN);
    let mode_a = |rate| mode_a(hidden, rate);
    let silo_rounds = SILO_STEPS.map(|steps| steps / u64::from(LOCAL_STEPS));

    let part = |wanted: &dyn Fn(usize) -> bool| {
        let rows = |silo| digits::silo_rows(silo, SILOS).enumerate().filter(|(place, _)| wanted(*place));
        let rows: Vec<Vec<&str>> = (0..SILOS).map(|silo| rows(silo).map(|(_, row)| row).collect()).collect();
        Parts::of(&central(1.0), &rows)
    };
    let all = part(&|_| true)?;
    let fitted = part(&|place| place % VALIDATION_EVERY != 0)?;
    let validation = part(&|place| place % VALIDATION_EVERY == 0)?.pooled;
    let held_out = table(&central(1.0), digits::held_out_rows())?;
    let trusted = tuned(central, &[fitted.pooled], &[all.pooled], &validation, &held_out, &STEPS, seeds)?;
    let federated = tuned(mode_b, &fitted.silos, &all.silos, &validation, &held_out, &STEPS, seeds)?;
    let alone = tuned(mode_a, &fitted.silos, &all.silos, &validation, &held_out, &silo_rounds, seeds)?;
    let _ = write!(
        text,
        "\n## {name}\n\n| steps | epsilon | trusted centre | mode B | difference |\n| --- | --- | --- | --- | --- |\n"
    );
    for ((steps, trusted), federated) in STEPS.iter().zip(&trusted).zip(&federated) {
        let _ = writeln!(
            text,
            "| {steps} | {} | {trusted} | {federated} | {:+.1} |",
            rounded_up(epsilon(RATE, NOISE, *steps)?, 2),
            100.0 * (mean(&federated.accuracies) - mean(&trusted.accuracies)),
        );
    }
    let _ = write!(text, "\n| steps in each silo | epsilon | mode A |\n| --- | --- | --- |\n");
    for (steps, tuned) in SILO_STEPS.iter().zip(&alone) {
        let _ =
            writeln!(text, "| {steps} | {} | {tuned} |", rounded_up(epsilon(SILO_RATE, NOISE, *steps)?, 2));
    }
    Ok(())
}

/// Accuracies on held-out rows, one for each seed, with the learning rate that was chosen on other rows.
struct Tuned {
    rate: f64,
    accuracies: Vec<f64>,
}

impl std::fmt::Display for Tuned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", percent(&self.accuracies), self.rate)
    }
}

/// For each number of rounds: chooses the rate, and measures with it.
fn tuned(
    plan: impl Fn(f64) -> Plan,
    fitted: &[Dataset],
    all: &[Dataset],
    validation: &Dataset,
    held_out: &Dataset,
    rounds: &[u64],
    seeds: u8,
) -> Result<Vec<Tuned>, UtilityError> {
    let mut best = vec![(f64::NEG_INFINITY, f64::NAN); rounds.len()];
    for rate in RATES {
        let measured = accuracies(&plan(rate), fitted, validation, rounds, TUNING_SEEDS)?;
        let means: Vec<f64> = measured.iter().map(|accuracies| mean(accuracies)).collect();
        eprintln!("  rate {rate}: {means:.3?} of the validation rows");
        for (best, mean) in best.iter_mut().zip(means) {
            if mean > best.0 {
                *best = (mean, rate);
            }
        }
    }
    let chosen = best.into_iter().zip(rounds);
    chosen
        .map(|((_, rate), rounds)| {
            let accuracies = accuracies(&plan(rate), all, held_out, &[*rounds], seeds)?.concat();
            Ok(Tuned { rate, accuracies })
        })
        .collect()
}

/// The same rows in five silos and in one place.
struct Parts {
    silos: Vec<Dataset>,
    pooled: Dataset,
}

impl Parts {
    fn of(plan: &Plan, rows: &[Vec<&'static str>]) -> Result<Self, UtilityError> {
        let silos = rows.iter().map(|rows| table(plan, rows.iter().copied())).collect::<Result<_, _>>()?;
        Ok(Self { silos, pooled: table(plan, rows.iter().flatten().copied())? })
    }
}

/// The same model and noise, all of it added in each silo.
fn mode_a(hidden: &[usize], rate: f64) -> Plan {
    let mut plan = plan(hidden, 1.0, SILOS, HONEST_MIN);
    plan.training.learning_rate = rate;
    plan.privacy = Privacy::Private(Promise {
        epsilon: 20.0,
        delta: DELTA,
        noise_multiplier: NOISE,
        clip_norm: CLIP,
        scale_bits: 16,
        scheme: Scheme::SiloDpSgd {
            sampling: Sampling {
                unit: plan::Sampled::Record,
                rate: SILO_RATE,
                divisor: SILO_RATE * ROWS / SILOS as f64,
                rows_max: 1024,
            },
            local_steps: LOCAL_STEPS,
            coordinate_max: 8.0,
            fraction_bits: 24,
        },
    });
    plan
}

fn plan(hidden: &[usize], rate: f64, silos: usize, honest_min: usize) -> Plan {
    let steps = STEPS.into_iter().fold(0, u64::max);
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
        privacy: Privacy::Private(Promise {
            epsilon: 8.0,
            delta: DELTA,
            noise_multiplier: NOISE,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling {
                    unit: plan::Sampled::Record,
                    rate: RATE,
                    divisor: RATE * ROWS,
                    rows_max: 1024,
                },
                // A centre of one silo has no excess, and nobody to share seeds with.
                remove_excess_noise: silos > 1,
                adaptive_clip: None,
            },
        }),
        honest_min,
        rounds: steps,
    }
    .plan(silos)
}

fn table(plan: &Plan, rows: impl Iterator<Item = &'static str>) -> Result<Dataset, UtilityError> {
    Ok(Dataset::from_csv("digits.csv", digits::table(rows).as_bytes(), &plan.data)?)
}
