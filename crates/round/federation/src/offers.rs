//! What each silo is offered: the runs whose turn it is, those that wait for its word, and how those ended that it took part in.

use std::collections::BTreeSet;

use protocol::{Coordinator, Rejection, SessionVersion, Timestamp};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::{Effects, Federation, RunNumber, Session};

/// Runs that are over whose end a silo hears, when it was away: the newest ones that it took part in.
const ENDS_MAX: usize = 8;

/// Whether a session of this version has more than one run.
pub(crate) fn carries_runs(version: SessionVersion) -> bool {
    version.number() >= 4
}

impl Federation {
    pub(crate) fn connected(&mut self, client: ClientId, version: SessionVersion) -> Result<(), Rejection> {
        let is_member = self.newest_roster().is_some_and(|roster| roster.keys().contains_key(&client));
        if !is_member {
            return Err(Rejection::UnknownClient(client));
        }
        let only = if carries_runs(version) { None } else { self.oldest() };
        self.sessions.insert(client, Session { version, only, offered: BTreeSet::new() });
        Ok(())
    }

    /// Offers each session what it was not offered yet. Whether there was anything.
    pub(crate) fn offers(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Effects) -> bool {
        let active = self.active();
        let mut due: Vec<(ClientId, SessionVersion, RunNumber)> = Vec::new();
        for (client, session) in &mut self.sessions {
            let offered = match session.only {
                Some(only) => vec![only],
                None => offered_to(*client, &self.runs, &active),
            };
            for number in offered {
                if session.offered.insert(number) {
                    due.push((*client, session.version, number));
                }
            }
        }
        for (client, version, number) in &due {
            let input = protocol::Input::Connected { client: *client, version: *version };
            // Who is not on this run's roster is not offered it.
            let _ = self.give(*number, now, rng, input, out);
        }
        !due.is_empty()
    }
}

fn offered_to(
    client: ClientId,
    runs: &std::collections::BTreeMap<RunNumber, crate::Run>,
    active: &[RunNumber],
) -> Vec<RunNumber> {
    let is_open = |run: &Coordinator| run.ended().is_none();
    let open = runs.iter().filter(|(number, run)| {
        let run = &run.coordinator;
        let begun = run.cohort().is_some()
            || run.too_few_willing().is_some()
            || run.is_held() && run.last_opened().is_some();
        is_open(run) && (begun || active.contains(number))
    });
    let ended =
        runs.iter().rev().filter(|(_, run)| !is_open(&run.coordinator) && run.coordinator.took_part(client));
    let mut offered: Vec<RunNumber> = open.chain(ended.take(ENDS_MAX)).map(|(number, _)| *number).collect();
    if runs.values().all(|run| !is_open(&run.coordinator)) {
        // As ever: where nothing is on, a silo hears how the newest run ended.
        offered.extend(runs.keys().next_back());
    }
    offered
}
