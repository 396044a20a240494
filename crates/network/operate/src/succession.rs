//! Signing the roster that comes next: on the last one that this authority's folder remembers, and on no other.

use identity::{AuthorisedRoster, LastSigned, Roster, RosterChange, RosterError};
use secagg::ClientId;
use wire::v1::Clients;

use crate::admin::{Admin, Submitted};
use crate::admission::roster_in_force;
use crate::authority::{AuthorityFolder, SigningError};
use crate::connect::ConnectError;

/// What the next roster begins with.
pub struct NextRoster {
    /// The one in force, which it names as the one before it.
    pub before: AuthorisedRoster,
    /// The next one, with nobody admitted or left out yet.
    pub roster: Roster,
    /// The highest number that anybody had, as far as is remembered.
    pub highest_number: u32,
    /// Those that were signed before, oldest first, as far as they are remembered.
    pub(crate) earlier: Vec<AuthorisedRoster>,
}

/// What a person learns on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A roster that was signed here is not in force, and is submitted again.
    SubmittedAgain { epoch: u64 },
    /// A member of the roster in force is not in the last one that was signed here, and will not be in the next one.
    StaysOut { id: ClientId, name: String },
    /// The coordinator refuses a roster that was signed here, and the next one is signed in its place.
    InItsPlace {
        /// The refused one's epoch.
        epoch: u64,
        /// In the coordinator's words.
        why: String,
        /// The epoch of the roster that the next one follows.
        on: u64,
    },
    /// What the roster that is signed now changes.
    Signed(RosterChange),
    /// The coordinator's words on a roster that it put in force.
    InForce(String),
}

/// Whoever is to learn of it.
pub type Notes<'a> = &'a mut (dyn FnMut(Notice) + Send);

/// Why a folder cannot vouch for the roster that a coordinator shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The folder remembers nothing.
    #[error("this folder does not remember which roster it signed last")]
    NothingRemembered,
    /// It shows a later one than the last.
    #[error("the coordinator shows a later roster than the last one that was signed here, of epoch {epoch}")]
    AnotherCopy {
        /// The last one's epoch.
        epoch: u64,
    },
    /// It shows an older one, or one that was signed beside the last.
    #[error(
        "the coordinator shows an older roster than the last one that was signed here, of epoch {epoch}, or one that was signed \
         beside that one"
    )]
    Older {
        /// The last one's epoch.
        epoch: u64,
    },
    /// It refuses one that it had in force: silos may hold that one.
    #[error("the coordinator refuses the roster of epoch {epoch}, which it had in force before: {why}")]
    RefusesWhatItTook {
        /// The refused one's epoch.
        epoch: u64,
        /// In the coordinator's words.
        why: String,
    },
}

impl NextRoster {
    /// On the last one that was signed here.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub(crate) fn on(last: LastSigned) -> Result<Self, RosterError> {
        let (roster, highest_number) = (last.next()?, last.highest_number);
        Ok(Self { roster, highest_number, before: last.roster, earlier: last.before })
    }

    /// On another roster than the last one signed here, without whom that one left out.
    fn beside(last: &LastSigned, before: AuthorisedRoster, notes: Notes<'_>) -> Result<Self, SigningError> {
        let roster = last.next_beside(&before).map_err(SigningError::NoEpoch)?;
        for (id, member) in before.members.iter().filter(|(id, _)| !roster.members.contains_key(id)) {
            notes(Notice::StaysOut { id: *id, name: member.name.clone() });
        }
        let highest_number = LastSigned::new(before.clone()).highest_number.max(last.highest_number);
        let earlier = last.before.iter().chain([&last.roster]).cloned().collect();
        Ok(Self { before, roster, highest_number, earlier })
    }
}

