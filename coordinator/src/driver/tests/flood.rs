//! More at once than an append or the system holds.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::Decline;
use store::{APPEND_BYTES_MAX, Head, StageWriter};
use tokio_stream::StreamExt;

use super::rollback::{Silo, run_to};
use super::*;

/// A store without descriptors for staged vectors, while it is asked to have none.
struct Exhausted {
    inner: FileStore,
    exhausted: Arc<AtomicBool>,
}

/// What the system says where too many files are open.
const EMFILE: i32 = 24;

impl Store for Exhausted {
    fn append_all(&mut self, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        self.inner.append_all(records)
    }

    fn replay(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.inner.replay()
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn stage(&mut self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError> {
        self.inner.stage(key)
    }

    fn staged_bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        self.inner.staged_bytes(key)
    }

    fn open_staged(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.exhausted.load(Ordering::SeqCst) {
            let source = std::io::Error::from_raw_os_error(EMFILE);
            return Err(StoreError::Io { action: "open", path: "staged".into(), source });
        }
        self.inner.open_staged(key)
    }

    fn discard_staged_before(&mut self, round: u64) -> Result<(), StoreError> {
        self.inner.discard_staged_before(round)
    }

    fn publish(&mut self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        self.inner.publish(name, files)
    }

    fn read_published(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        self.inner.read_published(name, file)
    }

    fn published_files(&self, name: &str) -> Result<Vec<String>, StoreError> {
        self.inner.published_files(name)
    }

    fn list_published(&self) -> Result<Vec<String>, StoreError> {
        self.inner.list_published()
    }

    fn index_put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.inner.index_put(tree, key, value)
    }

    fn index_get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.index_get(tree, key)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_that_run_out_while_a_sum_is_opened_end_the_process_and_not_the_round() {
    let folder = tempfile::tempdir().unwrap();
    let exhausted = Arc::new(AtomicBool::new(false));
    let runs_out = Arc::clone(&exhausted);
    let exhaustible = move |inner| -> Box<dyn Store> { Box::new(Exhausted { inner, exhausted: runs_out }) };
    let (inbox, mut events) = mpsc::channel(64);
    let mut driver =
        open_with(RunFolders::new(folder.path(), None), exhaustible, setup(), inbox.clone()).unwrap();
    let mut silos: Vec<Silo> = (1..=SILOS).map(|id| Silo::connect(&mut driver, id)).collect();
    exhausted.store(true, Ordering::SeqCst);
    let why = run_to(&mut driver, &mut silos, &mut events, 1).await.unwrap_err();
    let why = format!("{why:#}");
    assert!(why.contains("the same sum is opened then"), "{why}");
    drop(driver);

    let aborted = |record: &Record| matches!(record, Record::Aborted { .. });
    assert!(!journal(folder.path()).iter().any(aborted), "it was aborted");
    let mut driver = open_with(RunFolders::new(folder.path(), None), plain, setup(), inbox).unwrap();
    run_to(&mut driver, &mut [], &mut events, 1).await.unwrap();
    assert_eq!(status(&driver).rounds_aborted, 0, "the round that everybody paid for is committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_records_than_one_append_holds_are_written_in_their_order_and_nothing_is_said_before_its_record()
{
    const RECORD_BYTES: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let (inbox, _events) = mpsc::channel(64);
    let mut driver = open_with(RunFolders::new(folder.path(), None), plain, setup(), inbox).unwrap();
    let (outbox, mut unread, _over) = Outbox::open();
    driver.sessions.attach(ClientId(1), SessionId(1), SessionVersion::Two, outbox);
    let records = APPEND_BYTES_MAX / RECORD_BYTES + 2;
    let effects = (0..records).flat_map(|number| {
        let reason = format!("{number:04}{}", "x".repeat(RECORD_BYTES));
        let record = Record::Declined { client: ClientId(2), reason };
        let rejection = Rejection::Invalid(format!("{number:04}"));
        let said = ToClient::Rejected { rejection };
        let send = protocol::Effect::Send { to: ClientId(1), message: Box::new(said) };
        [protocol::Effect::Persist(record), send].map(|effect| Effect { run: RunNumber::FIRST, effect })
    });
    driver.effects.extend(effects);
    driver.perform().unwrap();
    drop(driver);
    let numbers: Vec<String> = journal(folder.path())
        .iter()
        .filter_map(|record| match record {
            Record::Declined { reason, .. } => Some(reason[..4].to_owned()),
            _ => None,
        })
        .collect();
    let expected: Vec<String> = (0..records).map(|number| format!("{number:04}")).collect();
    assert_eq!(numbers, expected);
    assert_eq!(said(&mut unread).len(), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_speaks_without_end_delays_no_reply_and_no_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, events) = mpsc::channel(INBOX_EVENTS);
    let driver = open_with(RunFolders::new(folder.path(), None), plain, setup(), inbox.clone()).unwrap();
    let (outbox, mut unread, _over) = Outbox::open();
    let reading = tokio::spawn(async move { while unread.next().await.is_some() {} });
    let (client, session, version) = (ClientId(1), SessionId(1), SessionVersion::Two);
    inbox.try_send(Event::Attached { client, session, version, outbox }).ok().unwrap();
    let driven = tokio::spawn(driver.drive(events));
    let flooding = inbox.clone();
    let flood = tokio::spawn(async move {
        loop {
            let reason = Decline::SitsOut;
            let message = Box::new(OfRun::from(ToCoordinator::Declined { round: Some(9), reason }));
            if flooding.send(Event::Said { client, session, message }).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..20 {
        let (reply, answer) = oneshot::channel();
        let roster = Box::new(setup().roster);
        inbox.send(Event::Roster { roster, reply }).await.ok().unwrap();
        answer.await.unwrap().unwrap();
    }
    flood.abort();
    reading.abort();
    driven.abort();
}
