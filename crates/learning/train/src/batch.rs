//! Rows as tensors.

use burn::{Device, Tensor, TensorData};
use datasets::Dataset;
use plan::Data;

use crate::TrainError;

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
    /// A row's target is its class, as often as the plan's rows of that class count: its cross-entropy and its gradient are so many times
    /// what they are. A padded row has no target: both are zero, exactly. So has a row that does not fit.
    ///
    /// # Errors
    /// [`TrainError`] for a row that is not there or a label without an output: every later row would slide against its
    /// label.
    pub(crate) fn gather(
        data: &Dataset,
        asked: &Data,
        indices: &[usize],
        rows: usize,
        outputs: usize,
    ) -> Result<Self, TrainError> {
        let columns = data.columns();
        let mut features = Vec::with_capacity(rows * columns);
        let mut targets = vec![0.0; rows * outputs];
        for (place, index) in indices.iter().enumerate() {
            let (Some(row), Some(label)) = (data.row(*index), data.labels().get(*index)) else {
                return Err(TrainError::Row { row: *index, rows: data.rows() });
            };
            features.extend_from_slice(row);
            let own = targets.chunks_exact_mut(outputs.max(1)).nth(place);
            let own = own.ok_or(TrainError::Row { row: place, rows })?;
            if data.fits(*index) {
                let class = usize::from(*label);
                let target = own.get_mut(class).ok_or(TrainError::Classes { outputs })?;
                *target = asked.class_weight(class) as f32;
            }
        }
        features.resize(rows * columns, 0.0);
        Ok(Self { features, targets, rows, columns, outputs })
    }

    /// Shaped `[rows, columns]`.
    pub(crate) fn inputs(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.features.clone(), [self.rows, self.columns]), device)
    }

    /// One-hot, times the weights of classes, `[rows, outputs]`
    pub(crate) fn targets(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.targets.clone(), [self.rows, self.outputs]), device)
    }
}
