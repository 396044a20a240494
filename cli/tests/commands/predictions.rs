//! What a model says of rows, from a file with its plan and from the folder of a version.

use std::collections::BTreeMap;
use std::fs;

use checkpoint::{MANIFEST_FILE, MODEL_FILE, ModelArtifact, SIGNATURE_FILE, SignedManifest};
use identity::IdentityKey;
use params::Params;
use plan::{PLAN_FILE, Plan};
use published::samples;
use serde_json::Value;

use crate::program::{FAILED, Here, USAGE, VERIFICATION, folkmoot};

const PLAN: &str = include_str!("../../../deploy/config/plan.toml");
/// Scaled: ages of 0 and 110 are the ends of the interval, and 55 its middle; the rest is in the middle.
const ROWS: &str = "age,systolic,cholesterol\n0,150,325\n110,150,325\n55,150,325\n";

/// The plan's model, in which the age alone speaks: at the upper end for class 1.
fn model() -> (Plan, Params) {
    let plan = Plan::from_toml(PLAN).unwrap();
    let layout = plan.architecture().layout();
    let params = Params::new(layout, vec![-2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]).unwrap();
    (plan, params)
}

/// The probability of class 1 of a row whose age is scaled so.
fn expected(age: f64) -> f64 {
    1.0 / (1.0 + (0.5 - 4.0 * age).exp())
}

#[test]
fn each_row_gets_its_class_and_probabilities_as_text_and_as_json_from_a_file_and_from_standard_input() {
    let here = Here::new();
    let (_, params) = model();
    here.write("model.safetensors", checkpoint::model_bytes(&params, &BTreeMap::new()));
    here.write("plan.toml", PLAN);
    here.write("rows.csv", ROWS);
    let text = here.done("predict model.safetensors rows.csv --plan plan.toml");
    let sure = [-0.5, 0.5, 0.0].map(expected);
    let lines = [(2, 0), (3, 1), (4, 0)].into_iter().zip(sure);
    let lines: Vec<String> =
        lines.map(|((line, class), sure)| format!("{line},{class},{:.6},{sure:.6}\n", 1.0 - sure)).collect();
    assert_eq!(text, format!("line,class,p(0),p(1)\n{}", lines.concat()));
    let path = here.path("model.safetensors");
    let json = folkmoot(path.parent().unwrap(), "predict model.safetensors - --plan plan.toml --json", ROWS);
    assert_eq!(json.code, 0, "{}", json.err);
    for ((line, sure), text) in (2..).zip(sure).zip(json.out.lines()) {
        let row: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (&row["line"], &row["class"]),
            (&Value::from(line), &Value::from(if line == 3 { "1" } else { "0" }))
        );
        assert!((row["probabilities"][1].as_f64().unwrap() - sure).abs() < 1e-6, "{text}");
    }
    assert!(here.refused("predict model.safetensors rows.csv", USAGE).contains("add --plan"));
}

#[test]
fn a_row_that_does_not_fit_is_named_gets_no_prediction_and_ends_the_command_with_1() {
    let here = Here::new();
    let (_, params) = model();
    here.write("model.safetensors", checkpoint::model_bytes(&params, &BTreeMap::new()));
    here.write("plan.toml", PLAN);
    here.write("rows.csv", "age,systolic,cholesterol\n0,150,325\nold,150,325\n400,150,325\n");
    let ended = here.run("predict model.safetensors rows.csv --plan plan.toml --json");
    assert_eq!(ended.code, FAILED, "{}", ended.err);
    let rows: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[1]["class"].is_null() && rows[1]["fault"].as_str().unwrap().contains("line 3, column age"));
    assert_eq!((&rows[2]["line"], &rows[2]["class"]), (&Value::from(4), &Value::from("1")));
    for said in ["line 3, column age", "1 cells lay beyond", "1 of 3 rows have no prediction"] {
        assert!(ended.err.contains(said), "no {said:?} in {}", ended.err);
    }
    here.write("rows.csv", "age,systolic\n0,150\n");
    assert!(
        here.refused("predict model.safetensors rows.csv --plan plan.toml", USAGE).contains("cholesterol")
    );
}

/// The same model over a column of each kind and classes by name.
const TYPED: &str = r#"[data]
label = "income"
classes = ["at most 50,000", "more"]
scaled_to = [-0.5, 0.5]
features = [
    { column = "work", one_hot = ["Private"], other = true },
    { column = "gain", log_range = [0, 1000], missing = "flag" },
]
"#;

