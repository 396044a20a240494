//! The daemon against a coordinator that is a script: what it says, and what it does when it is lied to or left.

mod mock;

use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, OnceLock};

use checkpoint::SignedManifest;
use client::Ended;
use mock::{FIRST, ME, Process, Session, genesis, silo, start};
use params::{Digest, Params};
use plan::{Column, Plan, Schema};
use protocol::{Attempt, CoordinatorFault, Decline, RunEnd, ToClient, ToCoordinator};
use wire::{HandshakeError, ToStatus, v1};

/// All log lines of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_policy_forbids_is_declined_with_its_code_and_ends_the_daemon_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = start(silo(folder.path(), process.address, 4));
    let mut session = process.session().await;
    let said = session.welcome(&sim::plan(3, 2)).await;
    let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, .. } } = said else {
        panic!("{said:?}")
    };
    assert_eq!(code, "POLICY_COHORT_MIN");
    assert!(session.heard.message().await.unwrap().is_none(), "it says nothing more");
    drop(session);
    let why = daemon.await.unwrap().unwrap_err();
    assert_eq!(why.exit_code(), 3);
    assert!(why.to_string().contains("this silo's cohort_min is 4"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_asks_for_a_column_that_is_not_registered_is_declined_before_any_file_is_opened() {
    let plan = sim::plan(3, 2);
    let label = Column::Label { classes: plan.data.classes.count() };
    let schema = |columns: &[(&str, Column)]| {
        Some(Schema(columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone())).collect()))
    };
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let mut config = silo(folder.path(), process.address, 3);
    config.data = folder.path().join("none.csv");
    config.tells_data_version = true;
    config.policy.schema = schema(&[("label", label), ("a", Column::Number {}), ("b", Column::Number {})]);
    let daemon = start(config);
    let said = process.session().await.welcome(&plan).await;
    let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, .. } } = said else {
        panic!("{said:?}")
    };
    assert_eq!(code, "POLICY_SCHEMA");
    let why = daemon.await.unwrap().unwrap_err();
    assert!(why.exit_code() == 3 && why.to_string().contains("\"c\""), "{why}");
    assert!(!folder.path().join("state/alarms.json").exists(), "nothing was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_goes_away_and_comes_back_finds_the_silo_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let address = process.address;
    let daemon = start(silo(folder.path(), address, 3));
    let mut session = process.session().await;
    assert_eq!(
        session.welcome(&plan).await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None }
    );
    session.say(ToClient::Published(genesis(&plan).0)).await;
    drop((session, process));

    let mut process = Process::start(&address.to_string(), vec![]);
    let mut session = process.session().await;
    let ToCoordinator::CheckIn { .. } = session.welcome(&plan).await else { panic!("no check-in") };
    session.say(ToClient::Finished { reason: RunEnd::Complete }).await;
    assert!(session.heard.message().await.unwrap().is_none(), "it closes the session");
    drop(session);
    assert_eq!(daemon.await.unwrap().unwrap(), Ended::Finished(RunEnd::Complete));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_a_flipped_bit_is_declined_and_only_the_silos_log_names_the_chunk() {
    let log = Log::capture();
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let (genesis, file) = genesis(&plan);
    let model = plan.initial_model().digest();
    let mut chunks: Vec<_> = wire::model_chunks(0, model, file.into()).collect();
    let Some(v1::model_chunk::Part::Data(data)) = &mut chunks[1].part else { panic!("no data") };
    let mut bytes = data.data.to_vec();
    bytes[40] ^= 1;
    data.data = bytes.into();
    let mut process = Process::start("127.0.0.1:0", chunks);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.welcome(&plan).await;
    session.say(ToClient::Published(genesis)).await;
    session.say(ToClient::Open { at: FIRST, model }).await;
    assert_eq!(
        session.heard().await,
        ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable }
    );
    let text = log.text();
    assert!(text.contains("is not trained on: chunk 1 of 1 arrived damaged"), "{text}");
    assert!(!text.contains(&hex::encode([1; 32])), "the secret key is in the log");
    daemon.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_model_is_trained_on_and_keys_are_advertised() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let (genesis, file) = genesis(&plan);
    let model = plan.initial_model().digest();
    let mut process = Process::start("127.0.0.1:0", wire::model_chunks(0, model, file.into()).collect());
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.welcome(&plan).await;
    session.say(ToClient::Published(genesis)).await;
    session.say(ToClient::Open { at: FIRST, model }).await;
    let said = session.heard().await;
    let ToCoordinator::Advertise { at: FIRST, .. } = said else { panic!("{said:?}") };
    daemon.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_stands_still_on_its_way_is_fetched_again_within_the_round() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = sim::plan(3, 2);
    plan.timing.round_deadline_ms = 3_000;
    let (genesis, file) = genesis(&plan);
    let model = plan.initial_model().digest();
    let mut process = Process::start("127.0.0.1:0", wire::model_chunks(0, model, file.into()).collect());
    process.stalls.store(2, SeqCst);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.welcome(&plan).await;
    session.say(ToClient::Published(genesis)).await;
    session.say(ToClient::Open { at: FIRST, model }).await;
    let said = session.heard().await;
    let ToCoordinator::Advertise { at: FIRST, .. } = said else { panic!("{said:?}") };
    assert_eq!(process.stalls.load(SeqCst), 0, "both fetches that stood still were given up");
    daemon.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_promised_a_silo_whose_table_is_not_the_plans_sits_out_until_it_is_put_right_and_lives()
 {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let (genesis, file) = genesis(&plan);
    let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
    let mut process = Process::start("127.0.0.1:0", chunks);
    let config = silo(folder.path(), process.address, 3);
    std::fs::write(folder.path().join("silo.csv"), "label,a,b,c\n0,0.1,0.2,0.3\n1,0.9,oops,0.7\n").unwrap();
    let daemon = start(config);
    let mut session = process.session().await;
    session.welcome(&plan).await;
    session.say(ToClient::Published(genesis)).await;
    session.say(ToClient::Open { at: FIRST, model: plan.initial_model().digest() }).await;
    assert_eq!(
        session.heard().await,
        ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable }
    );
    let alarms = std::fs::read_to_string(folder.path().join("state/alarms.json")).unwrap();
    assert!(alarms.contains("sits out") && !alarms.contains("oops"), "{alarms}");
    std::fs::write(folder.path().join("silo.csv"), "label,a,b,c\n0,0.1,0.2,0.3\n1,0.9,0.8,0.7\n").unwrap();
    let at = Attempt { round: 1, attempt: 2 };
    session.say(ToClient::Open { at, model: plan.initial_model().digest() }).await;
    let said = session.heard().await;
    assert!(matches!(said, ToCoordinator::Advertise { at: again, .. } if again == at), "{said:?}");
    daemon.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_hello_ends_the_daemon_with_3_instead_of_a_loop() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.greet().await;
    session.say.send(Err(HandshakeError::Signature(ME).to_status())).await.unwrap();
    drop(session);
    let why = daemon.await.unwrap().unwrap_err();
    assert_eq!(why.exit_code(), 3);
    assert!(why.to_string().contains("the client's key is the one on the roster"), "{why}");
}

