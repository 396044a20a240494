//! Updates before they are integers: local, clipped, and sums of clipped gradients.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::adaptive::AdaptiveClip;

/// A silo's trained update, unbounded.
///
/// # Shapes
/// `[d]`, a flat difference of parameters.
///
/// # Privacy
/// Stays in the silo.
///
/// # Security
/// Zeroised on drop, never copied or printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LocalUpdate {
    values: Vec<f32>,
}

/// An update whose L2 norm is at most the clip norm.
///
/// # Privacy
/// Stays in the silo.
///
/// # Security
/// Zeroised on drop, never copied or printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ClippedUpdate {
    values: Vec<f32>,
    clip_norm: f64,
    was_within: bool,
}

/// A sum of per-example gradients, each clipped to the clip norm.
///
/// # Shapes
/// `[d]`, flat.
///
/// # Privacy
/// Stays in the silo, and so does the number of examples that it sums.
///
/// # Security
/// Zeroised on drop, never copied or printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ClippedSum {
    values: Vec<f64>,
    clip_norm: f64,
    rows: u64,
    /// Gradients that were within the clip norm, less those that were beyond it.
    within_less_beyond: i64,
}

/// Why numbers are no update.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum UpdateError {
    /// A coordinate is infinite or not a number.
    #[error("coordinate {index} of the update is not finite")]
    NonFinite { index: usize },
    /// An update without coordinates.
    #[error("the update has no coordinates")]
    Empty,
    /// A clip norm is zero, negative or not finite.
    #[error("the clip norm {clip_norm} is not a positive number")]
    ClipNorm { clip_norm: f64 },
    /// A sum is longer than its clipped terms can make it.
    #[error(
        "the sum is no sum of clipped gradients: its norm is above the number of examples times the clip norm"
    )]
    NotClipped,
    /// An update that was said to be clipped is longer than that.
    #[error("the update is longer than the clip norm that it was to be clipped to")]
    NotWithin,
    /// More gradients were within the clip norm, or beyond it, than there are.
    #[error("the sum counts more gradients within its clip norm, or beyond it, than it has")]
    Count,
}

impl LocalUpdate {
    /// An update of these coordinates.
    ///
    /// # Errors
    /// No coordinates, or one that is not finite; what was given is zeroised.
    pub fn new(values: Vec<f32>) -> Result<Self, UpdateError> {
        let update = Self { values };
        require_finite(&update.values, |value| value.is_finite())?;
        Ok(update)
    }

    /// Scales the update to an L2 norm of at most `clip_norm`; a shorter one is unchanged.
    ///
    /// The norm, accumulated in f64, is at most `clip_norm` after rounding to f32 too.
    ///
    /// # Errors
    /// A clip norm that is not positive and finite.
    pub fn clip(mut self, clip_norm: f64) -> Result<ClippedUpdate, UpdateError> {
        require_clip_norm(clip_norm)?;
        let mut values = std::mem::take(&mut self.values);
        let mut was_within = true;
        loop {
            let norm = l2_norm(&values, |value| f64::from(*value));
            if norm <= clip_norm {
                return Ok(ClippedUpdate { values, clip_norm, was_within });
            }
            was_within = false;
            // Lanes are cut, not rounded: each pass makes the update shorter, so a second one is rare and they end.
            let factor = (clip_norm / norm).min(1.0_f64.next_down());
            for value in &mut values {
                *value = toward_zero(f64::from(*value) * factor);
            }
        }
    }

