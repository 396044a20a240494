//! A response that ends when its caller is barred or has nothing good to show any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::progress::Counted;

type Ended = Pin<Box<dyn Future<Output = Status> + Send>>;

/// A body that is cut short by the status that `ended` ends with. What the service still held for it is dropped, and
/// with it the service's side of the stream.
pub(super) struct EndsWithItsCaller {
    body: Body,
    ended: Option<Ended>,
    /// The call is in progress as long as there is this body.
    _counted: Counted,
}

impl EndsWithItsCaller {
    pub(super) fn new(body: Body, ended: Ended, counted: Counted) -> Self {
        Self { body, ended: Some(ended), _counted: counted }
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
        if let Poll::Ready(status) = ended.as_mut().poll(cx) {
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
