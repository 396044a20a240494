//! Rows of some classes count more than others.

use super::*;

#[test]
fn a_rows_gradient_counts_as_often_as_its_class_and_is_clipped_to_the_same_norm_all_the_same() {
    let plain = plan(vec![4], Activation::Tanh, 5, 3);
    let (data, model) = (table(&plain, 9), plain.initial_model());
    let weighted = |weights: [f64; 3]| {
        let mut plan = plain.clone();
        plan.data.class_weights = Some(weights.into());
        plan
    };
    let of = |plan: &Plan, clip| descents(plan, &model, &data, clip).unwrap();
    let reference = of(&plain, 1e6);
    assert_eq!(of(&weighted([1.0; 3]), 1e6), reference, "bit for bit");
    let weights = [0.5, 1.0, 4.0];
    for ((descent, reference), label) in of(&weighted(weights), 1e6).iter().zip(&reference).zip(data.labels())
    {
        for (lane, reference) in descent.iter().zip(reference) {
            // Powers of two: nothing is rounded otherwise.
            assert_eq!(*lane, reference * weights[usize::from(*label)]);
        }
    }
    let norm = |descent: &Vec<f64>| descent.iter().map(|lane| lane * lane).sum::<f64>().sqrt();
    for descent in of(&weighted([1000.0; 3]), 0.1) {
        assert!(norm(&descent) <= 0.1 && norm(&descent) > 0.099, "{}", norm(&descent));
    }
}

#[test]
fn local_steps_follow_the_weights_of_classes() {
    let mut plan = plan(vec![], Activation::Relu, 3, 2);
    let data = table(&plan, 8);
    let trained =
        |plan: &Plan| local::train(plan, &plan.initial_model(), &data, [1; 32], &Stop::default()).unwrap();
    let reference = trained(&plan);
    plan.data.class_weights = Some(vec![1.0, 1.0]);
    assert_eq!(trained(&plan).values(), reference.values(), "bit for bit");
    plan.data.class_weights = Some(vec![1.0, 5.0]);
    let bias = |params: &Params| {
        params.values()[params.values().len() - 1] - params.values()[params.values().len() - 2]
    };
    assert!(bias(&trained(&plan)) > bias(&reference), "more of the heavier class");
}
