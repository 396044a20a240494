//! What earlier releases left on their disks: opened, gone on with, verified.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Coordinator, Running, folkmoot, role, status_until, stderr, text};

const SILOS: [&str; 3] = ["silo-1", "silo-2", "silo-3"];
/// Rounds that release 1 had committed.
const COMMITTED: u64 = 3;

/// A copy of a release's folder, whose keys only their owner reads again.
fn copy_of(release: &str, to: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    copy(&fixtures.join(release), to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// The silo's configuration, with the coordinator's new address and nothing else changed.
fn moved(folder: &Path, silo: &str, url: &str) -> PathBuf {
    let file = folder.join(silo).join("client.toml");
    let lines = fs::read_to_string(&file).unwrap();
    let lines = lines.lines().map(|line| match line.starts_with("coordinator = ") {
        true => format!("coordinator = \"{url}\"\n"),
        false => format!("{line}\n"),
    });
    let text: String = lines.collect();
    fs::write(&file, text).unwrap();
    file
}

fn succeeds(args: &[&str]) -> String {
    let output = folkmoot(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The chain, the ledgers and the logs of everyone, by the commands that an operator has.
fn verify_everything(folder: &Path) {
    let coordinator = folder.join("coordinator");
    let roster: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("roster.json")).unwrap()).unwrap();
    let roster: Value = serde_json::from_str(roster["roster"].as_str().unwrap()).unwrap();
    let key = roster["coordinator_key"].as_str().unwrap();
    let plan = folder.join("plan.json");
    succeeds(&["verify", text(&coordinator), "--key", key, "--plan", text(&plan)]);
    for place in SILOS.map(|silo| folder.join(silo).join("state")).into_iter().chain([coordinator]) {
        let key = fs::read_to_string(place.join("audit.pub")).unwrap();
        succeeds(&["audit", "verify", text(&place.join("audit")), "--key", key.trim()]);
        let ledger = place.join("ledger/silo.ledger");
        if ledger.exists() {
            succeeds(&["ledger", "verify", text(&ledger)]);
        }
    }
}

fn header(journal: &Path) -> Vec<u8> {
    fs::read(journal).unwrap()[..8].to_vec()
}

#[test]
fn a_run_that_release_1_began_verifies_and_goes_on_under_its_own_rules() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy_of("release-1", folder);
    verify_everything(folder);
    let journals =
        [&["coordinator"][..], &SILOS].concat().into_iter().map(|party| match party.starts_with("silo") {
            true => folder.join(party).join("state/journal"),
            false => folder.join(party).join("journal"),
        });
    let journals: Vec<PathBuf> = journals.collect();
    let before: Vec<Vec<u8>> = journals.iter().map(|journal| fs::read(journal).unwrap()).collect();

    let coordinator = Coordinator::start(&folder.join("coordinator.toml"));
    let silos = SILOS.map(|silo| {
        let config = moved(folder, silo, &coordinator.url);
        Running(role("client", &config).spawn().unwrap())
    });
    let status = status_until(&coordinator.url, |status| {
        status["rounds_committed"].as_u64().is_some_and(|rounds| rounds > COMMITTED)
    });
    assert_eq!(status["run_name"], "of release 1");
    drop(silos);
    drop(coordinator);
    for (journal, before) in journals.iter().zip(&before) {
        assert_eq!(header(journal)[4..6], [1, 0], "a journal keeps the version that it was begun with");
        assert!(fs::read(journal).unwrap().starts_with(before), "and what was in it");
    }
    verify_everything(folder);
}

#[test]
fn a_journal_that_a_later_release_began_is_refused_by_its_format_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy_of("release-1", folder);
    for (party, config, journal) in [
        ("coordinator", folder.join("coordinator.toml"), folder.join("coordinator/journal")),
        ("client", folder.join("silo-1/client.toml"), folder.join("silo-1/state/journal")),
    ] {
        let mut bytes = fs::read(&journal).unwrap();
        bytes[4] = 5;
        fs::write(&journal, &bytes).unwrap();
        let output = role(party, &config).stderr(std::process::Stdio::piped()).output().unwrap();
        let why = stderr(&output);
        assert!(!output.status.success(), "{party}");
        assert!(why.contains("has format 3, this release reads up to 2: install a newer release"), "{why}");
        assert_eq!(fs::read(&journal).unwrap(), bytes, "{party}");
    }
}

#[test]
fn a_folder_of_release_1_opens_as_a_federation_of_one_run_with_its_name_and_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy_of("release-1", folder);
    let version = fs::read(folder.join("coordinator/checkpoints/000003/manifest.json")).unwrap();
    let version = checkpoint::Manifest::from_bytes(&version).unwrap();
    let plan = fs::read_to_string(folder.join("plan.toml")).unwrap();
    let planned = plan.lines().find_map(|line| line.strip_prefix("rounds = ")).unwrap();
    let only_run = |coordinator: &Coordinator| {
        let listed = succeeds(&["runs", "list", "--json", "--coordinator", &coordinator.url]);
        let mut listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.len(), 1, "{listed:#?}");
        let run = listed.remove(0);
        assert_eq!((&run["number"], &run["name"]), (&1.into(), &"of release 1".into()), "{run:#}");
        assert_eq!(run["run"], version.run_id.to_string(), "{run:#}");
        assert_eq!((&run["position"], &run["submitted_by"]), (&Value::Null, &"".into()), "{run:#}");
        assert_eq!(run["rounds_planned"].to_string(), planned, "{run:#}");
        run
    };
    let start = || Coordinator::start(&folder.join("coordinator.toml"));
    // Opened once, and once more: the second time it finds what the first one wrote.
    for _ in 0..2 {
        let run = only_run(&start());
        assert_eq!(
            (&run["state"], &run["rounds_committed"]),
            (&"waiting".into(), &COMMITTED.into()),
            "{run:#}"
        );
        assert!(run["reason"].as_str().unwrap().contains("0 of the 3 silos that a round needs"), "{run:#}");
    }
    let coordinator = start();
    let silos = SILOS.map(|silo| {
        let config = moved(folder, silo, &coordinator.url);
        Running(role("client", &config).spawn().unwrap())
    });
    let status = status_until(&coordinator.url, |status| !status["ended"].is_null());
    drop(silos);
    let over = only_run(&coordinator);
    assert_eq!(
        (&over["state"], &over["rounds_committed"]),
        (&"finished".into(), &status["rounds_committed"])
    );
    drop(coordinator);
    assert_eq!(only_run(&start()), over);
    assert!(!folder.join("coordinator/runs").exists(), "the one run lies where it lay");
}
