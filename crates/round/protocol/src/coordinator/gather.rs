//! Decisions of the idle phase: whether the run is over, and who is in the next round.

use std::collections::{BTreeMap, BTreeSet};

use plan::RefusalCode;
use rand_core::CryptoRng;
use secagg::ClientId;
use suspicion::By;

use super::state::Absence;
use super::{Coordinator, Effect, send};
use crate::Timestamp;
use crate::record::Record;
use messages::{RunEnd, ToClient};

/// Silos of one reason to decline that are named.
const NAMED: usize = 8;
/// What silos hear where nobody who declined is here any more.
const BY_POLICY: &str = "the others refuse it by their own policies";

impl Coordinator {
    pub(super) fn end_reason(&self, now: Timestamp) -> Option<RunEnd> {
        let plan = &self.setup.plan;
        if self.state.committed >= plan.rounds {
            return Some(RunEnd::Complete);
        }
        if let (Some(price), Some((epsilon, _))) = (&self.price, plan.budget())
            && price.epsilon(self.state.charged_rounds + 1) > epsilon
        {
            return Some(RunEnd::BudgetSpent);
        }
        self.waits().filter(|(_, until)| now >= *until)?;
        self.lack(now)
    }

    /// What the run is over for when its patience is: that too few are willing, and were for a round's time, in which an operator
    /// may still fix what makes a silo decline. `None` where enough are willing.
    pub(super) fn lack(&self, now: Timestamp) -> Option<RunEnd> {
        let plan = &self.setup.plan;
        let waited = now >= self.idle_since.plus_ms(plan.timing.round_deadline_ms);
        (waited && self.lacks_willing()).then(|| RunEnd::TooFewWilling {
            willing: self.willing(),
            needed: plan.cohort.minimum,
            first_reason: [self.declines(), self.unheard()].concat(),
        })
    }

    /// Members that have said nothing of this run to this process: willing, as far as anybody knows.
    fn unheard(&self) -> String {
        let heard = |client: &ClientId| {
            self.links.get(client).is_some_and(|link| link.checked_in)
                || self.state.tallies.contains_key(client)
                || self.state.absent.contains_key(client)
                || self.why_declined(client).is_some()
        };
        let unheard = self.state.roster.keys().keys().filter(|client| !heard(client));
        let names: Vec<String> = unheard.map(|client| self.state.roster.name(*client)).collect();
        let more = if names.len() > NAMED { " and others" } else { "" };
        let named: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        if named.is_empty() { String::new() } else { format!("; not heard yet: {}{more}", named.join(", ")) }
    }

    /// Whether too few members are willing. A roster that is too small yet is no reason: silos are still being enrolled. Who was
    /// put out makes room for another silo: the run waits for one, and says so.
    pub(super) fn lacks_willing(&self) -> bool {
        let needed = self.setup.plan.cohort.minimum;
        self.state.roster.keys().len() >= needed && self.willing() < needed
    }

    /// Members that do not decline the run by their own word.
    fn willing(&self) -> usize {
        self.state.roster.keys().keys().filter(|client| self.why_declined(client).is_none()).count()
    }

    /// Writes down that the run begins to wait for willing silos, or waits no longer. After that it is a round's time before it
    /// waits again: a silo that wavers fills no journal.
    pub(super) fn notes_waiting(&mut self, now: Timestamp) {
        match (self.state.waits_since, self.lacks_willing()) {
            (None, true) if self.lack(now).is_some() => self.commit(Record::Waits { now, over: false }),
            (Some(_), false) => {
                self.idle_since = now;
                self.commit(Record::Waits { now, over: true });
            }
            _ => {}
        }
    }

    /// Notes whether too few are here for any cohort, and were for a round's time in which silos were asked.
    pub(super) fn notes_shortage(&mut self, now: Timestamp) {
        let waited = now >= self.idle_since.plus_ms(self.setup.plan.timing.round_deadline_ms);
        self.short = !self.has_enough_here() && (self.short || waited && !self.turn.queued);
    }

    /// The same in the words of one that declined: silos hear neither who they were nor what an operator can do.
    fn as_silos_hear(&self, end: &RunEnd) -> RunEnd {
        let RunEnd::TooFewWilling { willing, needed, .. } = *end else { return end.clone() };
        let first = self.state.roster.keys().keys().find_map(|client| self.why_declined(client));
        RunEnd::TooFewWilling { willing, needed, first_reason: first.unwrap_or(BY_POLICY).to_owned() }
    }

    /// The run is over, and everybody hears why.
    pub(super) fn finish(&mut self, reason: RunEnd) {
        self.commit(Record::Ended { reason });
        for client in self.links.keys().copied().collect::<Vec<_>>() {
            self.say_end(client);
        }
        self.effects.push(Effect::DiscardStaged { before: u64::MAX });
    }

    /// Says to a silo that the run is over, if it is.
    pub(super) fn say_end(&mut self, client: ClientId) {
        if let Some(reason) = self.ended() {
            let reason = self.as_silos_hear(reason);
            send(&mut self.effects, client, ToClient::Finished { reason });
        }
    }

