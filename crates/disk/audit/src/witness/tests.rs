use std::fs;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::Log;
use crate::samples::{events, files, log_key, open, rewritten, silo};

/// An honest log of 20 entries whose witness has seen 10.
struct Sample {
    scratch: TempDir,
    log: Log,
    early: String,
    witness: Witness,
}

impl Sample {
    fn new() -> Self {
        let scratch = tempdir().unwrap();
        let mut log = open(&scratch.path().join("log"));
        log.append(&events(0..10)).unwrap();
        let early = log.publish().unwrap();
        let mut witness = Witness::open(&scratch.path().join("witness"), log_key()).unwrap();
        observe(&mut witness, &early, &[]).unwrap();
        log.append(&events(10..20)).unwrap();
        log.publish().unwrap();
        Self { scratch, log, early, witness }
    }

    fn evidence(&self) -> Vec<String> {
        let names = files(self.scratch.path()).into_keys().map(|path| path.file_name().unwrap().to_owned());
        let names = names.map(|name| name.into_string().unwrap());
        names.filter(|name| name.starts_with("equivocation-")).collect()
    }
}

fn observe(witness: &mut Witness, note: &str, proof: &[Hash]) -> Result<String, WitnessError> {
    witness.observe(note, proof, &silo(3).0, "silo-3", 500)
}

#[test]
fn a_log_that_grows_is_cosigned_and_the_log_takes_the_line() {
    let mut sample = Sample::new();
    let proof = sample.log.prove_consistency(sample.witness.size(), 20).unwrap();
    let line = observe(&mut sample.witness, &sample.log.checkpoint().unwrap(), &proof).unwrap();
    sample.log.add_cosignature(&line, &silo(3).1).unwrap();
    let note = sample.log.checkpoint().unwrap();
    assert_eq!(cosignatures_by(&note, &[silo(3).1, silo(4).1]).unwrap(), [("silo-3".into(), 500)]);
    assert_eq!(sample.witness.size(), 20);
    // The same again is cosigned again, with its own time.
    let later = sample.witness.observe(&note, &[], &silo(3).0, "silo-3", 501).unwrap();
    assert_ne!(later, line);
    assert_eq!(sample.evidence(), Vec::<String>::new());
}

#[test]
fn what_was_seen_is_on_disk_before_a_cosignature_is_given_and_survives() {
    let mut sample = Sample::new();
    let proof = sample.log.prove_consistency(10, 20).unwrap();
    let note = sample.log.checkpoint().unwrap();
    observe(&mut sample.witness, &note, &proof).unwrap();
    let again = Witness::open(&sample.scratch.path().join("witness"), log_key()).unwrap();
    assert_eq!(again.size(), 20);

    // Where it cannot be written, nothing is cosigned.
    let nowhere = sample.scratch.path().join("no-such-folder/witness");
    let mut forgetful = Witness::open(&nowhere, log_key()).unwrap();
    assert!(matches!(observe(&mut forgetful, &note, &[]), Err(WitnessError::Folder(_))));
    assert_eq!(forgetful.size(), 0);
}

#[test]
fn a_rewritten_history_is_refused_and_both_notes_are_kept() {
    let mut sample = Sample::new();
    for (size, index) in [(10, 3), (20, 3), (9, 3)] {
        let folder = sample.scratch.path().join(format!("forged-{size}"));
        let forged = rewritten(&folder, size, index);
        let note = forged.checkpoint().unwrap();
        let proof = if size > 10 { forged.prove_consistency(10, size).unwrap() } else { vec![] };
        let why = observe(&mut sample.witness, &note, &proof).unwrap_err();
        let WitnessError::Contradiction { seen, offered, evidence, .. } = &why else { panic!("{why}") };
        assert_eq!((seen.size, offered.size), (10, size));
        let kept = fs::read_to_string(evidence).unwrap();
        assert!(kept.contains(&sample.early) && kept.contains(&note), "{kept}");
        assert!(
            why.to_string().contains("size 10") && why.to_string().contains(&format!("size {size}")),
            "{why}"
        );
        assert_eq!(sample.witness.size(), 10, "nothing of it is remembered");
    }
    assert_eq!(sample.evidence().len(), 3);
    // The honest log goes on.
    let proof = sample.log.prove_consistency(10, 20).unwrap();
    observe(&mut sample.witness, &sample.log.checkpoint().unwrap(), &proof).unwrap();
}

#[test]
fn a_shorter_log_and_a_spoilt_proof_are_refused() {
    let mut sample = Sample::new();
    let note = sample.log.checkpoint().unwrap();
    let mut proof = sample.log.prove_consistency(10, 20).unwrap();
    proof[0][0] ^= 1;
    assert!(matches!(observe(&mut sample.witness, &note, &proof), Err(WitnessError::Contradiction { .. })));
    assert!(matches!(observe(&mut sample.witness, &note, &[]), Err(WitnessError::Contradiction { .. })));
    let proof = sample.log.prove_consistency(10, 20).unwrap();
    observe(&mut sample.witness, &note, &proof).unwrap();
    // The log's own earlier checkpoint, once a later one is known.
    let early = sample.early.clone();
    assert!(matches!(observe(&mut sample.witness, &early, &[]), Err(WitnessError::Contradiction { .. })));
}

#[test]
fn the_same_contradiction_is_kept_once_and_no_more_than_a_hundred_are() {
    let mut sample = Sample::new();
    let forged = rewritten(&sample.scratch.path().join("forged"), 10, 3).checkpoint().unwrap();
    for _ in 0..3 {
        observe(&mut sample.witness, &forged, &[]).unwrap_err();
    }
    assert_eq!(sample.evidence(), ["equivocation-1.txt"]);
    for n in 0..110 {
        observe(&mut sample.witness, &forged, &[[n; 32]]).unwrap_err();
    }
    assert_eq!(sample.evidence().len(), 100);
}

#[test]
fn a_checkpoint_of_another_log_or_without_its_signature_is_no_contradiction() {
    let mut sample = Sample::new();
    let stranger =
        Log::open(&sample.scratch.path().join("stranger"), "stranger", silo(9).0).unwrap().publish().unwrap();
    let edited = sample.early.replacen("\n10\n", "\n11\n", 1);
    for note in [stranger, edited, String::new()] {
        assert!(matches!(observe(&mut sample.witness, &note, &[]), Err(WitnessError::Note(_))));
    }
    assert_eq!(sample.evidence(), Vec::<String>::new());
}

#[test]
fn a_damaged_or_foreign_memory_is_refused_and_left_alone() {
    let sample = Sample::new();
    let file = sample.scratch.path().join("witness");
    for bad in [String::new(), sample.early.replacen("\n10\n", "\n9\n", 1), "\u{1}".into()] {
        fs::write(&file, &bad).unwrap();
        assert!(matches!(Witness::open(&file, log_key()), Err(WitnessError::Memory { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), bad);
    }
    fs::write(&file, &sample.early).unwrap();
    let other = VerifierKey::new("another", *log_key().key()).unwrap();
    assert!(matches!(Witness::open(&file, other), Err(WitnessError::Memory { .. })));
}
