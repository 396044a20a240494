//! What a ledger says was spent, by run and in all, as it is shown and serialised.

use std::collections::BTreeSet;
use std::path::Path;

use accounting::{Relation, Unit, epsilon_or_infinity};
use params::Digest;
use serde::Serialize;
use vault::MasterSource;

use crate::reading::{ReadError, entries, read_or_empty, vault_of};
use crate::{Account, Chain, Declared, DeclaredFile, Entry, Salt, Statement, Total, What};

/// What a data set has spent.
#[derive(Debug, Serialize)]
pub struct Spending {
    /// The data set's name.
    pub dataset: String,
    /// How many entries the ledger has.
    pub entries: u64,
    /// Hash of the last one.
    pub head: String,
    /// Whether a last line is no entry: a crash cut its write short.
    pub unfinished_line: bool,
    /// All runs together.
    pub total: Spent,
    /// Each run by itself.
    pub runs: Vec<RunSpending>,
    /// What runs that are not over may still spend.
    pub claims: Vec<ClaimShown>,
    /// Runs in which a version was declared, and nothing was uploaded.
    pub runs_without_upload: Vec<RunDeclared>,
    /// Why operators accepted that debits were lost.
    pub accepted_losses: Vec<String>,
    /// What opens the commitments of the first release.
    pub commitments: Vec<FirstOpening>,
}

/// What a run has spent, and what opens its commitments.
#[derive(Debug, Serialize)]
pub struct RunSpending {
    /// Its id, hexadecimal.
    pub run: String,
    /// Its name in the plan.
    pub name: String,
    /// Rounds with a debit.
    pub rounds: u64,
    /// The privacy mode.
    pub mode: String,
    /// Which tables are neighbours.
    #[serde(serialize_with = "accounting::or_none::serialize")]
    pub relation: Option<Relation>,
    /// Who adds the noise.
    pub noise_by: String,
    /// Versions of the data that it was trained on.
    pub data_versions: Vec<String>,
    /// Of each daemon that shares the ledger.
    pub commitments: Vec<Opening>,
    /// Of each daemon that shares the ledger.
    #[serde(rename = "untold")]
    pub random_words: Vec<RandomWord>,
    pub spent: Spent,
}

/// What opens the commitments of a run that has spent nothing.
#[derive(Debug, Serialize)]
pub struct RunDeclared {
    /// Its id, hexadecimal.
    pub run: String,
    /// Of each daemon that shares the ledger.
    pub commitments: Vec<Opening>,
    /// Of each daemon that shares the ledger.
    #[serde(rename = "untold")]
    pub random_words: Vec<RandomWord>,
}

