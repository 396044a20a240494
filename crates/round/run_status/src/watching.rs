//! A run while it goes on: one line a round, and a line where a person must know of something.

use std::collections::BTreeMap;

use accounting::rounded_up;
use identity::{printable, span, utc};
use params::Digest;
use secagg::ClientId;
use serde::Serialize;

use crate::{ClientStatus, Ending, Owed, RunPhase, Shown, Standing, Status};

/// Happening there is to say of a run. As JSON it is a line of `folkmoot watch --json`, as [`News::line`] one of `folkmoot watch`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct News {
    /// The coordinator's clock, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    #[serde(flatten)]
    pub what: Happening,
}

/// Kinds of news; the JSON says which in `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// From here on this run is watched.
    Watching {
        run: Digest,
        run_name: String,
        rounds_committed: u64,
        rounds_planned: u64,
        round: u64,
        attempt: u32,
        phase: RunPhase,
    },
    /// A round was committed, or several since the last line: then of all of them.
    Round {
        /// The newest of them.
        round: u64,
        rounds: u64,
        rounds_committed: u64,
        rounds_planned: u64,
        /// Whose updates are in the sum.
        included: Vec<Named>,
        left_out: Vec<NotIncluded>,
        /// Spent so far, at the plan's delta; absent without noise.
        epsilon: Option<f64>,
        /// Of the plan's budget.
        epsilon_left: Option<f64>,
        metrics: BTreeMap<String, f64>,
        /// Since the last round, or since the watch began.
        took_ms: u64,
    },
    /// Attempts were aborted; `outcome` says how the newest ended, and who was out of it.
    Aborted { round: u64, attempts: u64, outcome: String },
    /// Nothing has happened for a while, as these are waited for.
    Waiting {
        round: u64,
        phase: RunPhase,
        waiting_for: Vec<Owing>,
        why: String,
        /// When the step is over.
        until_ms: Option<u64>,
    },
    /// A silo came, went, refuses, or was barred.
    Silo {
        #[serde(flatten)]
        silo: Named,
        connected: bool,
        state: Standing,
        reason: String,
    },
    /// Something that operators did, or have to look at; `over` once it is so no more.
    Notice { text: String, over: bool },
    /// The connection to the coordinator is lost, and tried for again; or it stands again.
    Connection { lost: bool, reason: String },
    /// The run is over.
    Ended { ending: Ending, ended: String },
}

/// A member by number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    pub client: ClientId,
    pub name: String,
}

/// A member whose update is not in a sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotIncluded {
    #[serde(flatten)]
    pub silo: Named,
    pub reason: String,
}

/// A member that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owing {
    #[serde(flatten)]
    pub silo: Named,
    /// Happening it owes.
    pub what: Owed,
}

/// Makes news of the statuses that a coordinator sends at each change.
#[derive(Debug, Default)]
pub struct Watching {
    last: Option<Shown>,
    /// When the newest round was committed, or the watch began.
    since_ms: u64,
    /// Happening was waited for when that was said last.
    waited: Option<(u64, u32, RunPhase, Vec<ClientId>)>,
    /// Whether the connection is lost, so that nothing is known of what the run waits for.
    lost: bool,
}

