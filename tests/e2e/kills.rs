//! The coordinator killed at each phase, together with as many silos as the threshold tolerates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::{Attempt, ClientRecord, Record};
use rustix::process::{Pid, Signal, kill_process};
use secagg::ClientId;
use store::{Journal, JournalKind, Medium};

use super::{Coordinator, Running, demo, folkmoot, rejoin, role, status_until, stderr, text};

const SILOS: u32 = 6;
/// `n - t`: of six with one corrupt, four open a sum.
const LOST_MAX: usize = 2;
const ROUNDS: u64 = 70;

/// The phases in which a coordinator can be killed, by the record that began them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Idle,
    Advertising,
    SharingKeys,
    MaskedInput,
    Consistency,
    Unmasking,
    OpeningTheSum,
}

const KILLED_AT: [Phase; 6] = [
    Phase::Advertising,
    Phase::SharingKeys,
    Phase::MaskedInput,
    Phase::Consistency,
    Phase::Unmasking,
    Phase::OpeningTheSum,
];

/// A copy of a journal's bytes: what is read must not be changed, though a torn tail is cut off.
struct Copied(Vec<u8>);

impl Medium for Copied {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = self.0.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn journal<T>(folder: &Path, kind: JournalKind, decode: impl Fn(&[u8]) -> T) -> Vec<T> {
    let path = folder.join("journal");
    let (journal, _) = Journal::mount(Copied(fs::read(&path).unwrap()), &path, kind).unwrap();
    let mut records = Vec::new();
    journal.replay(&mut |_, bytes| records.push(decode(bytes))).unwrap();
    records
}

/// Where a run stands by its journal.
#[derive(Debug, Clone)]
struct Standing {
    phase: Phase,
    at: Attempt,
    /// The included set, once it is fixed.
    included: Option<BTreeSet<ClientId>>,
    /// Whether nobody is missing: what is tolerated is counted from there.
    complete: bool,
}

fn standing(data: &Path) -> Standing {
    let at = Attempt { round: 0, attempt: 0 };
    let mut standing = Standing { phase: Phase::Idle, at, included: None, complete: true };
    let (mut advertised, mut shared, mut staged) = (0, 0, BTreeSet::new());
    for record in journal(data, JournalKind::Coordinator, |bytes| Record::decode(bytes).unwrap()) {
        match record {
            Record::Opened { at, cohort, .. } => {
                let complete = cohort.len() == SILOS as usize;
                standing = Standing { phase: Phase::Advertising, at, included: None, complete };
                (advertised, shared) = (0, 0);
                staged.clear();
            }
            Record::Advertised(_) => advertised += 1,
            Record::RosterFixed { .. } => {
                standing.phase = Phase::SharingKeys;
                standing.complete &= advertised == SILOS;
            }
            Record::Shared(_) => shared += 1,
            Record::SharesFixed { .. } => {
                standing.phase = Phase::MaskedInput;
                standing.complete &= shared == SILOS;
            }
            Record::Staged(header) => drop(staged.insert(header.client)),
            Record::IncludedFixed { .. } => {
                standing.phase = Phase::Consistency;
                standing.complete &= staged.len() == SILOS as usize;
                standing.included = Some(staged.clone());
            }
            Record::UnmaskRequested { .. } => standing.phase = Phase::Unmasking,
            Record::SharesComplete { .. } => standing.phase = Phase::OpeningTheSum,
            Record::Committed { .. } | Record::Aborted { .. } => standing.phase = Phase::Idle,
            _ => {}
        }
    }
    standing
}

/// Stops a process, and waits until it stands still.
fn freeze(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    // The state follows the name in parentheses.
    while !fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('T') {
        std::thread::yield_now();
    }
}

/// Lets a frozen process go on until its journal has grown, or for a moment where nothing is due.
fn step(pid: Pid, data: &Path) {
    let length = || fs::metadata(data.join("journal")).unwrap().len();
    let before = length();
    kill_process(pid, Signal::CONT).unwrap();
    let began = Instant::now();
    while length() == before && began.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
}

/// Freezes the coordinator again and again until a round after `round`, with everybody in it, stands in `phase`; it stays
/// frozen.
fn catch(coordinator: &Coordinator, data: &Path, phase: Phase, round: u64) -> Standing {
    let pid = Pid::from_child(&coordinator.running.0);
    let began = Instant::now();
    loop {
        freeze(pid);
        let standing = standing(data);
        if standing.phase == phase && standing.complete && standing.at.round > round {
            return standing;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "no round comes to {phase:?}: {standing:?}");
        step(pid, data);
    }
}

/// Replaces the one place of `from` in a file.
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_coordinator_killed_at_each_phase_with_up_to_two_silos_finishes_the_round_with_the_same_included_set() {
    let folder = tempfile::tempdir().unwrap();
    let (silos, rounds) = (SILOS.to_string(), ROUNDS.to_string());
    demo(folder.path(), &["--clients", &silos, "--rounds", &rounds, "--keep"]);
    let data = folder.path().join("coordinator");
    fs::remove_dir_all(&data).unwrap();
    // Clients come back to the same address, so it must be one.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = folder.path().join("coordinator.toml");
    edit(&config, "127.0.0.1:0", &address);
    // Two of six may be lost at every step.
    edit(&folder.path().join("plan.toml"), "minimum = 5\n", "minimum = 4\n");
    let mut coordinator = Coordinator::start(&config);
    let configs: Vec<_> = (1..=SILOS)
        .map(|id| {
            let config = rejoin(folder.path(), &format!("silo-{id}"), &coordinator.url);
            edit(&config, "cohort_min = 5\n", "cohort_min = 4\n");
            config
        })
        .collect();
    let start = |place: usize| Running(role("client", &configs[place]).spawn().unwrap());
    let mut running: Vec<Running> = (0..configs.len()).map(start).collect();

    // Rounds that everybody was in when the coordinator was killed: four of six are left, which is enough at every step.
    let mut caught_in = BTreeMap::new();
    let mut killed_in: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut fixed: BTreeMap<u64, BTreeSet<ClientId>> = BTreeMap::new();
    let (mut last, mut next) = (0, 0);
    for phase in KILLED_AT {
        for lost in 0..=LOST_MAX {
            let caught = catch(&coordinator, &data, phase, last);
            last = caught.at.round;
            caught_in.insert(last, (phase, lost));
            fixed.extend(caught.included.map(|included| (last, included)));
            // Dropping is SIGKILL.
            drop(coordinator);
            for _ in 0..lost {
                let Running(silo) = &mut running[next % configs.len()];
                silo.kill().unwrap();
                silo.wait().unwrap();
                killed_in.entry(last).or_default().push(next % configs.len());
                next += 1;
            }
            coordinator = Coordinator::start(&config);
            for place in killed_in.get(&last).into_iter().flatten() {
                running[*place] = start(*place);
            }
        }
    }
    let status = status_until(&coordinator.url, |status| !status["ended"].is_null());
    let verified = folkmoot(&["verify", text(&data)]);
    assert!(verified.status.success(), "{}", stderr(&verified));

    let records = journal(&data, JournalKind::Coordinator, |bytes| Record::decode(bytes).unwrap());
    let mut committed = BTreeMap::new();
    for record in &records {
        if let Record::Committed { manifest, .. } = record {
            let manifest = checkpoint::Manifest::from_bytes(&manifest.manifest_bytes).unwrap();
            committed.insert(manifest.round, manifest);
        }
    }
    // Every round is in the chain, or was aborted with a name, and charged.
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(count("rounds_committed"), committed.len() as u64);
    assert!(count("rounds_committed") + count("rounds_aborted") >= ROUNDS, "{status}");
    for (round, cell) in &caught_in {
        assert!(committed.contains_key(round), "round {round}, killed at {cell:?}, was not committed");
    }
    // Once it is fixed, neither the crash nor the silos lost with it change who is in the sum.
    assert_eq!(fixed.len(), 3 * (LOST_MAX + 1));
    for (round, included) in &fixed {
        let included: Vec<u32> = included.iter().map(|client| client.0).collect();
        assert_eq!(committed[round].included, included, "round {round}");
    }
    for (place, _) in configs.iter().enumerate() {
        let state = folder.path().join(format!("silo-{}/fresh", place + 1));
        let records = journal(&state, JournalKind::Client, |bytes| ClientRecord::decode(bytes).unwrap());
        let debited: Vec<u64> = records
            .iter()
            .filter_map(|record| match record {
                ClientRecord::Debited { at, .. } => Some(at.round),
                _ => None,
            })
            .collect();
        assert!(debited.windows(2).all(|two| two[0] < two[1]), "silo {}: {debited:?}", place + 1);
        // Killed in a round, it comes back: into a later one.
        for round in killed_in.iter().filter(|(_, places)| places.contains(&place)).map(|(round, _)| round) {
            let left_out = committed.get(round).is_none_or(|manifest| {
                manifest.included.contains(&(place as u32 + 1)) == debited.contains(round)
            });
            assert!(left_out, "silo {} in round {round}", place + 1);
            assert!(debited.iter().any(|later| later > round), "silo {} after round {round}", place + 1);
        }
    }
}
