//! How many integers make one unit.

/// The factor `2^bits` between real numbers and lanes.
///
/// Only powers of two: multiplying by one is exact in floating point, so that rounding to integers is the only
/// rounding, and the sensitivities say all there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    bits: u32,
}

/// Why a number of bits is no scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scale of 2^{bits} leaves no room in 32-bit lanes, 2^{max} is the most", max = Scale::BITS_MAX)]
pub struct ScaleError {
    pub bits: u32,
}

impl Scale {
    /// Most bits after the binary point.
    pub const BITS_MAX: u32 = 29;

    /// The scale `2^bits`.
    ///
    /// # Errors
    /// More than [`Scale::BITS_MAX`] bits.
    pub fn from_bits(bits: u32) -> Result<Self, ScaleError> {
        if bits <= Self::BITS_MAX { Ok(Self { bits }) } else { Err(ScaleError { bits }) }
    }

    /// Lanes per unit, exactly.
    pub fn factor(self) -> f64 {
        (1_u64 << self.bits) as f64
    }

    pub(crate) fn one(self) -> u32 {
        1 << self.bits
    }
}
