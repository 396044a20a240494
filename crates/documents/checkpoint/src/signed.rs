//! A manifest with the coordinator's signature.

use ed25519_dalek::{Signature, Signer, SigningKey};
use params::Digest;
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, ManifestError, public_key_text};

const SIGNATURE_LABEL: &[u8] = b"folkmoot/v1/sig/checkpoint\0";

/// The exact bytes of a manifest, and the signature over them.
///
/// Reading one from outside proves nothing: [`SignedManifest::verify_strict`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The content of `manifest.json`.
    pub manifest_bytes: Vec<u8>,
    /// The content of `manifest.sig`.
    #[serde(with = "signature_bytes")]
    pub signature: [u8; 64],
}

/// A manifest whose signature is refused, or that cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The manifest itself is refused.
    #[error("there is no manifest to verify or sign")]
    Manifest(#[from] ManifestError),
    /// Another key, or other bytes, than were signed.
    #[error("the signature is not the coordinator's over these bytes")]
    Signature,
    /// The manifest names another key than the one to sign with.
    #[error("the manifest's `public_key` is not the key it would be signed with")]
    OtherKey,
}

impl SignedManifest {
    /// Signs a manifest that names this key.
    ///
    /// # Errors
    ///
    /// A manifest against the rules, or with another `public_key`.
    pub fn sign(manifest: &Manifest, key: &SigningKey) -> Result<SignedManifest, SignatureError> {
        if manifest.public_key != public_key_text(&key.verifying_key()) {
            return Err(SignatureError::OtherKey);
        }
        let manifest_bytes = manifest.to_bytes()?;
        let signature = key.sign(&signing_input(&manifest_bytes)).to_bytes();
        Ok(SignedManifest { manifest_bytes, signature })
    }

    /// The manifest, if it is canonical and signed by the key that it names.
    ///
    /// Whether that key is the right one is [`ChainVerifier`](crate::ChainVerifier)'s to say.
    ///
    /// # Errors
    ///
    /// A manifest that cannot be read, or a signature that does not hold.
    ///
    /// # Security
    ///
    /// Strict verification: no small-order keys, no malleable signatures.
    pub fn verify_strict(&self) -> Result<Manifest, SignatureError> {
        let manifest = Manifest::from_bytes(&self.manifest_bytes)?;
        let key = manifest.verifying_key()?;
        key.verify_strict(&signing_input(&self.manifest_bytes), &Signature::from_bytes(&self.signature))
            .map_err(|_| SignatureError::Signature)?;
        Ok(manifest)
    }

    /// The name of this checkpoint, which the next one carries as its parent.
    pub fn digest(&self) -> Digest {
        Digest::of("folkmoot/v1/signed-manifest", &[&self.manifest_bytes, &self.signature])
    }
}

fn signing_input(manifest_bytes: &[u8]) -> Vec<u8> {
    [SIGNATURE_LABEL, Digest::sha256(manifest_bytes).as_bytes()].concat()
}

// serde itself stops at arrays of 32.
mod signature_bytes {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        bytes.try_into().map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_signed_manifest_verifies_and_gives_its_manifest() {
        assert_eq!(samples::signed(1).verify_strict().unwrap(), samples::manifest(1));
    }

    #[test]
    fn no_byte_of_manifest_or_signature_can_change() {
        let good = samples::signed(1);
        for at in 0..good.manifest_bytes.len() {
            let mut bad = good.clone();
            bad.manifest_bytes[at] ^= 1;
            assert!(bad.verify_strict().is_err(), "manifest byte {at}");
        }
        for at in 0..64 {
            let mut bad = good.clone();
            bad.signature[at] ^= 1;
            assert!(matches!(bad.verify_strict(), Err(SignatureError::Signature)), "signature byte {at}");
            assert_ne!(bad.digest(), good.digest());
        }
    }

    #[test]
    fn a_signature_without_the_label_is_refused() {
        let mut signed = samples::signed(1);
        signed.signature = samples::key().sign(&signed.manifest_bytes).to_bytes();
        assert!(matches!(signed.verify_strict(), Err(SignatureError::Signature)));
    }

    #[test]
    fn a_small_order_key_is_refused() {
        // Under the identity point as key, plain verification accepts R = identity, s = 0 for any message.
        let mut identity = [0u8; 32];
        identity[0] = 1;
        let mut manifest = samples::manifest(1);
        manifest.public_key = hex::encode(identity);
        let mut signature = [0u8; 64];
        signature[0] = 1;
        let forged = SignedManifest { manifest_bytes: manifest.to_bytes().unwrap(), signature };
        assert!(matches!(forged.verify_strict(), Err(SignatureError::Signature)));
    }

    #[test]
    fn signing_for_another_key_is_refused() {
        let other = SigningKey::from_bytes(&[8; 32]);
        assert!(matches!(SignedManifest::sign(&samples::manifest(1), &other), Err(SignatureError::OtherKey)));
    }

    #[test]
    fn a_signed_manifest_survives_serde() {
        let signed = samples::signed(1);
        let json = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedManifest>(&json).unwrap(), signed);
        let short = r#"{"manifest_bytes":[],"signature":[1,2]}"#;
        assert!(serde_json::from_str::<SignedManifest>(short).is_err());
    }
}
