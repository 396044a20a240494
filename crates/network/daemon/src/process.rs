//! A daemon as a process: its threads, and the signals that end it.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How long a daemon that is asked to stop waits for its peers to let go.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Threads beside the workers, for what waits on a disk or calculates. Each costs the allocator an arena of its own, which is
/// never given back: with tokio's 512 a daemon grows for days.
const BLOCKING_THREADS_MAX: usize = 4;

/// The runtime that a daemon runs on.
///
/// # Errors
/// A machine that starts no threads; the text says so.
pub fn runtime() -> Result<Runtime, String> {
    let built: io::Result<Runtime> =
        Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build();
    built.map_err(|why| format!("cannot start worker threads: {why}"))
}

/// Listens for SIGTERM and SIGINT from this call on, and is ready when one has come.
///
/// What takes long at a start is not cut off by them: the caller looks when it can end in order.
///
/// # Panics
/// Outside a runtime of tokio.
#[cfg(unix)]
pub fn terminated() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [terminate, interrupt] = signals;
        // Where a signal cannot be listened to, it keeps its default and ends the process by itself.
        let one = async |signal: io::Result<tokio::signal::unix::Signal>| match signal {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        };
        tokio::select! {
            () = one(terminate) => {}
            () = one(interrupt) => {}
        }
    }
}

/// Is ready when the process is asked to stop.
#[cfg(not(unix))]
pub async fn terminated() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
