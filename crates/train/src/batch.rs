//! Rows as tensors.

use burn::tensor::{Device, Tensor, TensorData};
use datasets::Dataset;

/// Some rows, padded with zero-weight ones to a fixed number.
pub(crate) struct Batch {
    features: Vec<f32>,
    targets: Vec<f32>,
    rows: usize,
    columns: usize,
    outputs: usize,
}

impl Batch {
    /// The rows of `data` at `indices`, and zero rows behind them up to `rows`.
    ///
    /// A padded row has no target: its cross-entropy is zero and so is its gradient, exactly. So has a row that does not fit.
    pub(crate) fn gather(data: &Dataset, indices: &[usize], rows: usize, outputs: usize) -> Self {
        let columns = data.columns();
        let mut features = Vec::with_capacity(rows * columns);
        let mut targets = vec![0.0; rows * outputs];
        for (place, index) in indices.iter().enumerate() {
            features.extend_from_slice(data.row(*index));
            let label = data.labels().get(*index).copied().map_or(0, usize::from);
            let own = targets.get_mut(place * outputs..).unwrap_or_default();
            if let Some(target) = own.get_mut(..outputs).and_then(|own| own.get_mut(label)) {
                *target = 1.0;
            }
        }
        features.resize(rows * columns, 0.0);
        Self { features, targets, rows, columns, outputs }
    }

    /// `[rows, columns]`
    pub(crate) fn inputs(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.features.clone(), [self.rows, self.columns]), device)
    }

    /// One-hot, `[rows, outputs]`
    pub(crate) fn targets(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.targets.clone(), [self.rows, self.outputs]), device)
    }
}
