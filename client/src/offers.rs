//! A later roster that waits for the silo's operator, whose answer is looked for while anything is on offer. Nothing is restarted for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alarms::rosters;
use params::Digest;
use protocol::RosterOffer;

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
        match rosters::offer(&self.folder, offer.roster.signed()) {
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
            match rosters::answer(&self.folder) {
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
        rosters::settle(&self.folder);
    }
}
