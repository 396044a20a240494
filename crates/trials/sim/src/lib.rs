//! Whole federations in one thread: coordinator, silos, network, journals and clock, from one seed.
//!
//! The core's state machines run as they are, over the real journal and the real encoding of every message; what
//! is simulated is the network, the disks under the journals and the clocks. A [`Fate`] decides about each
//! message, each write and each effect, so a test loses, kills and restarts where it likes; [`Scenario`] draws
//! faults, liars and lying coordinators from a seed. After every event an oracle checks what must hold
//! ([`Invariant`]). A [`Campaign`] simulates a range of seeds, and brings a failure down to what is enough to see it.
//!
//! Not here: sockets, files and training; silos contribute numbers that are made up.
//!
//! ```text
//! Scenario (seed) --> Federation --> agenda: events by time
//!                       |  center: federation::Federation of all runs   Faults: what becomes of each moment
//!                       |          + a Journal over a Disk for each
//!                       |  silos:  Participant + Journal over Disk      Oracle: what must hold, after each
//!                       |          or a Liar; a Deceiver at the center  Trace:  what happened, for people
//! ```
//!
//! ```
//! let mut federation = sim::Federation::new(sim::plan(5, 2), 5, 1);
//! federation.run();
//! assert_eq!(federation.coordinator().status().rounds_committed, 2);
//! ```

mod agenda;
mod campaign;
mod center;
mod center_process;
mod claims;
mod contribution;
mod deceiver;
mod disk;
mod faults;
mod federation;
mod holds;
mod invariant;
mod liar;
mod membership;
mod network;
mod operators;
mod oracle;
mod oracles;
mod run_files;
mod samples;
mod scenario;
mod silo;
mod silo_process;
mod submissions;
mod swarm;
mod trace;
mod turns;
mod twin;
mod uploads;

pub use crate::federation::Federation;
pub use campaign::{Campaign, FailedFederations, FailedSeed, ScenarioPart, Tally, UnknownScenarioPart};
pub use contribution::contribute;
pub use faults::{Fate, Moment};
pub use invariant::{Invariant, Violation};
pub use liar::Lie;
pub use run_files::OpenedSum;
pub use samples::{
    adaptive, author, author_text, authored, authorised, authority, of_first_format, plan, private_plan,
    removing_excess, welcome,
};
pub use scenario::{NoiseBy, Scenario, ScenarioReport};
pub use swarm::FaultKind;
pub use trace::{Place, Row};
