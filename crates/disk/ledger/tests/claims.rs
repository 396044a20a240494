//! Claims in a ledger that several daemons share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use accounting::{Budget, DpEvent, Unit, steps_allowed};
use ledger::{ClaimLimits, Cost, Ledger, LedgerError, Limits, Release, RunClaim, samples};
use params::Digest;

const EVENT: DpEvent = DpEvent::Gaussian { noise_multiplier: 10.0 };
const LIMITS: Limits = Limits { epsilon_max: 2.0, delta: 1e-6, period: None, releases_max: None };
const CLAIM_LIMITS: ClaimLimits = ClaimLimits { limits: LIMITS, per_author: None, exact_releases: 0 };
const LEASE_MS: u64 = 1_000_000;

fn ledger(folder: &Path) -> Ledger {
    Ledger::new(folder, "d", Some(folder.join("anchor")), None).unwrap()
}

fn run(daemon: &str) -> Digest {
    Digest::sha256(daemon.as_bytes())
}

fn claim(daemon: &str, count: u64) -> RunClaim {
    RunClaim {
        daemon: daemon.into(),
        run: run(daemon),
        run_name: "readmission".into(),
        plan: run(daemon),
        author: "author".into(),
        rounds: count,
        uploads: count,
        unit: Some(Unit::Record),
        cost: Some(Cost { event: EVENT, count }),
        lease_ms: LEASE_MS,
    }
}

fn debit(ledger: &Ledger, daemon: &str, round: u64) -> Result<(), LedgerError> {
    let (run, plan) = (run(daemon), run(daemon));
    let release = Release { daemon: daemon.into(), run, plan, ..samples::release("readmission", round) };
    ledger.reserve(release, Some(Cost { event: EVENT, count: 1 }), &LIMITS, round).map(|_| ())
}

fn allowed() -> u64 {
    steps_allowed(&EVENT, &Budget::new(LIMITS.epsilon_max, LIMITS.delta).unwrap()).unwrap()
}

#[test]
fn daemons_that_claim_at_the_same_time_never_promise_more_than_there_is_and_each_run_begun_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (claimed, greedy) = (AtomicU64::new(0), AtomicU64::new(0));
    let each = 3;
    thread::scope(|scope| {
        for number in 0..allowed() {
            let (ledger, claimed) = (ledger(folder.path()), &claimed);
            scope.spawn(move || {
                let daemon = format!("claims {number}");
                match ledger.claim(claim(&daemon, each), &CLAIM_LIMITS, 1) {
                    Ok(()) => claimed.fetch_add(1, Ordering::SeqCst),
                    Err(LedgerError::Overspent(_)) => return,
                    Err(why) => panic!("{why}"),
                };
                for round in 1..=each {
                    debit(&ledger, &daemon, round).unwrap();
                }
            });
        }
        // One that never claimed takes what it can get meanwhile.
        let (ledger, greedy) = (ledger(folder.path()), &greedy);
        scope.spawn(move || {
            for round in 1.. {
                match debit(&ledger, "greedy", round) {
                    Ok(()) => greedy.fetch_add(1, Ordering::SeqCst),
                    Err(LedgerError::Overspent(_)) => break,
                    Err(why) => panic!("{why}"),
                };
            }
        });
    });
    let (claimed, greedy) = (claimed.into_inner(), greedy.into_inner());
    let account = ledger(folder.path()).inspect().unwrap().account;
    assert_eq!(account.total(LIMITS.delta).debits, claimed * each + greedy);
    assert!(account.total(LIMITS.delta).epsilon() <= LIMITS.epsilon_max);
    assert!(
        claimed * each + greedy > allowed() - each,
        "{claimed} claims and {greedy} debits of {}",
        allowed()
    );
}

#[test]
fn what_is_given_back_or_has_lapsed_is_free_and_a_claim_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    let all = allowed();
    ledger.claim(claim("a", all), &CLAIM_LIMITS, 1).unwrap();
    ledger.claim(claim("a", all), &CLAIM_LIMITS, 2).unwrap();
    assert_eq!(ledger.inspect().unwrap().head.sequence, 1, "the one that is there serves");
    let refused = |now_ms| ledger.claim(claim("b", 1), &CLAIM_LIMITS, now_ms).unwrap_err();
    assert!(matches!(refused(3), LedgerError::Overspent(_)));
    assert!(!ledger.return_claim("b", &run("a"), "not its own", 4).unwrap());
    assert!(ledger.return_claim("a", &run("a"), "the run is over", 5).unwrap());
    assert!(!ledger.return_claim("a", &run("a"), "the run is over", 6).unwrap());
    ledger.claim(claim("b", all), &CLAIM_LIMITS, 7).unwrap();
    // A daemon that lives renews its claims; one that died for good does not.
    ledger.renew_claims("b", 8).unwrap();
    assert_eq!(ledger.inspect().unwrap().head.sequence, 3, "it is not due");
    ledger.renew_claims("b", 7 + LEASE_MS / 2).unwrap();
    assert!(matches!(
        ledger.claim(claim("a", all), &CLAIM_LIMITS, 7 + LEASE_MS),
        Err(LedgerError::Overspent(_))
    ));
    ledger.claim(claim("a", all), &CLAIM_LIMITS, 7 + LEASE_MS / 2 + LEASE_MS).unwrap();
}

#[test]
fn a_crash_at_any_byte_of_a_claim_loses_no_entry_before_it_and_it_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    debit(&ledger, "a", 1).unwrap();
    let (file, anchor) = (ledger.path().to_owned(), folder.path().join("anchor"));
    let before = (fs::read(&file).unwrap(), fs::read(&anchor).unwrap());
    ledger.claim(claim("b", 2), &CLAIM_LIMITS, 2).unwrap();
    let after = (fs::read(&file).unwrap(), fs::read(&anchor).unwrap());
    let cuts = (before.0.len()..=after.0.len()).map(|end| (end, before.1.len()));
    for (end, anchored) in cuts.chain((before.1.len()..=after.1.len()).map(|end| (after.0.len(), end))) {
        fs::write(&file, &after.0[..end]).unwrap();
        fs::write(&anchor, &after.1[..anchored]).unwrap();
        ledger.claim(claim("b", 2), &CLAIM_LIMITS, 2).unwrap();
        let account = ledger.inspect().unwrap().account;
        assert_eq!((account.entries().len(), account.claims(2).len()), (2, 1), "cut at {end}, {anchored}");
    }
}

#[test]
fn a_ledger_of_the_first_release_takes_claims_and_what_it_says_stays() {
    let folder = tempfile::tempdir().unwrap();
    let name = "silo.ledger";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fixtures/release-1/silo-1/state/ledger")
        .join(name);
    let before = fs::read(fixture).unwrap();
    fs::write(folder.path().join(name), &before).unwrap();
    let ledger = Ledger::new(folder.path(), "silo", None, None).unwrap();
    let entries = ledger.inspect().unwrap().account.entries().len();
    let wide = ClaimLimits { limits: Limits { epsilon_max: 1e6, ..LIMITS }, ..CLAIM_LIMITS };
    ledger.claim(claim("a", 2), &wide, 2).unwrap();
    let after = fs::read(folder.path().join(name)).unwrap();
    assert!(after.starts_with(&before));
    let account = ledger.inspect().unwrap().account;
    assert_eq!((account.entries().len(), account.claims(2).len()), (entries + 1, 1));
}
