//! Key files, sealed.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Vault, VaultError, create_private, failed, replace_private};

/// Writes a secret to a new file, sealed under `name`, durable when this returns.
///
/// # Errors
///
/// A file that exists; a changed keyring that does not open; a disk that fails.
pub fn write_secret(path: &Path, vault: &Vault, name: &str, secret: &[u8]) -> Result<(), VaultError> {
    create_private(path, &vault.seal(&context(name), secret)?)
}

/// As [`write_secret`], and in the place of the file that is there, if any: that one stays whole until this returns.
///
/// # Errors
///
/// A changed keyring that does not open; a disk that fails.
pub fn replace_secret(path: &Path, vault: &Vault, name: &str, secret: &[u8]) -> Result<(), VaultError> {
    replace_private(path, &vault.seal(&context(name), secret)?)
}

/// Reads what [`write_secret`] wrote under the same name.
///
/// # Errors
///
/// As [`Vault::open`]; a file that cannot be read.
pub fn read_secret(path: &Path, vault: &Vault, name: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    vault.open(&context(name), &fs::read(path).map_err(failed("read", path))?)
}

/// As [`read_secret`], for a secret that is a text.
///
/// # Errors
///
/// As [`read_secret`]; [`VaultError::NoText`].
pub fn read_sealed_text(path: &Path, vault: &Vault, name: &str) -> Result<Zeroizing<String>, VaultError> {
    let mut bytes = read_secret(path, vault, name)?;
    // Moved, and not copied: what is wiped is all there was.
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(why) => {
            drop(Zeroizing::new(why.into_bytes()));
            Err(VaultError::NoText)
        }
    }
}

fn context(name: &str) -> Vec<u8> {
    [b"secret file\0", name.as_bytes()].concat()
}
