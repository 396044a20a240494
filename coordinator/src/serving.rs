//! The daemon at work: what a run is opened with, what is served, and how it stops.

use audit_log::AuditLog;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::Registry;
use anyhow::Context;
use ed25519_dalek::{SigningKey, VerifyingKey};
use federation::RunNumber;
use identity::{AuthorisedRoster, Roster};
use runs::{PlanOf, RunFolders};
use store::{FileStore, Store};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Server;
use vault::Vault;
use wire::v1::federation_server::FederationServer;

use crate::audit_service::AuditService;
use crate::board::Board;
use crate::certificates::Secured;
use crate::driver::{self, Driver, INBOX_EVENTS, Outward, Wrap};
use crate::events::Event;
use crate::library::Library;
use crate::operations;
use crate::service::Services;
use crate::{Loaded, LoadedTls};

/// A connection takes no new calls after this; those in progress go on, and new ones take a new connection.
const CONNECTION_AGE: Duration = Duration::from_secs(6 * 3600);
/// Files of a store, an index and two logs that are open at once, whatever the cohort.
const FILES: u64 = 128;

/// Runs until `shutdown`; the run's end does not end the daemon, which goes on to serve the model.
///
/// # Errors
/// Anything that stops the daemon: an address in use, a disk that fails, a journal of another run.
pub async fn run(
    loaded: Loaded,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    run_on(loaded, |_, store| Box::new(store), listening, shutdown).await
}

/// [`run`] on stores that `wrap` makes of the folders': those that fail where a test wants them to. It is given each run's number.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    loaded: Loaded,
    wrap: impl FnMut(RunNumber, FileStore) -> Box<dyn Store> + Send + 'static,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (listen, metrics_listen) = (loaded.config.listen.clone(), loaded.config.metrics_listen.clone());
    let Run { driver, events, tls, doors } = Run::open(loaded, Box::new(wrap))?;
    let budget = budget(&doors.roster.borrow());
    // Bound after the folder is locked: whoever answers on the address is the one that owns the journal.
    let listener = bind(&listen).await?;
    let address = listener.local_addr()?;
    let mut tasks = Vec::new();
    if let Some(listen) = metrics_listen {
        tasks.push(serve_metrics(&listen, Arc::clone(&doors.metrics)).await?);
    }
    let secured = Secured::new(tls, &doors.federation, &doors.authority, doors.registry.denied())?;
    let (stop, mut stopped) = watch::channel(false);
    let routes = doors.routes(&secured, &stopped).await?;
    let server = Server::builder()
        // Memory is decided by the windows: many clients uploading at once must not each hold a large one.
        .initial_stream_window_size(64 << 10)
        // So that a dead peer does not look like a slow one.
        .http2_keepalive_interval(Some(doors.patience))
        .http2_keepalive_timeout(Some(doors.patience))
        // A certificate is renewed at two thirds of its day: a connection that showed the old one ends before that does.
        .max_connection_age(CONNECTION_AGE)
        .layer(doors.guard(secured.is_plain()))
        .add_routes(routes);
    let incoming = secured.incoming(listener, budget, doors.watcher());
    tasks.extend(secured.keep_renewed());
    let server = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
        // An error says that the sender is gone: stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    tracing::info!(%address, "listening");
    listening(address);

    let driven = drive(driver, events, shutdown, stop).await;
    let_go(server, tasks).await;
    driven
}

/// A run, opened.
struct Run {
    driver: Driver,
    /// What the driver hears.
    events: mpsc::Receiver<Event>,
    /// What connections are secured with.
    tls: Option<LoadedTls>,
    doors: Doors,
}

/// What the services hold of a run.
struct Doors {
    federation: String,
    authority: VerifyingKey,
    key: SigningKey,
    vault: Option<Arc<Vault>>,
    /// How long a silent peer is waited for.
    patience: Duration,
    inbox: mpsc::Sender<Event>,
    board: watch::Receiver<Option<Arc<Board>>>,
    /// The newest roster, in force or about to be.
    roster: watch::Receiver<Arc<AuthorisedRoster>>,
    library: Library,
    audit: AuditLog,
    registry: Arc<Registry>,
    metrics: Arc<telemetry::Metrics>,
}

