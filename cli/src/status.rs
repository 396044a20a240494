//! `folkmoot status` and `folkmoot watch`: everything that a coordinator says about its run.

use accounting::{rounded_down, rounded_up};
use serde_json::{Value, json};
use wire::v1::operator_client::OperatorClient;
use wire::v1::{RunStatus, StatusRequest, WatchRequest};

use crate::Failure;
use crate::connect::{Remote, printable, refused};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  folkmoot status --as admin\n  folkmoot status --coordinator http://127.0.0.1:7440 --json"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    remote: Remote,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Ends when the coordinator does, or at Ctrl-C.\n\n\
                        Example:\n  folkmoot watch --as admin")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn status(args: StatusArgs) -> Result<(), Failure> {
    let mut operator = OperatorClient::new(args.remote.connect().await?);
    let status = operator.status(StatusRequest {}).await.map_err(|why| refused(&why))?.into_inner();
    let text = if args.json { format!("{}\n", to_json(&status)) } else { render(&status) };
    print!("{text}");
    Ok(())
}

pub(crate) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let mut operator = OperatorClient::new(args.remote.connect().await?);
    let mut changes = operator.watch(WatchRequest {}).await.map_err(|why| refused(&why))?.into_inner();
    while let Some(status) = changes.message().await.map_err(|why| refused(&why))? {
        println!("{}", render(&status));
        if daemon::out::is_closed() {
            return Ok(());
        }
    }
    Ok(())
}

fn render(status: &RunStatus) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<11} {value}\n"));
    row("run", format!("{} ({})", printable(&status.run_name), printable(&status.run_id)));
    row("plan", printable(&status.plan));
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
    row("now", format!("round {}, attempt {}, {}", status.round, status.attempt, printable(&status.phase)));
    if let Some(deadline) = status.deadline_ms {
        let left = deadline as f64 - status.now_ms as f64;
        row("deadline", format!("in {:.1} s", left / 1000.0));
    }
    if !status.waiting_why.is_empty() {
        row("waiting", printable(&status.waiting_why));
    }
    for waiting in &status.waiting_for {
        row("", format!("client {}: {}", waiting.client, printable(&waiting.what)));
    }
    if !status.last_outcome.is_empty() {
        row("last round", printable(&status.last_outcome));
    }
    if let Some(ended) = &status.ended {
        row("ended", printable(ended));
    }
    row("dropouts", status.dropouts.to_string());
    privacy(status, &mut row);
    if let Some(head) = &status.head {
        row("head", format!("round {}, record {}", status.head_round, printable(head)));
    }
    if let Some(model) = &status.model {
        row("model", printable(model));
    }
    for (name, value) in &status.metrics {
        row(&printable(name), format!("{value:.6}"));
    }
    row("bytes", format!("{} received, {} sent", status.bytes_received, status.bytes_sent));
    let up = status.now_ms.saturating_sub(status.started_ms) as f64 / 1000.0;
    row("server", format!("{}, up {up:.0} s", printable(&status.server_version)));
    clients(status, &mut text);
    text
}

fn privacy(status: &RunStatus, row: &mut impl FnMut(&str, String)) {
    let Some(spent) = &status.privacy else { return };
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
            "{}; unit: {}; relation: {}; accountant: {}; {} steps",
            printable(&spent.mode),
            printable(&spent.unit),
            printable(&spent.relation),
            printable(&spent.accountant),
            spent.steps
        ),
    );
    row("noise by", printable(&spent.noise_by));
    row("trust", printable(&spent.trust));
}

