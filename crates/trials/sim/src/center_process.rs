//! The coordinator's process: started, fed, its effects performed in order, and killed at any moment between.

use protocol::{Effect, Effects, Input, Record, Rejection, ToClient};
use secagg::ClientId;

use crate::agenda::Event;
use crate::faults::{Fate, Moment};
use crate::federation::{Federation, START_MS};
use crate::invariant::Invariant;
use crate::trace::{Place, short};

impl Federation {
    pub(crate) fn start_center(&mut self) {
        if self.center.process.is_some() {
            return;
        }
        let error_ms = self.faults.clock_error_ms();
        let acknowledged = std::mem::take(&mut self.center.acknowledged);
        let records = match self.center.start(START_MS, self.now_ms, error_ms) {
            Ok(records) => records,
            Err(why) => {
                return self
                    .oracle
                    .broken(Invariant::Durable, format!("the coordinator does not start: {why}"));
            }
        };
        self.note(Place::Coordinator, || format!("starts from {} records", records.len()));
        self.oracle.recovered("the coordinator", acknowledged.len(), records.starts_with(&acknowledged));
        for record in records.iter().skip(acknowledged.len()) {
            self.oracle.center_wrote(record);
        }
        self.center.acknowledged = records;
        if self.center.process.as_ref().is_some_and(|process| process.core.is_new()) {
            let genesis = self.center.genesis();
            self.feed(Input::Start { genesis });
        } else {
            self.feed(Input::Tick);
        }
        self.center_performs();
    }

    pub(crate) fn kill_center(&mut self, how: Fate) {
        self.note(Place::Coordinator, || how.words());
        self.center.process = None;
        let down = match how {
            Fate::PowerCut(ms) | Fate::SyncFails(ms) => {
                self.center.disk.cut_power(&mut self.rng);
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
                effects.sort_by_key(|effect| !is_record(effect));
            }
            for run in effects.chunk_by(|one, next| is_record(one) && is_record(next)) {
                if self.center.process.is_none() {
                    return;
                }
                match run {
                    [effect] if !is_record(effect) => self.center_does(effect),
                    records => self.center_writes(records),
                }
            }
        }
    }

    fn center_writes(&mut self, effects: &[Effect]) {
        let records: Vec<&Record> = effects
            .iter()
            .filter_map(|effect| if let Effect::Persist(record) = effect { Some(record) } else { None })
            .collect();
        let bytes: Vec<Vec<u8>> = records.iter().map(|record| record.encode()).collect();
        let fates: Vec<Fate> = effects
            .iter()
            .map(|effect| self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(effect)))
            .collect();
        let killed = fates.into_iter().find(|fate| fate.kills());
        if let Some(fate) = killed {
            // Killed before the write, or between the write and its fsync: then some of it may be on the disk, and none
            // of it is acknowledged.
            if fate.is_of_the_disk() || self.faults.writes_before_it_dies() {
                self.center.disk.fail_sync();
                let failed = self.center.process.as_mut().is_none_or(|p| p.journal.append(&bytes).is_err());
                self.oracle.failed_append(failed);
            }
            return self.kill_center(fate);
        }
        let Some(process) = &mut self.center.process else { return };
        if let Err(why) = process.journal.append(&bytes) {
            return self.oracle.broken(Invariant::Durable, format!("a sound disk refuses: {why}"));
        }
        for record in records {
            self.note(Place::Coordinator, || format!("writes {}", short(&format!("{record:?}"))));
            self.oracle.center_wrote(record);
            self.center.acknowledged.push(record.clone());
        }
    }

    fn center_does(&mut self, effect: &Effect) {
        let fate = self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(effect));
        if fate.kills() {
            return self.kill_center(fate);
        }
        match effect {
            Effect::Persist(_) => {}
            Effect::Send { to, message } => self.center_says(*to, ToClient::clone(message), fate),
            Effect::SendChain { to, after } => {
                for signed in self.center.chain_after(*after) {
                    self.center_says(*to, ToClient::Published(signed), fate);
                }
            }
            Effect::Compute(job) => {
                let at = job.at;
                let result = self.center.open(job, &self.silos);
                if let Some(opened) = self.center.opened.last().filter(|opened| opened.at == at) {
                    self.oracle.sum_opened(opened);
                }
                self.note(Place::Coordinator, || format!("opens the sum of round {}", at.round));
                let delay = if let Fate::Late(ms) = fate { ms } else { 0 };
                let life = self.center.life;
                self.agenda.add(self.now_ms + delay, Event::Opened { life, at, result: Box::new(result) });
            }
            Effect::Publish(signed) => {
                if let Err(why) = self.center.publish(signed) {
                    self.oracle.broken(Invariant::OneChain, why);
                }
            }
            Effect::DiscardStaged { before } => {
                self.center.staged.retain(|(at, _, _), _| at.round >= *before);
            }
        }
    }

    /// Says something, or what a lying coordinator makes of it.
    pub(crate) fn center_says(&mut self, to: ClientId, message: ToClient, fate: Fate) {
        let said = match &mut self.deceiver {
            Some(deceiver) => deceiver.say(to, message),
            None => {
                self.oracle.center_says(to, &message);
                vec![message]
            }
        };
        for message in said {
            let session = self.center.process.as_ref().and_then(|process| process.sessions.get(&to)).copied();
            let Some(session) = session else { return };
            self.note(Place::Coordinator, || {
                let passes = if fate == Fate::Pass { String::new() } else { format!(" ({})", fate.words()) };
                format!("says {} to silo {to}{passes}", short(&format!("{message:?}")))
            });
            if fate == Fate::Lose {
                return self.broken(to, session);
            }
            self.transmit(to, session, false, fate, wire::to_client_bytes(message));
        }
    }
}

fn is_record(effect: &Effect) -> bool {
    matches!(effect, Effect::Persist(_))
}
