//! The status: read only.

use identity::utc;
use run_status::{ClientStatus, Ended, Ending, Standing, Status, Waiting, with_names};
use secagg::ClientId;

use super::Coordinator;
use super::phase::{Phase, Step};
use super::state::Absence;
use crate::Timestamp;
use crate::spend::spent;
use checkpoint::SignedManifest;
use messages::{Decline, SessionVersion};
use messages::{RoundOutcome, RunEnd};
use params::Digest;

const SUSPECT: &str = "was in a sum whose weights could not be right; nothing is proven";

impl Coordinator {
    /// What an operator sees now.
    pub fn status(&self) -> Status {
        let plan = &self.setup.plan;
        let state = &self.state;
        let privacy = spent(&self.setup.plan, self.price.as_ref(), self.state.charged_rounds);
        let at = state.phase.round().map_or(state.next, |round| round.at);
        let left_out: u64 = state.tallies.values().map(|tally| tally.left_out).sum();
        let notices =
            [state.notices(), self.waiting_for_willing(), self.spoiled(), self.older_peers()].concat();
        Status {
            run_id: self.run_id().unwrap_or(Digest::from_bytes([0; 32])),
            run_name: plan.name.clone(),
            plan: plan.digest(),
            rounds_planned: plan.rounds,
            rounds_committed: state.committed,
            rounds_aborted: state.aborted,
            attempts_aborted: Some(state.attempts_aborted),
            round: at.round,
            attempt: at.attempt,
            phase: state.phase.name(),
            deadline_ms: state.phase.deadline(plan).or(self.waits().map(|(_, until)| until)).map(|at| at.0),
            waiting_for: self.waiting_for(),
            waiting_why: [vec![self.waiting_why()], notices.clone()].concat().join("; "),
            notices,
            clients: self.state.roster.members.keys().map(|id| self.client_status(*id)).collect(),
            dropouts: left_out,
            epsilon_left: privacy
                .epsilon
                .zip(plan.budget())
                .map(|(spent, (epsilon, _))| (epsilon - spent).max(0.0)),
            privacy,
            head: state.head_record.as_ref().map(SignedManifest::digest),
            model: state.head.as_ref().map(|head| head.model.params_digest),
            head_round: self.state.head_round(),
            metrics: state.head.as_ref().map(|head| head.metrics.clone()).unwrap_or_default(),
            last_outcome: self.last_outcome(),
            ended: match &state.phase {
                Phase::Ended(reason) => Some(Ended { how: how(reason), why: reason.to_string() }),
                _ => None,
            },
        }
    }

    /// How the newest attempt ended; of one that was aborted, also who was out of it and why. A silo that is not named had
    /// time left.
    pub fn last_outcome(&self) -> String {
        let state = &self.state;
        let Some(outcome) = &state.last_outcome else { return String::new() };
        let mut said = self.in_names(&outcome.to_string());
        if *outcome != RoundOutcome::Committed {
            for (client, reason) in &state.last_dropped {
                let reason = self.in_names(&reason.to_string());
                said += &format!("; {client} {} {reason}", state.roster.name(*client));
            }
        }
        said
    }

    /// With the names of silos that it has the numbers of alone.
    fn in_names(&self, text: &str) -> String {
        with_names(text, |id| self.state.roster.members.get(&id).map(|member| member.name.clone()))
    }

    fn spoiled(&self) -> Vec<String> {
        let spare = self.here().len().saturating_sub(self.setup.plan.cohort.minimum);
        self.state.spoiled.notice(&self.state.roster, spare).into_iter().collect()
    }

    /// Too few are willing: the run waits for more, since when, and until when.
    fn waiting_for_willing(&self) -> Vec<String> {
        let Phase::Idle = self.state.phase else { return vec![] };
        let Some(lack) = self.lack(Timestamp(u64::MAX)) else { return vec![] };
        let days = self.setup.plan.timing.days_of_patience();
        let long = match (self.state.is_held(), self.waits()) {
            (false, Some((since, until))) => format!("since {}, until {}", utc(since.0), utc(until.0)),
            (false, None) => format!("for {days} days at most, which begin a round's deadline from now"),
            (true, _) => {
                format!(
                    "for {days} days at most, which begin when no pause and no quarantine holds it any more"
                )
            }
        };
        vec![format!("the run waits {long}, and goes on as soon as enough silos are willing: {lack}")]
    }

    /// Silos that are served in an earlier version than this release's.
    fn older_peers(&self) -> Vec<String> {
        let older = self.links.iter().filter(|(_, link)| link.version < SessionVersion::NEWEST);
        let unread = self.unread_by_older_peers();
        let out = unread.map(|what| format!(", and takes no part: {what}, which it cannot read"));
        let out = out.unwrap_or_default();
        let line = |(id, link): (&ClientId, &super::Link)| {
            format!(
                "{}: {} speaks protocol version {}, this coordinator {} too{out}; install this release there",
                SessionVersion::OLDER_PEER,
                self.state.roster.name(*id),
                link.version,
                SessionVersion::NEWEST
            )
        };
        older.map(line).collect()
    }

