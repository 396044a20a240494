//! A soak too short to judge: it holds what it says to its reader.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_soak_restarts_silos_commits_every_round_and_samples_every_process() {
    let args = ["bench", "soak", "--rounds", "6", "--clients", "4", "--churn", "2", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_folkmoot")).args(args).output().unwrap();
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("round      1"), "{progress}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Two rounds may be committed between two looks, and then one kill falls due for both.
    assert!((1..=3).contains(&report["restarts"].as_u64().unwrap()), "{report}");
    assert_eq!(report["chain_verified"], true);
    assert!(report["rounds"].as_u64().unwrap() >= 6, "{report}");
    assert!(report["within_limit"].is_null(), "six rounds are judged");
    let samples = report["samples"].as_array().unwrap();
    assert!(samples.last().unwrap()["round"].as_u64().unwrap() >= 6, "{report}");
    for sample in samples {
        assert!(sample["coordinator_bytes"].as_u64().unwrap() > 1 << 20, "{sample}");
        assert_eq!(sample["client_bytes"].as_array().unwrap().len(), 4);
    }
}
