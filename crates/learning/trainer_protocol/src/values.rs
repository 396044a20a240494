//! Numbers as bodies hold them.

use plan::{AnswerValues, TrainerAnswer};
use zeroize::Zeroizing;

use crate::{Frame, FrameFault, Precision, Reply};

/// Before the model in the body of [`crate::Ask::Train`].
pub const SEED_BYTES: usize = 32;

/// The body of [`crate::Ask::Train`].
pub fn body_of_job(seed: &[u8; SEED_BYTES], model: &[f32]) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(SEED_BYTES + size_of_val(model)));
    body.extend_from_slice(seed);
    model.iter().for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
    body
}

/// The seed and the model of a body; `None` of one that is too short or holds no whole number of values.
pub fn job_of_body(body: &[u8]) -> Option<(Zeroizing<[u8; SEED_BYTES]>, Vec<f32>)> {
    let (seed, model) = body.split_first_chunk()?;
    Some((Zeroizing::new(*seed), f32_values(model)?))
}

impl Reply {
    /// The frame of a training's answer.
    ///
    /// # Errors
    /// [`FrameFault::TooLong`].
    pub fn trained(job: u64, answer: &TrainerAnswer) -> Result<Frame, FrameFault> {
        let (precision, body) = match &answer.values {
            AnswerValues::F32(values) => (Precision::F32, f32_body(values)),
            AnswerValues::F64(values) => (Precision::F64, f64_body(values)),
        };
        let TrainerAnswer { rows, within_less_beyond, metrics, .. } = *answer;
        Frame::of(&Self::Trained { job, precision, rows, within_less_beyond, metrics }, &body)
    }

    /// The answer of a training's frame; `None` of another message, and of a body that holds no whole number of values.
    pub fn answer(&self, body: &[u8]) -> Option<TrainerAnswer> {
        let Self::Trained { precision, rows, within_less_beyond, metrics, .. } = *self else { return None };
        let values = match precision {
            Precision::F32 => AnswerValues::F32(f32_values(body)?),
            Precision::F64 => AnswerValues::F64(f64_values(body)?),
        };
        Some(TrainerAnswer { values, rows, within_less_beyond, metrics })
    }
}

/// These values as the body of an answer.
fn f32_body(values: &[f32]) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(size_of_val(values)));
    values.iter().for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
    body
}

/// These values as the body of an answer.
fn f64_body(values: &[f64]) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(size_of_val(values)));
    values.iter().for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
    body
}

/// Of f32, to the last bit; `None` of what is no whole number of them.
fn f32_values(body: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = body.as_chunks();
    rest.is_empty().then(|| values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Of f64, to the last bit; `None` of what is no whole number of them.
fn f64_values(body: &[u8]) -> Option<Vec<f64>> {
    let (values, rest) = body.as_chunks();
    rest.is_empty().then(|| values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_to_the_last_bit(bits in prop::collection::vec(any::<u64>(), 0..20), seed: [u8; 32]) {
            let wide: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            let back = f64_values(&f64_body(&wide)).unwrap();
            prop_assert_eq!(back.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits.clone());
            let narrow: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits as u32)).collect();
            let same = |one: &[f32], other: &[f32]| {
                one.iter().map(|value| value.to_bits()).eq(other.iter().map(|value| value.to_bits()))
            };
            prop_assert!(same(&f32_values(&f32_body(&narrow)).unwrap(), &narrow));
            let (its, model) = job_of_body(&body_of_job(&seed, &narrow)).unwrap();
            prop_assert_eq!(*its, seed);
            prop_assert!(same(&model, &narrow));
        }
    }

    #[test]
    fn a_body_that_is_cut_is_none() {
        assert!(f32_values(&[0; 5]).is_none() && f64_values(&[0; 12]).is_none());
        assert!(job_of_body(&[0; 31]).is_none() && job_of_body(&[0; 34]).is_none());
    }
}
