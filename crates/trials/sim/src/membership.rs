//! Silos join and leave while a run goes on: the authority signs a later roster, and the coordinator is given it.

use federation::Input;
use identity::{IdentityKey, Member, Roster};
use protocol::Rejection;
use secagg::ClientId;

use crate::agenda::Event;
use crate::faults::Fate;
use crate::federation::{Federation, policy};
use crate::samples::authorised;
use crate::silo::Silo;

impl Federation {
    /// One more silo is admitted, with the next number; its daemon is started. Gives the number.
    ///
    /// # Panics
    /// While the coordinator is dead, or where it refuses the roster.
    pub fn enrol(&mut self) -> u32 {
        let mut roster = self.next_roster();
        let id = self.silos.last_key_value().map_or(1, |(id, _)| id.0 + 1);
        let key = IdentityKey::generate(&mut self.rng);
        let identity_key = hex::encode(key.public().as_bytes());
        let member = Member { name: format!("silo {id}"), identity_key, admitted: roster.epoch };
        roster.members.insert(ClientId(id), member);
        // It is given the roster that names it, as at its enrolment.
        let silo = Silo::new(ClientId(id), key.secret_hex().to_string(), authorised(&roster), policy());
        self.silos.insert(ClientId(id), silo);
        self.submit(&roster).unwrap_or_else(|why| panic!("the roster is refused: {why}"));
        self.agenda.add(self.now_ms, Event::StartSilo(ClientId(id)));
        id
    }

    /// A silo is on the roster no more.
    ///
    /// # Panics
    /// While the coordinator is dead, or where it refuses the roster.
    pub fn expel(&mut self, id: u32) {
        let mut roster = self.next_roster();
        roster.members.remove(&ClientId(id));
        self.submit(&roster).unwrap_or_else(|why| panic!("the roster is refused: {why}"));
    }

    /// Gives the coordinator this roster, signed by the authority.
    ///
    /// # Errors
    /// The coordinator's rejection.
    pub fn submit(&mut self, roster: &Roster) -> Result<(), Rejection> {
        let result = self.coordinate(Input::Roster(Box::new(authorised(roster))));
        self.center_performs();
        result
    }

    /// The coordinator's roster with the next epoch.
    ///
    /// # Panics
    /// While the coordinator is dead.
    pub fn next_roster(&self) -> Roster {
        self.coordinator().roster().successor().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The coordinator's process is killed, and started again at once.
    pub fn crash_the_coordinator(&mut self) {
        self.kill_center(Fate::Kill);
    }
}
