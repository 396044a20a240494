//! A coordinator's log that holds uploads of one silo, and that silo's side of it, for tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use audit::{Action, Actor, Event, Log};
use ed25519_dalek::SigningKey;
use identity::{AuthorisedRoster, IdentityKey, Member, Roster};
use params::Digest;
use plan::Policy;
use protocol::{Attempt, ClientRecord, Profile, Timestamp};
use secagg::ClientId;

use crate::{ShownLog, ShownReceipt, Uploads};

/// The silo, whose key is made of ones.
pub const OWN: ClientId = ClientId(1);
/// Of these rounds the silo has an upload, and the log an entry whose number is the round's.
const ROUNDS: [u64; 3] = [0, 1, 2];
const FEDERATION: &str = "watched";

/// The coordinator's is made of nines.
fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&format!("{byte:02x}").repeat(32)).unwrap()
}

/// The run that all uploads are of.
pub fn run() -> Digest {
    Digest::sha256(b"run")
}

/// The masked vector of a round.
pub fn upload(round: u64) -> Digest {
    Digest::sha256(&round.to_le_bytes())
}

/// An upload of the silo's, as the coordinator says.
pub fn event(round: u64, upload: Digest) -> Event {
    let actor = Actor { id: format!("silo-{OWN}"), role: "client".into(), address: None };
    let event = Event::new(1, actor, Action::UploadReceived, audit::Status::Ok);
    Event { round: Some(round), attempt: Some(1), digest: Some(upload.to_string()), ..event }
}

/// A log in a new folder, with uploads of the silo in rounds 0 to 2.
pub fn log(folder: &Path) -> Log {
    log_of(folder, &ROUNDS.map(|round| event(round, upload(round))))
}

/// A published log of these events, in a new folder.
pub fn log_of(folder: &Path, events: &[Event]) -> Log {
    let key: SigningKey = key(9).signing_key().clone();
    let mut log = Log::open(folder, &audit::log_name(FEDERATION), key).unwrap();
    log.append(events).unwrap();
    log.publish().unwrap();
    log
}

/// What an honest coordinator shows of its log to one who has seen `seen` entries and has the receipts up to `receipts_after`.
pub fn shown(log: &Log, seen: u64, receipts_after: Option<u64>) -> ShownLog {
    let size = log.published_size();
    let proof = if seen == 0 { Vec::new() } else { log.prove_consistency(seen, size).unwrap() };
    let receipts = (receipts_after.map_or(0, |after| after + 1)..size).map(|index| {
        let entry = log.entries(index..index + 1).unwrap().remove(0);
        ShownReceipt { index, entry, proof: log.prove_inclusion(index).unwrap() }
    });
    ShownLog {
        checkpoint: log.checkpoint().unwrap(),
        proof: proof.into_iter().map(|hash| hash.to_vec()).collect(),
        receipts: receipts.collect(),
    }
}

/// Of three silos.
pub fn roster() -> AuthorisedRoster {
    let text = |byte: u8| {
        let public = key(byte).public();
        public.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let member = |id: u8| Member { name: format!("silo {id}"), identity_key: text(id), admitted: 1 };
    let roster = Roster {
        format: None,
        federation: FEDERATION.into(),
        epoch: 1,
        coordinator_key: text(9),
        members: (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect(),
        previous: None,
    };
    roster.sign(&key(100)).authorise(&key(100).public()).unwrap()
}

/// The silo's own.
pub fn profile() -> Profile {
    Profile {
        id: OWN,
        identity: key(1),
        authority: key(100).public(),
        roster: roster(),
        policy: Policy::for_authors([]),
        declares_data: false,
        sandbox: None,
    }
}

/// What the silo has uploaded, and has no receipt of.
pub fn uploads() -> Uploads {
    let uploads = Uploads::default();
    uploads.follow(&ClientRecord::Joined { run_id: run(), plan: run(), roster_epoch: 1 });
    for round in ROUNDS {
        let [model, r2] = [run(); 2];
        let (now, at, upload) = (Timestamp(1), Attempt { round, attempt: 1 }, upload(round));
        uploads.follow(&ClientRecord::Debited { now, at, model, r2, upload, event: None });
    }
    uploads
}
