//! Many runs of one federation at once, whose daemons are killed in the middle of rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use secagg::ClientId;
use serde_json::Value;

use super::journals::{Phase, catch_in};
use super::kills::{edit, manifests_committed, plan_anew, signal, to_be_run_anew};
use super::privacy::json;
use super::{Coordinator, Running, folkmoot, rejoin, role, stderr, text};

const SILOS: u32 = 4;
const RUNS: u32 = 10;
const ACTIVE_MAX: usize = 3;
/// What a silo's data may spend in all runs: the rounds of all plans cost 18 together, and each run under way has claimed its 4.9.
const EPSILON_MAX: f64 = 34.0;
/// Ten minutes are a hang.
const HANG: Duration = Duration::from_secs(600);

/// Who is killed, and in which phase of a round: the coordinator or not, and which silo, if any.
const KILLS: [(Phase, bool, Option<usize>); 8] = [
    (Phase::Advertising, true, None),
    (Phase::SharingKeys, false, Some(0)),
    (Phase::MaskedInput, true, Some(1)),
    (Phase::Consistency, true, None),
    (Phase::Unmasking, true, Some(2)),
    (Phase::OpeningTheSum, true, None),
    (Phase::MaskedInput, false, Some(3)),
    (Phase::Unmasking, false, Some(0)),
];

/// Rounds of the run of this number.
fn rounds_of(number: u32) -> u64 {
    2 + u64::from(number % 2)
}

/// Where the run of this number lies.
fn folder_of(data: &Path, number: u32) -> PathBuf {
    if number == 1 { data.to_owned() } else { data.join(format!("runs/{number:04}")) }
}

fn plan_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("plan-{number}.json"))
}

/// The author signs a plan for each run.
fn sign_plans(folder: &Path) {
    let made = fs::read_to_string(folder.join("plan.toml")).unwrap();
    for number in 1..=RUNS {
        let plan: String = made
            .lines()
            .map(|line| match line.split_once(" = ") {
                // Another plan, which the ledgers count by itself.
                Some(("id", _)) => format!("id = \"{number:032x}\"\n"),
                Some(("name", _)) => format!("name = \"run {number}\"\n"),
                Some(("rounds", _)) => format!("rounds = {}\n", rounds_of(number)),
                _ => format!("{line}\n"),
            })
            .collect();
        let (draft, key) = (folder.join("draft.toml"), folder.join("author.key"));
        fs::write(&draft, plan).unwrap();
        let out = plan_of(folder, number);
        let signed = folkmoot(&["plan", "sign", text(&draft), "--key", text(&key), "--out", text(&out)]);
        assert!(signed.status.success(), "{}", stderr(&signed));
    }
}

/// Every run as the coordinator lists it, once that is so.
fn runs_until(url: &str, done: impl Fn(&Value) -> bool) -> Vec<Value> {
    let until = Instant::now() + HANG;
    loop {
        let listed = json(&["runs", "list", "--coordinator", url]);
        let listed = listed.as_array().unwrap();
        if listed.iter().all(&done) {
            return listed.clone();
        }
        assert!(Instant::now() < until, "{listed:#?}");
    }
}

/// Starts the coordinator with each plan in turn: one that is not the first run's is submitted.
fn submit_all(folder: &Path, config: &Path) {
    plan_anew(folder, &[]);
    sign_plans(folder);
    let with_more = format!("runs_active_max = {ACTIVE_MAX}\n{}", fs::read_to_string(config).unwrap());
    fs::write(config, with_more).unwrap();
    for number in 1..=RUNS {
        fs::copy(plan_of(folder, number), folder.join("plan.json")).unwrap();
        drop(Coordinator::start(config));
    }
}

fn silos_with_a_budget(folder: &Path, address: &str) -> Vec<PathBuf> {
    let budget =
        format!("epsilon_max = {EPSILON_MAX:?}\noffers_per_author = {{ plans = {RUNS}, days = 30 }}\n");
    let configured = |id| {
        let file = rejoin(folder, &format!("silo-{id}"), &format!("http://{address}"));
        edit(&file, "epsilon_max = 4.9\n", &budget);
        file
    };
    (1..=SILOS).map(configured).collect()
}

