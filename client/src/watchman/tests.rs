//! A coordinator that takes no cosignature; and a watchman who rests.

use std::path::Path;
use std::sync::Mutex;

use audit::{Action, Actor, Event, Log};
use ed25519_dalek::SigningKey;
use identity::{IdentityKey, Member, Roster};
use params::Digest;
use plan::Policy;
use protocol::{Attempt, ClientRecord, Profile, WitnessState};
use secagg::ClientId;
use tokio::net::TcpListener;
use tokio_stream::Pending;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};
use wire::v1::audit_server::{Audit, AuditServer};
use witness::Uploads;

use super::*;

const OWN: ClientId = ClientId(1);

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

struct Coordinator {
    log: Mutex<Log>,
}

#[tonic::async_trait]
impl Audit for Coordinator {
    type EntriesStream = Pending<Result<v1::AuditEntry, Status>>;

    async fn witness(
        &self,
        request: Request<v1::WitnessRequest>,
    ) -> Result<Response<v1::WitnessReply>, Status> {
        let v1::WitnessRequest { seen, receipts_after } = request.into_inner();
        let log = self.log.lock().unwrap();
        let size = log.published_size();
        let proof = if seen == 0 { Vec::new() } else { log.prove_consistency(seen, size).unwrap() };
        let first = receipts_after.map_or(0, |after| after + 1);
        let receipts = (first..size).map(|index| {
            let entry = log.entries(index..index + 1).unwrap().remove(0);
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
async fn watched(folder: &Path) -> (Watchman, mpsc::Receiver<Seen>) {
    let mut log = Log::open(&folder.join("log"), &audit::log_name("watched"), key(9)).unwrap();
    log.append(&[0, 1, 2].map(|round| event(round, upload(round)))).unwrap();
    log.publish().unwrap();
    let coordinator = Coordinator { log: Mutex::new(log) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = AuditServer::new(coordinator);
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let (watchman, seen, _) = watchman(folder, channel);
    (watchman, seen)
}

/// Gives what it tells, and what prompts it.
fn watchman(folder: &Path, channel: Channel) -> (Watchman, mpsc::Receiver<Seen>, watch::Sender<Prompt>) {
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
    let roster = sim::authorised(&roster);
    let profile = Profile {
        id: OWN,
        identity: IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap(),
        authority: sim::authority().public(),
        roster: roster.clone(),
        policy: Policy::for_authors([]),
        declares_data: false,
    };
    let state = WitnessState { remembers: false, receipts_after: None };
    let watchman = Watchman {
        channel,
        witness: SiloWitness::open(folder, &profile).unwrap().with_journal(state, uploads).unwrap(),
        roster: watch::channel(Arc::new(roster)).1,
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
    let (mut watchman, mut seen) = watched(scratch.path()).await;
    let all = [0, 1, 2].map(|round| (upload(round), round));
    assert_eq!(heard(&mut watchman, &mut seen).await, all);
    assert_eq!(heard(&mut watchman, &mut seen).await, [], "reported once");
}

const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_watchman_who_rests_is_prompted_by_the_driver_and_ends_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let (mut watchman, _seen, prompts) = watchman(scratch.path(), nowhere);
    // No heartbeat ever comes.
    let (rested, prompted) = tokio::join!(watchman.rest(Duration::MAX), async {
        prompts.send_if_modified(|prompt| prompt.follow((Some(FIRST), true)))
    });
    assert!(rested && prompted && watchman.prompt.borrow().waits());
    drop(prompts);
    assert!(!watchman.rest(Duration::MAX).await);
}
