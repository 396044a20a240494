//! Genuine inputs, one or more of each kind, for a corpus made anew.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;

use checkpoint::{LeftOut, Manifest, PrivacySpent, SignedManifest, public_key_text, samples};
use ed25519_dalek::SigningKey;
use flate2::Compression;
use flate2::write::GzEncoder;
use identity::{IdentityKey, Member, Roster};
use params::Digest;
use plan::{Answered, Data, Feature, Plan, Policy, PrivacyMode};
use prost::Message;
use protocol::{
    Attempt, ClientRecord, CoordinatorFault, Decline, DropReason, OfRun, Record, Rejection, RoundOutcome,
    RunEnd, Timestamp, ToClient, ToCoordinator, UploadHeader,
};
use secagg::{ClientId, Complaint, ComplaintReason};
use wire::{Challenge, ToStatus, v1};

use super::script::piece;
use super::session::Session;
use super::{accounts, attested, coordinator, logs, participant};

/// A target's name, the seed's own name, its bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

const AT: Attempt = Attempt { round: 4, attempt: 1 };
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LANES: usize = 12;

/// The whole corpus as it is made anew; the same bytes every time.
pub(crate) fn all() -> Vec<Seed> {
    let session =
        Session::run(42, |client| (0..LANES as u32).map(|lane| client.wrapping_mul(lane)).collect());
    let mut seeds = Seeds(Vec::new());
    seeds.messages(&session);
    seeds.chunks(&session);
    seeds.journals(&session);
    seeds.files();
    seeds.made();
    for (target, name, bytes) in attested::seeds() {
        seeds.add(target, name, bytes);
    }
    for (target, name, bytes) in accounts::seeds() {
        seeds.add(target, name, bytes);
    }
    seeds.logs();
    for (name, bytes) in participant::seeds() {
        seeds.add("participant", name, bytes);
    }
    for (name, bytes) in coordinator::seeds() {
        seeds.add("coordinator", name, bytes);
    }
    seeds.0
}

struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: &str, bytes: Vec<u8>) {
        self.0.push((target, name.to_owned(), bytes));
    }

    fn messages(&mut self, session: &Session) {
        for (name, said) in to_coordinator(session) {
            self.add("client_envelope", name, wire::to_coordinator_bytes(said));
        }
        for (name, said) in to_client(session) {
            self.add("server_envelope", name, wire::to_client_bytes(said));
        }
        let challenge = Challenge::new([3; 32], &signing_key(9));
        let coordinator = signing_key(9).verifying_key();
        let (hello, _) =
            challenge.answer(ClientId(1), &signing_key(1), &coordinator).expect("this build's version");
        self.add("handshake", "challenge", v1::ServerEnvelope::from(challenge).encode_to_vec());
        self.add("handshake", "hello", v1::ClientEnvelope::from(hello).encode_to_vec());
        let record = wire::CheckpointRecord { round: 4, signed: signed(4) };
        self.add("checkpoint_record", "record", v1::CheckpointRecord::from(record).encode_to_vec());
        let soon = std::time::Duration::from_millis(1500);
        let busy = wire::ServiceError::Busy { retry_after: soon }.to_status();
        let stale = Rejection::StaleAttempt.to_status();
        for (name, status) in [("busy", busy), ("stale", stale)] {
            let code = [status.code() as u8];
            let bytes = [&code[..], &piece(status.message().as_bytes()), status.details()].concat();
            self.add("refusal", name, bytes);
        }
    }

    fn chunks(&mut self, session: &Session) {
        let (masked, signature) = &session.masked[&ClientId(1)];
        let header = UploadHeader {
            client: ClientId(1),
            at: AT,
            r2: Digest::from_bytes(session.shared.r2().0),
            digest: Digest::from_bytes(masked.digest()),
            lanes: LANES as u64,
            signature: signature.0,
        };
        let header = OfRun::from(header);
        for (name, from) in [("whole", 0), ("resumed", 7)] {
            let mut chunks = wire::upload_chunks(&header, masked, from).map(|chunk| chunk.encode_to_vec());
            let first = piece(&chunks.next().expect("a header"));
            let rest: Vec<u8> = chunks.flat_map(|chunk| piece(&[&[0][..], &chunk].concat())).collect();
            self.add("upload", name, [first, rest].concat());
        }
        let file = bytes::Bytes::from(model_file());
        let mut chunks = wire::model_chunks(4, Digest::sha256(b"model"), file).map(|c| c.encode_to_vec());
        let first = piece(&chunks.next().expect("a header"));
        let rest: Vec<u8> = chunks.flat_map(|chunk| piece(&[&[1][..], &chunk].concat())).collect();
        self.add("model_chunks", "whole", [first, rest].concat());
    }

    fn journals(&mut self, session: &Session) {
        for (name, record) in records(session) {
            self.add("coordinator_record", name, record.encode());
        }
        let client = client_records(session);
        for (name, record) in &client {
            self.add("client_record", name, record.encode());
        }
        let records: Vec<Vec<u8>> = client.into_iter().map(|(_, record)| record.encode()).collect();
        self.add("journal_file", "client", super::journal::bytes_of(&records));
        self.add("journal_file", "empty", super::journal::bytes_of(&[]));
        let script: Vec<u8> =
            [&b"one"[..], b"", b"two", b"three", b"", b""].iter().flat_map(|p| piece(p)).collect();
        self.add("journal_edits", "untouched", script.clone());
        self.add("journal_edits", "edited", [&script[..], &[0, 30, 0, 0xff]].concat());
        self.add("journal_edits", "cut", [&script[..], &[0xf8]].concat());
    }

    fn files(&mut self) {
        let manifest = signed(4).manifest_bytes;
        self.add("manifest", "round-4", manifest.clone());
        self.add("manifest", "genesis", signed(0).manifest_bytes);
        let chain: Vec<u8> = [0, 1, 2]
            .iter()
            .flat_map(|round| piece(&[&[1][..], &signed(*round).manifest_bytes].concat()))
            .collect();
        self.add("chain", "three", chain);
        let model = model_file();
        self.add("model_file", "whole", [&[0][..], &model].concat());
        let header_bytes = usize::from(model[0]) + 256 * usize::from(model[1]);
        let (header, data) = model[8..].split_at(header_bytes);
        self.add("model_file", "header", [&[1][..], header, &[0], data].concat());
        for (name, optimizer) in optimizers() {
            self.add("optimizer_state", name, optimizer.initial_state(3).to_bytes());
        }
        for (name, plan) in ["exact", "private"].into_iter().zip(plans()) {
            self.add("plan", &format!("{name}-canonical"), plan.to_canonical());
            self.add("plan", &format!("{name}-toml"), plan.to_toml().into_bytes());
        }
        self.add("plan", "typed-canonical", typed_plan().numbered([7; Plan::ID_BYTES]).to_canonical());
        self.add("plan", "typed-toml", typed_plan().to_toml().into_bytes());
        self.add("plan", "sample-toml", include_bytes!("../../../deploy/config/plan.toml").to_vec());
        let policy = format!(
            "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
             privacy_modes = [\"distributed_dp_sgd\"]\nrepeats_without_dp = 2\nhours = \"22:00-06:00\"\n\
             accepts_undetected_rollback = true\nauthors = [\"{}\"]\nperiod = {{ days = 30, epsilon_max = 1.0 }}\n",
            sim::author_text()
        );
        self.add("policy", "policy", policy.into_bytes());
        let authority = IdentityKey::from_secret_hex(&hex::encode([100; 32])).expect("a key");
        let signed = roster().sign(&authority);
        self.add("roster", "unsigned", signed.roster.clone().into_bytes());
        self.add("roster", "signed", serde_json::to_vec(&signed).expect("texts"));
        self.add("keys", "key", public_key_text(&signing_key(1).verifying_key()).into_bytes());
        self.add("keys", "folder", b"000012".to_vec());
        self.add("keys", "digest", Digest::sha256(b"").to_string().into_bytes());
        let quoted = b"id;note\n1;\"a\nb\"\n2;\"say \"\"no\"\"\"\r\n#;\n3;\"\n".to_vec();
        self.add("records", "plain", b"\x08a,b\n1, x \n,\n1,2,3\n".to_vec());
        self.add("records", "line-breaks", [b"\x25".to_vec(), quoted].concat());
        let utf16 = "1,\u{e4}\r\n2,b\r\n".encode_utf16().flat_map(u16::to_le_bytes);
        self.add("records", "utf-16", [vec![0x90], utf16.collect()].concat());
        self.add("csv", "plain", b"a,b,c,label\n0.5,1,0,1\n0,0,1e-3,0\n".to_vec());
        self.add(
            "csv",
            "quoted",
            b"\xef\xbb\xbfnote,label,c,b,a\r\n\"x, \"\"y\"\"\",1,0.1,0.2,0.3\r\n\r\n".to_vec(),
        );
        self.add(
            "csv",
            "typed",
            b"label,a,b,c,d,e,f_1,f_2\nyes,0.5,red,low,x,2020-01-02,1,2\nno,,blue,high,,2020-01-01,0,\n"
                .to_vec(),
        );
        let labels = piece(&idx_file(0x0801, &[2], &[2, 0]));
        let images = idx_file(0x0803, &[2, 2, 2], &[0, 51, 102, 255, 1, 2, 3, 4]);
        let mut packed = GzEncoder::new(labels.clone(), Compression::default());
        packed.write_all(&images).expect("to memory");
        self.add("idx", "gzip", packed.finish().expect("to memory"));
        self.add("idx", "plain", [labels, images].concat());
    }

    /// Files of silos that other programs wrote.
    fn made(&mut self) {
        let files: [(&str, &str, &[u8]); 7] = [
            (
                "parquet",
                "encodings",
                include_bytes!("../../../crates/learning/readers/tests/data/encodings.parquet"),
            ),
            ("parquet", "gzip", include_bytes!("../../../crates/learning/readers/tests/data/gzip.parquet")),
            ("parquet", "old", include_bytes!("../../../crates/learning/readers/tests/data/old.parquet")),
            ("parquet", "zstd", include_bytes!("../../../crates/learning/readers/tests/data/zstd.parquet")),
            ("images", "plain", include_bytes!("../../../crates/learning/readers/tests/data/plain.jpg")),
            ("images", "passes", include_bytes!("../../../crates/learning/readers/tests/data/passes.jpg")),
            ("images", "png", include_bytes!("../../../crates/learning/readers/tests/data/grey.png")),
        ];
        for (target, name, bytes) in files {
            self.add(target, name, bytes.to_vec());
        }
    }

    fn logs(&mut self) {
        let actor = audit::Actor { id: "silo 1".into(), role: "client".into(), address: None };
        let mut event = audit::Event::new(NOW.0, actor, "upload.received", audit::Status::Ok);
        event.round = Some(4);
        event.details.insert("epsilon".into(), "1.5".into());
        let entry = event.encode().expect("a short event");
        self.add("log_entries", "event", entry.clone());
        self.add("log_entries", "bundle", tlog::encode_bundle(&[&entry[..], b""]).expect("short entries"));

        let leaves = [&entry[..], b"second", b"third"].map(tlog::leaf_hash);
        let pair = tlog::node_hash(&leaves[0], &leaves[1]);
        let root = tlog::node_hash(&pair, &leaves[2]);
        let checkpoint = tlog::Checkpoint { origin: "log".into(), size: 3, root };
        let mut note = tlog::Note::sign(checkpoint.text(), "log", &signing_key(99)).expect("a name");
        let line = note.cosign("silo-1", &signing_key(1), NOW.0 / 1000).expect("a name");
        let witness = tlog::VerifierKey::new("silo-1", signing_key(1).verifying_key()).expect("a name");
        note.add_cosignature(&line, &witness).expect("its own line");
        let receipt = tlog::Receipt { index: 1, proof: vec![leaves[0], leaves[2]], checkpoint: note.clone() };
        self.add("log_texts", "note", note.to_string().into_bytes());
        self.add("log_texts", "checkpoint", checkpoint.text().into_bytes());
        self.add("log_texts", "receipt", receipt.to_string().into_bytes());
        self.add("log_texts", "key", logs::log_key().to_string().into_bytes());

        let numbers = |size: u64, index: u64| [size.to_be_bytes(), index.to_be_bytes()].concat();
        let inclusion = [leaves[1], root, leaves[0], leaves[2]].concat();
        self.add("log_proofs", "inclusion", [numbers(3, 1), inclusion].concat());
        let consistency = [pair, root, leaves[2]].concat();
        self.add("log_proofs", "consistency", [numbers(3, 2), consistency].concat());
    }
}

