//! A version by itself, as a tool fetches it: held against what lies beside it, and what that leaves open.

use std::path::Path;

use attest::{BUNDLE_FILE, ModelPublicKey, RoundEvidence};
use checkpoint::{MANIFEST_FILE, MODEL_FILE, Manifest, SignatureError, SignedManifest, public_key_text};
use identity::{printable, with_causes};
use params::Params;
use plan::{AuthoredPlan, PLAN_FILE};
use serde_json::{Value, json};

use crate::evidence::{check_spending, signed};
use crate::folder::{Folder, Plain};
use crate::listing::list_files;
use crate::text::{evidence_line, record_line};
use crate::verify::{OTHER_PLAN, read_plan, record, verify_card};
use crate::version::read_files;
use crate::{Against, CheckpointFault};

/// A version that holds by itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Alone {
    pub record: SignedManifest,
    /// What the signed bytes say.
    pub manifest: Manifest,
    /// Of the plan's layout, where there is a plan.
    pub params: Params,
    /// The signed plan beside it.
    pub plan: Option<AuthoredPlan>,
    /// Whether a plan was there to hold it against: that one, or one that was given.
    planned: bool,
    /// Whether it has a model card, which then holds.
    card: bool,
    /// What the key for public tools has signed, where that key was given.
    evidence: Option<RoundEvidence>,
    /// Whether there is a signature that no key was given for.
    evidence_unread: bool,
}

/// Checks one version from its folder alone: its record's signature, its files against the record, the signed plan beside it, its model
/// card against both, and the spending that the plan's numbers make of its steps; with keys and a plan, everything that these are for.
///
/// # Errors
/// The first file that does not hold.
pub fn check_version(folder: &Path, against: &Against) -> Result<Alone, CheckpointFault> {
    let place = folder.join(MANIFEST_FILE);
    let bad = |why: String| CheckpointFault::File { file: place.clone(), why };
    let plain = Plain::new(folder);
    let record = record(&plain, "")?;
    let manifest = record.verify_strict().map_err(|why| match why {
        SignatureError::Signature => bad("does not match its signature: one of the two was changed".into()),
        why => bad(with_causes(&why)),
    })?;
    if against.key.is_some_and(|key| public_key_text(&key) != manifest.public_key) {
        return Err(bad("is signed by another key than --key names".into()));
    }
    let beside = read_plan(&plain, "", &manifest)?;
    let plan = against.plan.or(beside.as_deref());
    if plan.is_some_and(|plan| plan.digest() != manifest.plan_digest) {
        return Err(bad(OTHER_PLAN.into()));
    }
    let layout = plan.map(|plan| plan.architecture().layout());
    let (_, params) = read_files(&plain, "", &manifest, layout.as_ref())?;
    if let Some(plan) = plan {
        check_spending(&place, &manifest, plan, u64::from(manifest.aggregate_digest.is_some()))?;
        if manifest.round == 0 && params.digest() != plan.starts_from() {
            let why = "is not the model that the plan begins with".into();
            return Err(CheckpointFault::File { file: folder.join(MODEL_FILE), why });
        }
    }
    let card = verify_card(&plain, "", &manifest, None, plan)?;
    let evidence = against.model_key.map(|key| evidence(folder, &record, key)).transpose()?;
    let evidence_unread = evidence.is_none() && plain.read("", BUNDLE_FILE)?.is_some();
    let planned = plan.is_some();
    Ok(Alone { record, manifest, params, plan: beside, planned, card, evidence, evidence_unread })
}

fn evidence(
    folder: &Path,
    record: &SignedManifest,
    key: &ModelPublicKey,
) -> Result<RoundEvidence, CheckpointFault> {
    let listed = list_files(folder, &[]);
    let listed =
        listed.map_err(|why| CheckpointFault::File { file: folder.to_owned(), why: why.to_string() })?;
    Ok(signed(&Plain::new(folder), "", record, &listed, key)?.round)
}

