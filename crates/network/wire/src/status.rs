//! Errors as gRPC statuses with `google.rpc` details, and statuses as sentences for people.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use messages::Rejection;
use params::Digest;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::chunks::ChunkError;
use crate::convert::{ConversionError, cut};
use crate::handshake::HandshakeError;

/// The `domain` of every `google.rpc.ErrorInfo` that Folkmoot sends.
const DOMAIN: &str = "folkmoot";

/// An error that a peer gets to see. Its `Display` is the sentence for people.
pub trait ToStatus: Display {
    /// The class of error that gRPC tools act on.
    fn code(&self) -> Code;

    /// The code that programs act on; it never changes once published.
    fn reason(&self) -> &'static str;

    /// When the same request may succeed.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Facts for programs, beside the reason.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The status that the peer receives.
    fn to_status(&self) -> Status {
        let facts: HashMap<String, String> =
            self.facts().into_iter().map(|(name, fact)| (name.to_owned(), cut(fact))).collect();
        let mut details = ErrorDetails::with_error_info(self.reason(), DOMAIN, facts);
        if let Some(delay) = self.retry_after() {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(self.code(), cut(self.to_string()), details)
    }
}

/// A request that the server cannot serve, for reasons of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// No checkpoint of this run has that model.
    #[error("no checkpoint of this run has the model {0}")]
    NoSuchModel(Digest),
    /// No run of this federation has that name.
    #[error("this federation has no run {0}; `folkmoot runs list` shows those that it has")]
    NoSuchRun(Digest),
    /// As many uploads as fit are running.
    #[error("the coordinator takes no more uploads at this moment")]
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// A silo says more than any round needs.
    #[error("this silo says more in a second than any round needs; its session is closed")]
    TooManyMessages {
        /// When to come back.
        retry_after: Duration,
    },
    /// The server is going down, or not up yet.
    #[error("the coordinator is stopping or starting")]
    Restarting {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The server failed. Details are in its own log and nowhere else.
    #[error("the coordinator failed; its own log says why")]
    Internal,
}

impl ToStatus for ServiceError {
    fn code(&self) -> Code {
        match self {
            Self::NoSuchModel(_) | Self::NoSuchRun(_) => Code::NotFound,
            Self::Busy { .. } | Self::TooManyMessages { .. } => Code::ResourceExhausted,
            Self::Restarting { .. } => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchModel(_) => "NO_SUCH_MODEL",
            Self::NoSuchRun(_) => "NO_SUCH_RUN",
            Self::Busy { .. } => "BUSY",
            Self::TooManyMessages { .. } => "TOO_MANY_MESSAGES",
            Self::Restarting { .. } => "RESTARTING",
            Self::Internal => "INTERNAL",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after }
            | Self::TooManyMessages { retry_after }
            | Self::Restarting { retry_after } => Some(*retry_after),
            Self::NoSuchModel(_) | Self::NoSuchRun(_) | Self::Internal => None,
        }
    }
}

impl ToStatus for ConversionError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "MALFORMED_MESSAGE"
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        [("field", self.field.clone())].into()
    }
}

impl ToStatus for HandshakeError {
    fn code(&self) -> Code {
        match self {
            Self::Version { .. } | Self::Downgraded { .. } => Code::FailedPrecondition,
            Self::Signature(_) | Self::Coordinator => Code::Unauthenticated,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Version { .. } => "PROTOCOL_VERSION",
            Self::Downgraded { .. } => "PROTOCOL_DOWNGRADED",
            Self::Signature(_) => "IDENTITY_KEY",
            Self::Coordinator => "COORDINATOR_KEY",
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Version { client, coordinator } => {
                [("client", client.to_string()), ("coordinator", coordinator.to_string())].into()
            }
            Self::Downgraded { highest, chosen } => {
                [("highest", highest.to_string()), ("chosen", chosen.to_string())].into()
            }
            Self::Signature(client) => [("client", client.to_string())].into(),
            Self::Coordinator => vec![],
        }
    }
}

