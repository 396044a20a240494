//! Key files, sealed.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Vault, VaultError, disk, failed};

/// Writes a secret to a new file, sealed under `name`, durable when this returns.
///
/// # Errors
///
/// A file that exists; a changed keyring that does not open; a disk that fails.
pub fn write_secret(path: &Path, vault: &Vault, name: &str, secret: &[u8]) -> Result<(), VaultError> {
    disk::create_private(path, &vault.seal(&context(name), secret)?)
}

/// As [`write_secret`], and in the place of the file that is there, if any: that one stays whole until this returns.
///
/// # Errors
///
/// A changed keyring that does not open; a disk that fails.
pub fn replace_secret(path: &Path, vault: &Vault, name: &str, secret: &[u8]) -> Result<(), VaultError> {
    disk::replace_private(path, &vault.seal(&context(name), secret)?)
}

/// Reads what [`write_secret`] wrote under the same name.
///
/// # Errors
///
/// As [`Vault::open`]; a file that cannot be read.
pub fn read_secret(path: &Path, vault: &Vault, name: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    vault.open(&context(name), &fs::read(path).map_err(failed("read", path))?)
}

fn context(name: &str) -> Vec<u8> {
    [b"secret file\0", name.as_bytes()].concat()
}
