//! A tamper-evident audit log: what happened at a coordinator or in a silo and left it, and whoever remembers it.
//!
//! Owns: the [`Event`], its canonical bytes and the list of [`Action`]s, the [`Log`] in a folder, the thread that a silo's is written by
//! ([`Writer`]), its offline check ([`verify_log`]), how it is read and shown ([`read_events`]), and the memory that a silo keeps of
//! another's log ([`Witness`]).
//!
//! Does not: decide what is worth an event, send anything, or know the time. The formats are those of `tlog`.
//!
//! ```text
//! append ──> journal (fsync)  ── publish ──> tile/…, checkpoint ──> anyone with the log's key: verify_log
//!            the truth                       derived from it            │
//!                                                                       └─> Witness at each silo:
//!                 checkpoint, with k cosignatures <── add_cosignature ──────  same or grown, never another history
//! ```
//!
//! The operator's own signature cannot keep the operator from showing two histories. Each silo therefore remembers the
//! last checkpoint, asks for a proof that the next one continues it, and only then cosigns. A folder rolled back as a
//! whole, with its journal and checkpoint, is seen by the witnesses alone.
//!
//! Memory: a log holds the right edge of its tree and the entries that do not fill a bundle yet: 64 KiB, and 255
//! entries. Opening reads the whole journal once, and hashes it.
//!
//! # Example
//!
//! ```
//! use audit::{Action, Event, Log, Witness};
//! use ed25519_dalek::SigningKey;
//! use tlog::{Receipt, VerifierKey};
//!
//! # let folder = tempfile::tempdir()?;
//! let key = SigningKey::from_bytes(&[1; 32]);
//! let mut log = Log::open(&folder.path().join("audit"), "folkmoot.example/coordinator", key)?;
//! let event = Event::of_silo(1_760_000_000_000, 3, Action::UploadReceived);
//! log.append(&[event.clone()])?;
//! let checkpoint = log.publish()?;
//!
//! // A silo checks offline that what it sent is in the log, and from now on holds the log to it.
//! let log_key = log.verifier_key().clone();
//! Receipt::parse(&log.prove_inclusion(0)?)?.verify(&event.encode()?, &log_key)?;
//! let silo = SigningKey::from_bytes(&[3; 32]);
//! let mut witness = Witness::open(&folder.path().join("witness"), log_key)?;
//! let line = witness.observe(&checkpoint, &[], &silo, "silo-3", 1_760_000_001)?;
//! log.add_cosignature(&line, &VerifierKey::new("silo-3", silo.verifying_key())?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Papers
//!
//! c2sp.org tlog-tiles, tlog-cosignature, tlog-witness; RFC 8785 for the events' bytes.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod action;
mod event;
mod folder;
mod log;
mod names;
mod reading;
mod stand_in;
mod verify;
mod witness;
mod writer;

#[cfg(test)]
mod samples;

pub use action::{Action, call};
pub use event::{Actor, Event, EventError, Status};
pub use folder::FolderError;
pub use log::{Log, LogError};
pub use names::{log_name, silo, silo_name};
pub use reading::{ShownEvent, UnknownAction, Wanted, is_published, read_events};
pub use stand_in::{JOURNAL, cut, writable};
pub use verify::{Report, VerifyError, export, read_entries, verify_log};
pub use witness::{Witness, WitnessError, cosignatures_by, keep_evidence};
pub use writer::{Recorder, Writer};
