//! The protocol's own bytes. Silos and coordinators of one version must agree on every one of them for ever, and
//! so must an auditor that reads a checkpoint years later.

use std::collections::BTreeMap;

use checkpoint::{
    Action, LeftOut, MANIFEST_FORMAT, MODEL_FILE, Manifest, ModelArtifact, PrivacySpent, SignedManifest,
    public_key_text,
};
use ed25519_dalek::SigningKey;
use identity::Roster;
use params::Digest;
use prost::Message;
use protocol::{
    Attempt, CoordinatorFault, Decline, Rejection, RoundOutcome, RunEnd, ToClient, ToCoordinator,
};
use secagg::{ClientId, Complaint, ComplaintReason, recover, sum_into};
use wire::v1::{ClientEnvelope, ServerEnvelope};

use crate::session::Session;

const AT: Attempt = Attempt { round: 4, attempt: 1 };
const LANES: usize = 100;

#[test]
fn the_transcripts_digests_are_those_of_their_description() {
    let session = session();
    let adverts = session.adverts.iter().fold(
        Transcript::new("u1").bytes(&session.ctx0.0).count(session.adverts.len()),
        |hash, advert| {
            hash.bytes(&advert.id.0.to_le_bytes())
                .bytes(&advert.ek_pub)
                .bytes(&advert.mk_pub)
                .bytes(&advert.commitment)
                .bytes(&advert.signature)
        },
    );
    assert_eq!(session.shared.r1().0, adverts.digest());

    let roots = &session.deliveries[&ClientId(1)].members;
    let shares = roots
        .iter()
        .fold(Transcript::new("u2").bytes(&session.shared.r1().0).count(roots.len()), |hash, root| {
            hash.bytes(&root.id.0.to_le_bytes()).bytes(&root.merkle_root).bytes(&root.signature)
        });
    assert_eq!(session.shared.r2().0, shares.digest());
}

#[test]
fn the_secure_sum_of_a_fixed_session_has_not_changed_a_byte() {
    let session = session();
    let masked = |id| hex::encode(session.masked[&ClientId(id)].0.digest());
    assert_unchanged(&[
        (
            "R1",
            hex::encode(session.shared.r1().0),
            "e20d7455906e4f400082746a0dece3e120c6c1603ce4bc7fe2adb9d6e8700ae1",
        ),
        (
            "R2",
            hex::encode(session.shared.r2().0),
            "425864480a89983527c1df6f7dae3038573ac6dfaf432cd8a0b1d13faf6e9f9a",
        ),
        (
            "the masked vector of client 1",
            masked(1),
            "cc6558e795a5db199d9f48d437564e1b8aa809d6908ef5b5465fdbddc42bcaf6",
        ),
        (
            "the masked vector of client 4",
            masked(4),
            "77a2a46186e5ef5004310a710a6f0cae3f0b0839cc6873daf7dd5b15b5452d6e",
        ),
    ]);
}

#[test]
fn the_fixed_session_opens_the_sum_of_its_included_clients() {
    let session = session();
    let (mut sum, mut expected) = (vec![0; LANES], vec![0; LANES]);
    for id in &session.included {
        let (vector, signature) = &session.masked[id];
        session.shared.verify_input(*id, vector.digest(), signature).unwrap();
        sum_into(&mut sum, vector.lanes()).unwrap();
        sum_into(&mut expected, &update(id.0)).unwrap();
    }
    let answers: BTreeMap<_, _> = session.answers.iter().map(|answer| (answer.id, answer.clone())).collect();
    recover(&session.shared, &session.included, &answers).unwrap().remove(&mut sum);
    assert_eq!(sum, expected);
}

fn sent(message: ToCoordinator) -> String {
    digest(&ClientEnvelope::from(message).encode_to_vec())
}

#[test]
fn no_check_in_has_changed_a_byte_on_the_wire() {
    assert_unchanged(&[
        (
            "check_in",
            sent(ToCoordinator::CheckIn { head: Some(3), data: None, sandbox: None }),
            "f0a6ee7bee5460b97612d2045ac7d6a5541c4b3c9731301ce52d57eb49a6f625",
        ),
        (
            "check_in: data",
            sent(ToCoordinator::CheckIn {
                head: Some(3),
                data: Some(Digest::sha256(b"data")),
                sandbox: None,
            }),
            "3431b5da64ae6974ebb65741b4e7991fc25445971a83bb50db8b33b6935b89d4",
        ),
        (
            "check_in: sandbox",
            sent(ToCoordinator::CheckIn {
                head: Some(3),
                data: None,
                sandbox: Some("required: landlock 7, seccomp 3f2a90c1d4e5, namespaces".parse().unwrap()),
            }),
            "e42a8f6605169cfdce3921fb24583dbb8756984fd34e2d149eab40764ec99d0b",
        ),
    ]);
}

