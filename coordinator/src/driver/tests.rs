//! The driver on a disk that fails, and after a restart with a clock set back.

mod flood;
mod library;
mod rollback;

use std::path::Path;

use access::{Caller, Operations, Proof};
use identity::{IdentityKey, Member, Role, Roster};
use params::Digest;
use plan::Plan;
use protocol::{Attempt, SessionVersion, Setup, ToClient, ToCoordinator};
use runs::RunFolders;
use store::{FaultyStore, FileStore, InjectedFault, StageKey, Store};
use vault::Vault;

use super::*;
use crate::outbox::{Outbox, Unread};
use crate::sessions::SessionId;

const SILOS: u32 = 3;
const HOURS_10_MS: u64 = 36_000_000;

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

/// A plan that silos of the first release read.
fn plan_of(rounds: u64) -> Plan {
    Plan { format: None, id: None, ..sim::plan(SILOS as usize, rounds) }
}

fn setup() -> Setup {
    let public = |byte: u8| hex::encode(key(byte).public().as_bytes());
    let member = |id: u32| Member { name: format!("s{id}"), identity_key: public(id as u8), admitted: 1 };
    let roster = Roster {
        format: None,
        previous: None,
        federation: "test".into(),
        epoch: 1,
        coordinator_key: public(9),
        members: (1..=SILOS).map(|id| (ClientId(id), member(id))).collect(),
    };
    Setup {
        plan: sim::authored(plan_of(2)),
        roster: sim::authorised(&roster),
        authority: sim::authority().public(),
        key: key(9).signing_key().clone(),
    }
}

fn controls() -> card::Controls {
    card::Controls {
        transport: "a test".into(),
        encrypted_at_rest: false,
        model_signature: false,
        audit_log: "test".into(),
        metrics_endpoint: None,
    }
}

fn open_store(folder: &Path, vault: Option<Arc<Vault>>) -> Result<FileStore, runs::RunFoldersError> {
    RunFolders::new(folder, vault).open_store(runs::FIRST)
}

/// What a store is opened with where nothing fails.
fn plain(store: FileStore) -> Box<dyn Store> {
    Box::new(store)
}

fn open(
    folder: &Path,
    wrap: impl FnOnce(FileStore) -> Box<dyn Store> + Send + 'static,
) -> anyhow::Result<Driver> {
    open_with(RunFolders::new(folder, None), wrap, setup(), mpsc::channel(16).0)
}

fn open_with(
    runs: RunFolders,
    wrap: impl FnOnce(FileStore) -> Box<dyn Store> + Send + 'static,
    setup: Setup,
    inbox: mpsc::Sender<Event>,
) -> anyhow::Result<Driver> {
    let (board, _) = watch::channel(None);
    let (roster, _) = watch::channel(Arc::new(setup.roster.clone()));
    let metrics = Arc::new(telemetry::Metrics::new());
    let outward = Outward { board, roster, metrics };
    let Setup { plan, roster, authority, key } = setup;
    let own = Own { key, authority, roster, model_key: None };
    let mut first = Some(wrap);
    let wrap = Box::new(move |_, store| first.take().unwrap()(store));
    Driver::open(Folders { runs, wrap, controls: controls() }, plan, 3, own, inbox, outward)
        .map(|(driver, _)| driver)
}

/// Of the first run.
fn status(driver: &Driver) -> run_status::Status {
    driver.federation.status(RunNumber::FIRST).unwrap()
}

fn core(driver: &Driver) -> &protocol::Coordinator {
    driver.federation.run(RunNumber::FIRST).unwrap()
}

fn first_folder(driver: &Driver) -> &runs::RunFolder {
    &driver.runs[&RunNumber::FIRST].folder
}

fn said(unread: &mut Unread) -> Vec<ToClient> {
    std::iter::from_fn(|| unread.taken()).map(|said| ToClient::try_from(said).unwrap()).collect()
}

fn journal(folder: &Path) -> Vec<Record> {
    let mut store = open_store(folder, None).unwrap();
    store.replay().unwrap().iter().map(|bytes| Record::decode(bytes).unwrap()).collect()
}