impl Run {
    /// Locks the data folder and brings back from it what was.
    fn open(loaded: Loaded, wrap: Wrap) -> anyhow::Result<Self> {
        let controls = controls(&loaded);
        let Loaded { config, plan, roster, authority, key, vault, tls, model_key } = loaded;
        let folder = config.data_dir;
        let (inbox, events) = mpsc::channel(INBOX_EVENTS);
        let (board, watched) = watch::channel(None);
        let (newest, rosters) = watch::channel(Arc::new(roster.clone()));
        let metrics = Arc::new(telemetry::Metrics::new());
        let patience = daemon::patience(&plan);
        let federation = roster.federation.clone();
        let key = key.signing_key().clone();
        let own = driver::Own { key: key.clone(), authority, roster, model_key };
        let outward = Outward { board, roster: newest, metrics: Arc::clone(&metrics) };
        let runs = RunFolders::new(&folder, vault.clone());
        let folders = driver::Folders { runs: runs.clone(), wrap, controls };
        let active_max = config.runs_active_max as usize;
        let (driver, audit) = Driver::open(folders, plan, active_max, own, inbox.clone(), outward)
            .with_context(|| format!("cannot run from `{}`", folder.display()))?;
        let registry = Arc::new(Registry::open(&folder.join("access.json"))?);
        registry.settle_roster(&rosters.borrow().clone(), "start", daemon::now_s())?;
        // Beside the driver: what is published never changes.
        let library = Library::new(runs, patience, Arc::clone(&metrics));
        let doors = Doors {
            federation,
            authority,
            key,
            library,
            vault,
            patience,
            inbox,
            board: watched,
            roster: rosters,
            audit,
            registry,
            metrics,
        };
        Ok(Self { driver, events, tls, doors })
    }
}

/// What the model cards say of this coordinator.
fn controls(loaded: &Loaded) -> card::Controls {
    let transport = if loaded.tls.is_some() { "mutual TLS 1.3" } else { "PLAIN TEXT on this machine only" };
    card::Controls {
        transport: transport.into(),
        encrypted_at_rest: loaded.vault.is_some(),
        model_signature: loaded.model_key.is_some(),
        audit_log: audit::log_name(&loaded.roster.federation),
        metrics_endpoint: loaded.config.metrics_listen.clone(),
    }
}

impl Doors {
    /// Every service.
    async fn routes(&self, secured: &Secured, stopped: &watch::Receiver<bool>) -> anyhow::Result<Routes> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<FederationServer<Services>>().await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let (services, desk) = (self.services(stopped), self.desk(secured)?);
        let audit = AuditService::new(self.audit.clone(), self.roster.clone(), self.patience);
        Ok(Routes::new(health_service)
            .add_service(reflection().build_v1()?)
            // Many tools ask in the older version alone.
            .add_service(reflection().build_v1alpha()?)
            .add_service(services.federation())
            .add_service(services.models())
            .add_service(services.operator())
            .add_service(access::RunDesk::new(Arc::new(self.operations())).service())
            .add_service(desk.enrolment())
            .add_service(desk.admin())
            .add_service(audit.server()))
    }

    fn services(&self, stopped: &watch::Receiver<bool>) -> Services {
        Services {
            inbox: self.inbox.clone(),
            board: self.board.clone(),
            roster: self.roster.clone(),
            denied: self.registry.denied(),
            key: Arc::new(self.key.clone()),
            metrics: Arc::clone(&self.metrics),
            library: self.library.clone(),
            talk: crate::talk::Talk::default(),
            sessions: Arc::default(),
            patience: self.patience,
            stopped: stopped.clone(),
        }
    }

    /// Enrolment and administration.
    fn desk(&self, secured: &Secured) -> anyhow::Result<access::Desk> {
        Ok(access::Desk::new(
            Arc::clone(&self.registry),
            &secured.authority,
            Arc::new(self.operations()),
            Arc::new(secured.issuer()),
            access::Lifetimes::default(),
            Arc::new(daemon::wall_ms),
        )?)
    }

    fn operations(&self) -> operations::Run {
        operations::Run {
            inbox: self.inbox.clone(),
            roster: self.roster.clone(),
            board: self.board.clone(),
            authority: self.authority,
            vault: self.vault.clone(),
        }
    }

    /// In front of every service; what it refuses, and what changes anything, is in the audit log.
    fn guard(&self, plain: bool) -> access::Guard {
        let (audit, metrics) = (self.audit.clone(), Arc::clone(&self.metrics));
        let hook = Arc::new(move |call: &access::CallRecord| {
            if !audit.called(protocol::Timestamp(daemon::wall_ms()), call) {
                metrics.calls_left_out.inc();
            }
        });
        let (rates, clock) = (access::Rates::default(), Arc::new(daemon::wall_ms));
        let registry = Arc::clone(&self.registry);
        if plain {
            access::Guard::plaintext(registry, &rates, clock, hook)
        } else {
            access::Guard::new(registry, &rates, clock, hook)
        }
    }

    /// Counts the connections that came to nothing.
    fn watcher(&self) -> pki::Watcher {
        let metrics = Arc::clone(&self.metrics);
        Arc::new(move |turned: pki::Turned| metrics.turn_connection(turned.name()))
    }
}

