//! A status and the list of runs as people read them.

use accounting::{Unit, rounded_down, rounded_up};
use identity::{printable, span, utc};

use crate::{ClientStatus, ReasonMoment, RunEntry, Shown, Status};

/// A run and its server at one moment: a line for each thing, then a table of the members. Nothing in it drives a terminal.
pub fn render(shown: &Shown) -> String {
    let Shown { run: status, server } = shown;
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<11} {value}\n"));
    row("run", format!("{} ({})", printable(&status.run_name), status.run_id));
    row("plan", status.plan.to_string());
    // A coordinator of the first release counts no attempts.
    let attempts =
        status.attempts_aborted.map_or_else(String::new, |count| format!("; {count} attempts aborted"));
    row(
        "rounds",
        format!(
            "{} of {} committed, {} given up{attempts}",
            status.rounds_committed, status.rounds_planned, status.rounds_aborted
        ),
    );
    if status.ended.is_none() {
        at_work(shown, &mut row);
    }
    if !status.last_outcome.is_empty() {
        row("last round", printable(&status.last_outcome));
    }
    if let Some(ended) = &status.ended {
        row("ended", printable(&ended.why));
    }
    row("dropouts", status.dropouts.to_string());
    privacy(status, &mut row);
    if let Some(head) = &status.head {
        row("head", format!("round {}, record {head}", status.head_round));
    }
    if let Some(model) = &status.model {
        row("model", model.to_string());
    }
    for (name, value) in &status.metrics {
        row(&printable(name), format!("{value:.6}"));
    }
    row("bytes", format!("{} received, {} sent", server.bytes_received, server.bytes_sent));
    let up = span(server.now_ms.abs_diff(server.started_ms));
    row("server", format!("{}, up {up}", printable(&server.server_version)));
    clients(status, &mut text);
    text
}

/// What a run that is not over does, and what it waits for.
fn at_work(Shown { run: status, server }: &Shown, row: &mut impl FnMut(&str, String)) {
    row("now", format!("round {}, attempt {}, {}", status.round, status.attempt, status.phase));
    if let Some(deadline) = status.deadline_ms {
        row("deadline", until(deadline, server.now_ms));
    }
    if !status.waiting_why.is_empty() {
        row("waiting", printable(&status.waiting_why));
    }
    for waiting in &status.waiting_for {
        row("", format!("{}: {}", status.label(waiting.client), waiting.what));
    }
}

/// How long it is to a moment.
fn until(at_ms: u64, now_ms: u64) -> String {
    at_ms.checked_sub(now_ms).map_or_else(|| "is over".to_owned(), |left_ms| format!("in {}", span(left_ms)))
}

fn privacy(status: &Status, row: &mut impl FnMut(&str, String)) {
    let spent = &status.privacy;
    match (spent.epsilon, spent.delta) {
        (Some(epsilon), Some(delta)) => {
            let left = status
                .epsilon_left
                .map_or_else(String::new, |left| format!(", {} left", rounded_down(left, 4)));
            row("epsilon", format!("{} spent at delta {delta}{left}", rounded_up(epsilon, 4)));
        }
        _ => row("epsilon", "no differential privacy".into()),
    }
    row(
        "promise",
        format!(
            "{}; hides {}; relation: {}; accountant: {}; {} steps",
            printable(&spent.mode),
            printable(Unit::hidden_by_name(&spent.unit)),
            printable(&spent.relation),
            printable(&spent.accountant),
            spent.steps
        ),
    );
    row("noise by", printable(&spent.noise_by));
    row("trust", printable(&spent.trust));
}

