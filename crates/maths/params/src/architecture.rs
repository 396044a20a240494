//! Which model a plan asks for, and its initial weights.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::layer::{self, Layer, Parameter, Shape, Start};
use crate::layout::{Layout, LayoutEntry};
use crate::values::Params;

const LAYERS_MAX: usize = 64;
const PARAMETERS_MAX: usize = 1 << 28;

/// The nonlinearity after each hidden layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The larger of 0 and x.
    #[default]
    Relu,
    /// The hyperbolic tangent of x.
    Tanh,
}

/// A classifier: what an example is, and the layers it goes through. The last layer gives one number a class.
///
/// # Shapes
///
/// `layers.<i>.<tensor>`, where `i` counts the layers that have parameters, from 0. A linear layer's `weight` is
/// `[in, out]`, a convolution's `[out, in, kernel, kernel]`, row-major; a `bias` is `[out]`; weight before bias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    pub input: Shape,
    /// First to last.
    pub layers: Vec<Layer>,
}

/// An architecture out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchitectureError {
    /// Too few or too many layers.
    #[error("the model has {0} layers, and may have 1 to {LAYERS_MAX}")]
    Layers(usize),
    /// What goes in is out of bounds.
    #[error("input: {0}")]
    Input(String),
    /// A layer cannot stand where it stands.
    #[error("layer {index} ({kind}): {why}")]
    Layer {
        /// Counted from 0.
        index: usize,
        /// Its name in plans.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The last layer gives no list of numbers.
    #[error(
        "the last layer must give a vector, one number a class: add flatten or mean_positions, then linear"
    )]
    Output,
    /// Too many parameters in all.
    #[error("the model has {0} parameters, and may have {PARAMETERS_MAX} at most: narrow its layers")]
    Parameters(usize),
}

/// A layer with what goes in and what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage<'a> {
    pub layer: &'a Layer,
    /// What goes in.
    pub input: Shape,
    /// What comes out.
    pub output: Shape,
}

impl Stage<'_> {
    /// Its lanes of parameters.
    pub fn parameters(&self) -> usize {
        self.layer.parameters(&self.input).iter().map(|parameter| layer::lanes(&parameter.shape)).sum()
    }
}

impl Architecture {
    /// Softmax regression where `hidden` is empty, a multilayer perceptron else.
    pub fn perceptron(inputs: usize, hidden: &[usize], activation: Activation, outputs: usize) -> Self {
        let mut layers = Vec::with_capacity(2 * hidden.len() + 1);
        for &width in hidden {
            layers.push(Layer::Linear { width, tied_to: None });
            layers.push(match activation {
                Activation::Relu => Layer::Relu {},
                Activation::Tanh => Layer::Tanh {},
            });
        }
        layers.push(Layer::Linear { width: outputs, tied_to: None });
        Self { input: Shape::Vector { width: inputs }, layers }
    }

