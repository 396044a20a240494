//! A later roster, while the run goes on.

use identity::{AuthorisedRoster, ROSTERS_BETWEEN_BYTES_MAX, ROSTERS_BETWEEN_MAX, RosterError, SignedRoster};
use params::Digest;

use super::{Coordinator, Link, StartError, send};
use crate::record::Record;
use messages::{Rejection, ToClient};

/// The rosters of a run, oldest first.
#[derive(Default)]
pub(super) struct Lineage(Vec<(Digest, SignedRoster)>);

impl Lineage {
    pub(super) fn add(&mut self, roster: &AuthorisedRoster) {
        self.0.push((roster.digest(), roster.signed().clone()));
    }

    /// Those that `earlier` holds before the first of these go before them.
    pub(super) fn preceded_by(&mut self, earlier: &Self) {
        let first = self.0.first().map(|(digest, _)| *digest);
        if let Some(at) = earlier.0.iter().position(|(digest, _)| Some(*digest) == first) {
            self.0.splice(0..0, earlier.0.iter().take(at).cloned());
        }
    }

    /// At least as many bytes as [`Lineage::leading_to`] gives.
    pub(super) fn bytes_shown(&self) -> usize {
        let bytes = self.0.iter().map(|(_, signed)| signed.roster.len()).sum::<usize>();
        bytes.min(ROSTERS_BETWEEN_BYTES_MAX)
    }

    /// The newest of those before `roster` that one message may hold, without those up to `held`. Where rosters do not name
    /// one another, nobody needs them.
    pub(super) fn leading_to(&self, roster: &AuthorisedRoster, held: Option<Digest>) -> Vec<SignedRoster> {
        if roster.format() == 1 {
            return vec![];
        }
        let mut bytes = 0;
        let before = self.0.iter().rev().skip_while(|(digest, _)| *digest != roster.digest()).skip(1);
        let mut between: Vec<SignedRoster> = before
            .take_while(|(digest, _)| Some(*digest) != held)
            .map(|(_, signed)| signed)
            .take(ROSTERS_BETWEEN_MAX)
            .take_while(|signed| {
                bytes += signed.roster.len();
                bytes <= ROSTERS_BETWEEN_BYTES_MAX
            })
            .cloned()
            .collect();
        between.reverse();
        between
    }
}

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
    pub(super) fn change_roster(&mut self, roster: &AuthorisedRoster) -> Result<(), Rejection> {
        if self.is_new() {
            return Err(self.out_of_phase("a roster"));
        }
        self.follow(roster.clone()).map_err(|why| Rejection::Invalid(why.to_string()))
    }

    /// At a start the journal's roster is in force, unless the configuration holds a later one.
    pub(super) fn take_configured_roster(&mut self) -> Result<(), StartError> {
        let (configured, newest) = (self.setup.roster.clone(), self.state.newest_roster());
        if self.is_new() || configured.epoch < newest.epoch {
            return Ok(());
        }
        let [journal, ours] = [newest, &configured].map(|roster| roster.digest().short());
        self.follow(configured).map_err(|why| StartError::OtherRoster {
            journal,
            configured: ours,
            why: why.to_string(),
        })
    }

    fn follow(&mut self, roster: AuthorisedRoster) -> Result<(), RosterError> {
        let newest = self.state.newest_roster();
        if newest.digest() != roster.digest() {
            roster.succeeds(newest)?;
            self.commit(Record::RosterChanged { roster: roster.signed().clone() });
        }
        Ok(())
    }

    /// Welcomes everyone again under a roster that has just come into force, but for those who are not on it.
    pub(super) fn welcome_under_new_roster(&mut self) {
        if self.welcomed == self.state.roster.digest() {
            return;
        }
        let before = std::mem::replace(&mut self.welcomed, self.state.roster.digest());
        let links = std::mem::take(&mut self.links);
        for (client, Link { version, checked_in, .. }) in links {
            if self.state.roster.keys().contains_key(&client) {
                // Nobody is in a cohort under a roster that it has not seen.
                // Who has checked in under a roster holds it.
                let holds = checked_in.then_some(before);
                self.links.insert(client, Link { holds, ..Link::new(version) });
                self.welcome(client);
            } else {
                send(
                    &mut self.effects,
                    client,
                    ToClient::Rejected { rejection: Rejection::UnknownClient(client) },
                );
            }
        }
    }
}
