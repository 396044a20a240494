//! The coordinator's shell: sockets, disk and clock around `protocol::Coordinator`.
//!
//! ```text
//!   gRPC services --Event--> driver (one task, owner of the core and the store) --messages--> sessions
//!                               |  ^
//!                          Compute  Recovered            (worker threads)
//! ```
//!
//! Owns: configuration, the driver that performs effects in order, the gRPC services, staging of uploads, the
//! worker that opens sums. Decides nothing about a round: that is the core's.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

// Printing that outlives its reader: see `daemon::out`. Tests print as the test runner captures it.
#[cfg(not(test))]
#[macro_use(eprintln, println)]
extern crate daemon;

mod admin;
mod artifacts;
mod audit_log;
mod audit_service;
mod certificates;
mod config;
mod driver;
mod events;
mod init;
mod library;
mod model_card;
mod operations;
mod outbox;
mod service;
mod sessions;
mod streaming;
mod talk;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;

use access::Registry;
pub use admin::MakeAdmin;
use audit_log::AuditLog;
pub use config::{Config, Loaded, LoadedTls, Tls};
pub use daemon::ConfigError;
use driver::{Driver, INBOX_EVENTS, Outward, open_store};
pub use init::{Init, Made};
use service::Services;
use store::{FileStore, Store};

/// A connection takes no new calls after this; those in progress go on, and new ones take a new connection.
const CONNECTION_AGE: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

/// Exit code of a configuration that cannot be used.
const EXIT_CONFIGURATION: u8 = 2;
/// Exit code of everything else that ends the process.
const EXIT_FAILURE: u8 = 1;

/// The command line of the daemon.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 stopped as asked, 1 a failure while running, 2 the configuration cannot be used.\n\
                  The log goes to standard error; FOLKMOOT_LOG overrides its filter. When the daemon listens it \
                  prints one line, `listening on ADDRESS`, to standard output."
)]
pub struct Args {
    /// The configuration file; `init` writes one, deploy/ holds a commented sample.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Check the configuration, the plan, the roster and the keys, and exit.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a federation: its authority, certificates, keys and a configuration.
    Init(Init),
    /// Make an administrator's folder, for whoever has this machine: the way back where no administrator can call.
    Admin(MakeAdmin),
}

