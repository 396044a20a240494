//! Before a run, and after it: canaries in a silo's folder, then an attack on the chain that the run left.

use checkpoint::{
    CHECKPOINTS_FOLDER, MANIFEST_FILE, MANIFEST_FORMAT, MODEL_FILE, Manifest, ModelArtifact, PrivacySpent,
    SIGNATURE_FILE, SignedManifest,
};
use datasets::digits;
use ed25519_dalek::SigningKey;
use params::Digest;
use protocol::aggregate_digest;
use rehearsal::Rehearsal;

use super::report::Verdict;
use super::*;

/// Rounds of the demonstration's plan that are run: without noise three are enough.
const ROUNDS: u64 = 3;

/// A silo inserts canaries, the run trains, its chain is written as a coordinator writes it.
fn run_with_canaries(plan: &Plan, noise: Noise, folder: &Path) -> PathBuf {
    let (table, secret) = (folder.join("canaries.csv"), folder.join("canaries.json"));
    insert(plan, &table, &secret, 200).unwrap();
    let silos: Vec<Dataset> = (0..5)
        .map(|silo| {
            let own = digits::table(digits::silo_rows(silo, 5));
            let mut tables = vec![("own", own.into_bytes())];
            // They are one silo's.
            if silo == 0 {
                tables.push(("canaries", fs::read(&table).unwrap()));
            }
            let readers = tables.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
            Dataset::from_csvs(readers, &plan.data).unwrap()
        })
        .collect();
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut run = Rehearsal::new(plan, &silos, noise, [3; 32]).unwrap();
    let mut parent: Option<(SignedManifest, Digest)> = None;
    for round in 0..=ROUNDS {
        if round > 0 {
            run.round().unwrap();
        }
        let sum: Vec<u8> = run.sum().iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let run_id = Digest::sha256(b"run");
        let model = checkpoint::model_bytes(run.params(), &checkpoint::model_metadata(&run_id, round));
        let ids: Vec<u32> = if round == 0 { Vec::new() } else { (1..=5).collect() };
        let manifest = Manifest {
            format: MANIFEST_FORMAT.into(),
            run_id,
            run_name: plan.name.clone(),
            round,
            attempt: 1,
            action: None,
            parent: parent.as_ref().map(|(signed, _)| signed.digest()),
            plan_digest: plan.digest(),
            roster_digest: run_id,
            parent_model: parent.as_ref().map(|(_, model)| *model),
            model: ModelArtifact {
                file: MODEL_FILE.into(),
                sha256: Digest::sha256(&model),
                bytes: model.len() as u64,
                params_digest: run.params().digest(),
            },
            optimizer: None,
            transcript: None,
            cohort: ids.clone(),
            shared: ids.clone(),
            included: ids,
            left_out: Vec::new(),
            aggregate_digest: (round > 0).then(|| aggregate_digest(&sum)),
            metrics: Default::default(),
            privacy: PrivacySpent {
                mode: plan.mode().name().into(),
                unit: plan.mode().unit().into(),
                relation: plan.mode().relation().into(),
                epsilon: Some(round as f64 / 2.0),
                delta: Some(1e-5),
                accountant: "rdp".into(),
                steps: round,
                noise_by: plan.mode().noise_by().into(),
                trust: plan.trust(),
            },
            created_ms: 1_000 + round,
            previous_rounds_aborted: Vec::new(),
            public_key: checkpoint::public_key_text(&key.verifying_key()),
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
    secret
}

#[test]
fn a_finished_run_is_audited_by_the_canaries_that_were_put_in_before_it() {
    let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
    let own = tempfile::tempdir().unwrap();
    let members = own.path().join("members.csv");
    fs::write(&members, digits::table(digits::training_rows())).unwrap();
    for (noise, verdict) in
        [(Noise::AsPlanned, Verdict::NotContradicted), (Noise::Off, Verdict::Contradicted)]
    {
        let folder = tempfile::tempdir().unwrap();
        let secret = run_with_canaries(&plan, noise, folder.path());
        let report = finished(&plan, folder.path(), &secret, Some(&members), 0.95).unwrap();
        assert_eq!(report.verdict, verdict, "{noise:?}: {}", report.text());
        assert_eq!(
            (report.claim.epsilon, report.guesses),
            (Some(1.5), 100),
            "what was spent is what is claimed"
        );
    }
}

#[test]
fn canaries_of_another_plan_and_files_that_exist_are_refused() {
    let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (table, secret) = (folder.path().join("canaries.csv"), folder.path().join("canaries.json"));
    insert(&plan, &table, &secret, 80).unwrap();
    let again = insert(&plan, &table, &secret, 80).unwrap_err();
    assert!(again.to_string().contains("canaries.json"), "the coins are not tossed again: {again}");
    let other = demo_plan(PrivacyMode::DistributedDpSgd, 5, Some(7), None).unwrap();
    let why = Canaries::read(&secret, &other).unwrap_err().to_string();
    assert!(why.contains("made for another plan"), "{why}");
    let why = finished(&plan, folder.path(), &secret, Some(&table), 0.95).unwrap_err().to_string();
    assert!(why.contains("--members holds canaries"), "what is known must not tell the coins: {why}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&secret).unwrap());
    assert_eq!(mode & 0o777, 0o600, "who reads it can tell what is in");
}

#[test]
fn a_canary_is_held_to_twice_the_sensitivity_where_silos_are_the_unit() {
    use report::Claim;
    for (mode, factor) in [
        (PrivacyMode::DistributedDpSgd, 1.0),
        (PrivacyMode::SiloDpSgd, 1.0),
        (PrivacyMode::DistributedDpFedavg, 2.0),
        (PrivacyMode::CentralDpFedavg, 2.0),
    ] {
        let plan = demo_plan(mode, 5, None, None).unwrap();
        let claim = Claim::of(&plan).unwrap();
        let (sampling_rate, noise, steps) = plan.event().unwrap().parts();
        assert_eq!(sampling_rate, 1.0);
        let mut curve = accounting::RdpCurve::zero();
        let noise_multiplier = noise / factor;
        curve.compose(&accounting::Event::Gaussian { noise_multiplier }, steps * plan.rounds).unwrap();
        let expected = curve.epsilon(1e-5).unwrap().epsilon;
        let (epsilon, of_a_canary) = (claim.epsilon.unwrap(), claim.epsilon_of_a_canary.unwrap());
        assert!((of_a_canary / expected - 1.0).abs() < 1e-9, "{mode:?}: {of_a_canary} {expected}");
        assert_eq!(of_a_canary > epsilon, factor > 1.0, "{mode:?}");
    }
}
