//! A coordinator that orders its messages so that one attempt's training could pass for another's.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::{Manifest, SignedManifest};
use identity::IdentityKey;
use ledger::{Limits, Release, What};
use params::{Digest, Params};
use plan::{Contribution, Origin, Plan, PrivacyMode};
use protocol::{Attempt, Decline, ToClient, ToCoordinator};
use secagg::adversary::mask_any;
use secagg::{Advert, Advertised, ClientId, NoiseSeeds, RoundBinding, SharedCohort, SharesSent, sum_into};
use tonic::Status;
use train::BurnTrainer;
use trainer::Trainer;

use crate::federation::{Federation, plan};
use crate::ledger::of_another_daemon;
use crate::mock::{FIRST, ME, genesis, key, roster, welcome};
use crate::step::{Published, SECOND};

/// Identical messages, many more than the daemon's inbox holds: it has enough to do for longer than training takes.
const FLOOD: usize = 3_000;
const ROW: &str = "1,0.9,0.8,0.7\n";
const ENTRIES: u64 = 100;
/// More fetches than there will be.
const EVERY_FETCH: usize = 1 << 20;
/// Floods that are begun until the silo hears one to its end.
const TRIES: usize = 20;

/// Rows that take a while to train on, and a ledger that takes a while to read.
async fn slow(plan: Plan, rows: usize, mode: PrivacyMode) -> Federation {
    let (_, file) = genesis(&plan);
    let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
    let all = Federation::configured(plan, chunks, |config| {
        std::fs::write(&config.data, format!("label,a,b,c\n{}", ROW.repeat(rows))).unwrap();
        config.policy.privacy_modes = [mode].into();
        config.policy.epsilon_max = 1e4;
    })
    .await;
    let limits = Limits { epsilon_max: 1e4, delta: 1e-5, period: None, releases_max: None };
    let other = Digest::sha256(b"another plan");
    for round in 1..=ENTRIES {
        all.ledger().reserve(Release { round, ..of_another_daemon(other) }, None, &limits, 1).unwrap();
    }
    all
}

/// Says `same` again and again, `last` at once behind it, and ends the stream; what is answered meanwhile is thrown away.
/// A silo leaves a session that its answers do not get out of, as they may not on a busy machine: then the rest is not heard.
async fn flood(all: &mut Federation, same: &ToClient, last: Vec<ToClient>) {
    let session = &mut all.session;
    let end = std::iter::once(Err(Status::unavailable("restarting")));
    let messages = std::iter::repeat_n(same, FLOOD).chain(&last);
    let messages: Vec<_> = messages.map(|said| Ok(session.named(said.clone()))).chain(end).collect();
    let talk = async {
        for said in messages {
            if session.say.send(said).await.is_err() {
                return;
            }
        }
    };
    let heard = async { while session.heard.message().await.is_ok_and(|said| said.is_some()) {} };
    tokio::join!(talk, heard);
}

pub(crate) fn binding(run_id: Digest, plan: &Plan, at: Attempt, model: Digest) -> RoundBinding {
    RoundBinding {
        run_id: *run_id.as_bytes(),
        plan_hash: *plan.digest().as_bytes(),
        roster_hash: *roster().digest().as_bytes(),
        round: at.round,
        attempt: at.attempt,
        model_hash: *model.as_bytes(),
    }
}

/// Takes an attempt to its end with three silos that add nothing: what is opened is the daemon's own vector, under masks that
/// cancel for this binding alone.
pub(crate) async fn opened(
    all: &mut Federation,
    binding: &RoundBinding,
    advert: Advert,
    plan: &Plan,
) -> Vec<u32> {
    let at = Attempt { round: binding.round, attempt: binding.attempt };
    let (shared, dealt) = delivered(all, binding, advert, plan).await;
    let (header, mut sum) = all.process.vector().await;
    assert_eq!((header.client, header.at, header.r2.as_bytes()), (ME, at, &shared.r2().0));
    let included = shared.u2();
    let said = all.say(ToClient::Included { at, included: included.iter().copied().collect() }).await;
    let ToCoordinator::SignIncluded { signature, .. } = said else { panic!("{said:?}") };
    let (mut signatures, mut signed) = (vec![signature], BTreeMap::new());
    for (id, (sent, identity)) in dealt {
        let delivery = shared.delivery_for(id).unwrap();
        let (masking, held) = sent.accept_delivery(&delivery, identity.signing_key()).unwrap();
        sum_into(&mut sum, mask_any(masking, vec![0; plan.lanes()]).lanes()).unwrap();
        let (state, signature) = held.sign_included(&included, identity.signing_key()).unwrap();
        signatures.push(signature);
        signed.insert(id, state);
    }
    let request = ToClient::UnmaskRequest {
        at,
        included: included.iter().copied().collect(),
        signatures: signatures.clone(),
    };
    let said = all.say(request).await;
    let ToCoordinator::Unmask { shares, .. } = said else { panic!("{said:?}") };
    let mut answers = BTreeMap::from([(ME, shares)]);
    for (id, state) in signed {
        answers.insert(id, state.unmask(&signatures).unwrap());
    }
    secagg::recover(&shared, &included, &answers).unwrap().remove(&mut sum);
    sum
}

