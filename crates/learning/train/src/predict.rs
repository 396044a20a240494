//! What a model says of rows.

use std::io::Read;

use burn::{Device, Tensor, TensorData};
use datasets::{DatasetError, Unlabelled};
use params::{Architecture, Params};
use plan::{Plan, VALUES_AT_ONCE_MAX};

use crate::TrainError;
use crate::network::{self, Network};

/// A plan's model with its parameters, to be asked about rows.
pub struct Predictor {
    architecture: Architecture,
    network: Network,
    device: Device,
}

/// What a model says of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Of the largest probability; the first of equals.
    pub class: usize,
    /// The softmax of the logits, one a class.
    pub probabilities: Vec<f64>,
}

/// What a model says of a row of a file.
#[derive(Debug)]
pub struct Answer {
    /// The file's line on which the row begins, counted from 1.
    pub line: u64,
    /// An error where the row does not fit the plan.
    pub said: Result<Prediction, DatasetError>,
}

/// Why there are no more answers.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The file cannot be read further.
    #[error(transparent)]
    Rows(#[from] DatasetError),
    /// The rows are another plan's.
    #[error(transparent)]
    Model(#[from] TrainError),
}

impl Predictor {
    /// A model of the plan's layers.
    ///
    /// # Errors
    /// Parameters of other layers, or that are not finite.
    pub fn new(plan: &Plan, model: &Params) -> Result<Self, TrainError> {
        let architecture = crate::architecture_of(plan, model)?;
        let device = network::inference_device();
        let network = Network::load(&architecture, model, &device);
        Ok(Self { architecture, network, device })
    }

    /// Rows that are worth asking about together: what they take in memory as tensors is bounded.
    pub fn rows_at_once(&self) -> usize {
        /// Of a model that is small enough.
        const ROWS_MAX: usize = 1024;
        (VALUES_AT_ONCE_MAX / self.architecture.values_at_once().max(1)).clamp(1, ROWS_MAX)
    }

    /// The logits of rows, whose features are scaled as the plan says.
    ///
    /// # Shapes
    /// `[rows, columns]` to `[rows, outputs]`, both row-major.
    ///
    /// # Errors
    /// Features that are no whole number of rows.
    pub fn logits(&self, features: &[f32]) -> Result<Vec<f32>, TrainError> {
        let columns = self.architecture.input.values();
        let rows = features.len() / columns.max(1);
        if rows * columns != features.len() {
            return Err(TrainError::Columns { columns: features.len(), inputs: columns });
        }
        if rows == 0 {
            return Ok(Vec::new());
        }
        let inputs = Tensor::from_data(TensorData::new(features.to_vec(), [rows, columns]), &self.device);
        network::values(self.network.forward(inputs)?)
    }

    /// What the model says of rows, in their order.
    ///
    /// # Shapes
    /// `[rows, columns]`, row-major.
    ///
    /// # Errors
    /// As [`Predictor::logits`].
    pub fn predict(&self, features: &[f32]) -> Result<Vec<Prediction>, TrainError> {
        let logits = self.logits(features)?;
        Ok(logits.chunks_exact(self.architecture.outputs().max(1)).map(Prediction::of).collect())
    }

    /// What the model says of the next rows of a file, as many as are worth asking about together; nothing at its end.
    ///
    /// # Errors
    /// [`PredictError`]
    pub fn answers<R: Read>(&self, rows: &mut Unlabelled<'_, R>) -> Result<Vec<Answer>, PredictError> {
        let mut read = Vec::new();
        while read.len() < self.rows_at_once()
            && let Some(row) = rows.next_row()?
        {
            read.push(row);
        }
        let features: Vec<&[f32]> = read.iter().filter_map(|row| row.features.as_deref().ok()).collect();
        let mut said = self.predict(&features.concat())?.into_iter();
        let mut answers = Vec::with_capacity(read.len());
        for row in read {
            let said = match row.features {
                Err(why) => Err(why),
                // As many as there are rows that fit.
                Ok(_) => Ok(said.next().ok_or(TrainError::Layout)?),
            };
            answers.push(Answer { line: row.line, said });
        }
        Ok(answers)
    }
}

impl Prediction {
    fn of(logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let class = logits.iter().position(|logit| *logit == largest).unwrap_or(0);
        let weights: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        Self { class, probabilities: weights.iter().map(|weight| weight / sum).collect() }
    }
}

#[cfg(test)]
mod tests {
    use params::Activation;

    use super::*;

    #[test]
    fn probabilities_are_the_softmax_however_large_the_logits_and_the_first_of_equals_is_the_class() {
        let of = Prediction::of(&[1000.0, 1000.0, 999.0]);
        let weight = (-1.0f64).exp();
        assert_eq!(of.class, 0);
        for (found, expected) in of.probabilities.iter().zip([1.0, 1.0, weight]) {
            assert!((found - expected / (2.0 + weight)).abs() < 1e-12, "{of:?}");
        }
    }

    #[test]
    fn a_softmax_regression_says_what_its_weights_say_and_takes_whole_rows_of_its_own_model() {
        let plan = crate::tests::plan(vec![], Activation::Relu, 2, 2);
        let layout = plan.architecture().layout();
        // Weights [in, out], then biases.
        let model = Params::new(layout, vec![1.0, 2.0, -3.0, 0.5, 0.25, -0.25]).unwrap();
        let predictor = Predictor::new(&plan, &model).unwrap();
        let rows = [0.5, 1.0, -1.0, 0.0];
        let logits = predictor.logits(&rows).unwrap();
        assert_eq!(logits, [0.5 - 3.0 + 0.25, 1.0 + 0.5 - 0.25, -1.0 + 0.25, -2.0 - 0.25]);
        let said = predictor.predict(&rows).unwrap();
        assert_eq!(said.iter().map(|prediction| prediction.class).collect::<Vec<_>>(), [1, 0]);
        let sure = 1.0 / (1.0 + (-3.5f64).exp());
        assert!((said[0].probabilities[1] - sure).abs() < 1e-12, "{said:?}");
        assert!(matches!(predictor.logits(&rows[..3]), Err(TrainError::Columns { .. })));
        assert_eq!(predictor.predict(&[]).unwrap(), []);
        let other = crate::tests::plan(vec![3], Activation::Relu, 2, 2);
        assert!(matches!(Predictor::new(&other, &model), Err(TrainError::Layout)));
    }
}
