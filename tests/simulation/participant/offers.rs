//! What whoever offers plans learns of a silo's balance: an answer for each look, and a few looks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use accounting::OverBudget;
use chacha20::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use params::Digest;
use plan::{OffersPerAuthor, Plan, Refusal, RefusalCode};
use protocol::{
    ClaimAnswer, ClientEffect, ClientRecord, Decline, RunEnd, Timestamp, ToClient, ToCoordinator,
};

use super::world::{AT, World, messages, policy};

const DAY_MS: u64 = 24 * 3_600_000;
const LIMIT: OffersPerAuthor = OffersPerAuthor { plans: 4, days: 30 };

/// A ledger in which claims stay, and whether there is room for another is any question's own luck.
#[derive(Default)]
struct Balance {
    held: BTreeSet<Digest>,
    looks: u64,
}

/// A silo of this balance; `room` says for which look there is room, in what numbers nobody may see.
fn silo(room: impl Fn(u64) -> bool + 'static) -> (World, Rc<RefCell<Balance>>) {
    let mut world = World::new(sim::plan(4, 9), policy());
    let balance: Rc<RefCell<Balance>> = Rc::default();
    let ledger = Rc::clone(&balance);
    world.ledger = Box::new(move |run, may_look| {
        let mut balance = ledger.borrow_mut();
        if balance.held.contains(&run) {
            return ClaimAnswer::Held;
        }
        if !may_look {
            return ClaimAnswer::NotLooked;
        }
        balance.looks += 1;
        if !room(balance.looks) {
            let after = 5.0 + balance.looks as f64;
            return ClaimAnswer::NoRoom(Refusal::BudgetSpent(OverBudget { after, limit: 5.0 }));
        }
        balance.held.insert(run);
        ClaimAnswer::Made
    });
    (world, balance)
}

/// All that leaves the silo when it is offered this plan as this run.
fn offered(world: &mut World, plan: &Plan, run: u64, version: u8) -> Vec<ToCoordinator> {
    world.plan = plan.clone().numbered([version; Plan::ID_BYTES]);
    world.run = Digest::sha256(&[run.to_le_bytes(), u64::from(version).to_le_bytes()].concat());
    let effects = world.say(world.welcome());
    messages(&effects).into_iter().cloned().collect()
}

#[test]
fn a_distinguisher_between_two_balances_learns_a_few_bits_in_the_period_with_any_number_of_digests() {
    let plan = sim::plan(4, 9);
    for seed in 0..12 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let luck = rng.next_u64();
        let (mut poor, looks) = silo(move |look| look != 0 && luck >> (look % 64) & 1 == 1);
        let (mut rich, _) = silo(|_| true);
        let mut differ: BTreeMap<u8, u64> = BTreeMap::new();
        let mut said: BTreeMap<(u8, u64, bool), Vec<ToCoordinator>> = BTreeMap::new();
        for _ in 0..120 {
            let (version, run) = (rng.next_u32() as u8 % 60, u64::from(rng.next_u32() % 2));
            let now = Timestamp(poor.now.0 + u64::from(rng.next_u32()) % DAY_MS);
            let restarts = rng.next_u32().is_multiple_of(8);
            let both = [&mut poor, &mut rich].map(|world| {
                world.now = now;
                if restarts {
                    world.restart();
                }
                offered(world, &plan, run, version)
            });
            if both[0] != both[1] {
                differ.entry(version).or_insert(now.0);
            }
            for (world, words) in both.into_iter().enumerate() {
                let [word] = &words[..] else { panic!("seed {seed}: {words:?}") };
                match word {
                    ToCoordinator::CheckIn { .. } => {}
                    // Whatever the reason is, and whether there was a look or not.
                    ToCoordinator::Declined { round: None, reason: Decline::Policy { code, text } } => {
                        let balance = RefusalCode::Balance;
                        assert_eq!((&**code, &**text), (balance.name(), balance.sentence()), "seed {seed}");
                    }
                    other => panic!("seed {seed}: {other:?}"),
                }
                // What was taken part in stays so; what had no room has none for any run of the plan.
                let admitted = matches!(word, ToCoordinator::CheckIn { .. });
                if admitted {
                    said.insert((version, run, world == 0), words.clone());
                }
                let before = said.get(&(version, run, world == 0));
                assert!(before.is_none_or(|before| *before == words), "seed {seed}: {before:?}, {words:?}");
            }
        }
        // What a distinguisher sees differ at all, it sees within answers of looks.
        let looks = looks.borrow().looks;
        let days = (poor.now.0 - 1_700_000_000_000).div_ceil(DAY_MS);
        let bits = (days / u64::from(LIMIT.days) + 1) * u64::from(LIMIT.plans);
        assert!(looks <= bits, "seed {seed}: {looks} looks in {days} days");
        for from in differ.values() {
            let period = *from..*from + u64::from(LIMIT.days) * DAY_MS;
            let firsts = differ.values().filter(|at| period.contains(at)).count();
            assert!(firsts <= 2 * LIMIT.plans as usize, "seed {seed}: {firsts} plans distinguished them");
        }
    }
}

