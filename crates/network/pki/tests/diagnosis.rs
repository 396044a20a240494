//! The doctor names what is wrong, and nothing else.

mod federation;

use std::sync::Arc;

use federation::{Coordinator, DAY_S, Federation, Identity, direct, now_s, silo};
use identity::Subject;
use pki::{Finding, doctor};
use tokio::net::TcpListener;

/// The steps that failed.
fn failed(findings: &[Finding]) -> Vec<&'static str> {
    let failed = findings.iter().filter(|finding| !finding.ok);
    failed.map(|finding| finding.what).collect()
}

fn of<'a>(findings: &'a [Finding], what: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.what == what).unwrap()
}

#[tokio::test]
async fn a_healthy_client_passes_every_step_in_order() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let member = federation.issue(&silo(1), &[]);
    let findings = doctor(&coordinator.url(), federation.ca_pem(), member.shown(), &direct(), now_s()).await;
    let steps: Vec<&str> = findings.iter().map(|finding| finding.what).collect();
    assert_eq!(
        steps,
        [
            "address",
            "proxy",
            "name",
            "reach",
            "tls",
            "chain",
            "server name",
            "clock",
            "own certificate",
            "own key",
            "admission"
        ]
    );
    assert_eq!(failed(&findings), Vec::<&str>::new(), "{findings:#?}");
}

#[tokio::test]
async fn what_is_wrong_before_the_handshake_is_named() {
    let federation = Federation::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let plain = Coordinator::serve_plain().await;
    let nameless = format!("https://{}.example", "a".repeat(64));
    for (address, step) in [
        ("http://127.0.0.1:1".to_owned(), "address"),
        ("a b".to_owned(), "address"),
        (nameless, "name"),
        (format!("https://{free}"), "reach"),
        (plain.url(), "tls"),
    ] {
        let findings = doctor(&address, federation.ca_pem(), None, &direct(), now_s()).await;
        assert_eq!(failed(&findings), [step], "{address}: {findings:#?}");
        let last = findings.last().unwrap();
        assert!(last.what == step && last.remedy.is_some(), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_foreign_authority_a_wrong_name_and_an_expired_server_are_told_apart() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let other_name = ours.issue(&Subject::Coordinator, &["coordinator.example"]);
    let expired = ours.issue_at(&Subject::Coordinator, &["127.0.0.1"], now_s() - 2 * DAY_S);
    for (federation, identity, step) in [
        (&theirs, theirs.coordinator(), "chain"),
        (&ours, other_name, "server name"),
        (&ours, expired, "clock"),
    ] {
        let coordinator = Coordinator::serve(federation.server_tls(&identity)).await;
        let findings = doctor(&coordinator.url(), ours.ca_pem(), None, &direct(), now_s()).await;
        assert_eq!(failed(&findings), [step], "{findings:#?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_named_with_both_times_and_not_taken_for_a_foreign_authority() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    for (now_s, remedy) in [(now_s() - 3 * DAY_S, "it is behind"), (now_s() + 3 * DAY_S, "if it is right")] {
        let findings = doctor(&coordinator.url(), federation.ca_pem(), None, &direct(), now_s).await;
        assert_eq!(failed(&findings), ["clock"], "{findings:#?}");
        let clock = of(&findings, "clock");
        assert!(clock.detail.contains("clock says 2") && clock.detail.contains("valid from 2"), "{clock:?}");
        assert!(clock.remedy.as_ref().unwrap().contains(remedy), "{clock:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_own_certificate_is_named() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let coordinator = Coordinator::serve(ours.server_tls(&ours.coordinator())).await;
    let expired = ours.issue_at(&silo(1), &[], now_s() - 2 * DAY_S);
    let mixed = Identity { chain: ours.issue(&silo(1), &[]).chain, key: ours.issue(&silo(1), &[]).key };
    for (identity, step) in [
        (expired, "own certificate"),
        (theirs.issue(&silo(1), &[]), "own certificate"),
        (ours.coordinator(), "own certificate"),
        (mixed, "own key"),
    ] {
        let findings = doctor(&coordinator.url(), ours.ca_pem(), identity.shown(), &direct(), now_s()).await;
        assert_eq!(failed(&findings), [step], "{findings:#?}");
        assert!(of(&findings, step).remedy.as_ref().unwrap().contains("enrol"));
    }
}

#[tokio::test]
async fn a_revoked_client_learns_it_at_the_last_step() {
    let federation = Federation::new();
    let tls = federation.server_tls_denying(&federation.coordinator(), Arc::new(|_| true));
    let coordinator = Coordinator::serve(tls).await;
    let member = federation.issue(&silo(1), &[]);
    let findings = doctor(&coordinator.url(), federation.ca_pem(), member.shown(), &direct(), now_s()).await;
    assert_eq!(failed(&findings), ["admission"], "{findings:#?}");
    assert!(of(&findings, "admission").detail.contains("revoked"));
}