    /// Checks the bounds; everything else here expects them to hold.
    ///
    /// # Errors
    ///
    /// The first layer, width or size out of bounds.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        // Depth first: the size below is only summed over a bounded number of layers.
        if !(1..=LAYERS_MAX).contains(&self.layers.len()) {
            return Err(ArchitectureError::Layers(self.layers.len()));
        }
        self.input.check().map_err(ArchitectureError::Input)?;
        let mut shape = self.input;
        for stage in self.walk() {
            shape = stage?.output;
        }
        if !matches!(shape, Shape::Vector { .. }) {
            return Err(ArchitectureError::Output);
        }
        match self.parameter_count() {
            count if count > PARAMETERS_MAX => Err(ArchitectureError::Parameters(count)),
            _ => Ok(()),
        }
    }

    /// The layers with their shapes, up to the first that cannot stand where it stands.
    pub fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        self.walk().map_while(Result::ok)
    }

    /// Numbers that the last layer gives: classes.
    pub fn outputs(&self) -> usize {
        self.stages().last().map_or(0, |stage| stage.output.values())
    }

    /// The model's tensors.
    pub fn layout(&self) -> Layout {
        let named = self.trained().enumerate().flat_map(|(i, parameters)| {
            parameters
                .into_iter()
                .map(move |p| LayoutEntry { name: format!("layers.{i}.{}", p.name), shape: p.shape })
        });
        Layout::from_distinct(named.collect())
    }

    /// Number of parameters: the layout's lanes.
    pub fn parameter_count(&self) -> usize {
        self.layout().len()
    }

    /// How many numbers one example takes in memory at once, training with its own gradient: a backward pass needs what every
    /// layer gave.
    pub fn values_at_once(&self) -> usize {
        self.stages().fold(self.input.values(), |values, stage| {
            let working = stage.layer.working_values(&stage.input, &stage.output);
            values.saturating_add(stage.output.values()).saturating_add(working)
        })
    }

    /// Initial parameters drawn from `rng`: the same generator state gives the same bits everywhere.
    ///
    /// Weights are uniform, with He's bound before a ReLU and LeCun's before anything else; biases and shifts are
    /// zero, scales one. Softmax regression is convex, so it starts from zeros and draws nothing.
    ///
    /// # Panics
    ///
    /// When memory does not hold the model: validate an architecture from outside first.
    ///
    /// # Paper
    ///
    /// He et al. 2015, section 2.2 (variance 2 / fan-in); LeCun et al. 1998, section 4.6 (variance 1 / fan-in).
    /// Deviation: uniform instead of normal, of the same variance, so that no libm differs between machines.
    pub fn initialise(&self, rng: &mut dyn CryptoRng) -> Params {
        let layout = self.layout();
        if matches!(self.layers.as_slice(), [Layer::Linear { .. }]) {
            return Params::zeros(layout);
        }
        let mut values = Vec::with_capacity(layout.len());
        for (index, stage) in self.stages().enumerate() {
            let gain = if self.feeds_relu(index) { 2.0 } else { 1.0 };
            for parameter in stage.layer.parameters(&stage.input) {
                let count = layer::lanes(&parameter.shape);
                match parameter.start {
                    Start::Zeros => values.extend(std::iter::repeat_n(0.0, count)),
                    Start::Ones => values.extend(std::iter::repeat_n(1.0, count)),
                    Start::Uniform { fan_in } => {
                        let bound = (3.0 * (gain / fan_in as f32)).sqrt();
                        values.extend((0..count).map(|_| bound * symmetric_uniform(rng)));
                    }
                }
            }
        }
        Params::from_matching(layout, values)
    }

    /// Whether a ReLU follows before the next layer with parameters.
    fn feeds_relu(&self, index: usize) -> bool {
        let behind = self.layers.iter().skip(index + 1);
        let between = behind.take_while(|layer| {
            matches!(
                layer,
                Layer::Relu {}
                    | Layer::Tanh {}
                    | Layer::MaxPool { .. }
                    | Layer::AveragePool { .. }
                    | Layer::Flatten {}
            )
        });
        between.into_iter().any(|layer| matches!(layer, Layer::Relu {}))
    }

    fn trained(&self) -> impl Iterator<Item = Vec<Parameter>> {
        self.stages()
            .map(|stage| stage.layer.parameters(&stage.input))
            .filter(|parameters| !parameters.is_empty())
    }

    fn walk(&self) -> impl Iterator<Item = Result<Stage<'_>, ArchitectureError>> {
        let mut input = self.input;
        self.layers.iter().enumerate().map(move |(index, layer)| {
            let output = layer.output(&input).map_err(|why| ArchitectureError::Layer {
                index,
                kind: layer.name(),
                why,
            })?;
            Ok(Stage { layer, input: std::mem::replace(&mut input, output), output })
        })
    }
}

