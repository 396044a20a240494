//! The values of a model, and updates as their differences.

use crate::digest::{Digest, Hasher};
use crate::layout::{Layout, LayoutEntry};

// Values hashed per step: large enough to feed SHA-256 well, small enough to stay in cache.
const HASHED_AT_ONCE: usize = 4096;

/// The parameters of a model, flat, in the order of their layout.
///
/// # Shapes
///
/// As many values as the layout has lanes.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    layout: Layout,
    values: Vec<f32>,
}

/// Values that do not fit the layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Wrong number of values.
    #[error("{actual} values for a layout of {expected}")]
    Length {
        /// Lanes of the layout.
        expected: usize,
        actual: usize,
    },
}

impl Params {
    /// Parameters with these values.
    ///
    /// # Errors
    ///
    /// A number of values other than the layout's lanes.
    pub fn new(layout: Layout, values: Vec<f32>) -> Result<Params, ParamsError> {
        match values.len() {
            actual if actual != layout.len() => Err(ParamsError::Length { expected: layout.len(), actual }),
            _ => Ok(Params { layout, values }),
        }
    }

    /// Parameters that are all zero.
    pub fn zeros(layout: Layout) -> Params {
        Params { values: vec![0.0; layout.len()], layout }
    }

    /// For values drawn tensor by tensor from this very layout.
    pub(crate) fn from_matching(layout: Layout, values: Vec<f32>) -> Params {
        assert_eq!(layout.len(), values.len(), "values drawn do not match their own layout");
        Params { layout, values }
    }

    /// Names and shapes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The values, flat.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, flat, without a copy.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Each tensor with its values.
    pub fn tensors(&self) -> impl Iterator<Item = (&LayoutEntry, &[f32])> {
        // The ranges tile 0..len, which `new` compared with the values: `get` never fails.
        self.layout.ranges().map(|(entry, range)| (entry, self.values.get(range).unwrap_or_default()))
    }

    /// Digest of the layout and of the values as little-endian IEEE 754 bits.
    ///
    /// It tells zero from minus zero and one NaN from another: equal digests mean equal bits.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("folkmoot/v1/params");
        hasher.part(self.layout.digest().as_bytes());
        hasher.begin_part(4 * self.values.len() as u64);
        let mut bytes = Vec::with_capacity(4 * HASHED_AT_ONCE);
        for chunk in self.values.chunks(HASHED_AT_ONCE) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            hasher.bytes(&bytes);
        }
        hasher.finish()
    }

    /// Whether no value is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The update that leads from `base` to `self`: `self - base`, lane by lane.
    ///
    /// # Panics
    ///
    /// When the layouts differ: both sides of a difference come from one plan.
    pub fn difference(&self, base: &Params) -> Vec<f32> {
        assert_eq!(self.layout, base.layout, "a difference of parameters of two layouts");
        self.values.iter().zip(&base.values).map(|(value, base)| value - base).collect()
    }

    /// `self + update`, lane by lane.
    ///
    /// # Errors
    ///
    /// An update of another length.
    pub fn add(&self, update: &[f32]) -> Result<Params, ParamsError> {
        let (expected, actual) = (self.values.len(), update.len());
        if expected != actual {
            return Err(ParamsError::Length { expected, actual });
        }
        let values = self.values.iter().zip(update).map(|(value, update)| value + update).collect();
        Ok(Params { layout: self.layout.clone(), values })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout() -> Layout {
        let entry = |name: &str, shape: &[usize]| LayoutEntry { name: name.into(), shape: shape.into() };
        Layout::new(vec![entry("a", &[2, 2]), entry("b", &[3])]).unwrap()
    }

    fn params(values: [f32; 7]) -> Params {
        Params::new(layout(), values.to_vec()).unwrap()
    }

    #[test]
    fn a_wrong_number_of_values_is_refused() {
        let error = Err(ParamsError::Length { expected: 7, actual: 6 });
        assert_eq!(Params::new(layout(), vec![0.0; 6]), error);
        assert_eq!(Params::zeros(layout()).add(&[0.0; 6]), error);
    }

    #[test]
    fn tensors_are_the_flat_values_cut_in_layout_order() {
        let params = params([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0]);
        let tensors: Vec<_> = params.tensors().map(|(entry, values)| (entry.name.as_str(), values)).collect();
        assert_eq!(tensors, [("a", &[2.0, 3.0, 5.0, 7.0][..]), ("b", &[11.0, 13.0, 17.0])]);
    }

    #[test]
    fn digest_is_over_layout_digest_and_little_endian_bits() {
        let params = params([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0]);
        let bytes: Vec<u8> = params.values().iter().flat_map(|v| v.to_le_bytes()).collect();
        let expected = Digest::of("folkmoot/v1/params", &[layout().digest().as_bytes(), &bytes]);
        assert_eq!(params.digest(), expected);
    }

    #[test]
    fn digest_of_many_values_does_not_depend_on_the_hashing_step() {
        let lanes = 2 * HASHED_AT_ONCE + 5;
        let layout = Layout::new(vec![LayoutEntry { name: "a".into(), shape: vec![lanes] }]).unwrap();
        let params = Params::new(layout.clone(), (0..lanes).map(|i| i as f32).collect()).unwrap();
        let bytes: Vec<u8> = params.values().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(params.digest(), Digest::of("folkmoot/v1/params", &[layout.digest().as_bytes(), &bytes]));
    }

    #[test]
    fn one_bad_lane_makes_parameters_not_finite() {
        assert!(Params::zeros(layout()).is_finite());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!params([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, bad]).is_finite());
        }
    }

    #[test]
    #[should_panic(expected = "two layouts")]
    fn a_difference_across_layouts_panics() {
        let other = Layout::new(vec![LayoutEntry { name: "a".into(), shape: vec![7] }]).unwrap();
        Params::zeros(layout()).difference(&Params::zeros(other));
    }

    proptest! {
        // Whole numbers below 2^23, so that the arithmetic is exact.
        #[test]
        fn adding_a_difference_to_its_base_gives_the_target(
            base in prop::array::uniform7(-4_000_000i32..4_000_000),
            target in prop::array::uniform7(-4_000_000i32..4_000_000),
        ) {
            let (base, target) = (params(base.map(|v| v as f32)), params(target.map(|v| v as f32)));
            prop_assert_eq!(base.add(&target.difference(&base)).unwrap(), target);
        }
    }
}
