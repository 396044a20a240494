//! The session with the coordinator: opened, kept, and opened again whenever it is lost.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{SigningKey, VerifyingKey};
use pki::{ClientTls, Outgoing, PlainConnector, Proxy};
use protocol::{OfRun, Profile, SessionVersion, ToClient};
use secagg::ClientId;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use wire::v1::federation_client::FederationClient;
use wire::{Backoff, Challenge, ToStatus, describe, limits, v1};

use crate::patience::{CONNECT, OPENING, PROBE, Patience, RETRY_LONGEST};

/// Messages that may wait to be sent. A round is five, and all but one of them wait for an answer.
const OUTBOX_MESSAGES: usize = 64;
/// Refusals that no repetition changes.
const FOR_GOOD: [&str; 3] = ["UNKNOWN_CLIENT", "IDENTITY_KEY", "PROTOCOL_VERSION"];

/// Those that a person at the coordinator's may lift.
const UNTIL_LIFTED: [&str; 2] = ["DENIED", "WRONG_ROLE"];

/// What the driver hears.
pub(crate) enum News {
    /// A session stands; it ends when this sender is dropped and the coordinator has read what was sent, or at once
    /// when the driver gives it up.
    Attached(Attached),
    /// The coordinator said something.
    Said(Box<OfRun<ToClient>>),
    /// The session is over.
    Detached,
    /// The coordinator will not talk to this silo; the reason, in words.
    Refused(String),
}

/// See [`News::Attached`].
pub(crate) struct Attached {
    pub(crate) outbox: mpsc::Sender<v1::ClientEnvelope>,
    pub(crate) give_up: Arc<Notify>,
    /// What the session is spoken in.
    pub(crate) version: SessionVersion,
}

/// Why a session ended.
enum End {
    /// It broke, or was never opened.
    Lost {
        why: String,
        /// How long the coordinator asked not to be tried for.
        asked: Option<Duration>,
    },
    /// The coordinator does not talk to this silo until a person lifts that there.
    Barred(String),
    Refused(String),
    /// The driver is gone.
    Unheard,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        let why = said(&status);
        match wire::reason(&status) {
            Some(reason) if FOR_GOOD.contains(&reason.as_str()) => Self::Refused(why),
            Some(reason) if UNTIL_LIFTED.contains(&reason.as_str()) => Self::Barred(why),
            None if pki::is_barred(&status) => Self::Barred(why),
            _ => Self::Lost { why, asked: wire::retry_after(&status) },
        }
    }
}

impl End {
    fn lost(why: &str) -> Self {
        Self::Lost { why: why.into(), asked: None }
    }
}

/// Keeps the session.
pub(crate) struct Link {
    pub(crate) coordinator: String,
    pub(crate) channel: Channel,
    pub(crate) client: ClientId,
    pub(crate) key: SigningKey,
    /// The coordinator's key, as this silo's roster names it.
    pub(crate) coordinator_key: VerifyingKey,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) patience: Patience,
}

/// The one connection that everything travels on. It opens itself when it is first used, and again after it broke.
///
/// # Errors
/// An address that is none.
pub(crate) fn channel(
    coordinator: &str,
    tls: Option<&ClientTls>,
    proxy: Proxy,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(coordinator.to_owned())?
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(match tls {
        Some(tls) => {
            endpoint.connect_with_connector_lazy(tls.connector(&Outgoing::new(proxy).within(CONNECT)))
        }
        None => endpoint.connect_with_connector_lazy(PlainConnector::new(CONNECT)),
    })
}

/// A failed call, in words: where there was no connection, why.
pub(crate) fn said(status: &Status) -> String {
    pki::explain_call(status).map_or_else(|| describe(status), |why| identity::printable(&why))
}

impl Link {
    /// This silo's link with the coordinator at an address.
    pub(crate) fn of(
        profile: &Profile,
        coordinator: &str,
        channel: &Channel,
        news: mpsc::Sender<News>,
        patience: &Patience,
    ) -> Self {
        Self {
            coordinator: coordinator.to_owned(),
            channel: channel.clone(),
            client: profile.id,
            key: profile.identity.signing_key().clone(),
            coordinator_key: profile.roster.coordinator(),
            news,
            patience: patience.clone(),
        }
    }

