//! The one name for bytes: a SHA-256 digest.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
///
/// Serialises as 64 lowercase hexadecimal digits in human-readable formats and as 32 raw bytes in binary ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text that is not 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lowercase hexadecimal digits")]
pub struct ParseDigestError;

impl Digest {
    /// Digest of `parts` in the domain named by `label`, such as `folkmoot/v1/plan`.
    ///
    /// The label and every part are prefixed by their length (`u64`, little endian), so that no two lists of
    /// parts share an input, and no two domains a digest.
    pub fn of(label: &str, parts: &[&[u8]]) -> Digest {
        let mut hasher = Hasher::new(label);
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }

    /// Plain SHA-256 of `bytes`, as `sha256sum` prints it: for whole files.
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits: for people, never for decisions.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

/// [`Digest::of`] for parts that are not in memory in one piece.
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new(label: &str) -> Hasher {
        let mut hasher = Hasher(Sha256::new());
        hasher.part(label.as_bytes());
        hasher
    }

    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.begin_part(bytes.len() as u64);
        self.bytes(bytes);
    }

    pub(crate) fn begin_part(&mut self, bytes: u64) {
        self.0.update(bytes.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(ParseDigestError);
        }
        let mut bytes = [0u8; 32];
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(high)? << 4 | nibble(low)?;
        }
        Ok(Digest(bytes))
    }
}

// Lowercase only: one digest, one spelling, or documents could differ in bytes and not in meaning.
fn nibble(digit: u8) -> Result<u8, ParseDigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseDigestError),
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(HexVisitor)
        } else {
            Ok(Digest(<[u8; 32]>::deserialize(deserializer)?))
        }
    }
}

struct HexVisitor;

impl Visitor<'_> for HexVisitor {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ParseDigestError}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_vector() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::sha256(b"abc").to_string(), expected);
        assert_eq!(Digest::sha256(b"abc").short(), "ba7816bf8f01");
        assert_eq!(expected.parse(), Ok(Digest::sha256(b"abc")));
    }

    #[test]
    fn labelled_digest_is_sha256_over_length_prefixed_label_and_parts() {
        let mut input = Vec::new();
        for part in [&b"folkmoot/v1/x"[..], b"ab", b""] {
            input.extend((part.len() as u64).to_le_bytes());
            input.extend(part);
        }
        assert_eq!(Digest::of("folkmoot/v1/x", &[b"ab", b""]), Digest::sha256(&input));
    }

    #[test]
    fn moving_a_byte_between_parts_changes_the_digest() {
        let digests = [
            Digest::of("l", &[b"ab", b"c"]),
            Digest::of("l", &[b"a", b"bc"]),
            Digest::of("l", &[b"abc"]),
            Digest::of("la", &[b"b", b"c"]),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn json_is_lowercase_hex_and_any_other_spelling_is_refused() {
        let digest = Digest::sha256(b"abc");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        for wrong in [json.to_uppercase(), json.replace("ba78", "ba7"), json.replace("ba78", "ba7g")] {
            assert!(serde_json::from_str::<Digest>(&wrong).is_err(), "{wrong}");
        }
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn binary_formats_carry_the_32_bytes() {
        use serde::de::value::{Error, SeqDeserializer};
        struct Binary;
        impl<'de> Deserializer<'de> for Binary {
            type Error = Error;
            fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                visitor.visit_seq(SeqDeserializer::new(0u8..32))
            }
            fn is_human_readable(&self) -> bool {
                false
            }
            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
                unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
            }
        }
        let digest = Digest::deserialize(Binary).unwrap();
        assert_eq!(digest.as_bytes(), &core::array::from_fn(|i| i as u8));
        assert_eq!(digest, Digest::from_bytes(*digest.as_bytes()));
    }
}
