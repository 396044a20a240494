//! A coordinator that lies in the middle of a round: the daemon answers nothing that it should not, and its journal says
//! what it did.

use std::collections::BTreeSet;
use std::future::Future;

use client::{Ended, RunError};
use identity::Plan;
use params::{Digest, Params};
use protocol::{Attempt, ClientRecord, CoordinatorFault, Decline, ToClient, ToCoordinator, UploadHeader};
use secagg::{ClientId, IncludedSignature};
use store::{FileStore, JournalKind, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::mock::{FIRST, ME, Process, Session, genesis, roster, silo};
use super::peers::Peers;

/// How far an honest coordinator brings the daemon before it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Advertised,
    Shared,
    Uploaded,
    Signed,
    Answered,
}

/// The daemon in the first round of a run of four.
struct Stage {
    folder: tempfile::TempDir,
    plan: Plan,
    process: Process,
    session: Session,
    peers: Peers,
    stop: oneshot::Sender<()>,
    daemon: JoinHandle<Result<Ended, RunError>>,
    upload: Option<UploadHeader>,
    own_signature: Option<IncludedSignature>,
    answer: Option<ToCoordinator>,
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<ClientId> {
    numbers.into_iter().map(ClientId).collect()
}

/// Welcomed, shown the genesis record, checked in.
async fn joined(process: &mut Process, plan: &Plan) -> Session {
    let mut session = process.session().await;
    assert!(matches!(session.welcome(plan).await, ToCoordinator::CheckIn { .. }));
    session.say(ToClient::Published(genesis(plan).0)).await;
    session
}

fn started(config: client::Config) -> (oneshot::Sender<()>, JoinHandle<Result<Ended, RunError>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move {
        // A test that ends takes its daemon with it.
        let _ = stopped.await;
    };
    (stop, tokio::spawn(client::run(config, until)))
}

fn open(plan: &Plan, at: Attempt) -> ToClient {
    ToClient::Open { at, model: plan.initial_model().digest() }
}

impl Stage {
    async fn at(step: Step) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = sim::plan(4, 9);
        let model = plan.initial_model().digest();
        let chunks = wire::model_chunks(0, model, genesis(&plan).1.into()).collect();
        let mut process = Process::start("127.0.0.1:0", chunks);
        let (stop, daemon) = started(silo(folder.path(), process.address, 3));
        let mut session = joined(&mut process, &plan).await;
        session.say(open(&plan, FIRST)).await;
        let ToCoordinator::Advertise { at: FIRST, advert } = session.heard().await else {
            panic!("no advert")
        };
        let peers = Peers::new(&plan, advert);
        let (upload, own_signature, answer) = (None, None, None);
        let mut stage =
            Self { folder, plan, process, session, peers, stop, daemon, upload, own_signature, answer };
        if step >= Step::Shared {
            stage.session.say(stage.peers.roster()).await;
            let ToCoordinator::ShareKeys { at: FIRST, bundle } = stage.session.heard().await else {
                panic!("no shares")
            };
            stage.peers.share(bundle);
        }
        if step >= Step::Uploaded {
            stage.session.say(stage.peers.delivery(&[])).await;
            stage.upload = stage.process.uploads.recv().await;
            stage.session.say(ToClient::UploadDurable { at: FIRST }).await;
        }
        if step >= Step::Signed {
            stage.session.say(ToClient::Included { at: FIRST, included: ids(1..=4) }).await;
            let ToCoordinator::SignIncluded { signature, .. } = stage.session.heard().await else {
                panic!("no signature")
            };
            stage.own_signature = Some(signature);
        }
        if step >= Step::Answered {
            stage.session.say(stage.request(&ids(1..=4), &ids([2, 3]))).await;
            let answer = stage.session.heard().await;
            assert!(matches!(answer, ToCoordinator::Unmask { .. }), "{answer:?}");
            stage.answer = Some(answer);
        }
        stage
    }

    /// A request for this set, signed by these silos and, where it did, by the daemon.
    fn request(&self, set: &[ClientId], of: &[ClientId]) -> ToClient {
        let mut signatures: Vec<IncludedSignature> = self.own_signature.into_iter().collect();
        signatures.extend(self.peers.signatures(&set.iter().copied().collect::<BTreeSet<_>>(), of));
        ToClient::UnmaskRequest { at: FIRST, included: set.to_vec(), signatures }
    }

