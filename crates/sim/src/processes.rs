//! The two kinds of process: started, fed, their effects performed in order, and killed at any moment between.

use protocol::{
    ClientEffect, ClientInput, Effect, Effects, Input, Rejection, ToClient, ToCoordinator, UploadHeader,
};
use secagg::{ClientId, MaskedUpdate};

use crate::agenda::Event;
use crate::contribution::contribute;
use crate::faults::{Fate, Moment};
use crate::federation::{Federation, START_MS};
use crate::liar::Act;
use crate::oracle::Invariant;
use crate::trace::{Place, short};

/// How long an upload that broke off waits before it goes on.
const UPLOAD_RETRY_MS: u64 = 200;

impl Federation {
    // The coordinator's process.

    pub(crate) fn start_center(&mut self) {
        if self.center.process.is_some() {
            return;
        }
        let error_ms = self.faults.clock_error_ms();
        let acknowledged = std::mem::take(&mut self.center.acknowledged);
        let records = match self.center.start(START_MS, self.now_ms, error_ms) {
            Ok(records) => records,
            Err(why) => {
                return self.oracle.broken(Invariant::Durable, format!("the coordinator does not start: {why}"));
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
                        let refused = self.center.process.as_mut().map(|process| process.journal.append(&bytes));
                        let failed = matches!(refused, Some(Err(_)));
                        if !failed {
                            self.oracle.broken(Invariant::Durable, "a failed fsync was taken for a success".into());
                        }
                        return self.kill_center(fate);
                    }
                    if kills(fate) {
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
                if kills(fate) {
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

    // A silo's process.

    pub(crate) fn start_silo(&mut self, id: ClientId) {
        let error_ms = self.faults.clock_error_ms();
        let Some(silo) = self.silos.get_mut(&id).filter(|silo| !silo.alive()) else { return };
        let acknowledged = std::mem::take(&mut silo.acknowledged);
        let records = match silo.start(error_ms) {
            Ok(records) => records,
            Err(why) => {
                return self.oracle.broken(Invariant::Durable, format!("silo {id} does not start: {why}"));
            }
        };
        silo.acknowledged.clone_from(&records);
        self.note(Place::Silo(id), || format!("starts from {} records", records.len()));
        let who = format!("silo {id}");
        self.oracle.recovered(&who, acknowledged.len(), records.starts_with(&acknowledged));
        for record in records.iter().skip(acknowledged.len()) {
            self.oracle.silo_wrote(id, record);
        }
        self.check_budget(id);
        self.agenda.add(self.now_ms, Event::Connect(id));
    }

    fn kill_silo(&mut self, id: ClientId, how: Fate) {
        self.note(Place::Silo(id), || how.words());
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let session = silo.session;
        silo.kill();
        let down = match how {
            Fate::PowerCut(ms) | Fate::SyncFails(ms) => {
                silo.disk.cut_power(&mut self.rng);
                Some(ms)
            }
            Fate::Down(ms) => Some(ms),
            Fate::Restart => Some(0),
            _ => None,
        };
        if let Some(session) = session {
            self.broken(id, session);
        }
        if let Some(down) = down {
            self.agenda.add(self.now_ms + down, Event::StartSilo(id));
        }
    }

    pub(crate) fn silo_hears(&mut self, id: ClientId, message: ToClient) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        self.trace.note(self.now_ms, Place::Silo(id), || format!("hears {}", short(&format!("{message:?}"))));
        if let Some(mut liar) = silo.liar.take() {
            let identity = silo.identity();
            let acts = liar.hear(message, &self.center.roster, &identity, &mut self.rng);
            silo.liar = Some(liar);
            for act in acts {
                match act {
                    Act::Say(message) => self.silo_says(id, message),
                    Act::Upload { header, masked, plaintext } => self.liar_uploads(id, header, masked, plaintext),
                }
            }
            return;
        }
        let over = matches!(message, ToClient::Finished { .. });
        self.silo_input(id, ClientInput::Message(message));
        if over {
            // As the daemon: the run is over, and so is the process.
            self.kill_silo(id, Fate::Kill);
        }
    }

    fn liar_uploads(&mut self, id: ClientId, header: UploadHeader, masked: MaskedUpdate, plaintext: Vec<u32>) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        silo.plaintext.insert(header.at, plaintext);
        let Some(process) = &mut silo.process else { return };
        process.masked.insert(header.at, masked);
        self.silo_uploads(id, header);
    }

    pub(crate) fn silo_input(&mut self, id: ClientId, input: ClientInput) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let clock = silo.clock(START_MS, self.now_ms);
        let Some(process) = &mut silo.process else { return };
        let mut effects = protocol::ClientEffects::new();
        process.participant.handle(clock, &mut self.rng, input, &mut effects);
        process.effects.extend(effects);
        self.silo_performs(id);
    }

    fn silo_performs(&mut self, id: ClientId) {
        loop {
            let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) else { return };
            let effects = std::mem::take(&mut process.effects);
            if effects.is_empty() {
                return self.check_budget(id);
            }
            let mut written = Vec::new();
            for effect in &effects {
                let ClientEffect::Persist(record) = effect else { continue };
                let fate = self.faults.fate(self.now_ms, &Moment::SiloPersists(id, record));
                if kills(fate) {
                    if matches!(fate, Fate::SyncFails(_)) {
                        self.failing_append(id, &effects);
                    }
                    return self.kill_silo(id, fate);
                }
                written.push(record.clone());
            }
            if !written.is_empty() {
                let Some(silo) = self.silos.get_mut(&id) else { return };
                let bytes: Vec<Vec<u8>> = written.iter().map(protocol::ClientRecord::encode).collect();
                let Some(process) = &mut silo.process else { return };
                if let Err(why) = process.journal.append(&bytes) {
                    return self.oracle.broken(Invariant::Durable, format!("a sound disk refuses: {why}"));
                }
                silo.acknowledged.extend(written.iter().cloned());
                for record in &written {
                    self.note(Place::Silo(id), || format!("writes {}", short(&format!("{record:?}"))));
                    self.oracle.silo_wrote(id, record);
                }
            }
            for effect in effects {
                if !self.silos.get(&id).is_some_and(crate::silo::Silo::alive) {
                    return;
                }
                self.silo_does(id, effect);
            }
        }
    }

