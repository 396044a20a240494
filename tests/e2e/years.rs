//! One federation over many runs: plans come and go, a silo joins, another is put out, daemons are killed, and nobody starts
//! anything again but what was killed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::trust::{Trust, both_logs_hold, client, newest_receipt, number, stop};
use crate::{Running, demo, folkmoot, stderr, text};

/// Exact sums, from the coordinator's configuration: the name that the demonstration gives its plan.
const FIRST: &str = "handwritten digits";
/// Rounds that outlast the test, and the noise under which they cost what the few rounds of the others do.
const LONG: (u64, f64) = (5000, 250.0);
const SHORT: (u64, f64) = (4, 2.5);
/// Ten minutes are a hang.
const HANG: Duration = Duration::from_secs(600);

struct Years {
    trust: Trust,
    coordinator: Option<Running>,
    /// The daemon of silo `i + 1`, as it was started first, or after it was killed.
    silos: Vec<Running>,
}

impl Years {
    /// Four silos that accept sums without noise and nothing else, a plan of such, its author's folder, and an operator's.
    fn begin() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let trust = Trust::prepared(address, None, None, 4);
        demo(&trust.path("noisy"), &["--clients", "4", "--rounds", "1", "--keep"]);
        let coordinator = Some(trust.coordinator());
        for (name, role) in [("ada", "author"), ("olga", "operator"), ("vera", "viewer")] {
            let out = trust.path(name);
            trust.ask(&["operators", "issue", "--name", name, "--role", role, "--out", text(&out)]);
        }
        trust.enrol(&[1, 2, 3, 4]);
        Self { trust, coordinator, silos: Vec::new() }
    }

    /// A command of whoever this folder is of.
    fn as_whom(&self, name: &str, args: &[&str]) -> Output {
        folkmoot(&[args, &["--as", text(&self.trust.path(name))]].concat())
    }

    /// The author of all plans signs one that promises differential privacy, and submits it.
    fn submit(&self, name: &str, (rounds, noise): (u64, f64)) {
        let made = fs::read_to_string(self.trust.path("noisy/plan.toml")).unwrap();
        let plan: String = made
            .lines()
            .map(|line| match line.split_once(" = ") {
                // Another plan, which the ledgers count by itself.
                Some(("id", _)) => format!("id = \"{:0>32}\"\n", hex::encode(name)),
                Some(("federation", _)) => "federation = \"e2e\"\n".into(),
                Some(("name", _)) => format!("name = \"{name}\"\n"),
                Some(("rounds", _)) => format!("rounds = {rounds}\n"),
                Some(("noise_multiplier", _)) => format!("noise_multiplier = {noise:?}\n"),
                Some(("maximum", value)) if !value.contains('.') => "maximum = 5\n".into(),
                // Who lives is not taken for dead, on a busy machine either.
                Some(("round_deadline_ms", _)) => "round_deadline_ms = 60000\n".into(),
                _ => format!("{line}\n"),
            })
            .collect();
        let (draft, signed) = (self.trust.path(&format!("{name}.toml")), plan_of(&self.trust, name));
        fs::write(&draft, plan).unwrap();
        let key = self.trust.path("author.key");
        let sign = ["plan", "sign", text(&draft), "--key", text(&key), "--out", text(&signed)];
        let done = folkmoot(&sign);
        assert!(done.status.success(), "{}", stderr(&done));
        let submitted = self.as_whom("ada", &["runs", "submit", text(&signed), "--json"]);
        assert!(submitted.status.success(), "{}", stderr(&submitted));
        let entry: Value = serde_json::from_slice(&submitted.stdout).unwrap();
        assert_eq!((&entry["name"], &entry["submitted_by"]), (&name.into(), &"ada".into()), "{entry}");
    }

    /// Whoever only looks asks this again and again; none where it came too often, or the coordinator is being started.
    fn poll(&self, args: &[&str]) -> Option<String> {
        let output = self.as_whom("vera", args);
        if stderr(&output).contains("too often; try again") || output.status.code() == Some(4) {
            return None;
        }
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// Asks until the list of runs is so.
    fn runs_until(&self, what: &str, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + HANG;
        loop {
            let listed = self.poll(&["runs", "list", "--json"]);
            let runs = listed.map(|listed| serde_json::from_str::<Vec<Value>>(&listed).unwrap());
            if runs.as_ref().is_some_and(|runs| done(runs)) {
                return runs.unwrap();
            }
            assert!(Instant::now() < until, "not {what}: {runs:#?}\n{}", self.trust.log("silo-1"));
        }
    }

    /// Until a run is in this state, for a reason with these words.
    fn until_state(&self, name: &str, state: &str, reason: &str) {
        self.runs_until(&format!("{name} {state}"), |runs| {
            let run = run(runs, name);
            run["state"] == state && run["reason"].as_str().unwrap().contains(reason)
        });
    }

    /// Until a run has committed so many rounds more than now.
    fn until_more_rounds(&self, name: &str, more: u64) {
        let wanted = number(run(&self.runs_until("listed", |_| true), name), "rounds_committed") + more;
        self.runs_until(&format!("{wanted} rounds of {name}"), |runs| {
            number(run(runs, name), "rounds_committed") >= wanted
        });
    }

    /// The status of one run, once it is so.
    fn status_until(&self, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + HANG;
        loop {
            assert!(Instant::now() < until, "not {what}:\n{}", self.trust.log("silo-1"));
            let Some(status) = self.poll(&["status", "--json", "--run", name]) else { continue };
            let status: Value = serde_json::from_str(&status).unwrap();
            if done(&status) {
                return status;
            }
        }
    }

    /// Barred by an administrator: neither looks nor acts.
    fn olga_is_refused(&self, run: &str) {
        let acts: [&[&str]; 3] = [
            &["status", "--run", run],
            &["run", "pause", "--run", run, "--reason", "olga is back"],
            &["runs", "list"],
        ];
        for act in acts {
            let until = Instant::now() + HANG;
            loop {
                let refused = self.as_whom("olga", act);
                let why = stderr(&refused);
                assert!(!refused.status.success(), "{act:?} was done");
                if why.contains("revoked") {
                    assert_eq!(refused.status.code(), Some(1), "she has the coordinator's answer: {why}");
                    break;
                }
                // The handshake's end can reach her before the reason does.
                assert!(refused.status.code() == Some(4) && Instant::now() < until, "{act:?}: {why}");
            }
        }
    }
}