impl Watching {
    /// Happening a new status says that was not so before.
    pub fn changed(&mut self, shown: Shown) -> Vec<News> {
        let now_ms = shown.server.now_ms;
        let run = &shown.run;
        let mut news = Vec::new();
        if std::mem::take(&mut self.lost) {
            news.push(Happening::Connection { lost: false, reason: String::new() });
        }
        match self.last.take().filter(|last| last.run.run_id == run.run_id) {
            None => {
                news.push(begun(run));
                news.extend(run.notices.iter().map(|text| notice(text, false)));
                // Who comes and goes is no news of a run that is over.
                let clients = run.clients.iter().filter(|_| run.ended.is_none());
                news.extend(clients.filter_map(|client| stands(None, client)));
                news.extend(ended(run));
                self.since_ms = now_ms;
            }
            Some(Shown { run: last, .. }) => {
                news.extend(aborted(&last, run));
                if run.rounds_committed > last.rounds_committed {
                    news.push(committed(&last, run, now_ms.abs_diff(self.since_ms)));
                    self.since_ms = now_ms;
                }
                let new = run.notices.iter().filter(|text| !last.notices.contains(text));
                news.extend(new.map(|text| notice(text, false)));
                let over = last.notices.iter().filter(|text| !run.notices.contains(text));
                news.extend(over.map(|text| notice(text, true)));
                for client in run.clients.iter().filter(|_| run.ended.is_none()) {
                    let before = last.clients.iter().find(|before| before.id == client.id);
                    news.extend(stands(before, client));
                }
                if last.ended.is_none() {
                    news.extend(ended(run));
                }
            }
        }
        self.last = Some(shown);
        news.into_iter().map(|what| News { time_ms: now_ms, what }).collect()
    }

    /// Happening is to be said where no status has come for `quiet_ms`: who is waited for, once for each step and those who owe it.
    pub fn quiet(&mut self, quiet_ms: u64) -> Option<News> {
        let Shown { run, server } = self.last.as_ref()?;
        let whom: Vec<ClientId> = run.waiting_for.iter().map(|waiting| waiting.client).collect();
        let waited = (run.round, run.attempt, run.phase, whom);
        if run.ended.is_some() || self.lost || self.waited.as_ref() == Some(&waited) {
            return None;
        }
        let owing = |waiting: &crate::Waiting| Owing { silo: named(run, waiting.client), what: waiting.what };
        let what = Happening::Waiting {
            round: run.round,
            phase: run.phase,
            waiting_for: run.waiting_for.iter().map(owing).collect(),
            why: run.waiting_why.clone(),
            until_ms: run.deadline_ms,
        };
        let time_ms = server.now_ms.checked_add(quiet_ms)?;
        self.waited = Some(waited);
        Some(News { time_ms, what })
    }

    /// What is to be said where the connection is lost, once, `quiet_ms` after the last status.
    pub fn lost(&mut self, quiet_ms: u64, reason: String) -> Option<News> {
        let time_ms = self.last.as_ref()?.server.now_ms.checked_add(quiet_ms)?;
        let what = Happening::Connection { lost: true, reason };
        (!std::mem::replace(&mut self.lost, true)).then_some(News { time_ms, what })
    }

    /// Whether the run that was seen last is over.
    pub fn is_over(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.run.ended.is_some())
    }
}

fn begun(run: &Status) -> Happening {
    Happening::Watching {
        run: run.run_id,
        run_name: run.run_name.clone(),
        rounds_committed: run.rounds_committed,
        rounds_planned: run.rounds_planned,
        round: run.round,
        attempt: run.attempt,
        phase: run.phase,
    }
}

fn notice(text: &str, over: bool) -> Happening {
    Happening::Notice { text: text.to_owned(), over }
}

fn ended(run: &Status) -> Option<Happening> {
    let ended = run.ended.as_ref()?;
    Some(Happening::Ended { ending: ended.how, ended: ended.why.clone() })
}

fn aborted(last: &Status, run: &Status) -> Option<Happening> {
    let attempts = |status: &Status| status.attempts_aborted.unwrap_or(status.rounds_aborted);
    let attempts = attempts(run).checked_sub(attempts(last)).filter(|attempts| *attempts > 0)?;
    // Of several the newest, whose round may be over by now.
    Some(Happening::Aborted { round: last.round, attempts, outcome: run.last_outcome.clone() })
}

