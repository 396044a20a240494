//! Hostile silos and an unlucky clock against the coordinator itself.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ed25519_dalek::Signer;
use identity::{IdentityKey, Member, Roster};
use params::Digest;
use plan::Plan;
use protocol::{
    Artifacts, Attempt, Coordinator, Decline, DropReason, Effect, Effects, Input, Record, Rejection,
    SessionVersion, Setup, Timestamp, ToClient, ToCoordinator,
};
use run_status::{ReasonMoment, Standing};
use secagg::{Advert, ClientId};
use sha2::{Digest as _, Sha256};
use sim::plan;

const SILOS: u32 = 4;
const AT: Attempt = Attempt { round: 1, attempt: 1 };

fn key(id: u32) -> IdentityKey {
    IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(u64::from(id)))
}

fn public(id: u32) -> String {
    checkpoint::public_key_text(&key(id).public())
}

pub(crate) struct Bench {
    pub(crate) coordinator: Coordinator,
    pub(crate) journal: Vec<Record>,
    pub(crate) said: Vec<(ClientId, ToClient)>,
    rng: ChaCha20Rng,
    pub(crate) now: Timestamp,
}

/// Four silos, of which three are needed.
pub(crate) fn setup() -> Setup {
    let mut plan = plan(SILOS as usize, 3);
    plan.cohort.minimum = 3;
    setup_of(plan)
}

/// A plan that silos of the first release read.
fn first_format() -> Plan {
    Plan { format: None, id: None, ..Plan::clone(&setup().plan) }
}

pub(crate) fn setup_of(plan: Plan) -> Setup {
    let member = |id: u32| Member { name: format!("silo {id}"), identity_key: public(id), admitted: 1 };
    Setup {
        plan: sim::authored(plan),
        roster: sim::authorised(&Roster {
            format: None,
            previous: None,
            federation: "bench".into(),
            epoch: 1,
            coordinator_key: public(100),
            members: (1..=SILOS).map(|id| (ClientId(id), member(id))).collect(),
        }),
        authority: sim::authority().public(),
        key: key(100).signing_key().clone(),
    }
}

impl Bench {
    /// A run whose first attempt is open to everyone.
    pub(crate) fn opened() -> Self {
        Self::opened_with(setup())
    }

    fn opened_with(setup: Setup) -> Self {
        let model = setup.plan.initial_model();
        let now = Timestamp(1_000_000);
        let coordinator = Coordinator::recover(setup, &[], now, &mut Effects::new()).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(7);
        let mut bench = Self { coordinator, journal: Vec::new(), said: Vec::new(), rng, now };
        let genesis =
            Artifacts { model: checkpoint::ModelArtifact::of(b"model", model.digest()), optimizer: None };
        bench.feed(Input::Start { genesis }).unwrap();
        for id in 1..=SILOS {
            bench.feed(Input::Connected { client: ClientId(id), version: SessionVersion::NEWEST }).unwrap();
            bench.says(id, ToCoordinator::CheckIn { head: None, data: None, sandbox: None }).unwrap();
        }
        assert!(bench.said.iter().any(|(_, message)| matches!(message, ToClient::Open { .. })));
        bench
    }

    pub(crate) fn feed(&mut self, input: Input) -> Result<(), Rejection> {
        let mut effects = Effects::new();
        let result = self.coordinator.handle(self.now, &mut self.rng, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.journal.push(record),
                Effect::Send { to, message } => self.said.push((to, *message)),
                _ => {}
            }
        }
        result
    }

    pub(crate) fn says(&mut self, id: u32, message: ToCoordinator) -> Result<(), Rejection> {
        self.feed(Input::Message { from: ClientId(id), message })
    }

    /// What a silo signs for this attempt, with keys of its choice.
    fn advert(&self, id: u32, ek: [u8; 32], mk: [u8; 32]) -> ToCoordinator {
        let head = checkpoint::Manifest::from_bytes(&self.coordinator.head_record().unwrap().manifest_bytes)
            .unwrap();
        let context = secagg::RoundBinding {
            run_id: *head.run_id.as_bytes(),
            plan_hash: *head.plan_digest.as_bytes(),
            roster_hash: *head.roster_digest.as_bytes(),
            round: AT.round,
            attempt: AT.attempt,
            model_hash: *head.model.params_digest.as_bytes(),
        }
        .ctx0();
        let mut advert = Advert {
            id: ClientId(id),
            ek_pub: ek,
            mk_pub: mk,
            commitment: [3; 32],
            noise: None,
            signature: [0; 64],
        };
        advert.signature = key(id).signing_key().sign(&signed_bytes(&context.0, &advert)).to_bytes();
        ToCoordinator::Advertise { at: AT, advert }
    }
}

