//! What goes into a federation and what comes out: each input to the run, or the runs, that it belongs to.

use identity::AuthorisedRoster;
use plan::AuthoredPlan;
use protocol::{
    Act, Artifacts, Attempt, Coordinator, OfRun, Record, Rejection, RoundOutcome, SessionVersion, Setup,
    SumFailure, SumResult, Timestamp, ToCoordinator, UploadHeader,
};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::{Federation, Run, RunNumber, unknown};

/// Runs of one federation, those that are over among them: each has a folder with a model, and anybody who may submit can fill a disk.
const RUNS_MAX: u32 = 1000;
/// Runs that are not over.
const OPEN_MAX: usize = 64;
/// Of one author's plans, and of one operator's submissions, so that nobody has all places.
const OPEN_OF_ONE_MAX: usize = 16;
/// Those of one that begin within a day: who stops what it has submitted does not use up the numbers that there are.
const OF_ONE_A_DAY_MAX: usize = 32;
const DAY_MS: u64 = 24 * 3_600_000;

/// What happened to a federation, or to one of its runs.
pub enum Input {
    /// A plan was submitted; version 0 of its model is staged in the folder of the number that is next. The shell has checked who
    /// may submit, and the plan's signature.
    Submit {
        /// The one of [`Federation::next_number`].
        number: RunNumber,
        /// Of the plan; its roster counts for a federation's first run alone, later ones begin under the newest.
        setup: Box<Setup>,
        /// Of the staged files.
        genesis: Artifacts,
        /// Who submitted it; empty for the run of the configuration.
        by: String,
    },
    /// A member's session stands and its identity is proven.
    Connected {
        client: ClientId,
        /// What the session is spoken in.
        version: SessionVersion,
    },
    /// Its session ended.
    Disconnected { client: ClientId },
    /// It said something.
    Message {
        /// Who, as its session has proven.
        from: ClientId,
        message: OfRun<ToCoordinator>,
    },
    /// Its masked vector lies in the run's staging, complete, of the announced digest and durable.
    Staged { run: RunNumber, header: UploadHeader },
    /// A job is done.
    Summed { run: RunNumber, at: Attempt, result: SumResult },
    /// The authority has signed a later roster: for the first run, whose journal keeps them all, and for each that is not over.
    Roster(Box<AuthorisedRoster>),
    /// An operator, who may, wants this. What is about a member ([`Act::Remove`], [`Act::Restore`]) is done in all runs that are not over.
    Act {
        run: RunNumber,
        act: Act,
        /// What [`protocol::Input::Act`] says of it.
        staged: Option<Artifacts>,
    },
    /// The deadline that [`Federation::deadline`] named has passed.
    Tick,
}

/// What the shell must do for one run: in the run's folder, or with the run's name.
#[derive(Debug)]
pub struct Effect {
    pub run: RunNumber,
    pub effect: protocol::Effect,
}

impl Effect {
    /// Whether it is a record that rests on those of other runs before it, which must be durable first: that an attempt's silos are in
    /// no other one any more, that a member is let in everywhere else. Other records of different runs may be made durable in any
    /// order.
    pub fn rests_on_other_runs(&self) -> bool {
        let protocol::Effect::Persist(record) = &self.effect else { return false };
        matches!(record, Record::AttemptBegun { .. } | Record::Restored { .. })
    }
}

/// Effects in their order.
pub type Effects = Vec<Effect>;

pub(crate) fn of_run(run: RunNumber, effects: protocol::Effects, out: &mut Effects) {
    out.extend(effects.into_iter().map(|effect| Effect { run, effect }));
}

