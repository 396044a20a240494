//! The registry over restarts, damage and time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::{AccessError, OperationError, Purpose, Registry, RegistryError, RegistryFileError, Whom};
use identity::{AccessToken, IdentityKey, Member, Role, Roster, RosterError, Subject};
use params::Digest;
use protocol::Rejection;
use secagg::ClientId;
use tempfile::TempDir;
use tonic::{Code, Status};
use wire::{ServiceError, ToStatus};

const NOW_S: u64 = 1_700_000_000;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.json");
    (folder, path)
}

fn public(byte: u8) -> String {
    let key = IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap();
    hex::encode(key.public().as_bytes())
}

fn roster(epoch: u64, members: &[u8]) -> Roster {
    let member = |id: &u8| {
        let member = Member { name: format!("silo-{id}"), identity_key: public(*id), admitted: 1 };
        (ClientId(u32::from(*id)), member)
    };
    Roster {
        format: None,
        previous: None,
        federation: "hospitals".into(),
        epoch,
        coordinator_key: public(99),
        members: members.iter().map(member).collect(),
    }
}

/// A registry with an entry of each kind but requests.
fn filled(path: &Path) -> Registry {
    let registry = Registry::open(path).unwrap();
    registry.settle_roster(&roster(1, &[1, 2]), "init", NOW_S).unwrap();
    let purpose = Purpose::Silo { name: "west".into() };
    registry.register_token(Digest::sha256(b"token"), purpose, NOW_S + 60, NOW_S).unwrap();
    registry.deny(Whom::Client(ClientId(1)), "stolen", "ada", NOW_S).unwrap();
    registry.deny(Whom::Operator("eve".into()), "left us", "ada", NOW_S).unwrap();
    registry.open_incident("strange losses", "ada", NOW_S * 1000).unwrap();
    registry
}

#[test]
fn everything_is_there_after_a_restart() {
    let (_folder, path) = folder();
    let before = filled(&path);
    let after = Registry::open(&path).unwrap();
    assert_eq!(after.tokens(), before.tokens());
    assert_eq!(after.denials(), before.denials());
    assert_eq!(after.incidents(), before.incidents());
    assert_eq!(after.denied().now(), before.denied().now());
    assert_eq!(after.denied().now().subject(&Subject::Silo(ClientId(1))), Some("stolen"));
    assert_eq!(after.denials().len(), 2);
}

#[test]
fn a_damaged_or_edited_file_is_refused_and_kept() {
    let (_folder, path) = folder();
    drop(filled(&path));
    let good = fs::read_to_string(&path).unwrap();
    let edited = good.replace("left us", "left it");
    assert_ne!(edited, good);
    for bad in ["", &good[..good.len() / 2], &edited] {
        fs::write(&path, bad).unwrap();
        let why = Registry::open(&path).unwrap_err();
        assert!(matches!(why, RegistryFileError::Damaged { .. }), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad, "it was touched");
    }
    fs::write(&path, good).unwrap();
    assert_eq!(Registry::open(&path).unwrap().denials().len(), 2);
}

#[test]
fn a_file_of_a_later_release_names_its_version() {
    let (_folder, path) = folder();
    drop(filled(&path));
    let later = fs::read_to_string(&path).unwrap().replacen("\"version\":1", "\"version\":3", 1);
    fs::write(&path, later).unwrap();
    let why = Registry::open(&path).unwrap_err();
    assert!(matches!(why, RegistryFileError::Version { version: 3, .. }), "{why}");
}

#[test]
fn a_half_written_change_is_not_seen_after_a_crash() {
    let (_folder, path) = folder();
    let before = filled(&path).denials();
    fs::write(path.with_extension("json.tmp"), "{\"version\":1,").unwrap();
    let after = Registry::open(&path).unwrap();
    assert_eq!(after.denials(), before);
    after.deny(Whom::Operator("mallory".into()), "left us", "ada", NOW_S).unwrap();
    assert_eq!(Registry::open(&path).unwrap().denials().len(), 3);
}

#[test]
fn an_expired_token_and_its_own_time_never_meet_in_between() {
    let (_folder, path) = folder();
    let registry = Registry::open(&path).unwrap();
    let purpose = || Purpose::Operator { name: "viv".into(), role: Role::Viewer };
    let text = format!("fmtoken1.{}", "A".repeat(43));
    let token = AccessToken::from_text(&text).unwrap();
    let past = registry.register_token(token.secret_hash(), purpose(), NOW_S, NOW_S);
    assert!(matches!(past, Err(RegistryError::Invalid(_))));
    registry.register_token(token.secret_hash(), purpose(), NOW_S + 60, NOW_S).unwrap();
    assert!(registry.operator(&token, NOW_S + 59).is_ok());
    assert_eq!(registry.operator(&token, NOW_S + 60), Err(AccessError::TokenExpired));
}

#[test]
fn settling_the_same_roster_again_after_a_crash_changes_nothing() {
    let (_folder, path) = folder();
    let registry = filled(&path);
    registry.settle_roster(&roster(2, &[1]), "ada", NOW_S).unwrap();
    let kept = fs::read(&path).unwrap();
    assert_eq!(registry.denials().len(), 3, "silo 2 left");
    registry.settle_roster(&roster(2, &[1]), "start", NOW_S + 100).unwrap();
    assert_eq!(fs::read(&path).unwrap(), kept);
}

