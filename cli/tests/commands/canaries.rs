//! Canaries for an audit of a finished run.

use demo::demo_plan;
use plan::PrivacyMode;

use crate::program::{Here, USAGE};

#[test]
fn canaries_of_another_plan_and_files_that_exist_are_refused() {
    let here = Here::new();
    let plan = |rounds| demo_plan(PrivacyMode::DistributedDpSgd, 5, rounds, None).unwrap().to_toml();
    here.write("plan.toml", plan(None));
    here.write("other.toml", plan(Some(7)));
    let files = "--table canaries.csv --secret canaries.json";
    let insert = format!("audit-privacy insert --plan plan.toml {files} --canaries 80");
    here.done(&insert);
    let again = here.refused(&insert, USAGE);
    assert!(again.contains("canaries.json"), "the coins are not tossed again: {again}");
    let run = |rest: &str| format!("audit-privacy run . --secret canaries.json {rest}");
    let why = here.refused(&run("--plan other.toml"), USAGE);
    assert!(why.contains("made for another plan"), "{why}");
    let why = here.refused(&run("--plan plan.toml --members canaries.csv"), USAGE);
    assert!(why.contains("--members holds canaries"), "what is known must not tell the coins: {why}");
    assert_eq!(here.mode("canaries.json"), 0o600, "who reads it can tell what is in");
}
