//! A coordinator and its silos in one process: their real code, over sockets and files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::Manifest;
use client::{Ended, RunError};
use identity::{IdentityKey, Member, Roster};
use plan::{Plan, Policy, PrivacyMode};
use protocol::{ClientRecord, RunEnd};
use secagg::ClientId;
use store::{FileStore, JournalKind, Store};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use train::StoppableTrainer;
use trainer::Trainer;
use trainer::samples::in_threads;
use wire::v1::operator_client::OperatorClient;

pub(crate) const SILOS: u32 = 4;
pub(crate) const LANE_BYTES: u64 = 4;

/// One round, large enough that an upload has several chunks; everybody is waited for while the deadline allows.
pub(crate) fn large_plan(round_deadline_ms: u64) -> Plan {
    let mut plan = sim::plan(SILOS as usize, 1);
    plan.model.hidden = vec![50_000];
    plan.timing.round_deadline_ms = round_deadline_ms;
    plan.timing.minimum_wait_ms = round_deadline_ms / 5 * 2;
    plan.validate().unwrap();
    plan
}

pub(crate) struct Federation {
    folder: TempDir,
    plan: Plan,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    coordinator: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn key(byte: u32) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte as u8; 32])).unwrap()
}

fn public(byte: u32) -> String {
    hex::encode(key(byte).public().as_bytes())
}

fn roster() -> Roster {
    let member = |id: u32| Member { name: format!("silo {id}"), identity_key: public(id), admitted: 1 };
    let members: BTreeMap<_, _> = (1..=SILOS).map(|id| (ClientId(id), member(id))).collect();
    Roster {
        format: None,
        previous: None,
        federation: "test".into(),
        epoch: 1,
        coordinator_key: public(90),
        members,
    }
}

impl Federation {
    pub(crate) async fn start(plan: Plan) -> Self {
        Self::start_telling(plan, None).await
    }

