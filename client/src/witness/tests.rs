//! A coordinator that takes no cosignature, or one of whose receipts cannot be kept; and when the log is looked at.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use audit::{Actor, Event, Log};
use ed25519_dalek::SigningKey;
use identity::{Member, Roster};
use tokio::net::TcpListener;
use tokio_stream::Pending;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};
use wire::v1::audit_server::{Audit, AuditServer};

use super::*;

const OWN: ClientId = ClientId(1);
const ORIGIN: &str = "folkmoot/federation/watched";

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

struct Coordinator {
    log: Mutex<Log>,
    /// Entries whose receipts prove nothing.
    broken: Mutex<BTreeSet<u64>>,
    asked: Mutex<Vec<Option<u64>>>,
}

#[tonic::async_trait]
impl Audit for Coordinator {
    type EntriesStream = Pending<Result<v1::AuditEntry, Status>>;

    async fn witness(
        &self,
        request: Request<v1::WitnessRequest>,
    ) -> Result<Response<v1::WitnessReply>, Status> {
        let v1::WitnessRequest { seen, receipts_after } = request.into_inner();
        self.asked.lock().unwrap().push(receipts_after);
        let log = self.log.lock().unwrap();
        let size = log.published_size();
        let proof = if seen == 0 { Vec::new() } else { log.prove_consistency(seen, size).unwrap() };
        let first = receipts_after.map_or(0, |after| after + 1);
        let receipts = (first..size).map(|index| {
            let mut entry = log.entries(index..index + 1).unwrap().remove(0);
            if self.broken.lock().unwrap().contains(&index) {
                entry.push(b' ');
            }
            v1::Receipt { index, entry, proof: log.prove_inclusion(index).unwrap() }
        });
        Ok(Response::new(v1::WitnessReply {
            checkpoint: log.checkpoint().unwrap(),
            proof: proof.into_iter().map(|hash| hash.to_vec()).collect(),
            receipts: receipts.collect(),
        }))
    }

    async fn cosign(&self, _: Request<v1::CosignRequest>) -> Result<Response<v1::CosignReply>, Status> {
        Err(Status::unavailable("busy"))
    }

    async fn entries(&self, _: Request<v1::EntriesRequest>) -> Result<Response<Self::EntriesStream>, Status> {
        Err(Status::unimplemented("none"))
    }
}

fn run() -> Digest {
    Digest::sha256(b"run")
}

fn upload(round: u64) -> Digest {
    Digest::sha256(&round.to_le_bytes())
}

/// Of this silo's, as the coordinator says.
fn event(round: u64, upload: Digest) -> Event {
    let actor = Actor { id: format!("silo-{OWN}"), role: "client".into(), address: None };
    let event = Event::new(1, actor, Action::UploadReceived, audit::Status::Ok);
    Event { round: Some(round), attempt: Some(1), digest: Some(upload.to_string()), ..event }
}

