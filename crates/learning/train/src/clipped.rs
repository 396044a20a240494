//! The sum of clipped per-example gradients of one Poisson batch, by one backward pass a micro-batch.
//!
//! A zero leaf is added to every layer's output; what the backward pass leaves there, with the layer's input, gives each
//! example's gradient ([`crate::gradients`]). Its norm over all layers gives its factor; the sum of all is taken once.
//!
//! # Privacy
//! Two tables that differ by one record must give sums that differ by at most C. Micro-batches have a fixed shape,
//! and in it what the backward pass leaves for an example depends on that example only, at whatever place it stands (a
//! test holds burn to that, bit for bit). So an example's gradient is a function of the example, and the sums differ by
//! that record's term and by what rounding adds. Groups of at most G = 1024 terms are summed in f64, in whatever order; their
//! sums are added up in twice the precision ([`Total`]), so that B rows round by `(G + 5) B 2^-53 C` at most, and two
//! tables by twice that. Terms are clipped to `C (1 - 2^-12)`, which leaves room for that in the largest table that can
//! be read, and for the norm's own rounding (below 2^-24 of it, for 2^28 parameters). So no batch is refused: who takes
//! part would tell the size of a silo's data.
//!
//! Where a person is the unit, what is clipped is the sum of the gradients of that person's rows, the first of those that fit, added up one
//! by one in the table's order: a function of these rows alone, wherever they stand among others in micro-batches. Then "record" above is "person".

use std::collections::VecDeque;
use std::ops::Range;

use burn::Device;
use chacha20::ChaCha20Rng;
use datasets::{Dataset, Persons, ROWS_MAX};
use dp::ClippedSum;
use params::Params;
use plan::{Plan, Sampled};
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::batch::Batch;
use crate::gradients::LayerGradients;
use crate::network::{self, Network, cross_entropy};
use crate::poisson;
use crate::{Stop, TrainError};

/// What a term's norm stays below C by; see the module.
const MARGIN: f64 = 1.0 / (1u64 << 12) as f64;
/// Terms that are summed in f64.
const GROUP: usize = 1024;
const _: () =
    assert!(2 * (GROUP as u64 + 5) * (ROWS_MAX as u64) < 1 << (53 - 12), "rounding fits the margin");

/// Samples a batch and sums its clipped descent directions. A row that does not fit the plan, or a person none of whose rows does, is
/// drawn like any other, so that the draws of the others do not follow from it, and adds nothing.
///
/// # Shapes
/// One value per parameter, in the layout's order.
pub(crate) fn sum(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    clip_norm: f64,
    sampling_rate: f64,
    seed: [u8; 32],
    stop: &Stop,
) -> Result<ClippedSum, TrainError> {
    let units = Units::of(plan, data)?;
    let mut batch = poisson::sample(units.len(), sampling_rate, &mut ChaCha20Rng::from_seed(seed));
    batch.retain(|unit| units.contributes(*unit));
    let (sum, within_less_beyond) = of(plan, model, &units, &batch, clip_norm, stop)?;
    Ok(ClippedSum::new(sum, clip_norm, batch.len() as u64)?.with_count(within_less_beyond))
}

/// What is drawn and clipped by itself.
pub(crate) enum Units<'a> {
    Rows(&'a Dataset),
    Persons { data: &'a Dataset, persons: &'a Persons, rows_max: usize },
}

impl<'a> Units<'a> {
    /// The plan's.
    ///
    /// # Errors
    /// [`TrainError::NoPersons`]: a row is never taken for a person.
    pub(crate) fn of(plan: &Plan, data: &'a Dataset) -> Result<Self, TrainError> {
        match plan.sampled() {
            Some(Sampled::Person { rows_max }) => {
                let persons = data.persons().ok_or(TrainError::NoPersons)?;
                Ok(Self::Persons { data, persons, rows_max })
            }
            Some(Sampled::Record) | None => Ok(Self::Rows(data)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Rows(data) => data.rows(),
            Self::Persons { persons, .. } => persons.len(),
        }
    }

    fn data(&self) -> &'a Dataset {
        match self {
            Self::Rows(data) | Self::Persons { data, .. } => data,
        }
    }

