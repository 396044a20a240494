//! Which trainers a pool keeps, how it ends them, and what it writes down of them in the silo's own log.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use alarms::Alarm;
use audit::{Wanted, Writer};
use identity::IdentityKey;
use params::Digest;
use plan::AuthoredPlan;
use sandbox::{Demand, FilterDigest, Level, SealProfile};
use serde_json::Value;
use tempfile::TempDir;
use trainer_protocol::{Ask, Frame, Reply, VERSION, limits};
use workshop::{EndTrainer, TrainerPool, TrainerSource};

const RUNS: [&[u8]; 3] = [b"one", b"two", b"three"];

/// A silo whose trainers are threads that read a table and do nothing more.
struct Silo {
    folder: TempDir,
    log: Writer,
    pool: TrainerPool,
    plan: Arc<AuthoredPlan>,
    started: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Silo {
    /// The first of whose trainers is held by the first level, and every later one by the last.
    fn new(levels: [Level; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = IdentityKey::from_secret_hex(&"01".repeat(32)).unwrap();
        let log = Writer::open(
            &folder.path().join("audit"),
            &audit::silo_name("clinics", 1),
            key.signing_key().clone(),
            1,
            || 1,
        )
        .unwrap();
        let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let source = source(levels, Arc::clone(&started), Arc::clone(&ended));
        let pool = TrainerPool::new(source, None, Alarm::new(folder.path(), || 1), log.recorder());
        let plan = Arc::new(sim::plan(3, 2).sign(&key));
        Self { folder, log, pool, plan, started, ended }
    }

    async fn read(&self, run: usize) -> Result<(), String> {
        let read = self.pool.read(Digest::sha256(RUNS[run]), Arc::clone(&self.plan)).await;
        read.map(drop).map_err(|why| why.to_string())
    }

    fn started(&self) -> usize {
        self.started.load(SeqCst)
    }

    /// The entries of its log with this action.
    fn entries(&self, action: &str) -> Vec<Value> {
        self.log.settle(Vec::new()).unwrap();
        self.log.publish().unwrap();
        let mut entries = Vec::new();
        let wanted = Wanted { action: Some(action.into()), ..Wanted::default() };
        let shown = |shown: &audit::ShownEvent<'_>| {
            entries.push(serde_json::from_str::<Value>(&shown.json()).unwrap()["event"].clone());
            true
        };
        audit::read_events(&self.folder.path().join("audit"), &wanted, shown).unwrap();
        entries
    }
}

fn source(levels: [Level; 2], started: Arc<AtomicUsize>, ended: Arc<AtomicUsize>) -> TrainerSource {
    Arc::new(move || {
        let level = levels[started.fetch_add(1, SeqCst).min(1)].clone();
        let (ours, its) = UnixStream::pair()?;
        let (kills, killed, ended) =
            (ours.try_clone()?, Arc::new(AtomicBool::new(false)), Arc::clone(&ended));
        let seen = Arc::clone(&killed);
        let serving = thread::spawn(move || serve(its, level, &seen));
        let end = move || {
            killed.store(true, SeqCst);
            drop(kills.shutdown(Shutdown::Both));
            let in_peace = serving.join().unwrap();
            ended.fetch_add(1, SeqCst);
            if in_peace { "in peace" } else { "killed" }.to_owned()
        };
        Ok((ours, Box::new(end) as EndTrainer))
    })
}

/// Whether it ended before it was killed.
fn serve(mut stream: UnixStream, level: Level, killed: &AtomicBool) -> bool {
    let say = |reply: &Reply, mut stream: &UnixStream| {
        stream.write_all(&Frame::of(reply, &[]).unwrap().to_bytes()).unwrap();
    };
    say(&Reply::Ready { protocol: VERSION, sandbox: level }, &stream);
    while let Ok(asked) = Frame::read(&mut stream, limits::ASK) {
        let Ask::Read { job, .. } = asked.message().unwrap() else { panic!("nothing else is asked") };
        let version = Digest::sha256(b"table");
        say(
            &Reply::Table { job, version, misfits: None, remarks: None, empty: false, changed: false },
            &stream,
        );
    }
    !killed.load(SeqCst)
}

fn level(demand: Demand, landlock: u8) -> Level {
    let filter = Some(FilterDigest([1; 32]));
    Level { demand, profile: SealProfile::Native, landlock, filter, namespaces: BTreeSet::new() }
}

fn alike() -> [Level; 2] {
    [level(Demand::Required, 7), level(Demand::Required, 7)]
}

#[tokio::test]
async fn two_runs_that_take_turns_keep_their_tables_and_a_third_takes_the_place_of_the_older_one() {
    let silo = Silo::new(alike());
    for run in [0, 1, 0, 1] {
        silo.read(run).await.unwrap();
    }
    assert_eq!(silo.started(), 2);
    silo.read(2).await.unwrap();
    silo.read(1).await.unwrap();
    assert_eq!((silo.started(), silo.ended.load(SeqCst)), (3, 1));
    silo.read(0).await.unwrap();
    assert_eq!((silo.started(), silo.ended.load(SeqCst)), (4, 2));
    let how: Vec<_> =
        silo.entries("trainer.ended").iter().map(|entry| entry["details"]["how"].clone()).collect();
    assert_eq!(how, ["in peace", "in peace"]);
}

#[tokio::test]
async fn a_trainer_ends_in_peace_when_its_run_is_over_and_the_others_stay() {
    let silo = Silo::new(alike());
    silo.read(0).await.unwrap();
    silo.read(1).await.unwrap();
    silo.pool.dismiss(Digest::sha256(RUNS[0]));
    let ended = async {
        while silo.ended.load(SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    silo.read(1).await.unwrap();
    assert_eq!((silo.started(), silo.ended.load(SeqCst)), (2, 1));
    silo.read(0).await.unwrap();
    assert_eq!(silo.started(), 3, "nothing is remembered of a run that is over");
    let [entry] = &silo.entries("trainer.ended")[..] else { panic!("one has ended") };
    assert_eq!(entry["details"]["how"], "in peace");
    assert_eq!(entry["run"], Digest::sha256(RUNS[0]).to_string());
}

#[tokio::test]
async fn a_trainer_that_is_held_by_less_than_the_first_is_refused_where_that_is_required_and_else_recorded() {
    let less = |demand| [level(demand, 7), level(demand, 6)];
    let silo = Silo::new(less(Demand::Required));
    silo.read(0).await.unwrap();
    let why = silo.read(1).await.unwrap_err();
    assert!(why.starts_with("a trainer is held by less than this daemon's first one was: "), "{why}");
    assert_eq!(silo.ended.load(SeqCst), 1, "it reads nothing");
    assert_eq!(silo.entries("trainer.failed").len(), 1);
    let silo = Silo::new(less(Demand::BestEffort));
    silo.read(0).await.unwrap();
    silo.read(1).await.unwrap();
    let started = silo.entries("trainer.started");
    assert_eq!(started.len(), 2);
    assert!(started[0]["details"].get("first").is_none());
    assert_eq!(started[1]["details"]["first"], level(Demand::BestEffort, 7).to_string());
}
