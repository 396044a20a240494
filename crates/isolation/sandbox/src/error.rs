use std::error::Error;
use std::io;
use std::path::PathBuf;

/// What a fault of the kernel's or a library's is kept as.
type Cause = Box<dyn Error + Send + Sync>;

/// Why a process was not sealed as it was asked to be. It is to end: part of the seal may be in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Another system than Linux, or a processor that no filter was written for.
    #[error(
        "a sandbox is required, and there is one on Linux for x86_64 and aarch64 alone: run this there, or ask for best_effort or off"
    )]
    NotHere,
    /// The kernel has no Landlock.
    #[error(
        "a sandbox is required, and this kernel offers no Landlock (5.13 and newer do, where `landlock` is in `lsm=`): boot one that does, \
         or ask for best_effort"
    )]
    NoLandlock(#[source] Option<Cause>),
    /// The kernel takes no filter of system calls.
    #[error(
        "a sandbox is required, and this kernel takes no filter of system calls (CONFIG_SECCOMP_FILTER): boot one that does, or ask \
         for best_effort"
    )]
    NoFilter(#[source] Cause),
    /// Only the calling thread would be sealed.
    #[error(
        "a process is sealed before it has a second thread, and this one has {0}: seal it in the first lines of its main"
    )]
    Threads(usize),
    /// No filter stands between a process and a connection that it has already.
    #[error(
        "descriptor {0} is a network connection: give the process to be sealed a pipe, a file or a socket pair"
    )]
    NetworkStream(usize),
    /// [`SealProfile::Native`](crate::SealProfile::Native) executes nothing.
    #[error(
        "a runtime is listed for a native program, which executes nothing: list none, or take the profile interpreter"
    )]
    RuntimeOfANativeProgram,
    /// Nobody is left who waits for it.
    #[error("the process that started this one has died")]
    ParentDied,
    /// What the process is to be left with is not there.
    #[error("{} is to stay open to the sealed process and cannot be opened: create it, or correct the configuration", path.display())]
    Path {
        /// As it was given.
        path: PathBuf,
        /// What the kernel, or Landlock, answered.
        source: Cause,
    },
    /// What a process uses lies in the data that it shuts itself out of.
    #[error("{}, which this process uses, lies in the data {}: move one of them elsewhere", path.display(), data.display())]
    InsideData {
        /// What it uses, without links.
        path: PathBuf,
        /// The data that this is about.
        data: PathBuf,
    },
    /// Whoever reads the data would read it too.
    #[error(
        "{}, which nobody who reads the data may have, lies in the data {}: move the data to a folder in which nothing else lies", secret.display(), data.display()
    )]
    SecretInData {
        /// The file, without links.
        secret: PathBuf,
        /// The data that this is about.
        data: PathBuf,
    },
    /// No rule on paths holds for what is open already.
    #[error(
        "{} is data and is open as descriptor {descriptor} of this process: start it with another input or output", data.display()
    )]
    OpenAlready {
        /// Its number, decimal.
        descriptor: String,
        /// The file that it is open on.
        data: PathBuf,
    },
    /// Where a process writes, or follows what others put there, all must be left to it.
    #[error(
        "the data {} lies in {}, which this process needs as a whole (it writes there, or reads what is put there later), so that \
         it cannot be shut out of the data: move that to a folder in which nothing else lies", data.display(), folder.display()
    )]
    DataInside {
        /// What it needs as a whole, without links.
        folder: PathBuf,
        /// The data that this is about.
        data: PathBuf,
    },
    /// It could change by what it is held the next time.
    #[error(
        "`{}`, which says how this process is held or is started for it, lies in `{}`, in which it writes: move what is written there (a \
         certificate and its key, an anchor) to a folder of its own", file.display(), folder.display()
    )]
    FixedInside {
        /// What it writes in, without links.
        folder: PathBuf,
        /// The file that this is about, without links.
        file: PathBuf,
    },
    /// It was tried, and is not held by any rule.
    #[error(
        "this process can open the data by {} all the same: remove that name if it is a second one of the file (a hard link), or \
         take it out of the folders that this process uses", .0.display()
    )]
    StillOpen(PathBuf),
    /// A step that no kernel of today refuses was refused.
    #[error(
        "cannot {step}, without which no process is sealed: see what else confines this one, or turn the sandbox off"
    )]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}
