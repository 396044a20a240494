//! A connection to a coordinator, and its errors for people.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::Failure;
use crate::failure::with_causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the coordinator at `url`.
///
/// # Errors
/// [`Failure::Usage`] for a text that is no URL, [`Failure::Unreachable`] where nobody answers.
pub(crate) async fn connect(url: &str) -> Result<Channel, Failure> {
    if !url.starts_with("http://") {
        return Err(Failure::usage(format!(
            "`{url}` is no coordinator's address; write it as http://HOST:PORT"
        )));
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|why| Failure::usage(format!("`{url}` is no address, {why}; write it as http://HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|why| {
        Failure::Unreachable(format!(
            "cannot reach the coordinator at {url} ({}); check the address, and that the coordinator runs",
            with_causes(&why)
        ))
    })
}

/// A failed call, as a failure of the command.
pub(crate) fn refused(status: &Status) -> Failure {
    let sentence = wire::describe(status);
    match status.code() {
        Code::Unavailable if wire::reason(status).is_none() => Failure::Unreachable(sentence),
        _ => Failure::Failed(sentence),
    }
}

/// Text of another machine, safe to show on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_without_a_scheme_is_a_usage_error_with_its_mend() {
        let why = connect("127.0.0.1:7440").await.unwrap_err();
        assert!(matches!(&why, Failure::Usage(text) if text.contains("http://HOST:PORT")), "{why}");
    }

    #[test]
    fn a_lost_connection_is_unreachable_and_an_answer_is_not() {
        assert!(matches!(refused(&Status::unavailable("tcp")), Failure::Unreachable(_)));
        assert!(matches!(refused(&Status::not_found("m")), Failure::Failed(_)));
    }

    #[test]
    fn escape_sequences_of_another_machine_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
