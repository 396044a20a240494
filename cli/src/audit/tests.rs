use std::fs;

use audit::{Actor, Log};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;

use super::*;

/// A published log of 300 entries with a receipt and an earlier checkpoint beside it.
struct Sample {
    scratch: TempDir,
    key: VerifierKey,
}

impl Sample {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("log");
        let mut log = Log::open(&folder, "log", SigningKey::from_bytes(&[1; 32])).unwrap();
        log.append(&(0..100).map(event).collect::<Vec<_>>()).unwrap();
        fs::write(scratch.path().join("earlier"), log.publish().unwrap()).unwrap();
        log.append(&(100..300).map(event).collect::<Vec<_>>()).unwrap();
        log.publish().unwrap();
        fs::write(scratch.path().join("receipt"), log.prove_inclusion(7).unwrap()).unwrap();
        Self { key: log.verifier_key().clone(), scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn verify(&self, folder: &str, against: Option<&str>, receipt: Option<&str>) -> Result<(), Failure> {
        let file = |name: Option<&str>| name.map(|name| self.path(name));
        let (against, receipt) = (file(against), file(receipt));
        verify(&VerifyArgs { folder: self.path(folder), key: self.key.clone(), against, receipt })
    }
}

fn event(n: u64) -> Event {
    let actor = Actor { id: format!("silo-{n}"), role: "client".into(), address: None };
    let mut event = Event::new(1000 + n, actor, "upload.received", Status::Ok);
    event.round = Some(n / 3);
    event
}

#[test]
fn a_log_its_earlier_checkpoint_and_its_receipt_verify_and_so_does_an_export() {
    let sample = Sample::new();
    sample.verify("log", Some("earlier"), Some("receipt")).unwrap();
    let out = sample.path("copy");
    export(&ExportArgs { folder: sample.path("log"), out: out.clone() }).unwrap();
    sample.verify("copy", Some("earlier"), Some("receipt")).unwrap();
    assert!(!out.join("journal").exists());
    let again = ExportArgs { folder: sample.path("log"), out };
    assert!(matches!(export(&again), Err(Failure::Failed(_))), "an export overwrites nothing");
}

#[test]
fn what_does_not_hold_is_a_failed_verification() {
    let sample = Sample::new();
    let edited = fs::read_to_string(sample.path("earlier")).unwrap().replace("\n100\n", "\n101\n");
    fs::write(sample.path("edited"), edited).unwrap();
    assert!(matches!(sample.verify("log", Some("edited"), None), Err(Failure::Verification(_))));
    let moved = fs::read_to_string(sample.path("receipt")).unwrap().replace("index 7", "index 8");
    fs::write(sample.path("moved"), moved).unwrap();
    assert!(matches!(sample.verify("log", None, Some("moved")), Err(Failure::Verification(_))));
    fs::remove_file(sample.path("log/tile/0/000")).unwrap();
    assert!(matches!(sample.verify("log", None, None), Err(Failure::Verification(_))));
    fs::remove_file(sample.path("log/checkpoint")).unwrap();
    assert!(matches!(sample.verify("log", None, None), Err(Failure::Verification(_))));
    assert!(matches!(sample.verify("log", Some("absent"), None), Err(Failure::Usage(_))));
    assert!(matches!(sample.verify("elsewhere", None, None), Err(Failure::Usage(_))));
}

#[test]
fn an_event_is_one_line_without_control_characters() {
    let mut event = event(7);
    event.status = Status::Refused;
    event.details.insert("why".into(), "a\nb\u{1b}[2J".into());
    let line = line(7, &event);
    assert!(
        line.starts_with("       7  1007  upload.received REFUSED  silo-7 (client)  round=2  why="),
        "{line}"
    );
    assert!(!line.contains(char::is_control), "{line:?}");
}
