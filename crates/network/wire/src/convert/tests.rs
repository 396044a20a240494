//! Round trips of every message, golden bytes, and every malformed field.

mod arbitrary;

use messages::{Attempt, OfRun, RunEnd, SessionVersion, ToClient, ToCoordinator, UploadHeader};
use proptest::prelude::*;
use prost::Message;
use secagg::{ClientId, IncludedSignature};

use super::*;
use crate::v1;

const AT: Attempt = Attempt { round: 3, attempt: 1 };

fn from_server(bytes: &[u8]) -> Result<ToClient, ConversionError> {
    v1::ServerEnvelope::decode(bytes).unwrap().try_into()
}

fn from_client(bytes: &[u8]) -> Result<ToCoordinator, ConversionError> {
    v1::ClientEnvelope::decode(bytes).unwrap().try_into()
}

proptest! {
    #[test]
    fn everything_the_coordinator_says_survives_the_wire_with_the_run_it_is_about(
        message in arbitrary::to_client(), run in arbitrary::digest(),
    ) {
        let bytes = v1::ServerEnvelope::from(message.clone()).encode_to_vec();
        prop_assert_eq!(from_server(&bytes), Ok(message.clone()));
        let said = OfRun { run: Some(run), message };
        let sent = v1::ServerEnvelope::decode(&v1::ServerEnvelope::from(said.clone()).encode_to_vec()[..]);
        prop_assert_eq!(OfRun::try_from(sent.unwrap()), Ok(said));
    }

    #[test]
    fn everything_a_client_says_survives_the_wire_with_the_run_it_is_about(
        message in arbitrary::to_coordinator(), run in proptest::option::of(arbitrary::digest()),
    ) {
        let bytes = v1::ClientEnvelope::from(message.clone()).encode_to_vec();
        prop_assert_eq!(from_client(&bytes), Ok(message.clone()));
        let said = OfRun { run, message };
        let sent = v1::ClientEnvelope::decode(&v1::ClientEnvelope::from(said.clone()).encode_to_vec()[..]);
        prop_assert_eq!(OfRun::try_from(sent.unwrap()), Ok(said));
    }

    #[test]
    fn headers_and_records_survive_the_wire(
        upload in arbitrary::upload_header(),
        run in proptest::option::of(arbitrary::digest()),
        model in arbitrary::model_header(),
        record in arbitrary::checkpoint_record(),
    ) {
        let upload = OfRun { run, message: upload };
        let bytes = v1::UploadHeader::from(upload.clone()).encode_to_vec();
        prop_assert_eq!(OfRun::try_from(v1::UploadHeader::decode(&bytes[..]).unwrap()), Ok(upload));
        let bytes = v1::ModelHeader::from(model).encode_to_vec();
        prop_assert_eq!(ModelHeader::try_from(v1::ModelHeader::decode(&bytes[..]).unwrap()), Ok(model));
        let bytes = v1::CheckpointRecord::from(record.clone()).encode_to_vec();
        let read = CheckpointRecord::try_from(v1::CheckpointRecord::decode(&bytes[..]).unwrap());
        prop_assert_eq!(read, Ok(record));
    }

    #[test]
    fn a_damaged_message_is_refused_or_read_and_never_panics(
        said in arbitrary::to_client(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = v1::ServerEnvelope::from(said).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok(envelope) = v1::ServerEnvelope::decode(&bytes[..]) {
            let _: Result<OfRun<ToClient>, _> = envelope.try_into();
        }
        if let Ok(envelope) = v1::ClientEnvelope::decode(&bytes[..]) {
            let _: Result<OfRun<ToCoordinator>, _> = envelope.try_into();
        }
    }
}

#[test]
fn the_bytes_of_three_messages_never_change() {
    // Golden values: another encoding of the same version would not be understood by deployed peers.
    let check_in = ToCoordinator::CheckIn { head: Some(5), data: None, sandbox: None };
    assert_eq!(v1::ClientEnvelope::from(check_in).encode_to_vec(), [0x12, 2, 0x08, 5]);

    let open = ToClient::Open { at: AT, model: Digest::from_bytes([7; 32]) };
    let mut expected = vec![0x22, 40, 0x0a, 4, 0x08, 3, 0x10, 1, 0x12, 32];
    expected.extend([7; 32]);
    assert_eq!(v1::ServerEnvelope::from(open).encode_to_vec(), expected);

    let signature = IncludedSignature { id: ClientId(9), signature: [6; 64] };
    let request = ToClient::UnmaskRequest {
        at: AT,
        included: vec![ClientId(1), ClientId(300)],
        signatures: vec![signature],
    };
    let mut expected =
        vec![0x4a, 81, 0x0a, 4, 0x08, 3, 0x10, 1, 0x12, 3, 1, 0xac, 2, 0x1a, 68, 0x08, 9, 0x12, 64];
    expected.extend([6; 64]);
    assert_eq!(v1::ServerEnvelope::from(request).encode_to_vec(), expected);

    let named = OfRun::named(
        Digest::from_bytes([7; 32]),
        ToCoordinator::CheckIn { head: Some(5), data: None, sandbox: None },
    );
    let mut expected = vec![0x12, 2, 0x08, 5, 0x7a, 32];
    expected.extend([7; 32]);
    assert_eq!(v1::ClientEnvelope::from(named).encode_to_vec(), expected);
}

#[test]
fn a_run_of_any_other_length_is_refused_by_its_name() {
    for length in [1, 31, 33] {
        let refused = format!("run: {length} bytes instead of 32");
        let run = vec![7; length];
        let sent = v1::ServerEnvelope { run: run.clone(), ..ToClient::UploadDurable { at: AT }.into() };
        assert_eq!(OfRun::<ToClient>::try_from(sent).unwrap_err().to_string(), refused);
        let said = ToCoordinator::CheckIn { head: None, data: None, sandbox: None };
        let sent = v1::ClientEnvelope { run: run.clone(), ..said.into() };
        assert_eq!(OfRun::<ToCoordinator>::try_from(sent).unwrap_err().to_string(), refused);
        let sent = v1::UploadHeader { run, lanes: 1, ..v1::UploadHeader::default() };
        assert_eq!(OfRun::<UploadHeader>::try_from(sent).unwrap_err().to_string(), refused);
    }
}

#[test]
fn a_session_before_version_4_names_no_run_and_one_of_version_4_names_it_in_each_message() {
    let check_in = || ToCoordinator::CheckIn { head: None, data: None, sandbox: None };
    let (named, plain) = (OfRun::named(Digest::sha256(b"run"), check_in()), OfRun::from(check_in()));
    for version in [SessionVersion::Two, SessionVersion::Three] {
        assert_eq!(said_in(version, plain.clone()), Ok(plain.clone()));
        let refused = said_in(version, named.clone()).unwrap_err();
        assert_eq!(refused.to_string(), "run: not expected at this point of a session");
    }
    assert_eq!(said_in(SessionVersion::Four, named.clone()), Ok(named.clone()));
    assert_eq!(said_in(SessionVersion::Four, plain).unwrap_err().to_string(), "run: missing");
    // Read as a message of no run, one that names a run is not taken for another's.
    let refused = ToCoordinator::try_from(v1::ClientEnvelope::from(named)).unwrap_err();
    assert_eq!(refused.to_string(), "run: not expected at this point of a session");
}

#[test]
fn a_peer_that_knows_no_run_to_be_stopped_hears_that_it_is_not_gone_on_with_by_whom_and_why() {
    let reason = RunEnd::Stopped { by: "ada".into(), reason: "a better plan".into() };
    let message = ToClient::Finished { reason: reason.clone() };
    let said = OfRun::named(Digest::sha256(b"run"), message.clone());
    assert_eq!(OfRun::try_from(v1::ServerEnvelope::from(said.clone())), Ok(said.clone()));
    let heard = ToClient::try_from(v1::ServerEnvelope::from(OfRun::from(message))).unwrap();
    let ToClient::Finished { reason: RunEnd::TooFewWilling { first_reason, .. } } = heard else {
        panic!("{heard:?}")
    };
    assert_eq!(first_reason, reason.to_string());
    let nameless = v1::ServerEnvelope { run: Vec::new(), ..v1::ServerEnvelope::from(said) };
    let refused = OfRun::<ToClient>::try_from(nameless).unwrap_err().to_string();
    assert_eq!(refused, "finished.stopped: not expected at this point of a session");
}

#[test]
fn an_empty_envelope_and_the_handshake_out_of_place_are_refused() {
    let missing = "message: missing";
    assert_eq!(from_server(&[]).unwrap_err().to_string(), missing);
    assert_eq!(from_client(&[]).unwrap_err().to_string(), missing);
    // A message of a later contract: the field is unknown, so the envelope reads as empty.
    assert_eq!(from_client(&[0xfa, 0x01, 0]).unwrap_err().to_string(), missing);
    let challenge = crate::Challenge::new([0; 32], &ed25519_dalek::SigningKey::from_bytes(&[9; 32]));
    let error = ToClient::try_from(v1::ServerEnvelope::from(challenge)).unwrap_err().to_string();
    assert_eq!(error, "challenge: not expected at this point of a session");
    let hello =
        crate::Hello { client: ClientId(1), protocol_version: 1, highest_version: None, signature: [0; 64] };
    let error = ToCoordinator::try_from(v1::ClientEnvelope::from(hello)).unwrap_err().to_string();
    assert_eq!(error, "hello: not expected at this point of a session");
}

/// A sound message of the coordinator, changed in one place.
fn server_with(said: ToClient, change: impl FnOnce(&mut v1::server_envelope::Message)) -> String {
    let mut envelope = v1::ServerEnvelope::from(said);
    change(envelope.message.as_mut().unwrap());
    ToClient::try_from(envelope).unwrap_err().to_string()
}

/// A sound message of a client, changed in one place.
fn client_with(said: ToCoordinator, change: impl FnOnce(&mut v1::client_envelope::Message)) -> String {
    let mut envelope = v1::ClientEnvelope::from(said);
    change(envelope.message.as_mut().unwrap());
    ToCoordinator::try_from(envelope).unwrap_err().to_string()
}

/// One refusal for each change of one message, each with the error it must give.
macro_rules! refused {
    ($with:ident, $envelope:ident, $said:expr, $type:ident as $kind:ident, [$($change:expr => $error:expr),* $(,)?]) => {$(
        let error = $with($said, |message| match message {
            v1::$envelope::Message::$kind(m) => {
                let change: fn(&mut v1::$type) = $change;
                change(m)
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(error, $error);
    )*};
}

#[test]
fn every_malformed_field_of_the_coordinator_is_refused_by_its_name() {
    refused!(server_with, server_envelope, arbitrary::welcome(), Welcome as Welcome, [
        |m| m.run_id.push(0) => "welcome.run_id: 33 bytes instead of 32",
        |m| m.roster = None => "welcome.roster: missing",
        |m| m.plan = None => "welcome.plan: missing",
        |m| m.plan.as_mut().unwrap().plan = "x".repeat(1_048_577)
            => "welcome.plan.text: 1048577 bytes, at most 1048576 are allowed",
        |m| m.plan.as_mut().unwrap().author = "0".repeat(129)
            => "welcome.plan.author: 129 bytes, at most 128 are allowed",
        |m| m.roster.as_mut().unwrap().roster = "x".repeat(262_145)
            => "welcome.roster.text: 262145 bytes, at most 262144 are allowed",
    ]);
    refused!(server_with, server_envelope, ToClient::Open { at: AT, model: Digest::sha256(b"") }, Open as Open, [
        |m| m.at = None => "open.at: missing",
        |m| m.at = Some(v1::Attempt { round: 0, attempt: 1 }) => "open.at.round: zero",
        |m| m.at = Some(v1::Attempt { round: 1, attempt: 0 }) => "open.at.attempt: zero",
        |m| m.model.truncate(31) => "open.model: 31 bytes instead of 32",
    ]);
    refused!(server_with, server_envelope, arbitrary::published(), SignedManifest as Published, [
        |m| m.manifest = vec![0; 262_145] => "published.manifest: 262145 bytes, at most 262144 are allowed",
        |m| m.signature.push(0) => "published.signature: 65 bytes instead of 64",
    ]);
    refused!(server_with, server_envelope, arbitrary::cohort_roster(), CohortRoster as Roster, [
        |m| m.adverts = vec![v1::Advert::default(); 256] => "roster.adverts: 256 entries, at most 255 are allowed",
        |m| m.adverts[1].ek_pub.clear() => "roster.adverts[1].ek_pub: 0 bytes instead of 32",
        |m| m.adverts[1].mk_pub.push(0) => "roster.adverts[1].mk_pub: 33 bytes instead of 32",
        |m| m.adverts[0].commitment.clear() => "roster.adverts[0].commitment: 0 bytes instead of 32",
        |m| m.adverts[0].signature.truncate(63) => "roster.adverts[0].signature: 63 bytes instead of 64",
    ]);
    refused!(server_with, server_envelope, arbitrary::deliver(), Deliver as Deliver, [
        |m| m.delivery = None => "deliver.delivery: missing",
        |m| delivery(m).members[0].merkle_root.clear()
            => "deliver.delivery.members[0].merkle_root: 0 bytes instead of 32",
        |m| delivery(m).members[0].signature.clear()
            => "deliver.delivery.members[0].signature: 0 bytes instead of 64",
        |m| delivery(m).shares[0].ciphertext.clear()
            => "deliver.delivery.shares[0].ciphertext: 0 bytes instead of 144",
        |m| delivery(m).shares[0].commitments = None => "deliver.delivery.shares[0].commitments: missing",
        |m| delivery(m).shares[0].merkle_path[1].clear()
            => "deliver.delivery.shares[0].merkle_path[1]: 0 bytes instead of 32",
        |m| delivery(m).shares[0].merkle_path = vec![vec![0; 32]; 9]
            => "deliver.delivery.shares[0].merkle_path: 9 entries, at most 8 are allowed",
        |m| delivery(m).members = vec![v1::SignedRoot::default(); 256]
            => "deliver.delivery.members: 256 entries, at most 255 are allowed",
        |m| delivery(m).shares = vec![v1::DeliveredShare::default(); 256]
            => "deliver.delivery.shares: 256 entries, at most 255 are allowed",
    ]);
    refused!(server_with, server_envelope, arbitrary::unmask_request(), UnmaskRequest as UnmaskRequest, [
        |m| m.included = vec![1; 256] => "unmask_request.included: 256 entries, at most 255 are allowed",
        |m| m.signatures = vec![v1::IncludedSignature::default(); 256]
            => "unmask_request.signatures: 256 entries, at most 255 are allowed",
        |m| m.signatures[0].signature.clear() => "unmask_request.signatures[0].signature: 0 bytes instead of 64",
    ]);
    let aborted = || ToClient::Aborted { at: AT, outcome: messages::RoundOutcome::Committed };
    refused!(server_with, server_envelope, aborted(), Aborted as Aborted, [
        |m| m.outcome = None => "aborted.outcome: missing",
        |m| m.outcome = Some(v1::RoundOutcome { outcome: None }) => "aborted.outcome.outcome: missing",
        |m| m.outcome = Some(v1::RoundOutcome {
            outcome: Some(v1::round_outcome::Outcome::BadAggregate("x".repeat(1025))),
        }) => "aborted.outcome.bad_aggregate: 1025 bytes, at most 1024 are allowed",
    ]);
    let refusal = || ToClient::Rejected { rejection: messages::Rejection::StaleAttempt };
    refused!(server_with, server_envelope, refusal(), Rejection as Refused, [
        |m| m.reason = None => "refused.reason: missing",
    ]);
    refused!(server_with, server_envelope, ToClient::Finished { reason: messages::RunEnd::Complete }, RunEnd as Finished, [
        |m| m.reason = None => "finished.reason: missing",
    ]);
}

#[test]
fn every_malformed_field_of_a_client_is_refused_by_its_name() {
    let declined = || ToCoordinator::Declined { round: None, reason: messages::Decline::SitsOut };
    let check_in = ToCoordinator::CheckIn { head: None, data: Some(Digest::sha256(b"")), sandbox: None };
    refused!(client_with, client_envelope, check_in.clone(), CheckIn as CheckIn, [
        |m| m.data = Some(vec![0; 31]) => "check_in.data: 31 bytes instead of 32",
        |m| m.data = Some(Vec::new()) => "check_in.data: 0 bytes instead of 32",
        |m| m.sandbox = Some(String::new()) => "check_in.sandbox: no level of a sandbox",
        |m| m.sandbox = Some("required: all is well".into()) => "check_in.sandbox: no level of a sandbox",
    ]);
    refused!(client_with, client_envelope, declined(), Declined as Declined, [
        |m| m.reason = None => "declined.reason: missing",
        |m| m.reason = Some(v1::Decline { reason: None }) => "declined.reason.reason: missing",
        |m| m.reason = Some(fault(0)) => "declined.reason.coordinator_fault: 0 is not a known value",
        |m| m.reason = Some(fault(12)) => "declined.reason.coordinator_fault: 12 is not a known value",
    ]);
    refused!(client_with, client_envelope, arbitrary::share_keys(), ShareKeys as ShareKeys, [
        |m| m.bundle = None => "share_keys.bundle: missing",
        |m| bundle(m).signature.clear() => "share_keys.bundle.signature: 0 bytes instead of 64",
        |m| bundle(m).shares = vec![v1::SealedShare::default(); 256]
            => "share_keys.bundle.shares: 256 entries, at most 255 are allowed",
        |m| bundle(m).shares[0].ciphertext.push(0)
            => "share_keys.bundle.shares[0].ciphertext: 145 bytes instead of 144",
        |m| bundle(m).shares[0].commitments = Some(v1::ShareCommitments::default())
            => "share_keys.bundle.shares[0].commitments.round_seed: 0 bytes instead of 32",
    ]);
    refused!(client_with, client_envelope, arbitrary::complain(), Complain as Complain, [
        |m| m.complaint = None => "complain.complaint: missing",
        |m| complaint(m).r1.clear() => "complain.complaint.r1: 0 bytes instead of 32",
        |m| complaint(m).reason = 0 => "complain.complaint.reason: 0 is not a known value",
        |m| complaint(m).signature.clear() => "complain.complaint.signature: 0 bytes instead of 64",
    ]);
    refused!(client_with, client_envelope, arbitrary::unmask(), Unmask as Unmask, [
        |m| m.at = None => "unmask.at: missing",
        |m| m.shares = None => "unmask.shares: missing",
        |m| shares(m).self_mask = vec![v1::OpenedShare::default(); 256]
            => "unmask.shares.self_mask: 256 entries, at most 255 are allowed",
        |m| shares(m).round_seed = vec![v1::OpenedShare::default(); 256]
            => "unmask.shares.round_seed: 256 entries, at most 255 are allowed",
        |m| shares(m).self_mask[0].share.clear() => "unmask.shares.self_mask[0].share: 0 bytes instead of 32",
        |m| shares(m).self_mask[0].opening.clear() => "unmask.shares.self_mask[0].opening: 0 bytes instead of 32",
    ]);
}

#[test]
fn every_malformed_field_of_a_header_is_refused_by_its_name() {
    let model = |change: fn(&mut v1::ModelHeader)| {
        let (sha256, chunk_bytes) = (vec![0; 32], 1 << 18);
        let mut header =
            v1::ModelHeader { round: 1, model: sha256.clone(), sha256, total_bytes: 1, chunk_bytes };
        assert!(ModelHeader::try_from(header.clone()).is_ok());
        change(&mut header);
        let part = Some(v1::model_chunk::Part::Header(header));
        ModelHeader::try_from(v1::ModelChunk { part }).unwrap_err().to_string()
    };
    assert_eq!(model(|h| h.model.clear()), "header.model: 0 bytes instead of 32");
    assert_eq!(model(|h| h.sha256.clear()), "header.sha256: 0 bytes instead of 32");
    assert_eq!(model(|h| h.total_bytes = 0), "header.total_bytes: zero");
    assert_eq!(model(|h| h.chunk_bytes = 0), "header.chunk_bytes: zero");
    let over = "header.total_bytes: 17179869185 bytes, at most 17179869184 are allowed";
    assert_eq!(model(|h| h.total_bytes = limits::MODEL_BYTES_MAX + 1), over);
    let over = "header.chunk_bytes: 1048577 bytes, at most 1048576 are allowed";
    assert_eq!(model(|h| h.chunk_bytes = (1 << 20) + 1), over);

    let upload = |change: fn(&mut v1::UploadHeader)| {
        let (r2, signature) = (vec![0; 32], vec![0; 64]);
        let at = Some(AT.into());
        let (digest, run) = (r2.clone(), Vec::new());
        let mut header = v1::UploadHeader { client: 1, at, digest, r2, lanes: 1, signature, run };
        assert!(OfRun::<UploadHeader>::try_from(header.clone()).is_ok());
        change(&mut header);
        let part = Some(v1::upload_chunk::Part::Header(header));
        OfRun::<UploadHeader>::try_from(v1::UploadChunk { part }).unwrap_err().to_string()
    };
    assert_eq!(upload(|h| h.at = None), "header.at: missing");
    assert_eq!(upload(|h| h.r2.clear()), "header.r2: 0 bytes instead of 32");
    assert_eq!(upload(|h| h.digest.clear()), "header.digest: 0 bytes instead of 32");
    assert_eq!(upload(|h| h.signature.clear()), "header.signature: 0 bytes instead of 64");
    assert_eq!(upload(|h| h.lanes = 0), "header.lanes: zero");
    let over = "header.lanes: 4294967297 lanes, at most 4294967296 are allowed";
    assert_eq!(upload(|h| h.lanes = limits::LANES_MAX + 1), over);

    let data = v1::ModelChunk { part: Some(v1::model_chunk::Part::Data(v1::ModelData::default())) };
    assert_eq!(ModelHeader::try_from(data).unwrap_err().fault, Fault::Unexpected);
    let data = v1::UploadChunk { part: Some(v1::upload_chunk::Part::Data(v1::UploadData::default())) };
    assert_eq!(OfRun::<UploadHeader>::try_from(data).unwrap_err().fault, Fault::Unexpected);
    assert_eq!(ModelHeader::try_from(v1::ModelChunk { part: None }).unwrap_err().fault, Fault::Missing);
    assert_eq!(
        OfRun::<UploadHeader>::try_from(v1::UploadChunk { part: None }).unwrap_err().fault,
        Fault::Missing
    );
    assert_eq!(
        CheckpointRecord::try_from(v1::CheckpointRecord::default()).unwrap_err().to_string(),
        "signed: missing"
    );
}

#[test]
fn the_largest_messages_within_the_limits_fit_one_frame() {
    for said in arbitrary::largest_to_client() {
        let bytes = v1::ServerEnvelope::from(said.clone()).encode_to_vec();
        assert!(bytes.len() < limits::MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(from_server(&bytes), Ok(said));
    }
    for said in arbitrary::largest_to_coordinator() {
        let bytes = v1::ClientEnvelope::from(said.clone()).encode_to_vec();
        assert!(bytes.len() < limits::MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(from_client(&bytes), Ok(said));
    }
    let data = vec![0; limits::CHUNK_BYTES_MAX].into();
    let chunk = v1::UploadData { offset: u64::MAX, data, sha256: vec![0; 32] };
    assert!(chunk.encoded_len() + 16 < limits::MESSAGE_BYTES_MAX);
}

#[test]
fn a_sentence_too_long_is_cut_by_the_sender_and_the_message_arrives() {
    let said = ToClient::Rejected { rejection: messages::Rejection::Invalid("é".repeat(600)) };
    let bytes = v1::ServerEnvelope::from(said).encode_to_vec();
    let kept = messages::Rejection::Invalid("é".repeat(512));
    assert_eq!(from_server(&bytes), Ok(ToClient::Rejected { rejection: kept }));
}

fn delivery(message: &mut v1::Deliver) -> &mut v1::Delivery {
    message.delivery.as_mut().unwrap()
}

fn bundle(message: &mut v1::ShareKeys) -> &mut v1::ShareBundle {
    message.bundle.as_mut().unwrap()
}

fn complaint(message: &mut v1::Complain) -> &mut v1::Complaint {
    message.complaint.as_mut().unwrap()
}

fn shares(message: &mut v1::Unmask) -> &mut v1::UnmaskShares {
    message.shares.as_mut().unwrap()
}

fn fault(number: i32) -> v1::Decline {
    v1::Decline { reason: Some(v1::decline::Reason::CoordinatorFault(number)) }
}
