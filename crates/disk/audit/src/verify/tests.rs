use tempfile::tempdir;
use tlog::{TILE_WIDTH, TileRow};

use super::*;
use crate::samples::{ORIGIN, event, files, key, log_key, published, rewritten, silo};
use crate::{Event, Status};

fn verify(folder: &Path) -> Result<Report, VerifyError> {
    verify_log(folder, &log_key(), &[])
}

fn checkpoint(folder: &Path) -> Checkpoint {
    verify(folder).unwrap().checkpoint
}

#[test]
fn logs_of_every_kind_of_edge_verify_and_every_tile_is_recomputed() {
    for size in [0, 1, 255, 256, 257, 600] {
        let scratch = tempdir().unwrap();
        published(scratch.path(), size);
        let report = verify(scratch.path()).unwrap();
        assert_eq!(report.checkpoint.size, size);
        assert_eq!(report.tiles, Tile::of_tree(size).count() as u64);
        assert_eq!(report.times_ms, (size > 0).then(|| (1000, 999 + size)));
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_found_and_the_file_or_entry_named() {
    let scratch = tempdir().unwrap();
    published(scratch.path(), 300);
    std::fs::remove_file(scratch.path().join("journal")).unwrap();
    std::fs::remove_file(scratch.path().join("lock")).unwrap();
    for (path, good) in files(scratch.path()) {
        let name = path.strip_prefix(scratch.path()).unwrap().to_str().unwrap().to_owned();
        let step = if good.len() > 1000 { 97 } else { 7 };
        for at in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            let why = verify(scratch.path()).unwrap_err();
            let named = match &why {
                VerifyError::Checkpoint { .. } => name == "checkpoint",
                VerifyError::Tile { tile } => tile.to_string() == name,
                VerifyError::Folder(FolderError::Tile(why)) => why.to_string().contains(&name),
                VerifyError::Entry { index } => {
                    let bundle = Tile { row: TileRow::Entries, ..Tile::of_entry(*index, 300) };
                    bundle.to_string() == name && index / TILE_WIDTH == bundle.index
                }
                _ => false,
            };
            assert!(named, "byte {at} of {name}: {why}");
        }
        std::fs::write(&path, good).unwrap();
    }
    verify(scratch.path()).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let scratch = tempdir().unwrap();
    published(scratch.path(), 300);
    let tiles: Vec<String> = Tile::of_tree(300).map(|tile| tile.to_string()).collect();
    for name in tiles.iter().map(String::as_str).chain([CHECKPOINT]) {
        let path = scratch.path().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let why = verify(scratch.path()).unwrap_err();
        assert!(why.to_string().contains(name), "{name}: {why}");
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn an_entry_rewritten_with_its_tiles_is_found_by_the_signed_root() {
    let scratch = tempdir().unwrap();
    let (honest, other) = (scratch.path().join("honest"), scratch.path().join("other"));
    published(&honest, 300);
    rewritten(&other, 300, 17);
    std::fs::copy(honest.join(CHECKPOINT), other.join(CHECKPOINT)).unwrap();
    assert!(matches!(verify(&other), Err(VerifyError::Root { size: 300 })));
    // With the leaf hashes of the honest log the entry itself is named.
    std::fs::copy(honest.join("tile/0/000"), other.join("tile/0/000")).unwrap();
    assert!(matches!(verify(&other), Err(VerifyError::Entry { index: 17 })));
}

#[test]
fn a_history_rewritten_and_signed_again_is_caught_by_a_checkpoint_seen_before() {
    let scratch = tempdir().unwrap();
    let (honest, other) = (scratch.path().join("honest"), scratch.path().join("other"));
    let mut log = published(&honest, 200);
    let before = checkpoint(&honest);
    log.append(&crate::samples::events(200..300)).unwrap();
    log.publish().unwrap();
    verify_log(&honest, &log_key(), std::slice::from_ref(&before)).unwrap();

    rewritten(&other, 300, 17);
    verify(&other).unwrap();
    let why = verify_log(&other, &log_key(), std::slice::from_ref(&before)).unwrap_err();
    assert!(matches!(why, VerifyError::Forked { size: 200 }), "{why}");
    // What was rewritten lies behind the older checkpoint.
    let late = scratch.path().join("late");
    rewritten(&late, 300, 250);
    verify_log(&late, &log_key(), std::slice::from_ref(&before)).unwrap();
    let why = verify_log(&late, &log_key(), &[before, checkpoint(&honest)]).unwrap_err();
    assert!(matches!(why, VerifyError::Forked { size: 300 }), "{why}");
}

#[test]
fn a_log_cut_short_and_signed_again_is_caught_by_a_longer_checkpoint() {
    let scratch = tempdir().unwrap();
    let (long, short) = (scratch.path().join("long"), scratch.path().join("short"));
    published(&long, 300);
    published(&short, 299);
    let why = verify_log(&short, &log_key(), &[checkpoint(&long)]).unwrap_err();
    assert!(matches!(why, VerifyError::Shorter { size: 299, other: 300 }), "{why}");
}

#[test]
fn another_key_does_not_verify() {
    let scratch = tempdir().unwrap();
    published(scratch.path(), 3);
    let stranger = VerifierKey::new(ORIGIN, *silo(9).1.key()).unwrap();
    assert!(matches!(verify_log(scratch.path(), &stranger, &[]), Err(VerifyError::Checkpoint { .. })));
}

#[test]
fn a_signed_entry_that_is_no_event_is_named() {
    let scratch = tempdir().unwrap();
    let mut grown = Grown::default();
    let mut entries: Vec<Vec<u8>> = (0..3).map(|n| event(n).encode().unwrap()).collect();
    entries[1].push(b' ');
    for entry in &entries {
        grown.push(entry).unwrap();
    }
    for (tile, bytes) in grown.partials().unwrap() {
        folder::write(scratch.path(), &tile.to_string(), &bytes).unwrap();
    }
    let signed = Checkpoint { origin: ORIGIN.into(), size: 3, root: grown.edge.root() };
    let note = Note::sign(signed.text(), ORIGIN, &key()).unwrap();
    folder::write(scratch.path(), CHECKPOINT, note.to_string().as_bytes()).unwrap();
    assert!(matches!(verify(scratch.path()), Err(VerifyError::NotAnEvent { index: 1, .. })));
}

#[test]
fn an_export_holds_by_itself_has_no_journal_and_overwrites_nothing() {
    let scratch = tempdir().unwrap();
    let (log, out) = (scratch.path().join("log"), scratch.path().join("out"));
    let mut open = published(&log, 300);
    open.append(&[Event { status: Status::Refused, ..event(300) }]).unwrap();
    assert_eq!(export(&log, &out).unwrap().size, 300);
    verify(&out).unwrap();
    assert_eq!(files(&out).len(), Tile::of_tree(300).count() + 1);
    assert!(export(&log, &out).is_err());
    assert_eq!(read_entries(&out, 298..500).unwrap(), open.entries(298..300).unwrap());
}
