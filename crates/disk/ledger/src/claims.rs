//! What runs that are not over may still spend: claimed before a run is joined, so that none is begun that cannot end.
//!
//! A claim is not spent: a run's debits use its claim up, and what is left of it comes back when it is given back, or when nothing
//! was heard of the run for as long as the claim says. What other runs may take is what is left after all debits and all claims.
//!
//! # Units
//! As in `account`: events that hide a record and events that hide more are composed for the record.

use std::collections::{BTreeMap, BTreeSet};

use accounting::{Budget, OverBudget, OverPeriod, Unit, steps_allowed};
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Limits, Overspent, PeriodLimit, epsilon_with};
use crate::entry::{Cost, Entry, Release, What};

/// What a run may use of the data, as one daemon claims it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunClaim {
    /// Whose daemon: the public key of its identity, hexadecimal.
    pub daemon: String,
    /// The run's identifier.
    pub run: Digest,
    /// The run's name, as its plan says.
    pub run_name: String,
    /// The run's plan.
    pub plan: Digest,
    /// Whose key signed the plan, hexadecimal.
    pub author: String,
    /// Results that the plan asks for.
    pub rounds: u64,
    /// Most rounds that the data is used in: those, and as many more as may be tried again.
    pub uploads: u64,
    /// Whose presence is hidden; `none` without noise.
    #[serde(with = "accounting::or_none")]
    pub unit: Option<Unit>,
    /// Most that they cost, rounded up; `None` without noise.
    pub cost: Option<Cost>,
    /// How long the claim counts after the newest of the daemon's entries in the run.
    ///
    /// # Units
    /// Milliseconds.
    pub lease_ms: u64,
}

/// What a claim has to keep, beside what a debit has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClaimLimits {
    /// Of all debits and claims together.
    pub limits: Limits,
    /// Most epsilon that open claims under one author's plans may come to.
    pub per_author: Option<f64>,
    /// Most releases without noise that the ledger may hold where the claim is of events with noise.
    pub exact_releases: u64,
}

/// A claim that was not given back.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenClaim<'a> {
    pub claim: &'a RunClaim,
    /// Rounds that the data was used in under its plan, by its daemon or in its run.
    pub made: u64,
    /// How many of the claimed events were debited.
    spent: u64,
    /// Of the newest entry of its daemon in the run.
    renewed_ms: u64,
}

/// What is about to be debited.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// Whose debit: as [`RunClaim::daemon`] names it.
    pub daemon: &'a str,
    pub run: Option<Digest>,
    pub plan: &'a Digest,
    pub unit: Option<Unit>,
    /// `None` without noise.
    pub cost: Option<&'a Cost>,
}

impl RunClaim {
    /// Whether a release uses it up: of its daemon, whatever run of the plan it is in, or of whoever was in its run.
    fn is_of(&self, made: &Release) -> bool {
        made.plan == self.plan && (made.daemon == self.daemon || made.run == self.run)
    }

    /// Whether the same releases use both up.
    fn shares(&self, other: &Self) -> bool {
        other.plan == self.plan && (other.daemon == self.daemon || other.run == self.run)
    }

    /// In how many rounds the data was used of it, and how many events were debited for them.
    fn used(&self, account: &Account) -> (u64, u64) {
        let of_it = account.entries().iter().filter_map(Entry::release).filter(|made| self.is_of(made));
        let rounds: BTreeSet<_> = of_it.map(|made| (&*made.daemon, made.run, made.round)).collect();
        let spent = account.entries().iter().filter_map(|entry| self.spent_by(entry));
        (rounds.len() as u64, spent.sum())
    }

    /// How many of its events an entry debits.
    fn spent_by(&self, entry: &Entry) -> Option<u64> {
        match &entry.what {
            What::Debit { release, cost, .. } if self.is_of(release) => Some(cost.count),
            _ => None,
        }
    }

    /// Results that the run may still lack.
    fn rounds_left(&self, account: &Account) -> u64 {
        let in_run = account.entries().iter().filter_map(Entry::release).filter(|made| made.run == self.run);
        let rounds: BTreeSet<_> = in_run.map(|made| (&*made.daemon, made.round)).collect();
        self.rounds - (rounds.len() as u64).min(self.rounds)
    }
}

impl OpenClaim<'_> {
    /// Rounds that it still covers.
    pub fn uploads_left(&self) -> u64 {
        self.claim.uploads - self.made.min(self.claim.uploads)
    }

    /// Events that it still covers, if it is of any.
    pub fn cost_left(&self) -> Option<Cost> {
        let Cost { event, count } = self.claim.cost.as_ref()?;
        let count = count - self.spent.min(*count);
        (count > 0).then_some(Cost { event: *event, count })
    }

    /// From when on it counts no more, unless something is heard of the run before. In milliseconds since the Unix epoch.
    pub fn until_ms(&self) -> u64 {
        self.renewed_ms.checked_add(self.claim.lease_ms).map_or(u64::MAX, |until| until)
    }

    /// Whether half of its time is over.
    pub fn is_to_be_renewed(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms() - self.claim.lease_ms.min(self.until_ms()) / 2
    }
}