fn committed(last: &Status, run: &Status, took_ms: u64) -> Happening {
    let grew = |count: fn(&ClientStatus) -> u64| {
        run.clients.iter().filter(move |client| {
            let before = last.clients.iter().find(|before| before.id == client.id).map_or(0, count);
            count(client) > before
        })
    };
    let of = |client: &ClientStatus| Named { client: client.id, name: client.name.clone() };
    let left_out =
        |client: &ClientStatus| NotIncluded { silo: of(client), reason: client.last_reason.clone() };
    Happening::Round {
        round: run.head_round,
        rounds: run.rounds_committed - last.rounds_committed,
        rounds_committed: run.rounds_committed,
        rounds_planned: run.rounds_planned,
        included: grew(|client| client.rounds_included).map(of).collect(),
        left_out: grew(|client| client.rounds_left_out).map(left_out).collect(),
        epsilon: run.privacy.epsilon,
        epsilon_left: run.epsilon_left,
        metrics: run.metrics.clone(),
        took_ms,
    }
}

/// How a member stands, where a person must know: at first where it is not well, later where that has changed.
fn stands(before: Option<&ClientStatus>, client: &ClientStatus) -> Option<Happening> {
    let standing = |client: &ClientStatus| {
        let bad = [Standing::Refuses, Standing::Barred].into_iter().find(|bad| *bad == client.state);
        (client.connected, bad)
    };
    if standing(client) == before.map_or((true, None), standing) {
        return None;
    }
    Some(Happening::Silo {
        silo: Named { client: client.id, name: client.name.clone() },
        connected: client.connected,
        state: client.state,
        reason: client.last_reason.clone(),
    })
}

fn named(run: &Status, client: ClientId) -> Named {
    let known = run.clients.iter().find(|one| one.id == client);
    Named { client, name: known.map_or_else(String::new, |one| one.name.clone()) }
}

impl Named {
    fn label(&self) -> String {
        format!("{} {}", self.client, printable(&self.name)).trim_end().to_owned()
    }
}

impl News {
    /// One line for people, its time first. Nothing in it drives a terminal.
    pub fn line(&self) -> String {
        format!("{}  {}", utc(self.time_ms), self.what.text())
    }
}

impl Happening {
    fn text(&self) -> String {
        match self {
            Self::Watching { run, run_name, rounds_committed, rounds_planned, round, attempt, phase } => {
                format!(
                    "run {} ({}): {rounds_committed} of {rounds_planned} rounds committed; round {round}, attempt {attempt}, {phase}",
                    printable(run_name),
                    run.short()
                )
            }
            Self::Round { .. } => self.round_text(),
            Self::Aborted { round, attempts, outcome } => {
                let times = if *attempts == 1 { String::new() } else { format!(", {attempts} attempts") };
                format!("round {round:>5}  aborted{times}: {}", printable(outcome))
            }
            Self::Waiting { round, phase, waiting_for, why, until_ms } => {
                let owing =
                    waiting_for.iter().map(|owing| format!("{} ({})", owing.silo.label(), owing.what));
                let whom = match waiting_for.as_slice() {
                    [] => printable(why),
                    _ => format!("for {}", owing.collect::<Vec<_>>().join(", ")),
                };
                let until = until_ms.map_or_else(String::new, |until| format!("; until {}", utc(until)));
                format!("round {round:>5}  waits, {phase}: {whom}{until}")
            }
            Self::Silo { silo, connected, state, reason } => {
                let link = if *connected { "is connected" } else { "is not connected" };
                let state = match state {
                    Standing::Refuses | Standing::Barred => format!(", {state}: {}", printable(reason)),
                    _ => String::new(),
                };
                format!("silo {} {link}{state}", silo.label())
            }
            Self::Notice { text, over: false } => printable(text),
            Self::Notice { text, over: true } => format!("no more: {}", printable(text)),
            Self::Connection { lost: true, reason } => {
                format!("{}; it is tried again", printable(reason))
            }
            Self::Connection { lost: false, .. } => "the coordinator answers again".to_owned(),
            Self::Ended { ended, .. } => format!("the run is over: {}", printable(ended)),
        }
    }