    async fn hears(&mut self, lie: ToClient) -> ToCoordinator {
        self.session.say(lie).await;
        self.session.heard().await
    }

    /// Stops the daemon, and reads its journal.
    async fn journal(self) -> Vec<ClientRecord> {
        drop(self.stop);
        drop(self.session);
        self.daemon.await.unwrap().unwrap();
        let opened =
            FileStore::open(&self.folder.path().join("state"), JournalKind::Client, |_, _, _| Ok(()));
        let records = opened.unwrap().store.replay().unwrap();
        records.iter().map(|bytes| ClientRecord::decode(bytes).unwrap()).collect()
    }
}

/// How often the journal holds a debit, a signature, an answer.
fn said(journal: &[ClientRecord]) -> [usize; 3] {
    let count = |is: fn(&ClientRecord) -> bool| journal.iter().filter(|record| is(record)).count();
    [
        count(|record| matches!(record, ClientRecord::Debited { .. })),
        count(|record| matches!(record, ClientRecord::SignedIncluded { .. })),
        count(|record| matches!(record, ClientRecord::Unmasked { .. })),
    ]
}

fn declined(fault: CoordinatorFault) -> ToCoordinator {
    ToCoordinator::Declined { round: Some(1), reason: Decline::CoordinatorFault(fault) }
}

/// A lie at `step`, what the daemon says to it, and how often its journal then says debit, signature, answer. After it,
/// what is sound is answered no more.
async fn assert_refused(
    case: &str,
    step: Step,
    lie: impl FnOnce(&Stage) -> ToClient,
    fault: CoordinatorFault,
    journalled: [usize; 3],
) {
    let mut stage = Stage::at(step).await;
    let lie = lie(&stage);
    assert_eq!(stage.hears(lie).await, declined(fault), "{case}");
    let sound = stage.peers.roster();
    let sits_out = ToCoordinator::Declined { round: Some(1), reason: Decline::SitsOut };
    assert_eq!(stage.hears(sound).await, sits_out, "{case}: the attempt is over");
    assert_eq!(said(&stage.journal().await), journalled, "{case}");
}

fn roster_with(stage: &Stage, edit: impl FnOnce(&mut Vec<secagg::Advert>)) -> ToClient {
    let mut adverts = stage.peers.adverts.clone();
    edit(&mut adverts);
    ToClient::Roster { at: FIRST, adverts }
}

