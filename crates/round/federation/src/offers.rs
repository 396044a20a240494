//! What each silo is offered: the runs whose turn it is, those that wait for its word, and how those ended that it took part in.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Rejection, SessionVersion, Timestamp};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::inputs::of_run;
use crate::{Effects, Federation, Run, RunNumber, Session, Welcomed};

/// Runs that are over whose end a silo hears, when it was away: the newest ones that it took part in, and as many of the others.
const ENDS_MAX: usize = 8;
/// Bytes of welcomes that one silo has not answered, but for one longer one: less than what may wait in a session, however many runs
/// there are and however long their authors make their plans.
const WELCOMES_BYTES: usize = 3 << 20;

impl Federation {
    pub(crate) fn connected(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        (client, version): (ClientId, SessionVersion),
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let is_member = self.newest_roster().is_some_and(|roster| roster.keys().contains_key(&client));
        if !is_member {
            return Err(Rejection::UnknownClient(client));
        }
        let only = if version.names_runs() { None } else { self.oldest() };
        // It takes the place of an earlier one, which no run counts on from here on, offered in this one or not.
        self.runs.values_mut().for_each(|run| run.coordinator.forget_session(client));
        let (offered, unanswered) = (BTreeSet::new(), BTreeMap::new());
        self.sessions.insert(client, Session { version, only, offered, unanswered });
        self.offers(now, rng, out);
        Ok(())
    }

    /// It has answered a welcome, if it had one to answer.
    pub(crate) fn answered(&mut self, client: ClientId, number: RunNumber) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.unanswered.remove(&number);
        }
    }

    /// Offers each session what it was not offered yet, as far as it has answered what it was. Whether there was anything.
    pub(crate) fn offers(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) -> bool {
        let (open, over) = self.on_offer();
        let of = |(client, session): (&ClientId, &Session)| -> Vec<_> {
            let offered: Vec<RunNumber> = match session.only {
                Some(only) => vec![only],
                None => open.iter().copied().chain(over).chain(self.ended_for(*client)).collect(),
            };
            let new = offered.into_iter().filter(|number| !session.offered.contains(number));
            new.map(|number| (*client, number)).collect()
        };
        let new: Vec<(ClientId, RunNumber)> = self.sessions.iter().flat_map(of).collect();
        let mut anything = false;
        for (client, number) in new {
            anything |= self.offer(now, rng, (client, number, over == Some(number)), out);
        }
        anything
    }

    /// Welcomes a silo to a run, or says how the run ended where that is all that it may have to hear. Whether that was said.
    fn offer(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        (client, number, to_all): (ClientId, RunNumber, bool),
        out: &mut Effects,
    ) -> bool {
        let newest = self.newest_roster().map(|roster| roster.digest());
        let Some(run) = self.runs.get_mut(&number) else { return false };
        let Some(session) = self.sessions.get_mut(&client) else { return false };
        let (bytes, was_over) = (run.coordinator.welcome_bytes(), run.coordinator.ended().is_some());
        // A run that is over keeps its last roster, which a silo that has a later one takes for a lie.
        let is_of_the_past = Some(run.coordinator.roster_in_force().digest()) != newest;
        let hears_the_end = is_of_the_past || !to_all && !run.coordinator.took_part(client);
        if was_over && session.only.is_none() && hears_the_end {
            // It may have claimed what the run might cost.
            if !session.offered.insert(number) {
                return false;
            }
            let mut effects = protocol::Effects::new();
            run.coordinator.tell_end(client, &mut effects);
            of_run(number, effects, out);
            return true;
        }
        let version = session.version;
        let ended =
            |number: &RunNumber| self.runs.get(number).is_none_or(|run| run.coordinator.ended().is_some());
        let waits = |(number, welcomed): &(&RunNumber, &Welcomed)| welcomed.was_over || !ended(number);
        let unanswered: usize =
            session.unanswered.iter().filter(waits).map(|(_, welcomed)| welcomed.bytes).sum();
        if session.offered.contains(&number) || unanswered > 0 && unanswered + bytes > WELCOMES_BYTES {
            return false;
        }
        session.offered.insert(number);
        session.unanswered.insert(number, Welcomed { bytes, was_over });
        // Who is not on this run's roster is not offered it.
        if self.give(number, now, rng, protocol::Input::Connected { client, version }, out).is_err() {
            self.answered(client, number);
        }
        true
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

    /// The newest runs that are over: of those that this silo took part in, and of the others.
    fn ended_for(&self, client: ClientId) -> impl Iterator<Item = RunNumber> {
        let ended = || self.runs.iter().rev().filter(|(_, run)| run.coordinator.ended().is_some());
        let took_part = move |run: &Run| run.coordinator.took_part(client);
        let own = ended().filter(move |(_, run)| took_part(run)).take(ENDS_MAX);
        let others = ended().filter(move |(_, run)| !took_part(run)).take(ENDS_MAX);
        own.chain(others).map(|(number, _)| *number)
    }
}
