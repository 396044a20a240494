//! The clients' open sessions, as the driver sees them.

use std::collections::BTreeMap;

use secagg::ClientId;
use tokio::sync::{mpsc, oneshot};
use wire::v1::ServerEnvelope;

/// Distinguishes a client's sessions: a late end of an old one must not end the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) u64);

/// Where the driver puts messages for a client.
pub(crate) struct Outbox {
    pub(crate) messages: mpsc::Sender<ServerEnvelope>,
    /// Dropped with the session: it ends the reading side too, so that the client notices and reconnects.
    pub(crate) _alive: oneshot::Sender<()>,
}

/// Messages that may wait for one slow client. A whole round is six; a chain's catch-up may be longer, and then
/// the session is closed and continues after reconnecting.
pub(crate) const OUTBOX_MESSAGES: usize = 1024;

/// One session a client; a new one replaces the old.
#[derive(Default)]
pub(crate) struct Sessions(BTreeMap<ClientId, (SessionId, Outbox)>);

impl Sessions {
    pub(crate) fn attach(&mut self, client: ClientId, id: SessionId, outbox: Outbox) {
        self.0.insert(client, (id, outbox));
    }

    /// Whether the client's current session ended with this.
    pub(crate) fn detach(&mut self, client: ClientId, id: SessionId) -> bool {
        if self.is_current(client, id) {
            self.0.remove(&client);
            return true;
        }
        false
    }

    pub(crate) fn is_current(&self, client: ClientId, id: SessionId) -> bool {
        self.0.get(&client).is_some_and(|(current, _)| *current == id)
    }

    /// Whether the message was taken; a client that does not read loses its session, not the round.
    pub(crate) fn send(&mut self, client: ClientId, message: ServerEnvelope) -> bool {
        let Some((_, outbox)) = self.0.get(&client) else { return true };
        let taken = outbox.messages.try_send(message).is_ok();
        if !taken {
            self.0.remove(&client);
        }
        taken
    }

    /// Ends a client's session.
    pub(crate) fn close(&mut self, client: ClientId) {
        self.0.remove(&client);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
