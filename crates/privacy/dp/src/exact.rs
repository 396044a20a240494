//! The mode without noise: weighted fixed-point lanes whose sum is exact.

use std::fmt;

use crate::quantize::{QuantizeError, QuantizedUpdate};
use crate::scale::Scale;
use crate::update::LocalUpdate;

/// How an update, its weight and its metrics are laid out as lanes: `[w·Δ…, w, w·metric…]`, without the weight's own lane where all
/// weigh the same.
///
/// Weights are integers up to `2^f`; metrics are clipped to their public ranges and sent as fractions of them. The
/// weighted mean is taken after the sum, so it equals the plaintext integer mean bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactEncoding {
    scale: Scale,
    coordinate_max: f64,
    metrics: Vec<MetricRange>,
    weights: WeightLane,
}

/// What a sum says of the weights in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WeightLane {
    /// Their sum, which a silo that changes its client can make anything.
    Summed,
    /// The same, refused where no weights can have it.
    Bounded,
    /// Nothing: each is one, and how many are in a sum is public.
    Uniform,
}

/// The public range that a metric is clipped to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricRange {
    low: f64,
    high: f64,
}

/// A silo's weight in fixed point, at most one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    fixed: u32,
    scale: Scale,
}

/// Lanes of the exact mode, and what clipping did to them.
#[derive(Debug)]
pub struct ExactQuantized {
    pub update: QuantizedUpdate,
    /// Coordinates that were beyond the plan's range.
    ///
    /// # Privacy
    /// For the silo's own operator; it leaves the silo in no message.
    pub clipped_coordinates: usize,
}

/// What a sum of exact lanes says.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactMean {
    /// The weighted mean update, `[d]`.
    pub update: Vec<f32>,
    /// The sum of the weights, in full silos.
    pub weight: f64,
    /// The weighted mean of each metric, in the encoding's order.
    pub metrics: Vec<f64>,
}

/// Why numbers make no encoding.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum EncodingError {
    /// The range of a coordinate is zero, negative or not finite.
    #[error("coordinates cannot be clipped to ±{coordinate_max}")]
    CoordinateMax { coordinate_max: f64 },
    /// A metric's range is empty or not finite.
    #[error("{low}..{high} is no range of a metric")]
    MetricRange { low: f64, high: f64 },
    /// Weights are counted against no rows.
    #[error("rows_max is 0: no silo would have a weight")]
    RowsMax,
}

/// Why a sum of lanes is no mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are too few lanes for the weight and the metrics.
    #[error("{lanes} lanes hold no update beside {appended} lanes of weight and metrics")]
    TooFewLanes {
        lanes: usize,
        /// Lanes of weight and metrics.
        appended: usize,
    },
    /// The weights sum to nothing, or wrapped.
    #[error("the sum of the weights is {sum}, there is no mean")]
    NoWeight {
        /// In fixed point.
        sum: i32,
    },
    /// The weights sum to more than so many silos can have.
    #[error("the sum of the weights is {sum}, {included} silos have at most {most}")]
    TooMuchWeight {
        /// In fixed point.
        sum: i32,
        /// Silos in the sum.
        included: usize,
        /// In fixed point.
        most: u64,
    },
}

impl DecodeError {
    /// Whether only weights that no unchanged client sends lead to it.
    pub fn is_of_weights(self) -> bool {
        matches!(self, Self::NoWeight { .. } | Self::TooMuchWeight { .. })
    }
}

impl ExactEncoding {
    /// Lanes at this scale, of coordinates clipped to ± `coordinate_max` and of these metrics.
    ///
    /// # Errors
    /// A coordinate range that is not positive and finite.
    pub fn new(scale: Scale, coordinate_max: f64, metrics: Vec<MetricRange>) -> Result<Self, EncodingError> {
        if !(coordinate_max.is_finite() && coordinate_max > 0.0) {
            return Err(EncodingError::CoordinateMax { coordinate_max });
        }
        Ok(Self { scale, coordinate_max, metrics, weights: WeightLane::Summed })
    }

    /// The same where every silo weighs one: no weight is sent, so none can be wrong.
    #[must_use]
    pub fn of_uniform_weights(self) -> Self {
        Self { weights: WeightLane::Uniform, ..self }
    }

    /// The same where a sum of weights that so many silos cannot have is no sum.
    #[must_use]
    pub fn of_bounded_weights(self) -> Self {
        Self { weights: WeightLane::Bounded, ..self }
    }

    /// How many metrics stand behind the update.
    pub fn metric_count(&self) -> usize {
        self.metrics.len()
    }

    /// Lanes per unit of weight times coordinate.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Largest absolute value of a coordinate.
    pub fn coordinate_max(&self) -> f64 {
        self.coordinate_max
    }