/// Where the signed plan of this name lies.
fn plan_of(trust: &Trust, name: &str) -> PathBuf {
    trust.path(&if name == FIRST { "fed/plan.json".into() } else { format!("{name}.json") })
}

/// The run whose plan has this name.
fn run<'a>(runs: &'a [Value], name: &str) -> &'a Value {
    runs.iter().find(|run| run["name"] == name).unwrap_or_else(|| panic!("no {name}: {runs:#?}"))
}

#[test]
fn a_federation_outlives_its_runs_and_keeps_who_is_barred_what_was_said_and_every_silos_daemon() {
    let mut years = Years::begin();
    exact_sums(&mut years);
    policies_change_while_silos_run(&years);
    grows_and_is_killed(&mut years);

    // The long run and a short one at once; the short one is over first.
    years.submit("third", SHORT);
    years.until_state("third", "finished", "");
    years.until_more_rounds("second", 2);

    comes_through_an_incident(&years);

    // The long run gives its place to the next.
    years.submit("fifth", SHORT);
    years.trust.ask(&["runs", "pause", "second", "--reason", "the fifth follows"]);
    years.until_state("second", "paused", "the fifth follows");
    years.olga_is_refused("fifth");
    years.until_state("fifth", "finished", "");
    years.olga_is_refused("fifth");

    all_is_as_it_should_be(years);
}

/// The configured plan, from an operator's bar to its end; the silos stay.
fn exact_sums(years: &mut Years) {
    let pause = ["run", "pause", "--run", FIRST, "--reason", "before the first round"];
    let paused = years.as_whom("olga", &pause);
    assert!(paused.status.success(), "{}", stderr(&paused));
    years.until_state(FIRST, "paused", "before the first round");
    years.trust.ask(&["access", "revoke", "olga", "--reason", "lost laptop"]);
    years.olga_is_refused(FIRST);
    years.silos = (1..=4).map(|id| years.trust.silo(id)).collect();
    years.trust.ask(&["run", "resume", "--run", FIRST]);
    years.until_state(FIRST, "finished", "");
}

/// A plan that every silo's policy refuses waits, until the policies allow it.
fn policies_change_while_silos_run(years: &Years) {
    years.submit("second", LONG);
    years.until_state("second", "waiting", "willing");
    let noisy = |policy: String| {
        let changes = [
            ("epsilon_max = 1.0\n", "epsilon_max = 100.0\noffers_per_author = { plans = 20, days = 30 }\n"),
            (
                "privacy_modes = [\"fedavg\"]\n",
                "privacy_modes = [\"distributed_dp_sgd\"]\naccepts_exact_releases = 1000\n",
            ),
        ];
        changes.iter().fold(policy, |policy, (from, to)| {
            assert_eq!(policy.matches(from).count(), 1, "{from:?} in:\n{policy}");
            policy.replace(from, to)
        })
    };
    let mut files: Vec<PathBuf> =
        (1..=4).map(|id| years.trust.path(&format!("silo-{id}/client.toml"))).collect();
    // A later silo enrols with it.
    files.push(years.trust.path("policy.toml"));
    for file in files {
        let changed = noisy(fs::read_to_string(&file).unwrap());
        let beside = file.with_extension("new");
        fs::write(&beside, changed).unwrap();
        fs::rename(&beside, &file).unwrap();
    }
    years.until_more_rounds("second", 2);
}

