//! Who may bar whom, for how long, and who lifts it.

use access::{Denial, Registry};
use identity::{Role, Subject};
use secagg::ClientId;
use tonic::transport::Channel;
use tonic::{Response, Status};
use wire::v1;
use wire::v1::admin_client::AdminClient;

use crate::harness::{NOW_S, Served, call, certificate, key, rates, reason, roster, silo, with_token};

const SESSION: &str = "/folkmoot.v1.Federation/Session";
const LIST: &str = "/folkmoot.v1.Admin/ListTokens";

/// Somebody with a token at the desk.
struct Person {
    admin: AdminClient<Channel>,
    token: String,
}

impl Person {
    async fn new(served: &Served, name: &str, role: Role) -> Self {
        let (token, _) = served.token(name, role);
        Self { admin: AdminClient::new(served.connect(None).await), token }
    }

    async fn bar(&mut self, whom: &str) -> Result<Response<v1::Done>, Status> {
        let request = v1::RevokeAccessRequest { whom: whom.into(), reason: "at night".into() };
        self.admin.revoke_access(with_token(request, &self.token)).await
    }

    async fn bar_silo(&mut self, client: u32) -> Result<Response<v1::Done>, Status> {
        let request = v1::RevokeClientRequest { client, reason: "at night".into() };
        self.admin.revoke_client(with_token(request, &self.token)).await
    }

    async fn restore(&mut self, whom: &str) -> Result<Response<v1::Done>, Status> {
        let request = v1::RestoreAccessRequest { whom: whom.into(), reason: "by day".into() };
        self.admin.restore_access(with_token(request, &self.token)).await
    }

    async fn restore_silo(&mut self, client: u32) -> Result<Response<v1::Done>, Status> {
        let request = v1::RestoreClientRequest { client, reason: "by day".into() };
        self.admin.restore_client(with_token(request, &self.token)).await
    }

    async fn kinds(&mut self) -> Vec<(String, String)> {
        let listed = self.admin.list_bars(with_token(v1::ListBarsRequest {}, &self.token)).await.unwrap();
        listed.into_inner().bars.into_iter().map(|bar| (bar.whom, bar.kind)).collect()
    }
}

#[tokio::test]
async fn an_operator_bars_no_administrator_and_a_few_others_an_hour_and_an_administrator_lifts_it() {
    let served = Served::new(&rates(1000));
    let mut ada = Person::new(&served, "ada", Role::Admin).await;
    let mut olga = Person::new(&served, "olga", Role::Operator).await;
    assert_eq!(reason(olga.bar("ada").await), "BARS_AN_ADMIN");
    let herself = ada.bar("ada").await.unwrap_err();
    assert!(herself.message().contains("nobody bars themselves"), "{herself}");

    // The registry never heard of this one: its certificate was issued before there was one.
    let root = certificate(&Subject::operator("root", Role::Admin).unwrap(), b"root");
    let fingerprint = hex::encode(root.fingerprint.as_bytes());
    let by_certificate = served.connect(Some(root)).await;
    olga.bar("root").await.unwrap();
    olga.bar(&fingerprint).await.unwrap();
    assert!(call(&by_certificate, LIST, None).await.is_ok(), "a suspension binds no administrator");

    let north = served.connect(Some(silo(1))).await;
    for silo in [1, 2] {
        olga.bar_silo(silo).await.unwrap();
    }
    assert_eq!(reason(call(&north, SESSION, None).await), "DENIED");
    olga.bar("viv").await.unwrap();
    assert_eq!(reason(olga.bar("vera").await), "TOO_MANY_BARS");
    served.pass(1800);

    // No operator lifts what an operator did, and lifting it gives her no further bar.
    assert_eq!(reason(olga.restore("viv").await), "WRONG_ROLE");
    assert_eq!(reason(olga.restore_silo(1).await), "WRONG_ROLE");
    served.run.take_asked();
    ada.restore_silo(1).await.unwrap();
    assert_eq!(served.run.take_asked(), ["restored 1 by ada: by day"]);
    assert!(call(&north, SESSION, None).await.is_ok(), "its certificate is good again");
    for whom in ["root", "viv", &fingerprint] {
        ada.restore(whom).await.unwrap();
        assert_eq!(reason(ada.restore(whom).await), "NOT_BARRED");
    }
    assert_eq!(ada.kinds().await, [("silo 2".to_owned(), "suspended".to_owned())]);
    assert_eq!(reason(olga.bar("vera").await), "TOO_MANY_BARS");
    let lifted = served.registry.lifted();
    assert_eq!(lifted.len(), 4);
    assert!(lifted.iter().all(|lifted| lifted.by == "ada" && lifted.denial.by == "olga"));
    let vera = || access::Whom::Operator("vera".into());
    assert!(served.registry.suspend(vera(), "odd", "olga", NOW_S + 3599).is_err());
    served.registry.suspend(vera(), "odd", "olga", NOW_S + 3600).unwrap();
}