#[test]
fn a_prediction_names_the_plans_class_and_a_cell_of_any_kind_that_does_not_fit_is_named() {
    let here = Here::new();
    let (before, rest) = PLAN.split_once("[data]").unwrap();
    let (_, behind) = rest.split_once("[training]").unwrap();
    let plan = format!("{before}{TYPED}\n[training]{behind}");
    let layout = Plan::from_toml(&plan).unwrap().architecture().layout();
    // Private work speaks for the second class, and a gain that is missing for the first.
    let weights = vec![-2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0];
    let params = Params::new(layout, weights).unwrap();
    here.write("model.safetensors", checkpoint::model_bytes(&params, &BTreeMap::new()));
    here.write("plan.toml", plan);
    here.write("rows.csv", "gain,id,work\n10,a,Private\n,b,Private\n1,c,State\nmuch,d,State\n");
    let ended = here.run("predict model.safetensors rows.csv --plan plan.toml");
    assert_eq!(ended.code, FAILED, "{}", ended.err);
    // The difference of the classes' logits is 4 times the place of `work`, less 2 times that of the flag.
    let first = |work: f64, flag: f64| 1.0 / (1.0 + (4.0 * work - 2.0 * flag).exp());
    let line = |line: u64, class: &str, first: f64| format!("{line},{class},{first:.6},{:.6}\n", 1.0 - first);
    let expected = [
        line(2, "more", first(0.5, -0.5)),
        line(3, "more", first(0.5, 0.5)),
        line(4, "\"at most 50,000\"", first(-0.5, -0.5)),
    ];
    assert_eq!(ended.out, format!("line,class,\"p(at most 50,000)\",p(more)\n{}", expected.concat()));
    assert!(ended.err.contains("rows.csv, line 5, column gain: \"much\" is not a number"), "{}", ended.err);
    here.write("rows.csv", "gain;Arbeit\n1,5;privat\n");
    here.write(
        "registration.toml",
        "format = 1\n[dialect]\nseparator = ';'\ndecimal = ','\n[columns]\ngain = { type = 'number' }\n\
         work = { from = 'Arbeit', type = 'category', values = { privat = 'Private' } }\n\
         income = { from = 'Lohn', type = 'category', values = { hoch = 'more', tief = 'at most 50,000' } }\n",
    );
    let registered =
        "predict model.safetensors rows.csv --plan plan.toml --registration registration.toml --json";
    let row: Value = serde_json::from_str(&here.done(registered)).unwrap();
    assert_eq!(row["class"], "more");
    here.write("held-out.csv", "Lohn;gain;Arbeit\nhoch;1,5;privat\ntief;1,5;privat\n");
    let measured =
        "evaluate model.safetensors --plan plan.toml --data held-out.csv --registration registration.toml";
    let measured: Value = serde_json::from_str(&here.done(measured)).unwrap();
    assert_eq!((&measured["rows"], &measured["correct"]), (&Value::from(2), &Value::from(1)));
}

#[test]
fn a_versions_folder_needs_nothing_else_and_is_verified_first() {
    let here = Here::new();
    let (plan, _) = model();
    let plan = plan.sign(&IdentityKey::from_secret_hex(&"11".repeat(32)).unwrap());
    let params = plan.initial_model();
    let mut manifest = checkpoint::samples::bare(0);
    let model = checkpoint::model_bytes(&params, &checkpoint::model_metadata(&manifest.run_id, 0));
    manifest.model = ModelArtifact::of(&model, params.digest());
    manifest.plan_digest = plan.digest();
    manifest.privacy = protocol::privacy_spent(&plan, 0).unwrap();
    let record = SignedManifest::sign(&manifest, &samples::key()).unwrap();
    fs::create_dir(here.path("newest")).unwrap();
    here.write(&format!("newest/{MANIFEST_FILE}"), &record.manifest_bytes);
    here.write(&format!("newest/{SIGNATURE_FILE}"), record.signature);
    here.write(&format!("newest/{MODEL_FILE}"), &model);
    here.write(&format!("newest/{PLAN_FILE}"), plan.signed().to_json());
    here.write("rows.csv", ROWS);
    // It starts from zeros.
    let text = here.done("predict newest rows.csv");
    assert_eq!(text.lines().nth(1), Some("2,0,0.500000,0.500000"));
    let verified = here.done("verify newest");
    assert!(verified.contains("signed by its author"), "{verified}");
    fs::rename(here.path(&format!("newest/{PLAN_FILE}")), here.path("plan.json")).unwrap();
    assert!(here.refused("predict newest rows.csv", USAGE).contains("add --plan"));
    assert_eq!(here.done("predict newest rows.csv --plan plan.json"), text);
    here.write(&format!("newest/{MODEL_FILE}"), "other");
    assert!(here.refused("predict newest rows.csv --plan plan.json", VERIFICATION).contains(MODEL_FILE));
}
