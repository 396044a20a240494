//! All entries of a ledger, composed.
//!
//! Runs are sub-accounts: each is composed on its own for printing, and all of them together for the limit.
//!
//! # Units
//! Events that hide a record and events that hide more than one (a person, a silo) are composed for the record, the
//! smallest of them: a record that comes or goes changes one clipped contribution into another, at twice the distance
//! that its replacement by zero has, so such an event counts with half its noise multiplier, and as one that is not sampled. Events of one unit are
//! composed as they are.
//!
//! # Paper
//! RDP at integer orders (Mironov, Talwar, Zhang 2019; conversion by Canonne, Kamath, Steinke 2020), as `accounting`
//! states; heterogeneous events add up order by order. Beside it, for information, the privacy loss distribution of the
//! continuous Gaussian (`accounting::pld_epsilon`): smaller, and not proven for the discrete noise, so it gates nothing.

use std::collections::{BTreeMap, BTreeSet};

use accounting::{DpEvent, OverBudget, OverPeriod, Unit, epsilon_or_infinity, pld_epsilon};
use params::Digest;

use crate::entry::{Cost, Entry, Release, What};

/// Most kinds of events that a privacy loss distribution is composed of: each costs two Fourier transforms of up to two
/// million points, where the orders of RDP cost next to nothing.
const PLD_KINDS_MAX: usize = 8;

const GATES: &str = "RDP at integer orders";
const APPROXIMATES: &str = "PLD, continuous approximation";

/// What a silo's policy allows its data to spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most epsilon, over everything.
    pub epsilon_max: f64,
    /// At this delta.
    pub delta: f64,
    /// Most epsilon within any stretch of time.
    pub period: Option<PeriodLimit>,
    /// Most releases under one plan, by all daemons and in all runs.
    pub releases_max: Option<u64>,
}

/// A limit for any stretch of time of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeriodLimit {
    pub days: u32,
    /// Most epsilon in it.
    pub epsilon_max: f64,
}

/// A limit that one more debit would pass.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Overspent {
    /// More than the budget over all time has left.
    #[error(transparent)]
    Total(OverBudget),
    /// More than the budget of a period has left.
    #[error(transparent)]
    Period(OverPeriod),
    /// Of what one plan allows.
    #[error(
        "this silo's data was used {made} times under this plan, in all runs together, its limit is {limit}"
    )]
    Plan {
        made: u64,
        /// By the plan and the policy.
        limit: u64,
    },
    /// More than what other runs have claimed leaves.
    #[error(
        "with what {claims} other runs that are not over have claimed, it would come to epsilon {}, the limit is {}",
        accounting::rounded_up(over.after, 4),
        over.limit
    )]
    Claims {
        /// Of all together.
        over: OverBudget,
        claims: usize,
    },
    /// More than runs of one author may have claimed.
    #[error(
        "runs of one author that are not over would have claimed epsilon {}, the limit is {}",
        accounting::rounded_up(.0.after, 4),
        .0.limit
    )]
    ClaimsPerAuthor(OverBudget),
    /// More rounds than one plan has left.
    #[error("the run needs {needed} uploads under its plan, which has {left} left")]
    PlanClaimed { needed: u64, left: u64 },
    /// More releases without noise than are accepted beside a promise.
    #[error("the data is in {made} sums without noise, of which {accepted} are accepted")]
    ExactReleases { made: u64, accepted: u64 },
}

/// Everything that a ledger says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    entries: Vec<Entry>,
}

/// What has been spent, with the words that must stand beside an epsilon.
#[derive(Debug, Clone, PartialEq)]
pub struct Total {
    /// At this delta.
    pub delta: f64,
    /// By each accountant; the first is the one that gates the budget.
    pub bounds: Vec<Bound>,
    /// Why an accountant that was asked for is not among the bounds.
    pub left_out: Option<String>,
    /// Whose presence is hidden; `None` where no release had noise.
    pub unit: Option<Unit>,
    /// Units of the events, where more than one: then the unit above is the record's.
    pub mixed: bool,
    pub debits: u64,
    /// Releases that no epsilon covers: those without noise, and rounds with noise in which training failed.
    pub exact_releases: u64,
    /// Of those, the latter: their noise is debited too, and hides a record, not that all of the silo's are missing.
    pub failed_trainings: u64,
}

/// An epsilon, and who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub accountant: &'static str,
    /// Infinite where an event's numbers mean nothing.
    pub epsilon: f64,
}