fn clients(status: &RunStatus, text: &mut String) {
    let widest = status.clients.iter().map(|client| client.name.chars().count()).max().unwrap_or(0).max(4);
    let header = ["id", "name", "link", "state", "in", "out", "last reason"].map(str::to_owned);
    let rows = status.clients.iter().map(|client| {
        [
            client.id.to_string(),
            printable(&client.name),
            if client.connected { "up" } else { "down" }.to_owned(),
            printable(&client.state),
            client.rounds_included.to_string(),
            client.rounds_left_out.to_string(),
            printable(&client.last_reason),
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

pub(crate) fn to_json(status: &RunStatus) -> Value {
    let waiting_for: Vec<Value> =
        status.waiting_for.iter().map(|w| json!({ "client": w.client, "what": w.what })).collect();
    let clients: Vec<Value> = status
        .clients
        .iter()
        .map(|client| {
            json!({
                "id": client.id,
                "name": client.name,
                "connected": client.connected,
                "state": client.state,
                "last_reason": client.last_reason,
                "rounds_included": client.rounds_included,
                "rounds_left_out": client.rounds_left_out,
            })
        })
        .collect();
    let privacy = status.privacy.as_ref().map(|spent| {
        json!({
            "mode": spent.mode,
            "unit": spent.unit,
            "relation": spent.relation,
            "epsilon": spent.epsilon,
            "delta": spent.delta,
            "accountant": spent.accountant,
            "steps": spent.steps,
            "noise_by": spent.noise_by,
            "trust": spent.trust,
        })
    });
    json!({
        "run_id": status.run_id,
        "run_name": status.run_name,
        "plan": status.plan,
        "rounds_planned": status.rounds_planned,
        "rounds_committed": status.rounds_committed,
        "rounds_aborted": status.rounds_aborted,
        "attempts_aborted": status.attempts_aborted,
        "round": status.round,
        "attempt": status.attempt,
        "phase": status.phase,
        "deadline_ms": status.deadline_ms,
        "waiting_for": waiting_for,
        "waiting_why": status.waiting_why,
        "clients": clients,
        "dropouts": status.dropouts,
        "privacy": privacy,
        "epsilon_left": status.epsilon_left,
        "head": status.head,
        "model": status.model,
        "head_round": status.head_round,
        "metrics": status.metrics,
        "last_outcome": status.last_outcome,
        "ended": status.ended,
        "bytes_received": status.bytes_received,
        "bytes_sent": status.bytes_sent,
        "server_version": status.server_version,
        "now_ms": status.now_ms,
        "started_ms": status.started_ms,
    })
}

#[cfg(test)]
mod tests {
    use wire::v1::{ClientStatus, PrivacySpent, WaitingFor};

    use super::*;

    fn sample() -> RunStatus {
        RunStatus {
            run_id: "aa11".into(),
            run_name: "digits".into(),
            plan: "bb22".into(),
            rounds_planned: 23,
            rounds_committed: 19,
            rounds_aborted: 3,
            attempts_aborted: Some(11),
            round: 37,
            attempt: 2,
            phase: "masked input".into(),
            deadline_ms: Some(4_500),
            waiting_for: vec![WaitingFor { client: 7, what: "a masked vector".into() }],
            waiting_why: "1 silos owe a masked vector".into(),
            clients: vec![ClientStatus {
                id: 7,
                name: "north".into(),
                connected: true,
                state: "awaited".into(),
                last_reason: "was too late".into(),
                rounds_included: 17,
                rounds_left_out: 5,
            }],
            dropouts: 47,
            privacy: Some(PrivacySpent {
                mode: "distributed_dp_sgd".into(),
                unit: "record".into(),
                relation: "add or remove one record".into(),
                epsilon: Some(1.5),
                delta: Some(1e-6),
                accountant: "rdp".into(),
                steps: 13,
                noise_by: "every silo".into(),
                trust: "one colluder".into(),
            }),
            epsilon_left: Some(3.4),
            head: Some("cc33".into()),
            model: Some("dd44".into()),
            head_round: 36,
            metrics: [("loss".to_owned(), 0.25)].into(),
            last_outcome: "committed".into(),
            ended: Some("all rounds".into()),
            bytes_received: 59,
            bytes_sent: 61,
            server_version: "0.1.0".into(),
            now_ms: 2_000,
            started_ms: 1_000,
        }
    }

    #[test]
    fn everything_that_a_status_holds_is_shown() {
        let text = render(&sample());
        for fact in [
            "digits (aa11)",
            "bb22",
            "19 of 23 committed, 3 given up; 11 attempts aborted",
            "round 37, attempt 2, masked input",
            "in 2.5 s",
            "1 silos owe a masked vector",
            "client 7: a masked vector",
            "north",
            "was too late",
            "47",
            "1.5000 spent at delta 0.000001, 3.4000 left",
            "record; relation: add or remove one record; accountant: rdp; 13 steps",
            "every silo",
            "one colluder",
            "round 36, record cc33",
            "dd44",
            "0.250000",
            "committed",
            "all rounds",
            "59 received, 61 sent",
            "0.1.0, up 1 s",
        ] {
            assert!(text.contains(fact), "no {fact:?} in\n{text}");
        }
    }

    #[test]
    fn the_json_holds_every_field_of_the_contract() {
        let value = to_json(&sample());
        let debug = format!("{:?}", RunStatus::default());
        let fields = debug.split([' ', '{', ',']).filter_map(|word| word.strip_suffix(':'));
        let mut count = 0;
        for field in fields {
            assert!(value.get(field).is_some(), "{field} is missing");
            count += 1;
        }
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(count));
    }

    #[test]
    fn a_clients_reason_cannot_drive_the_terminal() {
        let mut status = sample();
        status.clients[0].last_reason = "\u{1b}[2Jgone".into();
        assert!(!render(&status).contains('\u{1b}'));
    }
}