/// Drives the run until it fails, or until `shutdown`; says `stop` then.
async fn drive(
    driver: Driver,
    events: mpsc::Receiver<Event>,
    shutdown: impl Future<Output = ()>,
    stop: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let drive = driver.drive(events);
    tokio::pin!(drive);
    let driven = tokio::select! {
        driven = &mut drive => driven,
        // The driver stops between two events, with all effects performed of those before.
        () = shutdown => {
            tracing::info!("stopping; the journal holds everything that was acknowledged");
            Ok(())
        }
    };
    // Before the sessions end with the driver, which is here still, so that each can say why.
    let _ = stop.send(true);
    driven
}

/// No stream is begun any more, and those that stand end now: clients come back when the daemon does.
async fn let_go<E>(mut server: JoinHandle<Result<(), E>>, tasks: Vec<JoinHandle<()>>) {
    if tokio::time::timeout(daemon::GOODBYE, &mut server).await.is_err() {
        tracing::debug!("a peer did not let go of its connection in time");
        server.abort();
    }
    for task in tasks {
        task.abort();
    }
}

/// How many connections there is room for: each silo's vector is a file while it arrives, and again when the sum is opened; a silo is
/// in one round at a time, whichever run it is of.
fn budget(roster: &Roster) -> pki::ConnectionBudget {
    let descriptors = daemon::raise_descriptors();
    let files = (FILES + 2 * roster.members.len() as u64).max(descriptors.min(4096) / 4);
    let budget = pki::ConnectionBudget::of_descriptors(descriptors, files);
    tracing::info!(descriptors, connections = budget.connections, "room for connections");
    budget
}

/// What `--check` says of a configuration that can be used: its plan, and whose plan that is.
pub(crate) fn checked(loaded: &Loaded) -> Result<String, String> {
    let digest = loaded.plan.digest();
    let folders = RunFolders::new(&loaded.config.data_dir, loaded.vault.clone());
    let run = folders.run_of_plan(&digest).map_err(|why| identity::with_causes(&why))?;
    let whose = match run {
        PlanOf::FirstToBe => "the first run's to be".to_owned(),
        PlanOf::Run(number) => format!("run {number}'s"),
        PlanOf::AnotherToBe => "no run's yet: it is submitted as another run at the start".to_owned(),
    };
    Ok(format!("; plan {digest}, {whose}"))
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}: stop what uses that port, or set another `listen` address")
    })
}

async fn serve_metrics(listen: &str, metrics: Arc<telemetry::Metrics>) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on metrics_listen {listen}; set another address"))?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let app = axum::Router::new()
        .route("/metrics", axum::routing::get(move || std::future::ready(metrics.encode())));
    Ok(tokio::spawn(async move {
        if let Err(why) = axum::serve(listener, app).await {
            tracing::warn!(%why, "metrics are no longer served");
        }
    }))
}
