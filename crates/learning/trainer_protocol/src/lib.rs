//! What a silo's daemon and the process that trains for it say to each other, over one stream between the two.
//!
//! Owns: frames ([`Frame`]) with their bounds, and the messages in them: [`Ask`], of the daemon; [`Reply`], of the trainer. Does not: open a
//! socket, read data, train, or believe an answer, which is `plan`'s.
//!
//! # Format
//! Version 2. A frame is the length of its head (4 bytes) and of its body (8 bytes), both little-endian, then both. The head
//! is a JSON object of one message. The body is numbers, little-endian: of [`Ask::Train`] a seed of 32 bytes, then the model's parameters as
//! f32 in the order of its layout; of [`Reply::Trained`] the values in the same order, f32 or f64 as its `precision` says. All others have none.
//! A trainer in another language needs no more than sockets, JSON and this page.
//!
//! ```text
//! daemon                                            trainer
//!                              <-- ready ---------  once, when it is sealed
//!   read    job, signed plan   ---------------->    verifies it, and reads its table for it
//!                              <-- table ---------  or failed
//!   train   job, clip norm     ---------------->    on that table, for the plan of the last `read`
//!                              <-- trained -------  or failed
//!   stop    job                ---------------->    the answer to the job may be `failed` from here on
//! ```
//!
//! One job at a time; its answer has its number. The stream's end is the end of the trainer. Anything else that a trainer says is a fault of
//! the trainer: the daemon ends it. One that speaks another version is not begun with.
//!
//! # What a daemon is believed
//! Nothing of the plan: a trainer reads the silo's policy when it starts, from the file that its command line names, and takes a plan that
//! an author of that policy signed and the policy allows; it clips to no norm that no round of the plan has. What is left to whoever has
//! taken a daemon over: the model, the seed and, where the clip norm moves, a norm within its reach, for such a plan, as often as they
//! like. They see what comes of it before the mask and, where the daemon adds the noise, before that: clipped in modes that clip, as it is in `fedavg`. In
//! `silo_dp_sgd` the trainer adds the noise, drawn from the daemon's seed, so that whoever chose that can take it off again. A cell's text
//! is in no reply to a training daemon: a trainer that describes files does so for their operator, and trains nothing.
//!
//! ```
//! use trainer_protocol::{Reply, Frame, FrameLimits};
//!
//! let said = Reply::Failed { job: 7, data: false, why: "out of memory".into() };
//! let bytes = Frame::of(&said, &[])?.to_bytes();
//! let heard = Frame::read(&mut bytes.as_slice(), FrameLimits { head: 1024, body: 0 })?;
//! assert_eq!(heard.message::<Reply>()?, said);
//! # Ok::<(), trainer_protocol::FrameFault>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod frame;
pub mod limits;
mod messages;
mod values;

pub use frame::{Frame, FrameFault, FrameLimits, PREFIX_BYTES};
pub use messages::{Ask, Precision, Reply, TEXT_BYTES_MAX, VERSION};
pub use values::{SEED_BYTES, body_of_job, job_of_body};
