//! Who gets in.

use access::{AccessError, CallOutcome, Proof, REQUIREMENTS, Requirement, Whom, requirement};
use identity::{Role, Subject};
use secagg::ClientId;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{NOW_S, Served, call, certificate, rates, reason, silo};

const STATUS: &str = "/folkmoot.v1.Operator/Status";
const PAUSE: &str = "/folkmoot.v1.Admin/Pause";
const SESSION: &str = "/folkmoot.v1.Federation/Session";
const AUTHORITY: &str = "/folkmoot.v1.Enrolment/DescribeAuthority";

/// The refusals of the guard, as opposed to those of a service behind it.
fn shut_out(answer: &Result<(), tonic::Status>) -> Option<String> {
    let reason = answer.as_ref().err().and_then(wire::reason)?;
    ["WRONG_ROLE", "UNAUTHENTICATED"].contains(&reason.as_str()).then_some(reason)
}

#[tokio::test]
async fn every_rpc_is_refused_to_every_wrong_role_and_to_nobody_else() {
    let served = Served::new(&rates(10_000));
    let mut refused = 0;
    for role in Role::ALL {
        let (channel, token) = match role {
            Role::Client => (served.connect(Some(silo(1))).await, None),
            role => (served.connect(None).await, Some(served.token(role.name(), role).0)),
        };
        for row in &REQUIREMENTS {
            let answer = call(&channel, row.path, token.as_deref()).await;
            let may = match row.requirement {
                Requirement::Anyone => true,
                Requirement::Certificate => token.is_none(),
                Requirement::AnyOf(roles) => roles.contains(&role),
            };
            assert_eq!(shut_out(&answer).is_none(), may, "{} as {role}: {answer:?}", row.path);
            if !may {
                refused += 1;
                let status = answer.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{} as {role}", row.path);
                let text = status.message();
                assert!(text.contains(row.path), "{text}");
                assert!(text.contains(&format!("the role {role}")), "{text}");
                if let Requirement::AnyOf(roles) = row.requirement {
                    assert!(roles.iter().all(|needed| text.contains(needed.name())), "{text}");
                }
            }
        }
    }
    let nobody = served.connect(None).await;
    for row in &REQUIREMENTS {
        let answer = call(&nobody, row.path, None).await;
        let may = row.requirement == Requirement::Anyone;
        assert_eq!(shut_out(&answer).is_none(), may, "{} as nobody: {answer:?}", row.path);
        if !may {
            refused += 1;
            assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated, "{}", row.path);
        }
    }
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
async fn in_plain_text_nobody_acts_as_silo_and_viewer_and_administration_needs_a_token() {
    let served = Served::plaintext(&rates(10_000));
    let channel = served.connect(None).await;
    for row in &REQUIREMENTS {
        let may = match row.requirement {
            Requirement::Anyone => true,
            Requirement::Certificate => false,
            Requirement::AnyOf(roles) => roles.contains(&Role::Client) || roles.contains(&Role::Viewer),
        };
        assert_eq!(shut_out(&call(&channel, row.path, None).await).is_none(), may, "{}", row.path);
        assert!(!(may && row.path.contains("Admin")), "{}", row.path);
    }
    let (operator, _) = served.token("olga", Role::Operator);
    assert_eq!(shut_out(&call(&channel, PAUSE, Some(&operator)).await), None);
    // Who says who it is, is only that.
    assert_eq!(shut_out(&call(&channel, SESSION, Some(&operator)).await).as_deref(), Some("WRONG_ROLE"));
}

#[tokio::test]
async fn an_rpc_that_no_row_names_is_served_to_nobody() {
    let served = Served::new(&rates(100));
    let (admin, _) = served.token("ada", Role::Admin);
    let channel = served.connect(None).await;
    let path = "/grpc.reflection.v0.ServerReflection/ServerReflectionInfo";
    assert!(requirement(path).is_none());
    assert_eq!(reason(call(&channel, path, Some(&admin)).await), "UNKNOWN_RPC");
}

