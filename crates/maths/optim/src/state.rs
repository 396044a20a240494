//! What a server optimiser remembers between rounds, and its canonical bytes.
//!
//! ```text
//! "FMOS" | version u16 | moments u8 (0, 1, 2) | steps u64 | lanes u64 | clip norm f64 | first f32[lanes] | second f32[lanes]
//! ```
//!
//! All little endian; only the vectors that there are. Version 1 has no clip norm, version 2 has one.

const MAGIC: &[u8; 4] = b"FMOS";
const VERSION: u16 = 1;
const VERSION_CLIPPING: u16 = 2;

/// Moments and step count of a server optimiser, and the clip norm of the next round where a plan lets it follow a quantile.
///
/// # Shapes
///
/// No vector, one, or two of one lane per parameter, as the optimiser needs.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) steps: u64,
    pub(crate) moments: Moments,
    pub(crate) clip_norm: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Moments {
    None,
    First(Vec<f32>),
    Both { first: Vec<f32>, second: Vec<f32> },
}

/// Bytes that are no optimiser state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not written by [`State::to_bytes`].
    #[error("not an optimiser state: the header is missing or short")]
    Header,
    /// Written by another version.
    #[error("optimiser state of version {0}; this program reads versions {VERSION} and {VERSION_CLIPPING}")]
    Version(u16),
    /// An unknown number of moments.
    #[error("optimiser state with {0} moments; there are 0, 1 or 2")]
    Moments(u8),
    /// Too short or too long for its lanes.
    #[error("{actual} bytes of moments do not hold {moments} times {lanes} lanes")]
    Length {
        moments: u8,
        lanes: u64,
        /// Bytes there are.
        actual: usize,
    },
    /// An infinite or undefined moment, a negative second moment, or a clip norm that is not positive and finite.
    #[error("optimiser state with a value that no step can have left")]
    Value,
}

impl State {
    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether a step from it depends on the steps before.
    pub fn remembers(&self) -> bool {
        self.clip_norm.is_some() || !matches!(self.moments, Moments::None)
    }

    /// What the next round's contributions are clipped to, where that is not a constant of the plan.
    pub fn clip_norm(&self) -> Option<f64> {
        self.clip_norm
    }

    /// The same with this clip norm, a positive finite number.
    pub fn with_clip_norm(self, clip_norm: f64) -> Self {
        Self { clip_norm: Some(clip_norm), ..self }
    }

    /// Canonical bytes: equal states give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let vectors = self.moments.vectors();
        let lanes = vectors.first().map_or(0, |vector| vector.len());
        let mut bytes = Vec::with_capacity(23 + 4 * lanes * vectors.len());
        bytes.extend(MAGIC);
        let version = if self.clip_norm.is_some() { VERSION_CLIPPING } else { VERSION };
        bytes.extend(version.to_le_bytes());
        bytes.push(vectors.len() as u8);
        bytes.extend(self.steps.to_le_bytes());
        bytes.extend((lanes as u64).to_le_bytes());
        bytes.extend(self.clip_norm.into_iter().flat_map(f64::to_le_bytes));
        for vector in vectors {
            bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    /// Reads what [`State::to_bytes`] wrote, and nothing else.
    ///
    /// # Errors
    ///
    /// Another format or version, a length that does not match, values that no step leaves behind.
    pub fn from_bytes(bytes: &[u8]) -> Result<State, StateError> {
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(StateError::Header)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(StateError::Header)?;
        if magic != MAGIC {
            return Err(StateError::Header);
        }
        let version = u16::from_le_bytes(*version);
        if version != VERSION && version != VERSION_CLIPPING {
            return Err(StateError::Version(version));
        }
        let (&moments, rest) = rest.split_first().ok_or(StateError::Header)?;
        let (steps, rest) = rest.split_first_chunk::<8>().ok_or(StateError::Header)?;
        let (lanes, rest) = rest.split_first_chunk::<8>().ok_or(StateError::Header)?;
        let (steps, lanes) = (u64::from_le_bytes(*steps), u64::from_le_bytes(*lanes));

        let (clip_norm, rest) = match version {
            VERSION_CLIPPING => {
                let (clip_norm, rest) = rest.split_first_chunk::<8>().ok_or(StateError::Header)?;
                (Some(f64::from_le_bytes(*clip_norm)), rest)
            }
            _ => (None, rest),
        };
        if clip_norm.is_some_and(|clip_norm| !(clip_norm.is_finite() && clip_norm > 0.0)) {
            return Err(StateError::Value);
        }

        let length = StateError::Length { moments, lanes, actual: rest.len() };
        let (values, odd) = rest.as_chunks::<4>();
        // In u128 the product of a u64 and a small number cannot wrap.
        if !odd.is_empty() || u128::from(lanes) * u128::from(moments) != values.len() as u128 {
            return Err(length);
        }
        let mut values = values.iter().map(|value| f32::from_le_bytes(*value));
        let lanes = lanes as usize;
        let moments = match moments {
            // Without vectors the lanes are said to be zero, or two encodings would mean one state.
            0 if lanes == 0 => Moments::None,
            0 => return Err(length),
            1 => Moments::First(values.collect()),
            2 => Moments::Both { first: values.by_ref().take(lanes).collect(), second: values.collect() },
            other => return Err(StateError::Moments(other)),
        };
        let negative = matches!(&moments, Moments::Both { second, .. } if second.iter().any(|v| *v < 0.0));
        if negative || moments.not_finite().is_some() {
            return Err(StateError::Value);
        }
        Ok(State { steps, moments, clip_norm })
    }
}

impl Moments {
    /// The first lane with a moment that is not finite.
    pub(crate) fn not_finite(&self) -> Option<usize> {
        let lanes = self.vectors().into_iter().filter_map(|v| v.iter().position(|value| !value.is_finite()));
        lanes.min()
    }