#[tokio::test]
async fn an_administrators_bar_binds_administrators_has_no_limit_and_takes_a_suspensions_place() {
    let served = Served::new(&rates(1000));
    let mut ada = Person::new(&served, "ada", Role::Admin).await;
    let mut bob = Person::new(&served, "bob", Role::Admin).await;
    let mut olga = Person::new(&served, "olga", Role::Operator).await;
    olga.bar("viv").await.unwrap();
    assert_eq!(reason(olga.bar("viv").await), "SETTLED");
    ada.bar("viv").await.unwrap();
    assert_eq!(reason(olga.bar("viv").await), "SETTLED", "nothing weaker takes its place");
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        ada.bar(name).await.unwrap();
    }
    ada.bar("bob").await.unwrap();
    assert_eq!(reason(bob.bar("ada").await), "DENIED");
    assert!(ada.kinds().await.iter().all(|(_, kind)| kind == "barred"));
    ada.restore("bob").await.unwrap();
    bob.bar("h").await.unwrap();
    // A name that an administrator's certificate was issued for is an administrator's too.
    let issue = v1::IssueOperatorRequest {
        name: "eve".into(),
        role: "admin".into(),
        certificate_request: b"csr".to_vec(),
        lifetime_s: 60,
    };
    ada.admin.issue_operator(with_token(issue, &ada.token)).await.unwrap();
    assert_eq!(reason(olga.bar("eve").await), "BARS_AN_ADMIN");
}

#[tokio::test]
async fn a_silo_that_no_roster_names_any_more_stays_out_when_its_bar_is_lifted_until_one_does() {
    let served = Served::new(&rates(1000));
    let mut ada = Person::new(&served, "ada", Role::Admin).await;
    let north = served.connect(Some(silo(1))).await;
    let submit = |epoch, members: &[(u32, &str, u8)]| {
        let roster = serde_json::to_string(&roster(epoch, members).sign(&key(100))).unwrap();
        with_token(v1::SubmitRosterRequest { roster }, &ada.token)
    };
    let without = submit(2, &[(2, "south", 2)]);
    let back = submit(3, &[(1, "north", 1), (2, "south", 2)]);
    ada.bar_silo(1).await.unwrap();
    ada.admin.submit_roster(without).await.unwrap();
    let done = ada.restore_silo(1).await.unwrap().into_inner().text;
    assert!(done.contains("does not name it"), "{done}");
    assert_eq!(reason(call(&north, SESSION, None).await), "DENIED");
    assert_eq!(reason(ada.restore_silo(1).await), "LEFT_THE_ROSTER");
    served.run.take_asked();
    ada.admin.submit_roster(back).await.unwrap();
    assert!(call(&north, SESSION, None).await.is_ok());
    // Out of the run too, if the roster changed in the middle of a round.
    let asked = served.run.take_asked();
    assert_eq!(asked, ["restored 1 by ada: the roster of epoch 3 names it again"]);
    assert_eq!(ada.kinds().await, []);
}

#[tokio::test]
async fn a_pair_is_reconciled_by_an_operator_with_a_reason() {
    let served = Served::new(&rates(100));
    let mut olga = Person::new(&served, "olga", Role::Operator).await;
    let request =
        |reason: &str| v1::ReconcileRequest { one: 1, other: 2, reason: reason.into(), ..Default::default() };
    assert_eq!(reason(olga.admin.reconcile(with_token(request(""), &olga.token)).await), "INVALID");
    olga.admin.reconcile(with_token(request("memory"), &olga.token)).await.unwrap();
    assert_eq!(served.run.take_asked(), ["reconciled 1 and 2 by olga: memory"]);
}

#[test]
fn a_registry_without_anything_new_is_the_first_releases_file_and_another_names_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.json");
    let text = || std::fs::read_to_string(&path).unwrap();
    let registry = Registry::open(&path).unwrap();
    registry.settle_roster(&roster(1, &[(1, "north", 1)]), "init", NOW_S).unwrap();
    registry.deny(access::Whom::Operator("eve".into()), "left us", "ada", NOW_S).unwrap();
    assert!(text().starts_with(r#"{"version":1,"#), "{}", text());
    for newer in ["suspension", "lifted", "admins"] {
        assert!(!text().contains(newer), "{}", text());
    }
    registry.suspend(access::Whom::Client(ClientId(1)), "odd", "olga", NOW_S).unwrap();
    assert!(text().starts_with(r#"{"version":2,"#), "{}", text());
    let kinds: Vec<&str> = Registry::open(&path).unwrap().denials().iter().map(Denial::kind).collect();
    assert_eq!(kinds, ["barred", "suspended"]);
}
