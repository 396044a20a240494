//! A coordinator that takes no cosignature; and a watchman who rests.

use std::path::Path;
use std::sync::Mutex;

use audit::Log;
use params::Digest;
use protocol::{Attempt, WitnessState};
use tokio::net::TcpListener;
use tokio_stream::Pending;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};
use wire::v1::audit_server::{Audit, AuditServer};
use witness::samples::{self, upload};

use super::*;

struct Coordinator {
    log: Mutex<Log>,
    /// After which receipts it was asked for more, in turn.
    asked: Mutex<Vec<Option<u64>>>,
    /// An entry whose receipt proves nothing, the next time that it is shown.
    broken: Mutex<Option<u64>>,
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
        let shown = samples::shown(&self.log.lock().unwrap(), seen, receipts_after);
        let broken = self.broken.lock().unwrap().take();
        let receipts = shown.receipts.into_iter().map(|receipt| {
            let ShownReceipt { index, mut entry, proof } = receipt;
            entry.extend((broken == Some(index)).then_some(b' '));
            v1::Receipt { index, entry, proof }
        });
        let (checkpoint, proof) = (shown.checkpoint, shown.proof);
        Ok(Response::new(v1::WitnessReply { checkpoint, proof, receipts: receipts.collect() }))
    }

    async fn cosign(&self, _: Request<v1::CosignRequest>) -> Result<Response<v1::CosignReply>, Status> {
        Err(Status::unavailable("busy"))
    }

    async fn entries(&self, _: Request<v1::EntriesRequest>) -> Result<Response<Self::EntriesStream>, Status> {
        Err(Status::unimplemented("none"))
    }
}

/// A coordinator that shows its log, and who watches it.
async fn watched(folder: &Path) -> (Arc<Coordinator>, Watchman, mpsc::Receiver<Seen>) {
    let log = Mutex::new(samples::log(&folder.join("log")));
    let coordinator = Arc::new(Coordinator { log, asked: Mutex::default(), broken: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = AuditServer::from_arc(Arc::clone(&coordinator));
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let (watchman, seen, _) = watchman(folder, channel);
    (coordinator, watchman, seen)
}

/// Gives what it tells, and what prompts it.
fn watchman(folder: &Path, channel: Channel) -> (Watchman, mpsc::Receiver<Seen>, watch::Sender<Prompt>) {
    let (report, seen) = mpsc::channel(8);
    let (prompts, prompt) = watch::channel(Prompt::default());
    let profile = samples::profile();
    let state = WitnessState { remembers: false, receipts_after: None };
    let witness = SiloWitness::open(folder, &profile).unwrap();
    let watchman = Watchman {
        channel,
        witness: witness.with_journal(state, samples::uploads()).unwrap(),
        roster: watch::channel(Arc::new(profile.roster)).1,
        patience: Patience::default(),
        report,
        prompt,
    };
    (watchman, seen, prompts)
}

/// The receipts that the driver hears of in one heartbeat, which fails.
async fn heard(watchman: &mut Watchman, seen: &mut mpsc::Receiver<Seen>) -> Vec<(Digest, u64)> {
    let missed = watchman.beat(&mut None).await;
    assert!(matches!(missed, Err(Missed::Other(_))), "the coordinator took it");
    let Ok(Seen::Log(Witnessed { receipts, .. })) = seen.try_recv() else { panic!("nothing was reported") };
    receipts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_takes_no_cosignature_keeps_no_receipt_from_the_driver() {
    let scratch = tempfile::tempdir().unwrap();
    let (coordinator, mut watchman, mut seen) = watched(scratch.path()).await;
    let all = [0, 1, 2].map(|round| (upload(round), round));
    assert_eq!(heard(&mut watchman, &mut seen).await, all);
    assert_eq!(heard(&mut watchman, &mut seen).await, [], "reported once");
    assert_eq!(*coordinator.asked.lock().unwrap(), [None, Some(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_asked_for_from_the_first_that_could_not_be_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let (coordinator, mut watchman, mut seen) = watched(scratch.path()).await;
    *coordinator.broken.lock().unwrap() = Some(1);
    assert_eq!(heard(&mut watchman, &mut seen).await, [(upload(0), 0)]);
    assert_eq!(heard(&mut watchman, &mut seen).await, [(upload(1), 1), (upload(2), 2)]);
    assert_eq!(*coordinator.asked.lock().unwrap(), [None, Some(0)]);
}

const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_watchman_who_rests_is_prompted_by_the_driver_and_ends_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let (mut watchman, _seen, prompts) = watchman(scratch.path(), nowhere);
    // No heartbeat ever comes.
    let (rested, prompted) = tokio::join!(watchman.rest(Duration::MAX), async {
        prompts.send_if_modified(|prompt| prompt.follow((Some((Digest::sha256(b"run"), FIRST)), true)))
    });
    assert!(rested && prompted && watchman.prompt.borrow().waits());
    drop(prompts);
    assert!(!watchman.rest(Duration::MAX).await);
}
