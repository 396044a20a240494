//! What a trainer does first.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::PARENT;

/// Why a process is no trainer of a spawner's.
#[derive(Debug, thiserror::Error)]
pub enum NoParent {
    /// Nothing in the environment says which process started it.
    #[error(
        "no daemon's spawner started it: {PARENT} does not say which process did; a daemon starts trainers by itself"
    )]
    Unnamed,
    /// The process that started it is not there any more.
    #[error("the process that started it is gone")]
    Gone,
    /// The signal could not be asked for.
    #[error("it cannot be made to end with the process that started it: {0}")]
    Signal(#[source] io::Error),
}

/// Makes the calling trainer die with the spawner that started it, in whatever way that one ends, and die first where the machine is
/// short of memory. Called first of all.
///
/// # Errors
/// [`NoParent`]: it should end at once, and nobody waits for it.
pub fn tether() -> Result<(), NoParent> {
    let said =
        std::env::var(PARENT).ok().and_then(|said| said.parse::<i32>().ok()).ok_or(NoParent::Unnamed)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|why| NoParent::Signal(why.into()))?;
    // A spawner that is killed for its trainer's memory is not started again. Where this is refused the kernel chooses by size, which is a
    // trainer too.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // It may have ended before the signal was asked for.
    match rustix::process::getppid() {
        Some(parent) if parent.as_raw_pid() == said => Ok(()),
        _ => Err(NoParent::Gone),
    }
}

/// A trainer's standard input as the socket that it is, under a descriptor of its own.
///
/// # Errors
/// Where there is no further descriptor.
pub fn standard_input() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}
