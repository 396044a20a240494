//! Audit logs that others keep: their texts, their tiles' entries, their proofs.

use audit::Event;
use tlog::{
    Checkpoint, Hash, Note, Receipt, Tile, TileRow, VerifierKey, decode_bundle, encode_bundle, leaf_hash,
    verify_consistency, verify_inclusion,
};

use super::seeds::signing_key;

/// The log of the seeds.
pub(crate) fn log_key() -> VerifierKey {
    VerifierKey::new("log", signing_key(99).verifying_key()).expect("a name")
}

/// Notes, checkpoints, receipts, keys: whatever the text is.
pub(crate) fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let log = log_key();
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text, "one content, one spelling");
        let _ = (note.verify(&log), note.verify_cosignature(&log));
        if let Ok((checkpoint, _)) = Checkpoint::open(text, &log) {
            assert!(note.text().starts_with(&checkpoint.text()));
        }
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
    if let Ok(receipt) = Receipt::parse(text) {
        assert_eq!(Receipt::parse(&receipt.to_string()).as_ref(), Ok(&receipt));
        assert!(receipt.verify(b"second", &log).is_err() || receipt.verify(b"third", &log).is_err());
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
}

/// A bundle of entries, and one entry.
pub(crate) fn entries(bytes: &[u8]) {
    if let Some(entries) = decode_bundle(bytes) {
        assert_eq!(encode_bundle(&entries).expect("they were short enough"), bytes);
        let tile = Tile { row: TileRow::Entries, index: 0, width: 2 };
        assert_eq!(tile.entries(bytes).is_ok(), entries.len() == 2);
    }
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(event.encode().expect("it was valid"), bytes, "one content, one spelling");
    }
}

/// Two numbers and hashes: what proves one leaf, or one tree, proves no other.
pub(crate) fn proofs(bytes: &[u8]) {
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((index, rest)) = rest.split_first_chunk::<8>() else { return };
    let (hashes, _) = rest.as_chunks::<32>();
    let [first, second, proof @ ..] = hashes else { return };
    let (size, index) = (u64::from_be_bytes(*size), u64::from_be_bytes(*index));
    let other: Hash = leaf_hash(first);
    if verify_inclusion(size, second, index, first, proof) {
        assert!(index < size && !verify_inclusion(size, second, index, &other, proof));
    }
    if verify_consistency(index, first, size, second, proof) {
        assert!(index <= size && !verify_consistency(index, &other, size, second, proof));
        assert!(!verify_consistency(index, first, size, &other, proof));
    }
}
