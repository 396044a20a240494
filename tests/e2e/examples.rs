//! The programs in `examples/`, as they stand there: one run that they take part in, follow and verify.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use demo::{DemoFolder, demo_plan};
use plan::PrivacyMode;

use super::{Coordinator, Running, role, status_until, stderr, text};

/// An example, which cargo puts beside the program.
fn example(name: &str) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_folkmoot")).with_file_name("examples").join(name);
    assert!(program.exists(), "{}: build it with `cargo build --workspace --examples`", program.display());
    program
}

fn output(name: &str, args: &[&str]) -> Output {
    let output = Command::new(example(name)).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    output
}

#[test]
fn a_run_whose_silos_all_train_with_code_of_their_own_is_followed_to_its_end_and_verified() {
    let place = tempfile::tempdir().unwrap();
    let plan = demo_plan(PrivacyMode::Fedavg, 3, Some(3), None).unwrap();
    let folder = DemoFolder::create(Some(&place.path().join("run")), plan).unwrap();
    let coordinator = Coordinator::start(&folder.coordinator_config());
    folder.configure_silos(&coordinator.url).unwrap();
    let silos: Vec<Running> = (0..3)
        .map(|silo| {
            let config = folder.client_config(silo);
            let trainer = format!("\n[trainer]\nprogram = {:?}\n", example("own_trainer"));
            fs::write(&config, fs::read_to_string(&config).unwrap() + &trainer).unwrap();
            Running(role("client", &config).spawn().unwrap())
        })
        .collect();
    let follower =
        Command::new(example("follow_status")).arg(&coordinator.url).stdout(Stdio::piped()).spawn().unwrap();
    status_until(&coordinator.url, |status| status["rounds_committed"] == 3);
    let followed = String::from_utf8(follower.wait_with_output().unwrap().stdout).unwrap();
    drop(silos);
    let last: Vec<&str> = followed.lines().rev().take(2).collect();
    assert!(last[0].starts_with("ended: ") && last[1].starts_with("3 of 3 rounds"), "{followed}");

    let data = folder.coordinator_data();
    let plan = place.path().join("run/plan.json");
    let verified = output("verify_chain", &[text(&data), text(&plan)]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(said.contains("3 steps done again\n3 rounds hold"), "{said}");
    // That they descend is the trainers' own work.
    let manifests = published::verify_folder(&data, None).unwrap().manifests;
    let losses: Vec<f64> = manifests.iter().filter_map(|m| m.metrics.get("training_loss").copied()).collect();
    assert!(losses.len() >= 3 && losses.is_sorted_by(|a, b| a > b), "{losses:?}");
}
