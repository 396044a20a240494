//! Names and shapes of a model's tensors, in their fixed order.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutEntry {
    /// Such as `layers.0.weight`.
    pub name: String,
    /// Row-major: the last dimension varies fastest.
    pub shape: Vec<usize>,
}

/// The tensors of a model, in the order in which they are laid out flat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<LayoutEntry>", into = "Vec<LayoutEntry>")]
pub struct Layout {
    entries: Vec<LayoutEntry>,
    lanes: usize,
}

/// A list of tensors that is no layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A name is empty or used twice.
    #[error("tensor name `{0}` is empty or used twice")]
    Name(String),
    /// A shape has a zero dimension or does not fit in memory.
    #[error("tensor `{name}` has a zero dimension, or the layout is too large: {shape:?}")]
    Shape { name: String, shape: Vec<usize> },
}

impl Layout {
    /// A layout of `entries`, in this order.
    ///
    /// # Errors
    ///
    /// An empty or repeated name; a zero dimension; more lanes than can be counted.
    pub fn new(entries: Vec<LayoutEntry>) -> Result<Layout, LayoutError> {
        let mut names = BTreeSet::new();
        let mut lanes = 0usize;
        for LayoutEntry { name, shape } in &entries {
            if name.is_empty() || !names.insert(name.as_str()) {
                return Err(LayoutError::Name(name.clone()));
            }
            lanes = checked_lanes(shape)
                .and_then(|n| lanes.checked_add(n))
                .ok_or_else(|| LayoutError::Shape { name: name.clone(), shape: shape.clone() })?;
        }
        Ok(Layout { entries, lanes })
    }

    /// For layouts right by construction; too many lanes saturate, and no values of that length exist.
    pub(crate) fn from_distinct(entries: Vec<LayoutEntry>) -> Layout {
        let lanes = entries.iter().fold(0usize, |sum, entry| sum.saturating_add(entry.lanes()));
        Layout { entries, lanes }
    }

    /// The tensors, in order.
    pub fn entries(&self) -> &[LayoutEntry] {
        &self.entries
    }

    /// Number of values over all tensors: the dimension d of an update.
    pub fn len(&self) -> usize {
        self.lanes
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.lanes == 0
    }

    /// Each tensor with the range of lanes it takes.
    pub fn ranges(&self) -> impl Iterator<Item = (&LayoutEntry, Range<usize>)> {
        self.entries.iter().scan(0usize, |offset, entry| {
            let start = *offset;
            *offset = start.saturating_add(entry.lanes());
            Some((entry, start..*offset))
        })
    }

    /// Digest of names, shapes and order.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("folkmoot/v1/layout");
        for LayoutEntry { name, shape } in &self.entries {
            hasher.part(name.as_bytes());
            hasher.begin_part(8 * shape.len() as u64);
            for &dimension in shape {
                hasher.bytes(&(dimension as u64).to_le_bytes());
            }
        }
        hasher.finish()
    }
}

impl LayoutEntry {
    /// Number of values of this tensor (saturating).
    pub fn lanes(&self) -> usize {
        self.shape.iter().fold(1, |product, &dimension| product.saturating_mul(dimension))
    }
}

impl TryFrom<Vec<LayoutEntry>> for Layout {
    type Error = LayoutError;

    fn try_from(entries: Vec<LayoutEntry>) -> Result<Layout, LayoutError> {
        Layout::new(entries)
    }
}

impl From<Layout> for Vec<LayoutEntry> {
    fn from(layout: Layout) -> Vec<LayoutEntry> {
        layout.entries
    }
}

fn checked_lanes(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dimension| product.checked_mul(dimension)).filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, shape: &[usize]) -> LayoutEntry {
        LayoutEntry { name: name.into(), shape: shape.into() }
    }

    #[test]
    fn ranges_tile_the_lanes_in_order() {
        let layout = Layout::new(vec![entry("a", &[2, 3]), entry("b", &[5]), entry("c", &[])]).unwrap();
        let ranges: Vec<_> = layout.ranges().map(|(entry, range)| (entry.name.as_str(), range)).collect();
        assert_eq!(ranges, [("a", 0..6), ("b", 6..11), ("c", 11..12)]);
        assert_eq!(layout.len(), 12);
    }

    #[test]
    fn repeated_names_empty_names_zero_and_huge_shapes_are_refused() {
        assert!(matches!(Layout::new(vec![entry("a", &[1]), entry("a", &[2])]), Err(LayoutError::Name(_))));
        assert!(matches!(Layout::new(vec![entry("", &[1])]), Err(LayoutError::Name(_))));
        assert!(matches!(Layout::new(vec![entry("a", &[3, 0])]), Err(LayoutError::Shape { .. })));
        assert!(matches!(Layout::new(vec![entry("a", &[usize::MAX, 2])]), Err(LayoutError::Shape { .. })));
        let two = vec![entry("a", &[usize::MAX]), entry("b", &[1])];
        assert!(matches!(Layout::new(two), Err(LayoutError::Shape { .. })));
    }

    #[test]
    fn json_of_a_bad_layout_is_refused() {
        let json = r#"[{"name":"a","shape":[2]},{"name":"b","shape":[3]}]"#;
        let layout: Layout = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&layout).unwrap(), json);
        assert!(serde_json::from_str::<Layout>(&json.replace("\"b\"", "\"a\"")).is_err());
        assert!(
            serde_json::from_str::<Layout>(&json.replace("\"shape\":[3]", "\"shape\":[3],\"x\":1")).is_err()
        );
    }

    #[test]
    fn digest_depends_on_names_shapes_and_order() {
        let layouts = [
            vec![entry("a", &[2, 3]), entry("b", &[1])],
            vec![entry("a", &[3, 2]), entry("b", &[1])],
            vec![entry("b", &[1]), entry("a", &[2, 3])],
            vec![entry("a", &[2, 3]), entry("c", &[1])],
            vec![entry("a", &[6]), entry("b", &[1])],
        ];
        let digests: BTreeSet<_> = layouts.iter().map(|l| Layout::new(l.clone()).unwrap().digest()).collect();
        assert_eq!(digests.len(), layouts.len());
    }
}
