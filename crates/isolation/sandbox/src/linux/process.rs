use std::fs;

use rustix::process::{
    DumpableBehavior, Signal, getppid, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::set_no_new_privs;

use super::step;
use crate::SealError;

/// Landlock, capabilities and filters hold the thread that asks for them and those it starts later, never its sisters.
pub(super) fn has_one_thread() -> Result<(), SealError> {
    match step("count the threads in /proc/self/task", fs::read_dir("/proc/self/task"))?.count() {
        1 => Ok(()),
        threads => Err(SealError::Threads(threads)),
    }
}

/// No core dump, and no other process of the same user reads this one's memory, environment or descriptors.
pub(super) fn hide() -> Result<(), SealError> {
    step("refuse to be dumped", set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

/// Nothing executed from here on has more rights than this process.
pub(super) fn gain_nothing() -> Result<(), SealError> {
    step("give up new privileges", set_no_new_privs(true))
}

/// Whoever started this process is never survived by it.
pub(super) fn die_with_parent() -> Result<(), SealError> {
    let parent = getppid();
    step("die with the parent", set_parent_process_death_signal(Some(Signal::KILL)))?;
    if getppid() == parent { Ok(()) } else { Err(SealError::ParentDied) }
}
