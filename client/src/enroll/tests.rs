use std::sync::Mutex;

use daemon::now_s;
use identity::{Member, Roster};
use pki::{CertificateAuthority, Incoming, ServerTls};
use tonic::{Request, Response, Status};
use wire::v1::enrolment_server::{Enrolment, EnrolmentServer};

use super::*;

/// A coordinator that admits whoever asks; what was asked is kept.
#[derive(Clone)]
struct Desk {
    ca: Arc<CertificateAuthority>,
    authority: Authority,
    asked: Arc<Mutex<Vec<v1::JoinRequest>>>,
}

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

#[tonic::async_trait]
impl Enrolment for Desk {
    async fn describe_authority(
        &self,
        _: Request<v1::DescribeAuthorityRequest>,
    ) -> Result<Response<v1::AuthorityDocument>, Status> {
        Ok(Response::new(v1::AuthorityDocument { authority: self.authority.to_canonical() }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        let request = request.into_inner();
        let subject = Subject::Silo(ClientId(1));
        let issued = self.ca.issue(&request.certificate_request, &subject, &[], now_s(), 86_400).unwrap();
        let identity_key = hex::encode(&request.identity_key);
        let member = Member { name: request.silo.clone(), identity_key, admitted: 1 };
        let coordinator_key = hex::encode(key(9).public().as_bytes());
        let members = [(ClientId(1), member)].into();
        let roster = Roster {
            format: None,
            previous: None,
            federation: "f".into(),
            epoch: 1,
            coordinator_key,
            members,
        };
        let roster = serde_json::to_string(&roster.sign(&key(100))).unwrap();
        self.asked.lock().unwrap().push(request);
        let certificate = Some(v1::Certificate { chain: issued.chain_pem, not_after_s: issued.not_after_s });
        let admission = v1::Admission { client: 1, certificate, roster };
        Ok(Response::new(v1::JoinReply { state: Some(State::Admitted(admission)) }))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        panic!("nothing is renewed here")
    }
}

async fn desk() -> (Desk, String) {
    let ca = CertificateAuthority::create("f", now_s()).unwrap();
    let server_key = TransportKey::generate().unwrap();
    let request = server_key.request_der().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let issued = ca.issue(&request, &Subject::Coordinator, &names, now_s(), 86_400).unwrap();
    let tls =
        ServerTls::new(&issued.chain_pem, &server_key, ca.certificate_pem(), Arc::new(|_| false)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let authority = Authority {
        federation: "f".into(),
        key: hex::encode(key(100).public().as_bytes()),
        ca_certificate: ca.certificate_pem().to_owned(),
    };
    let desk = Desk { ca: Arc::new(ca), authority, asked: Arc::default() };
    let server = tonic::transport::Server::builder().add_service(EnrolmentServer::new(desk.clone()));
    tokio::spawn(server.serve_with_incoming(Incoming::tls(listener, tls)));
    (desk, address)
}

fn command(coordinator: String, dir: &Path, token: &JoinToken) -> Enroll {
    Enroll {
        coordinator,
        token: Some(Secret(token.to_text())),
        token_file: None,
        proxy: None,
        proxy_auth_file: None,
        dir: dir.to_owned(),
        data: "/srv/silo/data.csv".into(),
        author: vec![hex::encode(key(101).public().as_bytes())],
        policy: None,
        no_wait: true,
        wait: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_not_said_to_a_coordinator_that_the_token_was_not_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, address) = desk().await;
    let elsewhere = params::Digest::sha256(b"another authority");
    let token = JoinToken::generate("north", elsewhere, &mut UnwrapErr(SysRng)).unwrap();
    let why = command(address, folder.path(), &token).run().await.unwrap_err();
    assert!(matches!(why, EnrollError::OtherAuthority { .. }), "{why}");
    assert!(desk.asked.lock().unwrap().is_empty());
    assert!(!Silo::of(folder.path()).config.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_silo_has_a_folder_that_the_daemon_accepts_and_keeps_its_keys_when_it_asks_again() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, address) = desk().await;
    let token = JoinToken::generate("north", desk.authority.fingerprint(), &mut UnwrapErr(SysRng)).unwrap();
    for _ in 0..2 {
        assert!(command(address.clone(), folder.path(), &token).run().await.unwrap());
        Config::load(&Silo::of(folder.path()).config).unwrap();
    }
    let asked = desk.asked.lock().unwrap();
    assert_eq!(asked[0].identity_key, asked[1].identity_key);
    let sealed = std::fs::read(Silo::of(folder.path()).identity).unwrap();
    assert!(vault::is_sealed(&sealed), "the identity key lies in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_leaves_no_folder_and_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, address) = desk().await;
    let token = JoinToken::generate("north", desk.authority.fingerprint(), &mut UnwrapErr(SysRng)).unwrap();
    let dir = folder.path().join("silo");
    let bad = |change: &dyn Fn(&mut Enroll)| {
        let mut command = command(address.clone(), folder.path(), &token);
        command.dir.clone_from(&dir);
        change(&mut command);
        command
    };
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "cohort_min = 3\n").unwrap();
    type Change<'a> = &'a dyn Fn(&mut Enroll);
    let changes: [(Change<'_>, &str); 7] = [
        (&|c| c.coordinator = "127.0.0.1:7440".into(), "https://HOST:PORT"),
        (&|c| c.coordinator = "http://127.0.0.1:7440".into(), "https://HOST:PORT"),
        (&|c| c.author = vec!["abc".into()], "policy.authors"),
        (&|c| c.policy = Some("none.toml".into()), "none.toml"),
        (&|c| c.policy = Some(policy.clone()), "honest_min"),
        (&|c| c.proxy = Some(Secret::from("http://ann:secret@proxy:1".to_owned())), "--proxy-auth-file"),
        (&|c| c.proxy = Some(Secret::from("socks5://proxy:1".to_owned())), "http://HOST:PORT"),
    ];
    for (change, expected) in changes {
        let why = bad(change).run().await.unwrap_err().to_string();
        assert!(why.contains(expected) && !why.contains("secret@"), "{expected}: {why}");
        assert!(!dir.exists(), "{expected}");
    }
    // Nobody listens there; the corrected call then finds nothing in its way.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let why = bad(&|c| c.coordinator = format!("https://{free}")).run().await.unwrap_err().to_string();
    assert!(why.contains("nothing listens there") && !dir.exists(), "{why}");
    assert!(desk.asked.lock().unwrap().is_empty());
    assert!(bad(&|_| ()).run().await.unwrap());
    Config::load(&Silo::of(&dir).config).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_that_led_to_the_coordinator_stands_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, address) = desk().await;
    let token = JoinToken::generate("north", desk.authority.fingerprint(), &mut UnwrapErr(SysRng)).unwrap();
    let mut command = command(address, folder.path(), &token);
    command.proxy = Some(Secret::from("none".to_owned()));
    assert!(command.run().await.unwrap());
    let config = Config::load(&Silo::of(folder.path()).config).unwrap();
    assert_eq!(config.config.proxy.unwrap().0.as_str(), "none");
}

/// The daemon's session, its fetches and its renewals say it by the same words.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_connection_fails_says_why_as_enrolment_and_the_doctor_do() {
    let (_, address) = desk().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let foreign = CertificateAuthority::create("other", now_s()).unwrap();
    let tls = ClientTls::new(foreign.certificate_pem(), None).unwrap();
    for (address, why) in
        [(address, "by another authority"), (format!("https://{free}"), "nothing listens there")]
    {
        let channel = link::channel(&address, Some(&tls), Proxy::none()).unwrap();
        let failed = EnrolmentClient::new(channel).describe_authority(v1::DescribeAuthorityRequest {}).await;
        let said = link::said(&failed.unwrap_err());
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn what_is_written_says_how_many_plans_of_an_author_are_looked_at_and_how_much_they_may_claim() {
    let authors: Vec<String> = (1..=3).map(|byte| hex::encode(key(byte).public().as_bytes())).collect();
    let policy = |text: &str| {
        let (_, table) = text.split_once("[policy]\n").unwrap();
        plan::Policy::from_toml(table).unwrap()
    };
    let written = strict(&authors[..1]);
    assert!(written.contains("\n# offers_per_author = {"), "an operator finds it where it is changed");
    let taken = written.replace("# offers_per_author", "offers_per_author");
    let looked_at = [&written, &taken].map(|text| policy(text).offers_per_author);
    assert_eq!(looked_at, [plan::OffersPerAuthor::default(); 2], "the default, as it is read");
    for (many, share) in [(1, 5.0), (2, 2.5), (3, 1.666)] {
        let policy = policy(&strict(&authors[..many]));
        assert_eq!((policy.epsilon_max, policy.claims_per_author_max), (EPSILON_MAX, Some(share)));
    }
}
