use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::envelope::EnvelopeError;
use crate::samples;

type Files = Vec<(String, Digest)>;

fn sample_key() -> ModelPublicKey {
    ModelPublicKey::from_pem(samples::PUBLIC_PEM).unwrap()
}

fn ours() -> (Files, SignedModel) {
    let files = samples::folder();
    let signed = sign_model("model", &files, &IGNORED_PATHS, &samples::key(1)).unwrap();
    (files, signed)
}

/// The refusal of our bundle after an edit of its text; the edit must be one.
fn refused(edit: impl Fn(&str) -> String) -> BundleError {
    let (files, signed) = ours();
    let text = String::from_utf8(signed.bundle).unwrap();
    let edited = edit(&text);
    assert_ne!(edited, text);
    verify_model(edited.as_bytes(), &files, samples::key(1).public()).unwrap_err()
}

/// The refusal of our folder after an edit of its files.
fn refused_folder(edit: impl Fn(&mut Files)) -> BundleError {
    let (mut files, signed) = ours();
    edit(&mut files);
    verify_model(&signed.bundle, &files, samples::key(1).public()).unwrap_err()
}

fn payload(bundle: &[u8]) -> String {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    String::from_utf8(payload).unwrap()
}

/// The refusal of a statement that the right key did sign.
fn refused_statement(edit: impl Fn(&str) -> String) -> BundleError {
    let (files, signed) = ours();
    let text = payload(&signed.bundle);
    let edited = edit(&text);
    assert_ne!(edited, text);
    let key = samples::key(1);
    let bundle = bundle_bytes(&statement::sign_text(&edited, &key), key.public()).unwrap();
    verify_model(&bundle, &files, key.public()).unwrap_err()
}

#[test]
fn the_python_tools_bundle_verifies() {
    let statement = verify_model(samples::BUNDLE, &samples::folder(), &sample_key()).unwrap();
    let root = "4a5fc2cfa68824d1501cd76decca9cf92cdb0ffc7fc4c7aa7529051fe103c8f1";
    assert_eq!((statement.name.as_str(), statement.root), ("model", root.parse().unwrap()));
    assert_eq!(statement.resources, samples::folder().into_iter().collect());
}

#[test]
fn what_is_signed_here_verifies_in_any_order_and_twice_with_the_same_bytes() {
    let (files, signed) = ours();
    let mut reversed = files.clone();
    reversed.reverse();
    let again = sign_model("model", &reversed, &IGNORED_PATHS, &samples::key(1)).unwrap();
    assert_eq!(again, signed);
    let statement = verify_model(&signed.bundle, &reversed, samples::key(1).public()).unwrap();
    assert_eq!((statement.root, statement.name.as_str()), (signed.root, "model"));
    assert_eq!(statement.resources, files.into_iter().collect());
}

#[test]
fn resources_are_in_the_order_of_code_points() {
    // The Python tool orders `a/b` before `a-b`; UTF-16 has the last two the other way round.
    let order = [".a", "Z", "a-b", "a/b", "a0", "\u{ff61}", "\u{1f600}"];
    let files: Files = order.iter().rev().map(|path| (path.to_string(), Digest::sha256(b""))).collect();
    let text = payload(&sign_model("m", &files, &[], &samples::key(1)).unwrap().bundle);
    let found: Vec<usize> =
        order.iter().map(|path| text.find(&format!("\"name\":\"{path}\"")).unwrap()).collect();
    assert!(found.is_sorted(), "{text}");
}

