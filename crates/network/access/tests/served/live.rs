//! Calls in progress, when their caller is barred.

use std::pin::Pin;
use std::sync::Arc;

use access::Whom;
use identity::{Role, Subject};
use secagg::ClientId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming, async_trait};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wire::v1;
use wire::v1::federation_client::FederationClient;
use wire::v1::federation_server::{Federation, FederationServer};

use crate::harness::{NOW_S, Served, call, certificate, rates, reason, silo, with_token};

/// Says one word in a session, then nothing for ever; reads uploads to their end.
struct Endless {
    notified: Option<mpsc::UnboundedSender<()>>,
}

pub(crate) fn federation(notified: Option<mpsc::UnboundedSender<()>>) -> FederationServer<impl Federation> {
    FederationServer::new(Endless { notified })
}

struct Said {
    one: Option<v1::ServerEnvelope>,
    ended: Option<mpsc::UnboundedSender<()>>,
}

impl Stream for Said {
    type Item = Result<v1::ServerEnvelope, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        match self.one.take() {
            Some(one) => std::task::Poll::Ready(Some(Ok(one))),
            None => std::task::Poll::Pending,
        }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            let _ = ended.send(());
        }
    }
}

#[async_trait]
impl Federation for Endless {
    type SessionStream = Said;

    async fn session(&self, _: Request<Streaming<v1::ClientEnvelope>>) -> Result<Response<Said>, Status> {
        Ok(Response::new(Said { one: Some(v1::ServerEnvelope::default()), ended: self.notified.clone() }))
    }

    async fn begin_upload(&self, _: Request<v1::UploadHeader>) -> Result<Response<v1::UploadGrant>, Status> {
        Ok(Response::new(v1::UploadGrant::default()))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReceipt>, Status> {
        if let Some(notified) = &self.notified {
            let _ = notified.send(());
        }
        let mut chunks = request.into_inner();
        while chunks.message().await?.is_some() {}
        Ok(Response::new(v1::UploadReceipt::default()))
    }
}

fn endless<T: Send + 'static>() -> impl Stream<Item = T> + Send + 'static {
    tokio_stream::pending()
}

#[tokio::test]
async fn a_session_in_progress_ends_when_its_silo_is_barred_and_its_service_lets_go() {
    let (left, mut let_go) = mpsc::unbounded_channel();
    let served = Served::new(&rates(100));
    *served.notified.lock().unwrap() = Some(left);
    let north = served.connect(Some(silo(1))).await;
    let south = served.connect(Some(silo(2))).await;
    let mut barred = FederationClient::new(north).session(endless()).await.unwrap().into_inner();
    let mut other = FederationClient::new(south).session(endless()).await.unwrap().into_inner();
    assert!(barred.message().await.unwrap().is_some());
    assert!(other.message().await.unwrap().is_some());

    served.registry.deny(Whom::Client(ClientId(1)), "its key was stolen", "alice", NOW_S).unwrap();
    let ended = barred.message().await.unwrap_err();
    assert!(ended.message().contains("its key was stolen"), "{ended}");
    assert_eq!(reason::<()>(Err(ended)), "DENIED");
    let_go.recv().await.unwrap();

    // The other's goes on: it ends for a reason of its own only.
    let whom = Whom::Client(ClientId(2));
    served.registry.deny(whom, "another reason", "alice", NOW_S).unwrap();
    assert!(other.message().await.unwrap_err().message().contains("another reason"));
}

#[tokio::test]
async fn an_upload_in_progress_ends_when_its_silo_leaves_the_roster() {
    let (notified, mut began) = mpsc::unbounded_channel();
    let served = Served::new(&rates(100));
    *served.notified.lock().unwrap() = Some(notified);
    let mut north = FederationClient::new(served.connect(Some(silo(1))).await);
    let registry = Arc::clone(&served.registry);
    let uploading = tokio::spawn(async move { north.upload(endless()).await });
    began.recv().await.unwrap();
    let next = crate::harness::roster(2, &[(2, "south", 2)]);
    registry.settle_roster(&next, "alice", NOW_S).unwrap();
    assert_eq!(reason(uploading.await.unwrap()), "DENIED");
}

#[tokio::test]
async fn a_call_in_progress_ends_when_its_certificate_is_barred_or_its_token_withdrawn() {
    let served = Served::new(&rates(100));
    let channel = served.connect(Some(silo(1))).await;
    let mut session = FederationClient::new(channel).session(endless()).await.unwrap().into_inner();
    assert!(session.message().await.unwrap().is_some());
    let fingerprint = Whom::Certificate(silo(1).fingerprint);
    served.registry.deny(fingerprint, "lost laptop", "alice", NOW_S).unwrap();
    assert_eq!(reason(session.message().await), "DENIED");
    // The silo itself is not barred: another certificate of its is good.
    let again = served.connect(Some(certificate(&Subject::Silo(ClientId(1)), b"another"))).await;
    assert!(FederationClient::new(again).session(endless()).await.is_ok());

    let (token, id) = served.token("viv", Role::Viewer);
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.connect(None).await);
    let watch = with_token(tonic_health::pb::HealthCheckRequest::default(), &token);
    let mut watching = health.watch(watch).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().is_some());
    served.registry.withdraw_token(&id, "alice").unwrap();
    assert_eq!(reason(watching.message().await), "DENIED");
}

