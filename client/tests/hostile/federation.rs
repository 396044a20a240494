//! One daemon, the coordinator that it talks to, and three genuine peers in that coordinator's hands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use client::{Config, Ended, RunError};
use ledger::Ledger;
use params::Digest;
use plan::Plan;
use protocol::{Attempt, ClientRecord, CoordinatorFault, Decline, ToClient, ToCoordinator};
use secagg::{
    Advert, Advertised, ClientId, Delivery, FixedCohort, IncludedSignature, R2, RoundBinding, ShareBundle,
    SharedCohort,
};
use store::{FileStore, JournalKind, Store};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use train::StoppableTrainer;
use trainer::Trainers;
use trainer::samples::in_threads;
use workshop::TrainerSource;

use crate::mock::{self, FIRST, ME, Process, Session, genesis, key, roster, silo};

/// The journal of a silo that has joined and knows the genesis record.
pub(crate) const JOINED: [&str; 3] = ["offer", "joined", "chain"];
/// It knows the record of round 1 too.
pub(crate) const FOLLOWED: [&str; 4] = ["offer", "joined", "chain", "chain"];
/// Its keys have left.
pub(crate) const ADVERTISED: [&str; 4] = ["offer", "joined", "chain", "advertised"];
/// Its masked vector may have left.
pub(crate) const DEBITED: [&str; 6] = ["offer", "joined", "chain", "advertised", "sets", "debited"];
/// Its signature on U3 has left.
pub(crate) const SIGNED: [&str; 7] = ["offer", "joined", "chain", "advertised", "sets", "debited", "signed"];
/// Its shares have left.
pub(crate) const UNMASKED: [&str; 8] =
    ["offer", "joined", "chain", "advertised", "sets", "debited", "signed", "unmasked"];

pub(crate) struct Federation {
    pub(crate) plan: Plan,
    pub(crate) process: Process,
    pub(crate) session: Session,
    folder: TempDir,
    daemon: Daemon,
    pub(crate) rng: ChaCha20Rng,
    /// Of the vectors that have arrived.
    arrived: Vec<Digest>,
}

/// Everyone has advertised.
pub(crate) struct Keyed {
    /// Sorted; the daemon's own comes first.
    pub(crate) adverts: Vec<Advert>,
    peers: BTreeMap<ClientId, Advertised>,
}

/// Everyone has accepted the roster and dealt shares.
pub(crate) struct Dealt {
    pub(crate) adverts: Vec<Advert>,
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
    pub(crate) cohort: FixedCohort,
}

/// The daemon's vector is here.
pub(crate) struct Uploaded {
    pub(crate) dealt: Dealt,
    pub(crate) shared: SharedCohort,
}

/// Everyone has signed the whole of U2.
pub(crate) struct Agreed {
    pub(crate) r2: R2,
    /// The daemon's own comes first.
    pub(crate) signatures: Vec<IncludedSignature>,
}

/// Starts trainers on a silo's data, within its policy.
pub(crate) type Sources = Box<dyn FnOnce(&Config) -> TrainerSource + Send>;

/// In threads of the test.
pub(crate) fn threads(trainers: Trainers) -> Sources {
    Box::new(|config| in_threads(config.data.clone(), config.policy.clone(), trainers))
}

/// Burn's.
pub(crate) fn burn() -> Sources {
    threads(Arc::new(|stop| Box::new(StoppableTrainer(stop))))
}

/// The daemon's task; dropping the sender would not stop it.
pub(crate) struct Daemon {
    pub(crate) task: JoinHandle<Result<Ended, RunError>>,
    pub(crate) stop: oneshot::Sender<()>,
}

impl Daemon {
    pub(crate) fn start(config: Config) -> Self {
        Self::training(config, burn())
    }

    /// With other trainers than burn's.
    pub(crate) fn training(config: Config, trainers: Sources) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            // Only a word stops it; a test that fails takes its runtime with it.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut loaded = config.open().unwrap();
        loaded.one_run = true;
        let trainers = trainers(&loaded.config);
        let task = tokio::spawn(client::run(loaded, trainers, shutdown));
        Self { task, stop }
    }
}

