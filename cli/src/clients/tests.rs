use identity::IdentityKey;

use super::*;

/// One that asks to join as `south`.
fn south() -> Newcomer {
    let key = IdentityKey::from_secret_hex(&hex::encode([2; 32])).unwrap();
    let entry = ClientEntry {
        name: "south".into(),
        identity_key: hex::encode(key.public().as_bytes()),
        state_code: wire::v1::Membership::AwaitingApproval.into(),
        ..ClientEntry::default()
    };
    operate::asking(&[entry], &["south".to_owned()]).unwrap().pop().unwrap()
}

fn args(fingerprints: &[&str], yes: bool) -> ApproveArgs {
    ApproveArgs {
        names: vec![],
        remote: Remote::default(),
        authority: PathBuf::new(),
        fingerprints: fingerprints.iter().map(|text| (*text).to_owned()).collect(),
        yes,
        number: None,
        trust: Trust::default(),
    }
}

#[test]
fn a_fingerprint_that_was_given_is_compared_and_nothing_is_asked() {
    let south = south();
    let none = &mut std::io::empty();
    confirm(&south, &args(&[&south.fingerprint.to_uppercase()], false), none).unwrap();
    let why = confirm(&south, &args(&["0000-0000"], false), none).unwrap_err();
    assert!(matches!(&why, Failure::Verification(text) if text.contains("refuse south")), "{why}");
}

#[test]
fn silence_and_anything_but_yes_admit_nobody() {
    let south = south();
    for (answer, admitted) in [("y\n", true), ("yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
        let confirmed = confirm(&south, &args(&[], false), &mut answer.as_bytes());
        assert_eq!(confirmed.is_ok(), admitted, "{answer:?}");
    }
    confirm(&south, &args(&[], true), &mut std::io::empty()).unwrap();
}
