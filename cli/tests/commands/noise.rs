//! What noise is worth, and how much it takes.

use serde_json::Value;

use crate::program::{Here, USAGE};

const ACCOUNTANTS: [&str; 3] = ["--orders fractional", "--orders integer", "--accountant pld"];

fn number(json: &str, field: &str) -> f64 {
    let object: Value = serde_json::from_str(json).unwrap();
    object[field].as_f64().unwrap_or_else(|| panic!("no {field}: {json}"))
}

#[test]
fn each_accountant_prints_what_it_is_and_pld_has_no_order() {
    let here = Here::new();
    let [rdp, integer, pld] = ACCOUNTANTS
        .map(|by| here.done(&format!("account --q 0.01 --noise 1.0 --steps 1000 --delta 1e-5 --json {by}")));
    let (epsilon, order) = (number(&rdp, "epsilon"), number(&rdp, "order"));
    assert!((epsilon - 2.10137).abs() < 1e-4 && order == 7.8, "{rdp}");
    assert!(number(&integer, "epsilon") > epsilon && number(&integer, "order") == 8.0, "{integer}");
    assert!(
        pld.starts_with("{\"epsilon\":1.8") && pld.ends_with(",\"accountant\":\"pld\",\"order\":null}\n"),
        "{pld}"
    );
}

#[test]
fn numbers_that_mean_nothing_are_usage_errors() {
    let here = Here::new();
    for numbers in [
        "--q 1.5 --delta 1e-5 --noise 1",
        "--q 0.1 --delta 0 --noise 1",
        "--q 0.1 --delta 1e-5 --noise -1",
        "--q 0.1 --delta 1e-5 --noise nan",
        "--q nan --delta 1e-5 --noise 1",
        "--q 0.1 --delta 1e-5 --noise 1e-200",
    ] {
        for accountant in ["rdp", "pld"] {
            here.refused(&format!("account --steps 10 {numbers} --accountant {accountant}"), USAGE);
        }
    }
    let fixed = "account --steps 10 --q 0.1 --delta 1e-5 --noise 1 --sampling fixed-size --accountant pld";
    let fixed = here.refused(fixed, USAGE);
    assert!(fixed.contains("never as Poisson"), "{fixed}");
}

#[test]
fn the_calibrated_noise_keeps_the_promise_under_every_accountant() {
    let here = Here::new();
    let run = "--q 0.05 --steps 100 --delta 1e-5 --json";
    for by in ACCOUNTANTS {
        let noise = number(&here.done(&format!("calibrate --epsilon 3 {run} {by}")), "noise_multiplier");
        let spent =
            |noise: f64| number(&here.done(&format!("account --noise {noise} {run} {by}")), "epsilon");
        assert!(spent(noise) <= 3.0 && spent(noise - 1e-3) > 3.0, "{by} {noise}");
    }
}
