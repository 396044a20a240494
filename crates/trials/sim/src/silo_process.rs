//! A silo's process: started, fed, its effects performed in order, and killed at any moment between.

use params::Digest;
use plan::{AuthoredPlan, Contribution};
use protocol::{
    ClaimAnswer, ClientEffect, ClientInput, ClientRecord, OfRun, StepOutcome, ToClient, ToCoordinator,
    TrainOutcome, UploadHeader,
};
use secagg::{ClientId, MaskedUpdate};

use crate::agenda::Event;
use crate::contribution::contribute;
use crate::faults::{Fate, Moment};
use crate::federation::{Federation, START_MS};
use crate::invariant::Invariant;
use crate::liar::Act;
use crate::silo::Silo;
use crate::trace::{Place, of_run, short};

impl Federation {
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

    pub(crate) fn kill_silo(&mut self, id: ClientId, how: Fate) {
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

    pub(crate) fn silo_hears(&mut self, id: ClientId, heard: OfRun<ToClient>) {
        let of = self.number_of(heard.run.as_ref());
        let Some(silo) = self.silos.get_mut(&id) else { return };
        self.trace.note(self.now_ms, Place::Silo(id), || {
            format!("hears {}{}", short(&format!("{:?}", heard.message)), of_run(of))
        });
        if let Some(mut liar) = silo.liar.take() {
            let (identity, run) = (silo.identity(), heard.run);
            let acts = liar.hear(heard, &self.center.roster, &identity, &mut self.rng);
            silo.liar = Some(liar);
            for act in acts {
                match act {
                    Act::Say(message) => self.silo_says(id, OfRun { run, message }),
                    Act::Upload { header: message, masked, plaintext } => {
                        self.liar_uploads(id, OfRun { run, message }, masked, plaintext)
                    }
                }
            }
            return;
        }
        let over = self.one_run && matches!(heard.message, ToClient::Finished { .. });
        self.silo_input(id, ClientInput::Message(heard));
        if over {
            // As the daemon of one run: the run is over, and so is the process.
            self.kill_silo(id, Fate::Kill);
        }
    }

    fn liar_uploads(
        &mut self,
        id: ClientId,
        header: OfRun<UploadHeader>,
        masked: MaskedUpdate,
        plaintext: Vec<u32>,
    ) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        silo.plaintext.insert(header.message.digest, plaintext);
        let Some(process) = &mut silo.process else { return };
        process.masked.insert(header.message.digest, (None, masked));
        self.silo_uploads(id, header);
    }

    pub(crate) fn silo_input(&mut self, id: ClientId, input: ClientInput) {
        self.silo_takes(id, input);
        self.silo_performs(id);
    }

    /// Feeds the core; what is to be done comes after what is to be done already.
    fn silo_takes(&mut self, id: ClientId, input: ClientInput) {
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let clock = silo.clock(START_MS, self.now_ms);
        let Some(process) = &mut silo.process else { return };
        let mut effects = protocol::ClientEffects::new();
        process.participant.handle(clock, &mut self.rng, input, &mut effects);
        process.effects.extend(effects);
    }