    fn round_text(&self) -> String {
        let Self::Round {
            round,
            rounds,
            rounds_committed,
            rounds_planned,
            included,
            left_out,
            epsilon,
            epsilon_left,
            metrics,
            took_ms,
        } = self
        else {
            return String::new();
        };
        let mut text = format!(
            "round {round:>5}  committed, {rounds_committed} of {rounds_planned}, {} silos",
            included.len()
        );
        if *rounds > 1 {
            text.push_str(&format!(" in {rounds} rounds"));
        }
        if let Some(epsilon) = epsilon {
            text.push_str(&format!(", epsilon {}", rounded_up(*epsilon, 4)));
            if let Some(left) = epsilon_left {
                text.push_str(&format!(" of {}", rounded_up(epsilon + left, 4)));
            }
        }
        for (name, value) in metrics {
            text.push_str(&format!(", {} {value:.4}", printable(name)));
        }
        text.push_str(&format!(", {}", span(*took_ms)));
        let left_out =
            left_out.iter().map(|one| format!("{} ({})", one.silo.label(), printable(&one.reason)));
        let left_out = left_out.collect::<Vec<_>>().join(", ");
        if left_out.is_empty() { text } else { format!("{text}; left out: {left_out}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ended, Waiting, samples};

    /// Two silos, both well, in the middle of round 8 of 30.
    fn shown() -> Shown {
        let mut shown = samples::shown();
        let run = &mut shown.run;
        (run.ended, run.round, run.head_round, run.rounds_committed, run.rounds_planned) =
            (None, 8, 7, 7, 30);
        run.notices.clear();
        let south = ClientStatus { id: ClientId(9), name: "south".into(), ..run.clients[0].clone() };
        run.clients.push(south);
        shown
    }

    fn lines(news: &[News]) -> Vec<String> {
        news.iter().map(|news| news.line().split_once("  ").unwrap().1.to_owned()).collect()
    }

    /// Happening a status says that is the last one with a change.
    fn after(watching: &mut Watching, change: impl FnOnce(&mut Shown)) -> Vec<String> {
        let mut shown = watching.last.clone().unwrap();
        shown.server.now_ms += 1500;
        change(&mut shown);
        lines(&watching.changed(shown))
    }

    #[test]
    fn a_round_is_one_line_with_its_time_and_steps_in_between_are_none() {
        let mut watching = Watching::default();
        let first = watching.changed(shown());
        let expected = "1970-01-01T00:00:02Z  run digits (acba25512100): 7 of 30 rounds committed; round 8, attempt 2, masked input";
        assert_eq!(first.iter().map(News::line).collect::<Vec<_>>(), [expected]);
        assert!(after(&mut watching, |shown| shown.run.phase = RunPhase::Unmasking).is_empty());
        let said = after(&mut watching, |shown| {
            let run = &mut shown.run;
            (run.head_round, run.rounds_committed, run.round) = (8, 8, 9);
            run.clients[0].rounds_included += 1;
            run.clients[1].rounds_left_out += 1;
        });
        let expected = "round     8  committed, 8 of 30, 1 silos, epsilon 1.5000 of 4.9000, loss 0.2500, 3 s; left out: 9 south (was too late)";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn what_a_person_must_know_is_said_once_when_it_comes_and_once_when_it_is_over() {
        let mut watching = Watching::default();
        watching.changed(shown());
        let paused = || "paused by olga: \u{1b}odd".to_owned();
        let said = after(&mut watching, |shown| shown.run.notices.push(paused()));
        assert_eq!(said, ["paused by olga: \u{fffd}odd"]);
        assert!(after(&mut watching, |_| {}).is_empty());
        let said = after(&mut watching, |shown| shown.run.notices.clear());
        assert_eq!(said, ["no more: paused by olga: \u{fffd}odd"]);
        let said = after(&mut watching, |shown| {
            shown.run.clients[0].connected = false;
            shown.run.clients[1].state = Standing::Refuses;
        });
        assert_eq!(
            said,
            ["silo 7 north is not connected", "silo 9 south is connected, refuses: was too late"]
        );
        let said = after(&mut watching, |shown| {
            shown.run.attempts_aborted = shown.run.attempts_aborted.map(|count| count + 1);
            shown.run.last_outcome = "too few; south was silent".into();
        });
        assert_eq!(said, ["round     8  aborted: too few; south was silent"]);
        let over = Ended { how: Ending::Complete, why: "all rounds".into() };
        let said = after(&mut watching, |shown| shown.run.ended = Some(over.clone()));
        assert_eq!(said, ["the run is over: all rounds"]);
        assert!(after(&mut watching, |_| {}).is_empty());
        let said = after(&mut watching, |shown| shown.run.clients[0].connected = true);
        assert!(
            said.is_empty() && watching.is_over(),
            "who comes is no news of a run that is over: {said:?}"
        );
        let said = after(&mut watching, |shown| {
            (shown.run.run_id, shown.run.ended) = (Digest::sha256(b"next"), None);
        });
        assert_eq!(said.len(), 2, "another run is watched from its beginning: {said:?}");
        assert!(said[0].starts_with("run digits (") && said[1].starts_with("silo 9 south"), "{said:?}");
    }

    #[test]
    fn a_connection_that_is_lost_is_said_once_and_so_is_that_it_stands_again() {
        let mut watching = Watching::default();
        assert_eq!(watching.lost(0, "lost".into()), None, "nothing was watched yet");
        watching.changed(shown());
        let lost = watching.lost(500, "the connection is \u{1b}lost".into()).unwrap();
        assert_eq!(lost.line(), "1970-01-01T00:00:02Z  the connection is \u{fffd}lost; it is tried again");
        let json =
            r#"{"time_ms":2500,"event":"connection","lost":true,"reason":"the connection is \u001blost"}"#;
        assert_eq!(serde_json::to_string(&lost).unwrap(), json);
        assert_eq!(watching.lost(900, "nothing listens there".into()), None);
        assert_eq!(watching.quiet(10_000), None, "who is waited for is not known");
        assert_eq!(after(&mut watching, |_| {}), ["the coordinator answers again"]);
        assert!(watching.quiet(10_000).is_some());
    }

    #[test]
    fn who_is_waited_for_is_said_by_name_once_the_run_has_been_quiet_and_again_for_others() {
        let mut watching = Watching::default();
        assert_eq!(watching.quiet(10_000), None);
        watching.changed(shown());
        let waits = watching.quiet(10_000).unwrap().line();
        let expected = "1970-01-01T00:00:12Z  round     8  waits, masked input: for 9 south (a masked vector); until 1970-01-01T00:00:04Z";
        assert_eq!(waits, expected);
        assert_eq!(watching.quiet(20_000), None);
        let other = Waiting { client: ClientId(7), what: Owed::MaskedVector };
        assert!(after(&mut watching, |shown| shown.run.waiting_for = vec![other]).is_empty());
        assert!(watching.quiet(10_000).unwrap().line().contains("for 7 north (a masked vector)"));
    }

    #[test]
    fn the_json_names_its_kind_its_time_and_its_silos() {
        let mut watching = Watching::default();
        watching.changed(shown());
        let waits = serde_json::to_string(&watching.quiet(10_000).unwrap()).unwrap();
        let expected = concat!(
            r#"{"time_ms":12000,"event":"waiting","round":8,"phase":"masked input","#,
            r#""waiting_for":[{"client":9,"name":"south","what":"a masked vector"}],"#,
            r#""why":"1 silos owe a masked vector","until_ms":4500}"#
        );
        assert_eq!(waits, expected);
        let mut shown = watching.last.clone().unwrap();
        shown.run.rounds_committed += 1;
        shown.run.clients[0].rounds_included += 1;
        let round = serde_json::to_string(&watching.changed(shown)).unwrap();
        let expected = concat!(
            r#"[{"time_ms":2000,"event":"round","round":7,"rounds":1,"rounds_committed":8,"rounds_planned":30,"#,
            r#""included":[{"client":7,"name":"north"}],"left_out":[],"epsilon":1.5,"epsilon_left":3.4,"#,
            r#""metrics":{"loss":0.25},"took_ms":0}]"#
        );
        assert_eq!(round, expected);
    }
}
