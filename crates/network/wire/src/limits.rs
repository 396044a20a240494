//! Every size that a peer can ask this side to hold, and why it is what it is.
//!
//! A limit is checked before the bytes behind it are copied into a domain type. [`MESSAGE_BYTES_MAX`] comes
//! before all others: tonic refuses a longer frame before it is decoded.
//!
//! While a decoder reads hostile bytes it holds at most 64 KiB and 96 bytes for each byte that has arrived, and
//! nothing for what a length only announces; `tests/fuzz/smoke.rs` counts it for every decoder. The factor is that
//! of a protobuf list of empty entries, two bytes each, which is decoded whole before it is counted: the reason
//! why [`MESSAGE_BYTES_MAX`] leaves no room to spare.
//!
//! What files may hold is limited beside their readers, in crates that this one does not know or must not:
//! `plan::Plan::BYTES_MAX` (equal to [`PLAN_BYTES_MAX`]), `checkpoint::HEADER_BYTES_MAX` of a model's file,
//! `store::APPEND_BYTES_MAX` of a journal's append, a megabyte for a line of a silo's table, and
//! `params::Architecture::validate` for the model that a plan describes, the one thing that a short message makes
//! large.

/// Members of one cohort: shares are points of GF(2^8), and zero is not one of them.
pub const COHORT_MAX: usize = secagg::COHORT_MAX;

/// Links of noise seeds that one dealer shares: cohorts that remove excess noise are smaller, and of `n` silos more than
/// half are in every sum.
pub const NOISE_LINKS_MAX: usize = secagg::EXCESS_COHORT_MAX / 2;

/// One gRPC message. The largest legitimate ones are a chunk of [`CHUNK_BYTES_MAX`] and a welcome, with a plan of
/// [`PLAN_BYTES_MAX`], a roster of [`ROSTER_BYTES_MAX`] and [`ROSTERS_BETWEEN_BYTES_MAX`] of those before it, each with a
/// little around it; a full cohort's delivery is smaller than both, with noise seeds or without.
pub const MESSAGE_BYTES_MAX: usize =
    PLAN_BYTES_MAX + ROSTER_BYTES_MAX + ROSTERS_BETWEEN_BYTES_MAX + (32 << 10);

/// A listing of what the coordinator's registry holds, for an operator's program: 4096 bars that were lifted, each with two
/// reasons of a kilobyte, and as many that stand, or all incidents.
pub const LISTING_BYTES_MAX: usize = 32 << 20;

/// Rosters that a welcome shows beside its own.
pub const ROSTERS_BETWEEN_MAX: usize = identity::ROSTERS_BETWEEN_MAX;

/// Canonical bytes of all of those.
pub const ROSTERS_BETWEEN_BYTES_MAX: usize = identity::ROSTERS_BETWEEN_BYTES_MAX;

/// A roster's canonical bytes: a thousand members.
pub const ROSTER_BYTES_MAX: usize = 256 << 10;

/// A key or a signature in hexadecimal.
pub const HEX_BYTES_MAX: usize = 128;

/// A plan's canonical bytes: the limit that plans themselves have.
pub const PLAN_BYTES_MAX: usize = 1 << 20;

/// A checkpoint's canonical manifest: the limit that manifests themselves have.
pub const MANIFEST_BYTES_MAX: usize = checkpoint::MANIFEST_BYTES_MAX;

/// A Merkle path over [`COHORT_MAX`] leaves.
pub const MERKLE_PATH_MAX: usize = 8;

/// A sentence for people. Longer ones are cut by the sender, and refused by the receiver.
pub const TEXT_BYTES_MAX: usize = 1 << 10;

/// Data in one chunk, unless the sender says otherwise: large enough for line speed, small enough that a
/// thousand streams at once fit in memory.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Data in one chunk at most.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A model's file: the limit that files of a checkpoint themselves have.
pub const MODEL_BYTES_MAX: u64 = checkpoint::MODEL_BYTES_MAX;

/// Lanes of a masked vector: a parameter each, and as many bytes as the largest model.
pub const LANES_MAX: u64 = MODEL_BYTES_MAX / LANE_BYTES;

/// A lane on the network: `u32`, little endian.
pub const LANE_BYTES: u64 = plan::Plan::LANE_BYTES;

const _: () = assert!(CHUNK_BYTES <= CHUNK_BYTES_MAX && CHUNK_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(MANIFEST_BYTES_MAX < MESSAGE_BYTES_MAX);
