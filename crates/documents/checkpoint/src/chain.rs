//! The rules between the checkpoints of one run.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use params::Digest;

use crate::action::Action;
use crate::manifest::Manifest;
use crate::signed::{SignatureError, SignedManifest};

/// Verifies the manifests of a run from its first to its newest.
///
/// # Security
///
/// A chain proves that one key wrote one history, not that no other history was shown to others.
///
/// # Units
///
/// Beside the newest manifest it remembers 72 bytes of every round's result, and 32 of every quarantined model.
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    key: Option<VerifyingKey>,
    head: Option<Head>,
    /// Results by their rounds; a record of an action publishes nothing new.
    results: BTreeMap<u64, Version>,
    /// By the digests of their parameters.
    quarantined: BTreeSet<Digest>,
}

/// What a later action may name.
#[derive(Clone, Copy, Debug)]
struct Version {
    model: Digest,
    /// Of all that the manifest says of the model's and the optimiser's file.
    files: Digest,
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
    /// Trained on a model that nobody may train on.
    #[error("round {round} started from a model that is quarantined")]
    Quarantined {
        /// Round of the refused manifest.
        round: u64,
    },
    /// An action against the rules.
    #[error("round {round}: {rule}")]
    Action {
        /// Round of the refused manifest.
        round: u64,
        rule: &'static str,
    },
}

impl ChainVerifier {
    /// A verifier before the first manifest.
    ///
    /// Without an expected key the first manifest's is taken: the rest must then agree with it, and who it
    /// belongs to is for the caller to ask elsewhere.
    pub fn new(expected_key: Option<VerifyingKey>) -> ChainVerifier {
        ChainVerifier {
            key: expected_key,
            head: None,
            results: BTreeMap::new(),
            quarantined: BTreeSet::new(),
        }
    }