pub(crate) fn fault(what: CoordinatorFault) -> Decline {
    Decline::CoordinatorFault(what)
}

pub(crate) fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<ClientId> {
    numbers.into_iter().map(ClientId).collect()
}

/// Four silos, of which three are enough; nobody is waited for longer than a second.
pub(crate) fn plan() -> Plan {
    let mut plan = sim::plan(4, 9);
    plan.cohort.minimum = 3;
    plan.timing.round_deadline_ms = 5_000;
    plan
}

/// A silo's, with this row in the middle.
pub(crate) fn table(middle: &str) -> Option<String> {
    Some(format!("label,a,b,c\n0,0.1,0.2,0.3\n{middle}\n1,0.2,0.4,0.6\n"))
}

impl Federation {
    pub(crate) async fn of(plan: Plan) -> Self {
        let (_, file) = genesis(&plan);
        let model = plan.initial_model().digest();
        Self::serving(plan, wire::model_chunks(0, model, file.into()).collect()).await
    }

    /// Joined, and shown the genesis record; `chunks` are what a fetch of the model gets.
    pub(crate) async fn serving(plan: Plan, chunks: Vec<wire::v1::ModelChunk>) -> Self {
        Self::configured(plan, chunks, |_| {}).await
    }

    /// [`Federation::serving`], to a daemon whose configuration is changed.
    pub(crate) async fn configured(
        plan: Plan,
        chunks: Vec<wire::v1::ModelChunk>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::training(plan, chunks, change, burn()).await
    }

    /// [`Federation::configured`], with other trainers than burn's.
    pub(crate) async fn training(
        plan: Plan,
        chunks: Vec<wire::v1::ModelChunk>,
        change: impl FnOnce(&mut Config),
        trainers: Sources,
    ) -> Self {
        Self::begun(plan, Process::start("127.0.0.1:0", chunks), change, trainers).await
    }

    /// [`Federation::of`], whose coordinator shows these checkpoints of its log, one a heartbeat.
    pub(crate) async fn showing(
        plan: Plan,
        checkpoints: Vec<String>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (_, file) = genesis(&plan);
        let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
        let process = Process::start("127.0.0.1:0", chunks);
        *process.checkpoints.lock().unwrap() = checkpoints;
        Self::begun(plan, process, change, burn()).await
    }

    async fn begun(
        plan: Plan,
        mut process: Process,
        change: impl FnOnce(&mut Config),
        trainers: Sources,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = anchored(silo(folder.path(), process.address, 3), &folder);
        change(&mut config);
        let tells = config.tells_data_version;
        let daemon = Daemon::training(config, trainers);
        let mut session = process.session().await;
        let said = session.welcome(&plan).await;
        let ToCoordinator::CheckIn { head: None, data, sandbox: None } = said else { panic!("{said:?}") };
        // Where nothing is promised, a silo that a busy machine keeps from reading in time tells nothing.
        assert!(data.is_some() == tells || !plan.promises(), "{data:?}");
        session.say(ToClient::Published(genesis(&plan).0)).await;
        Self {
            plan,
            process,
            session,
            folder,
            daemon,
            rng: ChaCha20Rng::from_seed([5; 32]),
            arrived: Vec::new(),
        }
    }

