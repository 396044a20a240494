//! A run from its first process to its last version.

use identity::printable;
use run_status::{Ended, Ending, Status};
use tokio::sync::watch;

use crate::error::DemoRunError;
use crate::folder::DemoFolder;
use crate::follow::{EvaluatedVersion, follow};
use crate::process::ProcessError;
use crate::processes::Processes;

/// Whoever is shown a run while it goes on.
pub trait Audience {
    /// All processes are started; the coordinator is called at this address.
    fn started(&mut self, url: &str, silos: usize);
    /// The last silo was killed in this round, as was asked.
    fn killed(&mut self, round: u64, silo: &str);
    /// The run's status has changed.
    fn status(&mut self, status: &Status);
    /// A version was published and judged.
    fn published(&mut self, version: &EvaluatedVersion);
}

/// Runs the federation of a folder to the end of its plan, and stops its processes. In the round `kill_at` the last silo's
/// process is killed.
///
/// Every published version, from the initial model to the last. Dropping the future kills the processes.
///
/// # Errors
/// [`DemoRunError`]; a run that ended otherwise than its plan says is one.
pub async fn run(
    folder: &DemoFolder,
    mut kill_at: Option<u64>,
    audience: &mut impl Audience,
) -> Result<Vec<EvaluatedVersion>, DemoRunError> {
    let mut processes = Processes::start(folder).await?;
    audience.started(processes.url(), processes.silos().len());
    let (channel, mut changes) = processes.watch().await?;
    let (head, heads) = watch::channel(None);
    let mut evaluated = follow(channel, folder.coordinator_key(), folder.plan().clone(), heads);
    let mut versions: Vec<EvaluatedVersion> = Vec::new();
    let mut last_round = None;
    loop {
        tokio::select! {
            message = changes.message(), if last_round.is_none() => {
                let status = processes.status(message)?;
                if kill_at.is_some_and(|round| is_due(round, status.round, status.deadline_ms)) {
                    kill_at = None;
                    if let Some(silo) = processes.kill_last().await? {
                        audience.killed(status.round, silo);
                    }
                }
                audience.status(&status);
                if status.head.is_some() {
                    head.send_if_modified(|round| round.replace(status.head_round) != Some(status.head_round));
                }
                if let Some(ended) = &status.ended {
                    check_end(ended, &processes)?;
                    last_round = Some(status.head_round);
                }
            }
            version = evaluated.recv() => {
                let version = version.ok_or(DemoRunError::NotFollowed)??;
                audience.published(&version);
                processes.progressed();
                versions.push(version);
            }
            why = processes.failed() => return Err(why.into()),
        }
        let newest = versions.last().map(|version| version.manifest.round);
        if newest.is_some() && newest == last_round {
            processes.stop().await?;
            return Ok(versions);
        }
    }
}

/// Whether this round is in progress, or over.
fn is_due(round: u64, at: u64, deadline_ms: Option<u64>) -> bool {
    let in_progress = deadline_ms.is_some() || at > round;
    at >= round && in_progress
}

fn check_end(ended: &Ended, processes: &Processes<'_>) -> Result<(), ProcessError> {
    match ended.how {
        Ending::Complete | Ending::BudgetSpent => Ok(()),
        Ending::Refused | Ending::Stopped | Ending::Unknown => {
            let what = format!("ended the run: {}", printable(&ended.why));
            Err(processes.coordinator().failure(&what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silo_is_killed_inside_its_round_or_in_the_next_change_that_is_seen() {
        assert!(!is_due(3, 2, Some(9)));
        assert!(!is_due(3, 3, None), "it has not begun");
        assert!(is_due(3, 3, Some(9)));
        assert!(is_due(3, 4, None));
    }
}
