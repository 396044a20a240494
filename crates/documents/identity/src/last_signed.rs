//! What the authority remembers of the rosters that it has signed.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::roster::{AuthorisedRoster, Roster, RosterError, SignedRoster};
use crate::succession::{ROSTERS_BETWEEN_BYTES_MAX, ROSTERS_BETWEEN_MAX};

/// The file beside the authority's key.
pub const LAST_ROSTER_FILE: &str = "last-roster.json";

const FORMAT: u64 = 1;

/// The last roster that an authority has signed. It extends no other: what a coordinator shows as the one in force may be an
/// older one, and would bring back who was revoked since.
#[derive(Debug, Clone, PartialEq)]
pub struct LastSigned {
    pub roster: AuthorisedRoster,
    /// The latest epoch that was ever signed: a roster that the coordinator refused keeps its epoch to itself.
    pub epoch_signed: u64,
    /// The coordinator has said that this roster is in force. Silos may hold it by then: nothing takes its place any more.
    pub taken: bool,
    /// Those that it follows by way of, oldest first, as far as they are remembered: what a coordinator that was restored lacks.
    pub before: Vec<AuthorisedRoster>,
    /// The highest number that was ever signed for a member: those of former members are nobody else's.
    pub highest_number: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u64,
    epoch_signed: u64,
    last: SignedRoster,
    #[serde(default, skip_serializing_if = "is_default")]
    taken: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    before: Vec<SignedRoster>,
    #[serde(default, skip_serializing_if = "is_default")]
    highest_number: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why the authority does not remember.
#[derive(Debug, thiserror::Error)]
pub enum LastSignedError {
    /// Written by a later release.
    #[error("it has format {format}, this release reads format {FORMAT}: install a newer release here")]
    Format { format: u64 },
    /// Not what was written.
    #[error("it does not parse: {0}; restore it from a backup of this folder")]
    Syntax(String),
    /// Another authority's, or unusable.
    #[error(transparent)]
    Roster(#[from] RosterError),
}

impl LastSigned {
    /// A roster that is the latest.
    pub fn new(roster: AuthorisedRoster) -> Self {
        let highest_number = highest(&roster);
        Self { epoch_signed: roster.epoch, roster, taken: false, before: Vec::new(), highest_number }
    }

    /// The roster that comes next, with the members of the last one.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub fn next(&self) -> Result<Roster, RosterError> {
        self.on(&self.roster)
    }

    /// The roster that comes next where it follows another one than the last: one that the coordinator has in force, as it
    /// refuses the last one, or as another copy of the authority's folder signed it. Either is a peer's word: whom the last one
    /// left out stays out, and of the others those whom it did not know are taken if they were admitted since.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub fn next_beside(&self, before: &AuthorisedRoster) -> Result<Roster, RosterError> {
        let mut next = self.on(before)?;
        next.members.retain(|id, member| match self.roster.members.get(id) {
            Some(last) => last.identity_key == member.identity_key,
            None => member.admitted >= self.roster.epoch,
        });
        Ok(next)
    }

    fn on(&self, before: &AuthorisedRoster) -> Result<Roster, RosterError> {
        let next = before.successor()?;
        let after = self.epoch_signed.checked_add(1);
        let after = after.ok_or_else(|| RosterError::Meaning("there is no epoch left".into()))?;
        Ok(Roster { epoch: next.epoch.max(after), ..next })
    }

    /// What is remembered once `next` is signed, on `before`.
    pub fn followed_by(&self, before: &AuthorisedRoster, next: AuthorisedRoster) -> Self {
        let mut line = self.before.clone();
        line.push(self.roster.clone());
        match line.iter().position(|roster| roster.digest() == before.digest()) {
            Some(at) => line.truncate(at + 1),
            None => line = vec![before.clone()],
        }
        let mut bytes = 0;
        let kept = line.iter().rev().take(ROSTERS_BETWEEN_MAX).take_while(|roster| {
            bytes += roster.signed().roster.len();
            bytes <= ROSTERS_BETWEEN_BYTES_MAX
        });
        let kept = kept.count();
        let highest_number = self.highest_number.max(highest(before)).max(highest(&next));
        let before = line.split_off(line.len() - kept);
        Self {
            epoch_signed: self.epoch_signed.max(next.epoch),
            roster: next,
            taken: false,
            before,
            highest_number,
        }
    }

    /// What a coordinator lacks that has `shown` in force: those after it, oldest first, to the last one. `None` where that one
    /// is not known to lead to the last one.
    pub fn after(&self, shown: &AuthorisedRoster) -> Option<Vec<AuthorisedRoster>> {
        let line: Vec<_> = self.before.iter().chain([&self.roster]).collect();
        match line.iter().position(|roster| roster.digest() == shown.digest()) {
            Some(at) => Some(line.into_iter().skip(at + 1).cloned().collect()),
            None => self.roster.succeeds(shown).is_ok().then(|| vec![self.roster.clone()]),
        }
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: it holds numbers and texts.
    #[allow(clippy::expect_used)]
    pub fn to_json(&self) -> String {
        let signed = |roster: &AuthorisedRoster| roster.signed().clone();
        let written = Written {
            format: FORMAT,
            epoch_signed: self.epoch_signed,
            last: signed(&self.roster),
            taken: self.taken,
            before: self.before.iter().map(signed).collect(),
            highest_number: self.highest_number,
        };
        serde_json::to_string(&written).expect("numbers and texts are JSON")
    }

    /// Reads the file's text, whose roster this authority must have signed.
    ///
    /// # Errors
    /// [`LastSignedError`]
    pub fn from_json(text: &str, authority: &VerifyingKey) -> Result<Self, LastSignedError> {
        #[derive(Deserialize)]
        struct Numbered {
            format: u64,
        }
        let syntax = |why: serde_json::Error| LastSignedError::Syntax(why.to_string());
        let Numbered { format } = serde_json::from_str(text).map_err(syntax)?;
        if format != FORMAT {
            return Err(LastSignedError::Format { format });
        }
        let Written { epoch_signed, last, taken, before, highest_number, .. } =
            serde_json::from_str(text).map_err(syntax)?;
        let roster = last.authorise(authority)?;
        let before =
            before.into_iter().map(|roster| roster.authorise(authority)).collect::<Result<Vec<_>, _>>()?;
        let numbers = before.iter().chain([&roster]).map(|roster| highest(roster));
        Ok(Self {
            epoch_signed: epoch_signed.max(roster.epoch),
            highest_number: numbers.fold(highest_number, u32::max),
            roster,
            taken,
            before,
        })
    }
}

fn highest(roster: &Roster) -> u32 {
    roster.members.keys().map(|id| id.0).fold(0, u32::max)
}

#[cfg(test)]
mod tests {
    use secagg::ClientId;

