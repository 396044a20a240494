//! Whose turn it is: which runs are active, who of them opens the next attempt, and with which silos.

use std::collections::BTreeSet;

use protocol::{Coordinator, Timestamp, Turn};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::{Effects, Federation, RunNumber};

impl Federation {
    /// Hands out turns and offers until nothing changes any more: each change opens an attempt, or follows from one that did.
    pub(crate) fn settle(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) {
        loop {
            let moved = self.turns(now, rng, out);
            let offered = self.offers(now, rng, out);
            if !moved && !offered {
                return;
            }
        }
    }

    /// The runs that may open attempts: the first of the queue that nothing keeps from it.
    pub fn active(&self) -> Vec<RunNumber> {
        let able = self.runs.iter().filter(|(_, run)| is_able(&run.coordinator));
        able.map(|(number, _)| *number).take(self.active_max).collect()
    }

    /// The runs that are not over, in the order in which they are asked: who opened an attempt longest ago is first.
    pub(crate) fn order(&self) -> Vec<RunNumber> {
        let open = self.runs.iter().filter(|(_, run)| run.coordinator.ended().is_none());
        let mut order: Vec<_> = open.map(|(number, run)| (run.coordinator.last_opened(), *number)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// Gives each run its turn, in order, and lets those act whose turn is another than before.
    fn turns(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) -> bool {
        let mut moved = false;
        self.each_turn(now, |federation, number, is_new| {
            if is_new {
                moved = true;
                // A tick is never refused.
                let _ = federation.give(number, now, rng, protocol::Input::Tick, out);
            }
        });
        moved
    }

    /// Takes all turns without letting anybody act.
    pub(crate) fn take_turns(&mut self, now: Timestamp) {
        self.each_turn(now, |_, _, _| {});
    }

    /// Gives each run its turn, in order, and then lets it act; it hears whether its turn is another than before.
    pub(crate) fn each_turn(&mut self, now: Timestamp, mut acts: impl FnMut(&mut Self, RunNumber, bool)) {
        let active = self.active();
        let mut kept: BTreeSet<ClientId> = BTreeSet::new();
        for number in self.order() {
            let mut busy = self.in_attempts_of_others(number);
            busy.extend(&kept);
            let turn = Turn { queued: !active.contains(&number), busy };
            let is_new = self.runs.get_mut(&number).is_some_and(|run| run.coordinator.take_turn(now, turn));
            acts(self, number, is_new);
            if let Some(run) = self.runs.get(&number) {
                kept.extend(run.coordinator.reserves(now));
            }
        }
    }

    fn in_attempts_of_others(&self, number: RunNumber) -> BTreeSet<ClientId> {
        let others = self.runs.iter().filter(|(other, _)| **other != number);
        others.filter_map(|(_, run)| run.coordinator.cohort()).flatten().copied().collect()
    }
}

/// Whether a run would take a place: it is not over, no operator holds it, and it has no lack of silos that are willing or here.
fn is_able(run: &Coordinator) -> bool {
    run.ended().is_none() && !run.is_held() && !run.too_few_willing() && !run.too_few_here()
}
