//! The models that plans declare, as burn tensors.

use burn::tensor::activation::{log_softmax, relu, tanh};
use burn::tensor::{Device, Tensor, TensorData};
use params::{Activation, Architecture, Params};

use crate::TrainError;

/// Weights `[in, out]` and biases `[1, out]` of each layer.
pub(crate) struct Network {
    layers: Vec<(Tensor<2>, Tensor<2>)>,
    activation: Activation,
}

/// A forward pass that can be taken apart by example.
pub(crate) struct Tapped {
    pub(crate) logits: Tensor<2>,
    /// Input of each layer, `[rows, in]`.
    pub(crate) inputs: Vec<Tensor<2>>,
    /// A zero leaf added to each layer's output, `[rows, out]`: its gradient is that output's.
    pub(crate) taps: Vec<Tensor<2>>,
}

/// Without gradients.
pub(crate) fn inference_device() -> Device {
    Device::flex()
}

/// With gradients.
pub(crate) fn training_device() -> Device {
    Device::flex().autodiff()
}

impl Network {
    /// The parameters on a device, without gradients of their own.
    pub(crate) fn load(architecture: &Architecture, params: &Params, device: &Device) -> Self {
        let mut tensors = params.tensors();
        let mut layers = Vec::new();
        while let (Some((entry, weight)), Some((_, bias))) = (tensors.next(), tensors.next()) {
            let [rows, columns] = match entry.shape.as_slice() {
                [rows, columns] => [*rows, *columns],
                _ => [weight.len(), 1],
            };
            layers.push((
                Tensor::from_data(TensorData::new(weight.to_vec(), [rows, columns]), device),
                Tensor::from_data(TensorData::new(bias.to_vec(), [1, columns]), device),
            ));
        }
        Self { layers, activation: architecture.activation }
    }

    /// The same, with every parameter a leaf that gradients are kept of.
    pub(crate) fn require_grad(self) -> Self {
        let layers = self.layers.into_iter();
        Self {
            layers: layers.map(|(weight, bias)| (weight.require_grad(), bias.require_grad())).collect(),
            activation: self.activation,
        }
    }

    /// Logits, `[rows, outputs]`.
    pub(crate) fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let mut values = inputs;
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            values = values.matmul(weight.clone()) + bias.clone();
            if index + 1 < self.layers.len() {
                values = self.activate(values);
            }
        }
        values
    }

    /// The same, tapped.
    pub(crate) fn forward_tapped(&self, inputs: Tensor<2>, device: &Device) -> Tapped {
        let mut tapped = Tapped { logits: inputs, inputs: Vec::new(), taps: Vec::new() };
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            let input = tapped.logits;
            tapped.inputs.push(input.clone());
            let output = input.matmul(weight.clone()) + bias.clone();
            // A leaf of its own: asking for the gradient of a computed tensor is refused.
            let tap = Tensor::zeros(output.dims(), device).require_grad();
            tapped.taps.push(tap.clone());
            let output = output + tap;
            tapped.logits = if index + 1 < self.layers.len() { self.activate(output) } else { output };
        }
        tapped
    }

    /// Every parameter tensor in the order of the layout: weight, bias, weight, …
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Tensor<2>> {
        self.layers.iter().flat_map(|(weight, bias)| [weight, bias])
    }

    fn activate(&self, values: Tensor<2>) -> Tensor<2> {
        match self.activation {
            Activation::Relu => relu(values),
            Activation::Tanh => tanh(values),
        }
    }
}

/// The sum of the rows' cross-entropies.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum()
}

/// A tensor's values, row-major.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    tensor.into_data().try_into_vec::<f32>().map_err(|why| TrainError::Tensor(format!("{why:?}")))
}
