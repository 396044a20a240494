//! The rules between the checkpoints of one run.

use ed25519_dalek::VerifyingKey;
use params::Digest;

use crate::manifest::Manifest;
use crate::signed::{SignatureError, SignedManifest};

/// Verifies the manifests of a run from its first to its newest.
///
/// # Security
///
/// A chain proves that one key wrote one history, not that no other history was shown to others.
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    key: Option<VerifyingKey>,
    head: Option<Head>,
}

/// A manifest that does not continue the chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Unreadable, or the signature does not hold.
    #[error("the manifest is not validly signed")]
    Signature(#[from] SignatureError),
    /// Signed by another coordinator.
    #[error("round {round} is signed by another key than the coordinator's")]
    Key {
        /// Round of the refused manifest.
        round: u64,
    },
    /// Not the checkpoint before it, or not the first.
    #[error("round {round}: its parent is {actual:?}, and the chain's head is {expected:?}")]
    Parent {
        /// Round of the refused manifest.
        round: u64,
        /// The head's digest; none before the first manifest.
        expected: Option<Digest>,
        /// What it names.
        actual: Option<Digest>,
    },
    /// Started from another model.
    #[error("round {round} did not start from the model of the checkpoint before it")]
    ParentModel {
        /// Round of the refused manifest.
        round: u64,
    },
    /// Not a later round.
    #[error("round {round} follows round {previous}")]
    Round {
        /// Round of the refused manifest.
        round: u64,
        /// Round of the head.
        previous: u64,
    },
    /// A constant of the run changed.
    #[error("round {round} changes the run's `{field}`")]
    Constant {
        /// Round of the refused manifest.
        round: u64,
        /// Its name.
        field: &'static str,
    },
    /// Privacy that was spent is missing.
    #[error("round {round} counts {actual} privacy steps, fewer than the {previous} before it")]
    Privacy {
        /// Round of the refused manifest.
        round: u64,
        /// Steps of the head.
        previous: u64,
        /// Steps it counts.
        actual: u64,
    },
}

impl ChainVerifier {
    /// A verifier before the first manifest.
    ///
    /// Without an expected key the first manifest's is taken: the rest must then agree with it, and who it
    /// belongs to is for the caller to ask elsewhere.
    pub fn new(expected_key: Option<VerifyingKey>) -> ChainVerifier {
        ChainVerifier { key: expected_key, head: None }
    }

    /// The next manifest, if it continues the chain. On error the verifier is as before.
    ///
    /// Rounds may be left out, since an aborted round has no checkpoint. The roster may change.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn push(&mut self, signed: &SignedManifest) -> Result<Manifest, ChainError> {
        let manifest = signed.verify_strict()?;
        let round = manifest.round;
        let key = manifest.verifying_key().map_err(SignatureError::from)?;
        if self.key.is_some_and(|expected| expected != key) {
            return Err(ChainError::Key { round });
        }
        let expected = self.head.as_ref().map(|head| head.digest);
        if manifest.parent != expected {
            return Err(ChainError::Parent { round, expected, actual: manifest.parent });
        }
        if let Some(Head { manifest: head, .. }) = &self.head {
            follows(&manifest, head)?;
        }
        self.key = Some(key);
        self.head = Some(Head { digest: signed.digest(), manifest: manifest.clone() });
        Ok(manifest)
    }

    /// The newest manifest.
    pub fn head(&self) -> Option<&Manifest> {
        self.head.as_ref().map(|head| &head.manifest)
    }

    /// What the next manifest must name as its parent.
    pub fn head_digest(&self) -> Option<Digest> {
        self.head.as_ref().map(|head| head.digest)
    }
}

#[derive(Clone, Debug)]
struct Head {
    digest: Digest,
    manifest: Manifest,
}

