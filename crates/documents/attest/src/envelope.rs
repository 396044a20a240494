//! DSSE: a payload, its type, and one signature over both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::key::{ModelKey, ModelPublicKey};

/// A signed payload. Reading one proves nothing: [`Envelope::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// An envelope that is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON of an envelope, or one with fields that are not known here.
    #[error("the signature file cannot be read as a DSSE envelope; take the published file again")]
    Json(#[source] serde_json::Error),
    /// Base64 of another alphabet, without padding, or with spare bits.
    #[error("`{field}` is not standard base64; take the published file again")]
    Base64 { field: &'static str },
    /// None, or more than one.
    #[error("there are {count} signatures; an envelope of this federation has one")]
    Signatures { count: usize },
    /// A key is named where none is expected.
    #[error("`keyid` is {keyid:?}; an envelope of this federation leaves it empty")]
    KeyId {
        /// What stands there.
        keyid: String,
    },
    /// A payload of another type, whoever signed it.
    #[error("the payload's type is {actual:?}, not {expected:?}: this file signs something else")]
    PayloadType { expected: &'static str, actual: String },
    /// Two raw integers, or anything else that is no DER.
    #[error("the signature is not in ASN.1 DER; sign again with a tool that writes DER, not raw r and s")]
    NotDer,
    /// Another key, or other bytes, than were signed.
    #[error("the signature is not this key's over this payload; check the key, and take the file again")]
    Signature,
}

/// The JSON, in the order in which it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    sig: String,
    // Absent, null and empty mean the same, and every verifier must accept all three.
    #[serde(default)]
    keyid: Option<String>,
}

impl Envelope {
    /// Signs `payload`. The same payload and key give the same envelope.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &ModelKey) -> Envelope {
        let signature = key.sign(&pre_authentication_encoding(payload_type, &payload));
        Envelope { payload_type: payload_type.to_owned(), payload, signature }
    }

    /// The payload, if it is of this type and signed by this key.
    ///
    /// # Errors
    ///
    /// Another type, a signature that is not in DER, or one that does not hold.
    ///
    /// # Security
    ///
    /// ECDSA signatures can be restated (`s` for `n - s`) by anyone, so that the bytes of an envelope name
    /// nothing: only its payload is authenticated.
    pub fn verify(&self, payload_type: &'static str, key: &ModelPublicKey) -> Result<&[u8], EnvelopeError> {
        if self.payload_type != payload_type {
            let actual = self.payload_type.clone();
            return Err(EnvelopeError::PayloadType { expected: payload_type, actual });
        }
        let signed = pre_authentication_encoding(payload_type, &self.payload);
        match key.verifies(&signed, &self.signature) {
            Some(true) => Ok(&self.payload),
            Some(false) => Err(EnvelopeError::Signature),
            None => Err(EnvelopeError::NotDer),
        }
    }

    /// Reads an envelope's own file.
    ///
    /// # Errors
    ///
    /// Anything but the known fields, base64 in its one form, and one signature.
    pub fn from_json(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        let written: Written = serde_json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        Envelope::try_from(written)
    }

    /// The content of an envelope's own file.
    ///
    /// # Errors
    ///
    /// None that is known: serialisation is fallible in its library.
    pub fn to_json(&self) -> Result<Vec<u8>, EnvelopeError> {
        serde_json::to_vec(&Written::from(self)).map_err(EnvelopeError::Json)
    }
}

/// What is signed. Lengths and type come first, so that no two pairs of type and payload share an encoding.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl From<&Envelope> for Written {
    fn from(envelope: &Envelope) -> Written {
        let signature =
            WrittenSignature { sig: STANDARD.encode(&envelope.signature), keyid: Some(String::new()) };
        Written {
            payload: STANDARD.encode(&envelope.payload),
            payload_type: envelope.payload_type.clone(),
            signatures: vec![signature],
        }
    }
}

impl TryFrom<Written> for Envelope {
    type Error = EnvelopeError;

