//! Complaints: whom they keep apart, for how long, and which of two waits meanwhile.
//!
//! A complaint proves nothing about the accused, so it must not evict it. A pair is apart for a bounded number of
//! rounds; of two, the one that complained more often waits, so that whoever complains falsely puts itself out. Honest
//! silos complain too, of dealers whose shares are bad, and then others may fall out of the round. So that nobody can be
//! kept out by being made to complain, three things go before that:
//!
//! * whoever fell out of the attempts since the newest record waits: what they left unfinished is tried without them;
//! * whom more have complained about than can collude did deal badly, and waits;
//! * whoever was in no committed round for long has waited enough, once in a while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use secagg::ClientId;

/// Committed rounds without a silo after which it has waited enough.
const ENOUGH: u64 = 8;
/// Committed rounds between two turns of one that complained in its turn again.
const PAUSE: u64 = 4;

/// What decides who of a pair waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// All of it: who was caught, who fell out, whose turn it is, who complained.
    Turns,
    /// The same without turns.
    Attempts,
    /// Who was caught and who complained, and not who fell out: silos that were slow for a while are no reason to go on
    /// with one that complains whenever it is there and never falls out.
    Complaints,
}

/// What the complaints come to.
pub struct Apart {
    /// Silos that may collude.
    corrupt: usize,
    /// The last round in which each pair is apart; the smaller id first.
    pairs: BTreeMap<(ClientId, ClientId), u64>,
    /// How often each has complained.
    made: BTreeMap<ClientId, u64>,
    /// Who complained about each, and the last round in which that counts.
    accusers: BTreeMap<ClientId, BTreeMap<ClientId, u64>>,
    committed: u64,
    /// How many were, when each was last in one.
    included: BTreeMap<ClientId, u64>,
    /// How many must be, before each has a turn again.
    paused: BTreeMap<ClientId, u64>,
    /// Attempts since the newest record that each fell out of.
    fell_out: BTreeMap<ClientId, u64>,
}

impl Apart {
    /// Of a run in which so many silos may collude.
    pub fn new(corrupt: usize) -> Self {
        Self {
            corrupt,
            pairs: BTreeMap::new(),
            made: BTreeMap::new(),
            accusers: BTreeMap::new(),
            committed: 0,
            included: BTreeMap::new(),
            paused: BTreeMap::new(),
            fell_out: BTreeMap::new(),
        }
    }

    /// Rounds for which a complaint keeps a pair apart: until a silo that waited has had a turn for each that may collude
    /// and spoil it, so that in the end it has one without any of them.
    fn rounds(&self) -> u64 {
        ENOUGH + (PAUSE + 1) * self.corrupt as u64
    }

    /// One complained of another in this round.
    pub fn complained(&mut self, accuser: ClientId, accused: ClientId, round: u64) {
        let last = round + self.rounds();
        self.pairs.insert(ordered(accuser, accused), last);
        *self.made.entry(accuser).or_default() += 1;
        self.accusers.entry(accused).or_default().insert(accuser, last);
        self.paused.insert(accuser, self.committed + PAUSE);
    }

    /// An operator has looked at it: the pair is together again.
    pub fn reconciled(&mut self, one: ClientId, other: ClientId) {
        self.pairs.remove(&ordered(one, other));
        for (accused, accuser) in [(one, other), (other, one)] {
            if let Some(accusers) = self.accusers.get_mut(&accused) {
                accusers.remove(&accuser);
            }
        }
    }

    /// A roster is in force: that no more can collude than a plan reckons with is said of its members.
    pub fn under(&mut self, is_member: impl Fn(&ClientId) -> bool) {
        self.accusers.values_mut().for_each(|accusers| accusers.retain(|accuser, _| is_member(accuser)));
    }

    /// A round of these gave a result.
    pub fn committed(&mut self, included: &BTreeSet<ClientId>) {
        self.committed += 1;
        self.included.extend(included.iter().map(|client| (*client, self.committed)));
        self.fell_out.clear();
    }

    /// An attempt ended without a result, and these had fallen out of it.
    pub fn aborted<'a>(&mut self, fell_out: impl Iterator<Item = &'a ClientId>) {
        for client in fell_out {
            *self.fell_out.entry(*client).or_default() += 1;
        }
    }

    /// The pairs that are apart in this round, and the last round of each.
    pub fn pairs(&self, round: u64) -> impl Iterator<Item = ((ClientId, ClientId), u64)> {
        self.pairs.iter().filter(move |(_, last)| round <= **last).map(|(pair, last)| (*pair, *last))
    }

    /// Whether these two are apart in this round.
    pub fn keeps(&self, one: ClientId, other: ClientId, round: u64) -> bool {
        self.pairs.get(&ordered(one, other)).is_some_and(|last| round <= *last)
    }

    /// Those of `present` that wait in this round, so that no pair of the others is apart. Equals are taken in the
    /// order of `present`.
    pub fn waiting(&self, present: &[ClientId], round: u64, by: By) -> BTreeSet<ClientId> {
        let clashes = |client: &ClientId| present.iter().any(|other| self.keeps(*client, *other, round));
        let mut candidates: Vec<ClientId> = present.iter().copied().filter(clashes).collect();
        candidates.sort_by_key(|client| self.place(client, round, by));
        let (mut taken, mut waiting) = (Vec::new(), BTreeSet::new());
        for client in candidates {
            if taken.iter().any(|other| self.keeps(client, *other, round)) {
                waiting.insert(client);
            } else {
                taken.push(client);
            }
        }
        waiting
    }

    /// Who comes first has the lower.
    fn place(&self, client: &ClientId, round: u64, by: By) -> (bool, u64, Reverse<u64>, u64) {
        let count = |of: &BTreeMap<ClientId, u64>| of.get(client).copied().unwrap_or_default();
        let accusers = self.accusers.get(client).into_iter().flat_map(BTreeMap::values);
        let caught = accusers.filter(|last| round <= **last).count() > self.corrupt;
        let missed = self.committed - count(&self.included);
        let fell_out = if by == By::Complaints { 0 } else { count(&self.fell_out) };
        let turn = by == By::Turns && missed >= ENOUGH && self.committed >= count(&self.paused);
        (caught, fell_out, Reverse(if turn { missed } else { 0 }), count(&self.made))
    }
}

