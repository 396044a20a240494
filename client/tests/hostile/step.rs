//! Lies about the server's step, which the silo does again by itself before anything of a round leaves.

use checkpoint::{Action, Manifest, OptimizerArtifact, SignedManifest};
use client::RunError;
use optim::State;
use params::{Digest, Params};
use plan::Plan;
use protocol::{Attempt, CoordinatorFault, ToClient, ToCoordinator, aggregate_digest, next_model};
use wire::v1::ModelPart;

use crate::federation::{FOLLOWED, Federation, fault, plan};
use crate::mock::{FIRST, genesis, key};

pub(crate) const SECOND: Attempt = Attempt { round: 2, attempt: 1 };

/// What the coordinator says of round 1, and what it serves.
pub(crate) struct Published {
    pub(crate) manifest: Manifest,
    pub(crate) model: Params,
    optimizer: Vec<u8>,
    sum: Vec<u8>,
}

impl Published {
    /// What follows from version 0 and a sum of the three other silos' vectors.
    pub(crate) fn honest(plan: &Plan) -> Self {
        let initial = plan.initial_model();
        let state = plan.initial_state(initial.values().len());
        Self::after(plan, &genesis(plan).0, initial, state)
    }

    /// What follows from this one.
    fn next(&self, plan: &Plan) -> Self {
        let state = State::from_bytes(&self.optimizer).unwrap();
        Self::after(plan, &self.signed(), self.model.clone(), state)
    }

    fn after(plan: &Plan, parent: &SignedManifest, model: Params, state: State) -> Self {
        let before = parent.verify_strict().unwrap();
        let lanes: Vec<u32> = (1..=plan.lanes() as u32).map(|lane| lane << 16).collect();
        let next = next_model(plan, &lanes, 3, &model, state).unwrap();
        let optimizer = next.state.to_bytes();
        let mut published = Self {
            manifest: Manifest {
                round: before.round + 1,
                attempt: 1,
                parent: Some(parent.digest()),
                parent_model: Some(model.digest()),
                optimizer: Some(OptimizerArtifact::of(&optimizer)),
                transcript: Some(Digest::sha256(b"transcript")),
                cohort: vec![2, 3, 4],
                shared: vec![2, 3, 4],
                included: vec![2, 3, 4],
                aggregate_digest: Some(next.aggregate),
                metrics: next.metrics,
                ..before
            },
            model,
            optimizer,
            sum: next.sum,
        };
        published.release(next.params);
        published
    }

    /// Names another model, soundly.
    fn release(&mut self, model: Params) {
        let metadata = checkpoint::model_metadata(&self.manifest.run_id, self.manifest.round);
        let file = checkpoint::model_bytes(&model, &metadata);
        self.manifest.model.sha256 = Digest::sha256(&file);
        self.manifest.model.bytes = file.len() as u64;
        self.manifest.model.params_digest = model.digest();
        self.model = model;
    }

    /// A model made for whoever trains on it, and an optimiser's state of its own.
    fn made_up(&mut self) {
        let mut values = self.model.values().to_vec();
        values[0] += 1.0;
        self.release(Params::new(self.model.layout().clone(), values).unwrap());
    }

    fn signed(&self) -> SignedManifest {
        SignedManifest::sign(&self.manifest, key(9).signing_key()).unwrap()
    }

    /// The record; its sum is there to fetch from now on.
    pub(crate) fn serve_sum(&self, all: &Federation) -> ToClient {
        let (round, model) = (self.manifest.round, self.manifest.model.params_digest);
        all.process.serve(round, ModelPart::Aggregate, model, self.sum.clone());
        ToClient::Published(self.signed())
    }

    pub(crate) async fn say_in(&self, all: &Federation) {
        all.session.say(self.serve_sum(all)).await;
    }

    /// Everything that a silo would need that takes the coordinator's word.
    pub(crate) fn serve_for_the_credulous(&self, all: &Federation) {
        let (name, round) = (self.manifest.model.params_digest, self.manifest.round);
        let metadata = checkpoint::model_metadata(&self.manifest.run_id, round);
        let file = checkpoint::model_bytes(&self.model, &metadata);
        all.process.serve(round, ModelPart::Parameters, name, file);
        all.process.serve(round, ModelPart::Optimizer, name, self.optimizer.clone());
    }