#[tokio::test]
async fn a_certificate_that_expired_on_an_open_connection_is_refused() {
    let served = Served::new(&rates(100));
    let channel = served.connect(Some(silo(1))).await;
    served.pass(24 * 3600 - 1);
    assert!(call(&channel, SESSION, None).await.is_ok());
    served.pass(1);
    assert_eq!(reason(call(&channel, SESSION, None).await), "CERTIFICATE_EXPIRED");
    // Not even what anyone may call: it claims to be somebody.
    assert_eq!(reason(call(&channel, AUTHORITY, None).await), "CERTIFICATE_EXPIRED");
}

#[tokio::test]
async fn an_unknown_expired_withdrawn_or_mistyped_token_is_refused_each_by_its_own_reason() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let (gone, id) = served.token("gone", Role::Viewer);
    served.registry.withdraw_token(&id, "ada").unwrap();
    let (late, _) = served.token("late", Role::Viewer);
    let foreign = Served::new(&rates(1));
    foreign.token("ahead", Role::Viewer);
    foreign.token("ahead", Role::Viewer);
    let (foreign, _) = foreign.token("foreign", Role::Viewer);
    assert_eq!(reason(call(&channel, STATUS, Some(&gone)).await), "ACCESS_TOKEN_WITHDRAWN");
    assert_eq!(reason(call(&channel, STATUS, Some(&foreign)).await), "ACCESS_TOKEN_UNKNOWN");
    assert_eq!(reason(call(&channel, STATUS, Some(&late[1..])).await), "ACCESS_TOKEN_UNKNOWN");
    assert_eq!(shut_out(&call(&channel, STATUS, Some(&late)).await), None);
    served.pass(3600);
    assert_eq!(reason(call(&channel, STATUS, Some(&late)).await), "ACCESS_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_barred_silo_operator_or_certificate_is_refused_everything() {
    let served = Served::new(&rates(100));
    let eve = Subject::operator("eve", Role::Admin).unwrap();
    let (token, _) = served.token("eve", Role::Viewer);
    let by_certificate = served.connect(Some(certificate(&eve, b"eve"))).await;
    let by_token = served.connect(None).await;
    let north = served.connect(Some(silo(1))).await;
    assert_eq!(shut_out(&call(&by_certificate, STATUS, None).await), None);
    served.registry.deny(Whom::Operator("eve".into()), "left us", "ada", NOW_S).unwrap();
    served.registry.deny(Whom::Certificate(silo(1).fingerprint), "stolen", "ada", NOW_S).unwrap();
    served.reported();
    for path in [PAUSE, AUTHORITY] {
        assert_eq!(reason(call(&by_certificate, path, None).await), "DENIED");
        assert_eq!(reason(call(&by_token, path, Some(&token)).await), "DENIED");
        assert_eq!(reason(call(&north, path, None).await), "DENIED");
    }
    let outcomes: Vec<CallOutcome> = served.reported().into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes.len(), 6);
    for outcome in outcomes {
        assert!(matches!(&outcome, CallOutcome::Refused { reason, .. } if reason == "DENIED"), "{outcome:?}");
    }
    // A good token does not help a barred certificate.
    let (good, _) = served.token("ada", Role::Admin);
    assert_eq!(reason(call(&by_certificate, STATUS, Some(&good)).await), "DENIED");
}

