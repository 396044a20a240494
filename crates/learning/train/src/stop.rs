//! Training that is given up.

use datasets::Dataset;
use params::Params;
use plan::Plan;
use trainer::{Stop, TrainError, Trained, Trainer};

use crate::train;

/// [`crate::BurnTrainer`], which looks before each batch whether it is to go on.
#[derive(Debug, Clone, Default)]
pub struct StoppableTrainer(pub Stop);

impl Trainer for StoppableTrainer {
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Trained, TrainError> {
        train(plan, model, data, clip_norm, seed, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::SeedableRng;
    use params::Activation;
    use plan::{
        AnswerValues, Exact, Learned, Privacy, PrivacyMode, Promise, Sampling, Scheme, TrainerAnswer, Weights,
    };

    use super::*;
    use crate::BurnTrainer;
    use crate::tests::{lanes, plan, sample_at, table};

    const CLIP: f64 = 0.7;

    /// The same plan in each mode that promises something about records.
    fn modes() -> [Plan; 4] {
        let sum = plan(vec![3], Activation::Relu, 3, 2);
        let with = |privacy| Plan { privacy, ..sum.clone() };
        let silo = with(Privacy::Private(Promise {
            epsilon: 100.0,
            delta: 1e-5,
            noise_multiplier: 3.0,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::SiloDpSgd {
                sampling: Sampling { unit: plan::Sampled::Record, rate: 0.5, divisor: 4.0, rows_max: 64 },
                local_steps: 3,
                coordinate_max: 4.0,
                fraction_bits: 20,
            },
        }));
        let central = with(Privacy::Private(Promise {
            epsilon: 50.0,
            delta: 1e-5,
            noise_multiplier: 1.0,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::CentralDpFedavg { adaptive_clip: None },
        }));
        let fedavg = with(Privacy::Private(Promise {
            epsilon: 50.0,
            delta: 1e-5,
            noise_multiplier: 1.0,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::DistributedDpFedavg { remove_excess_noise: false, adaptive_clip: None },
        }));
        [silo, sum, fedavg, central]
    }

    /// The same plan in the mode that promises nothing.
    fn exact_plan() -> Plan {
        let privacy = Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 20,
            weights: Weights::Uniform,
            evaluate: true,
            loss_max: 10.0,
        });
        Plan { privacy, ..plan(vec![3], Activation::Relu, 3, 2) }
    }

    fn trained(plan: &Plan, data: &Dataset, seed: u8) -> Vec<f64> {
        values(BurnTrainer.train(plan, &plan.initial_model(), data, Some(CLIP), [seed; 32]).unwrap())
    }

    fn values(trained: Trained) -> Vec<f64> {
        let scale = dp::Scale::from_bits(24).unwrap();
        match trained {
            Trained::Local { update, .. } => {
                let encoding = dp::ExactEncoding::new(scale, 8.0, Vec::new()).unwrap();
                let weight = dp::Weight::uniform(encoding.scale());
                let exact = update.quantize_exact(&encoding, weight, &[]).unwrap();
                let lanes = exact.update.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes();
                encoding.decode(&lanes, 1).unwrap().update.into_iter().map(f64::from).collect()
            }
            Trained::Clipped(update) => {
                let quantized =
                    update.quantize_stochastic(scale, &mut ChaCha20Rng::from_seed([0; 32])).unwrap();
                let lanes = quantized.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes();
                lanes.into_iter().map(|lane| f64::from(lane.cast_signed()) / scale.factor()).collect()
            }
            Trained::ClippedSum(sum) => {
                lanes(sum).into_iter().map(|lane| lane as f64 / scale.factor()).collect()
            }
        }
    }

    /// As CSV, with this row in the middle where there is one.
    fn rows_around(middle: Option<&str>) -> Dataset {
        let row = |row: usize| format!("0.{row},-0.{row},0.5,{}\n", row % 2);
        let mut text: String = "x0,x1,x2,y\n".into();
        text.extend((1..4).map(row));
        text.extend(middle.map(|middle| format!("{middle}\n")));
        text.extend((4..9).map(row));
        let plan = plan(vec![3], Activation::Relu, 3, 2);
        Dataset::from_csv_leniently("silo.csv", text.as_bytes(), &plan.data).unwrap().0
    }