/// A fifth silo takes part; coordinator and a silo are killed and come back by a supervisor's hand.
fn grows_and_is_killed(years: &mut Years) {
    years.trust.enrol(&[5]);
    years.silos.push(years.trust.silo(5));
    years.status_until("second", "a round with the fifth silo", |status| {
        let clients = status["clients"].as_array().unwrap();
        clients.len() == 5 && number(client(status, 5), "rounds_included") > 0
    });
    let before = number(run(&years.runs_until("listed", |_| true), "second"), "rounds_committed");
    // Dropping is SIGKILL.
    drop(years.coordinator.take());
    drop(years.silos.remove(1));
    years.coordinator = Some(years.trust.coordinator());
    years.silos.insert(1, years.trust.silo(2));
    years.status_until("second", "rounds after the kills", |status| {
        number(status, "rounds_committed") >= before + 3
            && status["clients"].as_array().unwrap().iter().all(|client| client["connected"] == true)
    });
    years.olga_is_refused("second");
}

/// The playbook, while another run goes on.
fn comes_through_an_incident(years: &Years) {
    let trust = &years.trust;
    let incident = trust.ask(&["incident", "open", "--title", "loss jumped, silo-3 suspected"]);
    let incident = incident.trim();
    trust.ask(&["incident", "note", incident, "the second run's loss jumped"]);
    trust.ask_twice(&["run", "pause", "--run", "second", "--reason", incident], "nothing was changed");
    let paused = years.status_until("second", "paused", |status| {
        status["waiting_why"].as_str().unwrap().contains("paused")
    });
    years.until_state("second", "paused", incident);
    let authority = trust.path("fed/authority");
    trust.ask(&["clients", "revoke", "silo-3", "--reason", incident, "--authority", text(&authority)]);

    // What is paused holds up nobody, and the other runs' silos learn of the revocation all the same.
    years.submit("fourth", SHORT);
    years.until_state("fourth", "finished", "");
    let fourth = years.status_until("fourth", "over", |_| true);
    assert!(fourth["clients"].as_array().unwrap().iter().all(|client| number(client, "id") != 3), "{fourth}");

    let head = &number(&paused, "head_round").to_string();
    let why = ["--run", "second", "--reason", incident];
    trust.ask_twice(&[&["model", "quarantine", head], &why[..]].concat(), "nothing was changed");
    trust.ask(&[&["model", "rollback", "1"], &why[..]].concat());
    trust.ask(&["keys", "rotate"]);
    let report = trust.path("report.tar");
    trust.ask(&["incident", "report", incident, "--run", "second", "--out", text(&report)]);
    let verified = folkmoot(&["incident", "verify", text(&report)]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    trust.ask_twice(&["run", "resume", "--run", "second"], "nothing was changed");
    years.until_more_rounds("second", 2);
    let close = ["incident", "close", incident, "--resolution", "silo-3 revoked, going on from round 1"];
    trust.ask_twice(&close, "is closed already");
}

/// Whoever was not killed is the process that was started first, every run's chain holds, and no log accuses anybody.
fn all_is_as_it_should_be(mut years: Years) {
    let runs = years.runs_until("listed", |_| true);
    assert_eq!(runs.len(), 5, "{runs:#?}");
    // The third was put out.
    for id in [1, 2, 4, 5] {
        let ended = years.silos[id - 1].0.try_wait().unwrap();
        assert_eq!(ended, None, "silo {id} ended:\n{}", years.trust.log(&format!("silo-{id}")));
    }
    let trust = years.trust;
    let receipts = trust.path("silo-1/state/receipts");
    trust.status_until("a receipt of silo-1's upload", |_| newest_receipt(&receipts).is_some());
    stop(years.silos);
    stop(years.coordinator.into_iter().collect());

    let [key, master] = ["fed/model.pub.pem", "fed/master.key"].map(|place| trust.path(place));
    for entry in &runs {
        let name = entry["name"].as_str().unwrap();
        let data = match number(entry, "number") {
            1 => trust.path("fed/data"),
            later => trust.path(&format!("fed/data/runs/{later:04}")),
        };
        let plan = plan_of(&trust, name);
        let exported = trust.path(&format!("exported-{name}"));
        let export = ["model", "export", "--data", text(&data), "--master", text(&master), text(&exported)];
        let verify = ["verify", text(&exported), "--model-key", text(&key), "--plan", text(&plan)];
        let spent = ["ledger", "show", text(&data), "--master", text(&master)];
        for args in [&export[..], &verify, &spent] {
            let done = folkmoot(args);
            assert!(done.status.success() && !done.stdout.is_empty(), "{args:?}: {}", stderr(&done));
        }
    }
    // The silos went from one to the other and back.
    let [second, third] =
        ["second", "third"].map(|name| committed_ms(&trust.path(&format!("exported-{name}"))));
    let between = |time: &u64| (third[1]..=third[third.len() - 1]).contains(time);
    assert!(second.iter().any(between), "{second:?}\n{third:?}");
    both_logs_hold(&trust, &receipts);
    for id in 1..=5 {
        for entry in fs::read_dir(trust.path(&format!("silo-{id}/state"))).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let accuses = ["equivocation", "contradiction"].iter().any(|begin| name.starts_with(begin));
            assert!(!accuses, "silo {id} holds {name}");
        }
    }
}

/// When each version of a chain was made, oldest first.
fn committed_ms(folder: &Path) -> Vec<u64> {
    let manifests = published::verify_folder(folder, None).unwrap().manifests;
    manifests.iter().map(|manifest| manifest.created_ms).collect()
}
