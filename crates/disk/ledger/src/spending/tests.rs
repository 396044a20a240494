//! What a ledger's spending says, and to whom.

use std::fs;
use std::path::PathBuf;

use vault::Vault;

use super::*;
use crate::{Ledger, find, samples};

fn ledger(folder: &Path, anchor: Option<PathBuf>) -> PathBuf {
    samples::spent(folder, anchor);
    find(folder).unwrap()
}

#[test]
fn runs_are_shown_apart_and_composed_and_the_total_is_more_than_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let shown = Spending::of(&file, None, None).unwrap();
    assert_eq!((shown.entries, shown.runs.len(), shown.total.debits), (3, 2, 3));
    assert_eq!(shown.total.delta, 1e-6, "the policy's");
    let [pld] = &shown.total.approximations[..] else { panic!("left out: {:?}", shown.total.left_out) };
    assert!(pld.epsilon < shown.total.epsilon);
    let epsilons: Vec<f64> = shown.runs.iter().map(|run| run.spent.epsilon).collect();
    assert!(epsilons[0] > epsilons[1] && shown.total.epsilon > epsilons[0], "{epsilons:?}");
    assert_eq!(
        (&*shown.dataset, shown.runs[0].relation),
        ("admissions", Some(accounting::Relation::AddRemoveOne))
    );
    assert!(Spending::of(&file, None, Some(2.0)).is_err());
}

#[test]
fn what_runs_that_are_not_over_have_claimed_is_shown_beside_what_was_spent_and_is_not_among_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let spent = Spending::of(&file, None, None).unwrap().total.epsilon;
    let ledger = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    for run in ["a", "over"] {
        ledger.claim(samples::claim(run, 5), &samples::CLAIM_LIMITS, 10).unwrap();
    }
    let over = Digest::sha256(b"over");
    assert!(ledger.return_claim("silo", &over, "the run is over", 11).unwrap());
    let shown = Spending::of(&file, None, None).unwrap();
    assert_eq!(shown.total.epsilon, spent);
    let [claim] = &shown.claims[..] else { panic!("{:?}", shown.claims) };
    assert_eq!(
        (&*claim.name, claim.made, claim.uploads_left, claim.until_ms),
        ("a", 3, 2, 10 + 24 * 3_600_000),
        "the runs of one plan use its claim up together"
    );
    assert!(claim.epsilon_left.unwrap() > 0.0);
}

fn opened_by_hand(label: &str, secret: &str, version: &Digest) -> Digest {
    let secret = hex::decode(secret).unwrap();
    let parts: [&[u8]; 3] = [label.as_bytes(), &secret, version.as_bytes()];
    let bytes: Vec<u8> =
        parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat()).collect();
    Digest::sha256(&bytes)
}

/// Commits to a version, and writes that down.
fn declare(ledger: &Ledger, run: &Digest, version: &Digest) -> Digest {
    ledger.declare("silo", run, Statement::Version(*version)).unwrap();
    ledger.commitment("silo", run, version).unwrap()
}

#[test]
fn what_was_declared_in_each_run_is_opened_with_its_nonce_and_nothing_where_none_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = ledger(folder.path(), None);
    let random = Spending::of(&file, None, None).unwrap();
    assert!(random.commitments.is_empty() && random.runs.iter().all(|run| run.commitments.is_empty()));
    let version = Digest::sha256(b"data");
    let ledger = Ledger::new(folder.path(), "admissions", None, None).unwrap();
    let shown = |run: &str| declare(&ledger, &Digest::sha256(run.as_bytes()), &version);
    let declared = ["a", "b"].map(shown);
    let shown = Spending::of(&file, None, None).unwrap();
    for (run, declared) in shown.runs.iter().zip(declared) {
        let [opened] = &run.commitments[..] else { panic!("one version, whatever the number of rounds") };
        assert_eq!((&opened.commitment, &opened.version), (&declared.to_string(), &version.to_string()));
        // As the help says, by hand.
        assert_eq!(opened_by_hand("folkmoot/v2/data-version", &opened.nonce, &version), declared);
    }
    // And what the first release would have declared, for its cards.
    let [first] = &shown.commitments[..] else { panic!("one version, whatever the number of runs") };
    let by_hand = opened_by_hand("folkmoot/v1/data-version", &first.salt, &version);
    assert_eq!(first.commitment, by_hand.to_string());
}