impl Federation {
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        match input {
            Input::Submit { number, setup, genesis, by } => {
                return self.submit(now, rng, (number, *setup, genesis, by), out);
            }
            Input::Connected { client, version } => {
                return self.connected(now, rng, (client, version), out);
            }
            Input::Disconnected { client } => {
                self.sessions.remove(&client);
                self.give_in_turn(now, rng, &|| protocol::Input::Disconnected { client }, out);
                for number in self.over() {
                    self.give(number, now, rng, protocol::Input::Disconnected { client }, out)?;
                }
            }
            Input::Message { from, message } => {
                let number = self.run_of(from, message.run.as_ref())?;
                self.answered(from, number);
                let input = protocol::Input::Message { from, message: message.message };
                self.give(number, now, rng, input, out)?;
            }
            Input::Staged { run, header } => {
                self.give(run, now, rng, protocol::Input::Staged(header), out)?
            }
            Input::Summed { run, at, result } => {
                if let Err(SumFailure::WrongSecret(client)) = &result {
                    self.bar_elsewhere(run, at, *client, out);
                }
                self.give(run, now, rng, protocol::Input::Summed { at, result }, out)?;
            }
            Input::Roster(roster) => {
                let numbers = self.keeping_members();
                self.each(&numbers, now, rng, &|| protocol::Input::Roster(roster.clone()), out)?;
            }
            Input::Act { act: act @ Act::Remove { .. }, .. } => {
                let numbers = self.keeping_members();
                self.each(&numbers, now, rng, &|| act_input(&act), out)?;
            }
            Input::Act { act: act @ Act::Restore { .. }, .. } => {
                // The first run last: should a crash fall between, the member is barred everywhere again.
                let numbers: Vec<RunNumber> = self.keeping_members().into_iter().rev().collect();
                self.each(&numbers, now, rng, &|| act_input(&act), out)?;
            }
            Input::Act { run, act, staged } => {
                self.give(run, now, rng, protocol::Input::Act { act, staged }, out)?;
            }
            Input::Tick => {
                self.give_in_turn(now, rng, &|| protocol::Input::Tick, out);
            }
        }
        Ok(())
    }

    /// A member that is caught at a lie in one run is in no cohort of the others either. It is written down there first: should a
    /// crash fall between, it is caught again.
    fn bar_elsewhere(&mut self, number: RunNumber, at: Attempt, client: ClientId, out: &mut Effects) {
        if !self.run(number).is_some_and(|run| run.opens_sum_of(at)) {
            return;
        }
        let reason = RoundOutcome::WrongSecret { client }.to_string();
        for other in self.keeping_members().into_iter().filter(|other| *other != number) {
            let mut effects = protocol::Effects::new();
            if let Some(run) = self.runs.get_mut(&other) {
                run.coordinator.bar(client, &format!("{reason}, in {number}"), &mut effects);
            }
            of_run(other, effects, out);
        }
    }

    /// Gives an input to one run.
    pub(crate) fn give(
        &mut self,
        number: RunNumber,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: protocol::Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let run = self.runs.get_mut(&number).ok_or_else(|| unknown(&number))?;
        let mut effects = protocol::Effects::new();
        let result = run.coordinator.handle(now, rng, input, &mut effects);
        of_run(number, effects, out);
        result
    }

    /// Gives one input to all runs that are not over. Time alone changes which silos they keep, so each takes its turn as those
    /// before it have left it, and no two open an attempt on what was so at the input before.
    fn give_in_turn(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: &dyn Fn() -> protocol::Input,
        out: &mut Effects,
    ) {
        self.each_turn(now, |federation, number, _| {
            // Neither of what is given so is ever refused.
            let _ = federation.give(number, now, rng, input(), out);
        });
    }

    fn over(&self) -> Vec<RunNumber> {
        let over = self.runs.iter().filter(|(_, run)| run.coordinator.ended().is_some());
        over.map(|(number, _)| *number).collect()
    }

    /// Gives one input to several runs: it is refused where each of them refuses it.
    fn each(
        &mut self,
        numbers: &[RunNumber],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: &dyn Fn() -> protocol::Input,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let mut result = Err(Rejection::NotPossible("there is no run yet".into()));
        for (index, number) in numbers.iter().enumerate() {
            let this = self.give(*number, now, rng, input(), out);
            result = if index == 0 || result.is_err() && this.is_ok() { this } else { result };
        }
        result
    }

    /// The runs whose journals say who the members are: the first, and those that are not over.
    fn keeping_members(&self) -> Vec<RunNumber> {
        let mut runs = self.runs.iter();
        let first = runs.next();
        let open = runs.filter(|(_, run)| run.coordinator.ended().is_none());
        first.into_iter().chain(open).map(|(number, _)| *number).collect()
    }

    fn submit(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        (number, mut setup, genesis, by): (RunNumber, Setup, Artifacts, String),
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        self.may_submit(&setup.plan, &by, now)?;
        if number != self.next_number() {
            return Err(Rejection::NotPossible(format!("{number} is not the next one")));
        }
        if let Some(newest) = self.newest_roster() {
            setup.roster = newest.clone();
        }
        let mut effects = protocol::Effects::new();
        let mut coordinator = Coordinator::recover(setup, &[], now, &mut effects)
            .map_err(|why| Rejection::NotPossible(why.to_string()))?;
        coordinator.handle(now, rng, protocol::Input::Start { genesis }, &mut effects)?;
        if !by.is_empty() {
            effects.push(protocol::Effect::Persist(Record::Submitted { now, by: by.clone() }));
        }
        if let Some(first) = self.runs.values().next() {
            coordinator.follows_from(&first.coordinator, &mut effects);
        }
        of_run(number, effects, out);
        self.runs.insert(number, Run { coordinator, submitted_by: by, submitted_ms: now.0 });
        Ok(())
    }

    /// Whether a plan may be submitted by somebody, as far as the runs that there are decide it; whoever asks makes a folder for the
    /// run afterwards.
    ///
    /// # Errors
    /// [`Rejection`], in words for whoever submits it.
    pub fn may_submit(&self, plan: &AuthoredPlan, by: &str, now: Timestamp) -> Result<(), Rejection> {
        let digest = plan.digest();
        if let Some((same, _)) = self.runs.iter().find(|(_, run)| run.coordinator.plan().digest() == digest) {
            return Err(Rejection::AlreadySo(format!(
                "this plan is {same} already; to run it once more, have it signed again"
            )));
        }
        let full = |what: String| Err(Rejection::NotPossible(what));
        if let Some(roster) = self.newest_roster()
            && let Err(why) = plan.check_federation(&roster.federation)
        {
            return full(format!(
                "no silo takes part in it: {why}; have the plan signed for this federation"
            ));
        }
        if self.next_number().0 > RUNS_MAX {
            return full(format!("a federation has at most {RUNS_MAX} runs; found another one"));
        }
        let open = || self.runs.values().filter(|run| run.coordinator.ended().is_none());
        if open().count() >= OPEN_MAX {
            return full(format!(
                "{OPEN_MAX} runs are not over, the most that one federation keeps: wait until one is, or stop one"
            ));
        }
        // What comes with the configuration is nobody's.
        let is_whose = |run: &&Run| {
            run.coordinator.plan().author() == plan.author() || !by.is_empty() && run.submitted_by == by
        };
        if open().filter(is_whose).count() >= OPEN_OF_ONE_MAX {
            return full(format!(
                "{OPEN_OF_ONE_MAX} runs of this plan's author, or of who submits it, are not over, the most of one: wait until one is, \
                 or stop one"
            ));
        }
        let today = |run: &&Run| Timestamp(run.submitted_ms).plus_ms(DAY_MS) > now;
        if self.runs.values().filter(is_whose).filter(today).count() >= OF_ONE_A_DAY_MAX {
            return full(format!(
                "{OF_ONE_A_DAY_MAX} runs of this plan's author, or of who submits it, began within a day, the most of one: wait"
            ));
        }
        Ok(())
    }
}

fn act_input(act: &Act) -> protocol::Input {
    protocol::Input::Act { act: act.clone(), staged: None }
}
