//! What made a model: the round's facts in a second envelope, about the same folder as the bundle.

use std::collections::BTreeMap;

use checkpoint::{
    Action, MANIFEST_FILE, MODEL_FILE, PrivacySpent, SIGNATURE_FILE, SignatureError, SignedManifest,
};
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError};
use crate::key::{ModelKey, ModelPublicKey};
use crate::model::ModelStatement;
use crate::statement::{self, StatementError, Subject, SubjectDigest};

/// Where a published folder keeps its evidence.
pub const EVIDENCE_FILE: &str = "evidence.dsse.json";
/// The predicate of an evidence.
pub const ROUND_PREDICATE: &str = "https://folkmoot.dev/attestation/round/v1";

/// Longer evidence is refused unread: the limit is some ten thousand metrics.
pub const EVIDENCE_BYTES_MAX: usize = 1 << 20;

const INCLUDED_LABEL: &str = "folkmoot/v1/included";

/// The facts of one published round, in the order in which they are written.
///
/// # Privacy
///
/// Made for outsiders: who took part is a commitment and counts, and nothing is of one client's update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundEvidence {
    pub run_id: Digest,
    /// The run's name, for people.
    pub run_name: String,
    /// The round whose result this is.
    pub round: u64,
    /// The attempt of the round that succeeded.
    pub attempt: u32,
    /// How the model came to be.
    pub kind: RoundKind,
    /// [`SignedManifest::digest`] of this round's record.
    pub record: Digest,
    /// [`Params::digest`](params::Params::digest) of the model.
    pub model: Digest,
    /// The round that this one started from; none for the first.
    pub parent: Option<Parent>,
    /// The signed plan.
    pub plan: Digest,
    /// The roster of the round.
    pub roster: Digest,
    /// [`included_commitment`]; none for the first round.
    pub included_commitment: Option<Digest>,
    /// How many clients the round began with.
    pub cohort: u64,
    /// How many are in the sum.
    pub included: u64,
    /// How many were left out.
    pub left_out: u64,
    /// Digest of the aggregate update; none for the first round.
    pub aggregate: Option<Digest>,
    /// Privacy spent by the run up to here.
    pub privacy: PrivacySpent,
    /// Metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The coordinator's version.
    pub code_version: String,
    /// How many of the silos in the sum say that their trainers are held like this, by level: what their configuration asks for and
    /// what their machine reached when their daemon was started. Their own word, which no record repeats; no event of a sandbox is
    /// ever in it. Left out where no silo says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sandboxes: BTreeMap<String, u64>,
}

/// How a model came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundKind {
    /// Made from the plan alone.
    Initial,
    /// A round of training.
    Training,
    /// An operator quarantined a model; the files are those of the record before.
    Quarantine,
    /// An operator rolled back; the files are those of an earlier record.
    Rollback,
}

/// The round before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub record: Digest,
    pub model: Digest,
}

