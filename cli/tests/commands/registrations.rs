//! What is proposed of a silo's files, and what a person makes of it.

use registration::Registration;

use crate::program::{FAILED, Here, USAGE, folkmoot};

const FILE: &str = "Age (years);Weight;Ill\n45;70,5;1\n70;?;2\n61;80;2\n";

#[test]
fn what_is_proposed_is_written_once_it_is_confirmed_and_over_nothing() {
    let here = Here::new();
    here.write("silo.csv", FILE);
    let line = "data register silo.csv --label Ill";
    for answer in ["n\n", ""] {
        let ended = folkmoot(&here.path(""), line, answer);
        assert_eq!(ended.code, FAILED, "{}", ended.err);
        assert!(!here.path("registration.toml").exists() && ended.err.contains("nothing was written"));
    }
    let ended = folkmoot(&here.path(""), line, "y\n");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let text = here.read("registration.toml");
    assert!(
        ended.out.contains("3 records, 0 of them broken") && ended.out.contains(text.trim_end()),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("registration = \"registration.toml\"\n"), "{}", ended.out);
    let registration = Registration::from_toml(&text).unwrap();
    let words: Vec<&str> = registration.columns().keys().map(String::as_str).collect();
    assert_eq!(words, ["age", "ill", "weight"]);
    let why = here.refused(&format!("{line} --yes"), USAGE);
    assert!(why.contains("exists") && here.read("registration.toml") == text, "{why}");
}

#[test]
fn a_plan_gives_the_registration_its_words_and_hears_what_is_missing() {
    let here = Here::new();
    here.write("silo.csv", "AGE (years);Systolic;Diagnosis;Weight\n45;120;1;70,5\n70;?;0;80,1\n");
    here.write("plan.toml", include_str!("../../../deploy/config/plan.toml"));
    let out = here.done("data register silo.csv --plan plan.toml --output ward.toml --yes");
    for said in [
        "the plan's column age is taken from \"AGE (years)\"",
        "the plan's label diagnosis is taken from \"Diagnosis\"",
        "the plan's column cholesterol is none of the file's",
    ] {
        assert!(out.contains(said), "{said} is not in\n{out}");
    }
    let registration = Registration::from_toml(&here.read("ward.toml")).unwrap();
    let words: Vec<&str> = registration.columns().keys().map(String::as_str).collect();
    assert_eq!(words, ["age", "diagnosis", "systolic", "weight"]);
    assert_eq!(registration.schema().unwrap().0["diagnosis"], plan::Column::Label { classes: 2 });
}

#[test]
fn a_file_or_label_that_is_not_there_is_named() {
    let here = Here::new();
    here.write("silo.csv", FILE);
    let why = here.refused("data register silo.csv --label Il --out r.toml --yes", USAGE);
    assert!(why.contains("no column \"Il\"; the columns are Age (years), Weight, Ill"), "{why}");
    let why = here.refused("data register none.csv --out r.toml --yes", USAGE);
    assert!(why.contains("`none.csv`: cannot be read") && !here.path("r.toml").exists(), "{why}");
}
