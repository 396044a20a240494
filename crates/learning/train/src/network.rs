//! The models that plans declare, as burn tensors.

use burn::activation::{log_softmax, relu, sigmoid, tanh};
use burn::module::{avg_pool2d, conv2d, embedding, max_pool2d};
use burn::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::{Device, Int, Tensor, TensorData};
use params::{Architecture, Layer, Params, Shape};

use crate::TrainError;
use crate::gradients::{Rule, Tap};

/// Added to a variance before its root is taken, as everywhere.
const NORM_EPSILON: f32 = 1e-5;

/// A model with its parameters on a device.
pub(crate) struct Network {
    stages: Vec<Stage>,
    input: Shape,
}

/// A layer, what comes out, and its parameters, flat: reshaped where they are used.
struct Stage {
    layer: Layer,
    output: Shape,
    parameters: Vec<Tensor<1>>,
}

/// What is between two layers. One example is a row, an item of the first dimension.
enum Values {
    /// Shaped `[rows, width]`.
    Vector(Tensor<2>),
    /// `[rows, length, width]`
    Positions(Tensor<3>),
    /// `[rows, channels, height, width]`
    Image(Tensor<4>),
}

/// Where the taps of a forward pass are kept, if it is to be taken apart by example.
type Taps<'a> = Option<&'a mut Vec<Tap>>;

/// A device on which nothing is differentiated.
pub(crate) fn inference_device() -> Device {
    Device::flex()
}

/// A device that keeps what gradients need.
pub(crate) fn training_device() -> Device {
    Device::flex().autodiff()
}

impl Network {
    /// The parameters on a device, without gradients of their own.
    pub(crate) fn load(architecture: &Architecture, params: &Params, device: &Device) -> Self {
        let mut tensors = params.tensors();
        let stages = architecture.stages().map(|stage| {
            let count = stage.layer.parameter_tensors();
            let parameters = tensors.by_ref().take(count).map(|(_, values)| {
                Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
            });
            let parameters = parameters.collect();
            Stage { layer: stage.layer.clone(), output: stage.output, parameters }
        });
        Self { stages: stages.collect(), input: architecture.input }
    }

    /// The same, with every parameter a leaf that gradients are kept of.
    pub(crate) fn require_grad(mut self) -> Self {
        for stage in &mut self.stages {
            stage.parameters =
                std::mem::take(&mut stage.parameters).into_iter().map(Tensor::require_grad).collect();
        }
        self
    }

    /// Every parameter tensor in the order of the layout.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Tensor<1>> {
        self.stages.iter().flat_map(|stage| &stage.parameters)
    }

    /// Logits, `[rows, outputs]`.
    ///
    /// # Errors
    /// Parameters that are not the architecture's.
    pub(crate) fn forward(&self, inputs: Tensor<2>) -> Result<Tensor<2>, TrainError> {
        self.pass(inputs, &mut None)
    }

    /// The same, and the taps of every layer with parameters.
    ///
    /// # Errors
    /// Parameters that are not the architecture's.
    pub(crate) fn forward_tapped(&self, inputs: Tensor<2>) -> Result<(Tensor<2>, Vec<Tap>), TrainError> {
        let mut taps = Vec::new();
        let logits = self.pass(inputs, &mut Some(&mut taps))?;
        Ok((logits, taps))
    }

    fn pass(&self, inputs: Tensor<2>, taps: &mut Taps<'_>) -> Result<Tensor<2>, TrainError> {
        let mut stages = self.stages.as_slice();
        let mut values = match self.input {
            Shape::Vector { .. } => Values::Vector(inputs),
            Shape::Positions { .. } | Shape::Image { .. } => Values::of(self.input, inputs),
            Shape::Tokens { vocabulary, .. } => {
                // Nothing but an embedding takes tokens.
                let (first, rest) = stages.split_first().ok_or_else(mismatch)?;
                stages = rest;
                first.embed(inputs, vocabulary, taps)?
            }
        };
        for stage in stages {
            values = stage.forward(values, taps)?;
        }
        match values {
            Values::Vector(logits) => Ok(logits),
            _ => Err(mismatch()),
        }
    }
}

