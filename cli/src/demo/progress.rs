//! What the demonstration prints while it runs.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use demo::{Audience, EvaluatedVersion, version_line};
use identity::printable;
use plan::Plan;
use run_status::Status;

/// Where progress goes: on a terminal with one line that changes, elsewhere plain lines.
pub(super) struct Progress {
    out: Box<dyn Write + Send>,
    terminal: bool,
    started: Instant,
    rounds: u64,
    budget: Option<f64>,
    /// Where the processes log.
    logs: PathBuf,
    /// Rounds that were, as far as was said.
    aborted: u64,
}

impl Progress {
    /// On standard output, or on standard error where the output is for a program.
    pub(super) fn new(to_stderr: bool, plan: &Plan, logs: &Path) -> Self {
        let (out, terminal): (Box<dyn Write + Send>, bool) = if to_stderr {
            (Box::new(std::io::stderr()), std::io::stderr().is_terminal())
        } else {
            (Box::new(std::io::stdout()), std::io::stdout().is_terminal())
        };
        let budget = plan.budget().map(|(epsilon, _)| epsilon);
        let (rounds, logs) = (plan.rounds, logs.to_owned());
        Self { out, terminal, started: Instant::now(), rounds, budget, logs, aborted: 0 }
    }

    /// One line for good.
    pub(super) fn say(&mut self, line: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        // Nobody may be reading any more; the run goes on.
        let _ = writeln!(self.out, "{clear}{line}");
        let _ = self.out.flush();
    }

    /// The line that changes: what the run is doing now.
    fn phase(&mut self, round: u64, phase: &str) {
        if self.terminal {
            let _ = write!(self.out, "\r\x1b[2K{round:>5}  {phase} …");
            let _ = self.out.flush();
        }
    }

    fn header(&mut self) {
        self.say("round      outcome    silos  accuracy  epsilon          seconds  left out");
    }
}

impl Audience for Progress {
    fn started(&mut self, url: &str, silos: usize) {
        let logs = self.logs.display();
        let line = format!(
            "coordinator at {url}, {silos} silos, each a process of its own; their logs are in {logs}"
        );
        self.say(&line);
        self.header();
    }

    fn killed(&mut self, round: u64, silo: &str) {
        self.say(&format!("{round:>5}  {silo} was killed by SIGKILL, as asked; the run goes on"));
    }

    fn status(&mut self, status: &Status) {
        if status.rounds_aborted > self.aborted {
            self.aborted = status.rounds_aborted;
            self.say(&format!("       aborted    {}", printable(&status.last_outcome)));
        }
        self.phase(status.round, status.phase.word());
    }

    fn published(&mut self, version: &EvaluatedVersion) {
        let line = version_line(version, self.rounds, self.budget, self.started.elapsed().as_secs_f64());
        self.say(&line);
    }
}
