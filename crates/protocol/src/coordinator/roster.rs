//! A later roster, while the run goes on.

use identity::AuthorisedRoster;

use super::{Coordinator, Effects, Link, StartError, send};
use crate::message::{Rejection, ToClient};
use crate::record::Record;

impl Coordinator {
    /// The roster in force.
    pub fn roster(&self) -> &AuthorisedRoster {
        &self.state.roster
    }

    /// The latest roster that the authority has signed: in force, or as soon as the attempt in progress has ended.
    pub fn newest_roster(&self) -> &AuthorisedRoster {
        self.state.newest_roster()
    }

    /// Puts a later roster in force once the attempt in progress has ended: the masks of an attempt are bound to the
    /// roster that it began under.
    pub(super) fn change_roster(
        &mut self,
        roster: &AuthorisedRoster,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        if self.is_new() {
            return Err(self.out_of_phase("a roster"));
        }
        let newest = self.state.newest_roster();
        if newest.digest() == roster.digest() {
            return Ok(());
        }
        roster.succeeds(newest).map_err(|why| Rejection::Invalid(why.to_string()))?;
        self.commit(Record::RosterChanged { roster: roster.signed().clone() }, out);
        Ok(())
    }

    /// At a start the journal's roster is in force, unless the configuration holds a later one.
    pub(super) fn take_configured_roster(&mut self, out: &mut Effects) -> Result<(), StartError> {
        let (configured, newest) = (&self.setup.roster, self.state.newest_roster());
        if self.is_new() || configured.epoch < newest.epoch || configured.digest() == newest.digest() {
            return Ok(());
        }
        configured.succeeds(newest).map_err(|why| StartError::OtherRoster {
            journal: newest.digest().short(),
            configured: configured.digest().short(),
            why: why.to_string(),
        })?;
        let roster = configured.signed().clone();
        self.commit(Record::RosterChanged { roster }, out);
        Ok(())
    }

    /// Welcomes everyone again under a roster that has just come into force, but for those who are not on it.
    pub(super) fn welcome_under_new_roster(&mut self, out: &mut Effects) {
        if self.welcomed == self.state.roster.digest() {
            return;
        }
        self.welcomed = self.state.roster.digest();
        let links = std::mem::take(&mut self.links);
        for (client, Link { version, .. }) in links {
            if self.state.roster.keys().contains_key(&client) {
                // Nobody is in a cohort under a roster that it has not seen.
                self.links.insert(client, Link::new(version));
                self.welcome(client, out);
            } else {
                send(out, client, ToClient::Refused { rejection: Rejection::UnknownClient(client) });
            }
        }
    }
}