fn delivery_with(stage: &Stage, edit: impl FnOnce(&mut secagg::Delivery)) -> ToClient {
    let ToClient::Deliver { at, mut delivery } = stage.peers.delivery(&[]) else { unreachable!() };
    edit(&mut delivery);
    ToClient::Deliver { at, delivery }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_coordinator_is_answered_at_every_step_once() {
    let stage = Stage::at(Step::Answered).await;
    let upload = stage.upload.clone().unwrap();
    assert_eq!((upload.client, upload.at), (ME, FIRST));
    let journal = stage.journal().await;
    assert_eq!(said(&journal), [1, 1, 1]);
    assert!(journal.iter().any(
        |record| matches!(record, ClientRecord::Debited { upload: digest, .. } if *digest == upload.digest)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cohort_that_was_tampered_with_gets_no_shares() {
    type Edit = fn(&mut Vec<secagg::Advert>);
    let cases: [(&str, Edit); 7] = [
        ("a swapped transport key", |adverts| adverts[1].ek_pub = adverts[2].ek_pub),
        ("a swapped mask key", |adverts| adverts[3].mk_pub[4] ^= 1),
        ("another commitment", |adverts| adverts[2].commitment = [0; 32]),
        ("the daemon's own advert changed", |adverts| adverts[0].commitment = [0; 32]),
        ("one silo twice", |adverts| adverts[2] = adverts[1].clone()),
        ("not in order", |adverts| adverts.swap(1, 2)),
        ("below the floor", |adverts| adverts.truncate(2)),
    ];
    for (case, edit) in cases {
        let lie = |stage: &Stage| roster_with(stage, edit);
        assert_refused(case, Step::Advertised, lie, CoordinatorFault::Cohort, [0, 0, 0]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cohorts_and_two_deliveries_end_the_attempt() {
    let three = |stage: &Stage| roster_with(stage, |adverts| adverts.truncate(3));
    let fault = CoordinatorFault::Equivocation;
    assert_refused("another cohort", Step::Shared, three, fault, [0, 0, 0]).await;
    let other = |stage: &Stage| stage.peers.delivery(&[ClientId(4)]);
    assert_refused("another U2 after the upload", Step::Uploaded, other, fault, [1, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_tampered_with_gets_no_vector() {
    type Edit = fn(&mut secagg::Delivery);
    let cases: [(&str, Edit); 5] = [
        ("a changed ciphertext", |delivery| delivery.shares[0].ciphertext[0] ^= 1),
        ("changed commitments", |delivery| delivery.shares[1].commitments.self_mask[0] ^= 1),
        ("a share withheld", |delivery| drop(delivery.shares.pop())),
        ("a member's root changed", |delivery| delivery.members[2].merkle_root[0] ^= 1),
        ("below the threshold", |delivery| {
            delivery.members.truncate(2);
            delivery.shares.truncate(1);
        }),
    ];
    for (case, edit) in cases {
        let lie = |stage: &Stage| delivery_with(stage, edit);
        assert_refused(case, Step::Shared, lie, CoordinatorFault::Delivery, [0, 0, 0]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_included_set_that_breaks_the_rules_or_a_second_one_is_not_signed() {
    for (case, included) in [
        ("without the silo", ids(2..=4)),
        ("below the quorum", ids(1..=2)),
        ("with a stranger", ids([1, 2, 3, 9])),
        ("empty", vec![]),
    ] {
        let lie = |_: &Stage| ToClient::Included { at: FIRST, included };
        assert_refused(case, Step::Uploaded, lie, CoordinatorFault::Included, [1, 0, 0]).await;
    }
    let second = |_: &Stage| ToClient::Included { at: FIRST, included: ids(1..=3) };
    assert_refused("a second set", Step::Signed, second, CoordinatorFault::Equivocation, [1, 1, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victim_named_both_ways_is_opened_one_way_at_most() {
    // First alive, then dead, with a quorum's signatures on either.
    let other = |stage: &Stage| {
        let set = ids(1..=3).into_iter().collect();
        let signatures = stage.peers.signatures(&set, &ids([1, 2, 3]));
        ToClient::UnmaskRequest { at: FIRST, included: ids(1..=3), signatures }
    };
    let fault = CoordinatorFault::Equivocation;
    assert_refused("before the first answer", Step::Signed, other, fault, [1, 1, 0]).await;

    let mut stage = Stage::at(Step::Answered).await;
    let lie = other(&stage);
    assert_eq!(stage.hears(lie).await, declined(CoordinatorFault::UnmaskRequest));
    // The request that was answered gets the same bytes again.
    let again = stage.request(&ids(1..=4), &ids([2, 3, 4]));
    assert_eq!(Some(stage.hears(again).await), stage.answer);
    assert_eq!(said(&stage.journal().await), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_quorum_opens_nothing_and_the_sound_one_still_does() {
    let mut stage = Stage::at(Step::Signed).await;
    let everyone = ids(1..=4);
    // t = 3. Only the last of these is answered: the first answer that is heard is the answer to it.
    stage.session.say(stage.request(&everyone, &ids([2]))).await;
    stage.session.say(stage.request(&everyone, &ids([2, 2]))).await;
    let foreign = stage.peers.signatures(&ids(1..=3).into_iter().collect(), &ids([2, 3, 4]));
    let signatures = stage.own_signature.into_iter().chain(foreign).collect();
    stage.session.say(ToClient::UnmaskRequest { at: FIRST, included: everyone.clone(), signatures }).await;
    let sound = stage.request(&everyone, &ids([2, 3]));
    assert!(matches!(stage.hears(sound).await, ToCoordinator::Unmask { at: FIRST, .. }));
    assert_eq!(said(&stage.journal().await), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_attempt_after_an_upload_and_no_other_model_than_the_chains_is_trained_on() {
    let mut stage = Stage::at(Step::Uploaded).await;
    let second = open(&stage.plan, Attempt { round: 1, attempt: 2 });
    let sits_out = ToCoordinator::Declined { round: Some(1), reason: Decline::SitsOut };
    assert_eq!(stage.hears(second).await, sits_out, "a second attempt after the upload");
    let other = ToClient::Open { at: Attempt { round: 2, attempt: 1 }, model: Digest::sha256(b"poison") };
    let fault = Decline::CoordinatorFault(CoordinatorFault::Model);
    assert_eq!(
        stage.hears(other).await,
        ToCoordinator::Declined { round: Some(2), reason: fault },
        "a model that is not the chain's head"
    );
    assert_eq!(said(&stage.journal().await), [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_than_the_signed_one_is_fetched_and_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sim::plan(4, 9);
    // Sound in itself and of the right shape: another model's file under the signed digest.
    let signed = plan.initial_model();
    let values = signed.values().iter().map(|value| value + 1.0).collect();
    let poisoned = Params::new(signed.layout().clone(), values).unwrap();
    let file = checkpoint::model_bytes(&poisoned, &std::collections::BTreeMap::new());
    let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
    let mut process = Process::start("127.0.0.1:0", chunks);
    let (_stop, _daemon) = started(silo(folder.path(), process.address, 3));
    let mut session = joined(&mut process, &plan).await;
    session.say(open(&plan, FIRST)).await;
    let expected = ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable };
    assert_eq!(session.heard().await, expected, "the reason stays in the silo's own log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_another_roster_or_with_a_weaker_plan_is_refused_at_the_door() {
    let plan = sim::plan(4, 9);
    let mut weaker = plan.clone();
    weaker.cohort.minimum = 3;
    weaker.cohort.honest_min = 1;
    for (case, offered, pinned, fault) in [
        ("another roster", &plan, Digest::sha256(b"an older epoch"), Some(CoordinatorFault::Roster)),
        ("a plan below the policy's floor", &weaker, roster().digest(), None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start("127.0.0.1:0", vec![]);
        let (_stop, daemon) = started(silo(folder.path(), process.address, 3));
        let mut session = process.session().await;
        session.greet().await;
        let run_id = Digest::sha256(b"run");
        session.say(ToClient::Welcome { run_id, plan: offered.to_canonical(), roster: pinned }).await;
        let heard = session.heard().await;
        let ToCoordinator::Declined { round: None, reason } = heard else { panic!("{case}: {heard:?}") };
        match fault {
            Some(fault) => assert_eq!(reason, Decline::CoordinatorFault(fault), "{case}"),
            None => assert!(!matches!(reason, Decline::Unavailable | Decline::SitsOut), "{case}: {reason}"),
        }
        drop(session);
        assert_eq!(daemon.await.unwrap().unwrap_err().exit_code(), 3, "{case}");
    }
}

/// Plays a server of raw bytes to one connection; the daemon must come back with another.
async fn comes_back_after<F: Future<Output = ()>>(answer: impl FnOnce(tokio::net::TcpStream) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, daemon) = started(silo(folder.path(), listener.local_addr().unwrap(), 3));
    let (first, _) = listener.accept().await.unwrap();
    answer(first).await;
    let (_second, _) = listener.accept().await.unwrap();
    drop(stop);
    assert_eq!(daemon.await.unwrap().unwrap(), Ended::ShutDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_and_a_connection_that_is_cut_bring_the_daemon_back() {
    comes_back_after(|mut stream| async move {
        let mut greeting = [0; 24];
        stream.read_exact(&mut greeting).await.unwrap();
        assert!(greeting.starts_with(b"PRI * HTTP/2.0"), "{greeting:?}");
        stream.write_all(&[0xff; 4096]).await.unwrap();
    })
    .await;
    comes_back_after(|stream| async move { drop(stream) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_convert_or_is_too_large_ends_the_session_and_nothing_else() {
    let oversized = wire::v1::ServerEnvelope {
        message: Some(wire::v1::server_envelope::Message::Welcome(wire::v1::Welcome {
            run_id: vec![0; 32],
            plan: vec![0; wire::limits::MESSAGE_BYTES_MAX + 1],
            roster: vec![0; 32],
        })),
    };
    for bad in [wire::v1::ServerEnvelope { message: None }, oversized] {
        let mut stage = Stage::at(Step::Uploaded).await;
        // The session may be gone before the whole of it is taken.
        let _ = stage.session.say.send(Ok(bad)).await;
        let mut session = stage.process.session().await;
        // In the next session the daemon still is where it was: it signs.
        assert_eq!(session.welcome(&stage.plan).await, ToCoordinator::CheckIn { head: Some(0) });
        session.say(ToClient::Included { at: FIRST, included: ids(1..=4) }).await;
        assert!(matches!(session.heard().await, ToCoordinator::SignIncluded { .. }));
        stage.session = session;
        assert_eq!(said(&stage.journal().await), [1, 1, 0]);
    }
}
