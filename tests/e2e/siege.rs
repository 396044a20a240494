//! Strangers, and one silo, at the door of a real coordinator that may open a thousand files.
//!
//! In the suite an attack lasts until rounds were committed under it. By hand, for as long as one likes, with what it
//! measured on standard error:
//!
//! ```sh
//! FOLKMOOT_SIEGE_SECONDS=60 cargo test -p cli --test e2e siege -- --nocapture --test-threads 1
//! ```

#![expect(clippy::print_stderr, reason = "says what was measured, to who asks for it by hand")]

mod silo;
mod strangers;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Running, text};

/// What a hang is, on however busy a machine.
const HANG: Duration = Duration::from_secs(180);
const MIB: u64 = 1 << 20;

/// How long to go on by hand.
fn by_hand() -> Option<Duration> {
    std::env::var("FOLKMOOT_SIEGE_SECONDS").ok()?.parse().ok().map(Duration::from_secs)
}

/// A coordinator that may have 1,024 files open, and no more.
fn coordinator(config: &Path, log: &Path) -> (Running, String) {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 1024; exec \"$0\" coordinator --config \"$1\""])
        .args([env!("CARGO_BIN_EXE_folkmoot"), text(config)])
        .env("FOLKMOOT_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(File::create(log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap_or_else(|| panic!("it does not listen: {}", fs::read_to_string(log).unwrap_or_default()));
    (Running(child), address.to_owned())
}

fn resident_bytes(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn folder_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    bytes
}

fn assert_alive(running: &mut Running, log: &Path) {
    if let Some(ended) = running.0.try_wait().unwrap() {
        panic!("the coordinator ended with {ended}: {}", fs::read_to_string(log).unwrap_or_default());
    }
}

/// Until `done`, or until its time by hand is over.
fn until(begun: Instant, done: impl Fn() -> bool) -> bool {
    assert!(begun.elapsed() < HANG.max(by_hand().unwrap_or_default() * 2), "it does not get on");
    match by_hand() {
        Some(time) => begun.elapsed() >= time,
        None => done(),
    }
}

/// An attacker's own pace: nothing that is expected depends on it.
async fn pace(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}