    fn contributes(&self, unit: usize) -> bool {
        match self {
            Self::Rows(data) => data.fits(unit),
            Self::Persons { data, rows_max, .. } => data.rows_of_person(unit, *rows_max).next().is_some(),
        }
    }
}

/// The sum of the clipped descent directions of these units, and how many of them were within the clip norm, less those that
/// were beyond it.
pub(crate) fn of(
    plan: &Plan,
    model: &Params,
    units: &Units<'_>,
    batch: &[usize],
    clip_norm: f64,
    stop: &Stop,
) -> Result<(Vec<f64>, i64), TrainError> {
    match units {
        Units::Rows(data) => of_rows(plan, model, data, batch, clip_norm, stop),
        Units::Persons { data, rows_max, .. } => {
            let mut total = Total::zero(model.values().len());
            let mut within_less_beyond = 0;
            each_person(plan, model, data, *rows_max, batch, stop, |descent| {
                within_less_beyond += add_clipped(total.room_for(1), descent, clip_norm);
            })?;
            Ok((total.rounded(), within_less_beyond))
        }
    }
}

fn of_rows(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    batch: &[usize],
    clip_norm: f64,
    stop: &Stop,
) -> Result<(Vec<f64>, i64), TrainError> {
    let mut total = Total::zero(model.values().len());
    let mut within_less_beyond = 0;
    each_micro_batch(plan, model, data, batch, |layers, rows, device| {
        stop.check()?;
        for start in (0..rows).step_by(GROUP) {
            let group = start..rows.min(start + GROUP);
            let sum = total.room_for(group.len());
            within_less_beyond += subtract_clipped(sum, layers, group, clip_norm, device)?;
        }
        Ok(())
    })?;
    Ok((total.rounded(), within_less_beyond))
}

/// The descent direction of each of these persons who has a row that fits, before it is clipped: the sum of those rows'.
///
/// # Shapes
/// What is visited: `[parameters]`, person by person in the order of `batch`.
fn each_person(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    rows_max: usize,
    batch: &[usize],
    stop: &Stop,
    mut visit: impl FnMut(&[f64]),
) -> Result<(), TrainError> {
    let of_person = |person: &usize| -> Vec<usize> { data.rows_of_person(*person, rows_max).collect() };
    let rows: Vec<Vec<usize>> = batch.iter().map(of_person).filter(|rows| !rows.is_empty()).collect();
    let mut left: VecDeque<usize> = rows.iter().map(Vec::len).collect();
    let mut descent = Zeroizing::new(vec![0.0; model.values().len()]);
    each_micro_batch(plan, model, data, &rows.concat(), |layers, count, device| {
        stop.check()?;
        check_lanes(layers, descent.len(), count)?;
        for row in 0..count {
            // One at a time: what a person's rows add up to must not depend on how they are dealt to micro-batches.
            subtract(&mut descent, layers, row, &[1.0], device)?;
            let Some(of_this) = left.front_mut() else {
                return Err(TrainError::Tensor("a row of nobody".into()));
            };
            *of_this -= 1;
            if *of_this == 0 {
                left.pop_front();
                visit(&descent);
                descent.fill(0.0);
            }
        }
        Ok(())
    })
}

/// Adds a descent direction, clipped, and says whether it was within the clip norm (1) or beyond it (-1). One that is not finite adds
/// nothing and counts nowhere.
fn add_clipped(sum: &mut [f64], descent: &[f64], clip_norm: f64) -> i64 {
    let norm = descent.iter().map(|value| value * value).sum::<f64>().sqrt();
    let Some((factor, count)) = clipped_by(norm, clip_norm) else { return 0 };
    sum.iter_mut().zip(descent).for_each(|(sum, value)| *sum += factor * value);
    count
}

/// What clips a term of this norm, and whether it was within the clip norm (1) or beyond it (-1); `None` of one that is not finite.
fn clipped_by(norm: f64, clip_norm: f64) -> Option<(f64, i64)> {
    let bound = clip_norm * (1.0 - MARGIN);
    norm.is_finite().then(|| if norm > bound { (bound / norm, -1) } else { (1.0, 1) })
}