#[test]
fn no_message_of_a_client_has_changed_a_byte_on_the_wire() {
    let session = session();
    let complaint = Complaint {
        r1: session.shared.r1(),
        accuser: ClientId(1),
        accused: ClientId(2),
        reason: ComplaintReason::Sealing,
        signature: [7; 64],
    };
    let advert = session.adverts[0].clone();
    let bundle = session.bundles[&ClientId(1)].clone();
    let reason = Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
    let fault = Decline::CoordinatorFault(CoordinatorFault::Cohort);
    assert_unchanged(&[
        (
            "declined: policy",
            sent(ToCoordinator::Declined { round: None, reason }),
            "79f6b742130b503b54c596fd293d0aedbd9d40f325157511c2b410a808af0e34",
        ),
        (
            "declined: fault",
            sent(ToCoordinator::Declined { round: Some(4), reason: fault }),
            "cf9e18621364b4ea706cb08a5ec12dab08c1d740db23933fab0fce258a5d8e91",
        ),
        (
            "advertise",
            sent(ToCoordinator::Advertise { at: AT, advert }),
            "20dc71a4c9430233454a956e91be7040def0a5c64e298ab65b870a1e31c7f8fe",
        ),
        (
            "share_keys",
            sent(ToCoordinator::ShareKeys { at: AT, bundle }),
            "eb17df2a47e6224c48533f03c26b7cc0bd0030af7d6b463002d687a2f6f801cb",
        ),
        (
            "complain",
            sent(ToCoordinator::Complain { at: AT, complaint }),
            "4b0aab85546845d60735812282e530ae99e6fa929ab582e08f2612ef49436fc1",
        ),
        (
            "sign_included",
            sent(ToCoordinator::SignIncluded { at: AT, signature: session.signatures[0] }),
            "9327677520dab8177f3de554452b723aee2bb7f9891b60ffda0e89c0e71ca3c0",
        ),
        (
            "unmask",
            sent(ToCoordinator::Unmask { at: AT, shares: session.answers[0].clone() }),
            "1badf48aef5c5d36c668d898e2747afda568ba0a81c58ec729d37645e507e530",
        ),
    ]);
}

fn roster_of_nobody() -> Roster {
    Roster {
        format: None,
        previous: None,
        federation: "golden".into(),
        epoch: 1,
        coordinator_key: sim::author_text(),
        members: BTreeMap::new(),
    }
}

