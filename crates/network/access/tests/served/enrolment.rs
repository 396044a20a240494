//! From a join token to a certificate.

use ed25519_dalek::Signer;
use identity::{AccessToken, JoinToken, Role, Subject, identity_fingerprint, join_signed_bytes, spoken};
use params::Digest;
use tonic::transport::Channel;
use tonic::{Request, Status};
use wire::v1;
use wire::v1::enrolment_client::EnrolmentClient;
use wire::v1::join_reply::State;

use access::{Purpose, Whom};
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use secagg::ClientId;

use crate::harness::{NOW_S, Served, certificate, key, rates, reason, roster, silo};

fn token(served: &Served, seed: u64, name: &str) -> JoinToken {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let token = JoinToken::generate(name, Digest::sha256(b"authority"), &mut rng).unwrap();
    let purpose = Purpose::Silo { name: name.into() };
    served.registry.register_token(token.secret_hash(), purpose, NOW_S + 3600, NOW_S).unwrap();
    token
}

fn request(token: &JoinToken, silo: &str, identity: u8, csr: &[u8]) -> v1::JoinRequest {
    let identity = key(identity);
    let signed = join_signed_bytes(token.secret(), silo, csr);
    v1::JoinRequest {
        secret: token.secret().to_vec(),
        silo: silo.into(),
        identity_key: identity.public().as_bytes().to_vec(),
        certificate_request: csr.to_vec(),
        signature: identity.signing_key().sign(&signed).to_bytes().to_vec(),
    }
}

async fn join(channel: &Channel, request: v1::JoinRequest) -> Result<State, Status> {
    let reply = EnrolmentClient::new(channel.clone()).join(Request::new(request)).await?;
    Ok(reply.into_inner().state.unwrap())
}

#[tokio::test]
async fn a_silo_asks_waits_is_admitted_by_a_roster_and_gets_a_certificate_of_its_number() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let token = token(&served, 1, "west");
    let asked = request(&token, "west", 7, b"csr");
    let shown = spoken(&identity_fingerprint("west", &key(7).public()));
    for _ in 0..2 {
        let awaiting = v1::AwaitingApproval { fingerprint: shown.clone() };
        assert_eq!(join(&channel, asked.clone()).await.unwrap(), State::Awaiting(awaiting));
    }
    let next = roster(2, &[(1, "north", 1), (2, "south", 2), (7, "west", 7)]);
    *served.run.roster.lock().unwrap() = next.sign(&key(100));
    served.registry.settle_roster(&next, "ada", NOW_S).unwrap();
    // Also long after the token expired: it is used, and so is the key that used it.
    served.pass(7200);
    let State::Admitted(admission) = join(&channel, asked.clone()).await.unwrap() else { panic!("admitted") };
    assert_eq!(admission.client, 7);
    let issued = admission.certificate.unwrap();
    assert_eq!(issued.chain, format!("folkmoot:silo/7 from {}", hex::encode(b"csr")));
    assert_eq!(issued.not_after_s, NOW_S + 24 * 3600);
    let roster: identity::SignedRoster = serde_json::from_str(&admission.roster).unwrap();
    assert_eq!(roster.open(&key(100).public()).unwrap(), next);

    served.registry.deny(Whom::Client(ClientId(7)), "found out", "ada", NOW_S).unwrap();
    assert_eq!(reason(join(&channel, asked).await), "BARRED");
}

#[tokio::test]
async fn an_unknown_expired_withdrawn_or_foreign_join_token_is_refused_each_by_its_own_reason() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let unknown =
        JoinToken::generate("west", Digest::sha256(b"a"), &mut ChaCha20Rng::seed_from_u64(9)).unwrap();
    assert_eq!(reason(join(&channel, request(&unknown, "west", 7, b"csr")).await), "JOIN_TOKEN_UNKNOWN");

    let withdrawn = token(&served, 1, "west");
    let id = served.registry.tokens()[0].id();
    served.registry.withdraw_token(&id, "ada").unwrap();
    assert_eq!(reason(join(&channel, request(&withdrawn, "west", 7, b"csr")).await), "JOIN_TOKEN_WITHDRAWN");

    let late = token(&served, 2, "west");
    assert_eq!(reason(join(&channel, request(&late, "east", 7, b"csr")).await), "JOIN_TOKEN_FOR_ANOTHER");
    served.pass(3600);
    assert_eq!(reason(join(&channel, request(&late, "west", 7, b"csr")).await), "JOIN_TOKEN_EXPIRED");
    assert!(served.registry.admissions().is_empty());
}

#[tokio::test]
async fn a_join_token_is_used_up_by_the_first_keys_that_show_it() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let token = token(&served, 1, "west");
    assert!(join(&channel, request(&token, "west", 7, b"csr")).await.is_ok());
    assert_eq!(reason(join(&channel, request(&token, "west", 8, b"csr")).await), "JOIN_TOKEN_REPLAYED");
    // A silo that was stopped makes another request for the same key, and one that has no certificate any more.
    assert!(join(&channel, request(&token, "west", 7, b"other")).await.is_ok());
    assert_eq!(reason(join(&channel, request(&token, "west", 7, b"")).await), "NOT_ISSUED");
    assert!(join(&channel, request(&token, "west", 7, b"csr")).await.is_ok());
    let id = served.registry.tokens()[0].id();
    assert!(served.registry.withdraw_token(&id, "ada").is_err(), "it is used already");
}

