//! The list of runs: what each one's state is, and why.

use protocol::RunEnd;
use run_status::{RunEntry, RunPhase, RunState, Status};

use crate::{Federation, Run, RunNumber};

impl Federation {
    /// All runs, in the order of their numbers.
    pub fn runs(&self) -> Vec<RunEntry> {
        let active = self.active();
        let mut queued = 0;
        let entry = |(number, run): (&RunNumber, &Run)| {
            let status = run.coordinator.status();
            let (state, reason) = state_of(*number, run, &status, &active);
            let position = (state == RunState::Queued).then(|| {
                queued += 1;
                queued
            });
            let waits = run.coordinator.waits().filter(|_| state == RunState::Waiting);
            RunEntry {
                run: status.run_id,
                number: number.0,
                name: status.run_name,
                author: run.coordinator.plan().signed().author.clone(),
                state,
                reason,
                position,
                rounds_committed: status.rounds_committed,
                rounds_planned: status.rounds_planned,
                submitted_ms: run.submitted_ms,
                submitted_by: run.submitted_by.clone(),
                since_ms: waits.map(|(since, _)| since.0),
                until_ms: waits.map(|(_, until)| until.0),
            }
        };
        self.runs.iter().map(entry).collect()
    }
}

impl Federation {
    /// Says in the status of a run that waits for its turn which runs go before it. Nobody owes it anything.
    pub(crate) fn show_queue(&self, number: RunNumber, active: &[RunNumber], status: &mut Status) {
        let Some(run) = self.runs.get(&number) else { return };
        if let (RunState::Queued, reason) = state_of(number, run, status, active) {
            status.waiting_why = [vec![reason], status.notices.clone()].concat().join("; ");
            status.waiting_for.clear();
        }
    }
}

fn state_of(number: RunNumber, run: &Run, status: &Status, active: &[RunNumber]) -> (RunState, String) {
    let core = &run.coordinator;
    if let Some(end) = core.ended() {
        let stopped = matches!(end, RunEnd::TooFewWilling { .. } | RunEnd::Stopped { .. });
        let state = if stopped { RunState::Stopped } else { RunState::Finished };
        return (state, end.to_string());
    }
    let idle = status.phase == RunPhase::GatheringSilos;
    if core.is_held() {
        return (RunState::Paused, status.notices.join("; "));
    }
    if idle && (core.too_few_willing() || core.too_few_here()) {
        return (RunState::Waiting, status.waiting_why.clone());
    }
    if idle && !active.contains(&number) {
        let before: Vec<String> = active.iter().map(ToString::to_string).collect();
        let go = if before.len() == 1 { "goes" } else { "go" };
        return (RunState::Queued, format!("{} {go} before it", before.join(", ")));
    }
    let state = if idle && !core.has_enough_here() { RunState::Waiting } else { RunState::Running };
    (state, status.waiting_why.clone())
}