/// What a run that is not over may still spend, as long as its claim counts.
#[derive(Debug, Serialize)]
pub struct ClaimShown {
    /// Its id, hexadecimal.
    pub run: String,
    /// Its name in the plan.
    pub name: String,
    /// Whose claim it is.
    pub daemon: String,
    /// Whose key signed the plan.
    pub author: String,
    /// Rounds of the run that the data was used in.
    pub made: u64,
    /// Rounds that it still covers.
    pub uploads_left: u64,
    /// What is left of it by itself, rounded up as it was claimed; absent without noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon_left: Option<f64>,
    /// From then on it counts no more, unless something is heard of the run before, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// An epsilon with the words that must stand beside it.
#[derive(Debug, Serialize)]
pub struct Spent {
    /// By the accountant that gates.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// Which accountant that is.
    pub accountant: &'static str,
    /// For one of these.
    #[serde(serialize_with = "accounting::or_none::serialize")]
    pub unit: Option<Unit>,
    /// Whether debits of other units are among them.
    pub units_mixed: bool,
    /// How many debits.
    pub debits: u64,
    /// How many releases without noise, which no epsilon covers.
    pub exact_releases: u64,
    /// Of those, rounds with noise in which training failed.
    pub failed_trainings: u64,
    /// By accountants that gate nothing.
    pub approximations: Vec<Approximation>,
    /// Why an accountant is not among those, where one is not.
    pub left_out: Option<String>,
}

/// A figure that gates nothing.
#[derive(Debug, Serialize)]
pub struct Approximation {
    pub accountant: &'static str,
    pub epsilon: f64,
}

/// What opens a commitment of the first release to a version of the data.
#[derive(Debug, Serialize)]
pub struct FirstOpening {
    /// What was declared.
    pub commitment: String,
    pub version: String,
    /// The salt, the same in all runs.
    pub salt: String,
}

/// What opens a commitment of one run.
#[derive(Debug, Serialize)]
pub struct Opening {
    /// What was declared.
    pub commitment: String,
    pub version: String,
    /// The nonce, of this run alone.
    pub nonce: String,
}

/// A word that a silo declared in place of a commitment, and that opens to nothing.
#[derive(Debug, Serialize)]
pub struct RandomWord {
    pub daemon: String,
    pub word: String,
}

impl Spent {
    fn of(total: &Total) -> Self {
        let first = total.bounds.first();
        Self {
            epsilon: total.epsilon(),
            delta: total.delta,
            accountant: first.map_or("none", |bound| bound.accountant),
            unit: total.unit,
            units_mixed: total.mixed,
            debits: total.debits,
            exact_releases: total.exact_releases,
            failed_trainings: total.failed_trainings,
            approximations: total
                .bounds
                .iter()
                .skip(1)
                .map(|bound| Approximation { accountant: bound.accountant, epsilon: bound.epsilon })
                .collect(),
            left_out: total.left_out.clone(),
        }
    }
}

impl Spending {
    /// What the ledger in this file says, with epsilon at `delta`; without one at the newest debit's. A sealed ledger is opened
    /// with its master key.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of(file: &Path, master: Option<&MasterSource>, delta: Option<f64>) -> Result<Self, ReadError> {
        let chain = read_or_empty(file)?;
        let account = Account::new(entries(file, &chain, master)?);
        let newest = account.entries().iter().rev().find_map(|entry| match &entry.what {
            What::Debit { delta, .. } => Some(*delta),
            _ => None,
        });
        // Where nothing was debited, every delta has epsilon 0.
        let delta = delta.or(newest).unwrap_or(1e-6);
        if !(delta > 0.0 && delta < 1.0) {
            return Err(ReadError::Delta);
        }
        let salt = salt_of(file, &chain, master)?;
        let declared = declared_of(file, &chain, &account, master)?;
        let open = |run: &Digest| {
            salt.as_ref().map_or_else(Vec::new, |salt| commitments_of_run(salt, &declared, run))
        };
        let of_account = account.runs(delta);
        let spent: BTreeSet<Digest> = of_account.iter().map(|run| run.last.run).collect();
        let runs_without_upload: BTreeSet<Digest> =
            declared.iter().map(|declared| declared.run).filter(|run| !spent.contains(run)).collect();
        let runs_without_upload = runs_without_upload.iter().map(|run| RunDeclared {
            run: run.to_string(),
            commitments: open(run),
            random_words: random_words_of(&declared, run),
        });
        let runs = of_account.into_iter().map(|run| RunSpending {
            commitments: open(&run.last.run),
            random_words: random_words_of(&declared, &run.last.run),
            run: run.last.run.to_string(),
            name: run.last.run_name,
            rounds: run.rounds,
            mode: run.last.mode,
            relation: run.last.relation,
            noise_by: run.last.noise_by,
            data_versions: run.data_versions.iter().map(ToString::to_string).collect(),
            spent: Spent::of(&run.total),
        });
        // Whether they have lapsed since the newest entry is for whoever knows the time.
        let claims = account.claims(0).into_iter().map(|open| ClaimShown {
            run: open.claim.run.to_string(),
            name: open.claim.run_name.clone(),
            daemon: open.claim.daemon.clone(),
            author: open.claim.author.clone(),
            made: open.made,
            uploads_left: open.uploads_left(),
            epsilon_left: open.cost_left().map(|left| epsilon_or_infinity([(left.event, left.count)], delta)),
            until_ms: open.until_ms(),
        });
        let losses = account.entries().iter().filter_map(|entry| match &entry.what {
            What::OperatorAcceptsLoss { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        Ok(Self {
            dataset: chain.dataset.clone(),
            entries: chain.lines.len() as u64,
            head: chain.head().to_string(),
            unfinished_line: chain.torn,
            total: Spent::of(&account.total_in_detail(delta)),
            runs: runs.collect(),
            claims: claims.collect(),
            runs_without_upload: runs_without_upload.collect(),
            accepted_losses: losses.collect(),
            commitments: salt.as_ref().map_or_else(Vec::new, |salt| commitments(salt, &account)),
        })
    }
}

/// What opens commitments to versions of the data; none where the silo never declared one.
fn salt_of(file: &Path, chain: &Chain, master: Option<&MasterSource>) -> Result<Option<Salt>, ReadError> {
    let vault = vault_of(file, chain, master)?;
    Ok(Salt::read(file, &chain.dataset, vault.as_ref())?)
}

/// What opens the first release's commitments to the versions that were released from.
fn commitments(salt: &Salt, account: &Account) -> Vec<FirstOpening> {
    let versions: BTreeSet<Digest> =
        account.entries().iter().filter_map(|entry| entry.release()?.data_version).collect();
    let open = |version: &Digest| FirstOpening {
        commitment: salt.commit_as_first_release(version).to_string(),
        version: version.to_string(),
        salt: salt.reveal().to_string(),
    };
    versions.iter().map(open).collect()
}

/// What was declared of the data, whether anything was uploaded or not.
fn declared_of(
    file: &Path,
    chain: &Chain,
    account: &Account,
    master: Option<&MasterSource>,
) -> Result<BTreeSet<Declared>, ReadError> {
    let vault = vault_of(file, chain, master)?;
    let listed = DeclaredFile::read(file, &chain.dataset).and_then(|declared| {
        declared.map_or_else(|| Ok(Vec::new()), |declared| declared.open(vault.as_ref()))
    });
    let mut declared: BTreeSet<Declared> = listed?.into_iter().collect();
    // Releases before this one kept no list.
    declared.extend(account.entries().iter().filter_map(Entry::release).filter_map(|made| {
        let statement = Statement::Version(made.data_version?);
        Some(Declared { run: made.run, daemon: made.daemon.clone(), statement })
    }));
    Ok(declared)
}

/// What opens the commitments of a run, of each daemon that shares the ledger.
fn commitments_of_run(salt: &Salt, declared: &BTreeSet<Declared>, run: &Digest) -> Vec<Opening> {
    let declared = declared.iter().filter(|declared| declared.run == *run);
    let open = |Declared { daemon, statement, .. }: &Declared| {
        let Statement::Version(version) = statement else { return None };
        let nonce = salt.nonce(daemon, run);
        Some(Opening {
            commitment: nonce.commit(version).to_string(),
            version: version.to_string(),
            nonce: nonce.reveal().to_string(),
        })
    };
    declared.filter_map(open).collect()
}

/// The random words that stand for the data in a run, of each daemon that shares the ledger.
fn random_words_of(declared: &BTreeSet<Declared>, run: &Digest) -> Vec<RandomWord> {
    let words = declared.iter().filter(|declared| declared.run == *run).filter_map(|declared| {
        let Statement::Random(word) = declared.statement else { return None };
        Some(RandomWord { daemon: declared.daemon.clone(), word: word.to_string() })
    });
    words.collect()
}

#[cfg(test)]
mod tests;
