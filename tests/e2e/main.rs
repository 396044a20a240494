//! The program as its users run it: real processes, real sockets, real files.

mod examples;
mod isolation;
mod journals;
mod kills;
mod many;
mod pipes;
mod privacy;
mod proxied;
mod registered;
mod releases;
mod siege;
mod trust;
mod years;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const KEYS: [&str; 12] = [
    "rounds",
    "test_accuracy",
    "epsilon",
    "delta",
    "privacy_unit",
    "clients",
    "dropouts",
    "wall_seconds",
    "seconds_per_round_median",
    "model_path",
    "model_sha256",
    "chain_verified",
];

fn folkmoot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_folkmoot")).args(args).output().unwrap()
}

/// A watch that is asked for the past begins with the first round, in the words that it would have had.
fn past_rounds_are_watched(admin: &Path) {
    let args = ["watch", "--since", "1h", "--as", text(admin)];
    let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot"));
    let mut running = Running(command.args(args).stdout(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("round     1  committed, 1 of "), "{first}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A demonstration in `folder`; the object that it ends with.
fn demo(folder: &Path, args: &[&str]) -> Value {
    let output = folkmoot(&[&["demo", "--json", "--dir", text(folder)], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "progress belongs on standard error:\n{stdout}");
    serde_json::from_str(stdout.trim()).unwrap()
}

/// A finished demonstration of few rounds, with everything kept.
fn kept(folder: &Path) -> PathBuf {
    demo(folder, &["--clients", "3", "--rounds", "2", "--keep"]);
    folder.join("coordinator")
}

/// An error as the program's users see it: this exit code, and all these words.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let why = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{why}");
    for word in words {
        assert!(why.contains(word), "no {word:?} in:\n{why}");
    }
}

/// The program as a daemon.
fn role(role: &str, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot"));
    command.args([role, "--config", text(config)]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A daemon that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Coordinator {
    url: String,
    running: Running,
}

impl Coordinator {
    fn start(config: &Path) -> Self {
        let mut running = Running(role("coordinator", config).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("the line that says where");
        Self { url: format!("http://{address}"), running }
    }
}

/// A kept silo's configuration for another run: another address, an empty journal.
fn rejoin(folder: &Path, silo: &str, url: &str) -> PathBuf {
    let file = folder.join(silo).join("client.toml");
    let moved: String = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("coordinator", _)) => format!("coordinator = \"{url}\"\n"),
            Some(("state_dir", _)) => "state_dir = \"fresh\"\n".into(),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file, moved).unwrap();
    file
}

/// Asks until `done` says so of the status; ten minutes are a hang.
fn status_until(url: &str, done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(600), "the run at {url} does not get on");
        let output = folkmoot(&["status", "--coordinator", url, "--json"]);
        if let Ok(status) = serde_json::from_slice::<Value>(&output.stdout)
            && done(&status)
        {
            return status;
        }
    }
}

#[test]
fn a_demonstration_ends_with_the_documented_object_and_a_verified_chain() {
    let folder = tempfile::tempdir().unwrap();
    let result = demo(folder.path(), &["--rounds", "3"]);
    let mut keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = KEYS.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(result["chain_verified"], true);
    assert_eq!(result["rounds"], 3);
    assert_eq!(result["clients"], 5);
    assert_eq!(result["privacy_unit"], "record");
    assert!(result["epsilon"].as_f64().unwrap() <= 4.9);
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.3, "chance is 0.1: {result}");
    assert!(fs::metadata(result["model_path"].as_str().unwrap()).unwrap().len() > 2600);
    assert!(!folder.path().join("silo-1").exists(), "a silo's data is removed");
    let verified = folkmoot(&["verify", text(&folder.path().join("coordinator"))]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    assert!(stderr(&verified).contains("no key is pinned"));
}

#[test]
fn without_noise_the_result_claims_no_privacy() {
    let folder = tempfile::tempdir().unwrap();
    let result = demo(folder.path(), &["--clients", "3", "--rounds", "2", "--privacy", "none"]);
    assert!(result["epsilon"].is_null() && result["delta"].is_null(), "{result}");
    assert_eq!(result["privacy_unit"], "none");
}

#[test]
fn a_silo_killed_in_a_round_does_not_stop_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let result = demo(folder.path(), &["--rounds", "4", "--kill-client-at-round", "2"]);
    assert_eq!(result["rounds"], 4);
    assert!(result["dropouts"].as_u64().unwrap() >= 1, "{result}");
    assert_eq!(result["chain_verified"], true);
}

#[test]
fn one_flipped_byte_in_any_file_of_a_chain_is_found_and_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = kept(folder.path());
    for name in ["manifest.json", "manifest.sig", "model.safetensors", "optimizer.state"] {
        let file = data.join("checkpoints/000001").join(name);
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&file, bad).unwrap();
        assert_refused(&folkmoot(&["verify", text(&data), "--quiet"]), 3, &[text(&file)]);
        fs::write(&file, good).unwrap();
    }
    assert!(folkmoot(&["verify", text(&data), "--quiet"]).status.success());
}

