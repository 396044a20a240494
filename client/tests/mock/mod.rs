//! A coordinator that is a script, for the daemon to talk to over a socket.
#![allow(missing_docs, dead_code, unreachable_pub, reason = "each target of these tests uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{Manifest, ModelArtifact, OptimizerArtifact, PrivacySpent, SignedManifest};
use client::{Config, Ended, LedgerConfig, RunError};
use identity::{IdentityKey, Member, Roster};
use params::Digest;
use plan::{Plan, Policy, PrivacyMode};
use prost::Message;
use protocol::{Attempt, OfRun, ToClient, ToCoordinator, UploadHeader};
use secagg::ClientId;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use train::StoppableTrainer;
use trainer::samples::in_threads;
use wire::v1::ModelPart;
use wire::v1::audit_server::{Audit, AuditServer};
use wire::v1::federation_server::{Federation, FederationServer};
use wire::v1::models_server::{Models, ModelsServer};
use wire::{Challenge, Hello, UploadVerifier, v1};

pub const ME: ClientId = ClientId(1);
/// A daemon that says nothing for so long, on however busy a machine, waits for something that does not come.
const HANG: Duration = Duration::from_secs(180);
const SILENT: &str = "the daemon says nothing, and is waited for no longer";
pub const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

/// What there is to fetch.
type Files = Arc<Mutex<BTreeMap<(u64, ModelPart), Vec<v1::ModelChunk>>>>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One session as the script sees it.
pub struct Session {
    pub say: mpsc::Sender<Result<v1::ServerEnvelope, Status>>,
    pub heard: Streaming<v1::ClientEnvelope>,
    /// The kinds and sizes of what was heard.
    pub sizes: Vec<(String, usize)>,
    /// The run of its last welcome, which what is said next is of.
    run: Mutex<Option<Digest>>,
}

impl Session {
    pub async fn greet(&mut self) {
        let challenge = Challenge::new([5; 32], key(9).signing_key());
        self.say.send(Ok(challenge.clone().into())).await.unwrap();
        let hello = Hello::try_from(self.heard.message().await.unwrap().unwrap()).unwrap();
        assert_eq!(hello.client, ME);
        challenge.verify(&hello, &key(1).public()).unwrap();
    }

    pub async fn say(&self, message: ToClient) {
        self.say.send(Ok(self.named(message))).await.unwrap();
    }

    /// The message in the run of the last welcome.
    pub fn named(&self, message: ToClient) -> v1::ServerEnvelope {
        let mut run = self.run.lock().unwrap();
        if let ToClient::Welcome { run_id, .. } = &message {
            *run = Some(*run_id);
        }
        OfRun { run: *run, message }.into()
    }

    pub async fn heard(&mut self) -> ToCoordinator {
        let envelope = tokio::time::timeout(HANG, self.heard.message()).await.expect(SILENT);
        let envelope = envelope.unwrap().unwrap();
        let bytes = envelope.encoded_len();
        let OfRun::<ToCoordinator> { message, .. } = envelope.try_into().unwrap();
        let debug = format!("{message:?}");
        let kind = debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        self.sizes.push((kind, bytes));
        message
    }

    pub async fn welcome(&mut self, plan: &Plan) -> ToCoordinator {
        self.greet().await;
        let run_id = Digest::sha256(b"run");
        self.say(welcome(run_id, plan, &roster())).await;
        self.heard().await
    }
}

