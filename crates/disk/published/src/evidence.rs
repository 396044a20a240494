//! What outsiders are given with a chain: signatures for public tools, the evidence of each round, and the opened sums
//! that the server's own step can be done again from.

use std::path::{Path, PathBuf};

use attest::{BUNDLE_FILE, EVIDENCE_FILE, ModelPublicKey, ModelStatement, RoundEvidence};
use checkpoint::{
    AGGREGATE_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, PrivacySpent, SignedManifest, folder_name,
};
use identity::with_causes;
use params::Digest;
use plan::Plan;

use crate::folder::{Folder, required};
use crate::verify::{CheckpointFault, OTHER_PLAN, Verified, record};
use crate::version::{Version, read_version};

/// Checks every checkpoint's signature for public tools and its evidence, and that the rounds make one history.
///
/// # Errors
/// The first file that is not as signed.
pub fn check_evidence<F: Folder + ?Sized>(
    folder: &F,
    manifests: &[Manifest],
    key: &ModelPublicKey,
) -> Result<Vec<RoundEvidence>, CheckpointFault> {
    let mut published = Vec::new();
    for manifest in manifests {
        let name = folder_name(manifest.round);
        let signed = signed(folder, &name, &record(folder, &name)?, &folder.files(&name)?, key)?;
        published.push((signed.bundle, signed.evidence));
    }
    attest::verify_lineage(&published, key).map_err(|why| bad(&folder.place("", ""), with_causes(&why)))
}

/// A version's signature for public tools and its evidence, both of one key.
pub(crate) struct Signed {
    bundle: Vec<u8>,
    evidence: Vec<u8>,
    /// What the signature says.
    pub(crate) statement: ModelStatement,
    /// What the evidence says.
    pub(crate) round: RoundEvidence,
}

/// Checks a version's signature for public tools and its evidence, under its name in this folder, against its record and its files.
///
/// # Errors
/// Either of the two, where it is missing or not that key's of this version.
pub(crate) fn signed<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
    record: &SignedManifest,
    files: &[(String, Digest)],
    key: &ModelPublicKey,
) -> Result<Signed, CheckpointFault> {
    let bundle = required(folder, name, BUNDLE_FILE)?;
    let statement = attest::verify_model(&bundle, files, key)
        .map_err(|why| bad(&folder.place(name, BUNDLE_FILE), with_causes(&why)))?;
    let evidence = required(folder, name, EVIDENCE_FILE)?;
    let round = attest::verify_round(&evidence, &statement, key)
        .and_then(|round| round.check(record, &statement).map(|()| round))
        .map_err(|why| bad(&folder.place(name, EVIDENCE_FILE), with_causes(&why)))?;
    Ok(Signed { bundle, evidence, statement, round })
}

/// Whether any checkpoint has a signature for public tools, be it one that can be read or not.
pub fn is_signed<F: Folder + ?Sized>(folder: &F, manifests: &[Manifest]) -> bool {
    let absent =
        |manifest: &Manifest| matches!(folder.read(&folder_name(manifest.round), BUNDLE_FILE), Ok(None));
    !manifests.iter().all(absent)
}

