//! What is learnt: from nothing, and from the digits.

use super::*;

#[test]
fn a_model_of_zeros_guesses_and_its_loss_is_the_logarithm_of_the_classes() {
    let plan = plan(vec![], Activation::Relu, 5, 3);
    let data = table(&plan, 9);
    let zeros = Params::zeros(Architecture::layout(&plan.architecture()));
    let metrics = evaluate(&plan, &zeros, &data).unwrap();
    assert!((metrics.loss - 3f64.ln()).abs() < 1e-6, "{metrics:?}");
    assert!((metrics.accuracy - 1.0 / 3.0).abs() < 1e-9, "ties go to the first class: {metrics:?}");
}

#[test]
fn a_perceptron_learns_the_digits() {
    let mut plan = plan(vec![64], Activation::Relu, 64, 10);
    plan.data = datasets::digits::data_section([-0.3, 0.7]);
    plan.privacy = Privacy::Exact(Exact {
        coordinate_max: 4.0,
        fraction_bits: 20,
        weights: Weights::Uniform,
        evaluate: true,
        loss_max: 10.0,
    });
    plan.training.local_epochs = 15;
    plan.training.optimizer = LocalOptimizer::Adam;
    plan.training.learning_rate = 0.002;
    let load = |csv: String| Dataset::from_csv("digits.csv", csv.as_bytes(), &plan.data).unwrap();
    let training = load(datasets::digits::table(datasets::digits::training_rows()));
    let held_out = load(datasets::digits::table(datasets::digits::held_out_rows()));
    let model = plan.initial_model();
    let before = evaluate(&plan, &model, &held_out).unwrap();
    let Trained::Local { update, rows, metrics } =
        BurnTrainer.train(&plan, &model, &training, plan.clip_norm(), [3; 32]).unwrap()
    else {
        panic!("fedavg trains locally")
    };
    assert_eq!(rows, 1438);
    assert!(metrics.accuracy < 0.3 && before.accuracy < 0.3, "an untrained model guesses: {metrics:?}");
    let encoding = dp::ExactEncoding::new(Scale::from_bits(24).unwrap(), 8.0, Vec::new()).unwrap();
    let weight = dp::Weight::uniform(encoding.scale());
    let exact = update.quantize_exact(&encoding, weight, &[]).unwrap();
    let lanes = exact.update.without_noise(dp::WithoutNoise::plan_has_no_privacy()).into_lanes();
    let trained = model.add(&encoding.decode(&lanes, 1).unwrap().update).unwrap();
    let after = evaluate(&plan, &trained, &held_out).unwrap();
    assert!(after.accuracy >= 0.95, "{after:?}");
}