/// An evidence that is refused.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The round's own record is refused, so nothing can be said of it.
    #[error("the round's record is not validly signed")]
    Record(#[from] SignatureError),
    /// The signature, or the statement under it, is refused.
    #[error("the evidence's statement is refused")]
    Statement(#[from] StatementError),
    /// More than [`EVIDENCE_BYTES_MAX`].
    #[error("the evidence has {bytes} bytes, more than {EVIDENCE_BYTES_MAX}; take the published file again")]
    TooLong { bytes: usize },
    /// A number that JSON cannot carry.
    #[error("the evidence's `{field}` is not finite; a model with such a number is not published")]
    NotFinite { field: &'static str },
    /// About another folder than the bundle.
    #[error(
        "the evidence is about the root {actual}, the bundle about {expected}; take both from one folder"
    )]
    Subject {
        /// The bundle's root.
        expected: Digest,
        actual: Digest,
    },
    /// About the same root under another name.
    #[error("the evidence is about {actual:?}, the bundle about {expected:?}; take both from one folder")]
    Name {
        /// The bundle's name.
        expected: String,
        actual: String,
    },
    /// The record says otherwise.
    #[error("the evidence's `{field}` is not what the round's signed record says")]
    Differs { field: &'static str },
    /// The record is not the one in the folder.
    #[error("the bundle does not sign this record's `{file}`; take record and bundle from one folder")]
    NotInBundle { file: &'static str },
}

impl RoundEvidence {
    /// The evidence that follows from a round's signed record. Deterministic.
    ///
    /// # Errors
    ///
    /// A record that is not validly signed.
    pub fn of(signed: &SignedManifest, code_version: &str) -> Result<RoundEvidence, EvidenceError> {
        let manifest = signed.verify_strict()?;
        let parent = manifest.parent.zip(manifest.parent_model);
        let commitment =
            manifest.transcript.map(|transcript| included_commitment(&transcript, &manifest.included));
        Ok(RoundEvidence {
            run_id: manifest.run_id,
            run_name: manifest.run_name,
            round: manifest.round,
            attempt: manifest.attempt,
            kind: match (&manifest.action, &parent) {
                (Some(Action::Quarantine { .. }), _) => RoundKind::Quarantine,
                (Some(Action::Rollback { .. }), _) => RoundKind::Rollback,
                (None, Some(_)) => RoundKind::Training,
                (None, None) => RoundKind::Initial,
            },
            record: signed.digest(),
            model: manifest.model.params_digest,
            parent: parent.map(|(record, model)| Parent { record, model }),
            plan: manifest.plan_digest,
            roster: manifest.roster_digest,
            included_commitment: commitment,
            cohort: manifest.cohort.len() as u64,
            included: manifest.included.len() as u64,
            left_out: manifest.left_out.len() as u64,
            aggregate: manifest.aggregate_digest,
            privacy: manifest.privacy,
            metrics: manifest.metrics,
            code_version: code_version.to_owned(),
            sandboxes: BTreeMap::new(),
        })
    }

    /// With what the silos in the sum say of what holds their trainers.
    pub fn with_sandboxes(self, sandboxes: BTreeMap<String, u64>) -> Self {
        Self { sandboxes, ..self }
    }

    /// Checks this evidence against the round's record and the bundle of the folder that holds it.
    ///
    /// # Errors
    ///
    /// A record that is not the folder's, or the first fact that it states otherwise.
    pub fn check(&self, signed: &SignedManifest, bundle: &ModelStatement) -> Result<(), EvidenceError> {
        // What no record says is believed.
        let expected = RoundEvidence::of(signed, &self.code_version)?.with_sandboxes(self.sandboxes.clone());
        let model = signed.verify_strict()?.model.sha256;
        for (file, digest) in [
            (MANIFEST_FILE, Digest::sha256(&signed.manifest_bytes)),
            (SIGNATURE_FILE, Digest::sha256(&signed.signature)),
            (MODEL_FILE, model),
        ] {
            if bundle.resources.get(file) != Some(&digest) {
                return Err(EvidenceError::NotInBundle { file });
            }
        }
        let facts = [
            ("record", self.record == expected.record),
            ("run_id", self.run_id == expected.run_id),
            ("round", self.round == expected.round),
            ("model", self.model == expected.model),
            ("parent", self.parent == expected.parent),
            ("plan", self.plan == expected.plan),
            ("roster", self.roster == expected.roster),
            ("included_commitment", self.included_commitment == expected.included_commitment),
            ("cohort", self.cohort == expected.cohort),
            ("included", self.included == expected.included),
            ("left_out", self.left_out == expected.left_out),
            ("aggregate", self.aggregate == expected.aggregate),
            ("privacy", self.privacy == expected.privacy),
            ("metrics", self.metrics == expected.metrics),
            (
                "sandboxes",
                u128::from(self.included) >= self.sandboxes.values().copied().map(u128::from).sum(),
            ),
            ("run_name, attempt or kind", *self == expected),
        ];
        match facts.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(EvidenceError::Differs { field }),
            None => Ok(()),
        }
    }

    fn check_finite(&self) -> Result<(), EvidenceError> {
        let privacy = [self.privacy.epsilon, self.privacy.delta];
        for (field, holds) in [
            ("privacy", privacy.into_iter().flatten().all(f64::is_finite)),
            ("metrics", self.metrics.values().all(|value| value.is_finite())),
        ] {
            if !holds {
                return Err(EvidenceError::NotFinite { field });
            }
        }
        Ok(())
    }
}

/// Commits to who is in a round's sum, without naming them: whoever knows the round's transcript and the
/// ids can check it.
///
/// The transcript's digest makes it another one each round. It hides nothing from who knows the transcript.
pub fn included_commitment(transcript: &Digest, included: &[u32]) -> Digest {
    let mut ids = included.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let ids: Vec<u8> = ids.into_iter().flat_map(u32::to_le_bytes).collect();
    Digest::of(INCLUDED_LABEL, &[transcript.as_bytes(), &ids])
}

/// Signs what made the folder of this bundle: the content of [`EVIDENCE_FILE`].
///
/// The same evidence, folder and key give the same bytes.
///
/// # Errors
///
/// A number that is not finite, or more than [`EVIDENCE_BYTES_MAX`].
pub fn sign_round(
    name: &str,
    root: &Digest,
    evidence: &RoundEvidence,
    key: &ModelKey,
) -> Result<Vec<u8>, EvidenceError> {
    evidence.check_finite()?;
    let subject = Subject { name: name.to_owned(), digest: SubjectDigest { sha256: *root } };
    let envelope = statement::sign(subject, ROUND_PREDICATE, evidence, key)?;
    let bytes = envelope.to_json().map_err(StatementError::from)?;
    // What could never be verified must not be published.
    check_length(&bytes)?;
    Ok(bytes)
}

/// The evidence about the folder of this bundle, if the same key signed it.
///
/// # Errors
///
/// A signature that does not hold, another statement, or one about another folder.
pub fn verify_round(
    evidence: &[u8],
    bundle: &ModelStatement,
    key: &ModelPublicKey,
) -> Result<RoundEvidence, EvidenceError> {
    check_length(evidence)?;
    let envelope =
        Envelope::from_json(evidence).map_err(|error: EnvelopeError| StatementError::from(error))?;
    let (subject, evidence): (Subject, RoundEvidence) = statement::open(&envelope, ROUND_PREDICATE, key)?;
    let actual = subject.digest.sha256;
    if actual != bundle.root {
        return Err(EvidenceError::Subject { expected: bundle.root, actual });
    }
    if subject.name != bundle.name {
        return Err(EvidenceError::Name { expected: bundle.name.clone(), actual: subject.name });
    }
    Ok(evidence)
}

fn check_length(bytes: &[u8]) -> Result<(), EvidenceError> {
    if bytes.len() > EVIDENCE_BYTES_MAX {
        return Err(EvidenceError::TooLong { bytes: bytes.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
