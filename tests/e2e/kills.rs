//! Daemons killed and stopped in the middle of a round: the coordinator at each phase, together with as many silos as the
//! threshold tolerates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use protocol::{ClientRecord, Record};
use rustix::process::{Pid, Signal, kill_process};
use secagg::ClientId;
use store::JournalKind;

use super::journals::{Phase, catch, journal};
use super::{Coordinator, Running, demo, folkmoot, rejoin, role, status_until, stderr, text};

const SILOS: u32 = 6;
/// `n - t`: of six with one corrupt, four open a sum.
const LOST_MAX: usize = 2;
const ROUNDS: u64 = 70;

const KILLED_AT: [Phase; 6] = [
    Phase::Advertising,
    Phase::SharingKeys,
    Phase::MaskedInput,
    Phase::Consistency,
    Phase::Unmasking,
    Phase::OpeningTheSum,
];

/// A demonstration's coordinator, without what it has done: its configuration, the folder that it will make, its address.
pub(super) fn to_be_run_anew(folder: &Path, silos: u32, rounds: u64) -> (PathBuf, PathBuf, String) {
    demo(folder, &["--clients", &silos.to_string(), "--rounds", &rounds.to_string(), "--keep"]);
    let data = folder.join("coordinator");
    fs::remove_dir_all(&data).unwrap();
    // Clients come back to the same address, so it must be one.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = folder.join("coordinator.toml");
    edit(&config, "127.0.0.1:0", &address);
    (config, data, address)
}

/// Gives a demonstration's plan such waits that nobody who lives is too late on a busy machine, and the change in `edits`; and
/// signs it.
pub(super) fn plan_anew(folder: &Path, edits: &[(&str, &str)]) {
    let (plan, signed) = (folder.join("plan.toml"), folder.join("plan.json"));
    let waits = [
        ("round_deadline_ms = 20000\n", "round_deadline_ms = 100000\n"),
        ("minimum_wait_ms = 500\n", "minimum_wait_ms = 20000\n"),
    ];
    waits.iter().chain(edits).for_each(|(from, to)| edit(&plan, from, to));
    fs::remove_file(&signed).unwrap();
    let author = folder.join("author.key");
    let resigned = folkmoot(&["plan", "sign", text(&plan), "--key", text(&author), "--out", text(&signed)]);
    assert!(resigned.status.success(), "{}", stderr(&resigned));
}

/// Replaces the one place of `from` in a file.
pub(super) fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_coordinator_killed_at_each_phase_with_up_to_two_silos_finishes_the_round_with_the_same_included_set() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data, _) = to_be_run_anew(folder.path(), SILOS, ROUNDS);
    // Two of six may be lost at every step.
    plan_anew(folder.path(), &[("minimum = 5\n", "minimum = 4\n")]);
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
            let caught = catch(&coordinator, &data, SILOS, phase, last);
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

    let committed = manifests_committed(&data);
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
    for place in 0..configs.len() {
        let id = place as u32 + 1;
        let debited = rounds_debited(&folder.path().join(format!("silo-{id}/fresh")));
        assert!(debited.windows(2).all(|two| two[0] < two[1]), "silo {id}: {debited:?}");
        for (round, _) in killed_in.iter().filter(|(_, places)| places.contains(&place)) {
            let (phase, _) = caught_in[round];
            came_back_after(*round, id, &debited, committed.get(round), phase);
        }
    }
}

/// Killed in a round, a silo comes back: into a later one. In the sum it is charged; and where it is charged and not in the sum, its
/// vector had not reached the coordinator's journal when that was killed: what may have left is debited before it does.
fn came_back_after(
    round: u64,
    id: u32,
    debited: &[u64],
    manifest: Option<&checkpoint::Manifest>,
    killed_at: Phase,
) {
    let charged = debited.contains(&round);
    let included = manifest.is_some_and(|manifest| manifest.included.contains(&id));
    assert!(charged || !included, "silo {id} in round {round}: in the sum, and not debited");
    assert!(
        !charged || included || manifest.is_none() || killed_at <= Phase::MaskedInput,
        "silo {id} in round {round}: debited, and not in the sum, at {killed_at:?}"
    );
    assert!(debited.iter().any(|later| *later > round), "silo {id} after round {round}");
}

/// The rounds that a silo's journal has debits of, in its order.
fn rounds_debited(state: &Path) -> Vec<u64> {
    let records = journal(state, JournalKind::Client, |bytes| ClientRecord::decode(bytes).unwrap());
    let debits = records.iter().filter_map(|record| match record {
        ClientRecord::Debited { at, .. } => Some(at.round),
        _ => None,
    });
    debits.collect()
}