// Midpoints of 2^24 equal cells of (-1, 1): exact in f32, symmetric about zero, never an end point.
fn symmetric_uniform(rng: &mut dyn CryptoRng) -> f32 {
    let cell = (rng.next_u32() >> 8) as i32;
    (2 * cell + 1 - (1 << 24)) as f32 * (1.0 / (1u32 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::SeedableRng;

    use super::*;

    fn mlp(activation: Activation) -> Architecture {
        Architecture::perceptron(7, &[11, 13], activation, 3)
    }

    #[test]
    fn layout_names_weights_in_by_out_then_biases_layer_by_layer() {
        let layout = mlp(Activation::Relu).layout();
        let entries: Vec<_> =
            layout.entries().iter().map(|e| (e.name.as_str(), e.shape.as_slice())).collect();
        let expected: [(&str, &[usize]); 6] = [
            ("layers.0.weight", &[7, 11]),
            ("layers.0.bias", &[11]),
            ("layers.1.weight", &[11, 13]),
            ("layers.1.bias", &[13]),
            ("layers.2.weight", &[13, 3]),
            ("layers.2.bias", &[3]),
        ];
        assert_eq!(entries, expected);
        assert_eq!(mlp(Activation::Relu).parameter_count(), 7 * 11 + 11 + 11 * 13 + 13 + 13 * 3 + 3);
        assert_eq!(Layout::new(layout.entries().to_vec()), Ok(layout));
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        let softmax = |inputs, outputs| Architecture::perceptron(inputs, &[], Activation::Relu, outputs);
        assert_eq!(softmax(65_536, 4_095).validate(), Ok(()));
        assert!(matches!(softmax(65_536, 4_096).validate(), Err(ArchitectureError::Parameters(_))));
        assert!(matches!(softmax(65_537, 1).validate(), Err(ArchitectureError::Input(_))));
        assert!(matches!(softmax(1, 0).validate(), Err(ArchitectureError::Layer { index: 0, .. })));
        let deep = |hidden: usize| Architecture::perceptron(1, &vec![1; hidden], Activation::Tanh, 3);
        assert_eq!(deep(31).validate(), Ok(()));
        assert_eq!(deep(32).validate(), Err(ArchitectureError::Layers(65)));
        let wide = Architecture::perceptron(7, &[11, usize::MAX], Activation::Relu, 3);
        let refused = wide.validate().unwrap_err();
        assert!(
            refused.to_string().starts_with("layer 2 (linear): a side of 18446744073709551615"),
            "{refused}"
        );
    }

    fn image() -> Architecture {
        let layers = r#"[
            {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1}, {"kind": "group_norm", "groups": 2},
            {"kind": "relu"}, {"kind": "max_pool", "size": 2},
            {"kind": "conv2d", "channels": 6, "kernel": 3, "stride": 2}, {"kind": "tanh"}, {"kind": "flatten"},
            {"kind": "linear", "width": 5}]"#;
        let input = Shape::Image { channels: 2, height: 9, width: 8 };
        Architecture { input, layers: serde_json::from_str(layers).unwrap() }
    }

    fn text(last: &str) -> Architecture {
        let layers =
            format!(r#"[{{"kind": "embedding", "width": 3}}, {last}, {{"kind": "linear", "width": 2}}]"#);
        let layers = serde_json::from_str(&layers).unwrap();
        Architecture { input: Shape::Tokens { length: 4, vocabulary: 10 }, layers }
    }

    #[test]
    fn shapes_follow_from_layer_to_layer() {
        let image = image();
        image.validate().unwrap();
        let outputs: Vec<usize> = image.stages().map(|stage| stage.output.values()).collect();
        // 9 x 8, halved to 4 x 4, by a kernel of 3 in steps of 2 to 1 x 1.
        assert_eq!(outputs, [4 * 72, 4 * 72, 4 * 72, 4 * 16, 6, 6, 6, 5]);
        let names: Vec<_> =
            image.layout().entries().iter().map(|e| (e.name.clone(), e.shape.clone())).collect();
        assert_eq!(names[0], ("layers.0.weight".into(), vec![4, 2, 3, 3]));
        assert_eq!(names[2], ("layers.1.scale".into(), vec![4]));
        assert_eq!(names[6], ("layers.3.weight".into(), vec![6, 5]));
        assert_eq!(image.outputs(), 5);
        for (last, parameters) in [
            (r#"{"kind": "mean_positions"}"#, 30 + 3 * 2 + 2),
            (r#"{"kind": "rnn", "width": 5}"#, 30 + 8 * 5 + 5 + 5 * 2 + 2),
            (r#"{"kind": "gru", "width": 5}"#, 30 + 3 * (8 * 5 + 5) + 5 * 2 + 2),
        ] {
            let text = text(last);
            text.validate().unwrap();
            assert_eq!(text.parameter_count(), parameters, "{last}");
            assert_eq!(
                Layout::new(text.layout().entries().to_vec()),
                Ok(text.layout()),
                "names are distinct"
            );
        }
    }

    #[test]
    fn what_clipping_could_not_bound_is_refused_with_the_reason_and_the_remedy() {
        for (layer, reason, remedy) in [
            (Layer::BatchNorm {}, "couples the examples", "group_norm"),
            (Layer::Linear { width: 3, tied_to: Some(0) }, "two uses", "leave out tied_to"),
        ] {
            let mut model = mlp(Activation::Relu);
            model.layers.insert(1, layer);
            let refused = model.validate().unwrap_err().to_string();
            assert!(
                refused.starts_with("layer 1 (") && refused.contains(reason) && refused.contains(remedy),
                "{refused}"
            );
        }
    }

    #[test]
    fn layers_that_do_not_fit_are_named() {
        let refusal = |edit: fn(&mut Vec<Layer>)| {
            let mut model = image();
            edit(&mut model.layers);
            model.validate().unwrap_err().to_string()
        };
        assert!(refusal(|l| l.truncate(6)).contains("must give a vector"));
        assert!(
            refusal(|l| {
                l.remove(6);
            })
            .contains("layer 6 (linear): it does not take an image")
        );
        assert!(
            refusal(|l| l[1] = Layer::GroupNorm { groups: 3 }).contains("3 groups do not divide 4 planes")
        );
        assert!(refusal(|l| l[3] = Layer::MaxPool { size: 9 }).contains("layer 3 (max_pool)"));
        assert!(refusal(|l| l[3] = Layer::MaxPool { size: 0 }).contains("layer 3 (max_pool)"));
        assert!(
            refusal(|l| l[0] = Layer::Conv2d { channels: 4, kernel: 11, stride: 1, padding: 0 })
                .contains("larger")
        );
        assert!(
            refusal(|l| l[0] = Layer::Conv2d { channels: 4, kernel: 3, stride: 0, padding: 0 })
                .contains("stride")
        );
        assert!(refusal(|l| l.insert(0, Layer::Embedding { width: 2 })).contains("layer 0 (embedding)"));
    }

    #[test]
    fn weights_have_the_stated_bound_and_variance_and_biases_are_zero() {
        for (activation, variances) in [(Activation::Relu, [2.0, 1.0]), (Activation::Tanh, [1.0, 1.0])] {
            let model = Architecture::perceptron(100, &[200], activation, 150);
            let params = model.initialise(&mut ChaCha20Rng::from_seed([3; 32]));
            let tensors: Vec<_> = params.tensors().collect();
            for (layer, fan_in) in [(0, 100.0f64), (1, 200.0)] {
                let weights = tensors[2 * layer].1;
                let expected = variances[layer] / fan_in;
                let second =
                    weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64;
                let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64;
                // Six standard errors of a uniform's second moment (kurtosis 9/5) and of its mean.
                let n = weights.len() as f64;
                assert!((second / expected - 1.0).abs() < 6.0 * (0.8 / n).sqrt(), "{second} {expected}");
                assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "{mean}");
                assert!(
                    weights.iter().all(|&w| f64::from(w).abs() <= (3.0 * expected).sqrt() * (1.0 + 1e-6))
                );
                assert!(tensors[2 * layer + 1].1.iter().all(|&b| b == 0.0));
            }
        }
    }

    #[test]
    fn initial_weights_follow_the_seed_alone() {
        let draw = |seed| mlp(Activation::Relu).initialise(&mut ChaCha20Rng::from_seed([seed; 32])).digest();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn softmax_regression_starts_from_zeros() {
        let model = Architecture::perceptron(7, &[], Activation::Relu, 3);
        let params = model.initialise(&mut ChaCha20Rng::from_seed([1; 32]));
        assert_eq!(params.values(), vec![0.0; 7 * 3 + 3]);
    }

    #[test]
    fn unknown_fields_and_kinds_are_refused() {
        let json =
            r#"{"input":{"kind":"vector","width":7},"layers":[{"kind":"linear","width":3},{"kind":"relu"}]}"#;
        let read: Architecture = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert!(serde_json::from_str::<Architecture>(&json.replace("relu", "gelu")).is_err());
        assert!(
            serde_json::from_str::<Architecture>(&json.replace(r#""relu""#, r#""relu","slope":1"#)).is_err()
        );
        assert!(serde_json::from_str::<Architecture>(&json.replace("}]}", r#"}],"dropout":0}"#)).is_err());
    }
}