impl Stage {
    fn forward(&self, values: Values, taps: &mut Taps<'_>) -> Result<Values, TrainError> {
        Ok(match (&self.layer, values) {
            (Layer::Linear { width, .. }, Values::Vector(x)) => {
                Values::Vector(self.linear([0, 1], x, *width, 1, taps)?)
            }
            (Layer::Linear { width, .. }, Values::Positions(x)) => {
                let [rows, length, input] = x.dims();
                // One product for all positions of all rows; each position's output depends on itself alone.
                let flat = self.product([0, 1], x.clone().reshape([rows * length, input]), *width)?;
                let flat = flat.reshape([rows, length * width]);
                let rule = Rule::Dense { input, output: *width, positions: length };
                let x = x.reshape([rows, length * input]);
                Values::of(self.output, tapped(rule, x, flat, taps))
            }
            (Layer::Conv2d { channels, kernel, stride, padding }, Values::Image(x)) => {
                let [rows, planes, height, width] = x.dims();
                let weight = self.parameter(0)?.reshape([*channels, planes, *kernel, *kernel]);
                let options = ConvOptions::new([*stride; 2], [*padding; 2], [1, 1], 1);
                let y = conv2d(x.clone(), weight, Some(self.parameter(1)?), options);
                let rule = Rule::Conv {
                    planes,
                    height,
                    width,
                    channels: *channels,
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                };
                let values = planes * height * width;
                let y = y.reshape([rows, self.output.values()]);
                Values::of(self.output, tapped(rule, x.reshape([rows, values]), y, taps))
            }
            (Layer::Relu {}, values) => values.map(relu, relu, relu),
            (Layer::Tanh {}, values) => values.map(tanh, tanh, tanh),
            (Layer::MaxPool { size }, Values::Image(x)) => {
                Values::Image(max_pool2d(x, MaxPoolOptions::new([*size; 2])))
            }
            (Layer::AveragePool { size }, Values::Image(x)) => {
                Values::Image(avg_pool2d(x, AvgPoolOptions::new([*size; 2])))
            }
            (Layer::Flatten {}, Values::Image(x)) => {
                let rows = x.dims()[0];
                Values::Vector(x.reshape([rows, self.output.values()]))
            }
            (Layer::Flatten {}, Values::Positions(x)) => {
                let rows = x.dims()[0];
                Values::Vector(x.reshape([rows, self.output.values()]))
            }
            (Layer::MeanPositions {}, Values::Positions(x)) => {
                let rows = x.dims()[0];
                Values::Vector(x.mean_dim(1).reshape([rows, self.output.values()]))
            }
            (Layer::LayerNorm {}, values) => self.norm(values, taps)?,
            (Layer::GroupNorm { groups }, Values::Image(x)) => {
                let [rows, ..] = x.dims();
                let values = self.output.values();
                let grouped = x.reshape([rows, *groups, values / groups]);
                let normed = standardised(grouped).reshape([rows, values]);
                self.scaled(normed, taps)?
            }
            (Layer::Rnn { width }, Values::Positions(x)) => Values::Vector(self.recurrent(x, *width, taps)?),
            (Layer::Gru { width }, Values::Positions(x)) => Values::Vector(self.gated(x, *width, taps)?),
            _ => return Err(mismatch()),
        })
    }

