//! What waits for one silo's session: so many messages and bytes, which can be let go of while nobody reads them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio_stream::Stream;
use wire::v1::ServerEnvelope;

/// Messages that may wait. A whole round is six, and a part of the chain is [`CHAIN_AT_ONCE`].
const MESSAGES: usize = 1024;
/// Bytes that may wait: a few of the longest messages.
pub(crate) const BYTES: usize = 8 << 20;
/// What a message has around its bytes.
const AROUND: usize = 256;
/// Records of the chain that are sent in one session.
pub(crate) const CHAIN_AT_ONCE: usize = MESSAGES - 24;

#[derive(Default)]
struct Queue {
    messages: VecDeque<ServerEnvelope>,
    bytes: usize,
    /// Nothing comes any more.
    over: bool,
    /// Nobody reads any more.
    unread: bool,
    reader: Option<Waker>,
}

/// A queue that both ends share.
#[derive(Default)]
struct Shared(Mutex<Queue>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing comes any more; what waits is read first, or let go of.
    fn end(&self, let_go: bool) {
        let mut queue = self.lock();
        queue.over = true;
        if let_go {
            queue.messages = VecDeque::new();
            queue.bytes = 0;
        }
        wake(queue);
    }
}

/// Where the driver puts messages for a silo. Dropped, it ends the session: what waits in it is still read.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    /// Dropped with the session: it ends the reading side too, so that the silo notices and reconnects.
    _alive: oneshot::Sender<()>,
}

/// The response that reads from it.
pub(crate) struct Unread(Arc<Shared>);

/// What an ended session has left for its reader.
pub(crate) struct Left(Weak<Shared>);

impl Outbox {
    /// A queue's two ends, and word of when the first is gone.
    pub(crate) fn open() -> (Self, Unread, oneshot::Receiver<()>) {
        let shared = Arc::<Shared>::default();
        let (_alive, over) = oneshot::channel();
        (Self { shared: Arc::clone(&shared), _alive }, Unread(shared), over)
    }

    /// Whether the message was taken; there is room for it, and somebody reads.
    pub(crate) fn push(&self, message: ServerEnvelope) -> bool {
        let mut queue = self.shared.lock();
        let bytes = weight(&message);
        if queue.unread || queue.messages.len() >= MESSAGES || queue.bytes + bytes > BYTES {
            return false;
        }
        queue.bytes += bytes;
        queue.messages.push_back(message);
        wake(queue);
        true
    }

    /// How much waits.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Ends the session, and lets go of what waits.
    pub(crate) fn discard(self) {
        self.shared.end(true);
    }

    /// Ends the session; what waits is still read.
    pub(crate) fn leave(self) -> Left {
        Left(Arc::downgrade(&self.shared))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shared.end(false);
    }
}

impl Left {
    /// How much still waits.
    pub(crate) fn bytes(&self) -> usize {
        self.0.upgrade().map_or(0, |shared| shared.lock().bytes)
    }

    /// Lets go of it.
    pub(crate) fn discard(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end(true);
        }
    }
}

impl Stream for Unread {
    type Item = ServerEnvelope;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEnvelope>> {
        let mut queue = self.0.lock();
        if let Some(message) = queue.messages.pop_front() {
            queue.bytes = queue.bytes.saturating_sub(weight(&message));
            return Poll::Ready(Some(message));
        }
        if queue.over {
            return Poll::Ready(None);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.unread = true;
        queue.messages = VecDeque::new();
        queue.bytes = 0;
    }
}

/// Lets the reader look again.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    reader.into_iter().for_each(Waker::wake);
}

fn weight(message: &ServerEnvelope) -> usize {
    wire::message_bytes(message) + AROUND
}

#[cfg(test)]
impl Unread {
    /// The next message, where there is one already.
    pub(crate) fn taken(&mut self) -> Option<ServerEnvelope> {
        match Pin::new(self).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }
}
