//! The coordinator's process: started, fed, its effects performed in order, and killed at any moment between.

use std::collections::BTreeSet;

use federation::{Effect, Effects, Input, RunNumber};
use protocol::{OfRun, Record, Rejection, ToClient};
use secagg::ClientId;

use crate::agenda::Event;
use crate::center::Process;
use crate::faults::{Fate, Moment};
use crate::federation::{Federation, START_MS};
use crate::invariant::Invariant;
use crate::trace::{Place, of_run, short};

impl Federation {
    pub(crate) fn start_center(&mut self) {
        if self.center.process.is_some() {
            return;
        }
        let error_ms = self.faults.clock_error_ms();
        let found = match self.center.start(START_MS, self.now_ms, error_ms) {
            Ok(found) => found,
            Err(why) => {
                return self
                    .oracle
                    .broken(Invariant::Durable, format!("the coordinator does not start: {why}"));
            }
        };
        for (number, records) in found {
            self.found(number, records);
        }
        self.remove_cut_off();
        if self.center.process.as_ref().is_some_and(|process| process.core.default_run().is_none()) {
            // Rejections are kept where they arise.
            let _ = self.begin(RunNumber::FIRST, String::new());
        } else {
            self.feed(Input::Tick);
        }
        self.center_performs();
    }

    /// A run's journal holds these records.
    fn found(&mut self, number: RunNumber, records: Vec<Record>) {
        let Some(run) = self.center.runs.get_mut(&number) else { return };
        let acknowledged = std::mem::replace(&mut run.acknowledged, records.clone());
        self.note(Place::Coordinator, || format!("starts from {} records{}", records.len(), of_run(number)));
        let who = format!("the coordinator, in {number},");
        self.oracle.recovered(&who, acknowledged.len(), records.starts_with(&acknowledged));
        for record in records.iter().skip(acknowledged.len()) {
            self.oracle.center_wrote(number, record);
        }
    }

    pub(crate) fn kill_center(&mut self, how: Fate) {
        self.note(Place::Coordinator, || how.words());
        self.center.process = None;
        let down = match how {
            Fate::PowerCut(ms) | Fate::SyncFails(ms) => {
                for run in self.center.runs.values() {
                    run.disk.cut_power(&mut self.rng);
                }
                ms
            }
            Fate::Down(ms) => ms,
            _ => 0,
        };
        self.agenda.add(self.now_ms + down, Event::StartCoordinator);
        let sessions: Vec<(ClientId, u64)> =
            self.silos.values().filter_map(|silo| silo.session.map(|session| (silo.id, session))).collect();
        for (client, session) in sessions {
            self.broken(client, session);
        }
    }

    /// Feeds the core; what is to be done waits for [`Federation::center_performs`].
    pub(crate) fn coordinate(&mut self, input: Input) -> Result<(), Rejection> {
        let clock = self.center.clock(START_MS, self.now_ms);
        let Some(process) = &mut self.center.process else { return Ok(()) };
        process.judged = clock;
        let mut effects = Effects::new();
        let result = process.core.handle(clock, &mut self.rng, input, &mut effects);
        process.effects.extend(effects);
        if let Some(client) = in_two_attempts(process) {
            self.oracle.broken(
                Invariant::OneAttempt,
                format!("silo {client} is in the attempts of two runs at one time"),
            );
        }
        if let Err(rejection) = &result {
            self.rejections.push(rejection.clone());
        }
        result
    }

    pub(crate) fn feed(&mut self, input: Input) {
        // Rejections are kept where they arise.
        let _ = self.coordinate(input);
    }

    /// Performs what is queued. A record is durable before anything that follows it; where the faults say so, all
    /// that stand ready are written by one append before everything else, as the shell does.
    pub(crate) fn center_performs(&mut self) {
        if !std::mem::replace(&mut self.performing, true) {
            self.perform_all();
            self.performing = false;
        }
    }

    fn perform_all(&mut self) {
        while let Some(process) = &mut self.center.process {
            let mut effects: Vec<Effect> = std::mem::take(&mut process.effects).into();
            if effects.is_empty() {
                return;
            }
            if self.faults.writes_first() {
                effects = records_first(effects);
            }
            let together =
                |one: &Effect, next: &Effect| is_record(one) && is_record(next) && one.run == next.run;
            for some in effects.chunk_by(together) {
                if self.center.process.is_none() {
                    return;
                }
                match some {
                    [effect] if !is_record(effect) => self.center_does(effect),
                    records => self.center_writes(records),
                }
            }
        }
    }

