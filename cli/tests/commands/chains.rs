//! Chains of published versions, checked where they lie.

use std::fs;

use published::samples::chain;
use serde_json::Value;

use crate::program::{Here, VERIFICATION};

/// A federation's folder with three runs of one key, as its coordinator keeps them.
fn federation() -> Here {
    let here = Here::new();
    fs::create_dir_all(here.path("data/runs")).unwrap();
    for folder in ["data", "data/runs/0002", "data/runs/0003"] {
        let made = chain(|_| {});
        fs::create_dir_all(here.path(folder)).unwrap();
        fs::rename(made.path().join("checkpoints"), here.path(folder).join("checkpoints")).unwrap();
    }
    here
}

#[test]
fn each_run_of_a_federation_is_verified_with_a_line_for_each_and_each_by_itself() {
    let here = federation();
    let said = here.done("verify data");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (number, line) in (1..).zip(&lines) {
        assert!(line.starts_with(&format!("run    {number} verified: 2 rounds, head ")), "{said}");
    }
    // One run's records, as ever.
    for one in ["data/runs/0002", "data/checkpoints"] {
        let said = here.done(&format!("verify {one}"));
        assert!(said.contains("round      3: 3 silos") && !said.contains("run "), "{said}");
    }
    let said: Value = serde_json::from_str(&here.done("verify data --json")).unwrap();
    let runs = said["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{said}");
    assert_eq!((&runs[1]["number"], &runs[1]["chain"]["rounds"]), (&2.into(), &2.into()), "{said}");
    assert_eq!(runs[1]["fault"], Value::Null, "{said}");
}

#[test]
fn of_a_federation_one_damaged_run_is_named_the_others_are_verified_and_the_whole_is_not() {
    let here = federation();
    let model = "data/runs/0002/checkpoints/000001/model.safetensors";
    here.write(model, b"poisoned");
    let ended = here.run("verify data");
    assert_eq!(ended.code, VERIFICATION, "{}", ended.err);
    let held: Vec<&str> = ended.out.lines().map(|line| &line[..17]).collect();
    assert_eq!(held, ["run    1 verified", "run    3 verified"]);
    assert!(ended.err.contains("run    2 does not hold") && ended.err.contains(model), "{}", ended.err);
    assert!(ended.err.contains("1 of 3 runs"), "{}", ended.err);
    let ended = here.run("verify data --json");
    assert_eq!(ended.code, VERIFICATION, "{}", ended.err);
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(said["runs"][1]["fault"].as_str().unwrap().contains(model), "{said}");
    assert_eq!(said["runs"][2]["chain"]["rounds"], 2, "{said}");
}