    pub(crate) fn open(&self) -> ToClient {
        let at = Attempt { round: self.manifest.round + 1, attempt: 1 };
        ToClient::Open { at, model: self.manifest.model.params_digest }
    }
}

/// The server's optimiser has a state, which is part of the step.
fn plan_with_momentum() -> Plan {
    let mut plan = plan();
    plan.server = optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.5 };
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_follow_from_the_published_aggregate_is_declined_before_any_advert() {
    type Lie = fn(&mut Published);
    let lies: [(&str, Lie); 6] = [
        ("another model", Published::made_up),
        ("another sum than the record's", |round| round.sum[0] ^= 1),
        ("a sum that is cut short", |round| round.sum.truncate(4)),
        ("another optimiser's state", |round| {
            round.optimizer[0] ^= 1;
            round.manifest.optimizer.as_mut().unwrap().sha256 = Digest::sha256(&round.optimizer);
        }),
        ("another sum, signed, under the same model", |round| {
            round.sum[0] ^= 1;
            round.manifest.aggregate_digest = Some(aggregate_digest(&round.sum));
        }),
        ("no sum at all", |round| {
            round.made_up();
            round.manifest.aggregate_digest = None;
        }),
    ];
    for (case, lie) in lies {
        let mut all = Federation::of(plan_with_momentum()).await;
        let mut round = Published::honest(&all.plan);
        lie(&mut round);
        round.serve_for_the_credulous(&all);
        round.say_in(&all).await;
        let reason = fault(CoordinatorFault::Step);
        let declined = ToCoordinator::Declined { round: Some(2), reason };
        assert_eq!(all.say(round.open()).await, declined, "{case}");
        all.ends_with(&FOLLOWED, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_norm_that_does_not_follow_from_the_published_sum_is_declined() {
    let mut plan = sim::adaptive(sim::private_plan(4, 9, 3.0));
    (plan.cohort.minimum, plan.timing.round_deadline_ms) = (3, 5_000);
    for lies in [false, true] {
        let (_, file) = genesis(&plan);
        let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
        let mut all = Federation::configured(plan.clone(), chunks, |config| {
            config.policy.privacy_modes = [plan.mode()].into();
            config.policy.epsilon_max = 4.0;
        })
        .await;
        let mut round = Published::honest(&all.plan);
        if lies {
            let state = optim::State::from_bytes(&round.optimizer).unwrap();
            let wider = 2.0 * state.clip_norm().unwrap();
            round.optimizer = state.with_clip_norm(wider).to_bytes();
            round.manifest.optimizer.as_mut().unwrap().sha256 = Digest::sha256(&round.optimizer);
        }
        round.serve_for_the_credulous(&all);
        round.say_in(&all).await;
        let said = all.say(round.open()).await;
        if lies {
            let reason = fault(CoordinatorFault::Step);
            assert_eq!(said, ToCoordinator::Declined { round: Some(2), reason });
            all.ends_with(&FOLLOWED, "another clip norm").await;
        } else {
            assert!(matches!(said, ToCoordinator::Advertise { at: SECOND, .. }), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_trains_on_the_model_that_it_computed_itself_and_fetches_none() {
    for trained_before in [false, true] {
        let mut all = Federation::of(plan_with_momentum()).await;
        if trained_before {
            let said = all.say(all.open(FIRST)).await;
            assert!(matches!(said, ToCoordinator::Advertise { at: FIRST, .. }), "{said:?}");
        }
        let round = Published::honest(&all.plan);
        round.say_in(&all).await;
        let said = all.say(round.open()).await;
        assert!(matches!(said, ToCoordinator::Advertise { at: SECOND, .. }), "{said:?}");
        // Version 0 is fetched once, whichever round needs it first.
        assert_eq!(all.process.asked(), [(0, ModelPart::Parameters), (1, ModelPart::Aggregate)]);
        let journal = match trained_before {
            true => &["offer", "joined", "chain", "advertised", "chain", "step", "advertised"][..],
            false => &["offer", "joined", "chain", "chain", "step", "advertised"],
        };
        all.ends_with(journal, "computed by itself").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_model_is_not_trained_on_behind_another_record_nor_by_a_rollback_to_it() {
    for goes_back in [false, true] {
        let mut all = Federation::of(plan_with_momentum()).await;
        let mut made_up = Published::honest(&all.plan);
        made_up.made_up();
        let mut last = made_up.next(&all.plan);
        if goes_back {
            last.model = made_up.model.clone();
            last.optimizer.clone_from(&made_up.optimizer);
            last.manifest = Manifest {
                round: 2,
                attempt: 1,
                action: Some(Action::Rollback { to_round: 1, reason: "r".into(), by: "ops".into() }),
                parent: Some(made_up.signed().digest()),
                parent_model: Some(made_up.manifest.model.params_digest),
                model: made_up.manifest.model.clone(),
                optimizer: made_up.manifest.optimizer.clone(),
                ..genesis(&all.plan).0.verify_strict().unwrap()
            };
        }
        for published in [&made_up, &last] {
            published.serve_for_the_credulous(&all);
            published.say_in(&all).await;
        }
        let reason = fault(CoordinatorFault::Step);
        let declined = ToCoordinator::Declined { round: Some(3), reason };
        assert_eq!(all.say(last.open()).await, declined, "goes back: {goes_back}");
        all.ends_with(&["offer", "joined", "chain", "chain", "chain"], "no advert").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_missed_rounds_does_each_of_their_steps_and_fetches_no_model_but_the_first() {
    let mut all = Federation::of(plan_with_momentum()).await;
    let first = Published::honest(&all.plan);
    let second = first.next(&all.plan);
    let third = second.next(&all.plan);
    for published in [&first, &second, &third] {
        published.say_in(&all).await;
    }
    let said = all.say(third.open()).await;
    assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
    let sums = (1..=3).map(|round| (round, ModelPart::Aggregate));
    let asked: Vec<_> = std::iter::once((0, ModelPart::Parameters)).chain(sums).collect();
    assert_eq!(all.process.asked(), asked);
    all.ends_with(
        &["offer", "joined", "chain", "chain", "chain", "chain", "step", "step", "step", "advertised"],
        "caught up",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_leaves_out_a_silo_that_signed_the_included_set_ends_it_and_both_sides_are_kept() {
    type Lie = fn(&mut Manifest);
    let lies: [(&str, Lie); 2] = [
        ("included", |record| record.included = vec![2, 3, 4]),
        ("transcript", |record| record.transcript = Some(Digest::sha256(b"another"))),
    ];
    for (what, lie) in lies {
        let (all, agreed) = Federation::agreed().await;
        let mut round = Published::honest(&all.plan);
        let everyone = vec![1, 2, 3, 4];
        let record = &mut round.manifest;
        (record.cohort, record.shared, record.included) = (everyone.clone(), everyone.clone(), everyone);
        record.transcript = Some(Digest::from_bytes(agreed.r2.0));
        lie(record);
        if what == "included" {
            let reason = "silent: its masked vector did not arrive in time".into();
            record.left_out = vec![checkpoint::LeftOut { client: 1, reason }];
        }
        let mut all = all;
        all.session.say(ToClient::Published(round.signed())).await;
        let reason = fault(CoordinatorFault::Chain);
        assert_eq!(all.session.heard().await, ToCoordinator::Declined { round: None, reason }, "{what}");
        let path = all.state().join("contradiction-1.txt");
        let kept = std::fs::read_to_string(&path).unwrap();
        let why = all.ends_failing().await;
        assert_eq!(why.exit_code(), 3);
        let RunError::Contradiction { round: 1, what: named, evidence } = &why else { panic!("{why}") };
        assert_eq!((*named, evidence), (what, &path));
        assert!(kept.contains(&String::from_utf8(round.signed().manifest_bytes).unwrap()), "{kept}");
        assert!(kept.contains(&Digest::from_bytes(agreed.r2.0).to_string()), "{kept}");
    }
}
