//! What happens next: events in the order of their time, and those of one time in the order they were made.

use std::collections::BTreeMap;

use federation::RunNumber;
use plan::AuthoredPlan;
use protocol::{Attempt, ClientInput, OfRun, SumResult, UploadHeader};
use secagg::ClientId;

use crate::operators::Deed;

/// Something on its way.
pub(crate) enum Event {
    /// A silo tries to open a session.
    Connect(ClientId),
    /// Both sides notice that a session is dead.
    Broken { client: ClientId, session: u64 },
    /// Bytes from a silo.
    ToCoordinator { from: ClientId, session: u64, bytes: Vec<u8> },
    /// Bytes for a silo.
    ToSilo { to: ClientId, session: u64, bytes: Vec<u8> },
    /// A silo's vector arrives.
    Upload { life: u64, job: u64, header: Box<OfRun<UploadHeader>> },
    /// A silo's upload job tries again.
    UploadAgain { life: u64, job: u64, header: Box<OfRun<UploadHeader>> },
    /// A silo's training or masking is done.
    Done { id: ClientId, life: u64, input: Box<ClientInput> },
    /// A sum is opened.
    Opened { life: u64, run: RunNumber, at: Attempt, result: Box<SumResult> },
    /// An operator sets out to do something to a run.
    Operator { run: RunNumber, deed: Deed },
    /// A silo's policy is written.
    Policy { id: ClientId, refuses: bool },
    /// A plan is submitted.
    Submit(Box<AuthoredPlan>),
    /// A silo's process is started.
    StartSilo(ClientId),
    /// The coordinator's process is started.
    StartCoordinator,
}

/// Events by their time, in milliseconds after the start.
#[derive(Default)]
pub(crate) struct Agenda {
    events: BTreeMap<(u64, u64), Event>,
    made: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at_ms: u64, event: Event) {
        self.made += 1;
        self.events.insert((at_ms, self.made), event);
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }

    /// Whether the next event is for the coordinator, and due at this very time.
    pub(crate) fn more_for_the_coordinator(&self, now_ms: u64) -> bool {
        self.events.first_key_value().is_some_and(|((at, _), event)| {
            *at == now_ms && matches!(event, Event::ToCoordinator { .. } | Event::Upload { .. })
        })
    }
}