/// Takes an attempt to the daemon's masking, with three silos that wait there.
pub(crate) async fn delivered(
    all: &mut Federation,
    binding: &RoundBinding,
    advert: Advert,
    plan: &Plan,
) -> (SharedCohort, BTreeMap<ClientId, (SharesSent, IdentityKey)>) {
    let at = Attempt { round: binding.round, attempt: binding.attempt };
    let mut adverts = vec![advert];
    let mut peers = BTreeMap::new();
    for byte in 2..=4u8 {
        let (id, identity) = (ClientId(u32::from(byte)), key(byte));
        let (peer, advert) =
            Advertised::new(id, binding.ctx0(), plan.excess_noise(), identity.signing_key(), &mut all.rng);
        adverts.push(advert);
        peers.insert(id, (peer, identity));
    }
    let mut said = all.say(ToClient::Adverts { at, adverts: adverts.clone() }).await;
    while let ToCoordinator::Advertise { .. } = said {
        // Said by itself, and again to a repeated opening.
        said = all.session.heard().await;
    }
    let ToCoordinator::ShareKeys { bundle, .. } = said else { panic!("{said:?}") };
    let mut bundles = BTreeMap::from([(ME, bundle)]);
    let (members, floors) = (roster().member_keys().unwrap(), plan.floors());
    let mut dealt = BTreeMap::new();
    for (id, (peer, identity)) in peers {
        let (sent, bundle) =
            peer.accept_adverts(&adverts, &members, &floors, identity.signing_key(), &mut all.rng).unwrap();
        bundles.insert(id, bundle);
        dealt.insert(id, (sent, identity));
    }
    let shared = dealt[&ClientId(2)].0.cohort().fix_u2(&bundles).unwrap();
    let delivery = shared.delivery_for(ME).unwrap();
    all.session.say(ToClient::Deliver { at, delivery }).await;
    (shared, dealt)
}

/// The update that is this silo's on this model.
fn trained(plan: &Plan, model: &Params, data: &std::path::Path) -> Vec<f32> {
    let data = datasets::Dataset::load(data, None, &plan.data).unwrap();
    let trained = BurnTrainer.train(plan, model, &data, None, [1; 32]).unwrap();
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let mechanism = plan.mechanism().unwrap();
    let origin = Origin { plan: plan.digest(), start: model.digest() };
    let contribution = Contribution::new(origin, trained);
    let protected = mechanism.protect(contribution, origin, &NoiseSeeds::nobody_drops(4), &mut rng).unwrap();
    read(plan, &protected.into_plain_lanes())
}

