//! A response that ends when its caller is barred or has nothing good to show any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use pki::HangUp;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;

use super::progress::Counted;

pub(super) type Ended = Pin<Box<dyn Future<Output = Status> + Send>>;

/// How long the end of a call may stay unread.
const TO_READ: Duration = Duration::from_secs(10);

/// A body that is cut short by the status that `ended` ends with. What the service still held for it is dropped, and
/// with it the service's side of the stream.
///
/// No body is asked for anything while its reader takes nothing: so the end is waited for beside it, and where the body
/// is still there some time after, the whole connection is ended.
pub(super) struct EndsWithItsCaller {
    body: Body,
    ended: Option<oneshot::Receiver<Status>>,
    waiting: Option<AbortHandle>,
    /// The call is in progress as long as there is this body.
    _counted: Counted,
}

impl EndsWithItsCaller {
    pub(super) fn new(body: Body, ended: Option<Ended>, counted: Counted) -> Self {
        Self::read_within(TO_READ, body, ended, counted)
    }

    fn read_within(time: Duration, body: Body, ended: Option<Ended>, counted: Counted) -> Self {
        let (say, said) = oneshot::channel();
        let waits = ended
            .filter(|_| !body.is_end_stream())
            .map(|ended| tokio::spawn(wait(ended, say, time, counted.hang_up().clone())).abort_handle());
        Self { body, ended: waits.is_some().then_some(said), waiting: waits, _counted: counted }
    }
}

async fn wait(ended: Ended, say: oneshot::Sender<Status>, time: Duration, hang_up: HangUp) {
    // Where nobody hears it the body is gone, and this task with it.
    let _ = say.send(ended.await);
    tokio::time::sleep(time).await;
    hang_up.now();
}

impl Drop for EndsWithItsCaller {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

impl http_body::Body for EndsWithItsCaller {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(ended) = &mut self.ended else { return Poll::Ready(None) };
        if let Poll::Ready(Ok(status)) = Pin::new(ended).poll(cx) {
            self.ended = None;
            self.body = Body::empty();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // None promised: it may be cut.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::sync::Arc;

    use super::*;
    use crate::guard::progress::{Places, Progress};
    use crate::limits::Key;

    fn counted(hang_up: &HangUp) -> Counted {
        let key = Key::Identity("silo/1".into());
        Progress::begin(&Arc::default(), key, Places::Endless, hang_up.clone()).unwrap()
    }

    /// Has nothing to say yet.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_connection_ends_where_nobody_reads_that_its_call_has_ended() {
        let hang_up = HangUp::default();
        let ended: Ended = Box::pin(ready(Status::aborted("barred")));
        let body = Body::new(Silent);
        let unread = EndsWithItsCaller::read_within(Duration::ZERO, body, Some(ended), counted(&hang_up));
        poll_fn(|cx| if hang_up.is_due(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        drop(unread);
    }
}