#[test]
fn ten_runs_three_at_once_all_finish_whoever_is_killed_in_whichever_phase() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data, address) = to_be_run_anew(folder.path(), SILOS, 3);
    submit_all(folder.path(), &config);
    let configs = silos_with_a_budget(folder.path(), &address);
    let start = |place: usize| Some(Running(role("client", &configs[place]).spawn().unwrap()));
    let mut coordinator = Some(Coordinator::start(&config));
    let mut silos: Vec<Option<Running>> = (0..configs.len()).map(start).collect();

    let folders: Vec<PathBuf> = (1..=RUNS).map(|number| folder_of(&data, number)).collect();
    // The rounds in which somebody was killed, by run: who is in the sum, where that was decided.
    let mut struck: BTreeMap<(usize, u64), Option<BTreeSet<ClientId>>> = BTreeMap::new();
    for (phase, coordinator_too, silo) in KILLS {
        let stands = coordinator.as_ref().unwrap();
        let (place, caught) =
            catch_in(stands, &folders, SILOS, phase, |place, at| !struck.contains_key(&(place, at.round)));
        struck.insert((place, caught.at.round), caught.included);
        // Dropping is SIGKILL.
        if let Some(place) = silo {
            silos[place] = None;
        }
        if coordinator_too {
            drop(coordinator.take());
            coordinator = Some(Coordinator::start(&config));
        } else {
            signal(&stands.running, Signal::CONT);
        }
        if let Some(place) = silo {
            silos[place] = start(place);
        }
    }
    let listed = runs_until(&format!("http://{address}"), |run| run["state"] == "finished");
    let ledgers: Vec<PathBuf> =
        (1..=SILOS).map(|id| folder.path().join(format!("silo-{id}/fresh/ledger/silo.ledger"))).collect();
    ledgers.iter().for_each(|ledger| all_is_given_back(ledger));
    drop(silos);
    drop(coordinator);

    assert_eq!(listed.len(), RUNS as usize);
    for (number, run) in (1..).zip(&listed) {
        assert_eq!(run["number"], number, "{listed:#?}");
        assert_eq!(run["rounds_committed"], rounds_of(number), "{run:#}");
    }
    for ((place, round), included) in &struck {
        let committed = manifests_committed(&folders[*place]);
        let manifest =
            committed.get(round).unwrap_or_else(|| panic!("round {round} of run {} is lost", place + 1));
        if let Some(included) = included {
            let included: Vec<u32> = included.iter().map(|client| client.0).collect();
            assert_eq!(manifest.included, included, "round {round} of run {}", place + 1);
        }
    }
    every_chain_holds(folder.path(), &data);
    ledgers.iter().for_each(|ledger| within_budget(ledger));
}

/// All runs' chains are of the coordinator's key, with each step of the server done again.
fn every_chain_holds(folder: &Path, data: &Path) {
    let roster: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("roster.json")).unwrap()).unwrap();
    let roster: Value = serde_json::from_str(roster["roster"].as_str().unwrap()).unwrap();
    let plans: Vec<PathBuf> = (1..=RUNS).map(|number| plan_of(folder, number)).collect();
    let mut args = vec!["verify", text(data), "--key", roster["coordinator_key"].as_str().unwrap()];
    plans.iter().for_each(|plan| args.extend(["--plan", text(plan)]));
    let verified = json(&args);
    let runs = verified["runs"].as_array().unwrap();
    assert_eq!(runs.len(), RUNS as usize);
    for run in runs {
        assert_eq!(run["chain"]["steps"], run["chain"]["rounds"], "run {}", run["number"]);
    }
}

/// A silo that hears that a run is over gives back what it had claimed for it.
fn all_is_given_back(ledger: &Path) {
    let until = Instant::now() + HANG;
    while json(&["ledger", "show", text(ledger)])["claims"] != Value::Array(Vec::new()) {
        assert!(Instant::now() < until, "{}", json(&["ledger", "show", text(ledger)]));
    }
}

/// A silo's data has spent no more than its policy allows, and in no run more than its plan asks for.
fn within_budget(ledger: &Path) {
    let verified = folkmoot(&["ledger", "verify", text(ledger)]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let shown = json(&["ledger", "show", text(ledger)]);
    assert!(shown["total"]["epsilon"].as_f64().unwrap() <= EPSILON_MAX, "{shown:#}");
    let runs = shown["runs"].as_array().unwrap();
    assert_eq!(runs.len(), RUNS as usize, "{shown:#}");
    for run in runs {
        let number: u32 = run["name"].as_str().unwrap().strip_prefix("run ").unwrap().parse().unwrap();
        let debits = run["spent"]["debits"].as_u64().unwrap();
        assert!((1..=rounds_of(number)).contains(&debits), "{run:#}");
    }
}