    /// The coordinates as they are, to be handed to another process of the silo.
    ///
    /// # Privacy
    /// Stays in the silo, and whoever has them wipes them.
    pub fn into_answer(mut self) -> Vec<f32> {
        std::mem::take(&mut self.values)
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}

impl ClippedUpdate {
    /// One that was clipped by somebody else, and is not clipped again: what is longer was not. `was_within`: whether it was no
    /// longer before either, which nothing shows.
    ///
    /// # Errors
    /// No coordinates, one that is not finite, a clip norm that is not positive and finite, a norm above it; what was given is
    /// zeroised.
    pub fn believed(values: Vec<f32>, clip_norm: f64, was_within: bool) -> Result<Self, UpdateError> {
        let update = Self { values, clip_norm, was_within };
        require_finite(&update.values, |value| value.is_finite())?;
        require_clip_norm(clip_norm)?;
        // The sum that clipping takes, so that what it left is never too long.
        match l2_norm(&update.values, |value| f64::from(*value)) <= clip_norm {
            true => Ok(update),
            false => Err(UpdateError::NotWithin),
        }
    }

    /// Clips an update; one with a coordinate that is not finite becomes nothing, and counts as beyond the clip norm.
    ///
    /// # Privacy
    /// The relation lets a silo's update be nothing. A refusal would show who has which data by who takes part, which no
    /// noise covers.
    ///
    /// # Errors
    /// No coordinates; a clip norm that is not positive and finite.
    pub fn finite_or_nothing(values: Vec<f32>, clip_norm: f64) -> Result<Self, UpdateError> {
        let lanes = values.len();
        match LocalUpdate::new(values) {
            Err(UpdateError::NonFinite { .. }) => {
                let mut nothing = LocalUpdate::new(vec![0.0; lanes])?.clip(clip_norm)?;
                nothing.was_within = false;
                Ok(nothing)
            }
            update => update?.clip(clip_norm),
        }
    }

    /// What it was clipped to.
    pub fn clip_norm(&self) -> f64 {
        self.clip_norm
    }

    /// The coordinates, and whether it was within its clip norm, to be handed to another process of the silo.
    ///
    /// # Privacy
    /// As [`LocalUpdate::into_answer`].
    pub fn into_answer(mut self) -> (Vec<f32>, bool) {
        (std::mem::take(&mut self.values), self.was_within)
    }

    /// The update over its clip norm, and behind it the coordinate that tells whether it was within.
    pub fn counted(mut self, adaptive: &AdaptiveClip) -> Self {
        let clip_norm = self.clip_norm;
        let mut values = std::mem::take(&mut self.values);
        // Cut, not rounded, so that no norm grows.
        values.iter_mut().for_each(|value| *value = toward_zero(f64::from(*value) / clip_norm));
        let half = if self.was_within { adaptive.half_weight() } else { -adaptive.half_weight() };
        push_whole(&mut values, toward_zero(half));
        Self { values, clip_norm: adaptive.joint_norm(), was_within: self.was_within }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}

impl ClippedSum {
    /// A sum of `rows` gradients, each of an L2 norm of at most `clip_norm`.
    ///
    /// An empty batch is a sum of zeros. Each gradient's clipping is the trainer's duty; that the sum's norm is
    /// at most `rows · clip_norm` is checked, with a thousandth of slack for floating point, because a sum that
    /// was never clipped nearly always breaks it.
    ///
    /// # Errors
    /// No coordinates, a coordinate that is not finite, a clip norm that is not positive and finite, or a sum too
    /// long; what was given is zeroised.
    pub fn new(values: Vec<f64>, clip_norm: f64, rows: u64) -> Result<Self, UpdateError> {
        let sum = Self { values, clip_norm, rows, within_less_beyond: 0 };
        require_finite(&sum.values, |value| value.is_finite())?;
        require_clip_norm(clip_norm)?;
        if l2_norm(&sum.values, |value| *value) > rows as f64 * clip_norm * 1.001 {
            return Err(UpdateError::NotClipped);
        }
        Ok(sum)
    }

    /// One that was summed by somebody else, with its count as [`ClippedSum::with_count`] takes it.
    ///
    /// # Errors
    /// As [`ClippedSum::new`], and a count of more gradients than there are.
    pub fn believed(
        values: Vec<f64>,
        clip_norm: f64,
        rows: u64,
        within_less_beyond: i64,
    ) -> Result<Self, UpdateError> {
        let sum = Self::new(values, clip_norm, rows)?.with_count(within_less_beyond);
        // One that is not finite counts nowhere, so of its parity nothing is known.
        if within_less_beyond.unsigned_abs() > rows { Err(UpdateError::Count) } else { Ok(sum) }
    }