#[test]
fn all_that_leaves_follows_from_the_answers_of_the_looks() {
    let plan = sim::plan(4, 9);
    for seed in 0..12 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let luck = rng.next_u64();
        let script: Vec<(u8, u64, u64, bool)> = (0..100)
            .map(|_| {
                let (version, run) = (rng.next_u32() as u8, u64::from(rng.next_u32() % 2));
                (version, run, rng.next_u64() % DAY_MS, rng.next_u32().is_multiple_of(8))
            })
            .collect();
        let heard = |world: &mut World| {
            let mut heard = Vec::new();
            for (version, run, later_ms, restarts) in &script {
                world.now = world.now.plus_ms(*later_ms);
                if *restarts {
                    world.restart();
                }
                heard.push((world.now, offered(world, &plan, *run, *version)));
            }
            heard
        };
        let answers: Rc<RefCell<Vec<bool>>> = Rc::default();
        let given = Rc::clone(&answers);
        let (mut world, _) = silo(move |look| {
            let room = luck >> (look % 64) & 1 == 1;
            given.borrow_mut().push(room);
            room
        });
        let real = heard(&mut world);
        // A machine that knows nothing of a balance but those bits says the same, at the same times.
        let bits = answers.borrow().clone();
        let few = bits.len();
        let (mut simulated, _) = silo(move |look| bits[look as usize - 1]);
        assert_eq!(heard(&mut simulated), real, "seed {seed}");
        let days = (world.now.0 - 1_700_000_000_000).div_ceil(DAY_MS) as usize;
        let most = (days / LIMIT.days as usize + 1) * LIMIT.plans as usize;
        assert!((1..=most).contains(&few), "seed {seed}: {few} bits in {days} days, of 100 offers");
    }
}

#[test]
fn a_crash_anywhere_between_the_claim_and_the_check_in_answers_as_before_and_takes_no_second_look() {
    let (mut world, balance) = silo(|look| look == 1);
    let plan = sim::plan(4, 9);
    assert!(matches!(offered(&mut world, &plan, 1, 1)[..], [ToCoordinator::CheckIn { .. }]));
    let whole = world.journal.clone();
    let kinds: Vec<bool> =
        whole.iter().map(|record| matches!(record, ClientRecord::OfferAnswered(_))).collect();
    assert_eq!(kinds, [true, false], "the answer, and that it is joined: {whole:?}");
    for written in 0..=whole.len() {
        world.journal = whole[..written].to_vec();
        world.restart();
        assert!(matches!(offered(&mut world, &plan, 1, 1)[..], [ToCoordinator::CheckIn { .. }]), "{written}");
        assert_eq!(balance.borrow().looks, 1, "the claim is there");
    }
}

#[test]
fn a_refusal_is_durable_before_it_is_said_and_survives_a_restart() {
    let (mut world, balance) = silo(|look| look > 1);
    let plan = sim::plan(4, 9);
    let effects = {
        world.plan = plan.clone().numbered([1; Plan::ID_BYTES]);
        world.say(world.welcome())
    };
    let [ClientEffect::Persist(ClientRecord::OfferAnswered(answered)), ClientEffect::Send(_)] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(!answered.admitted);
    let own = world.participant.status().last_reason;
    assert!(own.starts_with("BUDGET_SPENT: ") && own.contains("its limit is 5"), "{own}");
    for run in 0..20 {
        world.restart();
        world.now = world.now.plus_ms(40 * DAY_MS);
        assert!(matches!(offered(&mut world, &plan, run, 1)[..], [ToCoordinator::Declined { .. }]));
        assert_eq!(balance.borrow().looks, 1);
    }
}

#[test]
fn a_run_that_is_over_is_shown_again_without_end_and_takes_no_look_from_those_that_come() {
    let (mut world, balance) = silo(|_| true);
    let plan = sim::plan(4, 9);
    assert!(matches!(offered(&mut world, &plan, 1, 1)[..], [ToCoordinator::CheckIn { .. }]));
    world.say(ToClient::Published(world.signed(&world.genesis())));
    for again in 0..50 {
        let heard = world.say(ToClient::Finished { reason: RunEnd::BudgetSpent });
        assert!(heard.iter().any(|effect| matches!(effect, ClientEffect::ReturnClaim { .. })), "{heard:?}");
        balance.borrow_mut().held.clear();
        if again % 2 == 0 {
            world.restart();
        }
        // It hears what it missed.
        assert!(matches!(
            messages(&world.say(world.welcome()))[..],
            [ToCoordinator::CheckIn { head: Some(0), .. }]
        ));
        // Without a claim nothing is trained.
        let opened = world.say(world.open(AT));
        let sits_out = ToCoordinator::Declined { round: Some(AT.round), reason: Decline::SitsOut };
        assert_eq!(messages(&opened), [&sits_out]);
    }
    assert_eq!(balance.borrow().looks, 1);
    for version in 2..=4 {
        assert!(matches!(offered(&mut world, &plan, 1, version)[..], [ToCoordinator::CheckIn { .. }]));
    }
    let ends = world.journal.iter().filter(|record| matches!(record, ClientRecord::RunOver)).count();
    assert_eq!(ends, 1, "it is written down once");
}
