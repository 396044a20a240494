//! Who spoils the weights of sums: who waits for it, and for how long.
//!
//! A sum hides who sent what, so a sum with weights that no silos have names nobody: one of those in it did that. A sum that is
//! sound clears nobody of having spoiled another. While one silo explains all that happened, the suspects are those that were in
//! every spoiled sum, and a half of them, by lot, is left out of each cohort: if that sum is spoiled too, they are cleared. The
//! lots are drawn for all of them, whoever is here. Each spoiled sum pays for [`Spoiled::WAIT`] results of that; then all are
//! together again, and a sound sum of all of them ends the search. Where no single silo explains it, each of those in a spoiled
//! sum owes so many results out of the cohort, of which each that it is in halves the rest; who owes more is more likely drawn.
//!
//! # Security
//! It proves nothing: a silo that spoils only those sums that another one is in makes that one a suspect, too. What bounds it:
//!
//! * whoever waits, waits for what a spoiled sum that it was in has paid for: [`Spoiled::WAIT`] results each, and no more;
//! * a single framer is a suspect as long as whom it frames, and lots that it learns too late decide. It has a lot of its own
//!   also while it is away, so leaving hands it to nobody: of two or more, each is drawn in a half of the rounds at most, and
//!   waits in those and in the one after each spoiled sum. It spoils one round in nine, and as many more in all as it takes to
//!   halve the suspects down to itself;
//! * several that take turns can keep out another for the eight results that each spoiled sum pays for. To any rule a silo
//!   without which no sum is spoiled looks like one that spoils all of them, until a cohort has it and none of them.
//!
//! The lots are in the journal as the cohorts that they led to, and all else follows from it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use identity::AuthorisedRoster;
use rand_core::CryptoRng;
use secagg::ClientId;

/// Whom spoiled sums keep waiting. See the module's own text for the rule and what bounds it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Spoiled {
    /// Silos that may collude.
    corrupt: usize,
    /// In every spoiled sum of the search.
    suspects: BTreeSet<ClientId>,
    /// Results that a part of them is still left out for.
    paid: u64,
    /// Results that each owes, where no single silo explains what happened.
    owed: BTreeMap<ClientId, u64>,
    /// Spoiled sums since the newest result: on one model.
    since_result: u64,
}

impl Spoiled {
    /// Results that one spoiled sum pays for.
    pub const WAIT: u64 = 8;

    /// Of a run in which so many silos may collude.
    pub fn new(corrupt: usize) -> Self {
        Self { corrupt, ..Self::default() }
    }

    /// The weights of this sum cannot be right.
    pub fn spoil(&mut self, included: &BTreeSet<ClientId>) {
        self.since_result += 1;
        let several =
            !self.owed.is_empty() || (!self.suspects.is_empty() && self.suspects.is_disjoint(included));
        if several {
            let paid = std::mem::take(&mut self.paid);
            let known = std::mem::take(&mut self.suspects).into_iter().map(|client| (client, paid));
            self.owed.extend(known.filter(|(_, paid)| *paid > 0));
            for client in included {
                *self.owed.entry(*client).or_insert(0) += Self::WAIT;
            }
            return;
        }
        if self.suspects.is_empty() {
            self.suspects.clone_from(included);
        }
        self.suspects.retain(|suspect| included.contains(suspect));
        self.paid += Self::WAIT;
    }

    /// This sum gave a result.
    pub fn commit(&mut self, included: &BTreeSet<ClientId>) {
        self.since_result = 0;
        match self.paid {
            0 if self.suspects.is_subset(included) => self.suspects.clear(),
            0 => {}
            _ => self.paid -= 1,
        }
        for (client, owed) in &mut self.owed {
            *owed = if included.contains(client) { *owed / 2 } else { *owed - 1 };
        }
        self.owed.retain(|_, owed| *owed > 0);
    }

    /// Who of those that are here is put into no cohort now; `minimum` of them are left in any case.
    ///
    /// On a model that a sum was spoiled on, all that wait are left out where that is possible, since without noise a silo's policy
    /// allows few uploads on one model.
    pub fn left_out(
        &self,
        here: &BTreeSet<ClientId>,
        minimum: usize,
        rng: &mut dyn CryptoRng,
    ) -> BTreeSet<ClientId> {
        let room = here.len() - minimum.min(here.len());
        let mut lots: Vec<(Reverse<u64>, ClientId)> = Vec::new();
        // One that leaves must not hand its lot to another.
        let part = if self.owed.is_empty() {
            let waiting = self.suspects.iter().filter(|_| self.paid > 0);
            lots.extend(waiting.map(|client| (Reverse(rng.next_u64()), *client)));
            (lots.len() / 2).max(1)
        } else {
            let owing = self.owed.iter();
            lots.extend(
                owing.map(|(client, owed)| (Reverse(owed + rng.next_u64() % (4 * Self::WAIT)), *client)),
            );
            let again = self.owed.values().filter(|owed| **owed > Self::WAIT).count();
            lots.len().div_ceil(2).max(again.min(self.corrupt))
        };
        lots.sort_unstable();
        let all =
            self.since_result > 0 && lots.iter().filter(|(_, client)| here.contains(client)).count() <= room;
        if !all {
            lots.truncate(part);
        }
        lots.into_iter().map(|(_, client)| client).filter(|client| here.contains(client)).take(room).collect()
    }

    /// Whether it may have spoiled sums, for all that is known.
    pub fn suspects(&self, client: &ClientId) -> bool {
        self.suspects.contains(client) || self.owed.contains_key(client)
    }

    /// For operators, in words; `spare` of those that are here need not be in a cohort.
    pub fn notice(&self, roster: &AuthorisedRoster, spare: usize) -> Option<String> {
        let suspects = roster.members.keys().filter(|client| self.suspects(client));
        let names: Vec<String> = suspects.map(|client| roster.name(*client)).collect();
        if names.is_empty() {
            return None;
        }
        let who = if self.owed.is_empty() {
            "if one silo does that, it is one of"
        } else {
            "more than one does that, of"
        };
        let now = match spare {
            0 => "nobody can be left out, since a cohort needs all who are here".to_owned(),
            _ => format!("for {} results after each, cohorts leave out some of them, by lot", Self::WAIT),
        };
        Some(format!(
            "weights that cannot be right spoiled a sum; {who} {}; {now}. Nothing is proven: revoke the silo if you know \
             better, or have the plan signed in format 2 with uniform weights, of which nothing is summed",
            names.join(", ")
        ))
    }
}
