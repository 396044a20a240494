//! The manifest of a checkpoint: what a round released, to whom it owes it, and what it cost.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::action::{Action, OPERATOR_BYTES_MAX, REASON_BYTES_MAX};
use crate::artifacts::{MODEL_FILE, OPTIMIZER_FILE};

/// The value of [`Manifest::format`].
pub const MANIFEST_FORMAT: &str = "folkmoot-checkpoint/1";

/// Everything about one published round, in the order in which it is written.
///
/// # Privacy
///
/// Published to every silo and auditor: ids, digests and aggregates, never anything of one client's update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: String,
    /// The run; constant along a chain.
    pub run_id: Digest,
    /// The run's name, for people.
    pub run_name: String,
    /// The round whose result this is; 0 is the initial model.
    pub round: u64,
    /// The attempt of the round that succeeded.
    pub attempt: u32,
    /// The operator's action that this record is about, where it is not about a round's result: then it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// [`SignedManifest::digest`](crate::SignedManifest::digest) of the previous checkpoint.
    pub parent: Option<Digest>,
    /// The signed plan; constant along a chain.
    pub plan_digest: Digest,
    /// The roster of the round.
    pub roster_digest: Digest,
    /// Parameters' digest of the model that the round started from.
    pub parent_model: Option<Digest>,
    pub model: ModelArtifact,
    /// State of the server optimiser, if it has any.
    pub optimizer: Option<OptimizerArtifact>,
    /// Transcript of the round that every survivor signed.
    pub transcript: Option<Digest>,
    /// Clients that advertised keys (U1), ascending.
    pub cohort: Vec<u32>,
    /// Clients that shared keys (U2), ascending.
    pub shared: Vec<u32>,
    /// Clients whose updates are in the sum (U3), ascending.
    pub included: Vec<u32>,
    /// Clients that the round was opened to and that are not in the sum, and why: those of the cohort, and
    /// those that were lost before it was fixed.
    pub left_out: Vec<LeftOut>,
    /// Digest of the aggregate update.
    pub aggregate_digest: Option<Digest>,
    /// Metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// Privacy spent by the run up to here.
    pub privacy: PrivacySpent,
    /// When the coordinator wrote it.
    ///
    /// # Units
    ///
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Attempts that failed since the previous checkpoint.
    pub previous_rounds_aborted: Vec<AbortedRound>,
    /// The coordinator's Ed25519 key: 64 lowercase hexadecimal digits.
    pub public_key: String,
}

/// The model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelArtifact {
    pub file: String,
    /// SHA-256 of the file, as `sha256sum` prints it.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// [`Params::digest`](params::Params::digest): the name of the model, whatever file carries it.
    pub params_digest: Digest,
}

impl ModelArtifact {
    /// The file that holds these bytes, of a model with these parameters.
    pub fn of(file: &[u8], params_digest: Digest) -> Self {
        let (sha256, bytes) = (Digest::sha256(file), file.len() as u64);
        Self { file: MODEL_FILE.into(), sha256, bytes, params_digest }
    }
}

/// The file with the server optimiser's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerArtifact {
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

impl OptimizerArtifact {
    /// The file that holds these bytes.
    pub fn of(file: &[u8]) -> Self {
        Self { file: OPTIMIZER_FILE.into(), sha256: Digest::sha256(file), bytes: file.len() as u64 }
    }
}

/// A client of the cohort that is not in the sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its id in the roster.
    pub client: u32,
    /// The drop reason.
    pub reason: String,
}

/// An attempt without result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortedRound {
    pub round: u64,
    pub attempt: u32,
    pub outcome: String,
}

/// Privacy spent by a run, with everything needed to read the number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacySpent {
    /// The privacy mode of the plan.
    pub mode: String,
    /// What is protected: a record, or a client.
    pub unit: String,
    pub relation: String,
    /// None without differential privacy.
    pub epsilon: Option<f64>,
    /// None without differential privacy.
    pub delta: Option<f64>,
    /// Which accountant computed it.
    pub accountant: String,
    /// Mechanism invocations so far; never decreases along a chain.
    pub steps: u64,
    /// Who adds the noise.
    pub noise_by: String,
    /// Whom the guarantee assumes honest.
    pub trust: String,
}

