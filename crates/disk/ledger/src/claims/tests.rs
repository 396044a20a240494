use accounting::DpEvent;

use super::*;
use crate::{Release, samples};

const DELTA: f64 = 1e-5;
const DAY_MS: u64 = 24 * 3_600_000;

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn gaussian(count: u64) -> Cost {
    Cost { event: DpEvent::Gaussian { noise_multiplier: 10.0 }, count }
}

fn epsilon(count: u64) -> f64 {
    accounting::epsilon_of([(gaussian(1).event, count)], DELTA).unwrap()
}

/// A claim for a run of a plan of its own, for a week.
fn claim(run: &str, count: u64) -> RunClaim {
    RunClaim {
        daemon: "silo".into(),
        run: digest(run),
        run_name: run.into(),
        plan: digest(&format!("plan of {run}")),
        author: "author".into(),
        rounds: count,
        uploads: count,
        unit: Some(Unit::Silo),
        cost: Some(gaussian(count)),
        lease_ms: 7 * DAY_MS,
    }
}

fn release(run: &str, round: u64) -> Release {
    let plan = digest(&format!("plan of {run}"));
    Release { plan, unit: Some(Unit::Silo), ..samples::release(run, round) }
}

fn debit(run: &str, round: u64) -> What {
    What::Debit { release: release(run, round), cost: gaussian(1), delta: DELTA }
}

/// Entries an hour apart.
fn account(whats: Vec<What>) -> Account {
    let entry =
        |(index, what)| Entry { sequence: index as u64 + 1, time_ms: index as u64 * DAY_MS / 24, what };
    Account::new(whats.into_iter().enumerate().map(entry).collect())
}

fn claimed(claim: RunClaim) -> What {
    What::Claim { claim }
}

/// Room for so many events.
fn limits(count: u64) -> ClaimLimits {
    let limits = Limits { epsilon_max: epsilon(count), delta: DELTA, period: None, releases_max: None };
    ClaimLimits { limits, per_author: None, exact_releases: 0 }
}

fn next(account: &Account, run: &str, limits: &ClaimLimits) -> Result<(), Overspent> {
    let (cost, plan) = (gaussian(1), digest(&format!("plan of {run}")));
    let next = Next {
        daemon: "silo",
        run: Some(digest(run)),
        plan: &plan,
        unit: Some(Unit::Silo),
        cost: Some(&cost),
    };
    account.admits_next(next, &limits.limits, 0)
}

#[test]
fn what_is_claimed_is_left_to_its_run_and_its_own_debits_use_it_up_first() {
    let account = account(vec![claimed(claim("a", 6)), debit("a", 1), debit("b", 1)]);
    // Six of a's, one of b's: of ten, three are free.
    assert_eq!(account.admits_claim(&claim("c", 3), &limits(10), 0), Ok(()));
    let refused = account.admits_claim(&claim("c", 4), &limits(10), 0);
    assert!(matches!(refused, Err(Overspent::Claims { claims: 1, .. })), "{refused:?}");
    assert_eq!(next(&account, "b", &limits(8)), Ok(()));
    assert!(matches!(next(&account, "b", &limits(7)), Err(Overspent::Claims { claims: 1, .. })));
    assert_eq!(next(&account, "a", &limits(7)), Ok(()), "its own claim covers it");
    let [open] = &account.claims(0)[..] else { panic!("{account:?}") };
    assert_eq!((open.made, open.uploads_left(), open.cost_left()), (1, 5, Some(gaussian(5))));
}

#[test]
fn a_run_whose_claim_is_used_up_takes_what_is_left_like_any_other() {
    let whats = vec![claimed(claim("a", 2)), claimed(claim("b", 3)), debit("a", 1), debit("a", 2)];
    let account = account(whats);
    assert_eq!(next(&account, "a", &limits(6)), Ok(()));
    assert!(matches!(next(&account, "a", &limits(5)), Err(Overspent::Claims { claims: 1, .. })));
    // No claim brings anything back that was spent.
    assert!(matches!(next(&account, "b", &limits(2)), Err(Overspent::Total(_))));
}

#[test]
fn a_claim_counts_until_it_is_given_back_or_nothing_was_heard_of_its_run_for_its_time() {
    let back = What::ClaimReturned { daemon: "silo".into(), run: digest("a"), reason: "it is over".into() };
    let open = |whats: Vec<What>, now_ms| account(whats).claims(now_ms).len();
    let made = vec![claimed(claim("a", 6)), debit("a", 1)];
    let week_of_the_debit = 7 * DAY_MS + DAY_MS / 24;
    assert_eq!(open(made.clone(), week_of_the_debit - 1), 1);
    assert_eq!(open(made.clone(), week_of_the_debit), 0, "its daemon died for good");
    assert_eq!(open([made.clone(), vec![back.clone()]].concat(), 0), 0);
    assert_eq!(open([made, vec![back, claimed(claim("a", 6))]].concat(), 0), 1, "claimed again");
    let other = What::ClaimReturned { daemon: "other".into(), run: digest("a"), reason: "it is over".into() };
    assert_eq!(open(vec![claimed(claim("a", 6)), other], 0), 1, "each daemon gives back its own");
}

