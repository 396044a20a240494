//! Who the members are, signed by the federation's authority and pinned by every silo.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use params::Digest;
use secagg::ClientId;
use serde::{Deserialize, Serialize};

use crate::keys::{IdentityKey, parse_verifying_key};

const SIGNATURE_LABEL: &[u8] = b"folkmoot/v1/sig/roster\0";

/// The members of a federation at one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Which rules it is read by: `None` is format 1, of releases that did not number them, and keeps its rules for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The federation's name.
    pub federation: String,
    /// Grows with every change. A silo never accepts a lower one than the highest it has seen.
    pub epoch: u64,
    /// The coordinator's Ed25519 key, hexadecimal: it signs checkpoints. It is trusted for nothing else.
    pub coordinator_key: String,
    /// The members by client id.
    pub members: BTreeMap<ClientId, Member>,
    /// Digest of the roster before: this one takes no other's place. Format 2 only, and `None` in a federation's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

/// One silo on a roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name for people.
    pub name: String,
    /// Its Ed25519 identity key, hexadecimal.
    pub identity_key: String,
    /// The epoch that admitted it.
    pub admitted: u64,
}

/// A roster's canonical bytes with the authority's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRoster {
    /// The roster, as canonical JSON text.
    pub roster: String,
    /// Ed25519 signature, hexadecimal.
    pub signature: String,
}

/// A roster whose authority's signature verified, with its keys read.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorisedRoster {
    roster: Roster,
    signed: SignedRoster,
    members: secagg::Members,
    coordinator_key: VerifyingKey,
    digest: Digest,
}

/// Who joins and who leaves between two rosters, for a person to decide on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterChange {
    /// The older epoch and the newer.
    pub epochs: (u64, u64),
    /// New members: number, name and fingerprint of the identity key.
    pub joins: Vec<(ClientId, String, String)>,
    /// Members that are gone.
    pub leaves: Vec<(ClientId, String)>,
    /// Members whose name or key is another under the same number.
    pub changed: Vec<(ClientId, String)>,
}

/// Why a roster was refused.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// Made by a later release.
    #[error(
        "the roster is of format {format}, this release reads formats 1 to {}: install a newer release here",
        Roster::FORMAT
    )]
    Format { format: u64 },
    /// Not the format.
    #[error("the roster does not parse: {0}")]
    Syntax(String),
    /// The authority's signature does not verify.
    #[error(
        "the roster is not signed by the authority that this machine pins; ask the authority for its roster, or correct the pinned key"
    )]
    Signature,
    /// It parses, and means something impossible.
    #[error("the roster is not usable: {0}")]
    Meaning(String),
    /// Not later than the one in force.
    #[error(
        "the roster's epoch {got} is not above {in_force}, the one in force; sign one with a higher epoch"
    )]
    Epoch {
        got: u64,
        /// Of the roster in force.
        in_force: u64,
    },
    /// It may follow, but not by what was shown.
    #[error("the roster is not usable: {0}")]
    Gap(String),
}

impl Roster {
    /// The newest format, which rosters are signed in.
    pub const FORMAT: u32 = 2;

    /// Which rules it is read by, counted from 1.
    pub fn format(&self) -> u32 {
        self.format.unwrap_or(1)
    }

