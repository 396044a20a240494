//! What other daemons than one have debited of the data in a run.

use std::collections::BTreeSet;

use params::Digest;

use crate::account::Account;
use crate::entry::{Entry, Release, What};

impl Account {
    /// The rounds of a run that other daemons than this one have debited.
    pub fn rounds_of_others(&self, daemon: &str, run: &Digest) -> BTreeSet<u64> {
        self.debits_of(run).filter(|made| made.daemon != daemon).map(|made| made.round).collect()
    }

    /// The daemons that debited a round of a run before this one debited any.
    pub fn before<'a>(&'a self, daemon: &str, run: &Digest) -> BTreeSet<&'a str> {
        self.debits_of(run).map(|made| &*made.daemon).take_while(|other| *other != daemon).collect()
    }

    /// A run's debits, oldest first.
    fn debits_of<'a>(&'a self, run: &Digest) -> impl Iterator<Item = &'a Release> + use<'a> {
        let run = *run;
        let debits = self.entries().iter().filter(|entry| matches!(entry.what, What::Debit { .. }));
        debits.filter_map(Entry::release).filter(move |made| made.run == run)
    }
}