#[test]
fn a_finished_run_goes_on_to_answer_status_and_to_serve_its_models() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let coordinator = Coordinator::start(&folder.path().join("coordinator.toml"));
    let status = folkmoot(&["status", "--coordinator", &coordinator.url, "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["rounds_committed"], 2);
    let out = folder.path().join("fetched");
    let fetch = ["model", "fetch", "--coordinator", &coordinator.url, "--out", text(&out)];
    let fetched = folkmoot(&fetch);
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    assert_eq!(fs::read(&out).unwrap(), fs::read(folder.path().join("model.safetensors")).unwrap());
    // An older one, found by the index after a restart.
    let older = folkmoot(&[&fetch[..], &["--round", "1"]].concat());
    assert!(older.status.success(), "{}", stderr(&older));
    let kept_file = folder.path().join("coordinator/checkpoints/000001/model.safetensors");
    assert_eq!(fs::read(&out).unwrap(), fs::read(kept_file).unwrap());
    let none = folkmoot(&[&fetch[..], &["--round", "9"]].concat());
    assert_refused(&none, 2, &["no checkpoint of this run", "the newest is of round 2"]);
}

#[test]
fn a_port_in_use_is_an_error_that_names_it_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = folder.path().join("coordinator.toml");
    let other = fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &address);
    fs::write(&config, other).unwrap();
    let refused = folkmoot(&["coordinator", "--config", text(&config)]);
    assert_refused(&refused, 1, &[&address, "set another `listen` address"]);
}

#[test]
fn an_unreachable_coordinator_has_an_exit_code_and_a_remedy_of_its_own() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = folkmoot(&["status", "--coordinator", &format!("http://{free}")]);
    assert_refused(&refused, 4, &[&free.to_string(), "check the address"]);
}

#[test]
fn a_plan_that_cannot_be_meant_is_refused_with_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let good = fs::read_to_string(folder.path().join("plan.toml")).unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, format!("colour = 1\n{good}")).unwrap();
    assert_refused(&folkmoot(&["plan", "check", text(&file)]), 2, &["bad.toml", "line 1", "colour"]);
    let wrapping: String =
        good.lines()
            .map(|line| {
                if line.starts_with("scale_bits") { "scale_bits = 24\n".into() } else { format!("{line}\n") }
            })
            .collect();
    fs::write(&file, wrapping).unwrap();
    assert_refused(&folkmoot(&["plan", "check", text(&file)]), 2, &["privacy.scale_bits", "lower it"]);
}

/// Nobody else may see that a silo's data does not fit: it takes part to the end, without data.
#[test]
fn a_silos_data_without_a_column_of_the_plan_raises_its_operators_alarm_with_file_and_column() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let data = folder.path().join("silo-1/silo.csv");
    let renamed = fs::read_to_string(&data).unwrap().replacen("pixel_3_4", "pixel_3_four", 1);
    fs::write(&data, renamed).unwrap();
    // A silo reads its data when it joins: a new run, with all three silos.
    fs::remove_dir_all(folder.path().join("coordinator")).unwrap();
    let coordinator = Coordinator::start(&folder.path().join("coordinator.toml"));
    let _others = ["silo-2", "silo-3"]
        .map(|silo| Running(role("client", &rejoin(folder.path(), silo, &coordinator.url)).spawn().unwrap()));
    let config = rejoin(folder.path(), "silo-1", &coordinator.url);
    let ended = folkmoot(&["client", "--one-run", "--config", text(&config)]);
    let log = stderr(&ended);
    assert!(ended.status.success(), "{log}");
    for word in ["ALARM", "silo.csv", "pixel_3_4"] {
        assert!(log.contains(word), "no {word:?} in:\n{log}");
    }
    let checked = folkmoot(&["client", "--config", text(&config), "--check"]);
    let printed = [&checked.stdout[..], &checked.stderr[..]].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("pixel_3_4"), "{printed}");
}

#[test]
fn data_that_cannot_be_read_is_reported_by_a_check_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    fs::remove_file(folder.path().join("silo-1/silo.csv")).unwrap();
    let config = folder.path().join("silo-1/client.toml");
    let refused = folkmoot(&["client", "--config", text(&config), "--check"]);
    assert_refused(&refused, 2, &["silo.csv"]);
}

