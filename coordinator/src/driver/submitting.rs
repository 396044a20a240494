//! A run begins: its folder and version 0 are durable before the record that says so, and that before anybody is answered.

use anyhow::Context;
use federation::{Input, RunNumber};
use params::Digest;
use plan::{AuthoredPlan, SignedPlan};
use protocol::{Rejection, Setup};
use run_status::RunEntry;
use runs::RunFolder;

use super::Driver;

impl Driver {
    /// Begins a run of a plan, and says which it is; of one that was submitted already, that it was and as which.
    pub(super) fn submit(
        &mut self,
        plan: AuthoredPlan,
        by: String,
    ) -> anyhow::Result<Result<RunEntry, Rejection>> {
        // What was decided so far is done: a run takes the next number.
        self.perform()?;
        if let Err(why) = self.federation.may_submit(&plan, &by, self.clock.now()) {
            return Ok(Err(why));
        }
        let number = self.federation.next_number();
        let made = self.folders.runs.make(number.0, plan.signed());
        let begun = match made {
            Ok(store) => {
                let folder = self.folders.wrapped(number, store, plan);
                self.begin(number, folder, by)?
            }
            Err(why) => {
                tracing::error!("no folder for a run: {:#}", anyhow::Error::from(why));
                Err(Rejection::NotPossible(
                    "the coordinator cannot write the run down; its log says why".into(),
                ))
            }
        };
        if begun.is_err() {
            // The next start would remove it.
            self.folders.runs.remove(number.0)?;
        }
        Ok(begun.and_then(|()| self.entry(number)))
    }

    /// Begins the run of an open folder; its records are durable when this returns.
    pub(super) fn begin(
        &mut self,
        number: RunNumber,
        mut folder: RunFolder,
        by: String,
    ) -> anyhow::Result<Result<(), Rejection>> {
        let plan = folder.plan().clone();
        let digest = plan.digest();
        let pace = super::publish_every(&plan);
        let parent = match self.folders.runs.parent_model(&plan) {
            Ok(parent) => parent,
            Err(why) if number != RunNumber::FIRST => {
                return Ok(Err(Rejection::NotPossible(identity::with_causes(&why))));
            }
            Err(why) => return Err(why.into()),
        };
        let genesis = match folder.stage_initial(parent) {
            Ok(genesis) => genesis,
            Err(why) if number != RunNumber::FIRST => {
                tracing::error!("a run cannot begin: {:#}", anyhow::Error::from(why));
                let why = "the coordinator cannot write version 0 down; its log says why";
                return Ok(Err(Rejection::NotPossible(why.into())));
            }
            Err(why) => return Err(why.into()),
        };
        let setup = Box::new(self.setup(plan));
        if let Err(why) = self.input(Input::Submit { number, setup, genesis, by }) {
            return Ok(Err(why));
        }
        self.keep(number, folder)?;
        self.perform()?;
        self.load_head(number)?;
        self.audit.pace(pace);
        let run = self.at_work(number)?.id.short();
        tracing::info!(number = number.0, %run, plan = %digest.short(), "run started");
        Ok(Ok(()))
    }

    /// The plan of the configuration, where no run has it.
    pub(super) fn submit_configured(&mut self, plan: AuthoredPlan) -> anyhow::Result<()> {
        if self.run_of_plan(&plan.digest()).is_some() {
            return Ok(());
        }
        let digest = plan.digest().short();
        let entry = self.submit(plan, String::new())?.with_context(|| {
            format!("the configured plan {digest} is no run's and cannot be submitted as another one")
        })?;
        tracing::info!(
            plan = %digest, number = entry.number,
            "the configured plan is no run's of this federation yet: it is submitted as another run"
        );
        Ok(())
    }

    pub(super) fn setup(&self, plan: AuthoredPlan) -> Setup {
        let own = &self.own;
        Setup { plan, roster: own.roster.clone(), authority: own.authority, key: own.key.clone() }
    }

    /// The run that has this plan.
    pub(super) fn run_of_plan(&self, plan: &Digest) -> Option<RunNumber> {
        self.runs.iter().find(|(_, run)| run.folder.plan().digest() == *plan).map(|(number, _)| *number)
    }

    /// A run with its plan.
    pub(super) fn show(&self, number: RunNumber) -> Option<(RunEntry, SignedPlan)> {
        let plan = self.runs.get(&number)?.folder.plan().signed().clone();
        Some((self.entry(number).ok()?, plan))
    }

    fn entry(&self, number: RunNumber) -> Result<RunEntry, Rejection> {
        let entry = self.federation.runs().into_iter().find(|entry| entry.number == number.0);
        entry.ok_or_else(|| Rejection::NotPossible(format!("there is no {number}")))
    }
}
