//! The clients' open sessions, as the driver sees them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{OfRun, SessionVersion, ToClient};
use secagg::ClientId;
use wire::v1::ServerEnvelope;

use crate::outbox::{Left, Outbox};

/// Distinguishes a client's sessions: a late end of an old one must not end the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) u64);

/// Bytes that may wait for all clients together: what a round says to its whole cohort at once, twice.
const BYTES: usize = 256 << 20;

/// One session a client; a new one replaces the old, and lets go of all that waits in it.
pub(crate) struct Sessions {
    current: BTreeMap<ClientId, (SessionId, Outbox)>,
    /// Whose session carries several runs, so that each message names its own.
    many_runs: BTreeSet<ClientId>,
    /// What the last session of a client has left, until the next one begins.
    left: BTreeMap<ClientId, Left>,
    bytes_max: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { current: BTreeMap::new(), many_runs: BTreeSet::new(), left: BTreeMap::new(), bytes_max: BYTES }
    }
}

impl Sessions {
    pub(crate) fn attach(
        &mut self,
        client: ClientId,
        id: SessionId,
        version: SessionVersion,
        outbox: Outbox,
    ) {
        if version.names_runs() {
            self.many_runs.insert(client);
        } else {
            self.many_runs.remove(&client);
        }
        if let Some((_, old)) = self.current.insert(client, (id, outbox)) {
            old.discard();
        }
        if let Some(left) = self.left.remove(&client) {
            left.discard();
        }
    }

    /// Whether the client's current session ended with this.
    pub(crate) fn detach(&mut self, client: ClientId, id: SessionId) -> bool {
        let current = self.is_current(client, id);
        if current {
            self.close(client);
        }
        current
    }

    pub(crate) fn is_current(&self, client: ClientId, id: SessionId) -> bool {
        self.current.get(&client).is_some_and(|(current, _)| *current == id)
    }

    /// Says a message of a run. In a session of a version that knows one run it names none.
    pub(crate) fn say(&mut self, client: ClientId, said: OfRun<ToClient>) -> Option<ClientId> {
        let run = said.run.filter(|_| self.many_runs.contains(&client));
        self.send(client, OfRun { run, ..said }.into())
    }

    /// Who has lost its session over this message: a client that does not read, not the round.
    fn send(&mut self, client: ClientId, message: ServerEnvelope) -> Option<ClientId> {
        let (_, outbox) = self.current.get(&client)?;
        if !outbox.push(message) {
            self.close(client);
            return Some(client);
        }
        self.relieve()
    }

    /// Ends a client's session; what waits in it can still be read.
    pub(crate) fn close(&mut self, client: ClientId) {
        if let Some((_, outbox)) = self.current.remove(&client) {
            self.left.insert(client, outbox.leave());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.current.len()
    }

    /// Where more waits than all may have, whoever has the most gives way.
    fn relieve(&mut self) -> Option<ClientId> {
        loop {
            let left = self.left.iter().map(|(client, left)| (left.bytes(), *client));
            let current = self.current.iter().map(|(client, (_, outbox))| (outbox.bytes(), *client));
            let all: Vec<(usize, ClientId)> = left.chain(current).collect();
            if all.iter().map(|(bytes, _)| bytes).sum::<usize>() <= self.bytes_max {
                return None;
            }
            let (_, most) = all.into_iter().max()?;
            if let Some(left) = self.left.remove(&most) {
                left.discard();
            }
            if let Some((_, outbox)) = self.current.remove(&most) {
                outbox.discard();
                return Some(most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::v1;

    use super::*;
    use crate::outbox::{BYTES as EACH, Unread};

    fn message(bytes: usize) -> ServerEnvelope {
        let welcome = v1::Welcome { run_id: vec![7; bytes], ..Default::default() };
        let message = Some(v1::server_envelope::Message::Welcome(welcome));
        ServerEnvelope { message, ..ServerEnvelope::default() }
    }

    fn begin(sessions: &mut Sessions, client: u32, id: u64) -> Unread {
        let (outbox, unread, _) = Outbox::open();
        sessions.attach(ClientId(client), SessionId(id), SessionVersion::NEWEST, outbox);
        unread
    }

    fn fill(sessions: &mut Sessions, client: u32) {
        while sessions.send(ClientId(client), message(100_000)).is_none() {}
    }

    fn waits(sessions: &Sessions) -> usize {
        let left = sessions.left.values().map(Left::bytes);
        left.chain(sessions.current.values().map(|(_, outbox)| outbox.bytes())).sum()
    }

    #[test]
    fn however_many_sessions_a_silo_begins_and_does_not_read_no_more_than_one_ones_messages_wait() {
        let mut sessions = Sessions::default();
        let mut unread = Vec::new();
        for id in 0..10 {
            unread.push(begin(&mut sessions, 1, id));
            match id % 2 {
                0 => fill(&mut sessions, 1),
                _ => assert_eq!(sessions.send(ClientId(1), message(100_000)), None),
            }
            assert!(waits(&sessions) <= EACH);
        }
        let still: Vec<bool> = unread.iter_mut().map(|unread| unread.taken().is_some()).collect();
        assert_eq!(still.iter().filter(|some| **some).count(), 1, "{still:?}");
        assert!(still[9], "the newest session has its messages");
    }

    #[test]
    fn what_a_session_that_is_closed_for_not_reading_holds_can_be_read_until_the_next_one_begins() {
        let mut sessions = Sessions::default();
        let mut first = begin(&mut sessions, 1, 1);
        fill(&mut sessions, 1);
        assert!(!sessions.is_current(ClientId(1), SessionId(1)));
        assert!(first.taken().is_some(), "a chain that is longer than a session goes on from here");
        let mut second = begin(&mut sessions, 1, 2);
        assert!(first.taken().is_none());
        assert_eq!(waits(&sessions), 0);
        assert_eq!(sessions.send(ClientId(1), message(1)), None);
        assert!(second.taken().is_some());
    }

    #[test]
    fn where_too_much_waits_for_all_whoever_has_the_most_gives_way_and_nobody_else() {
        let mut sessions = Sessions { bytes_max: 2 << 20, ..Sessions::default() };
        let mut small: Vec<Unread> = (1..=5).map(|client| begin(&mut sessions, client, 1)).collect();
        for client in 1..=5 {
            assert_eq!(sessions.send(ClientId(client), message(100_000)), None);
        }
        let mut large = begin(&mut sessions, 9, 1);
        let gone = std::iter::from_fn(|| Some(sessions.send(ClientId(9), message(100_000)))).flatten().next();
        assert_eq!(gone, Some(ClientId(9)));
        assert!(large.taken().is_none());
        assert!(small.iter_mut().all(|unread| unread.taken().is_some()));
        assert!((1..=5).all(|client| sessions.is_current(ClientId(client), SessionId(1))));
    }

    #[test]
    fn whoever_has_stopped_reading_loses_its_session_with_the_next_message() {
        let mut sessions = Sessions::default();
        drop(begin(&mut sessions, 1, 1));
        assert_eq!(sessions.send(ClientId(1), message(1)), Some(ClientId(1)));
        assert_eq!((sessions.len(), waits(&sessions)), (0, 0));
    }
}
