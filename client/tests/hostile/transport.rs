//! Lies below the protocol: the daemon opens another session and has written nothing.

use std::io::Write;
use std::net::TcpListener;

use client::Ended;
use protocol::{RunEnd, ToClient, ToCoordinator};
use wire::v1;

use crate::federation::{ADVERTISED, Daemon, Federation, JOINED, kind, plan, records};
use crate::mock::{FIRST, Process, silo};

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_message_costs_the_session_and_nothing_else() {
    let too_large =
        v1::Welcome { run_id: vec![0; 2 * wire::limits::MESSAGE_BYTES_MAX], ..Default::default() };
    let short = v1::Welcome { run_id: vec![1; 31], ..Default::default() };
    for (case, message) in [
        ("oversized", Some(v1::server_envelope::Message::Welcome(too_large))),
        ("cut short", Some(v1::server_envelope::Message::Welcome(short))),
        ("empty", None),
    ] {
        let (mut all, _) = Federation::keyed().await;
        all.session.say.send(Ok(v1::ServerEnvelope { message, ..Default::default() })).await.unwrap();
        all.come_back().await;
        all.ends_with(&ADVERTISED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_breaks_the_session_off_is_connected_to_again() {
    let mut all = Federation::of(plan()).await;
    all.session.say.send(Err(tonic::Status::internal("not by folkmoot"))).await.unwrap();
    all.come_back().await;
    all.ends_with(&JOINED, "broken off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_survived_until_a_coordinator_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let daemon = Daemon::start(silo(folder.path(), address, 3));
    let liar = std::thread::spawn(move || {
        for garbage in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], &[0xff; 4096], b"HTTP/1.1 200 OK\r\n\r\n"] {
            // A peer that is gone already has read enough.
            let _ = listener.accept().unwrap().0.write_all(garbage);
        }
    });
    tokio::task::spawn_blocking(|| liar.join().unwrap()).await.unwrap();
    let mut process = Process::start(&address.to_string(), vec![]);
    let mut session = process.session().await;
    assert_eq!(
        session.welcome(&plan()).await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None }
    );
    session.say(ToClient::Finished { reason: RunEnd::Complete }).await;
    assert!(session.heard.message().await.unwrap().is_none(), "it closes the session");
    drop(session);
    assert_eq!(daemon.task.await.unwrap().unwrap(), Ended::Finished(RunEnd::Complete));
    assert_eq!(
        records(&folder).iter().map(kind).collect::<Vec<_>>(),
        ["offer", "joined", "over"],
        "nothing of the garbage"
    );
    drop(daemon.stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_accepts_the_session_and_says_nothing_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start("127.0.0.1:0", vec![]);
    let daemon = Daemon::start(silo(folder.path(), process.address, 3));
    let silent = process.session().await;
    let again = process.session().await;
    daemon.stop.send(()).unwrap();
    assert_eq!(daemon.task.await.unwrap().unwrap(), Ended::ShutDown);
    drop((silent, again));
    assert!(records(&folder).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_asks_and_never_reads_is_left_for_a_new_session() {
    let (mut all, dealt) = Federation::dealt().await;
    let deaf = all.session.say.clone();
    let roster = ToClient::Adverts { at: FIRST, adverts: dealt.adverts.clone() };
    // Each is answered with the same shares; none of the answers is ever read, and the session is never closed.
    let asking = tokio::spawn(async move { while deaf.send(Ok(roster.clone().into())).await.is_ok() {} });
    let unread = all.process.session().await;
    let before = std::mem::replace(&mut all.session, unread);
    let said = all.session.welcome(&all.plan).await;
    assert_eq!(said, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None });
    drop(before);
    // Whether the old stream's end also reaches whoever never read it is no part of the claim.
    asking.abort();
    all.ends_with(&ADVERTISED, "never read").await;
}
