//! A coordinator that is asked to stop while peers hold streams open.

use secagg::ClientId;
use tokio_stream::wrappers::ReceiverStream;
use wire::v1::federation_client::FederationClient;
use wire::v1::operator_client::OperatorClient;
use wire::{Challenge, v1};

use crate::federation::{Federation, SILOS, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_stopped_tells_every_open_stream_and_returns() {
    let mut federation = Federation::start(sim::plan(SILOS as usize, 1)).await;
    let url = format!("http://{}", federation.address);
    // One session that says hello and stays, one that never says anything, and an operator who watches.
    let mut federation_client = FederationClient::connect(url.clone()).await.unwrap();
    let mut silent = federation_client.session(tokio_stream::pending()).await.unwrap().into_inner();
    silent.message().await.unwrap().expect("a challenge");
    let (said, hello) = tokio::sync::mpsc::channel(1);
    let outgoing = ReceiverStream::new(hello);
    let mut joined = federation_client.session(outgoing).await.unwrap().into_inner();
    let challenge = Challenge::try_from(joined.message().await.unwrap().unwrap()).unwrap();
    let (hello, _) = challenge.answer(ClientId(1), key(1).signing_key(), &key(90).public()).unwrap();
    said.send(hello.into()).await.unwrap();
    joined.message().await.unwrap().expect("a welcome");
    let mut operator = OperatorClient::connect(url.clone()).await.unwrap();
    let mut watched = operator.watch(v1::WatchRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();

    federation.stop().await;
    for session in [&mut silent, &mut joined] {
        let ended = session.message().await.unwrap_err();
        assert_eq!(wire::reason(&ended).as_deref(), Some("RESTARTING"), "{ended:?}");
    }
    while watched.message().await.unwrap().is_some() {}
    assert!(OperatorClient::connect(url).await.is_err(), "nobody is served any more");
}
