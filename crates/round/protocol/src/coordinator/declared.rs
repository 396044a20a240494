//! What silos declared of their data: the commitments that a version's card carries.

use std::collections::{BTreeMap, BTreeSet};

use params::Digest;
use secagg::ClientId;

use super::Coordinator;
use messages::SessionVersion;

/// Commitments to versions of data, by the silo that declared them.
#[derive(Default)]
pub(super) struct DataDeclared {
    /// What each silo declared at its newest check-in.
    now: BTreeMap<ClientId, Digest>,
    /// What those had declared whose vectors arrived in the attempt in progress: a silo that comes back with other data has
    /// trained on what it declared before.
    uploaded: BTreeMap<ClientId, Digest>,
    /// Of the newest result's included silos.
    result: BTreeMap<ClientId, Digest>,
    /// Who has declared something since the newest attempt, or the run, began.
    since_begun: BTreeSet<ClientId>,
}

impl DataDeclared {
    pub(super) fn of(&self, client: ClientId) -> Option<Digest> {
        self.now.get(&client).copied()
    }

    /// Whether this is written down: what differs, of a silo's first word in a run and, where it was declared in the first
    /// release's words, once more for each attempt. Later silos declare one thing in a run, and whoever says another every
    /// second fills a journal.
    pub(super) fn is_news(&self, client: ClientId, version: SessionVersion, data: Option<Digest>) -> bool {
        let known = self.of(client);
        known != data
            && !self.since_begun.contains(&client)
            && (known.is_none() || version < SessionVersion::Three)
    }

    pub(super) fn declare(&mut self, client: ClientId, data: Option<Digest>) {
        self.since_begun.insert(client);
        match data {
            Some(data) => self.now.insert(client, data),
            None => self.now.remove(&client),
        };
    }

    pub(super) fn attempt_begun(&mut self) {
        self.uploaded.clear();
        self.since_begun.clear();
    }

    pub(super) fn staged(&mut self, client: ClientId) {
        self.uploaded.extend(self.of(client).map(|data| (client, data)));
    }

    pub(super) fn committed(&mut self) {
        self.result = std::mem::take(&mut self.uploaded);
    }
}

impl Coordinator {
    /// The commitments to their data's versions that the silos of the newest result had declared when they uploaded;
    /// whoever is missing declared none. The same after a restart.
    pub fn data_declared(&self) -> &BTreeMap<ClientId, Digest> {
        &self.state.data.result
    }
}