#[test]
fn no_message_of_the_coordinator_has_changed_a_byte_on_the_wire() {
    let session = session();
    let sent = |message: ToClient| digest(&ServerEnvelope::from(message).encode_to_vec());
    let included: Vec<ClientId> = session.included.iter().copied().collect();
    let named = Digest::from_bytes([9; 32]);
    let welcome = sim::welcome(named, &sim::of_first_format(sim::plan(4, 2)), &roster_of_nobody());
    let request = ToClient::UnmaskRequest {
        at: AT,
        included: included.clone(),
        signatures: session.signatures.clone(),
    };
    let outcome = RoundOutcome::TooFewUploads { got: 2, need: 3 };
    let delivery = session.deliveries[&ClientId(1)].clone();
    assert_unchanged(&[
        ("welcome", sent(welcome), "847ab1fba1f053bd508c3b6c3f88bf8572888791548d5c36fc41d33d2ad49f2a"),
        (
            "published",
            sent(ToClient::Published(signed())),
            "bd9f3615e5573734c58757a7bb1c54d7c1df11031d491f7fddad745af30c1180",
        ),
        (
            "open",
            sent(ToClient::Open { at: AT, model: named }),
            "2b81990868097b62a38c3ace81466d7abaf6d2129d8cda75ff20c2f596b90937",
        ),
        (
            "roster",
            sent(ToClient::Adverts { at: AT, adverts: session.adverts.clone() }),
            "e073ea1dcd6878df9f6b5c3939ebc2c25c6471acc51cbc7d72a17458d83c2043",
        ),
        (
            "deliver",
            sent(ToClient::Deliver { at: AT, delivery }),
            "4473d30913c743c91aceaffc2504a9b4d748776c4bd32ed3a3fa47c956c4da32",
        ),
        (
            "upload_durable",
            sent(ToClient::UploadDurable { at: AT }),
            "eb63533f55a4b5f74c2901d93d796b0b7290335f21af7f27aba82f4148821838",
        ),
        (
            "included",
            sent(ToClient::Included { at: AT, included }),
            "555b00b92fb46cdc41588e44ec3dd5fbe5237b391802a67988af4fb77a08d845",
        ),
        ("unmask_request", sent(request), "5993573c7506fdc426c4dba4a9c6637b37d7038c352ef4e20c98f39115f4e0db"),
        (
            "aborted",
            sent(ToClient::Aborted { at: AT, outcome }),
            "2ff2b96679cf808150aac9f32443d7758aa3d29ee7eabd8ef4d9e304374130d8",
        ),
        (
            "refused",
            sent(ToClient::Rejected { rejection: Rejection::Equivocation }),
            "bf96d22a40de0f2d8921ed7422960a55dd5adb349af53a968a3713e5784f1bb3",
        ),
        (
            "finished",
            sent(ToClient::Finished { reason: RunEnd::Complete }),
            "eb0ab81c2be398b9dd670eeb9c0be06f228a8442baf9bc6345e2608013594e22",
        ),
    ]);
}

#[test]
fn a_checkpoints_manifest_and_signature_have_not_changed_a_byte() {
    let signed = signed();
    let [quarantine, rollback] = actions().map(|action| acted(action).manifest_bytes);
    assert_unchanged(&[
        (
            "a quarantine's manifest.json",
            digest(&quarantine),
            "018acbb9472dcb13c29e5625b2d99560b906ca0adad5e827ec71dd9a9a328099",
        ),
        (
            "a rollback's manifest.json",
            digest(&rollback),
            "ccd4d535583253f6d0d0578d628c49a8d85b2234cbfdb25ec6b5d0b84956247e",
        ),
        (
            "manifest.json",
            digest(&signed.manifest_bytes),
            "502f99dc0d7307317577e9775912986eeaa7dc4b9d348c613c79ab4b8a42f0e5",
        ),
        (
            "manifest.sig",
            digest(&signed.signature),
            "0b1c33d67ff427db8eab5e5087ea23af2b179dd02f85f41db1cf135c8fb3236f",
        ),
        (
            "the checkpoint's name",
            hex::encode(signed.digest().as_bytes()),
            "3b8cc5b7394968d86fe182eff0b66e3f99338a7d2d1aa49c0f0f4f32d29ef06c",
        ),
    ]);
    assert_eq!(signed.verify_strict().unwrap().round, 4);
}

#[test]
fn a_plans_canonical_bytes_and_name_have_not_changed() {
    let numbered = sim::plan(4, 2);
    let exact = sim::of_first_format(numbered.clone());
    let mut private = sim::of_first_format(sim::private_plan(4, 2, 3.0));
    // Calibration may improve; what a plan's bytes are, may not change.
    private.privacy.promise_mut().unwrap().noise_multiplier = 1.25;
    assert_unchanged(&[
        (
            "an exact plan's bytes",
            digest(&exact.to_canonical()),
            "46977c81117071b10c0c9525464a9219071235a71a596589e26f523d3bb30a2f",
        ),
        (
            "an exact plan's name",
            hex::encode(exact.digest().as_bytes()),
            "2ead42bbab6e310cc82c793ab1bbc6fb0eb85c50e92da7fde72ef266152d55a5",
        ),
        (
            "the same plan's bytes in format 2",
            digest(&numbered.to_canonical()),
            "40441a257be630c51928da3563073973e52bcbfdb31eb6515f04dc174f345718",
        ),
        (
            "its name",
            hex::encode(numbered.digest().as_bytes()),
            "9b1f1f1722f2d6918976ea869855e8cbca6059432ec20494beeddbfa612934c3",
        ),
        (
            "its initial model",
            hex::encode(exact.initial_model().digest().as_bytes()),
            "20479f488dd80280b74eab79c751b1a9507fd81a29c68a9b09f09144143ef9a6",
        ),
        (
            "a private plan's bytes",
            digest(&private.to_canonical()),
            "af0d91fb7355ceb2a9602fa1e753e4e2ad1192765e681310879d52445fbe229a",
        ),
    ]);
}