pub(crate) fn signing_key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

/// Four silos, number `n` with the key of `n`s, and a coordinator with that of 99s.
pub(crate) fn roster() -> Roster {
    let public = |byte: u8| hex::encode(signing_key(byte).verifying_key().as_bytes());
    let member = |id: u32| Member { name: format!("silo {id}"), identity_key: public(id as u8), admitted: 1 };
    Roster {
        format: None,
        previous: None,
        federation: "attacked".into(),
        epoch: 1,
        coordinator_key: public(99),
        members: (1..=4).map(|id| (ClientId(id), member(id))).collect(),
    }
}

/// What a silo allows: both modes, which no policy file may say, so that one corpus reaches both.
pub(crate) fn policy() -> Policy {
    Policy {
        epsilon_max: 5.0,
        delta_max: 1e-5,
        privacy_modes: [PrivacyMode::Fedavg, PrivacyMode::DistributedDpSgd].into(),
        ..Policy::for_authors([sim::author_text()])
    }
}

/// One plan without noise and one with.
pub(crate) fn plans() -> [Plan; 2] {
    static PLANS: OnceLock<[Plan; 2]> = OnceLock::new();
    PLANS.get_or_init(|| [sim::plan(4, 9), sim::private_plan(4, 9, 3.0)]).clone()
}

