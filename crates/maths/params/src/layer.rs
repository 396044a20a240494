//! The layers that a plan may declare: what goes in, what comes out, which parameters each has.

use serde::{Deserialize, Serialize};

const WIDTH_MAX: usize = 65_536;
const VALUES_MAX: usize = 1 << 24;
const KERNEL_MAX: usize = 31;

/// What one example is between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// A list of numbers.
    Vector { width: usize },
    /// One list of numbers for each position of a sequence, position by position.
    Positions {
        length: usize,
        /// Numbers of each.
        width: usize,
    },
    /// Planes of pixels, plane by plane, row by row.
    Image { channels: usize, height: usize, width: usize },
    /// A text: one whole number below `vocabulary` for each position.
    Tokens {
        length: usize,
        /// How many different tokens there are.
        vocabulary: usize,
    },
}

impl Shape {
    /// Numbers of one example (saturating).
    pub fn values(&self) -> usize {
        match *self {
            Self::Vector { width } => width,
            Self::Positions { length, width } => length.saturating_mul(width),
            Self::Image { channels, height, width } => channels.saturating_mul(height).saturating_mul(width),
            Self::Tokens { length, .. } => length,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let sides: &[usize] = match self {
            Self::Vector { width } => &[*width],
            Self::Positions { length, width } => &[*length, *width],
            Self::Image { channels, height, width } => &[*channels, *height, *width],
            Self::Tokens { length, vocabulary } => &[*length, *vocabulary],
        };
        match sides.iter().find(|side| !(1..=WIDTH_MAX).contains(*side)) {
            Some(side) => Err(format!("a side of {side} is not from 1 to {WIDTH_MAX}")),
            None if self.values() > VALUES_MAX => {
                Err(format!("{} values of one example are more than {VALUES_MAX}", self.values()))
            }
            None => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Vector { .. } => "a vector",
            Self::Positions { .. } => "a sequence of vectors",
            Self::Image { .. } => "an image",
            Self::Tokens { .. } => "tokens",
        }
    }
}

/// One layer.
///
/// Every parameter is used by one rule for its gradient's norm, and by one example at a time: that is what makes
/// per-example clipping exact. Two kinds that break it can be written down, so that they are refused with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// `y = x W + b`, at each position alike.
    Linear {
        /// Numbers of its output.
        width: usize,
        /// Refused: see [`Layer`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tied_to: Option<usize>,
    },
    /// Cross-correlation of an image with `channels` kernels, and a bias each.
    Conv2d {
        /// Planes of its output.
        channels: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Step between two places of the kernel.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around the image.
        #[serde(default)]
        padding: usize,
    },
    /// The larger of 0 and x.
    Relu {},
    /// The hyperbolic tangent of x.
    Tanh {},
    /// The largest of each square of an image; squares do not overlap, a rest at the edge is left out.
    MaxPool {
        /// Side of the square.
        size: usize,
    },
    /// The mean of each such square.
    AveragePool {
        /// Side of the square.
        size: usize,
    },
    /// An image or a sequence as one vector.
    Flatten {},
    /// A vector for each token.
    Embedding {
        /// Numbers of each vector.
        width: usize,
    },
    /// Each vector to mean 0 and variance 1, then a learned scale and shift for each of its numbers.
    LayerNorm {},
    /// Each group of planes to mean 0 and variance 1, then a learned scale and shift for each plane.
    GroupNorm {
        /// How many groups; must divide the planes.
        groups: usize,
    },
    /// A recurrent layer, `h = tanh([x, h] W + b)`; gives the last state.
    Rnn {
        /// Numbers of its state.
        width: usize,
    },
    /// A gated recurrent unit (Cho et al. 2014); gives the last state.
    Gru {
        /// Numbers of its state.
        width: usize,
    },
    /// The mean over all positions.
    MeanPositions {},
    /// Refused: see [`Layer`].
    BatchNorm {},
}

fn one() -> usize {
    1
}

/// A tensor of parameters, and how it starts.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: Start,
}