/// The whole program behind `folkmoot-coordinator` and `folkmoot coordinator`.
#[allow(clippy::print_stderr, clippy::print_stdout)]
pub fn main_with(args: Args) -> ExitCode {
    if let Some(command) = &args.command {
        let done = match command {
            Command::Init(init) => init.run_aloud(),
            Command::Admin(admin) => admin.run_aloud(),
        };
        return match done {
            Ok(()) => daemon::out::finish(ExitCode::SUCCESS),
            Err(why) => {
                eprintln!("error: {why:#}");
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    // Required where there is no subcommand.
    let config = args.config.unwrap_or_default();
    let loaded = match Config::load(&config) {
        Ok(loaded) => loaded,
        Err(why) => {
            eprintln!("error: {}: {why}", config.display());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if args.check {
        println!("{}: the configuration can be used; plan {}", config.display(), loaded.plan.digest());
        return ExitCode::SUCCESS;
    }
    if let Err(why) = telemetry::init(&loaded.config.log, loaded.config.log_json) {
        eprintln!("error: {why}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    let runtime = match daemon::runtime() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let listening = |address| println!("listening on {address}");
    let ended = runtime.block_on(async { run(loaded, listening, daemon::terminated()).await });
    // A sum that is being opened is of no more use: it is opened again from the journal.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Runs until `shutdown`; the run's end does not end the daemon, which goes on to serve the model.
///
/// # Errors
/// Anything that stops the daemon: an address in use, a disk that fails, a journal of another run.
pub async fn run(
    loaded: Loaded,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    run_on(loaded, |store| Box::new(store), listening, shutdown).await
}

/// [`run`] on a store that `wrap` makes of the folder's: one that fails where a test wants it to.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    loaded: Loaded,
    wrap: impl FnOnce(FileStore) -> Box<dyn Store>,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let Loaded { config, plan, roster, authority, key, vault, tls, model_key } = loaded;
    let (inbox, events) = mpsc::channel(INBOX_EVENTS);
    let (status, watched) = watch::channel(Arc::new(wire::v1::RunStatus::default()));
    let (newest, rosters) = watch::channel(Arc::new(roster.clone()));
    let metrics = Arc::new(telemetry::Metrics::new());
    let patience = daemon::patience(&plan);
    let budget = budget(&plan);
    let federation = roster.federation.clone();
    let setup = protocol::Setup { plan, roster, authority, key: key.signing_key().clone() };
    let outward = Outward { status, roster: newest, metrics: metrics.clone() };
    let transport = if tls.is_some() { "mutual TLS 1.3" } else { "PLAIN TEXT on this machine only" };
    let controls = card::Controls {
        transport: transport.into(),
        encrypted_at_rest: vault.is_some(),
        model_signature: model_key.is_some(),
        audit_log: audit::log_name(&federation),
        metrics_endpoint: config.metrics_listen.clone(),
    };
    let keys = driver::Keys { audit: key.signing_key().clone(), model: model_key, controls };
    // Beside the driver: what is published never changes.
    let published = store::Published::new(config.data_dir.join(store::CHECKPOINTS), vault.clone());
    let (driver, audit) = open_store(&config.data_dir, vault.clone())
        .map_err(anyhow::Error::from)
        .and_then(|store| Driver::open(wrap(store), setup, &config.data_dir, keys, inbox.clone(), outward))
        .with_context(|| format!("cannot run from `{}`", config.data_dir.display()))?;
    let registry = Arc::new(Registry::open(&config.data_dir.join("access.json"))?);
    registry.settle_roster(&rosters.borrow().clone(), "start", now_s())?;

    // Bound after the folder is locked: whoever answers on the address is the one that owns the journal.
    let listener = TcpListener::bind(&config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: stop what uses that port, or set another `listen` address",
            config.listen
        )
    })?;
    let address = listener.local_addr()?;
    let metrics_task = match &config.metrics_listen {
        None => None,
        Some(listen) => Some(serve_metrics(listen, Arc::clone(&metrics)).await?),
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<wire::v1::federation_server::FederationServer<Services>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Many tools ask in the older version alone.
    let (reflection, older_reflection) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let (stop, stopped) = watch::channel(false);
    let run = operations::Run {
        inbox: inbox.clone(),
        roster: rosters.clone(),
        status: watched.clone(),
        authority,
        vault,
    };
    let secured = certificates::Secured::new(tls, &federation, &authority, registry.denied())?;
    let desk = access::Desk::new(
        Arc::clone(&registry),
        &secured.authority,
        Arc::new(run),
        Arc::new(secured.issuer()),
        access::Lifetimes::default(),
        Arc::new(daemon::wall_ms),
    )?;
    let guard = guard(&registry, &audit, &metrics, secured.is_plain());
    let services = Services {
        inbox,
        status: watched,
        roster: rosters.clone(),
        denied: registry.denied(),
        key: Arc::new(key.signing_key().clone()),
        metrics: Arc::clone(&metrics),
        library: library::Library::new(published, patience, Arc::clone(&metrics)),
        talk: talk::Talk::default(),
        sessions: Arc::default(),
        patience,
        stopped: stopped.clone(),
    };
    let audit = audit_service::AuditService::new(audit, rosters, patience);
    let server = Server::builder()
        // Memory is decided by the windows: many clients uploading at once must not each hold a large one.
        .initial_stream_window_size(64 << 10)
        // So that a dead peer does not look like a slow one.
        .http2_keepalive_interval(Some(patience))
        .http2_keepalive_timeout(Some(patience))
        // A certificate is renewed at two thirds of its day: a connection that showed the old one ends before that does.
        .max_connection_age(CONNECTION_AGE)
        .layer(guard)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(older_reflection)
        .add_service(services.federation())
        .add_service(services.models())
        .add_service(services.operator())
        .add_service(desk.enrolment())
        .add_service(desk.admin())
        .add_service(audit.server());

    let mut serving = stopped;
    let incoming = secured.incoming(listener, budget, watcher(&metrics));
    let renewal = secured.keep_renewed();
    let mut server = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
        // An error says that the sender is gone: stop as well.
        let _ = serving.wait_for(|stop| *stop).await;
    }));
    tracing::info!(%address, "listening");
    listening(address);

    let driven = {
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
        // Before the sessions end with the driver, so that each can say why.
        let _ = stop.send(true);
        driven
    };
    // No stream is begun any more, and those that stand end now: clients come back when the daemon does.
    if tokio::time::timeout(daemon::GOODBYE, &mut server).await.is_err() {
        tracing::debug!("a peer did not let go of its connection in time");
        server.abort();
    }
    for task in metrics_task.into_iter().chain(renewal) {
        task.abort();
    }
    driven
}

/// Files of a store, an index and two logs that are open at once, whatever the cohort.
const FILES: u64 = 128;

/// How many connections there is room for: each silo's vector is a file while it arrives, and again when the sum is opened.
fn budget(plan: &plan::Plan) -> pki::Budget {
    let descriptors = daemon::raise_descriptors();
    let files = (FILES + 2 * plan.cohort.maximum as u64).max(descriptors.min(4096) / 4);
    let budget = pki::Budget::of_descriptors(descriptors, files);
    tracing::info!(descriptors, connections = budget.connections, "room for connections");
    budget
}

/// Counts the connections that came to nothing.
fn watcher(metrics: &Arc<telemetry::Metrics>) -> pki::Watcher {
    let metrics = Arc::clone(metrics);
    Arc::new(move |turned: pki::Turned| metrics.turn_connection(turned.name()))
}

/// In front of every service; what it refuses, and what changes anything, is in the audit log.
fn guard(
    registry: &Arc<Registry>,
    audit: &AuditLog,
    metrics: &Arc<telemetry::Metrics>,
    plain: bool,
) -> access::Guard {
    let (audit, metrics) = (audit.clone(), Arc::clone(metrics));
    let hook = Arc::new(move |call: &access::CallRecord| {
        if !audit.called(protocol::Timestamp(daemon::wall_ms()), call) {
            metrics.calls_left_out.inc();
        }
    });
    let (rates, clock) = (access::Rates::default(), Arc::new(daemon::wall_ms));
    if plain {
        access::Guard::plaintext(Arc::clone(registry), &rates, clock, hook)
    } else {
        access::Guard::new(Arc::clone(registry), &rates, clock, hook)
    }
}

fn now_s() -> u64 {
    daemon::wall_ms() / 1000
}

async fn serve_metrics(
    listen: &str,
    metrics: Arc<telemetry::Metrics>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
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
