//! Programs whose reader has gone, as `folkmoot … | head` does once it has seen enough.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{folkmoot, stderr, text};

const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/plan.toml");

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot"));
    command.args(args);
    command
}

/// A federation's folder with a signed plan, that a coordinator can run from.
fn federation(folder: &Path) -> String {
    let dir = folder.join("federation");
    let author = folder.join("author.key");
    let plan = dir.join("plan.json");
    for args in [
        &["coordinator", "init", "--dir", text(&dir), "--federation", "f", "--address", "127.0.0.1:0"][..],
        &["keys", "new", text(&author)],
        &["plan", "sign", PLAN, "--key", text(&author), "--out", text(&plan)],
    ] {
        let output = folkmoot(args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    text(&dir.join("coordinator.toml")).to_owned()
}

#[test]
fn every_command_ends_silently_with_its_usual_status_when_nobody_reads_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let config = federation(folder.path());
    let admin = folder.path().join("federation/admin");
    let key = folder.path().join("author.key");
    for args in [
        &["--help"][..],
        &["plan", "check", PLAN],
        &["plan", PLAN],
        &["plan", PLAN, "--json"],
        &["calibrate", "--help"],
        &["keys", "show", text(&key)],
        &["simulate", "--seed", "1", "--trace"],
        &["simulate", "--seeds", "0..3", "--json"],
        &["coordinator", "--config", &config, "--check"],
        &["client", "--help"],
        // And what fails, fails as usual.
        &["verify", text(folder.path())],
        &["audit", "show", text(folder.path())],
        &["status", "--coordinator", "http://127.0.0.1:1"],
        &["doctor", "--as", text(&admin), "--coordinator", "https://127.0.0.1:1"],
        &["coordinator", "--config", "nowhere.toml"],
        &["client", "--config", "nowhere.toml"],
    ] {
        let usual = folkmoot(args);
        let unread = command(args).stdout(closed()).output().unwrap();
        assert_eq!(unread.status, usual.status, "{args:?}: {}", stderr(&unread));
        // What it measured may differ; a panic or a complaint about the pipe is one line more.
        assert_eq!(lines_but_progress(&unread), lines_but_progress(&usual), "{args:?}: {}", stderr(&unread));
        let silent = command(args).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(silent, usual.status, "{args:?} with no standard error either");
    }
}

/// Lines on standard error, but for those that say how far a long command is: there are as many as it takes seconds.
fn lines_but_progress(output: &Output) -> usize {
    stderr(output).lines().filter(|line| !line.contains(" federations, ")).count()
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["plan", "check", PLAN]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("standard output cannot be written"), "{}", stderr(&output));
}

#[test]
fn a_daemon_goes_on_when_nobody_reads_its_log_and_stops_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = federation(folder.path());
    let mut daemon = command(&["coordinator", "--config", &config])
        .env("FOLKMOOT_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(closed())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    // Its standard output is closed from here on, too.
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
}