    #[test]
    fn a_table_without_rows_trains_in_every_mode_that_promises_something() {
        for plan in modes() {
            let empty = trained(&plan, &Dataset::empty(&plan.data), 1);
            assert_eq!(empty.len(), plan.initial_model().values().len(), "{}", plan.mode());
            let noised = plan.mode() == PrivacyMode::SiloDpSgd;
            assert_eq!(empty.iter().any(|value| *value != 0.0), noised, "{}", plan.mode());
            // Nothing but rows that do not fit is no row at all.
            let misfits = Dataset::from_csv_leniently(
                "silo.csv",
                "x0,x1,x2,y\n1,1,1,2\n1,,1,0\n".as_bytes(),
                &plan.data,
            )
            .unwrap();
            if !noised {
                assert_eq!(trained(&plan, &misfits.0, 1), empty, "{}", plan.mode());
            }
        }
    }

    /// To the bit.
    fn bits(learned: Learned) -> (Vec<u64>, u64, i64, [u64; 2]) {
        let answer = TrainerAnswer::from(learned);
        let values = match &answer.values {
            AnswerValues::F32(values) => values.iter().map(|value| u64::from(value.to_bits())).collect(),
            AnswerValues::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
        };
        (values, answer.rows, answer.within_less_beyond, answer.metrics.map(f64::to_bits))
    }

    #[test]
    fn what_stands_for_a_failed_training_is_what_training_on_a_table_without_rows_brings_bit_for_bit() {
        let [silo, ..] = modes();
        let mut overflowing = silo.clone();
        overflowing.training.learning_rate = 1e38;
        for plan in modes().into_iter().chain([overflowing, exact_plan()]) {
            let model = plan.initial_model();
            for seed in 1..4 {
                let empty = Dataset::empty(&plan.data);
                let trained = BurnTrainer.train(&plan, &model, &empty, Some(CLIP), [seed; 32]).unwrap();
                let stands_in = plan.without_data(&model, Some(CLIP), [seed; 32]).unwrap();
                assert_eq!(bits(stands_in), bits(trained.into()), "{}", plan.mode());
            }
        }
    }

    #[test]
    fn an_honest_answer_is_believed_bit_for_bit() {
        for plan in modes().into_iter().chain([exact_plan()]) {
            let model = plan.initial_model();
            let train = |seed| {
                let data = table(&plan, 40);
                let trained = BurnTrainer.train(&plan, &model, &data, Some(CLIP), [seed; 32]).unwrap();
                Learned::from(trained)
            };
            for seed in 0..4 {
                let believed = plan.believe(train(seed).into(), Some(CLIP)).unwrap();
                assert_eq!(bits(believed), bits(train(seed)), "{}", plan.mode());
            }
        }
    }

    #[test]
    fn a_row_that_does_not_fit_adds_nothing_and_moves_no_draw_of_another_row() {
        let [_, mut plan, ..] = modes();
        sample_at(&mut plan, 0.5);
        let distance = |one: &[f64], other: &[f64]| {
            one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let mut moved = 0;
        for seed in 0..16 {
            let of = |middle: &str| trained(&plan, &rows_around(Some(middle)), seed);
            let fits = of("0.9,0.9,0.9,1");
            let outside = of("0.9,0.9,0.9,2");
            for misfit in ["0.9,0.9,0.9,", "0.9,,0.9,1", "a,0.9,0.9,1", "0.9,inf,0.9,1", "0.9,0.9"] {
                assert_eq!(of(misfit), outside, "{misfit}");
            }
            let distance = distance(&fits, &outside);
            assert!(distance <= CLIP + 1e-3, "{distance}");
            moved += usize::from(distance > 0.1);
        }
        assert!((2..15).contains(&moved), "the row was in some of the batches: {moved}");
    }

    #[test]
    fn a_training_that_is_asked_to_stop_ends_without_a_result() {
        let stop = Stop::default();
        stop.ask();
        for plan in modes() {
            let model = plan.initial_model();
            let data = table(&plan, 20);
            let ended = StoppableTrainer(stop.clone()).train(&plan, &model, &data, Some(CLIP), [1; 32]);
            assert!(matches!(ended, Err(TrainError::Stopped)), "{}: {ended:?}", plan.mode());
            let goes_on =
                StoppableTrainer::default().train(&plan, &model, &data, Some(CLIP), [1; 32]).unwrap();
            assert_eq!(values(goes_on), trained(&plan, &data, 1), "{}", plan.mode());
        }
    }
}
