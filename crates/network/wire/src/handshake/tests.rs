use messages::{Attempt, ToClient};
use prost::Message;

use super::*;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn challenge() -> Challenge {
    Challenge::new([3; 32], &key(9))
}

fn answered(challenge: &Challenge) -> Result<(Hello, SessionVersion), HandshakeError> {
    challenge.answer(ClientId(7), &key(1), &key(9).verifying_key())
}

/// A challenge of release 1, byte for byte.
fn challenge_of_release_1(nonce: [u8; 32]) -> Vec<u8> {
    [&[0x0a, 36, 0x0a, 32][..], &nonce, &[0x10, 2]].concat()
}

/// A hello of release 1, byte for byte.
fn hello_of_release_1(client: u8, signature: &[u8; 64]) -> Vec<u8> {
    [&[0x0a, 70, 0x08, client, 0x10, 2, 0x1a, 64][..], signature].concat()
}

/// What release 1 reads of a challenge.
#[derive(Clone, PartialEq, Message)]
struct OldChallenge {
    #[prost(bytes = "vec", tag = "1")]
    nonce: Vec<u8>,
    #[prost(uint32, tag = "2")]
    protocol_version: u32,
}

#[derive(Clone, PartialEq, Message)]
struct OldEnvelope {
    #[prost(message, tag = "1")]
    challenge: Option<OldChallenge>,
}

#[test]
fn a_client_is_who_holds_its_key_and_answers_this_challenge() {
    let challenge = challenge();
    let (hello, version) = answered(&challenge).unwrap();
    assert_eq!(version, SessionVersion::NEWEST);
    let bytes = v1::ClientEnvelope::from(hello.clone());
    let hello = Hello::try_from(bytes).unwrap();
    assert_eq!(challenge.verify(&hello, &key(1).verifying_key()), Ok(SessionVersion::NEWEST));

    let refused = Err(HandshakeError::Signature(ClientId(7)));
    assert_eq!(challenge.verify(&hello, &key(2).verifying_key()), refused);
    assert_eq!(Challenge::new([4; 32], &key(9)).verify(&hello, &key(1).verifying_key()), refused);
    let other = Hello { client: ClientId(8), ..hello };
    assert!(challenge.verify(&other, &key(1).verifying_key()).is_err());
}

#[test]
fn a_client_answers_nobody_but_the_coordinator_of_its_roster() {
    let answer = challenge().answer(ClientId(7), &key(1), &key(8).verifying_key());
    assert_eq!(answer.unwrap_err(), HandshakeError::Coordinator);
}

#[test]
fn the_signed_bytes_are_those_of_the_contract() {
    let bytes = hello_signed_bytes(&[9; 32], ClientId(0x0102_0304));
    assert_eq!(bytes.len(), 22 + 32 + 4);
    assert!(bytes.starts_with(b"folkmoot/v1/sig/hello\0\x09"));
    assert!(bytes.ends_with(&[9, 4, 3, 2, 1]));

    let bytes = hello_versions_signed_bytes(&[9; 32], ClientId(0x0102_0304), 4, 3, SessionVersion::Three);
    assert!(bytes.starts_with(b"folkmoot/v1/sig/hello-versions\0\x09"));
    assert!(bytes.ends_with(&[9, 4, 3, 2, 1, 4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]));

    let Challenge { nonce, protocol_version, offer } = challenge();
    let newest = SessionVersion::NEWEST as u8;
    assert_eq!(
        (&nonce[..24], &nonce[24..30], &nonce[30..]),
        (&[3; 24][..], &b"speaks"[..], &[newest, 0][..])
    );
    assert_eq!((protocol_version, offer.unwrap().highest_version), (2, newest.into()));
    let bytes = challenge_signed_bytes(&[9; 32], 2, 3);
    assert!(bytes.starts_with(b"folkmoot/v1/sig/challenge\0\x09"));
    assert!(bytes.ends_with(&[9, 2, 0, 0, 0, 3, 0, 0, 0]));
}

#[test]
fn a_silo_of_release_1_is_served_in_its_version() {
    let challenge = challenge();
    let bytes = v1::ServerEnvelope::from(challenge.clone()).encode_to_vec();
    let seen = OldEnvelope::decode(&*bytes).unwrap().challenge.unwrap();
    assert_eq!(seen.protocol_version, 2, "any other is refused by release 1");
    let nonce: [u8; 32] = seen.nonce.try_into().unwrap();
    let signature = key(1).sign(&hello_signed_bytes(&nonce, ClientId(7))).to_bytes();
    let said = v1::ClientEnvelope::decode(&*hello_of_release_1(7, &signature)).unwrap();
    let hello = Hello::try_from(said).unwrap();
    assert_eq!(challenge.verify(&hello, &key(1).verifying_key()), Ok(SessionVersion::Two));
}