    /// The coordinates, how many gradients they sum, and the count, to be handed to another process of the silo.
    ///
    /// # Privacy
    /// As [`LocalUpdate::into_answer`].
    pub fn into_answer(mut self) -> (Vec<f64>, u64, i64) {
        (std::mem::take(&mut self.values), self.rows, self.within_less_beyond)
    }

    /// With the number of gradients that were within the clip norm, less those beyond it; secret, like the sum.
    pub fn with_count(mut self, within_less_beyond: i64) -> Self {
        self.within_less_beyond = within_less_beyond;
        self
    }

    /// The sum over its clip norm, and behind it the coordinate that counts who was within.
    ///
    /// Each term is divided by its clip norm with the sum, and its own count is of one size, so that a term's norm is at most
    /// [`AdaptiveClip::joint_norm`]. Of what the two roundings of f64 may add, a part in 2^22 of a clip norm for 2^29 terms,
    /// the margin of the terms' clipping takes care.
    pub fn counted(mut self, adaptive: &AdaptiveClip) -> Self {
        let mut values = std::mem::take(&mut self.values);
        values.iter_mut().for_each(|value| *value /= self.clip_norm);
        push_whole(&mut values, adaptive.half_weight() * self.within_less_beyond as f64);
        Self { values, clip_norm: adaptive.joint_norm(), rows: self.rows, within_less_beyond: 0 }
    }

    /// What each gradient was clipped to.
    pub fn clip_norm(&self) -> f64 {
        self.clip_norm
    }

    /// How many gradients are summed; secret.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }
}

impl fmt::Debug for LocalUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_length(formatter, "LocalUpdate", self.values.len())
    }
}

impl fmt::Debug for ClippedUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_length(formatter, "ClippedUpdate", self.values.len())
    }
}

impl fmt::Debug for ClippedSum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_length(formatter, "ClippedSum", self.values.len())
    }
}

pub(crate) fn debug_length(formatter: &mut fmt::Formatter<'_>, name: &str, length: usize) -> fmt::Result {
    formatter.debug_struct(name).field("length", &length).finish_non_exhaustive()
}

/// Adds one value behind secret ones: growing in place would leave a copy of them behind.
fn push_whole<T: Copy + Zeroize>(values: &mut Vec<T>, last: T) {
    let mut longer = Vec::with_capacity(values.len() + 1);
    longer.extend_from_slice(values);
    longer.push(last);
    values.zeroize();
    *values = longer;
}

fn require_finite<T>(values: &[T], finite: impl Fn(&T) -> bool) -> Result<(), UpdateError> {
    if values.is_empty() {
        return Err(UpdateError::Empty);
    }
    match values.iter().position(|value| !finite(value)) {
        Some(index) => Err(UpdateError::NonFinite { index }),
        None => Ok(()),
    }
}

fn require_clip_norm(clip_norm: f64) -> Result<(), UpdateError> {
    if clip_norm.is_finite() && clip_norm > 0.0 { Ok(()) } else { Err(UpdateError::ClipNorm { clip_norm }) }
}

/// Blocks are summed apart, so that rounding grows with the number of blocks and not of coordinates.
fn l2_norm<T>(values: &[T], value: impl Fn(&T) -> f64) -> f64 {
    values
        .chunks(1024)
        .map(|block| block.iter().map(|item| value(item).powi(2)).sum::<f64>())
        .sum::<f64>()
        .sqrt()
}

