//! What a silo's configuration is refused for, and in which words.

use std::collections::BTreeMap;
use std::path::Path;

use audit::Action;
use client::Config;
use daemon::Daemon;
use identity::{IdentityKey, Member, Roster};
use ledger::{Ledger, Release, What, samples};
use secagg::ClientId;

const POLICY: &str = "[policy]\ncohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
                      privacy_modes = [\"fedavg\"]\naccepts_undetected_rollback = true\n\
                      authors = [\"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"]\n";

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder in which everything is right: this is silo 1, its key is made of ones.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let member = |byte: u8| Member { name: format!("s{byte}"), identity_key: public(byte), admitted: 1 };
    let members: BTreeMap<_, _> = (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect();
    let roster = Roster {
        format: None,
        previous: None,
        federation: "f".into(),
        epoch: 1,
        coordinator_key: public(9),
        members,
    };
    let signed = serde_json::to_string(&roster.sign(&key(100))).unwrap();
    write(folder.path(), "roster.json", &signed, 0o644);
    write(folder.path(), "silo.key", &hex::encode([1; 32]), 0o600);
    write(folder.path(), "silo.csv", "label,a\n0,1\n", 0o644);
    folder
}

fn text() -> String {
    format!(
        "coordinator = \"http://127.0.0.1:7440\"\nclient_id = 1\ndata = \"silo.csv\"\nstate_dir = \"s\"\n\
         roster = \"roster.json\"\nauthority_key = \"{}\"\nidentity_key_file = \"silo.key\"\nplaintext = true\n{POLICY}",
        public(100)
    )
}

fn load(folder: &Path, text: &str) -> Result<Config, String> {
    write(folder, "client.toml", text, 0o644);
    Config::load(&folder.join("client.toml"))
        .map(|loaded| loaded.config)
        .map_err(|why| why.to_string().replace(&folder.display().to_string(), "FOLDER"))
}