/// Does the server's step of each round again, from the model before and the opened sum, where the sum is there. Gives
/// the rounds that were checked. What one step gave is where the next begins, and is not read again: so the folder's chain is
/// one that holds ([`verify_chain`](crate::verify_chain)), and not just any records.
///
/// ```compile_fail,E0308
/// fn unverified(folder: &published::Plain, records: &[checkpoint::Manifest], plan: &plan::Plan) {
///     let _ = published::check_steps(folder, records, plan);
/// }
/// ```
///
/// # Errors
/// The first model that does not follow.
pub fn check_steps<F: Folder + ?Sized>(
    folder: &F,
    Verified { manifests, .. }: &Verified,
    plan: &Plan,
) -> Result<Vec<u64>, CheckpointFault> {
    let mut checked = Vec::new();
    let mut stepped: Option<Version> = None;
    // What lies here may begin later; where version 0 is there, the plan says which it is.
    let first = manifests.first().filter(|first| first.round == 0 && first.plan_digest == plan.digest());
    if let Some(first) = first.filter(|first| first.model.params_digest != plan.starts_from()) {
        let why = "is not the model that the plan begins with";
        return Err(bad(&folder.place(&folder_name(first.round), MODEL_FILE), why));
    }
    for (before, manifest) in manifests.iter().zip(manifests.iter().skip(1)) {
        // That of `before`, where the step to it was done.
        let version = stepped.take();
        let name = folder_name(manifest.round);
        if manifest.plan_digest != plan.digest() {
            return Err(bad(&folder.place(&name, MANIFEST_FILE), OTHER_PLAN));
        }
        if manifest.aggregate_digest.is_none() {
            continue;
        }
        let Some(sum) = folder.read(&name, AGGREGATE_FILE)? else { continue };
        if !protocol::names_state(plan, before) {
            let why = "names a state of the server's optimiser that is not the plan's";
            return Err(bad(&folder.place(&folder_name(before.round), MANIFEST_FILE), why));
        }
        let Version { params, state } = match version {
            Some(version) => version,
            None => read_version(folder, plan, before)?,
        };
        let (params, state) = protocol::check_step(plan, manifest, &params, state, &sum)
            .map_err(|why| bad(&folder.place(&name, MODEL_FILE), with_causes(&why)))?;
        // A record that names no state leaves it to the plan, and not to the steps before.
        stepped = manifest.optimizer.is_some().then_some(Version { params, state });
        checked.push(manifest.round);
    }
    Ok(checked)
}

/// Computes again, from the plan, what each record says was spent; every sum that a record holds must be among those counted.
///
/// # Errors
/// The first record that says otherwise.
pub fn check_spent<F: Folder + ?Sized>(
    folder: &F,
    manifests: &[Manifest],
    plan: &Plan,
) -> Result<(), CheckpointFault> {
    let mut opened = 0;
    for manifest in manifests {
        opened += u64::from(manifest.aggregate_digest.is_some());
        check_spending(&folder.place(&folder_name(manifest.round), MANIFEST_FILE), manifest, plan, opened)?;
    }
    Ok(())
}

/// The same of one record, in this file, up to which so many sums were opened at least.
pub(crate) fn check_spending(
    file: &Path,
    manifest: &Manifest,
    plan: &Plan,
    opened: u64,
) -> Result<(), CheckpointFault> {
    /// Logarithms differ in their last digits between machines.
    const TOLERANCE: f64 = 1e-9;
    if manifest.plan_digest != plan.digest() {
        return Err(bad(file, OTHER_PLAN));
    }
    let said = &manifest.privacy;
    let spent = protocol::privacy_spent(plan, said.steps).map_err(|why| bad(file, with_causes(&why)))?;
    let near = match (said.epsilon, spent.epsilon) {
        (Some(said), Some(spent)) => (said - spent).abs() <= TOLERANCE * spent,
        (said, spent) => said == spent,
    };
    if said.steps < opened || !near || *said != (PrivacySpent { epsilon: said.epsilon, ..spent }) {
        return Err(bad(file, "says another spending of privacy than the plan's numbers make of its sums"));
    }
    Ok(())
}