/// The records of all versions in the coordinator's journal, by round.
pub(super) fn manifests_committed(data: &Path) -> BTreeMap<u64, checkpoint::Manifest> {
    let records = journal(data, JournalKind::Coordinator, |bytes| Record::decode(bytes).unwrap());
    let manifests = records.iter().filter_map(|record| match record {
        Record::Committed { manifest, .. } => {
            Some(checkpoint::Manifest::from_bytes(&manifest.manifest_bytes).unwrap())
        }
        _ => None,
    });
    manifests.map(|manifest| (manifest.round, manifest)).collect()
}

/// The plan of a demonstration of four silos, to be run anew at an address that stays.
struct Four {
    folder: tempfile::TempDir,
    config: PathBuf,
    data: PathBuf,
    silos: Vec<PathBuf>,
}

impl Four {
    fn new(rounds: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, data, address) = to_be_run_anew(folder.path(), 4, rounds);
        plan_anew(folder.path(), &[]);
        let url = format!("http://{address}");
        let silos = (1..=4).map(|id| rejoin(folder.path(), &format!("silo-{id}"), &url)).collect();
        Self { folder, config, data, silos }
    }

    fn start(&self) -> Vec<Running> {
        self.silos.iter().map(|config| Running(role("client", config).spawn().unwrap())).collect()
    }

    /// What the chain says of a round.
    fn manifest(&self, round: u64) -> checkpoint::Manifest {
        let file = self.data.join(format!("checkpoints/{round:06}/manifest.json"));
        checkpoint::Manifest::from_bytes(&fs::read(&file).unwrap()).unwrap()
    }
}

pub(super) fn signal(running: &Running, signal: Signal) {
    kill_process(Pid::from_child(&running.0), signal).unwrap();
}

#[test]
fn a_coordinator_asked_to_stop_in_a_round_ends_well_and_finishes_the_same_attempt_when_it_is_back() {
    let four = Four::new(12);
    let mut coordinator = Coordinator::start(&four.config);
    let _silos = four.start();
    let caught = catch(&coordinator, &four.data, 4, Phase::MaskedInput, 2);
    signal(&coordinator.running, Signal::TERM);
    signal(&coordinator.running, Signal::CONT);
    let ended = coordinator.running.0.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
    drop(coordinator);
    let coordinator = Coordinator::start(&four.config);
    let status = status_until(&coordinator.url, |status| !status["ended"].is_null());
    assert_eq!((&status["rounds_committed"], &status["rounds_aborted"]), (&12.into(), &0.into()), "{status}");
    let manifest = four.manifest(caught.at.round);
    assert_eq!((manifest.attempt, manifest.included), (caught.at.attempt, vec![1, 2, 3, 4]));
}

#[test]
fn a_silo_asked_to_stop_in_a_round_ends_well_is_left_out_by_name_and_joins_the_next() {
    let four = Four::new(60);
    let coordinator = Coordinator::start(&four.config);
    let mut silos = four.start();
    // Everybody's keys are in the cohort; silo 3 ends before anyone has sent a vector.
    let caught = catch(&coordinator, &four.data, 4, Phase::SharingKeys, 2);
    signal(&silos[2], Signal::TERM);
    let ended = silos[2].0.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
    signal(&coordinator.running, Signal::CONT);
    status_until(&coordinator.url, |status| status["head_round"].as_u64() >= Some(caught.at.round));
    // Of two silos no cohort comes about: the run does not end before it is back, however long that takes.
    signal(&silos[0], Signal::STOP);
    silos[2] = Running(role("client", &four.silos[2]).spawn().unwrap());
    status_until(&coordinator.url, |status| {
        let clients = status["clients"].as_array().unwrap();
        clients.iter().any(|client| client["id"] == 3 && client["connected"] == true)
    });
    signal(&silos[0], Signal::CONT);
    let status = status_until(&coordinator.url, |status| !status["ended"].is_null());
    assert_eq!(status["rounds_aborted"], 0, "{status}");
    let manifest = four.manifest(caught.at.round);
    assert_eq!(manifest.included, [1, 2, 4]);
    let left_out: Vec<(u32, &str)> =
        manifest.left_out.iter().map(|left| (left.client, left.reason.as_str())).collect();
    assert!(
        matches!(left_out[..], [(3, why)] if why.contains("restarted") || why.contains("silent")),
        "{left_out:?}"
    );
    let state = four.folder.path().join("silo-3/fresh");
    let records = journal(&state, JournalKind::Client, |bytes| ClientRecord::decode(bytes).unwrap());
    let debited = |round: u64| {
        records.iter().any(|record| matches!(record, ClientRecord::Debited { at, .. } if at.round == round))
    };
    assert!(!debited(caught.at.round), "it left before its vector");
    assert!((caught.at.round + 1..=60).any(debited), "it never came back");
}
