//! What the demonstration prints while it runs.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use accounting::rounded_up;
use demo::{Audience, EvaluatedVersion};
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
        let line = committed(version, self.rounds, self.budget, self.started.elapsed().as_secs_f64());
        self.say(&line);
    }
}

fn committed(version: &EvaluatedVersion, rounds: u64, budget: Option<f64>, seconds: f64) -> String {
    let manifest = &version.manifest;
    let epsilon = match (manifest.privacy.epsilon, budget) {
        (Some(spent), Some(budget)) => format!("{} of {}", rounded_up(spent, 2), rounded_up(budget, 2)),
        _ => "-".into(),
    };
    let outcome = if manifest.round == 0 { "initial" } else { "committed" };
    let left_out: Vec<String> = manifest
        .left_out
        .iter()
        .map(|left_out| format!("silo-{}: {}", left_out.client, left_out.reason))
        .collect();
    let line = format!(
        "{:>5}/{rounds:<4} {outcome:<9} {:>6}  {:>8.4}  {epsilon:<15} {seconds:>8.2}  {}",
        manifest.round,
        manifest.included.len(),
        version.accuracy,
        left_out.join("; ")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use demo::samples;

    use super::*;

    #[test]
    fn a_line_names_round_outcome_accuracy_epsilon_seconds_and_who_was_left_out() {
        let line = committed(&samples::version(7, &[1, 2, 3, 4]), 30, Some(4.9), 1.5);
        for part in ["7/30", "committed", " 4 ", "0.9000", "0.70 of 4.90", "1.50", "silo-5: was too late"] {
            assert!(line.contains(part), "no {part:?} in {line:?}");
        }
    }

    #[test]
    fn without_a_budget_no_epsilon_is_shown() {
        let line = committed(&samples::version(7, &[1, 2, 3, 4, 5]), 30, None, 1.5);
        assert!(!line.contains("of 4.90") && !line.contains("left out"), "{line:?}");
    }
}
