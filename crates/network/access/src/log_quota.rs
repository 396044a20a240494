//! Which calls are written down, and how many more there were: a log that cannot forget must not be anybody's to fill.

use std::collections::BTreeMap;

use identity::Role;

use crate::guard::{CallOutcome, CallRecord, Proof};

/// The time that a share is for.
const PERIOD_MS: u64 = 60_000;
/// Entries in that time for each share.
const ENTRIES: u64 = 60;
/// Entries of strangers beyond which they have no minute's share, and how soon one of those may be written again: a flood
/// that never ends says nothing new.
const OF_STRANGERS: u64 = 600;
const STRANGER_AGAIN_MS: u64 = 6 * PERIOD_MS;
/// Summaries of what was left out, the same way.
const SUMMARIES: u64 = 60;
const SUMMARY_AGAIN_MS: u64 = 60 * PERIOD_MS;
/// Callers that are named with their counts; the rest are summed.
const NAMED: usize = 16;

/// Whose share of the log a call is written to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    /// Refusals of whoever proved nothing.
    Refused,
    /// Calls that anybody may make, by whoever proved nothing: those who ask for admission.
    Strangers,
    /// What one caller was refused, and what a silo does without end.
    Caller(String),
}

#[derive(Debug, Default)]
struct Tally {
    written: u64,
    left_out: u64,
}

/// What is used up of a store that fills again with time.
#[derive(Debug, Default)]
struct Used {
    count: u64,
    at_ms: u64,
}

impl Used {
    /// Whether there is one more of `most`, of which one comes back each `again_ms`.
    fn take(&mut self, now_ms: u64, most: u64, again_ms: u64) -> bool {
        if self.count == 0 || now_ms < self.at_ms {
            self.at_ms = now_ms;
        }
        let back = (now_ms - self.at_ms) / again_ms;
        self.at_ms += back * again_ms;
        self.count -= back.min(self.count);
        let may = self.count < most;
        self.count += u64::from(may);
        may
    }
}

/// What an audit log has room for: operators' calls are all written, and of the others a share for each kind of caller. Whoever
/// writes the log asks this for each call, and writes beside them how many it left out.
#[derive(Debug, Default)]
pub struct LogQuota {
    since_ms: Option<u64>,
    tallies: BTreeMap<Share, Tally>,
    /// Of the period before, not reported yet.
    over: Option<(u64, BTreeMap<Share, Tally>)>,
    /// Since the daemon started, which strangers cannot make it do.
    of_strangers: BTreeMap<Share, Used>,
    summaries: Used,
}

/// How many calls were not written down, each counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallsLeftOut {
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Refused calls of whoever proved nothing.
    pub refused_strangers: u64,
    /// Calls that anybody may make, of whoever proved nothing.
    pub calls_of_strangers: u64,
    /// Those of a few callers, by name, in its order.
    pub of_callers: Vec<(String, u64)>,
    /// Those of all other callers.
    pub of_others: u64,
}

impl LogQuota {
    /// Whether this call is written down; one that is not is counted.
    pub fn admit(&mut self, now_ms: u64, call: &CallRecord) -> bool {
        self.renew(now_ms);
        let Some(share) = share(call) else { return true };
        let tally = self.tallies.entry(share.clone()).or_default();
        let written = tally.written < ENTRIES
            && (matches!(share, Share::Caller(_))
                || self.of_strangers.entry(share).or_default().take(now_ms, OF_STRANGERS, STRANGER_AGAIN_MS));
        if written {
            tally.written += 1;
        } else {
            tally.left_out += 1;
        }
        written
    }

    /// A call for which there was no room at this moment.
    pub fn count(&mut self, call: &CallRecord) {
        let share = share(call).unwrap_or_else(|| Share::Caller(call.caller.name.clone()));
        self.tallies.entry(share).or_default().left_out += 1;
    }

    /// How many were left out, once their time is over, or at once where the log is `closing`; none where there were none, or
    /// where there were enough of these summaries of late.
    pub fn left_out(&mut self, now_ms: u64, closing: bool) -> Option<CallsLeftOut> {
        self.renew(now_ms);
        if closing {
            self.end_period(now_ms);
        }
        if !self.over.as_ref()?.1.values().any(|tally| tally.left_out > 0) {
            self.over = None;
            return None;
        }
        // What is not reported yet is reported with the next.
        if !closing && !self.summaries.take(now_ms, SUMMARIES, SUMMARY_AGAIN_MS) {
            return None;
        }
        let (since_ms, tallies) = self.over.take()?;
        let mut sum = CallsLeftOut { since_ms, ..CallsLeftOut::default() };
        for (share, Tally { left_out, .. }) in tallies.into_iter().filter(|(_, tally)| tally.left_out > 0) {
            match share {
                Share::Refused => sum.refused_strangers = left_out,
                Share::Strangers => sum.calls_of_strangers = left_out,
                Share::Caller(name) if sum.of_callers.len() < NAMED => sum.of_callers.push((name, left_out)),
                Share::Caller(_) => sum.of_others += left_out,
            }
        }
        Some(sum)
    }

