use ed25519_dalek::SigningKey;

use super::*;
use crate::tree::node_hash;

const ORIGIN: &str = "folkmoot.example/run-1";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn log() -> VerifierKey {
    VerifierKey::new(ORIGIN, key().verifying_key()).unwrap()
}

fn signed(checkpoint: &Checkpoint) -> Note {
    Note::sign(checkpoint.text(), ORIGIN, &key()).unwrap()
}

fn receipt() -> Receipt {
    let sibling = leaf_hash(b"first");
    let root = node_hash(&sibling, &leaf_hash(b"second"));
    let checkpoint = signed(&Checkpoint { origin: ORIGIN.into(), size: 2, root });
    Receipt { index: 1, proof: vec![sibling], checkpoint }
}

#[test]
fn the_text_is_that_of_the_specification() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(text).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.text(), text);
    assert_eq!(Checkpoint::parse(&format!("{text}extension\n")), Ok(checkpoint));
}

#[test]
fn texts_that_are_no_checkpoints_are_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for text in [
        String::new(),
        format!("log\n7\n{root}"),
        format!("\n7\n{root}\n"),
        format!("log\n07\n{root}\n"),
        format!("log\n+7\n{root}\n"),
        format!("log\n-7\n{root}\n"),
        format!("log\n18446744073709551616\n{root}\n"),
        "log\n7\nCsUY\n".into(),
        "log\n7\n".into(),
        format!("log\n7\n{root}\n\nextension\n"),
    ] {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
}

#[test]
fn a_checkpoint_of_another_log_under_the_same_key_is_refused() {
    let checkpoint = Checkpoint { origin: "another".into(), size: 1, root: [1; 32] };
    let note = signed(&checkpoint).to_string();
    let expected = NoteError::Origin { found: "another".into(), expected: ORIGIN.into() };
    assert_eq!(Checkpoint::open(&note, &log()), Err(expected));
}

#[test]
fn an_edited_checkpoint_is_refused() {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 41, root: [1; 32] };
    let note = signed(&checkpoint).to_string();
    assert_eq!(Checkpoint::open(&note, &log()).unwrap().0, checkpoint);
    let edited = note.replacen("\n41\n", "\n40\n", 1);
    assert_eq!(Checkpoint::open(&edited, &log()), Err(NoteError::BadSignature(ORIGIN.into())));
}

#[test]
fn a_receipt_reads_back_and_proves_its_entry_only() {
    let text = receipt().to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"), "{text}");
    let read = Receipt::parse(&text).unwrap();
    assert_eq!(read, receipt());
    assert_eq!(read.verify(b"second", &log()).unwrap().size, 2);
    assert_eq!(read.verify(b"first", &log()), Err(NoteError::NotIncluded));
    let elsewhere = Receipt { index: 0, ..read };
    assert_eq!(elsewhere.verify(b"second", &log()), Err(NoteError::NotIncluded));
}

#[test]
fn a_receipt_under_an_edited_checkpoint_proves_nothing() {
    let edited = receipt().to_string().replace("\n2\n", "\n3\n");
    let read = Receipt::parse(&edited).unwrap();
    assert_eq!(read.verify(b"second", &log()), Err(NoteError::BadSignature(ORIGIN.into())));
}

#[test]
fn extra_data_is_passed_over_and_other_texts_are_refused() {
    let text = receipt().to_string();
    let extra = text.replacen("\nindex", "\nextra YWJj\nindex", 1);
    assert_eq!(Receipt::parse(&extra), Ok(receipt()));
    let hash = format!("\n{}", Base64::encode_string(&[1; 32]));
    for bad in [
        text.replacen("@v1", "@v2", 1),
        text.replacen("index 1", "index 01", 1),
        text.replacen("index 1", "index", 1),
        text.replacen("\nindex", "\nextra !\nindex", 1),
        text.replacen("index 1\n", "index 1\nAAAA\n", 1),
        text.replacen("\nindex 1", &format!("\nindex 1{}", hash.repeat(64)), 1),
        text.replace("\n\n", "\n"),
        String::new(),
    ] {
        assert!(Receipt::parse(&bad).is_err(), "{bad}");
    }
}
