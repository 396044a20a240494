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

#[test]
fn what_is_asked_for_is_what_plans_need_and_no_sharper_accountant_takes_part_in_it() {
    let here = Here::new();
    let run = "--q 0.05 --steps 100 --delta 1e-5";
    let noise = |by: &str| {
        number(&here.done(&format!("calibrate --epsilon 3 {run} --json {by}")), "noise_multiplier")
    };
    let [fractional, integer, pld] = ACCOUNTANTS.map(noise);
    assert!(noise("") == integer && pld < fractional && fractional < integer);
    let text = here.done(&format!("calibrate --epsilon 3 {run}"));
    for said in [
        format!(
            "noise         {integer:.4} (standard deviation over sensitivity), by RDP at integer orders: proven"
        ),
        format!("else          {fractional:.4}, by RDP at fractional orders: an approximation"),
        format!("else          {pld:.4}, by privacy loss distributions: an approximation"),
    ] {
        assert!(text.contains(&said), "{said}\n{text}");
    }
}

#[test]
fn a_target_out_of_reach_of_some_orders_is_called_that_beside_the_noise_that_another_accountant_takes() {
    let here = Here::new();
    let out_of_reach = "calibrate --epsilon 0.001 --delta 1e-5 --q 0.01 --steps 1000";
    let why = here.refused(out_of_reach, USAGE);
    let floor =
        "out of reach of RDP at integer orders up to 256: even infinite noise is accounted as epsilon 0.0195";
    assert!(why.contains(floor), "{why}");
    let pld = "545.3";
    assert!(
        why.contains(&format!("; a noise multiplier of {pld}"))
            && why.contains("is enough by privacy loss distributions"),
        "{why}"
    );
    assert!(!why.contains("1000000") && !why.contains("fractional"), "{why}");
    let text = here.done(&format!("{out_of_reach} --accountant pld"));
    assert!(
        text.starts_with(&format!("noise         {pld}"))
            && text.contains("else          none: epsilon 0.001"),
        "{text}"
    );
}
