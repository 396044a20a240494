//! How a version is used: what its plan says of columns, classes and layers, and what each layer does with its numbers.

use std::borrow::Cow;

use params::{Architecture, Layer, Shape};
use plan::{Feature, Missing, Plan};
use serde::{Deserialize, Serialize};

/// All that a program needs beside the parameters' file to do what this version does: from the plan alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The columns of a row in the model's order, in the plan's own words.
    pub features: Vec<Feature>,
    /// How a column's number becomes the model's.
    pub scaling: String,
    /// The interval that each column's range is mapped to.
    pub scaled_to: [f64; 2],
    /// What a cell without a number makes of its row.
    pub missing: String,
    /// The label's column; a row needs none to be predicted.
    pub label: String,
    /// The classes' names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Of parameters and arithmetic.
    pub dtype: String,
    /// Of one row.
    pub input: Shape,
    /// First to last.
    pub layers: Vec<LayerUse>,
    /// What the last layer's numbers mean.
    pub output: String,
}

/// One layer, its tensors in the parameters' file, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerUse {
    /// As plans declare it.
    pub layer: Layer,
    /// By their names in the file, row-major; shapes are what the rule speaks of.
    pub tensors: Vec<TensorUse>,
    /// Of one row.
    pub output: Shape,
    pub rule: String,
}

/// A tensor in the parameters' file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorUse {
    pub name: String,
    pub shape: Vec<usize>,
}

/// Of plans whose columns are all numbers within ranges.
const SCALING: &str = "value clipped to minimum..maximum, then low + (value - minimum) / (maximum - minimum) * (high - low) with \
                       scaled_to = [low, high], in double precision, rounded to single";
/// Of all others.
const ENCODING: &str = "with scaled_to = [low, high], a share s becomes low + s * (high - low), in double precision, rounded to single. \
                        minimum and maximum: s = (value clipped to them - minimum) / (maximum - minimum). log_range = [minimum, maximum]: s \
                        = ln(1 + clipped - minimum) / ln(1 + maximum - minimum). mean and deviation: as the range of 4 deviations on both \
                        sides of the mean. first_day and last_day: as a range of days. ordinal: s = place from 0 / (number of categories - 1). \
                        flag: high where the cell is this text, else low. one_hot: a number for each category, high for the cell's own, low for \
                        the others; with other one more, for all texts that are not listed. Texts that are numbers are compared as numbers";
const NOTHING_STANDS_IN: &str = "no prediction for the row: nothing is filled in";
const STANDS_IN: &str = "as `missing` of its feature says: where it is left out, no prediction for the row; a value stands for the cell; \
                         \"flag\": s = 0.5 stands for it (in one_hot low for each), and one number more is high where the cell is \
                         missing, else low";

impl Usage {
    pub(crate) fn of(plan: &Plan) -> Self {
        let architecture = plan.architecture();
        Self {
            features: plan.data.features.clone(),
            scaling: if plan.data.is_plain() { SCALING } else { ENCODING }.into(),
            scaled_to: plan.data.scaled_to,
            missing: match plan.data.features.iter().all(|feature| feature.missing == Missing::Misfit) {
                true => NOTHING_STANDS_IN,
                false => STANDS_IN,
            }
            .into(),
            label: plan.data.label.clone(),
            classes: (0..plan.data.classes.count())
                .filter_map(|class| plan.data.classes.name(class))
                .map(Cow::into_owned)
                .collect(),
            dtype: "float32".into(),
            input: architecture.input,
            layers: layers(&architecture),
            output: "one number a class (logit): the class of the largest, the first of equals; probabilities are their softmax".into(),
        }
    }
}

fn layers(architecture: &Architecture) -> Vec<LayerUse> {
    let layout = architecture.layout();
    let mut tensors = layout.entries().iter();
    let layer = |stage: params::Stage<'_>| LayerUse {
        tensors: tensors
            .by_ref()
            .take(stage.layer.parameter_tensors())
            .map(|entry| TensorUse { name: entry.name.clone(), shape: entry.shape.clone() })
            .collect(),
        output: stage.output,
        rule: rule(stage.layer).into(),
        layer: stage.layer.clone(),
    };
    architecture.stages().map(layer).collect()
}

/// What a layer does, with its tensors by the ends of their names.
fn rule(layer: &Layer) -> &'static str {
    match layer {
        Layer::Linear { .. } => "y = x weight + bias, weight [in, out]; in a sequence at each position alike",
        Layer::Conv2d { .. } => {
            "cross-correlation, weight [out, in, kernel, kernel], plus bias; zeros all around by padding, planes by height by width"
        }
        Layer::Relu {} => "the larger of 0 and x",
        Layer::Tanh {} => "the hyperbolic tangent of x",
        Layer::MaxPool { .. } => {
            "the largest of each square, squares do not overlap, a rest at the lower or right edge is left out"
        }
        Layer::AveragePool { .. } => {
            "the mean of each square, squares do not overlap, a rest at the lower or right edge is left out"
        }
        Layer::Flatten {} => "plane by plane and row by row, or position by position, as one vector",
        Layer::Embedding { .. } => {
            "x rounded to a whole number, halves to even, and clipped to 0..vocabulary - 1; that row of weight [vocabulary, width]"
        }
        Layer::LayerNorm {} => {
            "(x - mean) / sqrt(variance + 1e-5) over each vector, variance by its length; times scale, plus shift"
        }
        Layer::GroupNorm { .. } => {
            "(x - mean) / sqrt(variance + 1e-5) over the pixels of each group of neighbouring planes, variance by their number; times scale, \
             plus shift, one of each a plane"
        }
        Layer::Rnn { .. } => {
            "h = tanh([x, h] weight + bias) from h = 0, position by position; gives the last h"
        }
        Layer::Gru { .. } => {
            "from h = 0, position by position: [z, r] = sigmoid([x, h] gates.weight + gates.bias), the update gate z first, then the reset \
             gate r; c = tanh([x, r * h] candidate.weight + candidate.bias); h = z * h + (1 - z) * c; gives the last h"
        }
        Layer::MeanPositions {} => "the mean over all positions",
        Layer::BatchNorm {} => "refused in plans",
    }
}
