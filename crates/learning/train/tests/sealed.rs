//! That a seal changes nothing of what a trainer brings.

mod asked;

use plan::{Exact, Plan, Privacy, PrivacyMode, Promise, Sampling, Scheme, Weights};
use sandbox::{Demand, Level, SealProfile};

use crate::asked::{Asked, spawner};

const ROWS: usize = 200;

/// The same plan in each mode whose silos train in a way of their own.
fn plans() -> [Plan; 4] {
    let plan = |privacy| asked::plan(16, 32, privacy);
    let private = |scheme| {
        plan(Privacy::Private(Promise {
            epsilon: 1e15,
            delta: 1e-5,
            noise_multiplier: 0.5,
            clip_norm: 0.5,
            scale_bits: 16,
            scheme,
        }))
    };
    let sampling = Sampling { unit: plan::Sampled::Record, rate: 0.5, divisor: 100.0, rows_max: 256 };
    [
        plan(Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 20,
            weights: Weights::Uniform,
            evaluate: true,
            loss_max: 10.0,
        })),
        private(Scheme::DistributedDpSgd { sampling, remove_excess_noise: false, adaptive_clip: None }),
        private(Scheme::SiloDpSgd { sampling, local_steps: 3, coordinate_max: 4.0, fraction_bits: 20 }),
        private(Scheme::DistributedDpFedavg { remove_excess_noise: false, adaptive_clip: None }),
    ]
}

#[test]
#[expect(clippy::print_stdout, reason = "a machine without Landlock says so")]
fn a_sealed_trainer_brings_to_the_bit_what_an_unsealed_one_brings() {
    let plans = plans();
    assert_eq!(
        plans.each_ref().map(Plan::mode),
        [
            PrivacyMode::Fedavg,
            PrivacyMode::DistributedDpSgd,
            PrivacyMode::SiloDpSgd,
            PrivacyMode::DistributedDpFedavg
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("silo.csv");
    std::fs::write(&data, asked::table(&plans[0], ROWS)).unwrap();
    asked::allow(&data, &plans[0]);
    if Asked::start(&spawner(&data, Demand::BestEffort, None)).unwrap().level.landlock == 0 {
        println!("no Landlock on this machine: what a sealed trainer brings was not tried");
        return;
    }
    let spawners = [Demand::Required, Demand::Off].map(|demand| spawner(&data, demand, None));
    for plan in plans {
        let mode = plan.mode();
        asked::allow(&data, &plan);
        // As a daemon has them: a process for each run.
        let [mut sealed, mut unsealed] = spawners.each_ref().map(|spawner| Asked::start(spawner).unwrap());
        assert!(sealed.level.is_full(), "{}", sealed.level);
        assert_eq!(unsealed.level, Level::none(Demand::Off, SealProfile::Native));
        assert_eq!(sealed.read(&plan), unsealed.read(&plan), "{mode}");
        let of_seeds = [1, 2].map(|seed| {
            let brought = sealed.train(&plan, seed).to_bytes();
            assert!(brought == unsealed.train(&plan, seed).to_bytes(), "{mode}, seed {seed}");
            brought
        });
        // Else trainers that do nothing would pass.
        assert!(of_seeds[0] != of_seeds[1], "{mode}");
        for (spawner, asked) in spawners.iter().zip([sealed, unsealed]) {
            spawner.end(asked.id).unwrap();
        }
    }
}
