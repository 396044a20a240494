//! The model file: safetensors, written canonically and read strictly.
//!
//! The header is written here and not by the `safetensors` crate, whose metadata is a hash map: its order,
//! and with it the digest of the file, would change from run to run.

use std::collections::BTreeMap;
use std::fmt;

use params::{Digest, Layout, LayoutEntry, LayoutError, Params};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Largest header accepted.
///
/// # Units
///
/// Bytes.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

const METADATA: &str = "__metadata__";
const ALIGNMENT: usize = 8;

/// Bytes that are no model file, or one of another model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Shorter than its header says, or a header over the limit.
    #[error("the safetensors header is cut short or above {HEADER_BYTES_MAX} bytes")]
    HeaderLength,
    /// A header that is not the JSON it should be, or repeats a key.
    #[error("the safetensors header cannot be read")]
    Header(#[source] serde_json::Error),
    /// A tensor of another type.
    #[error("tensor `{name}` is {dtype}; only F32 is accepted")]
    Dtype { name: String, dtype: String },
    /// Data that overlap, leave a hole, or do not fit the shape.
    #[error("the data of tensor `{0}` overlap others, leave a hole, or do not fit its shape")]
    Offsets(String),
    /// Data after the last tensor, or missing before it.
    #[error("the tensors take {expected} bytes, and the file holds {actual}")]
    DataLength {
        /// Bytes the header announces.
        expected: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// A tensor that the layout has and the file has not, or the reverse.
    #[error("tensor `{0}` is in only one of the file and the run's model")]
    Name(String),
    /// A tensor with another shape.
    #[error("tensor `{name}` has shape {actual:?}; the run's model has {expected:?}")]
    Shape {
        name: String,
        /// In the layout.
        expected: Vec<usize>,
        /// In the file.
        actual: Vec<usize>,
    },
    /// Names or shapes that form no layout.
    #[error("the tensors do not form a model")]
    Layout(#[source] LayoutError),
}

/// The metadata that a published model carries.
pub fn model_metadata(run_id: &Digest, round: u64) -> BTreeMap<String, String> {
    let pairs =
        [("format", "folkmoot-model/1".into()), ("run_id", run_id.to_string()), ("round", round.to_string())];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The model as a safetensors file: equal parameters and metadata give equal bytes.
///
/// Metadata first, in order of keys; then tensors in layout order; the header is padded with spaces so that
/// the data begin at a multiple of 8.
pub fn model_bytes(params: &Params, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let pairs: Vec<String> =
        metadata.iter().map(|(key, value)| format!("{}:{}", json(key), json(value))).collect();
    let mut header = format!("{{{}:{{{}}}", json(METADATA), pairs.join(","));
    for (LayoutEntry { name, shape }, lanes) in params.layout().ranges() {
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let (shape, start, end) = (shape.join(","), 4 * lanes.start, 4 * lanes.end);
        header +=
            &format!(r#",{}:{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}"#, json(name));
    }
    header.push('}');
    let padded = header.len().next_multiple_of(ALIGNMENT);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));

    let mut bytes = Vec::with_capacity(8 + padded + 4 * params.values().len());
    bytes.extend((padded as u64).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(params.values().iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Reads the parameters of a model with this layout.
///
/// The data may lie in any order in the file; metadata are checked for form only.
///
/// # Errors
///
/// A header above [`HEADER_BYTES_MAX`] or with a repeated key, data with holes, overlaps or left over, a
/// tensor that is not F32, or names and shapes other than the layout's.
pub fn read_model(bytes: &[u8], layout: &Layout) -> Result<Params, ModelError> {
    let (tensors, data) = tensors_of(bytes)?;
    let names = || layout.entries().iter().map(|entry| entry.name.as_str());
    if let Some(extra) = tensors.keys().find(|name| !names().any(|known| known == name.as_str())) {
        return Err(ModelError::Name(extra.clone()));
    }
    let mut values = Vec::with_capacity(data.len() / 4);
    for LayoutEntry { name, shape } in layout.entries() {
        let tensor = tensors.get(name).ok_or_else(|| ModelError::Name(name.clone()))?;
        if &tensor.shape != shape {
            let (expected, actual) = (shape.clone(), tensor.shape.clone());
            return Err(ModelError::Shape { name: name.clone(), expected, actual });
        }
        let (start, end) = tensor.data_offsets;
        let (lanes, _) =
            data.get(start..end).ok_or_else(|| ModelError::Offsets(name.clone()))?.as_chunks::<4>();
        values.extend(lanes.iter().map(|lane| f32::from_le_bytes(*lane)));
    }
    let actual = 4 * values.len();
    Params::new(layout.clone(), values)
        .map_err(|_| ModelError::DataLength { expected: 4 * layout.len(), actual })
}

/// The layout of a model file, for whoever has no plan at hand: tensors in the order of their data.
///
/// # Errors
///
/// As [`read_model`], but for names and shapes, which are taken as they are.
pub fn read_layout(bytes: &[u8]) -> Result<Layout, ModelError> {
    let (tensors, _) = tensors_of(bytes)?;
    let mut tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let entries = tensors.into_iter().map(|(name, tensor)| LayoutEntry { name, shape: tensor.shape });
    Layout::new(entries.collect()).map_err(ModelError::Layout)
}

/// The tensors, which tile the data exactly, and the data.
fn tensors_of(bytes: &[u8]) -> Result<(BTreeMap<String, Tensor>, &[u8]), ModelError> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(ModelError::HeaderLength)?;
    let length =
        usize::try_from(u64::from_le_bytes(*length)).ok().filter(|&length| length <= HEADER_BYTES_MAX);
    let (header, data) = length.and_then(|n| rest.split_at_checked(n)).ok_or(ModelError::HeaderLength)?;
    let Header { tensors } = serde_json::from_slice(header).map_err(ModelError::Header)?;

    let mut by_offset: Vec<(&String, &Tensor)> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut expected = 0;
    for (name, Tensor { dtype, shape, data_offsets: (start, end) }) in by_offset {
        if dtype != "F32" {
            return Err(ModelError::Dtype { name: name.clone(), dtype: dtype.clone() });
        }
        let size = shape.iter().try_fold(4usize, |size, &dimension| size.checked_mul(dimension));
        if *start != expected || size.and_then(|size| start.checked_add(size)) != Some(*end) {
            return Err(ModelError::Offsets(name.clone()));
        }
        expected = *end;
    }
    match data.len() {
        actual if actual != expected => Err(ModelError::DataLength { expected, actual }),
        _ => Ok((tensors, data)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

#[derive(Debug)]
struct Header {
    tensors: BTreeMap<String, Tensor>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = BTreeMap::new();
        let mut metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            let repeated = if name == METADATA {
                map.next_value::<Metadata>()?;
                std::mem::replace(&mut metadata, true)
            } else {
                tensors.insert(name.clone(), map.next_value::<Tensor>()?).is_some()
            };
            if repeated {
                return Err(de::Error::custom(format_args!("key `{name}` is used twice")));
            }
        }
        Ok(Header { tensors })
    }
}

/// Strings to strings, each key once.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut keys = std::collections::BTreeSet::new();
        while let Some((key, _)) = map.next_entry::<String, String>()? {
            if !keys.insert(key) {
                return Err(de::Error::custom("a metadata key is used twice"));
            }
        }
        Ok(Metadata)
    }
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype, TensorView, serialize};

    use super::*;
    use crate::samples;

    fn written() -> Vec<u8> {
        model_bytes(&samples::params(1.0), &model_metadata(&Digest::sha256(b"run"), 3))
    }

    /// The written file with a changed header, its length corrected.
    fn edited(edit: impl Fn(&str) -> String) -> Vec<u8> {
        let bytes = written();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = edit(std::str::from_utf8(&bytes[8..8 + length]).unwrap());
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
    }

    fn refusal(bytes: &[u8]) -> ModelError {
        read_model(bytes, samples::params(0.0).layout()).unwrap_err()
    }

    #[test]
    fn bytes_of_a_model_never_change() {
        // A golden value: changing it breaks every chain already published.
        let header = r#"{"__metadata__":{"format":"folkmoot-model/1","round":"3","run_id":"RUN"},"layers.0.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"layers.0.bias":{"dtype":"F32","shape":[3],"data_offsets":[24,36]}}"#;
        let header = header.replace("RUN", &Digest::sha256(b"run").to_string());
        let bytes = written();
        let text = std::str::from_utf8(&bytes[8..8 + header.len().next_multiple_of(8)]).unwrap();
        assert_eq!(text.trim_end(), header);
        let data: Vec<u8> = samples::params(1.0).values().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(bytes.len(), 8 + text.len() + data.len());
        assert!(bytes.ends_with(&data));
    }

    #[test]
    fn the_safetensors_crate_reads_what_is_written_here() {
        let bytes = written();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let bias = read.tensor("layers.0.bias").unwrap();
        assert_eq!((bias.dtype(), bias.shape()), (Dtype::F32, &[3][..]));
        let expected: Vec<u8> =
            samples::params(1.0).values()[6..].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(bias.data(), expected);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["round"], "3");
    }

    #[test]
    fn what_the_safetensors_crate_writes_is_read_here_in_layout_order() {
        let params = samples::params(1.0);
        let data: Vec<u8> = params.values().iter().flat_map(|v| v.to_le_bytes()).collect();
        let views = params.layout().ranges().map(|(entry, lanes)| {
            let data = &data[4 * lanes.start..4 * lanes.end];
            (entry.name.clone(), TensorView::new(Dtype::F32, entry.shape.clone(), data).unwrap())
        });
        let bytes = serialize(views, None).unwrap();
        assert_eq!(read_model(&bytes, params.layout()).unwrap(), params);
    }

    #[test]
    fn layout_is_read_back_in_its_order() {
        assert_eq!(&read_layout(&written()).unwrap(), samples::params(0.0).layout());
    }

    #[test]
    fn every_cut_and_any_addition_is_refused() {
        let bytes = written();
        for cut in 0..bytes.len() {
            refusal(&bytes[..cut]);
        }
        refusal(&[&bytes[..], &[0]].concat());
    }

    #[test]
    fn a_header_above_the_limit_is_refused_before_it_is_read() {
        let header = " ".repeat(HEADER_BYTES_MAX + 8);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        assert!(matches!(refusal(&bytes), ModelError::HeaderLength));
        assert!(matches!(refusal(&[0xff; 16]), ModelError::HeaderLength));
    }

    #[test]
    fn repeated_keys_are_refused_wherever_they_stand() {
        let tensor = |h: &str| h.replace("layers.0.bias", "layers.0.weight");
        let metadata = |h: &str| h.replace("\"round\"", "\"format\"");
        let table = |h: &str| h.replacen('{', r#"{"__metadata__":{},"#, 1);
        let field = |h: &str| h.replacen("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\"", 1);
        for bytes in [edited(tensor), edited(metadata), edited(table), edited(field)] {
            assert!(matches!(refusal(&bytes), ModelError::Header(_)));
        }
    }

    #[test]
    fn overlaps_holes_and_sizes_that_do_not_fit_are_refused() {
        for (from, to) in
            [("[24,36]", "[20,32]"), ("[24,36]", "[28,40]"), ("[24,36]", "[24,40]"), ("[24,36]", "[36,24]")]
        {
            assert!(matches!(refusal(&edited(|h| h.replace(from, to))), ModelError::Offsets(_)), "{to}");
        }
        let huge = edited(|h| h.replace("[2,3]", &format!("[{},3]", usize::MAX / 2)));
        assert!(matches!(refusal(&huge), ModelError::Offsets(_)));
    }

    #[test]
    fn other_types_names_and_shapes_are_refused() {
        assert!(matches!(refusal(&edited(|h| h.replacen("F32", "I32", 1))), ModelError::Dtype { .. }));
        assert!(matches!(refusal(&edited(|h| h.replace(".bias", ".bios"))), ModelError::Name(_)));
        assert!(matches!(refusal(&edited(|h| h.replace("[2,3]", "[3,2]"))), ModelError::Shape { .. }));
    }

    proptest! {
        #[test]
        fn every_model_survives_its_file_bit_for_bit(bits in prop::array::uniform9(any::<u32>())) {
            let layout = samples::params(0.0).layout().clone();
            let params = Params::new(layout.clone(), bits.map(f32::from_bits).to_vec()).unwrap();
            let read = read_model(&model_bytes(&params, &BTreeMap::new()), &layout).unwrap();
            prop_assert_eq!(read.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits.to_vec());
        }
    }
}
