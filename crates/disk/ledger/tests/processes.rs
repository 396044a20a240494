//! Two processes, one ledger: the file's lock, and not a lock in memory, is what keeps their debits apart.
//!
//! Without a harness, because the program is its own other process: with a daemon's name as argument it waits for a line,
//! debits round after round until the limit, and prints the round and the number of every entry that it made.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use accounting::{Budget, DpEvent, steps_allowed};
use ledger::{Cost, Ledger, LedgerError, Limits, Release, samples};
use params::Digest;

const EVENT: DpEvent = DpEvent::Gaussian { noise_multiplier: 10.0 };
const LIMITS: Limits = Limits { epsilon_max: 2.0, delta: 1e-6, period: None, releases_max: None };

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some("--debit"), Some(daemon), Some(folder)) => debit(&daemon, Path::new(&folder)),
        // What `cargo test` passes on is for a harness.
        _ => {
            two_daemons_in_two_processes_never_overspend_lose_no_debit_and_count_none_twice();
            one_daemon_started_twice_debits_each_round_once();
            a_process_that_is_killed_while_it_debits_loses_no_debit_that_was_acknowledged();
            println!("processes: 3 claims hold");
        }
    }
}

fn two_daemons_in_two_processes_never_overspend_lose_no_debit_and_count_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let made = race(folder.path(), ["a", "b"]);
    let sequences: BTreeSet<u64> = made.iter().flatten().map(|(_, sequence)| *sequence).collect();
    let count: usize = made.iter().map(Vec::len).sum();
    assert_eq!(count, sequences.len(), "an entry was given to both: {made:?}");
    assert_eq!(sequences, (1..=allowed()).collect(), "{made:?}");
    assert_eq!(in_the_ledger(folder.path()), acknowledged(&made, ["a", "b"]));
}

fn one_daemon_started_twice_debits_each_round_once() {
    let folder = tempfile::tempdir().unwrap();
    let made = race(folder.path(), ["a", "a"]);
    let rounds: Vec<u64> = made.iter().flatten().map(|(round, _)| *round).collect();
    assert_eq!(rounds.len() as u64, allowed(), "{made:?}");
    assert_eq!(
        rounds.iter().collect::<BTreeSet<_>>().len(),
        rounds.len(),
        "a round was debited twice: {made:?}"
    );
    assert_eq!(in_the_ledger(folder.path()), acknowledged(&made, ["a", "a"]));
}

fn a_process_that_is_killed_while_it_debits_loses_no_debit_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut killed, mut said) = started("a", folder.path());
    go(&mut killed);
    let mut lines = Vec::new();
    for _ in 0..3 {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        lines.push(entry(line.trim_end()));
    }
    killed.kill().unwrap();
    // What it printed before the signal came was acknowledged too.
    lines.extend(
        said.lines().map_while(Result::ok).filter(|line| line.split(' ').count() == 2).map(|l| entry(&l)),
    );
    killed.wait().unwrap();
    let (mut other, said) = started("b", folder.path());
    go(&mut other);
    let made = [lines, said.lines().map(|line| entry(&line.unwrap())).collect()];
    assert!(other.wait().unwrap().success());
    let held = in_the_ledger(folder.path());
    assert_eq!(held.len() as u64, allowed());
    let acknowledged = acknowledged(&made, ["a", "b"]);
    assert!(acknowledged.is_subset(&held), "acknowledged {acknowledged:?}, held {held:?}");
    assert!(
        held.len() - acknowledged.len() <= 1,
        "at most the one that it was killed over: {acknowledged:?}, {held:?}"
    );
}

/// Both at once, to the end; the debits that were acknowledged to each.
fn race(folder: &Path, daemons: [&str; 2]) -> [Vec<(u64, u64)>; 2] {
    let mut both = daemons.map(|daemon| started(daemon, folder));
    both.iter_mut().for_each(|(process, _)| go(process));
    both.map(|(mut process, said)| {
        let made = said.lines().map(|line| entry(&line.unwrap())).collect();
        assert!(process.wait().unwrap().success());
        made
    })
}

/// A process that stands ready.
fn started(daemon: &str, folder: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--debit", daemon])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap());
    let mut ready = String::new();
    said.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    (process, said)
}

fn go(process: &mut Child) {
    process.stdin.take().unwrap().write_all(b"go\n").unwrap();
}

/// Round and number.
fn entry(line: &str) -> (u64, u64) {
    let (round, sequence) = line.split_once(' ').unwrap();
    (round.parse().unwrap(), sequence.parse().unwrap())
}

fn acknowledged(made: &[Vec<(u64, u64)>; 2], daemons: [&str; 2]) -> BTreeSet<(String, u64)> {
    let of = |(made, daemon): (&Vec<(u64, u64)>, &str)| -> Vec<(String, u64)> {
        made.iter().map(|(round, _)| (daemon.to_owned(), *round)).collect()
    };
    made.iter().zip(daemons).flat_map(of).collect()
}

fn in_the_ledger(folder: &Path) -> BTreeSet<(String, u64)> {
    let inspected = ledger(folder).inspect().unwrap();
    assert!(inspected.account.total(LIMITS.delta).epsilon() <= LIMITS.epsilon_max);
    let entries = inspected.account.entries();
    let debits: BTreeSet<_> = entries
        .iter()
        .filter_map(|entry| entry.release().map(|made| (made.daemon.clone(), made.round)))
        .collect();
    assert_eq!(debits.len(), entries.len(), "one round of one daemon is in it once");
    debits
}

fn allowed() -> u64 {
    let allowed = steps_allowed(&EVENT, &Budget::new(LIMITS.epsilon_max, LIMITS.delta).unwrap()).unwrap();
    assert!(allowed > 8, "too few to race for: {allowed}");
    allowed
}

fn ledger(folder: &Path) -> Ledger {
    let anchor: PathBuf = folder.join("anchor");
    Ledger::new(&folder.join("ledger"), "d", Some(anchor), None).unwrap()
}

/// The other process.
fn debit(daemon: &str, folder: &Path) {
    let ledger = ledger(folder);
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    for round in 1.. {
        let release = Release {
            daemon: daemon.into(),
            // Data that two silos share is in no round of both.
            run: Digest::sha256(daemon.as_bytes()),
            ..samples::release("race", round)
        };
        match ledger.reserve(release, Some(Cost { event: EVENT, count: 1 }), &LIMITS, round) {
            Ok(head) => println!("{round} {}", head.sequence),
            // The same daemon's other process was faster in this round.
            Err(LedgerError::AlreadyDebited { .. }) => {}
            Err(LedgerError::Overspent(_)) => break,
            Err(why) => panic!("{why}"),
        }
    }
}
