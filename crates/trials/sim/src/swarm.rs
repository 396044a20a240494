//! Faults drawn from a seed. Each seed has its own mixture: a fault that is always there hides what happens
//! without it (Groce et al., "Swarm Testing", ISSTA 2012).

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use protocol::Effect;
use rand_core::Rng;
use secagg::ClientId;

use crate::faults::{Fate, Faults, Moment};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Messages are lost, with their connections.
    Loss,
    /// Connections die and look alive.
    HalfOpen,
    /// Messages take long.
    Delay,
    /// Messages arrive twice.
    Duplication,
    /// Messages of one connection overtake each other.
    Reordering,
    /// Some silos are cut off for a while.
    Partition,
    /// The coordinator's process is killed.
    CoordinatorCrash,
    /// Silos' processes are killed.
    SiloCrash,
    /// Machines lose their power: what was not synced may be gone, in part.
    PowerCut,
    /// An fsync fails.
    SyncFailure,
    /// Training and masking take long.
    SlowSilo,
    /// Machines start with a clock that is off by up to two hours.
    ClockJump,
    /// Processes write all records that stand ready at once, and the coordinator takes several inputs before it
    /// performs their effects, as the shells do.
    Batching,
    /// Operators pause the run, quarantine models, go back to earlier ones and remove silos.
    Operators,
    /// Silos' operators write a policy that refuses every plan, and correct it later. Where there are several runs: a daemon of one
    /// ends when it refuses that.
    Policies,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Loss,
        Self::HalfOpen,
        Self::Delay,
        Self::Duplication,
        Self::Reordering,
        Self::Partition,
        Self::CoordinatorCrash,
        Self::SiloCrash,
        Self::PowerCut,
        Self::SyncFailure,
        Self::SlowSilo,
        Self::ClockJump,
        Self::Batching,
        Self::Operators,
        Self::Policies,
    ];

    /// On a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::HalfOpen => "half-open",
            Self::Delay => "delay",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
            Self::Partition => "partition",
            Self::CoordinatorCrash => "coordinator-crash",
            Self::SiloCrash => "silo-crash",
            Self::PowerCut => "power-cut",
            Self::SyncFailure => "sync-failure",
            Self::SlowSilo => "slow-silo",
            Self::ClockJump => "clock-jump",
            Self::Batching => "batching",
            Self::Operators => "operators",
            Self::Policies => "policies",
        }
    }
}

pub(crate) struct Swarm {
    /// One fault in this many moments, and a generator of its own for each kind: leaving one out changes nothing
    /// about the others.
    kinds: BTreeMap<FaultKind, (u32, ChaCha20Rng)>,
    partitions: Vec<Partition>,
    latency: ChaCha20Rng,
    /// Faults end here.
    heals_ms: u64,
}

struct Partition {
    from_ms: u64,
    to_ms: u64,
    cut_off: BTreeSet<ClientId>,
}

/// Latency of a message that nothing happens to.
const LATENCY_MS: u32 = 8;
const HOUR_MS: i64 = 3_600_000;

impl Swarm {
    /// The mixture of this seed, out of `kinds`, among `silos`, for a plan with this deadline.
    pub(crate) fn new(
        seed: u64,
        kinds: &BTreeSet<FaultKind>,
        silos: u32,
        deadline_ms: u64,
        heals_ms: u64,
    ) -> Self {
        let stream = |number: u64| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        let kinds: BTreeMap<_, _> = kinds
            .iter()
            .map(|kind| {
                let mut rng = stream(16 + *kind as u64);
                let one_in = match kind {
                    FaultKind::CoordinatorCrash | FaultKind::PowerCut | FaultKind::SyncFailure => {
                        [60, 200, 600][rng.next_u32() as usize % 3]
                    }
                    FaultKind::SiloCrash => [40, 120, 400][rng.next_u32() as usize % 3],
                    FaultKind::Loss | FaultKind::HalfOpen => [20, 80, 300][rng.next_u32() as usize % 3],
                    _ => [3, 10, 40][rng.next_u32() as usize % 3],
                };
                (*kind, (one_in, rng))
            })
            .collect();
        let mut partitions = Vec::new();
        if kinds.contains_key(&FaultKind::Partition) {
            let mut rng = stream(2);
            for _ in 0..4 {
                // Half of them early: where little else fails, eleven rounds are over in seconds.
                let span_ms = if rng.next_u32().is_multiple_of(2) { 2 * deadline_ms } else { heals_ms };
                let from_ms = rng.next_u64() % span_ms.max(1);
                // Up to two rounds long: minutes, where a round is.
                let to_ms = from_ms + rng.next_u64() % (2 * deadline_ms);
                let cut_off =
                    (1..=silos).filter(|_| rng.next_u32().is_multiple_of(2)).map(ClientId).collect();
                partitions.push(Partition { from_ms, to_ms: to_ms.min(heals_ms), cut_off });
            }
        }
        Self { kinds, partitions, latency: stream(1), heals_ms }
    }