    /// Some records of one run.
    fn center_writes(&mut self, effects: &[Effect]) {
        let Some(number) = effects.first().map(|effect| effect.run) else { return };
        let records: Vec<&Record> = effects
            .iter()
            .filter_map(|Effect { effect, .. }| match effect {
                protocol::Effect::Persist(record) => Some(record),
                _ => None,
            })
            .collect();
        let bytes: Vec<Vec<u8>> = records.iter().map(|record| record.encode()).collect();
        let fates: Vec<Fate> = effects
            .iter()
            .map(|effect| self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(&effect.effect)))
            .collect();
        let killed = fates.into_iter().find(|fate| fate.kills());
        let Some(run) = self.center.runs.get_mut(&number) else { return };
        let journal = self.center.process.as_mut().and_then(|process| process.journals.get_mut(&number));
        let Some(journal) = journal else { return };
        if let Some(fate) = killed {
            // Killed before the write, or between the write and its fsync: then some of it may be on the disk, and none
            // of it is acknowledged.
            if fate.is_of_the_disk() || self.faults.writes_before_it_dies() {
                run.disk.fail_sync();
                self.oracle.failed_append(journal.append(&bytes).is_err());
            }
            return self.kill_center(fate);
        }
        if let Err(why) = journal.append(&bytes) {
            return self.oracle.broken(Invariant::Durable, format!("a sound disk refuses: {why}"));
        }
        for record in records {
            run.acknowledged.push(record.clone());
            self.trace.note(self.now_ms, Place::Coordinator, || {
                format!("writes {}{}", short(&format!("{record:?}")), of_run(number))
            });
            self.oracle.center_wrote(number, record);
        }
    }

    fn center_does(&mut self, Effect { run, effect }: &Effect) {
        let fate = self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(effect));
        if fate.kills() {
            return self.kill_center(fate);
        }
        let Some(files) = self.center.runs.get_mut(run) else { return };
        match effect {
            protocol::Effect::Persist(_) => {}
            protocol::Effect::Send { to, message } => {
                self.center_says(*to, *run, ToClient::clone(message), fate);
            }
            protocol::Effect::SendChain { to, after } => {
                for signed in files.chain_after(*after) {
                    self.center_says(*to, *run, ToClient::Published(signed), fate);
                }
            }
            protocol::Effect::Compute(job) => {
                let at = job.at;
                let result = files.open(job, &self.silos);
                if let Some(opened) = files.opened.last().filter(|opened| opened.at == at) {
                    self.oracle.sum_opened(*run, opened);
                }
                self.note(Place::Coordinator, || {
                    format!("opens the sum of round {}{}", at.round, of_run(*run))
                });
                let delay = if let Fate::Late(ms) = fate { ms } else { 0 };
                let life = self.center.life;
                let opened = Event::Opened { life, run: *run, at, result: Box::new(result) };
                self.agenda.add(self.now_ms + delay, opened);
            }
            protocol::Effect::Publish(signed) => {
                if let Err(why) = files.publish(signed) {
                    self.oracle.broken(Invariant::OneChain, why);
                }
            }
            protocol::Effect::DiscardStaged { before } => {
                files.staged.retain(|(at, _, _), _| at.round >= *before);
            }
        }
    }

    /// Says something of a run, or what a lying coordinator makes of it.
    pub(crate) fn center_says(&mut self, to: ClientId, run: RunNumber, message: ToClient, fate: Fate) {
        let core = self.center.process.as_ref().map(|process| &process.core);
        let named = core.and_then(|core| core.run(run)).and_then(|run| run.run_id());
        let said = match &mut self.deceiver {
            Some(deceiver) => deceiver.say(to, message),
            None => {
                if let Some(named) = named {
                    self.oracle.center_says(to, named, &message);
                }
                vec![message]
            }
        };
        for message in said {
            let session = self.center.process.as_ref().and_then(|process| process.sessions.get(&to)).copied();
            let Some(session) = session else { return };
            self.note(Place::Coordinator, || {
                let passes = if fate == Fate::Pass { String::new() } else { format!(" ({})", fate.words()) };
                format!("says {} to silo {to}{}{passes}", short(&format!("{message:?}")), of_run(run))
            });
            if fate == Fate::Lose {
                return self.broken(to, session);
            }
            let message = OfRun { run: named, message };
            self.transmit(to, session, false, fate, wire::to_client_bytes(message));
        }
    }
}

/// As the shell: one append to each run's journal, in the order of their numbers, as far as that order does not matter.
fn records_first(effects: Vec<Effect>) -> Vec<Effect> {
    let (mut all, mut together) = (Vec::new(), Vec::<Effect>::new());
    let sort = |together: &mut Vec<Effect>| {
        together.sort_by_key(|effect| (!is_record(effect), is_record(effect).then_some(effect.run)));
        std::mem::take(together)
    };
    for effect in effects {
        let of_another = |one: &Effect| is_record(one) && one.run != effect.run;
        if effect.rests_on_other_runs() && together.iter().any(of_another) {
            all.extend(sort(&mut together));
        }
        together.push(effect);
    }
    all.extend(sort(&mut together));
    all
}

fn is_record(effect: &Effect) -> bool {
    matches!(effect.effect, protocol::Effect::Persist(_))
}

/// A silo that is in more than one attempt, of all runs.
fn in_two_attempts(process: &Process) -> Option<ClientId> {
    let mut busy = BTreeSet::new();
    let cohorts = process.core.numbers().filter_map(|number| process.core.run(number)?.cohort());
    cohorts.flatten().copied().find(|client| !busy.insert(*client))
}
