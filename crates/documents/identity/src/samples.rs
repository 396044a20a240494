//! Keys for tests, and rosters that one of them signs.
#![allow(clippy::unwrap_used)]

use secagg::ClientId;

use crate::{AuthorisedRoster, IdentityKey, Member, Roster};

/// The key whose secret is this byte, 32 times. That of [`authorised`]'s authority is 100's, a coordinator's 99's.
pub fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

/// Its public half, hexadecimal.
pub fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

/// A silo with this key.
pub fn member(name: &str, byte: u8, admitted: u64) -> Member {
    Member { name: name.into(), identity_key: public(byte), admitted }
}

/// Silos of these names, numbered from 1, each with its number's key, in a roster of the first format that names none before it.
pub fn roster(epoch: u64, names: &[&str]) -> Roster {
    let members = (1u8..).zip(names).map(|(id, name)| (ClientId(id.into()), member(name, id, 1)));
    Roster {
        format: None,
        federation: "hospitals".into(),
        epoch,
        coordinator_key: public(99),
        members: members.collect(),
        previous: None,
    }
}

/// Signed by the authority, and opened under its key.
pub fn authorised(roster: &Roster) -> AuthorisedRoster {
    roster.sign(&key(100)).authorise(&key(100).public()).unwrap()
}
