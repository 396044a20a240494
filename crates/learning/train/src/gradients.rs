//! Per-example gradients of a micro-batch, from each layer's inputs and the gradients at its outputs.
//!
//! Three ways, by layer. *Products*: a linear layer's gradient is `a δᵀ`, so its norm is known from theirs and the
//! clipped sum is one matrix product over all examples: no example's gradient is ever formed. *Lookups*: an
//! embedding's gradient has a row for each token that occurs. *Formed*: where a parameter meets an example at many
//! places (convolutions, sequences, normalisations), the example's gradient is formed, in f32 and from that example
//! alone; it is what it is to the last bit, and from there on everything is f64.

use std::num::NonZeroUsize;

use burn::{DType, Device, Gradients, Tensor, TensorData};

use crate::TrainError;
use crate::image::Image;
use crate::network::values;

/// How a layer's parameters meet its inputs.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Weight `[input, output]` and bias, at each of so many positions.
    Dense { input: usize, output: usize, positions: usize },
    /// Weight `[channels, planes, kernel, kernel]` and bias, over an image.
    Conv {
        planes: usize,
        height: usize,
        width: usize,
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    /// Weight `[vocabulary, width]`, looked up.
    Embedding { vocabulary: usize, width: usize },
    /// Scale and shift `[width]`, each for `inner` neighbouring values, again and again.
    Scale { width: usize, inner: usize },
}

/// A layer's inputs in a forward pass and the zero leaves that were added to its outputs; one of each, or one a
/// position.
pub(crate) struct Tap {
    pub(crate) rule: Rule,
    /// Each `[rows, …]`
    pub(crate) inputs: Vec<Tensor<2>>,
    /// Each `[rows, …]`
    pub(crate) leaves: Vec<Tensor<2>>,
}

/// One layer's gradients of a micro-batch, by example.
pub(crate) enum LayerGradients {
    /// `a δᵀ`, and δ for the bias.
    Products { inputs: Vec<f32>, outers: Vec<f32>, input: usize, output: usize },
    /// δ at the rows of the tokens.
    Lookups { tokens: Vec<f32>, outers: Vec<f32>, positions: usize, vocabulary: usize, width: usize },
    /// As they are.
    Formed { gradients: Vec<f32>, lanes: usize },
}

impl Tap {
    /// What the backward pass left at this tap.
    pub(crate) fn gradients(
        self,
        backward: &Gradients,
        device: &Device,
    ) -> Result<LayerGradients, TrainError> {
        let rows = self.leaves.first().and_then(|leaf| NonZeroUsize::new(leaf.dims()[0]));
        let rows = rows.ok_or_else(|| TrainError::Tensor("a tap has no rows".into()))?;
        let leaves = self.leaves.iter().map(|leaf| {
            leaf.grad(backward)
                .ok_or_else(|| TrainError::Tensor("a tap has no gradient after the backward pass".into()))
        });
        let outers = joined(leaves.collect::<Result<_, _>>()?)?;
        let inputs = joined(self.inputs)?;
        self.rule.check(rows, inputs.len(), outers.len())?;
        let gradients = match self.rule {
            Rule::Dense { input, output, positions: 1 } => {
                LayerGradients::Products { inputs, outers, input, output }
            }
            Rule::Dense { input, output, positions } => {
                let bias = sums(&outers, output, Sum::Strided { count: positions });
                // The input is turned, so that the product is `[input, output]`.
                let weight = by_example(
                    Factor { values: inputs, sides: [positions, input], turned: true },
                    Factor { values: outers, sides: [positions, output], turned: false },
                    rows.get(),
                    device,
                )?;
                LayerGradients::formed(&weight, input * output, &bias, output, rows.get())?
            }
            Rule::Conv { planes, height, width, channels, kernel, stride, padding } => {
                let image = Image::new([height, width], kernel, stride, padding)?;
                let places = image.places();
                let bias = sums(&outers, channels, Sum::Neighbours { count: places });
                let taps = planes * kernel * kernel;
                let weight = by_example(
                    Factor { values: outers, sides: [channels, places], turned: false },
                    Factor { values: image.patches(&inputs), sides: [taps, places], turned: true },
                    rows.get(),
                    device,
                )?;
                LayerGradients::formed(&weight, channels * taps, &bias, channels, rows.get())?
            }
            Rule::Embedding { vocabulary, width } => {
                let positions = inputs.len() / rows;
                LayerGradients::Lookups { tokens: inputs, outers, positions, vocabulary, width }
            }
            Rule::Scale { width, inner } => scale_gradients(&inputs, &outers, width, inner, rows),
        };
        gradients.check(rows.get())?;
        Ok(gradients)
    }
}