    fn failing_append<'a>(&mut self, id: ClientId, effects: impl IntoIterator<Item = &'a ClientEffect>) {
        let bytes: Vec<Vec<u8>> = effects
            .into_iter()
            .filter_map(|effect| if let ClientEffect::Persist(record) = effect { Some(record.encode()) } else { None })
            .collect();
        let Some(silo) = self.silos.get_mut(&id) else { return };
        silo.disk.fail_sync();
        let Some(process) = &mut silo.process else { return };
        if process.journal.append(&bytes).is_ok() {
            self.oracle.broken(Invariant::Durable, "a failed fsync was taken for a success".into());
        }
    }

    fn silo_does(&mut self, id: ClientId, effect: ClientEffect) {
        match effect {
            ClientEffect::Persist(_) => {}
            ClientEffect::Send(message) => self.silo_says(id, *message),
            ClientEffect::Train(job) => self.done_later(id, ClientInput::Trained { at: job.at, ok: true }),
            ClientEffect::Mask(job) => {
                let at = job.at;
                let contribution = contribute(&job.plan, id, at);
                let Some(silo) = self.silos.get_mut(&id) else { return };
                let digest = silo.mask(*job, contribution, &mut self.rng);
                self.done_later(id, ClientInput::Masked { at, digest });
            }
            ClientEffect::Upload(header) => self.silo_uploads(id, header),
            ClientEffect::Forget(at) => {
                if let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) {
                    process.masked.remove(&at);
                }
            }
        }
    }

    fn done_later(&mut self, id: ClientId, input: ClientInput) {
        let delay = match self.faults.fate(self.now_ms, &Moment::SiloWorks(id)) {
            Fate::Late(ms) => ms,
            _ => 0,
        };
        let Some(life) = self.silos.get(&id).map(|silo| silo.life) else { return };
        self.agenda.add(self.now_ms + delay, Event::Done { id, life, input: Box::new(input) });
    }

    fn silo_says(&mut self, id: ClientId, message: ToCoordinator) {
        let fate = self.faults.fate(self.now_ms, &Moment::SiloSays(id, &message));
        if kills(fate) {
            return self.kill_silo(id, fate);
        }
        self.oracle.silo_says(id, &message);
        let refuses_the_run = matches!(message, ToCoordinator::Declined { round: None, .. });
        let session = self.silos.get(&id).and_then(|silo| silo.session);
        if let Some(session) = session {
            self.note(Place::Silo(id), || {
                let passes = if fate == Fate::Pass { String::new() } else { format!(" ({})", fate.words()) };
                format!("says {}{passes}", short(&format!("{message:?}")))
            });
            if fate == Fate::Lose {
                return self.broken(id, session);
            }
            self.transmit(id, session, true, fate, wire::to_coordinator_bytes(message));
        }
        if refuses_the_run && self.silos.get(&id).is_some_and(|silo| silo.liar.is_none()) {
            // As the daemon, after its last words are read: whoever refuses the run has nothing left to do.
            self.retire(id);
        }
    }

    /// The process ends by itself; its last words are on their way, so its session ends after them.
    fn retire(&mut self, id: ClientId) {
        self.note(Place::Silo(id), || "refuses the run and ends".into());
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let session = silo.session;
        silo.kill();
        if let Some(session) = session {
            let last = self.last_arrival.get(&(id, true)).copied().unwrap_or(self.now_ms).max(self.now_ms);
            self.agenda.add(last, Event::Broken { client: id, session });
        }
    }

    // The masked vector's own way.

    fn silo_uploads(&mut self, id: ClientId, header: UploadHeader) {
        let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) else { return };
        process.upload_job += 1;
        let job = process.upload_job;
        self.try_upload(id, job, header);
    }

    fn try_upload(&mut self, id: ClientId, job: u64, header: UploadHeader) {
        let fate = self.faults.fate(self.now_ms, &Moment::SiloUploads(id, &header));
        if kills(fate) {
            return self.kill_silo(id, fate);
        }
        self.oracle.silo_uploads(&header);
        let Some(life) = self.silos.get(&id).map(|silo| silo.life) else { return };
        let event = || Event::Upload { life, job, header: Box::new(header.clone()) };
        let away = self.faults.is_cut_off(self.now_ms, id) || self.center.process.is_none();
        self.note(Place::Silo(id), || format!("uploads in round {} ({})", header.at.round, fate.words()));
        match fate {
            Fate::Lose | Fate::Vanish => {
                let session = self.silos.get(&id).and_then(|silo| silo.session);
                self.agenda.add(self.now_ms + UPLOAD_RETRY_MS, event());
                if let (Some(session), Fate::Lose) = (session, fate) {
                    self.broken(id, session);
                }
            }
            _ if away => self.agenda.add(self.now_ms + UPLOAD_RETRY_MS, event()),
            Fate::Late(ms) => self.agenda.add(self.now_ms + ms, event()),
            Fate::Twice(ms) => {
                self.agenda.add(self.now_ms, event());
                self.agenda.add(self.now_ms + ms, event());
            }
            _ => self.agenda.add(self.now_ms, event()),
        }
    }

    /// The vector arrives, if its job still lives and the coordinator does: as the shell's upload service, header
    /// first, then chunks whose digests are checked.
    pub(crate) fn upload_arrives(&mut self, life: u64, job: u64, header: UploadHeader) {
        let (id, at) = (header.client, header.at);
        let Some(silo) = self.silos.get(&id).filter(|silo| silo.life == life) else { return };
        let Some(masked) = silo.process.as_ref().filter(|p| p.upload_job == job).and_then(|p| p.masked.get(&at))
        else {
            return;
        };
        let Some(process) = &self.center.process else {
            return self.agenda.add(
                self.now_ms + UPLOAD_RETRY_MS,
                Event::Upload { life, job, header: Box::new(header) },
            );
        };
        let header = match wire::read_upload_header(&wire::upload_header_bytes(header)) {
            Ok(header) => header,
            Err(why) => {
                return self.oracle.broken(Invariant::UploadKept, format!("a header that does not convert: {why}"));
            }
        };
        if let Err(rejection) = process.core.admit_upload(&header) {
            self.rejections.push(rejection);
            return;
        }
        let key = (at, header.r2, id);
        if !self.center.staged.contains_key(&key) {
            if let Err(why) = receive(&header, masked) {
                return self.note(Place::Coordinator, || format!("refuses silo {id}'s vector: {why}"));
            }
            let lanes = masked.lanes().to_vec();
            self.center.staged.insert(key, lanes);
        }
        self.feed(Input::Staged(header));
    }

    fn check_budget(&mut self, id: ClientId) {
        let Some(silo) = self.silos.get(&id).filter(|silo| silo.liar.is_none()) else { return };
        let Some(process) = &silo.process else { return };
        let status = process.participant.status();
        self.oracle.silo_spent(id, status.uploads, status.epsilon_spent, silo.policy.epsilon_max);
    }
}

/// The vector in its chunks, each checked as the shell does; the first message is the header alone.
fn receive(header: &UploadHeader, masked: &MaskedUpdate) -> Result<(), wire::ChunkError> {
    let mut verifier = wire::UploadVerifier::new(header);
    for chunk in wire::upload_chunks(header, masked, 0).skip(1) {
        verifier.accept(chunk)?;
    }
    verifier.finish()
}

/// Whether a fate ends the process.
fn kills(fate: Fate) -> bool {
    matches!(fate, Fate::Kill | Fate::Restart | Fate::Down(_) | Fate::PowerCut(_) | Fate::SyncFails(_))
}

fn records<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> impl Iterator<Item = &'a protocol::Record> {
    effects.into_iter().filter_map(|effect| if let Effect::Persist(record) = effect { Some(record) } else { None })
}
