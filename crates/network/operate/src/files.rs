//! Files that a caller names.

use std::fs;
use std::path::{Path, PathBuf};

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
/// One that cannot be read, or is no UTF-8.
pub fn read_text(file: &Path) -> Result<String, Unusable> {
    fs::read_to_string(file).map_err(|why| Unusable::new(file, format!("cannot be read: {why}")))
}