fn toward_zero(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded).abs() <= value.abs() {
        rounded
    } else if rounded > 0.0 {
        rounded.next_down()
    } else {
        rounded.next_up()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn updates_that_are_not_finite_or_empty_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let refused = LocalUpdate::new(vec![0.0, 1.0, bad]).unwrap_err();
            assert_eq!(refused, UpdateError::NonFinite { index: 2 });
        }
        assert_eq!(LocalUpdate::new(vec![]).unwrap_err(), UpdateError::Empty);
        let refused = ClippedSum::new(vec![f64::NAN], 1.0, 1).unwrap_err();
        assert_eq!(refused, UpdateError::NonFinite { index: 0 });
    }

    #[test]
    fn an_update_that_is_not_finite_becomes_nothing_beyond_the_clip_norm_and_is_not_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let nothing = ClippedUpdate::finite_or_nothing(vec![0.5, bad], 1.0).unwrap();
            assert_eq!((nothing.values.clone(), nothing.was_within), (vec![0.0; 2], false));
        }
        let kept = ClippedUpdate::finite_or_nothing(vec![0.5, -0.25], 1.0).unwrap();
        assert_eq!((kept.values.clone(), kept.was_within), (vec![0.5, -0.25], true));
        assert!(ClippedUpdate::finite_or_nothing(vec![], 1.0).is_err());
        assert!(ClippedUpdate::finite_or_nothing(vec![f32::NAN], 0.0).is_err());
    }

    #[test]
    fn a_clip_norm_that_bounds_nothing_is_refused() {
        for clip_norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(LocalUpdate::new(vec![1.0]).unwrap().clip(clip_norm).is_err());
            assert!(ClippedSum::new(vec![0.0], clip_norm, 1).is_err());
        }
    }

    #[test]
    fn a_short_update_is_not_touched_and_a_long_one_keeps_its_direction() {
        let short = LocalUpdate::new(vec![0.25, -0.5]).unwrap().clip(1.0).unwrap();
        assert_eq!(short.values(), [0.25, -0.5]);
        let long = LocalUpdate::new(vec![30.0, -40.0]).unwrap().clip(5.0).unwrap();
        assert!((long.values()[0] - 3.0).abs() < 1e-6 && (long.values()[1] + 4.0).abs() < 1e-6);
    }

    #[test]
    fn clipping_ends_even_where_floats_run_out() {
        let tiny = f32::from_bits(1);
        let clipped = LocalUpdate::new(vec![tiny; 3]).unwrap().clip(f64::from(tiny) * 0.9).unwrap();
        assert_eq!(clipped.values(), [0.0; 3]);
        let huge = LocalUpdate::new(vec![f32::MAX; 3]).unwrap().clip(1.0).unwrap();
        assert!((huge.values()[0] - 0.577_350_3).abs() < 1e-6);
    }

    #[test]
    fn an_update_says_beside_itself_whether_it_was_within_its_clip_norm() {
        let adaptive = AdaptiveClip::new(1.0, 0.5, 0.2, 0.5).unwrap();
        assert_eq!(adaptive.half_weight(), 1.0);
        let counted =
            |values: Vec<f32>, clip| LocalUpdate::new(values).unwrap().clip(clip).unwrap().counted(&adaptive);
        assert_eq!(counted(vec![2.0, -1.0], 4.0).values(), [0.5, -0.25, 1.0]);
        assert_eq!(counted(vec![8.0, 0.0], 4.0).values(), [1.0, 0.0, -1.0]);
        assert_eq!(counted(vec![4.0, 0.0], 4.0).values(), [1.0, 0.0, 1.0], "on the norm is within");
    }

    #[test]
    fn a_sum_counts_beside_itself_who_was_within() {
        let adaptive = AdaptiveClip::new(1.0, 0.5, 0.2, 0.5).unwrap();
        let sum = ClippedSum::new(vec![6.0, -2.0], 4.0, 5).unwrap().with_count(-3).counted(&adaptive);
        assert_eq!(sum.values(), [1.5, -0.5, -3.0]);
        assert_eq!((sum.rows(), sum.clip_norm()), (5, adaptive.joint_norm()));
    }

    #[test]
    fn a_sum_longer_than_its_terms_allow_is_refused() {
        assert!(ClippedSum::new(vec![3.0, 4.0], 1.0, 5).is_ok());
        assert_eq!(ClippedSum::new(vec![3.0, 4.1], 1.0, 5).unwrap_err(), UpdateError::NotClipped);
        assert!(ClippedSum::new(vec![0.0, 0.0], 1.0, 0).is_ok(), "an empty batch is a sum of zeros");
    }

    #[test]
    fn an_update_of_somebody_else_is_believed_up_to_its_clip_norm_and_not_clipped() {
        let believe = |values: Vec<f32>| ClippedUpdate::believed(values, 5.0, false);
        assert_eq!(believe(vec![3.0, -4.0]).unwrap().into_answer(), (vec![3.0, -4.0], false));
        assert_eq!(believe(vec![3.0, 4.0_f32.next_up()]).unwrap_err(), UpdateError::NotWithin);
        assert_eq!(believe(vec![f32::MAX; 9]).unwrap_err(), UpdateError::NotWithin);
        assert_eq!(believe(vec![0.0, f32::NAN]).unwrap_err(), UpdateError::NonFinite { index: 1 });
        assert_eq!(believe(vec![]).unwrap_err(), UpdateError::Empty);
        assert!(ClippedUpdate::believed(vec![0.0], f64::INFINITY, true).is_err());
    }

    #[test]
    fn a_sum_of_somebody_else_is_believed_up_to_what_its_gradients_can_make() {
        let believe = |values: Vec<f64>, count| ClippedSum::believed(values, 2.0, 3, count);
        for count in -3..=3 {
            assert_eq!(believe(vec![6.0, 0.0], count).unwrap().into_answer(), (vec![6.0, 0.0], 3, count));
        }
        for count in [4, -4, i64::MAX, i64::MIN] {
            assert_eq!(believe(vec![6.0, 0.0], count).unwrap_err(), UpdateError::Count);
        }
        assert_eq!(believe(vec![6.01, 0.0], 0).unwrap_err(), UpdateError::NotClipped);
        assert_eq!(believe(vec![f64::MAX; 2], 0).unwrap_err(), UpdateError::NotClipped);
        assert_eq!(believe(vec![f64::INFINITY], 0).unwrap_err(), UpdateError::NonFinite { index: 0 });
    }

    #[test]
    fn debug_shows_a_length_and_no_value() {
        let update = LocalUpdate::new(vec![31337.0; 4]).unwrap();
        assert_eq!(format!("{update:?}"), "LocalUpdate { length: 4, .. }");
        assert!(!format!("{:?}", update.clip(1e9).unwrap()).contains("31337"));
    }

    proptest! {
        #[test]
        fn a_counted_update_is_never_longer_than_the_joint_norm(
            values in prop::collection::vec(-1e6_f32..1e6, 1..200), clip_norm in 1e-3..1e3_f64,
            share in 0.001..0.5_f64,
        ) {
            let adaptive = AdaptiveClip::new(1.0, 0.5, 0.2, share).unwrap();
            let counted = LocalUpdate::new(values).unwrap().clip(clip_norm).unwrap().counted(&adaptive);
            let norm: f64 = counted.values().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            prop_assert!(norm <= adaptive.joint_norm() * (1.0 + 1e-14));
        }

        #[test]
        fn a_clipped_update_is_never_longer_than_the_clip_norm(
            values in prop::collection::vec(-1e6_f32..1e6, 1..200), clip_norm in 1e-3..1e3_f64,
        ) {
            let clipped = LocalUpdate::new(values).unwrap().clip(clip_norm).unwrap();
            let norm: f64 = clipped.values().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            prop_assert!(norm <= clip_norm * (1.0 + 1e-14));
            let (values, was_within) = clipped.into_answer();
            let again = ClippedUpdate::believed(values.clone(), clip_norm, was_within).unwrap();
            prop_assert_eq!(again.into_answer(), (values, was_within));
        }
    }
}