/// The table of [`plans`].
pub(crate) fn table() -> Data {
    Data {
        label: "label".into(),
        classes: 2.into(),
        scaled_to: [0.0, 1.0],
        features: ["a", "b", "c"].map(|column| Feature::range(column, 0.0, 1.0)).into(),
        class_weights: None,
    }
}

/// A plan with a feature of each kind.
pub(crate) fn typed_plan() -> Plan {
    const DATA: &str = r#"
label = "label"
classes = ["no", "yes"]
scaled_to = [0.0, 1.0]
features = [
    { column = "a", log_range = [0, 1], missing = "flag" },
    { column = "b", one_hot = ["red", "green"], other = true },
    { column = "c", ordinal = ["low", "high"] },
    { column = "d", flag = "x", missing = "y" },
    { column = "e", first_day = "2020-01-01", last_day = "2020-12-31" },
    { columns = "f_{1..2}", mean = 0, deviation = 1, missing = 0 },
]
class_weights = [1, 2]
"#;
    let sample = include_str!("../../../deploy/config/plan.toml");
    let (before, rest) = sample.split_once("[data]\n").expect("its table");
    let (_, behind) = rest.split_once("[training]\n").expect("what follows");
    Plan::from_toml(&format!("{before}[data]{DATA}[training]\n{behind}")).expect("a plan")
}

/// An IDX file of bytes.
pub(crate) fn idx_file(magic: u32, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let words = [&[magic], dimensions].concat();
    [words.into_iter().flat_map(u32::to_be_bytes).collect(), values.to_vec()].concat()
}

