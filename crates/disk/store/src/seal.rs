//! What a sealed store gives its vault, and to which place each thing is bound; published files bind themselves.
//!
//! ```text
//! record         kind u16, sequence number u64, and the store's place where it has one
//! staged vector  round, attempt, R2's digest, client: the file's name; and the same
//! ```

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use vault::{FileSealer, Resumed, Vault, VaultError};

use crate::StoreError;
use crate::frame::JournalKind;

/// The vault of one store; it is shared with the writers that the store gave out.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    vault: Arc<Vault>,
    kind: JournalKind,
    /// Which of several stores under one vault; empty for the first.
    place: String,
}

impl Seal {
    pub(crate) fn new(vault: Arc<Vault>, kind: JournalKind, place: &str) -> Seal {
        Seal { vault, kind, place: place.to_owned() }
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        self.vault.clone()
    }

    pub(crate) fn record(&self, sequence: u64, record: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.vault.seal(&self.record_context(sequence), record).map_err(of_record(sequence))
    }

    pub(crate) fn open_record(&self, sequence: u64, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let opened = self.vault.open(&self.record_context(sequence), sealed);
        opened.map(|mut record| std::mem::take(&mut *record)).map_err(of_record(sequence))
    }

    pub(crate) fn begin_vector(&self, name: &str) -> Result<(FileSealer, Vec<u8>), StoreError> {
        self.vault.begin_file(&self.vector_context(name)).map_err(of_vector(name))
    }

    pub(crate) fn resume_vector(&self, name: &str, sealed: impl Read) -> Result<Resumed, StoreError> {
        self.vault.resume_file(&self.vector_context(name), sealed).map_err(of_vector(name))
    }

    pub(crate) fn read_vector(
        &self,
        name: &str,
        sealed: impl Read + Send + 'static,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let reader = self.vault.read_file(&self.vector_context(name), sealed).map_err(of_vector(name))?;
        Ok(Box::new(reader))
    }

    pub(crate) fn vector_bytes(&self, name: &str, sealed: File) -> Result<u64, StoreError> {
        self.vault.file_plain_bytes(&self.vector_context(name), sealed).map_err(of_vector(name))
    }

    fn record_context(&self, sequence: u64) -> Vec<u8> {
        let kind = (self.kind as u16).to_le_bytes();
        [b"journal record\0", &kind[..], &sequence.to_le_bytes(), self.place.as_bytes()].concat()
    }

    fn vector_context(&self, name: &str) -> Vec<u8> {
        let place = if self.place.is_empty() { String::new() } else { format!("\0{}", self.place) };
        [b"staged vector\0", name.as_bytes(), place.as_bytes()].concat()
    }
}

/// For `map_err`: names the staged vector.
pub(crate) fn of_vector(name: &str) -> impl FnOnce(VaultError) -> StoreError + '_ {
    move |source| StoreError::Vault { what: format!("the staged vector `{name}`"), source }
}

fn of_record(sequence: u64) -> impl FnOnce(VaultError) -> StoreError {
    move |source| StoreError::Vault { what: format!("record {sequence} of the journal"), source }
}