    /// Until the driver is gone or the coordinator refuses for good.
    pub(crate) async fn keep(self) {
        let mut past = Past { backoff: Backoff::new(self.patience.retry_longest()), barred: None };
        loop {
            let (Ok(end) | Err(end)) = self
                .session(&mut past)
                .await
                .map(|()| End::lost("the coordinator closed the session; it may be stopping or restarting"));
            match end {
                End::Unheard => return,
                End::Refused(why) => {
                    // A driver that is gone needs no reason any more.
                    let _ = self.news.send(News::Refused(why)).await;
                    return;
                }
                End::Barred(why) => {
                    if self.news.send(News::Detached).await.is_err() {
                        return;
                    }
                    let wait = Backoff::at_its_longest(RETRY_LONGEST).wait();
                    if past.is_news(&why) {
                        tracing::warn!(
                            retry_at_most_every_s = RETRY_LONGEST.as_secs(),
                            "the coordinator does not talk to this silo: {why}; it is tried again, seldom and without a word, until \
                             that is lifted there"
                        );
                    }
                    tokio::time::sleep(wait).await;
                }
                End::Lost { why, asked } => {
                    past.barred = None;
                    if self.news.send(News::Detached).await.is_err() {
                        return;
                    }
                    let wait = past.backoff.after_asked(asked);
                    let coordinator = &self.coordinator;
                    tracing::warn!(
                        retry_in_ms = wait.as_millis() as u64,
                        "no session with the coordinator at {coordinator}: {why}; it is tried again, and \
                         `folkmoot-client doctor` looks closer"
                    );
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// One session, from the challenge to its end.
    async fn session(&self, past: &mut Past) -> Result<(), End> {
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MESSAGES);
        let mut federation =
            FederationClient::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let opening = async {
            let mut inbound = federation.session(ReceiverStream::new(outgoing)).await?.into_inner();
            let challenge = challenge(&mut inbound).await?;
            Ok::<_, End>((inbound, challenge))
        };
        // The connection has its own limit, and says then what is wrong with it.
        let (mut inbound, challenge) = tokio::time::timeout(OPENING, opening)
            .await
            .map_err(|_| End::lost("it accepted the connection and opened no session on it"))??;
        let (hello, version) = challenge
            .answer(self.client, &self.key, &self.coordinator_key)
            .map_err(|why| End::from(why.to_status()))?;
        // Room for one message in a new channel is certain.
        let _ = outbox.try_send(hello.into());
        tracing::info!(protocol_version = %version, "connected to the coordinator");
        if version < SessionVersion::NEWEST {
            tracing::warn!(
                code = SessionVersion::OLDER_PEER,
                "the coordinator speaks protocol version {version}, this silo {} too; install this release there",
                SessionVersion::NEWEST
            );
        }
        let given_up = Arc::new(Notify::new());
        let attached = Attached { outbox, give_up: Arc::clone(&given_up), version };
        self.tell(News::Attached(attached)).await?;
        loop {
            let envelope = tokio::select! {
                envelope = inbound.message() => envelope?,
                // Whoever reads nothing does not see that the sender is gone either.
                () = given_up.notified() => return Err(End::lost("it does not read what it is sent")),
            };
            let Some(envelope) = envelope else { return Ok(()) };
            // Whoever goes on talking after hello has accepted it.
            past.stood(self.patience.retry_longest());
            let said = OfRun::try_from(envelope).and_then(|said| wire::said_in(version, said));
            let said = said.map_err(|why| End::from(why.to_status()))?;
            self.tell(News::Said(Box::new(said))).await?;
        }
    }

    async fn tell(&self, news: News) -> Result<(), End> {
        self.news.send(news).await.map_err(|_| End::Unheard)
    }
}

/// What the sessions before this one ended with.
struct Past {
    backoff: Backoff,
    /// What was said of a bar, so that it is said once, until a session stood or was lost.
    barred: Option<String>,
}

impl Past {
    /// A session stands.
    fn stood(&mut self, longest: Duration) {
        *self = Self { backoff: Backoff::new(longest), barred: None };
    }

    /// Whether this bar is not the one that was said last.
    fn is_news(&mut self, why: &str) -> bool {
        let before = self.barred.replace(why.to_owned());
        before.as_deref() != Some(why)
    }
}

async fn challenge(inbound: &mut Streaming<v1::ServerEnvelope>) -> Result<Challenge, End> {
    let first = inbound.message().await?.ok_or_else(|| End::lost("it closed the session at once"))?;
    Challenge::try_from(first).map_err(|why| End::from(why.to_status()))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use wire::HandshakeError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("silo 1 is barred: lost laptop")]
    struct Because(&'static str);

    impl ToStatus for Because {
        fn code(&self) -> Code {
            Code::PermissionDenied
        }

        fn reason(&self) -> &'static str {
            self.0
        }
    }

    #[test]
    fn a_bar_is_said_once_and_again_where_a_session_stood_since() {
        let longest = Duration::from_secs(1);
        let mut past = Past { backoff: Backoff::new(longest), barred: None };
        let said = |past: &mut Past, why| past.is_news(why);
        assert_eq!(
            ["lost laptop", "lost laptop", "left"].map(|why| said(&mut past, why)),
            [true, false, true]
        );
        // Lifted, and barred anew for the same reason.
        past.stood(longest);
        assert_eq!(["left", "left"].map(|why| said(&mut past, why)), [true, false]);
    }

    #[test]
    fn a_refused_hello_is_final_and_a_bar_and_everything_else_are_tried_again() {
        let refused = |status: Status| matches!(End::from(status), End::Refused(_));
        assert!(refused(HandshakeError::Signature(ClientId(1)).to_status()));
        assert!(refused(HandshakeError::Version { client: 1, coordinator: 2 }.to_status()));
        assert!(refused(protocol::Rejection::UnknownClient(ClientId(1)).to_status()));
        let barred = |status: Status| matches!(End::from(status), End::Barred(_));
        let of_reason = |reason| Because(reason).to_status();
        assert!(barred(of_reason("DENIED")) && barred(of_reason("WRONG_ROLE")));
        assert!(!barred(of_reason("TOO_OFTEN")) && !barred(Status::permission_denied("not by folkmoot")));
        assert!(!refused(wire::ServiceError::Internal.to_status()));
        assert!(!refused(Status::unavailable("connection refused")));
        assert!(!refused(Status::unauthenticated("not by folkmoot")));
        let asked = |status: Status| match End::from(status) {
            End::Lost { asked, .. } => asked,
            _ => panic!("tried again"),
        };
        let soon = Duration::from_millis(1500);
        assert_eq!(asked(wire::ServiceError::Busy { retry_after: soon }.to_status()), Some(soon));
        assert_eq!(asked(Status::unavailable("connection refused")), None);
    }
}
