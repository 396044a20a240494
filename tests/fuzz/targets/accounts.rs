//! What an auditor reads: a silo's ledger and its anchor, a version's model card.
//!
//! ```text
//! ledger: input = 0, file               as it was found
//!         input = 1, piece, piece, …    bodies of entries, chained whatever they say, which no mutation would hit
//!         input = 2, file               an anchor, held against the genuine ledger
//! card:   input = text
//! ```

use std::path::Path;
use std::sync::OnceLock;

use accounting::DpEvent;
use card::{Card, Controls, Declarations, Evaluation};
use checkpoint::SignedManifest;
use ledger::{Chain, Cost, Entry, What, check_anchor, open_entries, samples};
use params::Digest;

use super::script::{Script, piece};
use super::seeds::{plans, roster, signed};

const DATASET: &str = "admissions";

pub(crate) fn ledger(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    match mode % 3 {
        0 => file(rest),
        1 => {
            let mut script = Script::new(rest);
            let bodies = std::iter::from_fn(|| script.piece().map(String::from_utf8_lossy));
            file(chained(bodies.map(|body| body.replace('\n', " "))).as_bytes());
        }
        _ => anchor(rest),
    }
}

fn file(bytes: &[u8]) {
    let Ok(chain) = Chain::read(bytes) else { return };
    let lines =
        (1..).zip(&chain.lines).map(|(number, line)| format!("{number} {} {}\n", line.hash, line.body));
    let held: String = [chain.header()].into_iter().chain(lines).collect();
    let whole = held.strip_suffix('\n').expect("a line break");
    assert!(bytes.starts_with(whole.as_bytes()), "what holds is what was written");
    assert_eq!(chain.head().sequence, chain.lines.len() as u64);
    assert_eq!(chain.hash(chain.head().sequence), Some(chain.head().hash));
    let again = Chain::read(held.as_bytes()).expect("its own lines");
    assert_eq!((again.head(), &again.lines), (chain.head(), &chain.lines));
    // One line less is another ledger, and one that is cut is none of its entries more.
    let cut = Chain::read(&held.as_bytes()[..whole.len().saturating_sub(1)]).map(|cut| cut.head().sequence);
    assert!(cut.is_err() || cut.is_ok_and(|cut| cut < chain.head().sequence));
    let Ok(entries) = open_entries(Path::new("a.ledger"), &chain, None) else { return };
    assert!(!chain.sealed || entries.is_empty(), "nothing that is sealed opens without a key");
    for entry in entries {
        let text = entry.encode().expect("it was read");
        assert_eq!(Entry::decode(entry.sequence, text.as_bytes()).expect("its own text"), entry);
    }
}

fn anchor(bytes: &[u8]) {
    let chain = Chain::read(genuine().as_bytes()).expect("the genuine ledger");
    let entries = open_entries(Path::new("a.ledger"), &chain, None).expect("its entries");
    if check_anchor(bytes, &chain, Some(&entries)).is_ok() {
        assert!(check_anchor(bytes, &chain, None).is_ok(), "what holds with the entries, holds without");
        let (head, before) = (chain.head(), chain.head().sequence - 1);
        let named = [(head.sequence, head.hash), (before, chain.hash(before).expect("it has more than one"))];
        let text = String::from_utf8_lossy(bytes);
        let names = |(number, hash): (u64, Digest)| text.contains(&format!("{number} {hash}"));
        let torn = text
            .lines()
            .last()
            .is_none_or(|last| format!("{} {}", head.sequence, head.hash).starts_with(last));
        assert!(named.into_iter().any(names) || torn, "an anchor that tells of another ledger");
    }
}

pub(crate) fn card(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = match Card::from_yaml(text) {
        Ok(read) => read,
        Err(why) => {
            let shown = why.to_string();
            assert!(shown.len() <= 2 << 10, "a refusal of {} bytes", shown.len());
            return;
        }
    };
    let written = read.to_yaml().expect("it was read");
    let again = Card::from_yaml(&written).expect("its own text");
    assert_eq!(again.to_yaml().expect("it was written"), written, "one content, one spelling");
    let manifest = manifest();
    let same = read.training_data.silos.iter().map(|silo| silo.id).eq(manifest.included.iter().copied());
    let learned = manifest.included.iter().copied().collect();
    if read.check(&manifest, &learned, None).is_ok() {
        assert!(same && read.model.version == manifest.round && read.model.run == manifest.run_id);
        assert_eq!(read.privacy.epsilon_spent, manifest.privacy.epsilon);
    }
    let _ = read.readme();
}

