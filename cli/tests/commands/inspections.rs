//! What a silo's operator is shown of the silo's files.

use serde_json::Value;

use crate::program::{Here, USAGE};

const PLAN: &str = include_str!("../../../deploy/config/plan.toml");
const FILE: &str = "Age;systolic;cholesterol;diagnosis\n45;120;4,8;1\n70;?;5,2;0\n61;300;0;1\n61;300;0;1\n";

fn silo() -> Here {
    let here = Here::new();
    here.write("silo.csv", FILE);
    here.write("plan.toml", PLAN);
    here
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The findings' codes with their columns.
fn codes(inspected: &Value) -> Vec<(&str, Option<&str>)> {
    let findings = inspected["findings"].as_array().unwrap();
    findings.iter().map(|finding| (finding["code"].as_str().unwrap(), finding["column"].as_str())).collect()
}

#[test]
fn a_file_is_shown_as_text_as_json_and_as_a_page_for_its_owner_alone() {
    let here = silo();
    let text = here.done("data inspect silo.csv --plan plan.toml");
    for line in [
        "silo.csv: 4 rows, 4 columns",
        "systolic           number           1      120      210      300      300      300",
        "  1 row is the same as an earlier one",
        "  cholesterol: 4 cells are outside the plan's range 50 to 600",
        "  Age: the plan calls it age",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let found = json(&here.done("data inspect silo.csv --plan plan.toml --json --page silo.html"));
    assert_eq!(found["rows"], 4);
    assert_eq!(found["columns"][1]["name"], "systolic");
    assert_eq!(
        (&found["columns"][1]["type"], &found["columns"][1]["missing"]),
        (&Value::from("number"), &Value::from(1))
    );
    assert_eq!(found["columns"][1]["maximum"].as_f64(), Some(300.0));
    assert!(codes(&found).contains(&("outside_range", Some("cholesterol"))), "{found}");
    let page = here.read("silo.html");
    assert_eq!((here.mode("silo.html"), page.starts_with("<!doctype html>")), (0o600, true));
    let why = here.refused("data inspect silo.csv --page silo.html", USAGE);
    assert!(why.contains("`silo.html` exists") && here.read("silo.html") == page, "{why}");
}

#[test]
fn a_silos_configuration_names_its_files_and_its_registration() {
    let here = silo();
    here.done("data register silo.csv --plan plan.toml --yes");
    let registration = here.read("registration.toml").replace(
        "cholesterol = { type = \"number\"",
        "cholesterol = { type = \"number\", times = 38.67, missing = [\"0\"]",
    );
    here.write("registration.toml", registration);
    let settings = include_str!("../../../deploy/config/client.toml");
    let (before, after) = settings.split_once("data = \"/srv/silo/data.csv\"\n").unwrap();
    here.write(
        "client.toml",
        format!("{before}data = \"silo.csv\"\nregistration = \"registration.toml\"\n{after}"),
    );
    let found = json(&here.done("data inspect --config client.toml --plan plan.toml --json"));
    let cholesterol = &found["columns"][2];
    assert_eq!(
        (cholesterol["missing"].as_u64(), cholesterol["minimum"].as_f64()),
        (Some(2), Some(4.8 * 38.67))
    );
    assert!(!codes(&found).contains(&("outside_range", Some("cholesterol"))), "{found}");
    let why = here.refused("data inspect --config plan.toml", USAGE);
    assert!(why.contains("names no `data`"), "{why}");
    let why = here.refused("data inspect silo.csv --registration plan.toml", USAGE);
    assert!(
        why.contains("plan.toml") && why.contains("a registration has `format`, `dialect` and `columns`"),
        "{why}"
    );
    here.refused("data inspect", USAGE);
}

#[test]
fn what_would_take_over_a_terminal_is_not_printed() {
    let here = Here::new();
    here.write("silo.csv", "x,\"na\u{1b}[31mme\"\n1,<script>\u{202e}\n2,\u{0}\n3,<script>\u{202e}\n");
    for line in ["data inspect silo.csv", "data inspect silo.csv --json", "data register silo.csv --yes"] {
        let shown = here.done(line);
        let obeyed = shown.chars().any(|letter| !identity::is_printable(letter) && letter != '\n');
        assert!(!obeyed, "{shown:?}");
    }
    let found = json(&here.done("data inspect silo.csv --json"));
    assert_eq!(found["columns"][1]["name"], "na\u{1b}[31mme");
}
