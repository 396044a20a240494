//! A run's chain held against everything that is given for it, and what there is to say of that.

use std::path::PathBuf;

use attest::{ModelPublicKey, RoundEvidence};
use checkpoint::{Manifest, folder_name};
use ed25519_dalek::VerifyingKey;
use params::Digest;
use plan::{AuthoredPlan, Plan};
use serde_json::Value;

use crate::folder::{Folder, Plain, checkpoints_in};
use crate::text::{cards_line, evidence_line, record_line, verified_json};
use crate::verify::rounds;
use crate::{
    CheckpointFault, Verified, check_evidence, check_spent, check_steps, is_signed, read_record, verify_chain,
};

/// What a chain is held against, beside itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Against<'a> {
    /// The coordinator's key, as the roster names it.
    pub key: Option<VerifyingKey>,
    /// The key for public tools: every version's signature and evidence.
    pub model_key: Option<&'a ModelPublicKey>,
    /// The signed plan: spending, cards, and the server's step of each round.
    pub plan: Option<&'a Plan>,
}

/// A chain that holds against all of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Checked {
    /// The chain by itself.
    pub verified: Verified,
    /// The evidence of each version, oldest first, where the key for public tools was given.
    pub lineage: Option<Vec<RoundEvidence>>,
    /// How many rounds' steps were done again, where the plan was given.
    pub steps: Option<usize>,
    key_pinned: bool,
    evidence_unread: bool,
}

/// Checks a chain, and everything beyond it that keys and plan are given for.
///
/// # Errors
/// The first file that does not hold.
pub fn check_run<F: Folder + ?Sized>(folder: &F, against: &Against) -> Result<Checked, CheckpointFault> {
    let verified = verify_chain(folder, against.key, against.plan)?;
    let manifests = &verified.manifests;
    let lineage = against.model_key.map(|key| check_evidence(folder, manifests, key)).transpose()?;
    let evidence_unread = lineage.is_none() && is_signed(folder, manifests);
    let steps = match against.plan {
        Some(plan) => {
            check_spent(folder, manifests, plan)?;
            Some(check_steps(folder, &verified, plan)?.len())
        }
        None => None,
    };
    Ok(Checked { verified, lineage, steps, key_pinned: against.key.is_some(), evidence_unread })
}

/// Checks the runs of one federation, each by its number and its folder. A plan is held against the run whose records name it. All
/// are to be of one key: `against.key`, or the one of the first run that holds.
pub fn check_runs(
    runs: &[(u32, PathBuf)],
    against: &Against,
    plans: &[AuthoredPlan],
) -> Vec<(u32, Result<Checked, CheckpointFault>)> {
    let mut one_key = against.key;
    let of_run = |(number, folder): &(u32, PathBuf)| {
        let folder = checkpoints_in(folder);
        let folder = Plain::new(&folder);
        let checked = plan_among(&folder, plans).and_then(|plan| {
            let plan = plan.map(|plan| &**plan);
            check_run(&folder, &Against { key: one_key, plan, ..*against })
        });
        let checked = checked.map(|checked| Checked { key_pinned: against.key.is_some(), ..checked });
        if let (None, Ok(checked)) = (one_key, &checked) {
            one_key = identity::parse_verifying_key(checked.signer()).ok();
        }
        (*number, checked)
    };
    runs.iter().map(of_run).collect()
}

/// The one of these plans that the oldest record of a folder names, whoever wrote it.
///
/// # Errors
/// A folder or a record that cannot be read.
pub fn plan_among<'a, F: Folder + ?Sized>(
    folder: &F,
    plans: &'a [AuthoredPlan],
) -> Result<Option<&'a AuthoredPlan>, CheckpointFault> {
    let Some(oldest) = rounds(folder)?.first().copied() else { return Ok(None) };
    let record = read_record(folder, &folder_name(oldest))?;
    let named = record.and_then(|record| Manifest::from_bytes(&record.manifest_bytes).ok());
    Ok(named.and_then(|named| plans.iter().find(|plan| plan.digest() == named.plan_digest)))
}