#[test]
fn what_was_declared_in_a_run_without_an_upload_is_opened_too() {
    let folder = tempfile::tempdir().unwrap();
    let (joined, version) = (Digest::sha256(b"joined"), Digest::sha256(b"at joining"));
    let admissions = || Ledger::new(folder.path(), "admissions", None, None).unwrap();
    let declared = declare(&admissions(), &joined, &version);
    let opened = || {
        let shown = Spending::of(&find(folder.path()).unwrap(), None, None).unwrap();
        let [run] = &shown.runs_without_upload[..] else { panic!("one run") };
        let [opened] = &run.commitments[..] else { panic!("one version") };
        assert_eq!(run.run, joined.to_string());
        assert_eq!((&opened.commitment, &opened.version), (&declared.to_string(), &version.to_string()));
        assert_eq!(opened_by_hand("folkmoot/v2/data-version", &opened.nonce, &version), declared);
        shown
    };
    // Before anything was uploaded in any run there is no ledger.
    assert!(!admissions().path().exists());
    assert_eq!((opened().entries, opened().runs.len()), (0, 0));
    ledger(folder.path(), None);
    assert_eq!((opened().entries, opened().runs.len()), (3, 2));
    assert!(Spending::of(&folder.path().join("other.ledger"), None, None).is_err());
}

#[test]
fn a_sealed_silo_opens_its_commitments_with_its_master_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key");
    vault::make_master(&key).unwrap();
    let master = MasterSource::File(key);
    let vault = std::sync::Arc::new(Vault::create(folder.path(), master.clone()).unwrap());
    let sealed = Ledger::new(&folder.path().join("ledger"), "admissions", None, Some(vault)).unwrap();
    let (version, run) = (Digest::sha256(b"data"), Digest::sha256(b"a"));
    let declared = declare(&sealed, &run, &version);
    let (random, word) = (Digest::sha256(b"random"), Digest::sha256(b"word"));
    sealed.declare("silo", &random, Statement::Random(word)).unwrap();
    let shown = Spending::of(sealed.path(), Some(&master), None).unwrap();
    let [first, second] = &shown.runs_without_upload[..] else { panic!("two runs") };
    let (declared_in, random_in) =
        if first.run == run.to_string() { (first, second) } else { (second, first) };
    assert_eq!(
        (&declared_in.commitments[0].commitment, declared_in.random_words.len()),
        (&declared.to_string(), 0)
    );
    // So that an auditor with the card tells the silo's own word from another's.
    let [word_of] = &random_in.random_words[..] else { panic!("one word") };
    assert_eq!((&*word_of.daemon, &word_of.word), ("silo", &word.to_string()));
    assert!(random_in.commitments.is_empty());
    assert!(
        !fs::read_to_string(folder.path().join("ledger/admissions.declared"))
            .unwrap()
            .contains(&version.to_string())
    );
    sealed.reserve(samples::release("a", 1), None, &samples::LIMITS, 1).unwrap();
    let shown = Spending::of(sealed.path(), Some(&master), None).unwrap();
    let [opened] = &shown.runs[0].commitments[..] else { panic!("one version") };
    assert_eq!((&opened.commitment, &opened.version), (&declared.to_string(), &version.to_string()));
    let salt = fs::read_to_string(folder.path().join("ledger/admissions.salt")).unwrap();
    assert!(!salt.contains(&shown.commitments[0].salt));
    let Err(why) = Spending::of(sealed.path(), None, None) else { panic!("shown without the key") };
    assert!(matches!(why, ReadError::Sealed { .. }), "{why}");
}
