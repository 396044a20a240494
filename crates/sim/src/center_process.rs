//! The coordinator's process: started, fed, its effects performed in order, and killed at any moment between.

use protocol::{Effect, Effects, Input, Rejection, ToClient};
use secagg::ClientId;

use crate::agenda::Event;
use crate::faults::{Fate, Moment};
use crate::federation::{Federation, START_MS};
use crate::oracle::Invariant;
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

    fn kill_center(&mut self, how: Fate) {
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

    /// As the shell: records that stand ready are written by one append, before anything that follows any of them.
    pub(crate) fn center_performs(&mut self) {
        if !std::mem::replace(&mut self.performing, true) {
            self.perform_all();
            self.performing = false;
        }
    }

    fn perform_all(&mut self) {
        loop {
            let Some(process) = &mut self.center.process else { return };
            let effects = std::mem::take(&mut process.effects);
            if effects.is_empty() {
                return;
            }
            let mut written = Vec::new();
            for effect in &effects {
                if let Effect::Persist(record) = effect {
                    let fate = self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(effect));
                    if matches!(fate, Fate::SyncFails(_)) {
                        self.center.disk.fail_sync();
                        let bytes: Vec<Vec<u8>> = records(&effects).map(|record| record.encode()).collect();
                        let refused =
                            self.center.process.as_mut().map(|process| process.journal.append(&bytes));
                        let failed = matches!(refused, Some(Err(_)));
                        if !failed {
                            self.oracle
                                .broken(Invariant::Durable, "a failed fsync was taken for a success".into());
                        }
                        return self.kill_center(fate);
                    }
                    if fate.kills() {
                        return self.kill_center(fate);
                    }
                    written.push(record.clone());
                }
            }
            if !written.is_empty() {
                let bytes: Vec<Vec<u8>> = written.iter().map(protocol::Record::encode).collect();
                let Some(process) = &mut self.center.process else { return };
                if let Err(why) = process.journal.append(&bytes) {
                    return self.oracle.broken(Invariant::Durable, format!("a sound disk refuses: {why}"));
                }
                for record in &written {
                    self.note(Place::Coordinator, || format!("writes {}", short(&format!("{record:?}"))));
                    self.oracle.center_wrote(record);
                }
                self.center.acknowledged.extend(written);
            }
            for effect in effects {
                if matches!(effect, Effect::Persist(_)) {
                    continue;
                }
                let fate = self.faults.fate(self.now_ms, &Moment::CoordinatorDoes(&effect));
                if fate.kills() {
                    return self.kill_center(fate);
                }
                self.center_does(effect, fate);
            }
        }
    }

    fn center_does(&mut self, effect: Effect, fate: Fate) {
        match effect {
            Effect::Persist(_) => {}
            Effect::Send { to, message } => self.center_says(to, *message, fate),
            Effect::Compute(job) => {
                let at = job.at;
                let result = self.center.open(&job, &self.silos);
                if let Some(opened) = self.center.opened.last().filter(|opened| opened.at == at) {
                    self.oracle.sum_opened(opened);
                }
                self.note(Place::Coordinator, || format!("opens the sum of round {}", at.round));
                let delay = if let Fate::Late(ms) = fate { ms } else { 0 };
                let life = self.center.life;
                self.agenda.add(self.now_ms + delay, Event::Opened { life, at, result: Box::new(result) });
            }
            Effect::Publish(signed) => {
                if let Err(why) = self.center.publish(&signed) {
                    self.oracle.broken(Invariant::OneChain, why);
                }
            }
            Effect::DiscardStaged { before } => {
                self.center.staged.retain(|(at, _, _), _| at.round >= before);
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

fn records<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> impl Iterator<Item = &'a protocol::Record> {
    effects
        .into_iter()
        .filter_map(|effect| if let Effect::Persist(record) = effect { Some(record) } else { None })
}
