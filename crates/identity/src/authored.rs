//! A plan with its author's signature: what the coordinator passes on and can neither alter nor weaken.

use std::ops::Deref;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::keys::{IdentityKey, KeyError, parse_verifying_key};
use crate::plan::{Plan, PlanError};

const SIGNATURE_LABEL: &[u8] = b"folkmoot/v1/sig/plan\0";

/// A plan's canonical bytes with its author's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPlan {
    /// [`Plan::to_canonical`].
    pub plan: String,
    /// The author's Ed25519 key, hexadecimal. A silo's policy says whose plans it runs.
    pub author: String,
    /// Ed25519 signature, hexadecimal.
    pub signature: String,
}

/// A plan whose author's signature verified.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthoredPlan {
    plan: Plan,
    author: VerifyingKey,
    signed: SignedPlan,
}

/// Why a signed plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// Not the file's format.
    #[error("this is no signed plan ({0}); make one with `folkmoot plan sign`")]
    Syntax(String),
    /// The author's key is none.
    #[error("the author's key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Altered, or signed by somebody else.
    #[error("the plan is not what its author signed; ask the author for the signed file again")]
    Signature,
    /// What was signed is no usable plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Plan {
    /// Signs the plan as its author.
    pub fn sign(self, author: &IdentityKey) -> AuthoredPlan {
        let bytes = self.to_canonical();
        let signature = author.signing_key().sign(&[SIGNATURE_LABEL, &bytes].concat());
        let signed = SignedPlan {
            // JSON is UTF-8, so nothing is lost.
            plan: String::from_utf8_lossy(&bytes).into_owned(),
            author: hex::encode(author.public().as_bytes()),
            signature: hex::encode(signature.to_bytes()),
        };
        AuthoredPlan { plan: self, author: author.public(), signed }
    }
}

impl SignedPlan {
    /// Reads the file that `folkmoot plan sign` wrote.
    ///
    /// # Errors
    /// [`AuthorError::Syntax`].
    pub fn from_json(text: &str) -> Result<Self, AuthorError> {
        serde_json::from_str(text).map_err(|why| AuthorError::Syntax(why.to_string()))
    }

    /// Checks the named author's signature, then reads. Whether that author may ask for anything is the policy's to
    /// say ([`crate::Policy::check`]).
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn open(self) -> Result<AuthoredPlan, AuthorError> {
        let author = parse_verifying_key(&self.author)?;
        let mut signature = [0u8; 64];
        hex::decode_to_slice(&self.signature, &mut signature).map_err(|_| AuthorError::Signature)?;
        author
            .verify_strict(
                &[SIGNATURE_LABEL, self.plan.as_bytes()].concat(),
                &Signature::from_bytes(&signature),
            )
            .map_err(|_| AuthorError::Signature)?;
        let plan = Plan::from_canonical(self.plan.as_bytes())?;
        Ok(AuthoredPlan { plan, author, signed: self })
    }
}

impl AuthoredPlan {
    /// Who signed it.
    pub fn author(&self) -> &VerifyingKey {
        &self.author
    }

    /// As it travels.
    pub fn signed(&self) -> &SignedPlan {
        &self.signed
    }
}

impl Deref for AuthoredPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    fn signed() -> SignedPlan {
        let plan = Plan::from_toml(include_str!("../../../deploy/config/plan.toml")).unwrap();
        plan.sign(&key(1)).signed().clone()
    }

    #[test]
    fn a_signed_plan_opens_to_what_its_author_signed() {
        let opened = signed().open().unwrap();
        assert_eq!(*opened.author(), key(1).public());
        assert_eq!(opened.name, "example");
        let again = SignedPlan::from_json(&serde_json::to_string(opened.signed()).unwrap()).unwrap();
        assert_eq!(again.open().unwrap(), opened);
    }

    #[test]
    fn a_plan_that_anyone_altered_or_signed_in_the_authors_name_is_refused() {
        let mut weaker = signed();
        weaker.plan = weaker.plan.replace("\"honest_min\":2", "\"honest_min\":1");
        assert_ne!(weaker, signed());
        assert!(matches!(weaker.open(), Err(AuthorError::Signature)));
        let mut forged = signed();
        forged.author = hex::encode(key(2).public().as_bytes());
        assert!(matches!(forged.open(), Err(AuthorError::Signature)));
        let mut short = signed();
        short.signature.pop();
        assert!(matches!(short.open(), Err(AuthorError::Signature)));
    }
}
