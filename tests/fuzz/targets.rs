//! One function for every place where bytes from outside become values, and two that drive the core.
//!
//! A target panics where a claim does not hold: what is accepted is written again as it was read, or as a value
//! that reads back the same; what is refused changed nothing. `main.rs` gives them to libFuzzer, `smoke.rs` runs
//! them as a test of the workspace, on the kept corpus and on a few mutations of it.

mod accounts;
mod attested;
mod chunks;
mod coordinator;
mod edits;
mod files;
mod journal;
mod logs;
mod messages;
mod oracle;
mod participant;
mod peers;
mod script;
pub(crate) mod seeds;
// Conformance reads a field of it that seeds have no use for.
#[allow(dead_code)]
#[path = "../conformance/session.rs"]
mod session;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// What reads bytes: its memory is bounded by its input.
pub(crate) const DECODERS: &[Target] = &[
    ("client_envelope", messages::client_envelope),
    ("server_envelope", messages::server_envelope),
    ("handshake", messages::handshake),
    ("checkpoint_record", messages::checkpoint_record),
    ("refusal", messages::refusal),
    ("upload", chunks::upload),
    ("model_chunks", chunks::model_chunks),
    ("journal_file", journal::file),
    ("journal_edits", journal::edits),
    ("coordinator_record", journal::coordinator_record),
    ("client_record", journal::client_record),
    ("manifest", files::manifest),
    ("chain", files::chain),
    ("bundle", attested::bundle),
    ("evidence", attested::evidence),
    ("model_file", files::model_file),
    ("optimizer_state", files::optimizer_state),
    ("plan", files::plan),
    ("policy", files::policy),
    ("roster", files::roster),
    ("keys", files::keys),
    ("csv", files::csv),
    ("records", files::records),
    ("idx", files::idx),
    ("ledger", accounts::ledger),
    ("log_texts", logs::texts),
    ("log_entries", logs::entries),
    ("log_proofs", logs::proofs),
];

/// What reads an auditor's or a silo's own files with a library whose buffers are not ours to bound: limited in length alone.
pub(crate) const FILES: &[Target] =
    &[("card", accounts::card), ("parquet", files::parquet), ("images", files::images)];

/// The core of each side against whatever the other one says.
pub(crate) const CORES: &[Target] =
    &[("participant", participant::drive), ("coordinator", coordinator::drive)];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Target> {
    DECODERS.iter().chain(FILES).chain(CORES)
}