fn model_file() -> Vec<u8> {
    checkpoint::model_bytes(
        &sim::plan(4, 9).initial_model(),
        &checkpoint::model_metadata(&Digest::sha256(b"run"), 4),
    )
}

fn optimizers() -> [(&'static str, optim::ServerOptimizer); 2] {
    let average = |momentum| optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum };
    [("plain", average(0.0)), ("momentum", average(0.9))]
}

fn to_coordinator(session: &Session) -> Vec<(&'static str, ToCoordinator)> {
    let complaint = Complaint {
        r1: session.shared.r1(),
        accuser: ClientId(1),
        accused: ClientId(2),
        reason: ComplaintReason::Sealing,
        signature: [7; 64],
    };
    let policy = Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
    let fault = Decline::CoordinatorFault(CoordinatorFault::Cohort);
    vec![
        (
            "check-in",
            ToCoordinator::CheckIn {
                head: Some(3),
                data: Some(Digest::sha256(b"data")),
                sandbox: Some("required: landlock 7, seccomp 3f2a90c1d4e5".parse().unwrap()),
            },
        ),
        ("policy", ToCoordinator::Declined { round: None, reason: policy }),
        ("fault", ToCoordinator::Declined { round: Some(4), reason: fault }),
        ("advertise", ToCoordinator::Advertise { at: AT, advert: session.adverts[0].clone() }),
        ("share", ToCoordinator::ShareKeys { at: AT, bundle: session.bundles[&ClientId(1)].clone() }),
        ("complain", ToCoordinator::Complain { at: AT, complaint }),
        ("sign", ToCoordinator::SignIncluded { at: AT, signature: session.signatures[0] }),
        ("unmask", ToCoordinator::Unmask { at: AT, shares: session.answers[0].clone() }),
    ]
}

fn to_client(session: &Session) -> Vec<(&'static str, ToClient)> {
    let included: Vec<ClientId> = session.included.iter().copied().collect();
    let named = Digest::from_bytes([9; 32]);
    let [plan, _] = plans();
    let delivery = session.deliveries[&ClientId(1)].clone();
    let signatures = session.signatures.clone();
    let outcome = RoundOutcome::TooFewUploads { got: 2, need: 3 };
    let refused = RunEnd::TooFewWilling { willing: 1, needed: 3, first_reason: "too much".into() };
    vec![
        ("welcome", sim::welcome(named, &plan, &roster())),
        ("published", ToClient::Published(signed(4))),
        ("open", ToClient::Open { at: AT, model: named }),
        ("roster", ToClient::Adverts { at: AT, adverts: session.adverts.clone() }),
        ("deliver", ToClient::Deliver { at: AT, delivery }),
        ("durable", ToClient::UploadDurable { at: AT }),
        ("included", ToClient::Included { at: AT, included: included.clone() }),
        ("request", ToClient::UnmaskRequest { at: AT, included, signatures }),
        ("aborted", ToClient::Aborted { at: AT, outcome }),
        ("refused", ToClient::Rejected { rejection: Rejection::Invalid("it repeats a key".into()) }),
        ("finished", ToClient::Finished { reason: refused }),
    ]
}

