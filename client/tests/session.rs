//! The daemon against a coordinator that is a script: what it says, and what it does when it is lied to or left.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use checkpoint::{Manifest, ModelArtifact, PrivacySpent, SignedManifest};
use client::{Config, Ended, RunError};
use identity::{IdentityKey, Member, Plan, Policy, PrivacyMode, Roster};
use params::Digest;
use protocol::{Attempt, Decline, RunEnd, ToClient, ToCoordinator};
use secagg::ClientId;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use wire::v1::federation_server::{Federation, FederationServer};
use wire::v1::models_server::{Models, ModelsServer};
use wire::{Challenge, HandshakeError, Hello, Refusal, v1};

const ME: ClientId = ClientId(1);
const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One session as the script sees it.
struct Session {
    say: mpsc::Sender<Result<v1::ServerEnvelope, Status>>,
    heard: Streaming<v1::ClientEnvelope>,
}

impl Session {
    async fn greet(&mut self) {
        let challenge = Challenge::new([5; 32]);
        self.say.send(Ok(challenge.clone().into())).await.unwrap();
        let hello = Hello::try_from(self.heard.message().await.unwrap().unwrap()).unwrap();
        assert_eq!(hello.client, ME);
        challenge.verify(&hello, &key(1).public()).unwrap();
    }

    async fn say(&self, message: ToClient) {
        self.say.send(Ok(message.into())).await.unwrap();
    }

    async fn heard(&mut self) -> ToCoordinator {
        ToCoordinator::try_from(self.heard.message().await.unwrap().unwrap()).unwrap()
    }

    async fn welcome(&mut self, plan: &Plan) -> ToCoordinator {
        self.greet().await;
        let run_id = Digest::sha256(b"run");
        self.say(ToClient::Welcome { run_id, plan: plan.to_canonical(), roster: roster().digest() }).await;
        self.heard().await
    }
}

/// What the coordinator's process does without the script.
#[derive(Clone)]
struct Mock {
    sessions: mpsc::Sender<Session>,
    model: Arc<Vec<v1::ModelChunk>>,
    /// How many fetches of the model stand still after their header.
    stalls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Federation for Mock {
    type SessionStream = BoxStream<v1::ServerEnvelope>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientEnvelope>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(16);
        self.sessions.send(Session { say, heard: request.into_inner() }).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    async fn begin_upload(&self, _: Request<v1::UploadHeader>) -> Result<Response<v1::UploadGrant>, Status> {
        panic!("no script gets as far as an upload")
    }

    async fn upload(
        &self,
        _: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReceipt>, Status> {
        panic!("no script gets as far as an upload")
    }
}

#[tonic::async_trait]
impl Models for Mock {
    type FetchModelStream = BoxStream<v1::ModelChunk>;
    type ListCheckpointsStream = BoxStream<v1::CheckpointRecord>;

    async fn fetch_model(
        &self,
        _: Request<v1::FetchModelRequest>,
    ) -> Result<Response<Self::FetchModelStream>, Status> {
        let chunks = self.model.as_ref().clone();
        let stall = self.stalls.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if stall {
            let header = tokio_stream::iter(chunks).take(1).map(Ok);
            return Ok(Response::new(Box::pin(header.chain(tokio_stream::pending()))));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks).map(Ok))))
    }

    async fn list_checkpoints(
        &self,
        _: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<Self::ListCheckpointsStream>, Status> {
        panic!("clients follow the chain in their session")
    }
}

/// A coordinator's process: its connections die with its runtime.
struct Process {
    runtime: Option<Runtime>,
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    stalls: Arc<AtomicUsize>,
}

impl Process {
    fn start(at: &str, model: Vec<v1::ModelChunk>) -> Self {
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, sessions) = mpsc::channel(4);
        let stalls = Arc::new(AtomicUsize::new(0));
        let mock = Mock { sessions: opened, model: Arc::new(model), stalls: Arc::clone(&stalls) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(FederationServer::new(mock.clone()))
                .add_service(ModelsServer::new(mock))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { runtime: Some(runtime), address, sessions, stalls }
    }

    async fn session(&mut self) -> Session {
        self.sessions.recv().await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waits until the port is free; a runtime may not be dropped on another one's thread.
        let runtime = self.runtime.take();
        std::thread::spawn(move || drop(runtime)).join().unwrap();
    }
}

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