    fn client_status(&self, id: ClientId) -> ClientStatus {
        let tally = self.state.tallies.get(&id).copied().unwrap_or_default();
        let connected = self.links.contains_key(&id);
        let noted = self.reasons.of(id);
        let absent = self.state.absent.get(&id).map(Absence::reason);
        let suspect = self.state.spoiled.suspects(&id).then_some(SUSPECT);
        let why = absent.or(noted.map(|(why, _)| why)).or(suspect);
        ClientStatus {
            id,
            name: self.state.roster.name(id),
            connected,
            state: self.client_state(id, connected),
            last_reason: why.map_or_else(String::new, |why| self.in_names(why)),
            reason_moment: noted.map(|(_, moment)| moment),
            rounds_included: tally.included,
            rounds_left_out: tally.left_out,
        }
    }

    fn client_state(&self, id: ClientId, connected: bool) -> Standing {
        match self.state.absent.get(&id) {
            Some(Absence::Barred(_)) => return Standing::Barred,
            _ if self.why_declined(&id).is_some() => return Standing::Refuses,
            _ => {}
        }
        if let Some(round) = self.state.phase.round() {
            if round.dropped.contains_key(&id) {
                return Standing::LeftOut;
            }
            if round.cohort.contains(&id) {
                let awaited = self.state.phase.awaits(&id);
                return if awaited { Standing::Awaited } else { Standing::Answered };
            }
        }
        match (connected, self.links.get(&id).is_some_and(|link| link.checked_in)) {
            (_, true) => Standing::CheckedIn,
            (true, false) => Standing::Connected,
            (false, false) => Standing::NotConnected,
        }
    }

    fn waiting_for(&self) -> Vec<Waiting> {
        let phase = &self.state.phase;
        let here = self.here();
        let awaited: Vec<ClientId> = match phase {
            Phase::Idle => self.expected().filter(|id| !here.contains(id)).collect(),
            phase => phase.awaited().collect(),
        };
        awaited.into_iter().map(|client| Waiting { client, what: phase.owed() }).collect()
    }

    fn waiting_why(&self) -> String {
        let plan = &self.setup.plan;
        match &self.state.phase {
            Phase::NotStarted => "the run is being started".into(),
            Phase::Ended(reason) => reason.to_string(),
            Phase::InRound(_, Step::Summing(_)) => "the sum is being opened".into(),
            Phase::Idle => {
                let here = self.here().len();
                let (members, needed) = (self.state.roster.keys().len(), plan.cohort.minimum);
                let begins = self.state.last_opened.is_none() && !self.state.is_held();
                let asked = if begins { "silos are being asked to take part: " } else { "" };
                let mut why = match here < needed {
                    true => {
                        format!("{asked}{here} of the {needed} silos that a round needs have checked in")
                    }
                    false => format!("{here} silos have checked in, and a round needs {needed}"),
                };
                if members < needed {
                    why.push_str(&format!("; the roster has {members} members: enrol more silos"));
                }
                why.push_str(&self.apart_and_absent());
                why
            }
            phase => {
                let awaited = phase.awaited().count();
                let connected = phase.awaited().filter(|id| self.links.contains_key(id)).count();
                format!("{awaited} silos owe {}, {connected} of them are connected", phase.owed())
            }
        }
    }

    /// Who is in no cohort, or not in one with another, and why.
    fn apart_and_absent(&self) -> String {
        let name = |client: ClientId| self.state.roster.name(client);
        let mut why = String::new();
        for ((one, other), last) in self.state.apart.pairs(self.state.next.round) {
            why.push_str(&format!(
                "; {} and {} are kept apart until round {last} after a complaint",
                name(one),
                name(other)
            ));
        }
        let declines = self.declines();
        if !declines.is_empty() && self.waiting_for_willing().is_empty() {
            why.push_str(&format!("; refused: {declines}"));
        }
        let awaits = Decline::awaits_operator().to_string();
        let members = self.state.roster.keys().keys().copied();
        let waiting = members.filter(|id| self.reasons.of(*id).is_some_and(|(why, _)| *why == awaits));
        let waiting: Vec<String> = waiting.map(name).collect();
        if !waiting.is_empty() {
            let (epoch, silos) = (self.newest_roster().epoch, waiting.join(", "));
            why.push_str(&format!("; not accepted yet by their operators is roster epoch {epoch}: {silos}"));
        }
        let barred = self.state.absent.iter().filter(|(_, absence)| !absence.is_declined());
        let barred = barred.map(|(client, absence)| (name(*client), absence.reason()));
        if let (count, Some((first, reason))) = (barred.clone().count(), barred.clone().next()) {
            why.push_str(&format!("; {count} barred, {first} for: {reason}"));
        }
        why
    }
}

/// Which end of a run it is, for a status.
fn how(end: &RunEnd) -> Ending {
    match end {
        RunEnd::Complete => Ending::Complete,
        RunEnd::BudgetSpent => Ending::BudgetSpent,
        RunEnd::TooFewWilling { .. } => Ending::Refused,
        RunEnd::Stopped { .. } => Ending::Stopped,
    }
}
