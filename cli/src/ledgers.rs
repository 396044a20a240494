//! `folkmoot ledger`: what a data set has spent, and whether its ledger is whole; read only, while daemons run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::with_causes;
use ledger::{Spending, UNFINISHED_LINE, check_anchor, entries, find, read};
use vault::MasterSource;

use crate::Failure;
use crate::files::Unusable;

mod coordinators;

pub(crate) use coordinators::keyring_of;

#[derive(Subcommand, Debug)]
pub(crate) enum Ledgers {
    /// Show what was spent: by run, and all together. Of a coordinator's data folder: what each of its runs has.
    #[command(after_help = "Examples:\n  folkmoot ledger show north/state/ledger/data.ledger\n  \
                      folkmoot ledger show north/state/ledger/data.ledger --master north/master.key --json\n  \
                      folkmoot ledger show /var/lib/folkmoot/coordinator/data --master /var/lib/folkmoot/coordinator/master.key\n\n\
                      With --json, each run's `commitments` open what the silo declared of its data in that run and model\n\
                      cards carry: a commitment is SHA-256 over three parts, each after its length as 8 bytes, little\n\
                      endian: \"folkmoot/v2/data-version\", the nonce's 32 bytes, the version's 32 bytes. `commitments`\n\
                      beside the runs open what the first release declared: \"folkmoot/v1/data-version\", the salt, the version.\n\
                      A run's `untold` is the key of what is shown as undeclared: the words that stand for data that was not\n\
                      read, which open to nothing.\n\
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
            let spending = Spending::of(&find(path)?, master.as_ref(), *delta)?;
            if *json {
                println!("{}", serde_json::to_string(&spending).map_err(Failure::failed)?);
            } else {
                print!("{}", spending.text(daemon::wall_ms()));
            }
            Ok(())
        }
        Ledgers::Verify { path, anchor, master } => verify(&find(path)?, anchor.as_deref(), master.as_ref()),
    }
}

fn verify(file: &Path, anchor: Option<&Path>, master: Option<&MasterSource>) -> Result<(), Failure> {
    // The lock is held until the anchor has been read.
    let (_lock, chain) = read(file)?;
    let entries = match (chain.sealed, master) {
        (true, None) => None,
        _ => Some(entries(file, &chain, master)?),
    };
    println!(
        "{}: {} entries of data set {}, head {}",
        file.display(),
        chain.lines.len(),
        chain.dataset,
        chain.head()
    );
    if chain.torn {
        eprintln!("warning: {UNFINISHED_LINE}");
    }
    if entries.is_none() {
        eprintln!("note: the entries are sealed; their chain was checked, not what they say: add --master");
    }
    let Some(anchor) = anchor else {
        eprintln!(
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
