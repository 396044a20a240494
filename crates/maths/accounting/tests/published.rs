//! The accountants against dp-accounting 0.6, Opacus 1.6 and quadrature with 40 digits.

use accounting::{
    DiscreteSum, DpEvent, PldRelation, RdpCurve, analytic_gaussian_epsilon, analytic_gaussian_noise,
    fractional_epsilon, pld_epsilon, pld_epsilon_under, rdp_at, rdp_epsilon, zcdp_epsilon,
};
use serde_json::Value;

const VECTORS: &str = include_str!("accounting.json");

fn number(case: &Value, name: &str) -> f64 {
    case[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {case}"))
}

fn close(got: f64, expected: f64, relative: f64, what: &str) {
    assert!((got / expected - 1.0).abs() <= relative, "{what}: {got}, expected {expected}");
}

fn poisson(case: &Value) -> (DpEvent, u64) {
    let event = DpEvent::PoissonGaussian {
        sampling_rate: number(case, "q"),
        noise_multiplier: number(case, "sigma"),
    };
    (event, case["steps"].as_u64().unwrap_or(1))
}

#[test]
fn every_case_of_the_published_vectors_holds() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 53);
    for case in cases {
        let what = case.to_string();
        match case["kind"].as_str().unwrap() {
            "poisson_gaussian" => poisson_gaussian(case, &what),
            "poisson_gaussian_replace_one_pld" => {
                let got = pld_epsilon_under(PldRelation::ReplaceOne, &[poisson(case)], number(case, "delta"))
                    .unwrap();
                let expected = number(case, "pld_eps_dp_accounting");
                assert!(got >= 0.999 * expected && got <= 1.01 * expected, "{what}: {got}");
            }
            "rdp_curve_single_step" => rdp_curve(case, &what),
            "fixed_size_wor_replace_one_gaussian" => fixed_size(case, &what),
            "analytic_gaussian" => {
                let (epsilon, delta) = (number(case, "eps"), number(case, "delta"));
                let noise = analytic_gaussian_noise(epsilon, delta).unwrap();
                close(noise, number(case, "sigma"), 1e-6, &what);
                close(
                    analytic_gaussian_epsilon(noise, delta).unwrap(),
                    number(case, "eps_roundtrip"),
                    1e-6,
                    &what,
                );
            }
            "zcdp_to_approx_dp" => {
                let (rho, delta) = (number(case, "rho"), number(case, "delta"));
                close(zcdp_epsilon(rho, delta).unwrap(), number(case, "eps_CKS20_optimal"), 1e-6, &what);
                let simple = rho + 2.0 * (-rho * delta.ln()).sqrt();
                close(simple, number(case, "eps_BunSteinke"), 1e-9, &what);
            }
            "dskellam" => {
                let variance = (number(case, "scale") * number(case, "central_std")).powi(2);
                discrete_sum(case, &what, |sum, order| sum.skellam_rdp(variance, order));
            }
            "ddgauss" => {
                let sigma = number(case, "scale") * number(case, "local_std");
                let parties = case["n"].as_u64().unwrap();
                discrete_sum(case, &what, |sum, order| sum.gaussian_rdp(parties, sigma, order));
            }
            other => panic!("no test knows cases of kind {other}"),
        }
    }
}

fn poisson_gaussian(case: &Value, what: &str) {
    let (events, delta) = ([poisson(case)], number(case, "delta"));
    // dp-accounting's fractional orders are an upper bound, Opacus's are exact but on fewer orders.
    let fractional = fractional_epsilon(&events, delta).unwrap();
    assert!(
        fractional.epsilon <= number(case, "rdp_eps_dp_accounting") * (1.0 + 1e-6),
        "{what}: {fractional:?}"
    );
    close(fractional.epsilon, number(case, "opacus_rdp_eps"), 1e-5, what);
    let mut curve = RdpCurve::zero();
    curve.compose(&events[0].0, events[0].1).unwrap();
    let gating = curve.epsilon(delta).unwrap().epsilon;
    assert!(gating >= fractional.epsilon - 1e-9 && gating < 1.2 * fractional.epsilon, "{what}: {gating}");
    let pld = pld_epsilon(&events, delta).unwrap();
    assert!(gating >= pld, "{what}: what gates is never below");
    // PLD: at most a hundredth above dp-accounting's, never below what PRV brackets (its upper end minus twice its error).
    assert!(pld <= 1.01 * number(case, "pld_eps_dp_accounting"), "{what}: {pld}");
    assert!(pld >= number(case, "opacus_prv_eps_upper(err=0.01)") - 0.02, "{what}: {pld}");
}

fn rdp_curve(case: &Value, what: &str) {
    let (event, _) = poisson(case);
    let orders = case["orders"].as_array().unwrap();
    let exact = case["rdp_quadrature_40digits"].as_array().unwrap();
    assert_eq!(orders.len(), exact.len());
    for (order, exact) in orders.iter().zip(exact) {
        let (order, exact) = (order.as_f64().unwrap(), exact.as_f64().unwrap());
        close(rdp_at(&event, order).unwrap(), exact, 1e-6, &format!("order {order} of {what}"));
    }
}

fn fixed_size(case: &Value, what: &str) {
    let event = DpEvent::FixedSizeGaussian {
        sampling_rate: number(case, "batch") / number(case, "n"),
        noise_multiplier: number(case, "sigma"),
    };
    let mut curve = RdpCurve::zero();
    curve.compose(&event, case["steps"].as_u64().unwrap()).unwrap();
    let got = curve.epsilon(number(case, "delta")).unwrap();
    close(got.epsilon, number(case, "rdp_eps_dp_accounting"), 1e-6, what);
}

fn discrete_sum(case: &Value, what: &str, rdp: impl Fn(&DiscreteSum, f64) -> f64) {
    let [clip, scale, dimension, beta] = ["clip", "scale", "dim", "beta"].map(|name| number(case, name));
    let sum = DiscreteSum::rounded(clip, scale, dimension, beta);
    let steps = number(case, "steps");
    let orders = (2..=128).map(f64::from).chain([256.0]);
    let got = rdp_epsilon(orders, |order| steps * rdp(&sum, order), number(case, "delta")).unwrap();
    close(got, number(case, "eps"), 1e-6, what);
}

#[test]
fn events_keep_their_written_form() {
    let event = DpEvent::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 1.25 };
    let text = r#"{"poisson_gaussian":{"sampling_rate":0.01,"noise_multiplier":1.25}}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
    assert_eq!(serde_json::from_str::<DpEvent>(text).unwrap(), event);
    assert!(serde_json::from_str::<DpEvent>(r#"{"gaussian":{"noise_multiplier":1.0,"q":0.5}}"#).is_err());
}