    /// The daemon is stopped as by a signal, and started again on the same folder.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_after(Some(0), |_| {}).await
    }

    /// [`Federation::restarted`], after something happened to the folder; it then knows the chain up to `head`.
    pub(crate) async fn restarted_after(self, head: Option<u64>, happen: impl FnOnce(&Path)) -> Self {
        self.restarted_with(head, happen, |_| {}).await
    }

    /// [`Federation::restarted`], under a configuration that is changed; it then knows the chain up to `head`.
    pub(crate) async fn restarted_as(self, head: Option<u64>, change: impl FnOnce(&mut Config)) -> Self {
        self.restarted_with(head, |_| {}, change).await
    }

    async fn restarted_with(
        self,
        head: Option<u64>,
        happen: impl FnOnce(&Path),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let Self { plan, mut process, session, folder, daemon, rng, arrived } = self;
        stopped(session, daemon).await;
        // Sessions that the daemon opened before it was asked to stop.
        while process.sessions.try_recv().is_ok() {}
        happen(folder.path());
        let mut config = configured_again(&folder, &process);
        change(&mut config);
        let daemon = Daemon::start(config);
        let mut session = process.session().await;
        assert_eq!(session.welcome(&plan).await, ToCoordinator::CheckIn { head, data: None, sandbox: None });
        Self { plan, process, session, folder, daemon, rng, arrived }
    }

    /// The daemon is stopped as by a signal, something happens to the folder, and it does not start again.
    pub(crate) async fn fails_to_start_after(self, happen: impl FnOnce(&Path)) -> RunError {
        let Self { process, session, folder, daemon, .. } = self;
        stopped(session, daemon).await;
        happen(folder.path());
        let loaded = configured_again(&folder, &process).open().unwrap();
        let trainers = mock::trainers(&loaded.config);
        client::run(loaded, trainers, std::future::pending()).await.unwrap_err()
    }

    /// Greeted in a further session: the daemon is alive and comes back by itself.
    pub(crate) async fn come_back(&mut self) {
        self.session = self.process.session().await;
        let said = self.session.welcome(&self.plan).await;
        assert_eq!(said, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None });
    }

    pub(crate) async fn say(&mut self, message: ToClient) -> ToCoordinator {
        self.session.say(message).await;
        self.session.heard().await
    }

    /// Says a lie, which ends the attempt with exactly this.
    pub(crate) async fn declines(&mut self, message: ToClient, reason: Decline, case: &str) {
        let round = Some(FIRST.round);
        assert_eq!(self.say(message).await, ToCoordinator::Declined { round, reason }, "{case}");
    }

    /// The daemon still runs, stops when it is asked to, and its journal holds these records: nothing was uploaded
    /// that is not debited, and no other bytes than those debited.
    pub(crate) async fn ends_with(mut self, journal: &[&str], case: &str) {
        drop(self.session);
        self.daemon.stop.send(()).unwrap();
        assert_eq!(self.daemon.task.await.unwrap().unwrap(), Ended::ShutDown, "{case}");
        let records = records(&self.folder);
        assert_eq!(records.iter().map(kind).collect::<Vec<_>>(), journal, "{case}");
        let debited: Vec<Digest> = records
            .iter()
            .filter_map(|record| match record {
                ClientRecord::Debited { upload, .. } => Some(*upload),
                _ => None,
            })
            .collect();
        if debited.is_empty() {
            assert_eq!(self.process.begun(), 0, "{case}: an upload began");
        }
        while let Some(header) = self.process.further_upload() {
            self.arrived.push(header.digest);
        }
        assert!(self.arrived.iter().all(|digest| debited.contains(digest)), "{case}: {:?}", self.arrived);
        assert_eq!(ledgered(&self.folder), debited, "{case}: the ledger");
    }

    /// The daemon is stopped as by a signal, and leaves this folder.
    pub(crate) async fn left(self) -> TempDir {
        stopped(self.session, self.daemon).await;
        self.folder
    }

    /// The daemon ended by itself, with this error.
    pub(crate) async fn ends_failing(self) -> RunError {
        drop(self.session);
        self.daemon.task.await.unwrap().unwrap_err()
    }

    /// The daemon's state folder; it goes with the federation.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// The daemon's table.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("silo.csv")
    }

    /// Where the ledger of the daemon's data is.
    pub(crate) fn ledger(&self) -> Ledger {
        ledger_in(&self.folder)
    }

    /// The daemon ended by itself, as the refused run's code says.
    pub(crate) async fn ends_refusing(self, journal: &[&str], case: &str) {
        drop(self.session);
        assert_eq!(self.daemon.task.await.unwrap().unwrap_err().exit_code(), 3, "{case}");
        let records = records(&self.folder);
        assert_eq!(records.iter().map(kind).collect::<Vec<_>>(), journal, "{case}");
        assert_eq!(self.process.begun(), 0, "{case}");
    }

    pub(crate) fn open(&self, at: Attempt) -> ToClient {
        ToClient::Open { at, model: self.plan.initial_model().digest() }
    }

    pub(crate) async fn keyed() -> (Self, Keyed) {
        Self::keyed_in(plan()).await
    }

    pub(crate) async fn keyed_in(plan: Plan) -> (Self, Keyed) {
        let mut all = Self::of(plan).await;
        let said = all.say(all.open(FIRST)).await;
        let ToCoordinator::Advertise { at: FIRST, advert } = said else { panic!("{said:?}") };
        let context = RoundBinding {
            run_id: *Digest::sha256(b"run").as_bytes(),
            plan_hash: *all.plan.digest().as_bytes(),
            roster_hash: *roster().digest().as_bytes(),
            round: FIRST.round,
            attempt: FIRST.attempt,
            model_hash: *all.plan.initial_model().digest().as_bytes(),
        }
        .ctx0();
        let mut keyed = Keyed { adverts: vec![advert], peers: BTreeMap::new() };
        for byte in 2..=4u8 {
            let id = ClientId(u32::from(byte));
            let (peer, advert) =
                Advertised::new(id, context, all.plan.excess_noise(), key(byte).signing_key(), &mut all.rng);
            keyed.peers.insert(id, peer);
            keyed.adverts.push(advert);
        }
        (all, keyed)
    }

    pub(crate) async fn dealt() -> (Self, Dealt) {
        let (mut all, keyed) = Self::keyed().await;
        let adverts = keyed.adverts;
        let said = all.say(ToClient::Adverts { at: FIRST, adverts: adverts.clone() }).await;
        let ToCoordinator::ShareKeys { at: FIRST, bundle } = said else { panic!("{said:?}") };
        let members = roster().member_keys().unwrap();
        let floors = all.plan.floors();
        let mut bundles = BTreeMap::from([(ME, bundle)]);
        let mut cohort = None;
        for (id, peer) in keyed.peers {
            let identity = key(id.0 as u8);
            let (sent, bundle) = peer
                .accept_adverts(&adverts, &members, &floors, identity.signing_key(), &mut all.rng)
                .unwrap();
            cohort = Some(sent.cohort().clone());
            bundles.insert(id, bundle);
        }
        (all, Dealt { adverts, bundles, cohort: cohort.unwrap() })
    }

    /// U2 is everyone but `silent`.
    pub(crate) async fn uploaded(silent: &[u32]) -> (Self, Uploaded) {
        let (mut all, dealt) = Self::dealt().await;
        let shared = dealt.without(silent);
        let delivery = shared.delivery_for(ME).unwrap();
        all.session.say(ToClient::Deliver { at: FIRST, delivery }).await;
        let header = all.process.uploaded().await;
        assert_eq!((header.client, header.at), (ME, FIRST));
        assert_eq!(ledgered(&all.folder), [header.digest], "debited before it left");
        assert_eq!(header.r2.as_bytes(), &shared.r2().0, "masked under the transcript that it was shown");
        all.arrived.push(header.digest);
        all.session.say(ToClient::UploadDurable { at: FIRST }).await;
        (all, Uploaded { dealt, shared })
    }

    /// The journal of what left the silo, as it lies on the disk now.
    pub(crate) fn outgoing_log(&self) -> String {
        let files = std::fs::read_dir(self.folder.path().join("state/audit")).unwrap();
        let paths = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        paths.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }

    pub(crate) async fn agreed() -> (Self, Agreed) {
        let (mut all, uploaded) = Self::uploaded(&[]).await;
        let set = uploaded.shared.u2();
        let included = set.iter().copied().collect();
        let said = all.say(ToClient::Included { at: FIRST, included }).await;
        let ToCoordinator::SignIncluded { at: FIRST, signature } = said else { panic!("{said:?}") };
        let r2 = uploaded.shared.r2();
        let mut signatures = vec![signature];
        signatures.extend((2..=4).map(|id| signed(id, r2, &set)));
        (all, Agreed { r2, signatures })
    }
}