impl ToStatus for ChunkError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::OutOfOrder { .. } | Self::Size { .. } => Code::InvalidArgument,
            // The same transfer, tried again, may well arrive whole.
            Self::Damaged { .. } | Self::Truncated { .. } => Code::Aborted,
            Self::WholeDigest => Code::DataLoss,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "MALFORMED_MESSAGE",
            Self::OutOfOrder { .. } => "CHUNK_OUT_OF_ORDER",
            Self::Size { .. } => "CHUNK_SIZE",
            Self::Damaged { .. } => "CHUNK_DAMAGED",
            Self::Truncated { .. } => "TRUNCATED",
            Self::WholeDigest => "WHOLE_DIGEST",
        }
    }
}

impl ToStatus for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::UnknownClient(_) | Self::NotInCohort => Code::PermissionDenied,
            Self::OutOfPhase { .. }
            | Self::StaleAttempt
            | Self::Equivocation
            | Self::NotPossible(_)
            | Self::AlreadySo(_) => Code::FailedPrecondition,
            Self::Invalid(_) => Code::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::UnknownClient(_) => "UNKNOWN_CLIENT",
            Self::OutOfPhase { .. } => "OUT_OF_PHASE",
            Self::StaleAttempt => "STALE_ATTEMPT",
            Self::NotInCohort => "NOT_IN_COHORT",
            Self::Equivocation => "EQUIVOCATION",
            Self::Invalid(_) => "DOES_NOT_VERIFY",
            Self::NotPossible(_) => "NOT_POSSIBLE",
            Self::AlreadySo(_) => "SETTLED",
        }
    }
}

/// The reason code of a status that Folkmoot made; `None` for one that the transport made.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// A status as one line for people: what happened and what to do.
///
/// # Security
/// The text is the other side's: it is cut, and control characters that could drive a terminal are replaced.
pub fn describe(status: &Status) -> String {
    let message = printable(status.message());
    let mut sentence = match (reason(status), status.code()) {
        (Some(_), _) => message,
        (None, Code::Unavailable) => {
            format!("the coordinator cannot be reached; check its address and that it runs ({message})")
        }
        (None, Code::DeadlineExceeded) => "the coordinator did not answer in time".to_owned(),
        (None, Code::Cancelled) => "the connection was closed".to_owned(),
        (None, Code::OutOfRange) => format!(
            "a message was larger than its receiver takes, and was not read; install the same release of folkmoot on \
             both sides, and lower what the plan makes large ({message})"
        ),
        (None, Code::Unimplemented) => {
            "the other side does not offer this; install the same release of folkmoot on both sides"
                .to_owned()
        }
        (None, code) => format!("{}: {message}", printable(code.description())),
    };
    if let Some(delay) = retry_after(status) {
        let whole_ms = delay.as_secs_f64().ceil() * 1000.0;
        sentence += &format!("; try again in {}", identity::span(whole_ms as u64));
    }
    sentence
}

/// When the same call may be made again, where the other side says so.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

fn printable(text: &str) -> String {
    cut(identity::printable(text))
}

#[cfg(test)]
mod tests {
    use secagg::ClientId;

    use super::*;
    use crate::chunks::ChunkPlace;
    use crate::convert::Fault;