    fn embed(&self, inputs: Tensor<2>, vocabulary: usize, taps: &mut Taps<'_>) -> Result<Values, TrainError> {
        let Layer::Embedding { width } = self.layer else { return Err(mismatch()) };
        let [rows, length] = inputs.dims();
        // Columns that are no tokens are clipped to them, as any feature is to its range.
        let tokens = inputs.round().clamp(0.0, vocabulary.saturating_sub(1) as f32);
        let weight = self.parameter(0)?.reshape([vocabulary, width]);
        let indices: Tensor<2, Int> = tokens.clone().int();
        let looked_up = embedding(weight, indices).reshape([rows, length * width]);
        let rule = Rule::Embedding { vocabulary, width };
        Ok(Values::of(self.output, tapped(rule, tokens, looked_up, taps)))
    }

    /// Mean 0 and variance 1 over the last dimension, then scale and shift.
    fn norm(&self, values: Values, taps: &mut Taps<'_>) -> Result<Values, TrainError> {
        let normed = match values {
            Values::Vector(x) => {
                let [rows, width] = x.dims();
                standardised(x.reshape([rows, 1, width])).reshape([rows, width])
            }
            Values::Positions(x) => {
                let [rows, length, width] = x.dims();
                standardised(x).reshape([rows, length * width])
            }
            Values::Image(_) => return Err(mismatch()),
        };
        self.scaled(normed, taps)
    }

    /// `[rows, values]` times the scale plus the shift.
    fn scaled(&self, normed: Tensor<2>, taps: &mut Taps<'_>) -> Result<Values, TrainError> {
        let (scale, shift) = (self.parameter(0)?, self.parameter(1)?);
        let [width] = scale.dims();
        let [rows, values] = normed.dims();
        // Vectors and positions have their numbers side by side; a plane's pixels share one.
        let inner = if let Shape::Image { height, width, .. } = self.output { height * width } else { 1 };
        let shape = [rows, values / (width * inner), width, inner];
        let side = [1, 1, width, 1];
        let y = normed.clone().reshape(shape) * scale.reshape(side) + shift.reshape(side);
        let rule = Rule::Scale { width, inner };
        Ok(Values::of(self.output, tapped(rule, normed, y.reshape([rows, values]), taps)))
    }

    fn recurrent(&self, x: Tensor<3>, width: usize, taps: &mut Taps<'_>) -> Result<Tensor<2>, TrainError> {
        let [rows, length, input] = x.dims();
        let mut state = Tensor::zeros([rows, width], &x.device());
        let mut steps = Steps::default();
        for position in 0..length {
            let now = Tensor::cat(vec![at(&x, position), state], 1);
            state = tanh(steps.tap(now.clone(), self.product([0, 1], now, width)?, taps));
        }
        steps.keep(Rule::Dense { input: input + width, output: width, positions: length }, taps);
        Ok(state)
    }

    /// Cho et al. 2014, with the reset gate before the product, as in the paper.
    fn gated(&self, x: Tensor<3>, width: usize, taps: &mut Taps<'_>) -> Result<Tensor<2>, TrainError> {
        let [rows, length, input] = x.dims();
        let mut state: Tensor<2> = Tensor::zeros([rows, width], &x.device());
        let (mut gate_steps, mut candidate_steps) = (Steps::default(), Steps::default());
        for position in 0..length {
            let here = at(&x, position);
            let now = Tensor::cat(vec![here.clone(), state.clone()], 1);
            let gates = self.product([0, 1], now.clone(), 2 * width)?;
            let gates = sigmoid(gate_steps.tap(now, gates, taps));
            let update = gates.clone().slice([0..rows, 0..width]);
            let reset = gates.slice([0..rows, width..2 * width]);
            let now = Tensor::cat(vec![here, reset * state.clone()], 1);
            let candidate = self.product([2, 3], now.clone(), width)?;
            let candidate = tanh(candidate_steps.tap(now, candidate, taps));
            state = update.clone() * state + (update.neg() + 1.0) * candidate;
        }
        let rule = |output| Rule::Dense { input: input + width, output, positions: length };
        gate_steps.keep(rule(2 * width), taps);
        candidate_steps.keep(rule(width), taps);
        Ok(state)
    }