fn ordered(one: ClientId, other: ClientId) -> (ClientId, ClientId) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [ClientId; 5] = [ClientId(1), ClientId(2), ClientId(3), ClientId(4), ClientId(5)];

    fn waiting(apart: &Apart, round: u64) -> Vec<u32> {
        apart.waiting(&HERE, round, By::Turns).into_iter().map(|client| client.0).collect()
    }

    #[test]
    fn two_that_complain_of_one_put_themselves_out_and_not_it() {
        let mut apart = Apart::new(2);
        apart.complained(ClientId(2), ClientId(1), 1);
        apart.complained(ClientId(3), ClientId(1), 2);
        assert_eq!(waiting(&apart, 3), [2, 3]);
    }

    #[test]
    fn a_pair_is_together_again_after_its_rounds_or_when_an_operator_says_so() {
        let mut apart = Apart::new(1);
        apart.complained(ClientId(1), ClientId(2), 4);
        let last = 4 + ENOUGH + PAUSE + 1;
        assert!(apart.keeps(ClientId(2), ClientId(1), last));
        assert!(!apart.keeps(ClientId(2), ClientId(1), last + 1));
        apart.reconciled(ClientId(2), ClientId(1));
        assert!(!apart.keeps(ClientId(1), ClientId(2), 5));
    }

    #[test]
    fn who_was_complained_of_by_more_than_can_collude_waits() {
        let mut apart = Apart::new(1);
        apart.complained(ClientId(1), ClientId(2), 1);
        assert_eq!(waiting(&apart, 2), [1], "it may have been its word alone");
        apart.complained(ClientId(3), ClientId(2), 2);
        assert_eq!(waiting(&apart, 3), [2], "one of the two is honest");
    }

    #[test]
    fn who_was_complained_of_is_caught_by_complaints_that_still_count_alone() {
        let caught = || {
            let mut apart = Apart::new(1);
            apart.complained(ClientId(1), ClientId(2), 1);
            apart.complained(ClientId(3), ClientId(2), 2);
            assert_eq!(waiting(&apart, 3), [2]);
            apart
        };
        // Long after, one complains of it again: it may be its word alone.
        let mut apart = caught();
        let later = 3 + apart.rounds();
        apart.complained(ClientId(1), ClientId(2), later);
        assert_eq!(waiting(&apart, later + 1), [1]);
        let mut apart = caught();
        apart.reconciled(ClientId(3), ClientId(2));
        assert_eq!(waiting(&apart, 3), [1], "an operator has looked at the other");
        let mut apart = caught();
        apart.under(|client| *client != ClientId(3));
        assert_eq!(waiting(&apart, 3), [1, 3], "no member's word");
    }

    #[test]
    fn who_fell_out_of_an_attempt_is_tried_without_until_a_round_is_committed() {
        // One was made to complain, and then its dealer and a false accuser leave the others too few.
        let mut apart = Apart::new(2);
        apart.complained(ClientId(1), ClientId(2), 1);
        apart.complained(ClientId(3), ClientId(4), 2);
        assert_eq!(waiting(&apart, 3), [1, 3]);
        apart.aborted([ClientId(2)].iter());
        assert_eq!(waiting(&apart, 4), [2, 3], "both honest silos are in it");
        apart.committed(&[1, 4, 5].map(ClientId).into());
        assert_eq!(waiting(&apart, 5), [1, 3]);
    }

    #[test]
    fn silos_that_fell_out_leave_no_one_that_complains_in_their_place_where_only_complaints_count() {
        let mut apart = Apart::new(1);
        apart.complained(ClientId(1), ClientId(2), 1);
        apart.complained(ClientId(1), ClientId(3), 2);
        apart.aborted([ClientId(2), ClientId(3)].iter());
        assert_eq!(waiting(&apart, 3), [2, 3], "they were slow, and the liar is in every attempt");
        let by_complaints = apart.waiting(&HERE, 3, By::Complaints);
        assert_eq!(by_complaints, [ClientId(1)].into());
    }

    #[test]
    fn whoever_deals_badly_to_one_silo_in_every_round_cannot_keep_it_out() {
        // Silo 1 is dealt bad shares by silo 2, or else by silo 3, whenever it is in a cohort with one of them.
        let mut apart = Apart::new(2);
        let (mut waited, mut longest) = (0, 0);
        for round in 1..1000 {
            let out = apart.waiting(&HERE, round, By::Turns);
            let dealer = [2, 3].map(ClientId).into_iter().find(|dealer| !out.contains(dealer));
            let here = !out.contains(&ClientId(1));
            match dealer.filter(|_| here) {
                Some(dealer) => apart.complained(ClientId(1), dealer, round),
                None => apart.committed(&HERE.into_iter().filter(|client| !out.contains(client)).collect()),
            }
            waited = if here && dealer.is_none() { 0 } else { waited + 1 };
            longest = longest.max(waited);
        }
        assert!(apart.committed > 800, "{}", apart.committed);
        assert!(longest <= 2 * apart.rounds(), "{longest}");
    }
}