    fn strikes(&mut self, kind: FaultKind) -> bool {
        self.kinds.get_mut(&kind).is_some_and(|(one_in, rng)| rng.next_u32().is_multiple_of(*one_in))
    }

    fn draw(&mut self, kind: FaultKind, below: u64) -> u64 {
        self.kinds.get_mut(&kind).map_or(0, |(_, rng)| rng.next_u64() % below)
    }

    fn has(&self, kind: FaultKind) -> bool {
        self.kinds.contains_key(&kind)
    }

    fn message(&mut self) -> Fate {
        if self.strikes(FaultKind::Loss) {
            return Fate::Lose;
        }
        if self.strikes(FaultKind::HalfOpen) {
            return Fate::Vanish;
        }
        if self.strikes(FaultKind::Duplication) {
            return Fate::Twice(self.draw(FaultKind::Duplication, 3_000));
        }
        if self.strikes(FaultKind::Delay) {
            return Fate::Late(self.draw(FaultKind::Delay, 4_000));
        }
        self.pass()
    }

    fn pass(&mut self) -> Fate {
        Fate::Late(u64::from(self.latency.next_u32() % LATENCY_MS))
    }

    fn crash(&mut self, kind: FaultKind) -> Option<Fate> {
        if self.strikes(kind) {
            let down = self.draw(kind, 6_000);
            return Some(match kind {
                FaultKind::PowerCut => Fate::PowerCut(down),
                FaultKind::SyncFailure => Fate::SyncFails(down),
                _ => Fate::Down(down),
            });
        }
        None
    }
}

impl Faults for Swarm {
    fn fate(&mut self, now_ms: u64, moment: &Moment<'_>) -> Fate {
        if now_ms >= self.heals_ms {
            return Fate::Late(5);
        }
        let crashed = match moment {
            Moment::CoordinatorDoes(Effect::Persist(_)) => {
                [FaultKind::CoordinatorCrash, FaultKind::PowerCut, FaultKind::SyncFailure]
                    .into_iter()
                    .find_map(|kind| self.crash(kind))
            }
            Moment::CoordinatorDoes(_) => [FaultKind::CoordinatorCrash, FaultKind::PowerCut]
                .into_iter()
                .find_map(|kind| self.crash(kind)),
            Moment::SiloPersists(..) => [FaultKind::SiloCrash, FaultKind::PowerCut, FaultKind::SyncFailure]
                .into_iter()
                .find_map(|kind| self.crash(kind)),
            Moment::SiloSays(..) | Moment::SiloUploads(..) => {
                [FaultKind::SiloCrash, FaultKind::PowerCut].into_iter().find_map(|kind| self.crash(kind))
            }
            Moment::SiloWorks(_) | Moment::SiloConnects(_) => None,
        };
        if let Some(fate) = crashed {
            return fate;
        }
        match moment {
            Moment::CoordinatorDoes(Effect::Send { .. } | Effect::SendChain { .. })
            | Moment::SiloSays(..)
            | Moment::SiloUploads(..) => self.message(),
            Moment::SiloWorks(_) if self.strikes(FaultKind::SlowSilo) => {
                Fate::Late(self.draw(FaultKind::SlowSilo, 12_000))
            }
            Moment::SiloWorks(_) => Fate::Late(u64::from(self.latency.next_u32() % 100)),
            Moment::SiloConnects(_) if self.strikes(FaultKind::Loss) => Fate::Lose,
            _ => Fate::Pass,
        }
    }

    fn is_cut_off(&self, now_ms: u64, client: ClientId) -> bool {
        self.partitions
            .iter()
            .any(|cut| (cut.from_ms..cut.to_ms).contains(&now_ms) && cut.cut_off.contains(&client))
    }

    fn clock_error_ms(&mut self) -> i64 {
        self.draw(FaultKind::ClockJump, 4 * HOUR_MS as u64) as i64
            - if self.has(FaultKind::ClockJump) { 2 * HOUR_MS } else { 0 }
    }

    /// As the daemon's: from 200 ms on.
    fn backoff_ms(&mut self) -> u64 {
        100 + u64::from(self.latency.next_u32() % 1_000)
    }

    fn reorders(&self) -> bool {
        self.has(FaultKind::Reordering)
    }

    fn writes_before_it_dies(&mut self) -> bool {
        self.latency.next_u32().is_multiple_of(2)
    }

    fn writes_first(&self) -> bool {
        self.has(FaultKind::Batching)
    }

    fn batch(&mut self) -> usize {
        1 + self.draw(FaultKind::Batching, 6) as usize
    }
}