#[tokio::test]
async fn who_calls_too_often_learns_when_to_come_back_and_others_are_served() {
    let served = Served::new(&rates(2));
    let channel = served.connect(None).await;
    let (viv, _) = served.token("viv", Role::Viewer);
    let (vera, _) = served.token("vera", Role::Viewer);
    for _ in 0..2 {
        assert_eq!(shut_out(&call(&channel, STATUS, Some(&viv)).await), None);
    }
    let status = call(&channel, STATUS, Some(&viv)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let hint = status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs();
    assert!((3500..=3600).contains(&hint), "{hint}");
    assert_eq!(reason::<()>(Err(status)), "TOO_OFTEN");
    assert_eq!(shut_out(&call(&channel, STATUS, Some(&vera)).await), None);

    // Strangers are counted by their address, on however many connections.
    for _ in 0..2 {
        let stranger = served.connect(None).await;
        assert!(call(&stranger, AUTHORITY, None).await.is_ok());
    }
    let stranger = served.connect(None).await;
    assert_eq!(reason(call(&stranger, AUTHORITY, None).await), "TOO_OFTEN");
}

#[tokio::test]
async fn each_refusal_and_each_call_of_an_administrator_is_reported() {
    let served = Served::new(&rates(3));
    let channel = served.connect(None).await;
    let (olga, id) = served.token("olga", Role::Operator);
    let why = call(&channel, PAUSE, Some(&olga)).await.unwrap_err();
    let [begun, failed] = &served.reported()[..] else { panic!("two records") };
    assert_eq!((begun.rpc.as_str(), &begun.outcome), (PAUSE, &CallOutcome::Begun));
    assert_eq!(begun.caller.name, "olga");
    assert_eq!(begun.caller.role, Some(Role::Operator));
    assert_eq!(begun.caller.proof, Proof::Token { id });
    assert!(begun.caller.address.unwrap().ip().is_loopback());
    let outcome = CallOutcome::Failed { reason: "INVALID".into(), text: why.message().into() };
    assert_eq!(failed.outcome, outcome, "a pause without a reason is the service's to refuse");

    let north = served.connect(Some(silo(1))).await;
    let why = call(&north, PAUSE, None).await.unwrap_err();
    let [refused] = &served.reported()[..] else { panic!("one record") };
    assert_eq!(refused.caller.name, "silo/1");
    assert_eq!(refused.caller.subject, Some(Subject::Silo(ClientId(1))));
    assert_eq!(
        refused.outcome,
        CallOutcome::Refused { reason: "WRONG_ROLE".into(), text: why.message().into() }
    );

    assert_eq!(shut_out(&call(&channel, STATUS, Some(&olga)).await), None);
    assert!(served.reported().is_empty(), "what is only read is not recorded");
    for _ in 0..10 {
        assert!(call(&channel, PAUSE, None).await.is_err());
    }
    assert_eq!(served.reported().len(), 10, "whoever keeps the log counts them");
}

#[tokio::test]
async fn the_path_of_an_rpc_that_nobody_offers_is_cut_before_anybody_keeps_it() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let path = format!("/{}", "x".repeat(8_000));
    let status = call(&channel, path.leak(), None).await.unwrap_err();
    assert!(status.message().len() < 300, "{}", status.message().len());
    let [refused] = &served.reported()[..] else { panic!("one record") };
    assert!(refused.rpc.len() <= 128, "{}", refused.rpc.len());
    let CallOutcome::Refused { reason, text } = &refused.outcome else { panic!("{refused:?}") };
    assert_eq!(reason, "UNKNOWN_RPC");
    assert!(text.len() < 300, "{}", text.len());
}

#[tokio::test]
async fn whoever_shows_no_certificate_is_counted_before_its_token_or_its_path_is_looked_up() {
    let mut few = rates(100);
    few.unproven.burst = std::num::NonZeroU32::new(3).unwrap();
    let served = Served::new(&few);
    let channel = served.connect(None).await;
    let foreign = "fmtoken1.wrong";
    assert_eq!(reason(call(&channel, "/a.B/C", None).await), "UNKNOWN_RPC");
    assert_eq!(reason(call(&channel, STATUS, Some(foreign)).await), "ACCESS_TOKEN_UNKNOWN");
    assert_eq!(reason(call(&channel, STATUS, None).await), "UNAUTHENTICATED");
    assert_eq!(reason(call(&channel, "/a.B/C", None).await), "TOO_OFTEN");
    assert_eq!(reason(call(&channel, STATUS, Some(foreign)).await), "TOO_OFTEN");
    let north = served.connect(Some(silo(1))).await;
    assert!(call(&north, SESSION, None).await.is_ok(), "a certificate is counted by its name");
}

#[tokio::test]
async fn no_secret_is_in_what_is_shown_reported_or_kept() {
    let served = Served::new(&rates(100));
    let channel = served.connect(None).await;
    let (ada, _) = served.token("ada", Role::Admin);
    assert!(call(&channel, PAUSE, Some(&ada)).await.is_err());
    assert!(call(&channel, PAUSE, Some(&format!("{ada}x"))).await.is_err());
    let kept = std::fs::read_to_string(served.folder.path().join("access.json")).unwrap();
    let shown = format!("{:?} {:?} {:?} {kept}", served.guard, served.registry, served.reported());
    let secret = ada.strip_prefix("fmtoken1.").unwrap();
    assert!(shown.contains("ada"));
    assert!(!shown.contains(&secret[..12]), "{shown}");
    assert!(!format!("{}", AccessError::UnknownToken).contains(&secret[..12]));
}