    /// Lanes that an update of `dimension` coordinates takes.
    pub fn lanes(&self, dimension: usize) -> usize {
        dimension + self.appended()
    }

    /// Reads the sum of `included` silos' lanes.
    ///
    /// # Errors
    /// Too few lanes, or a total weight that is not positive or, where that is looked at, too large.
    ///
    /// # Privacy
    /// The sums are exact: who sees two rounds can difference them.
    pub fn decode(&self, lanes: &[u32], included: usize) -> Result<ExactMean, DecodeError> {
        let appended = self.appended();
        let too_few = DecodeError::TooFewLanes { lanes: lanes.len(), appended };
        let dimension =
            lanes.len().checked_sub(appended).filter(|dimension| *dimension > 0).ok_or(too_few)?;
        let (update, rest) = lanes.split_at_checked(dimension).ok_or(too_few)?;
        let most = u64::from(self.scale.one()) * included as u64;
        let (sum, metrics) = if self.weights == WeightLane::Uniform {
            // Exact: 255 silos and 29 bits.
            (most as f64, rest)
        } else {
            let (weight, metrics) = rest.split_first().ok_or(too_few)?;
            (f64::from(self.weight(weight.cast_signed(), included, most)?), metrics)
        };
        let mean = |lane: &u32| f64::from(lane.cast_signed()) / sum;
        Ok(ExactMean {
            update: update.iter().map(|lane| mean(lane) as f32).collect(),
            weight: sum / self.scale.factor(),
            metrics: metrics.iter().zip(&self.metrics).map(|(lane, range)| range.at(mean(lane))).collect(),
        })
    }

    fn weight(&self, sum: i32, included: usize, most: u64) -> Result<i32, DecodeError> {
        if sum <= 0 {
            return Err(DecodeError::NoWeight { sum });
        }
        if self.weights == WeightLane::Bounded && u64::from(sum.unsigned_abs()) > most {
            return Err(DecodeError::TooMuchWeight { sum, included, most });
        }
        Ok(sum)
    }

    fn appended(&self) -> usize {
        usize::from(self.weights != WeightLane::Uniform) + self.metrics.len()
    }
}

impl MetricRange {
    /// The range `low..=high`.
    ///
    /// # Errors
    /// A range that is empty or not finite.
    pub fn new(low: f64, high: f64) -> Result<Self, EncodingError> {
        if (high - low).is_finite() && low < high {
            Ok(Self { low, high })
        } else {
            Err(EncodingError::MetricRange { low, high })
        }
    }

    fn fraction(self, metric: f64) -> f64 {
        (metric.clamp(self.low, self.high) - self.low) / (self.high - self.low)
    }

    fn at(self, fraction: f64) -> f64 {
        self.low + fraction * (self.high - self.low)
    }
}

impl Weight {
    /// The weight of every silo where all count the same.
    pub fn uniform(scale: Scale) -> Self {
        Self { fixed: scale.one(), scale }
    }

    /// `min(rows, rows_max)/rows_max`, rounded to the scale.
    ///
    /// # Errors
    /// A `rows_max` of 0.
    pub fn of_rows(rows: u64, rows_max: u64, scale: Scale) -> Result<Self, EncodingError> {
        let counted = u128::from(rows.min(rows_max)) * u128::from(scale.one());
        let divisor = u128::from(rows_max);
        let fixed = (counted + divisor / 2).checked_div(divisor).ok_or(EncodingError::RowsMax)?;
        // At most one, as the rows are; `rows_max` is above zero here.
        Ok(Self { fixed: u32::try_from(fixed).unwrap_or(scale.one()), scale })
    }
}

impl fmt::Debug for Weight {
    /// A weight is a count of examples: it is not printed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Weight").finish_non_exhaustive()
    }
}

