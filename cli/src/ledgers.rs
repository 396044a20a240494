//! `folkmoot ledger`: what a data set has spent, and whether its ledger is whole; read only, while daemons run.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use accounting::rounded_up;
use clap::Subcommand;
use identity::with_causes;
use ledger::{
    Account, Chain, DECLARED_SUFFIX, DeclaredFile, Total, What, check_anchor, open_entries, open_shared,
};
use params::Digest;
use serde::Serialize;
use vault::{KEYRING_FILE, MasterSource, Vault};

use crate::Failure;
use crate::connect::printable;
use crate::files::Unusable;

mod coordinators;
mod opening;

pub(crate) use coordinators::keyring_of;
use opening::{
    Commitment, RunCommitment, Untold, commitments, commitments_of_run, declared_of, salt_of, untold_in_run,
};

#[derive(Subcommand, Debug)]
pub(crate) enum Ledgers {
    /// Show what was spent: by run, and all together. Of a coordinator's data folder: what its run has spent.
    #[command(after_help = "Examples:\n  folkmoot ledger show north/state/ledger/data.ledger\n  \
                      folkmoot ledger show north/state/ledger/data.ledger --master north/master.key --json\n  \
                      folkmoot ledger show /var/lib/folkmoot/coordinator\n\n\
                      With --json, each run's `commitments` open what the silo told of its data in that run and model\n\
                      cards carry: a commitment is SHA-256 over three parts, each after its length as 8 bytes, little\n\
                      endian: \"folkmoot/v2/data-version\", the nonce's 32 bytes, the version's 32 bytes. `commitments`\n\
                      beside the runs open what the first release told: \"folkmoot/v1/data-version\", the salt, the version.\n\
                      A run's `untold` are the words that stand for data that was not read: they open to nothing.\n\
                      Whoever has a nonce can test guesses of the run's data, and with the salt of all: show them to\n\
                      nobody who may not see the data.")]
    Show {
        /// A ledger, a folder with one in it, or a coordinator's data folder.
        path: PathBuf,
        /// Of a sealed ledger or folder: the master key, as the daemon's configuration names it.
        #[arg(long, value_name = "SOURCE")]
        master: Option<MasterSource>,
        /// The delta at which epsilon is taken [default: the newest entry's, which is the policy's]
        #[arg(long, value_name = "D")]
        delta: Option<f64>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Check that no entry was changed, left out or put in another place, and that the anchor follows.
    #[command(after_help = "Without an anchor, entries that were cut off at the end are not seen.\n\n\
                      Example:\n  folkmoot ledger verify north/state/ledger/data.ledger --anchor /mnt/other-host/north.anchor")]
    Verify {
        /// A ledger, or a folder with one in it.
        path: PathBuf,
        /// The anchor that the daemons' configuration names.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        /// Of a sealed ledger: the master key; without it the chain is checked, not what the entries say.
        #[arg(long, value_name = "SOURCE")]
        master: Option<MasterSource>,
    },
}

/// What is said of a last line that is no entry.
const UNFINISHED: &str = "the last line is unfinished, and counted as no entry: a crash cut its write short, before anything of it \
     could leave the silo, and the next debit overwrites it; if nothing crashed, the line was damaged after it was written \
     and its debit is missing here: compare the anchor, and start the daemon, whose journal holds its own debits and which \
     refuses a ledger without them";

pub(crate) fn run(ledgers: &Ledgers) -> Result<(), Failure> {
    match ledgers {
        Ledgers::Show { path, master, delta, json } if path.join(checkpoint::CHECKPOINTS_FOLDER).is_dir() => {
            if delta.is_some() {
                let why = "--delta: a run's epsilon is taken at the delta of its plan; leave it out";
                return Err(Failure::usage(why));
            }
            coordinators::show(path, master.as_ref(), *json)
        }
        Ledgers::Show { path, master, delta, json } => {
            let file = find(path)?;
            let shown = Shown::of(&file, master.as_ref(), *delta)?;
            if *json {
                println!("{}", serde_json::to_string(&shown).map_err(Failure::failed)?);
            } else {
                print!("{}", shown.text());
            }
            Ok(())
        }
        Ledgers::Verify { path, anchor, master } => {
            verify(&find(path)?, anchor.as_deref(), master.as_ref(), &mut |note| eprintln!("{note}"))
        }
    }
}

fn verify(
    file: &Path,
    anchor: Option<&Path>,
    master: Option<&MasterSource>,
    note: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    // The lock is held until the anchor has been read.
    let (_lock, chain) = read(file)?;
    let entries = match (chain.sealed, master) {
        (true, None) => None,
        _ => Some(opened(file, &chain, master)?),
    };
    println!(
        "{}: {} entries of data set {}, head {}",
        file.display(),
        chain.lines.len(),
        chain.dataset,
        chain.head()
    );
    if chain.torn {
        note(&format!("warning: {UNFINISHED}"));
    }
    if entries.is_none() {
        note("note: the entries are sealed; their chain was checked, not what they say: add --master");
    }
    let Some(anchor) = anchor else {
        note(
            "warning: no anchor was checked: entries that were cut off at the end, with a snapshot that was restored, are \
             not seen",
        );
        return Ok(());
    };
    let bytes = fs::read(anchor).map_err(|why| Unusable::new(anchor, why))?;
    let behind = check_anchor(&bytes, &chain, entries.as_deref())
        .map_err(|why| Failure::verification(format!("`{}`: {}", anchor.display(), with_causes(&why))))?;
    println!(
        "{}: {}",
        anchor.display(),
        if behind {
            "behind by what was debited last, as a crash leaves it; the next debit completes it"
        } else {
            "agrees"
        }
    );
    Ok(())
}

/// The ledger that a path names.
fn find(path: &Path) -> Result<PathBuf, Unusable> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let files = fs::read_dir(path).map_err(|why| Unusable::new(path, why))?;
    // Where something was declared and nothing uploaded, there is no ledger yet.
    let ledger_of = |file: PathBuf| {
        let name = file.file_name()?.to_str()?;
        let dataset = name.strip_suffix(ledger::SUFFIX).or_else(|| name.strip_suffix(DECLARED_SUFFIX))?;
        Some(file.with_file_name(format!("{dataset}{}", ledger::SUFFIX)))
    };
    let ledgers: BTreeSet<PathBuf> = files.filter_map(|entry| ledger_of(entry.ok()?.path())).collect();
    let mut ledgers: Vec<PathBuf> = ledgers.into_iter().collect();
    match (ledgers.pop(), ledgers.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => {
            Err(Unusable::new(path, "holds no ledger; name the file, or `ledger` in a silo's state_dir"))
        }
        (Some(_), false) => Err(Unusable::new(path, "holds several ledgers: name one of the files")),
    }
}

