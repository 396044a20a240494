//! 32 secret bytes, and what is derived from and sealed with them.

use std::fmt;

use chacha20poly1305::aead::{Aead, AeadInOut, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::VaultError;

pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const TAG_BYTES: usize = 16;

/// A key; zeroised on drop, and never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key(Box<[u8; KEY_BYTES]>);

impl Key {
    pub(crate) fn random() -> Result<Key, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill(&mut *bytes)?;
        Ok(Key(Box::new(*bytes)))
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Key> {
        <[u8; KEY_BYTES]>::try_from(bytes).ok().map(|bytes| Key(Box::new(bytes)))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// RFC 5869 with SHA-256; `info` is a label and what the key is bound to.
    pub(crate) fn derive(&self, salt: &[u8], label: &str, bound_to: &[u8]) -> Key {
        let mut derived = Key(Box::new([0; KEY_BYTES]));
        let info = [label.as_bytes(), &[0], bound_to];
        // 32 bytes are one block: HKDF refuses only above 255 of them.
        let expanded = Hkdf::<Sha256>::new(Some(salt), &*self.0).expand_multi_info(&info, &mut *derived.0);
        debug_assert!(expanded.is_ok());
        derived
    }

    /// Appends nonce, ciphertext and tag to `out`.
    pub(crate) fn seal_onto(
        &self,
        context: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        out.reserve(NONCE_BYTES + plaintext.len() + TAG_BYTES);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let body = out.get_mut(start..).unwrap_or_default();
        match self.cipher().encrypt_inout_detached(&XNonce::from(nonce), context, body.into()) {
            Ok(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(VaultError::TooLong)
            }
        }
    }

    /// The reverse of [`Key::seal_onto`]; none when a bit of either argument differs.
    pub(crate) fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: context };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.expose().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Bytes of the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<(), VaultError> {
    SysRng.try_fill_bytes(bytes).map_err(|why| VaultError::Randomness(why.to_string()))
}
