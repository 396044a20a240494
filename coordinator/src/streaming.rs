//! Responses in parts: each is made when the one before it was taken, and whoever takes none for too long gets no more.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A response of what `next` makes, off the runtime's own threads. It waits for `patience` for each part to be taken; then
/// it lets go of everything, `held` included, and the stream's last item says so.
pub(crate) fn stream<T: Send + 'static, H: Send + 'static>(
    patience: Duration,
    held: H,
    mut next: impl FnMut() -> Option<Result<T, Status>> + Send + 'static,
) -> BoxStream<T> {
    // One beside the one that is being written.
    let (send, parts) = mpsc::channel(1);
    let (failed, failure) = oneshot::channel();
    tokio::spawn(async move {
        let _held = held;
        loop {
            let Ok((part, back)) = spawn_blocking(move || {
                let part = next();
                (part, next)
            })
            .await
            else {
                let _ = failed.send(Status::internal("the coordinator failed; its own log says why"));
                return;
            };
            next = back;
            let Some(part) = part else { return };
            let last = part.is_err();
            match tokio::time::timeout(patience, send.send(part)).await {
                Ok(Ok(())) if !last => {}
                Ok(_) => return,
                Err(_) => {
                    tracing::debug!("a response that nobody reads is ended");
                    let _ = failed.send(unread(patience));
                    return;
                }
            }
        }
    });
    let last = tokio_stream::once(failure).then(|failure| failure).filter_map(Result::ok).map(Err);
    Box::pin(ReceiverStream::new(parts).chain(last))
}

/// What the reader of a response hears that it did not read.
pub(crate) fn unread(patience: Duration) -> Status {
    let seconds = patience.as_secs_f64();
    Status::aborted(format!("no part of the response was read for {seconds} s; ask again"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_reads_makes_two_parts_and_then_lets_go_of_what_it_holds() {
        let places = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&places).try_acquire_owned().unwrap();
        let made = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&made);
        let mut response =
            stream(Duration::from_secs(5), held, move || Some(Ok(counted.fetch_add(1, Ordering::SeqCst))));
        drop(places.acquire().await.unwrap());
        assert_eq!(made.load(Ordering::SeqCst), 2);
        // What was made can still be read, and then why there is no more.
        assert_eq!(response.next().await.unwrap().unwrap(), 0);
        let why = response.next().await.unwrap().unwrap_err();
        assert!(why.message().contains("no part of the response was read for 5 s"), "{why}");
        assert!(response.next().await.is_none());
    }

    #[tokio::test]
    async fn whoever_reads_gets_every_part_and_the_first_error_ends_it() {
        let mut left = vec![Err(Status::not_found("no more")), Ok(2), Ok(1)];
        let response = stream(Duration::from_secs(5), (), move || left.pop());
        let read: Vec<Option<u64>> = response.map(Result::ok).collect().await;
        assert_eq!(read, [Some(1), Some(2), None]);
    }
}
