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
use vault::files::{self, TEXT_BYTES_MAX, WORLD_READABLE};

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
    /// Why an answer could not be read, as it was said last.
    unread: Option<String>,
}

impl Offers {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), pending: None, unread: None }
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
    pub(crate) async fn accepted(&mut self) -> Digest {
        let Some(pending) = self.pending else { return std::future::pending().await };
        loop {
            match answer(&self.folder) {
                Ok(Some(text)) if text.trim() == pending.to_string() => return pending,
                Ok(_) => self.unread = None,
                Err(why) if self.unread.as_ref() == Some(&why) => {}
                Err(why) => {
                    tracing::error!("{why}");
                    self.unread = Some(why);
                }
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

/// What the operator has answered, if anything.
///
/// # Errors
/// A file that this daemon cannot read; in words, with what helps.
fn answer(folder: &Path) -> Result<Option<String>, String> {
    let path = folder.join(ACCEPTED);
    match files::read_text(&path, TEXT_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(format!(
            "a roster was accepted, and this daemon cannot read it: `{0}`: {why}; run: chown --reference='{1}' '{0}'",
            path.display(),
            folder.display()
        )),
    }
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
    // The daemon may be another user than its operator. It is no secret.
    files::replace_exactly(&path, format!("{roster}\n").as_bytes(), WORLD_READABLE)
        .map_err(|why| format!("`{}` cannot be written: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_the_daemon_cannot_read_is_no_silence() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(answer(folder.path()), Ok(None));
        accept(folder.path(), &Digest::sha256(b"roster")).unwrap();
        assert_eq!(answer(folder.path()), Ok(Some(format!("{}\n", Digest::sha256(b"roster")))));
        std::fs::remove_file(folder.path().join(ACCEPTED)).unwrap();
        std::fs::create_dir(folder.path().join(ACCEPTED)).unwrap();
        let why = answer(folder.path()).unwrap_err();
        assert!(why.contains("cannot read it") && why.contains("run: chown --reference="), "{why}");
    }
}