/// Joined in a run and shown its genesis; the session of a script that now lies.
async fn joined(process: &mut Process, plan: &Plan) -> Session {
    let mut session = process.session().await;
    assert_eq!(session.welcome(plan).await, ToCoordinator::CheckIn { head: None, data: None, sandbox: None });
    session.say(ToClient::Published(genesis(plan).0)).await;
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_than_the_chains_is_declined_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = joined(&mut process, &plan).await;
    session.say(ToClient::Open { at: FIRST, model: Digest::sha256(b"for this silo alone") }).await;
    let said = session.heard().await;
    let ToCoordinator::Declined { round: Some(1), reason: Decline::CoordinatorFault(_) } = said else {
        panic!("{said:?}")
    };
    daemon.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genesis_that_another_key_signed_ends_the_daemon_before_any_round() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut forged = genesis(&plan).0;
    forged.signature[0] ^= 1;
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.welcome(&plan).await;
    session.say(ToClient::Published(forged)).await;
    let said = session.heard().await;
    let ToCoordinator::Declined { round: None, reason: Decline::CoordinatorFault(_) } = said else {
        panic!("{said:?}")
    };
    drop(session);
    assert_eq!(daemon.await.unwrap().unwrap_err().exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_begins_with_a_round_gets_no_training_on_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut manifest = genesis(&plan).0.verify_strict().unwrap();
    let initial = plan.initial_model();
    let mut values = initial.values().to_vec();
    values[0] += 1.0;
    let made_up = Params::new(initial.layout().clone(), values).unwrap();
    let model = made_up.digest();
    let file = checkpoint::model_bytes(&made_up, &checkpoint::model_metadata(&manifest.run_id, 1));
    manifest.round = 1;
    manifest.model.sha256 = Digest::sha256(&file);
    manifest.model.params_digest = model;
    let mut process = Process::start("127.0.0.1:0", vec![]);
    process.serve(1, v1::ModelPart::Parameters, model, file);
    let daemon = start(silo(folder.path(), process.address, 3));
    let mut session = process.session().await;
    session.welcome(&plan).await;
    let signed = SignedManifest::sign(&manifest, mock::key(9).signing_key()).unwrap();
    session.say(ToClient::Published(signed)).await;
    let reason = Decline::CoordinatorFault(CoordinatorFault::Chain);
    assert_eq!(session.heard().await, ToCoordinator::Declined { round: None, reason });
    assert_eq!(daemon.await.unwrap().unwrap_err().exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_under_the_name_of_a_joined_run_is_declined() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = start(silo(folder.path(), process.address, 3));
    drop(joined(&mut process, &plan).await);
    let mut session = process.session().await;
    let said = session.welcome(&sim::plan(3, 7)).await;
    let ToCoordinator::Declined { round: None, .. } = said else { panic!("{said:?}") };
    drop(session);
    assert_eq!(daemon.await.unwrap().unwrap_err().exit_code(), 3);
}

/// A checkpoint of the coordinator's log that holds one entry, signed by the coordinator.
fn checkpoint(root: u8) -> String {
    let text = tlog::Checkpoint { origin: "folkmoot/test".into(), size: 1, root: [root; 32] }.text();
    tlog::Note::sign(text, "folkmoot/test", mock::key(9).signing_key()).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_audit_log_ends_the_daemon_with_3_and_names_where_both_histories_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    *process.checkpoints.lock().unwrap() = vec![checkpoint(1), checkpoint(2)];
    let daemon = start(silo(folder.path(), process.address, 3));
    let _session = joined(&mut process, &plan).await;
    let why = daemon.await.unwrap().unwrap_err();
    assert_eq!(why.exit_code(), 3);
    assert!(why.to_string().contains("equivocation-1.txt"), "{why}");
    let kept = std::fs::read_to_string(folder.path().join("state/equivocation-1.txt")).unwrap();
    assert!(kept.contains(checkpoint(1).trim_end()) && kept.contains(checkpoint(2).trim_end()), "{kept}");
}

/// What a daemon with the switch on says at a check-in to a run; the run is over then.
async fn declared(
    config: client::Config,
    process: &mut Process,
    plan: &Plan,
    run: &str,
) -> Result<Option<Digest>, Decline> {
    let offers_per_author = plan::OffersPerAuthor { plans: 100, days: 1 };
    let policy = plan::Policy { offers_per_author, ..config.policy };
    let daemon = start(client::Config { tells_data_version: true, policy, ..config });
    let mut session = process.session().await;
    session.greet().await;
    session.say(mock::welcome(Digest::sha256(run.as_bytes()), plan, &mock::roster())).await;
    let said = match session.heard().await {
        ToCoordinator::CheckIn { head: None, data, sandbox: None } => Ok(data),
        ToCoordinator::Declined { reason, .. } => Err(reason),
        said => panic!("{said:?}"),
    };
    session.say(ToClient::Finished { reason: RunEnd::Complete }).await;
    assert!(session.heard.message().await.unwrap().is_none());
    drop(session);
    assert_eq!(daemon.await.unwrap().unwrap(), Ended::Finished(RunEnd::Complete));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_cannot_be_seen_by_others_neither_in_a_run_nor_from_one_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let config = silo(folder.path(), process.address, 3);
    let first = declared(config.clone(), &mut process, &plan, "one").await.unwrap().unwrap();
    let version = || datasets::Dataset::load(&config.data, None, &plan.data).unwrap().version();
    let ledger = folder.path().join("state/ledger/silo.ledger");
    let salt = ledger::Salt::read(&ledger, "silo", None).unwrap().unwrap();
    let commit = |run: &str| salt.nonce(&mock::public(1), &Digest::sha256(run.as_bytes())).commit(&version());
    assert_eq!(first, commit("one"), "it opens in the silo's folder");
    assert_ne!(first, version());
    std::fs::write(&config.data, "label,a,b,c\n1,0.1,0.2,0.3\n0,0.9,0.8,0.7\n").unwrap();
    let again = declared(config.clone(), &mut process, &plan, "one").await;
    assert_eq!(again, Ok(Some(first)), "a changed file, the same word");
    let second = declared(config.clone(), &mut process, &plan, "two").await.unwrap().unwrap();
    assert_eq!(second, commit("two"));
    // The same data in one more run: nobody can tell that it is.
    let third = declared(config.clone(), &mut process, &plan, "three").await.unwrap().unwrap();
    assert_eq!((third == second, third), (false, commit("three")));
    std::fs::write(&config.data, "no table").unwrap();
    assert_eq!(declared(config.clone(), &mut process, &plan, "one").await, Ok(Some(first)));
    let without = declared(config, &mut process, &plan, "four").await;
    assert_eq!(without, Ok(None), "what cannot be read is not declared where nothing is promised");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vault_the_keys_and_the_roster_are_opened_once_and_the_daemon_runs_with_what_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let nobody = "127.0.0.1:9".parse().unwrap();
    let config = silo(folder.path(), nobody, 3);
    vault::make_master(&path("master.key")).unwrap();
    let sealing = vault::Vault::create(folder.path(), vault::MasterSource::File(path("master.key"))).unwrap();
    let secret = std::fs::read(path("silo.key")).unwrap();
    std::fs::remove_file(path("silo.key")).unwrap();
    vault::write_secret(&path("silo.key"), &sealing, "silo.key", &secret).unwrap();
    let file = mock::written(&config, "[encryption]\nmaster_key = { file = \"master.key\" }\n");
    let loaded = client::Config::load(&file).unwrap();
    // Whoever opened any of them again would miss it.
    for name in ["master.key", "silo.key", "roster.json", "client.toml"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    let trainers = mock::trainers(&loaded.config);
    let ended = client::run(loaded, trainers, std::future::ready(())).await.unwrap();
    assert_eq!(ended, Ended::ShutDown);
    assert!(path("state").exists(), "it ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_stays_when_a_run_is_over_or_refused_and_takes_part_once_its_policy_file_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, large) = (sim::plan(3, 2), sim::plan(3, 3));
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let file = mock::written(&silo(folder.path(), process.address, 3), "");
    let text = std::fs::read_to_string(&file).unwrap() + "rounds_max = 2\n";
    std::fs::write(&file, &text).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let loaded = client::Config::load(&file).unwrap();
    let trainers = mock::trainers(&loaded.config);
    let daemon = tokio::spawn(client::run(loaded, trainers, async { drop(stopped.await) }));
    let mut session = process.session().await;
    assert_eq!(
        session.welcome(&plan).await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None }
    );
    session.say(ToClient::Finished { reason: RunEnd::Complete }).await;

    // The next run in the same session: too long for this silo.
    session.say(mock::welcome(Digest::sha256(b"long"), &large, &mock::roster())).await;
    let said = session.heard().await;
    let ToCoordinator::Declined { round: None, reason: Decline::Policy { code, .. } } = said else {
        panic!("{said:?}")
    };
    assert_eq!(code, "POLICY_ROUNDS");
    // What cannot be used changes nothing, and is said to the silo's operator; the next change is taken.
    std::fs::write(&file, text.replace("rounds_max = 2", "rounds_max = two")).unwrap();
    let alarms = folder.path().join("state/alarms.json");
    let kept = || std::fs::read_to_string(&alarms).unwrap_or_default();
    while !kept().contains("the policy before it stays in force") {
        tokio::task::yield_now().await;
    }
    let lines = || alarms::Alarm::new(&folder.path().join("state"), || 0).lines().join("\n");
    let refused =
        format!("this silo refuses the run {} of the plan `{}`", Digest::sha256(b"long").short(), large.name);
    assert!(lines().contains(&refused), "{}", lines());
    std::fs::write(&file, text.replace("rounds_max = 2", "rounds_max = 3")).unwrap();
    assert_eq!(
        session.heard().await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None },
        "nothing was restarted"
    );
    // All else is read at the start alone, and what differs from then is named until it does not.
    let other = text.replace("rounds_max = 2", "rounds_max = 3");
    std::fs::write(&file, other.replace("tells_data_version = false", "tells_data_version = true")).unwrap();
    while !lines().contains("`tells_data_version` in ") {
        tokio::task::yield_now().await;
    }
    std::fs::write(&file, &other).unwrap();
    while !lines().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    assert_eq!(daemon.await.unwrap().unwrap(), Ended::ShutDown);
    assert_eq!(lines(), "", "the file can be used, and the run is joined");
}
