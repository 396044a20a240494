//! Every size that a peer can ask this side to hold, and why it is what it is.
//!
//! A limit is checked before the bytes behind it are copied into a domain type. [`MESSAGE_BYTES_MAX`] comes
//! before all others: tonic refuses a longer frame before it is decoded.

/// Members of one cohort: shares are points of GF(2^8), and zero is not one of them.
pub const COHORT_MAX: usize = secagg::COHORT_MAX;

/// One gRPC message. The largest legitimate ones are a chunk of [`CHUNK_BYTES_MAX`] and a plan of
/// [`PLAN_BYTES_MAX`]; a full cohort's delivery is smaller than both.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A plan's canonical bytes: the limit that plans themselves have.
pub const PLAN_BYTES_MAX: usize = 1 << 20;

/// A checkpoint's canonical manifest: it names tensors, metrics and a cohort, and holds no weights.
pub const MANIFEST_BYTES_MAX: usize = 256 << 10;

/// A Merkle path over [`COHORT_MAX`] leaves.
pub const MERKLE_PATH_MAX: usize = 8;

/// A sentence for people. Longer ones are cut by the sender, and refused by the receiver.
pub const TEXT_BYTES_MAX: usize = 1 << 10;

/// Data in one chunk, unless the sender says otherwise: large enough for line speed, small enough that a
/// thousand streams at once fit in memory.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Data in one chunk at most.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A model's file: four thousand million parameters, more than a silo's processor trains.
pub const MODEL_BYTES_MAX: u64 = 16 << 30;

/// Lanes of a masked vector: a parameter each, and as many bytes as the largest model.
pub const LANES_MAX: u64 = MODEL_BYTES_MAX / LANE_BYTES;

/// A lane on the network: `u32`, little endian.
pub const LANE_BYTES: u64 = 4;

const _: () = assert!(CHUNK_BYTES <= CHUNK_BYTES_MAX && CHUNK_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(PLAN_BYTES_MAX < MESSAGE_BYTES_MAX && MANIFEST_BYTES_MAX < MESSAGE_BYTES_MAX);
