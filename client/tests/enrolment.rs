//! Enrolment as a process, at a coordinator that many silos ask from one address.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::{Authority, IdentityKey, JoinToken, Subject};
use pki::{CertificateAuthority, Incoming, ServerTls, TransportKey};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use wire::v1::enrolment_server::{Enrolment, EnrolmentServer};
use wire::v1::join_reply::State;
use wire::{ToStatus, v1};

#[derive(Debug, thiserror::Error)]
#[error("127.0.0.1 calls too often")]
struct TooOften;

impl ToStatus for TooOften {
    fn code(&self) -> Code {
        Code::ResourceExhausted
    }

    fn reason(&self) -> &'static str {
        "TOO_OFTEN"
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

/// A coordinator that gives these answers, each once.
#[derive(Clone)]
struct Desk {
    authority: Authority,
    to_describe: Arc<Mutex<VecDeque<Option<TooOften>>>>,
    to_join: Arc<Mutex<VecDeque<Result<State, TooOften>>>>,
}

#[tonic::async_trait]
impl Enrolment for Desk {
    async fn describe_authority(
        &self,
        _: Request<v1::DescribeAuthorityRequest>,
    ) -> Result<Response<v1::AuthorityDocument>, Status> {
        match self.to_describe.lock().unwrap().pop_front().expect("no more questions") {
            Some(too_often) => Err(too_often.to_status()),
            None => Ok(Response::new(v1::AuthorityDocument { authority: self.authority.to_canonical() })),
        }
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        let answer = self.to_join.lock().unwrap().pop_front().expect("no more questions");
        match answer {
            Ok(state) => Ok(Response::new(v1::JoinReply { state: Some(state) })),
            Err(too_often) => Err(too_often.to_status()),
        }
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        panic!("nothing is renewed here")
    }
}

fn key(byte: u8) -> String {
    let key = IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap();
    hex::encode(key.public().as_bytes())
}

/// Its address, and itself.
async fn desk(answers: Vec<Result<State, TooOften>>) -> (String, Desk) {
    let now_s = daemon::now_s();
    let ca = CertificateAuthority::create("f", now_s).unwrap();
    let server_key = TransportKey::generate().unwrap();
    let request = server_key.request_der().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let issued = ca.issue(&request, &Subject::Coordinator, &names, now_s, 86_400).unwrap();
    let revoked = Arc::new(|_: &_| false);
    let tls = ServerTls::new(&issued.chain_pem, &server_key, ca.certificate_pem(), revoked).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let ca_certificate = ca.certificate_pem().to_owned();
    let authority = Authority { federation: "f".into(), key: key(100), ca_certificate };
    let to_describe = Arc::new(Mutex::new([Some(TooOften), None].into()));
    let desk = Desk { authority, to_describe, to_join: Arc::new(Mutex::new(answers.into())) };
    let server = Server::builder().add_service(EnrolmentServer::new(desk.clone()));
    tokio::spawn(server.serve_with_incoming(Incoming::tls(listener, tls)));
    (address, desk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_asks_too_often_asks_again_when_the_answer_says_so_until_a_person_has_decided() {
    let waits = || Ok(State::Awaiting(v1::AwaitingApproval::default()));
    let answers = vec![Err(TooOften), waits(), Err(TooOften), Ok(State::Refused("no contract".into()))];
    let (address, desk) = desk(answers).await;
    let folder = tempfile::tempdir().unwrap();
    let token = JoinToken::generate("north", desk.authority.fingerprint(), &mut UnwrapErr(SysRng)).unwrap();
    let mut enroll = Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
    enroll.args(["enroll", "--coordinator", &address, "--token", &token.to_text(), "--proxy", "none"]);
    enroll.args(["--author", &key(101), "--dir"]).arg(folder.path().join("silo"));
    let ended = tokio::task::spawn_blocking(move || enroll.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("an administrator refused this silo: no contract"), "{said}");
    assert!(desk.to_describe.lock().unwrap().is_empty() && desk.to_join.lock().unwrap().is_empty());
}
