//! A federation as its people run it: enrolled by token, over TLS, sealed, with an incident in the middle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use params::Digest;
use serde_json::Value;

use crate::{Running, assert_refused, demo, folkmoot, past_rounds_are_watched, stderr, text};

const SILOS: usize = 4;

pub(super) struct Trust {
    folder: tempfile::TempDir,
    /// Where the coordinator listens.
    pub(super) address: String,
    /// What it is called, where that is not its address.
    name: Option<String>,
    /// The only way there.
    proxy: Option<String>,
}

impl Trust {
    /// `init`, a signed plan that goes on for long, and the silos' tables.
    pub(super) fn prepare() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        Self::prepared(address, None, None, 100_000)
    }

    pub(super) fn prepared(
        address: String,
        name: Option<String>,
        proxy: Option<String>,
        rounds: u64,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("demo");
        demo(&data, &["--clients", "4", "--rounds", "1", "--privacy", "none", "--keep"]);
        let trust = Self { folder, address, name, proxy };
        let made = folkmoot(&[
            "coordinator",
            "init",
            "--dir",
            text(&trust.path("fed")),
            "--federation",
            "e2e",
            "--address",
            trust.called(),
            "--listen",
            &trust.address,
        ]);
        assert!(made.status.success(), "{}", stderr(&made));
        let plan: String = fs::read_to_string(data.join("plan.toml"))
            .unwrap()
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("rounds", _)) => format!("rounds = {rounds}\n"),
                Some(("minimum", value)) if !value.contains('.') => "minimum = 3\n".into(),
                Some(("federation", _)) => "federation = \"e2e\"\n".into(),
                // Who lives is not taken for dead, on a busy machine either.
                Some(("round_deadline_ms", _)) => "round_deadline_ms = 60000\n".into(),
                Some(("minimum_wait_ms", _)) => "minimum_wait_ms = 1000\n".into(),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(trust.path("plan.toml"), plan).unwrap();
        let key = folkmoot(&["keys", "new", text(&trust.path("author.key"))]);
        let author = String::from_utf8(key.stdout).unwrap().trim().to_owned();
        let signed = folkmoot(&[
            "plan",
            "sign",
            text(&trust.path("plan.toml")),
            "--key",
            text(&trust.path("author.key")),
            "--out",
            text(&trust.path("fed/plan.json")),
        ]);
        assert!(signed.status.success(), "{}", stderr(&signed));
        let policy = format!(
            "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 1.0\ndelta_max = 1e-5\n\
             privacy_modes = [\"fedavg\"]\nrepeats_without_dp = 1000\nauthors = [\"{author}\"]\n\
             roster_changes = \"auto\"\nwitnesses_min = 2\naccepts_undetected_rollback = true\n"
        );
        fs::write(trust.path("policy.toml"), policy).unwrap();
        trust
    }

    fn called(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.address)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An administrator's command.
    fn admin(&self, args: &[&str]) -> Output {
        let admin = self.path("fed/admin");
        let through = self.proxy.as_ref().map(|proxy| ["--proxy", proxy.as_str()]);
        folkmoot(&[args, &["--as", text(&admin)], through.as_ref().map_or(&[][..], |two| &two[..])].concat())
    }

    pub(super) fn ask(&self, args: &[&str]) -> String {
        let output = self.admin(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// And again: what is so already is said so, and is no failure of a script that asks twice.
    pub(super) fn ask_twice(&self, args: &[&str], again: &str) {
        self.ask(args);
        let said = self.ask(args);
        assert!(said.contains(again), "{args:?}: {said}");
    }

    /// Pauses, takes the newest model out of use, and goes on from the first round's; gives the folder with what was fetched.
    fn go_back(&self) -> PathBuf {
        self.ask_twice(&["run", "pause", "--reason", "looking at it"], "looking at it; nothing was changed");
        let paused =
            self.status_until("paused", |status| status["waiting_why"].as_str().unwrap().contains("paused"));
        let head = &number(&paused, "head_round").to_string();
        let bundle = self.path("bundle");
        self.ask(&["model", "fetch", "--bundle", text(&bundle), "--round", head]);
        self.ask_twice(&["model", "quarantine", head, "--reason", "poisoned"], "nothing was changed");
        let bad = self.path("bad");
        let fetch = ["model", "fetch", "--bundle", text(&bad), "--round", head, "--quarantined"];
        let refused = self.admin(&fetch[..fetch.len() - 1]);
        assert!(!refused.status.success() && stderr(&refused).contains("poisoned"), "{}", stderr(&refused));
        self.ask(&fetch);
        self.ask(&["model", "rollback", "1", "--reason", "the last good one"]);
        self.ask(&["keys", "rotate"]);
        self.ask_twice(&["run", "resume"], "the run is not paused; nothing was changed");
        let committed = number(&paused, "rounds_committed");
        self.status_until("rounds after the rollback", |status| {
            number(status, "rounds_committed") >= committed + 2
        });
        bundle
    }

    /// The same for questions that are repeated until the answer is right; none where they came too often, or where a machine that
    /// is too busy to shake hands in time had to give way to strangers.
    fn poll(&self, args: &[&str]) -> Option<String> {
        let output = self.admin(args);
        if stderr(&output).contains("too often; try again") || output.status.code() == Some(4) {
            return None;
        }
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// A daemon that writes all it can into its log.
    fn daemon(&self, name: &str, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_folkmoot"))
            .args(args)
            .env("FOLKMOOT_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(self.path(&format!("{name}.log"))).unwrap())
            .spawn()
            .unwrap()
    }

    pub(super) fn coordinator(&self) -> Running {
        let mut child = self
            .daemon("coordinator", &["coordinator", "--config", text(&self.path("fed/coordinator.toml"))]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("listening on {}", self.address), "{}", self.log("coordinator"));
        Running(child)
    }

    pub(super) fn silo(&self, id: usize) -> Running {
        let config = self.path(&format!("silo-{id}/client.toml"));
        Running(self.daemon(&format!("silo-{id}"), &["client", "--config", text(&config)]))
    }

    fn token(&self, id: usize) -> String {
        let token = self.ask(&["tokens", "create", "--silo", &format!("silo-{id}"), "--expires", "24h"]);
        token.trim().to_owned()
    }

    fn enrolling(&self, id: usize, token: &str) -> Child {
        let (dir, data) = (
            self.path(&format!("silo-{id}")),
            self.path(&format!("demo/silo-{}/silo.csv", (id - 1) % SILOS + 1)),
        );
        let (url, policy) = (format!("https://{}", self.called()), self.path("policy.toml"));
        let file = self.path(&format!("token-{id}"));
        fs::write(&file, token).unwrap();
        let through = self.proxy.as_ref().map(|proxy| ["--proxy", proxy.as_str()]);
        self.daemon(
            &format!("enroll-{id}"),
            &[
                &[
                    "client",
                    "enroll",
                    "--coordinator",
                    &url,
                    "--token-file",
                    text(&file),
                    "--dir",
                    text(&dir),
                    "--data",
                    text(&data),
                    "--policy",
                    text(&policy),
                ][..],
                through.as_ref().map_or(&[][..], |two| &two[..]),
            ]
            .concat(),
        )
    }

    /// Enrols these silos: each shows a fingerprint, which the administrator confirms.
    pub(super) fn enrol(&self, ids: &[usize]) -> Vec<String> {
        let tokens: Vec<String> = ids.iter().map(|id| self.token(*id)).collect();
        let mut children: Vec<Child> =
            ids.iter().zip(&tokens).map(|(id, token)| self.enrolling(*id, token)).collect();
        let shown: Vec<String> = children
            .iter_mut()
            .map(|child| {
                let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
                let mut lines =
                    lines.filter_map(|line| line.strip_prefix("fingerprint").map(|f| f.trim().to_owned()));
                lines.next().unwrap()
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(600);
        let all_ask = |list: String| shown.iter().all(|fingerprint| list.contains(fingerprint));
        while !self.poll(&["clients", "list"]).is_some_and(all_ask) {
            assert!(Instant::now() < until, "not everyone asks:\n{}", self.log("coordinator"));
        }
        let authority = self.path("fed/authority");
        let names: Vec<String> = ids.iter().map(|id| format!("silo-{id}")).collect();
        let mut args = vec!["clients", "approve", "--authority", text(&authority)];
        args.extend(names.iter().map(String::as_str));
        shown.iter().for_each(|fingerprint| args.extend(["--fingerprint", fingerprint]));
        self.ask(&args);
        for (id, child) in ids.iter().zip(&mut children) {
            assert!(child.wait().unwrap().success(), "{}", self.log(&format!("enroll-{id}")));
        }
        tokens
    }

    pub(super) fn status_until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(600);
        loop {
            assert!(Instant::now() < until, "not {what}:\n{}", self.log("silo-1"));
            let Some(status) = self.poll(&["status", "--json"]) else { continue };
            let status: Value = serde_json::from_str(&status).unwrap();
            if done(&status) {
                return status;
            }
        }
    }

    /// The last lines of a daemon's log.
    pub(super) fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.contains(" TRACE ") && !line.contains("DEBUG")).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

pub(super) fn client(status: &Value, id: u64) -> &Value {
    let clients = status["clients"].as_array().unwrap();
    clients.iter().find(|client| number(client, "id") == id).unwrap_or_else(|| panic!("no {id}: {status:#}"))
}

/// The proof of the newest receipt in a silo's folder.
pub(super) fn newest_receipt(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "tlog-proof")).max()
}

#[test]
fn a_federation_is_enrolled_grows_loses_a_silo_and_comes_through_an_incident_with_the_playbooks_commands() {
    let trust = Trust::prepare();
    let coordinator = trust.coordinator();
    let mut tokens = trust.enrol(&[1, 2, 3]);

    strangers_join_nothing(&trust, &tokens[0]);

    let mut silos: Vec<Running> = (1..=3).map(|id| trust.silo(id)).collect();
    trust.status_until("three rounds", |status| number(status, "rounds_committed") >= 3);

    // A fourth joins; nobody starts again.
    tokens.extend(trust.enrol(&[4]));
    silos.push(trust.silo(4));
    trust.status_until("a round with four", |status| {
        let clients = status["clients"].as_array().unwrap();
        clients.len() == SILOS && number(client(status, 4), "rounds_included") > 0
    });
    for id in 1..=3 {
        let log = fs::read_to_string(trust.path(&format!("silo-{id}.log"))).unwrap();
        assert_eq!(log.matches("connected to the coordinator").count(), 1, "silo {id} started again");
    }

    // The playbook.
    let incident = trust.ask(&["incident", "open", "--title", "silo-2 sends odd updates"]);
    let incident = incident.trim();
    let authority = trust.path("fed/authority");
    let said =
        trust.ask(&["clients", "revoke", "silo-2", "--reason", "suspected", "--authority", text(&authority)]);
    assert!(
        said.contains("begins no round until ") && said.contains(", which is in force: accepted by "),
        "{said}"
    );
    let before = trust.status_until("without silo 2", |status| {
        status["clients"].as_array().unwrap().iter().all(|client| number(client, "id") != 2)
    });
    let committed = number(&before, "rounds_committed");
    trust.status_until("two more rounds", |status| number(status, "rounds_committed") >= committed + 2);
    past_rounds_are_watched(&trust.path("fed/admin"));
    let bundle = trust.go_back();
    let report = trust.path("report.tar");
    trust.ask(&["incident", "report", incident, "--out", text(&report)]);
    let verified = folkmoot(&["incident", "verify", text(&report)]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let close = ["incident", "close", incident, "--resolution", "silo-2 is out, the model is back"];
    trust.ask_twice(&close, "is closed already");

    // What was published holds for outsiders, and a flipped bit does not.
    let [key, plan, exported] =
        ["fed/model.pub.pem", "fed/plan.json", "exported"].map(|place| trust.path(place));
    // Receipts come with a heartbeat, and this is faster than that.
    let receipts = trust.path("silo-1/state/receipts");
    trust.status_until("a receipt of silo-1's upload", |_| newest_receipt(&receipts).is_some());
    stop(silos);
    stop(vec![coordinator]);
    let [master, data] = ["fed/master.key", "fed/data"].map(|place| trust.path(place));
    let export = ["model", "export", "--data", text(&data), "--master", text(&master), text(&exported)];
    let spent = ["ledger", "show", text(&data), "--master", text(&master)];
    let verify = ["verify", text(&exported), "--model-key", text(&key), "--plan", text(&plan)];
    for args in [&export[..], &spent, &verify] {
        let done = folkmoot(args);
        assert!(done.status.success() && !done.stdout.is_empty(), "{args:?}: {}", stderr(&done));
    }

    measured_and_signed_anew(&trust, &bundle, &key);

    both_logs_hold(&trust, &receipts);
    let spent = folkmoot(&["ledger", "show", text(&data), "--master", text(&master)]);
    assert!(spent.status.success(), "{}", stderr(&spent));
    no_secret_is_in_any_log(&trust, &tokens);
}

/// A receipt is in the coordinator's; a flipped byte is found.
pub(super) fn both_logs_hold(trust: &Trust, receipts: &Path) {
    let pinned = |file: &Path| fs::read_to_string(file).unwrap().trim().to_owned();
    let log_key = pinned(&trust.path("fed/data/audit.pub"));
    let audit = trust.path("fed/data/audit");
    let receipt = newest_receipt(receipts).unwrap();
    let checked =
        folkmoot(&["audit", "verify", text(&audit), "--key", &log_key, "--receipt", text(&receipt)]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let own = trust.path("silo-1/state/audit");
    let own_key = pinned(&trust.path("silo-1/state/audit.pub"));
    let checked = folkmoot(&["audit", "verify", text(&own), "--key", &own_key]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let shown = folkmoot(&["audit", "show", text(&own), "--action", "upload.sent"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("upload.sent"), "{}", stderr(&shown));
    let copy = trust.path("tampered");
    let export = folkmoot(&["audit", "export", text(&audit), "--out", text(&copy)]);
    assert!(export.status.success(), "{}", stderr(&export));
    flip_a_byte(&copy.join("tile/entries"));
    assert_refused(&folkmoot(&["audit", "verify", text(&copy), "--key", &log_key]), 3, &[]);
}

/// Neither with a token that was used before, nor as the operator of another federation.
fn strangers_join_nothing(trust: &Trust, used: &str) {
    let mut replayed = trust.enrolling(9, used);
    assert!(!replayed.wait().unwrap().success(), "a token was used twice");
    assert!(trust.log("enroll-9").contains("token"), "{}", trust.log("enroll-9"));
    let (other, address) = (trust.path("other"), &trust.address);
    let init = ["coordinator", "init", "--dir", text(&other), "--federation", "other", "--address", address];
    assert!(folkmoot(&init).status.success());
    let foreign = trust.path("other/admin");
    let refused = folkmoot(&["status", "--as", text(&foreign)]);
    assert_ne!(refused.status.code(), Some(0), "a foreign authority's operator is believed");
}

/// A version that was published is measured: a copy has the figures in its card, and the same key's signature.
fn measured_and_signed_anew(trust: &Trust, published: &Path, public: &Path) {
    let (evaluation, plan) = (trust.path("evaluation.json"), trust.path("fed/plan.json"));
    let model = published.join("model.safetensors");
    let held_out = trust.path("held-out.csv");
    fs::write(&held_out, datasets::digits::table(datasets::digits::held_out_rows())).unwrap();
    let evaluate = ["evaluate", text(&model), "--plan", text(&plan), "--data", text(&held_out), "--out"];
    let measured = folkmoot(&[&evaluate[..], &[text(&evaluation)]].concat());
    assert!(measured.status.success(), "{}", stderr(&measured));

    let copy = trust.path("for-the-hub");
    let (model_key, master) = (trust.path("fed/model.key"), trust.path("fed/master.key"));
    let signing = ["--out", text(&copy), "--model-key", text(&model_key), "--master", text(&master)];
    let signed = [&card_args(published, &evaluation)[..], &signing].concat();
    let made = folkmoot(&signed);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_refused(&folkmoot(&signed), 2, &["for-the-hub", "not overwritten"]);

    let key = attest::ModelPublicKey::from_pem(&fs::read_to_string(public).unwrap()).unwrap();
    let files: Vec<(String, Digest)> = fs::read_dir(&copy)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, Digest::sha256(&fs::read(entry.path()).unwrap()))
        })
        .collect();
    let bundle = fs::read(copy.join(attest::BUNDLE_FILE)).unwrap();
    let statement = attest::verify_model(&bundle, &files, &key).unwrap();
    let evidence = fs::read(copy.join(attest::EVIDENCE_FILE)).unwrap();
    attest::verify_round(&evidence, &statement, &key).unwrap();
    let card = card::Card::from_yaml(&fs::read_to_string(copy.join(card::CARD_FILE)).unwrap()).unwrap();
    let accuracy = card.metrics.iter().find(|metric| metric.name == "accuracy").unwrap();
    let [low, high] = accuracy.interval_95.unwrap();
    assert!(low < accuracy.value && accuracy.value < high && accuracy.over == "hold-out (359 rows)");
    let readme = fs::read_to_string(copy.join(card::README_FILE)).unwrap();
    assert!(readme.contains(&format!("accuracy {:.4} (95 %: ", accuracy.value)), "{readme}");

    // Without the key the copy is unsigned; another model's measurement is refused.
    let unsigned = trust.path("unsigned");
    let made = folkmoot(&[&card_args(published, &evaluation)[..], &["--out", text(&unsigned)]].concat());
    assert!(
        made.status.success() && stderr(&made).contains("the copy has no model.sig"),
        "{}",
        stderr(&made)
    );
    assert!(!unsigned.join(attest::BUNDLE_FILE).exists());
    let other = fs::read_to_string(&evaluation).unwrap();
    let digest = serde_json::from_str::<serde_json::Value>(&other).unwrap()["params_digest"].to_string();
    let of_another = trust.path("of-another.json");
    fs::write(&of_another, other.replace(&digest, &format!("\"{}\"", Digest::sha256(b"another")))).unwrap();
    let none = trust.path("none");
    let refused = folkmoot(&[&card_args(published, &of_another)[..], &["--out", text(&none)]].concat());
    assert_refused(&refused, 2, &["measures another model"]);
}

fn card_args<'a>(published: &'a Path, evaluation: &'a Path) -> [&'a str; 5] {
    ["model", "card", text(published), "--evaluation", text(evaluation)]
}

/// Asks the daemons to end, as systemd does, and waits.
pub(super) fn stop(running: Vec<Running>) {
    for daemon in &running {
        let pid = daemon.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
    for mut daemon in running {
        // One that was revoked has ended by itself.
        let _ = daemon.0.wait().unwrap();
        std::mem::forget(daemon);
    }
}

fn flip_a_byte(folder: &Path) {
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            return fs::write(&path, bytes).unwrap();
        }
    }
    panic!("nothing to flip in {}", folder.display());
}

/// Every daemon and every enrolment wrote all it could; none of it may hold a secret that this federation has made.
fn no_secret_is_in_any_log(trust: &Trust, tokens: &[String]) {
    let mut secrets: BTreeSet<String> = tokens.iter().cloned().collect();
    let sealed = |folder: &str, names: &[&str], secrets: &mut BTreeSet<String>| {
        let folder = trust.path(folder);
        let source = vault::MasterSource::File(folder.join("master.key"));
        secrets.insert(fs::read_to_string(folder.join("master.key")).unwrap().trim().to_owned());
        let vault = vault::Vault::open_folder(&folder, source).unwrap();
        for name in names {
            let path = folder.join(name);
            let name = path.file_name().unwrap().to_str().unwrap();
            let secret = vault::read_secret(&path, &vault, name).unwrap();
            // A key's text in one line, or the lines of a PEM that are not its frame.
            let text = String::from_utf8(secret.to_vec()).unwrap();
            secrets.extend(
                text.lines().filter(|line| !line.starts_with("-----") && line.len() > 20).map(String::from),
            );
        }
    };
    sealed("fed", &["ca.key", "server.key", "coordinator.key", "model.key"], &mut secrets);
    sealed("fed/authority", &["authority.key"], &mut secrets);
    for id in 1..=SILOS {
        sealed(&format!("silo-{id}"), &["identity.key", "tls/transport.key"], &mut secrets);
    }
    assert!(secrets.len() > 20, "{} secrets are too few", secrets.len());
    let names = ["coordinator", "enroll", "silo"];
    let mut read = 0;
    for entry in fs::read_dir(trust.folder.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with(".log") || !names.iter().any(|known| name.starts_with(known)) {
            continue;
        }
        let log = fs::read_to_string(entry.path()).unwrap();
        read += log.len();
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{name} holds a secret");
        }
    }
    assert!(read > 10_000, "the logs are empty");
}
