//! A run as it changes, also across a coordinator's restart.

use std::time::Duration;

use params::Digest;
use run_status::Shown;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, Streaming};
use wire::v1::operator_client::OperatorClient;
use wire::v1::{RunStatus, WatchRequest};
use wire::{Backoff, run_bytes};

use crate::connect::{ConnectError, Link, refused};

/// Between two tries to reach a coordinator that is gone, at most.
const RETRY_LONGEST: Duration = Duration::from_secs(15);

/// What whoever watches sees.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// The run at this moment.
    Shown(Box<Shown>),
    /// The connection is lost, for this reason; it is tried for again.
    Lost(String),
}

/// A run at this moment, and again after each change; without a name the one that is shown then, and once that is over the next one.
/// A connection that is lost is tried for again, without an end.
pub struct Watch {
    link: Link,
    run: Option<Digest>,
    changes: Option<Streaming<RunStatus>>,
    backoff: Backoff,
    again_at: Instant,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// [`ConnectError`], also where the coordinator is not there: it was reached a moment ago.
    pub async fn begin(link: Link, run: Option<Digest>) -> Result<Self, ConnectError> {
        let changes = open(&link, run).await.map_err(|why| refused(&why))?;
        let backoff = Backoff::new(RETRY_LONGEST);
        Ok(Self { link, run, changes: Some(changes), backoff, again_at: Instant::now() })
    }

    /// What is seen next. A wait for it that is given up loses nothing.
    ///
    /// # Errors
    /// [`ConnectError`] where the coordinator is there and refuses; [`ConnectError::Answer`] for a status that cannot be one.
    pub async fn next(&mut self) -> Result<Sight, ConnectError> {
        loop {
            let failed = match &mut self.changes {
                Some(changes) => match changes.message().await {
                    Ok(Some(status)) => {
                        self.backoff = Backoff::new(RETRY_LONGEST);
                        return Ok(Sight::Shown(Box::new(status.try_into()?)));
                    }
                    Ok(None) => Status::unavailable("it ended the watch, and may be stopping or restarting"),
                    Err(why) => why,
                },
                None => {
                    sleep_until(self.again_at).await;
                    match open(&self.link, self.run).await {
                        Ok(changes) => {
                            self.changes = Some(changes);
                            continue;
                        }
                        Err(why) => why,
                    }
                }
            };
            let why = lost(&failed)?;
            self.changes = None;
            self.again_at = Instant::now() + self.backoff.after(&failed);
            return Ok(Sight::Lost(why));
        }
    }
}

async fn open(link: &Link, run: Option<Digest>) -> Result<Streaming<RunStatus>, Status> {
    let request = WatchRequest { run: run_bytes(run) };
    Ok(OperatorClient::new(link.clone()).watch(request).await?.into_inner())
}

/// Why a call that may be made again came to nothing.
///
/// # Errors
/// An answer that the same call would have again.
fn lost(status: &Status) -> Result<String, ConnectError> {
    match (refused(status), status.code()) {
        (ConnectError::Lost(why), _) => Ok(why),
        (why, Code::Unavailable | Code::ResourceExhausted) => Ok(why.to_string()),
        (why, _) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use run_status::samples;
    use wire::{ServiceError, ToStatus};

    use super::*;
    use crate::script::Script;

    #[tokio::test]
    async fn a_watch_goes_on_when_the_coordinator_is_back_and_ends_where_it_refuses() {
        let script = Script::default();
        let shown = || vec![Ok(samples::shown().into())];
        let restarting = ServiceError::Restarting { retry_after: Duration::from_millis(1) }.to_status();
        let no_such = ServiceError::NoSuchRun(Digest::sha256(b"r")).to_status();
        *script.to_watch.lock().unwrap() = [Ok(shown()), Err(restarting), Ok(shown()), Err(no_such)].into();
        let run = Digest::from_bytes([7; 32]);
        let mut watch = Watch::begin(script.link().await, Some(run)).await.unwrap();
        let seen = Sight::Shown(Box::new(samples::shown()));
        assert_eq!(watch.next().await.unwrap(), seen);
        for expected in ["it ended the watch", "is stopping or starting"] {
            let lost = watch.next().await.unwrap();
            assert!(matches!(&lost, Sight::Lost(why) if why.contains(expected)), "{lost:?}");
        }
        assert_eq!(watch.next().await.unwrap(), seen);
        assert!(matches!(watch.next().await.unwrap(), Sight::Lost(_)));
        let why = watch.next().await.unwrap_err();
        assert!(matches!(&why, ConnectError::Refused(text) if text.contains("has no run")), "{why}");
        assert_eq!(*script.runs_asked.lock().unwrap(), vec![vec![7; 32]; 4], "the same run each time");
    }
}
