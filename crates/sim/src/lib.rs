//! Whole federations in one thread: coordinator, silos, network, journals and clock, from one seed.
//!
//! The core's state machines run as they are; what is simulated is everything around them. A [`Fate`] decides
//! about each message and each effect, so a test loses, kills and restarts where it likes. After each run
//! [`Federation::opened`] holds every opened sum beside the plaintext integers that went into it.
//!
//! Not here: sockets, files and training; silos contribute what [`Federation::contribute`] makes up.
//!
//! ```
//! let mut federation = sim::Federation::new(sim::plan(5, 2), 5, 1);
//! federation.run();
//! assert_eq!(federation.coordinator().status().rounds_committed, 2);
//! ```

mod federation;
mod samples;
mod silo;

pub use federation::{Fate, Federation, Moment, OpenedSum};
pub use samples::{plan, private_plan};