impl Rule {
    /// Whether a tap holds as many numbers as `rows` examples have. A number too few would make a norm too small, and so
    /// a clip too weak, without a trace: so lengths are checked here, once, and what follows indexes by them.
    fn check(&self, rows: NonZeroUsize, inputs: usize, outers: usize) -> Result<(), TrainError> {
        let [input, outer] = match *self {
            Self::Dense { input, output, positions } => [positions * input, positions * output],
            Self::Conv { planes, height, width, channels, kernel, stride, padding } => {
                let image = Image::new([height, width], kernel, stride, padding)?;
                [planes * height * width, channels * image.places()]
            }
            Self::Embedding { width, .. } => [inputs / rows, inputs / rows * width],
            Self::Scale { width, inner } => {
                let whole = (outers / rows).next_multiple_of((width * inner).max(1));
                [whole, whole]
            }
        };
        holds("inputs", inputs, rows.get() * input)?;
        holds("gradients", outers, rows.get() * outer)
    }
}

/// Whether a layer's tensor has as many numbers as its shape says.
fn holds(what: &str, got: usize, expected: usize) -> Result<(), TrainError> {
    if got == expected {
        return Ok(());
    }
    Err(TrainError::Tensor(format!("a layer has {got} numbers of {what} where its shape has {expected}")))
}

impl LayerGradients {
    /// How many parameters these are gradients of.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Self::Products { input, output, .. } => (input + 1) * output,
            Self::Lookups { vocabulary, width, .. } => vocabulary * width,
            Self::Formed { lanes, .. } => *lanes,
        }
    }

    /// Whether every one of these rows is here, whole, and no part of another.
    pub(crate) fn check(&self, rows: usize) -> Result<(), TrainError> {
        let whole = |what: &str, got: usize, width: usize| match got.checked_div(width) {
            Some(here) => holds(what, got, here.max(rows) * width),
            None => Err(TrainError::Tensor(format!("a layer has rows of no {what}"))),
        };
        match self {
            Self::Products { inputs, outers, input, output } => {
                whole("inputs", inputs.len(), *input)?;
                holds("gradients", outers.len() * input, inputs.len() * output)
            }
            Self::Lookups { tokens, outers, positions, width, .. } => {
                whole("tokens", tokens.len(), *positions)?;
                holds("gradients", outers.len(), tokens.len() * width)
            }
            Self::Formed { gradients, lanes } => whole("gradients", gradients.len(), *lanes),
        }
    }

    /// The squared norm of one example's gradient; [`LayerGradients::check`] has said that it is here.
    pub(crate) fn squared_norm(&self, row: usize) -> f64 {
        match self {
            Self::Products { inputs, outers, input, output } => {
                (squares(part(inputs, row, *input)) + 1.0) * squares(part(outers, row, *output))
            }
            Self::Lookups { width, .. } => {
                let mut sum = 0.0;
                let mut total = vec![0.0; *width];
                self.each_token(row, &mut total, |_, total| sum += total.iter().map(|v| v * v).sum::<f64>());
                sum
            }
            Self::Formed { gradients, lanes } => squares(part(gradients, row, *lanes)),
        }
    }

    /// Subtracts the gradients of the examples from `start` on, each times its factor. A factor of zero leaves the example
    /// out, whatever it is.
    ///
    /// # Shapes
    /// `sum`: this layer's lanes; `factors`: one a row.
    pub(crate) fn subtract(
        &self,
        sum: &mut [f64],
        start: usize,
        factors: &[f64],
        device: &Device,
    ) -> Result<(), TrainError> {
        holds("the sum", sum.len(), self.lanes())?;
        self.check(start + factors.len())?;
        let used = factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
        match self {
            Self::Products { inputs, outers, input, output } => {
                let (weight, bias) = sum.split_at_mut(input * output);
                let mut a = vec![0.0; factors.len() * input];
                let mut scaled = vec![0.0; factors.len() * output];
                for (row, factor) in used {
                    let places = a.iter_mut().skip(row * input);
                    places
                        .zip(part(inputs, start + row, *input))
                        .for_each(|(place, value)| *place = f64::from(*value));
                    let places = scaled.iter_mut().skip(row * output).zip(part(outers, start + row, *output));
                    for ((place, value), bias) in places.zip(bias.iter_mut()) {
                        *place = factor * f64::from(*value);
                        *bias -= *place;
                    }
                }
                let product = product(a, scaled, [factors.len(), *input, *output], device)?;
                holds("a product", product.len(), weight.len())?;
                weight.iter_mut().zip(product).for_each(|(sum, value)| *sum -= value);
            }
            Self::Lookups { width, .. } => {
                let mut total = vec![0.0; *width];
                for (row, factor) in used {
                    self.each_token(start + row, &mut total, |token, total| {
                        let places = sum.iter_mut().skip(token * width);
                        places.zip(total).for_each(|(sum, value)| *sum -= factor * value);
                    });
                }
            }
            Self::Formed { gradients, lanes } => {
                for (row, factor) in used {
                    for (sum, value) in sum.iter_mut().zip(part(gradients, start + row, *lanes)) {
                        *sum -= factor * f64::from(*value);
                    }
                }
            }
        }
        Ok(())
    }

    /// Each token that occurs in the row, with the sum of its gradients; `total` is room for one.
    fn each_token(&self, row: usize, total: &mut [f64], mut visit: impl FnMut(usize, &[f64])) {
        let Self::Lookups { tokens, outers, positions, width, .. } = self else { return };
        let here = part(tokens, row, *positions).iter().enumerate();
        let mut here: Vec<(usize, usize)> =
            here.map(|(position, token)| (*token as usize, position)).collect();
        here.sort_unstable();
        for equal in here.chunk_by(|a, b| a.0 == b.0) {
            total.fill(0.0);
            for (_, position) in equal {
                let outer = part(outers, row * positions + position, *width);
                total.iter_mut().zip(outer).for_each(|(total, value)| *total += f64::from(*value));
            }
            if let Some((token, _)) = equal.first() {
                visit(*token, total);
            }
        }
    }

    /// Weight and bias of each example, side by side.
    fn formed(
        weights: &[f32],
        weight: usize,
        biases: &[f32],
        bias: usize,
        rows: usize,
    ) -> Result<Self, TrainError> {
        holds("weights", weights.len(), rows * weight)?;
        holds("biases", biases.len(), rows * bias)?;
        let rows = weights.chunks_exact(weight.max(1)).zip(biases.chunks_exact(bias.max(1)));
        let gradients = rows.flat_map(|(weight, bias)| weight.iter().chain(bias).copied()).collect();
        Ok(Self::Formed { gradients, lanes: weight + bias })
    }
}