impl Dealt {
    pub(crate) fn without(&self, silent: &[u32]) -> SharedCohort {
        let mut bundles = self.bundles.clone();
        bundles.retain(|id, _| !silent.contains(&id.0));
        self.cohort.fix_u2(&bundles).unwrap()
    }

    pub(crate) fn delivery(&self, silent: &[u32]) -> Delivery {
        self.without(silent).delivery_for(ME).unwrap()
    }
}

impl Agreed {
    pub(crate) fn request(&self) -> ToClient {
        request(ids(1..=4), self.signatures.clone())
    }
}

pub(crate) fn request(included: Vec<ClientId>, signatures: Vec<IncludedSignature>) -> ToClient {
    ToClient::UnmaskRequest { at: FIRST, included, signatures }
}

/// What a corrupt peer signs: whatever it is asked to.
pub(crate) fn signed(id: u8, r2: R2, set: &BTreeSet<ClientId>) -> IncludedSignature {
    secagg::adversary::sign_any_included(ClientId(u32::from(id)), r2, set, key(id).signing_key())
}

/// With the anchor of its ledger beside its folder, and no word that a rollback is accepted.
fn anchored(mut config: Config, folder: &TempDir) -> Config {
    config.ledger.anchor = Some(folder.path().join("anchor"));
    config.policy.accepts_undetected_rollback = false;
    config
}

