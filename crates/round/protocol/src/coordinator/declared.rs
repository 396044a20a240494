//! What silos declared of their data and of what holds their trainers: what a version's card carries.

use std::collections::{BTreeMap, BTreeSet};

use params::Digest;
use secagg::ClientId;

use super::Coordinator;
use messages::{SandboxLevel, SessionVersion};

/// What silos declare when they check in.
#[derive(Default)]
pub(super) struct Declared {
    /// Commitments to versions of data.
    data: Each<Digest>,
    /// What holds their trainers.
    sandbox: Each<SandboxLevel>,
}

/// One thing that is declared, by the silo that declared it.
struct Each<T> {
    /// What each silo declared at its newest check-in.
    now: BTreeMap<ClientId, T>,
    /// What those had declared whose vectors arrived in the attempt in progress: a silo that comes back with other data has
    /// trained on what it declared before.
    uploaded: BTreeMap<ClientId, T>,
    /// Of the newest result's included silos.
    result: BTreeMap<ClientId, T>,
    /// Who has declared something since the newest attempt, or the run, began.
    since_begun: BTreeSet<ClientId>,
}

impl<T> Default for Each<T> {
    fn default() -> Self {
        let none = BTreeMap::new;
        Self { now: none(), uploaded: none(), result: none(), since_begun: BTreeSet::new() }
    }
}

impl<T: Clone + PartialEq> Each<T> {
    /// Whether it is another word than the silo's last, and its first since the attempt began: whoever says another every second
    /// fills a journal.
    fn is_news(&self, client: ClientId, said: Option<&T>) -> bool {
        self.now.get(&client) != said && !self.since_begun.contains(&client)
    }

    fn declare(&mut self, client: ClientId, said: Option<T>) {
        self.since_begun.insert(client);
        match said {
            Some(said) => self.now.insert(client, said),
            None => self.now.remove(&client),
        };
    }

    fn attempt_begun(&mut self) {
        self.uploaded.clear();
        self.since_begun.clear();
    }

    fn staged(&mut self, client: ClientId) {
        self.uploaded.extend(self.now.get(&client).map(|said| (client, said.clone())));
    }

    fn committed(&mut self) {
        self.result = std::mem::take(&mut self.uploaded);
    }
}

impl Declared {
    /// Whether this is written down: what differs, of a silo's first word in a run and, where it was declared in the first
    /// release's words, once more for each attempt. Later silos declare one thing in a run.
    pub(super) fn is_data_news(
        &self,
        client: ClientId,
        version: SessionVersion,
        data: Option<Digest>,
    ) -> bool {
        let first = !self.data.now.contains_key(&client);
        self.data.is_news(client, data.as_ref()) && (first || version < SessionVersion::Three)
    }

    /// Whether this is written down: what differs, once for each attempt. A silo may be started again with another configuration.
    pub(super) fn is_sandbox_news(&self, client: ClientId, sandbox: Option<&SandboxLevel>) -> bool {
        self.sandbox.is_news(client, sandbox)
    }

    pub(super) fn declare_data(&mut self, client: ClientId, data: Option<Digest>) {
        self.data.declare(client, data);
    }

    pub(super) fn declare_sandbox(&mut self, client: ClientId, sandbox: Option<SandboxLevel>) {
        self.sandbox.declare(client, sandbox);
    }

    pub(super) fn attempt_begun(&mut self) {
        self.data.attempt_begun();
        self.sandbox.attempt_begun();
    }

    pub(super) fn staged(&mut self, client: ClientId) {
        self.data.staged(client);
        self.sandbox.staged(client);
    }

    pub(super) fn committed(&mut self) {
        self.data.committed();
        self.sandbox.committed();
    }
}

impl Coordinator {
    /// The commitments to their data's versions that the silos of the newest result had declared when they uploaded;
    /// whoever is missing declared none. The same after a restart.
    pub fn data_declared(&self) -> &BTreeMap<ClientId, Digest> {
        &self.state.declared.data.result
    }

    /// What held the trainers of the newest result's silos, as they had declared when they uploaded; whoever is missing did not say.
    /// The same after a restart.
    pub fn sandboxes_declared(&self) -> &BTreeMap<ClientId, SandboxLevel> {
        &self.state.declared.sandbox.result
    }
}
