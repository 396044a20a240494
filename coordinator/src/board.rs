//! What the driver keeps in sight for everybody who asks how the runs stand: a new board whenever anything changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use params::Digest;
use run_status::{Server, Shown, Status};
use secagg::ClientId;

/// All runs at one moment.
#[derive(Clone)]
pub(crate) struct Board {
    /// The run that is meant where nobody says which.
    pub(crate) default: Digest,
    /// Every run, by its random name.
    pub(crate) runs: BTreeMap<Digest, OnBoard>,
    /// Silos whose sessions stand.
    pub(crate) connected: BTreeSet<ClientId>,
    pub(crate) server: Server,
}

/// One run as the board shows it.
#[derive(Clone)]
pub(crate) struct OnBoard {
    pub(crate) number: u32,
    /// The same one until anything in it changes.
    pub(crate) status: Arc<Status>,
}

impl Board {
    /// The run of this name, or the one that is meant where none is named.
    pub(crate) fn run(&self, named: Option<Digest>) -> Option<(Digest, &OnBoard)> {
        let run = named.unwrap_or(self.default);
        self.runs.get(&run).map(|found| (run, found))
    }

    /// What an operator is shown of a run.
    pub(crate) fn shown(&self, run: &OnBoard) -> Shown {
        Shown { run: Status::clone(&run.status), server: self.server.clone() }
    }
}