/// What the coordinator's process does without the script.
#[derive(Clone)]
pub struct Mock {
    sessions: mpsc::Sender<Session>,
    files: Files,
    /// What was asked for, in order.
    asked: Arc<Mutex<Vec<(u64, ModelPart)>>>,
    /// Fetches that were answered.
    answered: watch::Sender<usize>,
    /// How many fetches of the model stand still after their header.
    stalls: Arc<AtomicUsize>,
    /// Uploads that were announced, accepted or not.
    begun: watch::Sender<usize>,
    /// Whether no announced upload is granted.
    withheld: Arc<AtomicBool>,
    uploaded: mpsc::UnboundedSender<(UploadHeader, Vec<u8>)>,
    /// What witnesses are answered, in order; after that there is no audit log here.
    checkpoints: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl Audit for Mock {
    type EntriesStream = BoxStream<v1::AuditEntry>;

    async fn witness(&self, _: Request<v1::WitnessRequest>) -> Result<Response<v1::WitnessReply>, Status> {
        let mut checkpoints = self.checkpoints.lock().unwrap();
        if checkpoints.is_empty() {
            return Err(Status::unimplemented("no audit log"));
        }
        let checkpoint = checkpoints.remove(0);
        Ok(Response::new(v1::WitnessReply { checkpoint, proof: vec![], receipts: vec![] }))
    }

    async fn cosign(&self, _: Request<v1::CosignRequest>) -> Result<Response<v1::CosignReply>, Status> {
        Ok(Response::new(v1::CosignReply {}))
    }

    async fn entries(&self, _: Request<v1::EntriesRequest>) -> Result<Response<Self::EntriesStream>, Status> {
        panic!("clients read no entries")
    }
}

#[tonic::async_trait]
impl Federation for Mock {
    type SessionStream = BoxStream<v1::ServerEnvelope>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientEnvelope>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(16);
        self.sessions
            .send(Session { say, heard: request.into_inner(), sizes: Vec::new(), run: Mutex::default() })
            .await
            .unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    async fn begin_upload(&self, _: Request<v1::UploadHeader>) -> Result<Response<v1::UploadGrant>, Status> {
        self.begun.send_modify(|begun| *begun += 1);
        if self.withheld.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(v1::UploadGrant { received_bytes: 0, done: false }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReceipt>, Status> {
        let mut chunks = request.into_inner();
        // A stream that breaks off was given up by the silo, which is the script's to expect.
        let first = chunks.message().await?.ok_or_else(|| Status::aborted("no header"))?;
        let OfRun::<UploadHeader> { message: header, .. } = first.try_into().unwrap();
        let mut verifier = UploadVerifier::new(&header);
        let mut vector = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            vector.extend_from_slice(&verifier.accept(chunk).unwrap());
        }
        let received_bytes = verifier.received_bytes();
        verifier.finish().unwrap();
        // A script that is over needs no news.
        let _ = self.uploaded.send((header, vector));
        Ok(Response::new(v1::UploadReceipt { durable: true, received_bytes }))
    }
}

#[tonic::async_trait]
impl Models for Mock {
    type FetchModelStream = BoxStream<v1::ModelChunk>;
    type ListCheckpointsStream = BoxStream<v1::CheckpointRecord>;
    type ListEvidenceStream = BoxStream<v1::EvidencePart>;

    async fn fetch_model(
        &self,
        request: Request<v1::FetchModelRequest>,
    ) -> Result<Response<Self::FetchModelStream>, Status> {
        let request = request.into_inner();
        let wanted = (request.round.expect("clients ask by the round"), request.part());
        self.asked.lock().unwrap().push(wanted);
        let chunks = self.files.lock().unwrap().get(&wanted).cloned();
        let chunks = chunks.ok_or_else(|| Status::not_found("no such file"))?;
        let stall = self.stalls.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        self.answered.send_modify(|answered| *answered += 1);
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

    async fn list_evidence(
        &self,
        _: Request<v1::ListEvidenceRequest>,
    ) -> Result<Response<Self::ListEvidenceStream>, Status> {
        panic!("clients fetch what they check file by file")
    }
}

/// A coordinator's process: its connections die with its runtime.
pub struct Process {
    runtime: Option<Runtime>,
    pub address: SocketAddr,
    pub sessions: mpsc::Receiver<Session>,
    pub stalls: Arc<AtomicUsize>,
    files: Files,
    asked: Arc<Mutex<Vec<(u64, ModelPart)>>>,
    answered: watch::Receiver<usize>,
    begun: watch::Receiver<usize>,
    withheld: Arc<AtomicBool>,
    uploaded: mpsc::UnboundedReceiver<(UploadHeader, Vec<u8>)>,
    pub checkpoints: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// The next vector that is here as a whole and sound.
    pub async fn uploaded(&mut self) -> UploadHeader {
        self.vector().await.0
    }