/// What an advert's signature is over, written from the protocol's definition.
fn signed_bytes(context: &[u8; 32], advert: &Advert) -> Vec<u8> {
    let label = "folkmoot/secagg/v1/advert".as_bytes();
    let id = advert.id.0.to_le_bytes();
    let mut payload = Sha256::new();
    for field in [label, &id, &advert.ek_pub, &advert.mk_pub, &advert.commitment] {
        payload.update((field.len() as u64).to_le_bytes());
        payload.update(field);
    }
    let payload: [u8; 32] = payload.finalize().into();
    [b"folkmoot/secagg/v1/sig/advert\0", context.as_slice(), &payload].concat()
}

/// A sound public key: the base point times a small scalar, by its own generation.
fn sound(byte: u8) -> [u8; 32] {
    *x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from([byte; 32])).as_bytes()
}

#[test]
fn an_advert_with_one_key_in_both_places_is_refused_and_never_journalled() {
    let mut bench = Bench::opened();
    let before = bench.journal.len();
    let same = bench.advert(1, sound(9), sound(9));
    assert_eq!(bench.says(1, same), Err(Rejection::Invalid("it repeats a key".into())));
    let first = bench.advert(1, sound(1), sound(2));
    bench.says(1, first).unwrap();
    // Another silo's transport key as the own mask key: one set to the cohort.
    let crossed = bench.advert(2, sound(3), sound(1));
    assert_eq!(bench.says(2, crossed), Err(Rejection::Invalid("it repeats a key".into())));
    assert_eq!(bench.journal.len(), before + 1);
    // The step ends without them, by name, and the process lives.
    bench.now = bench.now.plus_ms(60_000);
    bench.feed(Input::Tick).unwrap();
    assert!(matches!(bench.journal.last(), Some(Record::Aborted { .. })), "{:?}", bench.journal.last());
}

#[test]
fn a_deadline_that_passed_since_the_last_input_is_still_due() {
    let bench = Bench::opened();
    let due = bench.coordinator.deadline(bench.now).expect("a step has a deadline");
    // The driver's clock has gone on, the core has not judged by it: the deadline does not vanish.
    assert!(due > bench.now);
    assert_eq!(bench.coordinator.deadline(bench.now), Some(due));
    let late = due.plus_ms(1);
    assert_ne!(bench.coordinator.deadline(late), Some(due), "which is why drivers ask by the judged time");
}

