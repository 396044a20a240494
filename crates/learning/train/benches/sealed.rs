//! What a seal costs: how long a trainer takes until it is ready, and how fast it trains, beside one that nothing holds.

#[path = "../tests/asked/mod.rs"]
mod asked;

use std::time::Instant;

use plan::{Exact, Plan, Privacy, Promise, Sampling, Scheme, Weights};
use sandbox::Demand;
use spawner::Spawner;

use crate::asked::{Asked, spawner};

const PIXELS: usize = 28 * 28;
const ROWS: usize = 3_000;
const ALTERNATIONS: usize = 20;

/// A trainer that is ready: one without a registration refuses none.
fn started(spawner: &Spawner) -> Asked {
    Asked::start(spawner).unwrap()
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() {
    let plans = plans();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("silo.csv");
    std::fs::write(&data, asked::table(&plans[0], ROWS)).unwrap();
    asked::allow(&data, &plans[0]);
    if started(&spawner(&data, Demand::BestEffort, None)).level.landlock == 0 {
        println!("no Landlock on this machine: what a seal costs was not measured");
        return;
    }
    let spawners = [Demand::Required, Demand::Off].map(|demand| spawner(&data, demand, None));

    let starts = paired(|which| start_seconds(&spawners[which]));
    let [sealed, unsealed] =
        [0, 1].map(|which| 1e3 * quartiles(starts.iter().map(|pair| pair[which]).collect())[1]);
    println!("start until ready, median of {ALTERNATIONS}: sealed {sealed:.1} ms, unsealed {unsealed:.1} ms");

    for plan in &plans {
        asked::allow(&data, plan);
        let mut trainers = spawners.each_ref().map(started);
        println!("sealed: {}", trainers[0].level);
        for trainer in &mut trainers {
            trainer.read(plan);
            // Warm.
            trainer.train(plan, 0);
        }
        let pairs = paired(|which| training_seconds(&mut trainers[which], plan));
        let rates =
            [0, 1].map(|which| ROWS as f64 / quartiles(pairs.iter().map(|pair| pair[which]).collect())[1]);
        // Of throughputs: seconds of the unsealed over those of the sealed.
        let [low, median, high] =
            quartiles(pairs.iter().map(|[sealed, unsealed]| unsealed / sealed).collect());
        println!(
            "{}, {} parameters: sealed {:.0} rows/s, unsealed {:.0} rows/s; throughput sealed over unsealed, median of \
             {ALTERNATIONS} pairs {median:.3}, quartiles {low:.3} to {high:.3}",
            plan.mode(),
            plan.initial_model().values().len(),
            rates[0],
            rates[1],
        );
        for (spawner, trainer) in spawners.iter().zip(trainers) {
            spawner.end(trainer.id).unwrap();
        }
    }
}

/// Seconds sealed and unsealed, one directly after the other, and first each in turn, so that whatever else the machine does
/// meets both.
fn paired(mut seconds: impl FnMut(usize) -> f64) -> Vec<[f64; 2]> {
    let pair = |turn: usize| {
        let first = turn % 2;
        let mut pair = [0.0; 2];
        pair[first] = seconds(first);
        pair[1 - first] = seconds(1 - first);
        pair
    };
    (0..ALTERNATIONS).map(pair).collect()
}

fn start_seconds(spawner: &Spawner) -> f64 {
    let start = Instant::now();
    let asked = started(spawner);
    let seconds = start.elapsed().as_secs_f64();
    spawner.end(asked.id).unwrap();
    seconds
}

fn training_seconds(trainer: &mut Asked, plan: &Plan) -> f64 {
    let start = Instant::now();
    trainer.train(plan, 1);
    start.elapsed().as_secs_f64()
}

/// The lower, the median and the upper.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| {
        let place = (values.len() - 1) as f64 * f64::from(quarter) / 4.0;
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    })
}

/// Of a perceptron with about a hundred thousand parameters: one pass over the table, in batches or row by row.
fn plans() -> [Plan; 2] {
    let plain = Privacy::Exact(Exact {
        coordinate_max: 4.0,
        fraction_bits: 20,
        weights: Weights::Uniform,
        evaluate: false,
        loss_max: 10.0,
    });
    let of_sums = Privacy::Private(Promise {
        epsilon: 1e15,
        delta: 1e-5,
        noise_multiplier: 0.5,
        clip_norm: 0.5,
        scale_bits: 16,
        scheme: Scheme::DistributedDpSgd {
            sampling: Sampling {
                unit: plan::Sampled::Record,
                rate: 1.0,
                divisor: ROWS as f64,
                rows_max: 4_096,
            },
            remove_excess_noise: false,
            adaptive_clip: None,
        },
    });
    [plain, of_sums].map(|privacy| asked::plan(PIXELS, 128, privacy))
}
