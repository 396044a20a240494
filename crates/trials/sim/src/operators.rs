//! Operators of the run: what they do, by a script or by the seed, and how they put it right in the end.

use chacha20::ChaCha20Rng;
use federation::{Input, RunNumber};
use protocol::{Act, Artifacts, Rejection};
use rand_core::Rng;
use run_status::Standing;
use secagg::ClientId;

use crate::agenda::Event;
use crate::federation::{Federation, policy};
use crate::trace::{Place, of_run};

/// How long an operator waits before it tries a coordinator again that is away.
const RETRY_MS: u64 = 700;

/// The `cohort_min` of a policy that was meant otherwise.
const REFUSES: usize = 9_999;

/// What an operator sets out to do; which round it concerns is decided when it comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Pause,
    Resume,
    /// The result that so many others follow; never version 0, so that there is always a way back.
    Quarantine {
        behind: usize,
    },
    /// To the newest sound result but this many.
    Rollback {
        behind: usize,
    },
    /// As long as enough members are left for a cohort.
    Remove(ClientId),
}

/// Deeds and their times: a few, some of them early, where little else fails and eleven rounds are over in seconds.
pub(crate) fn deeds(rng: &mut ChaCha20Rng, silos: u32, removes: bool, heals_ms: u64) -> Vec<(u64, Deed)> {
    let mut draw = |below: u64| rng.next_u64() % below.max(1);
    let mut deeds = Vec::new();
    for _ in 0..2 + draw(3) {
        let span_ms = [3_000, 20_000, heals_ms][draw(3) as usize];
        let at_ms = draw(span_ms);
        let later_ms = at_ms + draw(15_000);
        match draw(5) {
            0 => deeds.extend([(at_ms, Deed::Pause), (later_ms, Deed::Resume)]),
            1 => {
                let rollback = Deed::Rollback { behind: draw(2) as usize };
                deeds.extend([(at_ms, Deed::Quarantine { behind: 0 }), (later_ms, rollback)]);
            }
            2 => deeds.push((at_ms, Deed::Quarantine { behind: 1 + draw(2) as usize })),
            3 => deeds.push((at_ms, Deed::Rollback { behind: draw(3) as usize })),
            _ if removes => deeds.push((at_ms, Deed::Remove(ClientId(1 + draw(u64::from(silos)) as u32)))),
            _ => {}
        }
    }
    deeds
}

/// When silos' policies refuse every plan: from when and until when.
pub(crate) fn wrong_policies(rng: &mut ChaCha20Rng, silos: u32, heals_ms: u64) -> Vec<(u64, u64, ClientId)> {
    let mut draw = |below: u64| rng.next_u64() % below.max(1);
    let mut wrong = || {
        let span_ms = [3_000, 20_000, heals_ms][draw(3) as usize];
        let from_ms = draw(span_ms);
        (from_ms, from_ms + draw(30_000), ClientId(1 + draw(u64::from(silos)) as u32))
    };
    (0..4).map(|_| wrong()).collect()
}

impl Federation {
    pub(crate) fn plan_policies(&mut self, wrong: Vec<(u64, u64, ClientId)>) {
        for (from_ms, to_ms, id) in wrong {
            self.agenda.add(from_ms, Event::Policy { id, refuses: true });
            self.agenda.add(to_ms, Event::Policy { id, refuses: false });
        }
    }

    /// A silo's operator writes a policy that refuses every plan, or corrects it.
    pub(crate) fn write_policy(&mut self, id: ClientId, refuses: bool) {
        let allowed = policy().cohort_min;
        self.change_policy(id.0, |policy| policy.cohort_min = if refuses { REFUSES } else { allowed });
    }

    /// An operator's action on the first run, with the files that it names.
    ///
    /// # Errors
    /// What the coordinator says against it.
    pub fn act(&mut self, act: Act) -> Result<(), Rejection> {
        self.act_in(RunNumber::FIRST, act)
    }

    /// The same on any run.
    ///
    /// # Errors
    /// What the coordinator says against it.
    pub fn act_in(&mut self, run: RunNumber, act: Act) -> Result<(), Rejection> {
        let staged = match &act {
            Act::Rollback { to_round, .. } => {
                self.center.runs.get(&run).and_then(|run| run.artifacts_of(*to_round))
            }
            _ => None,
        };
        if let Act::Remove { client, .. } = &act {
            self.oracle.removes(*client);
        }
        self.note(Place::Coordinator, || format!("is asked by an operator{}: {act:?}", of_run(run)));
        let result = self.coordinate(Input::Act { run, act, staged });
        self.center_performs();
        result
    }

    pub(crate) fn plan_deeds(&mut self, run: RunNumber, deeds: Vec<(u64, Deed)>) {
        for (at_ms, deed) in deeds {
            self.agenda.add(at_ms, Event::Operator { run, deed });
        }
    }

    pub(crate) fn operate(&mut self, run: RunNumber, deed: Deed) {
        if !self.coordinator_is_up() {
            return self.agenda.add(self.now_ms + RETRY_MS, Event::Operator { run, deed });
        }
        if let Some(act) = self.act_of(run, deed) {
            // What makes no sense now is refused: that is what is tried.
            let _ = self.act_in(run, act);
        }
    }

    fn act_of(&self, run: RunNumber, deed: Deed) -> Option<Act> {
        let (by, reason) = ("ops".to_owned(), "drill".to_owned());
        let holds = self.oracle.holds(run)?;
        Some(match deed {
            Deed::Pause => Act::Pause { by, reason },
            Deed::Resume => Act::Resume { by },
            Deed::Quarantine { behind } => {
                let round = holds.results().rev().filter(|round| *round > 0).nth(behind)?;
                Act::Quarantine { round, by, reason }
            }
            Deed::Rollback { behind } => {
                let ways = holds.ways_back();
                let to_round = *ways.get(behind.min(ways.len().checked_sub(1)?))?;
                Act::Rollback { to_round, by, reason }
            }
            Deed::Remove(client) => {
                let refusing = self.center.process.as_ref()?.core.status(run)?;
                let left = refusing
                    .clients
                    .iter()
                    .filter(|c| !matches!(c.state, Standing::Refuses | Standing::Barred) && c.id != client)
                    .count();
                (left >= self.center.runs.get(&run)?.plan.cohort.minimum)
                    .then_some(Act::Remove { client, reason })?
            }
        })
    }

    /// Ends what holds the runs back, as an operator would.
    pub(crate) fn release(&mut self) {
        let refusing = self.silos.values().filter(|silo| silo.policy.cohort_min == REFUSES);
        for id in refusing.map(|silo| silo.id).collect::<Vec<_>>() {
            self.write_policy(id, false);
        }
        if !self.coordinator_is_up() {
            return;
        }
        for run in self.center.runs.keys().copied().collect::<Vec<_>>() {
            let Some(holds) = self.oracle.holds(run) else { continue };
            let (paused, needs_rollback) = (holds.is_paused(), holds.needs_rollback());
            if paused {
                self.operate(run, Deed::Resume);
            }
            if needs_rollback {
                self.operate(run, Deed::Rollback { behind: 0 });
            }
        }
    }
}

impl crate::run_files::RunFiles {
    /// Of a published round.
    fn artifacts_of(&self, round: u64) -> Option<Artifacts> {
        let signed = self.records.get(&round)?;
        let manifest = checkpoint::Manifest::from_bytes(&signed.manifest_bytes).ok()?;
        Some(Artifacts { model: manifest.model, optimizer: manifest.optimizer })
    }
}
