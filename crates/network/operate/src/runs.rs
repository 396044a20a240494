//! The runs of a federation, and which of them somebody means.

use identity::printable;
use params::Digest;
use plan::SignedPlan;
use run_status::RunEntry;
use wire::limits::LISTING_BYTES_MAX;
use wire::v1::runs_client::RunsClient;
use wire::v1::{ListRunsRequest, ShowRunRequest, StopRunRequest, SubmitRunRequest};
use wire::{ConversionError, Fault};

use crate::admin::{Outcome, ordered, taken};
use crate::connect::{ConnectError, Link};

/// A coordinator's runs.
///
/// # Errors
/// Each call: [`ConnectError::Refused`] where the coordinator says no, [`ConnectError::Lost`] where it is gone,
/// [`ConnectError::Answer`] where what it answers is no run.
pub struct Runs(RunsClient<Link>);

impl Runs {
    /// Over a connection that is there.
    pub fn over(link: Link) -> Self {
        Self(RunsClient::new(link).max_decoding_message_size(LISTING_BYTES_MAX))
    }

    /// Has a run of this plan begun, behind those that there are. A plan is run once: of one that was submitted already the
    /// coordinator says which run it is, and [`Runs::of_plan`] finds that.
    pub async fn submit(&mut self, plan: SignedPlan) -> Result<Outcome<RunEntry>, ConnectError> {
        let request = SubmitRunRequest { plan: Some(plan.into()) };
        entry(ordered(self.0.submit(request).await)?)
    }

    /// The run that has this plan, which the coordinator has said was submitted already.
    ///
    /// # Errors
    /// As every call, and where no run has it: an answer that lacks what it must hold.
    pub async fn of_plan(&mut self, plan: &SignedPlan) -> Result<RunEntry, ConnectError> {
        // The newest first: it is asked for after a submission. The list names no plan's digest.
        for entry in self.list().await?.into_iter().rev().filter(|entry| entry.author == plan.author) {
            let (entry, its) = self.show(Some(entry.run)).await?;
            if its.plan == plan.plan {
                return Ok(entry);
            }
        }
        Err(missing("runs").into())
    }

    /// Every run, the first that was submitted first.
    pub async fn list(&mut self) -> Result<Vec<RunEntry>, ConnectError> {
        let runs = taken(self.0.list(ListRunsRequest {}).await)?.runs;
        Ok(runs.into_iter().map(RunEntry::try_from).collect::<Result<_, _>>()?)
    }

    /// A run with its plan; without a name the one that is shown then.
    pub async fn show(&mut self, run: Option<Digest>) -> Result<(RunEntry, SignedPlan), ConnectError> {
        let shown = taken(self.0.show(ShowRunRequest { run: wire::run_bytes(run) }).await)?;
        let entry = shown.entry.ok_or_else(|| missing("entry"))?;
        let plan = shown.plan.ok_or_else(|| missing("plan"))?;
        Ok((entry.try_into()?, plan.try_into()?))
    }

    /// Ends a run for good.
    pub async fn stop(&mut self, run: Digest, reason: String) -> Result<Outcome<RunEntry>, ConnectError> {
        let request = StopRunRequest { run: run.as_bytes().to_vec(), reason };
        entry(ordered(self.0.stop(request).await)?)
    }

    /// The run that somebody means by this: its name in hexadecimal, the beginning of it where no other begins so, or the name of
    /// its plan where no other run has it.
    ///
    /// # Errors
    /// [`WhichRun`], which lists what it may be.
    pub async fn named(&mut self, wanted: &str) -> Result<Digest, WhichRun> {
        // Whole, it needs no list.
        if let Ok(run) = wanted.parse() {
            return Ok(run);
        }
        find(&self.list().await?, wanted)
    }

    /// The run that somebody means who changes one and does not say which: the only one that is not over. None where all are, and of
    /// a coordinator of a release that had one run.
    ///
    /// # Errors
    /// [`WhichRun::NotSaid`] where several are not over: nothing is changed by a guess.
    pub async fn only_open(&mut self) -> Result<Option<Digest>, WhichRun> {
        match self.0.list(ListRunsRequest {}).await {
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
            listed => {
                let runs = taken(listed)?.runs.into_iter().map(RunEntry::try_from);
                only(runs.collect::<Result<_, _>>().map_err(ConnectError::from)?)
            }
        }
    }
}

fn missing(field: &str) -> ConversionError {
    ConversionError { field: field.to_owned(), fault: Fault::Missing }
}

fn entry(outcome: Outcome<wire::v1::RunEntry>) -> Result<Outcome<RunEntry>, ConnectError> {
    Ok(match outcome {
        Outcome::Done(entry) => Outcome::Done(entry.try_into()?),
        Outcome::AlreadySo(why) => Outcome::AlreadySo(why),
    })
}