    fn silo_performs(&mut self, id: ClientId) {
        while let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) {
            let mut effects: Vec<ClientEffect> = std::mem::take(&mut process.effects).into();
            if effects.is_empty() {
                return;
            }
            if self.faults.writes_first() {
                effects.sort_by_key(|effect| !is_record(effect));
            }
            let mut records = Vec::new();
            for effect in effects {
                match effect {
                    ClientEffect::Persist(record) => records.push(record),
                    other => {
                        self.silo_writes(id, std::mem::take(&mut records));
                        if !self.silos.get(&id).is_some_and(Silo::alive) {
                            return;
                        }
                        self.silo_does(id, other);
                    }
                }
            }
            self.silo_writes(id, records);
        }
    }

    /// One append, and what becomes of it.
    fn silo_writes(&mut self, id: ClientId, records: Vec<ClientRecord>) {
        if records.is_empty() {
            return;
        }
        let fates: Vec<Fate> = records
            .iter()
            .map(|record| self.faults.fate(self.now_ms, &Moment::SiloPersists(id, record)))
            .collect();
        let killed = fates.into_iter().find(|fate| fate.kills());
        let bytes: Vec<Vec<u8>> = records.iter().map(ClientRecord::encode).collect();
        let Some(silo) = self.silos.get_mut(&id) else { return };
        let Some(process) = &mut silo.process else { return };
        if let Some(fate) = killed {
            // As the coordinator's.
            if fate.is_of_the_disk() || self.faults.writes_before_it_dies() {
                silo.disk.fail_sync();
                let failed = process.journal.append(&bytes).is_err();
                self.oracle.failed_append(failed);
            }
            return self.kill_silo(id, fate);
        }
        if let Err(why) = process.journal.append(&bytes) {
            return self.oracle.broken(Invariant::Durable, format!("a sound disk refuses: {why}"));
        }
        silo.acknowledged.extend(records.iter().cloned());
        for record in &records {
            self.note(Place::Silo(id), || format!("writes {}", short(&format!("{record:?}"))));
            self.oracle.silo_wrote(id, record);
        }
        if records.iter().any(|record| matches!(record, ClientRecord::Debited { .. })) {
            self.check_budget(id);
        }
    }

    fn silo_does(&mut self, id: ClientId, effect: ClientEffect) {
        match effect {
            ClientEffect::Persist(_) => {}
            ClientEffect::Send(said) => self.silo_says(id, *said),
            ClientEffect::Claim { run, plan, may_look } => {
                let answer = self.claims(id, run, &plan, may_look);
                self.silo_takes(id, ClientInput::Claimed { run, answer });
            }
            ClientEffect::ReturnClaim { run } => {
                if let Some(silo) = self.silos.get_mut(&id) {
                    silo.claims.give_back(&run);
                }
            }
            ClientEffect::ReadData { job, .. } => {
                // Other data in every life; what is declared stays what it was in the run's first.
                let Some(silo) = self.silos.get(&id) else { return };
                let version = [u64::from(id.0), silo.life].map(u64::to_le_bytes).concat();
                let commitment = Some(Digest::sha256(&version));
                self.silo_takes(id, ClientInput::ReadingBegun { job });
                self.done_later(id, ClientInput::DataRead { job, commitment });
            }
            ClientEffect::VerifyStep(job) => {
                let outcome = StepOutcome::Follows;
                self.done_later(id, ClientInput::StepVerified { record: job.record, outcome });
            }
            ClientEffect::Contradiction(contradiction) => {
                // The refusal that comes with it ends the process.
                self.oracle.silo_contradicts(id, &contradiction);
            }
            ClientEffect::Train(job) => {
                let outcome = TrainOutcome::Ready { origin: job.origin() };
                self.done_later(id, ClientInput::Trained { job: job.id, outcome });
            }
            // A simulated operator looks at it and accepts.
            ClientEffect::Offer(offer) => {
                self.done_later(id, ClientInput::AcceptRoster { roster: offer.roster.digest() });
            }
            ClientEffect::Mask(job) => {
                let name = job.id;
                let contribution = Contribution::new(job.origin, contribute(&job.plan, id, job.at));
                let Some(silo) = self.silos.get_mut(&id) else { return };
                let vector = silo.mask(*job, contribution, &mut self.rng);
                self.done_later(id, ClientInput::Masked { job: name, vector });
            }
            ClientEffect::Upload(said) => self.silo_uploads(id, said),
            ClientEffect::Forget(work) => {
                if let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) {
                    process.masked.retain(|_, (of, _)| *of != Some(work));
                }
            }
        }
    }

    /// What the ledger of the silo's data answers.
    fn claims(&mut self, id: ClientId, run: Digest, plan: &AuthoredPlan, may_look: bool) -> ClaimAnswer {
        match self.silos.get_mut(&id) {
            Some(silo) if !self.one_run => {
                silo.claims.answer(run, plan, may_look, &silo.policy, &silo.acknowledged)
            }
            // A silo of one run has its balance for that, and what it claims is there at once.
            _ => ClaimAnswer::Held,
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

    fn silo_says(&mut self, id: ClientId, said: OfRun<ToCoordinator>) {
        let fate = self.faults.fate(self.now_ms, &Moment::SiloSays(id, &said.message));
        if fate.kills() {
            return self.kill_silo(id, fate);
        }
        self.oracle.silo_says(id, &said);
        let of = self.number_of(said.run.as_ref());
        let refuses_the_run = matches!(said.message, ToCoordinator::Declined { round: None, .. });
        let session = self.silos.get(&id).and_then(|silo| silo.session);
        if let Some(session) = session {
            self.note(Place::Silo(id), || {
                let passes = if fate == Fate::Pass { String::new() } else { format!(" ({})", fate.words()) };
                format!("says {}{}{passes}", short(&format!("{:?}", said.message)), of_run(of))
            });
            if fate == Fate::Lose {
                return self.broken(id, session);
            }
            self.transmit(id, session, true, fate, wire::to_coordinator_bytes(said));
        }
        if refuses_the_run && self.one_run && self.silos.get(&id).is_some_and(|silo| silo.liar.is_none()) {
            // As the daemon of one run, after its last words are read: whoever refuses the run has nothing left to do.
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

    fn check_budget(&mut self, id: ClientId) {
        let Some(silo) = self.silos.get(&id).filter(|silo| silo.liar.is_none()) else { return };
        let Some(process) = &silo.process else { return };
        let status = process.participant.status();
        let (limit, delta) = (silo.policy.epsilon_max, silo.policy.delta_max);
        self.oracle.silo_spent(id, status.uploads, status.epsilon_spent, limit, delta);
    }
}

fn is_record(effect: &ClientEffect) -> bool {
    matches!(effect, ClientEffect::Persist(_))
}