/// How a tensor of parameters starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Zeros,
    Ones,
    /// Uniform, with a variance over so many inputs.
    Uniform {
        fan_in: usize,
    },
}

impl Layer {
    /// What comes out of `input`.
    ///
    /// # Errors
    /// In words: why the layer cannot stand there, and what would do.
    pub(crate) fn output(&self, input: &Shape) -> Result<Shape, String> {
        let output = match (self, *input) {
            // What no shape makes right comes first, so that its own reason is given and not one about shapes.
            (Self::Linear { tied_to: Some(_), .. }, _) => {
                return Err("tied weights are refused: a weight with two uses has no single rule for the norm of its \
                            gradient, so an example's could not be clipped exactly; leave out tied_to"
                    .into());
            }
            (Self::BatchNorm {}, _) => {
                return Err("batch normalisation is refused: it couples the examples of a batch, so that one record \
                            changes the gradients of all others and clipping each bounds nothing; use group_norm or \
                            layer_norm"
                    .into());
            }
            (Self::Linear { width, .. }, Shape::Vector { .. }) => Shape::Vector { width: *width },
            (Self::Linear { width, .. }, Shape::Positions { length, .. }) => {
                Shape::Positions { length, width: *width }
            }
            (Self::Conv2d { channels, kernel, stride, padding }, Shape::Image { height, width, .. }) => {
                if !(1..=KERNEL_MAX).contains(kernel) || *stride == 0 || padding >= kernel {
                    return Err(format!(
                        "the kernel must be from 1 to {KERNEL_MAX}, the stride at least 1, the padding below the kernel"
                    ));
                }
                let places = |side: usize| {
                    side.saturating_add(2 * padding).checked_sub(*kernel).map(|s| s / stride + 1)
                };
                match (places(height), places(width)) {
                    (Some(height), Some(width)) => Shape::Image { channels: *channels, height, width },
                    _ => return Err("the kernel is larger than the padded image".into()),
                }
            }
            (
                Self::MaxPool { size } | Self::AveragePool { size },
                Shape::Image { channels, height, width },
            ) => {
                let places = |side: usize| side.checked_div(*size).filter(|places| *places > 0);
                match (places(height), places(width)) {
                    (Some(height), Some(width)) => Shape::Image { channels, height, width },
                    _ => return Err("the squares must have a side of at least 1 and fit the image".into()),
                }
            }
            (Self::Embedding { width }, Shape::Tokens { length, .. }) => {
                Shape::Positions { length, width: *width }
            }
            (Self::LayerNorm {}, shape @ (Shape::Vector { .. } | Shape::Positions { .. })) => shape,
            (Self::GroupNorm { groups }, shape @ Shape::Image { channels, .. }) => {
                if *groups == 0 || channels % groups != 0 {
                    return Err(format!("{groups} groups do not divide {channels} planes"));
                }
                shape
            }
            (Self::Rnn { width } | Self::Gru { width }, Shape::Positions { .. }) => {
                Shape::Vector { width: *width }
            }
            (Self::MeanPositions {}, Shape::Positions { width, .. }) => Shape::Vector { width },
            (Self::Flatten {}, Shape::Image { .. } | Shape::Positions { .. }) => {
                Shape::Vector { width: input.values() }
            }
            (Self::Relu {} | Self::Tanh {}, shape) if !matches!(shape, Shape::Tokens { .. }) => shape,
            (_, shape) => return Err(format!("it does not take {}", shape.name())),
        };
        output.check()?;
        Ok(output)
    }