/// One side of a product for each example: `[rows, sides]`, turned or not.
struct Factor {
    values: Vec<f32>,
    sides: [usize; 2],
    turned: bool,
}

impl Factor {
    fn tensor(self, rows: usize, device: &Device) -> Result<Tensor<3>, TrainError> {
        let [a, b] = self.sides;
        holds("a factor", self.values.len(), rows * a * b)?;
        let tensor = Tensor::from_data(TensorData::new(self.values, [rows, a, b]), device);
        Ok(if self.turned { tensor.swap_dims(1, 2) } else { tensor })
    }
}

/// The product of both factors, example by example, in f32.
fn by_example(left: Factor, right: Factor, rows: usize, device: &Device) -> Result<Vec<f32>, TrainError> {
    values(left.tensor(rows, device)?.matmul(right.tensor(rows, device)?))
}

/// `aᵀ b` over all rows, in f64. `sides` are the rows and the widths of a and b.
fn product(a: Vec<f64>, b: Vec<f64>, sides: [usize; 3], device: &Device) -> Result<Vec<f64>, TrainError> {
    let [rows, input, output] = sides;
    let a: Tensor<2> = Tensor::from_data(TensorData::new(a, [rows, input]), (device, DType::F64));
    let b: Tensor<2> = Tensor::from_data(TensorData::new(b, [rows, output]), (device, DType::F64));
    let product = a.transpose().matmul(b).into_data();
    product.try_into_vec::<f64>().map_err(|why| TrainError::Tensor(format!("{why:?}")))
}

/// Which values a bias is added to.
#[derive(Clone, Copy)]
enum Sum {
    /// Its own, so many side by side.
    Neighbours { count: usize },
    /// One of each of so many lists.
    Strided { count: usize },
}

/// The gradient of a bias of this width, for each example.
fn sums(outers: &[f32], width: usize, which: Sum) -> Vec<f32> {
    match which {
        Sum::Neighbours { count } => outers
            .chunks_exact(count.max(1))
            .map(|own| own.iter().map(|value| f64::from(*value)).sum::<f64>() as f32)
            .collect(),
        Sum::Strided { count } => {
            let examples = outers.chunks_exact((count * width).max(1));
            examples
                .flat_map(|example| {
                    (0..width).map(|at| {
                        let own = example.iter().skip(at).step_by(width.max(1));
                        own.map(|value| f64::from(*value)).sum::<f64>() as f32
                    })
                })
                .collect()
        }
    }
}