/// The clipped descent direction of every unit by itself.
///
/// # Shapes
/// `[units][parameters]`
///
/// # Privacy
/// For audits in the silo: nothing of it leaves.
pub(crate) fn each(
    plan: &Plan,
    model: &Params,
    units: &Units<'_>,
    clip_norm: f64,
) -> Result<Vec<Vec<f64>>, TrainError> {
    let all: Vec<usize> = (0..units.len()).collect();
    let mut descents = Vec::with_capacity(all.len());
    if let Units::Persons { data, rows_max, .. } = units {
        each_person(plan, model, data, *rows_max, &all, &Stop::default(), |descent| {
            let mut clipped = vec![0.0; descent.len()];
            add_clipped(&mut clipped, descent, clip_norm);
            descents.push(clipped);
        })?;
        return Ok(descents);
    }
    each_micro_batch(plan, model, units.data(), &all, |layers, rows, device| {
        for row in 0..rows {
            let mut descent = vec![0.0; model.values().len()];
            subtract_clipped(&mut descent, layers, row..row + 1, clip_norm, device)?;
            descents.push(descent);
        }
        Ok(())
    })?;
    Ok(descents)
}

/// One forward and one backward pass for each micro-batch of `batch`, padded to its fixed shape; `visit` gets the
/// gradients and how many rows are real.
fn each_micro_batch(
    plan: &Plan,
    model: &Params,
    data: &Dataset,
    batch: &[usize],
    mut visit: impl FnMut(&[LayerGradients], usize, &Device) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let architecture = plan.architecture();
    let (device, plain) = (network::training_device(), network::inference_device());
    let network = Network::load(&architecture, model, &device);
    for rows in batch.chunks(plan.training.micro_batch) {
        let padded =
            Batch::gather(data, &plan.data, rows, plan.training.micro_batch, architecture.outputs())?;
        let (logits, taps) = network.forward_tapped(padded.inputs(&device))?;
        // The sum, not the mean: an example's gradient must not depend on how many others there are.
        let backward = cross_entropy(logits, padded.targets(&device)).backward();
        let layers =
            taps.into_iter().map(|tap| tap.gradients(&backward, &plain)).collect::<Result<Vec<_>, _>>()?;
        visit(&layers, rows.len(), &plain)?;
    }
    Ok(())
}

/// Subtracts the clipped gradients of these rows of a micro-batch from `sum`, and says how many were within the clip norm,
/// less those beyond it. One that is not finite adds nothing and counts nowhere.
fn subtract_clipped(
    sum: &mut [f64],
    layers: &[LayerGradients],
    rows: Range<usize>,
    clip_norm: f64,
    device: &Device,
) -> Result<i64, TrainError> {
    check_lanes(layers, sum.len(), rows.end)?;
    let mut within_less_beyond = 0;
    let mut factors = vec![0.0; rows.len()];
    for (row, factor) in rows.clone().zip(&mut factors) {
        let norm = layers.iter().map(|layer| layer.squared_norm(row)).sum::<f64>().sqrt();
        if let Some((own, count)) = clipped_by(norm, clip_norm) {
            *factor = own;
            within_less_beyond += count;
        }
    }
    subtract(sum, layers, rows.start, &factors, device)?;
    Ok(within_less_beyond)
}

/// Whether layers have as many lanes as the model, and so many rows. A norm of fewer numbers than are subtracted would let a term
/// exceed the clip.
fn check_lanes(layers: &[LayerGradients], of_model: usize, rows: usize) -> Result<(), TrainError> {
    let lanes: usize = layers.iter().map(LayerGradients::lanes).sum();
    if lanes != of_model {
        return Err(TrainError::Tensor(format!("the layers have {lanes} lanes, the model {of_model}")));
    }
    layers.iter().try_for_each(|layer| layer.check(rows))
}