fn bad(file: &Path, why: impl ToString) -> CheckpointFault {
    CheckpointFault::File { file: PathBuf::from(file), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use attest::{IGNORED_PATHS, ModelKey};
    use checkpoint::ModelArtifact;
    use rand::rand_core::UnwrapErr;
    use store::{Published, Store};

    use super::*;
    use crate::samples::chain;
    use crate::{Plain, list_files, verify_folder};

    fn new_key() -> ModelKey {
        ModelKey::generate(&mut UnwrapErr(rand::rngs::SysRng)).unwrap()
    }

    fn plan() -> Plan {
        Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
    }

    /// A chain as a coordinator with a model key publishes it.
    fn attested(key: &ModelKey) -> (tempfile::TempDir, PathBuf, Vec<Manifest>) {
        let folder = chain(|_| {});
        let checkpoints = folder.path().join(checkpoint::CHECKPOINTS_FOLDER);
        let manifests = verify_folder(folder.path(), None).unwrap().manifests;
        for manifest in &manifests {
            let name = folder_name(manifest.round);
            let here = checkpoints.join(&name);
            let files = list_files(&here, &[]).unwrap();
            let model = attest::sign_model(&name, &files, &IGNORED_PATHS, key).unwrap();
            let evidence =
                RoundEvidence::of(&record(&Plain::new(&checkpoints), &name).unwrap(), "1.2.3").unwrap();
            let evidence = attest::sign_round(&name, &model.root, &evidence, key).unwrap();
            fs::write(here.join(BUNDLE_FILE), model.bundle).unwrap();
            fs::write(here.join(EVIDENCE_FILE), evidence).unwrap();
        }
        (folder, checkpoints, manifests)
    }

    #[test]
    fn a_signed_chain_gives_its_lineage_from_the_first_round_on() {
        let key = new_key();
        let (_folder, checkpoints, manifests) = attested(&key);
        let plain = Plain::new(&checkpoints);
        assert!(is_signed(&plain, &manifests));
        let lineage = check_evidence(&plain, &manifests, key.public()).unwrap();
        let rounds: Vec<u64> = lineage.iter().map(|evidence| evidence.round).collect();
        assert_eq!(rounds, [0, 1, 3]);
        let parent = lineage[1].parent.as_ref().map(|parent| parent.record);
        assert_eq!((parent, &*lineage[1].code_version), (Some(lineage[0].record), "1.2.3"));
    }

    #[test]
    fn a_signed_chain_gives_its_lineage_from_a_sealed_store_too() {
        let key = new_key();
        let (_folder, checkpoints, manifests) = attested(&key);
        let folder = tempfile::tempdir().unwrap();
        let (store, vault) = crate::tests::sealed(folder.path(), &checkpoints);
        let beside = Published::new(folder.path().join(checkpoint::CHECKPOINTS_FOLDER), Some(vault));
        assert!(is_signed(&beside, &manifests));
        let plain = check_evidence(&Plain::new(&checkpoints), &manifests, key.public()).unwrap();
        assert_eq!(check_evidence(&beside, &manifests, key.public()).unwrap(), plain);
        assert_eq!(check_evidence(&store as &dyn Store, &manifests, key.public()).unwrap(), plain);
    }

    #[test]
    fn another_key_a_changed_file_and_one_that_is_missing_or_too_much_are_named() {
        let key = new_key();
        let (_folder, checkpoints, manifests) = attested(&key);
        let published = Published::new(checkpoints.clone(), None);
        let refused = |key: &ModelKey| {
            let why =
                check_evidence(&Plain::new(&checkpoints), &manifests, key.public()).unwrap_err().to_string();
            let same = check_evidence(&published, &manifests, key.public()).unwrap_err().to_string();
            assert_eq!(same, why.replace(&format!("{}/", checkpoints.display()), "checkpoints/"));
            why
        };
        assert!(refused(&new_key()).contains("000000/model.sig"));
        let here = checkpoints.join("000001");
        fs::write(here.join("notes.txt"), "mine").unwrap();
        assert!(refused(&key).contains("notes.txt"));
        fs::remove_file(here.join("notes.txt")).unwrap();
        let evidence = fs::read(here.join(EVIDENCE_FILE)).unwrap();
        let other = fs::read(checkpoints.join("000000").join(EVIDENCE_FILE)).unwrap();
        fs::write(here.join(EVIDENCE_FILE), other).unwrap();
        assert!(refused(&key).contains("000001/evidence.dsse.json"));
        fs::remove_file(here.join(EVIDENCE_FILE)).unwrap();
        assert!(refused(&key).contains("000001/evidence.dsse.json"));
        fs::write(here.join(EVIDENCE_FILE), evidence).unwrap();
        assert!(check_evidence(&Plain::new(&checkpoints), &manifests, key.public()).is_ok());
    }

    #[test]
    fn a_spending_that_is_not_the_plans_is_named() {
        let plan = plan();
        let source = chain(|_| {});
        let mut manifests = verify_folder(source.path(), None).unwrap().manifests;
        for (steps, manifest) in manifests.iter_mut().enumerate() {
            manifest.plan_digest = plan.digest();
            manifest.aggregate_digest = (steps > 0).then(|| Digest::sha256(b"sum"));
            // One round was aborted after its uploads were asked for, and counts.
            let counted = if steps == 2 { 3 } else { steps as u64 };
            manifest.privacy = protocol::privacy_spent(&plan, counted).unwrap();
        }
        let check = |manifests: &[Manifest]| check_spent(&Plain::new(Path::new("out")), manifests, &plan);
        check(&manifests).unwrap();
        type Edit = fn(&mut Manifest, &Plan);
        let edits: [Edit; 6] = [
            |m, _| m.privacy.epsilon = m.privacy.epsilon.map(|epsilon| 0.9 * epsilon),
            |m, _| m.privacy.epsilon = None,
            |m, _| m.privacy.delta = Some(1e-6),
            |m, _| m.privacy.trust = "nobody".into(),
            // Fewer steps than sums, though with the epsilon of so few.
            |m, plan| m.privacy = protocol::privacy_spent(plan, 1).unwrap(),
            |m, _| m.plan_digest = Digest::sha256(b"another"),
        ];
        for (case, edit) in edits.into_iter().enumerate() {
            let mut changed = manifests.clone();
            edit(&mut changed[2], &plan);
            let why = check(&changed).unwrap_err().to_string();
            assert!(why.contains("000003/manifest.json"), "{case}: {why}");
        }
    }

    #[test]
    fn a_model_that_does_not_follow_from_its_sum_is_named_and_one_that_does_passes() {
        let mut plan = plan();
        plan.server = optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 };
        let source = chain(|_| {});
        let mut verified = verify_folder(source.path(), None).unwrap();
        verified.manifests.truncate(2);
        let folder = tempfile::tempdir().unwrap();
        let sum = vec![0; plan.lanes() * 4];
        let initial = plan.initial_model();
        for manifest in &mut verified.manifests {
            (manifest.plan_digest, manifest.optimizer) = (plan.digest(), None);
            let here = folder.path().join(folder_name(manifest.round));
            fs::create_dir(&here).unwrap();
            let metadata = checkpoint::model_metadata(&manifest.run_id, manifest.round);
            let model = checkpoint::model_bytes(&initial, &metadata);
            manifest.model = ModelArtifact::of(&model, initial.digest());
            fs::write(here.join(MODEL_FILE), model).unwrap();
        }
        // No sum, no check.
        verified.manifests[1].aggregate_digest = Some(protocol::aggregate_digest(&sum));
        assert_eq!(check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap(), Vec::<u64>::new());
        // Version 0 is what the plan says.
        let honest = verified.manifests[0].model.params_digest;
        verified.manifests[0].model.params_digest = Digest::sha256(b"backdoor");
        let why = check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap_err().to_string();
        assert!(why.contains("000000/model.safetensors") && why.contains("begins with"), "{why}");
        verified.manifests[0].model.params_digest = honest;
        // A sum of nothing moves nothing.
        let file = folder.path().join(folder_name(1)).join(AGGREGATE_FILE);
        fs::write(&file, &sum).unwrap();
        assert_eq!(check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap(), [1]);
        let honest = verified.manifests[1].model.params_digest;
        verified.manifests[1].model.params_digest = Digest::sha256(b"backdoor");
        let why = check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap_err().to_string();
        assert!(why.contains("000001/model.safetensors") && why.contains("does not follow"), "{why}");
        verified.manifests[1].model.params_digest = honest;
        fs::write(&file, vec![1; sum.len()]).unwrap();
        let why = check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap_err().to_string();
        assert!(why.contains("not the one that the record"), "{why}");
        verified.manifests[1].plan_digest = Digest::sha256(b"another");
        let why = check_steps(&Plain::new(folder.path()), &verified, &plan).unwrap_err().to_string();
        assert!(why.contains("another plan"), "{why}");
    }
}