#[tokio::test]
async fn a_request_that_is_unsigned_or_leads_to_no_certificate_uses_up_no_token() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let token = token(&served, 1, "west");
    let good = request(&token, "west", 7, b"csr");
    let forged = [
        v1::JoinRequest { certificate_request: b"another".to_vec(), ..good.clone() },
        v1::JoinRequest { identity_key: key(8).public().as_bytes().to_vec(), ..good.clone() },
        v1::JoinRequest { signature: vec![0; 64], ..good.clone() },
        v1::JoinRequest { signature: vec![], ..good.clone() },
    ];
    for forged in forged {
        assert_eq!(reason(join(&channel, forged).await), "JOIN_SIGNATURE");
    }
    let weak = v1::JoinRequest { identity_key: [&[1][..], &[0; 31]].concat(), ..good.clone() };
    assert_eq!(reason(join(&channel, weak).await), "INVALID");
    let unusable = request(&token, "west", 7, b"");
    assert_eq!(reason(join(&channel, unusable).await), "NOT_ISSUED");
    let long = request(&token, "west", 7, &[0; 5000]);
    assert_eq!(reason(join(&channel, long).await), "INVALID");
    assert!(join(&channel, good).await.is_ok());
}

#[tokio::test]
async fn an_operators_token_admits_no_silo_and_a_join_token_no_operator() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let joining = token(&served, 1, "west");
    // The same 32 bytes, in the other kind's clothes.
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let dressed = AccessToken::generate(&mut rng);
    assert_eq!(dressed.secret_hash(), joining.secret_hash());
    let answer =
        crate::harness::call(&channel, "/folkmoot.v1.Admin/Pause", Some(dressed.to_text().as_str())).await;
    assert_eq!(reason(answer), "ACCESS_TOKEN_UNKNOWN");

    let other =
        JoinToken::generate("west", Digest::sha256(b"a"), &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
    let purpose = Purpose::Operator { name: "west".into(), role: Role::Admin };
    served.registry.register_token(other.secret_hash(), purpose, NOW_S + 60, NOW_S).unwrap();
    assert_eq!(reason(join(&channel, request(&other, "west", 7, b"csr")).await), "JOIN_TOKEN_UNKNOWN");
}

#[tokio::test]
async fn a_name_that_is_a_members_or_that_waits_is_given_to_no_other_key() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let north = token(&served, 1, "north");
    assert_eq!(reason(join(&channel, request(&north, "north", 7, b"csr")).await), "NAME_TAKEN");
    let [first, second] = [token(&served, 2, "west"), token(&served, 3, "west")];
    assert!(join(&channel, request(&first, "west", 7, b"csr")).await.is_ok());
    assert_eq!(reason(join(&channel, request(&second, "west", 8, b"csr")).await), "NAME_AWAITING");
    served.registry.refuse_request("west", "we know no such silo").unwrap();
    let answer = join(&channel, request(&first, "west", 7, b"csr")).await.unwrap();
    assert_eq!(answer, State::Refused("we know no such silo".into()));
    assert!(join(&channel, request(&second, "west", 8, b"csr")).await.is_ok());
}

#[tokio::test]
async fn only_a_member_that_is_not_barred_renews_and_for_itself_only() {
    let served = Served::new(&rates(100));
    let renew = async |certificate| {
        let channel = served.connect(Some(certificate)).await;
        let request = v1::RenewRequest { certificate_request: b"csr".to_vec() };
        EnrolmentClient::new(channel).renew(request).await.map(tonic::Response::into_inner)
    };
    let renewed = renew(silo(1)).await.unwrap();
    assert_eq!(renewed.chain, format!("folkmoot:silo/1 from {}", hex::encode(b"csr")));
    assert_eq!(renewed.not_after_s, NOW_S + 24 * 3600);
    assert_eq!(reason(renew(silo(9)).await), "NOT_A_MEMBER");
    let ada = Subject::operator("ada", Role::Admin).unwrap();
    assert_eq!(reason(renew(certificate(&ada, b"ada")).await), "NOT_RENEWED");
    assert_eq!(reason(renew(certificate(&Subject::Coordinator, b"c")).await), "NOT_RENEWED");
    served.registry.deny(Whom::Client(ClientId(2)), "stolen", "ada", NOW_S).unwrap();
    assert_eq!(reason(renew(silo(2)).await), "DENIED");
}

#[tokio::test]
async fn anyone_reads_the_authority_that_tokens_pin() {
    let served = Served::new(&rates(100));
    let mut client = EnrolmentClient::new(served.connect(None).await);
    let described = client.describe_authority(v1::DescribeAuthorityRequest {}).await.unwrap().into_inner();
    let authority = identity::Authority::from_canonical(&described.authority).unwrap();
    assert_eq!(authority.verifying_key().unwrap(), key(100).public());
}