impl Account {
    /// The claims that count at this moment, in the order of their runs.
    pub fn claims(&self, now_ms: u64) -> Vec<OpenClaim<'_>> {
        let now_ms = self.not_before_the_newest(now_ms);
        let mut open: BTreeMap<(&str, Digest), (&RunClaim, u64)> = BTreeMap::new();
        for entry in self.entries() {
            match &entry.what {
                What::Claim { claim } => {
                    open.insert((&claim.daemon, claim.run), (claim, entry.time_ms));
                }
                What::ClaimReturned { daemon, run, .. } => {
                    open.remove(&(daemon, *run));
                }
                _ => {
                    let of = entry.release().and_then(|made| open.get_mut(&(&*made.daemon, made.run)));
                    if let Some((_, renewed_ms)) = of {
                        *renewed_ms = entry.time_ms;
                    }
                }
            }
        }
        let counted = open.into_values().map(|(claim, renewed_ms)| {
            let (made, spent) = claim.used(self);
            OpenClaim { claim, made, spent, renewed_ms }
        });
        let mut counted: Vec<_> = counted.filter(|open| now_ms < open.until_ms()).collect();
        counted.sort_by_key(|open| open.claim.run);
        counted
    }

    /// One daemon's claim for a run, while it counts.
    pub fn claim_of(&self, daemon: &str, run: &Digest, now_ms: u64) -> Option<OpenClaim<'_>> {
        self.claims(now_ms).into_iter().find(|open| open.claim.daemon == daemon && open.claim.run == *run)
    }

    /// Releases without noise. Rounds with noise in which training failed are not among them.
    pub fn without_noise(&self) -> impl Iterator<Item = &Release> {
        let exact = self.entries().iter().filter(|entry| !entry.says_training_failed());
        exact.filter_map(|entry| match &entry.what {
            What::ExactRelease { release } => Some(release),
            _ => None,
        })
    }

    /// Whether there is room for a claim, beside all that was debited and all that other runs have claimed.
    ///
    /// # Errors
    /// The limit that it would pass.
    pub fn admits_claim(&self, claim: &RunClaim, limits: &ClaimLimits, now_ms: u64) -> Result<(), Overspent> {
        let ClaimLimits { limits, per_author, exact_releases } = limits;
        let open = self.claims(now_ms);
        let others: Vec<_> = open.iter().filter(|open| !open.claim.shares(claim)).collect();
        let (made, spent) = claim.used(self);
        let own = OpenClaim { claim, made, spent, renewed_ms: now_ms };
        if let Some(limit) = limits.releases_max {
            let used = self.releases_under(&claim.plan) + left_under(&claim.plan, &others);
            let (needed, left) = (claim.rounds_left(self), limit - used.min(limit));
            if needed > left {
                return Err(Overspent::PlanClaimed { needed, left });
            }
        }
        if claim.cost.is_none() {
            return Ok(());
        }
        let made = self.without_noise().count() as u64;
        if made > *exact_releases {
            return Err(Overspent::ExactReleases { made, accepted: *exact_releases });
        }
        if let Some(limit) = *per_author {
            let of_author = others.iter().filter(|open| open.claim.author == claim.author);
            let claimed = costs(of_author.copied().chain([&own]));
            within(epsilon_with([].iter(), &claimed, limits.delta), limit)
                .map_err(Overspent::ClaimsPerAuthor)?;
        }
        let beside = costs(others.iter().copied().chain([&own]));
        let debited = epsilon_with(self.entries().iter(), &beside, limits.delta);
        let claims = others.len();
        within(debited, limits.epsilon_max).map_err(|over| Overspent::Claims { over, claims })?;
        self.within_period(others.iter().copied().chain([&own]), None, limits, now_ms)
    }

    /// Whether one more release still fits: beside all that was debited, and beside what other runs have claimed where the run's own
    /// claim, if it has any, does not cover it.
    ///
    /// # Errors
    /// The limit that it would pass.
    pub fn admits_next(&self, next: Next<'_>, limits: &Limits, now_ms: u64) -> Result<(), Overspent> {
        let open = self.claims(now_ms);
        let is_its_own = |claim: &RunClaim| {
            claim.plan == *next.plan && (claim.daemon == next.daemon || Some(claim.run) == next.run)
        };
        let others: Vec<_> = match self.covers(&open, &next) {
            true => Vec::new(),
            false => open.iter().filter(|open| !is_its_own(open.claim)).collect(),
        };
        let made = self.releases_under(next.plan) + left_under(next.plan, &others);
        if let Some(limit) = limits.releases_max.filter(|limit| made >= *limit) {
            return Err(Overspent::Plan { made, limit });
        }
        let Some(cost) = next.cost else { return Ok(()) };
        let alone = [(next.unit, cost.clone())];
        let spent = epsilon_with(self.entries().iter(), &alone, limits.delta);
        within(spent, limits.epsilon_max).map_err(Overspent::Total)?;
        let beside: Vec<_> = costs(others.iter().copied()).into_iter().chain(alone).collect();
        let after = epsilon_with(self.entries().iter(), &beside, limits.delta);
        let claims = others.len();
        within(after, limits.epsilon_max).map_err(|over| Overspent::Claims { over, claims })?;
        self.within_period(others.iter().copied(), Some((next.unit, cost)), limits, now_ms)
    }

    fn covers(&self, open: &[OpenClaim<'_>], next: &Next<'_>) -> bool {
        let own = |open: &&OpenClaim<'_>| {
            open.claim.daemon == next.daemon
                && Some(open.claim.run) == next.run
                && open.claim.plan == *next.plan
        };
        open.iter().find(own).is_some_and(|own| match next.cost {
            Some(cost) => {
                own.cost_left().is_some_and(|left| left.event == cost.event && left.count >= cost.count)
            }
            None => own.uploads_left() > 0,
        })
    }

    /// What the period that ends now has debited, with what runs may debit in a period.
    fn within_period<'a>(
        &self,
        claims: impl Iterator<Item = &'a OpenClaim<'a>>,
        next: Option<(Option<Unit>, &Cost)>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), Overspent> {
        let Some(PeriodLimit { days, epsilon_max: limit }) = limits.period else { return Ok(()) };
        let now_ms = self.not_before_the_newest(now_ms);
        let length_ms = u128::from(days) * 24 * 3_600_000;
        let is_recent = |entry: &&Entry| u128::from(entry.time_ms) + length_ms > u128::from(now_ms);
        let mut beside: Vec<(Option<Unit>, Cost)> = Vec::new();
        for open in largest(claims) {
            let Some(left) = open.cost_left() else { continue };
            // A run that costs more than a period allows is stretched over several by its own debits, and takes one whole.
            let alone =
                Budget::new(limit, limits.delta).and_then(|budget| steps_allowed(&left.event, &budget));
            let in_it =
                self.entries().iter().filter(is_recent).filter_map(|entry| open.claim.spent_by(entry));
            let (alone, in_it): (u64, u64) = (alone.map_or(left.count, |most| most), in_it.sum());
            beside.push((open.claim.unit, Cost { count: left.count.min(alone - in_it.min(alone)), ..left }));
        }
        beside.extend(next.map(|(unit, cost)| (unit, cost.clone())));
        let recent = self.entries().iter().filter(is_recent);
        let after = epsilon_with(recent, &beside, limits.delta);
        within(after, limit).map_err(|over| Overspent::Period(OverPeriod { after: over.after, limit, days }))
    }
}

