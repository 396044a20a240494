//! What went wrong with each silo last, since when, and until it is over.

use std::collections::BTreeMap;

use secagg::ClientId;
use serde::Serialize;

/// When something went wrong with a silo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReasonMoment {
    /// The round that it fell out of; none of what keeps it out of the whole run.
    #[serde(rename = "reason_round", skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// The attempt in that round.
    #[serde(rename = "reason_attempt", skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// In milliseconds since the Unix epoch.
    #[serde(rename = "reason_ms")]
    pub time_ms: u64,
}

/// The last thing that went wrong with each silo, for a status alone.
///
/// ```
/// use run_status::Reasons;
/// use secagg::ClientId;
///
/// let (mut reasons, north) = (Reasons::default(), ClientId(1));
/// reasons.now(1_000);
/// reasons.fell_out(north, "silent".into(), (12, 1));
/// reasons.committed((12, 1));
/// assert_eq!(reasons.of(north).unwrap().0, "silent", "why it is not in that sum");
/// reasons.committed((13, 1));
/// assert_eq!(reasons.of(north), None, "it is over");
/// ```
#[derive(Debug, Default)]
pub struct Reasons {
    now_ms: u64,
    last: BTreeMap<ClientId, (String, ReasonMoment)>,
}

impl Reasons {
    /// What comes is of this moment, in milliseconds since the Unix epoch.
    pub fn now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// A silo fell out of a round's attempt. Once a later one is committed, that is over.
    pub fn fell_out(&mut self, silo: ClientId, why: String, (round, attempt): (u64, u32)) {
        let moment = ReasonMoment { round: Some(round), attempt: Some(attempt), time_ms: self.now_ms };
        self.last.insert(silo, (why, moment));
    }

    /// A silo is out of the whole run, until that is [`Reasons::over`]. Said again in the same words it began when it was said first.
    pub fn keeps_out(&mut self, silo: ClientId, why: String) {
        let said = self.last.get(&silo).filter(|(text, moment)| moment.round.is_none() && *text == why);
        if said.is_none() {
            let moment = ReasonMoment { round: None, attempt: None, time_ms: self.now_ms };
            self.last.insert(silo, (why, moment));
        }
    }

    /// What kept a silo out of the whole run does so no more.
    pub fn over(&mut self, silo: ClientId) {
        if self.last.get(&silo).is_some_and(|(_, moment)| moment.round.is_none()) {
            self.last.remove(&silo);
        }
    }

    /// This attempt of this round was committed.
    pub fn committed(&mut self, (round, attempt): (u64, u32)) {
        let lasts = |moment: &ReasonMoment| {
            moment.round.zip(moment.attempt).is_none_or(|fell_out| fell_out >= (round, attempt))
        };
        self.last.retain(|_, (_, moment)| lasts(moment));
    }

    /// Why, and since when.
    pub fn of(&self, silo: ClientId) -> Option<(&str, ReasonMoment)> {
        self.last.get(&silo).map(|(why, moment)| (why.as_str(), *moment))
    }
}

/// A text with `silo 3 west` in place of each `client 3`, where that one's name is known.
pub fn with_names(text: &str, name: impl Fn(ClientId) -> Option<String>) -> String {
    const WORD: &str = "client ";
    let mut named = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(WORD) {
        let digits = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let (number, following) = after.split_at(digits);
        let known = number.parse().ok().and_then(|id| name(ClientId(id)));
        named += before;
        named += &known.map_or_else(|| format!("{WORD}{number}"), |name| format!("silo {number} {name}"));
        rest = following;
    }
    named + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORTH: ClientId = ClientId(1);
    const SOUTH: ClientId = ClientId(2);

    fn moment(round: Option<(u64, u32)>, time_ms: u64) -> ReasonMoment {
        ReasonMoment {
            round: round.map(|(round, _)| round),
            attempt: round.map(|(_, attempt)| attempt),
            time_ms,
        }
    }

    #[test]
    fn what_a_silo_fell_out_for_is_said_with_its_round_and_ends_with_the_next_one_that_is_committed() {
        let mut reasons = Reasons::default();
        reasons.now(5);
        reasons.fell_out(NORTH, "silent".into(), (12, 1));
        reasons.fell_out(SOUTH, "late".into(), (12, 2));
        assert_eq!(reasons.of(NORTH), Some(("silent", moment(Some((12, 1)), 5))));
        reasons.committed((12, 2));
        assert_eq!(reasons.of(NORTH), None, "its round came to a result in a later attempt");
        assert_eq!(reasons.of(SOUTH), Some(("late", moment(Some((12, 2)), 5))), "why it is not in the sum");
        reasons.committed((13, 1));
        assert_eq!(reasons.of(SOUTH), None);
    }

    #[test]
    fn what_keeps_a_silo_out_of_the_run_lasts_until_it_is_over_and_began_when_it_was_said_first() {
        let mut reasons = Reasons::default();
        for now in [5, 90] {
            reasons.now(now);
            reasons.keeps_out(NORTH, "its operator has not accepted a later roster".into());
        }
        reasons.committed((12, 1));
        assert_eq!(reasons.of(NORTH).unwrap().1, moment(None, 5));
        reasons.keeps_out(NORTH, "POLICY_COHORT".into());
        assert_eq!(reasons.of(NORTH), Some(("POLICY_COHORT", moment(None, 90))));
        reasons.over(NORTH);
        assert_eq!(reasons.of(NORTH), None);
        reasons.fell_out(NORTH, "silent".into(), (12, 1));
        reasons.over(NORTH);
        assert!(reasons.of(NORTH).is_some(), "that it takes part in the run ends nothing of a round");
    }

    #[test]
    fn silos_have_their_names_beside_their_numbers_where_these_are_known() {
        let name = |id: ClientId| (id == SOUTH).then(|| "south".to_owned());
        for (text, named) in [
            ("client 1 complained about client 2", "client 1 complained about silo 2 south"),
            ("client 2", "silo 2 south"),
            ("client 22 and a client of nobody's", "client 22 and a client of nobody's"),
            ("client 99999999999 of client ", "client 99999999999 of client "),
            ("", ""),
        ] {
            assert_eq!(with_names(text, name), named);
        }
    }
}
