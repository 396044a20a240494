//! How long the frames of each side may be.

use crate::{FrameLimits, SEED_BYTES};

/// Of what a daemon asks: a plan's text of a mebibyte, each character escaped; a seed and a model of as many parameters as any may have.
pub const ASK: FrameLimits = FrameLimits { head: 8 << 20, body: SEED_BYTES + (4 << 28) };

/// Of what a trainer replies where no values are due.
pub const REPLY: FrameLimits = FrameLimits { head: 64 << 10, body: 0 };

/// Of what it replies to a training on a model of so many parameters.
pub fn trained(parameters: usize) -> FrameLimits {
    // No model in memory has more values than that.
    FrameLimits { body: parameters.min(1 << 28) * size_of::<f64>(), ..REPLY }
}