    fn vectors(&self) -> Vec<&[f32]> {
        match self {
            Moments::None => vec![],
            Moments::First(first) => vec![first],
            Moments::Both { first, second } => vec![first, second],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> State {
        let moments = Moments::Both { first: vec![2.0, -3.0], second: vec![5.0, 11.0] };
        State { steps: 7, moments, clip_norm: None }
    }

    #[test]
    fn bytes_are_as_documented() {
        let mut expected = b"FMOS\x01\x00\x02\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        for value in [2.0f32, -3.0, 5.0, 11.0] {
            expected.extend(value.to_le_bytes());
        }
        assert_eq!(both().to_bytes(), expected);
        let mut clipping = b"FMOS\x02\x00\x02\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        clipping.extend(0.75f64.to_le_bytes());
        clipping.extend(&expected[23..]);
        assert_eq!(both().with_clip_norm(0.75).to_bytes(), clipping);
    }

    #[test]
    fn every_state_survives_its_bytes() {
        let none = State { steps: 1, moments: Moments::None, clip_norm: None };
        let first = State { steps: 2, moments: Moments::First(vec![2.0, -3.0]), clip_norm: Some(1e-3) };
        for state in [none.clone(), none.with_clip_norm(2.5), first, both()] {
            assert_eq!(State::from_bytes(&state.to_bytes()), Ok(state));
        }
    }

    #[test]
    fn every_shorter_and_any_longer_text_is_refused() {
        for bytes in [both().to_bytes(), both().with_clip_norm(1.0).to_bytes()] {
            for cut in 0..bytes.len() {
                assert!(State::from_bytes(&bytes[..cut]).is_err(), "{cut}");
            }
            for more in [1, 4, 8] {
                assert!(State::from_bytes(&[&bytes[..], &vec![0; more]].concat()).is_err(), "{more}");
            }
        }
    }

    #[test]
    fn other_versions_counts_and_impossible_values_are_refused() {
        let changed = |at: usize, to: &[u8]| {
            let mut bytes = both().to_bytes();
            bytes[at..at + to.len()].copy_from_slice(to);
            State::from_bytes(&bytes)
        };
        assert_eq!(changed(0, b"X"), Err(StateError::Header));
        assert_eq!(changed(4, &[3]), Err(StateError::Version(3)));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(State::from_bytes(&both().with_clip_norm(bad).to_bytes()), Err(StateError::Value));
        }
        assert!(matches!(changed(6, &[1]), Err(StateError::Length { .. })));
        assert_eq!(changed(6, &[4, 7, 0, 0, 0, 0, 0, 0, 0, 1]), Err(StateError::Moments(4)));
        assert!(matches!(changed(15, &[0xff; 8]), Err(StateError::Length { .. })));
        assert_eq!(changed(23, &f32::NAN.to_le_bytes()), Err(StateError::Value));
        assert_eq!(changed(31, &(-5.0f32).to_le_bytes()), Err(StateError::Value));
        let stray_lanes = [&b"FMOS\x01\0\0"[..], &[0; 8], &1u64.to_le_bytes()].concat();
        assert!(matches!(State::from_bytes(&stray_lanes), Err(StateError::Length { .. })));
    }
}
