//! What is believed of a trainer's answer, in every mode.

use plan::{
    AdaptiveClipping, AnswerError, AnswerValues, Exact, Learned, Plan, Privacy, PrivacyMode, Promise,
    Sampling, Scheme, TABLE_ROWS_MAX, TrainerAnswer, Weights,
};
use proptest::prelude::*;

const CLIP: f64 = 2.0;

fn plan(privacy: Privacy) -> Plan {
    let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
    Plan { privacy, ..plan }
}

fn promising(scheme: Scheme) -> Plan {
    let (noise_multiplier, scale_bits) = (1.0, 16);
    plan(Privacy::Private(Promise {
        epsilon: 5.0,
        delta: 1e-5,
        noise_multiplier,
        clip_norm: CLIP,
        scale_bits,
        scheme,
    }))
}

fn fedavg(evaluate: bool) -> Plan {
    let weights = Weights::Rows { rows_max: 100 };
    plan(Privacy::Exact(Exact { coordinate_max: 4.0, fraction_bits: 16, weights, evaluate, loss_max: 10.0 }))
}

fn dp_sgd() -> Plan {
    let adaptive_clip = Some(AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.2, share: 0.1 });
    let sampling = Sampling { unit: plan::Sampled::Record, rate: 0.1, divisor: 10.0, rows_max: 64 };
    promising(Scheme::DistributedDpSgd { sampling, remove_excess_noise: false, adaptive_clip })
}

fn silo() -> Plan {
    let sampling = Sampling { unit: plan::Sampled::Record, rate: 0.1, divisor: 10.0, rows_max: 64 };
    promising(Scheme::SiloDpSgd { sampling, local_steps: 2, coordinate_max: 4.0, fraction_bits: 16 })
}

/// The modes that hide whole silos.
fn of_silos() -> [Plan; 2] {
    [
        promising(Scheme::DistributedDpFedavg { remove_excess_noise: false, adaptive_clip: None }),
        promising(Scheme::CentralDpFedavg { adaptive_clip: None }),
    ]
}

fn every() -> [Plan; 5] {
    let [distributed, central] = of_silos();
    [fedavg(true), dp_sgd(), silo(), distributed, central]
}

fn sums(plan: &Plan) -> bool {
    plan.mode() == PrivacyMode::DistributedDpSgd
}

/// What a trainer without rows answers, with one coordinate that is not zero.
fn honest(plan: &Plan, value: f64) -> TrainerAnswer {
    let mut answer =
        TrainerAnswer::from(plan.without_data(&plan.initial_model(), Some(CLIP), [1; 32]).unwrap());
    match &mut answer.values {
        AnswerValues::F32(values) => values[3] = value as f32,
        AnswerValues::F64(values) => values[3] = value,
    }
    match plan.mode() {
        PrivacyMode::Fedavg => (answer.rows, answer.metrics) = (40, [2.5, 0.5]),
        PrivacyMode::DistributedDpSgd => (answer.rows, answer.within_less_beyond) = (4, -2),
        _ => {}
    }
    answer
}

fn believe(plan: &Plan, lie: impl FnOnce(&mut TrainerAnswer)) -> Result<Learned, AnswerError> {
    let mut answer = honest(plan, 0.5);
    lie(&mut answer);
    plan.believe(answer, Some(CLIP))
}

fn why(plan: &Plan, lie: impl FnOnce(&mut TrainerAnswer)) -> AnswerError {
    let Err(why) = believe(plan, lie) else { panic!("a lie is believed in {}", plan.mode()) };
    why
}

/// The other precision, of the same numbers.
fn other(values: &AnswerValues) -> AnswerValues {
    match values {
        AnswerValues::F32(values) => AnswerValues::F64(values.iter().copied().map(f64::from).collect()),
        AnswerValues::F64(values) => AnswerValues::F32(values.iter().map(|value| *value as f32).collect()),
    }
}

type Bits = (Vec<u64>, u64, i64, [u64; 2]);

fn bits(answer: &TrainerAnswer) -> Bits {
    let values = match &answer.values {
        AnswerValues::F32(values) => values.iter().map(|value| u64::from(value.to_bits())).collect(),
        AnswerValues::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
    };
    (values, answer.rows, answer.within_less_beyond, answer.metrics.map(f64::to_bits))
}