    /// [`Process::uploaded`], with its masked lanes.
    pub async fn vector(&mut self) -> (UploadHeader, Vec<u32>) {
        let (header, bytes) = self.uploaded.recv().await.unwrap();
        let (lanes, []) = bytes.as_chunks::<4>() else { panic!("no whole lanes") };
        (header, lanes.iter().map(|lane| u32::from_le_bytes(*lane)).collect())
    }

    /// One that nobody waited for.
    pub fn further_upload(&mut self) -> Option<UploadHeader> {
        self.uploaded.try_recv().ok().map(|(header, _)| header)
    }

    /// How many uploads were announced, accepted or not.
    pub fn begun(&self) -> usize {
        *self.begun.borrow()
    }

    /// Until an upload is announced.
    pub async fn announced(&mut self) {
        self.begun.wait_for(|begun| *begun > 0).await.unwrap();
    }

    /// Until a file of the model is on its way.
    pub fn first_fetch(&self) -> impl Future<Output = ()> + use<> {
        let mut answered = self.answered.clone();
        async move { drop(answered.wait_for(|answered| *answered > 0).await.unwrap()) }
    }

    /// No byte of an upload is let through.
    pub fn withhold_grants(&self) {
        self.withheld.store(true, SeqCst);
    }

    /// A file of a later checkpoint is there to fetch from now on.
    pub fn serve(&self, round: u64, part: ModelPart, model: Digest, file: Vec<u8>) {
        let chunks = wire::model_chunks(round, model, file.into()).collect();
        self.files.lock().unwrap().insert((round, part), chunks);
    }

    /// What was asked for, in order, there or not.
    pub fn asked(&self) -> Vec<(u64, ModelPart)> {
        self.asked.lock().unwrap().clone()
    }

    /// `model` are the chunks of version 0.
    pub fn start(at: &str, model: Vec<v1::ModelChunk>) -> Self {
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, sessions) = mpsc::channel(4);
        let stalls = Arc::new(AtomicUsize::new(0));
        let (begin, begun) = watch::channel(0);
        let (answer, answered) = watch::channel(0);
        let withheld = Arc::new(AtomicBool::new(false));
        let (staged, uploaded) = mpsc::unbounded_channel();
        let mock = Mock {
            sessions: opened,
            files: Arc::new(Mutex::new(BTreeMap::from([((0, ModelPart::Parameters), model)]))),
            asked: Arc::default(),
            answered: answer,
            stalls: Arc::clone(&stalls),
            begun: begin,
            withheld: Arc::clone(&withheld),
            uploaded: staged,
            checkpoints: Arc::default(),
        };
        let checkpoints = Arc::clone(&mock.checkpoints);
        let (files, asked) = (Arc::clone(&mock.files), Arc::clone(&mock.asked));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(FederationServer::new(mock.clone()))
                .add_service(AuditServer::new(mock.clone()))
                .add_service(ModelsServer::new(mock))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            runtime: Some(runtime),
            address,
            sessions,
            stalls,
            files,
            asked,
            answered,
            begun,
            withheld,
            uploaded,
            checkpoints,
        }
    }

