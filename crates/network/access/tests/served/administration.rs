//! What administrators and operators do, over the wire.

use identity::{AccessToken, Role, Roster, SignedRoster, Subject};
use params::Digest;
use tonic::transport::Channel;
use tonic::{Response, Status};
use wire::v1;
use wire::v1::admin_client::AdminClient;
use wire::v1::register_token_request::Purpose;

use access::RegistryError;
use chacha20::{ChaCha20Rng, rand_core::SeedableRng};

use crate::harness::{
    NOW_S, Served, call, certificate, key, public, rates, reason, roster, silo, with_token,
};

struct Ada {
    admin: AdminClient<Channel>,
    channel: Channel,
    token: String,
}

/// An administrator at the desk.
async fn ada(served: &Served) -> Ada {
    let channel = served.connect(None).await;
    let (token, _) = served.token("ada", Role::Admin);
    Ada { admin: AdminClient::new(channel.clone()), channel, token }
}

impl Ada {
    async fn submit(&mut self, signed: &SignedRoster) -> Result<Response<v1::Done>, Status> {
        let roster = serde_json::to_string(signed).unwrap();
        self.admin.submit_roster(with_token(v1::SubmitRosterRequest { roster }, &self.token)).await
    }

    async fn clients(&mut self) -> Vec<(u32, String, String)> {
        let listed = self.admin.list_clients(with_token(v1::ListClientsRequest {}, &self.token)).await;
        let clients = listed.unwrap().into_inner().clients;
        clients.into_iter().map(|client| (client.id, client.name, client.state)).collect()
    }
}

#[tokio::test]
async fn a_registered_token_opens_the_door_until_it_is_withdrawn() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    let made = AccessToken::generate(&mut ChaCha20Rng::seed_from_u64(77));
    let text = made.to_text();
    let register = |role: &str| v1::RegisterTokenRequest {
        secret_hash: made.secret_hash().as_bytes().to_vec(),
        expires_s: NOW_S + 60,
        purpose: Some(Purpose::Operator(v1::OperatorToken { name: "olga".into(), role: role.into() })),
    };
    for role in ["client", "root"] {
        assert_eq!(reason(ada.admin.register_token(with_token(register(role), &ada.token)).await), "INVALID");
    }
    ada.admin.register_token(with_token(register("operator"), &ada.token)).await.unwrap();
    let again = ada.admin.register_token(with_token(register("admin"), &ada.token)).await;
    assert_eq!(reason(again), "TOKEN_REPEATED");

    let mut olga = AdminClient::new(ada.channel.clone());
    let pause = || v1::PauseRequest { reason: "odd losses".into(), ..Default::default() };
    let done = olga.pause(with_token(pause(), &text)).await.unwrap().into_inner();
    assert_eq!(done.text, "paused by olga: odd losses");

    let listed = ada.admin.list_tokens(with_token(v1::ListTokensRequest {}, &ada.token)).await.unwrap();
    let listed = listed.into_inner().tokens;
    let entry = listed.iter().find(|token| token.purpose == "operator olga").unwrap();
    assert_eq!(entry.id, made.secret_hash().to_string()[..8]);
    assert_eq!(entry.state, "good");
    let id = entry.id.clone();
    ada.admin.withdraw_token(with_token(v1::WithdrawTokenRequest { id }, &ada.token)).await.unwrap();
    assert_eq!(reason(olga.pause(with_token(pause(), &text)).await), "ACCESS_TOKEN_WITHDRAWN");
}

#[tokio::test]
async fn an_operators_certificate_is_issued_for_a_bounded_time_and_to_no_barred_name() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    let request = |name: &str, role: &str, lifetime_s| v1::IssueOperatorRequest {
        name: name.into(),
        role: role.into(),
        certificate_request: b"csr".to_vec(),
        lifetime_s,
    };
    let day = 86_400;
    let issued = ada.admin.issue_operator(with_token(request("rex", "auditor", 90 * day), &ada.token)).await;
    let issued = issued.unwrap().into_inner();
    assert_eq!(issued.chain, format!("folkmoot:operator/auditor/rex from {}", hex::encode(b"csr")));
    assert_eq!(issued.not_after_s, NOW_S + 90 * day);
    let bar = |whom: &str| v1::RevokeAccessRequest { whom: whom.into(), reason: "left us".into() };
    let barred = ada.admin.revoke_access(with_token(bar("rex"), &ada.token)).await.unwrap().into_inner();
    assert_eq!(
        (barred.text.as_str(), barred.warning.as_str()),
        ("`rex` is barred and its calls are ended", "")
    );
    for refused in [
        request("rex", "viewer", day),
        request("sue", "viewer", 90 * day + 1),
        request("sue", "viewer", 0),
        request("sue", "client", day),
        request("a/b", "viewer", day),
    ] {
        assert_eq!(reason(ada.admin.issue_operator(with_token(refused, &ada.token)).await), "INVALID");
    }
}