#[test]
fn numbers_that_are_not_as_many_as_the_models_parameters_are_not_believed_in_any_mode() {
    for plan in every() {
        let wanted = plan.architecture().parameter_count();
        for got in [0, 1, wanted - 1, wanted + 1, 2 * wanted] {
            let refused = why(&plan, |answer| match &mut answer.values {
                AnswerValues::F32(values) => values.resize(got, 0.0),
                AnswerValues::F64(values) => values.resize(got, 0.0),
            });
            assert_eq!(refused, AnswerError::Length { got, wanted }, "{}", plan.mode());
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_not_believed_in_any_mode() {
    for plan in every() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = why(&plan, |answer| *answer = honest(&plan, bad));
            assert!(matches!(refused, AnswerError::Values(_)), "{}: {refused}", plan.mode());
        }
    }
}

#[test]
fn another_kind_is_not_believed_in_any_mode() {
    for plan in every() {
        let kind = AnswerError::Kind(plan.mode());
        assert_eq!(why(&plan, |answer| answer.values = other(&answer.values)), kind);
        for from in every().iter().filter(|from| sums(from) != sums(&plan)) {
            assert_eq!(why(&plan, |answer| *answer = honest(from, 0.5)), kind, "of {}", from.mode());
        }
        // What a mode does not have is not said beside its numbers either.
        if plan.mode() != PrivacyMode::Fedavg {
            assert_eq!(why(&plan, |answer| answer.metrics = [0.1, 0.0]), kind);
            assert_eq!(why(&plan, |answer| answer.metrics = [0.0, f64::NAN]), kind);
        }
        if plan.mode() != PrivacyMode::Fedavg && !sums(&plan) {
            assert_eq!(why(&plan, |answer| answer.rows = 1), kind);
        }
        if !sums(&plan) {
            assert_eq!(why(&plan, |answer| answer.within_less_beyond = 2), kind);
        }
    }
    for plan in of_silos() {
        assert_eq!(why(&plan, |answer| answer.within_less_beyond = 0), AnswerError::Kind(plan.mode()));
        assert!(believe(&plan, |answer| answer.within_less_beyond = -1).is_ok(), "one bit is the trainer's");
    }
}

#[test]
fn an_update_of_a_silo_is_held_to_the_rounds_clip_norm_and_not_clipped() {
    for plan in of_silos() {
        assert!(believe(&plan, |answer| *answer = honest(&plan, CLIP)).is_ok());
        for long in [f64::from((CLIP as f32).next_up()), 3.0, 1e30] {
            let refused = why(&plan, |answer| *answer = honest(&plan, long));
            assert_eq!(refused, AnswerError::Values(dp::UpdateError::NotWithin));
        }
        assert_eq!(plan.believe(honest(&plan, 0.5), None).err(), Some(AnswerError::NoClipNorm));
    }
}

#[test]
fn a_sum_is_held_to_what_its_rows_can_make_and_a_batch_that_chance_made_large_is_believed() {
    let plan = dp_sgd();
    assert!(believe(&plan, |answer| *answer = honest(&plan, 4.0 * CLIP)).is_ok());
    for long in [4.01 * CLIP, 1e30, f64::MAX] {
        let refused = why(&plan, |answer| *answer = honest(&plan, long));
        assert_eq!(refused, AnswerError::Values(dp::UpdateError::NotClipped));
    }
    let counted = |count| move |answer: &mut TrainerAnswer| answer.within_less_beyond = count;
    for count in -4..=4 {
        assert!(believe(&plan, counted(count)).is_ok());
    }
    for count in [-5, 5, i64::MIN, i64::MAX] {
        let refused = why(&plan, counted(count));
        assert_eq!(refused, AnswerError::Values(dp::UpdateError::Count));
    }
    let of_rows = |rows| move |answer: &mut TrainerAnswer| answer.rows = rows;
    for rows in [65, TABLE_ROWS_MAX] {
        assert!(believe(&plan, of_rows(rows)).is_ok(), "{rows} rows");
    }
    for rows in [TABLE_ROWS_MAX + 1, u64::MAX] {
        assert_eq!(why(&plan, of_rows(rows)), AnswerError::Rows(rows));
    }
    assert_eq!(plan.believe(honest(&plan, 0.5), None).err(), Some(AnswerError::NoClipNorm));
}

#[test]
fn metrics_are_held_to_what_a_model_can_have_where_they_leave() {
    let with = |metrics| move |answer: &mut TrainerAnswer| answer.metrics = metrics;
    let of = |index: usize| AnswerError::Metric(Plan::METRICS[index]);
    for loss in [f64::NAN, f64::INFINITY, -0.1] {
        assert_eq!(why(&fedavg(true), with([loss, 0.5])), of(0));
        assert!(believe(&fedavg(false), with([loss, 0.5])).is_ok(), "they do not leave");
    }
    for accuracy in [f64::NAN, 1.1, -0.1] {
        assert_eq!(why(&fedavg(true), with([0.5, accuracy])), of(1));
    }
    assert!(
        believe(&fedavg(true), with([1e6, 1.0])).is_ok(),
        "a loss beyond the plan's range is clipped later"
    );
}

#[test]
fn an_answer_is_not_printed() {
    for plan in every() {
        let (answer, length) = (honest(&plan, 0.31337), plan.architecture().parameter_count());
        let values = format!("AnswerValues {{ length: {length}, .. }}");
        assert_eq!(format!("{answer:?}"), format!("TrainerAnswer {{ values: {values}, .. }}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_answer_that_is_believed_comes_back_bit_for_bit(
        mode in 0..5_usize, value in -8.0..8.0_f64, rows in 0..6_u64, within in -6..6_i64,
    ) {
        let plan = &every()[mode];
        let lie = |answer: &mut TrainerAnswer| {
            *answer = honest(plan, value);
            match plan.mode() {
                PrivacyMode::SiloDpSgd => {}
                PrivacyMode::Fedavg => answer.rows = rows,
                PrivacyMode::DistributedDpSgd => (answer.rows, answer.within_less_beyond) = (rows, within),
                _ => answer.within_less_beyond = within.signum(),
            }
        };
        let mut given = honest(plan, 0.5);
        lie(&mut given);
        let bound = match plan.mode() {
            PrivacyMode::Fedavg | PrivacyMode::SiloDpSgd => f64::INFINITY,
            PrivacyMode::DistributedDpSgd => rows as f64 * CLIP * 1.001,
            _ => CLIP,
        };
        let counts = match plan.mode() {
            PrivacyMode::DistributedDpSgd => within.unsigned_abs() <= rows,
            PrivacyMode::Fedavg | PrivacyMode::SiloDpSgd => true,
            _ => within != 0,
        };
        let norm = if sums(plan) { value.abs() } else { f64::from(value as f32).abs() };
        let believed = believe(plan, lie).ok();
        prop_assert_eq!(believed.is_some(), counts && norm <= bound);
        if let Some(learned) = believed {
            prop_assert_eq!(bits(&TrainerAnswer::from(learned)), bits(&given));
        }
    }
}
