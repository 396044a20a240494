//! What a coordinator says of its run and writes into its audit log, to whoever may read that.

use params::Digest;
use run_status::Shown;
use tonic::Streaming;
use wire::limits::MESSAGE_BYTES_MAX;
use wire::run_bytes;
use wire::v1::audit_client::AuditClient;
use wire::v1::operator_client::OperatorClient;
use wire::v1::{AuditEntry, EntriesRequest, StatusRequest};

use crate::connect::{ConnectError, Link, refused};

/// A run at this moment; without a name the one that is shown then.
///
/// # Errors
/// [`ConnectError`]; [`ConnectError::Answer`] for a status that cannot be one.
pub async fn status(link: Link, run: Option<Digest>) -> Result<Shown, ConnectError> {
    let request = StatusRequest { run: run_bytes(run) };
    let status = OperatorClient::new(link).status(request).await.map_err(|why| refused(&why))?;
    Ok(Shown::try_from(status.into_inner())?)
}

/// Why the entries of an audit log did not come.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// One is left out, or holds a line's end.
    #[error("the coordinator's audit log has no entry {next} where it must be")]
    NoEntry {
        /// Its number, counted from 0.
        next: u64,
    },
}

/// The entries of a coordinator's audit log, from the first on.
pub struct AuditEntries {
    entries: Streaming<AuditEntry>,
    next: u64,
}

/// Asks for the entries of a coordinator's audit log: all that there are at this moment.
///
/// # Errors
/// [`ConnectError`].
pub async fn audit_entries(link: Link) -> Result<AuditEntries, ConnectError> {
    let mut audit = AuditClient::new(link).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let entries = audit.entries(EntriesRequest { from: 0 }).await.map_err(|why| refused(&why))?;
    Ok(AuditEntries { entries: entries.into_inner(), next: 0 })
}

impl AuditEntries {
    /// The next one, which holds no line's end; none once all have come.
    ///
    /// # Errors
    /// [`EntriesError`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, EntriesError> {
        let Some(entry) = self.entries.message().await.map_err(|why| refused(&why))? else {
            return Ok(None);
        };
        if entry.index != self.next || entry.entry.contains(&b'\n') {
            return Err(EntriesError::NoEntry { next: self.next });
        }
        self.next += 1;
        Ok(Some(entry.entry))
    }
}
