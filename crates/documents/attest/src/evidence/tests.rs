use super::*;
use crate::samples;

fn bundle(round: u64) -> ModelStatement {
    ModelStatement::open(&samples::signed_model(round).bundle, samples::key(1).public()).unwrap()
}

fn verify(evidence: &[u8], round: u64) -> Result<RoundEvidence, EvidenceError> {
    verify_round(evidence, &bundle(round), samples::key(1).public())
}

#[test]
fn evidence_survives_its_envelope_and_signing_it_twice_gives_the_same_bytes() {
    for round in [0, 1, 2] {
        let (_, signed) = samples::published(round, |_| {});
        assert_eq!(verify(&signed, round).unwrap(), samples::evidence(round));
        assert_eq!(samples::published(round, |_| {}).1, signed);
    }
}

#[test]
fn evidence_restates_the_record_and_no_client() {
    let evidence = samples::evidence(2);
    let record = samples::record(2);
    let manifest = record.verify_strict().unwrap();
    assert_eq!((evidence.round, evidence.kind), (2, RoundKind::Training));
    assert_eq!((evidence.cohort, evidence.included, evidence.left_out), (4, 3, 1));
    assert_eq!(evidence.record, record.digest());
    let parent = Parent { record: samples::record(1).digest(), model: samples::evidence(1).model };
    assert_eq!(evidence.parent, Some(parent));
    assert_eq!((evidence.plan, evidence.roster), (manifest.plan_digest, manifest.roster_digest));
    assert_eq!(evidence.aggregate, manifest.aggregate_digest);
    assert_eq!((&evidence.privacy, &evidence.metrics), (&manifest.privacy, &manifest.metrics));
    let text = serde_json::to_string(&evidence).unwrap();
    assert!(!text.contains('['), "a list would name clients: {text}");
    let first = samples::evidence(0);
    assert_eq!((first.kind, first.parent, first.included_commitment), (RoundKind::Initial, None, None));
}

#[test]
fn evidence_is_made_of_a_validly_signed_record_only() {
    let mut record = samples::record(1);
    record.signature[0] ^= 1;
    assert!(matches!(RoundEvidence::of(&record, "0.1.0"), Err(EvidenceError::Record(_))));
}

#[test]
fn the_commitment_ignores_order_and_depends_on_every_id_and_on_the_transcript() {
    let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
    let base = included_commitment(&one, &[2, 3, 5]);
    assert_eq!(included_commitment(&one, &[5, 2, 3]), base);
    let expected = [&[2u8, 0, 0, 0][..], &[3, 0, 0, 0], &[5, 0, 0, 0]].concat();
    assert_eq!(base, Digest::of("folkmoot/v1/included", &[one.as_bytes(), &expected]));
    for (transcript, included) in [(two, &[2, 3, 5][..]), (one, &[2, 3]), (one, &[2, 3, 7]), (one, &[])] {
        assert_ne!(included_commitment(&transcript, included), base);
    }
}

#[test]
fn evidence_of_another_folder_name_key_or_predicate_is_refused_by_name() {
    let (model, signed) = samples::published(1, |_| {});
    assert!(matches!(verify(&signed, 2), Err(EvidenceError::Subject { .. })));
    let root = bundle(1).root;
    let moved = sign_round("000002", &root, &samples::evidence(1), &samples::key(1)).unwrap();
    assert!(matches!(verify(&moved, 2), Err(EvidenceError::Subject { .. })));
    assert!(matches!(verify(&moved, 1), Err(EvidenceError::Name { .. })));
    let other = sign_round("000001", &root, &samples::evidence(1), &samples::key(2)).unwrap();
    let refused = verify(&other, 1);
    assert!(matches!(
        refused,
        Err(EvidenceError::Statement(StatementError::Envelope(EnvelopeError::Signature)))
    ));
    // The model's own statement, cut out of its bundle, is no evidence.
    let model: serde_json::Value = serde_json::from_slice(&model).unwrap();
    let refused = verify(&serde_json::to_vec(&model["dsseEnvelope"]).unwrap(), 1);
    assert!(matches!(
        refused,
        Err(EvidenceError::Statement(StatementError::Constant { field: "predicateType", .. }))
    ));
}

#[test]
fn a_field_that_is_not_known_is_refused_even_when_signed() {
    let (root, key) = (bundle(1).root, samples::key(1));
    let predicate = serde_json::to_string(&samples::evidence(1)).unwrap();
    for (from, to) in [("{\"run_id\"", "{\"update\":1,\"run_id\""), ("\"training\"", "\"guessed\"")] {
        let predicate = predicate.replacen(from, to, 1);
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"000001","digest":{{"sha256":"{root}"}}}}],"predicateType":"{ROUND_PREDICATE}","predicate":{predicate}}}"#
        );
        let envelope = statement::sign_text(&text, &key);
        let refused = verify(&envelope.to_json().unwrap(), 1);
        assert!(matches!(refused, Err(EvidenceError::Statement(StatementError::Json(_)))), "{to}");
    }
}

