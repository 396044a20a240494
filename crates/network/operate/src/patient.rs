//! Calls that are made again where a coordinator says when: who asks much is not to fail for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Service, StdError};
use tonic::transport::Channel;
use wire::Backoff;

/// Between two tries of one call, at most, beside what the coordinator asks for.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// For one call, all its waits together; then its caller has the last answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection whose calls wait where they come too often, or find the coordinator busy, and are made again: nothing was done for such
/// an answer. Each request is in memory as a whole; no operator's call sends a stream.
#[derive(Clone)]
pub struct Patient(Channel);

impl Patient {
    /// Over a connection that is there.
    pub fn over(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Patient {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.0.poll_ready(context).map_err(StdError::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready makes the call.
        let other = self.0.clone();
        let channel = std::mem::replace(&mut self.0, other);
        Box::pin(patiently(channel, request))
    }
}

async fn patiently(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, StdError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (mut backoff, mut waited) = (Backoff::new(RETRY_LONGEST), Duration::ZERO);
    loop {
        let again = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
        let response = channel.call(again).await?;
        // A refusal is headers alone.
        let Some(refused) = Status::from_header_map(response.headers()) else { return Ok(response) };
        let Ok(wait) = backoff.again(refused) else { return Ok(response) };
        if waited + wait > PATIENCE {
            return Ok(response);
        }
        waited += wait;
        tokio::time::sleep(wait).await;
        poll_fn(|context| channel.poll_ready(context)).await?;
    }
}

#[cfg(test)]
mod tests {
    use params::Digest;
    use run_status::samples;
    use wire::{ServiceError, ToStatus};

    use super::*;
    use crate::script::Script;

    fn busy(retry_after: Duration) -> Status {
        ServiceError::Busy { retry_after }.to_status()
    }

    #[tokio::test]
    async fn a_call_that_comes_too_often_is_made_again_with_the_same_request_until_it_is_answered() {
        let script = Script::default();
        let soon = || Err(busy(Duration::from_millis(1)));
        *script.to_status.lock().unwrap() = [soon(), soon(), Ok(samples::shown().into())].into();
        let run = Digest::from_bytes([7; 32]);
        assert_eq!(crate::status(script.link().await, Some(run)).await.unwrap(), samples::shown());
        assert_eq!(*script.runs_asked.lock().unwrap(), vec![vec![7; 32]; 3]);
    }

    #[tokio::test]
    async fn whoever_would_wait_too_long_has_the_answer() {
        let script = Script::default();
        *script.to_status.lock().unwrap() = [Err(busy(PATIENCE))].into();
        let why = crate::status(script.link().await, None).await.unwrap_err().to_string();
        assert!(why.contains("try again in 2 min"), "{why}");
    }
}
