//! Both sides of a connection over real sockets: who is believed, and what the other hears.

mod common;

use common::{Coordinator, Federation, silo};

#[tokio::test]
async fn a_call_with_a_certificate_carries_its_subject_and_one_without_carries_none() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let member = federation.issue(&silo(7), &[]);
    coordinator.call(&federation.client_tls(Some(&member))).await.unwrap();
    let certificate = coordinator.last_caller().certificate.unwrap();
    let leaf = pki::inspect(&member.chain).unwrap();
    assert_eq!(certificate.subject, silo(7));
    assert_eq!(certificate.fingerprint, leaf.fingerprint);
    assert_eq!(certificate.expires_s, leaf.not_after_s);
    coordinator.call(&federation.client_tls(None)).await.unwrap();
    assert_eq!(coordinator.last_caller().certificate, None);
}