    pub async fn session(&mut self) -> Session {
        tokio::time::timeout(HANG, self.sessions.recv()).await.expect(SILENT).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waits until the port is free; a runtime may not be dropped on another one's thread.
        let runtime = self.runtime.take();
        std::thread::spawn(move || drop(runtime)).join().unwrap();
    }
}

pub fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

pub fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

pub fn roster() -> Roster {
    let member = |byte: u8| Member { name: format!("silo {byte}"), identity_key: public(byte), admitted: 1 };
    let members: BTreeMap<_, _> = (1..=4).map(|id| (ClientId(u32::from(id)), member(id))).collect();
    Roster {
        format: None,
        previous: None,
        federation: "test".into(),
        epoch: 1,
        coordinator_key: public(9),
        members,
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A silo that joins `sim::plan(3, _)`, unless its `cohort_min` forbids it.
pub fn silo(folder: &Path, coordinator: SocketAddr, cohort_min: usize) -> Config {
    std::fs::write(folder.join("silo.csv"), "label,a,b,c\n0,0.1,0.2,0.3\n1,0.9,0.8,0.7\n").unwrap();
    let signed = serde_json::to_string(&roster().sign(&key(100))).unwrap();
    std::fs::write(folder.join("roster.json"), signed).unwrap();
    write_secret(&folder.join("silo.key"), &hex::encode([1; 32]));
    Config {
        coordinator: format!("http://{coordinator}"),
        client_id: ME.0,
        data: folder.join("silo.csv"),
        dataset: None,
        state_dir: folder.join("state"),
        roster: folder.join("roster.json"),
        authority_key: public(100),
        identity_key_file: folder.join("silo.key"),
        plaintext: true,
        tls: None,
        encryption: None,
        proxy: None,
        proxy_auth_file: None,
        tells_data_version: false,
        sandbox: None,
        registration: None,
        trainer: Default::default(),
        ledger: LedgerConfig::default(),
        log: "info".into(),
        log_json: false,
        policy: Policy {
            cohort_min,
            delta_max: 1e-5,
            privacy_modes: BTreeSet::from([PrivacyMode::Fedavg]),
            ..Policy::for_authors([public(101)])
        },
    }
}

/// A file that says the same as [`silo`]'s configuration, and has these tables before its policy.
pub fn written(config: &Config, tables: &str) -> PathBuf {
    let Config { coordinator, authority_key, .. } = config;
    let toml = format!(
        "coordinator = \"{coordinator}\"\nclient_id = 1\ndata = \"silo.csv\"\nstate_dir = \"state\"\n\
         roster = \"roster.json\"\nauthority_key = \"{authority_key}\"\nidentity_key_file = \"silo.key\"\n\
         plaintext = true\ntells_data_version = false\n{tables}[policy]\ncohort_min = 3\nhonest_min = 2\n\
         corrupt_min = 1\nepsilon_max = 1.0\ndelta_max = 1e-5\nprivacy_modes = [\"fedavg\"]\nauthors = [\"{}\"]\n\
         accepts_undetected_rollback = true\n",
        public(101)
    );
    let path = config.roster.with_file_name("client.toml");
    std::fs::write(&path, toml).unwrap();
    path
}

/// The welcome to a run of this plan, as its author signed it, under this roster, as the authority signed it.
pub fn welcome(run_id: Digest, plan: &Plan, roster: &Roster) -> ToClient {
    let plan = Box::new(plan.clone().sign(&key(101)).signed().clone());
    ToClient::Welcome { run_id, plan, roster: Box::new(roster.sign(&key(100))), between: vec![] }
}

/// Burn's, in threads of the test.
pub fn trainers(config: &Config) -> workshop::TrainerSource {
    in_threads(config.data.clone(), config.policy.clone(), Arc::new(|stop| Box::new(StoppableTrainer(stop))))
}

/// A silo that ends with its first run.
pub fn start(config: Config) -> JoinHandle<Result<Ended, RunError>> {
    let mut loaded = config.open().unwrap();
    loaded.one_run = true;
    let trainers = trainers(&loaded.config);
    tokio::spawn(client::run(loaded, trainers, std::future::pending()))
}

/// The record of version 0, as this plan's coordinator signs it.
pub fn genesis(plan: &Plan) -> (SignedManifest, Vec<u8>) {
    let params = plan.initial_model();
    let run_id = Digest::sha256(b"run");
    let file = checkpoint::model_bytes(&params, &checkpoint::model_metadata(&run_id, 0));
    let mode = plan.mode();
    let state = plan.initial_state(params.values().len());
    let bare = checkpoint::samples::bare(0);
    let manifest = Manifest {
        run_id,
        run_name: plan.name.clone(),
        attempt: 0,
        plan_digest: plan.digest(),
        roster_digest: roster().digest(),
        model: ModelArtifact::of(&file, params.digest()),
        optimizer: state.remembers().then(|| OptimizerArtifact::of(&state.to_bytes())),
        privacy: PrivacySpent {
            mode: mode.name().into(),
            unit: accounting::Unit::or_none(plan.unit()).into(),
            relation: accounting::Relation::or_none(plan.privacy.relation()).into(),
            noise_by: mode.noise_by().into(),
            trust: plan.trust(),
            ..bare.privacy
        },
        public_key: public(9),
        ..bare
    };
    (SignedManifest::sign(&manifest, key(9).signing_key()).unwrap(), file)
}
