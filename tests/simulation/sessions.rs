//! What a federation of several runs says to a silo whose session begins, and what it counts on in one.

use std::collections::BTreeSet;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::ModelArtifact;
use federation::{Effects, Federation, Input, RunNumber};
use identity::Roster;
use plan::{Feature, Plan};
use protocol::{
    Act, Artifacts, Effect, OfRun, Record, RunEnd, SessionVersion, Timestamp, ToClient, ToCoordinator,
};
use secagg::ClientId;

use crate::coordinator::setup_of;

/// A coordinator of several runs; the silos are what the test says.
struct Hub {
    federation: Federation,
    now: Timestamp,
    rng: ChaCha20Rng,
    said: Vec<(RunNumber, ClientId, ToClient)>,
    written: Vec<(RunNumber, Record)>,
}

impl Hub {
    fn new(active_max: usize, plans: impl IntoIterator<Item = Plan>) -> Self {
        let now = Timestamp(1_000_000);
        let federation = Federation::recover(vec![], active_max, now, &mut vec![]).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(1);
        let mut hub = Self { federation, now, rng, said: Vec::new(), written: Vec::new() };
        for plan in plans {
            let genesis = Artifacts {
                model: ModelArtifact::of(b"model", plan.initial_model().digest()),
                optimizer: None,
            };
            let (number, setup) = (hub.federation.next_number(), Box::new(setup_of(plan)));
            hub.feed(Input::Submit { number, setup, genesis, by: "anna".into() });
        }
        hub
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Effects::new();
        self.federation.handle(self.now, &mut self.rng, input, &mut effects).unwrap();
        for federation::Effect { run, effect } in effects {
            match effect {
                Effect::Send { to, message } => self.said.push((run, to, *message)),
                Effect::Persist(record) => self.written.push((run, record)),
                _ => {}
            }
        }
    }

    fn connects(&mut self, client: u32, version: SessionVersion) {
        self.feed(Input::Connected { client: ClientId(client), version });
    }

    fn checks_in(&mut self, client: u32, run: RunNumber) {
        let run = self.federation.run(run).and_then(|run| run.run_id());
        let message =
            OfRun { run, message: ToCoordinator::CheckIn { head: Some(0), data: None, sandbox: None } };
        self.feed(Input::Message { from: ClientId(client), message });
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.feed(Input::Tick);
    }

    fn act(&mut self, run: RunNumber, act: Act) {
        self.feed(Input::Act { run, act, staged: None });
    }

    /// All that was said to this silo since this was asked last.
    fn heard(&mut self, client: u32) -> Vec<(RunNumber, ToClient)> {
        let heard = std::mem::take(&mut self.said).into_iter();
        heard.filter(|(_, to, _)| *to == ClientId(client)).map(|(run, _, said)| (run, said)).collect()
    }
}

fn plan(run: usize) -> Plan {
    Plan { name: format!("the {run}. plan"), ..sim::plan(4, 2) }
}

fn named(by: &str) -> (String, String) {
    (by.into(), "for a test".into())
}

#[test]
fn a_silo_that_was_away_when_a_run_was_stopped_hears_of_it_though_it_was_in_no_round_of_it() {
    let mut hub = Hub::new(2, [plan(1), plan(2)]);
    let (first, second) = (RunNumber(1), RunNumber(2));
    hub.connects(1, SessionVersion::NEWEST);
    hub.checks_in(1, first);
    hub.feed(Input::Disconnected { client: ClientId(1) });
    let (by, reason) = named("anna");
    hub.act(first, Act::Stop { by, reason });
    hub.heard(1);
    hub.connects(1, SessionVersion::NEWEST);
    let heard = hub.heard(1);
    let ended = |(run, said): &(RunNumber, ToClient)| {
        *run == first && matches!(said, ToClient::Finished { reason: RunEnd::Stopped { .. } })
    };
    assert!(heard.iter().any(ended), "what it claimed is never free: {heard:?}");
    let welcomed: BTreeSet<RunNumber> = heard
        .iter()
        .filter(|(_, said)| matches!(said, ToClient::Welcome { .. }))
        .map(|(run, _)| *run)
        .collect();
    assert_eq!(welcomed, [second].into(), "it is asked for nothing in a run that is over");
}

