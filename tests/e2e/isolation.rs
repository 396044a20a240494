//! What a silo's daemon keeps itself from, and what it says where it cannot.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// A silo whose machine is to hold it, by its configuration; none where this machine cannot, which is said.
#[allow(clippy::print_stdout)]
fn held_silo(folder: &Path) -> Option<PathBuf> {
    kept(folder);
    let config = folder.join("silo-1/client.toml");
    change(&config, &[("sandbox = \"best_effort\"", "sandbox = \"required\"")]);
    let checked = folkmoot(&["client", "--config", text(&config), "--check"]);
    let why = String::from_utf8(checked.stderr).unwrap();
    if why.contains("a sandbox is required, and") {
        println!("not shown on this machine: {why}");
        return None;
    }
    assert!(checked.status.success(), "{why}");
    Some(config)
}

/// A daemon, and its log to read on in.
fn logging(config: &Path) -> (Running, impl FnMut(&str)) {
    let mut daemon = Running(role("client", config).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let says =
        move |words: &str| assert!(log.by_ref().any(|line| line.contains(words)), "it never said {words}");
    (daemon, says)
}

#[test]
fn a_daemon_tries_to_open_its_data_and_cannot_and_takes_up_a_policy_that_took_its_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let Some(config) = held_silo(folder.path()) else { return };
    let (_daemon, mut says) = logging(&config);
    says("this process has shut itself out of the data; required: Landlock ABI");
    says("trainers are held like this: required: landlock");
    change(&config, &[("[policy]\n", "[policy]\nrounds_max = 77\n")]);
    says("has changed and is in force");
}

#[test]
fn data_in_a_folder_that_the_daemon_writes_in_is_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let Some(config) = held_silo(folder.path()) else { return };
    let silo = folder.path().join("silo-1");
    fs::rename(silo.join("silo.csv"), silo.join("state/silo.csv")).unwrap();
    change(&config, &[("data = \"silo.csv\"", "data = \"state/silo.csv\"")]);
    for arguments in [&["--check"][..], &[]] {
        let refused = folkmoot(&[&["client", "--config", text(&config)], arguments].concat());
        assert_refused(&refused, 2, &["sandbox: ", "state/silo.csv"]);
    }
}

#[test]
fn a_spawner_that_is_gone_is_an_alarm_at_once_and_until_the_daemon_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let config = folder.path().join("silo-1/client.toml");
    let alarms = || folkmoot(&["client", "alarms", "--config", text(&config)]);
    let (mut daemon, mut says) = logging(&config);
    says("trainers are held like this");
    let number = daemon.0.id();
    let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap();
    let [spawner] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{children:?}") };
    assert!(Command::new("kill").args(["-9", spawner]).status().unwrap().success());
    // Nobody has wanted a trainer: no run is in progress.
    says("ALARM: the process that starts trainers is gone (killed by signal 9");
    // The log has it a moment before the file.
    let raised = std::iter::repeat_with(alarms).find(|alarms| !alarms.status.success()).unwrap();
    let said = String::from_utf8(raised.stdout).unwrap();
    assert!(said.contains("until this daemon is started again"), "{said}");
    assert!(daemon.0.try_wait().unwrap().is_none(), "nobody else sees it");
    drop(daemon);
    let (_daemon, mut says) = logging(&config);
    says("no session with the coordinator");
    assert_eq!(alarms().status.code(), Some(0));
}