    /// Its parameters, where [`Layer::output`] takes `input`; in the order of the layout.
    pub(crate) fn parameters(&self, input: &Shape) -> Vec<Parameter> {
        let (channels, width) = match *input {
            Shape::Vector { width } | Shape::Positions { width, .. } => (width, width),
            Shape::Image { channels, width, .. } => (channels, width),
            Shape::Tokens { vocabulary, .. } => (vocabulary, vocabulary),
        };
        let dense = |names: [&'static str; 2], fan_in: usize, fan_out: usize| {
            [
                Parameter { name: names[0], shape: vec![fan_in, fan_out], start: Start::Uniform { fan_in } },
                Parameter { name: names[1], shape: vec![fan_out], start: Start::Zeros },
            ]
        };
        let scale = |width: usize| {
            vec![
                Parameter { name: "scale", shape: vec![width], start: Start::Ones },
                Parameter { name: "shift", shape: vec![width], start: Start::Zeros },
            ]
        };
        match *self {
            Self::Linear { width: out, .. } => dense(["weight", "bias"], width, out).into(),
            Self::Conv2d { channels: out, kernel, .. } => {
                let fan_in = channels.saturating_mul(kernel).saturating_mul(kernel);
                let shape = vec![out, channels, kernel, kernel];
                vec![
                    Parameter { name: "weight", shape, start: Start::Uniform { fan_in } },
                    Parameter { name: "bias", shape: vec![out], start: Start::Zeros },
                ]
            }
            Self::Embedding { width: out } => {
                let start = Start::Uniform { fan_in: out };
                vec![Parameter { name: "weight", shape: vec![channels, out], start }]
            }
            Self::LayerNorm {} => scale(width),
            Self::GroupNorm { .. } => scale(channels),
            Self::Rnn { width: out } => dense(["weight", "bias"], width.saturating_add(out), out).into(),
            Self::Gru { width: out } => {
                let fan_in = width.saturating_add(out);
                let gates = dense(["gates.weight", "gates.bias"], fan_in, out.saturating_mul(2));
                let candidate = dense(["candidate.weight", "candidate.bias"], fan_in, out);
                gates.into_iter().chain(candidate).collect()
            }
            Self::Relu {}
            | Self::Tanh {}
            | Self::MaxPool { .. }
            | Self::AveragePool { .. }
            | Self::Flatten {}
            | Self::MeanPositions {}
            | Self::BatchNorm {} => Vec::new(),
        }
    }

    /// Numbers that one example takes in memory while its gradient is formed (saturating): a convolution's patches,
    /// and the gradient itself where it is formed for each example.
    pub(crate) fn working_values(&self, input: &Shape, output: &Shape) -> usize {
        let gradient =
            || self.parameters(input).iter().fold(0usize, |sum, p| sum.saturating_add(lanes(&p.shape)));
        match (self, *input, *output) {
            (
                Self::Conv2d { kernel, .. },
                Shape::Image { channels, .. },
                Shape::Image { height, width, .. },
            ) => {
                let patch = channels.saturating_mul(kernel * kernel);
                patch.saturating_mul(height).saturating_mul(width).saturating_add(gradient())
            }
            (Self::Linear { .. }, Shape::Positions { .. }, _) => gradient(),
            (
                Self::Rnn { .. } | Self::Gru { .. },
                Shape::Positions { length, width },
                Shape::Vector { width: out },
            ) => {
                gradient().saturating_add(length.saturating_mul(width.saturating_add(out)).saturating_mul(4))
            }
            _ => 0,
        }
    }

    /// How many tensors of parameters it has.
    pub fn parameter_tensors(&self) -> usize {
        match self {
            Self::Gru { .. } => 4,
            Self::Linear { .. }
            | Self::Conv2d { .. }
            | Self::LayerNorm {}
            | Self::GroupNorm { .. }
            | Self::Rnn { .. } => 2,
            Self::Embedding { .. } => 1,
            _ => 0,
        }
    }

    /// Its name in plans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Conv2d { .. } => "conv2d",
            Self::Relu {} => "relu",
            Self::Tanh {} => "tanh",
            Self::MaxPool { .. } => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::Flatten {} => "flatten",
            Self::Embedding { .. } => "embedding",
            Self::LayerNorm {} => "layer_norm",
            Self::GroupNorm { .. } => "group_norm",
            Self::Rnn { .. } => "rnn",
            Self::Gru { .. } => "gru",
            Self::MeanPositions {} => "mean_positions",
            Self::BatchNorm {} => "batch_norm",
        }
    }
}

pub(crate) fn lanes(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, side| product.saturating_mul(*side))
}