    /// One whose metrics are served at this address.
    pub(crate) async fn start_telling(plan: Plan, metrics: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signed = serde_json::to_string(&roster().sign(&key(100))).unwrap();
        fs::write(folder.path().join("roster.json"), signed).unwrap();
        let config = coordinator::Config {
            runs_active_max: 3,
            listen: "127.0.0.1:0".into(),
            data_dir: folder.path().join("coordinator"),
            plan: "plan.json".into(),
            roster: "roster.json".into(),
            authority_key: public(100),
            identity_key_file: "coordinator.key".into(),
            plaintext: true,
            tls: None,
            encryption: None,
            model_key_file: None,
            metrics_listen: metrics.map(|address| address.to_string()),
            log: "info".into(),
            log_json: false,
        };
        let authority = key(100).public();
        let loaded = coordinator::Loaded {
            config,
            plan: plan.clone().sign(&key(101)),
            roster: roster().sign(&key(100)).authorise(&authority).unwrap(),
            authority,
            key: key(90),
            vault: None,
            tls: None,
            model_key: None,
        };
        let (say, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let listening = move |address| say.send(address).unwrap();
        let shutdown = async { drop(stopped.await) };
        let coordinator = tokio::spawn(coordinator::run(loaded, listening, shutdown));
        Self { folder, plan, address: address.await.unwrap(), stop, coordinator }
    }

    pub(crate) fn vector_bytes(&self) -> u64 {
        self.plan.lanes() as u64 * LANE_BYTES
    }

    fn state(&self, id: u32) -> PathBuf {
        self.folder.path().join(format!("silo-{id}/state"))
    }

    pub(crate) fn join(&self, id: u32, address: SocketAddr) -> JoinHandle<Result<Ended, RunError>> {
        self.join_on(id, address, |store| Box::new(store))
    }

    pub(crate) fn join_on(
        &self,
        id: u32,
        address: SocketAddr,
        wrap: impl FnOnce(FileStore) -> Box<dyn Store> + Send + 'static,
    ) -> JoinHandle<Result<Ended, RunError>> {
        let silo = self.folder.path().join(format!("silo-{id}"));
        fs::create_dir_all(&silo).unwrap();
        fs::write(silo.join("silo.csv"), "label,a,b,c\n0,0.1,0.2,0.3\n1,0.9,0.8,0.7\n").unwrap();
        fs::write(silo.join("silo.key"), hex::encode([id as u8; 32])).unwrap();
        fs::set_permissions(silo.join("silo.key"), Permissions::from_mode(0o600)).unwrap();
        let config = client::Config {
            coordinator: format!("http://{address}"),
            client_id: id,
            data: silo.join("silo.csv"),
            dataset: None,
            state_dir: self.state(id),
            roster: self.folder.path().join("roster.json"),
            authority_key: public(100),
            identity_key_file: silo.join("silo.key"),
            plaintext: true,
            tls: None,
            encryption: None,
            proxy: None,
            proxy_auth_file: None,
            tells_data_version: true,
            sandbox: None,
            registration: None,
            trainer: Default::default(),
            ledger: client::LedgerConfig::default(),
            log: "info".into(),
            log_json: false,
            policy: Policy {
                delta_max: 1e-5,
                privacy_modes: BTreeSet::from([PrivacyMode::Fedavg]),
                ..Policy::for_authors([public(101)])
            },
        };
        let mut loaded = config.open().unwrap();
        loaded.one_run = true;
        let trainers = Arc::new(|stop| Box::new(StoppableTrainer(stop)) as Box<dyn Trainer>);
        let trainers = in_threads(loaded.config.data.clone(), loaded.config.policy.clone(), trainers);
        tokio::spawn(client::run_on(loaded, wrap, trainers, std::future::pending()))
    }

    /// How much of a silo's upload lies in staging.
    pub(crate) fn staged(data_dir: &Path, id: u32) -> Option<u64> {
        let mut files = fs::read_dir(data_dir.join("staged/000001")).ok()?.filter_map(Result::ok);
        let part = format!("-{id}.part");
        files
            .find(|file| file.file_name().to_string_lossy().ends_with(&part))?
            .metadata()
            .ok()
            .map(|part| part.len())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("coordinator")
    }

    /// How often this silo's journal says that its data was spent.
    pub(crate) fn debits(&self, id: u32) -> usize {
        let opened = FileStore::open(&self.state(id), JournalKind::Client, |_, _, _| Ok(())).unwrap();
        let mut store = opened.store;
        let records = store.replay().unwrap();
        let debited =
            |bytes: &Vec<u8>| matches!(ClientRecord::decode(bytes), Ok(ClientRecord::Debited { .. }));
        records.iter().filter(|bytes| debited(bytes)).count()
    }

    /// Stops the coordinator, which must return by itself.
    pub(crate) async fn stop(&mut self) {
        let (stop, _) = oneshot::channel();
        std::mem::replace(&mut self.stop, stop).send(()).unwrap();
        (&mut self.coordinator).await.unwrap().unwrap();
    }

    pub(crate) async fn status(&self) -> wire::v1::RunStatus {
        let mut operator = OperatorClient::connect(format!("http://{}", self.address)).await.unwrap();
        operator.status(wire::v1::StatusRequest::default()).await.unwrap().into_inner()
    }

    /// Stops the coordinator; the round's record, and the bytes that it took in from all silos.
    pub(crate) async fn finish(&mut self) -> (Manifest, u64) {
        let status = self.status().await;
        self.stop().await;
        let verified = published::verify_folder(&self.data_dir(), Some(key(90).public())).unwrap();
        (verified.manifests.into_iter().nth(1).unwrap(), status.bytes_received)
    }
}

pub(crate) async fn all_finish(silos: Vec<JoinHandle<Result<Ended, RunError>>>) {
    for silo in silos {
        assert_eq!(silo.await.unwrap().unwrap(), Ended::Finished(RunEnd::Complete));
    }
}
