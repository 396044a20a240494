//! The demonstration's processes: this program in its other roles, none of which outlives it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use identity::printable;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a daemon may take to listen, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const LOG_LINES_SHOWN: usize = 12;
const LOG_BYTES_READ: u64 = 16 << 10;

/// What went wrong with a process of the demonstration.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The system starts no process, or its log cannot be opened.
    #[error("{name} cannot be started: {why}")]
    NotStarted {
        name: String,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// The system does not end it.
    #[error("{name} cannot be killed: {why}")]
    NotKilled {
        name: String,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// It did what it should not.
    #[error("{name} {what}; the end of its log `{}`:\n{tail}", log.display())]
    Failed {
        name: String,
        /// What it did, as the rest of a sentence that begins with its name.
        what: String,
        /// Where it logs.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
}

/// One child process. Killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Held open, so that the daemon may print to it.
    stdout: Option<BufReader<ChildStdout>>,
    expected_to_end: bool,
}

impl Process {
    /// Starts this program as `role`, a subcommand with its switches, with a configuration; what it writes to standard error is added to `log`.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`]
    pub fn start(role: &[&str], name: &str, config: &Path, log: PathBuf) -> Result<Self, ProcessError> {
        let failed = |why| ProcessError::NotStarted { name: name.to_owned(), why };
        let program = std::env::current_exe().map_err(failed)?;
        // A daemon that is started again goes on in its log.
        let stderr = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let mut child = Command::new(program)
            .args(role)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { name: name.to_owned(), child, log, stdout, expected_to_end: false })
    }

    /// What it was started as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address in the one line that a coordinator prints when it listens.
    pub async fn address(&mut self) -> Result<String, ProcessError> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            // A read that fails or takes too long leaves the line empty.
            let _ = timeout(PATIENCE, stdout.read_line(&mut line)).await;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Ok(address.to_owned()),
            None => Err(self.failure("did not say where it listens")),
        }
    }

    /// Memory that the process holds in RAM, in bytes.
    ///
    /// # Errors
    /// A process that has ended, and a system that has no `/proc`.
    pub fn resident_bytes(&self) -> Result<u64, ProcessError> {
        let read = self.child.id().and_then(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
        read.as_deref().and_then(resident_bytes).ok_or_else(|| {
            self.failure("has no resident memory in /proc: it has ended, or this system is no Linux")
        })
    }

    /// An error if the process ended by itself and not well.
    pub fn check(&mut self) -> Result<(), ProcessError> {
        match self.child.try_wait() {
            Ok(Some(status)) if !self.expected_to_end && !status.success() => {
                Err(self.failure(&format!("ended unexpectedly ({status})")))
            }
            Ok(_) => Ok(()),
            Err(why) => Err(self.failure(&format!("cannot be watched: {why}"))),
        }
    }

    /// Ends the process by SIGKILL: it has no chance to say or to save anything.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.expected_to_end = true;
        let killed = self.child.kill().await;
        killed.map_err(|why| ProcessError::NotKilled { name: self.name.clone(), why })
    }

    /// Asks the process to stop, waits, and kills it if it does not.
    pub async fn stop(&mut self) -> Result<(), ProcessError> {
        self.expected_to_end = true;
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(self.failure(&format!("cannot be waited for: {why}"))),
            Err(_) => {
                let _ = self.child.kill().await;
                Err(self.failure("did not stop when asked to, and was killed"))
            }
        }
    }

    /// What went wrong, with the end of the log.
    pub fn failure(&self, what: &str) -> ProcessError {
        ProcessError::Failed {
            name: self.name.clone(),
            what: what.to_owned(),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

/// The figure in a process's status file.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes - bytes.min(LOG_BYTES_READ)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|why| format!("(cannot be read: {why})"));
    let lines = text.lines().count();
    let shown = text.lines().skip(lines - lines.min(LOG_LINES_SHOWN));
    shown.map(|line| format!("  {}\n", printable(line))).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_and_not_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, (0..9000).map(|line| format!("line {line}\n")).collect::<String>()).unwrap();
        let shown = tail(&log);
        assert_eq!(shown.lines().count(), LOG_LINES_SHOWN);
        assert!(shown.ends_with("line 8999"), "{shown}");
    }

    #[test]
    fn resident_memory_is_read_in_bytes_or_not_at_all() {
        let status = "Name:\tfolkmoot\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(10 << 20));
        assert_eq!(resident_bytes("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_log_that_is_gone_is_said_to_be() {
        assert!(tail(Path::new("no-such-log")).contains("cannot be read"));
    }
}