#[test]
fn an_oversized_message_is_refused_unread_and_the_coordinator_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let coordinator = Coordinator::start(&folder.path().join("coordinator.toml"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(coordinator.url.clone()).unwrap();
        let mut models = wire::v1::models_client::ModelsClient::new(endpoint.connect().await.unwrap());
        let digest = vec![0; wire::limits::MESSAGE_BYTES_MAX + 1];
        models.fetch_model(wire::v1::FetchModelRequest { digest, ..Default::default() }).await.unwrap_err()
    });
    let why = wire::describe(&refused);
    let limit = wire::limits::MESSAGE_BYTES_MAX.to_string();
    for word in ["larger than its receiver takes", &limit, "same release"] {
        assert!(why.contains(word), "no {word:?} in {why}");
    }
    let status = folkmoot(&["status", "--coordinator", &coordinator.url]);
    assert!(status.status.success(), "{}", stderr(&status));
}

#[test]
fn a_coordinator_killed_by_sigkill_resumes_its_run_and_the_chain_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    demo(folder.path(), &["--clients", "4", "--rounds", "40", "--keep"]);
    fs::remove_dir_all(folder.path().join("coordinator")).unwrap();
    // Clients come back to the same address, so it must be one.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = folder.path().join("coordinator.toml");
    let fixed = fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &address);
    fs::write(&config, fixed).unwrap();
    let mut coordinator = Coordinator::start(&config);
    let url = coordinator.url.clone();
    let _silos = ["silo-1", "silo-2", "silo-3", "silo-4"]
        .map(|silo| Running(role("client", &rejoin(folder.path(), silo, &url)).spawn().unwrap()));
    for kills in 1..=3 {
        status_until(&url, |status| status["rounds_committed"].as_u64() >= Some(kills * 3));
        // Dropping it is SIGKILL; wherever the round stands, the journal is all that is left of it.
        drop(coordinator);
        coordinator = Coordinator::start(&config);
    }
    let status = status_until(&url, |status| !status["ended"].is_null());
    // A round that a kill made hopeless is aborted by name and charged; all others are committed.
    let count = |name: &str| status[name].as_u64().unwrap();
    let (committed, aborted) = (count("rounds_committed"), count("rounds_aborted"));
    assert!(committed >= 37 && committed + aborted >= 40, "{status}");
    let verified = folkmoot(&["verify", text(&folder.path().join("coordinator"))]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn health_checks_and_metrics_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = folder.path().join("coordinator.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("metrics_listen = \"{metrics}\"\n{text}")).unwrap();
    let coordinator = Coordinator::start(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let health = runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(coordinator.url.clone()).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let service = "folkmoot.v1.Federation".to_owned();
        let request = tonic_health::pb::HealthCheckRequest { service };
        tonic_health::pb::health_client::HealthClient::new(channel).check(request).await.unwrap()
    });
    assert_eq!(health.into_inner().status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for line in ["folkmoot_rounds_committed_total{run=\"", "# EOF"] {
        assert!(page.contains(line), "no {line:?} in\n{page}");
    }
}

#[test]
fn nothing_in_a_folder_that_is_in_use_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    let refused = folkmoot(&["demo", "--dir", text(folder.path())]);
    assert_refused(&refused, 2, &["is not empty"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn keys_and_rosters_made_by_hand_are_ones_that_daemons_take() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let file = folder.path().join(name);
        let made = folkmoot(&["keys", "new", text(&file)]);
        assert!(made.status.success(), "{}", stderr(&made));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let (authority, coordinator) = (key("authority.key"), key("coordinator.key"));
    let members: Vec<String> =
        (1..=3).map(|id| format!("{id}:silo-{id}:{}", key(&format!("{id}.key")))).collect();
    let (roster, authority_file) = (folder.path().join("roster.json"), folder.path().join("authority.key"));
    let mut args = vec!["roster", "sign", "--authority", text(&authority_file), "--federation", "by hand"];
    args.extend(["--epoch", "1", "--coordinator-key", &coordinator, "--out", text(&roster)]);
    members.iter().for_each(|member| args.extend(["--member", member]));
    let signed = folkmoot(&args);
    assert!(signed.status.success(), "{}", stderr(&signed));
    let demonstration = folder.path().join("demo");
    kept(&demonstration);
    let (plan, author) = (demonstration.join("plan.toml"), folder.path().join("author.key"));
    let meant_here = fs::read_to_string(&plan).unwrap().replace("\"demonstration\"", "\"by hand\"");
    fs::write(&plan, meant_here).unwrap();
    key("author.key");
    let signed_plan = folder.path().join("plan.json");
    let args = ["plan", "sign", text(&plan), "--key", text(&author), "--out", text(&signed_plan)];
    let signed = folkmoot(&args);
    assert!(signed.status.success(), "{}", stderr(&signed));
    let config = folder.path().join("coordinator.toml");
    fs::write(
        &config,
        format!(
            "plaintext = true\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nplan = \"plan.json\"\nroster = \"roster.json\"\n\
             authority_key = \"{authority}\"\nidentity_key_file = \"coordinator.key\"\n"
        ),
    )
    .unwrap();
    let checked = folkmoot(&["coordinator", "--config", text(&config), "--check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}
