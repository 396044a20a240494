use std::collections::BTreeSet;

use tempfile::tempdir;

use super::*;
use crate::samples::{
    ORIGIN, event, events, files, key, log_key, open, published, rewritten, silo, write_all,
};
use crate::verify_log;

fn reopen_fails(folder: &Path) -> LogError {
    let before = files(folder);
    let why = Log::open(folder, ORIGIN, key()).unwrap_err();
    assert_eq!(files(folder), before, "a refused opening changes nothing: {why}");
    why
}

#[test]
fn entries_read_back_before_and_after_publishing_and_opening_again() {
    let scratch = tempdir().unwrap();
    let mut log = open(scratch.path());
    assert_eq!(log.append(&events(0..300)).unwrap(), 0..300);
    assert_eq!(log.append(&[]).unwrap(), 300..300);
    assert_eq!(log.append(&events(300..530)).unwrap(), 300..530);
    let expected: Vec<Vec<u8>> = events(0..530).iter().map(|event| event.encode().unwrap()).collect();
    for again in 0..2 {
        for range in [0..0, 0..1, 255..257, 500..530, 530..530, 0..530, 511..513] {
            let slice = &expected[range.start as usize..range.end as usize];
            assert_eq!(log.entries(range.clone()).unwrap(), slice, "{range:?}, {again}");
        }
        assert!(matches!(log.entries(0..531), Err(LogError::Outside { index: 530, size: 530 })));
        log.publish().unwrap();
        drop(log);
        log = open(scratch.path());
        assert_eq!((log.size(), log.published_size()), (530, 530));
    }
}

#[test]
fn every_published_entry_has_a_receipt_that_verifies_and_no_other_has() {
    let scratch = tempdir().unwrap();
    let mut log = published(scratch.path(), 300);
    log.append(&events(300..301)).unwrap();
    for index in 0..300 {
        let receipt = Receipt::parse(&log.prove_inclusion(index).unwrap()).unwrap();
        assert_eq!(receipt.index, index);
        receipt.verify(&event(index).encode().unwrap(), &log_key()).unwrap();
        assert!(receipt.verify(&event(index + 1).encode().unwrap(), &log_key()).is_err());
    }
    assert!(matches!(log.prove_inclusion(300), Err(LogError::Outside { index: 300, size: 300 })));
}

#[test]
fn checkpoints_of_one_log_are_consistent_whatever_was_published_between() {
    let scratch = tempdir().unwrap();
    let mut log = open(scratch.path());
    let mut seen: Vec<Checkpoint> = Vec::new();
    for size in [0, 1, 255, 256, 257, 600] {
        log.append(&events(log.size()..size)).unwrap();
        let (checkpoint, _) = Checkpoint::open(&log.publish().unwrap(), &log_key()).unwrap();
        seen.push(checkpoint);
        for (at, old) in seen.iter().enumerate() {
            for new in &seen[at..] {
                let proof = log.prove_consistency(old.size, new.size).unwrap();
                assert!(verify_consistency(old.size, &old.root, new.size, &new.root, &proof));
            }
        }
    }
    assert!(matches!(log.prove_consistency(1, 601), Err(LogError::Outside { .. })));
    assert!(matches!(log.prove_consistency(2, 1), Err(LogError::Outside { .. })));
}

#[test]
fn exactly_the_tiles_of_the_published_tree_and_its_full_ones_lie_in_the_folder() {
    let scratch = tempdir().unwrap();
    let mut log = open(scratch.path());
    for size in [1, 5, 200, 255, 256, 257, 300, 513] {
        log.append(&events(log.size()..size)).unwrap();
        log.publish().unwrap();
        let names = |path: &PathBuf| path.strip_prefix(scratch.path()).unwrap().to_str().unwrap().to_owned();
        let found: BTreeSet<String> = files(scratch.path()).keys().map(names).collect();
        let mut expected: BTreeSet<String> = Tile::of_tree(size).map(|tile| tile.to_string()).collect();
        expected.extend(["checkpoint", "journal", "lock"].map(String::from));
        assert_eq!(found, expected, "size {size}");
    }
}

#[test]
fn full_tiles_are_never_written_again() {
    let scratch = tempdir().unwrap();
    let mut log = published(scratch.path(), 256);
    let tile = scratch.path().join("tile/0/000");
    let written = fs::metadata(&tile).unwrap().modified().unwrap();
    log.append(&events(256..600)).unwrap();
    log.publish().unwrap();
    drop(log);
    open(scratch.path());
    assert_eq!(fs::metadata(&tile).unwrap().modified().unwrap(), written);
}

