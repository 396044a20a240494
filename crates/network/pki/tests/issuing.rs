//! What the authority signs, and what it does not.

mod federation;

use federation::{DAY_S, Federation, now_s, silo};
use identity::Subject;
use pki::{CertificateAuthority, IssueError, TransportKey, inspect, renew_at};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

fn request() -> Vec<u8> {
    TransportKey::generate().unwrap().request_der().unwrap()
}

#[test]
fn a_certificate_says_what_the_authority_decided_and_nothing_that_the_request_asked_for() {
    let federation = Federation::new();
    let pair = KeyPair::generate().unwrap();
    let mut wishes = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let request = wishes.serialize_request(&pair).unwrap();
    let now_s = now_s();
    let issued = federation.ca.issue(request.der(), &silo(3), &[], now_s, DAY_S).unwrap();
    let leaf = inspect(&issued.chain_pem).unwrap();
    assert_eq!(leaf.subject, silo(3));
    assert_eq!(leaf.names, Vec::<String>::new());
    assert_eq!((leaf.not_before_s, leaf.not_after_s), (now_s - 300, now_s + DAY_S));
    assert_eq!(issued.not_after_s, leaf.not_after_s);
    let blocks: Vec<Pem> = Pem::iter_from_buffer(issued.chain_pem.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(blocks.len(), 2, "the certificate, then the authority");
    let certificate = blocks[0].parse_x509().unwrap();
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!String::from_utf8_lossy(&blocks[0].contents).contains("evil"));
    let again = federation.ca.issue(request.der(), &silo(3), &[], now_s, DAY_S).unwrap();
    let again = Pem::iter_from_buffer(again.chain_pem.as_bytes()).next().unwrap().unwrap();
    assert_ne!(again.parse_x509().unwrap().raw_serial(), certificate.raw_serial());
}

#[test]
fn only_a_coordinator_has_names_and_it_has_all_that_were_given() {
    let federation = Federation::new();
    let names: Vec<String> = ["coordinator.example", "10.0.0.1", "::1"].map(str::to_owned).into();
    let issue =
        |subject: &Subject, names: &[String]| federation.ca.issue(&request(), subject, names, now_s(), DAY_S);
    let issued = issue(&Subject::Coordinator, &names).unwrap();
    assert_eq!(inspect(&issued.chain_pem).unwrap().names, names);
    assert_eq!(issue(&Subject::Coordinator, &[]), Err(IssueError::Names));
    assert_eq!(issue(&silo(1), &names), Err(IssueError::Names));
    for name in ["", "a b", "https://coordinator.example", "coordinator.example:8443", "münchen.example"] {
        let refused = issue(&Subject::Coordinator, &[name.to_owned()]);
        assert_eq!(refused, Err(IssueError::Name(name.to_owned())));
    }
}

#[test]
fn a_request_with_any_byte_flipped_of_what_is_signed_or_of_the_signature_is_refused() {
    let federation = Federation::new();
    let good = request();
    let issue = |request: &[u8]| federation.ca.issue(request, &silo(1), &[], now_s(), DAY_S);
    issue(&good).unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&good).unwrap();
    let signed = 3 + parsed.certification_request_info.raw.len();
    let signature = good.len() - parsed.signature_value.data.len();
    assert!(signed > 90 && signature > signed && good.len() - signature > 60, "{signed}, {signature}");
    for at in (0..signed).chain(signature..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(issue(&bad).is_err(), "byte {at}");
    }
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    assert_eq!(issue(&longer), Err(IssueError::Request));
    assert_eq!(issue(&[]), Err(IssueError::Request));
    assert_eq!(issue(&vec![0x30; 100_000]), Err(IssueError::Request));
}

#[test]
fn a_request_for_another_kind_of_key_is_refused() {
    let federation = Federation::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&pair).unwrap();
        let refused = federation.ca.issue(request.der(), &silo(1), &[], now_s(), DAY_S);
        assert_eq!(refused, Err(IssueError::Algorithm));
    }
}