#[test]
fn a_coordinator_of_release_1_is_answered_in_its_version() {
    let said = v1::ServerEnvelope::decode(&*challenge_of_release_1([5; 32])).unwrap();
    let (hello, version) = answered(&Challenge::try_from(said).unwrap()).unwrap();
    assert_eq!(version, SessionVersion::Two);
    let signature = key(1).sign(&hello_signed_bytes(&[5; 32], ClientId(7))).to_bytes();
    assert_eq!((hello.protocol_version, hello.signature), (2, signature));
    // Release 1 passes over what it does not know.
    let bytes = v1::ClientEnvelope::from(hello).encode_to_vec();
    let (old, added) = bytes.split_at(bytes.len() - 2);
    let newest = SessionVersion::NEWEST as u8;
    assert_eq!((&old[2..], added), (&hello_of_release_1(7, &signature)[2..], &[0x20, newest][..]));
}

#[test]
fn a_silo_and_a_coordinator_that_speak_up_to_version_3_are_served_in_it() {
    let three = SessionVersion::Three;
    let newest = SessionVersion::NEWEST.number();
    let signed = hello_versions_signed_bytes(&challenge().nonce, ClientId(7), 3, newest, three);
    let signature = key(1).sign(&signed).to_bytes();
    let hello = Hello { client: ClientId(7), protocol_version: 3, highest_version: Some(3), signature };
    let read = Hello::try_from(v1::ClientEnvelope::from(hello)).unwrap();
    assert_eq!(challenge().verify(&read, &key(1).verifying_key()), Ok(three));

    let mut nonce = [5; 32];
    nonce[24..].copy_from_slice(b"speaks\x03\0");
    let signature = key(9).sign(&challenge_signed_bytes(&nonce, 2, 3)).to_bytes();
    let offer = Some(Offer { highest_version: 3, signature });
    let (hello, version) = answered(&Challenge { nonce, protocol_version: 2, offer }).unwrap();
    assert_eq!((version, hello.protocol_version), (three, 3));
    let signed = hello_versions_signed_bytes(&nonce, ClientId(7), newest, 3, three);
    assert_eq!(hello.signature, key(1).sign(&signed).to_bytes());
}

#[test]
fn two_new_sides_cannot_be_talked_down_by_what_stands_between_them() {
    // The versions taken out of the challenge: they are in the nonce as well.
    let stripped = Challenge { offer: None, ..challenge() };
    let highest = SessionVersion::NEWEST.number();
    let downgraded = HandshakeError::Downgraded { highest, chosen: 2 };
    assert_eq!(answered(&stripped).unwrap_err(), downgraded);
    // A nonce of one's own: the client takes it for a server of release 1, and its answer is of no use.
    let forged = Challenge { nonce: [4; 32], ..stripped };
    let (hello, _) = answered(&forged).unwrap();
    assert_eq!(challenge().verify(&hello, &key(1).verifying_key()), Err(downgraded));
    // The client's version taken out too, as if it were of release 1.
    let hello = Hello { highest_version: None, ..hello };
    let refused = Err(HandshakeError::Signature(ClientId(7)));
    assert_eq!(challenge().verify(&hello, &key(1).verifying_key()), refused);
    // An answer in the newest version, changed to one in version 2.
    let (hello, _) = answered(&challenge()).unwrap();
    for highest_version in [None, Some(2)] {
        let hello = Hello { protocol_version: 2, highest_version, ..hello.clone() };
        assert_eq!(challenge().verify(&hello, &key(1).verifying_key()), refused);
    }
    // Versions that the coordinator did not sign.
    let offer = challenge().offer.map(|offer| Offer { highest_version: 2, ..offer });
    let changed = Challenge { offer, ..challenge() };
    assert_eq!(answered(&changed).unwrap_err(), HandshakeError::Coordinator);
}

#[test]
fn without_a_common_version_both_are_named_on_both_sides_before_any_signature() {
    let newest = SessionVersion::NEWEST.number();
    let newer = Challenge { nonce: [0; 32], protocol_version: newest + 1, offer: None };
    let refused = answered(&newer).unwrap_err();
    assert_eq!(refused, HandshakeError::Version { client: newest, coordinator: newest + 1 });
    let older = Hello { client: ClientId(1), protocol_version: 0, highest_version: None, signature: [0; 64] };
    let error = challenge().verify(&older, &key(1).verifying_key()).unwrap_err().to_string();
    assert!(error.contains("version 0") && error.contains(&format!("coordinator {newest}")), "{error}");
    // A server of a later release that has given this one's versions up, and says so in a challenge it signed.
    let (nonce, oldest, highest) = ([0; 32], newest + 1, newest + 2);
    let signature = key(9).sign(&challenge_signed_bytes(&nonce, oldest, highest)).to_bytes();
    let offer = Some(Offer { highest_version: highest, signature });
    let later = Challenge { nonce, protocol_version: oldest, offer };
    assert_eq!(
        answered(&later).unwrap_err(),
        HandshakeError::Version { client: newest, coordinator: newest + 2 }
    );
}

#[test]
fn a_challenge_survives_the_wire_and_no_other_message_passes_for_one() {
    let challenge = challenge();
    assert_eq!(Challenge::try_from(v1::ServerEnvelope::from(challenge.clone())), Ok(challenge));
    for (envelope, fault) in [
        (v1::ServerEnvelope::default(), Fault::Missing),
        (ToClient::UploadDurable { at: Attempt { round: 1, attempt: 1 } }.into(), Fault::Unexpected),
    ] {
        assert_eq!(Challenge::try_from(envelope).unwrap_err().fault, fault);
    }
}