#[test]
fn a_session_that_takes_another_ones_place_takes_part_in_nothing_that_it_was_not_offered() {
    let mut hub = Hub::new(1, [plan(1), plan(2)]);
    let (by, reason) = named("ada");
    hub.act(RunNumber(1), Act::Pause { by, reason });
    let second = RunNumber(2);
    for client in 1..=4 {
        hub.connects(client, SessionVersion::NEWEST);
    }
    for client in 1..=3 {
        hub.checks_in(client, second);
    }
    // An earlier release is installed again; that the connection before is gone is not noticed yet.
    hub.heard(1);
    hub.connects(1, SessionVersion::Three);
    hub.checks_in(4, second);
    hub.later(60_000);
    let begun = |(run, record): &(RunNumber, Record)| match record {
        Record::AttemptBegun { cohort, .. } if *run == second => Some(cohort.clone()),
        _ => None,
    };
    let cohorts: Vec<Vec<ClientId>> = hub.written.iter().filter_map(begun).collect();
    assert_eq!(cohorts, [[2, 3, 4].map(ClientId).to_vec()]);
    assert!(hub.heard(1).iter().all(|(run, _)| *run != second), "it takes it for the one run that it knows");
}

#[test]
fn a_silo_is_not_welcomed_to_more_at_once_than_its_session_holds_however_long_plans_are() {
    let long = |run: usize| {
        let mut long = plan(run);
        let column = |number: usize| format!("{number:0>80}");
        let feature = |number| Feature::range(column(number), 0.0, 1.0);
        long.data.features = (0..6000).map(feature).collect();
        long
    };
    let mut hub = Hub::new(14, (1..=14).map(long));
    let mut welcomed = BTreeSet::new();
    hub.connects(1, SessionVersion::NEWEST);
    while welcomed.len() < 14 {
        let heard = hub.heard(1);
        let bytes: usize =
            heard.iter().map(|(_, said)| wire::to_client_bytes(OfRun::from(said.clone())).len()).sum();
        assert!(bytes < 5 << 20, "{bytes} bytes at once, of which the session is lost");
        let new: Vec<RunNumber> =
            heard.iter().map(|(run, _)| *run).filter(|run| welcomed.insert(*run)).collect();
        assert!(!new.is_empty(), "it has answered {welcomed:?}");
        assert!(new.len() < 14);
        new.into_iter().for_each(|run| hub.checks_in(1, run));
    }
}

#[test]
fn a_run_that_ended_under_an_earlier_roster_is_heard_of_and_no_roster_is_shown_that_would_be_taken_for_a_lie()
{
    let mut hub = Hub::new(2, [plan(1), plan(2)]);
    for run in [1, 2] {
        let act = Act::Stop { by: "anna".into(), reason: "over".into() };
        hub.feed(Input::Act { run: RunNumber(run), act, staged: None });
    }
    let said_of_second = |hub: &mut Hub| {
        hub.said.clear();
        hub.connects(1, SessionVersion::NEWEST);
        let of_second = hub.said.iter().filter(|(run, ..)| *run == RunNumber(2));
        let is_welcome = |message: &ToClient| matches!(message, ToClient::Welcome { .. });
        let messages: Vec<&ToClient> = of_second.map(|(.., message)| message).collect();
        let ends = messages.iter().filter(|message| matches!(message, ToClient::Finished { .. })).count();
        (messages.iter().filter(|message| is_welcome(message)).count(), ends)
    };
    assert_eq!(
        said_of_second(&mut hub),
        (1, 0),
        "it may check in for what it missed, and hears the end then"
    );
    let roster = hub.federation.newest_roster().unwrap();
    let later = Roster { epoch: roster.epoch + 1, ..Roster::clone(roster) };
    hub.feed(Input::Roster(Box::new(sim::authorised(&later))));
    assert_eq!(said_of_second(&mut hub), (0, 1), "once");
}
