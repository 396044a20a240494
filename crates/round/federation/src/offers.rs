//! What each silo is offered: the runs whose turn it is, those that wait for its word, and how those ended that it took part in.

use std::collections::BTreeSet;

use protocol::{Rejection, SessionVersion, Timestamp};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::{Effects, Federation, Run, RunNumber, Session};

/// Runs that are over whose end a silo hears, when it was away: the newest ones that it took part in.
const ENDS_MAX: usize = 8;

impl Federation {
    pub(crate) fn connected(&mut self, client: ClientId, version: SessionVersion) -> Result<(), Rejection> {
        let is_member = self.newest_roster().is_some_and(|roster| roster.keys().contains_key(&client));
        if !is_member {
            return Err(Rejection::UnknownClient(client));
        }
        let only = if version.names_runs() { None } else { self.oldest() };
        self.sessions.insert(client, Session { version, only, offered: BTreeSet::new() });
        Ok(())
    }

    /// Offers each session what it was not offered yet. Whether there was anything.
    pub(crate) fn offers(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) -> bool {
        let (open, over) = self.on_offer();
        let of = |(client, session): (&ClientId, &Session)| -> Vec<_> {
            let offered: Vec<RunNumber> = match session.only {
                Some(only) => vec![only],
                None => open.iter().copied().chain(self.ended_for(*client)).chain(over).collect(),
            };
            offered.into_iter().map(|number| (*client, session.version, number)).collect()
        };
        let offered: Vec<(ClientId, SessionVersion, RunNumber)> = self.sessions.iter().flat_map(of).collect();
        let mut anything = false;
        for (client, version, number) in offered {
            let is_new = |session: &mut Session| session.offered.insert(number);
            if self.sessions.get_mut(&client).is_some_and(is_new) {
                anything = true;
                // Who is not on this run's roster is not offered it.
                let _ = self.give(number, now, rng, protocol::Input::Connected { client, version }, out);
            }
        }
        anything
    }

    /// What every session is offered: the runs that are open to silos, and, as ever where nothing is on, the newest run, for all to
    /// hear how it ended.
    fn on_offer(&self) -> (Vec<RunNumber>, Option<RunNumber>) {
        let active = self.active();
        let is_on_offer = |(number, run): &(&RunNumber, &Run)| {
            let run = &run.coordinator;
            let begun = run.cohort().is_some()
                || run.too_few_willing()
                || run.too_few_here()
                || run.is_held() && run.last_opened().is_some();
            run.ended().is_none() && (begun || active.contains(number))
        };
        let open = self.runs.iter().filter(is_on_offer).map(|(number, _)| *number).collect();
        let all_over = self.runs.values().all(|run| run.coordinator.ended().is_some());
        (open, self.runs.keys().next_back().copied().filter(|_| all_over))
    }

    /// The newest runs that are over and that this silo took part in.
    fn ended_for(&self, client: ClientId) -> impl Iterator<Item = RunNumber> {
        let took_part =
            move |run: &Run| run.coordinator.ended().is_some() && run.coordinator.took_part(client);
        let ended = self.runs.iter().rev().filter(move |(_, run)| took_part(run));
        ended.take(ENDS_MAX).map(|(number, _)| *number)
    }
}