#[test]
fn missing_tiles_are_written_again_from_the_journal_byte_for_byte() {
    let scratch = tempdir().unwrap();
    let mut log = published(scratch.path(), 300);
    log.append(&events(300..600)).unwrap();
    drop(log);
    let before = files(scratch.path());
    fs::remove_dir_all(scratch.path().join("tile")).unwrap();
    let log = open(scratch.path());
    assert_eq!(files(scratch.path()), before);
    assert!(log.prove_inclusion(299).is_ok());
    verify_log(scratch.path(), &log_key(), &[]).unwrap();
}

#[test]
fn a_crash_between_any_two_files_of_a_publishing_loses_nothing() {
    // Publishing writes partial tiles, then the checkpoint, then removes the old partial tiles.
    let scratch = tempdir().unwrap();
    drop(published(scratch.path(), 300));
    let before = files(scratch.path());
    let mut log = open(scratch.path());
    log.append(&events(300..700)).unwrap();
    log.publish().unwrap();
    drop(log);
    let after = files(scratch.path());
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).cloned().collect();
    assert!(new.len() >= 4, "{new:?}");
    for cut in 0..=new.len() {
        // The old files, the new journal, and some of the new tiles.
        let crashed = tempdir().unwrap();
        let journal = scratch.path().join(JOURNAL);
        let written = before.iter().filter(|(path, _)| **path != journal);
        let written = written.chain(after.get_key_value(&journal));
        let written = written.chain(new[..cut].iter().filter_map(|path| after.get_key_value(path)));
        let written = written.map(|(path, bytes)| (path.clone(), bytes.clone())).collect();
        write_all(&written, scratch.path(), crashed.path());
        let mut log = open(crashed.path());
        assert_eq!((log.size(), log.published_size()), (700, 300));
        log.publish().unwrap();
        assert_eq!(verify_log(crashed.path(), &log_key(), &[]).unwrap().checkpoint.size, 700);
    }
}

#[test]
fn a_journal_rolled_back_behind_its_checkpoint_is_refused() {
    let scratch = tempdir().unwrap();
    let mut log = published(scratch.path(), 10);
    let old = fs::read(scratch.path().join(JOURNAL)).unwrap();
    log.append(&events(10..20)).unwrap();
    log.publish().unwrap();
    drop(log);
    fs::write(scratch.path().join(JOURNAL), old).unwrap();
    let why = reopen_fails(scratch.path());
    assert!(matches!(why, LogError::RolledBack { found: 10, published: 20, .. }), "{why}");
    fs::remove_file(scratch.path().join(JOURNAL)).unwrap();
    let why = reopen_fails(scratch.path());
    assert!(matches!(why, LogError::RolledBack { found: 0, published: 20, .. }), "{why}");
}

#[test]
fn a_rewritten_journal_is_refused_even_when_it_is_whole_and_longer() {
    let scratch = tempdir().unwrap();
    drop(published(&scratch.path().join("log"), 300));
    drop(rewritten(&scratch.path().join("other"), 400, 17));
    fs::copy(scratch.path().join("other/journal"), scratch.path().join("log/journal")).unwrap();
    let why = reopen_fails(&scratch.path().join("log"));
    assert!(matches!(why, LogError::Rewritten { published: 300, .. }), "{why}");
}

#[test]
fn a_changed_tile_is_named_at_opening_and_no_proof_is_made_from_it() {
    let scratch = tempdir().unwrap();
    let log = published(scratch.path(), 300);
    // Each tile with an entry and an older size whose proofs read it.
    for (name, index, old) in [
        ("tile/0/000", 0, 40),
        ("tile/0/001.p/44", 0, 40),
        ("tile/1/000.p/1", 299, 280),
        ("tile/entries/000", 0, 40),
    ] {
        let path = scratch.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 1;
        fs::write(&path, bad).unwrap();
        let copy = tempdir().unwrap();
        write_all(&files(scratch.path()), scratch.path(), copy.path());
        let why = reopen_fails(copy.path());
        assert!(matches!(&why, LogError::TileDiffers { path } if path.ends_with(name)), "{why}");
        if !name.contains("entries") {
            let fails = |why: LogError| matches!(why, LogError::Changed { .. });
            assert!(fails(log.prove_inclusion(index).unwrap_err()), "{name}");
            assert!(fails(log.prove_consistency(old, 300).unwrap_err()), "{name}");
        }
        fs::write(&path, good).unwrap();
    }
    assert!(log.prove_inclusion(0).is_ok());
}