fn follows(next: &Manifest, head: &Manifest) -> Result<(), ChainError> {
    let round = next.round;
    if round <= head.round {
        return Err(ChainError::Round { round, previous: head.round });
    }
    if next.run_id != head.run_id {
        return Err(ChainError::Constant { round, field: "run_id" });
    }
    if next.plan_digest != head.plan_digest {
        return Err(ChainError::Constant { round, field: "plan_digest" });
    }
    if next.parent_model != Some(head.model.params_digest) {
        return Err(ChainError::ParentModel { round });
    }
    let (previous, actual) = (head.privacy.steps, next.privacy.steps);
    if actual < previous {
        return Err(ChainError::Privacy { round, previous, actual });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::manifest::public_key_text;
    use crate::samples;

    /// A verifier that has seen rounds 0 and 1.
    fn verifier() -> ChainVerifier {
        let mut verifier = ChainVerifier::new(Some(samples::key().verifying_key()));
        for round in 0..2 {
            assert_eq!(verifier.push(&samples::signed(round)).unwrap().round, round);
        }
        verifier
    }

    /// Round 2 after `edit`, pushed; the refusal must leave the verifier able to go on.
    fn refused(edit: impl Fn(&mut Manifest)) -> ChainError {
        let mut manifest = samples::manifest(2);
        edit(&mut manifest);
        let mut verifier = verifier();
        let error = verifier.push(&SignedManifest::sign(&manifest, &samples::key()).unwrap()).unwrap_err();
        verifier.push(&samples::signed(2)).unwrap();
        error
    }

    #[test]
    fn a_chain_is_accepted_and_its_head_is_the_newest() {
        let mut verifier = verifier();
        verifier.push(&samples::signed(2)).unwrap();
        assert_eq!(verifier.head(), Some(&samples::manifest(2)));
        assert_eq!(verifier.head_digest(), Some(samples::signed(2).digest()));
    }

    #[test]
    fn each_rule_between_rounds_refuses() {
        assert!(matches!(
            refused(|m| m.run_id = Digest::sha256(b"x")),
            ChainError::Constant { field: "run_id", .. }
        ));
        let plan = refused(|m| m.plan_digest = Digest::sha256(b"x"));
        assert!(matches!(plan, ChainError::Constant { field: "plan_digest", .. }));
        assert!(matches!(refused(|m| m.round = 1), ChainError::Round { round: 1, previous: 1 }));
        assert!(matches!(refused(|m| m.parent = Some(Digest::sha256(b"x"))), ChainError::Parent { .. }));
        let model = refused(|m| m.parent_model = Some(Digest::sha256(b"x")));
        assert!(matches!(model, ChainError::ParentModel { .. }));
        assert!(matches!(
            refused(|m| m.privacy.steps = 0),
            ChainError::Privacy { previous: 1, actual: 0, .. }
        ));
    }

    #[test]
    fn rounds_may_be_skipped_and_the_roster_may_change() {
        let mut manifest = samples::manifest(2);
        manifest.round = 9;
        manifest.roster_digest = Digest::sha256(b"x");
        verifier().push(&SignedManifest::sign(&manifest, &samples::key()).unwrap()).unwrap();
    }

    #[test]
    fn a_chain_cannot_start_in_the_middle_nor_start_again() {
        let middle = ChainVerifier::new(None).push(&samples::signed(1)).unwrap_err();
        assert!(matches!(middle, ChainError::Parent { expected: None, .. }));
        let again = verifier().push(&samples::signed(0)).unwrap_err();
        assert!(matches!(again, ChainError::Parent { actual: None, .. }));
    }

    #[test]
    fn another_key_is_refused_whether_expected_or_learned() {
        let other = SigningKey::from_bytes(&[8; 32]);
        let mut expecting = ChainVerifier::new(Some(other.verifying_key()));
        assert!(matches!(expecting.push(&samples::signed(0)), Err(ChainError::Key { round: 0 })));

        let mut learning = ChainVerifier::new(None);
        learning.push(&samples::signed(0)).unwrap();
        let mut manifest = samples::manifest(1);
        manifest.public_key = public_key_text(&other.verifying_key());
        let resigned = SignedManifest::sign(&manifest, &other).unwrap();
        assert!(matches!(learning.push(&resigned), Err(ChainError::Key { round: 1 })));
    }
}