    fn try_from(written: Written) -> Result<Envelope, EnvelopeError> {
        let [signature] = written.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures { count: written.signatures.len() });
        };
        if let Some(keyid) = signature.keyid.clone().filter(|keyid| !keyid.is_empty()) {
            return Err(EnvelopeError::KeyId { keyid });
        }
        Ok(Envelope {
            payload: decoded("payload", &written.payload)?,
            signature: decoded("sig", &signature.sig)?,
            payload_type: written.payload_type,
        })
    }
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::Base64 { field })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    const TYPE: &str = "http://example.com/HelloWorld";

    fn text() -> String {
        String::from_utf8(Envelope::sign(TYPE, b"hello world".to_vec(), &samples::key(1)).to_json().unwrap())
            .unwrap()
    }

    fn refused(text: &str) -> EnvelopeError {
        let read = Envelope::from_json(text.as_bytes());
        let checked = read.and_then(|read| read.verify(TYPE, samples::key(1).public()).map(<[u8]>::to_vec));
        checked.unwrap_err()
    }

    #[test]
    fn the_encoding_is_the_one_of_the_dsse_protocols_example() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pre_authentication_encoding(TYPE, b"hello world"), expected);
    }

    #[test]
    fn lengths_count_bytes_not_characters() {
        assert_eq!(pre_authentication_encoding("é", "ï".as_bytes()), "DSSEv1 2 é 2 ï".as_bytes());
    }

    #[test]
    fn an_envelope_survives_its_file_and_gives_its_payload_to_the_right_key_only() {
        let read = Envelope::from_json(text().as_bytes()).unwrap();
        assert_eq!(read.verify(TYPE, samples::key(1).public()).unwrap(), b"hello world");
        let other = read.verify(TYPE, samples::key(2).public());
        assert!(matches!(other, Err(EnvelopeError::Signature)));
        let another = read.verify("text/plain", samples::key(1).public());
        assert!(matches!(another, Err(EnvelopeError::PayloadType { .. })));
    }

    #[test]
    fn the_type_is_signed_with_the_payload() {
        let renamed = text().replace("HelloWorld", "HelloWorle");
        let read = Envelope::from_json(renamed.as_bytes()).unwrap();
        let result = read.verify("http://example.com/HelloWorle", samples::key(1).public());
        assert!(matches!(result, Err(EnvelopeError::Signature)));
    }

    #[test]
    fn an_absent_null_and_empty_keyid_are_the_same_and_any_other_is_refused() {
        for keyid in ["", ",\"keyid\":null"] {
            let text = text().replace(",\"keyid\":\"\"", keyid);
            assert!(Envelope::from_json(text.as_bytes()).is_ok(), "{text}");
        }
        assert!(matches!(refused(&text().replace("\"\"", "\"a\"")), EnvelopeError::KeyId { .. }));
    }

    #[test]
    fn each_other_form_is_refused_by_name() {
        let text = text();
        assert!(matches!(refused(&text.replacen('{', "{\"x\":1,", 1)), EnvelopeError::Json(_)));
        assert!(matches!(refused(&text.replace("\"sig\"", "\"x\":1,\"sig\"")), EnvelopeError::Json(_)));
        assert!(matches!(refused(&text.replacen('{', "{\"payload\":\"\",", 1)), EnvelopeError::Json(_)));
        let none = format!("{}[]}}", &text[..text.find('[').unwrap()]);
        assert!(matches!(refused(&none), EnvelopeError::Signatures { count: 0 }));
        let twice = text.replace("}]", "},{\"sig\":\"\"}]");
        assert!(matches!(refused(&twice), EnvelopeError::Signatures { count: 2 }));
        // "hello world" ends in one pad character; spare bits and a missing pad are second spellings.
        for (from, to) in [("bGQ=", "bGR="), ("bGQ=", "bGQ"), ("bGQ=", "bG-=")] {
            let bad = text.replace(from, to);
            assert_ne!(bad, text);
            assert!(matches!(refused(&bad), EnvelopeError::Base64 { field: "payload" }), "{to}");
        }
    }

    #[test]
    fn raw_and_malformed_signatures_are_refused_as_no_der() {
        let read = Envelope::from_json(text().as_bytes()).unwrap();
        let raw = p256::ecdsa::Signature::from_der(&read.signature).unwrap().to_bytes().to_vec();
        let trailing = [read.signature.clone(), vec![0]].concat();
        let cut = read.signature[..read.signature.len() - 1].to_vec();
        // Integers of 40 bytes each: longer than any of the curve.
        let number = [&[0x02, 40][..], &[0x11; 40]].concat();
        let long = [&[0x30, 84][..], &number, &number].concat();
        for signature in [raw, trailing, cut, long, vec![]] {
            let bad = Envelope { signature, ..read.clone() };
            let result = bad.verify(TYPE, samples::key(1).public());
            assert!(matches!(result, Err(EnvelopeError::NotDer)), "{bad:?}");
        }
    }

    #[test]
    fn zero_integers_sign_nothing() {
        let read = Envelope::from_json(text().as_bytes()).unwrap();
        let bad = Envelope { signature: vec![0x30, 6, 2, 1, 0, 2, 1, 0], ..read };
        assert!(bad.verify(TYPE, samples::key(1).public()).is_err());
    }
}