/// A manifest that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of a manifest.
    #[error("the manifest cannot be read")]
    Json(#[source] serde_json::Error),
    /// Written by a later release.
    #[error(
        "the manifest has format {format:?}, this release reads {MANIFEST_FORMAT:?}: install a newer release"
    )]
    Format { format: String },
    /// Another spelling of the same content.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
    /// A field against the rules.
    #[error("the manifest's `{field}` must be {rule}")]
    Field {
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl Manifest {
    /// Canonical JSON: fields in declared order, no spaces.
    ///
    /// # Errors
    ///
    /// A field against the rules, such as a metric that is not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.validate()?;
        serde_json::to_vec(self).map_err(ManifestError::Json)
    }

    /// Reads canonical JSON, and no other spelling of it.
    ///
    /// # Errors
    ///
    /// Unknown or repeated fields, another spelling, a field against the rules.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        /// What is read before the rest, which a later format may say in its own way.
        #[derive(Deserialize)]
        struct Numbered {
            format: String,
        }
        if let Ok(Numbered { format }) = serde_json::from_slice(bytes)
            && format != MANIFEST_FORMAT
        {
            return Err(ManifestError::Format { format });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if manifest.to_bytes()? != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The key in [`Manifest::public_key`].
    ///
    /// # Errors
    ///
    /// A text that is no key.
    pub fn verifying_key(&self) -> Result<VerifyingKey, ManifestError> {
        let mut bytes = [0u8; 32];
        let decoded = hex::decode_to_slice(&self.public_key, &mut bytes).ok();
        let key = decoded.and_then(|()| VerifyingKey::from_bytes(&bytes).ok());
        // One spelling only: hex reads capitals too.
        key.filter(|key| public_key_text(key) == self.public_key)
            .ok_or(field("public_key", "an Ed25519 key in 64 lowercase hexadecimal digits"))
    }

    /// Whether it is of no round: nobody took part, nothing was added up or measured.
    fn sums_nothing(&self) -> bool {
        self.parent.is_some()
            && self.transcript.is_none()
            && self.aggregate_digest.is_none()
            && self.metrics.is_empty()
            && self.left_out.is_empty()
            && [&self.cohort, &self.shared, &self.included].into_iter().all(Vec::is_empty)
    }

    fn validate(&self) -> Result<(), ManifestError> {
        let left_out: Vec<u32> = self.left_out.iter().map(|left_out| left_out.client).collect();
        let privacy = [self.privacy.epsilon, self.privacy.delta];
        let optimizer_file = self.optimizer.as_ref().map(|optimizer| optimizer.file.as_str());
        let said = |what: fn(&Action) -> &str, bytes_max| {
            self.action.as_ref().map(what).is_none_or(|text| (1..=bytes_max).contains(&text.len()))
        };
        let rules = [
            ("format", "folkmoot-checkpoint/1", self.format == MANIFEST_FORMAT),
            ("model.file", "model.safetensors", self.model.file == MODEL_FILE),
            ("optimizer.file", "optimizer.state", optimizer_file.is_none_or(|file| file == OPTIMIZER_FILE)),
            (
                "parent_model",
                "present exactly when `parent` is",
                self.parent.is_some() == self.parent_model.is_some(),
            ),
            ("cohort", "ascending", ascending(&self.cohort)),
            ("shared", "ascending and within `cohort`", within(&self.shared, &self.cohort)),
            ("included", "ascending and within `shared`", within(&self.included, &self.shared)),
            ("left_out", "ascending", ascending(&left_out)),
            (
                "left_out",
                "nobody who is in `included`",
                !self.included.iter().any(|id| left_out.contains(id)),
            ),
            (
                "left_out",
                "every client of `cohort` that is not in `included`",
                self.cohort.iter().all(|id| left_out.contains(id) != self.included.contains(id)),
            ),
            ("metrics", "finite", self.metrics.values().all(|value| value.is_finite())),
            (
                "privacy",
                "finite and not negative",
                privacy.into_iter().flatten().all(|value| value.is_finite() && value >= 0.0),
            ),
            (
                "action",
                "in a record with a parent that sums nothing",
                self.action.is_none() || self.sums_nothing(),
            ),
            ("action.reason", "of 1 to 1000 bytes", said(Action::reason, REASON_BYTES_MAX)),
            ("action.by", "of 1 to 200 bytes", said(Action::by, OPERATOR_BYTES_MAX)),
        ];
        match rules.into_iter().find(|(_, _, holds)| !holds) {
            Some((name, rule, _)) => Err(field(name, rule)),
            None => self.verifying_key().map(drop),
        }
    }
}

/// A key as [`Manifest::public_key`] spells it.
pub fn public_key_text(key: &VerifyingKey) -> String {
    hex::encode(key.as_bytes())
}

fn field(field: &'static str, rule: &'static str) -> ManifestError {
    ManifestError::Field { field, rule }
}

fn ascending(ids: &[u32]) -> bool {
    ids.is_sorted_by(|a, b| a < b)
}

fn within(ids: &[u32], others: &[u32]) -> bool {
    ascending(ids) && ids.iter().all(|id| others.binary_search(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn text() -> String {
        String::from_utf8(samples::manifest(1).to_bytes().unwrap()).unwrap()
    }

    fn refused(text: &str) -> ManifestError {
        Manifest::from_bytes(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_manifest_survives_its_bytes() {
        let manifest = samples::manifest(1);
        assert_eq!(Manifest::from_bytes(&manifest.to_bytes().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn other_spellings_of_the_same_content_are_refused() {
        let text = text();
        assert!(matches!(refused(&format!("{text}\n")), ManifestError::NotCanonical));
        assert!(matches!(refused(&text.replacen(',', ", ", 1)), ManifestError::NotCanonical));
        assert!(matches!(
            refused(&text.replace("\"loss\":0.5", "\"loss\":5e-1")),
            ManifestError::NotCanonical
        ));
        let reordered = text.replace("\"accuracy\":0.75,\"loss\":0.5", "\"loss\":0.5,\"accuracy\":0.75");
        assert_ne!(reordered, text);
        assert!(matches!(refused(&reordered), ManifestError::NotCanonical));
    }

    #[test]
    fn unknown_repeated_and_missing_fields_are_refused() {
        let text = text();
        assert!(matches!(refused(&text.replacen('{', "{\"x\":1,", 1)), ManifestError::Json(_)));
        assert!(matches!(
            refused(&text.replacen("\"round\":1", "\"round\":1,\"round\":1", 1)),
            ManifestError::Json(_)
        ));
        assert!(matches!(refused(&text.replacen("\"run_name\":\"demo\",", "", 1)), ManifestError::Json(_)));
        // Optional fields are spelled out as null, and their absence is another spelling.
        assert!(matches!(refused(&text.replacen("\"optimizer\":null,", "", 1)), ManifestError::NotCanonical));
        // Records of rounds are older than actions, so the absence of one is not spelled out.
        let spelled = text.replacen("\"attempt\":0,", "\"attempt\":0,\"action\":null,", 1);
        assert_ne!(spelled, text);
        assert!(matches!(refused(&spelled), ManifestError::NotCanonical));
    }

    #[test]
    fn an_action_survives_its_bytes_and_has_one_spelling() {
        for action in [samples::quarantine(1), samples::rollback(0)] {
            let manifest = samples::acted(2, action);
            let bytes = manifest.to_bytes().unwrap();
            assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
            let text = String::from_utf8(bytes).unwrap();
            assert!(matches!(
                refused(&text.replacen("\"reason\":", "\"x\":1,\"reason\":", 1)),
                ManifestError::Json(_)
            ));
        }
    }

    #[test]
    fn a_record_of_an_action_that_sums_anything_is_refused() {
        type Edit = fn(&mut Manifest);
        let edits: [(&str, Edit); 9] = [
            ("action", |m| m.transcript = Some(Digest::sha256(b"x"))),
            ("action", |m| m.aggregate_digest = Some(Digest::sha256(b"x"))),
            ("action", |m| m.metrics = [("loss".into(), 0.5)].into()),
            ("action", |m| m.left_out = vec![LeftOut { client: 2, reason: "x".into() }]),
            ("action", |m| (m.cohort, m.shared, m.included) = (vec![2], vec![2], vec![2])),
            ("action", |m| (m.parent, m.parent_model) = (None, None)),
            ("action.reason", |m| m.action = Some(samples::because(""))),
            ("action.reason", |m| m.action = Some(samples::because(&"x".repeat(REASON_BYTES_MAX + 1)))),
            ("action.by", |m| {
                let (to_round, reason) = (0, "r".to_owned());
                m.action =
                    Some(Action::Rollback { to_round, reason, by: "x".repeat(OPERATOR_BYTES_MAX + 1) });
            }),
        ];
        for (name, edit) in edits {
            let mut manifest = samples::acted(2, samples::rollback(0));
            edit(&mut manifest);
            match manifest.to_bytes() {
                Err(ManifestError::Field { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_record_of_a_later_format_is_refused_by_its_format_whatever_else_it_says() {
        let text = String::from_utf8(samples::manifest(1).to_bytes().unwrap()).unwrap();
        let later = text.replacen("folkmoot-checkpoint/1\"", "folkmoot-checkpoint/2\",\"unheard\":true", 1);
        let why = Manifest::from_bytes(later.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("\"folkmoot-checkpoint/2\"") && why.contains("newer release"), "{why}");
    }

    #[test]
    fn each_rule_refuses_and_names_its_field() {
        type Edit = fn(&mut Manifest);
        let edits: [(&str, Edit); 14] = [
            ("format", |m| m.format = "folkmoot-checkpoint/2".into()),
            ("model.file", |m| m.model.file = "../model.safetensors".into()),
            ("parent_model", |m| m.parent_model = None),
            ("cohort", |m| m.cohort = vec![3, 2, 5, 7]),
            ("cohort", |m| m.cohort = vec![2, 2, 3, 5, 7]),
            ("shared", |m| m.shared = vec![2, 3, 11]),
            ("included", |m| m.included = vec![2, 7]),
            ("left_out", |m| m.left_out.clear()),
            ("left_out", |m| m.left_out[0].client = 2),
            ("left_out", |m| m.left_out[0].client = 11),
            ("metrics", |m| m.metrics = [("loss".into(), f64::NAN)].into()),
            ("privacy", |m| m.privacy.epsilon = Some(f64::INFINITY)),
            ("privacy", |m| m.privacy.delta = Some(-1.0)),
            ("public_key", |m| m.public_key = m.public_key.to_uppercase()),
        ];
        for (name, edit) in edits {
            let mut manifest = samples::manifest(1);
            edit(&mut manifest);
            match manifest.to_bytes() {
                Err(ManifestError::Field { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