impl AuthorityFolder {
    /// The roster to extend: the last one signed here, which must be in force. What a crash kept from the coordinator, or what
    /// it lost, is submitted again. `trusted` is a digest that a person stands for, where this folder cannot know of it. What is
    /// remembered never goes back on a peer's word: whom the last one left out stays out.
    ///
    /// # Errors
    /// [`SigningError`]; nothing is signed here.
    pub async fn current(
        &mut self,
        admin: &mut Admin,
        seen: &Clients,
        trusted: Option<&str>,
        notes: Notes<'_>,
    ) -> Result<NextRoster, SigningError> {
        let shown = roster_in_force(seen, &self.key().public())?;
        let Some(last) = self.last().cloned() else {
            stand_for(&shown, trusted, Doubt::NothingRemembered)?;
            return NextRoster::on(LastSigned::new(shown)).map_err(SigningError::NoEpoch);
        };
        let Some(lacking) = last.after(&shown) else {
            let epoch = last.roster.epoch;
            let later = shown.epoch > epoch;
            let why = if later { Doubt::AnotherCopy { epoch } } else { Doubt::Older { epoch } };
            stand_for(&shown, trusted, why)?;
            return NextRoster::beside(&last, shown, notes);
        };
        let mut in_force = shown;
        let restored = !lacking.is_empty();
        if !restored && !last.taken {
            // Its answer was lost: what the coordinator does once it is in force is done with the same one again.
            if let Submitted::Refused(why) = give(admin, &last.roster, notes).await? {
                return Err(why.into());
            }
        }
        for roster in lacking {
            notes(Notice::SubmittedAgain { epoch: roster.epoch });
            match give(admin, &roster, notes).await? {
                Submitted::Taken(_) => in_force = roster,
                // One of format 1 was in force before it was remembered, and does not say which one it followed.
                Submitted::Refused(why) if roster.format() == 1 => return Err(why.into()),
                Submitted::Refused(why) => {
                    return in_its_place(&last, &roster, in_force, &why, trusted, notes);
                }
            }
        }
        if restored {
            in_force = roster_in_force(&admin.clients().await?, &self.key().public())?;
        }
        if in_force.digest() != last.roster.digest() {
            let (signed, shown) = (last.roster.epoch, Box::new(in_force));
            return Err(SigningError::TakenAndNotShown { signed, shown });
        }
        self.note_taken()?;
        NextRoster::on(last).map_err(SigningError::NoEpoch)
    }

    /// Signs, remembers, submits, in this order: what may be out is remembered. `again` is what a person does where the
    /// coordinator refuses it, in words that end before "to sign a later one in its place".
    ///
    /// # Errors
    /// [`SigningError`]; [`SigningError::NotTaken`] and [`SigningError::Unknown`] once it is signed.
    pub async fn extend(
        &mut self,
        admin: &mut Admin,
        before: &AuthorisedRoster,
        next: &Roster,
        again: &str,
        notes: Notes<'_>,
    ) -> Result<(), SigningError> {
        // Read back as every silo will: what they would refuse is not remembered, and not sent.
        let next = next.sign(self.key()).authorise(&self.key().public()).map_err(SigningError::Unsound)?;
        next.succeeds(before).map_err(SigningError::Unsound)?;
        notes(Notice::Signed(next.change_from(before)));
        let epoch = next.epoch;
        let last = self.last().cloned().unwrap_or_else(|| LastSigned::new(before.clone()));
        self.remember(last.followed_by(before, next.clone()))?;
        match give(admin, &next, notes).await {
            Ok(Submitted::Taken(_)) => self.note_taken(),
            Ok(Submitted::Refused(why)) => {
                Err(SigningError::NotTaken { epoch, again: again.to_owned(), why })
            }
            Err(why) => Err(SigningError::Unknown { epoch, why }),
        }
    }
}

/// Whether a person stands for a roster that this folder cannot vouch for.
fn stand_for(shown: &AuthorisedRoster, trusted: Option<&str>, why: Doubt) -> Result<(), SigningError> {
    match trusted {
        Some(given) if given.trim().eq_ignore_ascii_case(&shown.digest().to_string()) => Ok(()),
        Some(given) => {
            Err(SigningError::AnotherShown { shown: Box::new(shown.clone()), given: given.to_owned() })
        }
        None => Err(SigningError::Doubtful { why, shown: Box::new(shown.clone()) }),
    }
}

/// The next roster in place of one that the coordinator refuses, on the one before it.
fn in_its_place(
    last: &LastSigned,
    refused: &AuthorisedRoster,
    in_force: AuthorisedRoster,
    why: &ConnectError,
    trusted: Option<&str>,
    notes: Notes<'_>,
) -> Result<NextRoster, SigningError> {
    let (epoch, why) = (refused.epoch, why.to_string());
    if last.taken || refused.digest() != last.roster.digest() {
        // It took that one, or one on it: silos may hold it.
        stand_for(&in_force, trusted, Doubt::RefusesWhatItTook { epoch, why: why.clone() })?;
    }
    notes(Notice::InItsPlace { epoch, why, on: in_force.epoch });
    NextRoster::beside(last, in_force, notes)
}

async fn give(
    admin: &mut Admin,
    next: &AuthorisedRoster,
    notes: Notes<'_>,
) -> Result<Submitted, ConnectError> {
    let submitted = admin.submit_roster(next.signed()).await?;
    if let Submitted::Taken(text) = &submitted {
        notes(Notice::InForce(text.clone()));
    }
    Ok(submitted)
}
