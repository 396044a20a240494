//! Small things, sealed at once.
//!
//! ```text
//! "FMSV" | form u8 = 1 | data key's id u32 | nonce [24] | ciphertext | tag [16]
//! ```
//!
//! Little endian. What stands before the nonce, and the context, are authenticated.

use zeroize::Zeroizing;

use crate::key::{Key, NONCE_BYTES, TAG_BYTES};
use crate::{Vault, VaultError};

pub(crate) const HEADER_BYTES: usize = 9;
const MAGIC: &[u8; 4] = b"FMSV";
const SMALL: u8 = 1;
pub(crate) const FILE: u8 = 2;

impl Vault {
    /// By how much [`Vault::seal`] makes anything longer.
    pub const SEAL_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

    /// Seals something small under the active data key. `context` says what it is and where it belongs: opened as
    /// anything else, it is refused.
    ///
    /// # Errors
    ///
    /// A changed keyring that does not open; no randomness.
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.with_active(|id, key| {
            let header = header(SMALL, id);
            let mut sealed = Vec::with_capacity(plaintext.len() + Vault::SEAL_BYTES);
            sealed.extend_from_slice(&header);
            small_key(key).seal_onto(&[&header, context].concat(), plaintext, &mut sealed)?;
            Ok(sealed)
        })
    }

    /// Opens what [`Vault::seal`] sealed.
    ///
    /// # Errors
    ///
    /// What was not sealed, or changed since, or sealed for another context or under a key that the keyring lacks.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (id, body) = parse_header(SMALL, sealed)?;
        let header = header(SMALL, id);
        self.with_key(id, |key| {
            small_key(key).open(&[&header, context].concat(), body).ok_or(VaultError::Refused)
        })
    }
}

/// How many bytes [`is_sealed`] looks at.
pub const MAGIC_BYTES: u64 = MAGIC.len() as u64;

/// Whether these bytes begin as everything does that a vault sealed.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

fn small_key(data_key: &Key) -> Key {
    data_key.derive(b"", "folkmoot/v1/vault-small", b"")
}

pub(crate) fn header(form: u8, id: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(MAGIC.iter().chain(&[form]).chain(&id.to_le_bytes())) {
        *to = *from;
    }
    header
}

/// The data key's id, and what follows the header.
pub(crate) fn parse_header(form: u8, sealed: &[u8]) -> Result<(u32, &[u8]), VaultError> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(VaultError::NotSealed)?;
    let (written, rest) = rest.split_first().ok_or(VaultError::CutShort)?;
    match *written {
        written if written == form => {}
        SMALL | FILE => return Err(VaultError::Refused),
        newer => return Err(VaultError::Form(newer)),
    }
    let (id, rest) = rest.split_first_chunk().ok_or(VaultError::CutShort)?;
    Ok((u32::from_le_bytes(*id), rest))
}
