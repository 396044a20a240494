//! What a published folder's two signatures are read from.
//!
//! ```text
//! input = 0, file        as it was found
//! input = 1, statement   signed by the right key whatever it says, which no mutation would hit
//! ```

use std::sync::OnceLock;

use attest::{
    BundleError, Envelope, IGNORED_PATHS, ModelKey, ModelStatement, RoundEvidence, sign_model, sign_round,
    verify_round,
};
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{MANIFEST_FILE, MODEL_FILE, SIGNATURE_FILE, SignedManifest};
use params::Digest;

const NAME: &str = "000004";

struct Genuine {
    key: ModelKey,
    bundle: Vec<u8>,
    statement: ModelStatement,
    evidence: Vec<u8>,
    round: RoundEvidence,
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let key = ModelKey::generate(&mut ChaCha20Rng::seed_from_u64(1)).expect("a key");
        let signed: SignedManifest = super::seeds::signed(4);
        let files = [
            (MANIFEST_FILE.to_owned(), Digest::sha256(&signed.manifest_bytes)),
            (SIGNATURE_FILE.to_owned(), Digest::sha256(&signed.signature)),
            (MODEL_FILE.to_owned(), Digest::sha256(b"model")),
        ];
        let model = sign_model(NAME, &files, &IGNORED_PATHS, &key).expect("plain paths");
        let statement = ModelStatement::open(&model.bundle, key.public()).expect("its own bundle");
        let round = RoundEvidence::of(&signed, "0.1.0").expect("a signed record");
        let evidence = sign_round(NAME, &model.root, &round, &key).expect("finite numbers");
        Genuine { key, bundle: model.bundle, statement, evidence, round }
    })
}

pub(crate) fn bundle(bytes: &[u8]) {
    let Genuine { key, statement: genuine, .. } = genuine();
    let Some((mode, rest)) = bytes.split_first() else { return };
    if mode & 1 == 0 {
        if let Ok(statement) = ModelStatement::open(rest, key.public()) {
            assert_eq!(statement, *genuine, "the key signed one statement");
        }
        return;
    }
    let Ok(statement) = ModelStatement::open(&bundled(&signed(rest)), key.public()) else { return };
    let files: Vec<(String, Digest)> =
        statement.resources.iter().rev().map(|(path, digest)| (path.clone(), *digest)).collect();
    match statement.check(&files) {
        Ok(()) => {}
        // A statement may list what it tells to ignore, and no folder is that.
        Err(BundleError::Missing { path }) => {
            assert!(statement.ignore_paths.iter().any(|ignored| path.starts_with(ignored.as_str())));
            return;
        }
        Err(why) => panic!("its own files: {why}"),
    }
    let extra = [&files[..], &[("\u{1}".to_owned(), Digest::sha256(b""))]].concat();
    if !statement.resources.contains_key("\u{1}")
        && !statement.ignore_paths.iter().any(|path| path == "\u{1}")
    {
        assert!(matches!(statement.check(&extra), Err(BundleError::Extra { .. })));
    }
    let ignored: Vec<&str> = statement.ignore_paths.iter().map(String::as_str).collect();
    let again = sign_model(&statement.name, &files, &ignored, key).expect("plain paths");
    let again = ModelStatement::open(&again.bundle, key.public()).expect("its own bundle");
    assert_eq!((again.name, again.resources), (statement.name, statement.resources));
}

pub(crate) fn evidence(bytes: &[u8]) {
    let Genuine { key, statement, round, .. } = genuine();
    let Some((mode, rest)) = bytes.split_first() else { return };
    if mode & 1 == 0 {
        if let Ok(read) = verify_round(rest, statement, key.public()) {
            assert_eq!(read, *round, "the key signed one evidence");
        }
        return;
    }
    let Ok(read) = verify_round(&signed(rest), statement, key.public()) else { return };
    let again = sign_round(NAME, &statement.root, &read, key).expect("what was read is finite");
    assert_eq!(verify_round(&again, statement, key.public()).expect("its own bytes"), read);
}

/// A target's name, the seed's, its bytes.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let Genuine { bundle, evidence, .. } = genuine();
    let payload = |file: &[u8]| {
        let envelope = Envelope::from_json(file).expect("its own bytes");
        envelope.verify(TYPE, genuine().key.public()).expect("its own signature").to_vec()
    };
    let cut = |text: &[u8]| {
        let text = String::from_utf8(text.to_vec()).expect("JSON");
        let (_, envelope) = text.split_once(ENVELOPE).expect("a bundle");
        envelope.as_bytes()[..envelope.len() - 1].to_vec()
    };
    vec![
        ("bundle", "file", [&[0][..], bundle].concat()),
        ("bundle", "statement", [&[1][..], &payload(&cut(bundle))].concat()),
        ("evidence", "file", [&[0][..], evidence].concat()),
        ("evidence", "statement", [&[1][..], &payload(evidence)].concat()),
    ]
}

const TYPE: &str = "application/vnd.in-toto+json";
const ENVELOPE: &str = "\"dsseEnvelope\":";

fn signed(payload: &[u8]) -> Vec<u8> {
    Envelope::sign(TYPE, payload.to_vec(), &genuine().key).to_json().expect("base64")
}

/// An envelope in the genuine bundle's place for it.
fn bundled(envelope: &[u8]) -> Vec<u8> {
    let Genuine { bundle, .. } = genuine();
    let at =
        bundle.windows(ENVELOPE.len()).position(|window| window == ENVELOPE.as_bytes()).expect("a bundle");
    [&bundle[..at + ENVELOPE.len()], envelope, b"}"].concat()
}