    /// The same members in the roster that comes next: the newest format, one epoch later, naming this one.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where there is no later epoch.
    pub fn successor(&self) -> Result<Self, RosterError> {
        let epoch = self.epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| RosterError::Meaning("it has no epoch left".into()))?;
        Ok(Self { format: Some(Self::FORMAT), epoch, previous: Some(self.digest()), ..self.clone() })
    }

    /// The roster's name in every transcript.
    pub fn digest(&self) -> Digest {
        Digest::of("folkmoot/v1/roster", &[self.to_canonical().as_bytes()])
    }

    /// Signs the roster as the federation's authority.
    pub fn sign(&self, authority: &IdentityKey) -> SignedRoster {
        let roster = self.to_canonical();
        let signature = authority.signing_key().sign(&signed_bytes(&roster));
        SignedRoster { roster, signature: hex::encode(signature.to_bytes()) }
    }

    /// The members' identity keys, as secure aggregation pins them.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] for an unusable or a repeated key.
    pub fn member_keys(&self) -> Result<secagg::Members, RosterError> {
        let mut keys = secagg::Members::new();
        for (id, member) in &self.members {
            let key = parse_verifying_key(&member.identity_key)
                .map_err(|e| RosterError::Meaning(format!("member {id} ({}): {e}", member.name)))?;
            if keys.values().any(|other| *other == key) {
                return Err(RosterError::Meaning(format!(
                    "member {id} ({}) repeats another's key",
                    member.name
                )));
            }
            keys.insert(*id, key);
        }
        Ok(keys)
    }

    /// The key that signs checkpoints.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] where it is no key.
    pub fn coordinator_key(&self) -> Result<VerifyingKey, RosterError> {
        parse_verifying_key(&self.coordinator_key)
            .map_err(|e| RosterError::Meaning(format!("coordinator_key: {e}")))
    }

    /// A member's name, or its number where the id is unknown.
    pub fn name(&self, id: ClientId) -> String {
        self.members.get(&id).map_or_else(|| format!("client {id}"), |m| m.name.clone())
    }

    /// # Panics
    /// Never: it holds only numbers and texts.
    #[allow(clippy::expect_used)]
    fn to_canonical(&self) -> String {
        serde_json::to_string(self).expect("a roster holds nothing that JSON cannot")
    }
}

impl Member {
    /// What people compare with what the silo's own machine shows; none where its key is none.
    pub fn fingerprint(&self) -> Option<String> {
        let key = parse_verifying_key(&self.identity_key).ok()?;
        Some(crate::spoken(&crate::identity_fingerprint(&self.name, &key)))
    }
}

impl SignedRoster {
    /// Checks the signature against the pinned `authority`, then reads.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn open(&self, authority: &VerifyingKey) -> Result<Roster, RosterError> {
        let mut bytes = [0u8; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| RosterError::Signature)?;
        authority
            .verify_strict(&signed_bytes(&self.roster), &Signature::from_bytes(&bytes))
            .map_err(|_| RosterError::Signature)?;
        known(&self.roster)?;
        let roster: Roster =
            serde_json::from_str(&self.roster).map_err(|e| RosterError::Syntax(e.to_string()))?;
        if roster.format == Some(1) || (roster.format() == 1 && roster.previous.is_some()) {
            return Err(RosterError::Meaning(
                "only a roster of format 2 says its format and names the one before it".into(),
            ));
        }
        if roster.to_canonical() != self.roster {
            return Err(RosterError::Syntax("not in canonical form".into()));
        }
        roster.coordinator_key()?;
        roster.member_keys()?;
        Ok(roster)
    }
}

impl SignedRoster {
    /// [`SignedRoster::open`], keeping the signature beside what it signs.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn authorise(self, authority: &VerifyingKey) -> Result<AuthorisedRoster, RosterError> {
        let roster = self.open(authority)?;
        Ok(AuthorisedRoster {
            members: roster.member_keys()?,
            coordinator_key: roster.coordinator_key()?,
            digest: roster.digest(),
            roster,
            signed: self,
        })
    }
}

impl AuthorisedRoster {
    /// As it travels.
    pub fn signed(&self) -> &SignedRoster {
        &self.signed
    }

    /// The members' identity keys.
    pub fn keys(&self) -> &secagg::Members {
        &self.members
    }

    /// The key that signs checkpoints.
    pub fn coordinator(&self) -> VerifyingKey {
        self.coordinator_key
    }

    /// [`Roster::digest`], computed once.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Who joins and who leaves with this roster after `older`.
    pub fn change_from(&self, older: &Roster) -> RosterChange {
        let named = |id: &ClientId, member: &Member| (*id, member.name.clone());
        let joins = self.members.iter().filter(|(id, _)| !older.members.contains_key(id));
        RosterChange {
            epochs: (older.epoch, self.epoch),
            joins: joins
                .map(|(id, key)| {
                    let name = self.name(*id);
                    let fingerprint = crate::spoken(&crate::identity_fingerprint(&name, key));
                    (*id, name, fingerprint)
                })
                .collect(),
            leaves: older
                .members
                .iter()
                .filter(|(id, _)| !self.roster.members.contains_key(id))
                .map(|(id, member)| named(id, member))
                .collect(),
            changed: self
                .roster
                .members
                .iter()
                .filter(|(id, member)| {
                    older.members.get(id).is_some_and(|old| {
                        (&old.name, &old.identity_key) != (&member.name, &member.identity_key)
                    })
                })
                .map(|(id, member)| named(id, member))
                .collect(),
        }
    }
}

