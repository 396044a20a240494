//! Tamper-evident logs, checked, read and copied from their files alone.

use std::fs;

use audit::{Actor, Event, Log, Status};
use ed25519_dalek::SigningKey;

use crate::program::{FAILED, Here, USAGE, VERIFICATION};

/// A published log of 300 entries with a receipt and an earlier checkpoint beside it.
struct Sample {
    here: Here,
    key: String,
}

impl Sample {
    fn new() -> Self {
        let here = Here::new();
        let mut log = Log::open(&here.path("log"), "log", SigningKey::from_bytes(&[1; 32])).unwrap();
        log.append(&(0..100).map(event).collect::<Vec<_>>()).unwrap();
        here.write("earlier", log.publish().unwrap());
        log.append(&(100..300).map(event).collect::<Vec<_>>()).unwrap();
        log.publish().unwrap();
        here.write("receipt", log.prove_inclusion(7).unwrap());
        Self { key: log.verifier_key().to_string(), here }
    }

    fn verify(&self, rest: &str) -> String {
        format!("audit verify --key {} {rest}", self.key)
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
    let here = &sample.here;
    here.done(&sample.verify("log --against earlier --receipt receipt"));
    here.done("audit export log --out copy");
    here.done(&sample.verify("copy --against earlier --receipt receipt"));
    assert!(!here.path("copy/journal").exists());
    here.refused("audit export log --out copy", FAILED);
}

#[test]
fn what_does_not_hold_is_a_failed_verification() {
    let sample = Sample::new();
    let here = &sample.here;
    here.write("edited", here.read("earlier").replace("\n100\n", "\n101\n"));
    here.refused(&sample.verify("log --against edited"), VERIFICATION);
    here.write("moved", here.read("receipt").replace("index 7", "index 8"));
    here.refused(&sample.verify("log --receipt moved"), VERIFICATION);
    fs::remove_file(here.path("log/tile/0/000")).unwrap();
    here.refused(&sample.verify("log"), VERIFICATION);
    fs::remove_file(here.path("log/checkpoint")).unwrap();
    here.refused(&sample.verify("log"), VERIFICATION);
    here.refused(&sample.verify("log --against absent"), USAGE);
    here.refused(&sample.verify("elsewhere"), USAGE);
}

#[test]
fn an_event_is_one_line_without_control_characters() {
    let here = Here::new();
    let mut log = Log::open(&here.path("log"), "log", SigningKey::from_bytes(&[1; 32])).unwrap();
    let mut event = event(7);
    event.status = Status::Refused;
    event.details.insert("why".into(), "a\nb\u{1b}[2J".into());
    log.append(&[event]).unwrap();
    log.publish().unwrap();
    let shown = here.done("audit show log");
    let line = shown.strip_suffix('\n').unwrap();
    assert!(
        line.starts_with(
            "       0  1970-01-01T00:00:01Z  upload.received REFUSED  silo-7 (client)  round=2  why="
        ),
        "{line}"
    );
    assert!(!line.contains(char::is_control), "{line:?}");
    assert_eq!(here.done("audit show log --action upload"), shown);
    assert_eq!(here.done("audit show log --action call"), "");
    here.refused("audit show log --action uploaded", USAGE);
}