/// Every silo connects and checks in on a disk that fails in its nth write; what was said to the silos, and the failure.
fn first_round(
    folder: &Path,
    operation: u64,
    fault: InjectedFault,
) -> (Vec<ToClient>, Option<anyhow::Error>) {
    let faulty = move |store| -> Box<dyn Store> { Box::new(FaultyStore::new(store, operation, fault)) };
    let mut driver = match open(folder, faulty) {
        Ok(driver) => driver,
        Err(why) => return (Vec::new(), Some(why)),
    };
    let mut outboxes = Vec::new();
    let mut alive = Vec::new();
    for id in 1..=SILOS {
        let (client, session) = (ClientId(id), SessionId(u64::from(id)));
        let (outbox, unread, over) = Outbox::open();
        outboxes.push(unread);
        alive.push(over);
        // Whose messages name no run.
        let version = SessionVersion::Three;
        driver.take(Event::Attached { client, session, version, outbox }).unwrap();
        let message = Box::new(OfRun::from(ToCoordinator::CheckIn { head: None, data: None, sandbox: None }));
        driver.take(Event::Said { client, session, message }).unwrap();
    }
    let failed = driver.perform().err();
    (outboxes.iter_mut().flat_map(said).collect(), failed)
}

#[test]
fn a_published_version_has_a_card_that_says_what_its_record_says_and_takes_up_evaluations() {
    let folder = tempfile::tempdir().unwrap();
    let evaluations = folder.path().join(runs::EVALUATIONS_FOLDER);
    std::fs::create_dir(&evaluations).unwrap();
    let params = setup().plan.initial_model().digest();
    let evaluation = card::Evaluation {
        params_digest: params,
        data: "hold-out".into(),
        rows: 10,
        correct: 8,
        loss: 0.5,
        loss_deviation: 0.1,
    };
    std::fs::write(evaluations.join("a.json"), serde_json::to_vec(&evaluation).unwrap()).unwrap();
    std::fs::write(evaluations.join("b.json"), "no evaluation").unwrap();
    let mut driver = open(folder.path(), plain).unwrap();
    let head = core(&driver).head_record().unwrap().verify_strict().unwrap();
    let file =
        first_folder(&driver).store().read_published(&checkpoint::folder_name(0), card::CARD_FILE).unwrap();
    let read = card::Card::from_yaml(std::str::from_utf8(&file).unwrap()).unwrap();
    read.check(&head, &card::LearnedFrom::default().push(&head), Some(&setup().plan)).unwrap();
    let accuracy = read.metrics.iter().find(|metric| metric.name == "accuracy").unwrap();
    assert_eq!((accuracy.value, accuracy.over.starts_with("hold-out (10 rows")), (0.8, true));
    assert_eq!(read.security.transport, "a test");
    assert!(
        first_folder(&driver).store().read_published(&checkpoint::folder_name(0), card::README_FILE).is_ok()
    );
    assert!(driver.load_head(RunNumber::FIRST).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_write_fails_no_silo_hears_what_the_journal_does_not_hold_and_a_restart_goes_on() {
    for fault in [InjectedFault::Lost, InjectedFault::Unacknowledged, InjectedFault::Torn { keep: 7 }] {
        let mut failures = 0;
        for operation in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let (said, failed) = first_round(folder.path(), operation, fault);
            let journal = journal(folder.path());
            let opened = |record: &Record| matches!(record, Record::AttemptBegun { .. });
            if said.iter().any(|message| matches!(message, ToClient::Open { .. })) {
                assert!(journal.iter().any(opened), "{fault:?} in write {operation}: {journal:?}");
            }
            let Some(why) = failed else {
                let opens = said.iter().filter(|message| matches!(message, ToClient::Open { .. })).count();
                assert_eq!(opens, SILOS as usize, "without a fault the round opens: {said:?}");
                break;
            };
            failures += 1;
            assert!(format!("{why:#}").contains("injected crash"), "{why:#}");
            open(folder.path(), plain).unwrap_or_else(|why| panic!("{why:#}"));
        }
        assert!(failures >= 4, "a start stages two files, appends and publishes: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_append_ends_the_driver_with_the_remedy_beside_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), plain).unwrap());
    // The run is on disk: the first write of this start is the round's opening.
    let (said, failed) = first_round(folder.path(), 1, InjectedFault::Lost);
    let why = format!("{:#}", failed.unwrap());
    assert!(why.contains("start again, the run goes on from there"), "{why}");
    assert!(!said.iter().any(|message| matches!(message, ToClient::Open { .. })), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_with_the_clock_set_back_deadlines_still_count_on() {
    let folder = tempfile::tempdir().unwrap();
    let driver = open(folder.path(), plain).unwrap();
    let before_it_was_set_back = driver.clock.now().plus_ms(HOURS_10_MS);
    drop(driver);
    let opened = Record::AttemptBegun {
        now: before_it_was_set_back,
        at: Attempt { round: 1, attempt: 1 },
        cohort: (1..=SILOS).map(ClientId).collect(),
    };
    open_store(folder.path(), None).unwrap().append(&opened.encode()).unwrap();
    let driver = open(folder.path(), plain).unwrap();
    assert_eq!(driver.clock.started(), before_it_was_set_back);
    let deadline = driver.federation.deadline(driver.judged).unwrap();
    let round_ms = first_folder(&driver).plan().timing.round_deadline_ms;
    assert!(deadline.0 - driver.clock.now().0 <= round_ms, "{deadline:?} is hours away");
}

/// What an operator is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_nobody_waits_for_changes_neither_the_journal_nor_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = open(folder.path(), plain).unwrap();
    let (head, run_id) = (core(&driver).head_record().cloned(), core(&driver).run_id().unwrap());
    let params = setup().plan.initial_model();
    for (round, byte) in [(0, 1), (1, 2), (1, 3), (1, 3)] {
        let next = protocol::NextModel {
            params: params.clone(),
            state: setup().plan.initial_state(params.layout().len()),
            aggregate: protocol::aggregate_digest(&[byte]),
            sum: vec![byte],
            metrics: std::collections::BTreeMap::new(),
        };
        let version = Box::new(runs::NextVersion::of(next, &run_id, round));
        driver
            .opened(RunNumber::FIRST, Attempt { round, attempt: u32::from(round > 0) }, Ok(version))
            .unwrap();
        driver.perform().unwrap();
    }
    assert_eq!(core(&driver).head_record().cloned(), head);
    assert_eq!(driver.load_head(RunNumber::FIRST).unwrap().params.digest(), params.digest());
    drop(driver);
    assert!(matches!(journal(folder.path())[..], [Record::RunStarted { .. }]));
}

fn act(driver: &mut Driver, act: protocol::Act) -> anyhow::Result<Result<Vec<String>, Rejection>> {
    act_as(driver, act, false)
}

fn act_as(
    driver: &mut Driver,
    act: protocol::Act,
    emergency: bool,
) -> anyhow::Result<Result<Vec<String>, Rejection>> {
    let (reply, mut answer) = oneshot::channel();
    driver.take(Event::Act { run: None, act, emergency, reply })?;
    Ok(answer.try_recv()?)
}

fn quarantine(round: u64) -> protocol::Act {
    protocol::Act::Quarantine { round, by: "ops".into(), reason: "poisoned".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_is_published_with_its_files_or_not_at_all_whichever_write_fails() {
    for fault in [InjectedFault::Lost, InjectedFault::Unacknowledged, InjectedFault::Torn { keep: 7 }] {
        let mut failures = 0;
        for operation in 1.. {
            let folder = tempfile::tempdir().unwrap();
            drop(open(folder.path(), plain).unwrap());
            let faulty =
                move |store| -> Box<dyn Store> { Box::new(FaultyStore::new(store, operation, fault)) };
            let answer = open(folder.path(), faulty).and_then(|mut driver| act(&mut driver, quarantine(0)));
            // What could not be staged is refused, and stops nothing else.
            let answer = answer.and_then(|answer| answer.map_err(anyhow::Error::from));
            let journalled = journal(folder.path()).iter().any(|r| matches!(r, Record::Acted { .. }));
            // Whatever was written down is published by the next start, and its model can be fetched.
            let mut driver = open(folder.path(), plain).unwrap();
            assert_eq!(status(&driver).head_round, u64::from(journalled), "{fault:?}, write {operation}");
            let chain = driver.read_chain(RunNumber::FIRST, None).unwrap();
            assert_eq!(chain.len(), 1 + usize::from(journalled), "{fault:?}, write {operation}");
            let initial = first_folder(&driver).plan().initial_model().digest();
            assert_eq!(driver.load_head(RunNumber::FIRST).unwrap().params.digest(), initial);
            let Err(why) = answer else {
                assert!(journalled, "an operator was answered what the journal does not hold");
                break;
            };
            failures += 1;
            let why = format!("{why:#}");
            assert!(why.contains("injected crash"), "{why}");
            assert!(
                !journalled || why.contains("start again, the run goes on from there"),
                "{fault:?}: {why}"
            );
        }
        assert!(failures >= 3, "two files staged, a record, a folder: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_hears_why_nothing_was_done_and_what_holds_the_run_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = open(folder.path(), plain).unwrap();
    let refused = |answer: Result<Vec<String>, Rejection>| answer.unwrap_err().to_string();
    let rollback =
        |to_round| protocol::Act::Rollback { to_round, by: "ops".into(), reason: "poisoned".into() };
    assert!(refused(act(&mut driver, quarantine(3)).unwrap()).contains("round 3 has no result"));
    assert!(refused(act(&mut driver, rollback(3)).unwrap()).contains("round 3 has no result"));
    assert!(refused(act(&mut driver, rollback(0)).unwrap()).contains("already"));

    let answer = act(&mut driver, quarantine(0)).unwrap().unwrap();
    assert!(answer.last().unwrap().contains("no round opens until a rollback"), "{answer:?}");
    assert!(answer[0].contains("quarantined by ops: poisoned"), "{answer:?}");
    assert!(refused(act(&mut driver, quarantine(0)).unwrap()).contains("already"));

    let damaged = folder.path().join("checkpoints").join("000001").join(checkpoint::MODEL_FILE);
    std::fs::write(damaged, b"other bytes").unwrap();
    assert!(refused(act(&mut driver, rollback(1)).unwrap()).contains("damaged"));
    assert_eq!(status(&driver).head_round, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_may_not_do_without_end_an_administrator_may() {
    let folder = tempfile::tempdir().unwrap();
    let again = || open(folder.path(), plain).unwrap();
    let mut driver = again();
    let pause = || protocol::Act::Pause { by: "ops".into(), reason: "an incident".into() };
    let resume = || protocol::Act::Resume { by: "ops".into() };
    let refused = |driver: &mut Driver, act| act_as(driver, act, true).unwrap().unwrap_err().to_string();
    assert!(refused(&mut driver, quarantine(0)).contains("no trained model is left"));
    for _ in 0..5 {
        for act in [pause(), resume()] {
            act_as(&mut driver, act.clone(), true).unwrap().unwrap();
            // What is so already costs nothing of it.
            assert!(refused(&mut driver, act).contains("nothing was changed"));
        }
    }
    assert!(refused(&mut driver, pause()).contains("5 times within an hour"));
    assert!(refused(&mut driver, resume()).contains("nothing was changed"));
    drop(driver);
    let mut driver = again();
    assert!(refused(&mut driver, pause()).contains("5 times within an hour"), "a restart forgets none");
    assert_eq!(status(&driver).head_round, 0);
    for act_of_an_administrator in [pause(), resume(), quarantine(0)] {
        act(&mut driver, act_of_an_administrator).unwrap().unwrap();
    }
}

#[tokio::test]
async fn whether_the_run_counts_an_action_is_its_callers_role() {
    let (inbox, mut events) = mpsc::channel(1);
    let (_board, board) = watch::channel(None);
    let Setup { roster, authority, .. } = setup();
    let (_roster, roster) = watch::channel(Arc::new(roster));
    let run = crate::operations::Run { inbox, roster, board, authority, vault: None };
    for (role, counted) in [(Role::Admin, false), (Role::Operator, true)] {
        let (name, proof) = ("ops".to_owned(), Proof::Nothing);
        let by = Caller { name, subject: None, role: Some(role), proof, address: None, expires_s: None };
        let all = async {
            run.pause(None, "why", &by).await.unwrap();
            run.resume(None, &by).await.unwrap();
            run.quarantine(None, 1, "why", &by).await.unwrap();
            run.rollback(None, 1, "why", &by).await.unwrap();
        };
        let heard = async {
            for _ in 0..4 {
                let Some(Event::Act { emergency, reply, .. }) = events.recv().await else { panic!() };
                assert_eq!(emergency, counted, "{role:?}");
                reply.send(Ok(vec![])).unwrap();
            }
        };
        tokio::join!(all, heard);
    }
}
