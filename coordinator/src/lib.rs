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

mod artifacts;
mod config;
mod driver;
mod events;
mod service;
mod sessions;
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
use tonic::transport::server::TcpIncoming;

pub use config::{Config, Loaded};
pub use daemon::ConfigError;
use driver::{Driver, INBOX_EVENTS, Outward, open_store};
use service::Services;
use store::{FileStore, Store};

/// Exit code of a configuration that cannot be used.
const EXIT_CONFIGURATION: u8 = 2;
/// Exit code of everything else that ends the process.
const EXIT_FAILURE: u8 = 1;

/// The command line of the daemon.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Exit codes: 0 stopped as asked, 1 a failure while running, 2 the configuration cannot be used.\n\
                  The log goes to standard error; FOLKMOOT_LOG overrides its filter. When the daemon listens it \
                  prints one line, `listening on ADDRESS`, to standard output."
)]
pub struct Args {
    /// The configuration file; deploy/ holds a commented sample.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, the plan, the roster and the key, and exit.
    #[arg(long)]
    check: bool,
}

/// The whole program behind `folkmoot-coordinator` and `folkmoot coordinator`.
#[allow(clippy::print_stderr, clippy::print_stdout)]
pub fn main_with(args: Args) -> ExitCode {
    let loaded = match Config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(why) => {
            eprintln!("error: {}: {why}", args.config.display());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if args.check {
        println!("{}: the configuration can be used; plan {}", args.config.display(), loaded.plan.digest());
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
    let Loaded { config, plan, roster, authority, key } = loaded;
    let (members, admitted) = watch::channel(Arc::new(roster.keys().clone()));
    let (inbox, events) = mpsc::channel(INBOX_EVENTS);
    let (status, watched) = watch::channel(Arc::new(wire::v1::RunStatus::default()));
    let counters = Arc::new(service::Counters::default());
    let metrics = Arc::new(telemetry::Metrics::new());
    let patience = daemon::patience(&plan);
    let setup = protocol::Setup { plan, roster, authority, key: key.signing_key().clone() };
    let driver = open_store(&config.data_dir)
        .map_err(anyhow::Error::from)
        .and_then(|store| {
            let outward = Outward { status, members, counters: counters.clone(), metrics: metrics.clone() };
            Driver::open(wrap(store), setup, inbox.clone(), outward)
        })
        .with_context(|| format!("cannot run from `{}`", config.data_dir.display()))?;

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
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (stop, stopped) = watch::channel(false);
    let services = Services::new(inbox, watched, admitted, counters, patience, stopped.clone());
    let server = Server::builder()
        // Memory is decided by the windows: many clients uploading at once must not each hold a large one.
        .initial_stream_window_size(64 << 10)
        // So that a dead peer does not look like a slow one.
        .http2_keepalive_interval(Some(patience))
        .http2_keepalive_timeout(Some(patience))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(services.federation())
        .add_service(services.models())
        .add_service(services.operator());

    let mut serving = stopped;
    let mut server = tokio::spawn(server.serve_with_incoming_shutdown(
        // A round is many small messages: with Nagle's algorithm each waits for an acknowledgement, and a round takes
        // seven times as long.
        TcpIncoming::from(listener).with_nodelay(Some(true)),
        async move {
            // An error says that the sender is gone: stop as well.
            let _ = serving.wait_for(|stop| *stop).await;
        },
    ));
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
    if let Some(task) = metrics_task {
        task.abort();
    }
    driven
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
