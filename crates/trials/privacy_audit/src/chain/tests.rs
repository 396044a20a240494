//! A chain that a rehearsed run left, attacked.

use std::fs;

use checkpoint::{
    CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FILE, ModelArtifact, PrivacySpent, SIGNATURE_FILE,
    SignedManifest, samples,
};
use datasets::digits;
use demo::demo_plan;
use params::Digest;
use plan::PrivacyMode;
use protocol::aggregate_digest;
use rehearsal::{NoiseLevel, Rehearsal};

use super::*;
use crate::findings::Verdict;

/// Rounds of the demonstration's plan that are run: without noise three are enough.
const ROUNDS: u64 = 3;

/// A silo has canaries in its data, the run trains, its chain is written as a coordinator writes it.
fn run_with_canaries(plan: &Plan, noise: NoiseLevel, folder: &Path) -> Canaries {
    let canaries = Canaries::draw(plan, 200, [4; 32]).unwrap();
    let silos = silos(plan, &canaries.planted(plan).unwrap());
    let key = samples::key();
    let mut run = Rehearsal::new(plan, &silos, noise, [3; 32]).unwrap();
    let mut parent: Option<(SignedManifest, Digest)> = None;
    for round in 0..=ROUNDS {
        if round > 0 {
            run.round().unwrap();
        }
        let sum: Vec<u8> = run.sum().iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let metadata = checkpoint::model_metadata(&run_id(), round);
        let model = checkpoint::model_bytes(run.params(), &metadata);
        let manifest = Manifest {
            parent: parent.as_ref().map(|(signed, _)| signed.digest()),
            parent_model: parent.as_ref().map(|(_, model)| *model),
            model: ModelArtifact::of(&model, run.params().digest()),
            aggregate_digest: (round > 0).then(|| aggregate_digest(&sum)),
            ..record(plan, round)
        };
        let signed = SignedManifest::sign(&manifest, &key).unwrap();
        let here = folder.join(CHECKPOINTS_FOLDER).join(folder_name(round));
        fs::create_dir_all(&here).unwrap();
        fs::write(here.join(MANIFEST_FILE), &signed.manifest_bytes).unwrap();
        fs::write(here.join(SIGNATURE_FILE), signed.signature).unwrap();
        fs::write(here.join(MODEL_FILE), model).unwrap();
        if round > 0 {
            fs::write(here.join(AGGREGATE_FILE), sum).unwrap();
        }
        parent = Some((signed, run.params().digest()));
    }
    canaries
}

/// Five silos with their shares of the digits, and the canaries, which are one silo's.
fn silos(plan: &Plan, canaries: &str) -> Vec<Dataset> {
    let silo = |silo| {
        let own = digits::table(digits::silo_rows(silo, 5));
        let mut tables = vec![("own", own.into_bytes())];
        if silo == 0 {
            tables.push(("canaries", canaries.as_bytes().to_vec()));
        }
        let readers = tables.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        Dataset::from_csvs(readers, &plan.data).unwrap()
    };
    (0..5).map(silo).collect()
}

fn run_id() -> Digest {
    Digest::sha256(b"run")
}

/// What a round's record says beside its model and its sum.
fn record(plan: &Plan, round: u64) -> Manifest {
    let ids: Vec<u32> = if round == 0 { Vec::new() } else { (1..=5).collect() };
    Manifest {
        run_name: plan.name.clone(),
        plan_digest: plan.digest(),
        cohort: ids.clone(),
        shared: ids.clone(),
        included: ids,
        privacy: PrivacySpent {
            mode: plan.mode().name().into(),
            unit: accounting::Unit::or_none(plan.unit()).into(),
            relation: accounting::Relation::or_none(plan.privacy.relation()).into(),
            noise_by: plan.mode().noise_by().into(),
            trust: plan.trust(),
            ..samples::spent(round, round as f64 / 2.0)
        },
        ..samples::bare(round)
    }
}

#[test]
fn a_finished_run_is_audited_by_the_canaries_that_were_put_in_before_it() {
    let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
    let members = digits::table(digits::training_rows());
    let members = Dataset::from_csv("members", members.as_bytes(), &plan.data).unwrap();
    for (noise, verdict) in
        [(NoiseLevel::AsPlanned, Verdict::NotContradicted), (NoiseLevel::Off, Verdict::Contradicted)]
    {
        let folder = tempfile::tempdir().unwrap();
        let canaries = run_with_canaries(&plan, noise, folder.path());
        let findings = audit_folder(folder.path(), &plan, &canaries, Some(&members), 0.95).unwrap();
        assert_eq!(findings.verdict, verdict, "{noise:?}: {findings:?}");
        assert_eq!(
            (findings.claim.epsilon, findings.guesses),
            (Some(1.5), 100),
            "what was spent is what is claimed"
        );
    }
}

#[test]
fn canaries_among_the_known_members_and_a_chain_of_another_plan_are_refused() {
    let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
    let canaries = Canaries::draw(&plan, 20, [4; 32]).unwrap();
    let known = canaries.table(&plan).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = audit_folder(folder.path(), &plan, &canaries, Some(&known), 0.95).unwrap_err();
    assert!(matches!(refused, AuditError::MembersHoldCanaries), "what is known must not say the coins");
    run_with_canaries(&plan, NoiseLevel::Off, folder.path());
    let other = demo_plan(PrivacyMode::DistributedDpSgd, 5, Some(7), None).unwrap();
    let canaries = Canaries::draw(&other, 20, [4; 32]).unwrap();
    let refused = audit_folder(folder.path(), &other, &canaries, None, 0.95).unwrap_err();
    assert!(matches!(refused, AuditError::AnotherPlan), "{refused}");
}
