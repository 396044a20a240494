//! What a silo's daemon keeps itself from, and what it says where it cannot.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::{Running, assert_refused, folkmoot, kept, role, text};

/// The silo's configuration, with these lines in the place of those.
fn change(config: &Path, lines: &[(&str, &str)]) {
    let mut changed = fs::read_to_string(config).unwrap();
    for (old, new) in lines {
        assert!(changed.contains(old), "{changed}");
        changed = changed.replace(old, new);
    }
    // As editors and installers do: another file takes the name.
    let beside = config.with_extension("new");
    fs::write(&beside, changed).unwrap();
    fs::rename(beside, config).unwrap();
}

#[test]
fn a_daemon_tries_to_open_its_data_and_cannot_and_takes_up_a_policy_that_took_its_files_name() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let config = folder.path().join("silo-1/client.toml");
    change(&config, &[("sandbox = \"best_effort\"", "sandbox = \"required\"")]);
    let mut daemon = Running(role("client", &config).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut says =
        |words: &str| assert!(log.by_ref().any(|line| line.contains(words)), "it never said {words}");
    says("this process has shut itself out of the data; required: Landlock ABI");
    says("trainers are held like this: required: landlock");
    change(&config, &[("[policy]\n", "[policy]\nrounds_max = 77\n")]);
    says("has changed and is in force");
}

#[test]
fn data_in_a_folder_that_the_daemon_writes_in_is_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let silo = folder.path().join("silo-1");
    fs::rename(silo.join("silo.csv"), silo.join("state/silo.csv")).unwrap();
    let config = silo.join("client.toml");
    let inside = [("data = \"silo.csv\"", "data = \"state/silo.csv\"")];
    change(&config, &[&inside[..], &[("sandbox = \"best_effort\"", "sandbox = \"required\"")]].concat());
    for arguments in [&["--check"][..], &[]] {
        let refused = folkmoot(&[&["client", "--config", text(&config)], arguments].concat());
        assert_refused(&refused, 2, &["sandbox: ", "state/silo.csv"]);
    }
}