/// A log that tells of uploads of this silo in rounds 0 to 2, and who watches it.
async fn watched(folder: &Path) -> (Arc<Coordinator>, Watchman, mpsc::Receiver<Seen>) {
    let mut log = Log::open(&folder.join("log"), ORIGIN, key(9)).unwrap();
    log.append(&[0, 1, 2].map(|round| event(round, upload(round)))).unwrap();
    log.publish().unwrap();
    let verifier = log.verifier_key().clone();
    let coordinator =
        Arc::new(Coordinator { log: Mutex::new(log), broken: Mutex::default(), asked: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = AuditServer::from_arc(Arc::clone(&coordinator));
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let (watchman, seen, _) = watchman(folder, channel, verifier);
    (coordinator, watchman, seen)
}

/// Gives what it tells, and what prompts it.
fn watchman(
    folder: &Path,
    channel: Channel,
    log: VerifierKey,
) -> (Watchman, mpsc::Receiver<Seen>, watch::Sender<Prompt>) {
    let text = |byte| hex::encode(key(byte).verifying_key().as_bytes());
    let member = |id: u8| Member { name: format!("silo {id}"), identity_key: text(id), admitted: 1 };
    let roster = Roster {
        format: None,
        federation: "watched".into(),
        epoch: 1,
        coordinator_key: text(9),
        members: (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect(),
        previous: None,
    };
    let (report, seen) = mpsc::channel(8);
    let (prompts, prompt) = watch::channel(Prompt::default());
    let uploads = Uploads::default();
    uploads.follow(&ClientRecord::Joined { run_id: run(), plan: run(), roster_epoch: 1 });
    for round in 0..=2 {
        let [model, r2] = [run(); 2];
        let at = Attempt { round, attempt: 1 };
        let (now, upload) = (protocol::Timestamp(1), upload(round));
        uploads.follow(&ClientRecord::Debited { now, at, model, r2, upload, event: None });
    }
    let watchman = Watchman {
        channel,
        memory: Witness::open(&folder.join("witness"), log.clone()).unwrap(),
        log,
        key: key(1),
        own: OWN,
        uploads,
        roster: watch::channel(Arc::new(sim::authorised(&roster))).1,
        patience: Patience::default(),
        receipts: folder.join("receipts"),
        receipts_after: None,
        report,
        prompt,
    };
    (watchman, seen, prompts)
}

/// The receipts that the driver hears of in one heartbeat, which fails.
async fn heard(watchman: &mut Watchman, seen: &mut mpsc::Receiver<Seen>) -> Vec<(Digest, u64)> {
    let missed = watchman.beat(&mut None).await;
    assert!(matches!(missed, Err(Missed::Other(_))), "the coordinator took it");
    let Ok(Seen::Log(Witnessed { receipts, .. })) = seen.try_recv() else { panic!("nothing was told") };
    receipts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_takes_no_cosignature_keeps_no_receipt_from_the_driver() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, mut watchman, mut seen) = watched(scratch.path()).await;
    let all = [0, 1, 2].map(|round| (upload(round), round));
    assert_eq!(heard(&mut watchman, &mut seen).await, all);
    assert_eq!(heard(&mut watchman, &mut seen).await, [], "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_cannot_be_kept_is_asked_for_again_and_those_before_it_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let (coordinator, mut watchman, mut seen) = watched(scratch.path()).await;
    coordinator.broken.lock().unwrap().insert(1);
    assert_eq!(heard(&mut watchman, &mut seen).await, [(upload(0), 0)]);
    coordinator.broken.lock().unwrap().clear();
    assert_eq!(heard(&mut watchman, &mut seen).await, [(upload(1), 1), (upload(2), 2)]);
    assert_eq!(*coordinator.asked.lock().unwrap(), [None, Some(0)]);
}

const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_watchman_who_rests_is_prompted_by_the_driver_and_ends_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let verifier = VerifierKey::new(ORIGIN, key(9).verifying_key()).unwrap();
    let (mut watchman, _seen, prompts) = watchman(scratch.path(), nowhere, verifier);
    // No heartbeat ever comes.
    let (rested, prompted) = tokio::join!(watchman.rest(Duration::MAX), async {
        prompts.send_if_modified(|prompt| prompt.follow((Some(FIRST), true)))
    });
    assert!(rested && prompted && watchman.prompt.borrow().waits);
    drop(prompts);
    assert!(!watchman.rest(Duration::MAX).await);
}

#[test]
fn a_round_that_waits_for_witnesses_waits_for_no_heartbeat() {
    let heartbeat = Duration::from_secs(30);
    let mut pause = Pause(SOON);
    let waits = [false, true, true, true, false, true];
    let pauses = waits.map(|waits| pause.next(waits, heartbeat));
    assert_eq!(pauses, [heartbeat, SOON, SOON * 2, SOON * 4, heartbeat, SOON]);
    (0..100).for_each(|_| assert!(pause.next(true, heartbeat) <= heartbeat));
}

#[test]
fn the_log_is_looked_at_for_each_attempt_once_and_when_it_begins_to_wait() {
    let mut prompt = Prompt::default();
    let second = Attempt { round: 1, attempt: 2 };
    let said = [(Some(FIRST), false), (Some(FIRST), true), (Some(FIRST), true), (Some(FIRST), false)];
    assert_eq!(said.map(|said| prompt.follow(said)), [true, true, false, false]);
    let said = [(None, false), (Some(second), true), (None, false), (None, false)];
    assert_eq!(said.map(|said| prompt.follow(said)), [false, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_what_the_silo_did_not_upload_are_not_kept_and_take_no_other_ones_place() {
    let scratch = tempfile::tempdir().unwrap();
    let (coordinator, mut watchman, mut seen) = watched(scratch.path()).await;
    heard(&mut watchman, &mut seen).await;
    let kept = || {
        let files = std::fs::read_dir(scratch.path().join("receipts")).unwrap().map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        });
        files.collect::<BTreeMap<_, _>>()
    };
    let before = kept();
    let run = run();
    for round in 0..=2 {
        assert!(before.contains_key(&format!("{round:06}-1-{run}.tlog-proof")), "{:?}", before.keys());
    }
    {
        let mut log = coordinator.log.lock().unwrap();
        let made_up: Vec<Event> = (0..64).map(|round| event(round, upload(round + 100))).collect();
        log.append(&made_up).unwrap();
        log.publish().unwrap();
    }
    assert_eq!(heard(&mut watchman, &mut seen).await, []);
    assert_eq!(kept(), before, "a coordinator decides how much lies here, and under which names");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_repeats_an_upload_without_end_has_its_receipt_kept_once() {
    let scratch = tempfile::tempdir().unwrap();
    let (coordinator, mut watchman, mut seen) = watched(scratch.path()).await;
    assert_eq!(heard(&mut watchman, &mut seen).await.len(), 3);
    let repeat = || {
        let mut log = coordinator.log.lock().unwrap();
        log.append(&[(); RECEIPTS_AT_ONCE].map(|()| event(1, upload(1)))).unwrap();
        log.publish().unwrap();
    };
    repeat();
    let path = scratch.path().join("receipts").join(format!("000001-1-{}.tlog-proof", run()));
    let before = std::fs::read(&path).unwrap();
    assert_eq!(
        heard(&mut watchman, &mut seen).await,
        [],
        "nothing new, so the next look waits for the heartbeat"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // What the journal says is receipted is not written anew after a restart either.
    watchman.uploads.follow(&ClientRecord::UploadReceipted { upload: upload(2), index: 2 });
    repeat();
    assert_eq!(heard(&mut watchman, &mut seen).await, []);
}
