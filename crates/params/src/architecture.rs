//! Which model a plan asks for, and its initial weights.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::layout::{Entry, Layout};
use crate::values::Params;

const WIDTH_MAX: usize = 65_536;
const HIDDEN_LAYERS_MAX: usize = 16;
const PARAMETERS_MAX: usize = 1 << 28;

/// The nonlinearity after each hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// A classifier: softmax regression without hidden layers, a multilayer perceptron with them.
///
/// # Shapes
///
/// `layers.<i>.weight` is `[in, out]`, row-major; `layers.<i>.bias` is `[out]`; weight before bias, layer by
/// layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Features of one example.
    pub inputs: usize,
    /// Widths of the hidden layers, first to last.
    pub hidden: Vec<usize>,
    /// After each hidden layer; without effect when there is none.
    pub activation: Activation,
    /// Classes.
    pub outputs: usize,
}

/// An architecture out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchitectureError {
    /// A width of zero, or above the limit.
    #[error("`{which}` is {width}, and must be from 1 to {WIDTH_MAX}")]
    Width {
        /// The field, such as `hidden[1]`.
        which: String,
        /// Its value.
        width: usize,
    },
    /// Too many hidden layers.
    #[error("`hidden` lists {0} layers, and may list {HIDDEN_LAYERS_MAX} at most")]
    HiddenLayers(usize),
    /// Too many parameters in all.
    #[error("the model has {0} parameters, and may have {PARAMETERS_MAX} at most: narrow its layers")]
    Parameters(usize),
}

impl Architecture {
    /// Checks the bounds; everything else here expects them to hold.
    ///
    /// # Errors
    ///
    /// The first width, depth or size out of bounds.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        // Depth first: the size below is only summed over a bounded number of layers.
        if self.hidden.len() > HIDDEN_LAYERS_MAX {
            return Err(ArchitectureError::HiddenLayers(self.hidden.len()));
        }
        let hidden = self.hidden.iter().enumerate().map(|(i, &width)| (format!("hidden[{i}]"), width));
        let ends = [("inputs".to_owned(), self.inputs), ("outputs".to_owned(), self.outputs)];
        for (which, width) in ends.into_iter().chain(hidden) {
            if !(1..=WIDTH_MAX).contains(&width) {
                return Err(ArchitectureError::Width { which, width });
            }
        }
        match self.parameter_count() {
            count if count > PARAMETERS_MAX => Err(ArchitectureError::Parameters(count)),
            _ => Ok(()),
        }
    }

    /// The model's tensors.
    pub fn layout(&self) -> Layout {
        let layers = self.layer_widths().enumerate();
        Layout::from_distinct(
            layers
                .flat_map(|(i, (fan_in, fan_out))| {
                    [
                        Entry { name: format!("layers.{i}.weight"), shape: vec![fan_in, fan_out] },
                        Entry { name: format!("layers.{i}.bias"), shape: vec![fan_out] },
                    ]
                })
                .collect(),
        )
    }

    /// Number of parameters: the layout's lanes.
    pub fn parameter_count(&self) -> usize {
        self.layout().len()
    }

    /// Initial parameters drawn from `rng`: the same generator state gives the same bits everywhere.
    ///
    /// Weights are uniform, with He's bound before a ReLU and LeCun's before a tanh or the output; biases are
    /// zero. Softmax regression is convex, so it starts from zeros and draws nothing.
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
        if self.hidden.is_empty() {
            return Params::zeros(layout);
        }
        let mut values = Vec::with_capacity(layout.len());
        for (i, (fan_in, fan_out)) in self.layer_widths().enumerate() {
            let feeds_relu = i < self.hidden.len() && self.activation == Activation::Relu;
            let variance = if feeds_relu { 2.0 } else { 1.0 } / fan_in as f32;
            let bound = (3.0 * variance).sqrt();
            let weights = fan_in.saturating_mul(fan_out);
            values.extend((0..weights).map(|_| bound * symmetric_uniform(rng)));
            values.extend(std::iter::repeat_n(0.0, fan_out));
        }
        Params::from_matching(layout, values)
    }

    fn layer_widths(&self) -> impl Iterator<Item = (usize, usize)> {
        let fan_in = std::iter::once(self.inputs).chain(self.hidden.iter().copied());
        let fan_out = self.hidden.iter().copied().chain(std::iter::once(self.outputs));
        fan_in.zip(fan_out)
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
        Architecture { inputs: 7, hidden: vec![11, 13], activation, outputs: 3 }
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
        let softmax =
            |inputs, outputs| Architecture { inputs, outputs, hidden: vec![], ..mlp(Activation::Relu) };
        assert_eq!(softmax(65_536, 4_095).validate(), Ok(()));
        assert!(matches!(softmax(65_536, 4_096).validate(), Err(ArchitectureError::Parameters(_))));
        assert!(matches!(softmax(65_537, 1).validate(), Err(ArchitectureError::Width { .. })));
        assert!(matches!(softmax(1, 0).validate(), Err(ArchitectureError::Width { .. })));
        let deep = |layers| Architecture { hidden: vec![1; layers], ..mlp(Activation::Tanh) };
        assert_eq!(deep(16).validate(), Ok(()));
        assert_eq!(deep(17).validate(), Err(ArchitectureError::HiddenLayers(17)));
        let mut wide = mlp(Activation::Relu);
        wide.hidden[1] = 0;
        assert_eq!(wide.validate(), Err(ArchitectureError::Width { which: "hidden[1]".into(), width: 0 }));
        wide.hidden[1] = usize::MAX;
        assert!(wide.validate().is_err());
        assert_eq!(wide.parameter_count(), usize::MAX);
    }

    #[test]
    fn weights_have_the_stated_bound_and_variance_and_biases_are_zero() {
        for (activation, variances) in [(Activation::Relu, [2.0, 1.0]), (Activation::Tanh, [1.0, 1.0])] {
            let model = Architecture { inputs: 100, hidden: vec![200], activation, outputs: 150 };
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
        let model = Architecture { hidden: vec![], ..mlp(Activation::Relu) };
        let params = model.initialise(&mut ChaCha20Rng::from_seed([1; 32]));
        assert_eq!(params.values(), vec![0.0; 7 * 3 + 3]);
    }

    #[test]
    fn unknown_fields_and_activations_are_refused() {
        let json = r#"{"inputs":7,"hidden":[11,13],"activation":"relu","outputs":3}"#;
        assert_eq!(serde_json::from_str::<Architecture>(json).unwrap(), mlp(Activation::Relu));
        assert_eq!(serde_json::to_string(&mlp(Activation::Relu)).unwrap(), json);
        assert!(serde_json::from_str::<Architecture>(&json.replace("relu", "gelu")).is_err());
        assert!(serde_json::from_str::<Architecture>(&json.replace("}", r#","dropout":0}"#)).is_err());
    }
}
