//! What opens what a silo declared of its data.

use std::collections::BTreeSet;
use std::path::Path;

use identity::with_causes;
use ledger::{Account, Chain, Declared, DeclaredFile, Entry, Salt, Statement};
use params::Digest;
use serde::Serialize;
use vault::MasterSource;

use super::vault_of;
use crate::Failure;

/// What opens a commitment of the first release to a version of the data.
#[derive(Serialize)]
pub(super) struct Commitment {
    pub(super) commitment: String,
    pub(super) version: String,
    pub(super) salt: String,
}

/// What opens a commitment of one run.
#[derive(Serialize)]
pub(super) struct RunCommitment {
    pub(super) commitment: String,
    pub(super) version: String,
    pub(super) nonce: String,
}

/// A word that a silo declared in place of a commitment, and that opens to nothing.
#[derive(Serialize)]
pub(super) struct Untold {
    pub(super) daemon: String,
    pub(super) word: String,
}

/// What opens commitments to versions of the data; none where the silo never declared one.
pub(super) fn salt_of(
    file: &Path,
    chain: &Chain,
    master: Option<&MasterSource>,
) -> Result<Option<Salt>, Failure> {
    let vault = vault_of(file, chain, master)?;
    let salt = Salt::read(file, &chain.dataset, vault.as_ref());
    salt.map_err(|why| Failure::verification(with_causes(&why)))
}

/// What opens the first release's commitments to the versions that were released from.
pub(super) fn commitments(salt: &Salt, account: &Account) -> Vec<Commitment> {
    let versions: BTreeSet<Digest> =
        account.entries().iter().filter_map(|entry| entry.release()?.data_version).collect();
    let open = |version: &Digest| Commitment {
        commitment: salt.commit_as_first_release(version).to_string(),
        version: version.to_string(),
        salt: salt.reveal().to_string(),
    };
    versions.iter().map(open).collect()
}

/// What was declared of the data, whether anything was uploaded or not.
pub(super) fn declared_of(
    file: &Path,
    chain: &Chain,
    account: &Account,
    master: Option<&MasterSource>,
) -> Result<BTreeSet<Declared>, Failure> {
    let vault = vault_of(file, chain, master)?;
    let listed = DeclaredFile::read(file, &chain.dataset).and_then(|declared| {
        declared.map_or_else(|| Ok(Vec::new()), |declared| declared.open(vault.as_ref()))
    });
    let mut declared: BTreeSet<Declared> =
        listed.map_err(|why| Failure::verification(with_causes(&why)))?.into_iter().collect();
    // Releases before this one kept no list.
    declared.extend(account.entries().iter().filter_map(Entry::release).filter_map(|made| {
        let statement = Statement::Version(made.data_version?);
        Some(Declared { run: made.run, daemon: made.daemon.clone(), statement })
    }));
    Ok(declared)
}

/// What opens the commitments of a run, of each daemon that shares the ledger.
pub(super) fn commitments_of_run(
    salt: &Salt,
    declared: &BTreeSet<Declared>,
    run: &Digest,
) -> Vec<RunCommitment> {
    let declared = declared.iter().filter(|declared| declared.run == *run);
    let open = |Declared { daemon, statement, .. }: &Declared| {
        let Statement::Version(version) = statement else { return None };
        let nonce = salt.nonce(daemon, run);
        Some(RunCommitment {
            commitment: nonce.commit(version).to_string(),
            version: version.to_string(),
            nonce: nonce.reveal().to_string(),
        })
    };
    declared.filter_map(open).collect()
}

/// The random words that stand for the data in a run, of each daemon that shares the ledger.
pub(super) fn untold_in_run(declared: &BTreeSet<Declared>, run: &Digest) -> Vec<Untold> {
    let words = declared.iter().filter(|declared| declared.run == *run).filter_map(|declared| {
        let Statement::Random(word) = declared.statement else { return None };
        Some(Untold { daemon: declared.daemon.clone(), word: word.to_string() })
    });
    words.collect()
}