/// The ledger, or one without entries where something was declared and nothing uploaded yet.
fn read_or_empty(path: &Path) -> Result<Chain, Failure> {
    let none = |why: &std::io::Error| why.kind() == std::io::ErrorKind::NotFound;
    let dataset = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ledger::SUFFIX));
    match (fs::metadata(path), dataset) {
        (Err(why), Some(dataset)) if none(&why) => {
            let declared =
                DeclaredFile::read(path, dataset).map_err(|why| Failure::verification(with_causes(&why)))?;
            let declared = declared.ok_or_else(|| Unusable::new(path, why))?;
            Ok(Chain::empty(dataset, declared.sealed))
        }
        _ => Ok(read(path)?.1),
    }
}

/// The ledger as it lies there; no daemon debits while the file that is given with it is open.
fn read(path: &Path) -> Result<(fs::File, Chain), Failure> {
    let mut file = open_shared(path).map_err(|why| Unusable::new(path, why))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|why| Unusable::new(path, why))?;
    let chain = Chain::read(&bytes)
        .map_err(|why| Failure::verification(format!("`{}`: {}", path.display(), with_causes(&why))))?;
    Ok((file, chain))
}

fn opened(file: &Path, chain: &Chain, master: Option<&MasterSource>) -> Result<Vec<ledger::Entry>, Failure> {
    let vault = vault_of(file, chain, master)?;
    open_entries(file, chain, vault.as_ref()).map_err(|why| Failure::verification(with_causes(&why)))
}

fn vault_of(file: &Path, chain: &Chain, master: Option<&MasterSource>) -> Result<Option<Vault>, Failure> {
    let vault = master.map(|master| open_vault(file, master)).transpose()?;
    if chain.sealed && vault.is_none() {
        return Err(Failure::usage(format!(
            "`{}` is sealed: name the master key with --master",
            file.display()
        )));
    }
    Ok(vault.filter(|_| chain.sealed))
}

/// The keyring lies in the state folder or beside the configuration, above the ledger.
fn open_vault(file: &Path, master: &MasterSource) -> Result<Vault, Failure> {
    let folder = file.ancestors().skip(1).find(|folder| folder.join(KEYRING_FILE).exists());
    let folder = folder.ok_or_else(|| Unusable::new(file, "no keyring lies in any folder above it"))?;
    Vault::open_folder(folder, master.clone()).map_err(|why| Failure::usage(with_causes(&why)))
}

/// What is shown of a ledger.
#[derive(Serialize)]
struct Shown {
    dataset: String,
    entries: u64,
    head: String,
    /// Whether a last line is no entry, as [`UNFINISHED`] says.
    unfinished_line: bool,
    total: Spent,
    runs: Vec<RunSpent>,
    /// Runs in which a version was declared, and nothing was uploaded.
    runs_without_upload: Vec<RunDeclared>,
    accepted_losses: Vec<String>,
    commitments: Vec<Commitment>,
}

/// What opens the commitments of a run that has spent nothing.
#[derive(Serialize)]
struct RunDeclared {
    run: String,
    commitments: Vec<RunCommitment>,
    untold: Vec<Untold>,
}

#[derive(Serialize)]
struct RunSpent {
    run: String,
    name: String,
    rounds: u64,
    mode: String,
    relation: String,
    noise_by: String,
    data_versions: Vec<String>,
    commitments: Vec<RunCommitment>,
    untold: Vec<Untold>,
    spent: Spent,
}