impl LocalUpdate {
    /// Clips each coordinate and metric, multiplies by the weight and rounds once, to nearest.
    ///
    /// # Errors
    /// Metrics that are not finite or not those of the encoding, a weight of another scale, a coordinate beyond a
    /// lane.
    ///
    /// # Privacy
    /// For plans without privacy only: nothing hides the update but the masks.
    pub fn quantize_exact(
        self,
        encoding: &ExactEncoding,
        weight: Weight,
        metrics: &[f64],
    ) -> Result<ExactQuantized, QuantizeError> {
        if metrics.len() != encoding.metrics.len() {
            return Err(QuantizeError::MetricCount { given: metrics.len(), asked: encoding.metrics.len() });
        }
        if let Some(index) = metrics.iter().position(|metric| !metric.is_finite()) {
            return Err(QuantizeError::NonFiniteMetric { index });
        }
        if weight.scale != encoding.scale {
            return Err(QuantizeError::WeightScale);
        }
        let weight = f64::from(weight.fixed);
        let limit = encoding.coordinate_max;
        let lanes = encoding.lanes(self.values().len());
        let mut update = QuantizedUpdate::with_capacity(lanes);
        let mut clipped_coordinates = 0;
        for value in self.values() {
            let value = f64::from(*value);
            clipped_coordinates += usize::from(value.abs() > limit);
            // Exact before it is rounded: the weight has 29 significant bits at most, an f32 has 24, an f64 holds 53.
            update.push((weight * value.clamp(-limit, limit)).round())?;
        }
        if encoding.weights != WeightLane::Uniform {
            update.push(weight)?;
        }
        for (metric, range) in metrics.iter().zip(&encoding.metrics) {
            update.push((weight * range.fraction(*metric)).round())?;
        }
        let lane_max = (weight * limit.max(1.0)).ceil();
        update.require_norm(lane_max * (lanes as f64).sqrt() * (1.0 + 16.0 * f64::EPSILON))?;
        Ok(ExactQuantized { update, clipped_coordinates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::WithoutNoise;

    fn scale(bits: u32) -> Scale {
        Scale::from_bits(bits).unwrap()
    }

    fn encoding(bits: u32, coordinate_max: f64, metrics: &[(f64, f64)]) -> ExactEncoding {
        let metrics = metrics.iter().map(|(low, high)| MetricRange::new(*low, *high).unwrap()).collect();
        ExactEncoding::new(scale(bits), coordinate_max, metrics).unwrap()
    }

    fn lanes(encoding: &ExactEncoding, values: &[f32], weight: Weight, metrics: &[f64]) -> Vec<u32> {
        let exact =
            LocalUpdate::new(values.to_vec()).unwrap().quantize_exact(encoding, weight, metrics).unwrap();
        exact.update.without_noise(WithoutNoise::plan_has_no_privacy()).into_lanes()
    }

    fn sum(vectors: &[Vec<u32>]) -> Vec<u32> {
        let mut sum = vec![0_u32; vectors[0].len()];
        for vector in vectors {
            for (total, lane) in sum.iter_mut().zip(vector) {
                *total = total.wrapping_add(*lane);
            }
        }
        sum
    }

    #[test]
    fn one_hot_updates_of_prime_weights_come_back_as_their_shares() {
        let encoding = encoding(20, 1.0, &[]);
        let rows = [2_u64, 3, 5, 7];
        let vectors: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(silo, rows)| {
                let mut values = vec![0.0; rows.to_le_bytes().len()];
                values[silo] = if silo % 2 == 0 { 1.0 } else { -1.0 };
                lanes(&encoding, &values, Weight::of_rows(*rows, 8, scale(20)).unwrap(), &[])
            })
            .collect();
        let mean = encoding.decode(&sum(&vectors), vectors.len()).unwrap();
        assert_eq!(mean.weight, 17.0 / 8.0);
        let want = [2.0 / 17.0, -3.0 / 17.0, 5.0 / 17.0, -7.0 / 17.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(mean.update, want.map(|share: f64| share as f32));
    }

    #[test]
    fn the_decoded_mean_is_the_plaintext_integer_mean_bit_for_bit() {
        let encoding = encoding(24, 1.0, &[]);
        let updates = [[0.123_456_79_f32, -0.9], [0.5, 0.333_333_34], [-0.062_5, 0.700_000_05]];
        let rows = [7_u64, 11, 13];
        let vectors: Vec<_> = updates
            .iter()
            .zip(rows)
            .map(|(values, rows)| {
                lanes(&encoding, values, Weight::of_rows(rows, 13, scale(24)).unwrap(), &[])
            })
            .collect();
        let mean = encoding.decode(&sum(&vectors), vectors.len()).unwrap();
        for coordinate in 0..2 {
            let (mut numerator, mut denominator) = (0_i64, 0_i64);
            for (values, rows) in updates.iter().zip(rows) {
                let weight = (f64::from(1 << 24) * rows as f64 / 13.0).round();
                numerator += (weight * f64::from(values[coordinate])).round() as i64;
                denominator += weight as i64;
            }
            let plain = (numerator as f64 / denominator as f64) as f32;
            assert_eq!(mean.update[coordinate].to_bits(), plain.to_bits());
        }
    }

    #[test]
    fn clipped_coordinates_are_clipped_and_counted() {
        let encoding = encoding(10, 0.5, &[]);
        let update = LocalUpdate::new(vec![0.5, 0.6, -7.0, 0.25]).unwrap();
        let exact = update.quantize_exact(&encoding, Weight::uniform(scale(10)), &[]).unwrap();
        assert_eq!(exact.clipped_coordinates, 2);
        assert_eq!(exact.update.lanes(), [512, 512, -512, 256, 1024]);
    }

    #[test]
    fn metrics_are_clipped_weighted_and_read_back() {
        let encoding = encoding(20, 1.0, &[(0.0, 10.0), (-1.0, 1.0)]);
        let weight = |rows| Weight::of_rows(rows, 4, scale(20)).unwrap();
        let total = sum(&[
            lanes(&encoding, &[0.0], weight(1), &[2.5, 0.5]),
            lanes(&encoding, &[0.0], weight(3), &[1e9, -1.0]),
        ]);
        let mean = encoding.decode(&total, 2).unwrap();
        assert_eq!(mean.metrics, [(2.5 + 3.0 * 10.0) / 4.0, (0.5 - 3.0) / 4.0]);
    }

    #[test]
    fn weights_stop_at_one_and_a_silo_without_rows_has_none() {
        assert_eq!(Weight::of_rows(9, 4, scale(12)).unwrap(), Weight::uniform(scale(12)));
        assert_eq!(Weight::of_rows(0, 4, scale(12)).unwrap().fixed, 0);
        assert_eq!(Weight::of_rows(u64::MAX, u64::MAX, scale(29)).unwrap(), Weight::uniform(scale(29)));
        assert_eq!(Weight::of_rows(1, 0, scale(12)), Err(EncodingError::RowsMax));
        assert_eq!(format!("{:?}", Weight::uniform(scale(12))), "Weight { .. }");
    }

    #[test]
    fn a_sum_without_weight_or_without_lanes_is_no_mean() {
        let encoding = encoding(12, 1.0, &[(0.0, 1.0)]);
        assert_eq!(encoding.decode(&[5, 0, 0], 2), Err(DecodeError::NoWeight { sum: 0 }));
        assert_eq!(encoding.decode(&[5, u32::MAX, 0], 2), Err(DecodeError::NoWeight { sum: -1 }));
        assert_eq!(encoding.decode(&[1, 1], 2), Err(DecodeError::TooFewLanes { lanes: 2, appended: 2 }));
        assert_eq!(encoding.decode(&[], 2), Err(DecodeError::TooFewLanes { lanes: 0, appended: 2 }));
    }

    #[test]
    fn a_sum_of_weights_that_no_silos_have_is_no_sum_where_it_is_looked_at() {
        let summed = encoding(12, 1.0, &[]);
        let bounded = summed.clone().of_bounded_weights();
        let one = scale(12).one();
        assert_eq!(bounded.decode(&[5, 2 * one], 2).unwrap().weight, 2.0);
        let most = u64::from(2 * one);
        let refused = DecodeError::TooMuchWeight { sum: 2 * one as i32 + 1, included: 2, most };
        assert_eq!(bounded.decode(&[5, 2 * one + 1], 2), Err(refused));
        assert!(refused.is_of_weights());
        assert!(summed.decode(&[5, 2 * one + 1], 2).is_ok(), "as sums were read before");
    }

    #[test]
    fn uniform_weights_are_not_sent_and_their_mean_is_that_of_the_weights_that_were() {
        let summed = encoding(20, 1.0, &[(0.0, 10.0)]);
        let uniform = summed.clone().of_uniform_weights();
        let weight = Weight::uniform(scale(20));
        let updates = [[0.123_456_79_f32, -0.9], [0.5, 0.333_333_34], [-0.062_5, 0.700_000_05]];
        let of = |encoding: &ExactEncoding| -> Vec<Vec<u32>> {
            updates.iter().map(|values| lanes(encoding, values, weight, &[2.5])).collect()
        };
        let (with, without) = (of(&summed), of(&uniform));
        assert_eq!((with[0].len(), without[0].len(), uniform.lanes(2)), (4, 3, 3));
        assert_eq!(uniform.decode(&sum(&without), 3), summed.decode(&sum(&with), 3));
        // Whatever a silo sends, it moves a coordinate, and there is a mean.
        let mut moved = sum(&without);
        moved[2] = moved[2].wrapping_sub(1 << 30);
        assert_eq!(uniform.decode(&moved, 3).unwrap().weight, 3.0);
    }

    #[test]
    fn metrics_and_weights_that_do_not_belong_are_refused() {
        let encoding = encoding(12, 1.0, &[(0.0, 1.0)]);
        let quantize = |weight, metrics: &[f64]| {
            LocalUpdate::new(vec![0.0]).unwrap().quantize_exact(&encoding, weight, metrics).unwrap_err()
        };
        let weight = Weight::uniform(scale(12));
        assert_eq!(quantize(weight, &[f64::NAN]), QuantizeError::NonFiniteMetric { index: 0 });
        assert_eq!(quantize(weight, &[]), QuantizeError::MetricCount { given: 0, asked: 1 });
        assert_eq!(quantize(Weight::uniform(scale(13)), &[0.5]), QuantizeError::WeightScale);
        assert!(MetricRange::new(1.0, 1.0).is_err() && MetricRange::new(0.0, f64::INFINITY).is_err());
        assert!(ExactEncoding::new(scale(12), f64::NAN, vec![]).is_err());
    }
}