/// Subtracts the gradients of the rows from `start` on, times these factors.
fn subtract(
    sum: &mut [f64],
    layers: &[LayerGradients],
    start: usize,
    factors: &[f64],
    device: &Device,
) -> Result<(), TrainError> {
    let mut rest = sum;
    for layer in layers {
        let (own, behind) = rest.split_at_mut(layer.lanes());
        layer.subtract(own, start, factors, device)?;
        rest = behind;
    }
    Ok(())
}

/// A sum in twice the precision of f64: each lane is `high + low`, of which `low` is below half a unit in the last place.
///
/// # Paper
/// Knuth's TwoSum and Dekker's FastTwoSum; Hida, Li, Bailey 2001: an addition is off by at most 2^-104 of the sum.
///
/// # Privacy
/// Wiped when dropped.
struct Total {
    /// Empty until a group is complete: most batches are no larger.
    high: Zeroizing<Vec<f64>>,
    low: Zeroizing<Vec<f64>>,
    /// The sum of a group that may not be complete.
    group: Zeroizing<Vec<f64>>,
    terms: usize,
}

impl Total {
    fn zero(lanes: usize) -> Self {
        let (high, low, group) = (Vec::new(), Vec::new(), vec![0.0; lanes]);
        Self { high: high.into(), low: low.into(), group: group.into(), terms: 0 }
    }

    /// A sum that so many more terms are to be added to, at most [`GROUP`].
    fn room_for(&mut self, terms: usize) -> &mut [f64] {
        if self.terms + terms > GROUP {
            self.close_group();
        }
        self.terms += terms;
        &mut self.group
    }

    fn close_group(&mut self) {
        self.high.resize(self.group.len(), 0.0);
        self.low.resize(self.group.len(), 0.0);
        for ((high, low), group) in self.high.iter_mut().zip(self.low.iter_mut()).zip(self.group.iter_mut()) {
            let sum = *high + *group;
            let added = sum - *high;
            let error = (*high - (sum - added)) + (*group - added);
            let rest = *low + error;
            *high = sum + rest;
            *low = rest - (*high - sum);
            *group = 0.0;
        }
        self.terms = 0;
    }

    /// The nearest numbers of f64.
    fn rounded(mut self) -> Vec<f64> {
        if self.high.is_empty() {
            return std::mem::take(&mut *self.group);
        }
        self.close_group();
        std::mem::take(&mut *self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(input: [f32; 2], outer: [f32; 1]) -> [LayerGradients; 1] {
        [LayerGradients::Products { inputs: input.into(), outers: outer.into(), input: 2, output: 1 }]
    }

    fn formed(gradient: [f32; 3]) -> [LayerGradients; 1] {
        [LayerGradients::Formed { gradients: gradient.into(), lanes: 3 }]
    }

    fn subtracted(layers: &[LayerGradients; 1], clip: f64) -> [f64; 3] {
        counted(layers, clip).0
    }

    fn counted(layers: &[LayerGradients; 1], clip: f64) -> ([f64; 3], i64) {
        let mut sum = [0.0; 3];
        let count = subtract_clipped(&mut sum, layers, 0..1, clip, &network::inference_device()).unwrap();
        (sum, count)
    }

    #[test]
    fn an_example_that_is_not_finite_adds_nothing() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(subtracted(&products([bad, 1.0], [bad]), 1.0), [0.0; 3]);
            assert_eq!(subtracted(&formed([1.0, bad, 1.0]), 1.0), [0.0; 3]);
        }
        // Its norm fits f64, so it is a gradient like any other: clipped, and no longer.
        for large in [products([f32::MAX, 1.0], [f32::MAX]), formed([f32::MAX; 3])] {
            let [x, y, z] = subtracted(&large, 1.0);
            let moved = x.hypot(y).hypot(z);
            assert!(moved <= 1.0 && moved > 0.99, "{moved}");
        }
    }

    #[test]
    fn a_term_never_exceeds_the_clip_norm() {
        for clip in [1e-3, 0.5, 7.0] {
            for layers in [products([3.0, -4.0], [5.0]), formed([3.0, -4.0, 12.0])] {
                let [x, y, z] = subtracted(&layers, clip);
                let norm = x.hypot(y).hypot(z);
                assert!(norm <= clip && norm > 0.999 * clip, "{norm} of {clip}");
            }
        }
    }