    /// Begins another period where this one is over; what was left out waits to be reported.
    fn renew(&mut self, now_ms: u64) {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        // A clock that was set back begins one too.
        if now_ms.abs_diff(since_ms) < PERIOD_MS {
            return;
        }
        self.end_period(now_ms);
    }

    fn end_period(&mut self, now_ms: u64) {
        let since_ms = self.since_ms.replace(now_ms).unwrap_or(now_ms);
        let tallies = std::mem::take(&mut self.tallies);
        match &mut self.over {
            None => self.over = Some((since_ms, tallies)),
            // Nobody has asked since: both are reported as one.
            Some((_, over)) => {
                for (share, tally) in tallies {
                    over.entry(share).or_default().left_out += tally.left_out;
                }
            }
        }
    }
}

/// None for what operators and administrators do: all of that is written, but not each time that they only look.
fn share(call: &CallRecord) -> Option<Share> {
    let refused = matches!(call.outcome, CallOutcome::Refused { .. });
    match (&call.caller.proof, call.caller.role) {
        (Proof::Nothing, _) if refused => Some(Share::Refused),
        (Proof::Nothing, _) => Some(Share::Strangers),
        (_, None | Some(Role::Client)) => Some(Share::Caller(call.caller.name.clone())),
        _ if refused || call.looks() => Some(Share::Caller(call.caller.name.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Caller;

    fn call(name: &str, role: Option<Role>, outcome: CallOutcome) -> CallRecord {
        let proof = match role {
            None => Proof::Nothing,
            Some(_) => Proof::Token { id: "id".into() },
        };
        let caller = Caller { name: name.into(), subject: None, role, proof, address: None, expires_s: None };
        CallRecord { rpc: "/a.B/C".into(), caller, outcome }
    }

    fn refused() -> CallOutcome {
        CallOutcome::Refused { reason: "UNKNOWN_RPC".into(), text: "no".into() }
    }

    #[test]
    fn of_a_flood_a_minutes_share_is_written_and_the_rest_is_counted_in_one_summary() {
        let mut quota = LogQuota::default();
        let stranger = |port: u64| call(&format!("192.0.2.1:{port}"), None, refused());
        let written = (0..100_000).filter(|port| quota.admit(1_000 + port / 10, &stranger(*port))).count();
        assert_eq!(written, ENTRIES as usize);
        assert_eq!(quota.left_out(2_000, false), None, "its minute is not over");
        // What is known has a share of its own, and what an administrator does is always there.
        assert!(quota.admit(2_000, &call("silo/3", Some(Role::Client), refused())));
        for _ in 0..200 {
            assert!(quota.admit(2_000, &call("ada", Some(Role::Admin), CallOutcome::Begun)));
        }
        let rpc = "/folkmoot.v1.Admin/ListIncidents".into();
        let looks = CallRecord { rpc, ..call("olga", Some(Role::Auditor), CallOutcome::Begun) };
        assert_eq!((0..200).filter(|_| quota.admit(2_000, &looks)).count(), ENTRIES as usize);
        let left_out = quota.left_out(61_000, false).unwrap();
        assert_eq!((left_out.since_ms, left_out.refused_strangers), (1000, 100_000 - ENTRIES));
        assert_eq!(quota.left_out(61_000, false), None);
        assert!(quota.admit(61_000, &stranger(1)), "another minute");
    }

    #[test]
    fn strangers_who_never_stop_write_a_few_entries_an_hour_and_every_call_is_counted() {
        const SECONDS: u64 = 24 * 3600;
        let mut quota = LogQuota::default();
        let (mut written, mut summaries, mut counted) = (0, 0, 0);
        for second in 0..=SECONDS {
            let now_ms = second * 1000;
            if second < SECONDS {
                for outcome in [refused(), CallOutcome::Begun] {
                    written += u64::from(quota.admit(now_ms, &call("192.0.2.1:1", None, outcome)));
                }
            }
            if let Some(left_out) = quota.left_out(now_ms, second == SECONDS) {
                summaries += 1;
                counted += left_out.refused_strangers + left_out.calls_of_strangers;
            }
        }
        assert!(
            written <= 2 * (600 + 24 * 10) && summaries <= 60 + 24 + 1,
            "{written} calls and {summaries} summaries"
        );
        assert_eq!(written + counted, 2 * SECONDS);
        // What is known keeps its minute's share.
        let silo = call("silo/3", Some(Role::Client), refused());
        assert_eq!((0..100).filter(|_| quota.admit(SECONDS * 1000, &silo)).count(), ENTRIES as usize);
    }

    #[test]
    fn what_was_left_out_is_reported_when_the_log_is_closed_and_never_twice() {
        let mut quota = LogQuota::default();
        let silo = call("silo/3", Some(Role::Client), CallOutcome::Begun);
        for _ in 0..ENTRIES + 5 {
            quota.admit(0, &silo);
        }
        quota.count(&silo);
        let left_out = quota.left_out(10, true).unwrap();
        assert_eq!(left_out.of_callers, [("silo/3".to_owned(), 6)]);
        assert_eq!(quota.left_out(10, true), None);
    }
}
