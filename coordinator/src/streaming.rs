//! Responses in parts: each is made when the one before it was taken, and whoever takes none for too long, or all of them
//! too slowly, gets no more.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long a response may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until one part is taken.
    pub(crate) part: Duration,
    /// Until the last one is.
    pub(crate) whole: Duration,
}

/// A response of what `next` makes, off the runtime's own threads. Where it takes longer than its limits, it lets go of
/// everything, `held` included, and the stream's last item says so.
pub(crate) fn stream<T: Send + 'static, H: Send + 'static>(
    limits: Limits,
    held: H,
    mut next: impl FnMut() -> Option<Result<T, Status>> + Send + 'static,
) -> BoxStream<T> {
    // One beside the one that is being written.
    let (send, parts) = mpsc::channel(1);
    let (failed, failure) = oneshot::channel();
    // A time beyond what the clock holds is none.
    let end = Instant::now().checked_add(limits.whole);
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
            let left = end.map_or(limits.part, |end| end.saturating_duration_since(Instant::now()));
            match tokio::time::timeout(left.min(limits.part), send.send(part)).await {
                Ok(Ok(())) if !last => {}
                Ok(_) => return,
                Err(_) => {
                    tracing::debug!("a response that is not read, or too slowly, is ended");
                    let why = if left < limits.part { slow(limits.whole) } else { unread(limits.part) };
                    let _ = failed.send(why);
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

/// What a reader hears that took some of each part, and too long for all.
fn slow(whole: Duration) -> Status {
    let seconds = whole.as_secs_f64();
    Status::aborted(format!(
        "the response was not read within {seconds} s, which its size allows; ask again over a faster link"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn limits(part: u64, whole: u64) -> Limits {
        Limits { part: Duration::from_secs(part), whole: Duration::from_secs(whole) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_reads_makes_two_parts_and_then_lets_go_of_what_it_holds() {
        let places = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&places).try_acquire_owned().unwrap();
        let made = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&made);
        let mut response =
            stream(limits(5, 3600), held, move || Some(Ok(counted.fetch_add(1, Ordering::SeqCst))));
        drop(places.acquire().await.unwrap());
        assert_eq!(made.load(Ordering::SeqCst), 2);
        // What was made can still be read, and then why there is no more.
        assert_eq!(response.next().await.unwrap().unwrap(), 0);
        let why = response.next().await.unwrap().unwrap_err();
        assert!(why.message().contains("no part of the response was read for 5 s"), "{why}");
        assert!(response.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_each_part_at_the_last_moment_holds_its_place_until_the_whole_is_due() {
        let places = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&places).try_acquire_owned().unwrap();
        let begun = Instant::now();
        let mut response = stream(limits(5, 20), held, || Some(Ok(0)));
        let reader = tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_secs(4));
            loop {
                due.tick().await;
                if let Err(why) = response.next().await.unwrap() {
                    return why;
                }
            }
        });
        drop(places.acquire().await.unwrap());
        assert_eq!(begun.elapsed().as_secs(), 20);
        let why = reader.await.unwrap();
        assert!(why.message().contains("not read within 20 s"), "{why}");
    }

    #[tokio::test]
    async fn whoever_reads_gets_every_part_and_the_first_error_ends_it() {
        let mut left = vec![Err(Status::not_found("no more")), Ok(2), Ok(1)];
        let response = stream(limits(5, 3600), (), move || left.pop());
        let read: Vec<Option<u64>> = response.map(Result::ok).collect().await;
        assert_eq!(read, [Some(1), Some(2), None]);
    }
}