#[test]
fn a_silo_that_refused_by_its_own_word_takes_it_back_by_checking_in() {
    let mut bench = Bench::opened();
    let reason = protocol::Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
    bench.says(1, ToCoordinator::Declined { round: None, reason }).unwrap();
    assert_eq!(bench.coordinator.status().clients[0].state, Standing::Refuses);
    bench.feed(Input::Connected { client: ClientId(1), version: SessionVersion::NEWEST }).unwrap();
    bench.says(1, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
    assert_ne!(bench.coordinator.status().clients[0].state, Standing::Refuses);
    let mut recovered = Effects::new();
    let again = Coordinator::recover(setup(), &bench.journal, bench.now, &mut recovered).unwrap();
    assert_ne!(again.status().clients[0].state, Standing::Refuses, "the journal says so too");
}

#[test]
fn who_refuses_again_for_a_reason_that_it_gave_before_is_not_waited_for_once_its_session_is_gone() {
    let mut bench = Bench::opened();
    let reason = || protocol::Decline::Policy { code: "POLICY_EPSILON".into(), text: "too much".into() };
    for id in [1, 2] {
        bench.says(id, ToCoordinator::Declined { round: None, reason: reason() }).unwrap();
        bench.says(id, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
        bench.says(id, ToCoordinator::Declined { round: None, reason: reason() }).unwrap();
        bench.feed(Input::Disconnected { client: ClientId(id) }).unwrap();
        let status = bench.coordinator.status();
        let silo = &status.clients[id as usize - 1];
        assert_eq!((silo.state, silo.connected), (Standing::Refuses, false));
    }
    assert!(bench.coordinator.too_few_willing(), "nobody waits for their answer");
}

#[test]
fn of_what_a_silo_says_when_it_declines_only_a_code_is_written_down() {
    let free = "patient 17 of ward 3 has died";
    let policy = |code: &str| protocol::Decline::Policy { code: code.into(), text: free.into() };
    for (said, expected) in [
        (policy("BUDGET_SPENT"), "BUDGET_SPENT: its data's budget has no room for another round"),
        (policy("NEW_RULE"), "NEW_RULE: another reason (NEW_RULE)"),
        (policy(free), "OTHER: another reason"),
        (protocol::Decline::AwaitsOperator(free.into()), "its operator has not accepted a later roster"),
    ] {
        for round in [None, Some(1)] {
            let mut bench = Bench::opened();
            bench.says(1, ToCoordinator::Declined { round, reason: said.clone() }).unwrap();
            let shown = bench.coordinator.status().clients[0].last_reason.clone();
            assert!(shown.ends_with(expected) && !shown.contains("patient"), "{shown}");
            let written = format!("{:?}", bench.journal);
            assert!(written.contains(expected) || written.contains("Dropped"), "{written}");
            assert!(!written.contains("patient"), "{written}");
        }
    }
}

#[test]
fn a_silo_that_says_one_thing_and_another_without_end_fills_no_journal() {
    for version in [SessionVersion::Two, SessionVersion::Three] {
        let mut bench = Bench::opened();
        bench.feed(Input::Connected { client: ClientId(1), version }).unwrap();
        let before = bench.journal.len();
        for turn in 0..500u32 {
            let data = Some(Digest::sha256(&turn.to_le_bytes()));
            let sandbox = Some(format!("best_effort: landlock {turn}").parse().unwrap());
            bench.says(1, ToCoordinator::CheckIn { head: Some(0), data, sandbox }).unwrap();
            let text = format!("{turn} is too much");
            let reason = protocol::Decline::Policy { code: "POLICY_EPSILON".into(), text };
            bench.says(1, ToCoordinator::Declined { round: None, reason }).unwrap();
            assert_eq!(bench.coordinator.status().clients[0].state, Standing::Refuses, "turn {turn}");
        }
        let written = bench.journal.len() - before;
        assert!(written < 24, "{written} records of one silo in one attempt, version {version}");
        bench.says(1, ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None }).unwrap();
        assert_ne!(bench.coordinator.status().clients[0].state, Standing::Refuses, "it may still come back");
    }
}

#[test]
fn a_silo_that_speaks_an_older_version_is_named_to_the_operator_while_it_is_served() {
    let mut bench = Bench::opened_with(setup_of(first_format()));
    assert_eq!(bench.coordinator.status().notices.len(), 0);
    bench.feed(Input::Connected { client: ClientId(2), version: SessionVersion::Two }).unwrap();
    let (to, welcome) = bench.said.last().unwrap();
    assert!(*to == ClientId(2) && matches!(welcome, ToClient::Welcome { .. }));
    let status = bench.coordinator.status();
    let notice = "SPEAKS_OLDER_PROTOCOL: silo 2 speaks protocol version 2";
    assert!(status.notices[0].starts_with(notice), "{:?}", status.notices);
    assert!(status.waiting_why.contains(notice), "{}", status.waiting_why);
}

#[test]
fn a_plan_that_an_older_silo_cannot_read_is_not_sent_to_it_and_the_operator_learns_of_it() {
    let mut bench = Bench::opened();
    assert_eq!((setup().plan.format(), bench.coordinator.roster().format()), (2, 1));
    bench.feed(Input::Connected { client: ClientId(2), version: SessionVersion::Two }).unwrap();
    let (to, answer) = bench.said.last().unwrap();
    let ToClient::Rejected { rejection } = answer else { panic!("{answer:?}") };
    let why = rejection.to_string();
    assert!(*to == ClientId(2) && why.contains("SPEAKS_OLDER_PROTOCOL: the plan is of format 2"), "{why}");
    let status = bench.coordinator.status();
    let notice = "takes no part: the plan is of format 2";
    assert!(
        status.notices[0].contains("silo 2") && status.notices[0].contains(notice),
        "{:?}",
        status.notices
    );
}

#[test]
fn a_welcome_shows_the_rosters_that_lead_to_its_own_and_an_older_silo_learns_why_it_has_none() {
    let mut bench = Bench::opened();
    let first = bench.coordinator.roster().clone();
    let second = sim::authorised(&first.successor().unwrap());
    let third = sim::authorised(&second.successor().unwrap());
    let skipped = bench.feed(Input::Roster(Box::new(third.clone()))).unwrap_err().to_string();
    assert!(skipped.contains("one between them was not shown"), "{skipped}");
    for roster in [&second, &third] {
        bench.feed(Input::Roster(Box::new(roster.clone()))).unwrap();
    }
    bench.said.clear();
    bench.now = bench.coordinator.deadline(bench.now).unwrap().plus_ms(setup().plan.timing.round_deadline_ms);
    bench.feed(Input::Tick).unwrap();
    assert_eq!(bench.coordinator.roster().epoch, 3);
    let between = |said: &[(ClientId, ToClient)], to: u32| {
        let welcome = said.iter().rev().find_map(|(client, message)| match message {
            ToClient::Welcome { between, roster, .. } if *client == ClientId(to) => Some((between, roster)),
            _ => None,
        });
        let (between, roster) = welcome.unwrap();
        assert_eq!(**roster, *third.signed());
        between.clone()
    };
    // Who has checked in holds the first; who comes anew is shown all.
    assert_eq!(between(&bench.said, 1), [second.signed().clone()]);
    bench.feed(Input::Connected { client: ClientId(1), version: SessionVersion::NEWEST }).unwrap();
    assert_eq!(between(&bench.said, 1), [first.signed().clone(), second.signed().clone()]);

    bench.feed(Input::Connected { client: ClientId(2), version: SessionVersion::Two }).unwrap();
    let (to, answer) = bench.said.last().unwrap();
    let ToClient::Rejected { rejection } = answer else { panic!("{answer:?}") };
    assert!(*to == ClientId(2) && rejection.to_string().contains("SPEAKS_OLDER_PROTOCOL"), "{rejection}");
    let notices = bench.coordinator.status().notices;
    assert!(notices[0].contains("silo 2") && notices[0].contains("takes no part"), "{notices:?}");
}

#[test]
fn a_silo_that_was_not_shown_the_rosters_between_waits_and_does_not_count_as_refusing() {
    let mut bench = Bench::opened();
    for id in 1..=SILOS {
        let reason = Decline::Policy { code: "ROSTERS_MISSING".into(), text: String::new() };
        bench.says(id, ToCoordinator::Declined { round: None, reason }).unwrap();
    }
    assert!(!bench.journal.iter().any(|record| matches!(record, Record::Declined { .. })));
    let status = bench.coordinator.status();
    assert_eq!(status.ended, None);
    assert!(status.clients[0].last_reason.contains("ROSTERS_MISSING"), "{}", status.clients[0].last_reason);
}

#[test]
fn a_late_word_of_sitting_out_does_not_cost_a_silo_the_next_attempt() {
    let mut bench = Bench::opened();
    let late = ToCoordinator::Declined { round: Some(1), reason: protocol::Decline::SitsOut };
    assert_eq!(bench.says(1, late), Err(Rejection::StaleAttempt));
    assert_eq!(bench.coordinator.status().clients[0].state, Standing::Awaited);
}

/// Who was left out, by what the journal says.
fn left_out(bench: &Bench) -> Vec<(u32, &DropReason)> {
    let dropped = bench.journal.iter().filter_map(|record| match record {
        Record::Dropped { client, reason } => Some((client.0, reason)),
        _ => None,
    });
    dropped.collect()
}

#[test]
fn where_a_round_is_hopeless_because_others_declined_nobody_else_is_called_silent() {
    let mut bench = Bench::opened();
    for id in [2, 3] {
        bench.says(id, ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable }).unwrap();
    }
    let declined = DropReason::Declined(Decline::Unavailable);
    assert_eq!(left_out(&bench), [(2, &declined), (3, &declined)]);
    let status = bench.coordinator.status();
    assert!(status.last_outcome.starts_with("too few silos advertised keys: 0 of 3; "), "{status:?}");
    assert!(
        status.last_outcome.contains(&format!("; 2 silo 2 {declined}; 3 silo 3 {declined}")),
        "{status:?}"
    );
    for id in [1, 4] {
        assert!(!status.last_outcome.contains(&format!("silo {id} ")), "{status:?}");
        let of = status.clients.iter().find(|client| client.id == ClientId(id)).unwrap();
        assert_eq!(of.last_reason, "", "silo {id} had time left");
    }
    // The same after a restart.
    let again = Coordinator::recover(setup(), &bench.journal, bench.now, &mut Effects::new()).unwrap();
    assert_eq!(again.last_outcome(), status.last_outcome);
}

