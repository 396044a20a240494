use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::step;
use crate::SealError;

/// More than training needs, and too few to exhaust a machine's.
const DESCRIPTORS: u64 = 256;
/// Of one file, in bytes. A standard stream that is a file counts as one.
const FILE_BYTES: u64 = 4 << 30;
/// Threads, where they are counted in a user namespace of the process's own. Elsewhere all processes of the user count, and memory
/// is what bounds threads.
const THREADS: u64 = 512;

/// Lowers how much memory the process may map, soft and hard, where that is bounded.
pub(crate) fn bound_memory(memory_bytes: Option<u64>) -> Result<(), SealError> {
    memory_bytes.map_or(Ok(()), |bytes| cap("bound the memory", Resource::As, bytes))
}

/// Lowers what the process may use, soft and hard. No limit is raised.
pub(super) fn lower(memory_bytes: Option<u64>) -> Result<(), SealError> {
    bound_memory(memory_bytes)?;
    cap("forbid core dumps", Resource::Core, 0)?;
    cap("bound the descriptors", Resource::Nofile, DESCRIPTORS)?;
    cap("bound the size of a file", Resource::Fsize, FILE_BYTES)?;
    cap("forbid message queues", Resource::Msgqueue, 0)
}

/// The same for threads.
pub(super) fn lower_threads() -> Result<(), SealError> {
    cap("bound the threads", Resource::Nproc, THREADS)
}

fn cap(name: &'static str, resource: Resource, most: u64) -> Result<(), SealError> {
    let Rlimit { current, maximum } = getrlimit(resource);
    let lowered = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    step(name, setrlimit(resource, Rlimit { current: lowered(current), maximum: lowered(maximum) }))
}
