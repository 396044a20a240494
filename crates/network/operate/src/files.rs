//! Files that a caller names.

use std::path::{Path, PathBuf};

use vault::files::{self, TEXT_BYTES_MAX};
use zeroize::Zeroizing;

/// A file or folder that was named, and why it is of no use.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {why}", file.display())]
pub struct Unusable {
    file: PathBuf,
    #[source]
    why: Box<dyn std::error::Error + Send + Sync>,
}

impl Unusable {
    /// Of this file, for this reason.
    pub fn new(file: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { file: file.to_owned(), why: why.into() }
    }
}

/// A text file's contents.
///
/// # Errors
/// One that cannot be read, is too long for a text that a person writes, or is no UTF-8.
pub fn read_text(file: &Path) -> Result<String, Unusable> {
    read_secret_text(file).map(|mut text| std::mem::take(&mut *text))
}

/// As [`read_text`], wiped when it is dropped.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret_text(file: &Path) -> Result<Zeroizing<String>, Unusable> {
    files::read_secret_text(file, TEXT_BYTES_MAX)
        .map_err(|why| Unusable::new(file, format!("cannot be read: {why}")))
}

/// As [`read_secret_text`], of a file or, by `-`, of standard input.
pub(crate) fn read_secret_argument(file: &Path) -> Result<Zeroizing<String>, Unusable> {
    files::read_secret_argument(file, TEXT_BYTES_MAX)
        .map_err(|why| Unusable::new(file, format!("cannot be read: {why}")))
}