/// What is said when one piece of a right configuration is replaced.
fn refused(wrong: &[(&str, &str)]) -> String {
    let mut text = text();
    for (from, to) in wrong {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    load(folder().path(), &text).unwrap_err()
}

#[test]
fn a_right_configuration_loads_with_its_paths_beside_the_file() {
    let folder = folder();
    let config = load(folder.path(), &text()).unwrap();
    assert_eq!(config.data, folder.path().join("silo.csv"));
    assert_eq!((config.log.as_str(), config.log_json), ("info", false));
    assert!(config.plaintext && config.tls.is_none() && config.encryption.is_none());
    assert!(config.tells_data_version, "unless it is switched off");
}

#[test]
fn the_sample_configuration_is_usable_once_its_files_and_keys_are() {
    let folder = folder();
    let sample = include_str!("../../deploy/config/client.toml")
        .replace("REPLACE-WITH-THE-AUTHORITY-KEY", &public(100))
        .replace("REPLACE-WITH-THE-AUTHORS-KEY", &public(101))
        .replace("/srv/silo/data.csv", "silo.csv")
        .replace("client.key", "silo.key");
    let config = load(folder.path(), &sample).unwrap();
    let plan = plan::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
    assert_eq!(config.policy.check_unsigned(&plan), Ok(()), "the samples are made for each other");
    let schema = plan::Schema([("label".into(), plan::Column::Label { classes: 2 })].into());
    let sample = format!("{sample}\n[policy.schema]\n{}", schema.to_toml());
    assert_eq!(load(folder.path(), &sample).unwrap().policy.schema, Some(schema), "as `schema` prints it");
}

#[test]
fn plans_are_held_against_the_registration_that_the_configuration_names_and_against_no_second_list() {
    let folder = folder();
    let named = text().replace("state_dir", "registration = \"silo.toml\"\nstate_dir");
    let refused = |text: &str| load(folder.path(), text).unwrap_err();
    assert!(
        refused(&named).contains("line 4: registration: `FOLDER/silo.toml`: cannot be read: No such file"),
        "{}",
        refused(&named)
    );
    write(folder.path(), "silo.toml", "format = 1\n[columns]\na = { type = \"colour\" }\n", 0o644);
    assert!(
        refused(&named).contains("cannot be used:\nline 3: columns.a: the type \"colour\""),
        "{}",
        refused(&named)
    );
    write(folder.path(), "silo.toml", "format = 1\n[columns]\na = { type = \"number\" }\n", 0o644);
    assert!(refused(&named).contains("columns: have no label"), "{}", refused(&named));

    let whole = "format = 1\n[columns]\nill = { from = \"label\", type = \"flag\" }\n";
    write(folder.path(), "silo.toml", whole, 0o644);
    let schema = plan::Schema([("ill".into(), plan::Column::Flag {})].into());
    let config = load(folder.path(), &named).unwrap();
    assert_eq!(config.policy.schema, Some(schema.clone()));
    let kept = config.shut_out(None, Path::new("/usr/bin/folkmoot-trainer")).unwrap();
    assert!(kept.fixed.contains(&folder.path().join("silo.toml")), "the daemon does not write it: {kept:?}");
    let twice = format!("{named}[policy.schema]\n{}", schema.to_toml());
    assert!(refused(&twice).contains("policy.schema: contradicts `registration`"), "{}", refused(&twice));
}

#[test]
fn neither_the_configuration_nor_an_error_shows_the_secret_key() {
    let folder = folder();
    let secret = hex::encode([1; 32]);
    assert!(!format!("{:?}", load(folder.path(), &text()).unwrap()).contains(&secret));
    write(folder.path(), "silo.key", &format!("{secret}0"), 0o600);
    assert!(!load(folder.path(), &text()).unwrap_err().contains(&secret));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let why = refused(&[("client_id = 1", "client_id = 1\ncolour = 1")]);
    assert!(why.contains("line 3") && why.contains("unknown field `colour`"), "{why}");
}

#[test]
fn each_unusable_value_is_refused_with_its_line_and_its_remedy() {
    let cases: [(&str, &str, &str); 9] = [
        (
            "http://127.0.0.1:7440",
            "127.0.0.1",
            "line 1: coordinator: \"127.0.0.1\" is no address; write it as \"https://HOST:PORT\"",
        ),
        (
            "http://127.0.0.1:7440",
            "https://127.0.0.1:7440",
            "line 1: coordinator: https needs the table [tls] with authority, certificate and key_file, which \
             `folkmoot-client enroll` writes",
        ),
        (
            "http://127.0.0.1:7440",
            "http://192.0.2.1:7440",
            "line 1: coordinator: is not a loopback address, and plaintext = true is for this machine alone: \
             use the table [tls], which `folkmoot-coordinator init` and `folkmoot-client enroll` write",
        ),
        (
            "client_id = 1",
            "client_id = 8",
            "line 2: client_id: the pinned roster has no member 8; ask the federation's authority for a \
             roster that names this silo",
        ),
        (
            "client_id = 1",
            "client_id = 2",
            "line 7: identity_key_file: the pinned roster names another identity key for member 2 than this \
             machine holds",
        ),
        (
            "roster.json",
            "silo.csv",
            "line 5: roster: `FOLDER/silo.csv`: it does not parse: expected value at line 1 column 1",
        ),
        (
            "silo.key",
            "none.key",
            "line 7: identity_key_file: `FOLDER/none.key`: cannot be read: No such file or directory (os \
             error 2)",
        ),
        (
            "cohort_min = 3",
            "cohort_min = 2",
            "line 10: policy.cohort_min: must be at least 3: with two silos each can subtract its own update \
             from the sum",
        ),
        (
            "authority_key = \"",
            "authority_key = \"0",
            "line 6: authority_key: a key is 64 hexadecimal digits, this text is not; copy it again from \
             where it was printed",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(refused(&[(from, to)]), format!("it cannot be used:\n{expected}"));
    }
}

#[test]
fn undetected_rollback_is_accepted_in_words_unless_there_is_an_anchor_elsewhere() {
    let (accepts, does_not) = ("accepts_undetected_rollback = true", "accepts_undetected_rollback = false");
    let why = refused(&[(accepts, does_not)]);
    assert!(why.contains("line 16: policy.accepts_undetected_rollback: without an anchor"), "{why}");
    assert!(refused(&[(accepts, "")]).contains("without an anchor"));
    let folder = folder();
    let with = |anchor: &str| {
        text()
            .replace(accepts, does_not)
            .replace("[policy]", &format!("[ledger]\nanchor = \"{anchor}\"\n[policy]"))
    };
    let config = load(folder.path(), &with("anchor")).unwrap();
    assert_eq!(config.ledger.anchor, Some(folder.path().join("anchor")));
    let why = load(folder.path(), &with("unmounted/anchor")).unwrap_err();
    assert!(why.contains("line 10: ledger.anchor: `FOLDER/unmounted`: is no folder"), "{why}");
    std::fs::create_dir(folder.path().join("s")).unwrap();
    let why = load(folder.path(), &with("s/anchor")).unwrap_err();
    assert!(why.contains("ledger.anchor: lies beside what it is to watch"), "{why}");
}

#[test]
fn a_name_that_is_none_of_a_data_set_is_refused_with_its_line() {
    let why = refused(&[("client_id = 1", "client_id = 1\ndataset = \"../other\"")]);
    assert!(why.contains("line 3: dataset: \"../other\" is no name of a data set"), "{why}");
}

#[test]
fn a_promise_on_data_that_exact_sums_hold_is_accepted_in_numbers() {
    let folder = folder();
    // What it says of the data is no claim of this: no trainer's program is beside this test.
    let check = |text: &str| {
        let checked = load(folder.path(), text).unwrap().open().unwrap().check();
        checked.err().filter(|why| why.starts_with("policy: "))
    };
    let ledger = Ledger::new(&folder.path().join("s/ledger"), "silo", None, None).unwrap();
    for round in 1..=2 {
        let release = Release { unit: None, ..samples::release("first model", round) };
        ledger.reserve(release, None, &samples::LIMITS, round).unwrap();
    }
    assert_eq!(check(&text()), None, "it promises nothing");
    let promises = text().replace("\"fedavg\"", "\"distributed_dp_sgd\"");
    let why = check(&promises).unwrap();
    assert!(
        why.contains("2 sums without noise hold this silo's data") && why.contains("set it to 2"),
        "{why}"
    );
    assert!(why.contains("they are 2 in \"first model\""), "{why}");
    assert_eq!(check(&format!("{promises}accepts_exact_releases = 2\n")), None);
}

#[test]
fn what_a_daemon_that_is_gone_has_claimed_is_freed_by_an_operators_word_that_stays() {
    let folder = folder();
    write(folder.path(), "client.toml", &text(), 0o644);
    let ledger = Ledger::new(&folder.path().join("s/ledger"), "silo", None, None).unwrap();
    let claim = samples::claim("abandoned", 3);
    let run = claim.run.to_string();
    ledger.claim(claim, &samples::CLAIM_LIMITS, daemon::wall_ms()).unwrap();
    let unclaim = |run: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
        let of = ["ledger", "unclaim", "--config", "client.toml", "--run", run, "--reason", "its disk broke"];
        let ended = command.current_dir(folder.path()).args(of).output().unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let (code, said) = unclaim("another");
    assert!(code == Some(2) && said.contains("no claim of a run \"another\" counts"), "{said}");
    let (code, said) = unclaim(&run[..12]);
    assert!(code == Some(0) && said.contains(&format!("what run {run} had claimed is free")), "{said}");
    let account = ledger.inspect().unwrap().account;
    assert!(account.claims(0).is_empty());
    let last = &account.entries().last().unwrap().what;
    assert!(matches!(last, What::ClaimReturned { reason, .. } if reason == "its disk broke"), "{last:?}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let why = refused(&[("7440", "x"), ("honest_min = 2", "honest_min = 0")]);
    for line in ["line 1: coordinator", "line 11: policy.honest_min"] {
        assert!(why.contains(line), "no {line:?} in:\n{why}");
    }
}

#[test]
fn a_trainer_is_given_no_less_memory_than_it_takes_to_begin() {
    let why = refused(&[("[policy]", "[trainer]\nmemory_mb = 63\n[policy]")]);
    assert!(why.contains("line 10: trainer.memory_mb: must be 64 or more"), "{why}");
}

#[test]
fn the_address_and_the_tables_must_agree() {
    let tls = "[tls]\nauthority = \"a\"\ncertificate = \"c\"\nkey_file = \"k\"\n[policy]";
    let why = refused(&[("plaintext = true\n", "")]);
    assert!(why.contains("line 1: coordinator: http is not encrypted: enrol this silo"), "{why}");
    let why = refused(&[("[policy]", tls)]);
    assert!(why.contains("line 8: plaintext: contradicts the table [tls]"), "{why}");
    let why = refused(&[("plaintext = true\n", ""), ("[policy]", tls)]);
    assert!(why.contains("line 1: coordinator: http is not encrypted, and the table [tls]"), "{why}");
    load(folder().path(), &text().replace("127.0.0.1", "[::1]")).unwrap();
}

#[test]
fn a_roster_of_another_authority_is_refused() {
    let why = refused(&[(&public(100), &public(101))]);
    assert!(why.contains("line 5: roster:") && why.contains("not signed by the authority"), "{why}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
    let folder = folder();
    for mode in [0o640, 0o604] {
        write(folder.path(), "silo.key", &hex::encode([1; 32]), mode);
        assert_eq!(
            load(folder.path(), &text()).unwrap_err(),
            "it cannot be used:\nline 7: identity_key_file: others can read `FOLDER/silo.key`; run: chmod \
             600 'FOLDER/silo.key'"
        );
    }
}

#[test]
fn what_the_operator_has_to_look_at_is_a_line_each_and_exits_with_1_and_as_metrics_is_numbers() {
    let folder = folder();
    write(folder.path(), "client.toml", &text(), 0o644);
    let alarms = |metrics: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
        let ended =
            command.current_dir(folder.path()).args(["alarms", "--config", "client.toml"]).args(metrics);
        let ended = ended.output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
    };
    assert_eq!(alarms(&[]), (Some(0), String::new()));
    std::fs::create_dir(folder.path().join("s")).unwrap();
    let kept = r#"{"untold": {"times": 2, "last_unix_ms": 3999, "text": "a word"},
                   "training": {"times": 7, "last_unix_ms": 5000, "text": "it failed", "in_a_row": 6}}"#;
    write(folder.path(), "s/alarms.json", kept, 0o600);
    let (code, lines) = alarms(&[]);
    assert_eq!(code, Some(1));
    assert!(lines.contains("ALARM a word (the newest of 2, at 1970-01-01T00:00:03Z)\n"), "{lines}");
    let (code, metrics) = alarms(&["--metrics"]);
    assert_eq!(code, Some(0));
    for sample in [
        "folkmoot_silo_alarms_total{kind=\"undeclared\"} 2",
        "folkmoot_silo_alarm_last_seconds{kind=\"undeclared\"} 3",
        "folkmoot_silo_alarms_total{kind=\"training\"} 7",
        "folkmoot_silo_alarm_last_seconds{kind=\"training\"} 5",
        "folkmoot_silo_alarms_total{kind=\"data\"} 0",
        "folkmoot_silo_trainings_failed_in_a_row 6",
        "folkmoot_silo_configuration_parses 1",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample} is not in\n{metrics}");
    }
}

#[test]
fn a_configuration_that_does_not_parse_is_an_alarm_beside_those_that_lie_in_the_state_that_it_names() {
    let folder = folder();
    let kept = r#"{"training": {"times": 1, "last_unix_ms": 5000, "text": "it failed"}}"#;
    std::fs::create_dir(folder.path().join("s")).unwrap();
    write(folder.path(), "s/alarms.json", kept, 0o600);
    let alarms = |arguments: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
        let ended = command.current_dir(folder.path()).arg("alarms").args(arguments.split(' '));
        let ended = ended.output().unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let broken = text().replace("client_id = 1", "client_id = one two");
    for (text, state_is_found) in [(broken.clone(), true), (broken.replace("state_dir", "state_dri"), false)]
    {
        write(folder.path(), "client.toml", &text, 0o644);
        let (code, said) = alarms("--config client.toml");
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("ALARM ")).collect();
        assert_eq!(code, Some(1), "{said}");
        assert!(lines[0].contains("`client.toml` cannot be used") && lines[0].contains("line 2"), "{said}");
        assert_eq!(said.contains("ALARM it failed"), state_is_found, "{said}");
        assert_eq!(said.contains("--state"), !state_is_found, "{said}");
        let (code, metrics) = alarms("--config client.toml --metrics");
        assert!(code == Some(0) && metrics.contains("folkmoot_silo_configuration_parses 0\n"), "{metrics}");
        let counted = metrics.contains("folkmoot_silo_alarms_total{kind=\"training\"} 1\n");
        assert_eq!(counted, state_is_found, "{metrics}");
    }
    let (code, said) = alarms("--state s");
    assert!(code == Some(1) && said.contains("ALARM it failed") && !said.contains("client.toml"), "{said}");
    assert_eq!(alarms("--config nowhere.toml").0, Some(2), "a name that was mistyped is no alarm");
}