impl Alone {
    /// What was found, for people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![record_line(&self.manifest)];
        lines.extend(self.plan.as_ref().map(|plan| {
            let (name, author) = (printable(&plan.name), &plan.signed().author);
            format!("plan: {name}, signed by its author {author}, is the one that the record names")
        }));
        if self.planned {
            lines.push(
                "model and spending: of the plan's layers, and what its numbers make of the steps".into(),
            );
        }
        if self.card {
            let and_plan = if self.planned { " and the plan" } else { "" };
            lines.push(format!(
                "card: says what the record{and_plan} say, and is believed where it says that it is"
            ));
        }
        lines.extend(
            self.evidence.as_ref().map(|round| format!("model.sig and evidence: {}", evidence_line(round))),
        );
        lines.push(format!("verified: this version alone, record {}", self.record.digest()));
        lines
    }

    /// What was not checked, with what it would take.
    pub fn unchecked(&self) -> Vec<String> {
        let mut unchecked = Vec::new();
        if self.manifest.parent.is_some() {
            unchecked.push(
                "the chain before it, the step that led to it, and whether it was taken out of use later: `folkmoot model export` writes \
                 a chain, which `folkmoot verify --plan` does again"
                    .into(),
            );
        }
        if !self.planned {
            unchecked.push(format!(
                "whatever its plan says: there is no {PLAN_FILE} in the folder, as earlier releases published none; add --plan"
            ));
        }
        if self.plan.is_some() {
            unchecked.push("whether its plan's author is who you trust: compare the key above".into());
        }
        if self.evidence_unread {
            unchecked.push("model.sig and the evidence: add --model-key model.pub.pem".into());
        }
        unchecked
    }

    /// The whole for programs.
    pub fn to_json(&self, key_pinned: bool) -> Value {
        json!({
            "digest": self.record.digest(),
            "key_pinned": key_pinned,
            "plan_author": self.plan.as_ref().map(|plan| &plan.signed().author),
            "planned": self.planned,
            "card": self.card,
            "evidence": self.evidence.is_some(),
            "unchecked": self.unchecked(),
            "record": self.manifest,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use checkpoint::{ModelArtifact, SIGNATURE_FILE};
    use identity::IdentityKey;
    use plan::Plan;

    use super::*;
    use crate::samples::key;

    fn signed_plan(rounds: u64) -> AuthoredPlan {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        Plan { rounds, ..plan }.sign(&IdentityKey::from_secret_hex(&"11".repeat(32)).unwrap())
    }

    /// Version 0 of a plan, which lies beside it.
    fn version(plan: &AuthoredPlan, edit: impl Fn(&mut Manifest)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let params = plan.initial_model();
        let mut manifest = checkpoint::samples::bare(0);
        let model = checkpoint::model_bytes(&params, &checkpoint::model_metadata(&manifest.run_id, 0));
        manifest.model = ModelArtifact::of(&model, params.digest());
        manifest.plan_digest = plan.digest();
        manifest.privacy = protocol::privacy_spent(plan, 0).unwrap();
        edit(&mut manifest);
        let record = SignedManifest::sign(&manifest, &key()).unwrap();
        for (file, bytes) in [
            (MANIFEST_FILE, record.manifest_bytes),
            (SIGNATURE_FILE, record.signature.to_vec()),
            (MODEL_FILE, model),
            (PLAN_FILE, plan.signed().to_json().into_bytes()),
        ] {
            fs::write(folder.path().join(file), bytes).unwrap();
        }
        folder
    }

    fn refused(folder: &Path, against: &Against) -> (PathBuf, String) {
        match check_version(folder, against) {
            Err(CheckpointFault::File { file, why }) => (file.strip_prefix(folder).unwrap().to_owned(), why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_is_held_against_the_signed_plan_beside_it_and_says_what_it_could_not_be_held_against() {
        let plan = signed_plan(30);
        let folder = version(&plan, |_| {});
        let alone = check_version(folder.path(), &Against::default()).unwrap();
        let lines = alone.lines().join("\n");
        assert!(lines.contains(&format!("signed by its author {}", plan.signed().author)), "{lines}");
        assert!(lines.contains("model and spending: of the plan's layers"), "{lines}");
        assert_eq!(alone.params, plan.initial_model());
        let unchecked = alone.unchecked().join("\n");
        assert!(
            unchecked.contains("author is who you trust") && !unchecked.contains("--plan"),
            "{unchecked}"
        );
        fs::remove_file(folder.path().join(PLAN_FILE)).unwrap();
        let without = check_version(folder.path(), &Against::default()).unwrap();
        assert!(without.unchecked().join("").contains("add --plan"), "{:?}", without.unchecked());
        let given = Against { plan: Some(&plan), ..Against::default() };
        assert!(check_version(folder.path(), &given).unwrap().unchecked().is_empty());
    }

    #[test]
    fn a_plan_that_was_changed_or_is_another_and_what_does_not_follow_from_it_are_named() {
        let (plan, other) = (signed_plan(30), signed_plan(31));
        let none = Against::default();
        let folder = version(&plan, |_| {});
        let given = Against { plan: Some(&other), ..none };
        assert_eq!(refused(folder.path(), &given), (MANIFEST_FILE.into(), OTHER_PLAN.into()));
        fs::write(folder.path().join(PLAN_FILE), other.signed().to_json()).unwrap();
        assert_eq!(refused(folder.path(), &none).0, Path::new(PLAN_FILE));
        let changed = plan.signed().to_json().replace("example", "another");
        fs::write(folder.path().join(PLAN_FILE), changed).unwrap();
        let (file, why) = refused(folder.path(), &none);
        assert!(file == Path::new(PLAN_FILE) && why.contains("not what its author signed"), "{why}");
        let cheaper = version(&plan, |manifest| manifest.privacy.delta = Some(1e-9));
        let (file, why) = refused(cheaper.path(), &none);
        assert!(file == Path::new(MANIFEST_FILE) && why.contains("another spending"), "{why}");
        let elsewhere =
            Plan { model: plan::Model { hidden: vec![3], ..plan.model.clone() }, ..Plan::clone(&plan) };
        let elsewhere = elsewhere.sign(&IdentityKey::from_secret_hex(&"11".repeat(32)).unwrap());
        let folder = version(&plan, |manifest| manifest.plan_digest = elsewhere.digest());
        fs::write(folder.path().join(PLAN_FILE), elsewhere.signed().to_json()).unwrap();
        assert_eq!(refused(folder.path(), &none).0, Path::new(MODEL_FILE));
    }
}
