//! What an operator is shown of a run.

use protocol::Status;

use crate::convert::cut;
use crate::v1;

/// What the server knows about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Of uploads, since it started.
    pub bytes_received: u64,
    /// Of models, since it started.
    pub bytes_sent: u64,
    /// Its release.
    pub server_version: String,
    /// Its clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// When it started, likewise.
    pub started_ms: u64,
}

/// The run and the server at one moment.
///
/// One way only: a tool shows the generated message as it is, and decides nothing by it.
///
/// # Privacy
/// Names, counts, reasons and what has been spent; nothing that depends on one client's data.
pub fn run_status(status: &Status, server: &ServerFacts) -> v1::RunStatus {
    v1::RunStatus {
        run_id: status.run_id.to_string(),
        run_name: status.run_name.clone(),
        plan: status.plan.to_string(),
        rounds_planned: status.rounds_planned,
        rounds_committed: status.rounds_committed,
        rounds_aborted: status.rounds_aborted,
        attempts_aborted: Some(status.attempts_aborted),
        round: status.round,
        attempt: status.attempt,
        phase: status.phase.to_owned(),
        deadline_ms: status.deadline.map(|at| at.0),
        waiting_for: status
            .waiting_for
            .iter()
            .map(|(client, what)| v1::WaitingFor { client: client.0, what: (*what).to_owned() })
            .collect(),
        waiting_why: status.waiting_why.clone(),
        clients: status.clients.iter().map(client_status).collect(),
        dropouts: status.dropouts,
        privacy: Some(privacy(&status.privacy)),
        epsilon_left: status.epsilon_left,
        head: status.head.map(|digest| digest.to_string()),
        model: status.model.map(|digest| digest.to_string()),
        head_round: status.head_round,
        metrics: status.metrics.clone(),
        last_outcome: status.last_outcome.clone(),
        ended: status.ended.clone(),
        bytes_received: server.bytes_received,
        bytes_sent: server.bytes_sent,
        server_version: server.server_version.clone(),
        now_ms: server.now_ms,
        started_ms: server.started_ms,
    }
}

fn client_status(client: &protocol::ClientStatus) -> v1::ClientStatus {
    v1::ClientStatus {
        id: client.id.0,
        name: client.name.clone(),
        connected: client.connected,
        state: client.state.to_owned(),
        // It may quote what a client said, and there are as many as members.
        last_reason: cut(client.last_reason.clone()),
        rounds_included: client.rounds_included,
        rounds_left_out: client.rounds_left_out,
    }
}

fn privacy(spent: &checkpoint::PrivacySpent) -> v1::PrivacySpent {
    v1::PrivacySpent {
        mode: spent.mode.clone(),
        unit: spent.unit.clone(),
        relation: spent.relation.clone(),
        epsilon: spent.epsilon,
        delta: spent.delta,
        accountant: spent.accountant.clone(),
        steps: spent.steps,
        noise_by: spent.noise_by.clone(),
        trust: spent.trust.clone(),
    }
}

#[cfg(test)]
mod tests {
    use params::Digest;
    use prost::Message;
    use protocol::Timestamp;
    use secagg::ClientId;

    use super::*;

    #[test]
    fn every_fact_of_a_status_reaches_the_operator() {
        let privacy = checkpoint::PrivacySpent {
            mode: "distributed".into(),
            unit: "record".into(),
            relation: "zero-out".into(),
            epsilon: Some(1.5),
            delta: Some(1e-6),
            accountant: "rdp".into(),
            steps: 13,
            noise_by: "every silo".into(),
            trust: "at most 1 colluder".into(),
        };
        let client = protocol::ClientStatus {
            id: ClientId(7),
            name: "north".into(),
            connected: true,
            state: "training",
            last_reason: "é".repeat(5000),
            rounds_included: 17,
            rounds_left_out: 19,
        };
        let status = Status {
            run_id: Digest::sha256(b"run"),
            run_name: "demo".into(),
            plan: Digest::sha256(b"plan"),
            rounds_planned: 23,
            rounds_committed: 29,
            rounds_aborted: 31,
            attempts_aborted: 73,
            round: 37,
            attempt: 41,
            phase: "masked input",
            deadline: Some(Timestamp(43)),
            waiting_for: vec![(ClientId(7), "its masked vector")],
            waiting_why: "one vector is missing".into(),
            notices: vec!["paused by ops: looking".into()],
            clients: vec![client],
            dropouts: 47,
            privacy,
            epsilon_left: Some(0.5),
            head: Some(Digest::sha256(b"head")),
            model: Some(Digest::sha256(b"model")),
            head_round: 53,
            metrics: [("loss".to_owned(), 0.25)].into(),
            last_outcome: "committed".into(),
            ended: None,
        };
        let server = ServerFacts {
            bytes_received: 59,
            bytes_sent: 61,
            server_version: "0.1.0".into(),
            now_ms: 67,
            started_ms: 71,
        };
        let sent = run_status(&status, &server).encode_to_vec();
        let shown = format!("{:?}", v1::RunStatus::decode(&sent[..]).unwrap());
        for fact in [
            format!("run_id: \"{}\"", status.run_id),
            "run_name: \"demo\"".into(),
            format!("plan: \"{}\"", status.plan),
            "rounds_planned: 23, rounds_committed: 29, rounds_aborted: 31, round: 37, attempt: 41".into(),
            "phase: \"masked input\", deadline_ms: Some(43), waiting_for: [WaitingFor { client: 7, what: \"its masked vector\" }]".into(),
            "waiting_why: \"one vector is missing\"".into(),
            "id: 7, name: \"north\", connected: true, state: \"training\"".into(),
            "rounds_included: 17, rounds_left_out: 19".into(),
            "dropouts: 47".into(),
            "mode: \"distributed\", unit: \"record\", relation: \"zero-out\"".into(),
            "epsilon: Some(1.5), delta: Some(1e-6), accountant: \"rdp\", steps: 13".into(),
            "noise_by: \"every silo\", trust: \"at most 1 colluder\"".into(),
            "epsilon_left: Some(0.5)".into(),
            format!("head: Some(\"{}\")", Digest::sha256(b"head")),
            format!("model: Some(\"{}\"), head_round: 53", Digest::sha256(b"model")),
            "metrics: {\"loss\": 0.25}, last_outcome: \"committed\", ended: None".into(),
            "bytes_received: 59, bytes_sent: 61".into(),
            "server_version: \"0.1.0\", now_ms: 67, started_ms: 71, attempts_aborted: Some(73)".into(),
        ] {
            assert!(shown.contains(&fact), "{fact} is not in {shown}");
        }
        assert!(sent.len() < 3000, "a reason is not cut: {} bytes", sent.len());
    }
}