    /// Who declines the run, by which rule, and what the remedy is, in words.
    pub(super) fn declines(&self) -> String {
        let mut by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for client in self.state.roster.keys().keys() {
            if let Some(reason) = self.why_declined(client) {
                by.entry(reason).or_default().push(self.state.roster.name(*client));
            }
        }
        let said = by.into_iter().map(|(reason, silos)| {
            let code = reason.split_once(':').and_then(|(code, _)| RefusalCode::named(code));
            let remedy = code.map(|code| format!("; to go on, {}", code.remedy()));
            let named: Vec<&str> = silos.iter().take(NAMED).map(String::as_str).collect();
            let more = if named.len() < silos.len() { " and others" } else { "" };
            format!("{reason} (said by {}{more}){}", named.join(", "), remedy.unwrap_or_default())
        });
        said.collect::<Vec<_>>().join("; ")
    }

    /// Why a silo declines the run by its own word, if it does now.
    pub(super) fn why_declined(&self, client: &ClientId) -> Option<&str> {
        match self.state.absent.get(client) {
            Some(Absence::Declined(reason)) => Some(reason),
            Some(Absence::Barred(_)) => None,
            None => self.declining.get(client).map(String::as_str),
        }
    }

    /// The next cohort, once everyone expected is here, or the minimum wait is over and a quorum is.
    pub(super) fn next_cohort(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) -> Option<Vec<ClientId>> {
        if self.turn.queued {
            return None;
        }
        let all = self.here();
        if self.tried.as_ref() != Some(&all) {
            self.tried = None;
        }
        let here: BTreeSet<ClientId> = all.difference(&self.turn.busy).copied().collect();
        if here.len() < all.len().min(self.setup.plan.cohort.maximum) {
            // The others are waited for, since they come back by themselves; but where no cohort can be made of all either,
            // other runs do not wait for this one.
            if self.tried.is_none() {
                self.busy_until = now;
            }
            return None;
        }
        let waited = now >= self.gathers_since().plus_ms(self.setup.plan.timing.minimum_wait_ms);
        if !waited && (self.state.backing_off || self.expected().any(|client| !all.contains(&client))) {
            return None;
        }
        let cohort = self.cohort_of(&here, now, rng);
        self.tried = cohort.is_none().then_some(all);
        cohort
    }

    fn cohort_of(
        &self,
        here: &BTreeSet<ClientId>,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Option<Vec<ClientId>> {
        let plan = &self.setup.plan;
        // Who is put into no cohort now, since a sum was spoiled.
        let left_out = self.state.spoiled.left_out(here, plan.cohort.minimum, rng);
        let sound: BTreeSet<ClientId> = here.difference(&left_out).copied().collect();
        // Last, where complaints leave too few for a round's whole time, the pairs are together again: they cost a round
        // at worst, and no cohort at all would cost every round.
        let together = now >= self.gathers_since().plus_ms(plan.timing.round_deadline_ms);
        // Without an order, pairs are together.
        let orders = [Some(By::Turns), Some(By::Attempts), Some(By::Complaints)];
        let tried = [&sound, here].into_iter().flat_map(|of| orders.map(|by| (of, by)));
        let last = together.then_some((here, None));
        let mut cohorts = tried.chain(last).map(|(of, by)| self.choose(of, by, rng));
        cohorts.find(|cohort| cohort.len() >= plan.cohort.minimum)
    }

    /// Willing members whose sessions have checked in.
    pub(super) fn here(&self) -> BTreeSet<ClientId> {
        self.links
            .iter()
            .filter(|(client, link)| link.checked_in && !self.state.absent.contains_key(client))
            .map(|(client, _)| *client)
            .collect()
    }

    /// Whom the next round waits for: every willing member at the start of the run or of this process, later
    /// those whose session stands.
    pub(super) fn expected(&self) -> impl Iterator<Item = ClientId> {
        let fresh = self.idle_since == self.started;
        self.state
            .roster
            .keys()
            .keys()
            .copied()
            .filter(move |client| fresh || self.links.contains_key(client))
            .filter(|client| !self.state.absent.contains_key(client) && self.why_declined(client).is_none())
    }

    /// At most `cohort.maximum` of them, drawn evenly; no two of whom are kept apart where there is an order of who waits.
    fn choose(
        &self,
        here: &BTreeSet<ClientId>,
        complaints: Option<By>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<ClientId> {
        let mut chosen: Vec<ClientId> = here.iter().copied().collect();
        let round = self.state.next.round;
        let complaints = complaints.filter(|_| self.state.apart.pairs(round).next().is_some());
        if complaints.is_some() || chosen.len() > self.setup.plan.cohort.maximum {
            shuffle(&mut chosen, rng);
        }
        if let Some(by) = complaints {
            let waiting = self.state.apart.waiting(&chosen, round, by);
            chosen.retain(|client| !waiting.contains(client));
        }
        chosen.truncate(self.setup.plan.cohort.maximum);
        chosen.sort_unstable();
        chosen
    }
}

/// Fisher-Yates. The bias of a 64-bit remainder over at most 255 clients is below 2^-56.
fn shuffle(clients: &mut [ClientId], rng: &mut dyn CryptoRng) {
    for last in (1..clients.len()).rev() {
        let pick = rng.next_u64() % (last as u64 + 1);
        clients.swap(last, pick as usize);
    }
}
