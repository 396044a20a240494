//! Makes a log for other programs to check: `sample-log DIR`.
//!
//! ```text
//! DIR/key, DIR/witness-key    the verifier keys' texts, of the log and of silo-3
//! DIR/log/                    700 entries in tiles, with the checkpoint, cosigned
//! DIR/checkpoints/000256      the checkpoints on the way, each as it was published
//! DIR/receipts/000042         receipts at the last size
//! DIR/rewritten/              the same log with one entry rewritten, signed again by the same key
//! ```
// It prints where it wrote.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use audit::{Actor, Event, Log, Status, Witness};
use ed25519_dalek::SigningKey;
use tlog::VerifierKey;

const ORIGIN: &str = "folkmoot.example/sample";
/// Sizes of the checkpoints: around the edges of tiles, and twice the same partial tile grown.
const SIZES: [u64; 10] = [0, 1, 2, 7, 255, 256, 257, 511, 640, 700];
const REWRITTEN: u64 = 17;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: sample-log DIR")?);
    fs::create_dir_all(folder.join("checkpoints"))?;
    fs::create_dir_all(folder.join("receipts"))?;
    let mut log = Log::open(&folder.join("log"), ORIGIN, key())?;
    let mut witness = Witness::open(&folder.join("witness"), log.verifier_key().clone())?;
    let silo = SigningKey::from_bytes(&[3; 32]);
    let silo_key = VerifierKey::new("silo-3", silo.verifying_key())?;
    for size in SIZES {
        let events: Vec<Event> = (log.size()..size).map(event).collect();
        log.append(&events)?;
        let checkpoint = log.publish()?;
        let proof = log.prove_consistency(witness.size(), size)?;
        let line = witness.observe(&checkpoint, &proof, &silo, "silo-3", 1_760_000_000 + size)?;
        log.add_cosignature(&line, &silo_key)?;
        write(&folder.join(format!("checkpoints/{size:06}")), log.checkpoint())?;
    }
    for index in [0, 42, 255, 256, 699] {
        write(&folder.join(format!("receipts/{index:06}")), Some(log.prove_inclusion(index)?))?;
    }
    fs::write(folder.join("key"), log.verifier_key().to_string())?;
    fs::write(folder.join("witness-key"), silo_key.to_string())?;

    let mut rewritten = Log::open(&folder.join("rewritten"), ORIGIN, key())?;
    let mut events: Vec<Event> = (0..log.size()).map(event).collect();
    if let Some(event) = events.get_mut(REWRITTEN as usize) {
        event.status = Status::Refused;
    }
    rewritten.append(&events)?;
    rewritten.publish()?;
    println!("{} entries in {}", log.size(), folder.display());
    Ok(())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn event(index: u64) -> Event {
    let actor = Actor { id: format!("silo-{}", index % 5), role: "client".into(), address: None };
    let mut event = Event::new(1_760_000_000_000 + index, actor, "upload.received", Status::Ok);
    event.round = Some(index / 5);
    event.bytes = Some(1000 + index);
    event
}

fn write(path: &Path, text: Option<String>) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(path, text.ok_or("nothing is published")?)?)
}