    #[test]
    fn an_example_counts_as_within_or_beyond_and_not_at_all_where_it_is_not_finite() {
        assert_eq!(counted(&formed([3.0, 4.0, 0.0]), 6.0).1, 1);
        assert_eq!(counted(&formed([3.0, 4.0, 0.0]), 4.0).1, -1);
        assert_eq!(counted(&formed([f32::NAN, 4.0, 0.0]), 4.0).1, 0);
    }

    #[test]
    fn a_persons_sum_is_added_within_the_clip_norm_or_not_at_all() {
        let added = |descent: [f64; 2]| {
            let mut sum = [1.0, 1.0];
            let count = add_clipped(&mut sum, &descent, 5.0);
            (sum, count)
        };
        assert_eq!(added([3.0, -1.0]), ([4.0, 0.0], 1));
        let ([x, y], count) = added([300.0, 400.0]);
        let norm = (x - 1.0).hypot(y - 1.0);
        assert!(norm <= 5.0 && norm > 4.99 && count == -1, "{norm}, {count}");
        for bad in [f64::NAN, f64::INFINITY, f64::MAX] {
            assert_eq!(added([bad, bad]), ([1.0, 1.0], 0));
        }
    }

    #[test]
    fn padding_adds_nothing_and_counts_nowhere() {
        let layers = [LayerGradients::Formed { gradients: vec![0.1, 0.6, 5.0, 0.3], lanes: 1 }];
        let mut sum = [0.0];
        let count = subtract_clipped(&mut sum, &layers, 0..3, 1.0, &network::inference_device()).unwrap();
        assert_eq!(count, 2 - 1);
        assert!((sum[0] + 0.7 + 1.0).abs() < 1e-3, "{sum:?}");
    }

    #[test]
    fn layers_that_are_not_the_models_or_lack_a_row_are_an_error() {
        let layers = || [LayerGradients::Formed { gradients: vec![0.5; 4], lanes: 2 }];
        let clip =
            |sum: &mut [f64], rows| subtract_clipped(sum, &layers(), rows, 1.0, &network::inference_device());
        assert!(clip(&mut [0.0; 2], 0..2).is_ok());
        assert!(clip(&mut [0.0; 2], 1..3).is_err(), "a row that is not there");
        assert!(clip(&mut [0.0; 1], 0..2).is_err(), "fewer lanes");
        assert!(clip(&mut [0.0; 3], 0..2).is_err(), "more lanes");
    }

    #[test]
    fn a_part_of_a_micro_batch_is_summed_by_itself() {
        let layers = [LayerGradients::Products {
            inputs: vec![1.0, 2.0, 4.0],
            outers: vec![0.1; 3],
            input: 1,
            output: 1,
        }];
        let mut sum = [0.0; 2];
        subtract_clipped(&mut sum, &layers, 1..3, 100.0, &network::inference_device()).unwrap();
        assert!((sum[0] + 0.6).abs() < 1e-6 && (sum[1] + 0.2).abs() < 1e-6, "{sum:?}");
    }

    #[test]
    fn a_total_keeps_what_f64_would_drop() {
        // A hundred thousand times a quarter of a unit in the last place: each by itself rounds away.
        let small = 2f64.powi(-54);
        let mut total = Total::zero(1);
        let mut add = |value: f64| total.room_for(GROUP)[0] = value;
        add(1.0);
        (0..100_000).for_each(|_| add(small));
        add(-1.0);
        assert_eq!(total.rounded(), [100_000.0 * small]);
        // Groups may be filled bit by bit, and are closed when they are full.
        let mut total = Total::zero(1);
        (0..3 * GROUP).for_each(|_| total.room_for(1)[0] += 1.0);
        assert_eq!((total.high[0], total.group[0]), ((2 * GROUP) as f64, GROUP as f64));
        assert_eq!(total.rounded(), [(3 * GROUP) as f64]);
    }
}