/// An epsilon with the words that must stand beside it.
#[derive(Serialize)]
struct Spent {
    epsilon: f64,
    delta: f64,
    accountant: &'static str,
    unit: String,
    units_mixed: bool,
    debits: u64,
    exact_releases: u64,
    /// Of those, rounds with noise in which training failed.
    failed_trainings: u64,
    /// By accountants that gate nothing.
    approximations: Vec<Approximation>,
    left_out: Option<String>,
}

#[derive(Serialize)]
struct Approximation {
    accountant: &'static str,
    epsilon: f64,
}

impl Spent {
    fn of(total: &Total) -> Self {
        let first = total.bounds.first();
        Self {
            epsilon: total.epsilon(),
            delta: total.delta,
            accountant: first.map_or("none", |bound| bound.accountant),
            unit: total.unit.clone(),
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

    fn text(&self) -> String {
        let mut text = format!(
            "epsilon {} at delta {} for one {}, by {}; {} debits",
            rounded_up(self.epsilon, 4),
            self.delta,
            printable(&self.unit),
            self.accountant,
            self.debits
        );
        for bound in &self.approximations {
            let _ = write!(
                text,
                "; {} by {}, which gates nothing",
                rounded_up(bound.epsilon, 4),
                bound.accountant
            );
        }
        if let Some(why) = &self.left_out {
            let _ = write!(text, "; left out: {why}");
        }
        if self.units_mixed {
            text.push_str(", of silos too: counted for the record");
        }
        let without_noise = self.exact_releases - self.failed_trainings;
        if without_noise > 0 {
            let _ = write!(text, "; AND {without_noise} RELEASES WITHOUT NOISE, which no epsilon covers");
        }
        if self.failed_trainings > 0 {
            let _ = write!(
                text,
                "; AND {} ROUNDS IN WHICH TRAINING FAILED and nothing of the data was contributed, which no epsilon covers",
                self.failed_trainings
            );
        }
        text
    }
}

impl Shown {
    fn of(file: &Path, master: Option<&MasterSource>, delta: Option<f64>) -> Result<Self, Failure> {
        let chain = read_or_empty(file)?;
        let account = Account::new(opened(file, &chain, master)?);
        let newest = account.entries().iter().rev().find_map(|entry| match &entry.what {
            What::Debit { delta, .. } => Some(*delta),
            _ => None,
        });
        // Where nothing was debited, every delta has epsilon 0.
        let delta = delta.or(newest).unwrap_or(1e-6);
        if !(delta > 0.0 && delta < 1.0) {
            return Err(Failure::usage("--delta must lie between 0 and 1"));
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
            untold: untold_in_run(&declared, run),
        });
        let runs = of_account.into_iter().map(|run| RunSpent {
            commitments: open(&run.last.run),
            untold: untold_in_run(&declared, &run.last.run),
            run: run.last.run.to_string(),
            name: run.last.run_name,
            rounds: run.rounds,
            mode: run.last.mode,
            relation: run.last.relation,
            noise_by: run.last.noise_by,
            data_versions: run.data_versions.iter().map(ToString::to_string).collect(),
            spent: Spent::of(&run.total),
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
            runs_without_upload: runs_without_upload.collect(),
            accepted_losses: losses.collect(),
            commitments: salt.as_ref().map_or_else(Vec::new, |salt| commitments(salt, &account)),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "data set      {}\nhead          {}\ntotal         {}\n",
            self.dataset,
            self.head,
            self.total.text()
        );
        for run in &self.runs {
            let name = if run.name.is_empty() { "unnamed" } else { &run.name };
            let _ = writeln!(
                text,
                "run           {} {}: {} rounds, {}, {}, noise by {}, {} versions of the data\n              {}",
                run.run.get(..12).unwrap_or(&run.run),
                printable(name),
                run.rounds,
                printable(&run.mode),
                printable(&run.relation),
                printable(&run.noise_by),
                run.data_versions.len(),
                run.spent.text()
            );
        }
        let all = self.runs.iter().map(|run| &run.commitments);
        let told: usize =
            all.chain(self.runs_without_upload.iter().map(|run| &run.commitments)).map(Vec::len).sum();
        if told > 0 {
            let _ = writeln!(
                text,
                "told          commitments to the data in each run, {told} in all; --json opens them"
            );
        }
        let untold = self.runs.iter().map(|run| &run.untold);
        let untold: usize =
            untold.chain(self.runs_without_upload.iter().map(|run| &run.untold)).map(Vec::len).sum();
        if untold > 0 {
            let _ = writeln!(
                text,
                "untold        {untold} random words, which open to nothing; --json lists them"
            );
        }
        if self.unfinished_line {
            let _ = writeln!(text, "UNFINISHED    {UNFINISHED}");
        }
        for reason in &self.accepted_losses {
            let _ = writeln!(text, "LOSS ACCEPTED by an operator: {}", printable(reason));
        }
        text
    }
}

#[cfg(test)]
mod tests;