fn session() -> Session {
    Session::run(42, update)
}

/// Small, different in every lane and for every client.
fn update(client: u32) -> Vec<u32> {
    (0..LANES as u32).map(|lane| client.wrapping_mul(lane).wrapping_sub(50)).collect()
}

fn signed() -> SignedManifest {
    let key = SigningKey::from_bytes(&[7; 32]);
    let manifest = Manifest {
        format: MANIFEST_FORMAT.into(),
        run_id: Digest::sha256(b"run"),
        run_name: "golden".into(),
        round: 4,
        attempt: 1,
        action: None,
        parent: Some(Digest::sha256(b"parent")),
        plan_digest: Digest::sha256(b"plan"),
        roster_digest: Digest::sha256(b"roster"),
        parent_model: Some(Digest::sha256(b"parent model")),
        model: ModelArtifact {
            file: MODEL_FILE.into(),
            sha256: Digest::sha256(b"file"),
            bytes: 4,
            params_digest: Digest::sha256(b"model"),
        },
        optimizer: None,
        transcript: Some(Digest::sha256(b"transcript")),
        cohort: vec![1, 2, 3, 4],
        shared: vec![1, 2, 3, 4],
        included: vec![1, 2, 3],
        left_out: vec![LeftOut { client: 4, reason: "silent".into() }],
        aggregate_digest: Some(Digest::sha256(b"aggregate")),
        metrics: [("training_loss".into(), 0.625), ("training_accuracy".into(), 0.75)].into(),
        privacy: PrivacySpent {
            mode: "distributed_dp_sgd".into(),
            unit: "record".into(),
            relation: "add-or-remove-one".into(),
            epsilon: Some(1.5),
            delta: Some(1e-5),
            accountant: "rdp".into(),
            steps: 4,
            noise_by: "clients".into(),
            trust: "majority".into(),
        },
        created_ms: 1_700_000_000_000,
        previous_rounds_aborted: vec![],
        public_key: public_key_text(&key.verifying_key()),
    };
    SignedManifest::sign(&manifest, &key).unwrap()
}

fn actions() -> [Action; 2] {
    let (reason, by) = ("poisoned".to_owned(), "ops".to_owned());
    [
        Action::Quarantine {
            model: Digest::sha256(b"bad"),
            round: 3,
            reason: reason.clone(),
            by: by.clone(),
        },
        Action::Rollback { to_round: 2, reason, by },
    ]
}

/// The record of an action, in the place of [`signed`].
fn acted(action: Action) -> SignedManifest {
    let manifest = Manifest {
        action: Some(action),
        transcript: None,
        cohort: vec![],
        shared: vec![],
        included: vec![],
        left_out: vec![],
        aggregate_digest: None,
        metrics: BTreeMap::new(),
        ..signed().verify_strict().unwrap()
    };
    SignedManifest::sign(&manifest, &SigningKey::from_bytes(&[7; 32])).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Digest::sha256(bytes).as_bytes())
}

/// All differences at once: name, what it is, what it was.
fn assert_unchanged(pins: &[(&str, String, &str)]) {
    let changed: Vec<String> = pins
        .iter()
        .filter(|(_, is, was)| is != was)
        .map(|(name, is, was)| format!("{name}: is {is}, was {was}"))
        .collect();
    let changed = changed.join("\n");
    assert!(changed.is_empty(), "this changes the protocol: bump its version, or undo it\n{changed}");
}

/// The canonical encoding, written a second time: fields after their length as a little-endian 64-bit number, the
/// label first, lists after their number of items.
struct Transcript(Vec<u8>);

impl Transcript {
    fn new(label: &str) -> Self {
        Self(Vec::new()).bytes(format!("folkmoot/secagg/v1/{label}").as_bytes())
    }

    fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend((field.len() as u64).to_le_bytes());
        self.0.extend(field);
        self
    }

    fn count(self, items: usize) -> Self {
        self.bytes(&(items as u64).to_le_bytes())
    }

    fn digest(&self) -> [u8; 32] {
        *Digest::sha256(&self.0).as_bytes()
    }
}