/// One run's part.
#[derive(Debug, Clone, PartialEq)]
pub struct RunAccount {
    /// Its newest release: name, plan, mode, unit, relation and who adds the noise stand in it.
    pub last: Release,
    /// Rounds that were debited or released.
    pub rounds: u64,
    /// Digests of the data's content, in the order of their first use.
    pub data_versions: Vec<Digest>,
    /// Its events alone.
    pub total: Total,
}

impl Account {
    /// Of these entries, oldest first.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The highest round of a run that this daemon has an entry of.
    pub fn highest_round(&self, daemon: &str, run: &Digest) -> Option<u64> {
        let releases = self.entries.iter().filter_map(Entry::release);
        releases
            .filter(|release| release.daemon == daemon && release.run == *run)
            .map(|release| release.round)
            .max()
    }

    /// In how many rounds the data was used under this plan, by whatever daemon and in whatever run. A round may have two
    /// entries.
    pub fn releases_under(&self, plan: &Digest) -> u64 {
        let releases = self.entries.iter().filter_map(Entry::release).filter(|release| release.plan == *plan);
        let rounds: BTreeSet<_> =
            releases.map(|release| (&release.daemon, release.run, release.round)).collect();
        rounds.len() as u64
    }

    /// Everything together, at `delta`, by the accountant that gates the budget.
    pub fn total(&self, delta: f64) -> Total {
        total_of(&self.entries, delta)
    }

    /// The same, and behind it the bound of the privacy loss distribution, labelled as the approximation that it is: for
    /// people, never for a limit. Takes up to seconds; left out, with the reason, where it cannot be composed or would
    /// take longer.
    pub fn total_in_detail(&self, delta: f64) -> Total {
        let mut total = self.total(delta);
        let costs: Vec<(Option<Unit>, &Cost)> = self.entries.iter().filter_map(cost_of).collect();
        match approximated(&kinds(&costs), delta) {
            Ok(epsilon) => total.bounds.push(Bound { accountant: APPROXIMATES, epsilon }),
            Err(why) => total.left_out = Some(format!("{APPROXIMATES}: {why}")),
        }
        total
    }

    /// Each run on its own, at `delta`, in the order of their first entries.
    pub fn runs(&self, delta: f64) -> Vec<RunAccount> {
        let mut order: Vec<Digest> = Vec::new();
        let mut entries: BTreeMap<Digest, Vec<Entry>> = BTreeMap::new();
        for entry in &self.entries {
            let Some(release) = entry.release() else { continue };
            if !entries.contains_key(&release.run) {
                order.push(release.run);
            }
            entries.entry(release.run).or_default().push(entry.clone());
        }
        let account = |run: &Digest| {
            let entries = entries.get(run)?;
            let mut data_versions: Vec<Digest> = Vec::new();
            for version in entries.iter().filter_map(|entry| entry.release()?.data_version) {
                if !data_versions.contains(&version) {
                    data_versions.push(version);
                }
            }
            let last = entries.last()?.release()?.clone();
            let releases = entries.iter().filter_map(Entry::release);
            let rounds: BTreeSet<(&str, u64)> = releases.map(|made| (&*made.daemon, made.round)).collect();
            let rounds = rounds.len() as u64;
            Some(RunAccount { last, rounds, data_versions, total: total_of(entries, delta) })
        };
        order.iter().filter_map(account).collect()
    }

    /// A clock that was set back does not bring a budget back.
    pub(crate) fn not_before_the_newest(&self, now_ms: u64) -> u64 {
        self.entries.last().map_or(now_ms, |newest| newest.time_ms.max(now_ms))
    }
}

impl Total {
    /// By the accountant that gates the budget.
    pub fn epsilon(&self) -> f64 {
        self.bounds.first().map_or(f64::INFINITY, |bound| bound.epsilon)
    }
}

fn total_of(entries: &[Entry], delta: f64) -> Total {
    let costs: Vec<(Option<Unit>, &Cost)> = entries.iter().filter_map(cost_of).collect();
    let units: BTreeSet<Option<Unit>> = costs.iter().map(|(unit, _)| *unit).collect();
    let mixed = units.len() > 1;
    // The smallest of them: see the module on units.
    let unit = if mixed { Some(Unit::Record) } else { units.first().copied().flatten() };
    let exact = entries.iter().filter(|entry| matches!(entry.what, What::ExactRelease { .. }));
    let failed = entries.iter().filter(|entry| entry.says_training_failed());
    Total {
        delta,
        bounds: vec![Bound { accountant: GATES, epsilon: epsilon_or_infinity(kinds(&costs), delta) }],
        left_out: None,
        unit,
        mixed,
        debits: costs.len() as u64,
        exact_releases: exact.count() as u64,
        failed_trainings: failed.count() as u64,
    }
}