#[test]
fn no_certificate_outlives_the_authority() {
    let born_s = 1_000_000_000;
    let ca = CertificateAuthority::create("hospitals", born_s).unwrap();
    let end_s = inspect_authority_end(&ca);
    assert_eq!((end_s - born_s) / (365 * DAY_S), 10);
    let last = ca.issue(&request(), &silo(1), &[], end_s - 10, DAY_S).unwrap();
    assert_eq!(last.not_after_s, end_s);
    assert_eq!(ca.issue(&request(), &silo(1), &[], end_s, DAY_S), Err(IssueError::Time));
    assert_eq!(ca.issue(&request(), &silo(1), &[], u64::MAX, DAY_S), Err(IssueError::Time));
    assert_eq!(ca.issue(&request(), &silo(1), &[], born_s, 0), Err(IssueError::Time));
    assert!(matches!(CertificateAuthority::create("hospitals", u64::MAX), Err(IssueError::Time)));
}

fn inspect_authority_end(ca: &CertificateAuthority) -> u64 {
    let pem = Pem::iter_from_buffer(ca.certificate_pem().as_bytes()).next().unwrap().unwrap();
    pem.parse_x509().unwrap().validity().not_after.timestamp().try_into().unwrap()
}

#[test]
fn an_authority_that_was_loaded_issues_under_the_same_certificate() {
    let federation = Federation::new();
    let loaded = CertificateAuthority::load(federation.ca_pem(), &federation.ca.key_pem()).unwrap();
    assert_eq!(loaded.certificate_pem(), federation.ca_pem());
    let issued = loaded.issue(&request(), &silo(1), &[], now_s(), DAY_S).unwrap();
    let [leaf, ca]: [Pem; 2] = Pem::iter_from_buffer(issued.chain_pem.as_bytes())
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let ca = ca.parse_x509().unwrap();
    leaf.parse_x509().unwrap().verify_signature(Some(ca.public_key())).unwrap();
}

#[test]
fn an_authority_whose_parts_do_not_fit_is_not_loaded() {
    let (ours, theirs) = (Federation::new(), Federation::new());
    let load = |certificate: &str, key: &str| CertificateAuthority::load(certificate, key).map(drop);
    assert_eq!(load(ours.ca_pem(), &theirs.ca.key_pem()), Err(IssueError::Mismatch));
    let leaf = ours.coordinator();
    let own = leaf.chain.replace(ours.ca_pem(), "");
    assert!(matches!(load(&own, &leaf.key.to_pem()), Err(IssueError::Certificate(_))));
    assert!(matches!(load("", &ours.ca.key_pem()), Err(IssueError::Certificate(_))));
    assert!(matches!(load(ours.ca_pem(), "no key"), Err(IssueError::Key(_))));
}

#[test]
fn a_key_survives_its_pem_and_no_other_text_is_one() {
    let key = TransportKey::generate().unwrap();
    let pem = key.to_pem();
    assert_eq!(*TransportKey::from_pem(&pem).unwrap().to_pem(), *pem);
    assert!(KeyPair::from_pem(&pem).is_ok(), "others read it");
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    for text in ["", "-----BEGIN PRIVATE KEY-----", &pem[..pem.len() / 2], &p384] {
        assert!(TransportKey::from_pem(text).is_err());
    }
}

#[test]
fn nothing_that_holds_a_key_shows_it() {
    let federation = Federation::new();
    let identity = federation.coordinator();
    let server = federation.server_tls(&identity);
    let client = federation.client_tls(Some(&federation.issue(&silo(1), &[])));
    let shown = format!(
        "{:?} {:?} {server:?} {client:?} {:?}",
        identity.key,
        federation.ca,
        client.connector(&federation::direct())
    );
    assert_eq!(
        shown.split_once(" CertificateAuthority").unwrap().0,
        "TransportKey(secret)",
        "what is shown is this and no more: {shown}"
    );
    assert!(shown.ends_with(".. } ServerTls ClientTls Connector"), "{shown}");
    for pem in [identity.key.to_pem(), federation.ca.key_pem()] {
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            assert!(!shown.contains(line));
        }
    }
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_before() {
    assert_eq!(renew_at(1_000, 1_000 + DAY_S, 0), 1_000 + DAY_S * 2 / 3);
    for random in [1, 77, DAY_S, u64::MAX] {
        let at = renew_at(0, DAY_S, random);
        assert!((DAY_S * 61 / 100..=DAY_S * 2 / 3).contains(&at), "{at}");
    }
    assert_eq!(renew_at(10, 5, 3), 10, "a life of nothing is over at once");
}