#[tokio::test]
async fn a_bar_holds_for_a_name_that_a_restart_forgot_and_warns_that_it_may_be_a_slip() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    // `init` made her certificate, and she has not called since the start.
    let mallory = Subject::operator("mallory", Role::Operator).unwrap();
    let bar = v1::RevokeAccessRequest { whom: "mallory".into(), reason: "stolen folder".into() };
    let done = ada.admin.revoke_access(with_token(bar, &ada.token)).await.unwrap().into_inner();
    assert!(done.text.contains("barred") && done.text.contains("nobody of this name is known"), "{done:?}");
    assert!(done.warning.contains("folkmoot access restore mallory"), "{done:?}");
    let hers = served.connect(Some(certificate(&mallory, b"init"))).await;
    assert_eq!(reason(call(&hers, "/folkmoot.v1.Operator/Status", None).await), "DENIED");
}

#[tokio::test]
async fn a_roster_is_put_in_force_and_who_is_missing_from_it_is_out() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    let south = served.connect(Some(silo(2))).await;
    let session = "/folkmoot.v1.Federation/Session";
    assert!(call(&south, session, None).await.is_ok());
    let next = roster(2, &[(1, "north", 1), (3, "west", 3)]).sign(&key(100));
    let done = ada.submit(&next).await.unwrap().into_inner();
    assert_eq!(done.text, "the roster of epoch 2 with 2 members is in force");
    assert_eq!(*served.run.roster.lock().unwrap(), next);
    assert_eq!(served.run.take_asked(), ["removed 2"]);
    assert_eq!(reason(call(&south, session, None).await), "DENIED");
    // The same again completes what was begun, and changes nothing.
    ada.submit(&next).await.unwrap();
    let members = [(1, "north".into(), "member".into()), (3, "west".into(), "member".into())];
    assert_eq!(ada.clients().await, members);

    // The authority takes it back.
    let back = roster(3, &[(1, "north", 1), (2, "south", 2), (3, "west", 3)]).sign(&key(100));
    ada.submit(&back).await.unwrap();
    assert!(call(&south, session, None).await.is_ok());
}

#[tokio::test]
async fn who_was_revoked_stays_out_though_a_later_roster_still_names_it() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    let north = served.connect(Some(silo(1))).await;
    let revoke = || v1::RevokeClientRequest { client: 1, reason: "its disk was sold".into() };
    ada.admin.revoke_client(with_token(revoke(), &ada.token)).await.unwrap();
    // Again: what followed may have failed.
    ada.admin.revoke_client(with_token(revoke(), &ada.token)).await.unwrap();
    assert_eq!(served.run.take_asked(), ["removed 1", "removed 1"]);
    let next = roster(2, &[(1, "north", 1), (2, "south", 2), (3, "west", 3)]).sign(&key(100));
    ada.submit(&next).await.unwrap();
    let refused = call(&north, "/folkmoot.v1.Federation/Session", None).await.unwrap_err();
    assert!(refused.message().contains("its disk was sold"), "{refused}");
    assert_eq!(ada.clients().await[0], (1, "north".into(), "revoked".into()));
    let stranger = v1::RevokeClientRequest { client: 9, reason: "who?".into() };
    assert_eq!(reason(ada.admin.revoke_client(with_token(stranger, &ada.token)).await), "NO_SUCH_ENTRY");
}

#[tokio::test]
async fn a_roster_that_is_older_foreign_or_contradicts_the_one_in_force_is_refused() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    let good = || roster(2, &[(1, "north", 1), (2, "south", 2)]);
    let foreign = good().sign(&key(101));
    assert_eq!(reason(ada.submit(&foreign).await), "ROSTER_SIGNATURE");
    let mut altered = good().sign(&key(100));
    altered.roster = altered.roster.replace("south", "mouth");
    assert_eq!(reason(ada.submit(&altered).await), "ROSTER_SIGNATURE");
    for epoch in [0, 1] {
        let old = roster(epoch, &[(1, "north", 1)]).sign(&key(100));
        assert_eq!(reason(ada.submit(&old).await), "ROSTER_EPOCH");
    }
    type Edit = fn(&mut Roster);
    let edits: [(Edit, &str); 4] = [
        (|roster| roster.federation = "banks".into(), "another federation"),
        (|roster| roster.coordinator_key = public(98), "another key of the coordinator"),
        (
            |roster| {
                let north = roster.members.remove(&secagg::ClientId(1)).unwrap();
                roster.members.insert(secagg::ClientId(5), north);
            },
            "another number",
        ),
        (
            |roster| roster.members.get_mut(&secagg::ClientId(2)).unwrap().identity_key = public(9),
            "another key",
        ),
    ];
    for (edit, because) in edits {
        let mut wrong = good();
        edit(&mut wrong);
        let status = ada.submit(&wrong.sign(&key(100))).await.unwrap_err();
        assert!(status.message().contains(because), "{status}");
        assert_eq!(reason::<()>(Err(status)), "ROSTER");
    }
    // A number is nobody else's, even after its silo left.
    ada.submit(&roster(2, &[(1, "north", 1)]).sign(&key(100))).await.unwrap();
    let reused = roster(3, &[(1, "north", 1), (2, "west", 3)]).sign(&key(100));
    assert_eq!(reason(ada.submit(&reused).await), "ROSTER");
    let text = v1::SubmitRosterRequest { roster: "{}".into() };
    assert_eq!(reason(ada.admin.submit_roster(with_token(text, &ada.token)).await), "ROSTER");
}

