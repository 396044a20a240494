use super::*;

/// The example of Go's package `golang.org/x/mod/sumdb/note`.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n\
    \u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn signer(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::new(name, key(seed).verifying_key()).unwrap()
}

#[test]
fn the_example_of_the_go_package_verifies_and_is_written_alike() {
    let peter = VerifierKey::parse(GO_KEY).unwrap();
    assert_eq!((peter.name(), peter.to_string().as_str()), ("PeterNeumann", GO_KEY));
    let note = Note::parse(GO_NOTE).unwrap();
    assert_eq!((note.text(), note.to_string().as_str()), (GO_TEXT, GO_NOTE));
    assert_eq!(note.verify(&peter), Ok(()));

    let seed: [u8; 32] = Base64::decode_vec(GO_SECRET).unwrap()[1..].try_into().unwrap();
    let signed = Note::sign(GO_TEXT.to_owned(), "PeterNeumann", &SigningKey::from_bytes(&seed)).unwrap();
    let without_enoch: String = GO_NOTE.lines().take(4).map(|line| format!("{line}\n")).collect();
    assert_eq!(signed.to_string(), without_enoch);
}

#[test]
fn a_changed_text_another_key_and_another_name_are_refused() {
    let peter = VerifierKey::parse(GO_KEY).unwrap();
    let changed = Note::parse(&GO_NOTE.replace("answer", "question")).unwrap();
    assert_eq!(changed.verify(&peter), Err(NoteError::BadSignature("PeterNeumann".into())));
    let note = Note::parse(GO_NOTE).unwrap();
    assert_eq!(note.verify(&signer("PeterNeumann", 1)), Err(NoteError::NotSigned("PeterNeumann".into())));
    let renamed = VerifierKey::new("Peter", *peter.key()).unwrap();
    assert_eq!(note.verify(&renamed), Err(NoteError::NotSigned("Peter".into())));
}

#[test]
fn a_small_order_key_signs_nothing() {
    // The neutral point: a lax verifier accepts R = B, s = 1 under it for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = VerifierKey::new("weak", VerifyingKey::from_bytes(&neutral).unwrap()).unwrap();
    let mut signature = vec![0x66; 32];
    signature[0] = 0x58;
    signature.push(1);
    signature.resize(64, 0);
    let line = Line { name: "weak".into(), id: weak.id(ED25519), bytes: signature };
    let note = Note { text: "any\n".into(), signatures: vec![line] };
    assert_eq!(note.verify(&weak), Err(NoteError::BadSignature("weak".into())));
}

#[test]
fn a_cosignature_signs_its_time_and_the_text() {
    let mut note = Note::sign("log\n1\nroot\n".into(), "log", &key(1)).unwrap();
    let line = note.cosign("silo-3", &key(3), 1_679_315_147).unwrap();
    note.add_cosignature(&line, &signer("silo-3", 3)).unwrap();
    assert_eq!(note.verify_cosignature(&signer("silo-3", 3)), Ok(1_679_315_147));
    assert_eq!(note.verify(&signer("log", 1)), Ok(()));

    // By the specification, byte for byte.
    let (_, encoded) = line.rsplit_once(' ').unwrap();
    let bytes = Base64::decode_vec(encoded).unwrap();
    let public = key(3).verifying_key();
    let id = Sha256::digest([b"silo-3\n\x04".as_slice(), public.as_bytes()].concat());
    assert_eq!(bytes[..4], id[..4]);
    assert_eq!(bytes[4..12], 1_679_315_147u64.to_be_bytes());
    let signature = Signature::from_slice(&bytes[12..]).unwrap();
    let message = b"cosignature/v1\ntime 1679315147\nlog\n1\nroot\n";
    assert!(public.verify_strict(message, &signature).is_ok());

    // Neither is a cosignature a signature, nor the reverse.
    assert_eq!(note.verify(&signer("silo-3", 3)), Err(NoteError::NotSigned("silo-3".into())));
    assert_eq!(note.verify_cosignature(&signer("log", 1)), Err(NoteError::NotSigned("log".into())));
}