#[test]
fn a_claim_is_to_be_renewed_once_half_of_its_time_is_over() {
    let account = account(vec![claimed(claim("a", 6))]);
    let [open] = &account.claims(0)[..] else { panic!("{account:?}") };
    assert!(!open.is_to_be_renewed(7 * DAY_MS / 2 - 1) && open.is_to_be_renewed(7 * DAY_MS / 2));
}

#[test]
fn runs_of_one_author_claim_no_more_at_once_than_the_policy_allows() {
    let account = account(vec![claimed(claim("a", 6))]);
    let limits = ClaimLimits { per_author: Some(epsilon(8)), ..limits(100) };
    assert_eq!(account.admits_claim(&claim("b", 2), &limits, 0), Ok(()));
    let refused = account.admits_claim(&claim("b", 3), &limits, 0);
    assert!(matches!(refused, Err(Overspent::ClaimsPerAuthor(_))), "{refused:?}");
    let other = RunClaim { author: "another".into(), ..claim("b", 8) };
    assert_eq!(account.admits_claim(&other, &limits, 0), Ok(()));
}

#[test]
fn a_plan_is_claimed_for_all_its_rounds_or_not_at_all() {
    let of = |run: &str| RunClaim { plan: digest("plan of a"), unit: None, cost: None, ..claim(run, 6) };
    let most =
        |most| ClaimLimits { limits: Limits { releases_max: Some(most), ..limits(9).limits }, ..limits(9) };
    let exact =
        |run: &str, round| What::ExactRelease { release: Release { unit: None, ..release(run, round) } };
    let account = account(vec![exact("a", 1)]);
    assert_eq!(account.admits_claim(&of("a"), &most(6), 0), Ok(()), "its own round is one of its six");
    let refused = account.admits_claim(&of("b"), &most(6), 0);
    assert_eq!(refused, Err(Overspent::PlanClaimed { needed: 6, left: 5 }));
    assert_eq!(account.admits_claim(&of("b"), &most(7), 0), Ok(()));
}

#[test]
fn two_daemons_in_one_run_share_its_claim() {
    let of = |daemon: &str| RunClaim { daemon: daemon.into(), ..claim("a", 6) };
    let account = account(vec![claimed(of("one")), claimed(of("two"))]);
    assert_eq!(account.admits_claim(&claim("b", 4), &limits(10), 0), Ok(()));
    assert!(account.admits_claim(&claim("b", 5), &limits(10), 0).is_err());
}

#[test]
fn a_period_is_claimed_too_and_a_run_that_costs_more_takes_one_whole() {
    let period = |count| {
        let period = Some(PeriodLimit { days: 30, epsilon_max: epsilon(count) });
        ClaimLimits { limits: Limits { period, ..limits(1000).limits }, ..limits(1000) }
    };
    let small = account(vec![claimed(claim("a", 6)), debit("a", 1)]);
    assert_eq!(small.admits_claim(&claim("b", 4), &period(10), 0), Ok(()));
    assert!(matches!(small.admits_claim(&claim("b", 5), &period(10), 0), Err(Overspent::Period(_))));
    assert_eq!(account(vec![]).admits_claim(&claim("a", 600), &period(10), 0), Ok(()), "over sixty periods");
    let large = account(vec![claimed(claim("a", 600)), debit("a", 1)]);
    assert!(matches!(large.admits_claim(&claim("b", 1), &period(10), 0), Err(Overspent::Period(_))));
    assert_eq!(next(&large, "a", &period(2)), Ok(()));
    assert!(matches!(next(&large, "a", &period(1)), Err(Overspent::Period(_))), "its own debits stretch it");
}

#[test]
fn a_promise_on_data_that_exact_sums_hold_is_not_claimed_before_that_is_accepted() {
    let exact = |round| What::ExactRelease { release: Release { unit: None, ..release("fedavg", round) } };
    let failed = What::ExactRelease { release: release("a", 3) };
    let account = account(vec![exact(1), exact(2), debit("a", 3), failed]);
    let refused = account.admits_claim(&claim("b", 1), &limits(100), 0);
    assert_eq!(refused, Err(Overspent::ExactReleases { made: 2, accepted: 0 }));
    let accepted = ClaimLimits { exact_releases: 2, ..limits(100) };
    assert_eq!(account.admits_claim(&claim("b", 1), &accepted, 0), Ok(()));
    let without_noise = RunClaim { unit: None, cost: None, ..claim("b", 1) };
    assert_eq!(account.admits_claim(&without_noise, &limits(100), 0), Ok(()), "it promises nothing");
}

#[test]
fn an_entry_of_each_kind_reads_back_and_a_release_without_it_refuses_it_by_name() {
    let back = What::ClaimReturned { daemon: "silo".into(), run: digest("a"), reason: "it is over".into() };
    let without = RunClaim { unit: None, cost: None, ..claim("a", 6) };
    for (what, kind) in
        [(claimed(claim("a", 6)), "claim"), (claimed(without), "claim"), (back, "claim_returned")]
    {
        let entry = Entry { sequence: 1, time_ms: 5, what };
        let text = entry.encode().unwrap();
        assert_eq!(Entry::decode(1, text.as_bytes()).unwrap(), entry);
        assert!(text.contains(&format!(r#""kind":"{kind}""#)), "{text}");
    }
    // As a release does that knows fewer kinds than this one.
    let later = br#"{"time_ms":5,"what":{"kind":"later","run":1}}"#;
    assert!(Entry::decode(1, later).unwrap_err().to_string().contains("unknown variant `later`"));
}