#[test]
fn whoever_left_and_is_then_barred_stays_barred_when_a_roster_names_it_again() {
    let (_folder, path) = folder();
    let registry = filled(&path);
    registry.settle_roster(&roster(2, &[1]), "ada", NOW_S).unwrap();
    let left = Whom::Client(ClientId(2));
    registry.deny(left.clone(), "it sold its key", "ada", NOW_S).unwrap();
    assert!(matches!(registry.deny(left, "again", "ada", NOW_S), Err(RegistryError::Settled { .. })));
    registry.settle_roster(&roster(3, &[1, 2]), "ada", NOW_S).unwrap();
    let barred = registry.check_member(ClientId(2), &roster(3, &[1, 2]));
    assert_eq!(barred, Err(RegistryError::Barred(ClientId(2))));
}

#[test]
fn sixty_four_hexadecimal_digits_are_a_certificate_and_other_names_an_operator() {
    let digest = Digest::sha256(b"certificate");
    assert_eq!(Whom::operator_or_certificate(&digest.to_string()), Ok(Whom::Certificate(digest)));
    assert_eq!(Whom::operator_or_certificate("eve"), Ok(Whom::Operator("eve".into())));
    assert!(matches!(Whom::operator_or_certificate("a b"), Err(RegistryError::Invalid(_))));
}

#[test]
fn what_a_run_refuses_reaches_the_caller_with_the_reason_and_the_details_of_its_kind() {
    let reached = |why: OperationError| {
        let status = Status::from(why);
        (status.code(), status.message().to_owned(), status.details().to_vec())
    };
    let of = |kind: &dyn ToStatus| {
        let status = kind.to_status();
        (status.code(), status.message().to_owned(), status.details().to_vec())
    };
    let rejected = Rejection::AlreadySo("the run is paused".into());
    assert_eq!(reached(rejected.clone().into()), of(&rejected));
    let stopping = ServiceError::Restarting { retry_after: Duration::from_secs(2) };
    assert_eq!(reached(stopping.clone().into()), of(&stopping));
    assert_eq!(reached(RegistryError::RosterSignature.into()), of(&RegistryError::RosterSignature));
    // These have no code of their own.
    let plain = reached(RosterError::Signature.into());
    assert_eq!(plain, (Code::InvalidArgument, RosterError::Signature.to_string(), vec![]));
    let (code, _, details) = reached(OperationError::NotEncrypted);
    assert_eq!((code, details), (Code::FailedPrecondition, vec![]));
}

#[test]
fn every_refusal_has_a_reason_code_of_its_own() {
    let text = String::new;
    let ours: Vec<Box<dyn ToStatus>> = vec![
        Box::new(AccessError::Unauthenticated { path: text(), needs: text() }),
        Box::new(AccessError::UnknownToken),
        Box::new(AccessError::TokenExpired),
        Box::new(AccessError::TokenWithdrawn),
        Box::new(AccessError::CertificateExpired),
        Box::new(AccessError::Denied { who: text(), reason: text() }),
        Box::new(AccessError::WrongRole { path: text(), needs: text(), who: text(), has: text() }),
        Box::new(AccessError::TooOften { who: text(), path: text(), retry_after: Duration::ZERO }),
        Box::new(AccessError::UnknownRpc(text())),
        Box::new(RegistryError::TokenUnknown),
        Box::new(RegistryError::TokenExpired),
        Box::new(RegistryError::TokenWithdrawn),
        Box::new(RegistryError::TokenReplayed),
        Box::new(RegistryError::TokenForAnother(text())),
        Box::new(RegistryError::JoinSignature),
        Box::new(RegistryError::NameAwaiting(text())),
        Box::new(RegistryError::NameTaken(text())),
        Box::new(RegistryError::TokenRepeated(text())),
        Box::new(RegistryError::NoSuch { what: "token", id: text() }),
        Box::new(RegistryError::Settled { what: "token", id: text(), state: "used" }),
        Box::new(RegistryError::Invalid(text())),
        Box::new(RegistryError::Full { what: "tokens", most: 1, remedy: "wait" }),
        Box::new(RegistryError::Barred(ClientId(1))),
        Box::new(RegistryError::NotAMember(ClientId(1))),
        Box::new(RegistryError::NotRenewed(text())),
        Box::new(RegistryError::Roster(text())),
        Box::new(RegistryError::RosterEpoch { got: 1, in_force: 1 }),
        Box::new(RegistryError::RosterSignature),
        Box::new(RegistryError::Issue(text())),
        Box::new(RegistryError::NotSaved),
    ];
    let mut reasons = BTreeSet::new();
    for refusal in &ours {
        assert!(reasons.insert(refusal.reason()), "{} is used twice", refusal.reason());
        assert_eq!(wire::reason(&refusal.to_status()).as_deref(), Some(refusal.reason()));
        assert!(!refusal.to_string().ends_with('.'), "{refusal}");
    }
}