/// What names no run, or several.
#[derive(Debug, thiserror::Error)]
pub enum WhichRun {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// Nothing has that name, nor begins so.
    #[error("no run is `{wanted}`{}; {}", too_short(.wanted, .runs), among("there are", .runs))]
    None {
        /// What was given.
        wanted: String,
        /// All that there are.
        runs: Vec<RunEntry>,
    },
    /// More than one has that name, or begins so.
    #[error("`{wanted}` is more than one run; name one by its digits: {}", among("it may be", .runs))]
    Several {
        /// What was given.
        wanted: String,
        /// Those that it may be.
        runs: Vec<RunEntry>,
    },
    /// More than one is not over, and nobody said which.
    #[error("{} runs are not over; say which with --run: {}", .runs.len(), among("it may be", .runs))]
    NotSaid {
        /// Those that it may be.
        runs: Vec<RunEntry>,
    },
}

fn among(they_are: &str, runs: &[RunEntry]) -> String {
    if runs.is_empty() {
        return "there is none".into();
    }
    let one = |run: &RunEntry| format!("{} ({}, {})", run.run.short(), printable(&run.name), run.state);
    format!("{they_are} {}", runs.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Said of a name that would be the beginning of a run's if it were longer.
fn too_short(wanted: &str, runs: &[RunEntry]) -> String {
    let digits = wanted.to_ascii_lowercase();
    if digits.len() < PREFIX_MIN && runs.iter().any(|run| run.run.to_string().starts_with(&digits)) {
        return format!(": a run is named by at least {PREFIX_MIN} of its digits");
    }
    String::new()
}

/// Fewer digits are more likely a name, or a slip.
const PREFIX_MIN: usize = 4;

fn find(runs: &[RunEntry], wanted: &str) -> Result<Digest, WhichRun> {
    let digits = wanted.to_ascii_lowercase();
    let begins = |run: &&RunEntry| digits.len() >= PREFIX_MIN && run.run.to_string().starts_with(&digits);
    let meant: Vec<&RunEntry> = runs.iter().filter(|run| run.name == wanted || begins(run)).collect();
    let wanted = wanted.to_owned();
    match meant.as_slice() {
        [] => Err(WhichRun::None { wanted, runs: runs.to_vec() }),
        [one] => Ok(one.run),
        several => {
            Err(WhichRun::Several { wanted, runs: several.iter().map(|run| (*run).clone()).collect() })
        }
    }
}

fn only(mut runs: Vec<RunEntry>) -> Result<Option<Digest>, WhichRun> {
    runs.retain(|run| !run.state.is_over());
    match runs.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.run)),
        _ => Err(WhichRun::NotSaid { runs }),
    }
}

#[cfg(test)]
mod tests {
    use run_status::{RunState, samples};

    use super::*;

    fn run(name: &str, seed: &[u8], state: RunState) -> RunEntry {
        RunEntry { run: Digest::sha256(seed), name: name.into(), state, ..samples::run_entry() }
    }

    #[test]
    fn a_run_is_named_by_its_plan_or_by_the_beginning_of_its_digits() {
        let runs = [run("digits", b"1", RunState::Finished), run("wards", b"2", RunState::Running)];
        for one in &runs {
            let text = one.run.to_string();
            for wanted in [&one.name, &text[..4], &text[..12].to_uppercase(), &text] {
                assert_eq!(find(&runs, wanted).unwrap(), one.run, "{wanted}");
            }
        }
    }

    #[test]
    fn what_is_no_run_or_several_is_refused_with_those_that_it_may_be() {
        let runs = [
            run("digits", b"1", RunState::Finished),
            run("wards", b"2", RunState::Running),
            run("digits", b"3", RunState::Queued),
        ];
        let [first, second, third] = [0, 1, 2].map(|at| runs[at].run.short());
        let none = find(&runs, "ward").unwrap_err().to_string();
        assert_eq!(
            none,
            format!(
                "no run is `ward`; there are {first} (digits, finished), {second} (wards, running), {third} (digits, queued)"
            )
        );
        let several = find(&runs, "digits").unwrap_err().to_string();
        assert!(several.contains("more than one run") && !several.contains("wards"), "{several}");
        assert!(several.contains(&first) && several.contains(&third), "{several}");
        // Too few digits to be sure of.
        let short = find(&runs, &first[..3]).unwrap_err().to_string();
        assert!(short.contains("at least 4 of its digits") && short.contains(&first), "{short}");
        assert!(find(&[], "digits").unwrap_err().to_string().contains("there is none"));
    }

    #[test]
    fn what_changes_a_run_means_the_only_one_that_is_not_over_and_does_not_guess_among_several() {
        let (over, stopped) =
            (run("digits", b"1", RunState::Finished), run("wards", b"2", RunState::Stopped));
        let (paused, waits) = (run("wards", b"3", RunState::Paused), run("beds", b"4", RunState::Waiting));
        assert_eq!(only(vec![over.clone(), stopped.clone()]).unwrap(), None);
        assert_eq!(only(vec![over.clone(), paused.clone(), stopped]).unwrap(), Some(paused.run));
        let asked = only(vec![over, paused.clone(), waits]).unwrap_err().to_string();
        assert!(asked.starts_with("2 runs are not over; say which with --run: it may be "), "{asked}");
        let one = format!("{} (wards, paused)", paused.run.short());
        assert!(asked.contains(&one) && asked.contains("(beds, waiting)"), "{asked}");
    }
}
