//! Between the generated messages and the plain types of the protocol.
//!
//! To the wire is `From`, and cannot fail. From the wire is `TryFrom`, and checks everything that a type of
//! the protocol promises by its shape: presence, lengths, counts, enumerations. What needs a key or the state
//! of a round to be judged is judged by whoever owns that.

mod aggregation;
mod documents;
mod outcome;
mod published;
mod session;

pub use published::{CheckpointRecord, ModelHeader};
pub use session::{run_bytes, run_named, said_in};

use params::Digest;
use secagg::ClientId;

use crate::limits;

/// A message that does not convert: which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct ConversionError {
    /// The field's path from the outermost message, such as `deliver.delivery.shares[3].sealed`.
    pub field: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It must be there.
    #[error("missing")]
    Missing,
    /// Its length is fixed.
    #[error("{got} bytes instead of {need}")]
    Length { got: usize, need: usize },
    /// It is longer than its limit.
    #[error("{got} {unit}, at most {max} are allowed")]
    TooMany { got: u64, max: u64, unit: &'static str },
    /// It must be at least one.
    #[error("zero")]
    Zero,
    /// Its number is not one of the enumeration.
    #[error("{0} is not a known value")]
    Unknown(i32),
    /// It is no digest in text.
    #[error("no digest of 64 hexadecimal digits")]
    NoDigest,
    #[error("no level of a sandbox")]
    NoSandboxLevel,
    /// The message is one that belongs elsewhere in a session.
    #[error("not expected at this point of a session")]
    Unexpected,
}

impl ConversionError {
    pub(crate) fn new(field: &str, fault: Fault) -> Self {
        Self { field: field.to_owned(), fault }
    }

    fn within(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

/// A nested message that must be there, converted.
fn required<W, T>(field: &str, message: Option<W>) -> Result<T, ConversionError>
where
    T: TryFrom<W, Error = ConversionError>,
{
    let message = message.ok_or_else(|| ConversionError::new(field, Fault::Missing))?;
    T::try_from(message).map_err(|e| e.within(field))
}

/// A list of nested messages, converted; counted before anything is allocated for them.
fn list<W, T>(field: &str, messages: Vec<W>, max: usize) -> Result<Vec<T>, ConversionError>
where
    T: TryFrom<W, Error = ConversionError>,
{
    at_most(field, messages.len() as u64, max as u64, "entries")?;
    messages
        .into_iter()
        .enumerate()
        .map(|(i, message)| T::try_from(message).map_err(|e| e.within(&format!("{field}[{i}]"))))
        .collect()
}

fn clients(field: &str, ids: Vec<u32>) -> Result<Vec<ClientId>, ConversionError> {
    at_most(field, ids.len() as u64, limits::COHORT_MAX as u64, "entries")?;
    Ok(ids.into_iter().map(ClientId).collect())
}

pub(crate) fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], ConversionError> {
    bytes.try_into().map_err(|_| ConversionError::new(field, Fault::Length { got: bytes.len(), need: N }))
}

pub(crate) fn digest(field: &str, bytes: &[u8]) -> Result<Digest, ConversionError> {
    fixed(field, bytes).map(Digest::from_bytes)
}

fn bounded(field: &str, bytes: Vec<u8>, max: usize) -> Result<Vec<u8>, ConversionError> {
    at_most(field, bytes.len() as u64, max as u64, "bytes")?;
    Ok(bytes)
}

fn text(field: &str, text: String) -> Result<String, ConversionError> {
    text_at_most(field, text, limits::TEXT_BYTES_MAX)
}

fn text_at_most(field: &str, text: String, max: usize) -> Result<String, ConversionError> {
    at_most(field, text.len() as u64, max as u64, "bytes")?;
    Ok(text)
}

fn size(field: &str, value: u64) -> Result<usize, ConversionError> {
    let max = usize::MAX as u64;
    usize::try_from(value)
        .map_err(|_| ConversionError::new(field, Fault::TooMany { got: value, max, unit: "entries" }))
}

pub(crate) fn at_most(field: &str, got: u64, max: u64, unit: &'static str) -> Result<(), ConversionError> {
    if got > max { Err(ConversionError::new(field, Fault::TooMany { got, max, unit })) } else { Ok(()) }
}

/// A sentence cut to what a receiver takes: one that says too much must not cost the whole message.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests;
