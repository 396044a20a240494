//! Plans that are submitted while others run: each is a run of its own, begun as the coordinator's driver does.

use federation::{Input, RunNumber};
use plan::{AuthoredPlan, Plan};
use protocol::Rejection;

use crate::agenda::Event;
use crate::federation::Federation;
use crate::run_files::RunFiles;
use crate::samples::authored;
use crate::trace::{Place, of_run};

/// How long an author waits before it submits again where it was not answered.
const RETRY_MS: u64 = 700;

impl Federation {
    /// An author submits this plan at this time, in milliseconds after the start, and again until it is answered.
    ///
    /// # Panics
    /// Where the plan is not usable.
    pub fn submitting(mut self, at_ms: u64, plan: Plan) -> Self {
        plan.validate().unwrap_or_else(|why| panic!("{why}"));
        self.agenda.add(at_ms, Event::Submit(Box::new(authored(plan))));
        self.submissions += 1;
        self
    }

    /// Whether the author is answered, with whatever: by a coordinator that dies first it is not.
    pub(crate) fn submitted(&mut self, plan: AuthoredPlan) {
        if self.take_submission(&plan) {
            self.submissions -= 1;
        } else {
            self.agenda.add(self.now_ms + RETRY_MS, Event::Submit(Box::new(plan)));
        }
    }

    fn take_submission(&mut self, plan: &AuthoredPlan) -> bool {
        // What was decided so far is done: a run takes the next number.
        self.center_performs();
        let Some(process) = &mut self.center.process else { return false };
        let number = process.core.next_number();
        if number == RunNumber::FIRST {
            return false;
        }
        if self.center.runs.values().any(|run| run.plan.digest() == plan.digest()) {
            return true;
        }
        let files = RunFiles::new(plan.clone());
        let (journal, _) = files.open_journal().expect("an empty journal");
        process.journals.insert(number, journal);
        self.oracle.admits(number, plan.cohort.corrupt);
        self.center.runs.insert(number, files);
        self.note(Place::Coordinator, || format!("takes a plan{}", of_run(number)));
        if self.begin(number, "author".into()).is_err() {
            self.remove(number);
            return true;
        }
        self.center_performs();
        self.center.process.is_some()
    }

    /// Begins the run whose files are there.
    pub(crate) fn begin(&mut self, number: RunNumber, by: String) -> Result<(), Rejection> {
        let Some(run) = self.center.runs.get_mut(&number) else { return Ok(()) };
        let (plan, genesis) = (run.plan.clone(), run.genesis());
        let setup = Box::new(self.center.setup(plan));
        self.coordinate(Input::Submit { number, setup, genesis, by })
    }

    /// Removes submissions that a crash cut off: nobody was answered that they were taken.
    pub(crate) fn remove_cut_off(&mut self) {
        let Some(process) = &self.center.process else { return };
        let begun: Vec<RunNumber> = process.core.numbers().collect();
        let cut_off = self.center.runs.keys().filter(|number| **number > RunNumber::FIRST);
        for number in cut_off.filter(|number| !begun.contains(number)).copied().collect::<Vec<_>>() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: RunNumber) {
        self.note(Place::Coordinator, || format!("removes the files{}", of_run(number)));
        self.center.runs.remove(&number);
        if let Some(process) = &mut self.center.process {
            process.journals.remove(&number);
        }
    }
}
