use std::path::PathBuf;

use crate::{Demand, Level, SealError, SealProfile};

/// What is left to a process when it has sealed itself, beside the description of the processors (`/sys/devices/system/cpu`), by
/// which numerical libraries choose how they compute. Everything else is gone: paths, sockets, other processes, descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// What kind of program it is.
    pub profile: SealProfile,
    /// Files and folders that it reads.
    pub read: Vec<PathBuf>,
    /// Files and folders that it reads and executes: the interpreter and its libraries. Empty in [`SealProfile::Native`].
    pub runtime: Vec<PathBuf>,
    /// Folders in which it makes, changes and removes files and folders, and files that it changes.
    pub write: Vec<PathBuf>,
    /// How much memory it may map, in bytes.
    pub memory_bytes: Option<u64>,
}

impl Seal {
    /// Seals the calling process, for good: nothing lifts it, and an interpreter that it executes afterwards is sealed too. Every
    /// descriptor but 0, 1 and 2 is closed, so it is called in the first lines of a main, before anything was opened and before
    /// a second thread. The crate's manual says what is refused afterwards, and how.
    ///
    /// # Errors
    /// What was asked for cannot be had ([`Demand::Required`]), or the process is not one that can be sealed: it has threads, a
    /// network connection as a standard stream, or a path that is not there. The process is to end then: half of the seal may
    /// be in place. With [`Demand::Off`] the memory alone is bounded.
    pub fn apply(&self, demand: Demand) -> Result<Level, SealError> {
        if demand == Demand::Off {
            self.bound_memory()?;
            return Ok(Level::none(demand, self.profile));
        }
        if self.profile == SealProfile::Native && !self.runtime.is_empty() {
            return Err(SealError::RuntimeOfANativeProgram);
        }
        self.close(demand)
    }

    #[cfg(target_os = "linux")]
    fn close(&self, demand: Demand) -> Result<Level, SealError> {
        crate::linux::close(self, demand)
    }

    #[cfg(target_os = "linux")]
    fn bound_memory(&self) -> Result<(), SealError> {
        crate::linux::bound_memory(self.memory_bytes)
    }

    #[cfg(not(target_os = "linux"))]
    fn bound_memory(&self) -> Result<(), SealError> {
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn close(&self, demand: Demand) -> Result<Level, SealError> {
        match demand {
            Demand::Required => Err(SealError::NotHere),
            Demand::BestEffort | Demand::Off => Ok(Level::none(demand, self.profile)),
        }
    }
}

/// Closes every descriptor but 0, 1 and 2, so that nothing passes to a program that this process starts. Called in the first lines
/// of a main: whatever was open is closed, whoever holds it. Elsewhere than on Linux it does nothing.
///
/// # Errors
/// A standard stream that is a network connection; a system without `/proc`.
pub fn close_descriptors() -> Result<(), SealError> {
    #[cfg(target_os = "linux")]
    crate::linux::close_others()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(profile: SealProfile) -> Seal {
        let runtime = vec![PathBuf::from("/usr/lib")];
        Seal { profile, read: Vec::new(), runtime, write: Vec::new(), memory_bytes: None }
    }

    #[test]
    fn off_does_nothing_and_says_so() {
        let level = seal(SealProfile::Interpreter).apply(Demand::Off).unwrap();
        assert_eq!(level, Level::none(Demand::Off, SealProfile::Interpreter));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn off_bounds_the_memory_that_was_asked_for() {
        // Far more than this process needs, and less than it may map without a limit.
        let most = 1 << 46;
        Seal { memory_bytes: Some(most), ..seal(SealProfile::Native) }.apply(Demand::Off).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::As);
        assert!([limit.current, limit.maximum].iter().all(|limit| limit.is_some_and(|bytes| bytes <= most)));
    }

    #[test]
    fn a_program_that_executes_nothing_is_given_no_runtime() {
        let refused = seal(SealProfile::Native).apply(Demand::BestEffort).unwrap_err();
        assert!(matches!(refused, SealError::RuntimeOfANativeProgram), "{refused}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_with_a_second_thread_is_not_sealed() {
        let refused = std::thread::scope(|scope| {
            let (end, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let refused = seal(SealProfile::Interpreter).apply(Demand::Required).unwrap_err();
            drop(end);
            refused
        });
        assert!(matches!(refused, SealError::Threads(2..)), "{refused}");
    }
}