fn scale_gradients(
    inputs: &[f32],
    outers: &[f32],
    width: usize,
    inner: usize,
    rows: NonZeroUsize,
) -> LayerGradients {
    let of_one = outers.len() / rows;
    let mut gradients = Vec::with_capacity(rows.get() * 2 * width);
    for row in 0..rows.get() {
        let mut scale = vec![0.0f64; width];
        let mut shift = vec![0.0f64; width];
        let (normed, outer) = (part(inputs, row, of_one), part(outers, row, of_one));
        for (normed, outer) in normed.chunks(width * inner).zip(outer.chunks(width * inner)) {
            let own = normed.chunks(inner).zip(outer.chunks(inner)).zip(scale.iter_mut().zip(&mut shift));
            for ((normed, outer), (scale, shift)) in own {
                for (normed, outer) in normed.iter().zip(outer) {
                    *scale += f64::from(*normed) * f64::from(*outer);
                    *shift += f64::from(*outer);
                }
            }
        }
        gradients.extend(scale.into_iter().chain(shift).map(|value| value as f32));
    }
    LayerGradients::Formed { gradients, lanes: 2 * width }
}

/// Several `[rows, …]` side by side, row by row.
fn joined(mut tensors: Vec<Tensor<2>>) -> Result<Vec<f32>, TrainError> {
    match (tensors.len(), tensors.pop()) {
        (1, Some(only)) => values(only),
        (_, Some(last)) => {
            tensors.push(last);
            values(Tensor::cat(tensors, 1))
        }
        (_, None) => Ok(Vec::new()),
    }
}

/// The numbers of one row, `width` each.
///
/// # Panics
/// Where there is no such row: lengths are checked before.
#[allow(clippy::indexing_slicing)]
pub(crate) fn part(values: &[f32], row: usize, width: usize) -> &[f32] {
    &values[row * width..][..width]
}

fn squares(values: &[f32]) -> f64 {
    // Four sums at once: one alone waits for each addition.
    let (fours, rest) = values.as_chunks::<4>();
    let mut sums = [0.0f64; 4];
    for four in fours {
        for (sum, value) in sums.iter_mut().zip(four) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: NonZeroUsize = NonZeroUsize::new(5).unwrap();

    fn of(inputs: usize, outers: usize) -> LayerGradients {
        LayerGradients::Products { inputs: vec![1.0; inputs], outers: vec![1.0; outers], input: 3, output: 2 }
    }

    #[test]
    fn a_layer_with_a_number_too_few_is_an_error_and_never_a_smaller_norm() {
        let device = crate::network::inference_device();
        let mut sum = [0.0; 8];
        assert!(of(12, 8).subtract(&mut sum, 2, &[1.0, 1.0], &device).is_ok());
        for short in [
            of(11, 8),
            of(12, 7),
            of(9, 8),
            of(9, 6),
            LayerGradients::Formed { gradients: vec![1.0; 31], lanes: 8 },
            LayerGradients::Formed { gradients: vec![1.0; 24], lanes: 8 },
            LayerGradients::Lookups {
                tokens: vec![0.0; 4],
                outers: vec![1.0; 7],
                positions: 1,
                vocabulary: 4,
                width: 2,
            },
        ] {
            let done = short.subtract(&mut sum, 2, &[1.0, 1.0], &device);
            assert!(matches!(done, Err(TrainError::Tensor(_))), "{done:?}");
        }
        let done = of(12, 8).subtract(&mut sum[..7], 0, &[1.0], &device);
        assert!(matches!(done, Err(TrainError::Tensor(_))), "a sum of another layer: {done:?}");
    }

    #[test]
    fn a_tap_whose_tensors_are_not_of_its_rows_is_an_error() {
        let dense = Rule::Dense { input: 3, output: 2, positions: 4 };
        assert!(dense.check(ROWS, 60, 40).is_ok());
        let conv =
            Rule::Conv { planes: 1, height: 4, width: 4, channels: 2, kernel: 3, stride: 1, padding: 0 };
        assert!(conv.check(ROWS, 80, 40).is_ok());
        let scale = Rule::Scale { width: 3, inner: 2 };
        assert!(scale.check(ROWS, 60, 60).is_ok());
        let embedding = Rule::Embedding { vocabulary: 9, width: 3 };
        assert!(embedding.check(ROWS, 20, 60).is_ok());
        for (rule, inputs, outers) in [
            (dense, 59, 40),
            (dense, 60, 38),
            (conv, 79, 40),
            (conv, 80, 45),
            (scale, 60, 54),
            (scale, 61, 60),
            (scale, 50, 50),
            (embedding, 20, 57),
            (embedding, 21, 60),
        ] {
            assert!(rule.check(ROWS, inputs, outers).is_err(), "{inputs} inputs, {outers} gradients");
        }
        let too_large =
            Rule::Conv { planes: 1, height: 4, width: 4, channels: 2, kernel: 5, stride: 1, padding: 0 };
        let why = too_large.check(ROWS, 80, 10).unwrap_err().to_string();
        assert!(why.contains("a kernel of 5 has no place on an image of 4 by 4"), "{why}");
    }
}