fn manifest() -> checkpoint::Manifest {
    let SignedManifest { manifest_bytes, .. } = signed(4);
    checkpoint::Manifest::from_bytes(&manifest_bytes).expect("a sound manifest")
}

/// A ledger of these bodies.
fn chained(bodies: impl Iterator<Item = String>) -> String {
    let empty = Chain::empty(DATASET, false);
    let (mut text, mut hash) = (empty.header(), empty.head().hash);
    for (number, body) in (1u64..).zip(bodies) {
        let parts: [&[u8]; 3] = [hash.as_bytes(), &number.to_le_bytes(), body.as_bytes()];
        hash = Digest::of("folkmoot/v1/ledger-entry", &parts);
        text.push_str(&format!("{number} {hash} {body}\n"));
    }
    text
}

fn bodies() -> Vec<String> {
    let release = |round| samples::release("run", round);
    let event = DpEvent::PoissonGaussian { sampling_rate: 0.1, noise_multiplier: 1.5 };
    let debit = What::Debit { release: release(1), cost: Cost { event, count: 1 }, delta: 1e-5 };
    let accepted =
        What::OperatorAcceptsLoss { reason: "the disk broke".into(), anchor: None, journal_of: None };
    let claim = samples::claim("run", 3);
    let returned =
        What::ClaimReturned { daemon: claim.daemon.clone(), run: claim.run, reason: "it is over".into() };
    [debit, What::ExactRelease { release: release(2) }, accepted, What::Claim { claim }, returned]
        .into_iter()
        .map(|what| Entry { sequence: 1, time_ms: 9, what }.encode().expect("finite numbers"))
        .collect()
}

fn genuine() -> &'static str {
    static GENUINE: OnceLock<String> = OnceLock::new();
    GENUINE.get_or_init(|| chained(bodies().into_iter()))
}

/// Genuine inputs of both targets.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let with = |mode: u8, rest: &[u8]| [&[mode][..], rest].concat();
    let pieces: Vec<u8> = bodies().iter().flat_map(|body| piece(body.as_bytes())).collect();
    let chain = Chain::read(genuine().as_bytes()).expect("the genuine ledger");
    let heads: String =
        (1..).zip(&chain.lines).map(|(number, line)| format!("{number} {}\n", line.hash)).collect();
    let sealed = format!("{}1 {} 00ff\n", Chain::empty(DATASET, true).header(), Digest::sha256(b"hash"));
    let controls = Controls {
        transport: "mutual TLS 1.3".into(),
        encrypted_at_rest: true,
        model_signature: true,
        audit_log: "folkmoot/attacked".into(),
        metrics_endpoint: Some("127.0.0.1:9000".into()),
    };
    let manifest = manifest();
    let evaluation = Evaluation {
        params_digest: manifest.model.params_digest,
        data: "hold-out".into(),
        rows: 10,
        correct: 8,
        loss: 0.5,
        loss_deviation: 0.1,
    };
    let versions =
        Declarations { data: [(1, Digest::sha256(b"commitment"))].into(), ..Declarations::default() };
    let [_, plan] = plans();
    let card = Card::of(&manifest, &plan, &roster(), &[], &versions, &controls, &[evaluation]);
    vec![
        ("ledger", "file", with(0, genuine().as_bytes())),
        ("ledger", "cut", with(0, &genuine().as_bytes()[..genuine().len() - 9])),
        ("ledger", "sealed", with(0, sealed.as_bytes())),
        ("ledger", "bodies", with(1, &pieces)),
        ("ledger", "anchor", with(2, heads.as_bytes())),
        ("card", "card", card.to_yaml().expect("finite numbers").into_bytes()),
    ]
}
