//! A later roster that waits for the silo's operator: two small files in the state folder.
//!
//! The daemon writes [`OFFERED`]; `folkmoot-client roster show` reads it aloud, and `roster accept` answers with
//! [`ACCEPTED`], which the daemon looks for while anything is on offer. Nothing is restarted for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::SignedRoster;
use params::Digest;
use protocol::RosterOffer;
use store::write_replacing;

/// The signed roster, JSON.
const OFFERED: &str = "roster-offered.json";
/// The digest of the roster that the operator has looked at, hexadecimal.
const ACCEPTED: &str = "roster-accepted";
/// The roster that was accepted last, to hold the next one against.
const IN_FORCE: &str = "roster-in-force.json";
/// How often an answer is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// What is on offer.
pub(crate) struct Offers {
    folder: PathBuf,
    pending: Option<Digest>,
}

impl Offers {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), pending: None }
    }

    /// Shows a roster to the operator.
    pub(crate) fn offer(&mut self, offer: &RosterOffer) {
        let written =
            serde_json::to_vec(offer.roster.signed()).map_err(|why| why.to_string()).and_then(|json| {
                write_replacing(&self.folder.join(OFFERED), &json).map_err(|why| why.to_string())
            });
        match written {
            Ok(()) => tracing::warn!(
                "{}; this silo waits for you: `folkmoot-client roster show`, then `roster accept DIGEST`",
                offer.change
            ),
            // Without the file nobody can accept, so the silo goes on waiting: it fails closed.
            Err(why) => tracing::error!("a later roster cannot be shown, and is not accepted: {why}"),
        }
        self.pending = Some(offer.roster.digest());
    }

    /// Until the operator has accepted what is on offer; for ever where nothing is.
    pub(crate) async fn accepted(&self) -> Digest {
        let Some(pending) = self.pending else { return std::future::pending().await };
        loop {
            let text = std::fs::read_to_string(self.folder.join(ACCEPTED)).unwrap_or_default();
            if text.trim() == pending.to_string() {
                return pending;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was accepted is in force: the offer is what the next one is held against.
    pub(crate) fn settle(&mut self) {
        self.pending = None;
        // Files that stay are harmless: they name a roster that is no longer on offer.
        let _ = std::fs::rename(self.folder.join(OFFERED), self.folder.join(IN_FORCE));
        let _ = std::fs::remove_file(self.folder.join(ACCEPTED));
    }
}

/// The roster on offer in a silo's state folder, if any is.
///
/// # Errors
/// A file that cannot be read, or holds no signed roster; in words.
pub(crate) fn offered(folder: &Path) -> Result<Option<SignedRoster>, String> {
    read(&folder.join(OFFERED))
}

/// The roster that was accepted last in a silo's state folder, if any was.
///
/// # Errors
/// As [`offered`].
pub(crate) fn in_force(folder: &Path) -> Result<Option<SignedRoster>, String> {
    read(&folder.join(IN_FORCE))
}

fn read(path: &Path) -> Result<Option<SignedRoster>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(format!("`{}` cannot be read: {why}", path.display())),
    };
    serde_json::from_str(&text).map(Some).map_err(|why| format!("`{}`: {why}", path.display()))
}

/// Accepts the roster of this digest in the operator's name.
///
/// # Errors
/// A folder that cannot be written; in words.
pub(crate) fn accept(folder: &Path, roster: &Digest) -> Result<(), String> {
    let path = folder.join(ACCEPTED);
    write_replacing(&path, format!("{roster}\n").as_bytes()).map_err(|why| why.to_string())
}