#[test]
fn what_keeps_a_silo_out_is_said_with_its_moment_and_ends_when_it_takes_part_again() {
    let mut bench = Bench::opened();
    let opened_ms = bench.now.0;
    bench.says(2, ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable }).unwrap();
    bench.says(3, ToCoordinator::Declined { round: None, reason: Decline::awaits_operator() }).unwrap();
    let said = |bench: &Bench, id: usize| {
        let silo = bench.coordinator.status().clients[id - 1].clone();
        (silo.last_reason, silo.reason_moment)
    };
    let in_round = ReasonMoment { round: Some(1), attempt: Some(1), time_ms: opened_ms };
    assert_eq!(said(&bench, 2).1, Some(in_round));
    let (why, moment) = said(&bench, 3);
    assert_eq!(why, "its operator has not accepted a later roster");
    assert_eq!(moment, Some(ReasonMoment { round: None, attempt: None, time_ms: opened_ms }));
    bench.now = bench.now.plus_ms(1);
    for id in [2, 3] {
        bench.says(id, ToCoordinator::CheckIn { head: None, data: None, sandbox: None }).unwrap();
    }
    assert_eq!(said(&bench, 2).1, Some(in_round), "until a round is committed");
    assert_eq!(said(&bench, 3), (String::new(), None));
}

#[test]
fn who_lets_the_deadline_pass_is_called_silent() {
    let mut bench = Bench::opened();
    bench.says(2, ToCoordinator::Declined { round: Some(1), reason: Decline::Unavailable }).unwrap();
    bench.now = protocol::Timestamp(bench.coordinator.status().deadline_ms.unwrap());
    bench.feed(Input::Tick).unwrap();
    let silent = DropReason::SilentAtAdvertise;
    assert_eq!(left_out(&bench)[1..], [(1, &silent), (3, &silent), (4, &silent)]);
    assert!(
        bench.coordinator.last_outcome().contains("silo 4 silent"),
        "{}",
        bench.coordinator.last_outcome()
    );
}
