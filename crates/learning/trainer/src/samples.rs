//! Trainers without processes, for tests of a daemon: each is a thread of the test.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use plan::Policy;
use sandbox::{Demand, Level, SealProfile};

use crate::{TrainerRole, Trainers, serve};

/// Ends a thread's stream, and says so.
pub type End = Box<dyn FnOnce() -> String + Send + Sync>;

/// Starts threads that serve on this data, for plans that this policy allows, with these trainers. One that hangs is left behind, as no
/// process would be.
pub fn in_threads(
    data: PathBuf,
    policy: Policy,
    trainers: Trainers,
) -> Arc<dyn Fn() -> io::Result<(UnixStream, End)> + Send + Sync> {
    let role = Arc::new(TrainerRole::Train(Box::new(policy)));
    Arc::new(move || {
        let (ours, its) = UnixStream::pair()?;
        let (data, role, trainers) = (data.clone(), Arc::clone(&role), Arc::clone(&trainers));
        thread::Builder::new().name("trainer".into()).spawn(move || {
            // What it fails with the daemon notices.
            drop(serve(its, &data, None, &role, Level::none(Demand::Off, SealProfile::Native), &trainers));
        })?;
        let stream = ours.try_clone()?;
        let end = move || {
            drop(stream.shutdown(Shutdown::Both));
            "its thread was left to itself".to_owned()
        };
        Ok((ours, Box::new(end) as End))
    })
}
