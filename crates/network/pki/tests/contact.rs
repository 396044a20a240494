//! A silo's first contact with a coordinator that it does not know yet.

mod federation;

use std::sync::Arc;

use federation::{Coordinator, Federation, Identity, check};
use identity::Subject;
use pki::{ContactError, ServerTls, UnpinnedConnection};

#[tokio::test]
async fn a_first_contact_asks_what_is_public_and_then_pins_the_authority() {
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let contact = UnpinnedConnection::open(&coordinator.url(), &federation::direct()).await.unwrap();
    check(contact.public_questions_only()).await.unwrap();
    let tls = contact.pin(federation.ca_pem()).unwrap();
    coordinator.call(&tls).await.unwrap();
    let other = Federation::new();
    let stranger = Coordinator::serve(other.server_tls(&other.coordinator())).await;
    assert!(stranger.call(&tls).await.is_err(), "pinned settings believe one authority");
}

#[tokio::test]
async fn a_server_of_another_authority_than_the_expected_one_is_an_impostor() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let coordinator = Coordinator::serve(theirs.server_tls(&theirs.coordinator())).await;
    let contact = UnpinnedConnection::open(&coordinator.url(), &federation::direct()).await.unwrap();
    assert!(matches!(contact.pin(ours.ca_pem()), Err(ContactError::Impostor)));
}

#[tokio::test]
async fn a_server_that_shows_another_authority_than_the_one_that_issued_its_certificate_is_refused() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let Identity { chain, key } = theirs.coordinator();
    // The public certificate of the true authority, behind a leaf that it never signed.
    let forged = chain.replace(theirs.ca_pem(), ours.ca_pem());
    assert_ne!(forged, chain);
    let tls = ServerTls::new(&forged, &key, theirs.ca_pem(), Arc::new(|_| false)).unwrap();
    let coordinator = Coordinator::serve(tls).await;
    let error =
        UnpinnedConnection::open(&coordinator.url(), &federation::direct()).await.unwrap_err().to_string();
    assert!(error.contains("issued by another authority"), "{error}");
}

#[tokio::test]
async fn a_server_that_shows_no_authority_is_refused() {
    let federation = Federation::new();
    let Identity { chain, key } = federation.coordinator();
    let alone = chain.replace(federation.ca_pem(), "");
    let tls = ServerTls::new(&alone, &key, federation.ca_pem(), Arc::new(|_| false)).unwrap();
    let coordinator = Coordinator::serve(tls).await;
    assert!(UnpinnedConnection::open(&coordinator.url(), &federation::direct()).await.is_err());
}

#[tokio::test]
async fn a_first_contact_checks_the_name_that_was_dialled() {
    let federation = Federation::new();
    let other = federation.issue(&Subject::Coordinator, &["coordinator.example"]);
    let coordinator = Coordinator::serve(federation.server_tls(&other)).await;
    let error =
        UnpinnedConnection::open(&coordinator.url(), &federation::direct()).await.unwrap_err().to_string();
    assert!(error.contains("not for 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn an_address_that_cannot_be_dialled_says_so() {
    for address in ["", "not an address", "http://127.0.0.1:1"] {
        assert!(UnpinnedConnection::open(address, &federation::direct()).await.is_err(), "{address}");
    }
}
