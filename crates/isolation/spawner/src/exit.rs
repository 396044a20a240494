//! How a process ended.

use std::fmt;
use std::process::ExitStatus;

use rustix::process::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal. A spawner that ends a trainer sends `SIGTERM` first, and `SIGKILL` at once behind it: whichever end came
    /// first is the one that the kernel keeps.
    Signal(i32),
    /// It was killed, and the kernel does not let go of it: it waits for a disk or a network file system that does not answer.
    Lingering,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // Neither exited nor killed: only a process that is traced, which no wait here asks for.
            (None, None) => Self::Code(-1),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => match NAMES.iter().find(|(known, ..)| known.as_raw() == *signal) {
                Some((_, name, meaning)) => write!(f, "killed by signal {signal} ({name}: {meaning})"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Lingering => f.write_str(
                "killed, and not gone yet: it waits in the kernel, as for a disk or a network file system that does not answer",
            ),
        }
    }
}

/// Signals with their names and with what they stand for in a trainer.
const NAMES: [(Signal, &str, &str); 10] = [
    (Signal::SYS, "SIGSYS", "it tried what the seal forbids"),
    (Signal::KILL, "SIGKILL", "not by its daemon; mostly by the kernel, for want of memory"),
    (Signal::ABORT, "SIGABRT", "it gave up, often for want of memory: where `memory_mb` is set, raise it"),
    (Signal::SEGV, "SIGSEGV", "a bad memory access"),
    (Signal::BUS, "SIGBUS", "a bad memory access, often to a file that was cut short"),
    (Signal::ILL, "SIGILL", "an instruction that this processor does not know"),
    (Signal::FPE, "SIGFPE", "an arithmetic error"),
    (Signal::XCPU, "SIGXCPU", "its processor time was used up"),
    (Signal::XFSZ, "SIGXFSZ", "it wrote more than it may"),
    (Signal::TERM, "SIGTERM", "its daemon ended it"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_with_its_signals_name_and_meaning() {
        let said = |exit: Exit| exit.to_string();
        assert_eq!(said(Exit::Code(7)), "ended with exit code 7");
        let sys = Exit::Signal(Signal::SYS.as_raw());
        assert!(said(sys).ends_with("(SIGSYS: it tried what the seal forbids)"), "{sys}");
        let abort = Exit::Signal(Signal::ABORT.as_raw());
        assert!(said(abort).starts_with("killed by signal 6 (SIGABRT: "), "{abort}");
        assert_eq!(said(Exit::Signal(15)), "killed by signal 15 (SIGTERM: its daemon ended it)");
        assert!(said(Exit::Signal(9)).contains("not by its daemon"), "{}", Exit::Signal(9));
        assert!(said(Exit::Lingering).contains("not gone yet"), "{}", Exit::Lingering);
        assert_eq!(said(Exit::Signal(63)), "killed by signal 63");
    }
}