fn cost_of(entry: &Entry) -> Option<(Option<Unit>, &Cost)> {
    match &entry.what {
        What::Debit { release, cost, .. } => Some((release.unit, cost)),
        _ => None,
    }
}

/// Of what entries debit and of what comes beside it.
pub(crate) fn epsilon_with<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    beside: &'a [(Option<Unit>, Cost)],
    delta: f64,
) -> f64 {
    let beside = beside.iter().map(|(unit, cost)| (*unit, cost));
    let costs: Vec<(Option<Unit>, &Cost)> = entries.filter_map(cost_of).chain(beside).collect();
    epsilon_or_infinity(kinds(&costs), delta)
}

/// The privacy loss distribution's epsilon, or why there is none.
fn approximated(kinds: &[(DpEvent, u64)], delta: f64) -> Result<f64, String> {
    if kinds.len() > PLD_KINDS_MAX {
        return Err(format!(
            "{} kinds of events, more than the {PLD_KINDS_MAX} that are composed",
            kinds.len()
        ));
    }
    match pld_epsilon(kinds, delta) {
        Ok(epsilon) if epsilon.is_finite() => Ok(epsilon),
        Ok(_) => Err("the losses are wider than the grid".into()),
        Err(why) => Err(why.to_string()),
    }
}

/// Equal events together: composing a thousand of one costs what composing one does.
fn kinds(costs: &[(Option<Unit>, &Cost)]) -> Vec<(DpEvent, u64)> {
    let mixed = costs.iter().any(|(unit, _)| Some(unit) != costs.first().map(|(first, _)| first));
    let mut events: Vec<(DpEvent, u64)> = Vec::new();
    for (unit, cost) in costs {
        // See the module on units.
        let event = if mixed && *unit != Some(Unit::Record) {
            cost.event.at_twice_the_sensitivity()
        } else {
            cost.event
        };
        match events.iter_mut().find(|(held, _)| *held == event) {
            Some((_, count)) => *count = count.saturating_add(cost.count),
            None => events.push((event, cost.count)),
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Next, samples};

    const DELTA: f64 = 1e-5;
    const DAY_MS: u64 = 24 * 3_600_000;

    fn release(run: &str, unit: impl Into<Option<Unit>>, round: u64) -> Release {
        let data_version = Some(Digest::sha256(&round.to_le_bytes()));
        Release { data_version, unit: unit.into(), ..samples::release(run, round) }
    }

    fn gaussian(noise_multiplier: f64, count: u64) -> Cost {
        Cost { event: DpEvent::Gaussian { noise_multiplier }, count }
    }

    fn debit(run: &str, unit: Unit, round: u64, cost: Cost) -> What {
        What::Debit { release: release(run, unit, round), cost, delta: DELTA }
    }

    fn account(whats: Vec<What>) -> Account {
        let entry =
            |(index, what)| Entry { sequence: index as u64 + 1, time_ms: index as u64 * DAY_MS, what };
        Account::new(whats.into_iter().enumerate().map(entry).collect())
    }

    /// Whether one more release of an unknown run fits.
    fn admits(
        account: &Account,
        unit: Option<Unit>,
        cost: &Cost,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), Overspent> {
        let plan = Digest::sha256(b"another plan");
        account.admits_next(
            Next { daemon: "", run: None, plan: &plan, unit, cost: Some(cost) },
            limits,
            now_ms,
        )
    }

    fn epsilon(events: &[(f64, u64)]) -> f64 {
        let event = |&(noise_multiplier, count): &(f64, u64)| (DpEvent::Gaussian { noise_multiplier }, count);
        accounting::epsilon_of(events.iter().map(event), DELTA).unwrap()
    }

    #[test]
    fn runs_are_sub_accounts_and_the_limit_holds_for_all_of_them_together() {
        let account = account(vec![
            debit("one", Unit::Silo, 1, gaussian(10.0, 1)),
            debit("two", Unit::Silo, 1, gaussian(30.0, 5)),
            debit("one", Unit::Silo, 2, gaussian(10.0, 1)),
        ]);
        let runs = account.runs(DELTA);
        assert_eq!(
            runs.iter().map(|run| (&*run.last.run_name, run.rounds)).collect::<Vec<_>>(),
            [("one", 2), ("two", 1)]
        );
        assert_eq!(runs[0].total.epsilon(), epsilon(&[(10.0, 2)]));
        assert_eq!(runs[1].total.epsilon(), epsilon(&[(30.0, 5)]));
        assert_eq!(runs[0].data_versions.len(), 2);
        assert_eq!(account.total(DELTA).epsilon(), epsilon(&[(10.0, 2), (30.0, 5)]));
        let limits = |epsilon_max| Limits { epsilon_max, delta: DELTA, period: None, releases_max: None };
        let after = epsilon(&[(10.0, 3), (30.0, 5)]);
        let next = gaussian(10.0, 1);
        assert_eq!(admits(&account, Some(Unit::Silo), &next, &limits(after), 0), Ok(()));
        let limit = after - 1e-9;
        let refused = admits(&account, Some(Unit::Silo), &next, &limits(limit), 0);
        assert_eq!(refused, Err(Overspent::Total(OverBudget { after, limit })));
    }

    #[test]
    fn what_hides_a_person_counts_for_a_row_beside_it_without_noise_or_sampling_that_is_not_the_rows() {
        let event = DpEvent::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 8.0 };
        let person = debit("one", Unit::Person, 1, Cost { event, count: 5 });
        let alone = account(vec![person.clone()]).total(DELTA);
        assert_eq!((alone.unit, alone.mixed), (Some(Unit::Person), false));
        assert_eq!(alone.epsilon(), epsilon_or_infinity([(event, 5)], DELTA));
        let both = account(vec![person, debit("two", Unit::Record, 1, gaussian(8.0, 1))]).total(DELTA);
        assert_eq!(
            (both.epsilon(), both.unit, both.mixed),
            (epsilon(&[(4.0, 5), (8.0, 1)]), Some(Unit::Record), true),
            "a row of a person who is drawn moves what is clipped by up to twice the norm"
        );
    }

    #[test]
    fn events_that_hide_a_silo_count_with_half_their_noise_beside_events_that_hide_a_record() {
        let silo = debit("one", Unit::Silo, 1, gaussian(10.0, 1));
        let alone = account(vec![silo.clone()]).total(DELTA);
        assert_eq!(
            (alone.epsilon(), alone.unit, alone.mixed),
            (epsilon(&[(10.0, 1)]), Some(Unit::Silo), false)
        );
        let both = account(vec![silo.clone(), debit("two", Unit::Record, 1, gaussian(8.0, 1))]).total(DELTA);
        assert_eq!(
            (both.epsilon(), both.unit, both.mixed),
            (epsilon(&[(5.0, 1), (8.0, 1)]), Some(Unit::Record), true)
        );
        let limits =
            Limits { epsilon_max: both.epsilon() - 1e-9, delta: DELTA, period: None, releases_max: None };
        let next = gaussian(8.0, 1);
        assert!(
            admits(&account(vec![silo]), Some(Unit::Record), &next, &limits, 0).is_err(),
            "the next one mixes them"
        );
    }

    #[test]
    fn a_period_forgets_what_is_older_and_a_clock_set_back_brings_nothing_back() {
        let account =
            account((1..=3).map(|round| debit("one", Unit::Silo, round, gaussian(10.0, 1))).collect());
        let period = |after: f64| Limits {
            epsilon_max: 100.0,
            delta: DELTA,
            period: Some(PeriodLimit { days: 2, epsilon_max: after }),
            releases_max: None,
        };
        let next = gaussian(10.0, 1);
        // Entries are a day apart: on the last one's day, two of three are within two days.
        for now in [0, 2 * DAY_MS] {
            assert_eq!(
                admits(&account, Some(Unit::Silo), &next, &period(epsilon(&[(10.0, 3)])), now),
                Ok(())
            );
            let limit = epsilon(&[(10.0, 3)]) - 1e-9;
            let refused = admits(&account, Some(Unit::Silo), &next, &period(limit), now);
            assert!(matches!(refused, Err(Overspent::Period(OverPeriod { days: 2, .. }))), "{refused:?}");
        }
        assert_eq!(
            admits(&account, Some(Unit::Silo), &next, &period(epsilon(&[(10.0, 1)])), 9 * DAY_MS),
            Ok(())
        );
    }

    #[test]
    fn releases_are_counted_by_their_plan_whatever_run_they_were_in() {
        let exact = What::ExactRelease { release: release("one", None, 1) };
        // A training that failed has a debit and an exact release for one round.
        let failed = What::ExactRelease { release: release("two", Unit::Silo, 1) };
        let account = account(vec![exact, debit("two", Unit::Silo, 1, gaussian(10.0, 1)), failed]);
        let (plan, other) = (Digest::sha256(b"plan"), Digest::sha256(b"another"));
        let limits = |most| Limits { epsilon_max: 1.0, delta: DELTA, period: None, releases_max: Some(most) };
        let admits = |plan, most| {
            let next = Next { daemon: "", run: None, plan, unit: None, cost: None };
            account.admits_next(next, &limits(most), 0)
        };
        assert_eq!(admits(&plan, 3), Ok(()));
        assert_eq!(admits(&plan, 2), Err(Overspent::Plan { made: 2, limit: 2 }));
        assert_eq!(admits(&other, 1), Ok(()));
    }

    #[test]
    fn exact_releases_are_counted_beside_the_epsilon_and_cost_that_means_nothing_is_never_admitted() {
        let exact = What::ExactRelease { release: release("one", None, 1) };
        let account = account(vec![exact, debit("one", Unit::Silo, 2, gaussian(10.0, 1))]);
        let total = account.total(DELTA);
        assert_eq!((total.debits, total.exact_releases, total.mixed), (1, 1, false));
        assert_eq!(total.epsilon(), epsilon(&[(10.0, 1)]));
        let limits = Limits { epsilon_max: f64::MAX, delta: DELTA, period: None, releases_max: None };
        for meaningless in [0.0, -1.0, f64::NAN] {
            assert!(admits(&account, Some(Unit::Silo), &gaussian(meaningless, 1), &limits, 0).is_err());
        }
        let unlimited = Limits { epsilon_max: f64::NAN, ..limits };
        assert!(admits(&account, Some(Unit::Silo), &gaussian(10.0, 1), &unlimited, 0).is_err());
    }

    #[test]
    fn the_approximation_stands_behind_the_bound_that_gates_is_smaller_and_is_that_of_all_events_together() {
        let poisson = DpEvent::PoissonGaussian { sampling_rate: 0.05, noise_multiplier: 1.5 };
        let whole = DpEvent::Gaussian { noise_multiplier: 20.0 };
        let cost = |event| Cost { event, count: 1 };
        let account = account(vec![
            debit("a", Unit::Record, 1, cost(poisson)),
            debit("a", Unit::Record, 2, cost(whole)),
            debit("b", Unit::Record, 3, cost(poisson)),
        ]);
        let total = account.total_in_detail(DELTA);
        let [gates, approximates] = &total.bounds[..] else { panic!("{:?}", total.left_out) };
        assert_eq!((gates, total.epsilon()), (&account.total(DELTA).bounds[0], gates.epsilon));
        assert_eq!(approximates.accountant, "PLD, continuous approximation");
        assert_eq!(approximates.epsilon, pld_epsilon(&[(poisson, 2), (whole, 1)], DELTA).unwrap());
        assert!(0.0 < approximates.epsilon && approximates.epsilon < gates.epsilon, "{:?}", total.bounds);
        assert_eq!(account.total(DELTA).bounds.len(), 1, "what is looked at before each round stays cheap");
    }

    #[test]
    fn the_approximation_is_left_out_with_the_reason_where_it_is_dear_or_not_defined() {
        let many =
            (1..=9).map(|round| debit("a", Unit::Record, round, gaussian(10.0 + round as f64, 1))).collect();
        let event = DpEvent::FixedSizeGaussian { sampling_rate: 0.1, noise_multiplier: 2.0 };
        let fixed = vec![debit("a", Unit::Record, 1, Cost { event, count: 1 })];
        for (entries, why) in [(many, "9 kinds of events"), (fixed, "fixed")] {
            let total = account(entries).total_in_detail(DELTA);
            let left_out = total.left_out.unwrap();
            assert!(total.bounds.len() == 1 && left_out.contains(why), "{left_out}");
            assert!(left_out.starts_with("PLD, continuous approximation: "), "{left_out}");
        }
    }
}