#[test]
fn an_edited_checkpoint_another_key_and_another_origin_are_refused() {
    let scratch = tempdir().unwrap();
    drop(published(scratch.path(), 5));
    assert!(matches!(Log::open(scratch.path(), ORIGIN, silo(9).0), Err(LogError::Note(_))));
    assert!(matches!(Log::open(scratch.path(), "another", key()), Err(LogError::Note(_))));
    let path = scratch.path().join(CHECKPOINT);
    let edited = fs::read_to_string(&path).unwrap().replacen("\n5\n", "\n4\n", 1);
    fs::write(&path, edited).unwrap();
    assert!(matches!(reopen_fails(scratch.path()), LogError::Note(NoteError::BadSignature(_))));
}

#[test]
fn one_process_at_a_time_has_a_log_open() {
    let scratch = tempdir().unwrap();
    let log = open(scratch.path());
    assert!(matches!(Log::open(scratch.path(), ORIGIN, key()), Err(LogError::Locked { .. })));
    drop(log);
    open(scratch.path());
}

#[test]
fn cosignatures_stay_with_their_checkpoint_and_are_verified_first() {
    let scratch = tempdir().unwrap();
    let mut log = published(scratch.path(), 5);
    let note = |log: &Log| Note::parse(&log.checkpoint().unwrap()).unwrap();
    let old = note(&log);
    for seed in [3, 4] {
        let (key, witness) = silo(seed);
        let line = old.cosign(witness.name(), &key, 100).unwrap();
        log.add_cosignature(&line, &witness).unwrap();
        assert!(log.add_cosignature(&line, &silo(5).1).is_err(), "another witness's line");
    }
    assert_eq!(log.publish().unwrap(), log.checkpoint().unwrap(), "nothing new, so nothing is signed anew");
    drop(log);
    let mut log = open(scratch.path());
    for seed in [3, 4] {
        assert_eq!(note(&log).verify_cosignature(&silo(seed).1), Ok(100));
    }
    log.append(&events(5..6)).unwrap();
    log.publish().unwrap();
    let line = old.cosign("silo-3", &silo(3).0, 200).unwrap();
    assert!(log.add_cosignature(&line, &silo(3).1).is_err(), "the line is of the checkpoint before");
    assert!(note(&log).verify_cosignature(&silo(3).1).is_err());
}

#[test]
fn an_event_too_long_refuses_the_whole_append_and_the_log_goes_on() {
    let scratch = tempdir().unwrap();
    let mut log = open(scratch.path());
    let mut long = event(0);
    long.details.insert("x".into(), "a".repeat(65_535));
    assert!(matches!(log.append(&[event(0), long]), Err(LogError::Event(EventError::TooLong(_)))));
    assert_eq!(log.append(&[event(0)]).unwrap(), 0..1);
}

#[test]
fn after_a_failed_write_nothing_is_written_until_it_is_opened_again() {
    let scratch = tempdir().unwrap();
    let mut log = open(scratch.path());
    // A file in the place of a folder: the bundle cannot be written.
    fs::write(scratch.path().join("tile"), "").unwrap();
    assert!(matches!(log.append(&events(0..256)), Err(LogError::Folder(_))));
    assert!(matches!(log.append(&events(0..1)), Err(LogError::Failed { .. })));
    assert!(matches!(log.publish(), Err(LogError::Failed { .. })));
    drop(log);
    fs::remove_file(scratch.path().join("tile")).unwrap();
    let mut log = open(scratch.path());
    assert_eq!(log.size(), 256, "the journal had them");
    log.publish().unwrap();
    verify_log(scratch.path(), &log_key(), &[]).unwrap();
}

#[test]
fn debug_output_does_not_show_the_key() {
    let scratch = tempdir().unwrap();
    let shown = format!("{:?}", open(scratch.path()));
    assert!(!shown.contains(&format!("{:?}", key().to_bytes())), "{shown}");
    assert!(!shown.contains("01010101") && !shown.contains("1, 1, 1, 1"), "{shown}");
}