    use super::*;
    use crate::Member;
    use crate::samples::{self, authorised, key};

    fn last() -> LastSigned {
        let roster = Roster { format: Some(Roster::FORMAT), ..samples::roster(4, &[]) };
        LastSigned::new(authorised(&roster))
    }

    fn member(byte: u8, admitted: u64) -> Member {
        samples::member(&format!("silo {byte}"), byte, admitted)
    }

    /// Remembers `next`, changed, in the place of the last one.
    fn then(last: &LastSigned, change: impl FnOnce(&mut Roster)) -> LastSigned {
        let mut next = last.next().unwrap();
        change(&mut next);
        last.followed_by(&last.roster, authorised(&next))
    }

    fn numbers(roster: &Roster) -> Vec<u32> {
        roster.members.keys().map(|id| id.0).collect()
    }

    fn admit(id: u8) -> impl FnOnce(&mut Roster) {
        move |roster| drop(roster.members.insert(ClientId(id.into()), member(id, roster.epoch)))
    }

    fn leave_out(id: u32) -> impl FnOnce(&mut Roster) {
        move |roster| drop(roster.members.remove(&ClientId(id)))
    }

    #[test]
    fn what_was_signed_is_read_again_under_its_own_authority_only() {
        let last = LastSigned { epoch_signed: 6, taken: true, ..then(&last(), admit(1)) };
        let text = last.to_json();
        assert_eq!(LastSigned::from_json(&text, &key(100).public()).unwrap(), last);
        assert!(matches!(LastSigned::from_json(&text, &key(101).public()), Err(LastSignedError::Roster(_))));
        let newer = text.replace("{\"format\":1,", "{\"format\":2,\"unheard\":true,");
        let why = LastSigned::from_json(&newer, &key(100).public()).unwrap_err().to_string();
        assert!(why.contains("has format 2, this release reads format 1"), "{why}");
        assert!(matches!(LastSigned::from_json("{}", &key(100).public()), Err(LastSignedError::Syntax(_))));
    }

    #[test]
    fn no_epoch_is_signed_twice_though_the_coordinator_refused_the_first() {
        let last = LastSigned { epoch_signed: 6, ..last() };
        let next = last.next().unwrap();
        assert_eq!((next.epoch, next.previous), (7, Some(last.roster.digest())));
        assert_eq!(LastSigned { epoch_signed: 4, ..last.clone() }.next().unwrap().epoch, 5);
        let beside = last.followed_by(&last.roster, authorised(&next)).next_beside(&last.roster).unwrap();
        assert_eq!((beside.epoch, beside.previous), (8, Some(last.roster.digest())));
    }

    #[test]
    fn a_coordinator_that_was_restored_is_shown_everything_that_it_lacks_and_no_more_than_is_remembered() {
        let first = last();
        let second = then(&first, admit(1));
        let third = then(&second, admit(2));
        let fourth = then(&third, leave_out(1));
        let rosters = [&first, &second, &third, &fourth].map(|last| last.roster.clone());
        for (at, shown) in rosters.iter().enumerate() {
            assert_eq!(fourth.after(shown).unwrap(), rosters[at + 1..]);
        }
        let fork = then(&second, admit(3));
        assert_eq!(fourth.after(&fork.roster), None);
        // What was refused is in no line, and its number is nobody else's either.
        let beside =
            third.followed_by(&second.roster, authorised(&third.next_beside(&second.roster).unwrap()));
        assert_eq!(beside.after(&third.roster), None);
        assert_eq!((beside.after(&rosters[0]).unwrap().len(), beside.highest_number), (2, 2));
        let long = (0..ROSTERS_BETWEEN_MAX).fold(fourth, |last, _| then(&last, |_| ()));
        assert_eq!((long.before.len(), long.after(&rosters[0])), (ROSTERS_BETWEEN_MAX, None));
    }

    #[test]
    fn whom_this_folder_left_out_stays_out_whatever_another_copy_of_it_signed() {
        let both = then(&then(&last(), admit(1)), admit(2));
        let here = then(&both, leave_out(2));
        let there = then(&then(&both, admit(3)), admit(4));
        assert_eq!(numbers(&here.next_beside(&there.roster).unwrap()), [1, 3, 4]);
        // As where the coordinator refused what was signed here: whom that one admitted is approved again.
        let refused = then(&both, admit(5));
        assert_eq!(numbers(&refused.next_beside(&both.roster).unwrap()), [1, 2]);
        let again = then(&refused, leave_out(1));
        assert_eq!(numbers(&again.next_beside(&there.roster).unwrap()), [2, 4]);
    }
}
