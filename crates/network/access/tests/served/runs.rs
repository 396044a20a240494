//! Who has runs begun, sees them and ends them.

use identity::{IdentityKey, Role};
use plan::{Plan, SignedPlan};
use tonic::transport::Channel;
use tonic::{Response, Status};
use wire::v1;
use wire::v1::runs_client::RunsClient;

use crate::harness::{Served, rates, reason, with_token};

struct Person {
    runs: RunsClient<Channel>,
    token: String,
}

impl Person {
    async fn new(served: &Served, name: &str, role: Role) -> Self {
        let channel = served.connect(None).await;
        Self { runs: RunsClient::new(channel), token: served.token(name, role).0 }
    }

    async fn submit(&mut self, plan: SignedPlan) -> Result<v1::RunEntry, Status> {
        let request = v1::SubmitRunRequest { plan: Some(plan.into()) };
        self.runs.submit(with_token(request, &self.token)).await.map(Response::into_inner)
    }

    async fn stop(&mut self, run: &[u8], why: &str) -> Result<v1::RunEntry, Status> {
        let request = v1::StopRunRequest { run: run.to_vec(), reason: why.into() };
        self.runs.stop(with_token(request, &self.token)).await.map(Response::into_inner)
    }

    async fn list(&mut self) -> Vec<v1::RunEntry> {
        self.runs.list(with_token(v1::ListRunsRequest {}, &self.token)).await.unwrap().into_inner().runs
    }
}

fn signed() -> SignedPlan {
    signed_once_more(0)
}

/// The same plan, numbered anew, as an author does who wants it run again.
fn signed_once_more(time: u8) -> SignedPlan {
    let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
    let plan = Plan::from_toml(include_str!("../../../../../deploy/config/plan.toml")).unwrap();
    plan.numbered([time; Plan::ID_BYTES]).sign(&author).signed().clone()
}

#[tokio::test]
async fn an_author_submits_what_an_author_signed_and_everybody_who_sees_the_status_sees_it() {
    let served = Served::new(&rates(100));
    let mut anna = Person::new(&served, "anna", Role::Author).await;
    let entry = anna.submit(signed()).await.unwrap();
    assert_eq!((entry.submitted_by.as_str(), entry.number, entry.position), ("anna", 1, Some(1)));

    let again = anna.submit(signed()).await.unwrap_err();
    assert!(again.message().contains("this plan is run 1 already"), "{again}");
    assert_eq!(reason::<()>(Err(again)), "SETTLED");

    let mut altered = signed();
    altered.plan = altered.plan.replacen("example", "exemple", 1);
    let refused = anna.submit(altered).await.unwrap_err();
    assert!(refused.message().contains("not what its author signed"), "{refused}");
    let none = with_token(v1::SubmitRunRequest { plan: None }, &anna.token);
    assert_eq!(reason(anna.runs.submit(none).await), "INVALID");

    let mut viv = Person::new(&served, "viv", Role::Viewer).await;
    assert_eq!(viv.list().await, std::slice::from_ref(&entry));
    let show = |run: &[u8]| v1::ShowRunRequest { run: run.to_vec() };
    for run in [&entry.run[..], &[]] {
        let shown = viv.runs.show(with_token(show(run), &viv.token)).await.unwrap().into_inner();
        assert_eq!((shown.entry, shown.plan), (Some(entry.clone()), Some(signed().into())));
    }
    assert_eq!(reason(viv.runs.show(with_token(show(&[9; 32]), &viv.token)).await), "NO_SUCH_RUN");
    assert_eq!(reason(viv.submit(signed()).await), "WRONG_ROLE");
    assert_eq!(reason(viv.stop(&entry.run, "mine").await), "WRONG_ROLE");
}

#[tokio::test]
async fn an_author_stops_its_own_runs_and_an_administrator_any_by_name_and_with_a_reason() {
    let served = Served::new(&rates(100));
    let mut anna = Person::new(&served, "anna", Role::Author).await;
    let mut bert = Person::new(&served, "bert", Role::Author).await;
    let mut ada = Person::new(&served, "ada", Role::Admin).await;
    let first = anna.submit(signed()).await.unwrap().run;
    let second = anna.submit(signed_once_more(1)).await.unwrap().run;

    let refused = bert.stop(&first, "in my way").await.unwrap_err();
    assert!(refused.message().contains("submitted by anna"), "{refused}");
    assert_eq!(reason::<()>(Err(refused)), "NOT_OWN");
    assert_eq!(reason(anna.stop(&[], "which").await), "INVALID");
    assert_eq!(reason(anna.stop(&first, "").await), "INVALID");
    assert_eq!(reason(anna.stop(&[9; 32], "none").await), "NO_SUCH_RUN");

    let stopped = anna.stop(&first, "a better plan").await.unwrap();
    assert_eq!(stopped.state(), v1::RunState::Stopped);
    assert_eq!(stopped.reason, "anna stopped it: a better plan");
    assert_eq!(reason(anna.stop(&first, "again").await), "SETTLED");
    // What came with the configuration is no author's.
    served.run.runs.lock().unwrap()[1].0.submitted_by = String::new();
    let refused = anna.stop(&second, "mine").await.unwrap_err();
    assert!(refused.message().contains("submitted by the coordinator's configuration"), "{refused}");
    assert_eq!(ada.stop(&second, "at night").await.unwrap().state(), v1::RunState::Stopped);
}