/// Of claims that share their releases, the one of which most is left.
fn largest<'a>(claims: impl Iterator<Item = &'a OpenClaim<'a>>) -> Vec<&'a OpenClaim<'a>> {
    let mut largest: Vec<&OpenClaim<'_>> = Vec::new();
    let left = |open: &OpenClaim<'_>| (open.cost_left().map(|cost| cost.count), open.uploads_left());
    for open in claims {
        match largest.iter_mut().find(|held| held.claim.shares(open.claim)) {
            Some(held) if left(held) < left(open) => *held = open,
            Some(_) => {}
            None => largest.push(open),
        }
    }
    largest
}

fn costs<'a>(claims: impl Iterator<Item = &'a OpenClaim<'a>>) -> Vec<(Option<Unit>, Cost)> {
    let largest = largest(claims).into_iter();
    largest.filter_map(|open| Some((open.claim.unit, open.cost_left()?))).collect()
}

/// Rounds that claims under this plan still cover.
fn left_under<'a>(plan: &Digest, claims: &[&'a OpenClaim<'a>]) -> u64 {
    let under = claims.iter().copied().filter(|open| open.claim.plan == *plan);
    largest(under).into_iter().map(OpenClaim::uploads_left).sum()
}

fn within(after: f64, limit: f64) -> Result<(), OverBudget> {
    // Not `after > limit`: what is no number is not admitted.
    match after.partial_cmp(&limit) {
        Some(order) if order.is_le() => Ok(()),
        _ => Err(OverBudget { after, limit }),
    }
}

#[cfg(test)]
mod tests;