    /// The next manifest, if it continues the chain. On error the verifier is as before.
    ///
    /// Rounds may be left out, since an aborted round has no checkpoint. The roster may change.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn push(&mut self, signed: &SignedManifest) -> Result<Manifest, ChainError> {
        let manifest = self.check(signed)?;
        self.key = Some(manifest.verifying_key().map_err(SignatureError::from)?);
        match &manifest.action {
            None => {
                let (model, files) = (manifest.model.params_digest, files(&manifest));
                self.results.insert(manifest.round, Version { model, files });
            }
            Some(Action::Quarantine { model, .. }) => {
                self.quarantined.insert(*model);
            }
            Some(Action::Rollback { .. }) => {}
        }
        self.head = Some(Head { digest: signed.digest(), manifest: manifest.clone() });
        Ok(manifest)
    }

    /// The same, without going on from it.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn check(&self, signed: &SignedManifest) -> Result<Manifest, ChainError> {
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
            self.check_action(&manifest, head)?;
        }
        Ok(manifest)
    }

    /// What a quarantine forbids, and what an action must agree with.
    fn check_action(&self, next: &Manifest, head: &Manifest) -> Result<(), ChainError> {
        let round = next.round;
        let refused = |rule| Err(ChainError::Action { round, rule });
        match &next.action {
            None if self.is_quarantined(&head.model.params_digest) => Err(ChainError::Quarantined { round }),
            None => Ok(()),
            Some(Action::Quarantine { model, round: published, .. }) => {
                if self.model_of(*published) != Some(*model) {
                    return refused("it quarantines a model that is not the result of the round it names");
                }
                if self.is_quarantined(model) {
                    return refused("it quarantines a model that is quarantined already");
                }
                if files(next) != files(head) {
                    return refused(
                        "a quarantine keeps the model and the optimiser state of the record before it",
                    );
                }
                Ok(())
            }
            Some(Action::Rollback { to_round, .. }) => {
                let Some(earlier) = self.results.get(to_round) else {
                    return refused("it rolls back to a round without a result");
                };
                if self.is_quarantined(&earlier.model) {
                    return refused("it rolls back to a model that is quarantined");
                }
                if files(next) != earlier.files {
                    return refused("its model or optimiser state is not that of the round it rolls back to");
                }
                Ok(())
            }
        }
    }

    /// Parameters' digest of this round's result; none for an action's record, or for a round without one.
    pub fn model_of(&self, round: u64) -> Option<Digest> {
        self.results.get(&round).map(|version| version.model)
    }

    /// Whether nobody may train on the model with this parameters' digest.
    pub fn is_quarantined(&self, model: &Digest) -> bool {
        self.quarantined.contains(model)
    }

    /// Whether nothing that was trained would be left if this model were quarantined too. Version 0 was not.
    pub fn is_last_sound(&self, model: &Digest) -> bool {
        let mut trained = self.results.iter().filter(|(round, _)| **round > 0);
        trained.all(|(_, version)| version.model == *model || self.is_quarantined(&version.model))
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

/// One digest for what a manifest says of its two files; their names are constant.
fn files(manifest: &Manifest) -> Digest {
    let model = &manifest.model;
    let bytes = model.bytes.to_le_bytes();
    let mut parts = vec![model.sha256.as_bytes().as_slice(), &bytes, model.params_digest.as_bytes()];
    let optimizer = manifest.optimizer.as_ref();
    let optimizer = optimizer.map(|artifact| (artifact.sha256, artifact.bytes.to_le_bytes()));
    if let Some((sha256, bytes)) = &optimizer {
        parts.extend([sha256.as_bytes().as_slice(), bytes]);
    }
    Digest::of("folkmoot/v1/version-files", &parts)
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

    /// Pushes this manifest after rounds 0 and 1 and `before`.
    fn after(before: &[&Manifest], manifest: &Manifest) -> Result<Manifest, ChainError> {
        let mut verifier = verifier();
        for manifest in before {
            verifier.push(&SignedManifest::sign(manifest, &samples::key()).unwrap()).unwrap();
        }
        verifier.push(&SignedManifest::sign(manifest, &samples::key()).unwrap())
    }

    /// `next`, after `before`: its parent and the model it started from.
    fn chained(before: &Manifest, mut next: Manifest) -> Manifest {
        next.parent = Some(SignedManifest::sign(before, &samples::key()).unwrap().digest());
        next.parent_model = Some(before.model.params_digest);
        next
    }

    fn rule(refused: Result<Manifest, ChainError>) -> &'static str {
        match refused {
            Err(ChainError::Action { rule, .. }) => rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_quarantine_keeps_the_models_files_and_forbids_to_go_on_from_them() {
        let quarantine = samples::acted(2, samples::quarantine(1));
        assert!(after(&[], &quarantine).is_ok());
        let trained = chained(&quarantine, samples::manifest(3));
        assert!(matches!(after(&[&quarantine], &trained), Err(ChainError::Quarantined { round: 3 })));

        let mut other = quarantine;
        other.model = samples::manifest(0).model;
        assert!(rule(after(&[], &other)).contains("keeps the model"));
        other.model = samples::manifest(1).model;
        other.optimizer = Some(crate::manifest::OptimizerArtifact::of(b"state"));
        assert!(rule(after(&[], &other)).contains("keeps the model"));
    }

    #[test]
    fn a_quarantine_of_an_older_model_lets_the_run_go_on() {
        let quarantine = samples::acted(2, samples::quarantine(0));
        let trained = chained(&quarantine, samples::manifest(3));
        assert!(after(&[&quarantine], &trained).is_ok());
    }

    #[test]
    fn only_a_model_that_its_round_published_is_quarantined_and_once() {
        let of = |round, model| {
            let (reason, by) = ("r".into(), "b".into());
            samples::acted(2, Action::Quarantine { model, round, reason, by })
        };
        let (first, second) = (samples::params(0.0).digest(), samples::params(1.0).digest());
        for wrong in [of(1, first), of(0, second), of(2, second), of(9, second)] {
            assert!(rule(after(&[], &wrong)).contains("not the result of the round"));
        }
        let quarantine = of(1, second);
        let again = chained(&quarantine, samples::acted(3, samples::quarantine(1)));
        let mut again = again;
        again.model = quarantine.model.clone();
        assert!(rule(after(&[&quarantine], &again)).contains("already"));
        // A record of an action is no round's result.
        let mut named = again;
        named.action = of(2, second).action;
        assert!(rule(after(&[&quarantine], &named)).contains("not the result of the round"));
    }

    #[test]
    fn a_rollback_goes_on_from_exactly_the_earlier_rounds_files() {
        let rollback = samples::acted(2, samples::rollback(0));
        assert!(after(&[], &rollback).is_ok());
        let trained = chained(&rollback, samples::manifest(3));
        assert!(after(&[&rollback], &trained).is_ok());
        assert!(matches!(
            after(&[&rollback], &Manifest { parent_model: Some(samples::params(1.0).digest()), ..trained }),
            Err(ChainError::ParentModel { round: 3 })
        ));

        let mut other = rollback;
        other.model.sha256 = Digest::sha256(b"x");
        assert!(rule(after(&[], &other)).contains("is not that of the round"));
        other.model = samples::manifest(1).model;
        assert!(rule(after(&[], &other)).contains("is not that of the round"));
    }

    #[test]
    fn a_rollback_after_a_quarantine_frees_the_run_and_none_leads_back() {
        let quarantine = samples::acted(2, samples::quarantine(1));
        let rollback = chained(&quarantine, samples::acted(3, samples::rollback(0)));
        let trained = chained(&rollback, samples::manifest(4));
        assert!(after(&[&quarantine, &rollback], &trained).is_ok());
        let back = chained(&quarantine, samples::acted(3, samples::rollback(1)));
        assert!(rule(after(&[&quarantine], &back)).contains("quarantined"));
        for missing in [2, 3, 9] {
            let nowhere = samples::acted(3, samples::because("r"));
            let action = Action::Rollback { to_round: missing, reason: "r".into(), by: "b".into() };
            let nowhere = chained(&quarantine, Manifest { action: Some(action), ..nowhere });
            assert!(rule(after(&[&quarantine], &nowhere)).contains("without a result"));
        }
    }

    #[test]
    fn an_action_takes_a_later_round_and_refunds_nothing() {
        let mut same = samples::acted(2, samples::rollback(0));
        same.round = 1;
        assert!(matches!(after(&[], &same), Err(ChainError::Round { .. })));
        let mut refund = samples::acted(2, samples::rollback(0));
        refund.privacy.steps = 0;
        assert!(matches!(after(&[], &refund), Err(ChainError::Privacy { .. })));
    }

    #[test]
    fn looking_at_a_record_does_not_go_on_from_it() {
        let mut verifier = verifier();
        let signed = samples::signed(2);
        assert_eq!(verifier.check(&signed).unwrap(), samples::manifest(2));
        assert_eq!(verifier.head(), Some(&samples::manifest(1)));
        verifier.push(&signed).unwrap();
        assert_eq!(verifier.model_of(2), Some(samples::params(2.0).digest()));
        assert_eq!(verifier.model_of(3), None);
    }
}