#[test]
fn numbers_that_json_cannot_carry_are_not_signed() {
    let root = bundle(1).root;
    let sign = |evidence: &RoundEvidence| sign_round("000001", &root, evidence, &samples::key(1));
    let mut evidence = samples::evidence(1);
    evidence.metrics.insert("loss".into(), f64::NAN);
    assert!(matches!(sign(&evidence), Err(EvidenceError::NotFinite { field: "metrics" })));
    let mut evidence = samples::evidence(1);
    evidence.privacy.epsilon = Some(f64::INFINITY);
    assert!(matches!(sign(&evidence), Err(EvidenceError::NotFinite { field: "privacy" })));
}

#[test]
fn evidence_longer_than_the_limit_is_neither_signed_nor_read() {
    let mut evidence = samples::evidence(1);
    evidence.metrics = (0..EVIDENCE_BYTES_MAX / 16).map(|n| (format!("metric {n}"), 0.5)).collect();
    let signed = sign_round("000001", &bundle(1).root, &evidence, &samples::key(1));
    assert!(matches!(signed, Err(EvidenceError::TooLong { .. })));
    let read = verify(&vec![b' '; EVIDENCE_BYTES_MAX + 1], 1);
    assert!(matches!(read, Err(EvidenceError::TooLong { .. })));
}

#[test]
fn evidence_that_says_otherwise_than_the_record_is_refused_by_field() {
    type Edit = fn(&mut RoundEvidence);
    let edits: [(&str, Edit); 18] = [
        ("record", |e| e.record = e.model),
        ("run_id", |e| e.run_id = e.model),
        ("round", |e| e.round = 9),
        ("model", |e| e.model = e.plan),
        ("parent", |e| e.parent = None),
        ("plan", |e| e.plan = e.model),
        ("roster", |e| e.roster = e.model),
        ("included_commitment", |e| e.included_commitment = None),
        ("cohort", |e| e.cohort += 1),
        ("included", |e| e.included += 1),
        ("left_out", |e| e.left_out = 0),
        ("aggregate", |e| e.aggregate = None),
        ("privacy", |e| e.privacy.epsilon = Some(0.0)),
        ("privacy", |e| e.privacy.steps = 0),
        ("metrics", |e| e.metrics.clear()),
        ("run_name, attempt or kind", |e| e.run_name.clear()),
        ("run_name, attempt or kind", |e| e.attempt += 1),
        ("run_name, attempt or kind", |e| e.kind = RoundKind::Initial),
    ];
    let (record, bundle) = (samples::record(1), bundle(1));
    samples::evidence(1).check(&record, &bundle).unwrap();
    for (name, edit) in edits {
        let mut evidence = samples::evidence(1);
        edit(&mut evidence);
        match evidence.check(&record, &bundle) {
            Err(EvidenceError::Differs { field }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_silos_say_of_their_sandboxes_is_counted_and_left_out_where_none_says() {
    let (record, bundle) = (samples::record(1), bundle(1));
    let of = |counts: &[(&str, u64)]| {
        let counts = counts.iter().map(|(level, silos)| ((*level).to_owned(), *silos)).collect();
        samples::evidence(1).with_sandboxes(counts)
    };
    let said = of(&[("off", 1), ("required: landlock 7, seccomp 3f2a90c1d4e5, namespaces", 2)]);
    said.check(&record, &bundle).unwrap();
    let signed = sign_round("000001", &bundle.root, &said, &samples::key(1)).unwrap();
    assert_eq!(verify(&signed, 1).unwrap(), said);
    for too_many in [of(&[("off", 4)]), of(&[("off", u64::MAX), ("required: landlock 7", 1)])] {
        let why = too_many.check(&record, &bundle);
        assert!(matches!(why, Err(EvidenceError::Differs { field: "sandboxes" })), "{why:?}");
    }
    assert!(!serde_json::to_string(&of(&[])).unwrap().contains("sandbox"));
}

#[test]
fn a_record_that_the_bundle_does_not_sign_is_refused_by_file() {
    let evidence = samples::evidence(1);
    for file in [MANIFEST_FILE, SIGNATURE_FILE, MODEL_FILE] {
        let mut bundle = bundle(1);
        bundle.resources.remove(file);
        match evidence.check(&samples::record(1), &bundle) {
            Err(EvidenceError::NotInBundle { file: named }) => assert_eq!(named, file),
            other => panic!("{file}: {other:?}"),
        }
    }
    let other = evidence.check(&samples::record(1), &bundle(2));
    assert!(matches!(other, Err(EvidenceError::NotInBundle { file: MANIFEST_FILE })));
}
