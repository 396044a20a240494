//! A status, for tests.

use checkpoint::PrivacySpent;
use params::Digest;
use secagg::ClientId;

use crate::{
    ClientStatus, Ended, Ending, Owed, ReasonMoment, RunEntry, RunPhase, RunState, Server, Shown, Standing,
    Status, Waiting,
};

/// A run with a value in every field, in the middle of a round. No two of its numbers are alike.
pub fn shown() -> Shown {
    // One literal, so that a field that is new to a status is missed here.
    let run = Status {
        run_id: Digest::sha256(b"run"),
        run_name: "digits".into(),
        plan: Digest::sha256(b"plan"),
        rounds_planned: 23,
        rounds_committed: 19,
        rounds_aborted: 3,
        attempts_aborted: Some(11),
        round: 37,
        attempt: 2,
        phase: RunPhase::MaskedInput,
        deadline_ms: Some(4_500),
        waiting_for: vec![Waiting { client: ClientId(9), what: Owed::MaskedVector }],
        waiting_why: "1 silos owe a masked vector".into(),
        notices: vec!["paused".into()],
        clients: vec![ClientStatus {
            id: ClientId(7),
            name: "north".into(),
            connected: true,
            state: Standing::Awaited,
            last_reason: "was too late".into(),
            reason_moment: Some(ReasonMoment { round: Some(31), attempt: Some(6), time_ms: 1_300 }),
            rounds_included: 17,
            rounds_left_out: 5,
        }],
        dropouts: 47,
        privacy: PrivacySpent {
            mode: "distributed_dp_sgd".into(),
            unit: "record".into(),
            relation: "add or remove one record".into(),
            epsilon: Some(1.5),
            delta: Some(1e-6),
            accountant: "rdp".into(),
            steps: 13,
            noise_by: "every silo".into(),
            trust: "one colluder".into(),
        },
        epsilon_left: Some(3.4),
        head: Some(Digest::sha256(b"head")),
        model: Some(Digest::sha256(b"model")),
        head_round: 36,
        metrics: [("loss".to_owned(), 0.25)].into(),
        last_outcome: "committed".into(),
        ended: Some(Ended { how: Ending::Complete, why: "all rounds".into() }),
    };
    let server = Server {
        bytes_received: 59,
        bytes_sent: 61,
        server_version: "0.1.0".into(),
        now_ms: 2_000,
        started_ms: 1_000,
    };
    Shown { run, server }
}

/// A run with a value in every field. No two of its numbers are alike.
pub fn run_entry() -> RunEntry {
    RunEntry {
        run: Digest::sha256(b"run"),
        number: 67,
        name: "digits".into(),
        author: "ada".into(),
        state: RunState::Queued,
        reason: "2 runs go before it".into(),
        position: Some(2),
        rounds_committed: 71,
        rounds_planned: 73,
        submitted_ms: 7_900,
        submitted_by: "ben".into(),
        since_ms: Some(8_300),
        until_ms: Some(8_900),
    }
}