fn records(session: &Session) -> Vec<(&'static str, Record)> {
    let named = Digest::from_bytes([9; 32]);
    let reason = DropReason::Misbehaved("sent shares that do not open".into());
    let cohort = session.adverts.iter().map(|advert| advert.id).collect();
    vec![
        (
            "started",
            Record::RunStarted {
                run_id: named,
                plan: named,
                roster: roster().sign(&sim::authority()),
                genesis: signed(0),
            },
        ),
        ("roster-changed", Record::RosterChanged { roster: roster().sign(&sim::authority()) }),
        ("opened", Record::AttemptBegun { now: NOW, at: AT, cohort }),
        ("advertised", Record::Advertised(session.adverts[0].clone())),
        ("shared", Record::Shared(session.bundles[&ClientId(1)].clone())),
        ("included-signed", Record::IncludedSigned(session.signatures[0])),
        ("unmasked", Record::Unmasked(session.answers[0].clone())),
        ("dropped", Record::Dropped { client: ClientId(4), reason }),
        ("data-declared", Record::DataDeclared { client: ClientId(2), data: Some(Digest::sha256(b"data")) }),
        (
            "sandbox-declared",
            Record::SandboxDeclared {
                client: ClientId(2),
                level: Some("best_effort: landlock 3".parse().unwrap()),
            },
        ),
        ("committed", Record::Committed { now: NOW, manifest: signed(4) }),
        ("aborted", Record::Aborted { now: NOW, outcome: RoundOutcome::WrongSecret { client: ClientId(2) } }),
        ("ended", Record::Ended { reason: RunEnd::BudgetSpent }),
    ]
}

fn client_records(session: &Session) -> Vec<(&'static str, ClientRecord)> {
    let named = Digest::from_bytes([9; 32]);
    let [_, private] = plans();
    let debit = ClientRecord::Debited {
        now: NOW,
        at: AT,
        model: named,
        r2: named,
        upload: named,
        event: private.event(),
    };
    vec![
        ("joined", ClientRecord::Joined { run_id: named, plan: named, roster_epoch: 1 }),
        ("head", ClientRecord::ChainHead(signed(4))),
        ("advertised", ClientRecord::Advertised { at: AT }),
        ("debited", debit),
        ("sets", ClientRecord::SetsFixed { at: AT, cohort: vec![ClientId(1)], shared: vec![ClientId(1)] }),
        ("receipted", ClientRecord::UploadReceipted { upload: named, index: 7 }),
        ("witness", ClientRecord::WitnessBegun),
        ("forgotten", ClientRecord::WitnessForgotten { reason: "the disk broke".into() }),
        ("step", ClientRecord::StepVerified { record: named }),
        ("signed", ClientRecord::SignedIncluded { at: AT, request: named }),
        ("unmasked", ClientRecord::Unmasked { at: AT, request: named, shares: session.answers[0].clone() }),
        ("data-committed", ClientRecord::DataCommitted { commitment: Some(named) }),
        ("data-not-declared", ClientRecord::DataNotDeclared { word: named }),
        ("rounds-before", ClientRecord::RoundsBefore { rounds: 40 }),
        ("about-persons", ClientRecord::AboutPersons),
        ("training-failed", ClientRecord::TrainingFailed { at: AT }),
        (
            "offer-answered",
            ClientRecord::OfferAnswered(Answered {
                time_ms: 9,
                run: named,
                plan: named,
                author: [7; 32],
                policy: named,
                admitted: true,
            }),
        ),
        ("over", ClientRecord::RunOver),
    ]
}

pub(crate) fn signed(round: u64) -> SignedManifest {
    let key = signing_key(99);
    let later = |digest| (round > 0).then_some(digest);
    let manifest = Manifest {
        run_name: "seed".into(),
        parent: later(Digest::sha256(b"parent")),
        parent_model: later(Digest::sha256(b"parent model")),
        transcript: later(Digest::sha256(b"transcript")),
        cohort: vec![1, 2, 3, 4],
        shared: vec![1, 2, 3, 4],
        included: vec![1, 2, 3],
        left_out: vec![LeftOut { client: 4, reason: "silent".into() }],
        aggregate_digest: later(Digest::sha256(b"aggregate")),
        metrics: BTreeMap::from([("training_loss".into(), 0.625)]),
        privacy: PrivacySpent {
            mode: "distributed_dp_sgd".into(),
            unit: "record".into(),
            ..samples::spent(round, 1.5)
        },
        created_ms: NOW.0,
        public_key: public_key_text(&key.verifying_key()),
        ..samples::bare(round)
    };
    SignedManifest::sign(&manifest, &key).expect("a sound manifest")
}