impl Checked {
    /// What was found, for people, a line each: records, cards, evidence, steps, and the whole.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.verified.manifests.iter().map(record_line).collect();
        if self.verified.cards > 0 {
            lines.push(cards_line(self.verified.cards, self.steps.is_some()));
        }
        if let Some(lineage) = &self.lineage {
            lines.push("lineage:".into());
            lines.extend(lineage.iter().map(evidence_line));
        }
        if let Some(steps) = self.steps {
            let rounds = self.verified.rounds;
            lines.push(format!(
                "steps: {steps} of {rounds} rounds done again, each gives the published model"
            ));
        }
        lines.push(self.whole());
        lines
    }

    /// All of it on one line, for whoever has many runs.
    pub fn one_line(&self) -> String {
        let steps = self.steps.map(|steps| format!(", {steps} steps done again"));
        let evidence =
            self.lineage.as_ref().map(|lineage| format!(", evidence of {} versions", lineage.len()));
        [Some(self.whole()), steps, evidence].into_iter().flatten().collect()
    }

    fn whole(&self) -> String {
        let Verified { rounds, head, model_sha256, .. } = &self.verified;
        format!("verified: {rounds} rounds, head {head}, model sha256 {model_sha256}")
    }

    /// What was not checked for want of something, but for the key that nobody pinned.
    pub fn warnings(&self) -> Vec<String> {
        let evidence = "model.sig and the evidence were not checked: add --model-key model.pub.pem";
        let mut warnings = if self.evidence_unread { vec![evidence.to_owned()] } else { Vec::new() };
        let left = self.steps.and_then(|steps| self.verified.rounds.checked_sub(steps as u64));
        if let Some(left) = left.filter(|left| *left > 0) {
            warnings.push(format!(
                "the sums of {left} rounds are not there, so that their steps were not done again"
            ));
        }
        warnings
    }

    /// The whole for programs, every record in it.
    pub fn to_json(&self) -> Value {
        let evidence = self.lineage.as_ref().map(Vec::len);
        verified_json(&self.verified, self.key_pinned, evidence, self.steps)
    }

    /// The plan that the records name.
    pub fn plan(&self) -> Option<Digest> {
        self.verified.manifests.last().map(|newest| newest.plan_digest)
    }

    /// The key that signed the records, as they name it.
    pub fn signer(&self) -> &str {
        self.verified.manifests.last().map_or("", |newest| newest.public_key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use checkpoint::{CHECKPOINTS_FOLDER, MANIFEST_FILE, SIGNATURE_FILE, SignedManifest};
    use ed25519_dalek::SigningKey;
    use identity::IdentityKey;

    use super::*;
    use crate::samples::chain;

    fn plan() -> AuthoredPlan {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let author = IdentityKey::from_secret_hex(&"11".repeat(32)).unwrap();
        plan.sign(&author)
    }

    /// Another key's chain of one version.
    fn signed_by_another(folder: &Path) {
        let checkpoints = folder.join(CHECKPOINTS_FOLDER);
        for later in [1, 3] {
            fs::remove_dir_all(checkpoints.join(folder_name(later))).unwrap();
        }
        let here = checkpoints.join(folder_name(0));
        let manifest = Manifest::from_bytes(&fs::read(here.join(MANIFEST_FILE)).unwrap()).unwrap();
        let key = SigningKey::from_bytes(&[9; 32]);
        let public_key = checkpoint::public_key_text(&key.verifying_key());
        let signed = SignedManifest::sign(&Manifest { public_key, ..manifest }, &key).unwrap();
        fs::write(here.join(MANIFEST_FILE), &signed.manifest_bytes).unwrap();
        fs::write(here.join(SIGNATURE_FILE), signed.signature).unwrap();
    }

    #[test]
    fn every_run_is_looked_at_whatever_is_wrong_with_another_and_all_are_of_one_key() {
        let chains = [chain(|_| {}), chain(|_| {}), chain(|_| {}), chain(|_| {})];
        fs::write(chains[1].path().join("checkpoints/000001/model.safetensors"), b"x").unwrap();
        signed_by_another(chains[2].path());
        // By itself it holds.
        check_run(&Plain::new(&checkpoints_in(chains[2].path())), &Against::default()).unwrap();
        let runs: Vec<(u32, PathBuf)> =
            (1..).zip(chains.iter().map(|chain| chain.path().to_owned())).collect();
        let checked = check_runs(&runs, &Against::default(), &[]);
        let held: Vec<(u32, bool)> = checked.iter().map(|(number, run)| (*number, run.is_ok())).collect();
        assert_eq!(held, [(1, true), (2, false), (3, false), (4, true)]);
        let why = |place: usize| checked[place].1.as_ref().unwrap_err().to_string();
        assert!(why(1).contains("000001/model.safetensors"), "{}", why(1));
        assert!(why(2).contains("000000/manifest.json") && why(2).contains("key"), "{}", why(2));
        let first = checked[0].1.as_ref().unwrap();
        assert_eq!(first.to_json()["key_pinned"], false);
    }

    #[test]
    fn a_plan_is_held_against_the_run_that_names_it_and_against_no_other() {
        let plan = plan();
        // Of this plan, and with another model to begin with.
        let (other, its) = (chain(|_| {}), chain(|manifest| manifest.plan_digest = plan.digest()));
        let runs = [(1, other.path().to_owned()), (2, its.path().to_owned())];
        let checked = check_runs(&runs, &Against::default(), std::slice::from_ref(&plan));
        assert_eq!(checked[0].1.as_ref().unwrap().steps, None);
        let why = checked[1].1.as_ref().unwrap_err().to_string();
        assert!(why.contains("000000/manifest.json"), "{why}");
        let without = check_runs(&runs, &Against::default(), &[]);
        assert!(without.iter().all(|(_, run)| run.is_ok()));
    }
}
