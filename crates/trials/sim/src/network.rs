//! The network between the silos and the coordinator: sessions, and messages on their way in each.

use federation::Input;
use protocol::{ClientInput, SessionVersion, ToClient};
use secagg::ClientId;

use crate::agenda::Event;
use crate::faults::{Fate, Moment};
use crate::federation::Federation;
use crate::trace::{Place, short};

/// How long a dead connection looks alive, at most: probes of both daemons, generously.
const KEEPALIVE_MS: u64 = 20_000;

impl Federation {
    pub(crate) fn connect(&mut self, id: ClientId) {
        let Some(silo) = self.silos.get(&id).filter(|silo| silo.alive() && silo.session.is_none()) else {
            return;
        };
        let id = silo.id;
        let fate = self.faults.fate(self.now_ms, &Moment::SiloConnects(id));
        let reachable = self.center.process.is_some() && !self.faults.is_cut_off(self.now_ms, id);
        if !reachable || matches!(fate, Fate::Lose | Fate::Vanish) {
            return self.connect_later(id);
        }
        self.sessions += 1;
        let session = self.sessions;
        self.note(Place::Silo(id), || format!("connects, session {session}"));
        if let Some(silo) = self.silos.get_mut(&id) {
            silo.session = Some(session);
        }
        if let Some(process) = &mut self.center.process {
            process.sessions.insert(id, session);
        }
        let version = SessionVersion::NEWEST;
        self.silo_input(id, ClientInput::Connected { version });
        self.feed(Input::Connected { client: id, version });
        self.center_performs();
    }

    /// After a failed attempt or a lost connection: never at once where the coordinator is away, or nothing would
    /// ever happen in between.
    pub(crate) fn connect_later(&mut self, id: ClientId) {
        let floor =
            if self.center.process.is_some() && !self.faults.is_cut_off(self.now_ms, id) { 0 } else { 50 };
        let wait = self.faults.backoff_ms().max(floor);
        self.agenda.add(self.now_ms + wait, Event::Connect(id));
    }

    /// Both sides notice that the connection is gone.
    pub(crate) fn broken(&mut self, client: ClientId, session: u64) {
        self.half_open.remove(&session);
        if let Some(silo) = self.silos.get_mut(&client)
            && silo.session == Some(session)
        {
            silo.session = None;
            self.note(Place::Silo(client), || format!("session {session} is lost"));
            self.connect_later(client);
        }
        let process = self.center.process.as_mut();
        if process.is_some_and(|process| process.sessions.get(&client) == Some(&session)) {
            if let Some(process) = &mut self.center.process {
                process.sessions.remove(&client);
            }
            self.feed(Input::Disconnected { client });
            self.center_performs();
        }
    }

    /// Breaks every connection: what faults left half open is noticed, and everyone connects again.
    pub fn reset_connections(&mut self) {
        let sessions: Vec<(ClientId, u64)> =
            self.silos.values().filter_map(|silo| silo.session.map(|session| (silo.id, session))).collect();
        for (client, session) in sessions {
            self.broken(client, session);
        }
    }

    /// Puts bytes on their way; `up` towards the coordinator. Gives the fate, for what else it means.
    pub(crate) fn transmit(&mut self, client: ClientId, session: u64, up: bool, fate: Fate, bytes: Vec<u8>) {
        if self.half_open.contains(&session) {
            return;
        }
        if self.faults.is_cut_off(self.now_ms, client) || fate == Fate::Vanish {
            self.half_open.insert(session);
            self.agenda.add(self.now_ms + KEEPALIVE_MS, Event::Broken { client, session });
            return;
        }
        let delay = if let Fate::Late(ms) = fate { ms } else { 0 };
        let mut arrival = self.now_ms + delay;
        if !self.faults.reorders() {
            let last = self.last_arrival.entry((client, up)).or_default();
            arrival = arrival.max(*last);
            *last = arrival;
        }
        let event = |bytes: Vec<u8>| match up {
            true => Event::ToCoordinator { from: client, session, bytes },
            false => Event::ToSilo { to: client, session, bytes },
        };
        if let Fate::Twice(ms) = fate {
            self.agenda.add(arrival + ms, event(bytes.clone()));
        }
        self.agenda.add(arrival, event(bytes));
    }

    pub(crate) fn deliver_to_silo(&mut self, to: ClientId, session: u64, bytes: &[u8]) {
        if self.silos.get(&to).is_none_or(|silo| silo.session != Some(session)) {
            return;
        }
        match wire::read_to_client(bytes) {
            Ok(message) => self.silo_hears(to, message),
            Err(why) => {
                // As the daemon: a session that carries what cannot be read is ended.
                self.note(Place::Silo(to), || format!("hears what is no message: {why}"));
                self.broken(to, session);
            }
        }
    }

    pub(crate) fn deliver_to_center(&mut self, from: ClientId, session: u64, bytes: &[u8]) {
        let current = self.center.process.as_ref().and_then(|process| process.sessions.get(&from));
        if current != Some(&session) {
            return;
        }
        match wire::read_to_coordinator(bytes) {
            Ok(message) => {
                self.note(Place::Coordinator, || {
                    format!("hears {} from silo {from}", short(&format!("{:?}", message.message)))
                });
                let (heard, of) = (message.clone(), self.number_of(message.run.as_ref()));
                if let Err(rejection) = self.coordinate(Input::Message { from, message }) {
                    self.center_says(from, of, ToClient::Rejected { rejection }, Fate::Pass);
                }
                self.twin(|twin, now, rng| twin.hears(now, rng, from, heard));
            }
            Err(why) => {
                self.note(Place::Coordinator, || format!("hears no message from silo {from}: {why}"));
                self.broken(from, session);
            }
        }
    }
}