fn clients(status: &Status, text: &mut String) {
    let widest = status.clients.iter().map(|client| client.name.chars().count()).max().unwrap_or(0).max(4);
    let header = ["id", "name", "link", "state", "in", "out", "last reason"].map(str::to_owned);
    let rows = status.clients.iter().map(|client| {
        [
            client.id.to_string(),
            printable(&client.name),
            if client.connected { "up" } else { "down" }.to_owned(),
            client.state.to_string(),
            client.rounds_included.to_string(),
            client.rounds_left_out.to_string(),
            reason(client),
        ]
    });
    for [id, name, link, state, included, left_out, reason] in std::iter::once(header).chain(rows) {
        let line = format!(
            "{id:>4}  {name:<widest$}  {link:<4}  {state:<13}  {included:>6}  {left_out:>6}  {reason}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// What went wrong last, in which attempt of which round, and when.
fn reason(client: &ClientStatus) -> String {
    let why = printable(&client.last_reason);
    match client.reason_moment.filter(|_| !why.is_empty()) {
        None => why,
        Some(ReasonMoment { round: Some(round), attempt: Some(attempt), time_ms }) => {
            format!("{why} (round {round}, attempt {attempt}, {})", utc(time_ms))
        }
        Some(ReasonMoment { time_ms, .. }) => format!("{why} (since {})", utc(time_ms)),
    }
}

/// The runs of a federation, a line each under a line of names, the first that was submitted first.
pub fn render_runs(runs: &[RunEntry]) -> String {
    if runs.is_empty() {
        return "no run was submitted\n".into();
    }
    let header = ["#", "run", "name", "state", "position", "rounds", "by", "why"].map(str::to_owned);
    let lines = runs.iter().map(|run| {
        [
            run.number.to_string(),
            run.run.short(),
            printable(&run.name),
            run.state.to_string(),
            run.position.map_or_else(|| "-".into(), |position| position.to_string()),
            format!("{} of {}", run.rounds_committed, run.rounds_planned),
            printable(run.submitter()),
            printable(&run.reason),
        ]
    });
    let table: Vec<[String; 8]> = std::iter::once(header).chain(lines).collect();
    let widest =
        |column: fn(&[String; 8]) -> &String| table.iter().map(|line| column(line).chars().count()).max();
    let name = widest(|[_, _, name, ..]| name).unwrap_or(0);
    let rounds = widest(|[_, _, _, _, _, rounds, ..]| rounds).unwrap_or(0);
    let by = widest(|[.., by, _]| by).unwrap_or(0);
    let mut text = String::new();
    for [number, run, called, state, position, of, who, why] in &table {
        let line = format!(
            "{number:>4}  {run:<12}  {called:<name$}  {state:<8}  {position:>8}  {of:>rounds$}  {who:<by$}  {why}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One of them, a line for each thing.
pub fn render_run(run: &RunEntry) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<11} {value}\n"));
    row("run", format!("{} ({})", printable(&run.name), run.run));
    row("number", run.number.to_string());
    row("state", run.state.to_string());
    if let Some(position) = run.position {
        row("position", format!("{position} in the queue"));
    }
    if !run.reason.is_empty() {
        row("why", printable(&run.reason));
    }
    row("rounds", format!("{} of {} committed", run.rounds_committed, run.rounds_planned));
    row("author", printable(&run.author));
    row("submitted", format!("{} by {}", utc(run.submitted_ms), printable(run.submitter())));
    if let Some(since) = run.since_ms {
        row("waits since", utc(since));
    }
    if let Some(until) = run.until_ms {
        row("at most to", utc(until));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_deadline_and_how_long_a_server_runs_are_said_in_the_units_that_people_count_in() {
        assert_eq!(until(604_790_800, 1_000), "in 6 d 23 h");
        assert_eq!(until(999, 1_000), "is over");
        let mut shown = samples::shown();
        shown.server.now_ms = shown.server.started_ms + 604_789_800;
        assert!(render(&shown).contains("server      0.1.0, up 6 d 23 h\n"), "{}", render(&shown));
    }

    #[test]
    fn everything_that_a_status_holds_is_shown() {
        let text = concat!(
            "run         digits (acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be)\n",
            "plan        64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525\n",
            "rounds      19 of 23 committed, 3 given up; 11 attempts aborted\n",
            "now         round 37, attempt 2, masked input\n",
            "deadline    in 2.5 s\n",
            "waiting     1 silos owe a masked vector\n",
            "            9: a masked vector\n",
            "last round  committed\n",
            "dropouts    47\n",
            "epsilon     1.5000 spent at delta 0.000001, 3.4000 left\n",
            "promise     distributed_dp_sgd; hides one row; relation: add or remove one record; accountant: rdp; 13 steps\n",
            "noise by    every silo\n",
            "trust       one colluder\n",
            "head        round 36, record 9f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d\n",
            "model       9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4\n",
            "loss        0.250000\n",
            "bytes       59 received, 61 sent\n",
            "server      0.1.0, up 1 s\n",
            "  id  name   link  state              in     out  last reason\n",
            "   7  north  up    awaited            17       5  was too late (round 31, attempt 6, 1970-01-01T00:00:01Z)\n",
        );
        let Shown { run, server } = samples::shown();
        let (mut goes_on, over) = (Shown { run: run.clone(), server: server.clone() }, Shown { run, server });
        goes_on.run.ended = None;
        assert_eq!(render(&goes_on), text);
        // What the last step waited for is no news of a run that is over.
        let (before, after) = text.split_once("now ").unwrap();
        let (_, after) = after.split_once("last round  committed\n").unwrap();
        assert_eq!(render(&over), format!("{before}last round  committed\nended       all rounds\n{after}"));
    }

    #[test]
    fn a_clients_reason_cannot_drive_the_terminal() {
        let mut status = samples::shown();
        status.run.clients[0].last_reason = "\u{1b}[2Jgone".into();
        assert!(!render(&status).contains('\u{1b}'));
    }

    #[test]
    fn runs_are_listed_with_their_names_beside_their_numbers_and_no_name_drives_the_terminal() {
        let queued = samples::run_entry();
        let mut running =
            RunEntry { number: 68, state: crate::RunState::Running, position: None, ..queued.clone() };
        (running.name, running.reason) = ("wards \u{1b}[2J".into(), String::new());
        let text = concat!(
            "   #  run           name        state     position    rounds  by   why\n",
            "  67  acba25512100  digits      queued           2  71 of 73  ben  2 runs go before it\n",
            "  68  acba25512100  wards \u{fffd}[2J  running          -  71 of 73  ben\n",
        );
        assert_eq!(render_runs(&[queued, running]), text);
        let configured = RunEntry { submitted_by: String::new(), ..samples::run_entry() };
        assert!(render_runs(&[configured]).contains("the coordinator's configuration"));
        assert_eq!(render_runs(&[]), "no run was submitted\n");
    }

    #[test]
    fn everything_that_people_ask_of_a_run_is_shown() {
        let text = concat!(
            "run         digits (acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be)\n",
            "number      67\n",
            "state       queued\n",
            "position    2 in the queue\n",
            "why         2 runs go before it\n",
            "rounds      71 of 73 committed\n",
            "author      ada\n",
            "submitted   1970-01-01T00:00:07Z by ben\n",
            "waits since 1970-01-01T00:00:08Z\n",
            "at most to  1970-01-01T00:00:08Z\n",
        );
        assert_eq!(render_run(&samples::run_entry()), text);
    }
}