impl std::ops::Deref for AuthorisedRoster {
    type Target = Roster;

    fn deref(&self) -> &Roster {
        &self.roster
    }
}

impl std::fmt::Display for RosterChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "roster epoch {} after {}", self.epochs.1, self.epochs.0)?;
        for (id, name, fingerprint) in &self.joins {
            write!(f, "; joins: {id} {name} ({fingerprint})")?;
        }
        for (id, name) in &self.leaves {
            write!(f, "; leaves: {id} {name}")?;
        }
        for (id, name) in &self.changed {
            write!(f, "; has another name or key: {id} {name}")?;
        }
        Ok(())
    }
}

/// Refuses a later format by its number, before anything else of the roster is read.
fn known(text: &str) -> Result<(), RosterError> {
    #[derive(Deserialize)]
    struct Numbered {
        #[serde(default)]
        format: Option<u64>,
    }
    // What is no roster at all is an error where it is read.
    match serde_json::from_str::<Numbered>(text).ok().and_then(|numbered| numbered.format) {
        Some(format) if format > u64::from(Roster::FORMAT) => Err(RosterError::Format { format }),
        _ => Ok(()),
    }
}

fn signed_bytes(roster: &str) -> Vec<u8> {
    [SIGNATURE_LABEL, roster.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, key};

    fn roster() -> Roster {
        samples::roster(1, &["silo 1", "silo 2", "silo 3"])
    }

    #[test]
    fn a_roster_of_the_first_format_keeps_its_bytes_and_a_later_format_is_refused_by_its_number() {
        let signed = roster().sign(&key(100));
        assert!(signed.roster.starts_with("{\"federation\":\"hospitals\",\"epoch\":1,"), "{}", signed.roster);
        assert!(signed.roster.ends_with("\"admitted\":1}}}"), "{}", signed.roster);
        let next = roster().successor().unwrap().sign(&key(100));
        assert!(next.roster.starts_with("{\"format\":2,"), "{}", next.roster);
        assert!(
            next.roster.ends_with(&format!("\"previous\":\"{}\"}}", roster().digest())),
            "{}",
            next.roster
        );
        next.open(&key(100).public()).unwrap();

        let later = Roster { format: Some(3), ..roster() }.sign(&key(100));
        let why = later.open(&key(100).public()).unwrap_err().to_string();
        assert!(why.contains("format 3, this release reads formats 1 to 2"), "{why}");
        let unmarked = Roster { previous: Some(roster().digest()), ..roster() }.sign(&key(100));
        assert!(matches!(unmarked.open(&key(100).public()), Err(RosterError::Meaning(_))));
    }

    #[test]
    fn a_signed_roster_opens_under_its_own_authority_only() {
        let signed = roster().sign(&key(100));
        assert_eq!(signed.open(&key(100).public()).unwrap(), roster());
        assert!(matches!(signed.open(&key(101).public()), Err(RosterError::Signature)));
    }

    #[test]
    fn an_altered_roster_is_refused() {
        let mut signed = roster().sign(&key(100));
        signed.roster = signed.roster.replace("silo 2", "silo X");
        assert!(matches!(signed.open(&key(100).public()), Err(RosterError::Signature)));
    }

    #[test]
    fn two_members_with_one_key_are_refused_even_when_signed() {
        let mut doubled = roster();
        let twin = doubled.members[&ClientId(1)].clone();
        doubled.members.insert(ClientId(2), twin);
        let signed = doubled.sign(&key(100));
        assert!(matches!(signed.open(&key(100).public()), Err(RosterError::Meaning(_))));
    }
}
