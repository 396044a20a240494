//! Whom complaints keep out of rounds, and for how long.

use std::collections::{BTreeMap, BTreeSet};

use secagg::ClientId;

#[derive(Default)]
pub(crate) struct Turns {
    /// Rounds that were committed without each silo that is in a complaint, since it was in one.
    missed: BTreeMap<ClientId, u64>,
}

impl Turns {
    pub(crate) fn complaint(&mut self, accuser: ClientId, accused: ClientId) {
        for client in [accuser, accused] {
            self.missed.entry(client).or_default();
        }
    }

    /// A round was committed with these; gives an honest silo that has waited longer than a complaint may keep it.
    pub(crate) fn committed(
        &mut self,
        cohort: &BTreeSet<u32>,
        corrupt: usize,
        honest: impl Fn(ClientId) -> bool,
    ) -> Option<ClientId> {
        // Eight rounds until a silo has a turn, five for each that can spoil one; and twice as long for good measure.
        let most = 2 * (8 + 5 * corrupt as u64);
        for (client, missed) in &mut self.missed {
            *missed = if cohort.contains(&client.0) { 0 } else { *missed + 1 };
        }
        self.missed
            .iter()
            .find(|(client, missed)| **missed > most && honest(**client))
            .map(|(client, _)| *client)
    }
}