#[test]
fn a_silos_operator_reads_its_own_log_from_the_state_folder_or_the_configuration_while_it_is_written() {
    let folder = folder();
    write(folder.path(), "client.toml", &text(), 0o644);
    let log = |words: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
        let ended = command.current_dir(folder.path()).arg("log").args(words.split(' ')).output().unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let (code, said) = log("--state s");
    assert!(code == Some(2) && said.contains("holds no log"), "{said}");
    let key = key(1).signing_key().clone();
    std::fs::create_dir(folder.path().join("s")).unwrap();
    let writer =
        audit::Writer::open(&folder.path().join("s/audit"), "folkmoot/test/silo-1", key, 1, daemon::wall_ms);
    let writer = writer.unwrap();
    let recorder = writer.recorder();
    let run = params::Digest::sha256(b"run");
    recorder.record(recorder.of_run(Action::DataOpened, &run, "wards").with("rows", "650"));
    let died = recorder.of_run(Action::TrainerFailed, &run, "wards").in_attempt(3, 1);
    recorder.record_failure(died, "it was ended by SIGSYS");
    writer.publish().unwrap();
    for by in ["--state s", "--config client.toml"] {
        let (code, said) = log(by);
        let lines: Vec<&str> = said.lines().collect();
        assert!(code == Some(0) && lines.len() == 2, "{said}");
        assert!(lines[0].ends_with("  data.opened            wards  rows=650"), "{said}");
        assert!(
            lines[1].ends_with("  trainer.failed         FAILED  wards  round 3  why=it was ended by SIGSYS"),
            "{said}"
        );
    }
    assert_eq!(log("--state s --action data --since 1h").1.lines().count(), 1);
    let (_, json) = log("--state s --action trainer --json");
    assert!(json.starts_with("{\"index\":1,\"event\":{\"action\":\"trainer.failed\""), "{json}");
    let (code, said) = log("--state s --action trained");
    assert!(code == Some(2) && said.contains("trainer.failed"), "{said}");
}
