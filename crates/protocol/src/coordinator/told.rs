//! What silos told of their data: the commitments that a version's card carries.

use std::collections::BTreeMap;

use params::Digest;
use secagg::ClientId;

use super::Coordinator;

/// Commitments to versions of data, by the silo that told them.
#[derive(Default)]
pub(super) struct DataTold {
    /// What each silo told at its newest check-in.
    now: BTreeMap<ClientId, Digest>,
    /// What those had told whose vectors arrived in the attempt in progress: a silo that comes back with other data has
    /// trained on what it told before.
    uploaded: BTreeMap<ClientId, Digest>,
    /// Of the newest result's included silos.
    result: BTreeMap<ClientId, Digest>,
}

impl DataTold {
    pub(super) fn of(&self, client: ClientId) -> Option<Digest> {
        self.now.get(&client).copied()
    }

    pub(super) fn tell(&mut self, client: ClientId, data: Option<Digest>) {
        match data {
            Some(data) => self.now.insert(client, data),
            None => self.now.remove(&client),
        };
    }

    pub(super) fn opened(&mut self) {
        self.uploaded.clear();
    }

    pub(super) fn staged(&mut self, client: ClientId) {
        self.uploaded.extend(self.of(client).map(|data| (client, data)));
    }

    pub(super) fn committed(&mut self) {
        self.result = std::mem::take(&mut self.uploaded);
    }
}

impl Coordinator {
    /// The commitments to their data's versions that the silos of the newest result had told when they uploaded; who is
    /// missing told none. The same after a restart.
    pub fn data_told(&self) -> &BTreeMap<ClientId, Digest> {
        &self.state.data.result
    }
}
