//! The seal on Linux, step by step, in the one order in which no step is in the way of a later one.

mod descriptors;
mod filter;
mod limits;
mod namespaces;
mod paths;
mod process;

pub(crate) use descriptors::{close_others, give_up_input};
pub(crate) use filter::install_shut_out;
pub(crate) use limits::bound_memory;

use crate::{Demand, Level, Seal, SealError};

/// The steps of [`Seal::apply`].
pub(crate) fn close(seal: &Seal, demand: Demand) -> Result<Level, SealError> {
    process::has_one_thread()?;
    descriptors::close_others()?;
    process::hide()?;
    limits::lower(seal.memory_bytes)?;
    process::gain_nothing()?;
    let namespaces = namespaces::leave()?;
    // What changes a process's credentials may clear what follows from them.
    process::hide()?;
    process::die_with_parent()?;
    let landlock = paths::hold(seal, demand)?;
    let filter = filter::install(seal.profile, demand)?;
    Ok(Level { demand, profile: seal.profile, landlock, filter, namespaces })
}

/// A step that works on every kernel that the project runs on.
fn step<T, E: Into<std::io::Error>>(step: &'static str, done: Result<T, E>) -> Result<T, SealError> {
    done.map_err(|source| SealError::Step { step, source: source.into() })
}