#[test]
fn a_cosignature_with_another_time_of_another_text_or_witness_is_refused() {
    let note = Note::sign("log\n1\nroot\n".into(), "log", &key(1)).unwrap();
    let witness = signer("silo-3", 3);
    let line = note.cosign("silo-3", &key(3), 100).unwrap();
    let (head, encoded) = line.rsplit_once(' ').unwrap();
    let mut bytes = Base64::decode_vec(encoded).unwrap();
    bytes[11] ^= 1;
    let later = format!("{head} {}", Base64::encode_string(&bytes));
    let other = Note::sign("log\n2\nroot\n".into(), "log", &key(1)).unwrap();
    for line in [later, other.cosign("silo-3", &key(3), 100).unwrap()] {
        let mut taker = note.clone();
        assert_eq!(taker.add_cosignature(&line, &witness), Err(NoteError::BadSignature("silo-3".into())));
        assert_eq!(taker, note, "a refused line changes nothing");
    }
    let stranger = note.cosign("silo-4", &key(4), 100).unwrap();
    assert_eq!(note.clone().add_cosignature(&stranger, &witness), Err(NoteError::NotSigned("silo-3".into())));
}

#[test]
fn a_later_cosignature_takes_the_place_of_an_earlier_one() {
    let mut note = Note::sign("log\n1\nroot\n".into(), "log", &key(1)).unwrap();
    for time in [100, 200] {
        let line = note.cosign("silo-3", &key(3), time).unwrap();
        note.add_cosignature(&line, &signer("silo-3", 3)).unwrap();
    }
    assert_eq!(note.signatures.len(), 2);
    assert_eq!(note.verify_cosignature(&signer("silo-3", 3)), Ok(200));
}

#[test]
fn a_note_holds_at_most_a_hundred_signatures() {
    let mut note = Note::sign("log\n1\nroot\n".into(), "log", &key(0)).unwrap();
    for n in 1..=100 {
        let name = format!("silo-{n}");
        let line = note.cosign(&name, &key(n), 1).unwrap();
        assert_eq!(note.add_cosignature(&line, &signer(&name, n)).is_ok(), n < 100);
    }
    assert!(Note::parse(&note.to_string()).is_ok());
    let extra = note.cosign("silo-100", &key(100), 1).unwrap();
    assert!(Note::parse(&format!("{note}{extra}\n")).is_err());
}

#[test]
fn texts_that_are_no_notes_are_refused() {
    let line = "\u{2014} PeterNeumann x08go/ZJkg==";
    assert!(Note::parse(&format!("text\n\n{line}\n")).is_ok());
    for note in [
        String::new(),
        "\n\n".into(),
        "text\n".into(),
        format!("text\n{line}\n"),
        format!("text\n\n{line}"),
        format!("text\n\n{line}\n\n"),
        format!("te\rxt\n\n{line}\n"),
        format!("te\0xt\n\n{line}\n"),
        format!("text\n\n{}\n", line.replace('\u{2014}', "-")),
        format!("text\n\n{}\n", line.replace("Peter", "Peter ")),
        format!("text\n\n{}\n", line.replace("==", "=")),
        "text\n\n\u{2014} Peter x08g\n".into(),
        format!("{}\n\n{line}\n", "x".repeat(1 << 20)),
    ] {
        assert!(Note::parse(&note).is_err(), "{:.60}", note);
    }
}

#[test]
fn texts_that_are_no_keys_are_refused() {
    let (id, encoded) = ("c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    assert!(VerifierKey::parse(&format!("PeterNeumann+{id}+{encoded}")).is_ok());
    for text in [
        String::new(),
        encoded.into(),
        format!("Peter+{id}+{encoded}"),
        format!("+{id}+{encoded}"),
        format!("PeterNeumann+C74F20A3+{encoded}"),
        format!("PeterNeumann+{id}+{}", &encoded[..40]),
        format!("PeterNeumann+{id}+B{}", &encoded[1..]),
    ] {
        assert!(VerifierKey::parse(&text).is_err(), "{text}");
    }
    for name in ["", "a b", "a+b", "a\nb"] {
        assert!(Note::sign("text\n".into(), name, &key(1)).is_err(), "{name}");
    }
}
