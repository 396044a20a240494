//! What the authority remembers of the rosters that it has signed.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::roster::{AuthorisedRoster, Roster, RosterError, SignedRoster};

/// The file beside the authority's key.
pub const LAST_ROSTER_FILE: &str = "last-roster.json";

const FORMAT: u64 = 1;

/// The last roster that an authority has signed. It extends no other: what a coordinator shows as the one in force may be an
/// older one, and would bring back who was revoked since.
#[derive(Debug, Clone, PartialEq)]
pub struct LastSigned {
    /// The roster.
    pub roster: AuthorisedRoster,
    /// The latest epoch that was ever signed: a roster that the coordinator refused keeps its epoch to itself.
    pub epoch_signed: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u64,
    epoch_signed: u64,
    last: SignedRoster,
}

/// Why the authority does not remember.
#[derive(Debug, thiserror::Error)]
pub enum LastSignedError {
    /// Written by a later release.
    #[error("it has format {format}, this release reads format {FORMAT}: install a newer release here")]
    Format {
        /// Its own.
        format: u64,
    },
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
        Self { epoch_signed: roster.epoch, roster }
    }

    /// The roster that comes next, with the members of the last one.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub fn next(&self) -> Result<Roster, RosterError> {
        let next = self.roster.successor()?;
        let after = self.epoch_signed.checked_add(1);
        let after = after.ok_or_else(|| RosterError::Meaning("there is no epoch left".into()))?;
        Ok(Roster { epoch: next.epoch.max(after), ..next })
    }

    /// The roster that comes next where the coordinator does not take the last one, on `before`, which the last one followed.
    /// A refusal is a peer's word: whom the last one left out stays out.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub fn next_beside(&self, before: &AuthorisedRoster) -> Result<Roster, RosterError> {
        let mut next = Self { roster: before.clone(), epoch_signed: self.epoch_signed }.next()?;
        next.members.retain(|id, member| {
            let kept = self.roster.members.get(id);
            kept.is_some_and(|last| last.identity_key == member.identity_key)
        });
        Ok(next)
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: it holds numbers and texts.
    #[allow(clippy::expect_used)]
    pub fn to_json(&self) -> String {
        let last = self.roster.signed().clone();
        let written = Written { format: FORMAT, epoch_signed: self.epoch_signed, last };
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
        let Written { epoch_signed, last, .. } = serde_json::from_str(text).map_err(syntax)?;
        let roster = last.authorise(authority)?;
        Ok(Self { epoch_signed: epoch_signed.max(roster.epoch), roster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKey;

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    fn last() -> LastSigned {
        let roster = Roster {
            format: Some(Roster::FORMAT),
            federation: "test".into(),
            epoch: 4,
            coordinator_key: hex::encode(key(9).public().as_bytes()),
            members: [].into(),
            previous: None,
        };
        LastSigned::new(roster.sign(&key(100)).authorise(&key(100).public()).unwrap())
    }

    #[test]
    fn what_was_signed_is_read_again_under_its_own_authority_only() {
        let last = LastSigned { epoch_signed: 6, ..last() };
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
        assert_eq!(LastSigned { epoch_signed: 4, ..last }.next().unwrap().epoch, 5);
    }
}