#[tokio::test]
async fn what_is_done_to_a_run_reaches_it_with_who_did_it_and_why() {
    let served = Served::new(&rates(100));
    let Ada { mut admin, token, .. } = ada(&served).await;
    admin
        .pause(with_token(v1::PauseRequest { reason: " a storm ".into(), ..Default::default() }, &token))
        .await
        .unwrap();
    admin.resume(with_token(v1::ResumeRequest::default(), &token)).await.unwrap();
    let quarantine = v1::QuarantineRequest { round: 7, reason: "poisoned".into(), ..Default::default() };
    admin.quarantine(with_token(quarantine, &token)).await.unwrap();
    let back = v1::RollbackRequest { to_round: 6, reason: "poisoned".into(), ..Default::default() };
    admin.rollback(with_token(back, &token)).await.unwrap();
    admin.rotate_keys(with_token(v1::RotateKeysRequest {}, &token)).await.unwrap();
    let asked = [
        "paused by ada: a storm",
        "resumed by ada",
        "round 7 quarantined by ada: poisoned",
        "rolled back to 6 by ada: poisoned",
        "rotated by ada",
    ];
    assert_eq!(served.run.take_asked(), asked);
    // One of several is named; half a name is none.
    let run = Digest::sha256(b"run");
    let resume = |run: &[u8]| v1::ResumeRequest { run: run.to_vec() };
    admin.resume(with_token(resume(run.as_bytes()), &token)).await.unwrap();
    assert_eq!(served.run.take_asked(), [format!("resumed in {run} by ada")]);
    let half = admin.resume(with_token(resume(&[7; 16]), &token)).await.unwrap_err();
    assert_eq!(half.message(), "run: 16 bytes instead of 32");
    for reason_text in ["", "\u{1b}[2J", &"x".repeat(2000)] {
        let quarantine = v1::QuarantineRequest { round: 7, reason: reason_text.into(), ..Default::default() };
        assert_eq!(reason(admin.quarantine(with_token(quarantine, &token)).await), "INVALID");
    }
}

#[tokio::test]
async fn an_incident_is_opened_noted_and_closed_once() {
    let served = Served::new(&rates(100));
    let Ada { mut admin, token, .. } = ada(&served).await;
    let open = v1::OpenIncidentRequest { title: "strange losses in round 7".into() };
    let opened = admin.open_incident(with_token(open, &token)).await.unwrap().into_inner();
    assert_eq!((opened.id.as_str(), opened.opened_by.as_str()), ("INC-0001", "ada"));
    served.pass(60);
    let note = || v1::NoteIncidentRequest { id: "INC-0001".into(), text: "paused the run".into() };
    admin.note_incident(with_token(note(), &token)).await.unwrap();
    let close = || v1::CloseIncidentRequest { id: "INC-0001".into(), resolution: "rolled back".into() };
    admin.close_incident(with_token(close(), &token)).await.unwrap();
    assert_eq!(reason(admin.note_incident(with_token(note(), &token)).await), "SETTLED");
    assert_eq!(reason(admin.close_incident(with_token(close(), &token)).await), "SETTLED");
    let unknown = v1::CloseIncidentRequest { id: "INC-0002".into(), resolution: "?".into() };
    assert_eq!(reason(admin.close_incident(with_token(unknown, &token)).await), "NO_SUCH_ENTRY");
    let listed = admin.list_incidents(with_token(v1::ListIncidentsRequest {}, &token)).await.unwrap();
    let [incident] = &listed.into_inner().incidents[..] else { panic!("one incident") };
    let notes: Vec<&str> = incident.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes, ["paused the run", "rolled back"]);
    assert_eq!(incident.closed_ms, Some((NOW_S + 60) * 1000));
}

#[tokio::test]
async fn a_change_that_cannot_be_saved_is_not_made() {
    let served = Served::new(&rates(100));
    let mut ada = ada(&served).await;
    // In the way of the file that each change writes first.
    std::fs::create_dir(served.folder.path().join("access.json.tmp")).unwrap();
    let revoke = v1::RevokeClientRequest { client: 1, reason: "stolen".into() };
    assert_eq!(reason(ada.admin.revoke_client(with_token(revoke, &ada.token)).await), "NOT_SAVED");
    assert!(served.registry.denials().is_empty());
    assert_eq!(ada.clients().await[0].2, "member");
    let denied = served.registry.deny(access::Whom::Operator("eve".into()), "left", "ada", NOW_S);
    assert_eq!(denied, Err(RegistryError::NotSaved));
}