#[test]
fn bytes_of_a_bundle_never_change() {
    // A golden value: changing it makes a coordinator that starts again publish another signature.
    let files = vec![("a".to_owned(), Digest::sha256(b"a"))];
    let signed = sign_model("m", &files, &["model.sig"], &samples::key(1)).unwrap();
    let statement = concat!(
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"#,
        r#""bf5d3affb73efd2ec6c36ad3112dd933efed63c4e1cbffcfa88e2759c144f2d8"}}],"#,
        r#""predicateType":"https://model_signing/signature/v1.0","predicate":{"serialization":"#,
        r#"{"method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":["model.sig"]},"#,
        r#""resources":[{"name":"a","algorithm":"sha256","digest":"#,
        r#""ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}]}}"#,
    );
    assert_eq!(payload(&signed.bundle), statement);
    let head = format!(
        concat!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":"#,
            r#"{{"publicKey":{{"hint":"{}"}},"tlogEntries":[]}},"dsseEnvelope":{{"payload":"{}","#,
            r#""payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":""#
        ),
        samples::key(1).public().hint(),
        STANDARD.encode(statement)
    );
    let text = String::from_utf8(signed.bundle).unwrap();
    assert!(text.starts_with(&head), "{text}");
    assert!(text.ends_with(r#"","keyid":""}]}}"#), "{text}");
}

#[test]
fn each_change_of_the_folder_is_refused_by_name_and_path() {
    let changed = refused_folder(|files| files[6].1 = Digest::sha256(b"x"));
    assert!(matches!(&changed, BundleError::Changed { path, .. } if path == "model.safetensors"));
    let missing = refused_folder(|files| drop(files.remove(5)));
    assert!(matches!(&missing, BundleError::Missing { path } if path == "empty.bin"));
    let renamed = refused_folder(|files| files[5].0 = "Empty.bin".into());
    assert!(matches!(&renamed, BundleError::Missing { path } if path == "empty.bin"));
    let extra = refused_folder(|files| files.push(("b".into(), Digest::sha256(b""))));
    assert!(matches!(&extra, BundleError::Extra { path } if path == "b"));
    let twice = refused_folder(|files| files.push(files[0].clone()));
    assert!(matches!(&twice, BundleError::Repeated { path } if path == ".hidden"));
    let climbing = refused_folder(|files| files[0].0 = "../.hidden".into());
    assert!(matches!(&climbing, BundleError::Path { .. }));
}

#[test]
fn swapped_contents_are_refused() {
    let swapped = refused_folder(|files| {
        let digest = files[0].1;
        files[0].1 = files[1].1;
        files[1].1 = digest;
    });
    assert!(matches!(swapped, BundleError::Changed { .. }));
}

#[test]
fn ignored_paths_are_left_out_with_all_below_them_and_nothing_else() {
    let (mut files, signed) = ours();
    for path in [".git/HEAD", ".gitignore", BUNDLE_FILE, EVIDENCE_FILE] {
        files.push((path.into(), Digest::sha256(path.as_bytes())));
    }
    let key = samples::key(1);
    verify_model(&signed.bundle, &files, key.public()).unwrap();
    assert_eq!(sign_model("model", &files, &IGNORED_PATHS, &key).unwrap(), signed);
    for path in [".gitmodules", "a/model.sig", "model.sig2", "a/.git/HEAD"] {
        let extra = refused_folder(|files| files.push((path.into(), Digest::sha256(b""))));
        assert!(matches!(extra, BundleError::Extra { path: named } if named == path));
    }
}

#[test]
fn another_key_is_refused_whether_the_bundle_names_it_or_not() {
    let (files, signed) = ours();
    let other = samples::key(2);
    let named = verify_model(&signed.bundle, &files, other.public());
    assert!(matches!(named, Err(BundleError::Key { .. })));
    let unnamed = refused(|_| {
        let theirs = sign_model("model", &samples::folder(), &IGNORED_PATHS, &other).unwrap();
        let theirs = String::from_utf8(theirs.bundle).unwrap();
        theirs.replace(&other.public().hint().to_string(), &samples::key(1).public().hint().to_string())
    });
    assert!(matches!(unnamed, BundleError::Statement(StatementError::Envelope(EnvelopeError::Signature))));
}

#[test]
fn an_edited_statement_is_refused_by_its_signature() {
    let edited = refused(|text| {
        let payload = payload(text.as_bytes());
        let edited = payload.replace("model.safetensors", "model.safetensorz");
        text.replace(&STANDARD.encode(payload), &STANDARD.encode(edited))
    });
    assert!(matches!(edited, BundleError::Statement(StatementError::Envelope(EnvelopeError::Signature))));
}

#[test]
fn a_raw_signature_is_refused() {
    let raw = refused(|text| {
        let bundle: serde_json::Value = serde_json::from_str(text).unwrap();
        let sig = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
        let der = p256::ecdsa::Signature::from_der(&STANDARD.decode(sig).unwrap()).unwrap();
        text.replace(sig, &STANDARD.encode(der.to_bytes()))
    });
    assert!(matches!(raw, BundleError::Statement(StatementError::Envelope(EnvelopeError::NotDer))));
}

#[test]
fn each_other_form_of_a_bundle_is_refused_by_name() {
    assert!(matches!(refused(|t| t.replace("v0.3", "v0.2")), BundleError::MediaType { .. }));
    assert!(matches!(refused(|t| t.replacen('{', "{\"x\":1,", 1)), BundleError::Json(_)));
    assert!(matches!(refused(|t| t.replace("{\"hint\"", "{\"x\":1,\"hint\"")), BundleError::Json(_)));
    assert!(matches!(refused(|t| t.replace("\"hint\"", "\"rawBytes\"")), BundleError::Json(_)));
    assert!(matches!(refused(|t| t.replace("\"publicKey\"", "\"certificate\"")), BundleError::Json(_)));
    assert!(matches!(refused(|t| t.replace(":[]}", ":[{}]}")), BundleError::LogEntries { count: 1 }));
    assert!(matches!(refused(|_| String::new()), BundleError::Json(_)));
    let no_envelope = refused(|t| format!("{}}}", &t[..t.find(",\"dsseEnvelope\"").unwrap()]));
    assert!(matches!(no_envelope, BundleError::Json(_)));
    assert!(matches!(refused(|_| " ".repeat(BUNDLE_BYTES_MAX + 1)), BundleError::TooLong { .. }));
    let in_toto = refused(|t| t.replace("in-toto+json", "in-toto+jsom"));
    assert!(matches!(
        in_toto,
        BundleError::Statement(StatementError::Envelope(EnvelopeError::PayloadType { .. }))
    ));
}

#[test]
fn absent_log_entries_are_none() {
    let (files, signed) = ours();
    let text = String::from_utf8(signed.bundle).unwrap().replace(",\"tlogEntries\":[]", "");
    verify_model(text.as_bytes(), &files, samples::key(1).public()).unwrap();
}

#[test]
fn statements_of_something_else_are_refused_by_name_though_signed() {
    let constant = |error, name| match error {
        BundleError::Statement(StatementError::Constant { field, .. }) => assert_eq!(field, name),
        other => panic!("{name}: {other:?}"),
    };
    constant(refused_statement(|t| t.replace("Statement/v1", "Statement/v2")), "_type");
    constant(refused_statement(|t| t.replace("signature/v1.0", "signature/v1.1")), "predicateType");

    let serialization = |error, name| match error {
        BundleError::Serialization { field, .. } => assert_eq!(field, name),
        other => panic!("{name}: {other:?}"),
    };
    serialization(refused_statement(|t| t.replace("\"files\"", "\"shards\"")), "method");
    let blake = |t: &str| t.replace("hash_type\":\"sha256", "hash_type\":\"blake3");
    serialization(refused_statement(blake), "hash_type");
    serialization(refused_statement(|t| t.replace("symlinks\":false", "symlinks\":true")), "allow_symlinks");
    let blake = |t: &str| t.replacen("algorithm\":\"sha256", "algorithm\":\"blake3", 1);
    serialization(refused_statement(blake), "algorithm");

    let unreadable =
        [("{\"method\"", "{\"shard_size\":1,\"method\""), ("\"predicate\":", "\"x\":1,\"predicate\":")];
    for (from, to) in unreadable {
        let error = refused_statement(|t| t.replace(from, to));
        assert!(matches!(error, BundleError::Statement(StatementError::Json(_))), "{to}: {error:?}");
    }
    let subjects = refused_statement(|t| {
        let subject = &t[t.find("{\"name\"").unwrap()..t.find("],\"predicateType\"").unwrap()];
        t.replace(subject, &format!("{subject},{subject}"))
    });
    assert!(matches!(subjects, BundleError::Statement(StatementError::Subjects { count: 2 })));
}

#[test]
fn statements_that_contradict_themselves_are_refused_though_signed() {
    let root = ours().1.root.to_string();
    let other = Digest::sha256(b"x").to_string();
    assert!(matches!(refused_statement(|t| t.replace(&root, &other)), BundleError::Root { .. }));
    let listed = refused_statement(|t| t.replace("\"a-b.txt\"", "\"a/b.txt\""));
    assert!(matches!(&listed, BundleError::Repeated { path } if path == "a/b.txt"));
    for path in ["/a-b.txt", "../a-b.txt", "./a-b.txt", "a//b", "a/", "", "a/../b", "a\\u0000b"] {
        let error = refused_statement(|t| t.replace("\"a-b.txt\"", &format!("\"{path}\"")));
        assert!(matches!(error, BundleError::Path { .. }), "{path}: {error:?}");
    }
    let none = refused_statement(|t| {
        let listed = &t[t.find("\"resources\":[").unwrap() + 13..t.len() - 3];
        t.replace(listed, "").replace(&root, &Digest::sha256(b"").to_string())
    });
    assert!(matches!(none, BundleError::Empty));
}

#[test]
fn fields_that_the_specification_lets_through_in_signed_resources_are_let_through() {
    let (files, signed) = ours();
    let text = payload(&signed.bundle)
        .replace("{\"name\":\"a-b.txt\"", "{\"media_type\":\"text/plain\",\"name\":\"a-b.txt\"");
    let key = samples::key(1);
    let bundle = bundle_bytes(&statement::sign_text(&text, &key), key.public()).unwrap();
    assert_eq!(verify_model(&bundle, &files, key.public()).unwrap().root, signed.root);
}

#[test]
fn an_empty_folder_and_a_path_in_a_second_spelling_are_not_signed() {
    let sign = |path: &str| {
        sign_model("m", &[(path.to_owned(), Digest::sha256(b""))], &IGNORED_PATHS, &samples::key(1))
    };
    assert!(matches!(sign_model("m", &[], &[], &samples::key(1)), Err(BundleError::Empty)));
    assert!(matches!(sign(".git/HEAD"), Err(BundleError::Empty)));
    for path in ["/a", "a/./b", "a/../b", "a/", ""] {
        assert!(matches!(sign(path), Err(BundleError::Path { .. })), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_flip_of_a_bit_of_the_bundle_verifies(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let (files, signed) = ours();
        let mut bundle = signed.bundle;
        let at = at.index(bundle.len());
        bundle[at] ^= 1 << bit;
        prop_assert!(verify_model(&bundle, &files, samples::key(1).public()).is_err());
    }

    #[test]
    fn no_other_bytes_than_a_bundle_make_the_verifier_panic_or_accept(bytes: Vec<u8>) {
        prop_assert!(verify_model(&bytes, &samples::folder(), &sample_key()).is_err());
    }

    #[test]
    fn what_is_signed_verifies_whatever_its_paths(paths in prop::collection::btree_set("[a-c./\u{e9}]{1,6}", 1..6)) {
        let files: Files =
            paths.into_iter().map(|path| { let digest = Digest::sha256(path.as_bytes()); (path, digest) }).collect();
        let key = samples::key(1);
        match sign_model("m", &files, &[], &key) {
            Ok(signed) => {
                let statement = verify_model(&signed.bundle, &files, key.public()).unwrap();
                prop_assert_eq!(statement.resources, files.into_iter().collect());
            }
            Err(error) => prop_assert!(matches!(error, BundleError::Path { .. }), "{error}"),
        }
    }
}

/// Exhaustive where it is cheap: everything but the payload, of which the signature is checked.
#[test]
fn no_flip_of_a_bit_outside_the_payload_verifies() {
    let (files, signed) = ours();
    let text = std::str::from_utf8(&signed.bundle).unwrap();
    let payload = text.find("\"payload\":\"").unwrap() + 11..text.find("\",\"payloadType\"").unwrap();
    let key = samples::key(1);
    for at in (0..signed.bundle.len()).filter(|at| !payload.contains(at)) {
        for bit in 0..8 {
            let mut bundle = signed.bundle.clone();
            bundle[at] ^= 1 << bit;
            assert!(verify_model(&bundle, &files, key.public()).is_err(), "byte {at}, bit {bit}");
        }
    }
}