/// The mean update of a sum.
pub(crate) fn read(plan: &Plan, sum: &[u32]) -> Vec<f32> {
    let state = plan.initial_state(plan.architecture().parameter_count());
    plan.mechanism().unwrap().read_sum(sum, 4, &state).unwrap().update
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_was_trained_on_the_model_that_its_masks_are_bound_to_whatever_the_order_of_messages()
{
    for _ in 0..TRIES {
        if two_models_in_one_attempt().await {
            return;
        }
    }
    panic!("the silo left {TRIES} sessions before the end of a flood");
}

/// False where the silo did not hear the flood to its end.
async fn two_models_in_one_attempt() -> bool {
    let mut all = slow(plan(), 4_000, PrivacyMode::Fedavg).await;
    let plan = all.plan.clone();
    let round = Published::honest(&plan);
    let (before, after) = (plan.initial_model(), round.model.clone());
    let again = ToClient::Open { at: FIRST, model: after.digest() };
    let first = all.open(FIRST);
    let published = round.serve_sum(&all);
    // The training on the second model is not to be in the way of the first one's result.
    let stall = all.process.stalls.clone();
    let last = vec![published, again.clone(), again.clone()];
    let fetched = all.process.first_fetch();
    all.session.say(first.clone()).await;
    fetched.await;
    stall.store(EVERY_FETCH, SeqCst);
    flood(&mut all, &first, last).await;
    all.session = all.process.session().await;
    match all.session.welcome(&plan).await {
        ToCoordinator::CheckIn { head: Some(1), data: None, sandbox: None } => {}
        ToCoordinator::CheckIn { head: Some(0), .. } => return false,
        said => panic!("{said:?}"),
    }
    let mut said = all.say(again).await;
    let mut at = FIRST;
    if let ToCoordinator::Declined { reason, .. } = &said {
        assert_eq!(*reason, Decline::SitsOut, "an attempt with two models is not opened again");
        stall.store(0, SeqCst);
        at = SECOND;
        said = all.say(round.open()).await;
    }
    let ToCoordinator::Advertise { advert, .. } = said else { panic!("{said:?}") };
    let binding = binding(Digest::sha256(b"run"), &plan, at, after.digest());
    let sum = opened(&mut all, &binding, advert, &plan).await;
    let update = read(&plan, &sum);
    let data = all.data();
    let (right, wrong) = (trained(&plan, &after, &data), trained(&plan, &before, &data));
    assert!(distance(&right, &wrong) > 0.01, "the two can be told apart");
    assert!(distance(&update, &wrong) > 0.01, "trained on the model before, masked under the one after it");
    assert!(distance(&update, &right) < 1e-4, "{update:?} is not {right:?}");
    true
}

/// A run with the least noise that a plan can promise, over equal rows.
fn swept(sampling_rate: f64) -> Plan {
    let mut swept = sim::private_plan(4, 9, 50.0);
    (swept.cohort, swept.timing) = (plan().cohort, plan().timing);
    let multiplier = accounting::calibrate(50.0, 1e-5, sampling_rate, 9).unwrap().value();
    let promise = swept.privacy.promise_mut().unwrap();
    (promise.noise_multiplier, promise.scale_bits) = (multiplier, 12);
    let sampling = promise.sampling_mut().unwrap();
    (sampling.rate, sampling.rows_max) = (sampling_rate, 1 << 13);
    swept.validate().unwrap();
    swept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_one_plan_drew_is_never_sent_nor_debited_under_another() {
    for _ in 0..TRIES {
        if two_plans_in_one_attempt().await {
            return;
        }
    }
    panic!("the silo left {TRIES} sessions before the end of a flood");
}

/// False where the silo did not hear the flood to its end.
async fn two_plans_in_one_attempt() -> bool {
    let (whole, sparse) = (swept(1.0), swept(0.01));
    let model = whole.initial_model().digest();
    assert_eq!(model, sparse.initial_model().digest());
    let mut all = slow(whole, 400, PrivacyMode::DistributedDpSgd).await;
    let other_run = Digest::sha256(b"the other run");
    let record = genesis(&sparse).0.verify_strict().unwrap();
    let record = Manifest { run_id: other_run, ..record };
    let record = SignedManifest::sign(&record, key(9).signing_key()).unwrap();
    let first = all.open(FIRST);
    let last = vec![welcome(other_run, &sparse, &roster()), ToClient::Published(record), first.clone()];
    let stall = all.process.stalls.clone();
    let fetched = all.process.first_fetch();
    all.session.say(first.clone()).await;
    fetched.await;
    stall.store(EVERY_FETCH, SeqCst);
    flood(&mut all, &first, last).await;
    all.session = all.process.session().await;
    all.session.greet().await;
    match all.say(welcome(other_run, &sparse, &roster())).await {
        ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None } => {}
        ToCoordinator::CheckIn { head: None, .. } => return false,
        said => panic!("{said:?}"),
    }
    stall.store(0, SeqCst);
    let said = all.say(first).await;
    let said = if let ToCoordinator::Declined { .. } = said { all.session.heard().await } else { said };
    let ToCoordinator::Advertise { advert, .. } = said else { panic!("{said:?}") };
    let sum = opened(&mut all, &binding(other_run, &sparse, FIRST, model), advert, &sparse).await;
    let squares: f64 = sum.iter().map(|lane| f64::from(lane.cast_signed()).powi(2)).sum();
    // At a clip norm of 1 and 12 bits of scale: so many rows as there were in the batch, and a little noise.
    let rows = squares.sqrt() / f64::from(1 << 12);
    let account = all.ledger().inspect().unwrap().account;
    let entry = account.entries().last().unwrap();
    let What::Debit { release, cost, .. } = &entry.what else { panic!("{:?}", entry.what) };
    assert_eq!(
        (release.run, release.plan, cost.event),
        (other_run, sparse.digest(), sparse.event().unwrap())
    );
    assert!(rows < 100.0, "a batch of {rows:.0} rows, debited at a sampling rate of 0.01 of 400");
    true
}
