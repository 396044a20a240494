//! The federation's authority, as every party pins it.

use ed25519_dalek::VerifyingKey;
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, parse_verifying_key};

/// Who admits members, and who issues certificates for the transport. A silo pins its [`Authority::fingerprint`] by
/// its join token, and the document itself from then on.
///
/// The two keys are apart on purpose: the Ed25519 key signs rosters, belongs offline, and is the trust anchor; the
/// certificate's key is on the coordinator, which renews day-long certificates with it, and anchors transport only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The federation's name.
    pub federation: String,
    /// Ed25519 key that signs rosters, hexadecimal.
    pub key: String,
    /// The certificate authority's own certificate, PEM.
    pub ca_certificate: String,
}

impl Authority {
    /// Canonical JSON: fields in declared order, no spaces.
    ///
    /// # Panics
    /// Never: it holds only texts.
    #[allow(clippy::expect_used)]
    pub fn to_canonical(&self) -> String {
        serde_json::to_string(self).expect("three texts are JSON")
    }

    /// Reads canonical JSON, and no other spelling of it.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn from_canonical(text: &str) -> Result<Self, AuthorityError> {
        let authority: Self = serde_json::from_str(text).map_err(|_| AuthorityError::Syntax)?;
        if authority.to_canonical() != text {
            return Err(AuthorityError::Syntax);
        }
        authority.verifying_key()?;
        Ok(authority)
    }

    /// What a join token pins: every field is under it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of("folkmoot/v1/authority", &[self.to_canonical().as_bytes()])
    }

    /// The key that signs rosters.
    ///
    /// # Errors
    /// [`AuthorityError::Key`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, AuthorityError> {
        Ok(parse_verifying_key(&self.key)?)
    }
}

/// A text that describes no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Not the format.
    #[error(
        "this does not describe a federation's authority; take authority.json from the coordinator's folder again"
    )]
    Syntax,
    /// Its key is none.
    #[error("the authority's key cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// The fingerprint of a silo that asks for admission, which two people compare: over its name and its identity key.
pub fn identity_fingerprint(name: &str, key: &VerifyingKey) -> Digest {
    Digest::of("folkmoot/v1/identity", &[name.as_bytes(), key.as_bytes()])
}

/// The first 128 bits of a fingerprint, in groups that can be read aloud: `3f9a-22c1-…`.
pub fn spoken(fingerprint: &Digest) -> String {
    let groups: Vec<String> = fingerprint.as_bytes().chunks(2).take(8).map(hex::encode).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        let key = crate::IdentityKey::from_secret_hex(&hex::encode([7; 32])).unwrap();
        Authority {
            federation: "hospitals".into(),
            key: hex::encode(key.public().as_bytes()),
            ca_certificate: "-----BEGIN CERTIFICATE-----\n".into(),
        }
    }

    #[test]
    fn every_field_is_under_the_fingerprint() {
        let good = authority();
        assert_eq!(Authority::from_canonical(&good.to_canonical()).unwrap(), good);
        type Edit = fn(&mut Authority);
        let edits: [Edit; 3] =
            [|a| a.federation.push('x'), |a| a.key = hex::encode([9; 32]), |a| a.ca_certificate.push('x')];
        for edit in edits {
            let mut other = authority();
            edit(&mut other);
            assert_ne!(other.fingerprint(), good.fingerprint());
        }
    }

    #[test]
    fn another_spelling_or_an_unusable_key_is_refused() {
        let text = authority().to_canonical();
        assert_eq!(Authority::from_canonical(&format!("{text} ")), Err(AuthorityError::Syntax));
        let weak = text.replace(&authority().key, &format!("01{}", "00".repeat(31)));
        assert!(matches!(Authority::from_canonical(&weak), Err(AuthorityError::Key(_))));
    }

    #[test]
    fn a_spoken_fingerprint_has_eight_groups_of_four() {
        let text = spoken(&Digest::sha256(b"abc"));
        assert_eq!(text, "ba78-16bf-8f01-cfea-4141-40de-5dae-2223");
    }
}