    /// One of each kind.
    fn refusals() -> Vec<Box<dyn ToStatus>> {
        let place = ChunkPlace::Index { index: 6, count: 12 };
        let malformed = ConversionError::new("deliver.delivery", Fault::Missing);
        let soon = Duration::from_millis(1500);
        vec![
            Box::new(ServiceError::NoSuchModel(Digest::sha256(b"m"))),
            Box::new(ServiceError::NoSuchRun(Digest::sha256(b"r"))),
            Box::new(ServiceError::Busy { retry_after: soon }),
            Box::new(ServiceError::Restarting { retry_after: soon }),
            Box::new(ServiceError::Internal),
            Box::new(HandshakeError::Version { client: 1, coordinator: 2 }),
            Box::new(HandshakeError::Signature(ClientId(3))),
            Box::new(ChunkError::Malformed(malformed)),
            Box::new(ChunkError::Damaged { place }),
            Box::new(ChunkError::OutOfOrder { place, expected: place }),
            Box::new(ChunkError::Size { place, got: 1, need: 2 }),
            Box::new(ChunkError::Truncated { received: 1, total: 2 }),
            Box::new(ChunkError::WholeDigest),
            Box::new(Rejection::UnknownClient(ClientId(3))),
            Box::new(Rejection::OutOfPhase { message: "unmask".into(), phase: "idle".into() }),
            Box::new(Rejection::StaleAttempt),
            Box::new(Rejection::NotInCohort),
            Box::new(Rejection::Equivocation),
            Box::new(Rejection::Invalid("a signature".into())),
            Box::new(Rejection::NotPossible("the run is over".into())),
            Box::new(Rejection::AlreadySo("the run is not paused".into())),
        ]
    }

    #[test]
    fn every_refusal_comes_back_as_its_reason_and_its_sentence() {
        let mut reasons = std::collections::BTreeSet::new();
        for refusal in refusals() {
            let status = refusal.to_status();
            assert_eq!(status.code(), refusal.code());
            assert_eq!(reason(&status).as_deref(), Some(refusal.reason()));
            let sentence = describe(&status);
            assert!(sentence.starts_with(&refusal.to_string()), "{sentence}");
            assert!(!sentence.ends_with('.'), "{sentence}");
            assert!(reasons.insert(refusal.reason()), "{} is used twice", refusal.reason());
        }
    }

    #[test]
    fn a_malformed_message_names_its_field_for_programs() {
        let status = ConversionError::new("deliver.delivery", Fault::Missing).to_status();
        assert_eq!(describe(&status), "deliver.delivery: missing");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata.get("field").map(String::as_str), Some("deliver.delivery"));
    }

    #[test]
    fn another_version_is_a_failed_precondition_that_names_both_and_the_remedy() {
        let status = HandshakeError::Version { client: 1, coordinator: 2 }.to_status();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(
            describe(&status),
            "the client speaks protocol version 1 and the coordinator 2; \
             install the same release of folkmoot on both sides"
        );
    }

    #[test]
    fn a_busy_server_says_when_to_ask_again() {
        let status = ServiceError::Busy { retry_after: Duration::from_millis(1500) }.to_status();
        assert_eq!(retry_after(&status), Some(Duration::from_millis(1500)));
        assert!(describe(&status).ends_with("; try again in 2 s"));
        let status = ServiceError::Busy { retry_after: Duration::from_secs(5400) }.to_status();
        assert!(describe(&status).ends_with("; try again in 1 h 30 min"));
    }

    #[test]
    fn a_status_of_the_transport_gets_a_sentence_and_no_reason() {
        let unreachable = Status::unavailable("connection refused");
        assert_eq!(reason(&unreachable), None);
        assert!(describe(&unreachable).contains("check its address"));
        assert!(describe(&Status::unimplemented("")).contains("same release"));
        let foreign = Status::with_error_details(
            Code::NotFound,
            "gone",
            ErrorDetails::with_error_info("X", "example.org", HashMap::<String, String>::new()),
        );
        assert_eq!(reason(&foreign), None);
    }

    #[test]
    fn a_peers_text_cannot_drive_a_terminal_or_flood_it() {
        let hostile = Status::internal(format!("\u{1b}[2Jgone\n{}", "é".repeat(5000)));
        let text = describe(&hostile);
        assert!(!text.chars().any(char::is_control));
        assert!(text.len() < 2000);
        assert!(Rejection::Invalid("x".repeat(5000)).to_status().message().len() <= 1024);
    }
}
