//! A masked vector's way: its own connection, tried again until the coordinator has it or does not want it.

use std::collections::btree_map::Entry;

use federation::Input;
use protocol::{OfRun, UploadHeader};
use secagg::{ClientId, MaskedUpdate};

use crate::agenda::Event;
use crate::faults::{Fate, Moment};
use crate::federation::Federation;
use crate::invariant::Invariant;
use crate::trace::Place;

/// How long an upload that broke off waits before it goes on.
const UPLOAD_RETRY_MS: u64 = 200;

impl Federation {
    pub(crate) fn silo_uploads(&mut self, id: ClientId, header: OfRun<UploadHeader>) {
        let Some(process) = self.silos.get_mut(&id).and_then(|silo| silo.process.as_mut()) else { return };
        process.upload_job += 1;
        let job = process.upload_job;
        self.try_upload(id, job, header);
    }

    fn try_upload(&mut self, id: ClientId, job: u64, header: OfRun<UploadHeader>) {
        let fate = self.faults.fate(self.now_ms, &Moment::SiloUploads(id, &header.message));
        if fate.kills() {
            return self.kill_silo(id, fate);
        }
        self.oracle.silo_uploads(&header);
        let Some(life) = self.silos.get(&id).map(|silo| silo.life) else { return };
        let event = || Event::Upload { life, job, header: Box::new(header.clone()) };
        let again = || Event::UploadAgain { life, job, header: Box::new(header.clone()) };
        let away = self.faults.is_cut_off(self.now_ms, id) || self.center.process.is_none();
        self.note(Place::Silo(id), || {
            format!("uploads in round {} ({})", header.message.at.round, fate.words())
        });
        match fate {
            Fate::Lose | Fate::Vanish => {
                let session = self.silos.get(&id).and_then(|silo| silo.session);
                self.agenda.add(self.now_ms + UPLOAD_RETRY_MS, again());
                if let (Some(session), Fate::Lose) = (session, fate) {
                    self.broken(id, session);
                }
            }
            _ if away => self.agenda.add(self.now_ms + UPLOAD_RETRY_MS, again()),
            Fate::Late(ms) => self.agenda.add(self.now_ms + ms, event()),
            Fate::Twice(ms) => {
                self.agenda.add(self.now_ms, event());
                self.agenda.add(self.now_ms + ms, event());
            }
            _ => self.agenda.add(self.now_ms, event()),
        }
    }

    /// The job tries once more, if it is still the silo's.
    pub(crate) fn upload_again(&mut self, life: u64, job: u64, header: OfRun<UploadHeader>) {
        let silo = self.silos.get(&header.message.client).filter(|silo| silo.life == life);
        let process = silo.and_then(|silo| silo.process.as_ref()).filter(|process| process.upload_job == job);
        if process.is_some_and(|process| process.masked.contains_key(&header.message.digest)) {
            self.try_upload(header.message.client, job, header);
        }
    }

    /// The vector arrives, if its job still lives and the coordinator does: as the shell's upload service, header
    /// first, then chunks whose digests are checked.
    pub(crate) fn upload_arrives(&mut self, life: u64, job: u64, header: OfRun<UploadHeader>) {
        let (id, at) = (header.message.client, header.message.at);
        let Some(silo) = self.silos.get(&id).filter(|silo| silo.life == life) else { return };
        let process = silo.process.as_ref().filter(|process| process.upload_job == job);
        let Some((_, masked)) = process.and_then(|process| process.masked.get(&header.message.digest)) else {
            return;
        };
        let process = self.center.process.as_ref().filter(|_| !self.faults.is_cut_off(self.now_ms, id));
        let Some(process) = process else {
            let again = Event::UploadAgain { life, job, header: Box::new(header) };
            return self.agenda.add(self.now_ms + UPLOAD_RETRY_MS, again);
        };
        let header = match wire::read_upload_header(&wire::upload_header_bytes(header)) {
            Ok(header) => header,
            Err(why) => {
                return self
                    .oracle
                    .broken(Invariant::UploadKept, format!("a header that does not convert: {why}"));
            }
        };
        let run = match process.core.admit_upload(&header) {
            Ok(run) => run,
            Err(rejection) => return self.rejections.push(rejection),
        };
        let Some(files) = self.center.runs.get_mut(&run) else { return };
        if let Entry::Vacant(place) = files.staged.entry((at, header.message.r2, id)) {
            if let Err(why) = receive(&header, masked) {
                return self.note(Place::Coordinator, || format!("refuses silo {id}'s vector: {why}"));
            }
            place.insert(masked.lanes().to_vec());
        }
        self.feed(Input::Staged { run, header: header.message.clone() });
        self.twin(|twin, now, rng| twin.staged(now, rng, header));
    }
}

/// The vector in its chunks, each checked as the shell does; the first message is the header alone.
fn receive(header: &OfRun<UploadHeader>, masked: &MaskedUpdate) -> Result<(), wire::ChunkError> {
    let mut verifier = wire::UploadVerifier::new(&header.message);
    for chunk in wire::upload_chunks(header, masked, 0).skip(1) {
        verifier.accept(chunk)?;
    }
    verifier.finish()
}