fn roster() -> Roster {
    let member = |byte: u8| Member { name: format!("silo {byte}"), identity_key: public(byte), admitted: 1 };
    let members: BTreeMap<_, _> = (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect();
    Roster { federation: "test".into(), epoch: 1, coordinator_key: public(9), members }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A silo that joins `sim::plan(3, _)`, unless its `cohort_min` forbids it.
fn silo(folder: &Path, coordinator: SocketAddr, cohort_min: usize) -> Config {
    std::fs::write(folder.join("silo.csv"), "label,a,b,c\n0,0.1,0.2,0.3\n1,0.9,0.8,0.7\n").unwrap();
    let signed = serde_json::to_string(&roster().sign(&key(100))).unwrap();
    std::fs::write(folder.join("roster.json"), signed).unwrap();
    write_secret(&folder.join("silo.key"), &hex::encode([1; 32]));
    Config {
        coordinator: format!("http://{coordinator}"),
        client_id: ME.0,
        data: folder.join("silo.csv"),
        state_dir: folder.join("state"),
        roster: folder.join("roster.json"),
        authority_key: public(100),
        identity_key_file: folder.join("silo.key"),
        plaintext_outside_loopback: false,
        log: "info".into(),
        log_json: false,
        policy: Policy {
            cohort_min,
            honest_min: 2,
            corrupt_min: 1,
            epsilon_max: 1.0,
            delta_max: 1e-5,
            privacy_modes: BTreeSet::from([PrivacyMode::Fedavg]),
            repeats_without_dp: 2,
            accepts_undetected_rollback: true,
        },
    }
}

fn start(config: Config) -> JoinHandle<Result<Ended, RunError>> {
    tokio::spawn(client::run(config, std::future::pending()))
}

/// The record of version 0, as this plan's coordinator signs it.
fn genesis(plan: &Plan) -> (SignedManifest, Vec<u8>) {
    let params = plan.initial_model();
    let run_id = Digest::sha256(b"run");
    let file = checkpoint::model_bytes(&params, &checkpoint::model_metadata(&run_id, 0));
    let mode = plan.mode();
    let manifest = Manifest {
        format: checkpoint::MANIFEST_FORMAT.into(),
        run_id,
        run_name: plan.name.clone(),
        round: 0,
        attempt: 0,
        parent: None,
        plan_digest: plan.digest(),
        roster_digest: roster().digest(),
        parent_model: None,
        model: ModelArtifact {
            file: checkpoint::MODEL_FILE.into(),
            sha256: Digest::sha256(&file),
            bytes: file.len() as u64,
            params_digest: params.digest(),
        },
        optimizer: None,
        transcript: None,
        cohort: vec![],
        shared: vec![],
        included: vec![],
        left_out: vec![],
        aggregate_digest: None,
        metrics: BTreeMap::new(),
        privacy: PrivacySpent {
            mode: mode.name().into(),
            unit: mode.unit().into(),
            relation: mode.relation().into(),
            epsilon: None,
            delta: None,
            accountant: "none".into(),
            steps: 0,
            noise_by: mode.noise_by().into(),
            trust: plan.trust(),
        },
        created_ms: 1,
        previous_rounds_aborted: vec![],
        public_key: public(9),
    };
    (SignedManifest::sign(&manifest, key(9).signing_key()).unwrap(), file)
}

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
async fn a_coordinator_that_goes_away_and_comes_back_finds_the_silo_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let address = process.address;
    let daemon = start(silo(folder.path(), address, 3));
    let mut session = process.session().await;
    assert_eq!(session.welcome(&plan).await, ToCoordinator::CheckIn { head: None });
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
    assert!(text.contains("could not be fetched: chunk 1 of 1 arrived damaged"), "{text}");
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
async fn a_table_that_is_not_the_plans_ends_the_daemon_with_4_and_the_coordinator_learns_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(3, 2);
    let (genesis, _) = genesis(&plan);
    let mut process = Process::start("127.0.0.1:0", vec![]);
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
    drop(session);
    let why = daemon.await.unwrap().unwrap_err();
    assert_eq!(why.exit_code(), 4);
    assert!(why.to_string().starts_with("silo.csv, line 3, column b: \"oops\" is not a number"), "{why}");
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

/// Joined in a run and told its genesis; the session of a script that now lies.
async fn joined(process: &mut Process, plan: &Plan) -> Session {
    let mut session = process.session().await;
    assert_eq!(session.welcome(plan).await, ToCoordinator::CheckIn { head: None });
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