pub(crate) fn ledger_in(folder: &TempDir) -> Ledger {
    let anchor = Some(folder.path().join("anchor"));
    Ledger::new(&folder.path().join("state/ledger"), "silo", anchor, None).unwrap()
}

/// The vectors that the ledger tells of.
fn ledgered(folder: &TempDir) -> Vec<Digest> {
    let account = ledger_in(folder).inspect().unwrap().account;
    account.entries().iter().filter_map(|entry| Some(entry.release()?.upload)).collect()
}

/// All but the journal once more: the helper writes a folder only once.
/// Ended as by a signal.
async fn stopped(session: Session, daemon: Daemon) {
    drop(session);
    daemon.stop.send(()).unwrap();
    assert_eq!(daemon.task.await.unwrap().unwrap(), Ended::ShutDown);
}

/// The configuration with which a daemon goes on in its folder.
fn configured_again(folder: &TempDir, process: &Process) -> Config {
    let config = anchored(silo_again(folder, process), folder);
    Config { state_dir: folder.path().join("state"), ..config }
}

fn silo_again(folder: &TempDir, process: &Process) -> Config {
    let again = folder.path().join("again");
    std::fs::create_dir(&again).unwrap();
    silo(&again, process.address, 3)
}

pub(crate) fn records(folder: &TempDir) -> Vec<ClientRecord> {
    let opened =
        FileStore::open(&folder.path().join("state"), JournalKind::Client, |_, _, _| Ok(())).unwrap();
    let mut store = opened.store;
    assert!(opened.torn_tail.is_none());
    store.replay().unwrap().iter().map(|bytes| ClientRecord::decode(bytes).unwrap()).collect()
}

pub(crate) fn kind(record: &ClientRecord) -> &'static str {
    match record {
        ClientRecord::Joined { .. } => "joined",
        ClientRecord::RosterAdopted { .. } => "roster",
        ClientRecord::ChainHead(_) => "chain",
        ClientRecord::Advertised { .. } => "advertised",
        ClientRecord::Debited { .. } => "debited",
        ClientRecord::SignedIncluded { .. } => "signed",
        ClientRecord::Unmasked { .. } => "unmasked",
        ClientRecord::DataCommitted { .. } => "declared",
        ClientRecord::DataNotDeclared { .. } => "undeclared",
        ClientRecord::TrainingFailed { .. } => "failed",
        ClientRecord::RoundsBefore { .. } => "rounds before",
        ClientRecord::AboutPersons => "persons",
        ClientRecord::OfferAnswered(_) => "offer",
        ClientRecord::RunOver => "over",
        ClientRecord::UploadReceipted { .. } => "receipted",
        ClientRecord::WitnessBegun => "witness",
        ClientRecord::WitnessForgotten { .. } => "forgotten",
        ClientRecord::SetsFixed { .. } => "sets",
        ClientRecord::StepVerified { .. } => "step",
    }
}