#[tokio::test]
async fn a_service_can_wait_for_a_silo_that_named_itself_inside_its_stream() {
    let served = Served::plaintext(&rates(100));
    let denied = served.registry.denied();
    let waiting = tokio::spawn(async move { denied.wait_for(&Subject::Silo(ClientId(2))).await });
    served.registry.deny(Whom::Client(ClientId(1)), "someone else", "alice", NOW_S).unwrap();
    served.registry.deny(Whom::Client(ClientId(2)), "at once", "alice", NOW_S).unwrap();
    assert_eq!(waiting.await.unwrap(), "at once");
    // Who asks too late is refused at once.
    assert_eq!(served.registry.denied().wait_for(&Subject::Silo(ClientId(2))).await, "at once");
}

#[tokio::test]
async fn a_session_and_a_watch_end_when_the_certificate_or_the_token_expires_that_they_began_with() {
    let served = Served::new(&rates(100));
    // An hour and a day less a second: the guard looks again a second later.
    let (token, _) = served.token("viv", Role::Viewer);
    served.pass(3599);
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.connect(None).await);
    let watch = with_token(tonic_health::pb::HealthCheckRequest::default(), &token);
    let mut watching = health.watch(watch).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().is_some());
    served.pass(1);
    assert_eq!(reason(watching.message().await), "ACCESS_TOKEN_EXPIRED");

    served.pass(23 * 3600 - 1);
    let channel = served.connect(Some(silo(1))).await;
    let mut session = FederationClient::new(channel.clone()).session(endless()).await.unwrap().into_inner();
    let mut client = FederationClient::new(channel);
    let uploading = tokio::spawn(async move { client.upload(endless()).await });
    assert!(session.message().await.unwrap().is_some());
    served.pass(1);
    assert_eq!(reason(session.message().await), "CERTIFICATE_EXPIRED");
    assert_eq!(reason(uploading.await.unwrap()), "CERTIFICATE_EXPIRED");
}

#[tokio::test]
async fn endless_calls_of_strangers_shut_out_neither_probes_nor_who_wants_to_enrol() {
    let served = Served::new(&rates(1000));
    let stranger = served.connect(None).await;
    let watch = async || {
        let mut health = HealthClient::new(stranger.clone());
        health.watch(HealthCheckRequest::default()).await.unwrap().into_inner()
    };
    let mut first = watch().await;
    assert!(first.message().await.unwrap().is_some());
    let mut others = Vec::new();
    for _ in 0..130 {
        others.push(watch().await);
    }
    let gave_way = first.message().await.unwrap_err();
    assert!(gave_way.message().contains("gives way to others"), "{gave_way}");
    assert_eq!(reason::<()>(Err(gave_way)), "GAVE_WAY");
    assert!(others.last_mut().unwrap().message().await.unwrap().is_some(), "the newest stays");

    call(&stranger, "/grpc.health.v1.Health/Check", None).await.unwrap();
    call(&stranger, "/folkmoot.v1.Enrolment/DescribeAuthority", None).await.unwrap();
}

/// So many calls that say something, none of which is read: each ends with an error only.
fn unread(channel: &Channel, calls: usize) -> JoinSet<Status> {
    let one = |channel: Channel| async move {
        let read = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        read.expect_err("a client without a window reads nothing")
    };
    (0..calls).map(|_| one(channel.clone())).collect()
}

#[tokio::test]
async fn short_calls_that_nobody_reads_shut_out_no_probe_of_their_own_address() {
    let served = Served::new(&rates(100_000));
    // More than there are places, and than may be waited for.
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(unread(&served.connect_unread(None, None).await, 50));
        let probe = served.connect(None).await;
        call(&probe, "/grpc.health.v1.Health/Check", None).await.unwrap();
        call(&probe, "/folkmoot.v1.Enrolment/DescribeAuthority", None).await.unwrap();
    }
    // More of them had to give way than are waited for: the first one's connection is gone, and all its calls with it.
    let why = stuck[0].join_next().await.unwrap().unwrap();
    assert!(wire::reason(&why).is_none(), "{why}");
}

#[tokio::test]
async fn calls_that_nobody_reads_end_with_their_connections_from_however_many_networks() {
    let served = Served::new(&rates(100_000));
    let mut stuck = Vec::new();
    for network in 1..=40 {
        let from = std::net::Ipv4Addr::new(10, 0, network, 1).into();
        stuck.push(unread(&served.connect_unread(None, Some(from)).await, 50));
        let probe = served.connect(None).await;
        call(&probe, "/grpc.health.v1.Health/Check", None).await.unwrap();
    }
    // No more are there than 192 in their places and 512 on their way out: at most fourteen such connections.
    let (ended, mut all) = mpsc::unbounded_channel();
    for mut calls in stuck {
        let ended = ended.clone();
        tokio::spawn(async move {
            while calls.join_next().await.is_some() {}
            let _ = ended.send(());
        });
    }
    for _ in 0..26 {
        all.recv().await.unwrap();
    }
}

#[tokio::test]
async fn who_is_barred_and_does_not_read_so_has_no_call_in_progress_all_the_same() {
    let (left, mut let_go) = mpsc::unbounded_channel();
    let served = Served::new(&rates(100));
    *served.notified.lock().unwrap() = Some(left);
    let north = served.connect_unread(Some(silo(1)), None).await;
    let mut session = FederationClient::new(north).session(endless()).await.unwrap().into_inner();
    served.registry.deny(Whom::Client(ClientId(1)), "its key was stolen", "alice", NOW_S).unwrap();
    let_go.recv().await.unwrap();
    session.message().await.unwrap_err();
}