    fn linear(
        &self,
        parameters: [usize; 2],
        x: Tensor<2>,
        width: usize,
        positions: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor<2>, TrainError> {
        let [_, input] = x.dims();
        let y = self.product(parameters, x.clone(), width)?;
        Ok(tapped(Rule::Dense { input, output: width, positions }, x, y, taps))
    }

    /// `x W + b`
    fn product(
        &self,
        [weight, bias]: [usize; 2],
        x: Tensor<2>,
        width: usize,
    ) -> Result<Tensor<2>, TrainError> {
        let [_, input] = x.dims();
        let weight = self.parameter(weight)?.reshape([input, width]);
        Ok(x.matmul(weight) + self.parameter(bias)?.reshape([1, width]))
    }

    fn parameter(&self, index: usize) -> Result<Tensor<1>, TrainError> {
        self.parameters.get(index).cloned().ok_or_else(mismatch)
    }
}

impl Values {
    /// `flat`, `[rows, values]`, as examples of this shape.
    fn of(shape: Shape, flat: Tensor<2>) -> Self {
        let [rows, _] = flat.dims();
        match shape {
            Shape::Image { channels, height, width } => {
                Self::Image(flat.reshape([rows, channels, height, width]))
            }
            Shape::Positions { length, width } => Self::Positions(flat.reshape([rows, length, width])),
            Shape::Vector { .. } | Shape::Tokens { .. } => Self::Vector(flat),
        }
    }

    fn map(
        self,
        vector: impl FnOnce(Tensor<2>) -> Tensor<2>,
        positions: impl FnOnce(Tensor<3>) -> Tensor<3>,
        image: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        match self {
            Self::Vector(x) => Self::Vector(vector(x)),
            Self::Positions(x) => Self::Positions(positions(x)),
            Self::Image(x) => Self::Image(image(x)),
        }
    }
}

/// The taps of a layer that is used once a position, to be kept as one.
#[derive(Default)]
struct Steps {
    inputs: Vec<Tensor<2>>,
    leaves: Vec<Tensor<2>>,
}

impl Steps {
    fn tap(&mut self, input: Tensor<2>, output: Tensor<2>, taps: &mut Taps<'_>) -> Tensor<2> {
        if taps.is_none() {
            return output;
        }
        let leaf = leaf(&output);
        self.inputs.push(input);
        self.leaves.push(leaf.clone());
        output + leaf
    }

    fn keep(self, rule: Rule, taps: &mut Taps<'_>) {
        if let Some(taps) = taps {
            taps.push(Tap { rule, inputs: self.inputs, leaves: self.leaves });
        }
    }
}

/// The output, with a tap where taps are kept.
fn tapped(rule: Rule, input: Tensor<2>, output: Tensor<2>, taps: &mut Taps<'_>) -> Tensor<2> {
    let Some(taps) = taps else { return output };
    let leaf = leaf(&output);
    taps.push(Tap { rule, inputs: vec![input], leaves: vec![leaf.clone()] });
    output + leaf
}

/// A leaf of its own: asking for the gradient of a computed tensor is refused.
fn leaf(output: &Tensor<2>) -> Tensor<2> {
    Tensor::zeros(output.dims(), &output.device()).require_grad()
}

/// Mean 0 and variance 1 over the last dimension.
fn standardised(x: Tensor<3>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred / (variance + NORM_EPSILON).sqrt()
}

/// One position of every row.
fn at(x: &Tensor<3>, position: usize) -> Tensor<2> {
    let [rows, _, width] = x.dims();
    x.clone().slice([0..rows, position..position + 1, 0..width]).reshape([rows, width])
}

fn mismatch() -> TrainError {
    TrainError::Tensor("the layers do not fit each other; the plan was not validated".into())
}

/// The sum of the rows' cross-entropies.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum()
}

/// A tensor's values, row-major.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    tensor.into_data().try_into_vec::<f32>().map_err(|why| TrainError::Tensor(format!("{why:?}")))
}
